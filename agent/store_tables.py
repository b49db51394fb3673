"""The journal's tables: every SQL statement of the agent is in this file.

One connection, one thread, explicit transactions: what ``transaction`` holds is on the disk when it
ends, or not at all (``synchronous=EXTRA``: with FULL the directory entry of a fresh file, or of a
rollback journal that was just deleted, may come back after a power cut). WAL where the file system
has shared writable maps, else a rollback journal that is truncated (JFFS2 has none, and a file that
once says WAL could not even be read there). Pages are small, because a flash card wears by the
page. Bodies are deflated JSON, in the wire's own form, so that an upgrade touches no rows.
"""

import os
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlite_utils

from agent.losses import NOTHING, Loss
from agent.store_epochs import NO_END, Epoch

APPLICATION_ID = 0x53574A31
PAGE_BYTES = 512
CACHE_KIB = 256
WAL_PAGES = 256
BUSY_S = 2.0
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_NO_SHARED_MAPS = {
    sqlite3.SQLITE_IOERR_SHMMAP,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMLOCK,
}
_VERSION_OFFSET = 60  # of user_version in the file's header


class Newer(Exception):
    """A newer program wrote the file."""


class Foreign(Exception):
    """Another program's SQLite file."""


class State(NamedTuple):
    """What the journal remembers besides rows; written with every commit."""

    journal: str  # random: another card in the slot is another journal
    published_upto: int = 0
    rows: int = 0
    confirmed: int = 0
    evicted: int = 0
    strays: int = 0
    newest_ms: int = 0
    loss: Loss = NOTHING


class Stored(NamedTuple):
    """A row as it lies in the table."""

    id: int
    epoch: int
    boot_ns: int
    body: bytes


# --- bodies -------------------------------------------------------------------------------------

_DICTIONARY = (
    b'"certificate_end":"2025-"status":200,"bytes":,"truncated":false,"redirect":false,'
    b'"tls_version":"TLSv1.3","retrans":0,"phases_ms":{"resolve":,"connect":,"tls":,"ttfb":,'
    b'"transfer":,"total":},"error":"unknown_host","error":"timeout","gateway":{"sent":5,"received"'
    b':5,"rtts_ms":[],"first_hop":{"sent":5,"received":5,"rtts_ms":[null,null,"kind":"ladder",'
    b'"target":"ladder","kind":"http","target":"https://www.","signal":{"rssi":-,"rsrp":-,"rsrq":-,'
    b'"age_s":0,"stated":true},"type":"lte","generation":"4g","type":"wifi","type":"ethernet",'
    b'"iface":"wlan0","iface":"wwan0","iface":"eth0","confidence":0.9,"age_s":null,"stated":false},'
    b'"method":"raw","method":"dgram","late":0,"duplicates":0,"corrupted":0,"sent":10,"received":10'
    b',"loss_pct":0.0,"rtt_ms":{"min":1,"avg":1,"max":1,"stddev":0.},"rtts_ms":[1.,"ip":"","family"'
    b':6,"family":4,"ok":true,"error":null,"link":{"type":"","kind":"icmp","target":"'
)


def pack(body: str) -> bytes:
    """A body as it lies in the table."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_DICTIONARY)
    return deflate.compress(body.encode()) + deflate.flush()


def unpack(packed: bytes) -> str:
    """The body again, or ValueError."""
    inflate = zlib.decompressobj(-15, zdict=_DICTIONARY)
    try:
        body = inflate.decompress(packed) + inflate.flush()
        if not inflate.eof:
            raise ValueError("a body that was cut off")
        return body.decode()
    except (zlib.error, TypeError) as error:
        raise ValueError(f"a body that cannot be read: {error}") from error


# --- the schema and its upgrades ----------------------------------------------------------------


def _version_1(db: Any) -> None:
    _create(db, "rows", {"id": int, "epoch": int, "boot_ns": int, "body": bytes})
    _create(db, "strays", {"id": int, "epoch": int, "boot_ns": int, "body": bytes})
    _create(db, "epochs", {
        "base": int, "name": str, "boot_id": str, "start_ns": int, "known_ms": int,
        "offset_ns": int, "trust": str, "vouched_ns": int, "frozen": int,
    })  # fmt: skip
    _create(db, "settings", {"key": str, "value": str})
    _create(db, "state", {
        "id": int, "journal": str, "published_upto": int, "rows": int, "confirmed": int,
        "evicted": int, "strays": int, "newest_ms": int, "loss_count": int, "loss_from_ms": int,
        "loss_to_ms": int,
    })  # fmt: skip
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("INSERT INTO state VALUES (1, lower(hex(randomblob(8))), 0,0,0,0,0,0,0,0,0)")


def _create(db: Any, name: str, columns: dict[str, type]) -> None:
    """A table whose key is its first column. (``table.create`` of sqlite-utils 3 would commit.)"""
    db.execute(db.create_table_sql(name, columns, pk=next(iter(columns))))


UPGRADES: tuple[Callable[[Any], None], ...] = (_version_1,)  # the n-th leads to user_version n


class Tables:
    """The tables of one open journal, in a file or in memory."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self._upgrade()
        self.state()  # a file that is damaged at the root shows it here

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it is kept, or nothing; kept when this returns."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.conn.in_transaction:
                self._db.conn.rollback()
            raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What is read inside is of one moment."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            if self._db.conn.in_transaction:
                self._db.conn.rollback()

    def _upgrade(self) -> None:
        version = self._number("PRAGMA user_version")
        if version > len(UPGRADES):
            raise Newer(f"version {version}")
        tables = self._number("SELECT count(*) FROM sqlite_master")
        if tables and self._number("PRAGMA application_id") != APPLICATION_ID:
            raise Foreign
        if version == len(UPGRADES):
            return
        with self.transaction():
            for upgrade in UPGRADES[version:]:
                upgrade(self._db)
            self._db.execute(f"PRAGMA user_version = {len(UPGRADES)}")

    def _number(self, sql: str, values: tuple[Any, ...] = ()) -> int:
        return int(self._db.execute(sql, values).fetchone()[0] or 0)

    # rows

    def insert(self, rows: Iterable[Stored]) -> None:
        self._db.conn.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", rows)

    def delete(self, spans: Iterable[tuple[int, int]]) -> int:
        """How many rows these ranges of ids held."""
        sql = "DELETE FROM rows WHERE id BETWEEN ? AND ?"
        return sum(self._db.execute(sql, span).rowcount for span in spans)

    def rows(self, after_id: int, before_id: int, limit: int) -> list[Stored]:
        sql = "SELECT * FROM rows WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
        found = self._db.execute(sql, (after_id, before_id, limit)).fetchall()
        return [Stored(*row) for row in found]

    def first_id(self, after_id: int = 0) -> int | None:
        found = self._db.execute(
            "SELECT id FROM rows WHERE id > ? ORDER BY id LIMIT 1", (after_id,)
        ).fetchone()
        return found[0] if found else None

    def last_id(self) -> int:
        return self._number("SELECT max(id) FROM rows")

    def count(self, spans: Iterable[tuple[int, int]] = ((0, NO_END),)) -> int:
        """How many rows these ranges of ids hold; a scan of them."""
        sql = "SELECT count(*) FROM rows WHERE id BETWEEN ? AND ?"
        return sum(self._number(sql, span) for span in spans)

    def set_aside(self, ids: Iterable[int]) -> int:
        """Rows that cannot be understood leave the queue, and are kept."""
        moved = 0
        for id_ in ids:
            self._db.execute(
                "INSERT OR REPLACE INTO strays SELECT * FROM rows WHERE id = ?", (id_,)
            )
            moved += self._db.execute("DELETE FROM rows WHERE id = ?", (id_,)).rowcount
        return moved

    def used_bytes(self) -> int:
        """What the content takes; the file itself never shrinks, but is filled again."""
        pages = self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")
        return pages * self._number("PRAGMA page_size")

    # epochs

    def epochs(self) -> list[Epoch]:
        found = self._db.execute("SELECT * FROM epochs ORDER BY base").fetchall()
        return [Epoch(*row)._replace(frozen=bool(row[-1])) for row in found]

    def put_epoch(self, epoch: Epoch) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO epochs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*epoch[:-1], int(epoch.frozen)),
        )

    def drop_epoch(self, base: int) -> None:
        self._db.execute("DELETE FROM epochs WHERE base = ?", (base,))

    # settings and state

    def settings(self) -> dict[str, str]:
        return dict(self._db.execute("SELECT key, value FROM settings").fetchall())

    def put_settings(self, values: dict[str, str]) -> None:
        sql = "INSERT OR REPLACE INTO settings VALUES (?, ?)"
        self._db.conn.executemany(sql, values.items())

    def state(self) -> State:
        found = self._db.execute("SELECT * FROM state WHERE id = 1").fetchone()
        if found is None:
            raise sqlite3.DatabaseError("the journal has no state")
        return State(*found[1:-2])._replace(loss=Loss(*found[-3:]))

    def put_state(self, state: State) -> None:
        self._db.execute(
            "UPDATE state SET journal=?, published_upto=?, rows=?, confirmed=?, evicted=?,"
            " strays=?, newest_ms=?, loss_count=?, loss_from_ms=?, loss_to_ms=? WHERE id = 1",
            (*state[:-1], *state.loss),
        )

    def close(self) -> None:
        self._db.conn.close()


# --- opening ------------------------------------------------------------------------------------


def is_corrupt(error: sqlite3.Error) -> bool:
    """The file is damaged, rather than out of reach."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _CORRUPT
    return type(error) is sqlite3.DatabaseError  # ours: no state, a table without its columns


def is_broken(error: sqlite3.Error) -> bool:
    """Found at opening: damaged, or our tables are not all there."""
    return is_corrupt(error) or str(error).startswith(("no such table", "no such column"))


def in_memory() -> Tables:
    """Empty tables that die with the process."""
    return Tables(sqlite_utils.Database(sqlite3.connect(":memory:", isolation_level=None)))


def open_file(path: str) -> Tables:
    """The journal in this file, made or upgraded. Raises Newer, Foreign or sqlite3.Error."""
    if version_in_header(path) > len(UPGRADES):
        raise Newer(f"version {version_in_header(path)}")
    try:
        tables = _connected(path, wal=True)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) not in _NO_SHARED_MAPS:
            raise
        tables = _connected(path, wal=False)
    _sync_folder(os.path.dirname(os.path.abspath(path)))
    return tables


def version_in_header(path: str) -> int:
    """user_version without opening the file as a database, which might write to it."""
    try:
        with open(path, "rb") as file:
            header = file.read(100)
    except OSError:
        return 0
    if len(header) < 100 or not header.startswith(b"SQLite format 3\x00"):
        return 0
    return int(struct.unpack_from(">i", header, _VERSION_OFFSET)[0])


def _connected(path: str, *, wal: bool) -> Tables:
    conn = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S)
    try:
        if not wal:  # a file that says WAL is read without maps only by one that has it to itself
            conn.execute("PRAGMA locking_mode = EXCLUSIVE")  # before anything looks into it
        conn.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        conn.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        conn.execute("PRAGMA synchronous = EXTRA")
        if not wal or conn.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            conn.execute("PRAGMA journal_mode = TRUNCATE")
        conn.execute("PRAGMA locking_mode = NORMAL")
        conn.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        conn.execute(f"PRAGMA journal_size_limit = {2 * WAL_PAGES * PAGE_BYTES}")
        return Tables(sqlite_utils.Database(conn))
    except BaseException:
        conn.close()
        raise


def _sync_folder(folder: str) -> None:
    """The file's own name is on the disk, too."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # a file system without it
    finally:
        os.close(handle)
