"""Telegraf and swarming-indexer, side by side: the same results into the same OpenSearch.

120,000 results of 20 agents, a day's worth, come through one Mosquitto. Telegraf reads them as JSON
messages; swarming-indexer once so, and once in the batches that agents make of a backlog. The clock
runs from the first publish until the engine has every document; for swarming-indexer also until
every result is confirmed. Its agents are a closed loop as real ones are: 500 single results or 4
batches of each may wait for their confirmation. Telegraf confirms nothing, so everything is
published to it as fast as Mosquitto takes it and waits there, dropped by nobody.

Both write to one shard without replicas, with the settings of our template; the publisher's packets
are made beforehand. CPU is user and system time of the process, memory its peak.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from agent import wire
from bench import telegraf
from bench.elastic_load import (
    AGENTS,
    DAY_MS,
    LIMIT_S,
    RESULTS,
    SLOT_MS,
    TARGETS,
    Load,
    drive,
    load,
    results,
)
from bench.indexer_rate import WINDOW_SINGLES
from bench.publisher import Publisher, packets
from indexer.elastic import templates
from indexer.elastic.address import parse
from indexer.stores import open_store
from tests import engines, servers

ROUNDS = 3
PREFIX = "bench"
BROKER_CONF = (
    "persistence false",
    "max_inflight_messages 10000",
    "max_queued_messages 200000",
    "message_size_limit 131072",
)


class Figures(NamedTuple):
    """Of one run; CPU is a result's, of the process and of the engine."""

    rate: float
    cpu_us: float
    engine_us: float
    peak_mb: float


# --- the engine ---------------------------------------------------------------------------------


def ask(engine: engines.Engine, method: str, path: str, body: Any = None) -> Any:
    status, found = engine.ask(method, path, body)
    if status >= 400:
        raise SystemExit(f"{method} {path}: {found}")
    return found


def install(engine: engines.Engine) -> None:
    """Telegraf's index template, with the settings of ours."""
    (ours,) = (family for family in templates.families() if family.name == "results")
    settings = templates.template(parse(store_of(engine)), ours)["template"]["settings"]
    made = {"settings": settings, "mappings": telegraf.mapping()}
    body = {"index_patterns": [telegraf.INDEX], "template": made}
    ask(engine, "PUT", f"/_index_template/{telegraf.NAME}", body)


def documents(engine: engines.Engine, indices: str) -> int:
    """Exactly how many, all of them searchable."""
    ask(engine, "POST", f"/{indices}/_refresh")
    return int(ask(engine, "GET", f"/{indices}/_count")["count"])


def indexed(engine: engines.Engine, indices: str) -> int:
    """About how many: cheap to ask."""
    path = f"/{indices}/_stats/indexing?filter_path=_all.primaries.indexing.index_total"
    found = ask(engine, "GET", path)
    return int(found["_all"]["primaries"]["indexing"]["index_total"]) if found else 0


def wait_for(done: Callable[[], bool], what: str, every_s: float = 0.1) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not done():
        if time.monotonic() > end_s:
            raise SystemExit(f"waited {LIMIT_S} s in vain for {what}")
        time.sleep(every_s)


# --- a run --------------------------------------------------------------------------------------


class Run:
    """A process between a broker and an engine, warm: a first result has gone all the way."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", port: int, engine: engines.Engine, indices: str
    ) -> None:
        self.link = Publisher(port)
        self._pids = process.pid, engine.pid
        self._engine, self._indices = engine, indices
        self._warm_up()
        self._there = indexed(engine, indices)
        self._begun_s = time.monotonic()
        self._cpu_s = [cpu_s(pid) for pid in self._pids]

    def _warm_up(self) -> None:
        (row,) = results("agent-warm", 99, 1)
        (packet,) = packets([(wire.ping_topic(row.agent), wire.encode_result(row))])

        def stored() -> bool:
            self.link.send(packet)
            return documents(self._engine, self._indices) > 0

        time.sleep(2)
        wait_for(stored, "a first document", 1)
        time.sleep(2)
        self.link.came(0.1)

    def finish(self) -> Figures:
        """Once the engine has everything, and nothing else."""
        wait_for(lambda: self._new() >= RESULTS, "every document")
        wall_s = time.monotonic() - self._begun_s
        own, engine = (
            (cpu_s(pid) - before) * 1e6 / RESULTS
            for pid, before in zip(self._pids, self._cpu_s, strict=True)
        )
        found = Figures(RESULTS / wall_s, own, engine, peak_mb(self._pids[0]))
        count = documents(self._engine, self._indices) - self._there
        if count != RESULTS:
            raise SystemExit(f"{count} documents of {RESULTS} results")
        return found

    def _new(self) -> int:
        return indexed(self._engine, self._indices) - self._there


def cpu_s(pid: int) -> float:
    """User and system time so far, of all threads."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def broker_and(
    folder: Path, start: Callable[[int], "subprocess.Popen[bytes]"]
) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """Mosquitto's port, and the process that reads from it; both end."""
    broker = servers.mosquitto(folder / "broker", BROKER_CONF)
    process = start(broker.port)
    try:
        yield broker.port, process
    finally:
        process.terminate()
        process.wait(30)
        broker.stop()


def run_telegraf(
    folder: Path, engine: engines.Engine, load: Load, settings: telegraf.Settings
) -> Figures:
    def start(port: int) -> "subprocess.Popen[bytes]":
        return telegraf.start(folder, port, engine.url, settings)

    with broker_and(folder, start) as (port, process):
        everything = load.all()
        run = Run(process, port, engine, telegraf.INDEX)
        sent = pubacks = 0
        while pubacks < len(everything):
            more = everything[sent : pubacks + AGENTS * WINDOW_SINGLES]
            run.link.send(b"".join(more))
            sent += len(more)
            pubacks += run.link.came(1.0).pubacks
        return run.finish()


def store_of(engine: engines.Engine) -> str:
    return f"opensearch:{engine.url}?prefix={PREFIX}&replicas=0"


def run_ours(folder: Path, engine: engines.Engine, load: Load) -> Figures:
    def start(port: int) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "indexer.cli", "run", f"127.0.0.1:{port}"]
        command += ["--store", store_of(engine), "--listen", "off", "--name", "indexer-bench"]
        return subprocess.Popen([*command, "--log-level", "warning"])

    with broker_and(folder, start) as (port, process):
        run = Run(process, port, engine, f"{PREFIX}-results-*")
        drive(run.link, load)
        return run.finish()


# --- what is told -------------------------------------------------------------------------------


def disk(engine: engines.Engine) -> str:
    """What results and roll-ups need, when the engine has put its pieces together."""
    store = open_store(store_of(engine))
    while store.rollup(time.time_ns() // 1_000_000):
        pass
    store.close()
    pair_days = AGENTS * TARGETS * RESULTS / AGENTS * SLOT_MS / DAY_MS
    result, rollups = (size(engine, f"{PREFIX}-{family}-*") for family in ("results", "rollups"))
    return (
        f"disk, one copy: {result / RESULTS:.0f} bytes a result, "
        f"{rollups / pair_days / 1e3:.1f} kB of roll-ups a pair and day"
    )


def size(engine: engines.Engine, indices: str) -> int:
    """Bytes that are searched, when each index is one piece; files of older pieces may linger."""
    ask(engine, "POST", f"/{indices}/_forcemerge?max_num_segments=1&flush=true")
    ask(engine, "POST", f"/{indices}/_refresh")
    found = ask(engine, "GET", f"/{indices}/_segments")["indices"]
    return sum(
        int(segment["size_in_bytes"])
        for index in found.values()
        for copies in index["shards"].values()
        for segment in copies[0]["segments"].values()
        if segment["search"]
    )


def median(found: list[Figures]) -> Figures:
    return Figures(*(statistics.median(column) for column in zip(*found, strict=True)))


def main() -> None:
    singles, batches = load(batched=False), load(batched=True)
    kinds: dict[str, Callable[[Path, engines.Engine], Figures]] = {
        "Telegraf, single": lambda f, e: run_telegraf(f, e, singles, telegraf.Settings()),
        "swarming-indexer, batches": lambda f, e: run_ours(f, e, batches),
        "swarming-indexer, single": lambda f, e: run_ours(f, e, singles),
    }
    found: dict[str, list[Figures]] = {name: [] for name in kinds}
    with tempfile.TemporaryDirectory() as parent:
        engine = engines.opensearch(Path(parent) / "engine", heap="1g")
        install(engine)
        for number in range(1 + ROUNDS):
            for name, run in kinds.items():
                ask(engine, "DELETE", f"/{telegraf.INDEX},{PREFIX}-*")
                figures = run(Path(tempfile.mkdtemp(dir=parent)), engine)
                if number:  # the first round warms the engine up
                    found[name].append(figures)
                print(f"  round {number}, {name}: {shown(figures)}", file=sys.stderr)
        told = disk(engine)
        engine.end()
    tell({name: median(some) for name, some in found.items()})
    print(told)


def shown(found: Figures) -> str:
    return (
        f"{found.rate:,.0f} results/s, {found.cpu_us:.0f} µs CPU a result "
        f"(and {found.engine_us:.0f} of the engine), peak {found.peak_mb:.0f} MB"
    )


def tell(found: dict[str, Figures]) -> None:
    for name, figures in found.items():
        print(f"{name}, into OpenSearch: {shown(figures)}")
    other, batches, singles = found.values()
    print(
        f"swarming-indexer against Telegraf: {batches.rate / other.rate:.2f} times its rate from "
        f"batches (aim 1.5), {batches.cpu_us / other.cpu_us:.2f} times its CPU (aim 1), "
        f"{singles.rate / other.rate:.2f} times its rate from single messages (aim 0.8), "
        f"{max(batches.peak_mb, singles.peak_mb):.0f} MB (aim 120)"
    )


if __name__ == "__main__":
    main()
