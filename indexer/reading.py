"""One message of `ping/…` becomes results, dead letters, and the identities that both have. Pure.

Nothing is lost here: whatever is not a result is a dead letter with its bytes and a reason, and a
row that is bad never takes its neighbours in the same batch along. A row's identity is confirmed
even when its body cannot be read, else its agent would send it for ever; the topic says whose it
is, for that is what a broker's ACL vouches for.
"""

import re
from typing import Any, NamedTuple

from agent import batch, wire
from agent.wire import Result, UnknownVersion, WireError
from indexer.store import FUTURE_MS, Dead

_EPOCH = re.compile(r"[0-9a-f]{16}\Z")

Identity = tuple[str, int]  # epoch, seq


class Read(NamedTuple):
    """What one message held. ``identities`` are confirmed once the rest is durable."""

    agent: str | None
    results: list[Result]
    letters: list[Dead]
    identities: list[Identity]
    newer: str | None = None  # a version that we do not know: nothing is confirmed


def read_results(topic: str, payload: bytes, now_ms: int) -> Read:
    """What a message on ``ping/<agent>`` or ``ping/<agent>/batch`` holds. Never raises."""
    agent = agent_of(topic)
    try:
        message = wire.read(topic, payload)
    except UnknownVersion as error:
        return Read(agent, [], [], [], str(error))
    except WireError as error:
        return _unreadable(agent, topic, payload, str(error), now_ms)
    if not isinstance(message, wire.Results):
        return Read(agent, [], [], [])
    return _present(message, now_ms)


def agent_of(topic: str) -> str | None:
    """Whose results the topic says that they are."""
    parts = topic.split("/")
    named = len(parts) > 1 and parts[0] == "ping" and wire.is_name(parts[1])
    return parts[1] if named else None


def _present(message: wire.Results, now_ms: int) -> Read:
    """Results whose time may be true; what claims to be from the future is a dead letter."""
    good, letters = [], []
    for result in message.results:
        if result.time_ms > now_ms + FUTURE_MS:
            letters.append(_from_the_future(result, now_ms))
        else:
            good.append(result)
    identities = [(result.epoch, result.seq) for result in message.results]
    return Read(message.agent, good, letters, identities)


def _from_the_future(result: Result, now_ms: int) -> Dead:
    ahead_h = (result.time_ms - now_ms) / 3_600_000
    reason = f"{ahead_h:.1f} h in the future"
    return Dead(now_ms, wire.ping_topic(result.agent), wire.encode_result(result), reason)


def _unreadable(agent: str | None, topic: str, payload: bytes, reason: str, now_ms: int) -> Read:
    if agent is not None and topic == wire.batch_topic(agent):
        rows = _rows(payload)
        if rows is not None and rows[0] == agent:
            return _salvaged(agent, rows[1], now_ms)
    letter = Dead(now_ms, topic, payload[: wire.MAX_PAYLOAD_BYTES], reason)
    identities = _identities(topic, payload) if agent is not None else []
    return Read(agent, [], [letter], identities)


def _salvaged(agent: str, rows: list[batch.Row], now_ms: int) -> Read:
    """Each row of a batch by itself, as if it had come alone."""
    whole = Read(agent, [], [], [])
    for row in rows:
        try:
            single = wire.encode_result(Result(agent, *row))
        except (WireError, ValueError, TypeError):
            single = repr(row).encode()
        read = read_results(wire.ping_topic(agent), single, now_ms)
        whole.results.extend(read.results)
        whole.letters.extend(read.letters)
        whole.identities.extend(read.identities or _identity(row.epoch, row.seq))
    return whole


def _identities(topic: str, payload: bytes) -> list[Identity]:
    """The identities of a message that could not be read, as far as they can."""
    if topic.endswith("/batch"):
        rows = _rows(payload)
        found = rows[1] if rows is not None else []
        return [one for row in found for one in _identity(row.epoch, row.seq)]
    try:
        fields = wire.decode_json(payload)
    except WireError:
        return []
    if not isinstance(fields, dict):
        return []
    return _identity(fields.get("epoch"), fields.get("seq"))


def _rows(payload: bytes) -> tuple[Any, list[batch.Row]] | None:
    try:
        return batch.unpack(payload)
    except batch.BatchError:
        return None


def _identity(epoch: Any, seq: Any) -> list[Identity]:
    well = isinstance(epoch, str) and _EPOCH.match(epoch) and type(seq) is int
    return [(epoch, seq)] if well and 1 <= seq < 2**63 else []
