"""The Wi-Fi's signal and bit rate, by iw: newer kernels have no /proc/net/wireless. No SSID is
kept."""

import re

from agent.link.helpers import Runner
from agent.link.modem import Modem, measured, modem, tidy

_SOURCE = "iw"


def read(run: Runner, iface: str) -> list[Modem]:
    """Of this interface."""
    return [said._replace(iface=iface) for said in parse(run(("iw", "dev", iface, "link")) or "")]


def parse(text: str) -> list[Modem]:
    """``Connected to … / signal: -56 dBm / tx bitrate: 65.0 MBit/s MCS 7``."""
    text = tidy(text)
    if not re.match(r"\s*Connected to", text):
        return []
    signal = re.search(r"^\s*signal: (-?\d+)", text, re.MULTILINE)
    rate = re.search(r"^\s*[rt]x bitrate: ([\d.]+) MBit/s", text, re.MULTILINE)
    values = measured(
        signal_dbm=signal[1] if signal else None, bitrate_mbit=rate[1] if rate else None
    )
    return [modem(_SOURCE, "wifi", f"{_SOURCE} says it is a Wi-Fi station", 0.95, signal=values)]
