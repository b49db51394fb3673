"""Cuts the power of a process that writes a journal, at every system call, in several ways.

The writer runs once under strace, which records what it does to its folder. ``Disk`` replays that
against a file system that owes nothing that was not synced: it keeps what is durable and what is
pending apart, and at any moment gives images of what a power cut there may leave behind.

Run as ``python -m tests.power_cut FOLDER`` it is the writer.
"""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from agent import store_tables
from agent.store import Journal
from agent.store_tables import Tables
from tests.store_bed import NS_PER_S, body, open_journal, reading

NAME = "journal.db"
FILES = (NAME, f"{NAME}-wal", f"{NAME}-journal")
SECTOR = 512
_CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)")
_FD = re.compile(r"^\d+<([^>]*)>(.*)$")


# --- the writer -----------------------------------------------------------------------------------


def content(tables: Tables) -> list[Any]:
    """All that a journal's tables hold, to be compared."""
    rows = [
        [row.id, row.epoch, row.boot_ns, store_tables.unpack(row.body)]
        for row in tables.rows(0, 2**62, 1_000_000)
    ]
    state = tables.state()
    return json.loads(json.dumps([rows, tables.epochs(), sorted(tables.settings().items()), state]))


def write(folder: Path, flushes: int) -> None:
    """A journal's life: results, confirmations, evictions, clock steps, a restart. Every content
    that is promised goes to the file ``promises``, one line each."""
    promises = os.open(folder / "promises", os.O_WRONLY | os.O_CREAT)
    journal = _opened(folder)
    number = 0
    for flush in range(flushes):
        for _ in range(flush % 4 + 1):
            number += 1
            journal.follow(reading(10 * number, wall_s=1_790_000_000 + flush // 7 * 5000))
            journal.add(body(number, noise="x" * (number * 37 % 200)), 10 * number * NS_PER_S)
        if flush % 5 == 2:
            journal.put("watch", f"voila.fr {flush}.fr")
        journal.flush(flush)
        _promise(promises, journal)
        rows = journal.window(max(0, journal.published_upto - 3), 5)
        results = journal.as_results(rows)  # may commit, too
        _promise(promises, journal)
        journal.published(rows[-1].id if rows else 0)
        if flush % 3 == 1:
            journal.confirm({result.epoch: [(result.seq, result.seq)] for result in results[1:]})
        if flush % 11 == 9:
            journal.flush(flush)
            journal.close()
            journal = _opened(folder)
            _promise(promises, journal)
    journal.close()
    os.close(promises)


def _opened(folder: Path) -> Journal:
    journal = open_journal(folder, max_rows=20)
    journal.put("indexer_seen", True)
    journal._tables._db.execute("PRAGMA wal_autocheckpoint = 25")
    return journal


def _promise(promises: int, journal: Journal) -> None:
    os.write(promises, json.dumps(content(journal._tables)).encode() + b"\n")


# --- what it did ----------------------------------------------------------------------------------


class Op(NamedTuple):
    """One thing that happened to the folder: create, write, truncate, unlink, sync, promise."""

    what: str
    name: str
    at: int = 0
    data: bytes = b""


def record(folder: Path, trace: Path, strace: str, flushes: int, *, wal: bool) -> list[Op]:
    """Run the writer and tell what it did, in order."""
    watched = [folder, folder / "promises", folder / f"{NAME}-shm"]
    watched += [folder / name for name in FILES]
    calls = "openat,pwrite64,write,ftruncate,fsync,fdatasync,unlink,mmap"
    command = [strace, "-f", "-y", "-xx", "-s", "1000000", "-o", str(trace), "-e", f"trace={calls}"]
    if not wal:  # as on JFFS2
        command += ["-e", "inject=mmap:error=ENODEV"]
    for path in watched:
        command += ["-P", str(path)]
    writer = [sys.executable, "-m", "tests.power_cut", str(folder), str(flushes)]
    subprocess.run(command + writer, check=True, timeout=120)
    return [op for line in trace.read_text().splitlines() for op in _ops(line, folder)]


def _ops(line: str, folder: Path) -> Iterator[Op]:
    found = _CALL.match(line)
    if found is None or int(found[3]) < 0:
        return
    call, arguments = found[1], found[2]
    if call == "openat":
        path = Path(_text(arguments.split(", ")[1]))
        if "O_CREAT" in arguments and path.name in FILES:
            yield Op("create", path.name)
        return
    if call == "unlink":
        yield Op("unlink", Path(_text(arguments)).name)
        return
    fd = _FD.match(arguments)
    if fd is None:
        return
    path, rest = Path(_text(fd[1])), fd[2].split(", ")
    if path == folder and call in ("fsync", "fdatasync"):
        yield Op("sync folder", "")
    elif path.name == "promises" and call == "write":
        yield Op("promise", "", data=_bytes(rest[1]))
    elif path.name not in FILES:
        return
    elif call == "pwrite64":
        yield Op("write", path.name, int(rest[3]), _bytes(rest[1]))
    elif call == "ftruncate":
        yield Op("truncate", path.name, int(rest[1]))
    elif call in ("fsync", "fdatasync"):
        yield Op("sync", path.name)


def _bytes(quoted: str) -> bytes:
    return bytes.fromhex(quoted.strip('"').replace("\\x", ""))


def _text(quoted: str) -> str:
    return _bytes(quoted).decode() if "\\x" in quoted else quoted.strip('"')


# --- the disk -------------------------------------------------------------------------------------


class Inode:
    """A file's content: what is durable, and what was written since."""

    def __init__(self) -> None:
        self.durable = b""
        self.pending: list[Op] = []


def applied(content_: bytes, op: Op) -> bytes:
    if op.what == "truncate":
        return content_[: op.at].ljust(op.at, b"\x00")
    end = op.at + len(op.data)
    return content_[: op.at].ljust(op.at, b"\x00") + op.data + content_[end:]


class Disk:
    """The folder while the writer runs, as a file system sees it that postpones all it can."""

    def __init__(self) -> None:
        self.live: dict[str, Inode] = {}
        self.durable: dict[str, Inode] = {}
        self.promised: list[Any] = []

    def do(self, op: Op) -> None:
        if op.what == "create":
            self.live.setdefault(op.name, Inode())
        elif op.what == "unlink":
            self.live.pop(op.name, None)
        elif op.what == "sync folder":
            self.durable = dict(self.live)
        elif op.what == "promise":
            self.promised.append(json.loads(op.data))
        elif op.what == "sync":
            inode = self.live[op.name]
            inode.durable = _all(inode)
            inode.pending = []
        else:
            self.live[op.name].pending.append(op)

    def images(self, rng: random.Random, more: int) -> Iterator[tuple[str, dict[str, bytes]]]:
        """What a cut here may leave: (how, files)."""
        yield "killed", {name: _all(inode) for name, inode in self.live.items()}
        yield "unsynced lost", {name: inode.durable for name, inode in self.durable.items()}
        for _ in range(more):
            names = self.live if rng.random() < 0.5 else self.durable
            how = rng.choice([_some, _torn, _zeros])
            yield how.__name__, {name: how(inode, rng) for name, inode in names.items()}


def _all(inode: Inode) -> bytes:
    found = inode.durable
    for op in inode.pending:
        found = applied(found, op)
    return found


def _some(inode: Inode, rng: random.Random) -> bytes:
    """Any of the writes reached the disk, and any did not."""
    found = inode.durable
    for op in inode.pending:
        if rng.random() < 0.5:
            found = applied(found, op)
    return found


def _torn(inode: Inode, rng: random.Random) -> bytes:
    """Writes reached the disk up to some moment; of the last one, some sectors."""
    found = inode.durable
    last = rng.randrange(len(inode.pending) + 1)
    for op in inode.pending[:last]:
        found = applied(found, op)
    for op in inode.pending[last : last + 1]:
        if op.what == "write":
            for at in range(0, len(op.data), SECTOR):
                if rng.random() < 0.5:
                    found = applied(found, Op("write", "", op.at + at, op.data[at : at + SECTOR]))
    return found


def _zeros(inode: Inode, rng: random.Random) -> bytes:
    """The file's length reached the disk; of what it gained, only zeros."""
    whole = _all(inode)
    if rng.random() < 0.5:
        return inode.durable.ljust(len(whole), b"\x00")
    return _some(inode, rng).ljust(len(whole), b"\x00")


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
