"""What is read from the SQLite store: plain functions of a connection that only look."""

import json
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from agent.wire import Result
from indexer import rollup
from indexer.rollup import HOUR_S, LEVELS_S
from indexer.sqlite_tables import HOUR_MS, JOINS, RESULT, result
from indexer.store import Bucket, Rollup, Told

PAGE = 50_000  # results that are in memory at once
RAW_FROM = "raw from hour"  # the fact: raw results of earlier hours are dropped


class Wanted(NamedTuple):
    """Which pairs: None is any."""

    agent: str | None = None
    target: str | None = None
    kind: str | None = None

    def condition(self) -> tuple[str, list[str]]:
        """SQL for pairs p, and its parameters."""
        asked = [(name, value) for name, value in self._asdict().items() if value is not None]
        return " AND ".join(["1", *(f"p.{name} = ?" for name, _ in asked)]), [v for _, v in asked]


def results(
    db: sqlite3.Connection,
    since_ms: int,
    until_ms: int,
    wanted: Wanted,
    *,
    limit: int = -1,
    newest_first: bool = False,
) -> Iterator[Result]:
    """By time. Walks hour by hour, and page by page in a full one, so that neither memory nor the
    log of a busy store is held for long."""
    while limit and (hour := _next_hour(db, since_ms, until_ms, newest_first)) is not None:
        after = None
        while limit:
            most = PAGE if limit < 0 else min(limit, PAGE)
            rows = _hour(db, hour, (since_ms, until_ms), wanted, most, newest_first, after)
            yield from map(result, rows)
            limit -= len(rows) if limit > 0 else 0
            if len(rows) < most:
                break
            after = rows[-1][3], rows[-1][7]
        if newest_first:
            until_ms = hour * HOUR_MS
        else:
            since_ms = (hour + 1) * HOUR_MS


def _next_hour(
    db: sqlite3.Connection, since_ms: int, until_ms: int, newest_first: bool
) -> int | None:
    """The first hour that has results at all: an empty year costs one look."""
    end = "max" if newest_first else "min"
    hours = (since_ms // HOUR_MS, -(-until_ms // HOUR_MS))
    found = db.execute(f"SELECT {end}(hour) FROM results WHERE hour >= ? AND hour < ?", hours)
    hour: int | None = found.fetchone()[0]
    return hour


def _hour(
    db: sqlite3.Connection,
    hour: int,
    range_ms: tuple[int, int],
    wanted: Wanted,
    limit: int,
    newest_first: bool,
    after: tuple[int, int] | None,
) -> list[tuple[Any, ...]]:
    """The first rows of an hour, or those after the one with this time and id."""
    condition, values = wanted.condition()
    order, beyond = ("DESC", "<") if newest_first else ("", ">")
    ends: tuple[Any, ...] = ()
    if after is not None:
        condition += f" AND (r.time_ms {beyond} ? OR (r.time_ms = ? AND r.id > ?))"
        ends = (after[0], *after)
    # A cross join keeps the order of the loops: pairs first when some are named.
    tables = f"results r {JOINS}"
    if values:
        tables = "pairs p CROSS JOIN results r ON r.pair = p.id JOIN epochs e ON e.id = r.id >> 32"
    return db.execute(
        f"""SELECT {RESULT}, r.body, r.id FROM {tables}
            WHERE r.hour = ? AND r.time_ms >= ? AND r.time_ms < ? AND {condition}
            ORDER BY r.time_ms {order}, r.id LIMIT ?""",
        (hour, *range_ms, *values, *ends, limit),
    ).fetchall()


def latest(db: sqlite3.Connection, since_ms: int, unsynced: bool) -> list[Result]:
    rows = db.execute(
        f"""SELECT {RESULT}, r.body FROM latest l JOIN results r ON r.id = l.result {JOINS}
            WHERE l.unsynced = ? AND l.time_ms >= ? ORDER BY p.agent, p.target, p.kind""",
        (unsynced, since_ms),
    )
    return list(map(result, rows))


def targets(db: sqlite3.Connection, since_ms: int) -> list[str]:
    rows = db.execute(
        """SELECT DISTINCT p.target FROM latest l JOIN pairs p ON p.id = l.pair
           WHERE l.time_ms >= ? AND p.kind NOT IN ('ladder', 'lost') ORDER BY 1""",
        (since_ms,),
    )
    return [target for (target,) in rows]


def raw_from_hour(db: sqlite3.Connection) -> int | None:
    row = db.execute("SELECT value FROM facts WHERE key = ?", (RAW_FROM,)).fetchone()
    return None if row is None else int(row[0])


def verdicts(
    db: sqlite3.Connection, since_ms: int, until_ms: int, target: str | None, limit: int
) -> list[Told]:
    rows = db.execute(
        f"""SELECT at_ms, target, facts FROM verdicts WHERE at_ms >= ? AND at_ms < ?
            {"" if target is None else "AND target = ?"} ORDER BY at_ms DESC, target LIMIT ?""",
        (since_ms, until_ms, *(() if target is None else (target,)), limit),
    )
    return [Told(at_ms, target, json.loads(facts)) for at_ms, target, facts in rows]


# --- buckets ------------------------------------------------------------------------------------


def buckets(
    db: sqlite3.Connection, since_ms: int, until_ms: int, step_s: int, wanted: Wanted
) -> list[Bucket]:
    """The longest roll-ups that fit into the step, or raw; by agent, target, kind, start."""
    since_ms -= since_ms % (step_s * 1000)
    level = rollup.level(step_s)
    if level is None:
        found = _short(db, since_ms, until_ms, step_s, wanted)
    else:
        found = _long(db, (since_ms // 1000, -(-until_ms // 1000)), level, step_s, wanted)
    found.sort(key=itemgetter(0, 1, 2, 3))
    return found


def _short(
    db: sqlite3.Connection, since_ms: int, until_ms: int, step_s: int, wanted: Wanted
) -> list[Bucket]:
    """From raw; from hours where raw is dropped."""
    raw_from_ms = (raw_from_hour(db) or since_ms // HOUR_MS) * HOUR_MS
    old_ms = min(until_ms, raw_from_ms)
    found = buckets(db, since_ms, old_ms, HOUR_S, wanted) if since_ms < old_ms else []
    kind = "ladder" if wanted.kind in rollup.RUNGS else wanted.kind
    raw = results(db, max(since_ms, raw_from_ms), until_ms, wanted._replace(kind=kind))
    fresh = rollup.from_raw(raw, step_s)
    return found + [each for each in fresh if wanted.kind in (None, each.kind)]


def _long(
    db: sqlite3.Connection, range_s: tuple[int, int], level: int, step_s: int, wanted: Wanted
) -> list[Bucket]:
    """Roll-ups as they stand where the step is theirs; merged where it is longer.

    What is dirty is dirty at every level above, so a long period that is not rolled up yet (today)
    is made of the shorter ones that are. Only an hour is told as it stands, dirty or not.
    """
    rows = _rollups(db, range_s, level, None, wanted)
    whole = [_bucket(row) for row in rows] if step_s == level else []
    pieces = [] if step_s == level else rows
    below = LEVELS_S[: LEVELS_S.index(level) + 1]
    for kept, dirty in zip(below[:-1], below[1:], strict=True):
        pieces += _rollups(db, range_s, kept, dirty, wanted)
    pieces.sort(key=itemgetter(3))
    return whole + rollup.from_rollups(((_bucket(row), row[-1]) for row in pieces), step_s)


_COLUMNS = """p.agent, p.target, r.kind, r.start_s * 1000, r.step_s, r.count, r.ok, r.sent,
    r.received, r.min_ms, r.p10_ms, r.p25_ms, r.median_ms, r.p75_ms, r.p90_ms, r.max_ms,
    r.errors, r.phases, r.links, r.ips, r.sketches"""


def _rollups(
    db: sqlite3.Connection,
    range_s: tuple[int, int],
    step_s: int,
    dirty_s: int | None,
    wanted: Wanted,
) -> list[tuple[Any, ...]]:
    """The clean roll-ups of one level; only those in dirty periods of this length, if given."""
    condition, values = wanted._replace(kind=None).condition()
    kinds = rollup.BUCKET_KINDS if wanted.kind is None else (wanted.kind,)
    marks = ", ".join("?" * len(kinds))
    if dirty_s is None:
        tables = "pairs p CROSS JOIN rollups r ON r.start_s >= ? AND r.start_s < ?"
    else:
        tables = f"""dirty d CROSS JOIN pairs p ON p.id = d.pair
            AND d.step_s = {dirty_s} AND d.start_s >= ? AND d.start_s < ?
            CROSS JOIN rollups r ON r.start_s >= d.start_s AND r.start_s < d.start_s + d.step_s"""
    clean = """AND NOT EXISTS (SELECT 1 FROM dirty x
        WHERE x.step_s = r.step_s AND x.start_s = r.start_s AND x.pair = r.pair)"""
    return db.execute(
        f"""SELECT {_COLUMNS} FROM {tables}
            WHERE r.step_s = {step_s} AND r.pair = p.id AND r.kind IN ({marks})
            AND {condition} {clean if step_s != HOUR_S else ""}""",
        (*range_s, *kinds, *values),
    ).fetchall()


def _bucket(row: tuple[Any, ...]) -> Bucket:
    """Of _COLUMNS."""
    errors, phases, links, ips = row[16:20]
    return Bucket._make(
        (
            *row[:16],
            json.loads(errors) if errors else {},
            json.loads(phases) if phases else {},
            _words(links),
            _words(ips),
        )
    )


@lru_cache(4096)
def _words(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


# One look for each pair and kind: roll-ups lie by these first.
_FIRST_HOUR = f"""SELECT min((SELECT min(start_s) FROM rollups r WHERE r.step_s = {HOUR_S}
    AND r.pair = p.id AND r.kind = k.kind AND r.start_s >= ? AND r.start_s < ?))
    FROM pairs p CROSS JOIN (SELECT column1 AS kind FROM (
    VALUES {", ".join(f"('{kind}')" for kind in rollup.BUCKET_KINDS)})) k"""


def hours(db: sqlite3.Connection, since_ms: int, until_ms: int) -> Iterator[Rollup]:
    """The hourly roll-ups as they stand, by start. Walks day by day, as `results` hour by hour."""
    since_s, until_s = -(-since_ms // 1000), -(-until_ms // 1000)
    while True:
        (first_s,) = db.execute(_FIRST_HOUR, (since_s, until_s)).fetchone()
        if first_s is None:
            return
        since_s = min(first_s + LEVELS_S[-1], until_s)
        rows = _rollups(db, (first_s, since_s), HOUR_S, None, Wanted())
        rows.sort(key=itemgetter(3))
        yield from (Rollup(_bucket(row), row[-1]) for row in rows)


def rolled_up(
    db: sqlite3.Connection, pair: int, since_s: int, until_s: int, step_s: int
) -> list[tuple[Bucket, bytes]]:
    """The roll-ups of one pair at one level, by time, to be merged into a longer one."""
    rows = db.execute(
        f"""SELECT {_COLUMNS} FROM rollups r JOIN pairs p ON p.id = r.pair
            WHERE r.step_s = ? AND r.pair = ? AND r.kind IN (?, ?, ?, ?)
            AND r.start_s >= ? AND r.start_s < ? ORDER BY r.start_s""",
        (step_s, pair, *rollup.BUCKET_KINDS, since_s, until_s),
    )
    return [(_bucket(row), row[-1]) for row in rows]
