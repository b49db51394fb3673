"""The network interfaces as /sys/class/net shows them. No hardware address is ever read."""

import os
from typing import NamedTuple

_SHORT = 4096


class Interface(NamedTuple):
    """Absent in sysfs is None or False here."""

    name: str
    type: int | None  # ARPHRD_*: 1 Ethernet-like, 512 PPP, 519 raw IP, 772 loopback, 65534 none
    devtype: str | None  # of uevent: wlan, wwan, bridge, vlan, bond, ppp, wireguard, …
    driver: str | None
    bus: str | None  # usb, pci, virtio, sdio, platform, …
    usb_id: str | None  # "12d1:14db"
    operstate: str | None
    wireless: bool
    bridge: bool
    bridge_port: bool
    tun: bool
    virtual: bool  # no device is behind it
    lower: tuple[str, ...]  # what it runs over: ports, slaves, the interface of a VLAN


def interfaces(root: str = "/") -> dict[str, Interface]:
    """Every interface that can be read."""
    folder = os.path.join(root, "sys/class/net")
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return {}
    by_index = {_text(folder, name, "ifindex"): name for name in names}
    return {
        name: _interface(folder, name, by_index)
        for name in names
        if os.path.isdir(os.path.join(folder, name))
    }


def _interface(folder: str, name: str, by_index: dict[str | None, str]) -> Interface:
    path = os.path.join(folder, name)
    uevent = _uevent(path)
    device = os.path.join(path, "device")
    type_text = _text(path, "type") or ""
    return Interface(
        name=name,
        type=int(type_text) if type_text.isdecimal() else None,
        devtype=uevent.get("DEVTYPE"),
        driver=_link_name(device, "driver") or _uevent(device).get("DRIVER"),
        bus=_link_name(device, "subsystem"),
        usb_id=_usb_id(device),
        operstate=_text(path, "operstate"),
        wireless=_has(path, "wireless") or _has(path, "phy80211"),
        bridge=_has(path, "bridge"),
        bridge_port=_has(path, "brport"),
        tun=_has(path, "tun_flags"),
        virtual=not os.path.exists(device),
        lower=_lower(path, name, by_index),
    )


def _lower(path: str, name: str, by_index: dict[str | None, str]) -> tuple[str, ...]:
    """By the links of the kernel; else by the ports' folder, the slaves' file, or iflink."""
    active = _text(path, "bonding", "active_slave")
    if active:
        return (active,)
    entries = _entries(path)
    linked = [entry.removeprefix("lower_") for entry in entries if entry.startswith("lower_")]
    if not linked:
        linked = _entries(path, "brif") or (_text(path, "bonding", "slaves") or "").split()
    if not linked:
        # A VLAN or a macvlan points at its interface. A veth points at its other end, which may
        # be in another namespace where the same number is another interface: so it is not asked.
        below = by_index.get(_text(path, "iflink"), name)
        if below != name and _uevent(path).get("DEVTYPE") in ("vlan", "macvlan", "ipvlan", "dsa"):
            linked = [below]
    return tuple(sorted(linked))


def _usb_id(device: str) -> str | None:
    """Vendor and product of the USB device that the interface belongs to."""
    folder = os.path.realpath(device)
    for _ in range(4):  # the interface of the USB device, the device, a wwan port in between
        vendor, product = _text(folder, "idVendor"), _text(folder, "idProduct")
        if vendor and product:
            return f"{vendor}:{product}".lower()
        folder = os.path.dirname(folder)
    parts = (_uevent(device).get("PRODUCT") or "").split("/")
    if len(parts) == 3:  # "2c7c/801/504": hexadecimal without leading zeros
        return f"{parts[0]:0>4}:{parts[1]:0>4}".lower()
    return None


def _uevent(path: str) -> dict[str, str]:
    found = {}
    for line in (_text(path, "uevent") or "").splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found[key.strip()] = value.strip()
    return found


def _text(path: str, *names: str) -> str | None:
    try:
        with open(os.path.join(path, *names), encoding="utf-8", errors="replace") as file:
            return file.read(_SHORT).strip()
    except OSError:  # also EINVAL of an interface that is down
        return None


def _link_name(path: str, name: str) -> str | None:
    try:
        return os.path.basename(os.readlink(os.path.join(path, name)))
    except OSError:
        return None


def _entries(path: str, *names: str) -> list[str]:
    try:
        return os.listdir(os.path.join(path, *names))
    except OSError:
        return []


def _has(path: str, name: str) -> bool:
    return os.path.lexists(os.path.join(path, name))
