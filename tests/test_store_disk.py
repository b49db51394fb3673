"""A journal survives its disk: damage, refusal, fullness, and files that are not for it."""

import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

from agent import store_tables
from agent.store import INDEXER_SEEN, Journal, JournalError, JournalForeign, JournalNewer
from agent.store_view import ViewError, view
from tests import needs
from tests.store_bed import NS_PER_S, body, fill, numbers, open_journal, reading

# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("junk", [b"junk" * 1000, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_corrupt_file_is_set_aside_and_a_new_one_begun(tmp_path, junk, caplog):
    (tmp_path / "journal.db").write_bytes(junk)
    journal = open_journal(tmp_path)
    assert numbers(fill(journal, 2)) == [0, 1]
    (aside,) = tmp_path.glob("journal.db.corrupt-*")
    assert aside.read_bytes() == junk
    assert journal.facts()["set_aside"] == aside.name
    assert "corrupt" in caplog.text
    journal.close()


def test_damage_found_while_running_costs_what_was_in_the_file_and_no_more(tmp_path):
    journal = open_journal(tmp_path)
    journal.put("watch", "voila.fr")
    fill(journal, 500)
    journal._tables._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    generation, epoch = journal.generation, journal.epoch
    with open(tmp_path / "journal.db", "r+b") as file:
        file.write(b"\x55" * os.path.getsize(tmp_path / "journal.db"))
    journal._tables._db.execute("PRAGMA shrink_memory")
    journal.add(body(777), 10 * NS_PER_S)
    journal.flush(2)
    rows = journal.window(0, 10)
    assert numbers(rows) == [777]
    assert rows[0].epoch == epoch
    assert rows[0].seq == 501
    assert journal.generation > generation
    assert journal.facts()["in"] == "file"
    assert "set_aside" in journal.facts()
    journal.close()
    again = open_journal(tmp_path)
    assert again.get("watch") == "voila.fr"
    assert again.counts().waiting == 1
    again.close()


def test_a_device_is_no_journal_and_is_never_set_aside(tmp_path):
    pipe = tmp_path / "journal.db"
    os.mkfifo(pipe)
    with pytest.raises(JournalForeign, match="is no file"):
        Journal(str(pipe), "box")
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


def test_a_journal_without_one_of_its_tables_is_corrupt(tmp_path):
    open_journal(tmp_path).close()
    with sqlite3.connect(tmp_path / "journal.db") as conn:
        conn.execute("DROP TABLE state")
    conn.close()
    journal = open_journal(tmp_path)
    assert "set_aside" in journal.facts()
    journal.close()


def test_an_empty_file_is_a_new_journal(tmp_path):
    (tmp_path / "journal.db").write_bytes(b"")
    journal = open_journal(tmp_path)
    assert numbers(fill(journal, 1)) == [0]
    assert "set_aside" not in journal.facts()
    journal.close()


# --- other versions and other programs ----------------------------------------------------------


def test_a_newer_journal_is_refused_and_not_touched(tmp_path):
    open_journal(tmp_path).close()
    with sqlite3.connect(tmp_path / "journal.db") as conn:
        conn.execute("PRAGMA user_version = 99")
    conn.close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(JournalNewer, match="newer program"):
        open_journal(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_older_journal_is_upgraded_with_its_rows(tmp_path, monkeypatch):
    journal = open_journal(tmp_path)
    fill(journal, 3)
    journal.close()

    def more(db):
        db.execute("ALTER TABLE epochs ADD COLUMN more TEXT")
        db.execute("ALTER TABLE epochs DROP COLUMN more")

    monkeypatch.setattr(store_tables, "UPGRADES", (*store_tables.UPGRADES, more))
    again = open_journal(tmp_path)
    again.follow(reading(100))
    assert numbers(again.window(0, 10)) == [0, 1, 2]
    again.close()
    assert store_tables.version_in_header(str(tmp_path / "journal.db")) == 2


def test_an_upgrade_that_fails_leaves_the_old_journal_whole(tmp_path, monkeypatch):
    journal = open_journal(tmp_path)
    fill(journal, 3)
    journal.close()

    failures = []

    def broken(db):
        db.execute("DELETE FROM rows")
        if not failures:
            failures.append("the file's; memory may have its own")
            raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(store_tables, "UPGRADES", (*store_tables.UPGRADES, broken))
        journal = open_journal(tmp_path)
        assert journal.facts()["in"] == "memory"
        journal.close()
    again = open_journal(tmp_path)
    again.follow(reading(100))
    assert numbers(again.window(0, 10)) == [0, 1, 2]
    again.close()


def test_another_programs_database_is_refused_and_not_touched(tmp_path):
    with sqlite3.connect(tmp_path / "journal.db") as conn:
        conn.execute("CREATE TABLE bookmarks (url TEXT)")
    conn.close()
    with pytest.raises(JournalForeign, match="another program"):
        open_journal(tmp_path)
    with sqlite3.connect(tmp_path / "journal.db") as conn:
        tables = conn.execute("SELECT name FROM sqlite_master").fetchall()
    conn.close()
    assert tables == [("bookmarks",)]


# --- a disk that refuses ------------------------------------------------------------------------


def refuse(journal):
    """The next commit finds the disk full."""
    pages = journal._tables._number("PRAGMA page_count")
    journal._tables._db.execute(f"PRAGMA max_page_count = {pages}")
    journal.add(body(0, noise=os.urandom(4000).hex()), 10 * NS_PER_S)
    journal.flush(10)


def test_a_full_disk_loses_nothing_and_the_rows_move_back_after_a_minute(tmp_path, caplog):
    journal = open_journal(tmp_path)
    fill(journal, 5)
    generation = journal.generation
    refuse(journal)
    assert journal.facts()["in"] == "memory"
    assert "full" in journal.facts()["memory"]
    assert "kept in memory" in caplog.text
    assert journal.generation == generation + 1
    assert len(journal.window(0, 10)) == 1
    journal.flush(69)
    assert journal.facts()["in"] == "memory"
    assert journal.flush_at(69) == 70
    journal.flush(70)
    assert journal.facts()["in"] == "file"
    rows = journal.window(0, 10)
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5, 6]
    assert len({row.epoch for row in rows}) == 1
    assert journal.counts().waiting == 6
    journal.close()
    again = open_journal(tmp_path)
    assert again.counts().waiting == 6
    again.close()


def test_a_confirmation_that_came_meanwhile_is_applied_to_the_file_and_to_no_other_row(tmp_path):
    journal = open_journal(tmp_path)
    rows = fill(journal, 6)
    journal.as_results(rows[:3])  # 4, 5 and 6 were never published
    refuse(journal)
    journal.as_results(journal.window(0, 10))
    journal.confirm({journal.epoch: [(1, 2), (7, 7)]})
    journal.flush(11)
    assert journal.window(0, 10) == []
    journal.flush(80)
    assert [row.seq for row in journal.window(0, 10)] == [3, 4, 5, 6]
    assert journal.counts().confirmed == 3
    assert journal.counts().waiting == 4
    journal.close()


def test_even_a_forged_confirmation_deletes_no_row_of_the_file_that_was_not_published(tmp_path):
    journal = open_journal(tmp_path)
    rows = fill(journal, 6)
    journal.as_results(rows[:3])
    refuse(journal)
    journal.as_results(journal.window(0, 10))
    journal.confirm({journal.epoch: [(1, 2**62)]})
    journal.flush(80)
    assert [row.seq for row in journal.window(0, 10)] == [4, 5, 6]
    journal.close()


def test_a_confirmation_that_waited_for_its_commit_when_the_disk_filled_is_not_forgotten(tmp_path):
    journal = open_journal(tmp_path)
    journal.as_results(fill(journal, 4))
    journal.confirm({journal.epoch: [(1, 3)]})
    refuse(journal)
    journal.flush(80)
    assert [row.seq for row in journal.window(0, 10)] == [4, 5]
    journal.close()


def test_rows_that_wait_in_the_file_are_not_skipped_because_later_ones_were_published(tmp_path):
    journal = open_journal(tmp_path)
    fill(journal, 6)
    journal.published(2)
    refuse(journal)
    journal.published(7)  # the one in memory
    journal.flush(80)
    assert journal.published_upto == 2
    journal.close()


def test_a_journal_that_starts_without_its_disk_takes_over_what_the_file_knows(tmp_path):
    journal = open_journal(tmp_path)
    journal.put("watch", "old.fr")
    journal.put("budget", 5)
    journal.put(INDEXER_SEEN, True)
    first = fill(journal, 4)
    journal.published(3)
    journal.flush(1)
    journal.close()
    shutil.move(tmp_path, f"{tmp_path}-away")

    again = open_journal(tmp_path)
    assert again.facts()["in"] == "memory"
    assert again.get("watch") is None
    again.put("watch", "new.fr")
    second = fill(again, 3, now=2)
    again.as_results(second)
    again.published(second[-1].id)
    again.confirm({first[0].epoch: [(2, 2)], again.epoch: [(1, 1)]})
    again.flush(3)

    shutil.move(f"{tmp_path}-away", tmp_path)
    again.flush(100)
    assert again.facts()["in"] == "file"
    rows = again.window(0, 10)
    assert [row.epoch for row in rows] == [first[0].epoch] * 3 + [again.epoch] * 2
    assert [row.seq for row in rows] == [1, 3, 4, 2, 3]
    assert len({row.id for row in rows}) == 5
    assert again.published_upto == 3
    assert (again.get("watch"), again.get("budget"), again.get(INDEXER_SEEN)) == ("new.fr", 5, True)
    assert again.counts().confirmed == 2
    more = fill(again, 1)[-1]
    assert (more.epoch, more.seq) == (again.epoch, 4)
    again.close()


def test_why_it_is_in_memory_tells_everybody_no_path(tmp_path):
    folder = tmp_path / "alice"
    journal = open_journal(folder)
    assert journal.facts()["memory"] == "No such file or directory"
    folder.mkdir()
    other = open_journal(folder)
    journal.flush(100)
    assert journal.facts()["memory"] == "another agent uses the file"
    other.close()
    journal.close()


def test_memory_holds_ten_thousand_rows_and_tells_the_loss(tmp_path):
    journal = open_journal(tmp_path / "absent")
    journal.put(INDEXER_SEEN, True)
    journal.follow(reading(10))
    for number in range(10_150):
        journal.add(body(number), 10 * NS_PER_S)
    journal.flush(1)
    counts = journal.counts()
    assert counts.waiting == 10_000
    assert counts.lost == 150
    os.mkdir(tmp_path / "absent")
    journal.flush(100)
    assert journal.facts()["in"] == "file"
    assert journal.counts().lost == 150
    assert len(journal.window(0, 20_000)) == 10_000
    journal.close()


def test_a_loss_that_was_told_while_in_memory_is_not_told_again_by_the_file(tmp_path):
    journal = open_journal(tmp_path, max_rows=100)
    journal.put(INDEXER_SEEN, True)
    fill(journal, 150)
    assert journal.counts().lost == 50
    refuse(journal)
    journal.add_loss()
    journal.flush(11)
    journal.flush(80)
    assert journal.facts()["in"] == "file"
    assert journal.counts().lost <= 2  # what moving back may have evicted: the file was full
    journal.close()


def test_a_card_that_was_swapped_is_filled_and_keeps_its_own_rows(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    journal = open_journal(other)
    theirs = fill(journal, 20)
    journal.close()

    mine = tmp_path / "mine"
    mine.mkdir()
    journal = open_journal(mine)
    fill(journal, 3)
    refuse(journal)
    for path in list(mine.iterdir()):
        if not path.name.endswith(".lock"):
            path.unlink()
    shutil.copy(other / "journal.db", mine / "journal.db")
    journal.flush(80)
    rows = journal.window(0, 100)
    assert [row.epoch for row in rows] == [theirs[0].epoch] * 20 + [journal.epoch]
    assert rows[-1].seq == 4
    journal.close()


def test_a_newer_journal_on_the_card_is_left_alone_and_the_agent_stays_in_memory(tmp_path):
    folder = tmp_path / "late"
    journal = open_journal(folder)
    fill(journal, 2)
    folder.mkdir()
    open_journal(folder).close()
    with sqlite3.connect(folder / "journal.db") as conn:
        conn.execute("PRAGMA user_version = 99")
    conn.close()
    journal.flush(100)
    assert journal.facts()["in"] == "memory"
    assert "newer" in journal.facts()["memory"]
    journal.close()


SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from tests.store_bed import NS_PER_S, body, fill, numbers, open_journal, reading
disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
journal = open_journal(disk)
fill(journal, 50, now=1)
{hurt}
for number in range(100, 400):
    journal.add(body(number, noise=os.urandom(200).hex()), 10 * NS_PER_S)
    journal.flush(2)
assert journal.facts()["in"] == "memory", journal.facts()
{mend}
journal.flush(100)
assert journal.facts()["in"] == "file", journal.facts()
found = numbers(journal.window(0, 10_000))
assert found == [*range(50), *range(100, 400)], found
journal.close()
again = open_journal(disk)
assert again.counts().waiting == 350
assert again._tables._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
again.close()
print("survived")
"""


@pytest.mark.parametrize(
    ("hurt", "mend"),
    [
        pytest.param(
            "f = os.open(disk / 'filler', os.O_CREAT | os.O_WRONLY)\n"
            "os.posix_fallocate(f, 0, os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize)",
            "os.close(f); os.unlink(disk / 'filler')",
            id="full",
        ),
        pytest.param(
            "journal._tables._db.execute('PRAGMA wal_checkpoint(TRUNCATE)')\n"
            "journal._tables.close(); journal.close()\n"
            "subprocess.run(['mount', '-o', 'remount,ro', disk], check=True)\n"
            "journal = open_journal(disk); journal.follow(reading(10))",
            "subprocess.run(['mount', '-o', 'remount,rw', disk], check=True)",
            id="read-only at start",
        ),
    ],
)
def test_a_real_disk_that_is(tmp_path, hurt, mend):
    needs.root()
    needs.tool("unshare")
    script = SCRIPT.format(hurt=hurt, mend=mend)
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", script, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "survived", done.stderr


# --- no shared maps: JFFS2 ----------------------------------------------------------------------


def journal_mode(folder):
    conn = sqlite3.connect(folder / "journal.db")
    mode = conn.execute("PRAGMA journal_mode").fetchone()[0]
    conn.close()
    return mode


def test_wal_where_it_works(tmp_path):
    open_journal(tmp_path).close()
    assert journal_mode(tmp_path) == "wal"


JFFS2 = """
import sys
from pathlib import Path
from tests.store_bed import fill, numbers, open_journal, reading
journal = open_journal(Path(sys.argv[1]))
journal.follow(reading(500))
before = numbers(journal.window(0, 10))
assert numbers(fill(journal, 2)) == [*before, 0, 1]
assert journal.facts()["in"] == "file", journal.facts()
assert journal._tables._db.execute("PRAGMA journal_mode").fetchone()[0] == "truncate"
print(*before)
"""


@pytest.mark.parametrize("before", [0, 3])
def test_a_file_system_without_shared_maps_has_no_wal_even_if_it_had(tmp_path, before):
    """mmap of SQLite's shared index fails, as on JFFS2."""
    strace = needs.tool("strace")
    if before:
        (tmp_path / "elsewhere").mkdir()
        journal = open_journal(tmp_path / "elsewhere")
        fill(journal, before)
        for path in (tmp_path / "elsewhere").iterdir():  # with its -wal, as after a power cut
            if path.suffix != ".lock":
                shutil.copy(path, tmp_path)
        journal.close()
    done = subprocess.run(
        [
            strace, "-f", "-o", "/dev/null", "-e", "trace=mmap", "-e", "inject=mmap:error=ENODEV",
            "-P", tmp_path / "journal.db-shm", sys.executable, "-c", JFFS2, tmp_path,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == [str(number) for number in range(before)], done.stderr
    assert not (tmp_path / "journal.db-wal").exists()


# --- a look into a journal ----------------------------------------------------------------------


def test_a_journal_can_be_looked_into_while_its_agent_writes(tmp_path):
    journal = open_journal(tmp_path)
    rows = fill(journal, 3)
    journal.as_results(rows)
    journal.published(2)
    journal.confirm({journal.epoch: [(1, 1)]})
    journal.flush(2)
    seen = view(str(tmp_path / "journal.db"))
    counts = seen.counts
    assert (counts.waiting, counts.published, counts.confirmed, counts.epochs) == (2, 1, 1, 1)
    assert counts.oldest_ms is not None
    lines = seen.export()
    first = next(lines)
    assert '"seq": 2' in first
    assert '"published": true' in first
    fill(journal, 1, now=3)  # no lock is held between two lines
    assert journal.facts()["in"] == "file"
    assert len([first, *lines]) >= 2
    seen.close()
    journal.close()


def test_a_look_changes_nothing_in_the_folder(tmp_path):
    journal = open_journal(tmp_path)
    fill(journal, 3)
    journal.close()
    before = (tmp_path / "journal.db").read_bytes()
    seen = view(str(tmp_path / "journal.db"))
    assert seen.counts.waiting == 3
    assert len(list(seen.export())) == 3
    seen.close()
    assert (tmp_path / "journal.db").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "there is no journal"), (b"junk" * 999, "not a journal"), (b"", "holds nothing yet")],
)
def test_a_look_at_something_else_says_what_is_wrong(tmp_path, content, said):
    path = tmp_path / "journal.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ViewError, match=said):
        assert view(str(path)).counts


def test_every_refusal_is_one_error(tmp_path):
    assert issubclass(JournalNewer, JournalError)
    assert issubclass(JournalForeign, JournalError)
