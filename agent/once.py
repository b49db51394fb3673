"""Probes now and prints, with no broker and no journal."""

import json
import math
import queue
import sys
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Any

from agent import link, linkguess, schedule
from agent.config import Config
from agent.link import routes
from agent.probe_icmp import open_pinger
from agent.prober import FirstHopFound, ProbeCrashed, Probed, Prober
from agent.resolve import Resolver
from agent.schedule import Probe
from agent.targets import Policy, Target, TargetError, parse
from agent.wire import ERRORS

NOT_ALLOWED = ", and this box's owner has not allowed it"  # how targets.refusal ends then

_HINTS = {
    "unknown_host": " (a typo, or is there no network?)",
    "resolver_failed": " (is there a network?)",
    "resolver_timeout": " (is there a network?)",
}


class OnceError(Exception):
    """A target that cannot be probed; one line says why."""


def run(words: Sequence[str], config: Config, as_json: bool) -> int:
    """Probes each target once, or the ladder; 0 when all answered, else 1."""
    listed = [_parsed(word) for word in dict.fromkeys(words)]  # nobody is probed twice in a row
    all_ok = True
    for body in _bodies(listed, config):
        all_ok = all_ok and bool(body.get("ok"))
        print(json.dumps(body) if as_json else sentence(body), flush=True)
    return 0 if all_ok else 1


def sentence(body: dict[str, Any]) -> str:
    """One result in one line for a person."""
    if body["kind"] == "ladder":
        return _ladder(body)
    where = f" ({body['ip']})" if body.get("ip") not in (None, body["target"]) else ""
    if body.get("error") == "policy":
        return f"{body['target']}{where}: not probed: {_refused(body.get('detail') or '')}"
    measured = _http(body) if body["kind"] == "http" else _echoes(body)
    why = _why(body)
    if why and not body.get("received"):
        measured = measured.removesuffix("no reply")  # the error says it better
    return f"{body['target']}{where}: " + " — ".join(part for part in (measured, why) if part)


def _refused(detail: str) -> str:
    """Why the address is not probed, and the option that allows it where one does."""
    reason = detail.removesuffix(NOT_ALLOWED)
    if reason == detail:
        return detail
    address = reason.rpartition(": ")[2].partition(" is ")[0]
    width = ip_address(address).max_prefixlen
    return f"{reason}; --allow-private {address}/{width} allows it"


def _parsed(word: str) -> Target:
    try:
        return parse(word)
    except TargetError as error:
        raise OnceError(f"{word}: {error}") from error


def _bodies(listed: Sequence[Target], config: Config) -> Iterator[dict[str, Any]]:
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    pinger = open_pinger()
    if pinger.advice and pinger.method != "raw":  # both kinds of sockets measure alike
        print(f"A better way to ping: {pinger.advice}", file=sys.stderr)
    policy = Policy(config.allow_private, config.deny)
    prober = Prober(events.put, pinger, Resolver(), policy)
    ways = link.own_ways(config.at, config.pages)
    facts = linkguess.guess(link.gather("/", ways), config.link).as_body(0)
    begun_s: dict[str, float] = {}
    for target in listed:
        _wait_for_turn(target.host, begun_s)
        prober.submit(Probe("http" if target.kind == "url" else "icmp", target, 0))
        yield from _body(events.get(), facts)
    if not listed:
        gateways = routes.gateway()
        route = gateways.get(4) or gateways.get(6)
        gateway = route.address if route else None
        prober.find_first_hop(gateway)
        found = events.get()
        first_hop = found.ip if isinstance(found, FirstHopFound) else None
        prober.submit(Probe("ladder", None, 0), gateway, first_hop)
        yield from _body(events.get(), facts)
    prober.stop()


def _wait_for_turn(host: str, begun_s: dict[str, float]) -> None:
    """Here, too, the same host is probed at most once a minute."""
    wait_s = begun_s.get(host, -math.inf) + schedule.HOST_GAP_S - time.monotonic()
    if wait_s > 0:
        print(f"Waiting {wait_s:.0f} s: {host} was just probed", file=sys.stderr)
        time.sleep(wait_s)
    begun_s[host] = time.monotonic()


def _body(event: object, facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if isinstance(event, ProbeCrashed):
        raise event.error
    if isinstance(event, Probed) and event.body is not None:
        yield event.body | {"link": facts}


def _ladder(body: dict[str, Any]) -> str:
    if body.get("error") == "no_gateway":
        return "This box has no router: there is no way out of it."
    rungs = [("router", body.get("gateway")), ("provider's first hop", body.get("first_hop"))]
    said = [f"your {name}: {_echoes(rung)}" for name, rung in rungs if rung]
    if not body.get("first_hop"):
        said.append("nothing behind the router tells its address")
    return "; ".join(said)


def _echoes(part: dict[str, Any]) -> str:
    rtts = sorted(rtt for rtt in part.get("rtts_ms") or [] if rtt is not None)
    if not rtts:
        return "no reply"
    lost = part["sent"] - part["received"]
    return f"{rtts[len(rtts) // 2]:.1f} ms, {lost} of {part['sent']} lost"


def _http(body: dict[str, Any]) -> str:
    phases = body.get("phases_ms") or {}
    timed = [f"{name} {ms:.1f}" for name, ms in phases.items() if ms is not None]
    status = f"{body['status']}" if body.get("status") else ""
    return ", ".join(part for part in (status, " ".join(timed)) if part)


def _why(body: dict[str, Any]) -> str:
    error = body.get("error")
    if not error:
        return ""
    said = f"{ERRORS.get(error, error)}" + (f": {body['detail']}" if body.get("detail") else "")
    return said + _HINTS.get(error, "")
