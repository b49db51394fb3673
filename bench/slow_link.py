"""Seven days of results (50,000) drained over a slow link: bytes and seconds, against single JSON.

A real agent, stock Mosquitto and indexer; between them an emulated link (bench/emulated_link.py)
whose interface counts IP bytes both ways. Done when the indexer has confirmed every row. The same
rows as single JSON messages are a sample of them, published with the same window and counted up.

    python -m bench.slow_link [ROWS]
"""

import queue
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from agent import connection, wire
from agent.clock import Reading
from agent.store import Journal
from bench import bed
from bench.emulated_link import Impairment
from tests.agent_bed import IndexerProcess
from tests.netlab import Lab
from tests.servers import free_port, mosquitto

LINKS = {
    "EDGE (200 kbit/s, 400 ms)": (Impairment(delay_ms=200, rate_kbit=200), 1000),
    "LTE (20 Mbit/s, 50 ms)": (Impairment(delay_ms=25, rate_kbit=20_000), 5000),
}
BOX, SERVER = "10.99.0.1", "10.99.0.2"
AIM = 8
PATIENCE_S = 900


class Cost(NamedTuple):
    """Of one way to send the rows."""

    bytes_a_row: float
    rows_a_s: float


class Place:
    """A box and a server with a broker, and the link between them."""

    def __init__(self, parts: ExitStack, folder: Path, impairment: Impairment) -> None:
        lab = parts.enter_context(Lab())
        self.box, self.server = lab.namespace(), lab.namespace()
        self.box.allow_pings()
        lab.link(self.box, self.server, BOX, SERVER, impairment)
        self.port = free_port()
        lines = (f"listener {self.port} {SERVER}", "max_inflight_messages 1000")
        self.broker = self.server.call(mosquitto, folder / "broker", lines)
        parts.callback(self.broker.stop)


def drained(place: Place, folder: Path, rows: int) -> Cost:
    """By the agent, in batches, until all is confirmed."""
    journal = folder / "box" / "journal.db"
    bed.fill(journal, "box", rows)
    indexer = IndexerProcess(folder / "indexer", place.broker.port)
    place.server.call(indexer.start)
    words = ("agent.cli", "run", f"{SERVER}:{place.port}", "--name", "box", "--max-rows", "9999999")
    try:
        before, begun_s = bed.wire_bytes(place.box), time.monotonic()
        agent = bed.running(folder / "box", *words, "--journal", str(journal), "--max-bytes", "9GB")
        place.box.call(agent.__enter__)
        try:
            while bed.waiting(journal):
                if time.monotonic() - begun_s > PATIENCE_S:
                    raise SystemExit(f"{bed.waiting(journal)} rows are left after {PATIENCE_S} s")
                time.sleep(0.5)
            taken_s = time.monotonic() - begun_s
            return Cost((bed.wire_bytes(place.box) - before) / rows, rows / taken_s)
        finally:
            agent.__exit__(None, None, None)
    finally:
        indexer.kill()


def singles(place: Place, folder: Path, rows: int) -> Cost:
    """As plain JSON messages, QoS 1, until the broker has acknowledged them."""
    bed.fill(folder / "sample.db", "sample", rows)
    journal = Journal(str(folder / "sample.db"), "sample", max_bytes=1 << 34)
    journal.follow(Reading("boot", 10**18, 0, "ntp", 0))
    results = journal.as_results(journal.window(0, rows))
    journal.close()
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    broker = connection.Broker(SERVER, place.port, False)
    link = connection.Connection(broker, "sample", post=events.put)
    place.box.call(link.open)
    while not isinstance(event := events.get(timeout=60), connection.Opened):
        raise SystemExit(f"no connection: {event}")
    before, begun_s = bed.wire_bytes(place.box), time.monotonic()
    for result in results:
        link.publish(wire.ping_topic(result.agent), wire.encode_result(result))
    while link.waiting:
        time.sleep(0.05)
    taken_s = time.monotonic() - begun_s
    cost = Cost((bed.wire_bytes(place.box) - before) / rows, rows / taken_s)
    link.close()
    return cost


def compare(name: str, impairment: Impairment, sample: int, rows: int) -> None:
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory()))
        place = Place(parts, folder, impairment)
        single = singles(place, folder, sample)
        ours = drained(place, folder, rows)
    print(
        f"backlog of {rows:,} results over {name}: {ours.bytes_a_row * rows / 1e6:.2f} MB, "
        f"{rows / ours.rows_a_s:.0f} s, all confirmed; as single JSON messages "
        f"{single.bytes_a_row * rows / 1e6:.1f} MB, {rows / single.rows_a_s:.0f} s "
        f"(counted up from {sample:,}): {single.bytes_a_row / ours.bytes_a_row:.0f} times fewer "
        f"bytes (aim {AIM})"
    )


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with bed.alone():
        for name, (impairment, sample) in LINKS.items():
            compare(name, impairment, sample, rows)


if __name__ == "__main__":
    main()
