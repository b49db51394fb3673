"""Whenever the power goes, the journal opens and holds all that was promised, and nothing half.

``SWARMING_POWER_CUTS=20`` cuts twenty times as often.
"""

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

from tests import needs
from tests.power_cut import Disk, content, record
from tests.store_bed import fast_parent, open_journal

TIMES = int(os.environ.get("SWARMING_POWER_CUTS", "1"))
FLUSHES = 20


@pytest.fixture
def fast_folder():
    folder = tempfile.mkdtemp(prefix="power-cut-", dir=fast_parent())
    yield Path(folder)
    shutil.rmtree(folder)


def opened(folder, image):
    """What the agent finds after the power is back."""
    folder.mkdir()
    for name, found in image.items():
        (folder / name).write_bytes(found)
    journal = open_journal(folder)
    facts = journal.facts()
    assert facts["in"] == "file"
    assert "set_aside" not in facts, "the journal was corrupt"
    assert journal._tables._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    found = content(journal._tables)
    journal.close()
    shutil.rmtree(folder)
    return found


@pytest.mark.parametrize("wal", [True, False], ids=["wal", "truncate"])
def test_a_power_cut_at_any_system_call_costs_at_most_what_was_not_flushed(fast_folder, wal):
    folder = fast_folder / "written"
    folder.mkdir()
    trace = fast_folder / "trace"
    ops = record(folder, trace, needs.tool("strace"), FLUSHES, wal=wal)
    promises = [op for op in ops if op.what == "promise"]
    assert len(promises) > FLUSHES, "the recording is not what was done"
    assert {op.name for op in ops if op.what == "write"} >= {
        "journal.db",
        "journal.db-wal" if wal else "journal.db-journal",
    }
    contents = Disk()
    for op in promises:
        contents.do(op)
    disk, rng, cuts = Disk(), random.Random(5), 0
    for op in ops:
        disk.do(op)
        for how, image in disk.images(rng, 2 * TIMES):
            found = opened(fast_folder / "cut", image)
            cuts += 1
            said = len(disk.promised)
            # The last that was promised, or the one that was being written.
            allowed = contents.promised[max(0, said - 1) : said + 1]
            nothing_yet = not said and not found[0]
            assert nothing_yet or found in allowed, f"cut {cuts}, {how}, at {op.what} {op.name}"
    print(f"{cuts} power cuts survived")
    assert cuts > 500
