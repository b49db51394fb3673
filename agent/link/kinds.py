"""What one interface is by itself: by its driver, its type in the kernel, its USB maker, its name.

Pure tables. What is behind or under it, linkguess finds.
"""

import re
from typing import NamedTuple

from agent.link.sysfs import Interface

_MODEM_DRIVERS = frozenset(
    ("qmi_wwan", "qmi_wwan_q", "GobiNet", "cdc_mbim", "huawei_cdc_ncm", "sierra_net", "hso")
    + ("kalmia", "mhi_net", "mhi_wwan_mbim", "iosm", "mtk_t7xx", "rmnet", "option")
)
_DONGLE_DRIVERS = frozenset(("cdc_ether", "rndis_host", "cdc_ncm", "cdc_eem", "ipheth"))
_MODEM_VENDORS = {
    "12d1": "Huawei",
    "19d2": "ZTE",
    "2c7c": "Quectel",
    "1199": "Sierra",
    "1e0e": "SIMCom",
    "2cb7": "Fibocom",
    "1bc7": "Telit",
    "1bbb": "Alcatel",
    "05c6": "Qualcomm",
    "2001": "D-Link",
    "0af0": "Option",
    "1c9e": "Longcheer",
    "2357": "TP-Link",
    "1435": "Wistron",
    "0846": "Netgear",
    "1e2d": "Cinterion",
    "1546": "u-blox",
    "2dee": "MeiG",
    "33f8": "Rolling Wireless",
    "1782": "Unisoc",
    "305a": "Unisoc",
    "1410": "Novatel",
    "106c": "Pantech",
    "16d8": "CMOTECH",
    "8087": "Intel",
    "2020": "MeiG",
    "3566": "a Chinese stick's",
    "0489": "Foxconn",
}
_PHONE_VENDORS = {
    "05ac": "Apple",
    "18d1": "Google",
    "04e8": "Samsung",
    "22b8": "Motorola",
    "2717": "Xiaomi",
    "0fce": "Sony",
    "22d9": "Oppo",
    "2a70": "OnePlus",
    "0bb4": "HTC",
    "1004": "LG",
    "0421": "Nokia",
    "0e8d": "MediaTek",
    "2d95": "vivo",
    "2e04": "HMD",
    "2ae5": "Fairphone",
    "339b": "Honor",
    "2a45": "Meizu",
    "054c": "Sony",
}
_ETHERNET_VENDORS = {
    "0bda": "Realtek",
    "0b95": "ASIX",
    "13b1": "Linksys",
    "0424": "Microchip",
    "9710": "MosChip",
    "17ef": "Lenovo",  # docks
    "413c": "Dell",
    "04b4": "Cypress",
    "0fe6": "Kontron",
    "2109": "VIA",
    "050d": "Belkin",
    "045e": "Microsoft",
    "1d6b": "Linux gadget",
    "0525": "Linux gadget",
}
_MOBILE_NAME = re.compile(
    r"(wwan|wwp|wwx|wwu|rmnet|qmimux|qmapmux|ccmni|mhi_[hs]wip|3g-|4g-|5g-|lte)"
)
_VPN_NAME = re.compile(
    r"(wg|tun|tap|tailscale|zt|nordlynx|proton|ovpn|utun|ipsec|vti|xfrm|464-|clat|siit|6in4-|6rd-|6to4-|map-|ds-|gre)"
)
_VPN_DEVTYPES = frozenset(
    ("wireguard", "vxlan", "gre", "ip6gre", "vti", "xfrm", "amneziawg", "ovpn")
)
_TUNNEL_TYPES = frozenset((768, 769, 776, 778, 823))  # ipip, ip6tnl, sit, gre, ip6gre
_DSL_NAME = re.compile(r"(v?dsl|adsl|ptm|nas|atm)\d")
_FIBER_NAME = re.compile(r"([gex]|xgs?)?pon\d")
_BRIDGE_NAME = re.compile(r"(br-|br\d|docker|virbr|lxcbr|vmbr)")
_VIRTUAL_NAME = re.compile(r"(veth|ifb|dummy|macvlan|ipvlan)")
_ADDRESS_IN_NAME = re.compile(r"^((?:en|wl|ww|eth)x?)[0-9a-f]{12}$")


class Kind(NamedTuple):
    """A type, how sure, and why in plain words."""

    type: str
    confidence: float
    because: str


def shown(iface: str) -> str:
    """The interface's name without the hardware address that udev may have put into it."""
    return _ADDRESS_IN_NAME.sub(r"\1*", iface)


def kind_of(interface: Interface) -> Kind:
    """One interface by itself. The order matters: the surest signs come first."""
    name, driver, devtype = interface.name, interface.driver, interface.devtype
    if interface.type == 772:
        return Kind("loopback", 1.0, f"{name} is the loopback")
    if interface.wireless or devtype == "wlan":
        return Kind("wifi", 0.95, f"{shown(name)} is a Wi-Fi interface{_of(driver)}")
    if devtype == "wwan" or driver in _MODEM_DRIVERS:
        return Kind("mobile", 0.9, f"{shown(name)} is a mobile modem{_of(driver)}")
    if driver in _DONGLE_DRIVERS:
        return _dongle(interface)
    if interface.bridge or devtype == "bridge":
        return Kind("bridge", 0.6, f"{name} is a bridge")
    if interface.tun or devtype in _VPN_DEVTYPES or interface.type in _TUNNEL_TYPES:
        return Kind("vpn", 0.8, f"{name} is a tunnel")
    if devtype == "ppp" or interface.type == 512:
        return _ppp(name)
    if _DSL_NAME.match(name):
        return Kind("dsl", 0.8, f"{name} is a DSL line's device")
    if _FIBER_NAME.match(name):
        return Kind("fiber", 0.8, f"{name} is an optical line's device")
    if devtype == "wimax":
        return Kind("mobile", 0.8, f"{name} is a WiMAX modem")
    if devtype == "bluetooth":
        return Kind("mobile", 0.5, f"{name} is a Bluetooth connection, as to a phone")
    if interface.type == 519:
        return Kind("mobile", 0.8, f"{name} carries raw IP, as modems do")
    if interface.virtual:
        return _virtual(interface)
    if interface.type == 1:
        sure = 0.7 if interface.bus == "virtio" else 0.9
        return Kind("ethernet", sure, f"{shown(name)} is an Ethernet interface{_of(driver)}")
    return by_name(name)


def _dongle(interface: Interface) -> Kind:
    """USB devices that look like Ethernet: a stick, a tethered phone, or a plain adapter."""
    name, driver = shown(interface.name), interface.driver
    vendor = (interface.usb_id or "").partition(":")[0]
    if driver == "ipheth" or vendor in _PHONE_VENDORS:
        maker = _PHONE_VENDORS.get(vendor, "Apple")
        return Kind("mobile", 0.6, f"{name} is a tethered phone ({maker}, driver {driver})")
    if vendor in _MODEM_VENDORS:
        maker = _MODEM_VENDORS[vendor]
        return Kind("mobile", 0.7, f"{name} is a USB modem ({maker}, driver {driver})")
    if vendor in _ETHERNET_VENDORS:
        maker = _ETHERNET_VENDORS[vendor]
        return Kind("ethernet", 0.7, f"{name} is a USB adapter ({maker}, driver {driver})")
    if driver in ("cdc_ether", "rndis_host"):
        return Kind("mobile", 0.4, f"{name} is a USB device with driver {driver}, often a modem")
    return Kind("ethernet", 0.4, f"{name} is a USB device with driver {driver}")


def _ppp(name: str) -> Kind:
    if _MOBILE_NAME.match(name):
        return Kind("mobile", 0.7, f"{name} is PPP, and its name says mobile")
    if name.startswith(("pppoe", "pppoa")):
        return Kind("ppp", 0.6, f"{name} is PPP over a fixed line")
    return Kind("ppp", 0.5, f"{name} is PPP: a fixed line or a modem")


def _virtual(interface: Interface) -> Kind:
    name, devtype = interface.name, interface.devtype
    if devtype in ("vlan", "bond", "macvlan", "ipvlan", "dsa"):
        return Kind("virtual", 0.5, f"{name} is a {devtype}")
    named = by_name(name)
    if named.type == "mobile" or (named.type != "unknown" and interface.type != 1):
        return named
    return Kind("virtual", 0.6, f"{name} is virtual: nothing is known of what is behind it")


def by_name(name: str) -> Kind:
    """When sysfs knows nothing of it: a weak guess."""
    if _MOBILE_NAME.match(name):
        return Kind("mobile", 0.5, f"{shown(name)} has a modem's name")
    if name.startswith("wl"):
        return Kind("wifi", 0.5, f"{shown(name)} has a Wi-Fi interface's name")
    if name.startswith("ppp"):
        return _ppp(name)
    if name == "lo":
        return Kind("loopback", 0.9, f"{name} has the loopback's name")
    if _DSL_NAME.match(name):
        return Kind("dsl", 0.7, f"{name} has a DSL device's name")
    if _BRIDGE_NAME.match(name):
        return Kind("bridge", 0.5, f"{name} has a bridge's name")
    if _VIRTUAL_NAME.match(name):
        return Kind("virtual", 0.5, f"{name} has a virtual interface's name")
    if _VPN_NAME.match(name):
        return Kind("vpn", 0.5, f"{name} has a tunnel's name")
    if name.startswith(("eth", "en")):
        return Kind("ethernet", 0.4, f"{shown(name)} has an Ethernet interface's name")
    return Kind("unknown", 0.0, f"nothing is known of {shown(name)}")


def _of(driver: str | None) -> str:
    return f" (driver {driver})" if driver else ""
