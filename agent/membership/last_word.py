"""Leaves the last word of an agent at its brokers: retained, and read again.

Brokers acknowledge what they drop: one holds it when it hands it back to a new subscription.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from agent import connection, errand, wire
from agent.connection import Broker
from agent.errand import Answer, Member, Talk

CONNECT_WITHIN_S = 12.0
TOLD_WITHIN_S = 10.0


def leave_at(
    brokers: Sequence[Broker], who: Member, facts: dict[str, Any]
) -> Iterator[Answer[Broker, str]]:
    """At all of them at the same time: of each, in their order, "" or why it does not hold it."""
    late = "it has not answered in time"
    within_s = CONNECT_WITHIN_S + TOLD_WITHIN_S + 1
    return errand.everywhere(brokers, lambda broker: _tell(broker, who, facts), late, within_s)


def _tell(broker: Broker, who: Member, facts: dict[str, Any]) -> str:
    """Leaves the last word of this agent at a broker; empty, or why it is not there."""
    talk = errand.visit(broker, "leave", who, CONNECT_WITHIN_S)
    if isinstance(talk, connection.Refused):
        return talk.reason
    try:
        return _left_behind(talk, wire.agent_topic(who.name), who.name, wire.encode_json(facts))
    except connection.NotConnected:
        return "the connection was lost"
    finally:
        talk.close()


def _left_behind(talk: Talk, topic: str, name: str, payload: bytes) -> str:
    """Published, acknowledged, and then read again as whoever comes later will read it."""
    by_s = time.monotonic() + TOLD_WITHIN_S
    tokens = {
        talk.connection.publish(topic, payload, retain=True),
        talk.connection.publish(wire.rip_topic(name), b"", retain=True),
    }
    if not talk.until(lambda: talk.acknowledged.keys() >= tokens, by_s - time.monotonic()):
        return "it does not acknowledge the last word"
    talk.connection.subscribe([topic])

    def read_again() -> bool:
        return any(come.payload == payload and come.retain for come in talk.received)

    if not talk.until(read_again, by_s - time.monotonic()):
        return "it acknowledges the last word and does not keep it; it may not allow it"
    return ""
