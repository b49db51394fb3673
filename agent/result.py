"""One result as it is on the wire, and what must hold of it. Pure.

Everything that a message says of a result has been checked here, once, before anybody uses it.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from agent import strict_json

CLOCKS = ("ntp", "indexer", "unknown", "unsynced")
MIN_TIME_MS = -62_135_596_800_000  # the years 1
MAX_TIME_MS = 253_402_300_799_999  # to 9999, as RFC 3339 can say them
MAX_ECHOES = 1000  # of one probe: an hour of them adds up to what any store can hold

# Why a probe failed: the word on the wire, and what it means for a person.
ERRORS = {
    "unknown_host": "no such name",
    "resolver_failed": "the name server did not help",
    "resolver_timeout": "the name server did not answer in time",
    "resolver_stuck": "earlier name look-ups still hang",
    "timeout": "no reply",
    "host_unreachable": "a router says that the host cannot be reached",
    "net_unreachable": "a router says that the network cannot be reached",
    "port_unreachable": "the host says that nobody listens there",
    "admin_prohibited": "a router or firewall forbids it",
    "ttl_exceeded": "the packet went in a circle, or too far",
    "refused": "refused on the way",
    "no_route": "this box has no route there",
    "network_down": "this box has no network",
    "policy": "this box does not probe that address",
    "permission": "this box may not send that",
    "connect_timeout": "the connection did not open in time",
    "connection_refused": "the server refused the connection",
    "connection_reset": "the connection was reset",
    "closed": "the server closed the connection early",
    "tls_failed": "the encrypted connection could not be agreed on",
    "certificate_invalid": "the server's certificate is not valid",
    "http_error": "the server answered with an error",
    "bad_response": "the answer was not HTTP",
    "too_slow": "the answer did not end in time",
    "no_gateway": "this box has no router",
}

_FIELDS: dict[str, tuple[tuple[type, ...], str]] = {
    "ip": ((str,), "an address"),
    "family": ((int,), "4 or 6"),
    "ok": ((bool,), "true or false"),
    "error": ((str,), "a word"),
    "method": ((str,), "a word"),
    "status": ((int,), "a number"),
    "bytes": ((int,), "a number"),
    "retrans": ((int,), "a number"),
    "late": ((int,), "a number"),
    "duplicates": ((int,), "a number"),
    "corrupted": ((int,), "a number"),
    "loss_pct": ((int, float), "a number"),
    "failed_after_ms": ((int, float), "a number"),
    "retry_after_s": ((int, float), "a number"),
    "redirect": ((bool,), "true or false"),
    "truncated": ((bool,), "true or false"),
    "link": ((dict,), "an object"),
    "gateway": ((dict,), "an object"),
    "first_hop": ((dict,), "an object"),
    "rtt_ms": ((dict,), "an object"),
    "phases_ms": ((dict,), "an object"),
    "count": ((int,), "a number"),
    "from": ((str,), "a time"),
    "to": ((str,), "a time"),
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_EPOCH = re.compile(r"[0-9a-f]{16}\Z")
_KIND = re.compile(r"[a-z]{1,16}\Z")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)\Z")


class WireError(ValueError):
    """The message is not one of ours; one line says what is wrong."""


class UnknownVersion(WireError):
    """A newer agent wrote this: not to be confirmed, the agent keeps it."""


class Result(NamedTuple):
    """What one probe gave, whichever message brought it; its identity is (agent, epoch, seq)."""

    agent: str
    epoch: str
    seq: int
    time_ms: int
    clock: str
    clock_age_s: int | None
    body: dict[str, Any]


def is_name(text: object) -> bool:
    return isinstance(text, str) and _NAME.match(text) is not None


def check_name(text: str) -> str:
    """The name itself, or WireError."""
    if not is_name(text):
        raise WireError(
            f"{text!r:.80} is no name: 1 to 64 letters, digits, '.', '_' or '-', "
            "a letter or digit first"
        )
    return text


def rfc3339(time_ms: int) -> str:
    """UTC to the millisecond. Raises WireError outside the years 1 to 9999."""
    try:
        moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise WireError(f"no such time: {time_ms} ms") from error
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z".rjust(24, "0")


def for_people(time: str) -> str:
    """Of RFC 3339, which is always in UTC here, what a person wants to read: to the minute."""
    return f"{time[:16].replace('T', ' ')} UTC"


def from_rfc3339(text: object) -> int:
    """ms since 1970, or WireError. Only UTC is taken."""
    found = _TIME.match(text) if isinstance(text, str) else None
    if found is None:
        raise WireError(f"not a time in UTC: {text!r:.40}")
    try:
        moment = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    except ValueError as error:
        raise WireError(f"no such time: {text!r:.40}") from error
    return round(moment.timestamp()) * 1000 + int((found[2] or "0").ljust(3, "0")[:3])


def checked(result: Result) -> Result:
    """The same result, all of whose known fields have the type that docs/protocol.md gives."""
    check_name(result.agent)
    check_epoch(result.epoch)
    if type(result.seq) is not int or not 1 <= result.seq <= strict_json.MAX_INT:
        raise WireError(f"no such seq: {result.seq!r:.40}")
    if type(result.time_ms) is not int or not MIN_TIME_MS <= result.time_ms <= MAX_TIME_MS:
        raise WireError(f"no such time: {result.time_ms!r:.40}")
    if result.clock not in CLOCKS:
        raise WireError(f"no such clock: {result.clock!r:.40}")
    age = result.clock_age_s
    if age is not None and (type(age) is not int or age < 0):
        raise WireError(f"no such age of a clock: {age!r:.40}")
    _check_body(result.body)
    return result


def _check_body(body: Any) -> None:
    if not isinstance(body, dict):
        raise WireError("a result without a body")
    kind, target = body.get("kind"), body.get("target")
    if not (isinstance(kind, str) and _KIND.match(kind)):
        raise WireError(f"no such kind: {kind!r:.40}")
    if kind != "lost" and not (isinstance(target, str) and 0 < len(target) <= 2048):
        raise WireError(f"no such target: {target!r:.40}")
    for field, value in body.items():
        known = _FIELDS.get(field)
        if known is not None and value is not None and type(value) not in known[0]:
            raise WireError(f"{field} is not {known[1]}")
    _check_rtts(body)
    for rung in ("gateway", "first_hop"):
        if body.get(rung) is not None:
            _check_rtts(body[rung])
            if not isinstance(body[rung].get("ip"), str | None):
                raise WireError(f"{rung}.ip is not an address")
    for group in ("rtt_ms", "phases_ms"):
        _check_times(group, (body.get(group) or {}).values())


def _check_rtts(part: dict[str, Any]) -> None:
    for count in ("sent", "received"):
        number = part.get(count)
        if number is not None and (type(number) is not int or not 0 <= number <= MAX_ECHOES):
            raise WireError(f"{count} is not a count of echoes")
    rtts = part.get("rtts_ms")
    if rtts is None:
        return
    if not isinstance(rtts, list) or len(rtts) > MAX_ECHOES:
        raise WireError("rtts_ms is not a list of echoes")
    _check_times("rtts_ms", rtts)


def _check_times(field: str, times_ms: Iterable[Any]) -> None:
    for ms in times_ms:
        if ms is not None and (type(ms) not in (int, float) or not 0 <= ms < 1e9):
            raise WireError(f"{field} is not a time in ms: {ms!r:.40}")


def check_epoch(text: object) -> str:
    if not isinstance(text, str) or _EPOCH.match(text) is None:
        raise WireError(f"no such epoch: {text!r:.40}")
    return text
