"""Huawei's HiLink sticks and routers, over HTTP at the gateway: flat XML without an XML parser.

Every element may be there and empty, which is "not reported" and never 0. Without a SIM they
still say 19 (LTE); without a session every page says error 125002: a stick, and nothing else.
"""

import re
from collections.abc import Mapping

from agent.link.http import Getter
from agent.link.modem import Modem, measured, modem, plmn, technology

_SOURCE = "HiLink"
_PAGES = ("/api/monitoring/status", "/api/device/signal", "/api/net/current-plmn")
_TYPES = {
    **dict.fromkeys((1,), "gsm"),
    **dict.fromkeys((2,), "gprs"),
    **dict.fromkeys((3, 21), "edge"),
    **dict.fromkeys((4, 8, 41, 61), "umts"),
    **dict.fromkeys((5, 6, 7, 9, 42, 43, 44, 45, 46, 62, 63, 64, 65), "hspa"),
    **dict.fromkeys((19, 101, 1011), "lte"),
    **dict.fromkeys((20, 102, 111), "5g"),
}
_CDMA = {10: "2g", 11: "2g"} | dict.fromkeys((12, 13, 14, 15, 16, 17, 18), "3g")
_MODES = {"0": "gsm", "2": "umts", "7": "lte", "11": "5g", "12": "5g"}
_NO_SIM = ("0", "255", "240")
_TAG = re.compile(r"<([A-Za-z][\w-]{0,40})>([^<>]{0,300})</\1>")


def read(get: Getter, iface: str | None = None) -> list[Modem]:
    """The device at the gateway, if it is one of these."""
    token = get("/api/webserver/SesTokInfo", {})
    if token is None or "<" not in token.body:
        return []
    fields = _fields(token.body)
    headers = {
        "Cookie": fields.get("SesInfo", ""),
        "__RequestVerificationToken": fields.get("TokInfo", ""),
    }
    headers = {name: value for name, value in headers.items() if value}
    pages = [page for page in (get(path, headers) for path in _PAGES) if page is not None]
    said = merged([each for page in pages for each in parse(page.body)])
    return [each._replace(iface=iface) for each in said]


def merged(pages: list[Modem]) -> list[Modem]:
    """One Modem of what its pages say: the first that knows a thing tells it."""
    if not pages:
        return []
    whole = max(pages, key=lambda page: page.confidence)
    signal: dict[str, float] = {}
    for page in pages:
        signal = {**page.signal, **signal}
    operator = next((page.operator for page in pages if page.operator), None)
    roaming = next((page.roaming for page in pages if page.roaming is not None), None)
    return [whole._replace(signal=signal, operator=operator, roaming=roaming)]


def parse(text: str) -> list[Modem]:
    """One page: status, signal, network or device information."""
    if not re.search(r"<(response|error)>", text[:2000]):
        return []
    fields = _fields(text)
    if "<error>" in text[:2000] or not fields:
        return [modem(_SOURCE, "mobile", f"{_SOURCE} answers, without saying more", 0.85)]
    type_, generation = _type(fields)
    words = type_ or (f"a {generation} network" if generation else "no network")
    return [
        modem(
            _SOURCE,
            type_ or "mobile",
            f"{_SOURCE} says {words}",
            _confidence(fields, type_),
            generation=generation,
            signal=_signal(fields) if not _is_without_sim(fields) else {},
            operator=_operator(fields),
            roaming={"1": True, "0": False}.get(fields.get("RoamingStatus", "")),
        )
    ]


def _fields(text: str) -> dict[str, str]:
    return {name: value.strip() for name, value in _TAG.findall(text[:65536])}


def _confidence(fields: Mapping[str, str], type_: str | None) -> float:
    """The status page is the finest; a mode of the signal page knows no HSPA."""
    if type_ is None:
        return 0.85
    return 0.95 if "CurrentNetworkType" in fields or type_ in ("lte", "5g") else 0.9


def _is_without_sim(fields: Mapping[str, str]) -> bool:
    return fields.get("SimStatus") in _NO_SIM or fields.get("ServiceStatus") == "0"


def _type(fields: Mapping[str, str]) -> tuple[str | None, str | None]:
    if _is_without_sim(fields):
        return None, None
    for name in ("CurrentNetworkTypeEx", "CurrentNetworkType"):
        code = fields.get(name, "")
        code_number = int(code) if re.fullmatch(r"\d{1,4}", code) else -1
        if code_number in _TYPES:
            return _TYPES[code_number], None
        if code_number in _CDMA:
            return None, _CDMA[code_number]
    for name in ("mode", "Rat"):
        if fields.get(name) in _MODES:
            return _MODES[fields[name]], None
    return technology(fields.get("workmode")), None


def _operator(fields: Mapping[str, str]) -> object:
    code = fields.get("Numeric") or fields.get("plmn") or ""
    return plmn(code[:3], code[3:]) or fields.get("FullName") or fields.get("ShortName")


def _signal(fields: Mapping[str, str]) -> dict[str, float]:
    """Values with their units; 5G's own are nr*, alone (mode 12) or beside an LTE cell."""
    names = {"rssi": "rssi_dbm", "rsrp": "rsrp_dbm", "rsrq": "rsrq_db", "sinr": "sinr_db"}
    prefix = "" if fields.get("mode") == "12" or not fields.get("rsrp") else "nr_"
    found: dict[str, float] = {}
    for word, name in names.items():
        found |= measured(
            **{name: fields.get(word), prefix + name: fields.get("nr" + word)}
            if prefix
            else {name: fields.get("nr" + word) or fields.get(word)}
        )
    found |= measured(rscp_dbm=fields.get("rscp"), ecio_db=fields.get("ecio"))
    return found | measured(bars=fields.get("SignalIcon"), bars_max=fields.get("maxsignal"))
