"""The ladder: the box's own gateway and the first hop behind it, pinged in turn.

Its rungs are the nearest things that can be slow, so they part "me" from "my provider". A rung that
is unknown is null, and one that never answers is absent, not bad: many routers take no echoes.
"""

import threading
import time
from typing import Any

from agent.probe_icmp import Pinger

# Where the search for the first hop points: an address of the documentation's (RFC 5737, RFC 3849),
# so that nobody is bothered. The echoes go four hops at most.
TOWARD = {4: "192.0.2.1", 6: "2001:db8::1"}
_MOST_HOPS = 4
_TRIES = 2  # routers answer such echoes seldom, when they are busy

Rung = dict[str, Any]


def probe(
    pinger: Pinger,
    gateway_ip: str | None,
    first_hop_ip: str | None,
    count: int = 5,
    interval_s: float = 1.0,
    timeout_s: float = 5.0,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """`count` echoes to each rung, alternating, `interval_s` between any two. A result's body."""
    stop = stop or threading.Event()
    rungs: dict[str, dict[str, Any]] = {}
    bugs: list[Exception] = []

    def climb(name: str, ip: str) -> None:
        # Each rung gets every second echo; the other one starts one interval later.
        rungs[name] = pinger.ping(
            ip, _family(ip), count, 2 * interval_s, timeout_s=timeout_s, stop=stop
        )

    def climb_beside(name: str, ip: str) -> None:
        try:
            climb(name, ip)
        except Exception as bug:  # it would end with this thread, unseen
            bugs.append(bug)

    beside = None
    if gateway_ip is not None:
        beside = threading.Thread(target=climb_beside, args=("gateway", gateway_ip), name="ladder")
        beside.start()
    if first_hop_ip is not None and (beside is None or not stop.wait(interval_s)):
        climb("first_hop", first_hop_ip)
    if beside is not None:
        beside.join()
    for bug in bugs:
        raise bug
    return _body(rungs, gateway_ip or first_hop_ip, pinger)


def first_hop(
    pinger: Pinger,
    gateway_ip: str | None,
    toward: str | None = None,
    *,
    interval_s: float = 1.0,
    timeout_s: float = 2.0,
    stop: threading.Event | None = None,
) -> str | None:
    """The first router that answers behind the gateway, or None: not known.

    Without a gateway (a point-to-point link) it is the first router at all. `toward` is an address
    beyond the provider. At most one echo in `interval_s`, eight in all.
    """
    stop = stop or threading.Event()
    family = _family(toward or gateway_ip or TOWARD[4])
    toward = toward or TOWARD[family]
    gateways = {gateway_ip}
    for ttl in range(1, _MOST_HOPS + 1):
        router = _router_at(pinger, toward, ttl, interval_s, timeout_s, stop)
        if router == toward or stop.is_set():
            return None  # so near that there is nothing between
        if ttl == 1 and gateway_ip is not None:
            gateways.add(router)  # the gateway, under whatever name it answers
        elif router is not None and router not in gateways:
            return router
    return None


def _router_at(
    pinger: Pinger,
    toward: str,
    ttl: int,
    interval_s: float,
    timeout_s: float,
    stop: threading.Event,
) -> str | None:
    """Who is `ttl` hops away; asked twice before it counts as silent."""
    for _ in range(_TRIES):
        next_s = time.monotonic() + interval_s
        answer = pinger.who_answers(toward, _family(toward), ttl, timeout_s, stop)
        if stop.wait(max(0.0, next_s - time.monotonic())):
            return None
        if answer is not None and answer[1] in (None, "ttl_exceeded"):
            return answer[0]
    return None


def _body(rungs: dict[str, dict[str, Any]], ip: str | None, pinger: Pinger) -> dict[str, Any]:
    family = _family(ip) if ip is not None else None
    any_came = any(rung["ok"] for rung in rungs.values())
    said = [rungs[name]["error"] for name in ("gateway", "first_hop") if name in rungs]
    return {
        "family": family,
        "method": pinger.methods[family] if family else None,
        "ok": any_came,
        "error": None if any_came else said[0] if said else "no_gateway",
        "gateway": _rung(rungs.get("gateway")),
        "first_hop": _rung(rungs.get("first_hop")),
    }


def _rung(body: dict[str, Any] | None) -> Rung | None:
    return body and {name: body[name] for name in ("sent", "received", "rtts_ms")}


def _family(ip: str) -> int:
    return 6 if ":" in ip else 4
