"""NetworkManager, by nmcli: which device is what. Its "gsm" is any generation, never 2G."""

import re

from agent.link.helpers import Runner
from agent.link.modem import Modem, measured, modem, tidy

_SOURCE = "NetworkManager"
_TYPES = {
    "gsm": ("mobile", 0.85),
    "cdma": ("mobile", 0.85),
    "wifi": ("wifi", 0.9),
    "wireless": ("wifi", 0.9),
    "802-11-wireless": ("wifi", 0.9),
    "bt": ("mobile", 0.6),  # a phone's connection, by Bluetooth
    "bluetooth": ("mobile", 0.6),
    "adsl": ("adsl", 0.8),
    "wimax": ("mobile", 0.8),
    "wireguard": ("vpn", 0.8),
    "vpn": ("vpn", 0.8),
    "pppoe": ("ppp", 0.6),
}


def read(run: Runner) -> list[Modem]:
    """The connected devices, and the Wi-Fi's signal. Networks' names are not even asked for."""
    found = parse(run(("nmcli", "-t", "-f", "DEVICE,TYPE,STATE", "device")) or "")
    if not any(said.type == "wifi" for said in found):
        return found
    words = ("nmcli", "-t", "-f", "IN-USE,DEVICE,SIGNAL,RATE", "device", "wifi", "list")
    signals = parse_wifi(run((*words, "--rescan", "no")) or "")
    return [said._replace(signal=signals.get(said.iface or "", {})) for said in found]


def parse(text: str) -> list[Modem]:
    """``nmcli device``, terse (with colons) or as its table."""
    found = []
    for line in tidy(text).splitlines():
        fields = re.split(r"(?<!\\):", line) if line.count(":") >= 2 else line.split()
        if len(fields) < 3 or not re.match(r"connected\b", fields[2]):
            continue
        device, kind = fields[0].strip(), fields[1].strip()
        if kind not in _TYPES or not re.fullmatch(r"[\w.@-]{1,15}", device):
            continue
        type_, confidence = _TYPES[kind]
        control = device.startswith(("cdc-wdm", "tty")) or kind in ("bt", "bluetooth")
        evidence = f"{_SOURCE} says {kind} is connected"
        iface = None if control else device
        found.append(modem(_SOURCE, type_, evidence, confidence, iface=iface))
    return found


def parse_wifi(text: str) -> dict[str, dict[str, float]]:
    """``*:wlan0:78:130 Mbit/s``: the network in use, by device."""
    found = {}
    for line in tidy(text).splitlines():
        fields = line.split(":")
        if len(fields) == 4 and fields[0].strip() == "*":
            rate = fields[3].partition(" ")[0]
            found[fields[1]] = measured(quality_pct=fields[2], bitrate_mbit=rate)
    return found
