"""ZTE's sticks and routers, over HTTP at the gateway (goform), and the himiapi of cheap sticks.

Without the Referer header they answer 200 with every field blank: refused, not "no signal".
"""

from collections.abc import Mapping
from typing import Any

from agent.link.http import Getter
from agent.link.modem import Modem, load, measured, modem, number, plmn, table, technology

_SOURCE = "ZTE"
_FIELDS = (
    *("modem_main_state", "network_type", "sub_network_type", "network_provider", "rmcc", "rmnc"),
    *("simcard_roam", "signalbar", "rssi", "rscp", "ecio", "lte_rssi", "lte_rsrp", "lte_rsrq"),
    *("lte_snr", "Z5g_rsrp", "Z5g_rsrq", "Z5g_SINR"),
)
_QUERY = "/goform/goform_get_cmd_process?isTest=false&multi_data=1&cmd=" + "%2C".join(_FIELDS)
_KNOWN = {"modem_main_state", "network_type", "signalbar", "ppp_status", "sub_network_type"}
_OUT = ("modem_sim_undetected", "modem_undetected", "modem_sim_destroy", "modem_waitpin") + (
    "modem_waitpuk",
)


def read(get: Getter, gateway: str, iface: str | None = None) -> list[Modem]:
    """The device at the gateway, if it is one of these."""
    reply = get(_QUERY, {"Referer": f"http://{gateway}/index.html"})
    if reply is None:
        return []
    return [said._replace(iface=iface) for said in parse(reply.body)]


def parse(text: str) -> list[Modem]:
    """The JSON of either."""
    fields = table(load(text))
    if "reply" in fields:
        return _himiapi(fields)
    if not _KNOWN & set(fields):
        return []
    if not any(value not in ("", None) for value in fields.values()):
        return [modem(_SOURCE, "mobile", f"{_SOURCE} answers, but refuses to say more", 0.8)]
    out = fields.get("modem_main_state") in _OUT
    words = (fields.get("network_type"), fields.get("sub_network_type"))
    type_ = None if out else _type(*words)
    state = fields.get("network_type") or fields.get("modem_main_state") or "a modem"
    return [
        modem(
            _SOURCE,
            type_ or "mobile",
            f"{_SOURCE} says {str(state).replace('_', ' ')[:30]}",
            0.95 if type_ else 0.85,
            signal=_signal(fields, type_) if type_ else {},
            operator=plmn(fields.get("rmcc"), fields.get("rmnc")) or fields.get("network_provider"),
            roaming=_roaming(fields.get("simcard_roam")),
        )
    ]


def _type(network: object, finer: object) -> str | None:
    """ "WCDMA" with the finer "HSPA+"; the coarse word alone otherwise."""
    type_ = technology(network)
    fine = technology(finer)
    same = {type_, fine} <= {"umts", "hspa"} or {type_, fine} <= {"gsm", "gprs", "edge"}
    return fine if type_ and fine and same else type_


def _roaming(value: object) -> bool | None:
    word = str(value or "").lower()
    if word in ("home", "internal_home"):
        return False
    return True if word in ("roaming", "international", "internal") else None


def _signal(fields: Mapping[str, Any], type_: str) -> dict[str, float]:
    found = measured(bars=fields.get("signalbar"))
    if found:
        found |= {"bars_max": 5.0}
    five = {
        "rsrp_dbm": fields.get("Z5g_rsrp"),
        "rsrq_db": fields.get("Z5g_rsrq"),
        "sinr_db": fields.get("Z5g_SINR"),
    }
    lte = {
        "rssi_dbm": fields.get("lte_rssi") or fields.get("rssi"),
        "rsrp_dbm": fields.get("lte_rsrp"),
        "rsrq_db": fields.get("lte_rsrq"),
        "snr_db": fields.get("lte_snr"),
    }
    if type_ == "5g":
        beside = bool(measured(rsrp_dbm=lte["rsrp_dbm"]))
        found |= measured(**{("nr_" if beside else "") + name: five[name] for name in five})
        return found | measured(**lte) if beside else found
    if type_ == "lte":
        return found | measured(**lte)
    rssi = fields.get("rssi")
    return found | measured(rssi_dbm=rssi, rscp_dbm=fields.get("rscp"), ecio_db=fields.get("ecio"))


def _himiapi(fields: Mapping[str, Any]) -> list[Modem]:
    """It gives a strength also without a SIM or service: then it is nobody's signal."""
    said = table(fields.get("params"))
    dbm = said.get("SIGNAL", said.get("signalStrength"))
    out = said.get("simCardState") == "invalid" or said.get("internetState") == "disconnected"
    signal = measured(rssi_dbm=number(dbm)) if not out else {}
    return [modem("himiapi", "mobile", "a modem's page (himiapi) answers", 0.8, signal=signal)]
