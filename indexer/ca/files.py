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
    new = f".{path.name}.new"
    try:
        with _opened(path.parent) as folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new, dir_fd=folder)  # of a run that ended half-way
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            descriptor = os.open(new, flags, SECRET, dir_fd=folder)
            with open(descriptor, "wb") as file:
                file.write(content)
                os.fchmod(descriptor, mode)
                _hand_over(folder, descriptor)
                file.flush()
                os.fsync(descriptor)
            os.replace(new, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
    except OSError as error:  # what a write raises does not know the name
        raise OSError(error.errno, error.strerror, str(path)) from error


def make_folder(path: Path) -> None:
    """The folder is there, closed to others. What is above it is made as it usually is."""
    if path.is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(path.parent) as parent:
        os.mkdir(path.name, 0o700, dir_fd=parent)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        descriptor = os.open(path.name, flags, dir_fd=parent)
        try:
            _hand_over(parent, descriptor)
        finally:
            os.close(descriptor)
        os.fsync(parent)


def sync(folder: Path) -> None:
    """The names in the folder are on the disk."""
    with _opened(folder) as opened:
        os.fsync(opened)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else changes the folder meanwhile; whoever tries waits."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    with _opened(folder) as opened:
        try:
            descriptor = os.open(_LOCK, flags, SECRET, dir_fd=opened)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(folder / _LOCK)) from error
        try:
            if os.fstat(descriptor).st_nlink == 1:  # else it is another file, too
                _hand_over(opened, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """The folder itself, whatever its name leads to a moment later."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _hand_over(folder: int, descriptor: int) -> None:
    if os.geteuid() == 0:
        owner = os.fstat(folder)
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
