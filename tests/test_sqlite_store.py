"""The SQLite store and its file: killed, full, locked, newer, foreign, replaced, backed up."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.wire import Result
from indexer.sqlite_tables import VERSION, pack_body, unpack_body
from indexer.store import Dead, Put, StoreDown, StoreRefused
from indexer.store_sqlite import SqliteStore

NOW_MS = 1_790_000_000_000


def result(seq: int, agent: str = "box", size: int = 0) -> Result:
    body = {"kind": "icmp", "target": "voila.fr", "ok": True, "sent": 1, "rtts_ms": [1.0]}
    noise = {"noise": os.urandom(size // 2).hex()} if size else {}
    return Result(agent, "a" * 16, seq, NOW_MS + seq, "ntp", None, body | noise)


def seqs(store: SqliteStore) -> list[int]:
    return [each.seq for each in store.results(0, NOW_MS + 10**9)]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


@pytest.fixture
def store(path: str) -> Iterator[SqliteStore]:
    opened = SqliteStore(path, busy_s=0.1)
    yield opened
    opened.close()


def test_garbage_cannot_fill_the_disk_the_oldest_dead_letters_go(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("indexer.store_sqlite.MOST_DEAD_BYTES", 1000)
    store.put_dead([Dead(NOW_MS + n, "ping/box", bytes(300), "not JSON") for n in range(5)])
    assert store.retain(NOW_MS + 10, 10**9) == 0
    assert [letter.at_ms - NOW_MS for letter in store.dead()] == [2, 3, 4]


@pytest.mark.parametrize("page", [1, 2, 3, 7])
def test_a_full_hour_is_read_in_pages_and_none_is_missed_or_told_twice(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, page: int
):
    sent = [result(seq)._replace(time_ms=NOW_MS + seq // 3 * 900_000) for seq in range(1, 31)]
    store.put(sent, NOW_MS)
    asked: list[dict[str, Any]] = [{}, {"limit": 11}, {"newest_first": True}, {"agent": "box"}]
    asked.append({"newest_first": True, "limit": 8})
    whole = [list(store.results(0, 10**15, **how)) for how in asked]
    monkeypatch.setattr("indexer.sqlite_read.PAGE", page)
    assert [list(store.results(0, 10**15, **how)) for how in asked] == whole
    assert len(whole[0]) == 30


# --- durable ------------------------------------------------------------------------------------

WRITER = """
import sys
sys.path.insert(0, {root!r})
from tests.test_sqlite_store import SqliteStore, result
store = SqliteStore({path!r}, busy_s=30)
for seq in range(1, 10**6):
    store.put([result(seq, {agent!r})], 0)
    print(seq, flush=True)
    if seq % 7 == 0:
        store.rollup(0)
"""


def writer(path: str, agent: str = "box") -> "subprocess.Popen[str]":
    root = str(Path(__file__).parent.parent)
    code = WRITER.format(root=root, path=path, agent=agent)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_a_writer_killed_at_any_moment_loses_nothing_that_was_promised(path: str):
    for promised in (1, 23, 60):
        with writer(path) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= promised:
                    break
            process.send_signal(signal.SIGKILL)
        store = SqliteStore(path)
        found = seqs(store)
        assert found == list(range(1, len(found) + 1)) and len(found) >= promised
        assert integrity(path) == "ok"
        store.close()


def test_two_processes_write_the_same_file_and_lose_nothing(path: str):
    """Both make the file, too: they start together."""
    with writer(path, "one") as one, writer(path, "two") as two:
        for process in (one, two):
            assert process.stdout is not None
            assert any(int(line) >= 40 for line in process.stdout)
        one.kill()
        two.kill()
    store = SqliteStore(path)
    for agent in ("one", "two"):
        found = [each.seq for each in store.results(0, NOW_MS + 10**9, agent=agent)]
        assert found == list(range(1, len(found) + 1)) and len(found) >= 40
    store.close()
    assert integrity(path) == "ok"


def integrity(path: str) -> str:
    db = sqlite3.connect(path)
    try:
        return str(db.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        db.close()


def test_a_commit_is_synced_before_it_is_promised(store: SqliteStore):
    with store._writing() as to:  # the promise of the whole file rests on these two
        assert to.conn.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert to.conn.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


# --- down, and back by itself -------------------------------------------------------------------


@contextmanager
def full_disk(more_bytes: int, path: str) -> Iterator[None]:
    """Files of this process cannot grow beyond the largest of the store's now."""
    size = max(os.path.getsize(name) for name in (path, path + "-wal") if os.path.exists(name))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + more_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_down_and_comes_back_with_everything_promised(store: SqliteStore, path: str):
    promised = []
    store.put([result(1)], NOW_MS)
    with full_disk(200_000, path), pytest.raises(StoreDown):
        for seq in range(2, 2000):
            store.put([result(seq, size=20_000)], NOW_MS)
            promised.append(seq)
    assert seqs(store) == [1, *promised]
    again = len(promised) + 2
    assert store.put([result(again)], NOW_MS) == Put(1, 0, 0)
    store.check()
    assert seqs(store) == [1, *promised, again]


def test_a_full_disk_is_seen_by_check(store: SqliteStore, path: str):
    store.put([result(1)], NOW_MS)
    with full_disk(0, path), pytest.raises(StoreDown):
        for _ in range(100):
            store.check()
    store.check()


def test_a_locked_store_is_down_for_writers_and_open_for_readers(store: SqliteStore, path: str):
    store.put([result(1)], NOW_MS)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreDown, match="locked"):
        store.put([result(2)], NOW_MS)
    assert seqs(store) == [1]
    other.execute("ROLLBACK")
    other.close()
    assert store.put([result(2)], NOW_MS) == Put(1, 0, 0)


def test_a_number_given_in_a_failed_transaction_is_not_remembered(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
):
    from indexer import sqlite_rollup

    def failing(*_: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_rollup, "mark", failing)
        with pytest.raises(StoreDown, match="disk I/O error"):
            store.put([result(1, "first")], NOW_MS)
    store.put([result(1, "second")], NOW_MS)
    store.put([result(1, "first")], NOW_MS)
    assert sorted(each.agent for each in store.results(0, NOW_MS + 9)) == ["first", "second"]


def test_a_file_that_has_gone_is_down_and_no_new_one_is_made(store: SqliteStore, path: str):
    store.put([result(1)], NOW_MS)
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.rename(path + suffix, path + suffix + ".away")
    for _ in range(2):
        with pytest.raises(StoreDown, match="gone"):
            store.put([result(2)], NOW_MS)
        with pytest.raises(StoreDown, match="gone"):
            store.latest(0)
    assert not os.path.exists(path)
    for suffix in ("-wal", "-shm", ""):
        if os.path.exists(path + suffix + ".away"):
            os.rename(path + suffix + ".away", path + suffix)
    assert store.put([result(2)], NOW_MS).stored == 1
    assert seqs(store) == [1, 2]


def test_a_backup_put_in_its_place_is_noticed(store: SqliteStore, path: str, tmp_path: Path):
    store.put([result(1)], NOW_MS)
    store.backup(str(tmp_path / "backup.db"))
    store.put([result(2)], NOW_MS)
    for suffix in ("-wal", "-shm"):
        os.unlink(path + suffix)
    os.replace(tmp_path / "backup.db", path)
    assert seqs(store) == [1]
    assert store.put([result(1), result(2)], NOW_MS) == Put(stored=1, known=1, too_old=0)


def test_a_closed_store_says_so(path: str):
    store = SqliteStore(path)
    store.close()
    with pytest.raises(StoreDown, match="closed"):
        store.put([result(1)], NOW_MS)
    with pytest.raises(StoreDown, match="closed"):
        store.latest(0)


# --- files that are not ours to touch -----------------------------------------------------------


def refused(path: str, words: str) -> None:
    before = Path(path).read_bytes()
    with pytest.raises(StoreRefused, match=words) as told:
        SqliteStore(path)
    assert "\n" not in str(told.value)
    assert Path(path).read_bytes() == before


def test_a_newer_store_is_refused_and_untouched(path: str):
    SqliteStore(path).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    refused(path, "upgrade")


def test_another_programs_database_is_refused_and_untouched(path: str):
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE journal (id)")
    db.close()
    refused(path, "not a swarm's store")


def test_a_file_that_is_no_database_is_refused_and_untouched(path: str):
    Path(path).write_bytes(b"voila.fr yahoo.cn\n" * 1000)
    refused(path, "not a SQLite file")


def test_a_corrupt_store_is_refused_and_untouched(path: str):
    SqliteStore(path).close()
    content = bytearray(Path(path).read_bytes())
    content[100:4096] = b"\xff" * 3996
    Path(path).write_bytes(content)
    refused(path, "corrupt")


def test_an_upgrade_that_fails_leaves_nothing(path: str, monkeypatch: pytest.MonkeyPatch):
    from indexer import sqlite_tables

    def failing(db: Any) -> None:
        db.execute("CREATE TABLE half (id)")
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_tables, "UPGRADES", (sqlite_tables._version_1, failing))
        patch.setattr(sqlite_tables, "VERSION", 2)
        with pytest.raises(StoreDown):
            SqliteStore(path)
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    db.close()
    SqliteStore(path).close()


# The schema of version 1 as files in the field have it.
VERSION_1 = """
CREATE TABLE pairs (id INTEGER PRIMARY KEY, agent TEXT, target TEXT, kind TEXT);
CREATE UNIQUE INDEX idx_pairs_agent_target_kind ON pairs (agent, target, kind);
CREATE INDEX idx_pairs_target ON pairs (target);
CREATE TABLE epochs (id INTEGER PRIMARY KEY, agent TEXT, epoch TEXT, high INTEGER);
CREATE UNIQUE INDEX idx_epochs_agent_epoch_high ON epochs (agent, epoch, high);
CREATE TABLE results (id INTEGER PRIMARY KEY, hour INTEGER, pair INTEGER, time_ms INTEGER,
    clock TEXT, clock_age_s INTEGER, body BLOB);
CREATE INDEX idx_results_hour_pair_time_ms ON results (hour, pair, time_ms);
CREATE TABLE agents (agent TEXT PRIMARY KEY, facts TEXT, seen_ms INTEGER, rip_ms INTEGER,
    here INTEGER);
CREATE TABLE watches (id INTEGER PRIMARY KEY, at_ms INTEGER, scope TEXT, text TEXT, who TEXT);
CREATE TABLE leases (what TEXT PRIMARY KEY, holder TEXT, until_ms INTEGER);
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE dead (id INTEGER PRIMARY KEY, at_ms INTEGER, topic TEXT, payload BLOB, reason TEXT);
CREATE TABLE latest (pair INTEGER, unsynced INTEGER, time_ms INTEGER, result INTEGER,
    PRIMARY KEY (pair, unsynced)) WITHOUT ROWID;
CREATE TABLE dirty (step_s INTEGER, start_s INTEGER, pair INTEGER,
    PRIMARY KEY (step_s, start_s, pair)) WITHOUT ROWID;
CREATE TABLE rollups (step_s INTEGER, pair INTEGER, kind TEXT, start_s INTEGER, count INTEGER,
    ok INTEGER, sent INTEGER, received INTEGER, min_ms REAL, p10_ms REAL, p25_ms REAL,
    median_ms REAL, p75_ms REAL, p90_ms REAL, max_ms REAL, errors TEXT, phases TEXT, links TEXT,
    ips TEXT, sketches BLOB, PRIMARY KEY (step_s, pair, kind, start_s)) WITHOUT ROWID;
PRAGMA user_version = 1;
PRAGMA application_id = 1398230321;
"""


@pytest.fixture
def version_1(path: str) -> str:
    """A file that the first version made, with one result, rolled up for its hour."""
    db = sqlite3.connect(path)
    db.executescript(VERSION_1)
    one = result(1)
    db.execute("INSERT INTO pairs VALUES (7, 'box', 'voila.fr', 'icmp')")
    db.execute("INSERT INTO epochs VALUES (3, 'box', ?, 0)", (one.epoch,))
    row = ((3 << 32) + 1, one.time_ms // 3_600_000, 7, one.time_ms, "ntp", None)
    db.execute("INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, pack_body(one.body)))
    db.execute("INSERT INTO latest VALUES (7, 0, ?, ?)", (one.time_ms, row[0]))
    for step_s in (3600, 21600, 86400):
        start_s = one.time_ms // 1000 // step_s * step_s
        db.execute("INSERT INTO dirty VALUES (?, ?, 7)", (step_s, start_s))
    db.commit()
    db.close()
    return path


def test_a_store_of_version_1_is_upgraded_with_its_rows(version_1: str):
    for verdicts in (1, 2):
        store = SqliteStore(version_1)
        assert list(store.results(0, NOW_MS + 10)) == store.latest(0)
        assert seqs(store) == [1]
        store.put_verdict(NOW_MS + verdicts, "voila.fr", {"word": "me"})
        assert len(store.verdicts(0, NOW_MS + 10)) == verdicts
        assert store.put([result(1)], NOW_MS) == Put(0, 1, 0)
        store.rollup(NOW_MS + 10)
        assert [one.bucket.count for one in store.rollups(0, NOW_MS)] == [1]
        store.close()
    assert version_of(version_1) == VERSION
    assert integrity(version_1) == "ok"


def test_an_upgrade_that_is_broken_off_leaves_version_1(
    version_1: str, monkeypatch: pytest.MonkeyPatch
):
    from indexer import sqlite_tables

    def failing(db: Any) -> None:
        sqlite_tables._version_2(db)
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_tables, "UPGRADES", (sqlite_tables._version_1, failing))
        with pytest.raises(StoreDown):
            SqliteStore(version_1)
    assert version_of(version_1) == 1
    store = SqliteStore(version_1)
    assert store.verdicts(0, NOW_MS) == []
    store.close()


def version_of(path: str) -> int:
    db = sqlite3.connect(path)
    try:
        return int(db.execute("PRAGMA user_version").fetchone()[0])
    finally:
        db.close()


def test_the_folder_of_a_new_store_is_made_and_an_impossible_one_is_down(tmp_path: Path):
    SqliteStore(str(tmp_path / "new" / "deep" / "store.db")).close()
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreDown):
        SqliteStore(str(tmp_path / "file" / "store.db"))


# --- backup -------------------------------------------------------------------------------------


def test_a_backup_taken_while_writing_is_whole_and_every_promise_before_it_is_in(
    store: SqliteStore, tmp_path: Path
):
    done = threading.Event()
    promised = [0]

    def write() -> None:
        while not done.is_set():
            store.put([result(promised[0] + 1)], NOW_MS)
            promised[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(3):
            before = promised[0]
            copy = str(tmp_path / f"backup{number}.db")
            store.backup(copy)
            assert integrity(copy) == "ok"
            backup = SqliteStore(copy)
            found = seqs(backup)
            assert found == list(range(1, len(found) + 1)) and len(found) >= before
            backup.close()
    finally:
        done.set()
        thread.join()
    assert [name for name in os.listdir(tmp_path) if "part" in name] == []


def test_a_restored_backup_knows_what_it_has_and_takes_the_rest(store: SqliteStore, tmp_path: Path):
    store.put([result(1), result(2)], NOW_MS)
    store.backup(str(tmp_path / "backup.db"))
    restored = SqliteStore(str(tmp_path / "backup.db"))
    assert restored.put([result(2), result(3)], NOW_MS) == Put(stored=1, known=1, too_old=0)
    restored.close()


def test_a_backup_that_cannot_be_written_leaves_the_old_one(store: SqliteStore, tmp_path: Path):
    with pytest.raises(StoreDown):
        store.backup(str(tmp_path / "nowhere" / "backup.db"))
    store.put([result(seq, size=50_000) for seq in range(1, 20)], NOW_MS)
    old = tmp_path / "backup.db"
    old.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StoreDown):
            store.backup(str(old))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert old.read_bytes() == b"old"
    assert [name for name in os.listdir(tmp_path) if "part" in name] == []


# --- rows ---------------------------------------------------------------------------------------


def test_a_body_is_small_and_comes_back_exactly():
    body = {
        "kind": "icmp", "target": "voila.fr", "ip": "193.252.148.70", "family": 4, "ok": True,
        "link": {"type": "wifi", "iface": "wlan0", "confidence": 0.9, "age_s": 12},
        "method": "dgram", "sent": 10, "received": 10, "loss_pct": 0.0, "late": 0,
        "duplicates": 0, "corrupted": 0,
        "rtt_ms": {"min": 30.012, "avg": 35.4, "max": 41.9, "stddev": 3.2},
        "rtts_ms": [30.012, 41.9, 35.123, 36.001, 33.3, 34.5, 39.8, 32.77, 31.2, 40.01],
    }  # fmt: skip
    assert unpack_body(pack_body(body)) == body
    assert len(pack_body(body)) < 150


def test_a_hot_query_never_walks_the_whole_table(store: SqliteStore):
    """A million rows stay quick because every plan begins at an index."""
    plans: list[str] = []
    with store._reading() as source:
        conn = source.conn
        traced: list[str] = []
        conn.set_trace_callback(traced.append)
        store._readers.append(source)
        store.latest(0)
        list(store.results(NOW_MS, NOW_MS + 1))
        list(store.results(NOW_MS, NOW_MS + 1, target="voila.fr"))
        store.buckets(NOW_MS - 10**8, NOW_MS, 300, target="voila.fr")
        store.buckets(NOW_MS - 10**8, NOW_MS, 86400, target="voila.fr")
        list(store.rollups(0, NOW_MS))
        store.verdicts(0, NOW_MS, target="voila.fr")
        conn.set_trace_callback(None)
        for statement in filter(lambda text: text.lstrip().startswith("SELECT"), traced):
            plans += [row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {statement}")]
        store._readers.clear()
    assert len(plans) > 10
    assert [plan for plan in plans if plan.startswith(("SCAN r", "SCAN e", "SCAN v"))] == []
