"""Agents in a closed loop: what was measured is sent until an indexer confirms it, and not longer.

Each has a window of unconfirmed singles or batches, as real agents have, and sends what stays
unconfirmed again, while an indexer is online; only their pause before that is shorter.
"""

from __future__ import annotations

import json
import random
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agent import batch, wire
from tests.servers import wait_for

WINDOW_SINGLES = 500
WINDOW_BATCHES = 4
BATCH_ROWS = 250
AGAIN_S = 15.0  # real agents wait a minute
TARGETS = 20


class Link:
    """MQTT 3.1.1 as bare as it gets."""

    def __init__(self, port: int, name: str, topics: Sequence[str]) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._mid = 0
        self._send(0x10, b"\x00\x04MQTT\x04\x02\x00\x00" + _text(name))
        self._send(0x82, b"\x00\x01" + b"".join(_text(topic) + b"\x01" for topic in topics))

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def publish(self, topic: str, payload: bytes) -> None:
        self._mid = self._mid % 65535 + 1
        self._send(0x32, _text(topic) + self._mid.to_bytes(2, "big") + payload)

    def arrived(self) -> Iterator[tuple[str, bytes]]:
        """Topic and payload of what has come; waits for something."""
        data = self._sock.recv(1 << 20)
        assert data, "the broker has closed the connection"
        self._buffer += data
        at = 0
        while (packet := _packet(self._buffer, at)) is not None:
            kind, start, at = packet
            if kind >> 4 == 3:
                end = start + 2 + int.from_bytes(self._buffer[start : start + 2], "big")
                topic = self._buffer[start + 2 : end].decode()
                if kind & 0x06:
                    self._send(0x40, self._buffer[end : end + 2])
                    end += 2
                yield topic, self._buffer[end:at]
        self._buffer = self._buffer[at:]

    def _send(self, kind: int, body: bytes) -> None:
        head, length = bytearray([kind]), len(body)
        while True:
            head.append(length % 128 | (128 if length > 127 else 0))
            length //= 128
            if not length:
                break
        self._sock.sendall(bytes(head) + body)


def _packet(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Kind, beginning and end of the packet at this place, if it is all there."""
    length, shift, start = 0, 0, at + 1
    while start < len(data):
        byte = data[start]
        length |= (byte & 127) << shift
        shift, start = shift + 7, start + 1
        if byte < 128:
            return None if len(data) < start + length else (data[at], start, start + length)
    return None


def _text(text: str) -> bytes:
    return len(text.encode()).to_bytes(2, "big") + text.encode()


class Said(NamedTuple):
    """What an indexer said of itself, and when."""

    at_s: float
    name: str
    online: bool


class Message:
    """One publish, and which of its results are not confirmed yet."""

    def __init__(self, topic: str, payload: bytes, seqs: Sequence[int]) -> None:
        self.topic = topic
        self.payload = payload
        self.waiting = set(seqs)
        self.sent_s = 0.0


class Agent:
    """One simulated agent: two of four send singles, two batches."""

    def __init__(self, number: int, results: int) -> None:
        self.name = f"load-{number:02d}"
        self.batched = number % 4 > 1
        self._rng = random.Random(number)
        self.epoch = f"{self._rng.getrandbits(64) | 1 << 63:016x}"
        self.results = results
        self.made = 0
        self.confirmed = 0
        self.messages: list[Message] = []
        self._of: dict[int, Message] = {}
        self._begun_ms = time.time_ns() // 1_000_000

    def next(self, measured: int) -> Message | None:
        """Something new of what is measured, if there is any and the window has room."""
        room = WINDOW_BATCHES if self.batched else WINDOW_SINGLES
        if self.made >= measured or len(self.messages) >= room:
            return None
        if self.batched:
            count = min(BATCH_ROWS, measured - self.made)
            seqs = range(self.made + 1, self.made + count + 1)
            payload, count = wire.encode_batch([self._result(seq) for seq in seqs])
            message = Message(wire.batch_topic(self.name), payload, seqs[:count])
        else:
            seqs = range(self.made + 1, self.made + 2)
            payload = wire.encode_result(self._result(self.made + 1))
            message = Message(wire.ping_topic(self.name), payload, seqs)
        self.made += len(message.waiting)
        self.messages.append(message)
        self._of.update(dict.fromkeys(message.waiting, message))
        return message

    def confirm(self, ranges: dict[str, list[tuple[int, int]]]) -> int:
        """How many of these were confirmed already."""
        again = 0
        for first, last in ranges.get(self.epoch, ()):
            for seq in range(first, last + 1):
                message = self._of.pop(seq, None)
                if message is None:
                    again += 1
                    continue
                self.confirmed += 1
                message.waiting.discard(seq)
                if not message.waiting:
                    self.messages.remove(message)
        return again

    def _result(self, seq: int) -> wire.Result:
        """Ten echoes, ten seconds after the one before; the last was measured now."""
        rtts = [round(self._rng.gauss(30, 3) + 20, 3) for _ in range(10)]
        body: dict[str, Any] = {
            "kind": "icmp", "target": f"target{seq % TARGETS}.example",
            "ip": f"192.0.2.{seq % TARGETS}", "family": 4, "ok": True, "error": None,
            "sent": 10, "received": 10, "loss_pct": 0.0, "rtts_ms": rtts, "late": 0,
            "duplicates": 0, "corrupted": 0, "rtt_ms": batch.rtt_summary(rtts),
            "link": {"type": "lte", "generation": "4g", "iface": "wwan0", "confidence": 0.9},
            "method": "dgram",
        }  # fmt: skip
        time_ms = self._begun_ms - (self.results - seq) * 10_000
        return wire.Result(self.name, self.epoch, seq, time_ms, "ntp", 60, body)


@dataclass
class Counts:
    """What went over the brokers."""

    messages: int = 0
    sent_again: int = 0
    confirmed_again: int = 0
    last_s: float = field(default_factory=time.monotonic)  # when there was last any traffic


class ClosedLoop:
    """Some agents, each on one of these brokers, driven by a thread of their own.

    All is measured at the start, or so many a second until they hurry.
    """

    def __init__(
        self,
        ports: Sequence[int],
        results: int,
        agents: int = 20,
        measured_a_second: float | None = None,
    ) -> None:
        share, rest = divmod(results, agents)
        self.results = results
        self.agents = [Agent(number, share + (number < rest)) for number in range(agents)]
        self.counts = Counts()
        self.said: list[Said] = []
        self._online: dict[str, bool] = {}
        self._named = {agent.name: agent for agent in self.agents}
        self._links = [Link(port, "agents", ("ack/+", "indexer/+")) for port in ports]
        self._link_of = {
            agent.name: self._links[number % len(ports)]
            for number, agent in enumerate(self.agents)
        }
        self._rate = None if measured_a_second is None else measured_a_second / agents
        self._begun_s = time.monotonic()
        self._ends = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._guarded, name="agents")

    def __enter__(self) -> ClosedLoop:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        for link in self._links:
            link.close()

    def hurry(self) -> None:
        """What is not measured yet, is now."""
        self._rate = None

    @property
    def confirmed(self) -> int:
        return sum(agent.confirmed for agent in self.agents)

    @property
    def ids(self) -> set[str]:
        """What the engine must hold at the end."""
        return {
            f"{agent.name}:{agent.epoch}:{seq}"
            for agent in self.agents
            for seq in range(1, agent.made + 1)
        }

    def wait_confirmed(self, count: int, timeout_s: float = 300) -> None:
        """So many are confirmed, or the test fails."""
        wait_for(lambda: self._well() and self.confirmed >= count, timeout_s,
                 f"{count} confirmed results")  # fmt: skip

    def wait_said(self, online: bool, since_s: float, timeout_s: float = 60) -> Said:
        """The last that an indexer has said of itself is this, and it has said so since then."""

        def found() -> Said | None:
            last = self.said[-1] if self._well() and self.said else None
            return last if last and last.at_s >= since_s and last.online is online else None

        said: Said = wait_for(found, timeout_s, f"an indexer that says online: {online}")
        return said

    def wait_quiet(self, quiet_s: float, timeout_s: float) -> None:
        """Nobody sends or confirms anything for so long, or the test fails."""
        wait_for(lambda: self._well() and time.monotonic() - self.counts.last_s >= quiet_s,
                 timeout_s, f"silence of {quiet_s} s")  # fmt: skip

    def _well(self) -> bool:
        if self._error is not None:
            raise self._error
        return True

    # From here on, all runs on the agents' own thread.

    def _guarded(self) -> None:
        try:
            while not self._ends.is_set():
                self._turn()
        except Exception as error:
            self._error = error

    def _turn(self) -> None:
        now_s = time.monotonic()
        for agent in self.agents:
            link = self._link_of[agent.name]
            while (message := agent.next(self._measured(agent, now_s))) is not None:
                self._publish(link, message, now_s)
            if any(self._online.values()):
                for message in agent.messages:
                    if now_s - message.sent_s > AGAIN_S:
                        self.counts.sent_again += 1
                        self._publish(link, message, now_s)
        for link in select.select(self._links, [], [], 0.1)[0]:
            for topic, payload in link.arrived():
                self._take(link, topic, payload)

    def _measured(self, agent: Agent, now_s: float) -> int:
        rate = self._rate
        if rate is None:
            return agent.results
        return min(agent.results, int((now_s - self._begun_s) * rate))

    def _publish(self, link: Link, message: Message, now_s: float) -> None:
        link.publish(message.topic, message.payload)
        message.sent_s = self.counts.last_s = now_s
        self.counts.messages += 1

    def _take(self, link: Link, topic: str, payload: bytes) -> None:
        kind, _, name = topic.partition("/")
        if kind == "indexer":
            online = bool(payload) and json.loads(payload)["online"] is True
            self._online[name] = online
            self.said.append(Said(time.monotonic(), name, online))
        elif self._link_of.get(name) is link:
            self.counts.last_s = time.monotonic()
            again = self._named[name].confirm(json.loads(payload))
            self.counts.confirmed_again += again
