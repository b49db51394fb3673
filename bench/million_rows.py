"""Memory of an agent with a million results waiting, against one with none.

The same agent in one run, connected to a stock Mosquitto with no indexer, so that it drains and
nothing leaves; after some seconds its memory is read.

    python -m bench.million_rows [ROWS]
"""

import sys
import time
from pathlib import Path

from bench import bed
from tests.servers import wait_for

AIM_MB = 3
DRAINS_S = 20


def used(folder: Path, port: int) -> bed.Memory:
    """After it has drained for some seconds."""
    journal = folder / "journal.db"
    words = ["agent.cli", "run", f"127.0.0.1:{port}", "--name", folder.name]
    words += ["--journal", str(journal), "--max-rows", "99999999", "--max-bytes", "99GB"]
    with bed.running(folder, *words) as agent:
        wait_for(lambda: "connected to" in (folder / "log").read_text(), 60, "a connection")
        time.sleep(DRAINS_S)
        return bed.memory(agent.pid)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with bed.alone() as folder, bed.mosquitto(folder, "max_queued_messages 1") as broker:
        bed.fill(folder / "full" / "journal.db", "full", rows)
        bed.fill(folder / "empty" / "journal.db", "empty", 0)
        full, empty = used(folder / "full", broker.port), used(folder / "empty", broker.port)
        left = bed.waiting(folder / "full" / "journal.db")
    print(
        f"memory with {left:,} results waiting: {bed.mb(full.rss)} RSS, {bed.mb(full.anonymous)} "
        f"anonymous; with none {bed.mb(empty.rss)} and {bed.mb(empty.anonymous)}: "
        f"{bed.mb(full.rss - empty.rss)} more (aim {AIM_MB} MB)"
    )


if __name__ == "__main__":
    main()
