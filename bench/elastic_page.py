"""The page and the verdict over Elasticsearch: 90 days of 100 agents x 20 targets.

The roll-ups of those days are planted through the store (days and quarters of a day for all of
them, hours for the last three days); the last two hours are raw results, put as the indexer does.
The times are those of whole answers, as a program gets them; the verdict's is of the command.

    python -m bench.elastic_page [FOLDER]
"""

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from agent.wire import Result
from bench import store_sqlite as planted
from bench.page_data import answer_ms, target_page_ms
from indexer import rollup
from indexer.desk import Desk
from indexer.rollup import HOUR_S, Tally
from indexer.store import Bucket
from indexer.store_elastic import ElasticStore
from indexer.web import app
from indexer.web.moment import Lookout
from tests import engines
from tests.web_house import HOST, TestClient

DAY_S = 86_400
DAYS = 90
HOURS_OF_DAYS = 3
RAW_S = 2 * HOUR_S
PROBE_S = planted.SLOT_MS // 1000 * len(planted.TARGETS)  # from a pair's probe to its next
PAIRS = [
    (f"agent-{number:03}", target) for number in range(planted.AGENTS) for target in planted.TARGETS
]
SWARM = f"{DAYS} days x {planted.AGENTS} agents x {len(planted.TARGETS)} targets"


def plant(store: ElasticStore, now_s: int) -> int:
    """Roll-ups until two hours ago; how many."""
    today_s = now_s // DAY_S * DAY_S
    raw_s = (now_s - RAW_S) // HOUR_S * HOUR_S
    count = 0
    for level, since_s, until_s in (
        (DAY_S, today_s - DAYS * DAY_S, today_s),
        (6 * HOUR_S, today_s - DAYS * DAY_S, today_s),
        (HOUR_S, today_s - HOURS_OF_DAYS * DAY_S, raw_s),
    ):
        starts = range(since_s, until_s, level)
        store._rolling.put(rolled_up(level, starts))
        count += len(starts) * len(PAIRS)
    return count


def rolled_up(level: int, starts: range) -> Iterator[tuple[Bucket, bytes]]:
    """Of every pair; made of a few dozen patterns, since each costs a thousand probes."""
    rng = random.Random(level)
    probes = level // PROBE_S
    patterns: list[tuple[Tally, bytes]] = []
    for _ in range(40):
        made = rollup.tallies(planted.body(rng, "") for _ in range(probes))["icmp"]
        patterns.append((made, made.sketches()))
    for start_s in starts:
        for agent, target in PAIRS:
            total, sketches = rng.choice(patterns)
            yield rollup.bucket(agent, target, "icmp", start_s * 1000, level, total), sketches


def raw(now_ms: int) -> Iterator[Result]:
    """What the agents have measured in the last two hours."""
    rng = random.Random(3)
    since_ms = now_ms - RAW_S * 1000
    for slot in range(RAW_S * 1000 // planted.SLOT_MS):
        for number in range(planted.AGENTS):
            time_ms = since_ms + slot * planted.SLOT_MS + number * 100
            target = planted.TARGETS[(slot * 7 + number) % len(planted.TARGETS)]
            yield Result(
                f"agent-{number:03}", f"{number | 1 << 63:016x}", slot + 1, time_ms, "ntp", 3,
                planted.body(rng, target),
            )  # fmt: skip


def fill(store: ElasticStore) -> None:
    begun_s = time.monotonic()
    count = plant(store, round(time.time()))
    took_s = time.monotonic() - begun_s
    print(f"planted {count:,} roll-ups in {took_s:.0f} s", file=sys.stderr)
    now_ms = time.time_ns() // 1_000_000
    made = list(raw(now_ms))
    for at in range(0, len(made), store.rows_a_put):
        store.put(made[at : at + store.rows_a_put], now_ms)
    begun_s = time.monotonic()
    while store.rollup(now_ms):
        pass
    took_s = time.monotonic() - begun_s
    print(f"elasticsearch roll-ups: {len(made) / took_s:,.0f} raw results/s")


def verdict_ms(address: str, target: str) -> float:
    """The command, Python's start and all."""
    words = ["-m", "indexer.cli", "verdict", target, "--store", address]
    begun = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1000


def measure(store: ElasticStore, address: str) -> None:
    made = app(store, Desk("indexer-bench", lambda command: None))
    lookout = Lookout(store)
    made.state.house = made.state.house._replace(lookout=lookout)
    client = TestClient(made, HOST)
    targets = planted.TARGETS[:7]
    took_ms, size = answer_ms(client, [f"/api/chart?range=90d&target={each}" for each in targets])
    print(f"charts of all agents, {SWARM}: {took_ms:.0f} ms, {size / 1e6:.1f} MB")
    begun = time.perf_counter()
    lookout.moment().swarm  # noqa: B018  asked for, as the page does
    took_ms = (time.perf_counter() - begun) * 1000
    print(f"page's picture of now, two hours of raw results: {took_ms:.0f} ms, then kept")
    took_ms = statistics.median(target_page_ms(client, target) for target in targets)
    print(f"target page and the data it loads, {SWARM}: {took_ms:.0f} ms (aim 500)")
    for path, aim in (("/", ""), ("/overview", " (aim 1000)")):
        took_ms, size = answer_ms(client, [path] * 5)
        print(f"page {path} with a picture: {took_ms:.0f} ms, {size / 1e3:.0f} kB{aim}")
    took_ms = statistics.median(verdict_ms(address, target) for target in targets[:3])
    print(f"swarming-indexer verdict of a target: {took_ms:.0f} ms")


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        engine = engines.elasticsearch(Path(folder), heap="1g")
        address = f"elasticsearch:{engine.url}?replicas=0"
        store = ElasticStore(address)
        fill(store)
        measure(store, address)
        store.close()
        engine.end()


if __name__ == "__main__":
    main()
