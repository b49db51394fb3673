"""What agents, brokers and indexers say to each other: topics and payloads. Pure, no I/O.

``read`` turns a topic and its bytes into one Message or raises WireError; nothing that it returns
needs checking again. Docs: docs/protocol.md.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from agent import batch, strict_json
from agent.result import (
    CLOCKS,
    ERRORS,
    Result,
    UnknownVersion,
    WireError,
    check_epoch,
    check_name,
    checked,
    for_people,
    from_rfc3339,
    is_name,
    rfc3339,
)

__all__ = ["CLOCKS", "ERRORS", "Result", "UnknownVersion", "WireError"]
__all__ += ["check_name", "for_people", "from_rfc3339", "is_name", "rfc3339"]

VERSION = 1
MAX_PAYLOAD_BYTES = 128 * 1024
MAX_BATCH_BYTES = 64 * 1024
MAX_ACK_RANGES = 256

WATCH = "watch"
SWARM = "swarm"
LOOK = "look"

_HEAD = frozenset({"v", "agent", "epoch", "seq", "time", "clock", "clock_age_s"})


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
    return strict_json.encode(head | result.body | head)  # the head first, and it stands


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
    return checked(
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
    return [checked(Result(agent, *row)) for row in rows]


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
        ranges[check_epoch(epoch)] = [_range(pair) for pair in pairs]
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
