"""The payload of the first swarms, read only with --classic: marked, and never confirmed.

    ping/<target>   ["agent", "ok", {"loss": 0.0, "Round trip": [min, avg, max, stddev]}]

It has no identity, so one is made of what it says and of when it came, in steps of ten seconds:
what two indexers, or two brokers, hand over of one message is stored once.
"""

from hashlib import blake2b
from typing import Any

from agent import wire
from agent.wire import Result, WireError

_STEP_MS = 10_000


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
        body["rtt_ms"] = dict(zip(("min", "avg", "max", "stddev"), numbers, strict=True))
    return body


def _number(value: Any, most: float) -> float:
    if type(value) not in (int, float) or not 0 <= value < most + 1:
        raise WireError(f"no such number in a classic result: {value!r:.40}")
    return float(value)
