"""Wi-Fi signal from /proc/net/wireless, where the kernel still has it. No SSID is ever read."""

import os
from typing import NamedTuple


class Station(NamedTuple):
    signal_dbm: float | None
    quality_pct: int | None


def stations(root: str = "/") -> dict[str, Station]:
    """Signal by interface; empty where there is no such file."""
    try:
        with open(
            os.path.join(root, "proc/net/wireless"), encoding="ascii", errors="replace"
        ) as file:
            lines = file.read(64 * 1024).splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, colon, rest = line.partition(":")
        fields = rest.split()
        if colon and len(fields) >= 3:
            found[name.strip()] = Station(_signal(fields[2]), _quality(fields[1]))
    return found


def _signal(text: str) -> float | None:
    """dBm with a trailing dot ("-54."). Old drivers give 0 to 255; -256 and 0 mean not measured."""
    try:
        number = float(text)
    except ValueError:
        return None
    if number > 63:
        number -= 256
    return number if -120 <= number < 0 else None


def _quality(text: str) -> int | None:
    """Out of 70, as cfg80211 gives it; anything above is on another scale, which nobody tells."""
    try:
        number = float(text)
    except ValueError:
        return None
    return round(number / 70 * 100) if 0 < number <= 70 else None
