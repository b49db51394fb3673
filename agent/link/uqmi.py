"""OpenWrt's uqmi: the serving system and the signal of a QMI modem, as JSON.

Its output has changed: the signal-to-noise ratio was an integer of tenths and is a decimal now;
with 5G beside LTE (EN-DC) the signal is a list of two. Only root may ask.
"""

from typing import Any

from agent.link.helpers import Runner
from agent.link.modem import (
    Modem,
    cdma_generation,
    load,
    measured,
    modem,
    plmn,
    table,
    technology,
)
from agent.link.ports import Port

_SOURCE = "uqmi"
_OFTEN = Port("/dev/cdc-wdm0", None, None)


def read(run: Runner, port: Port = _OFTEN) -> list[Modem]:
    """The modem behind this control device."""
    words = ("uqmi", "-s", "-d", port.device)
    signal = run((*words, "--get-signal-info"))
    serving = run((*words, "--get-serving-system"))
    return [said._replace(iface=port.iface) for said in parse(signal or "", serving or "")]


def parse(signal_text: str, serving_text: str = "") -> list[Modem]:
    """What both said; either may be missing."""
    signal, serving = load(signal_text), table(load(serving_text))
    parts = [part for part in (signal if isinstance(signal, list) else [signal]) if table(part)]
    types = [part.get("type") for part in parts if isinstance(part.get("type"), str)]
    radios = serving.get("radio_interface")
    radios = [word for word in radios if isinstance(word, str)] if isinstance(radios, list) else []
    if not types and "registration" not in serving:
        return []
    registered = serving.get("registration", "registered") == "registered"
    type_ = technology(*types) or technology(*radios) if registered else None
    said = ", ".join(types or radios) if type_ else serving.get("registration", "a modem")
    return [
        modem(
            _SOURCE,
            type_ or "mobile",
            f"{_SOURCE} says {str(said).replace('_', ' ')[:40]}",
            0.95 if type_ else 0.8,
            generation=next(filter(None, map(cdma_generation, types)), None),
            signal=_signals(parts, type_) if registered else {},
            operator=plmn(serving.get("plmn_mcc"), serving.get("plmn_mnc"))
            or serving.get("plmn_description"),
            roaming=serving["roaming"] if isinstance(serving.get("roaming"), bool) else None,
        )
    ]


def _signals(parts: list[dict[str, Any]], type_: str | None) -> dict[str, float]:
    """Of the serving cell; of 5G's beside an LTE cell as nr_*."""
    found: dict[str, float] = {}
    for part in parts[:4]:
        beside = len(parts) > 1 and technology(part.get("type")) == "5g"
        found |= _signal(part, "nr_" if beside else "")
    return found


def _signal(part: dict[str, Any], prefix: str) -> dict[str, float]:
    snr = part.get("snr")
    if isinstance(snr, int) and not isinstance(snr, bool):
        snr = snr / 10  # an old build: tenths
    values = {
        "rssi_dbm": part.get("rssi", part.get("signal")),
        "rsrp_dbm": part.get("rsrp"),
        "rsrq_db": part.get("rsrq"),
        "snr_db": snr,
        "ecio_db": _ecio(_signed(part.get("ecio"))),
    }
    return measured(**{prefix + name: _signed(value) for name, value in values.items()})


def _ecio(value: object) -> object:
    """QMI counts it in steps of -0.5 dB; what is negative has been converted."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value * -0.5
    return value


def _signed(value: object) -> object:
    """Some builds print negative numbers as 32 unsigned bits."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**31:
        return value - 2**32
    return value
