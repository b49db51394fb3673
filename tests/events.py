"""What connections told a test, in the order they told it."""

from __future__ import annotations

import queue
import time
from typing import Any, TypeVar

import pytest

from agent.connection import Closed, Connection, Crashed, Event, Opened, Refused, parse_broker

E = TypeVar("E")


class Events:
    """Give its `post` to connections; `next` waits for an event of a kind, and skips no ending."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.seen: list[Event] = []

    def post(self, event: Event) -> None:
        self._queue.put(event)

    def next(self, kind: type[E], of: Connection | None = None, timeout_s: float = 30) -> E:
        end = time.monotonic() + timeout_s
        while True:
            try:
                event = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"no {kind.__name__} came; there were {self.seen}")
            self.seen.append(event)
            mine = of is None or event.connection is of
            if mine and isinstance(event, kind):
                return event
            if mine and isinstance(event, Refused | Closed | Crashed):
                pytest.fail(f"no {kind.__name__} came, but {event}")

    def all(self) -> list[Event]:
        """Those that have come so far, and were not waited for."""
        came = []
        while not self._queue.empty():
            came.append(self._queue.get())
        self.seen += came
        return came


def connect(port: int, events: Events, name: str = "box", **options: Any) -> Connection:
    """A connection to a plain broker on loopback, open when this returns."""
    connection = dial(port, events, name, **options)
    events.next(Opened, connection)
    return connection


def dial(port: int, events: Events, name: str = "box", **options: Any) -> Connection:
    """A connection that is being opened."""
    broker = parse_broker(f"127.0.0.1:{port}")
    connection = Connection(broker, name, post=events.post, **options)
    connection.open()
    return connection
