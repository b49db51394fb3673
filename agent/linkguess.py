"""What link is this: the facts that link/ found become one guess, with its reasons. Pure.

The default route names an interface. Bridges, bonds, VLANs and tunnels are followed to what is
underneath; what that is, a table tells by driver, device type and name (link/kinds). Then the
tools have their say, in this order:

    the owner (--link)                      always wins, and is marked as stated
    a modem or a DSL line of that interface, which names its technology: the surest of them
    the interface itself                    "mobile" where no modem says which generation
    a page at the gateway, the outside view only where the interface says no more than Ethernet

A VPN over LTE is LTE, with the VPN in the evidence. Hardware addresses, SSIDs and numbers of
modems have no place here, not even inside an interface's name.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from agent.link import Facts
from agent.link.kinds import Kind, by_name, kind_of, shown
from agent.link.modem import DSL, GENERATIONS, Modem
from agent.link.sysfs import Interface

__all__ = ["GENERATIONS", "TYPES", "Link", "changed", "guess", "shown"]

TYPES = (
    *("ethernet", "wifi"),
    *("gprs", "edge", "gsm", "umts", "hspa", "lte", "5g", "mobile"),
    *("adsl", "vdsl", "dsl", "cable", "fiber", "satellite", "ppp"),
    *("vpn", "bridge", "virtual", "loopback", "unknown"),
)
_UNREAL = ("unknown", "virtual", "bridge", "loopback")  # tells nothing of the line
_MAX_DEPTH = 5
_MOST_EVIDENCE = 12
_PPPD_PEER = "10.64.64.64"  # what pppd makes up where the other side names no address: modems
_MUX = re.compile(r"qmimux|qmapmux|rmnet|ccmni")
_ENOUGH = 0.4  # of the outside view; under it, it is worth a sentence
_LINES = (*DSL, "cable", "fiber", "satellite")


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


class _Way(NamedTuple):
    """From the route's interface to what is underneath."""

    kind: Kind
    names: tuple[str, ...]  # the uplink first, the bottom last


def guess(facts: Facts, stated: str | None = None, iface: str | None = None) -> Link:
    """The link behind the default route, or behind ``iface``."""
    evidence: list[str] = []
    name = iface or _uplink(facts, evidence)
    way = _Way(Kind("unknown", 0.0, "there is no default route"), ())
    if name is not None:
        way = _follow(facts, name, evidence, _MAX_DEPTH)
        way = _Way(_by_peer(facts, name, way.kind), way.names)
    evidence.append(way.kind.because)
    told = _told(facts.modems, way) if name is not None else []
    type_, generation, confidence = _decided(way.kind, told, evidence)
    hint = facts.outside
    if hint is not None and type_ in ("ethernet", "wifi"):
        evidence.append(hint.because)
        if type_ == "ethernet" and hint.confidence >= _ENOUGH and hint.type in TYPES:
            type_, generation = hint.type, GENERATIONS.get(hint.type)
            confidence = hint.confidence
    if stated is not None:
        evidence.insert(0, f"the owner says {stated}")
        type_, generation, confidence = stated, GENERATIONS.get(stated), 1.0
    return Link(
        type=type_,
        generation=generation,
        iface=None if name is None else shown(name),
        confidence=confidence,
        evidence=tuple(evidence[:_MOST_EVIDENCE]),
        signal=_signal(facts, way, told, type_),
        operator=next((said.operator for said in told if said.operator), None),
        roaming=next((said.roaming for said in told if said.roaming is not None), None),
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


def _by_peer(facts: Facts, name: str, kind: Kind) -> Kind:
    """PPP towards the address that pppd makes up is PPP over a modem."""
    peers = [route.gateway for route in facts.routes if route.iface == name]
    if kind.type == "ppp" and _PPPD_PEER in peers:
        return Kind("mobile", 0.75, f"{shown(name)} is PPP to {_PPPD_PEER}, as over a modem")
    return kind


def _follow(facts: Facts, name: str, evidence: list[str], depth: int) -> _Way:
    """The kind of the interface at the bottom, and the names on the way to it."""
    interface = facts.interfaces.get(name)
    if interface is None:
        return _Way(by_name(name), (name,))
    kind = kind_of(interface)
    if depth == 0:
        return _Way(kind, (name,))
    for below in _below(facts, interface, kind):
        evidence.append(f"{kind.because}, over {shown(below)}")
        found = _follow(facts, below, evidence, depth - 1)
        if found.kind.type not in _UNREAL:
            sure = found.kind._replace(confidence=found.kind.confidence * 0.95)
            return _Way(sure, (name, *found.names))
        evidence.pop()
    return _Way(kind, (name,))


def _below(facts: Facts, interface: Interface, kind: Kind) -> list[str]:
    """What it may run over, the likeliest first."""
    if interface.lower:
        known = [facts.interfaces[name] for name in interface.lower if name in facts.interfaces]
        return [lower.name for lower in sorted(known, key=_likeliness)]
    if kind.type == "vpn":
        outside = [route.iface for route in facts.routes]
        ways = [name for name in outside if name != interface.name and not _is_vpn(facts, name)]
        return ways[:1] or _only_way_out(facts)
    return []


def _only_way_out(facts: Facts) -> list[str]:
    """Where the tunnel has taken even the default route: the one real uplink, if it is one."""
    real = [
        one.name
        for one in facts.interfaces.values()
        if not one.bridge_port
        and one.operstate in ("up", "unknown")
        and kind_of(one).type not in (*_UNREAL, "vpn")
    ]
    mobile = [name for name in real if kind_of(facts.interfaces[name]).type in ("mobile", "ppp")]
    return next((names for names in (real, mobile) if len(names) == 1), [])


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
    return (by_name(name) if interface is None else kind_of(interface)).type == "vpn"


def _told(modems: Sequence[Modem], way: _Way) -> list[Modem]:
    """What is said of this interface, the surest first."""
    found = []
    for said in modems:
        confidence = _applies(said, way)
        if confidence and said.type in TYPES:
            found.append(said._replace(confidence=said.confidence * confidence))
    return sorted(found, key=lambda said: (not _is_exact(said), -said.confidence))


def _is_exact(said: Modem) -> bool:
    """It names a technology, and not only that there is a modem."""
    return said.type in GENERATIONS or said.generation is not None or said.type in _LINES


def _applies(said: Modem, way: _Way) -> float:
    """1 if it is about this interface, less if that is likely, 0 if it is about another."""
    kind = way.kind.type
    mobile = said.type == "mobile" or said.type in GENERATIONS
    if said.iface is not None:
        # "wwan0.1" and "qmimux0" carry what wwan0 does; only the former tells it by its name.
        stems = set(way.names) | {re.split(r"[.:@]", name)[0] for name in way.names}
        if said.iface not in stems:
            return 0.9 if mobile and _MUX.match(way.names[-1]) else 0.0
        return 1.0
    if mobile and kind == "mobile":
        return 0.97
    if mobile and kind in ("ppp", "unknown"):
        return 0.0 if way.names[-1].startswith("pppo") else 0.9
    if said.type in DSL and kind in ("dsl", "ppp"):
        return 0.97
    if said.type in DSL and kind in ("ethernet", "virtual", "unknown"):
        return 0.75
    weak = said.confidence < 0.7 and (said.type in _LINES or mobile)  # a page that answers
    return 1.0 if weak and kind == "ethernet" else 0.0


def _decided(
    kind: Kind, told: Sequence[Modem], evidence: list[str]
) -> tuple[str, str | None, float]:
    """Type, generation, confidence; what was said is added to the evidence."""
    evidence += [said.evidence for said in told]
    best = next((said for said in told if _is_exact(said)), None)
    if best is not None:
        others = {said.type for said in told if _is_exact(said) and said is not best}
        agree = 1.0 if others <= {best.type} else 0.9
        return best.type, best.generation, best.confidence * agree
    best = max(told, key=lambda said: said.confidence, default=None)
    if best is None or best.type in _UNREAL:
        return kind.type, GENERATIONS.get(kind.type), kind.confidence
    if best.type == kind.type:
        return kind.type, GENERATIONS.get(kind.type), max(kind.confidence, best.confidence)
    if best.type == "vpn" and kind.type not in (*_UNREAL, "ppp"):
        return kind.type, GENERATIONS.get(kind.type), kind.confidence
    return best.type, best.generation, max(best.confidence, 0.1)


def _signal(facts: Facts, way: _Way, told: Sequence[Modem], type_: str) -> dict[str, float]:
    """What was measured of this link; of a value that two tell, the surer one's."""
    found: dict[str, float] = {}
    for said in told:
        if said.type in (type_, "mobile") or GENERATIONS.get(said.type) == GENERATIONS.get(type_):
            found = {**said.signal, **found}
    station = facts.stations.get(way.names[-1]) if way.names else None
    if station is not None:
        measured = {"signal_dbm": station.signal_dbm, "quality_pct": station.quality_pct}
        for key, value in measured.items():
            if value is not None:
                found.setdefault(key, float(value))
    return found
