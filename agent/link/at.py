"""What a modem answers to AT commands: 3GPP 27.007, and the finer ones of five makers. Pure.

The makers' answers go first: +CGREG tells how the modem registered, which may be older than the
cell (a BG96 says 0, GSM, while +QNWINFO says EDGE). Cell ids are passed over.
"""

import re
from collections.abc import Callable

from agent.link import at_makers
from agent.link.at_makers import Said, field_at, gstatus, gtccinfo, keep, network_of, tell
from agent.link.modem import Modem, measured, modem, number, tidy

_SOURCE = "the modem"
# 3GPP 27.007, <AcT>. 10: an LTE cell at a 5G core; 13: LTE with 5G beside it (EN-DC).
ACT = {
    **dict.fromkeys((0, 1, 8), "gsm"),
    **dict.fromkeys((2,), "umts"),
    **dict.fromkeys((3,), "edge"),
    **dict.fromkeys((4, 5, 6), "hspa"),
    **dict.fromkeys((7, 9, 10), "lte"),
    **dict.fromkeys((11, 12, 13), "5g"),
}
_REGISTERED = {"1": False, "5": True, "6": False, "7": True, "9": False, "10": True}


def parse(text: str) -> list[Modem]:
    """One modem, from a transcript of answers (echoes may be in it) in any order."""
    text = tidy(text)
    said = Said()
    for line in text.splitlines():
        match = re.match(r"\s*([+^!][A-Z0-9]+)\s*:\s*(.*)$", line)
        if match and match[1] in _READERS:
            fields = [field.strip().strip('"') for field in match[2].split(",")]
            _READERS[match[1]](said, fields)
            said.any = True
        elif re.match(r"\s*[12],(4|9|2|1),", line) and "+GTCCINFO" in text:
            gtccinfo(said, [field.strip() for field in line.split(",")])
    if "!GSTATUS" in text:
        gstatus(said, text)
    if not said.any:
        return []
    source, type_ = _decided(said)
    return [
        modem(
            _SOURCE,
            type_ or "mobile",
            f"{_SOURCE} says {type_} (AT{source})"
            if type_
            else f"{_SOURCE} answers, without a network",
            0.9 if type_ else 0.7,
            signal=_plausible(said.signal, type_),
            operator=said.operator,
            roaming=said.roaming,
        )
    ]


_ORDER = (
    *("+QNWINFO", "^SYSINFOEX", "+CPSI", "+QENG", "!GSTATUS", "+GTCCINFO", "+QCSQ", "^HCSQ"),
    *("+COPS", "+C5GREG", "+CEREG", "+CGREG", "+CREG"),
)


def _decided(said: Said) -> tuple[str, str | None]:
    """The finest command that knows; 5G beside an LTE cell is 5G, whoever tells it."""
    for command in _ORDER:
        type_ = said.types.get(command)
        if type_ is None:
            continue
        if type_ == "lte":
            for other in ("+QENG", "+CPSI", "+QNWINFO", "+GTCCINFO", "+COPS"):
                if said.types.get(other) == "5g":
                    return other, "5g"
        return command, type_
    return "", None


def _plausible(signal: dict[str, float], type_: str | None) -> dict[str, float]:
    """The values of another generation's cell are no values of this one."""
    wrong = {
        "lte": ("rscp_dbm", "ecio_db", "rxlev_dbm"),
        "5g": ("rscp_dbm", "ecio_db", "rxlev_dbm"),
        "umts": ("rsrp_dbm", "rsrq_db", "rxlev_dbm"),
        "hspa": ("rsrp_dbm", "rsrq_db", "rxlev_dbm"),
    }.get(type_ or "", ("rsrp_dbm", "rsrq_db", "rscp_dbm", "ecio_db"))
    return {name: value for name, value in signal.items() if name not in wrong}


def _creg(command: str) -> Callable[[Said, list[str]], None]:
    def read(said: Said, fields: list[str]) -> None:
        """``n,stat[,lac,ci,AcT]``, or unasked ``stat[,lac,ci,AcT]``."""
        asked = len(fields) >= 2 and fields[1].isdigit() and len(fields[1]) <= 2
        stat, act = (1, 4) if asked else (0, 3)
        roaming = _REGISTERED.get(field_at(fields, stat) or "")
        if roaming is None:
            return
        if said.roaming is None:
            said.roaming = roaming
        code = number(field_at(fields, act))
        tell(said, command, ACT.get(int(code)) if code is not None else None)

    return read


def _cops(said: Said, fields: list[str]) -> None:
    """``mode,format,"operator",AcT``."""
    if len(fields) >= 3 and fields[0] in "01234":
        network_of(said, fields[2])
        if said.operator is None and fields[1] in ("0", "1") and fields[2]:
            said.operator = fields[2]
        code = number(field_at(fields, 3))
        tell(said, "+COPS", ACT.get(int(code)) if code is not None else None)


def _csq(said: Said, fields: list[str]) -> None:
    steps = number(fields[0])
    if steps is not None and 0 <= steps <= 31:
        keep(said, measured(rssi_dbm=-113 + 2 * steps))


def _cesq(said: Said, fields: list[str]) -> None:
    """Steps from the bottom of each scale; 99 and 255 are "not known"."""
    scales = (
        ("rxlev_dbm", 0, -111, 1.0, 63),
        ("rscp_dbm", 2, -121, 1.0, 96),
        ("ecio_db", 3, -24.5, 0.5, 49),
        ("rsrq_db", 4, -20, 0.5, 34),
        ("rsrp_dbm", 5, -141, 1.0, 97),
        ("nr_rsrq_db", 6, -43.5, 0.5, 126),
        ("nr_rsrp_dbm", 7, -157, 1.0, 126),
        ("nr_sinr_db", 8, -23.5, 0.5, 127),
    )
    for name, index, start, step, top in scales:
        raw = number(field_at(fields, index))
        if raw is not None and 0 <= raw <= top:
            keep(said, measured(**{name: start + raw * step}))


_READERS: dict[str, Callable[[Said, list[str]], None]] = {
    "+QNWINFO": at_makers.qnwinfo,
    "+QENG": at_makers.qeng,
    "+QCSQ": at_makers.qcsq,
    "^SYSINFOEX": at_makers.sysinfoex,
    "^HCSQ": at_makers.hcsq,
    "+CPSI": at_makers.cpsi,
    "+GTCCINFO": at_makers.gtccinfo_line,
    "+COPS": _cops,
    "+CSQ": _csq,
    "+CESQ": _cesq,
    **{f"+{name}": _creg(f"+{name}") for name in ("CREG", "CGREG", "CEREG", "C5GREG")},
}
