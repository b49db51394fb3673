"""The embedded store: one SQLite file, durable on return, for any number of threads.

- One connection writes, behind a lock; each transaction begins IMMEDIATE and is synced to the disk
  (WAL, synchronous=FULL). Readers take a connection of their own, and never wait for the writer.
- What fails, fails as StoreDown. Its connection is thrown away and the next call opens the file
  again: a full, locked or read-only disk is recovered from by trying again, a file that was
  replaced is noticed. Only the constructor makes a file.
"""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from agent.wire import Result
from indexer import sqlite_forget, sqlite_read, sqlite_rollup, sqlite_write
from indexer.sqlite_connection import Opened, file_at
from indexer.sqlite_read import Wanted
from indexer.sqlite_tables import HOUR_MS
from indexer.store import (
    AgentRecord,
    Bucket,
    Dead,
    Put,
    Rollup,
    StoreDown,
    StoreRefused,
    Told,
    WatchChange,
)

PAUSE_S = 0.001  # between two transactions of a long work: whoever waits to put is let in
SLICE = 100  # roll-ups made in one transaction: a `put` waits no longer than for these
LONGEST_LEASE_MS = 600_000  # one that ends later was given by a wrong clock: taken over
MOST_DEAD_BYTES = 1 << 30  # of dead letters: garbage must not fill the disk for all others
IDLE_READERS = 8  # connections kept for the next reader

_OLDEST_DEAD = """DELETE FROM dead WHERE id <= (SELECT max(id) FROM (
    SELECT id, sum(length(payload)) OVER (ORDER BY id DESC) AS bytes FROM dead) WHERE bytes > ?)"""


class SqliteStore:
    """indexer.store.Store over one file. Raises StoreRefused or StoreDown when it cannot open."""

    rows_a_put = 500

    def __init__(self, path: str, *, busy_s: float = 5.0) -> None:
        self.path = path
        self._busy_s = busy_s
        self._lock = threading.Lock()
        self._writer: Opened | None = Opened(path, create=True, busy_s=busy_s)
        self._readers: list[Opened] = []
        self._closed = False

    # --- results --------------------------------------------------------------------------------

    def put(self, results: Sequence[Result], now_ms: int) -> Put:
        bodies = sqlite_write.pack(results)
        with self._writing() as to:
            return sqlite_write.put(to.conn, to.numbers, results, bodies, now_ms)

    def results(
        self,
        since_ms: int,
        until_ms: int,
        *,
        agent: str | None = None,
        target: str | None = None,
        kind: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[Result]:
        wanted = Wanted(agent, target, kind)
        most = -1 if limit is None else max(0, limit)
        with self._reading() as source:
            yield from sqlite_read.results(
                source.conn, since_ms, until_ms, wanted, limit=most, newest_first=newest_first
            )

    def buckets(
        self,
        since_ms: int,
        until_ms: int,
        step_s: int,
        *,
        agent: str | None = None,
        target: str | None = None,
        kind: str | None = None,
    ) -> list[Bucket]:
        wanted = Wanted(agent, target, kind)
        with self._reading() as source, _snapshot(source.conn):
            return sqlite_read.buckets(source.conn, since_ms, until_ms, step_s, wanted)

    def latest(self, since_ms: int, *, unsynced: bool = False) -> list[Result]:
        with self._reading() as source:
            return sqlite_read.latest(source.conn, since_ms, unsynced)

    def targets(self, since_ms: int) -> list[str]:
        with self._reading() as source:
            return sqlite_read.targets(source.conn, since_ms)

    def rollup(self, now_ms: int, limit: int = 2000) -> int:
        while limit > 0:
            with self._writing() as to:
                done = sqlite_rollup.roll(to.conn, now_ms, min(limit, SLICE))
            if done < min(limit, SLICE):
                break
            limit -= done
            time.sleep(PAUSE_S)
        with self._reading() as source:
            return sqlite_rollup.left(source.conn, now_ms)

    def retain(self, now_ms: int, keep_raw_ms: int) -> int:
        before_ms = now_ms - keep_raw_ms
        with self._writing() as to:
            to.conn.execute("DELETE FROM dead WHERE at_ms < ?", (before_ms,))
            to.conn.execute("DELETE FROM verdicts WHERE at_ms < ?", (before_ms,))
            to.conn.execute(_OLDEST_DEAD, (MOST_DEAD_BYTES,))
        dropped = 0
        while True:
            with self._writing() as to:
                rows = sqlite_rollup.drop(to.conn, before_ms // HOUR_MS)
            if rows is None:
                return dropped
            dropped += rows
            time.sleep(PAUSE_S)

    def raw_from_ms(self) -> int | None:
        with self._reading() as source:
            hour = sqlite_read.raw_from_hour(source.conn)
        return None if hour is None else hour * HOUR_MS

    def put_raw_from(self, at_ms: int) -> None:
        with self._writing() as to:
            sqlite_rollup.put_raw_from(to.conn, at_ms // HOUR_MS)

    def forget(self, agent: str, before_ms: int) -> int:
        gone = 0
        hour: int | None = -(2**62)
        while hour is not None:
            with self._writing() as to:
                rows, hour = sqlite_forget.raw(to.conn, agent, before_ms, hour)
            gone += rows
            time.sleep(PAUSE_S)
        for (pair,) in self._rows("SELECT id FROM pairs WHERE agent = ?", agent):
            with self._writing() as to:
                gone += sqlite_forget.pair(to.conn, pair, before_ms)
            time.sleep(PAUSE_S)
        with self._writing() as to:
            return gone + sqlite_forget.rest(to.conn, agent, before_ms)

    def rollups(self, since_ms: int, until_ms: int) -> Iterator[Rollup]:
        with self._reading() as source:
            yield from sqlite_read.hours(source.conn, since_ms, until_ms)

    def put_rollups(self, rollups: Sequence[Rollup]) -> None:
        with self._writing() as to:
            sqlite_write.put_rollups(to.conn, to.numbers, rollups)

    # --- what is kept beside the results --------------------------------------------------------

    def put_dead(self, letters: Sequence[Dead]) -> None:
        with self._writing() as to:
            to.conn.executemany(
                "INSERT INTO dead (at_ms, topic, payload, reason) VALUES (?, ?, ?, ?)",
                [letter[:4] for letter in letters],
            )

    def dead(self, limit: int = 1000, after: Dead | None = None) -> list[Dead]:
        at_ms, letter = (-(2**63), 0) if after is None else (after.at_ms, int(after.id))
        rows = self._rows(
            """SELECT at_ms, topic, payload, reason, CAST(id AS TEXT) FROM dead
               WHERE at_ms >= ? AND (at_ms, dead.id) > (?, ?) ORDER BY at_ms, dead.id LIMIT ?""",
            *(at_ms, at_ms, letter, limit),
        )
        return [Dead(*row) for row in rows]

    def drop_dead(self, ids: Iterable[str]) -> None:
        with self._writing() as to:
            to.conn.executemany("DELETE FROM dead WHERE id = ?", [(int(each),) for each in ids])

    def put_agents(self, records: Sequence[AgentRecord]) -> None:
        with self._writing() as to:
            to.conn.executemany(
                """INSERT INTO agents (agent, facts, seen_ms, rip_ms, here) VALUES (?, ?, ?, ?, ?)
                   ON CONFLICT (agent) DO UPDATE SET facts = excluded.facts, here = excluded.here,
                   seen_ms = excluded.seen_ms, rip_ms = excluded.rip_ms
                   WHERE excluded.seen_ms >= agents.seen_ms""",
                [(record.agent, json.dumps(record.facts), *record[2:]) for record in records],
            )

    def agents(self) -> list[AgentRecord]:
        rows = self._rows("SELECT agent, facts, seen_ms, rip_ms, here FROM agents ORDER BY agent")
        return [AgentRecord(r[0], json.loads(r[1]), r[2], r[3], bool(r[4])) for r in rows]

    def put_watch(self, at_ms: int, scope: str, text: str | None, who: str) -> None:
        with self._writing() as to:
            to.conn.execute(
                "INSERT INTO watches (at_ms, scope, text, who) VALUES (?, ?, ?, ?)",
                (at_ms, scope, text, who),
            )

    def watch_history(self, scope: str | None = None, limit: int = 100) -> list[WatchChange]:
        rows = self._rows(
            """SELECT at_ms, scope, text, who FROM watches WHERE ? IS NULL OR scope = ?
               ORDER BY id DESC LIMIT ?""",
            scope, scope, limit,
        )  # fmt: skip
        return [WatchChange(*row) for row in rows]

    def put_verdict(self, at_ms: int, target: str, facts: dict[str, Any]) -> None:
        with self._writing() as to:
            to.conn.execute(
                "INSERT OR IGNORE INTO verdicts (at_ms, target, facts) VALUES (?, ?, ?)",
                (at_ms, target, json.dumps(facts)),
            )

    def verdicts(
        self, since_ms: int, until_ms: int, *, target: str | None = None, limit: int = 1000
    ) -> list[Told]:
        with self._reading() as source:
            return sqlite_read.verdicts(source.conn, since_ms, until_ms, target, limit)

    def lease(self, what: str, holder: str, now_ms: int, ttl_ms: int) -> bool:
        with self._writing() as to:
            given = to.conn.execute(
                """INSERT INTO leases (what, holder, until_ms) VALUES (:what, :holder, :now + :ttl)
                   ON CONFLICT (what) DO UPDATE SET holder = :holder, until_ms = :now + :ttl
                   WHERE holder = :holder OR until_ms <= :now OR until_ms > :now + :longest""",
                {
                    "what": what,
                    "holder": holder,
                    "now": now_ms,
                    "ttl": ttl_ms,
                    "longest": LONGEST_LEASE_MS,
                },
            )
            return given.rowcount > 0

    def put_fact(self, key: str, value: Any) -> None:
        with self._writing() as to:
            if value is None:
                to.conn.execute("DELETE FROM facts WHERE key = ?", (key,))
            else:
                to.conn.execute(
                    """INSERT INTO facts (key, value) VALUES (?, ?)
                       ON CONFLICT (key) DO UPDATE SET value = excluded.value""",
                    (key, json.dumps(value)),
                )

    def fact(self, key: str) -> Any:
        rows = self._rows("SELECT value FROM facts WHERE key = ?", key)
        return json.loads(rows[0][0]) if rows else None

    # --- the file -------------------------------------------------------------------------------

    def backup(self, path: str) -> None:
        """Written beside path, synced, then renamed over it."""
        beside = f"{path}.{os.getpid()}.part"
        try:
            with self._reading() as source:
                target = sqlite3.connect(beside, isolation_level=None)
                try:
                    source.conn.backup(target)  # all pages at once: one snapshot, nobody waits
                    target.execute("PRAGMA journal_mode = DELETE")  # one file, no log beside it
                finally:
                    target.close()
            _sync(beside)
            os.replace(beside, path)
            _sync(os.path.dirname(os.path.abspath(path)))
        except OSError as error:
            raise StoreDown(f"backup to {path}: {error.strerror}") from error
        finally:
            with suppress(FileNotFoundError):
                os.unlink(beside)

    def check(self) -> None:
        self.put_fact("checked", time.time())

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            while self._readers:
                self._readers.pop().close()

    # --- connections ----------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[Opened]:
        """One transaction: committed and on the disk when the block is left, or nothing of it."""
        with self._lock:
            before, self._writer = self._writer, None  # until it is known to be good
            with self._told():
                to = self._fresh(before)
            try:
                with self._told():
                    to.begin(self._busy_s)
                    yield to
                    to.conn.execute("COMMIT")
            except BaseException:
                to.close()
                raise
            self._writer = to

    @contextmanager
    def _reading(self) -> Iterator[Opened]:
        """A connection that nobody else uses meanwhile."""
        with self._told():
            source = self._fresh(self._idle())
            source.only_look()
        try:
            with self._told():
                yield source
        except GeneratorExit:
            self._give_back(source)
            raise
        except BaseException:
            source.close()
            raise
        self._give_back(source)

    def _idle(self) -> Opened | None:
        with self._lock:
            return self._readers.pop() if self._readers else None

    def _give_back(self, source: Opened) -> None:
        with self._lock:
            if not self._closed and len(self._readers) < IDLE_READERS:
                self._readers.append(source)
                return
        source.close()

    def _fresh(self, opened: Opened | None) -> Opened:
        """The same connection while the path still leads to its file, else a new one."""
        if self._closed:
            raise StoreDown(f"{self.path} is closed")
        if opened is not None:
            if opened.file is not None and opened.file == file_at(self.path):
                return opened
            opened.close()
        try:
            return Opened(self.path, create=False, busy_s=self._busy_s)
        except StoreRefused as error:
            raise StoreDown(str(error)) from error

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreDown(f"{self.path}: {error}") from error

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._reading() as source:
            return source.conn.execute(sql, values).fetchall()


@contextmanager
def _snapshot(conn: sqlite3.Connection) -> Iterator[None]:
    """Everything that is read in the block is of one moment."""
    conn.execute("BEGIN")
    try:
        yield
    finally:
        if conn.in_transaction:
            conn.execute("ROLLBACK")


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
