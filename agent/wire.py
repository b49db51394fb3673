"""What agents, brokers and indexers say to each other: topics and payloads. Pure, no I/O.

``read`` turns a topic and its bytes into one Message or raises WireError; nothing that it returns
needs checking again. Docs: docs/protocol.md.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from agent import batch, strict_json

VERSION = 1
MAX_PAYLOAD_BYTES = 128 * 1024
MAX_BATCH_BYTES = 64 * 1024
MAX_ACK_RANGES = 256
MIN_TIME_MS = -62_135_596_800_000  # the years 1
MAX_TIME_MS = 253_402_300_799_999  # to 9999, as RFC 3339 can say them
CLOCKS = ("ntp", "indexer", "unknown", "unsynced")

WATCH = "watch"
SWARM = "swarm"
LOOK = "look"

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

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_EPOCH = re.compile(r"[0-9a-f]{16}\Z")
_KIND = re.compile(r"[a-z]{1,16}\Z")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)\Z")
_HEAD = frozenset({"v", "agent", "epoch", "seq", "time", "clock", "clock_age_s"})


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


class Results(NamedTuple):
    agent: str
    results: list[Result]


class Check(NamedTuple):
    agent: str


class ShareProbe(NamedTuple):
    nonce: str


class Watch(NamedTuple):
    """A list of targets; ``agent`` None: everybody's; ``text`` None: zero bytes."""

    agent: str | None
    text: str | None


class Ack(NamedTuple):
    agent: str
    ranges: dict[str, list[tuple[int, int]]]


class About(NamedTuple):
    agent: str
    facts: dict[str, Any]


class Rip(NamedTuple):
    agent: str
    cleared: bool


class Indexer(NamedTuple):
    name: str
    online: bool
    time_ms: int | None


class Swarm(NamedTuple):
    agents: dict[str, int]
    salt: str


class Look(NamedTuple):
    targets: tuple[str, ...]


class Verdict(NamedTuple):
    target: str
    facts: dict[str, Any]


Message = (
    Results | Check | ShareProbe | Watch | Ack | About | Rip | Indexer | Swarm | Look | Verdict
)


# --- names, times, topics -----------------------------------------------------------------------


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


def encode_target(target: str) -> str:
    return quote(target, safe=":").replace("~", "%7E")


def decode_target(text: str) -> str:
    return unquote(text, errors="strict")


def watch_topic(agent: str) -> str:
    return f"watch/{agent}"


def ping_topic(agent: str) -> str:
    return f"ping/{agent}"


def batch_topic(agent: str) -> str:
    return f"ping/{agent}/batch"


def check_topic(agent: str) -> str:
    return f"ping/{agent}/check"


def share_probe_topic(nonce: str) -> str:
    return f"ping/_share/{nonce}"


def ack_topic(agent: str) -> str:
    return f"ack/{agent}"


def agent_topic(agent: str) -> str:
    return f"agent/{agent}"


def rip_topic(agent: str) -> str:
    return f"rip/agent/{agent}"


def indexer_topic(name: str) -> str:
    return f"indexer/{name}"


def verdict_topic(target: str) -> str:
    return f"verdict/{encode_target(target)}"


# --- writing ------------------------------------------------------------------------------------


def encode_json(value: Any) -> bytes:
    return strict_json.encode(value)


def encode_result(result: Result) -> bytes:
    """One result as one readable JSON object."""
    head = {
        "v": VERSION,
        "agent": result.agent,
        "epoch": result.epoch,
        "seq": result.seq,
        "time": rfc3339(result.time_ms),
        "clock": result.clock,
        "clock_age_s": result.clock_age_s,
    }
    return strict_json.encode(head | result.body)


def encode_batch(
    results: Sequence[Result], limit_bytes: int = MAX_BATCH_BYTES
) -> tuple[bytes, int]:
    """A payload of the first n results within the limit, and n, which is at least 1.

    All results are of one agent. A single result larger than the limit is packed all the same.
    """
    count = min(len(results), batch.MAX_ROWS)
    rows = [batch.Row(*result[1:]) for result in results[:count]]
    while True:
        payload = batch.pack(results[0].agent, rows[:count])
        if len(payload) <= limit_bytes or count == 1:
            return payload, count
        count = max(1, min(count - 1, int(count * limit_bytes / len(payload) * 0.95)))


def encode_acks(ranges: dict[str, list[tuple[int, int]]]) -> list[bytes]:
    """Payloads for ``ack/<agent>`` that confirm all these, at most 256 ranges each."""
    flat = [(epoch, pair) for epoch, pairs in ranges.items() for pair in pairs]
    payloads = []
    for start in range(0, len(flat), MAX_ACK_RANGES):
        part: dict[str, list[tuple[int, int]]] = {}
        for epoch, pair in flat[start : start + MAX_ACK_RANGES]:
            part.setdefault(epoch, []).append(pair)
        payloads.append(strict_json.encode(part))
    return payloads


def ranges_of(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """The same numbers as inclusive ranges, in order."""
    ranges: list[tuple[int, int]] = []
    for seq in sorted(set(seqs)):
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return ranges


# --- reading ------------------------------------------------------------------------------------


def read(topic: str, payload: bytes) -> Message:
    """The one message that this is. Raises WireError, or UnknownVersion for a newer one."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise WireError(f"{len(payload)} bytes, more than any message has")
    match topic.split("/"):
        case ["ping", "_share", nonce]:
            return ShareProbe(nonce)
        case ["ping", agent, "check"]:
            return Check(check_name(agent))
        case ["ping", agent]:
            return _results(check_name(agent), [decode_result(payload)])
        case ["ping", agent, "batch"]:
            return _results(check_name(agent), decode_batch(payload))
        case ["watch"]:
            return Watch(None, _watch_text(payload))
        case ["watch", agent]:
            return Watch(check_name(agent), _watch_text(payload))
        case ["ack", agent]:
            return Ack(check_name(agent), _ranges(payload))
        case ["agent", agent]:
            return About(check_name(agent), _object(payload))
        case ["rip", "agent", agent]:
            return Rip(check_name(agent), cleared=not payload)
        case ["indexer", name]:
            return _indexer(check_name(name), payload)
        case ["swarm"]:
            return _swarm(payload)
        case ["look"]:
            return _look(payload)
        case ["verdict", target]:
            return _verdict(target, payload)
    raise WireError(f"no such topic: {topic[:80]!r}")


def decode_json(payload: bytes) -> Any:
    """The JSON value, or WireError."""
    try:
        return strict_json.decode(payload)
    except strict_json.JsonError as error:
        raise WireError(str(error)) from error


def decode_result(payload: bytes) -> Result:
    """The one result of a ``ping/<agent>`` message, whole and checked, or WireError."""
    fields = _object(payload)
    if fields.get("v") != VERSION or isinstance(fields.get("v"), bool):
        if isinstance(fields.get("v"), int) and fields["v"] > VERSION:
            raise UnknownVersion(f"version {fields['v']} of a newer agent")
        raise WireError(f"no version that we know: {fields.get('v')!r:.40}")
    body = {key: value for key, value in fields.items() if key not in _HEAD}
    return _checked(
        Result(
            fields.get("agent", ""),
            fields.get("epoch", ""),
            fields.get("seq", 0),
            from_rfc3339(fields.get("time")),
            fields.get("clock", ""),
            fields.get("clock_age_s"),
            body,
        )
    )


def decode_batch(payload: bytes) -> list[Result]:
    """The results of a ``ping/<agent>/batch`` message, each checked, or WireError."""
    version = batch.version_of(payload)
    if version is not None and version > batch.VERSION:
        raise UnknownVersion(f"a batch of version {version}, of a newer agent")
    try:
        agent, rows = batch.unpack(payload)
    except batch.BatchError as error:
        raise WireError(str(error)) from error
    return [_checked(Result(agent, *row)) for row in rows]


def _results(agent: str, results: list[Result]) -> Results:
    for result in results:
        if result.agent != agent:
            raise WireError(f"the topic names {agent}, the payload {result.agent}")
    return Results(agent, results)


def _object(payload: bytes) -> dict[str, Any]:
    value = decode_json(payload)
    if not isinstance(value, dict):
        raise WireError("not a JSON object")
    return value


def _watch_text(payload: bytes) -> str | None:
    if not payload:
        return None
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise WireError("a list of targets that is not UTF-8") from error


def _ranges(payload: bytes) -> dict[str, list[tuple[int, int]]]:
    ranges: dict[str, list[tuple[int, int]]] = {}
    count = 0
    for epoch, pairs in _object(payload).items():
        if not isinstance(pairs, list):
            raise WireError("ranges that are not a list")
        count += len(pairs)
        ranges[_epoch(epoch)] = [_range(pair) for pair in pairs]
    if count > MAX_ACK_RANGES:
        raise WireError(f"{count} ranges, more than {MAX_ACK_RANGES}")
    return ranges


def _range(pair: Any) -> tuple[int, int]:
    if not (isinstance(pair, list) and len(pair) == 2 and all(type(end) is int for end in pair)):
        raise WireError("a range that is not two numbers")
    first, last = pair
    if not 1 <= first <= last:
        raise WireError(f"no such range: {first} to {last}")
    return first, last


def _indexer(name: str, payload: bytes) -> Indexer:
    if not payload:
        return Indexer(name, online=False, time_ms=None)
    facts = _object(payload)
    if not isinstance(facts.get("online"), bool):
        raise WireError("an indexer that does not say whether it is online")
    time = facts.get("time")
    return Indexer(name, facts["online"], None if time is None else from_rfc3339(time))


def _swarm(payload: bytes) -> Swarm:
    facts = _object(payload) if payload else {}
    agents, salt = facts.get("agents", {}), facts.get("salt", "")
    if not isinstance(agents, dict) or not isinstance(salt, str):
        raise WireError("not a swarm")
    if not all(type(count) is int and count >= 0 for count in agents.values()):
        raise WireError("counts of agents that are not numbers")
    return Swarm(agents, salt)


def _look(payload: bytes) -> Look:
    targets = _object(payload).get("targets") if payload else []
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        raise WireError("not a list of targets to look at")
    return Look(tuple(targets))


def _verdict(text: str, payload: bytes) -> Verdict:
    try:
        target = decode_target(text)
    except UnicodeDecodeError as error:
        raise WireError("a target that is not UTF-8") from error
    return Verdict(target, _object(payload) if payload else {})


# --- a result, checked whole --------------------------------------------------------------------


def _checked(result: Result) -> Result:
    """The same result, all of whose known fields have the type that docs/protocol.md gives."""
    check_name(result.agent)
    _epoch(result.epoch)
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
    for field, (types, what) in _FIELDS.items():
        value = body.get(field)
        if value is not None and (type(value) not in types):
            raise WireError(f"{field} is not {what}")
    _check_rtts(body)
    for rung in ("gateway", "first_hop"):
        if body.get(rung) is not None:
            _check_rtts(body[rung])
    for group in ("rtt_ms", "phases_ms"):
        for name, value in (body.get(group) or {}).items():
            _check_ms(f"{group}.{name}", value)


def _check_rtts(part: dict[str, Any]) -> None:
    for count in ("sent", "received"):
        if part.get(count) is not None and (type(part[count]) is not int or part[count] < 0):
            raise WireError(f"{count} is not a count")
    rtts = part.get("rtts_ms")
    if rtts is None:
        return
    if not isinstance(rtts, list) or len(rtts) > 1000:
        raise WireError("rtts_ms is not a list of echoes")
    for rtt in rtts:
        _check_ms("rtts_ms", rtt)


def _check_ms(field: str, value: Any) -> None:
    if value is not None and (type(value) not in (int, float) or not 0 <= value < 1e9):
        raise WireError(f"{field} is not a time in ms: {value!r:.40}")


def _epoch(text: object) -> str:
    if not isinstance(text, str) or _EPOCH.match(text) is None:
        raise WireError(f"no such epoch: {text!r:.40}")
    return text


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
