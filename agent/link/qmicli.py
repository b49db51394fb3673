"""libqmi's qmicli: the serving system and the signal of a QMI modem.

Asked through its proxy (-p), which shares the modem with whoever holds it. Only root may ask.
"""

import re

from agent.link.helpers import Runner
from agent.link.modem import (
    Modem,
    cdma_generation,
    measured,
    modem,
    number,
    plmn,
    technology,
    tidy,
)
from agent.link.ports import Port

_SOURCE = "qmicli"
_NAMES = {
    "rssi": "rssi_dbm",
    "rsrp": "rsrp_dbm",
    "rsrq": "rsrq_db",
    "snr": "snr_db",
    "sinr": "sinr_db",
    "rscp": "rscp_dbm",
    "ecio": "ecio_db",
}
_RADIO = re.compile(r"^\s*(LTE|5G|WCDMA|GSM|CDMA|HDR|TDMA):\s*$", re.IGNORECASE)
_VALUE = re.compile(r"^\s*([A-Za-z]+)(?: \(\d+\))?:\s*'(-?\d+(?:\.\d+)?) dBm?'")
_OF_NETWORK = re.compile(r"^\s*Network '([^']+)':\s*'(-?\d+(?:\.\d+)?) dBm?'")
_HEADING = re.compile(r"^\s*([A-Za-z]+)(?: \(\d+\))?:\s*$")


def read(run: Runner, port: Port) -> list[Modem]:
    """The modem behind this control device."""
    words = ("qmicli", "-p", "-d", port.device)
    serving = run((*words, "--nas-get-serving-system"))
    if serving is None:
        return []
    signal = run((*words, "--nas-get-signal-info")) or run((*words, "--nas-get-signal-strength"))
    return [said._replace(iface=port.iface) for said in parse(f"{serving}\n{signal or ''}")]


def parse(text: str) -> list[Modem]:
    """All that it printed for one modem, one answer after the other."""
    text = tidy(text)
    state = _first(r"Registration state: '([^']*)'", text)
    block = re.search(r"Radio interfaces: '\d+'((?:\s+\[\d+\]: '[^']*')*)", text)
    radios = re.findall(r"\]: '([^']*)'", block[1]) if block else []
    signal = _signals(text)
    if state is None and not radios and not signal:
        return []
    types = radios or list(signal)
    if measured(rsrp_dbm=signal.get("5g", {}).get("rsrp")):
        types = [*types, "5gnr"]  # beside LTE (EN-DC), which the serving system does not tell
    registered = state in (None, "registered")
    type_ = technology(*types) if registered else None
    country, network = _first(r"MCC: '(\d{3})'", text), _first(r"MNC: '(\d{1,3})'", text)
    roaming = _first(r"Roaming status: '([^']*)'", text)
    return [
        modem(
            _SOURCE,
            type_ or "mobile",
            f"{_SOURCE} says {', '.join(types)[:40] if type_ else state or 'a modem'}",
            0.95 if type_ else 0.8,
            generation=next(filter(None, map(cdma_generation, types)), None),
            signal=_of(signal, type_) if registered else {},
            operator=plmn(country, network) or _first(r"Description: '([^']*)'", text),
            roaming={"on": True, "off": False}.get(roaming or ""),
        )
    ]


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None


def _signals(text: str) -> dict[str, dict[str, str]]:
    """Values by radio. Two layouts: a radio with its values (signal info), or a value with its
    networks (signal strength)."""
    found: dict[str, dict[str, str]] = {}
    radio, quantity, last = "", "", ""
    for line in text.splitlines():
        heading, of_network = _HEADING.match(line), _OF_NETWORK.match(line)
        if _RADIO.match(line):
            radio, quantity = line.strip(" \t:").lower(), ""
        elif of_network:
            last = of_network[1].lower()
            name = "rssi" if quantity == "current" else quantity
            found.setdefault(last, {}).setdefault(name, of_network[2])
        elif heading:
            radio, quantity = "", heading[1].lower()
        elif (value := _VALUE.match(line)) and (radio or last):
            found.setdefault(radio or last, {}).setdefault(value[1].lower(), value[2])
    return found


def _of(signal: dict[str, dict[str, str]], type_: str | None) -> dict[str, float]:
    """Those of the radio in use; of 5G's beside an LTE cell as nr_*."""
    found: dict[str, float] = {}
    beside = any(technology(radio) == "lte" for radio in signal)
    for radio, values in signal.items():
        kind = technology(radio)
        five = kind == "5g"
        if five and not measured(rsrp_dbm=values.get("rsrp")):
            continue  # -32768: there is no such cell
        if kind != type_ and not (five or (kind == "lte" and type_ == "5g")) and len(signal) > 1:
            continue
        prefix = "nr_" if five and beside else ""
        for word, name in _NAMES.items():
            found |= measured(**{prefix + name: number(values.get(word))})
    return found
