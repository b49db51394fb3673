"""The journal's file: for one agent at a time, set aside when corrupt, refused when newer."""

import fcntl
import logging
import os
import sqlite3
import time

from agent import store_tables
from agent.store_tables import Tables

log = logging.getLogger(__name__)


class JournalError(Exception):
    """The journal cannot be used; one line says why."""


class JournalNewer(JournalError):
    """A newer program wrote it; the file was not touched."""


class JournalLocked(JournalError):
    """Another agent uses it."""


class JournalForeign(JournalError):
    """A SQLite file of another program; it was not touched."""


class JournalFile:
    """Where the journal lies, and the lock beside it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.aside: str | None = None  # the last file that was set aside
        self._lock: int | None = None

    def open(self) -> Tables:
        """The tables in the file; a corrupt one is set aside first.

        Raises JournalError where the file is not for us; sqlite3.Error or OSError where the disk
        refuses.
        """
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise JournalForeign(f"{self.path} is no file")  # a device must never be set aside
        self._take_lock()
        try:
            return store_tables.open_file(self.path)
        except store_tables.Newer as newer:
            raise JournalNewer(
                f"{self.path} was written by a newer program ({newer}): upgrade this one"
            ) from newer
        except store_tables.Foreign as foreign:
            raise JournalForeign(f"{self.path} belongs to another program") from foreign
        except sqlite3.Error as error:
            if not store_tables.is_broken(error):
                raise
            return self.begin_anew(error)

    def begin_anew(self, error: Exception) -> Tables:
        """Rename the corrupt file, and everything beside it, and begin an empty one."""
        name = f"{self.path}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        while os.path.exists(name):
            name += "-"
        os.rename(self.path, name)
        for suffix in ("-wal", "-shm", "-journal"):
            if os.path.exists(self.path + suffix):
                os.rename(self.path + suffix, name + suffix)
        self.aside = name
        log.warning("the journal is corrupt (%s): set aside as %s, a new one begun", error, name)
        return store_tables.open_file(self.path)

    def most_bytes(self, used_bytes: int) -> int:
        """How large the journal may grow here: half of what is free stays free for others.

        What it takes already it keeps, and a tenth of the disk is always its own: a disk that
        somebody else filled is no reason to delete anything.
        """
        try:
            disk = os.statvfs(os.path.dirname(os.path.abspath(self.path)))
        except OSError:
            return used_bytes
        tenth_bytes = disk.f_blocks * disk.f_frsize // 10
        half_bytes = (used_bytes + disk.f_bavail * disk.f_frsize) // 2
        return max(used_bytes, tenth_bytes, half_bytes)

    def close(self) -> None:
        """Let another agent have it."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        handle = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as busy:
            os.close(handle)
            raise JournalLocked(f"another agent uses {self.path}") from busy
        except OSError as error:
            log.info("this file system has no locks (%s)", error)
        self._lock = handle
