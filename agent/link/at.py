"""What a modem answers to AT commands: 3GPP 27.007, and the finer ones of five makers. Pure.

The makers' answers go first: +CGREG tells how the modem registered, which may be older than the
cell (a BG96 says 0, GSM, while +QNWINFO says EDGE). Cell ids are passed over.
"""

import re
from collections.abc import Callable, Sequence

from agent.link.modem import Modem, measured, modem, number, plmn, technology, tidy

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


class _Said:
    """What is known after some of the lines."""

    def __init__(self) -> None:
        self.types: dict[str, str | None] = {}  # by command, the first answer
        self.signal: dict[str, float] = {}
        self.operator: str | None = None
        self.roaming: bool | None = None
        self.any = False
        self.cell: str | None = None  # the radio of the serving cell, as +QENG tells it


def parse(text: str) -> list[Modem]:
    """One modem, from a transcript of answers (echoes may be in it) in any order."""
    text = tidy(text)
    said = _Said()
    for line in text.splitlines():
        match = re.match(r"\s*([+^!][A-Z0-9]+)\s*:\s*(.*)$", line)
        if match and match[1] in _READERS:
            fields = [field.strip().strip('"') for field in match[2].split(",")]
            _READERS[match[1]](said, fields)
            said.any = True
        elif re.match(r"\s*[12],(4|9|2|1),", line) and "+GTCCINFO" in text:
            _gtccinfo(said, [field.strip() for field in line.split(",")])
    if "!GSTATUS" in text:
        _gstatus(said, text)
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


def _decided(said: _Said) -> tuple[str, str | None]:
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


def _tell(said: _Said, command: str, type_: str | None) -> None:
    if type_ is not None and said.types.get(command) is None:
        said.types[command] = type_


def _keep(said: _Said, values: dict[str, float]) -> None:
    said.signal = values | said.signal


def _network(said: _Said, code: object) -> None:
    if said.operator is None and re.fullmatch(r"\d{5,6}", str(code)):
        said.operator = str(code)


def _at(fields: Sequence[str], index: int) -> str | None:
    return fields[index] if index < len(fields) else None


def _creg(command: str) -> Callable[[_Said, list[str]], None]:
    def read(said: _Said, fields: list[str]) -> None:
        """``n,stat[,lac,ci,AcT]``, or unasked ``stat[,lac,ci,AcT]``."""
        asked = len(fields) >= 2 and fields[1].isdigit() and len(fields[1]) <= 2
        stat, act = (1, 4) if asked else (0, 3)
        roaming = _REGISTERED.get(_at(fields, stat) or "")
        if roaming is None:
            return
        if said.roaming is None:
            said.roaming = roaming
        code = number(_at(fields, act))
        _tell(said, command, ACT.get(int(code)) if code is not None else None)

    return read


def _cops(said: _Said, fields: list[str]) -> None:
    """``mode,format,"operator",AcT``."""
    if len(fields) >= 3 and fields[0] in "01234":
        _network(said, fields[2])
        if said.operator is None and fields[1] in ("0", "1") and fields[2]:
            said.operator = fields[2]
        code = number(_at(fields, 3))
        _tell(said, "+COPS", ACT.get(int(code)) if code is not None else None)


def _csq(said: _Said, fields: list[str]) -> None:
    steps = number(fields[0])
    if steps is not None and 0 <= steps <= 31:
        _keep(said, measured(rssi_dbm=-113 + 2 * steps))


def _cesq(said: _Said, fields: list[str]) -> None:
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
        raw = number(_at(fields, index))
        if raw is not None and 0 <= raw <= top:
            _keep(said, measured(**{name: start + raw * step}))


def _qnwinfo(said: _Said, fields: list[str]) -> None:
    """``"FDD LTE","26202","LTE BAND 20",6300``; with 5G beside it a second line of that network."""
    type_ = technology(fields[0])
    if said.types.get("+QNWINFO") == "lte" and type_ == "5g" and _at(fields, 1) == said.operator:
        said.types["+QNWINFO"] = "5g"
    if said.types.get("+QNWINFO") is None:
        _network(said, _at(fields, 1))
    _tell(said, "+QNWINFO", type_)


def _qeng(said: _Said, fields: list[str]) -> None:
    """The serving cell; each radio has its own order of fields after its name."""
    names = ("LTE", "CAT-M", "CAT-NB", "WCDMA", "GSM", "NR5G-SA", "NR5G-NSA", "TDSCDMA")
    at = next((index for index in (2, 0) if _at(fields, index) in names), None)
    if at is None:
        return
    radio, rest = fields[at], fields[at + 1 :] + [""] * 20
    if radio == "NR5G-NSA":
        values = measured(nr_rsrp_dbm=rest[3], nr_sinr_db=rest[4], nr_rsrq_db=rest[5])
        if values and number(rest[6]) is not None:  # without a channel there is no such cell
            said.types["+QENG"] = "5g"
            _keep(said, values)
        return
    if said.cell is not None:
        return  # what follows the serving cell are others
    said.cell = radio
    _tell(said, "+QENG", technology(radio))
    _network(said, _code(rest[0], rest[1]) or _code(rest[1], rest[2]))
    if radio == "NR5G-SA":
        values = measured(rsrp_dbm=rest[9], rsrq_db=rest[10], sinr_db=rest[11])
    elif radio == "WCDMA":
        values = measured(rscp_dbm=rest[7], ecio_db=rest[8])
    elif radio == "GSM":
        values = measured(rxlev_dbm=rest[7])
    elif radio != "TDSCDMA":
        values = measured(rsrp_dbm=rest[10], rsrq_db=rest[11], rssi_dbm=rest[12])
        # On a line of its own: fifths of a dB, or dB, by the module; nobody tells which.
        values |= measured(sinr_raw=rest[13]) if at == 2 else measured(sinr_db=rest[13])
    else:
        values = {}
    said.signal = {**said.signal, **values}


def _code(country: str, network: str) -> str | None:
    """As it is written: "03" and "003" are different networks."""
    return country + network if plmn(country, network) and len(network) >= 2 else None


def _qcsq(said: _Said, fields: list[str]) -> None:
    type_ = technology(fields[0])
    _tell(said, "+QCSQ", type_)
    if type_ in ("umts", "hspa"):
        _keep(
            said, measured(rssi_dbm=_at(fields, 1), rscp_dbm=_at(fields, 2), ecio_db=_at(fields, 3))
        )
    elif type_ == "lte":
        values = measured(rssi_dbm=_at(fields, 1), rsrp_dbm=_at(fields, 2), rsrq_db=_at(fields, 4))
        _keep(said, values | measured(sinr_raw=_at(fields, 3)))
    elif type_ == "5g":
        values = measured(rsrp_dbm=_at(fields, 1), sinr_db=_at(fields, 2), rsrq_db=_at(fields, 3))
        _keep(said, values)
    elif type_:
        _keep(said, measured(rssi_dbm=_at(fields, 1)))


def _sysinfoex(said: _Said, fields: list[str]) -> None:
    """Huawei: service, domain, roaming, SIM, lock, mode, "its name", submode, "its name"."""
    if fields[0] == "2" or (fields[0] == "3"):
        said.roaming = {"0": False, "1": True}.get(_at(fields, 2) or "", said.roaming)
        type_ = technology(_at(fields, 8)) or technology(_at(fields, 6))
        _tell(said, "^SYSINFOEX", type_)


def _hcsq(said: _Said, fields: list[str]) -> None:
    """Huawei: steps from the bottom of each scale; 255 is "not known"."""
    type_ = technology(fields[0])
    _tell(said, "^HCSQ", type_)
    scales = {
        "rssi_dbm": (-121, 1.0, 96),
        "rsrp_dbm": (-141, 1.0, 97),
        "rscp_dbm": (-121, 1.0, 96),
        "sinr_db": (-20.2, 0.2, 251),
        "rsrq_db": (-20, 0.5, 34),
        "ecio_db": (-32.5, 0.5, 65),
    }
    order = {
        "lte": ("rssi_dbm", "rsrp_dbm", "sinr_db", "rsrq_db"),
        "5g": ("rsrp_dbm", "sinr_db", "rsrq_db"),
        "umts": ("rssi_dbm", "rscp_dbm", "ecio_db"),
    }.get(type_ or "", ("rssi_dbm",) if type_ else ())
    for name, field in zip(order, fields[1:], strict=False):
        start, step, top = scales[name]
        raw = number(field)
        if raw is not None and 0 <= raw <= top:
            _keep(said, measured(**{name: start + raw * step}))


def _cpsi(said: _Said, fields: list[str]) -> None:
    """SIMCom: ``LTE,Online,460-01,tac,cell,pci,band,earfcn,dl,ul,rsrq,rsrp,rssi,snr``."""
    word = fields[0].upper().replace("_", "-")
    if "NSA" not in word and _at(fields, 1) != "Online":
        return
    type_ = technology(word)
    country, _, network = (_at(fields, 2) or "").partition("-")
    _network(said, country + network)
    if type_ == "5g":
        beside = said.types.get("+CPSI") == "lte"
        _keep(said, _scaled(fields[-3:-1], ("rsrp_dbm", "rsrq_db"), "nr_" if beside else ""))
        said.types["+CPSI"] = "5g"
        return
    _tell(said, "+CPSI", type_)
    if type_ == "lte":
        _keep(said, _scaled(fields[11:12] + fields[10:11] + fields[12:13]))
        _keep(said, measured(snr_db=_at(fields, 13)))
    elif type_ == "umts":
        rscp, ecio = number(_at(fields, 10)), number(_at(fields, 9))
        _keep(said, measured(rscp_dbm=None if rscp is None else -abs(rscp)))
        _keep(said, measured(ecio_db=None if ecio is None else -abs(ecio)))
    elif type_:
        _keep(said, measured(rxlev_dbm=_at(fields, 6)))


def _scaled(
    fields: Sequence[str],
    names: Sequence[str] = ("rsrp_dbm", "rsrq_db", "rssi_dbm"),
    prefix: str = "",
) -> dict[str, float]:
    """SIMCom's old modules print dB, the later ones tenths, the small ones steps as +CESQ: the
    first value, RSRP, tells which."""
    first = number(fields[0]) if fields else None
    if first is None:
        return {}
    found: dict[str, float] = {}
    for name, field in zip(names, fields, strict=False):
        value = number(field)
        if value is not None and first >= 0:
            steps = {"rsrp_dbm": value - 141, "rsrq_db": value / 2 - 20}
            found |= measured(**{prefix + name: steps.get(name)})
        elif value is not None:
            found |= measured(**{prefix + name: value / 10 if first < -156 else value})
    return found


def _gtccinfo(said: _Said, fields: list[str]) -> None:
    """Fibocom: ``1,4,mcc,mnc,tac,cell,earfcn,pci,band,bw,snr,rxlev,rsrp,rsrq``; 1 is serving,
    4 is LTE and 9 is 5G, the scales are those of +CESQ."""
    rat = _at(fields, 1)
    if fields[0] != "1" or len(fields) < 14:
        return
    type_ = {"1": "gsm", "2": "umts", "4": "lte", "9": "5g"}.get(rat or "")
    beside = type_ == "5g" and said.types.get("+GTCCINFO") == "lte"
    if beside:
        said.types["+GTCCINFO"] = "5g"
    _tell(said, "+GTCCINFO", type_)
    said.any = True
    if plmn(_at(fields, 2), _at(fields, 3)):
        _network(said, plmn(fields[2], fields[3]))
    rsrp, rsrq, snr = number(_at(fields, 12)), number(_at(fields, 13)), number(_at(fields, 10))
    if type_ == "lte" and rsrp is not None and rsrq is not None and rsrp <= 97 and rsrq <= 34:
        _keep(said, measured(rsrp_dbm=rsrp - 141, rsrq_db=rsrq / 2 - 20))
        _keep(said, measured(snr_db=None if snr is None else snr))
    elif type_ == "5g" and rsrp is not None and rsrq is not None and rsrp <= 126 and rsrq <= 126:
        prefix = "nr_" if beside else ""
        _keep(
            said, measured(**{prefix + "rsrp_dbm": rsrp - 157, prefix + "rsrq_db": rsrq / 2 - 43.5})
        )


def _gtccinfo_line(said: _Said, fields: list[str]) -> None:
    """Some firmware puts the cell on the line of the heading."""
    if len(fields) >= 14:
        _gtccinfo(said, fields)


def _gstatus(said: _Said, text: str) -> None:
    """Sierra: pairs, two on a line."""
    mode = re.search(r"System mode:\s*([\w+-]+)", text)
    if not mode:
        return
    said.any = True
    attached = re.search(r"PS state:\s*(\w[\w ]*?)(?:\s{2,}|\t|$)", text, re.MULTILINE)
    if attached and attached[1].strip().lower() != "attached":
        return
    _tell(said, "!GSTATUS", technology(mode[1]))
    if re.search(r"NR5G band:\s*\S+", text) and re.search(r"NR5G RSRP \(dBm\):\s*-\d", text):
        said.types["!GSTATUS"] = "5g" if said.types.get("!GSTATUS") else None
    forms = {
        "rssi_dbm": r"(?:PCC )?RxM RSSI:\s*(-?\d+)|^RSSI \(dBm\):\s*(-?\d+)",
        "rsrp_dbm": r"(?:PCC RxM RSRP|\bRSRP \(dBm\)):\s*(-?\d+)",
        "rsrq_db": r"(?<!NR5G )RSRQ \(dB\):\s*(-?[\d.]+)",
        "sinr_db": r"(?<!NR5G )SINR \(dB\):\s*(-?[\d.]+)",
        "rscp_dbm": r"RSCP \(dBm\):\s*(-?\d+)|RxM RSCP:\s*(-?\d+)",
        "ecio_db": r"Ec/?I[0o](?: \(dB\))?:\s*(-?[\d.]+)",
        "nr_rsrp_dbm": r"NR5G RSRP \(dBm\):\s*(-?\d+)",
        "nr_rsrq_db": r"NR5G RSRQ \(dB\):\s*(-?[\d.]+)",
        "nr_sinr_db": r"NR5G SINR \(dB\):\s*(-?[\d.]+)",
    }
    for name, form in forms.items():
        found = re.search(form, text, re.MULTILINE)
        if found:
            _keep(said, measured(**{name: next(filter(None, found.groups()), None)}))


_READERS: dict[str, Callable[[_Said, list[str]], None]] = {
    "+QNWINFO": _qnwinfo,
    "+QENG": _qeng,
    "+QCSQ": _qcsq,
    "^SYSINFOEX": _sysinfoex,
    "^HCSQ": _hcsq,
    "+CPSI": _cpsi,
    "+GTCCINFO": _gtccinfo_line,
    "+COPS": _cops,
    "+CSQ": _csq,
    "+CESQ": _cesq,
    **{f"+{name}": _creg(f"+{name}") for name in ("CREG", "CGREG", "CEREG", "C5GREG")},
}
