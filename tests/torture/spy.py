"""Listens at every broker from outside: who was heard when, and how often a message came."""

import queue
import time
import zlib
from collections import Counter, deque
from typing import Any

from agent import connection, wire
from agent.connection import Broker, Connection

DIAL_AGAIN_S = 0.5
HEARD = 20  # times that are remembered of each agent


class Spy:
    """One listener at one broker."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.arrived: Counter[int] = Counter()  # by the payload's checksum
        self.results = 0
        self._broker = Broker(address, 1883, False)
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._dial_at_s = 0.0

    def turn(self, heard: dict[str, deque[float]]) -> None:
        """Takes what has come, and dials again when it was lost."""
        if self._connection is None and time.monotonic() >= self._dial_at_s:
            self._connection = Connection(
                self._broker, f"spy-{self.name}", post=self._events.put, keepalive_s=4, step_s=2.0
            )
            self._connection.open()
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            self._handle(event, heard)

    def _handle(self, event: Any, heard: dict[str, deque[float]]) -> None:
        if event.connection is not self._connection:
            return
        if isinstance(event, connection.Opened):
            try:
                event.connection.subscribe(["ping/#"], qos=0)
            except connection.NotConnected:
                return
        elif isinstance(event, connection.Received):
            parts = event.topic.split("/")
            heard.setdefault(parts[1], deque(maxlen=HEARD)).append(time.monotonic())
            self.arrived[zlib.crc32(event.payload)] += 1
            self.results += len(self._results(event))
        elif isinstance(event, (connection.Closed, connection.Refused)):
            self._connection, self._dial_at_s = None, time.monotonic() + DIAL_AGAIN_S
        elif isinstance(event, connection.Crashed):
            raise event.error

    @staticmethod
    def _results(event: Any) -> list[wire.Result]:
        message = wire.read(event.topic, event.payload)
        return message.results if isinstance(message, wire.Results) else []
