"""What one result says about its target, in the few numbers that a verdict needs. Pure.

A result that measured nothing (refused by policy, no permission, a clock known to be wrong) says
nothing, and is left out here, so that no later step has to remember it.
"""

import math
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from agent.wire import Result

MOBILE = frozenset({"gprs", "edge", "gsm", "umts", "hspa", "lte", "5g", "mobile"})
NOT_MEASURED = frozenset({"policy", "permission"})
NOT_CONNECTED = frozenset({"network_down", "no_route", "no_gateway"})
RESOLVER = frozenset({"unknown_host", "resolver_failed", "resolver_timeout", "resolver_stuck"})
# Words that come from the service itself, over a connection that worked.
SERVICE_SAID = frozenset({"http_error"})

# The targets of a ladder's two rungs; what is on a list is never called so.
GATEWAY, FIRST_HOP = "ladder gateway", "ladder first_hop"


class Probe(NamedTuple):
    """One probe of one target (or of one rung of the ladder)."""

    begun_ms: int
    target: str
    kind: str
    ok: bool
    sent: int
    lost: int
    ms: float | None
    error: str | None
    ip: str | None
    family: int | None
    link: str
    retried: bool = False  # a lost TCP segment, which is loss and not slowness
    wait_ms: float | None = None  # HTTP: time to the first byte, less one RTT


def probes_of(result: Result) -> tuple[Probe, ...]:
    """What the result says: no, one, or (a ladder) two probes."""
    body = result.body
    if result.clock == "unsynced" or body.get("error") in NOT_MEASURED:
        return ()
    kind = body.get("kind")
    if kind == "icmp":
        return (_icmp(result, body),)
    if kind == "http":
        return (_http(result, body),)
    if kind == "ladder":
        return _ladder(result, body)
    return ()


def link_type(link: Any) -> str:
    """The type of a link, given as an object or as a bare word; "unknown" otherwise."""
    word = link.get("type") if isinstance(link, dict) else link
    return word if isinstance(word, str) and word else "unknown"


def median_ms(rtts: Any, skip_first: bool = False) -> float | None:
    """The median of the echoes that came back. The first one wakes a mobile radio: skipped."""
    if not isinstance(rtts, list):
        return None
    if skip_first and len(rtts) > 1:
        rtts = rtts[1:]
    known = sorted([rtt for rtt in rtts if rtt is not None] if None in rtts else rtts)
    if not known:
        return None
    half = len(known) // 2
    return float(known[half] if len(known) % 2 else (known[half - 1] + known[half]) / 2)


def log_ms(ms: float) -> float:
    """RTTs are compared as ratios."""
    return math.log(max(ms, 0.01))


@lru_cache(maxsize=65_536)
def prefix_of(ip: str | None, v4_bits: int, v6_bits: int) -> str | None:
    """The network that the address lies in, as text; None when there is no such address."""
    try:
        address = ip_address(ip or "")
    except ValueError:
        return None
    bits = v4_bits if address.version == 4 else v6_bits
    return str(ip_network((address, bits), strict=False))


def network_of(ip: str | None) -> str | None:
    """The /16 (IPv6 /32) of an address: "other networks" differ in it."""
    return prefix_of(ip, 16, 32)


def site_of(ip: str | None) -> str | None:
    """The /24 (IPv6 /48) of an address: one site of a service."""
    return prefix_of(ip, 24, 48)


_OWN = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)


@lru_cache(maxsize=65_536)
def is_own(ip: str | None) -> bool:
    """The address is of the box or its own network, so it tells nothing about the provider."""
    try:
        address = ip_address(ip or "")
    except ValueError:
        return False
    return any(address in network for network in _OWN)


def is_this_machine(target: str) -> bool:
    """It leads to the box that asks, so that it is no service and tells nothing of the way."""
    try:
        host = (urlsplit(target).hostname or "") if "://" in target else target.strip("[]")
    except ValueError:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return f".{host.lower().removesuffix('.')}".endswith(".localhost")


def _icmp(result: Result, body: dict[str, Any]) -> Probe:
    link = link_type(body.get("link"))
    rtts = body.get("rtts_ms")
    sent, received = body.get("sent"), body.get("received")
    if not isinstance(sent, int) or not isinstance(received, int):
        sent, received = _counts(body, rtts)
    ms = median_ms(rtts, link in MOBILE)
    if ms is None and received:
        average = (body.get("rtt_ms") or {}).get("avg")
        ms = None if average is None else float(average)
    return Probe(
        begun_ms=result.time_ms,
        target=str(body.get("target")),
        kind="icmp",
        ok=received > 0,
        sent=sent,
        lost=max(0, sent - received),
        ms=ms,
        error=body.get("error"),
        ip=body.get("ip"),
        family=body.get("family"),
        link=link,
    )


def _counts(body: dict[str, Any], rtts: Any) -> tuple[int, int]:
    """Sent and received where a result has no counts: from its echoes, else from its loss."""
    if isinstance(rtts, list):
        return len(rtts), sum(rtt is not None for rtt in rtts)
    if not body.get("ok"):
        return 0, 0
    loss = body.get("loss_pct")
    return 10, 10 if loss is None else round(10 - loss / 10)


def _http(result: Result, body: dict[str, Any]) -> Probe:
    phases = body.get("phases_ms") or {}
    connect, first_byte = phases.get("connect"), phases.get("ttfb")
    waited = None if connect is None or first_byte is None else max(0.0, first_byte - connect)
    retried = bool(body.get("retrans"))
    total = phases.get("total")
    return Probe(
        begun_ms=result.time_ms,
        target=str(body.get("target")),
        kind="http",
        ok=bool(body.get("ok")),
        sent=0,
        lost=0,
        ms=None if total is None else float(total),
        error=body.get("error"),
        ip=body.get("ip"),
        family=body.get("family"),
        link=link_type(body.get("link")),
        retried=retried,
        wait_ms=waited,
    )


def _ladder(result: Result, body: dict[str, Any]) -> tuple[Probe, ...]:
    link = link_type(body.get("link"))
    error = body.get("error")
    found = []
    for rung in (GATEWAY, FIRST_HOP):
        part = body.get(rung.removeprefix("ladder "))
        if not isinstance(part, dict) or not part.get("sent"):
            if rung != GATEWAY or error not in NOT_CONNECTED:
                continue
            part = {"sent": 0}  # no router at all: that is a finding
        sent, received = int(part["sent"]), int(part.get("received") or 0)
        found.append(
            Probe(
                begun_ms=result.time_ms,
                target=rung,
                kind="rung",
                ok=received > 0,
                sent=sent,
                lost=max(0, sent - received),
                ms=median_ms(part.get("rtts_ms"), link in MOBILE),
                error=error,
                ip=None,
                family=None,
                link=link,
            )
        )
    return tuple(found)
