"""Roll-ups of the SQLite store: marked dirty with the results, recomputed from raw, kept for ever.

- Every commit of results marks the hours that it touched, and all longer periods around them.
- A roll-up is replaced, never added to, in the transaction that clears its mark.
- Hours are made of raw at once; longer ones when they are over and nothing below is dirty.
- Raw results of an hour go only after its roll-up was made of them; from then on the hour takes
  no more results, so it is never recomputed to less.
All functions want to be inside a transaction of their caller.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence

from indexer import rollup
from indexer.rollup import HOUR_S, LEVELS_S, Tally
from indexer.sqlite_read import RAW_FROM, raw_from_hour, rolled_up
from indexer.sqlite_tables import unpack_body
from indexer.store import Bucket

_BELOW = dict(zip(LEVELS_S[1:], LEVELS_S[:-1], strict=True))
_ROWS, _HOURS = 5000, 200  # dropped in one transaction, about
_DUE = "(step_s = 3600 OR start_s + step_s <= :now_s)"


def mark(
    db: sqlite3.Connection,
    touched: Iterable[tuple[int, int]],
    levels_s: Sequence[int] = LEVELS_S,
) -> None:
    """Of each (hour, pair) everything that is made of it has to be made again."""
    periods = {
        (level, hour * HOUR_S // level * level, pair)
        for hour, pair in touched
        for level in levels_s
    }
    db.executemany("INSERT OR IGNORE INTO dirty VALUES (?, ?, ?)", periods)


def left(db: sqlite3.Connection, now_ms: int) -> int:
    """How many roll-ups are due."""
    found = db.execute(f"SELECT count(*) FROM dirty WHERE {_DUE}", {"now_s": now_ms // 1000})
    return int(found.fetchone()[0])


def roll(db: sqlite3.Connection, now_ms: int, limit: int) -> int:
    """Makes at most limit roll-ups that are due, the shortest and newest first; how many."""
    done = 0
    for level in LEVELS_S:
        due = db.execute(
            f"""SELECT start_s, pair FROM dirty WHERE step_s = :level AND {_DUE}
                ORDER BY start_s DESC LIMIT :limit""",
            {"level": level, "now_s": now_ms // 1000, "limit": limit - done},
        ).fetchall()
        for start_s, pair in due:
            _roll_one(db, level, start_s, pair)
        done += len(due)  # at the limit, the next level finds none: something below may be dirty
    return done


def _roll_one(db: sqlite3.Connection, level: int, start_s: int, pair: int) -> None:
    if level == HOUR_S:
        keep(db, level, start_s, pair, _hour(db, start_s // HOUR_S, pair))
    else:
        pieces = rolled_up(db, pair, start_s, start_s + level, _BELOW[level])
        keep(db, level, start_s, pair, rollup.merged(pieces))
    db.execute(
        "DELETE FROM dirty WHERE step_s = ? AND start_s = ? AND pair = ?", (level, start_s, pair)
    )


def _hour(db: sqlite3.Connection, hour: int, pair: int) -> dict[str, Tally]:
    rows = db.execute(
        """SELECT body FROM results WHERE hour = ? AND pair = ? AND clock != 'unsynced'
           ORDER BY time_ms""",
        (hour, pair),
    )
    return rollup.tallies(unpack_body(body) for (body,) in rows)


def keep(
    db: sqlite3.Connection, level: int, start_s: int, pair: int, found: dict[str, Tally]
) -> None:
    """One roll-up of each kind, in place of what was there."""
    for kind, total in found.items():
        told = rollup.bucket("", "", kind, start_s * 1000, level, total)
        replace(db, pair, told, total.sketches())


def replace(db: sqlite3.Connection, pair: int, told: Bucket, sketches: bytes) -> bool:
    """Whether it took the place of the one that was there: one of more probes stays.

    No probe is ever taken away from a period, so fewer are a part of them: raw results may have
    come without those that only a roll-up still tells of.
    """
    key = (told.step_s, pair, told.kind, told.start_ms // 1000)
    row = (*key, *told[5:16], *_words(told), sketches)
    stored = db.execute(
        f"""INSERT OR REPLACE INTO rollups SELECT {", ".join("?" * 20)} WHERE NOT EXISTS (
            SELECT 1 FROM rollups WHERE (step_s, pair, kind, start_s) = (?, ?, ?, ?)
            AND count > ?)""",
        (*row, *key, told.count),
    )
    return stored.rowcount > 0


def _words(told: Bucket) -> tuple[str | None, str | None, str, str]:
    return (
        json.dumps(told.errors) if told.errors else None,
        json.dumps(told.phases_ms) if told.phases_ms else None,
        json.dumps(told.links),
        json.dumps(told.ips),
    )


# --- retention ----------------------------------------------------------------------------------


# A time that is known to be wrong says nothing of an age: such results are few, and stay.
_TIMED = "clock <> 'unsynced'"


def drop(db: sqlite3.Connection, before_hour: int) -> int | None:
    """Drops raw of the earliest hours before this one, rolled up first; how many rows.

    None: nothing was left. Only hours that were dropped take no more results: what the clock says
    alone would, a year ahead for a minute, refuse a year's results.
    """
    first = f"SELECT min(hour) FROM results WHERE hour < ? AND {_TIMED}"
    rows = hours = 0
    while rows < _ROWS and hours < _HOURS:
        (earliest,) = db.execute(first, (before_hour,)).fetchone()
        if earliest is None:
            return rows or None
        rows += _drop_hour(db, earliest)
        hours += 1
    return rows


def _drop_hour(db: sqlite3.Connection, hour: int) -> int:
    dirty = db.execute(
        "SELECT pair FROM dirty WHERE step_s = ? AND start_s = ?", (HOUR_S, hour * HOUR_S)
    ).fetchall()
    for (pair,) in dirty:
        _roll_one(db, HOUR_S, hour * HOUR_S, pair)
    until_ms = (hour + 1) * HOUR_S * 1000
    db.execute("DELETE FROM latest WHERE time_ms < ? AND unsynced = 0", (until_ms,))
    put_raw_from(db, hour + 1)
    return db.execute(f"DELETE FROM results WHERE hour = ? AND {_TIMED}", (hour,)).rowcount


def put_raw_from(db: sqlite3.Connection, hour: int) -> None:
    """Hours before this one take no more results."""
    known = raw_from_hour(db)
    raw_from = hour if known is None else max(hour, known)
    db.execute("REPLACE INTO facts (key, value) VALUES (?, ?)", (RAW_FROM, str(raw_from)))
