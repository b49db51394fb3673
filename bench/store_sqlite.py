"""The SQLite store alone: results per second, bytes per result, and the data of a target page.

The page is drawn over 90 days of 100 agents x 20 targets. Sixty million raw results would take
half an hour to put, so the roll-ups of those days are planted (made by the real code from made-up
probes, 2,000 pairs x 2,160 hours and their longer ones); the last six hours are real raw results.
"""

import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from agent.wire import Result
from indexer import rollup
from indexer.rollup import HOUR_S, LEVELS_S, Tally
from indexer.sqlite_rollup import keep
from indexer.store_sqlite import SqliteStore

HOUR_MS = HOUR_S * 1000
DAY_MS = 24 * HOUR_MS
NOW_MS = 20_700 * DAY_MS + 17 * HOUR_MS + 100_000
SLOT_MS = 12_500
AGENTS = 100
TARGETS = [f"target-{number}.example" for number in range(20)]
PAGES = (  # what the page asks for, by range
    ("90 days in days", 90 * DAY_MS, 86_400),
    ("14 days in quarters of a day", 14 * DAY_MS, 21_600),
    ("2 days in hours", 2 * DAY_MS, 3_600),
    ("1 hour in 5 minutes, raw", HOUR_MS, 300),
)


def body(rng: random.Random, target: str) -> dict[str, Any]:
    base = rng.choice((12.0, 28.0, 55.0))
    rtts = [round(base * rng.lognormvariate(0, 0.15), 3) for _ in range(10)]
    return {
        "kind": "icmp", "target": target, "ip": "198.51.100.7", "family": 4, "ok": True,
        "error": None, "method": "dgram", "sent": 10, "received": 10, "loss_pct": 0.0,
        "link": {
            "type": "wifi", "generation": None, "iface": "wlan0", "confidence": 0.9,
            "signal": {"dbm": rng.randint(-80, -40)}, "age_s": rng.randint(0, 60),
        },
        "late": 0, "duplicates": 0, "corrupted": 0, "rtts_ms": rtts,
        "rtt_ms": {
            "min": min(rtts), "avg": round(sum(rtts) / 10, 3), "max": max(rtts), "stddev": 3.9,
        },
    }  # fmt: skip


def results(rng: random.Random, slots: int) -> Iterator[Result]:
    """Every agent's last slots, as they would come in live: agent after agent, slot after slot."""
    for slot in range(slots):
        for agent in range(AGENTS):
            time_ms = NOW_MS - (slots - slot) * SLOT_MS + agent * 100
            target = TARGETS[(slot * 7 + agent) % len(TARGETS)]
            yield Result(
                f"agent-{agent:03}", f"{agent:016x}", slot + 1, time_ms, "ntp", 3, body(rng, target)
            )


def put(store: SqliteStore, made: Sequence[Result], rows: int) -> float:
    """Results per second, each commit of so many durable before the next."""
    begun = time.perf_counter()
    for start in range(0, len(made), rows):
        store.put(made[start : start + rows], NOW_MS)
    return len(made) / (time.perf_counter() - begun)


def bench_put(folder: str) -> None:
    made = list(results(random.Random(1), 500))
    store = SqliteStore(os.path.join(folder, "put.db"))
    cpu = time.process_time()
    rate = put(store, made, 500)
    cpu_us = (time.process_time() - cpu) / len(made) * 1e6
    print(f"sqlite put, 500 a commit: {rate:,.0f} results/s, {cpu_us:.0f} µs CPU a result")
    print(f"sqlite put again (a resend): {put(store, made, 500):,.0f} results/s")
    begun = time.perf_counter()
    while store.rollup(NOW_MS):
        pass
    took = time.perf_counter() - begun
    print(f"sqlite roll-ups: {len(made) / took:,.0f} raw results/s")
    store.close()
    size = os.path.getsize(os.path.join(folder, "put.db")) / len(made)
    print(f"sqlite file: {size:.0f} bytes a result, index and roll-ups included")


def tallies(rng: random.Random, probes: int) -> list[dict[str, Tally]]:
    return [rollup.tallies(body(rng, "") for _ in range(probes)) for _ in range(40)]


def plant(store: SqliteStore) -> None:
    """90 days of roll-ups of every pair, until today."""
    rng = random.Random(2)
    today_s = NOW_MS // DAY_MS * 86_400
    with store._writing() as to:
        pairs = [pair for (pair,) in to.conn.execute("SELECT id FROM pairs")]
        for level in LEVELS_S:
            made = tallies(rng, level // 250)
            plant_level(to.conn, level, made, pairs, range(today_s - 90 * 86_400, today_s, level))


def plant_level(
    conn: sqlite3.Connection,
    level: int,
    made: list[dict[str, Tally]],
    pairs: list[int],
    starts: range,
) -> None:
    for number, each in enumerate(made):
        keep(conn, level, -number - 1, 0, each)
    patterns = conn.execute("SELECT * FROM rollups WHERE pair = 0 AND step_s = ?", (level,))
    rows = [row[4:] for row in patterns.fetchall()]
    conn.executemany(
        f"REPLACE INTO rollups VALUES ({', '.join('?' * 20)})",
        (
            (level, pair, "icmp", start_s, *rows[(pair * 31 + number) % len(rows)])
            for pair in pairs
            for number, start_s in enumerate(starts)
        ),
    )
    conn.execute("DELETE FROM rollups WHERE pair = 0")


def bench_page(folder: str) -> None:
    path = os.path.join(folder, "page.db")
    store = SqliteStore(path)
    made = list(results(random.Random(3), 6 * HOUR_MS // SLOT_MS))
    put(store, made, 1000)
    plant(store)
    while store.rollup(NOW_MS):
        pass
    gigabytes = os.path.getsize(path) / 1e9
    print(
        f"sqlite roll-ups of 90 days x {AGENTS} agents x {len(TARGETS)} targets: {gigabytes:.1f} GB"
    )
    for name, range_ms, step_s in PAGES:
        took_ms, count = page_ms(store, NOW_MS - range_ms, step_s)
        print(f"sqlite target page, {name}: {took_ms:.0f} ms for {count:,} buckets")
    begun = time.perf_counter()
    count = len(store.latest(NOW_MS - DAY_MS))
    took_ms = (time.perf_counter() - begun) * 1000
    print(f"sqlite latest of {count:,} pairs: {took_ms:.0f} ms")
    store.close()


def page_ms(store: SqliteStore, since_ms: int, step_s: int) -> tuple[float, int]:
    """The median of five targets, each asked once."""
    took = []
    for target in TARGETS[:5]:
        begun = time.perf_counter()
        count = len(store.buckets(since_ms, NOW_MS, step_s, target=target))
        took.append((time.perf_counter() - begun) * 1000)
    return sorted(took)[2], count


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        bench_put(folder)
        bench_page(folder)


if __name__ == "__main__":
    main()
