"""How results, and roll-ups made elsewhere, get into the SQLite store: few statements, many rows,
one transaction."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from agent.wire import Result
from indexer import rollup, sqlite_rollup
from indexer.sqlite_read import raw_from_hour
from indexer.sqlite_tables import HOUR_MS, pack_body, row_id
from indexer.store import FUTURE_MS, Put, Rollup

_MOST = 200_000  # numbers remembered; then from the start again
_ANEW = "numbers given anew"  # the fact: how often some were taken back, by whatever process
_PAIR = "pairs (agent, target, kind)"
_EPOCH = "epochs (agent, epoch, high)"

Row = tuple[int, int, int, int, str, int | None, bytes]


class Numbers:
    """Which number stands for which pair or epoch.

    To be thrown away with a transaction that fails: what was given in it was never given.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._known: dict[tuple[Any, ...], int] = {}
        self._anew: tuple[str] | None = None

    @staticmethod
    def given_anew(db: sqlite3.Connection) -> None:
        """Numbers were taken back in this transaction: nobody may go on with what he remembers."""
        db.execute(
            """INSERT INTO facts (key, value) VALUES (?, '1')
               ON CONFLICT (key) DO UPDATE SET value = CAST(value + 1 AS TEXT)""",
            (_ANEW,),
        )

    def renew(self) -> None:
        """At the beginning of a transaction that asks for numbers."""
        anew = self._db.execute("SELECT value FROM facts WHERE key = ?", (_ANEW,)).fetchone()
        if anew != self._anew:
            self._known.clear()
            self._anew = anew

    def pair(self, result: Result) -> int:
        target = result.body.get("target")
        return self.pair_of(
            result.agent, target if isinstance(target, str) else "", result.body["kind"]
        )

    def pair_of(self, *key: str) -> int:
        """Of agent, target and the result's kind."""
        return self._known.get(key) or self._give(_PAIR, key)

    def epoch(self, result: Result) -> int:
        key = (result.agent, result.epoch, result.seq >> 32)
        return self._known.get(key) or self._give(_EPOCH, key)

    def _give(self, table: str, key: tuple[Any, ...]) -> int:
        if len(self._known) >= _MOST:
            self._known.clear()
        self._db.execute(f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?)", key)
        name, columns = table.split(" ", 1)
        found = self._db.execute(f"SELECT id FROM {name} WHERE {columns} = (?, ?, ?)", key)
        number = self._known[key] = int(found.fetchone()[0])
        return number


def pack(results: Sequence[Result]) -> list[bytes]:
    """The bodies as they are kept; the slow half, for which no lock is needed."""
    return [pack_body(result.body) for result in results]


def put(
    db: sqlite3.Connection,
    numbers: Numbers,
    results: Sequence[Result],
    bodies: Sequence[bytes],
    now_ms: int,
) -> Put:
    """In a transaction of the caller: afterwards they are in, each once."""
    numbers.renew()
    raw_from = raw_from_hour(db)
    rows: list[Row] = []
    for result, body in zip(results, bodies, strict=True):
        hour = result.time_ms // HOUR_MS
        if raw_from is None or hour >= raw_from or result.clock == "unsynced":
            key = row_id(numbers.epoch(result), result.seq)
            pair = numbers.pair(result)
            rows.append((key, hour, pair, result.time_ms, result.clock, result.clock_age_s, body))
    before = db.total_changes
    db.executemany("INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    stored = db.total_changes - before
    if stored:
        sqlite_rollup.mark(db, {(row[1], row[2]) for row in rows if row[4] != "unsynced"})
        _keep_latest(db, rows, now_ms + FUTURE_MS)
    return Put(stored, len(rows) - stored, len(results) - len(rows))


def put_rollups(db: sqlite3.Connection, numbers: Numbers, rollups: Sequence[Rollup]) -> None:
    """Hours that were made elsewhere; the longer periods around them are due again."""
    numbers.renew()
    touched = set()
    for told, sketches in rollups:
        kind = "ladder" if told.kind in rollup.RUNGS else told.kind
        pair = numbers.pair_of(told.agent, told.target, kind)
        if sqlite_rollup.replace(db, pair, told, sketches):
            touched.add((told.start_ms // HOUR_MS, pair))
    sqlite_rollup.mark(db, touched, rollup.LEVELS_S[1:])


def _keep_latest(db: sqlite3.Connection, rows: Sequence[Row], until_ms: int) -> None:
    newest: dict[tuple[int, bool], tuple[int, int]] = {}
    for key, _, pair, time_ms, clock, _, _ in rows:
        if time_ms <= until_ms:
            which = (pair, clock == "unsynced")
            newest[which] = max(newest.get(which, (time_ms, key)), (time_ms, key))
    db.executemany(
        """INSERT INTO latest (pair, unsynced, time_ms, result) VALUES (?, ?, ?, ?)
           ON CONFLICT (pair, unsynced)
           DO UPDATE SET time_ms = excluded.time_ms, result = excluded.result
           WHERE excluded.time_ms > latest.time_ms""",
        [(*which, *what) for which, what in newest.items()],
    )
