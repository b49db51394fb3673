"""A load over real engines while they break: all in, once each, by the same indexer as before.

    python -m tests.elastic_load --results 200000 [--only faults|nodes|share|fallback] [--seed 7]

    faults    one guarded node, small in every way, broken in every way that tests/elastic_faults.py
              knows
    nodes     three nodes and a replica, of which one is killed and comes back
    share     four indexers with --share over mochi-mqtt and Mosquitto, of which two are killed
    fallback  the same over amqtt and over NATS: shares deliver nothing, which is noticed (a tenth
              of the results, for each indexer then gets all)

Each prints every fault with the time and the counts around it, and at the end what was counted.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from indexer.elastic.templates import CLUSTER_PRIVILEGES, INDEX_PRIVILEGES
from tests import elastic_faults, engines, servers
from tests.closed_loop import ClosedLoop
from tests.elastic_faults import Bed, Fault
from tests.engine import Engine
from tests.engine_counts import check_copies, check_stands_still, documents, ids
from tests.indexer_process import IndexerProcess

PREFIX = "load"
SMALL = {  # of everything, from the start
    "thread_pool.write.size": "1",
    "thread_pool.write.queue_size": "20",
    "http.max_content_length": "100kb",
}
BROKER_CONF = (
    "persistence false",
    "max_inflight_messages 1000",
    "max_queued_messages 20000",
    "message_size_limit 131072",
)
QUIET_S = 10.0
# mochi-mqtt 2.7.9 gives nothing more to an MQTT 5 client that has used up its receive maximum.
_MQTT = ("--mqtt", "3.1.1")


class Outcome(NamedTuple):
    """What a run has come to. All else is checked already."""

    results: int
    took_s: float
    messages: int
    sent_again: int
    confirmed_again: int
    peak_rss_mb: str

    def __str__(self) -> str:
        return (
            f"{self.results} results in {self.took_s:.0f} s, faults included; "
            f"{self.messages} messages, of which {self.sent_again} were sent again; "
            f"{self.confirmed_again} results confirmed more than once; "
            f"indexer's peak memory {self.peak_rss_mb} MB"
        )


# --- the bed ------------------------------------------------------------------------------------


@contextmanager
def guarded_node(folder: Path, *, quick: bool = False) -> Iterator[Engine]:
    """One node with TLS and API keys that takes little at a time."""
    engine = engines.elasticsearch(folder, secure=True, settings=SMALL, quick=quick)
    try:
        yield engine
    finally:
        engine.end()


@contextmanager
def guarded_bed(folder: Path, engine: Engine, broker: servers.Server) -> Iterator[Bed]:
    """One indexer with the least of keys, in an engine that holds nothing of it yet."""
    key_file = folder / "api-key"
    key = new_key(engine)
    key_file.write_text(key)
    store = address_of([engine], key_file)
    indexer = IndexerProcess(folder, [broker.port], store, "indexer-load")
    try:
        yield Bed(engine, [indexer], PREFIX, key_file, key, new_key)
    finally:
        indexer.kill()


def new_key(engine: Engine) -> str:
    """The least that docs/elasticsearch.md asks for."""
    return engine.api_key(CLUSTER_PRIVILEGES, [f"{PREFIX}-*"], INDEX_PRIVILEGES)


def address_of(nodes: Sequence[Engine], key_file: Path | None = None, more: str = "") -> str:
    urls = ",".join(engine.url for engine in nodes)
    options = f"prefix={PREFIX}{more}"
    if nodes[0].ca is not None:
        options += f"&ca={nodes[0].ca}&api_key={key_file}"
    return f"elasticsearch:{urls}?{options}"


def broken(
    bed: Bed, loop: ClosedLoop, faults: Sequence[Fault], say: Callable[[str], None], between: int
) -> Outcome:
    """All the faults, with so many confirmed results between; then everything is counted."""
    begun_s = time.monotonic()
    for fault in faults:
        loop.wait_confirmed(loop.confirmed + between)
        _one(bed, loop, fault, begun_s, say)
    loop.hurry()
    loop.wait_confirmed(loop.results)
    took_s = time.monotonic() - begun_s
    say(f"{took_s:6.1f} s  all {loop.results} results are confirmed")
    loop.wait_quiet(QUIET_S, 120)
    check_stands_still(bed.engine, PREFIX, 2.0)
    held = ids(bed.engine, PREFIX)
    assert len(held) == loop.results, f"{len(held)} documents of {loop.results} results"
    assert set(held) == loop.ids, "other documents than were sent"
    assert all(indexer.runs for indexer in bed.indexers), "an indexer has ended"
    say(f"  {len(held)} documents, none twice; nothing is sent, confirmed or written any more")
    counts = loop.counts
    return Outcome(
        loop.results,
        took_s,
        counts.messages,
        counts.sent_again,
        counts.confirmed_again,
        _peaks(bed),
    )


def _peaks(bed: Bed) -> str:
    """The most memory that each of the living indexers has had, in MB."""
    return ", ".join(f"{indexer.peak_rss_bytes / 1e6:.0f}" for indexer in bed.indexers)


def _one(
    bed: Bed, loop: ClosedLoop, fault: Fault, begun_s: float, say: Callable[[str], None]
) -> None:
    before_s = time.monotonic()
    confirmed, held = loop.confirmed, documents(bed.engine, PREFIX)
    told = fault.happen(bed, loop)
    after_s = time.monotonic()
    now_held = documents(bed.engine, PREFIX)
    say(
        f"{before_s - begun_s:6.1f} s  {fault.name}, for {after_s - before_s:.0f} s: "
        f"confirmed {confirmed} → {loop.confirmed}, documents {held} → {now_held}; {told}; "
        f"peak memory {_peaks(bed)} MB"
    )


# --- the runs -----------------------------------------------------------------------------------


def faults(folder: Path, results: int, say: Callable[[str], None], _rng: random.Random) -> Outcome:
    broker = servers.mosquitto(folder / "mosquitto", BROKER_CONF)
    try:
        with (
            guarded_node(folder / "engine") as engine,
            guarded_bed(folder, engine, broker) as bed,
            ClosedLoop([broker.port], results) as loop,
        ):
            return broken(bed, loop, elastic_faults.ALL, say, results // 20)
    finally:
        broker.kill()


def nodes(folder: Path, results: int, say: Callable[[str], None], rng: random.Random) -> Outcome:
    cluster = engines.elasticsearch_cluster(folder / "cluster", 3)
    broker = servers.mosquitto(folder / "mosquitto", BROKER_CONF)
    store = address_of(cluster, more="&replicas=1&shards=3")
    indexer = IndexerProcess(folder, [broker.port], store, "indexer-load")
    victim = rng.randrange(3)
    asked = cluster[(victim + 1) % 3]
    asked.wait_up("green")
    bed = Bed(asked, [indexer], PREFIX)
    steps = elastic_faults.one_of_three(cluster[victim], f"node {victim}")
    try:
        with ClosedLoop([broker.port], results) as loop:
            outcome = broken(bed, loop, steps, say, results // 5)
        check_copies(asked, PREFIX, 2)
        say("  both copies of every shard hold the same number")
        return outcome
    finally:
        indexer.kill()
        broker.kill()
        for engine in cluster:
            engine.end()


def share(folder: Path, results: int, say: Callable[[str], None], rng: random.Random) -> Outcome:
    two = [servers.mosquitto(folder / "mosquitto", BROKER_CONF), servers.mochi(folder / "mochi")]
    return _shared(folder, two, results, say, rng, delivers=True)


def fallback(folder: Path, results: int, say: Callable[[str], None], rng: random.Random) -> Outcome:
    two = [servers.amqtt(folder / "amqtt"), servers.nats(folder / "nats")]
    return _shared(folder, two, results // 10, say, rng, delivers=False)


def _shared(
    folder: Path,
    brokers: Sequence[servers.Server],
    results: int,
    say: Callable[[str], None],
    rng: random.Random,
    *,
    delivers: bool,
) -> Outcome:
    """Four indexers; two of them are killed, and do not come back."""
    engine = engines.elasticsearch(folder / "engine", heap="1g")
    store = address_of([engine])
    ports = [broker.port for broker in brokers]
    indexers = [
        IndexerProcess(folder, ports, store, f"indexer-{number}", "--share", "g", *_MQTT)
        for number in range(4)
    ]
    bed = Bed(engine, list(indexers), PREFIX)
    try:
        for indexer in indexers:
            indexer.wait_shares(len(ports), delivers)
        say(f"  every indexer has found that shares {'deliver' if delivers else 'do not'}")
        with ClosedLoop(ports, results) as loop:
            return broken(bed, loop, elastic_faults.two_die(rng), say, results // 5)
    finally:
        for indexer in indexers:
            indexer.kill()
        for broker in brokers:
            broker.kill()
        engine.end()


RUNS: dict[str, Callable[[Path, int, Callable[[str], None], random.Random], Outcome]] = {
    "faults": faults,
    "nodes": nodes,
    "share": share,
    "fallback": fallback,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.elastic_load")
    parser.add_argument("--results", type=int, default=200_000)
    parser.add_argument("--only", choices=RUNS)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    flags = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {flags.seed}", flush=True)
    for name in [flags.only] if flags.only else RUNS:
        folder = Path(tempfile.mkdtemp(prefix=f"swarming-load-{name}-"))
        folder.chmod(0o755)
        print(f"--- {name}, in {folder}", flush=True)
        say = lambda line: print(line, flush=True)  # noqa: E731
        print(f"  {RUNS[name](folder, flags.results, say, random.Random(flags.seed))}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
