"""A second process looks into the store while the first one writes: nothing may get lost."""

import subprocess
import sys
from pathlib import Path

from indexer.store_sqlite import SqliteStore
from tests.agent_bed import ROOT
from tests.indexers import now_ms, result, seqs, sqlite

LOOK = """
import sys
from indexer.store_sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
print(sum(1 for _ in store.results(0, 1 << 42)))
store.close()
"""


def look(path: Path) -> int:
    """How many results another process finds, which then closes the store."""
    command = [sys.executable, "-c", LOOK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return int(done.stdout)


def test_a_process_that_has_looked_does_not_take_the_log_away(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with sqlite(path) as store:
        store.put([result(1)], now_ms())
        assert seqs(store) == [1]  # a reader of our own was opened meanwhile
        assert look(path) == 1
        store.put([result(2), result(3)], now_ms())
        assert look(path) == 3
        assert path.with_name("store.db-wal").exists()
        kill_here = SqliteStore(str(path))  # what a third one would find after a power cut
        assert seqs(kill_here) == [1, 2, 3]
        kill_here.close()
