"""Says long before it happens that this box's certificate ends; reads the file when it changes."""

import logging
import os
from typing import Any

from agent import certificate

WARN_DAYS = 30
DAY_MS = 86_400_000
MOST_BYTES = 64 * 1024

log = logging.getLogger("swarming")


class Expiry:
    """Of the certificate in one file, or of none."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None  # the file, as it was read
        self._ends_ms: int | None = None
        self._warned = ""

    def facts(self, wall_ms: int | None) -> dict[str, Any] | None:
        """For ``agent/<agent>``. With no time that can be trusted, days are not counted."""
        self._read_again()
        if self._ends_ms is None:
            return None
        ends = certificate.day(self._ends_ms)
        if wall_ms is None:
            return {"ends": ends}
        days_left = (self._ends_ms - wall_ms) // DAY_MS
        self._warn(ends, days_left)
        return {"ends": ends, "days_left": days_left}

    def _read_again(self) -> None:
        if self._path is None:
            return
        try:
            found = os.stat(self._path)
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen == self._seen:
                return
            with open(self._path, encoding="ascii", errors="replace") as file:
                self._ends_ms = certificate.ends_ms(file.read(MOST_BYTES))
        except OSError:
            return  # it is being replaced, or gone; the connection will say so
        self._seen, self._warned = seen, ""

    def _warn(self, ends: str, days_left: int) -> None:
        """Once for each certificate, and once more when it has ended."""
        if days_left >= WARN_DAYS:
            return
        text = in_words(ends, days_left)
        state = "ended" if days_left < 0 else "ends"
        if state != self._warned:
            log.warning("%s: ask your operator to invite this box again", text)
        self._warned = state


def in_words(ends: str, days_left: int) -> str:
    """For a person, in the log and in ``status``."""
    if days_left < 0:
        return f"the certificate has ended on {ends}"
    return f"the certificate ends on {ends}, in {days_left} days"
