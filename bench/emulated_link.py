"""A link between two network namespaces, as bad as asked for: two TUN devices and this process.

Delay, jitter, loss, duplicates, reordering, corruption, bandwidth. What happens to a packet follows
from the seed, the direction, its flow and its number in the flow, never from time: every flow of
echoes (an identifier is a flow) meets exactly the same fate, so that two pingers can be compared
echo by echo. Its own count of echoes asked and answered is the truth that others are held against.

    python -m bench.emulated_link NAME_A NAME_B PID_OF_B '{"delay_ms": 40, "loss": 0.05}'

runs in namespace A, moves the far device to the namespace of process B, prints "ready", and prints
its counts (JSON) when its standard input ends.
"""

import contextlib
import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from typing import Any, NamedTuple

_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x0001 | 0x1000
_ECHO_REQUEST, _ECHO_REPLY = (8, 128), (0, 129)


class Impairment(NamedTuple):
    """Each direction by itself: a round trip has twice the delay. Shares are from 0 to 1."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0  # up to so much more, evenly spread; packets stay in order
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0  # the share that is held back for `held_ms` more, and overtaken
    held_ms: float = 30.0
    corrupt: float = 0.0  # two words swapped, which no checksum notices
    rate_kbit: float | None = None
    queue_ms: float = 500.0  # a queue longer than this drops
    seed: int = 1


class Echo(NamedTuple):
    """An ICMP echo in a packet: where it is, and whose."""

    flow: tuple[int, int]  # IP version, identifier
    seq: int
    is_request: bool
    payload_at: int


def echo_in(packet: bytes) -> Echo | None:
    """The echo (request or reply) that a packet carries."""
    version = packet[0] >> 4 if packet else 0
    at = (packet[0] & 15) * 4 if version == 4 else 40
    protocol = packet[9:10] if version == 4 else packet[6:7]
    if protocol != (b"\x01" if version == 4 else b"\x3a") or len(packet) < at + 8:
        return None
    kind, _, _, ident, seq = struct.unpack_from("!BBHHH", packet, at)
    if kind not in _ECHO_REQUEST + _ECHO_REPLY:
        return None
    return Echo((version, ident), seq, kind in _ECHO_REQUEST, at + 8)


class Direction:
    """One direction of the link. Pure: packets and times in, packets and due times out."""

    def __init__(self, name: str, impairment: Impairment) -> None:
        self.counts = dict.fromkeys(("packets", "lost", "duplicated", "held", "corrupted"), 0)
        self._name, self._bad = name, impairment
        self._numbers: dict[object, int] = {}
        self._line_free_s = 0.0
        self._last_due_s = 0.0

    def take(self, packet: bytes, now_s: float) -> list[tuple[float, bytes]]:
        """When which copies of this packet come out at the other end; none if it is lost."""
        bad, echo = self._bad, echo_in(packet)
        chance = self._chance(echo.flow if echo else "other")
        lost, twice, held, corrupted = (chance.random() for _ in range(4))
        jitter_s = chance.random() * bad.jitter_ms / 1000
        self.counts["packets"] += 1
        sent_s = self._through_the_line(len(packet), now_s)
        if sent_s is None or lost < bad.loss:
            self.counts["lost"] += 1
            return []
        if corrupted < bad.corrupt and echo is not None:
            self.counts["corrupted"] += 1
            packet = _swap_words(packet, echo.payload_at)
        due_s = sent_s + bad.delay_ms / 1000 + jitter_s
        if held < bad.reorder:
            self.counts["held"] += 1
            due_s += bad.held_ms / 1000
        else:
            due_s = self._last_due_s = max(due_s, self._last_due_s)
        copies = 2 if twice < bad.duplicate else 1
        self.counts["duplicated"] += copies - 1
        return [(due_s, packet)] * copies

    def _chance(self, flow: object) -> random.Random:
        number = self._numbers[flow] = self._numbers.get(flow, 0) + 1
        return random.Random(f"{self._bad.seed} {self._name} {number}")

    def _through_the_line(self, size_bytes: int, now_s: float) -> float | None:
        """When the packet's last bit is on its way, or None: the queue is full."""
        if self._bad.rate_kbit is None:
            return now_s
        begins_s = max(now_s, self._line_free_s)
        if begins_s - now_s > self._bad.queue_ms / 1000:
            return None
        self._line_free_s = begins_s + size_bytes * 8 / (self._bad.rate_kbit * 1000)
        return self._line_free_s


class Ledger:
    """Which echoes of A's went into the link, and to which an unaltered reply came out of it."""

    def __init__(self) -> None:
        self._asked: dict[tuple[int, int], dict[int, bytes]] = {}
        self._answered: dict[tuple[int, int], set[int]] = {}

    def from_a(self, packet: bytes) -> None:
        echo = echo_in(packet)
        if echo is not None and echo.is_request:
            self._asked.setdefault(echo.flow, {})[echo.seq] = packet[echo.payload_at :]

    def to_a(self, packet: bytes) -> None:
        echo = echo_in(packet)
        if echo is None or echo.is_request:
            return
        if self._asked.get(echo.flow, {}).get(echo.seq) == packet[echo.payload_at :]:
            self._answered.setdefault(echo.flow, set()).add(echo.seq)

    def flows(self) -> list[dict[str, int]]:
        """A line for each flow, in the order in which they began."""
        return [
            {
                "family": flow[0],
                "ident": flow[1],
                "asked": len(asked),
                "lost": len(asked.keys() - self._answered.get(flow, set())),
            }
            for flow, asked in self._asked.items()
        ]


def _swap_words(packet: bytes, at: int) -> bytes:
    return packet[:at] + packet[at + 2 : at + 4] + packet[at : at + 2] + packet[at + 4 :]


def _tun(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI))
    return descriptor


def carry(near: int, far: int, impairment: Impairment, until: int) -> dict[str, Any]:
    """Carry packets between two TUN descriptors until `until` can be read; what happened."""
    there, back, ledger = Direction("there", impairment), Direction("back", impairment), Ledger()
    due: list[tuple[float, int, int, bytes]] = []  # when, order, where to, what
    order = 0
    while True:
        wait_s = max(0.0, due[0][0] - time.monotonic()) if due else None
        readable = select.select([near, far, until], [], [], wait_s)[0]
        if until in readable:
            return {"there": there.counts, "back": back.counts, "flows": ledger.flows()}
        for source in (near, far):
            if source not in readable:
                continue
            with contextlib.suppress(BlockingIOError):
                packet = os.read(source, 65536)
                if source == near:
                    ledger.from_a(packet)
                direction, to = (there, far) if source == near else (back, near)
                for at_s, copy in direction.take(packet, time.monotonic()):
                    order += 1
                    heapq.heappush(due, (at_s, order, to, copy))
        while due and due[0][0] <= time.monotonic():
            _, _, to, packet = heapq.heappop(due)
            with contextlib.suppress(OSError):  # the device is down
                os.write(to, packet)
                if to == near:
                    ledger.to_a(packet)


def main() -> None:
    name_a, name_b, pid_b, bad = sys.argv[1:]
    with contextlib.suppress(OSError):  # where it is allowed, a busy machine delays no packet
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    near, far = _tun(name_a), _tun(f"{name_b}~")
    moved = ["ip", "link", "set", f"{name_b}~", "netns", pid_b, "name", name_b]
    subprocess.run(moved, check=True)
    print("ready", flush=True)
    print(json.dumps(carry(near, far, Impairment(**json.loads(bad)), sys.stdin.fileno())))


if __name__ == "__main__":
    main()
