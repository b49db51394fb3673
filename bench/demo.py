"""The house with a simulated swarm beside the real agent: a week of it, and then live.

Everything simulated is named ``sim-…`` and says so on the page. The week goes into the store
directly; what happens from now on comes over MQTT like a real swarm's.
"""

import argparse
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from agent import connection, wire
from bench import simulate
from indexer import house
from indexer.store import AgentRecord, Store
from indexer.stores import open_store

WEEK_MS = 7 * 86_400_000
WHOLE_MS = 2 * 3_600_000  # so much of the end at the full pace
THINNED = 6.0  # before that, every so many-th probe
FOLDER = Path("var/demo")


def fill(store: Store, now_ms: int) -> int:
    """A simulated week that ends now is in the store; how many results it has."""
    swarm = simulate.swarm()
    recent_ms = now_ms - WHOLE_MS
    planted = simulate.incidents(swarm, now_ms)
    older = simulate.results(swarm, now_ms - WEEK_MS, recent_ms, THINNED, planted)
    count = _put(store, older, now_ms)
    count += _put(store, simulate.results(swarm, recent_ms, now_ms, planted=planted), now_ms)
    for agent, facts in simulate.abouts(swarm):
        store.put_agents([AgentRecord(agent, facts, now_ms, None, True)])
    while store.rollup(now_ms):
        pass
    return count


def _put(store: Store, results: Iterable[wire.Result], now_ms: int) -> int:
    count = 0
    rows: Iterator[wire.Result] = iter(results)
    while chunk := list(islice(rows, 5000)):
        store.put(chunk, now_ms)
        count += len(chunk)
    return count


class LiveSwarm:
    """The simulated agents, publishing what they measure as time goes on."""

    def __init__(self, broker: str) -> None:
        self._swarm = simulate.swarm()
        self._opened = threading.Event()
        self._connection = connection.Connection(
            connection.parse_broker(broker), "sim-swarm", post=self._hear, version="3.1.1"
        )
        self._connection.open()
        threading.Thread(target=self._live, name="swarm", daemon=True).start()

    def _hear(self, event: connection.Event) -> None:
        if isinstance(event, connection.Opened):
            self._opened.set()

    def _live(self) -> None:
        self._opened.wait()
        at_ms = int(time.time() * 1000)
        told_ms = 0
        planted = simulate.incidents(self._swarm, at_ms)
        while True:
            now_ms = int(time.time() * 1000)
            try:
                if now_ms - told_ms > 60_000:
                    self._tell()
                    told_ms = now_ms
                for result in simulate.results(self._swarm, at_ms, now_ms, planted=planted):
                    payload = wire.encode_result(result)
                    self._connection.publish(wire.ping_topic(result.agent), payload)
            except connection.NotConnected:
                return  # the house is ending
            at_ms = now_ms
            time.sleep(1)

    def _tell(self) -> None:
        for agent, facts in simulate.abouts(self._swarm):
            self._connection.publish(wire.agent_topic(agent), wire.encode_json(facts), retain=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args(argv)
    return house.main(["--folder", str(options.folder)], before=make_week, beside=LiveSwarm)


def make_week(folder: Path) -> None:
    """The folder's store holds a simulated week that ends now, and nothing else."""
    for old in folder.glob("swarming.db*"):
        old.unlink()
    print("Simulating a week of a swarm (a minute or less)…", flush=True)
    store = open_store(f"sqlite:{folder / 'swarming.db'}")
    try:
        count = fill(store, int(time.time() * 1000))
    finally:
        store.close()
    print(f"{count} simulated results are in the store.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
