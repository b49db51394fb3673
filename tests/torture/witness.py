"""What an agent did, written down outside of its journal: one append-only file, one line a fact.

A line is one write() with O_APPEND: it survives kill -9 whole. The kinds:

    S boot_id                     the process started
    A epoch seq true_ms crc       a result was added (still in memory)
    F "file" | "memory"           what was added so far is committed, there
    M                             the disk refused: from here on the journal is in memory
    D                             ... and moved back to the file, with all that it held
    C no broker                   connection number `no` is open
    P no broker crc online batch ranges       a message is handed to it
    K ranges                      an indexer's confirmation arrived
    O online                      an indexer came, or went
    L why                         what was published is forgotten: it may go again at once

Each line ends with the boot clock of this machine in seconds and its true time in ms.
"""

import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Line(NamedTuple):
    kind: str
    facts: list[Any]
    at_s: float
    at_ms: int


class Witness:
    """Writes one file."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, kind: str, *facts: Any) -> None:
        now = [round(time.clock_gettime(time.CLOCK_BOOTTIME), 3), time.time_ns() // 1_000_000]
        os.write(self._handle, json.dumps([kind, *facts, *now]).encode() + b"\n")


def read(path: Path) -> Iterator[Line]:
    """Every line so far."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for text in file:
            kind, *facts, at_s, at_ms = json.loads(text)
            yield Line(kind, facts, at_s, at_ms)


def fingerprint(body: Mapping[str, Any]) -> int:
    """The same for the same body, wherever it has been."""
    known = {key: value for key, value in body.items() if value is not None}
    return zlib.crc32(json.dumps(known, sort_keys=True).encode())
