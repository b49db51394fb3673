"""OpenWrt, by ubus: netifd's interfaces with their protocols, the Wi-Fi, and ModemManager.

netifd gives a modem's addresses to children: wan (qmi) has no device of its own, wan_4 (dhcp, on
wwan0) has. And what the owner writes as a child of his own names its parent as "@wan". Each
device gets the protocol of the head of its family.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from agent.link import modemmanager
from agent.link.helpers import Runner
from agent.link.modem import Modem, load, measured, modem, number, table

_SOURCE = "netifd"
_TYPES = {
    **dict.fromkeys(
        ("qmi", "mbim", "ncm", "3g", "modemmanager", "wwan", "directip", "comgt", "huawei")
        + ("quectel", "fibocom", "mhi", "atc", "gcom", "xmm", "cellular", "modem", "qmapv5"),
        ("mobile", 0.85),
    ),
    **dict.fromkeys(("pppoe", "pppoa", "ppp"), ("ppp", 0.65)),
    **dict.fromkeys(
        ("wireguard", "openvpn", "l2tp", "pptp", "gre", "gretap", "grev6", "vti", "xfrm", "vxlan")
        + ("openconnect", "vpnc", "sstp", "amneziawg", "zerotier", "tailscale", "ipip", "6in4"),
        ("vpn", 0.8),
    ),
}
_DSL_DEVICE = re.compile(r"(dsl|ptm|atm|nas|vdsl|adsl)\d")
_NAME = re.compile(r"[\w.@-]{1,32}")


def read(run: Runner, wifi: tuple[str, ...] = ()) -> list[Modem]:
    """All that ubus knows; ``wifi`` are the interfaces to ask iwinfo about."""
    dump = run(("ubus", "call", "network.interface", "dump"))
    found = parse(dump or run(("ubus", "call", "network.interface.wan", "status")) or "")
    found += modemmanager.parse(run(("ubus", "call", "modemmanager", "info")) or "")
    for iface in wifi:
        question = json.dumps({"device": iface})
        said = parse_iwinfo(run(("ubus", "call", "iwinfo", "info", question)) or "")
        found += [each._replace(iface=iface) for each in said]
    return found


def parse(text: str) -> list[Modem]:
    """``network.interface dump``, or the status of one interface (ifstatus)."""
    document = load(text)
    listed = table(document).get("interface")
    if not isinstance(listed, list):
        listed = [document]
    by_name = {}
    for at, fields in enumerate(listed[:200]):
        if table(fields):
            name = fields.get("interface")
            by_name[name if isinstance(name, str) else f"#{at}"] = fields
    found: dict[str, Modem] = {}
    for name, fields in by_name.items():
        said = _said(name, fields, by_name) if fields.get("up") is True else None
        if said is not None and said.iface is not None:
            kept = found.get(said.iface)
            if kept is None or kept.confidence < said.confidence:
                found[said.iface] = said
    return list(found.values())


def _said(name: str, fields: Mapping[str, Any], by_name: Mapping[str, Any]) -> Modem | None:
    device = fields.get("l3_device") or fields.get("device")
    if not isinstance(device, str) or not re.fullmatch(r"[\w.-]{1,15}", device):
        return None
    head, proto = _head(name, fields, by_name)
    type_, confidence = _TYPES.get(proto, (None, 0.0))
    below = by_name.get(head, fields).get("device")
    if type_ == "ppp" and isinstance(below, str) and _DSL_DEVICE.match(below):
        type_, confidence = "dsl", 0.85
    if type_ == "ppp" and re.match(r"tty|3g-", str(below)):
        type_ = "mobile"
    if type_ is None:
        return None
    called = "" if head.startswith("#") else f" interface {head}"
    shown = head if _NAME.fullmatch(head) else "one"
    evidence = f"{_SOURCE}:{called and ' interface ' + shown} has protocol {proto}"
    if type_ == "dsl":
        evidence += f", over {below}"
    return modem(_SOURCE, type_, evidence, confidence, iface=device)


def _head(name: str, fields: Mapping[str, Any], by_name: Mapping[str, Any]) -> tuple[str, str]:
    """The name and the protocol of the interface that this one is a child of, or its own."""
    for _ in range(4):
        device = str(fields.get("device", ""))
        parent = device[1:] if device.startswith("@") else None
        if parent is None:
            stem = re.fullmatch(r"(.+)_(?:4|6|4g|464|clat|ipv4|ipv6)", name)
            parent = stem[1] if stem else None
        if parent is None and fields.get("proto") in ("dhcp", "dhcpv6", "static", "6rd", "464xlat"):
            parent = _same_device(name, fields, by_name)
        above = table(by_name.get(parent or ""))
        if not above or parent == name:
            break
        name, fields = str(parent), above
    return name, str(fields.get("proto", ""))


def _same_device(name: str, fields: Mapping[str, Any], by_name: Mapping[str, Any]) -> str | None:
    """wan6 (dhcpv6) on pppoe-wan is a child of wan (pppoe) on it, though nothing says so."""
    device = fields.get("l3_device") or fields.get("device")
    for other, its in by_name.items():
        same = device is not None and device in (its.get("l3_device"), its.get("device"))
        if other != name and same and its.get("proto") in _TYPES:
            return str(other)
    return None


def parse_iwinfo(text: str) -> list[Modem]:
    """The signal of a Wi-Fi station. An access point's own is nobody's uplink."""
    fields = table(load(text))
    mode = str(fields.get("mode", ""))
    if not mode or mode.lower() not in ("client", "station", "managed", "sta"):
        return []
    quality, most = number(fields.get("quality")), number(fields.get("quality_max"))
    rate = number(fields.get("bitrate"))
    signal = measured(
        signal_dbm=fields.get("signal"),
        noise_dbm=fields.get("noise"),
        quality_pct=100 * quality / most if quality is not None and most else None,
        bitrate_mbit=None if rate is None else rate / 1000,
    )
    return [modem("iwinfo", "wifi", "iwinfo says it is a Wi-Fi station", 0.95, signal=signal)]
