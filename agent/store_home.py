"""Where the journal's tables are: in their file, or in memory while the disk refuses."""

import logging
import sqlite3
from collections.abc import Sequence

from agent import store_return, store_tables
from agent.store_file import JournalError, JournalFile
from agent.store_return import Left
from agent.store_tables import State, Tables

log = logging.getLogger(__name__)

RETRY_S = 60.0


class Home:
    """The tables in use; they are others whenever ``refused`` or ``take_back`` says so."""

    def __init__(self, path: str, now: float) -> None:
        self._file = JournalFile(path)
        self._left = Left(None, 0, 0, 0)
        self.refusal: str | None = None  # why we are in memory
        self.try_at = 0.0
        self.tables = self._open(now)

    @property
    def aside(self) -> str | None:
        """The last file that was set aside."""
        return self._file.aside

    def cap_bytes(self, most_bytes: int) -> int:
        """How large the journal may become here."""
        if self.refusal is not None:
            return most_bytes
        return min(most_bytes, self._file.most_bytes(self.tables.used_bytes()))

    def refused(self, error: sqlite3.Error, left: Left, now: float, *, give_up_file: bool) -> None:
        """The file failed: an empty one beside it if it is corrupt, else memory."""
        if self.refusal is not None:
            raise error
        self._left = left
        self.tables.close()
        if store_tables.is_corrupt(error) and not give_up_file:
            try:
                self.tables = self._file.begin_anew(error)
                return
            except (sqlite3.Error, OSError) as worse:
                log.warning("the journal cannot be set aside (%s)", worse)
        self.tables = self._memory(error, now)

    def take_back(
        self, mine: State, acks: Sequence[tuple[str, int, int]], news: dict[str, str], now: float
    ) -> tuple[State, int] | None:
        """Move all from memory to the file: its state, and by how much all ids grew.

        None: the disk still refuses, or the file there is not for us.
        """
        self.try_at = now + RETRY_S
        file: Tables | None = None
        try:
            file = self._file.open()
            moved = store_return.move(self.tables, file, mine, self._left, acks, news)
        except (sqlite3.Error, OSError, JournalError) as error:
            self.refusal = self._told(error)
            if file is not None:
                file.close()
            return None
        log.warning("the disk takes the journal again: results are kept in the file")
        self.tables.close()
        self.tables, self.refusal = file, None
        return moved

    def close(self) -> None:
        self.tables.close()
        self._file.close()

    def _open(self, now: float) -> Tables:
        try:
            return self._file.open()
        except (sqlite3.Error, OSError) as error:
            return self._memory(error, now)
        except JournalError:
            self._file.close()
            raise

    def _told(self, error: Exception) -> str:
        """Everybody reads this: a path would tell whose box it is."""
        said = error.strerror if isinstance(error, OSError) else str(error)
        return (said or type(error).__name__).replace(self._file.path, "the file")

    def _memory(self, error: Exception, now: float) -> Tables:
        self.refusal = self._told(error)
        self.try_at = now + RETRY_S
        log.warning("the disk refuses the journal (%s): results are kept in memory", error)
        return store_tables.in_memory()
