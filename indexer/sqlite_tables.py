"""The tables of the SQLite store, how a file is opened, and how a result becomes a row.

Rows are small and written in few places: a result's id *is* its identity (epoch number, then seq),
so no second index guards it; the one index is by hour first, so that live results touch only the
pages of this hour, and retention drops whole hours. Bodies are deflated with a dictionary.
"""

import json
import os
import sqlite3
import zlib
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from agent.wire import Result
from indexer.store import StoreDown, StoreRefused

VERSION = 2  # PRAGMA user_version; a new one is a new function in UPGRADES
APPLICATION_ID = 0x53574D31  # "SWM1": this file is a swarm's store
HOUR_MS = 3_600_000

# What nearly every body says. Part of version 1: never to be changed, only followed by a new one.
_DICTIONARY = (
    b'"certificate_end":"20","tls_version":"TLSv1.3","retrans":0,"redirect":false,"truncated":'
    b'false,"bytes":,"status":200,"failed_after_ms":null,"phases_ms":{"resolve":,"connect":,"tls":'
    b',"ttfb":,"transfer":,"total":},"error":"timeout","kind":"ladder","target":"ladder",'
    b'"gateway":{"sent":5,"received":5,"rtts_ms":[null,null,null],"first_hop":{"kind":"http",'
    b'"target":"https://www.{"kind":"icmp","target":"","ip":"","family":6,"ip":"1","family":4,'
    b'"ok":false,"ok":true,"error":null,"link":{"type":"ethernet","type":"lte","type":"wifi",'
    b'"generation":"4g","generation":null,"iface":"eth0","iface":"wwan0","iface":"wlan0",'
    b'"confidence":0.9,"signal":{"rssi":-,"rsrp":-,"signal":null,"age_s":0,"stated":false},'
    b'"method":"raw","method":"dgram","sent":10,"received":10,"loss_pct":0.0,"late":0,'
    b'"duplicates":0,"corrupted":0,"rtt_ms":{"min":,"avg":,"max":,"stddev":0.},"rtts_ms":['
)
_WINDOW = -10  # raw deflate, 1 KiB: opening a larger one costs more than it saves

_json = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode


def pack_body(body: dict[str, Any]) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, _WINDOW, 2, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
    return packer.compress(_json(body).encode()) + packer.flush()


def unpack_body(packed: bytes) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(zlib.decompressobj(_WINDOW, _DICTIONARY).decompress(packed))
    return body


def row_id(epoch_number: int, seq: int) -> int:
    """Identity as one number: the epoch's number stands for (agent, epoch, seq >> 32)."""
    return epoch_number << 32 | seq & 0xFFFFFFFF


# The columns that `result` reads, of results r, pairs p and epochs e.
RESULT = "e.agent, e.epoch, e.high << 32 | (r.id & 4294967295), r.time_ms, r.clock, r.clock_age_s"
JOINS = "JOIN pairs p ON p.id = r.pair JOIN epochs e ON e.id = r.id >> 32"


def result(row: tuple[Any, ...]) -> Result:
    """Of the columns RESULT and r.body."""
    return Result._make((*row[:6], unpack_body(row[6])))


def open_file(path: str, *, create: bool, busy_s: float) -> Database:
    """The store at path, of this program's version. Raises StoreRefused or StoreDown."""
    fresh = _is_fresh(path)
    if fresh and not create:
        raise StoreDown(f"{path} has gone")
    try:
        if fresh:
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        uri = f"{Path(path).absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
        connection = sqlite3.connect(
            uri, uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False,
            cached_statements=256,
        )  # fmt: skip
    except (sqlite3.Error, OSError) as error:
        raise StoreDown(f"{path}: {error}") from error
    try:
        db = Database(connection)
        _prepare(db, path)
    except BaseException:
        connection.close()
        raise
    return db


def _is_fresh(path: str) -> bool:
    """Whether there is no store yet.

    Nobody here may open the file but SQLite: closing it would take away the locks of all our
    connections, and another process could then remove the log that we write to.
    """
    try:
        return os.stat(path).st_size == 0
    except FileNotFoundError:
        return True
    except OSError as error:
        raise StoreDown(f"{path}: {error.strerror}") from error


def _prepare(db: Database, path: str) -> None:
    try:
        _check_owner(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 4000")
        db.execute("PRAGMA journal_size_limit = 67108864")
        db.execute("PRAGMA cache_size = -16384")
        if _pragma(db, "user_version") < VERSION:
            _upgrade(db, path)
    except sqlite3.OperationalError as error:
        raise StoreDown(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_NOTADB:
            raise StoreRefused(f"{path} is not a SQLite file") from error
        raise StoreRefused(f"{path} is corrupt ({error}): bring back a backup") from error


def _pragma(db: Database, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _check_owner(db: Database, path: str) -> None:
    """Looks only: a file that is refused stays as it was."""
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if not tables:
        return
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise StoreRefused(f"{path} is a database, but not a swarm's store")
    version = _pragma(db, "user_version")
    if version > VERSION:
        raise StoreRefused(
            f"{path} has version {version}, this program knows up to {VERSION}: upgrade it"
        )


def _upgrade(db: Database, path: str) -> None:
    """Every step from the file's version to ours, in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    try:
        _check_owner(db, path)  # another process may have been faster
        for step in UPGRADES[_pragma(db, "user_version") :]:
            step(db)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
    except BaseException:
        db.conn.rollback()
        raise


# The first column is the key.
_TABLES: dict[str, dict[str, type]] = {
    "pairs": {"id": int, "agent": str, "target": str, "kind": str},
    "epochs": {"id": int, "agent": str, "epoch": str, "high": int},
    "results": {
        "id": int, "hour": int, "pair": int, "time_ms": int,
        "clock": str, "clock_age_s": int, "body": bytes,
    },
    "agents": {"agent": str, "facts": str, "seen_ms": int, "rip_ms": int, "here": int},
    "watches": {"id": int, "at_ms": int, "scope": str, "text": str, "who": str},
    "leases": {"what": str, "holder": str, "until_ms": int},
    "facts": {"key": str, "value": str},
    "dead": {"id": int, "at_ms": int, "topic": str, "payload": bytes, "reason": str},
}  # fmt: skip


def _version_1(db: Database) -> None:
    for name, columns in _TABLES.items():
        # Not by .create(), which commits: before sqlite-utils 4, in the midst of our transaction.
        db.execute(db.create_table_sql(name, columns, pk=next(iter(columns))))
    db.table("pairs").create_index(["agent", "target", "kind"], unique=True)
    db.table("pairs").create_index(["target"])
    db.table("epochs").create_index(["agent", "epoch", "high"], unique=True)
    db.table("results").create_index(["hour", "pair", "time_ms"])
    for statement in _CLUSTERED:
        db.execute(statement)


# Tables that are read in the order of their keys; sqlite-utils has no word for WITHOUT ROWID.
_CLUSTERED = (
    """CREATE TABLE latest (pair INTEGER, unsynced INTEGER, time_ms INTEGER, result INTEGER,
       PRIMARY KEY (pair, unsynced)) WITHOUT ROWID""",
    """CREATE TABLE dirty (step_s INTEGER, start_s INTEGER, pair INTEGER,
       PRIMARY KEY (step_s, start_s, pair)) WITHOUT ROWID""",
    """CREATE TABLE rollups (step_s INTEGER, pair INTEGER, kind TEXT, start_s INTEGER,
       count INTEGER, ok INTEGER, sent INTEGER, received INTEGER,
       min_ms REAL, p10_ms REAL, p25_ms REAL, median_ms REAL, p75_ms REAL, p90_ms REAL,
       max_ms REAL, errors TEXT, phases TEXT, links TEXT, ips TEXT, sketches BLOB,
       PRIMARY KEY (step_s, pair, kind, start_s)) WITHOUT ROWID""",
)


def _version_2(db: Database) -> None:
    db.execute(
        """CREATE TABLE verdicts (at_ms INTEGER, target TEXT, facts TEXT,
           PRIMARY KEY (at_ms, target)) WITHOUT ROWID"""
    )
    db.table("verdicts").create_index(["target", "at_ms"])
    db.table("dead").create_index(["at_ms"])


UPGRADES = (_version_1, _version_2)
