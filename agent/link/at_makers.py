"""The answers to the finer AT commands of five makers: Quectel, Huawei, Sierra, SIMCom, Fibocom.

Each reader adds to what is said what its line tells; cell ids are passed over. Pure.
"""

import re
from collections.abc import Sequence

from agent.link.modem import measured, number, plmn, technology


class Said:
    """What is known after some of the lines."""

    def __init__(self) -> None:
        self.types: dict[str, str | None] = {}  # by command, the first answer
        self.signal: dict[str, float] = {}
        self.operator: str | None = None
        self.roaming: bool | None = None
        self.any = False
        self.cell: str | None = None  # the radio of the serving cell, as +QENG tells it


def tell(said: Said, command: str, type_: str | None) -> None:
    if type_ is not None and said.types.get(command) is None:
        said.types[command] = type_


def keep(said: Said, values: dict[str, float]) -> None:
    said.signal = values | said.signal


def network_of(said: Said, code: object) -> None:
    if said.operator is None and re.fullmatch(r"\d{5,6}", str(code)):
        said.operator = str(code)


def field_at(fields: Sequence[str], index: int) -> str | None:
    return fields[index] if index < len(fields) else None


def qnwinfo(said: Said, fields: list[str]) -> None:
    """``"FDD LTE","26202","LTE BAND 20",6300``; with 5G beside it a second line of that network."""
    type_ = technology(fields[0])
    if (
        said.types.get("+QNWINFO") == "lte"
        and type_ == "5g"
        and field_at(fields, 1) == said.operator
    ):
        said.types["+QNWINFO"] = "5g"
    if said.types.get("+QNWINFO") is None:
        network_of(said, field_at(fields, 1))
    tell(said, "+QNWINFO", type_)


def qeng(said: Said, fields: list[str]) -> None:
    """The serving cell; each radio has its own order of fields after its name."""
    names = ("LTE", "CAT-M", "CAT-NB", "WCDMA", "GSM", "NR5G-SA", "NR5G-NSA", "TDSCDMA")
    at = next((index for index in (2, 0) if field_at(fields, index) in names), None)
    if at is None:
        return
    radio, rest = fields[at], fields[at + 1 :] + [""] * 20
    if radio == "NR5G-NSA":
        values = measured(nr_rsrp_dbm=rest[3], nr_sinr_db=rest[4], nr_rsrq_db=rest[5])
        if values and number(rest[6]) is not None:  # without a channel there is no such cell
            said.types["+QENG"] = "5g"
            keep(said, values)
        return
    if said.cell is not None:
        return  # what follows the serving cell are others
    said.cell = radio
    tell(said, "+QENG", technology(radio))
    network_of(said, _code(rest[0], rest[1]) or _code(rest[1], rest[2]))
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


def qcsq(said: Said, fields: list[str]) -> None:
    type_ = technology(fields[0])
    tell(said, "+QCSQ", type_)
    if type_ in ("umts", "hspa"):
        keep(
            said,
            measured(
                rssi_dbm=field_at(fields, 1),
                rscp_dbm=field_at(fields, 2),
                ecio_db=field_at(fields, 3),
            ),
        )
    elif type_ == "lte":
        values = measured(
            rssi_dbm=field_at(fields, 1), rsrp_dbm=field_at(fields, 2), rsrq_db=field_at(fields, 4)
        )
        keep(said, values | measured(sinr_raw=field_at(fields, 3)))
    elif type_ == "5g":
        values = measured(
            rsrp_dbm=field_at(fields, 1), sinr_db=field_at(fields, 2), rsrq_db=field_at(fields, 3)
        )
        keep(said, values)
    elif type_:
        keep(said, measured(rssi_dbm=field_at(fields, 1)))


def sysinfoex(said: Said, fields: list[str]) -> None:
    """Huawei: service, domain, roaming, SIM, lock, mode, "its name", submode, "its name"."""
    if fields[0] == "2" or (fields[0] == "3"):
        said.roaming = {"0": False, "1": True}.get(field_at(fields, 2) or "", said.roaming)
        type_ = technology(field_at(fields, 8)) or technology(field_at(fields, 6))
        tell(said, "^SYSINFOEX", type_)


def hcsq(said: Said, fields: list[str]) -> None:
    """Huawei: steps from the bottom of each scale; 255 is "not known"."""
    type_ = technology(fields[0])
    tell(said, "^HCSQ", type_)
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
            keep(said, measured(**{name: start + raw * step}))


def cpsi(said: Said, fields: list[str]) -> None:
    """SIMCom: ``LTE,Online,460-01,tac,cell,pci,band,earfcn,dl,ul,rsrq,rsrp,rssi,snr``."""
    word = fields[0].upper().replace("_", "-")
    if "NSA" not in word and field_at(fields, 1) != "Online":
        return
    type_ = technology(word)
    country, _, network = (field_at(fields, 2) or "").partition("-")
    network_of(said, country + network)
    if type_ == "5g":
        beside = said.types.get("+CPSI") == "lte"
        keep(said, _scaled(fields[-3:-1], ("rsrp_dbm", "rsrq_db"), "nr_" if beside else ""))
        said.types["+CPSI"] = "5g"
        return
    tell(said, "+CPSI", type_)
    if type_ == "lte":
        keep(said, _scaled(fields[11:12] + fields[10:11] + fields[12:13]))
        keep(said, measured(snr_db=field_at(fields, 13)))
    elif type_ == "umts":
        rscp, ecio = number(field_at(fields, 10)), number(field_at(fields, 9))
        keep(said, measured(rscp_dbm=None if rscp is None else -abs(rscp)))
        keep(said, measured(ecio_db=None if ecio is None else -abs(ecio)))
    elif type_:
        keep(said, measured(rxlev_dbm=field_at(fields, 6)))


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


def gtccinfo(said: Said, fields: list[str]) -> None:
    """Fibocom: ``1,4,mcc,mnc,tac,cell,earfcn,pci,band,bw,snr,rxlev,rsrp,rsrq``; 1 is serving,
    4 is LTE and 9 is 5G, the scales are those of +CESQ."""
    rat = field_at(fields, 1)
    if fields[0] != "1" or len(fields) < 14:
        return
    type_ = {"1": "gsm", "2": "umts", "4": "lte", "9": "5g"}.get(rat or "")
    beside = type_ == "5g" and said.types.get("+GTCCINFO") == "lte"
    if beside:
        said.types["+GTCCINFO"] = "5g"
    tell(said, "+GTCCINFO", type_)
    said.any = True
    if plmn(field_at(fields, 2), field_at(fields, 3)):
        network_of(said, plmn(fields[2], fields[3]))
    rsrp, rsrq, snr = (
        number(field_at(fields, 12)),
        number(field_at(fields, 13)),
        number(field_at(fields, 10)),
    )
    if type_ == "lte" and rsrp is not None and rsrq is not None and rsrp <= 97 and rsrq <= 34:
        keep(said, measured(rsrp_dbm=rsrp - 141, rsrq_db=rsrq / 2 - 20))
        keep(said, measured(snr_db=None if snr is None else snr))
    elif type_ == "5g" and rsrp is not None and rsrq is not None and rsrp <= 126 and rsrq <= 126:
        prefix = "nr_" if beside else ""
        keep(
            said, measured(**{prefix + "rsrp_dbm": rsrp - 157, prefix + "rsrq_db": rsrq / 2 - 43.5})
        )


def gtccinfo_line(said: Said, fields: list[str]) -> None:
    """Some firmware puts the cell on the line of the heading."""
    if len(fields) >= 14:
        gtccinfo(said, fields)


def gstatus(said: Said, text: str) -> None:
    """Sierra: pairs, two on a line."""
    mode = re.search(r"System mode:\s*([\w+-]+)", text)
    if not mode:
        return
    said.any = True
    attached = re.search(r"PS state:\s*(\w[\w ]*?)(?:\s{2,}|\t|$)", text, re.MULTILINE)
    if attached and attached[1].strip().lower() != "attached":
        return
    tell(said, "!GSTATUS", technology(mode[1]))
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
            keep(said, measured(**{name: next(filter(None, found.groups()), None)}))
