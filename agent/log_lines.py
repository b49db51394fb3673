"""A program's log lines: on stderr with the level's word, or with its number where journald reads.

journald takes a line's priority from ``<4>`` at its start (sd-daemon(3)).
"""

import logging
import os
import sys

_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}
_DEBUG = 7


def begin(level: str, plain: str = "%(levelname)s %(message)s") -> None:
    """From here on this level ("info") and what is graver is told."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_ForJournald() if _journald_reads() else logging.Formatter(plain))
    logging.basicConfig(level=level.upper(), handlers=[handler])


class _ForJournald(logging.Formatter):
    """Every line of a traceback is an entry of its own there, so each has the number."""

    def format(self, record: logging.LogRecord) -> str:
        number = _PRIORITIES.get(record.levelno, _DEBUG)
        return "\n".join(f"<{number}>{line}" for line in super().format(record).split("\n"))


def _journald_reads() -> bool:
    """Whether stderr is the very stream that systemd named: it may lead elsewhere by now."""
    named = os.environ.get("JOURNAL_STREAM", "")
    try:
        stream = os.fstat(2)
    except OSError:
        return False
    return named == f"{stream.st_dev}:{stream.st_ino}"
