"""OpenWrt's umbim: registration of an MBIM modem, and its signal. Only root may ask.

Always with -n and -t: without them umbim opens and closes the modem's session, which would end
the connection that is being measured.
"""

import re

from agent.link.helpers import Runner
from agent.link.modem import Modem, measured, modem, technology, tidy
from agent.link.ports import Port

_SOURCE = "umbim"
_REGISTERED = ("home", "roaming", "partner")


def read(run: Runner, port: Port) -> list[Modem]:
    """The modem behind this control device."""
    words = ("umbim", "-n", "-t", "100", "-d", port.device)
    text = run((*words, "registration")) or ""
    if not text:
        return []
    text += "\n" + (run((*words, "signal")) or "")
    return [said._replace(iface=port.iface) for said in parse(text)]


def parse(text: str) -> list[Modem]:
    """Lines of ``name: 0003 - words``. The data classes are those that the cell offers: the
    newest of them is what the modem most likely uses, not what it is known to use."""
    fields = dict(re.findall(r"^\s*(\w+): *(.*?) *$", tidy(text), re.MULTILINE))
    state = fields.get("registerstate", "").partition(" - ")[2].strip().lower()
    if not state and "rssi" not in fields:
        return []
    classes = fields.get("highestavailabledataclass") or fields.get("availabledataclasses", "")
    words = re.split(r"[ ,]+", classes.partition(" - ")[2].replace("5g", "5gnr"))
    type_ = technology(*words) if state in _REGISTERED else None
    return [
        modem(
            _SOURCE,
            type_ or "mobile",
            f"{_SOURCE} says {state[:30] or 'a signal'}" + (f", {type_} on offer" if type_ else ""),
            0.75,
            signal=_signal(fields.get("rssi", "")) if state in _REGISTERED else {},
            operator=fields.get("provider_id") or fields.get("provider_name"),
            roaming={"home": False, "roaming": True, "partner": True}.get(state),
        )
    ]


def _signal(text: str) -> dict[str, float]:
    """0 to 31, hexadecimal: -113 dBm in steps of two; or dBm, as words with their unit."""
    if "dbm" in text.lower():
        return measured(rssi_dbm=text)
    raw = re.match(r"(?:0x)?([0-9A-Fa-f]{1,8})\b", text)
    steps = int(raw[1], 16) if raw else 99
    return measured(rssi_dbm=-113 + 2 * steps) if steps <= 31 else {}
