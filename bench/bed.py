"""What the benches of the agent share: a network of its own, processes, the kernel's counts.

Everything runs inside a namespace that has only what is wired into it.
"""

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from agent import batch, control
from agent.clock import Reading
from agent.store import Journal
from agent.store_view import view
from tests import agent_bed, servers
from tests.netlab import Namespace
from tests.servers import Server

ROOT = Path(__file__).resolve().parent.parent
LOOPBACKS = " ".join(agent_bed.LOOPBACKS)


class Memory(NamedTuple):
    """Of one process, in bytes."""

    rss: int
    private: int
    anonymous: int


@contextmanager
def alone() -> Iterator[Path]:
    """A folder on a real disk, and a network that is only a loopback."""
    if os.geteuid() != 0:
        raise SystemExit("this bench wants root, for a network namespace of its own")
    with agent_bed.alone(), tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        yield Path(folder)


@contextmanager
def mosquitto(folder: Path, *lines: str) -> Iterator[Server]:
    server = servers.mosquitto(folder / "broker", lines)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def running(folder: Path, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A Python module as a process; its output is in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=agent_bed.environ(int(os.environ.get("FAST", "20"))),
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def memory(pid: int) -> Memory:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = {name: int(count) for name, count in re.findall(r"^(\w+): +(\d+) kB", text, re.M)}
    private = kib["Private_Clean"] + kib["Private_Dirty"]
    return Memory(kib["Rss"] * 1024, private * 1024, kib["Anonymous"] * 1024)


def cpu_s(pid: int) -> float:
    """Time on a processor, of all threads that live."""
    stats = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(stat.read_text().split()[0]) for stat in stats) / 1e9


def written_bytes(pid: int) -> int:
    """What the process has made the disk write (the file system's own journal is not in it)."""
    text = Path(f"/proc/{pid}/io").read_text()
    found = re.search(r"^write_bytes: (\d+)$", text, re.M)
    assert found is not None
    return int(found[1])


def mb(count: float) -> str:
    return f"{count / 2**20:.1f} MB"


def body(rng: random.Random, number: int) -> dict[str, Any]:
    """What a real probe gives: ten echoes to one of 20 targets; now and then one is lost."""
    rtts: list[float | None] = [round(30 + rng.expovariate(1 / 3), 3) for _ in range(10)]
    if rng.random() < 0.05:
        rtts[rng.randrange(10)] = None
    kept = [rtt for rtt in rtts if rtt is not None]
    return {
        "kind": "icmp", "target": f"target{number % 20}.example", "ip": f"192.0.2.{number % 20}",
        "family": 4, "ok": True, "error": None, "sent": 10, "received": len(kept),
        "loss_pct": 10.0 * (10 - len(kept)), "late": 0, "duplicates": 0, "corrupted": 0,
        "rtts_ms": rtts, "rtt_ms": batch.rtt_summary(rtts), "method": "dgram",
        "link": {"type": "lte", "generation": "4g", "iface": "wwan0", "confidence": 0.9},
    }  # fmt: skip


def fill(journal_path: Path, agent: str, rows: int, every_s: int = 12) -> None:
    """A journal with so many rows that nobody has seen yet; its agent will be paused."""
    journal_path.parent.mkdir(parents=True, exist_ok=True)
    journal = Journal(
        str(journal_path), agent, max_rows=2 * rows + 1000, max_bytes=1 << 34, flush_s=1e9
    )
    rng, now_ns = random.Random(1), time.time_ns()
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    journal.follow(Reading("an-earlier-boot", rows * every_s * 10**9, now_ns - boot_ns, "ntp", 60))
    for number in range(rows):
        journal.add(body(rng, number), number * every_s * 10**9)
        if number % 10_000 == 9_999:
            journal.flush(float(number))
    journal.flush(float(rows))
    journal.close()
    control.write(control.path_beside(str(journal_path)), control.Control(paused=True))


def waiting(journal_path: Path) -> int:
    seen = view(str(journal_path))
    try:
        return seen.counts.waiting
    finally:
        seen.close()


def wire_bytes(namespace: Namespace) -> int:
    """IP bytes over the emulated link, both ways, as the kernel has counted them so far."""
    table = namespace.call(Path("/proc/thread-self/net/dev").read_text)
    total = 0
    for line in table.splitlines()[2:]:
        name, _, counts = line.partition(":")
        if name.strip().startswith("lab"):
            fields = counts.split()
            total += int(fields[0]) + int(fields[8])
    return total
