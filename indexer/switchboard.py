"""All lines to all brokers: what is said on every one, and said again to each that comes back.

After every CONNACK a broker may know nothing (it was wiped, or another took its place): so each
time everything is subscribed anew, and everything that we retain is published anew.
"""

import logging
import random
import threading
from collections.abc import Callable, Iterable

from agent.connection import (
    Closed,
    Connection,
    Event,
    NotConnected,
    Opened,
    Refused,
    Subscribed,
)
from indexer.config import Config
from indexer.desk import BrokerState
from indexer.lines import Line
from indexer.share import shared_topic

RESULTS = "ping/#"
OTHERS = ("watch", "watch/+", "agent/+", "rip/#", "verdict/+")

log = logging.getLogger("swarming.brokers")


class Switchboard:
    """The lines, and the book of what this indexer keeps retained on each broker."""

    def __init__(self, config: Config, post: Callable[[Event], None], rng: random.Random) -> None:
        self._config = config
        self._post = post
        self.lines = [Line(broker, config, rng) for broker in config.brokers]
        self.retained: dict[str, bytes] = {}

    @property
    def open_lines(self) -> list[Line]:
        return [line for line in self.lines if line.open]

    def line_of(self, connection: Connection) -> Line | None:
        """The line that this connection still serves."""
        return next((line for line in self.lines if line.connection is connection), None)

    # --- dialling ---

    def due_s(self, now_s: float) -> float:
        """In how long something has to be dialled or probed."""
        dues = [line.due_s(now_s) for line in self.lines]
        dues += [line.probe.due_s(now_s) for line in self.lines if line.probe is not None]
        return min((due for due in dues if due is not None), default=3600.0)

    def turn(self, now_s: float, store_is_up: bool) -> None:
        """Dials and probes what is due."""
        for line in self.lines:
            if line.due_s(now_s) == 0.0:
                line.dial(self._post, now_s)
            if line.probe is not None and store_is_up:
                self._probe(line, now_s)
            elif line.probe is not None:
                line.probe.hold(now_s)

    def opened(self, event: Opened, now_s: float, now_ms: int) -> Line | None:
        line = self.line_of(event.connection)
        if line is None:
            return None
        line.opened(event, now_ms)
        log.info("connected to %s with MQTT %s", line.address, event.connection.version)
        try:
            self._subscribe(line)
            for topic, payload in self.retained.items():
                event.connection.publish(topic, payload, retain=True)
        except NotConnected:
            pass  # lost again already: its Closed is on the way
        return line

    def subscribed(self, event: Subscribed, now_s: float) -> None:
        line = self.line_of(event.connection)
        if line is None:
            return
        if line.probe is not None and any(one.startswith("$share/") for one in event.topics):
            line.probe.begin(event.ok, now_s)
        elif not event.ok:
            log.error("%s does not let us read %s", line.address, ", ".join(event.denied))

    def lost(self, event: Closed | Refused, now_s: float, now_ms: int) -> Line | None:
        line = self.line_of(event.connection)
        if line is None:
            return None
        before = line.reason
        if isinstance(event, Closed):
            line.closed(event, now_s, now_ms)
        else:
            line.refused(event, now_s, now_ms)
        if line.reason != before:
            log.warning("%s: %s", line.address, line.reason)
        return line

    def end(self) -> None:
        """Says goodbye to all brokers at the same time; a second or so."""
        ends = [threading.Thread(target=line.end, daemon=True) for line in self.lines]
        for end in ends:
            end.start()
        for end in ends:
            end.join(1.5)

    # --- speaking ---

    def keep(self, topic: str, payload: bytes, to: str | None = None) -> tuple[str, ...]:
        """Publishes it retained, and remembers to do so again; empty: deletes it everywhere."""
        if payload:
            self.retained[topic] = payload
        else:
            self.retained.pop(topic, None)
        return self.publish(topic, payload, retain=True, to=to)

    def drop(self, topics: Iterable[str]) -> None:
        """Another indexer writes these now: not ours to say again."""
        for topic in topics:
            self.retained.pop(topic, None)

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, to: str | None = None
    ) -> tuple[str, ...]:
        """On every open line (or on one); the addresses that took it."""
        took = []
        for line in self.open_lines:
            if line.connection is None or to not in (None, line.address):
                continue
            try:
                line.connection.publish(topic, payload, retain=retain)
            except NotConnected:
                continue
            took.append(line.address)
        return tuple(took)

    def waiting(self) -> int:
        """Messages that no broker has acknowledged yet."""
        return sum(line.connection.waiting for line in self.open_lines if line.connection)

    def states(self, now_s: float) -> tuple[BrokerState, ...]:
        return tuple(
            BrokerState(
                line.address,
                line.open,
                line.since_ms,
                line.reason,
                line.connection.version if line.connection else line.version(now_s),
                line.probe is not None and line.probe.verdict is True,
            )
            for line in self.lines
        )

    def _subscribe(self, line: Line) -> None:
        assert line.connection is not None
        line.connection.subscribe(OTHERS)
        group = self._config.share
        line.connection.subscribe([RESULTS if group is None else shared_topic(group)])

    def _probe(self, line: Line, now_s: float) -> None:
        assert line.probe is not None
        topic = line.probe.tick(now_s)
        if topic is not None:
            self.publish(topic, b"", to=line.address)
        if line.probe.verdict is False and line.connection is not None:
            line.probe = None
            log.warning(
                "%s grants shared subscriptions and delivers nothing: --share is not used there",
                line.address,
            )
            try:
                line.connection.subscribe([RESULTS])
            except NotConnected:
                return
