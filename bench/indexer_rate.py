"""How many results a second one core takes through real Mosquitto into SQLite, until confirmed.

A closed loop, as agents are: each of the simulated agents has at most 500 single results, or 4
batches, waiting for their confirmation. The clock runs from the first publish to the last
confirmation. The indexer is pinned to one core; broker and agents have the others.
"""

import json
import os
import random
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agent import batch, wire

AGENTS = 10
WINDOW_SINGLES = 500
WINDOW_BATCHES = 4
BROKER_CONF = (
    "allow_anonymous true",
    "persistence false",
    "max_inflight_messages 1000",
    "max_queued_messages 10000",
    "message_size_limit 131072",
)
_LIMIT_S = 120


class Wire:
    """MQTT 3.1.1 as bare as it gets, so that the indexer is what is measured."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._mid = 0
        self._send(0x10, b"\x00\x04MQTT\x04\x02\x00\x00" + _text("bench"))
        self._send(0x82, b"\x00\x01" + _text("ack/+") + b"\x01")

    def publish(self, topic: str, payload: bytes) -> None:
        self._mid = self._mid % 65535 + 1
        self._send(0x32, _text(topic) + self._mid.to_bytes(2, "big") + payload)

    def confirmations(self, timeout_s: float) -> Iterator[tuple[str, bytes]]:
        """Topic and payload of what came on ack/+."""
        if not select.select([self._sock], [], [], timeout_s)[0]:
            return
        self._buffer += self._sock.recv(1 << 20)
        while (packet := self._packet()) is not None:
            kind, body = packet
            if kind >> 4 == 3:
                length = int.from_bytes(body[:2], "big")
                rest = body[2 + length :]
                self._send(0x40, rest[:2])
                yield body[2 : 2 + length].decode(), rest[2:]

    def _packet(self) -> tuple[int, bytes] | None:
        length, shift, at = 0, 0, 1
        while at < len(self._buffer):
            byte = self._buffer[at]
            length |= (byte & 127) << shift
            shift, at = shift + 7, at + 1
            if byte < 128:
                if len(self._buffer) < at + length:
                    return None
                kind, body = self._buffer[0], self._buffer[at : at + length]
                self._buffer = self._buffer[at + length :]
                return kind, body
        return None

    def _send(self, kind: int, body: bytes) -> None:
        head, length = bytearray([kind]), len(body)
        while True:
            head.append(length % 128 | (128 if length > 127 else 0))
            length //= 128
            if not length:
                break
        self._sock.sendall(bytes(head) + body)


def _text(text: str) -> bytes:
    return len(text.encode()).to_bytes(2, "big") + text.encode()


def results(agent: str, count: int, seed: int) -> list[wire.Result]:
    """What a real agent would have measured: ten echoes to one of 20 targets each."""
    rng = random.Random(seed)
    now_ms = time.time_ns() // 1_000_000
    epoch = f"{rng.getrandbits(64) | 1 << 63:016x}"
    made = []
    for seq in range(1, count + 1):
        rtts = [round(rng.gauss(30, 3) + 20, 3) for _ in range(10)]
        body: dict[str, Any] = {
            "kind": "icmp", "target": f"target{seq % 20}.example", "ip": f"192.0.2.{seq % 20}",
            "family": 4, "ok": True, "error": None, "sent": 10, "received": 10, "loss_pct": 0.0,
            "rtts_ms": rtts, "late": 0, "duplicates": 0, "corrupted": 0,
            "rtt_ms": batch.rtt_summary(rtts),
            "link": {"type": "lte", "generation": "4g", "iface": "wwan0", "confidence": 0.9},
            "method": "dgram",
        }  # fmt: skip
        time_ms = now_ms - (count - seq) * 10_000
        made.append(wire.Result(agent, epoch, seq, time_ms, "ntp", 60, body))
    return made


def messages(agent: str, rows: Sequence[wire.Result], batched: bool) -> list[tuple[bytes, int]]:
    """Payloads, and how many rows each holds."""
    if not batched:
        return [(wire.encode_result(row), 1) for row in rows]
    made = []
    while rows:
        payload, count = wire.encode_batch(rows)
        made.append((payload, count))
        rows = rows[count:]
    return made


class Rate(NamedTuple):
    """Confirmed results a second: by the clock on the wall, and by the indexer's CPU time."""

    wall: float
    cpu: float


def rate(folder: Path, batched: bool, rows_per_agent: int) -> Rate:
    port = _free_port()
    broker = _mosquitto(folder, port)
    store = folder / ("batches.db" if batched else "singles.db")
    indexer = _indexer(port, store)
    try:
        agents = [f"bench-{number}" for number in range(AGENTS)]
        queues = {
            agent: deque(messages(agent, results(agent, rows_per_agent, 100 + number), batched))
            for number, agent in enumerate(agents)
        }
        link = Wire(port)
        _warm_up(link)
        begun_s, begun_cpu_s = time.monotonic(), _cpu_s(indexer.pid)
        rows = rows_per_agent * AGENTS
        _drive(link, queues, batched, rows, begun_s)
        wall_s, cpu_s = time.monotonic() - begun_s, _cpu_s(indexer.pid) - begun_cpu_s
        return Rate(rows / wall_s, rows / cpu_s)
    finally:
        for process in (indexer, broker):
            process.terminate()
            process.wait(10)


def _drive(
    link: Wire,
    queues: dict[str, deque[tuple[bytes, int]]],
    batched: bool,
    total: int,
    begun_s: float,
) -> None:
    waiting = dict.fromkeys(queues, 0)
    size = {agent: max(count for _, count in queue) for agent, queue in queues.items()}
    confirmed = 0
    while confirmed < total:
        for agent, queue in queues.items():
            window = WINDOW_BATCHES * size[agent] if batched else WINDOW_SINGLES
            topic = wire.batch_topic(agent) if batched else wire.ping_topic(agent)
            while queue and waiting[agent] + queue[0][1] <= window:
                payload, count = queue.popleft()
                link.publish(topic, payload)
                waiting[agent] += count
        for topic, payload in link.confirmations(1.0):
            agent = topic.removeprefix("ack/")
            if agent not in waiting:
                continue
            ranges = json.loads(payload)
            count = sum(last - first + 1 for pairs in ranges.values() for first, last in pairs)
            waiting[agent] -= count
            confirmed += count
        if time.monotonic() - begun_s > _LIMIT_S:
            raise SystemExit(f"only {confirmed} of {total} were confirmed in {_LIMIT_S} s")


def _warm_up(link: Wire) -> None:
    """Until the indexer confirms a first result."""
    (row,) = results("bench-warm", 1, 1)
    for _ in range(150):
        link.publish(wire.ping_topic(row.agent), wire.encode_result(row))
        time.sleep(0.2)
        if any(topic == "ack/bench-warm" for topic, _ in link.confirmations(0.1)):
            return
    raise SystemExit("the indexer confirms nothing")


def _mosquitto(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if binary is None:
        raise SystemExit("this machine has no mosquitto")
    conf = folder / f"mosquitto-{port}.conf"
    user = ["user root"] if os.geteuid() == 0 else []
    conf.write_text("\n".join([f"listener {port} 127.0.0.1", *BROKER_CONF, *user]) + "\n")
    broker = subprocess.Popen([binary, "-c", str(conf)], stderr=subprocess.DEVNULL)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return broker
        time.sleep(0.05)
    raise SystemExit("mosquitto does not listen")


def _indexer(port: int, store: Path) -> "subprocess.Popen[bytes]":
    core = max(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "indexer.cli", "run", f"127.0.0.1:{port}"]
    command += ["--store", f"sqlite:{store}", "--listen", "off", "--name", "indexer-bench"]
    indexer = subprocess.Popen([*command, "--log-level", "warning"])
    os.sched_setaffinity(indexer.pid, {core})
    return indexer


def _cpu_s(pid: int) -> float:
    """CPU time that the process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        singles = rate(Path(folder), batched=False, rows_per_agent=2_000)
        batches = rate(Path(folder), batched=True, rows_per_agent=10_000)
    conf = ", ".join(line for line in BROKER_CONF if "anonymous" not in line)
    for what, found, aim in (("single", singles, 5_000), ("batched", batches, 15_000)):
        print(
            f"indexer, {what} results, Mosquitto to SQLite, confirmed: {found.wall:,.0f}/s "
            f"({found.cpu:,.0f} per second of CPU time, one core; aim {aim:,}/s)"
        )
    print(f"  broker: {conf}")


if __name__ == "__main__":
    main()
