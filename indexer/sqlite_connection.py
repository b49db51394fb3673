"""One connection to the SQLite store: which file it really has open, and how it begins to write."""

import os
import random
import sqlite3
import time
from contextlib import suppress

from sqlite_utils import Database

from indexer import sqlite_write
from indexer.sqlite_tables import open_file


class Opened:
    """One connection, which file it has open, and what its transactions have taught it."""

    def __init__(self, path: str, *, create: bool, busy_s: float) -> None:
        self.db: Database = open_file(path, create=create, busy_s=busy_s)
        self.conn: sqlite3.Connection = self.db.conn
        self.file = file_at(path)
        self.numbers = sqlite_write.Numbers(self.conn)

    def begin(self, busy_s: float) -> None:
        """A transaction that may write. Asks often while another process writes: SQLite's own
        waiting asks ten times a second, and never gets in beside a busy one."""
        self.conn.execute("PRAGMA busy_timeout = 0")
        end_s = time.monotonic() + busy_s
        while True:
            try:
                self.conn.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > end_s:
                    raise
            time.sleep(random.uniform(0.0005, 0.005))

    def only_look(self) -> None:
        self.conn.execute("PRAGMA query_only = ON")
        self.conn.execute("PRAGMA cache_size = -4096")

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.conn.close()


def file_at(path: str) -> tuple[int, int] | None:
    """What the path leads to: another file under the same name is another store."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
