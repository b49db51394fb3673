"""Bytes on the wire for a result, live and in batches, IP and TCP headers included, both ways.

A real agent (its pace ten times life's for the live part), stock Mosquitto and indexer; between
them a perfect TUN link whose interface counts IP bytes. What is counted is all that the agent's
connection costs for a result: the publish, the PUBACK, the confirmation, and TCP itself.
"""

import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench import bed
from bench.emulated_link import Impairment
from bench.slow_link import SERVER, Place, drained
from tests.agent_bed import IndexerProcess
from tests.servers import wait_for

LIVE, BACKLOG = 40, 10_000
BATCH_AIM = 40
FAST = "10"


def live(place: Place, folder: Path) -> float:
    """Bytes a result, each sent when it was measured; the first ones are not counted."""
    os.environ["FAST"] = FAST
    indexer = IndexerProcess(folder / "live", place.broker.port)
    place.server.call(indexer.start)
    words = ["tests.fast_agent", "run", f"{SERVER}:{place.port}", "--name", "box"]
    words += ["--targets", bed.LOOPBACKS, "--allow-private", "127.0.0.0/8"]
    agent = bed.running(folder / "live", *words, "--journal", str(folder / "live" / "journal.db"))
    place.box.call(agent.__enter__)
    try:
        wait_for(lambda: len(indexer.stored()) >= 5, 120, "first results")
        time.sleep(0.5)
        before, had = bed.wire_bytes(place.box), len(indexer.stored())
        wait_for(lambda: len(indexer.stored()) >= had + LIVE, 300, "results")
        time.sleep(0.5)
        return (bed.wire_bytes(place.box) - before) / (len(indexer.stored()) - had)
    finally:
        agent.__exit__(None, None, None)
        indexer.kill()


def main() -> None:
    with bed.alone(), ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory()))
        place = Place(parts, folder, Impairment())
        batch_bytes = drained(place, folder, BACKLOG).bytes_a_row
        live_bytes = live(place, folder)
    print(
        f"wire, a batched result: {batch_bytes:.1f} bytes (aim {BATCH_AIM}), "
        f"TCP/IP and confirmations included ({BACKLOG:,} results; connecting included)"
    )
    print(
        f"wire, a live result: {live_bytes:.0f} bytes, TCP/IP, PUBACK and confirmation included "
        f"(over {LIVE} results, plain MQTT)"
    )


if __name__ == "__main__":
    main()
