"""One broker, looked at as this agent sees it: reached, let in, and a message there and back.

The visit is made under a client id of its own, with no will, and it publishes nothing but one
message on ``ping/<agent>/check``, not retained: nobody is disturbed and nothing stays behind.
"""

import secrets
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from agent import connection, errand, wire
from agent.connection import Broker
from agent.errand import Member, Talk

CONNECT_WITHIN_S = 12.0
ROUND_TRIP_S = 7.0
WITHIN_S = CONNECT_WITHIN_S + ROUND_TRIP_S + 1
_SETTLE_S = 0.5  # what is retained may come after our own message


class Seen(NamedTuple):
    """What one visit gave. Not ``refused``: the broker let us in."""

    broker: Broker
    dates: bool  # its certificate's were judged
    refused: str | None = None
    stage: str = ""  # see connection.Refused
    code: int | None = None
    version: str = ""
    took_ms: float = 0.0
    acknowledged: int | None = None  # the code of the PUBACK
    back_ms: float | None = None  # our message's way there and back
    denied: Sequence[str] = ()  # topics
    read: Sequence[str] = ()  # topics of which something came
    ended: str | None = None  # the connection was lost meanwhile, and how
    indexers: Sequence[tuple[str, bool]] = ()  # name, online
    about: dict[str, Any] | None = None  # what stands there as agent/<agent>


def examine(broker: Broker, who: Member) -> Seen:
    """The visit; it ends within WITHIN_S."""
    begun_s = time.monotonic()
    talk = errand.visit(broker, "doctor", who, CONNECT_WITHIN_S)
    if isinstance(talk, connection.Refused):
        return late(broker, who)._replace(refused=talk.reason, stage=talk.stage, code=talk.code)
    seen = Seen(broker, who.credentials.dates, version=talk.connection.version)
    seen = seen._replace(took_ms=(time.monotonic() - begun_s) * 1000)
    try:
        return _there_and_back(talk, who.name, seen)
    except connection.NotConnected:
        return seen._replace(ended="the connection was lost")
    finally:
        talk.close()


def late(broker: Broker, who: Member) -> Seen:
    """Of a broker that has not answered by then."""
    return Seen(broker, who.credentials.dates, refused="no answer in time", stage="connect")


def topics(name: str) -> tuple[str, ...]:
    """What an agent reads."""
    own = (wire.check_topic(name), wire.ack_topic(name), wire.agent_topic(name))
    lists = (wire.WATCH, wire.watch_topic(name))
    return (*own, *lists, wire.SWARM, wire.LOOK, "indexer/+")


def _there_and_back(talk: Talk, name: str, seen: Seen) -> Seen:
    check, nonce = wire.check_topic(name), secrets.token_hex(8).encode()
    talk.connection.subscribe(topics(name))
    talk.until(lambda: talk.subscribed > 0, ROUND_TRIP_S / 2)
    sent_s = time.monotonic()
    token = talk.connection.publish(check, nonce)

    def is_back() -> bool:
        return any(come.topic == check and come.payload == nonce for come in talk.received)

    is_read = talk.until(is_back, ROUND_TRIP_S / 2)
    back_ms = (time.monotonic() - sent_s) * 1000 if is_read else None
    talk.until(lambda: token in talk.acknowledged, _SETTLE_S)
    talk.until(lambda: False, _SETTLE_S)
    return seen._replace(
        acknowledged=talk.acknowledged.get(token),
        back_ms=back_ms,
        denied=talk.denied,
        read=tuple(dict.fromkeys(come.topic for come in talk.received)),
        ended=None if talk.over is None else talk.over.reason,
        indexers=_indexers(talk),
        about=_about(talk, name),
    )


def _indexers(talk: Talk) -> tuple[tuple[str, bool], ...]:
    found = {}
    for come in talk.received:
        message = _read(come)
        if isinstance(message, wire.Indexer):
            found[message.name] = message.online
    return tuple(found.items())


def _about(talk: Talk, name: str) -> dict[str, Any] | None:
    facts = None
    for come in talk.received:
        message = _read(come)
        if isinstance(message, wire.About) and message.agent == name:
            facts = message.facts
    return facts


def _read(come: connection.Received) -> wire.Message | None:
    """What anybody may have written there."""
    try:
        return wire.read(come.topic, come.payload)
    except wire.WireError:
        return None
