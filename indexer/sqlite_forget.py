"""How the SQLite store forgets an agent: in steps, each in a transaction of its caller.

First the raw results of whole hours; then, pair by pair, the hour in which it left and all that is
made of results; then the rest. Each step finds what is still there, so whoever was stopped between
two of them may begin again, and a second time finds nothing. A period in which the agent left, and
perhaps came back, is made again of what is left of it.
"""

import json
import sqlite3

from indexer.leaving import is_named, is_past
from indexer.rollup import HOUR_S, LEVELS_S
from indexer.sqlite_tables import HOUR_MS
from indexer.sqlite_write import Numbers

_ROWS, _HOURS = 5000, 200  # in one transaction, about
_PAIRS = "(SELECT id FROM pairs WHERE agent = ?)"
_BELOW = dict(zip(LEVELS_S[1:], LEVELS_S[:-1], strict=True))


def raw(
    db: sqlite3.Connection, agent: str, before_ms: int, from_hour: int
) -> tuple[int, int | None]:
    """Of whole hours from this one on: how many results went, and the hour to go on with."""
    gone = 0
    next_hour = "SELECT min(hour) FROM results WHERE hour >= ? AND hour < ?"
    for _ in range(_HOURS):
        (hour,) = db.execute(next_hour, (from_hour, before_ms // HOUR_MS)).fetchone()
        if hour is None:
            return gone, None
        gone += db.execute(
            f"DELETE FROM results WHERE hour = ? AND pair IN {_PAIRS}", (hour, agent)
        ).rowcount
        from_hour = hour + 1
        if gone >= _ROWS:
            break
    return gone, from_hour


def pair(db: sqlite3.Connection, number: int, before_ms: int) -> int:
    """One target of the agent, whose whole hours are gone already; how many rows went."""
    before_s = before_ms // 1000
    hour = before_ms // HOUR_MS
    cut = db.execute(
        "DELETE FROM results WHERE hour = ? AND pair = ? AND time_ms < ?", (hour, number, before_ms)
    ).rowcount
    gone = cut
    for level in LEVELS_S:
        gone += db.execute(
            "DELETE FROM rollups WHERE step_s = ? AND pair = ? AND start_s <= ?",
            (level, number, before_s - level),
        ).rowcount
    unmade = db.execute(
        "DELETE FROM dirty WHERE pair = ? AND start_s + step_s <= ?", (number, before_s)
    ).rowcount
    db.execute("DELETE FROM latest WHERE pair = ? AND time_ms < ?", (number, before_ms))
    if gone or unmade:
        for level in LEVELS_S if cut else LEVELS_S[1:]:
            gone += _make_again(db, level, before_s // level * level, number)
    _drop_pair(db, number, hour)
    return gone


def _make_again(db: sqlite3.Connection, level: int, start_s: int, number: int) -> int:
    """The period around the end: what was made of it goes, and is due again if it has anything."""
    gone = db.execute(
        "DELETE FROM rollups WHERE step_s = ? AND pair = ? AND start_s = ?",
        (level, number, start_s),
    ).rowcount
    if _has_pieces(db, level, start_s, number):
        db.execute("INSERT OR IGNORE INTO dirty VALUES (?, ?, ?)", (level, start_s, number))
    else:
        db.execute(
            "DELETE FROM dirty WHERE step_s = ? AND start_s = ? AND pair = ?",
            (level, start_s, number),
        )
    return gone


def _has_pieces(db: sqlite3.Connection, level: int, start_s: int, number: int) -> bool:
    if level == HOUR_S:
        sql = """SELECT 1 FROM results WHERE hour = ? AND pair = ? AND clock != 'unsynced'"""
        return db.execute(sql, (start_s // HOUR_S, number)).fetchone() is not None
    where = "step_s = ? AND pair = ? AND start_s >= ? AND start_s < ?"
    what = (_BELOW[level], number, start_s, start_s + level)
    sql = f"SELECT 1 FROM rollups WHERE {where} UNION SELECT 1 FROM dirty WHERE {where}"
    return db.execute(sql, (*what, *what)).fetchone() is not None


def _drop_pair(db: sqlite3.Connection, number: int, hour: int) -> None:
    """Its number, too, unless it has come back and measures the same again."""
    kept = [
        ("latest", "pair = ?", ()),
        ("rollups", f"step_s IN ({', '.join(map(str, LEVELS_S))}) AND pair = ?", ()),
        ("dirty", "pair = ?", ()),
        ("results", "hour >= ? AND pair = ?", (hour,)),
    ]
    for table, where, values in kept:
        if db.execute(f"SELECT 1 FROM {table} WHERE {where}", (*values, number)).fetchone():
            return
    db.execute("DELETE FROM pairs WHERE id = ?", (number,))
    Numbers.given_anew(db)


def rest(db: sqlite3.Connection, agent: str, before_ms: int) -> int:
    """Epochs without results, dead letters, verdicts that name it, and what it said of itself."""
    epochs = db.execute(
        """DELETE FROM epochs WHERE agent = ? AND NOT EXISTS (SELECT 1 FROM results r
           WHERE r.id >= epochs.id << 32 AND r.id < (epochs.id + 1) << 32)""",
        (agent,),
    )
    if epochs.rowcount:
        Numbers.given_anew(db)
    gone = db.execute(
        "DELETE FROM dead WHERE topic IN (?, ?) AND at_ms < ?",
        (f"ping/{agent}", f"ping/{agent}/batch", before_ms),
    ).rowcount
    said = "SELECT at_ms, target, facts FROM verdicts WHERE at_ms < ? AND instr(facts, ?)"
    named = [
        row[:2]
        for row in db.execute(said, (before_ms, agent))
        if is_named(json.loads(row[2]), agent)
    ]
    db.executemany("DELETE FROM verdicts WHERE at_ms = ? AND target = ?", named)
    gone += len(named)
    found = db.execute("SELECT facts, seen_ms FROM agents WHERE agent = ?", (agent,)).fetchone()
    if found is not None and is_past(json.loads(found[0]), found[1], before_ms):
        gone += db.execute("DELETE FROM agents WHERE agent = ?", (agent,)).rowcount
    return gone
