"""The payload of the first swarms, read only with --classic: marked, and never confirmed.

    ping/<target>   ["agent", "ok", {"loss": 0.0, "Round trip": [min, avg, max, stddev]}]

It has no identity, so one is made of what it says and of when it came, in steps of ten seconds:
what two indexers, or two brokers, hand over of one message is stored once.

The first indexer kept them as documents in `logstash-*`: those are read for `copy`.
"""

import math
from hashlib import blake2b
from typing import Any

from agent import wire
from agent.wire import Result, WireError

_STEP_MS = 10_000
_TRIP = ("min", "avg", "max", "stddev")
DOCUMENT = ("agent", "target", "loss", *_TRIP)  # the fields of one that the first indexer kept


def is_classic(topic: str, payload: bytes) -> bool:
    """Looks like one: a JSON list on ``ping/<target>``."""
    return topic.count("/") == 1 and payload.lstrip()[:1] == b"["


def read(topic: str, payload: bytes, now_ms: int) -> Result:
    """The result that it is, or WireError. Its time is the time it came."""
    if len(payload) > wire.MAX_PAYLOAD_BYTES:
        raise WireError("longer than any classic result")
    agent, word, facts = _parts(wire.decode_json(payload))
    target = wire.decode_target(topic.removeprefix("ping/"))
    if not 0 < len(target) <= 2048:
        raise WireError("a classic result without a target")
    digest = blake2b(f"{agent}\n{target}\n".encode() + payload, digest_size=8)
    body = {"kind": "icmp", "target": target, "classic": True, **_body(word, facts)}
    return Result(agent, digest.hexdigest(), now_ms // _STEP_MS, now_ms, "unknown", None, body)


def of_document(index: str, doc_id: str, time_ms: int, facts: Any) -> Result:
    """The result that a document of the first indexer is, or WireError.

    Its identity is made of the document's own, so that reading it again gives the same one.
    """
    if not isinstance(facts, dict):
        raise WireError("no document")
    agent, target = facts.get("agent"), facts.get("target")
    if not isinstance(agent, str) or not isinstance(target, str) or not 0 < len(target) <= 2048:
        raise WireError("no agent, or no target")
    body = {"kind": "icmp", "target": target, "classic": True, **_measured(facts)}
    digest = blake2b(f"{index}\n{doc_id}".encode(), digest_size=12).digest()
    seq = 1 + int.from_bytes(digest[8:]) // 2
    epoch = digest[:8].hex()
    return Result(wire.check_name(agent), epoch, seq, time_ms, "unknown", None, body)


def _measured(facts: dict[str, Any]) -> dict[str, Any]:
    loss = _typed_number(facts, "loss", 100)
    if loss is None:
        raise WireError("no loss")
    ok = loss < 100
    body: dict[str, Any] = {"ok": ok, "error": None if ok else "timeout", "loss_pct": loss}
    trip = {name: _typed_number(facts, name, 1e9) for name in _TRIP}
    if ok and any(number is not None for number in trip.values()):
        if None in trip.values():
            raise WireError("some of min, avg, max, stddev, and not all")
        body["rtt_ms"] = trip
    return body


def _typed_number(facts: dict[str, Any], name: str, most: float) -> float | None:
    """Logstash wrote numbers as text too; what came back empty is None."""
    value = facts.get(name)
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= most:
        raise WireError(f"{name} is no such number: {value!r:.40}")
    return number


def _parts(value: Any) -> tuple[str, str, dict[str, Any]]:
    if not (isinstance(value, list) and len(value) in (2, 3)):
        raise WireError("a classic result is a list of agent, word and facts")
    agent, word, facts = (*value, {})[:3]
    if not isinstance(agent, str) or not isinstance(word, str) or not isinstance(facts, dict):
        raise WireError("a classic result is a list of agent, word and facts")
    return wire.check_name(agent), word, facts


def _body(word: str, facts: dict[str, Any]) -> dict[str, Any]:
    ok = word == "ok"
    body: dict[str, Any] = {"ok": ok, "error": None if ok else "timeout"}
    loss = facts.get("loss")
    if loss is not None:
        body["loss_pct"] = float(_number(loss, 100))
    trip = facts.get("Round trip")
    if trip is not None:
        if not isinstance(trip, list) or len(trip) != 4:
            raise WireError("a classic round trip is min, avg, max, stddev")
        numbers = [_number(one, 1e9) for one in trip]
        body["rtt_ms"] = dict(zip(_TRIP, numbers, strict=True))
    return body


def _number(value: Any, most: float) -> float:
    if type(value) not in (int, float) or not 0 <= value < most + 1:
        raise WireError(f"no such number in a classic result: {value!r:.40}")
    return float(value)
