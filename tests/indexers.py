"""An indexer that runs inside a test, and a client that looks on from outside."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent import connection, wire
from agent.connection import Broker, Connection, Credentials
from indexer.config import Config
from indexer.store import Store, StoreDown
from indexer.store_sqlite import SqliteStore
from indexer.swarming_indexer import Indexer
from tests.servers import wait_for

DAY_MS = 86_400_000
EPOCH = "0123456789abcdef"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def settings(*ports: int, name: str = "indexer-test", **changes: Any) -> Config:
    """The Config of an indexer on these loopback ports."""
    tls = "credentials" in changes
    values: dict[str, Any] = {
        "brokers": tuple(Broker("127.0.0.1", port, tls) for port in ports),
        "store": "sqlite:unused",
        "listen": None,
        "name": name,
        "share": None,
        "classic": False,
        "keep_raw_ms": 90 * DAY_MS,
        "credentials": Credentials(),
        "ca_folder": "/nonexistent",
        "auth": None,
        "page_cert": None,
        "page_key": None,
        "behind_proxy": False,
        "mqtt": "auto",
        "log_level": "info",
    }
    return Config(**(values | changes))


@contextmanager
def running(config: Config, store: Store) -> Iterator[Indexer]:
    """The indexer turns on a thread; at the end it has said goodbye."""
    indexer = Indexer(config, store)
    thread = threading.Thread(target=indexer.run)
    thread.start()
    try:
        yield indexer
    finally:
        indexer.stop()
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def sqlite(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(str(path))
    yield store
    store.close()


def result(seq: int, agent: str = "a1", time_ms: int | None = None, **body: Any) -> wire.Result:
    """A plain result, measured now."""
    facts: dict[str, Any] = {"kind": "icmp", "target": "voila.fr", "ok": True}
    facts |= {"sent": 2, "received": 2, "rtts_ms": [1.5, 2.0], **body}
    at_ms = now_ms() if time_ms is None else time_ms
    return wire.Result(agent, EPOCH, seq, at_ms, "ntp", 5, facts)


def seqs(store: Store, agent: str = "a1") -> list[int]:
    """What the store has of this agent, in order."""
    found = store.results(0, now_ms() + 2 * 3_600_000, agent=agent)
    return sorted(one.seq for one in found)


class Client:
    """A plain MQTT client: what came is in ``messages``."""

    def __init__(
        self,
        port: int,
        *topics: str,
        version: str = "3.1.1",
        name: str = "looker",
        will: tuple[str, bytes] | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._connection = Connection(
            Broker("127.0.0.1", port, credentials is not None),
            name,
            post=self._events.put,
            version=version,
            will=will,
            credentials=credentials,
        )
        self._connection.open()
        wait_for(lambda: self._connection.is_open, what=f"the broker on {port}")
        if topics:
            self._connection.subscribe(topics)
            wait_for(lambda: self._saw(connection.Subscribed), what="the subscription")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def cut(self) -> None:
        """Gone without a goodbye: the broker publishes the will."""
        self._connection.close(disconnect=False)

    def publish(self, topic: str, payload: bytes | str, retain: bool = False) -> None:
        """The broker has it."""
        self._connection.publish(
            topic, payload.encode() if isinstance(payload, str) else payload, retain=retain
        )
        self._wait_acknowledged()

    def send(self, *results: wire.Result) -> None:
        """The broker has all these."""
        for one in results:
            self._connection.publish(wire.ping_topic(one.agent), wire.encode_result(one))
        self._wait_acknowledged()

    def _wait_acknowledged(self) -> None:
        wait_for(lambda: not self._connection.waiting, what="the broker's PUBACKs")

    def look(self) -> None:
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            if isinstance(event, connection.Received):
                self.messages.append((event.topic, event.payload, event.retain))
            elif isinstance(event, connection.Crashed):
                raise event.error

    def payloads(self, topic: str) -> list[bytes]:
        self.look()
        return [payload for found, payload, _ in self.messages if found == topic]

    def confirmed(self, agent: str = "a1") -> set[int]:
        """The seqs of EPOCH that were confirmed so far."""
        found: set[int] = set()
        for payload in self.payloads(wire.ack_topic(agent)):
            message = wire.read(wire.ack_topic(agent), payload)
            assert isinstance(message, wire.Ack)
            for first, last in message.ranges.get(EPOCH, []):
                found |= set(range(first, last + 1))
        return found

    def wait_confirmed(self, wanted: Sequence[int], agent: str = "a1") -> None:
        wait_for(lambda: set(wanted) <= self.confirmed(agent), what=f"{agent}'s confirmations")

    def wait_online(self, online: bool = True, name: str = "indexer-test") -> None:
        """The last that the indexer said is that it is online, or that it is not."""

        def said() -> bool:
            told = self.payloads(wire.indexer_topic(name))
            message = wire.read(wire.indexer_topic(name), told[-1]) if told else None
            return isinstance(message, wire.Indexer) and message.online is online

        wait_for(said, what=f"{name} online: {online}")

    def _saw(self, kind: type) -> bool:
        kept = []
        saw = False
        while not self._events.empty():
            event = self._events.get_nowait()
            saw = saw or isinstance(event, kind)
            if not isinstance(event, kind):
                kept.append(event)
        for event in kept:
            self._events.put(event)
        return saw


class Flaky:
    """A store that can be told to be down, or some calls of it; all else is the real one's."""

    def __init__(self, store: Store, only: Sequence[str] = ()) -> None:
        self.real = store
        self._only = only
        self.down = False
        self.refused: list[str] = []  # the calls that came while it was down

    def __getattr__(self, name: str) -> Any:
        work = getattr(self.real, name)
        return self._unless_down(work) if callable(work) and name != "close" else work

    def _unless_down(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def done(*args: Any, **named: Any) -> Any:
            if self.down and (not self._only or work.__name__ in self._only):
                self.refused.append(work.__name__)
                raise StoreDown("it was switched off")
            return work(*args, **named)

        return done
