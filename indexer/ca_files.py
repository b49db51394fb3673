"""Files of the certificate authority: each is there whole or not at all, even after a power cut.

What root writes belongs to whom its folder belongs to: an indexer that runs as a user of its own
must read what `sudo swarming-indexer ca …` has put there. That user may put links there, too, and
root must give away nothing that they lead to.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

SECRET, OPEN = 0o600, 0o644
_LOCK = "lock"


def write(path: Path, content: str | bytes, mode: int = OPEN) -> None:
    """The file is there whole, on the disk, with this mode. OSError names it."""
    content = content.encode() if isinstance(content, str) else content
    new = path.with_name(f".{path.name}.new")
    try:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()  # of a run that ended half-way
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET)
        with open(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(descriptor, mode)
            _hand_over(path.parent, descriptor)
            file.flush()
            os.fsync(descriptor)
        os.replace(new, path)
        sync(path.parent)
    except OSError as error:  # what a write raises does not know the name
        raise OSError(error.errno, error.strerror, str(path)) from error


def make_folder(path: Path) -> None:
    """The folder is there, closed to others. What is above it is made as it usually is."""
    if path.is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _hand_over(path.parent, descriptor)
    finally:
        os.close(descriptor)
    sync(path.parent)


def sync(folder: Path) -> None:
    """The names in the folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else changes the folder meanwhile; whoever tries waits."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, SECRET)
    try:
        if os.fstat(descriptor).st_nlink == 1:  # else it is another file, too
            _hand_over(folder, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _hand_over(folder: Path, descriptor: int) -> None:
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
