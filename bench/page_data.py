"""What the page takes: a target's charts over 90 days of 100 agents x 20 targets, and its "now".

The store is planted as in bench.store_sqlite; the times are those of the whole answer, JSON and
all, as a program gets it (the network left out).
"""

import os
import random
import re
import sys
import tempfile
import time

from bench import store_sqlite as planted
from indexer.desk import Desk
from indexer.store_sqlite import SqliteStore
from indexer.web import app
from indexer.web.moment import Lookout
from tests.web_house import HOST, TestClient

DAY_S = 86_400


def filled(folder: str) -> SqliteStore:
    """The last two hours raw, the days before as roll-ups."""
    store = SqliteStore(os.path.join(folder, "page.db"))
    made = list(planted.results(random.Random(3), 2 * planted.HOUR_MS // planted.SLOT_MS))
    planted.put(store, made, 1000)
    rng = random.Random(2)
    today_s = planted.NOW_MS // planted.DAY_MS * DAY_S
    days = range(today_s - 90 * DAY_S, today_s, DAY_S)
    with store._writing() as to:
        pairs = [pair for (pair,) in to.conn.execute("SELECT id FROM pairs")]
        planted.plant_level(to.conn, DAY_S, planted.tallies(rng, DAY_S // 250), pairs, days)
    while store.rollup(planted.NOW_MS):
        pass
    return store


def answer_ms(client: TestClient, paths: list[str]) -> tuple[float, int]:
    """The median of the answers, and the bytes of one."""
    took = []
    for path in paths:
        begun = time.perf_counter()
        answer = client.get(path)
        took.append((time.perf_counter() - begun) * 1000)
        assert answer.status_code == 200, answer.text
    return sorted(took)[len(took) // 2], len(answer.content)


def target_page_ms(client: TestClient, target: str) -> float:
    """The page itself, then what its charts ask for, one after the other."""
    begun = time.perf_counter()
    html = client.get(f"/target?range=90d&target={target}").text
    for agent in sorted(set(re.findall(r'data-agent="([^"]+)"', html))):
        client.get(f"/api/chart?range=90d&target={target}&agent={agent}")
    return (time.perf_counter() - begun) * 1000


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        store = filled(folder)
        made = app(store, Desk("indexer-bench", lambda command: None))
        lookout = Lookout(store, lambda: planted.NOW_MS)
        made.state.house = made.state.house._replace(lookout=lookout)
        client = TestClient(made, HOST)
        swarm = f"{planted.AGENTS} agents x {len(planted.TARGETS)} targets"
        targets = planted.TARGETS[:7]
        took_ms, size = answer_ms(client, [f"/api/chart?range=90d&target={t}" for t in targets])
        print(f"charts of all agents, 90 days x {swarm}: {took_ms:.0f} ms, {size / 1e6:.1f} MB")
        begun = time.perf_counter()
        lookout.moment().swarm  # noqa: B018  asked for, as the page does
        took_ms = (time.perf_counter() - begun) * 1000
        print(f"page's picture of now, {swarm}: {took_ms:.0f} ms, then kept ten times as long")
        took = [target_page_ms(client, target) for target in targets]
        took_ms = sorted(took)[len(took) // 2]
        print(f"target page and the data it loads, 90 days x {swarm}: {took_ms:.0f} ms")
        for path in ("/", "/overview"):
            took_ms, size = answer_ms(client, [path] * 5)
            print(f"page {path} with a picture: {took_ms:.0f} ms, {size / 1e3:.0f} kB")
        store.close()


if __name__ == "__main__":
    main()
