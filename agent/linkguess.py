"""What link is this: the facts that link/ found become one guess, with its reasons. Pure.

The default route names an interface. Bridges, bonds, VLANs and tunnels are followed to what is
underneath; what that is, a table tells by driver, device type and name. The owner's word (--link)
always wins, and is marked as stated. Hardware addresses, SSIDs and numbers of modems have no place
here, not even inside an interface's name.
"""

import re
from typing import Any, NamedTuple

from agent.link import Facts
from agent.link.sysfs import Interface

TYPES = (
    *("ethernet", "wifi"),
    *("gprs", "edge", "gsm", "umts", "hspa", "lte", "5g", "mobile"),
    *("adsl", "vdsl", "dsl", "cable", "fiber", "satellite", "ppp"),
    *("vpn", "bridge", "virtual", "loopback", "unknown"),
)
GENERATIONS = {
    "gprs": "2g",
    "edge": "2g",
    "gsm": "2g",
    "umts": "3g",
    "hspa": "3g",
    "lte": "4g",
    "5g": "5g",
}

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
    "17ef": "Lenovo",
}
_ETHERNET_VENDORS = {
    "0bda": "Realtek",
    "0b95": "ASIX",
    "13b1": "Linksys",
    "0424": "Microchip",
    "9710": "MosChip",
    "050d": "Belkin",
    "045e": "Microsoft",
    "1d6b": "Linux gadget",
    "0525": "Linux gadget",
}
_MOBILE_NAME = re.compile(r"(wwan|wwp|wwx|wwu|rmnet|qmimux|3g-|4g-|5g-|lte)")
_VPN_NAME = re.compile(r"(wg|tun|tap|tailscale|zt|nordlynx|ovpn|utun|ipsec|vti|xfrm)")
_VPN_DEVTYPES = frozenset(
    ("wireguard", "vxlan", "gre", "ip6gre", "vti", "xfrm", "amneziawg", "ovpn")
)
_TUNNEL_TYPES = frozenset((768, 769, 776, 778, 823))  # ipip, ip6tnl, sit, gre, ip6gre
_ADDRESS_IN_NAME = re.compile(r"^((?:en|wl|ww|eth)x?)[0-9a-f]{12}$")
_UNREAL = ("unknown", "virtual", "bridge", "loopback")  # tells nothing of the line
_MAX_DEPTH = 5


class Link(NamedTuple):
    """A guess. Empty and None mean: not measured."""

    type: str
    generation: str | None
    iface: str | None
    confidence: float
    evidence: tuple[str, ...]
    signal: dict[str, float]
    operator: str | None
    roaming: bool | None
    stated: bool

    @property
    def metered(self) -> bool:
        """Bytes cost money here: any mobile link, also when its generation is not known."""
        return self.generation is not None or self.type == "mobile"

    def as_body(self, age_s: int | None = None) -> dict[str, Any]:
        """What each result carries: no evidence, nothing that was not measured."""
        body: dict[str, Any] = {"type": self.type, "confidence": round(self.confidence, 2)}
        measured = {
            "generation": self.generation,
            "iface": self.iface,
            "signal": self.signal or None,
            "stated": self.stated or None,
            "age_s": age_s,
        }
        return body | {key: value for key, value in measured.items() if value is not None}

    def as_json(self) -> dict[str, Any]:
        """What ``swarming-agent link --json`` prints."""
        return {
            "type": self.type,
            "generation": self.generation,
            "iface": self.iface,
            "confidence": round(self.confidence, 2),
            "evidence": list(self.evidence),
            "signal": dict(self.signal),
            "operator": self.operator,
            "roaming": self.roaming,
            "stated": self.stated,
        }


class _Kind(NamedTuple):
    type: str
    confidence: float
    because: str


def guess(facts: Facts, stated: str | None = None, iface: str | None = None) -> Link:
    """The link behind the default route, or behind ``iface``."""
    evidence: list[str] = []
    name = iface or _uplink(facts, evidence)
    kind = _Kind("unknown", 0.0, "there is no default route")
    below = name
    if name is not None:
        kind, below = _follow(facts, name, evidence, _MAX_DEPTH)
    evidence.append(kind.because)
    type_, confidence = kind.type, kind.confidence
    if stated is not None:
        evidence.insert(0, f"the owner says {stated}")
        type_, confidence = stated, 1.0
    return Link(
        type=type_,
        generation=GENERATIONS.get(type_),
        iface=None if name is None else shown(name),
        confidence=confidence,
        evidence=tuple(evidence),
        signal=_signal(facts, below) if below is not None else {},
        operator=None,
        roaming=None,
        stated=stated is not None,
    )


def changed(old: Link | None, new: Link) -> bool:
    """Results before and after must not be compared; a moving signal is no change."""
    if old is None:
        return True
    return (old.type, old.iface, old.stated, old.operator, old.roaming) != (
        new.type,
        new.iface,
        new.stated,
        new.operator,
        new.roaming,
    )


def shown(iface: str) -> str:
    """The interface's name without the hardware address that udev may have put into it."""
    return _ADDRESS_IN_NAME.sub(r"\1*", iface)


def _uplink(facts: Facts, evidence: list[str]) -> str | None:
    """The interface of the default route: IPv4's first, for most targets have it."""
    if not facts.routes:
        return None
    route = facts.routes[0]
    evidence.append(f"default route by {shown(route.iface)}")
    others = {r.iface for r in facts.routes if r.family != route.family} - {route.iface}
    if others:
        evidence.append(f"IPv6 goes by {shown(sorted(others)[0])}")
    return route.iface


def _follow(facts: Facts, name: str, evidence: list[str], depth: int) -> tuple[_Kind, str]:
    """The kind of the interface at the bottom, and that interface's name."""
    interface = facts.interfaces.get(name)
    if interface is None:
        return _by_name(name), name
    kind = _kind(interface)
    if depth == 0:
        return kind, name
    for below in _below(facts, interface, kind):
        evidence.append(f"{kind.because}, over {shown(below)}")
        found, bottom = _follow(facts, below, evidence, depth - 1)
        if found.type not in _UNREAL:
            return found._replace(confidence=found.confidence * 0.95), bottom
        evidence.pop()
    return kind, name


def _below(facts: Facts, interface: Interface, kind: _Kind) -> list[str]:
    """What it may run over, the likeliest first."""
    if interface.lower:
        known = [facts.interfaces[name] for name in interface.lower if name in facts.interfaces]
        return [lower.name for lower in sorted(known, key=_likeliness)]
    if kind.type == "vpn":
        outside = (route.iface for route in facts.routes)
        return [name for name in outside if name != interface.name and not _is_vpn(facts, name)][:1]
    return []


def _likeliness(interface: Interface) -> tuple[bool, bool, bool, str]:
    """Of a bridge's ports the cable leads out: Wi-Fi in a bridge is an access point's."""
    return (
        interface.virtual and not interface.lower,
        interface.operstate == "down",
        interface.wireless,
        interface.name,
    )


def _is_vpn(facts: Facts, name: str) -> bool:
    interface = facts.interfaces.get(name)
    return (_by_name(name) if interface is None else _kind(interface)).type == "vpn"


def _kind(interface: Interface) -> _Kind:
    """One interface by itself. The order matters: the surest signs come first."""
    name, driver, devtype = interface.name, interface.driver, interface.devtype
    if interface.type == 772:
        return _Kind("loopback", 1.0, f"{name} is the loopback")
    if interface.wireless or devtype == "wlan":
        return _Kind("wifi", 0.95, f"{shown(name)} is a Wi-Fi interface{_of(driver)}")
    if devtype == "wwan" or driver in _MODEM_DRIVERS:
        return _Kind("mobile", 0.9, f"{shown(name)} is a mobile modem{_of(driver)}")
    if driver in _DONGLE_DRIVERS:
        return _dongle(interface)
    if interface.bridge or devtype == "bridge":
        return _Kind("bridge", 0.6, f"{name} is a bridge")
    if interface.tun or devtype in _VPN_DEVTYPES or interface.type in _TUNNEL_TYPES:
        return _Kind("vpn", 0.8, f"{name} is a tunnel")
    if devtype == "ppp" or interface.type == 512:
        return _ppp(name)
    if interface.type == 519:
        return _Kind("mobile", 0.8, f"{name} carries raw IP, as modems do")
    if interface.virtual:
        return _virtual(interface)
    if interface.type == 1:
        sure = 0.7 if interface.bus == "virtio" else 0.9
        return _Kind("ethernet", sure, f"{shown(name)} is an Ethernet interface{_of(driver)}")
    return _by_name(name)


def _dongle(interface: Interface) -> _Kind:
    """USB devices that look like Ethernet: a stick, a tethered phone, or a plain adapter."""
    name, driver = shown(interface.name), interface.driver
    vendor = (interface.usb_id or "").partition(":")[0]
    if driver == "ipheth" or vendor in _PHONE_VENDORS:
        maker = _PHONE_VENDORS.get(vendor, "Apple")
        return _Kind("mobile", 0.6, f"{name} is a tethered phone ({maker}, driver {driver})")
    if vendor in _MODEM_VENDORS:
        maker = _MODEM_VENDORS[vendor]
        return _Kind("mobile", 0.7, f"{name} is a USB modem ({maker}, driver {driver})")
    if vendor in _ETHERNET_VENDORS:
        maker = _ETHERNET_VENDORS[vendor]
        return _Kind("ethernet", 0.7, f"{name} is a USB adapter ({maker}, driver {driver})")
    if driver in ("cdc_ether", "rndis_host"):
        return _Kind("mobile", 0.4, f"{name} is a USB device with driver {driver}, often a modem")
    return _Kind("ethernet", 0.4, f"{name} is a USB device with driver {driver}")


def _ppp(name: str) -> _Kind:
    if _MOBILE_NAME.match(name):
        return _Kind("mobile", 0.7, f"{name} is PPP, and its name says mobile")
    if name.startswith(("pppoe", "pppoa")):
        return _Kind("ppp", 0.6, f"{name} is PPP over a fixed line")
    return _Kind("ppp", 0.5, f"{name} is PPP: a fixed line or a modem")


def _virtual(interface: Interface) -> _Kind:
    name, devtype = interface.name, interface.devtype
    if devtype in ("vlan", "bond", "macvlan", "ipvlan", "dsa"):
        return _Kind("virtual", 0.5, f"{name} is a {devtype}")
    by_name = _by_name(name)
    if by_name.type != "unknown" and interface.type != 1:
        return by_name
    return _Kind("virtual", 0.6, f"{name} is virtual: nothing is known of what is behind it")


def _by_name(name: str) -> _Kind:
    """When sysfs knows nothing of it: a weak guess."""
    if _MOBILE_NAME.match(name):
        return _Kind("mobile", 0.5, f"{shown(name)} has a modem's name")
    if name.startswith("wl"):
        return _Kind("wifi", 0.5, f"{shown(name)} has a Wi-Fi interface's name")
    if name.startswith("ppp"):
        return _ppp(name)
    if _VPN_NAME.match(name):
        return _Kind("vpn", 0.5, f"{name} has a tunnel's name")
    if name.startswith(("eth", "en")):
        return _Kind("ethernet", 0.4, f"{shown(name)} has an Ethernet interface's name")
    return _Kind("unknown", 0.0, f"nothing is known of {shown(name)}")


def _of(driver: str | None) -> str:
    return f" (driver {driver})" if driver else ""


def _signal(facts: Facts, name: str) -> dict[str, float]:
    station = facts.stations.get(name)
    if station is None:
        return {}
    measured = {"signal_dbm": station.signal_dbm, "quality_pct": station.quality_pct}
    return {key: float(value) for key, value in measured.items() if value is not None}
