"""One line to each broker: when to dial, which MQTT version, how long to wait after a failure.

Pure but for making the Connection. A line that is lost is dialled again after a random part of a
pause that doubles from FIRST_S to LAST_S (full jitter). Version 5, then 3.1.1 once the broker says
that it does not know 5, has closed twice before its CONNACK, or stays silent instead of sending
one (amqtt); that is remembered for a day.
"""

import random
from collections.abc import Callable

from agent import connection, wire
from agent.connection import Broker, Closed, Connection, Event, Opened, Refused
from indexer.config import Config
from indexer.share import ShareProbe

FIRST_S = 1.0
LAST_S = 60.0
STEADY_S = 30.0  # a connection that held so long starts the pause from the beginning
TAKEN_OVER_S = 60.0
SESSION_S = 86_400  # a durable session is kept by the broker for a day
RECEIVE_MAXIMUM = 1000
VERSION_S = 86_400.0

Post = Callable[[Event], None]


class Line:
    """What is known of one broker; ``connection`` is None while nobody dials."""

    def __init__(self, broker: Broker, config: Config, rng: random.Random) -> None:
        self.broker = broker
        self.address = str(broker)
        self.connection: Connection | None = None
        self.open = False
        self.reason: str | None = "not connected yet"
        self.since_ms = 0
        self.probe: ShareProbe | None = None
        self._config = config
        self._rng = rng
        self._due_s = 0.0
        self._failures = 0
        self._closed_early = 0
        self._older_until_s = 0.0

    def due_s(self, now_s: float) -> float | None:
        """In how long to dial; None: there is a connection already."""
        return None if self.connection is not None else max(0.0, self._due_s - now_s)

    def version(self, now_s: float) -> str:
        if self._config.mqtt != "auto":
            return self._config.mqtt
        return "3.1.1" if now_s < self._older_until_s else connection.NEWEST

    def dial(self, post: Post, now_s: float) -> None:
        """Makes a new Connection and opens it; its events come through post."""
        version = self.version(now_s)
        shared = self._config.share is not None
        self.connection = Connection(
            self.broker,
            self._config.name,
            post=post,
            version=version,
            credentials=self._config.credentials,
            will=(wire.indexer_topic(self._config.name), wire.encode_json({"online": False})),
            clean=shared,
            expiry_s=0 if shared else SESSION_S,
            receive_maximum=RECEIVE_MAXIMUM if version == "5" else None,
            manual_ack=True,
        )
        self.connection.open()

    def opened(self, _event: Opened, now_ms: int) -> None:
        self.open = True
        self.reason = None
        self.since_ms = now_ms
        self._closed_early = 0
        if self._config.share is not None:
            self.probe = ShareProbe(self._config.name)

    def refused(self, event: Refused, now_s: float, now_ms: int) -> None:
        """It never opened; an older version of MQTT may be what is missing."""
        self._closed_early += event.stage == "closed"
        told = event.code == connection.UNSUPPORTED_VERSION
        silent = event.stage == "connack" and event.code is None
        if self.version(now_s) == "5" and (told or silent or self._closed_early >= 2):
            self._older_until_s = now_s + VERSION_S
            self._closed_early = 0
        self._lost(event.reason, now_s, now_ms)

    def closed(self, event: Closed, now_s: float, now_ms: int) -> None:
        if (event.after_s or 0.0) >= STEADY_S:
            self._failures = 0
        self._lost(event.reason, now_s, now_ms)
        if event.code == connection.TAKEN_OVER:
            self.reason = f"another indexer has the name {self._config.name}, and took over"
            self._due_s = now_s + TAKEN_OVER_S * (1 + self._rng.random())

    def give_up(self, reason: str, now_s: float, now_ms: int) -> None:
        """We close it ourselves, and come back after a pause."""
        if self.connection is not None:
            self.connection.close()
        self._lost(reason, now_s, now_ms)

    def end(self) -> None:
        """The last goodbye."""
        if self.connection is not None:
            self.connection.close()
        self.connection = None
        self.open = False

    def _lost(self, reason: str, now_s: float, now_ms: int) -> None:
        if self.open or self.since_ms == 0:
            self.since_ms = now_ms
        self.connection = None
        self.open = False
        self.probe = None
        self.reason = reason
        pause_s = min(LAST_S, FIRST_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._due_s = now_s + pause_s * self._rng.random()
