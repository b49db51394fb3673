"""A tree of files to be packed: the same files give the same bytes, whenever and wherever.

Nothing here looks at a file's own time, owner or umask; a mode is what the builder says. Entries
are sorted by path, and every folder on the way to a file is there, before it.
"""

import gzip
import io
import os
import re
import subprocess
import tarfile
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
NO_COMMIT_EPOCH_S = 1_767_225_600  # 2026-01-01: for a source archive, which has no commits


class BuildError(Exception):
    """One line that says why there is no package."""


class Entry(NamedTuple):
    """One path of a package, without a leading slash; no content and no target: a folder."""

    path: str
    mode: int
    content: bytes | None = None
    target: str | None = None
    user: str = "root"
    group: str = "root"

    @property
    def is_folder(self) -> bool:
        return self.content is None and self.target is None


def is_ours(path: Path) -> bool:
    """What `copy` takes unless told otherwise: all but what an interpreter or an editor left."""
    left = path.name.startswith(".") or path.name.endswith(("~", ".pyc", ".orig", ".rej"))
    return not left and path.name != "__pycache__"


class Tree:
    """What goes into a package; paths may be given with or without a leading slash."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def file(
        self,
        path: str,
        content: bytes | str,
        mode: int = 0o644,
        user: str = "root",
        group: str = "root",
    ) -> None:
        data = content.encode() if isinstance(content, str) else content
        self.put(Entry(_clean(path), mode, content=data, user=user, group=group))

    def folder(self, path: str, mode: int = 0o755, user: str = "root", group: str = "root") -> None:
        self.put(Entry(_clean(path), mode, user=user, group=group))

    def link(self, path: str, target: str) -> None:
        self.put(Entry(_clean(path), 0o777, target=target))

    def copy(
        self,
        source: Path,
        path: str,
        mode: int | None = None,
        wanted: Callable[[Path], bool] = is_ours,
    ) -> None:
        """A file, or a folder with all below it; 0755 for what its owner may run, else 0644."""
        if source.is_dir():
            for child in sorted(source.iterdir()):
                if wanted(child):
                    self.copy(child, f"{path}/{child.name}".strip("/"), mode, wanted)
            return
        may_run = source.stat().st_mode & 0o100
        self.file(path, source.read_bytes(), mode or (0o755 if may_run else 0o644))

    def entries(self) -> list[Entry]:
        """Sorted by path, part for part, so that a folder comes before what it holds."""
        return sorted(self._entries.values(), key=lambda entry: entry.path.split("/"))

    def __getitem__(self, path: str) -> Entry:
        return self._entries[_clean(path)]

    def __contains__(self, path: str) -> bool:
        return _clean(path) in self._entries

    def put(self, entry: Entry) -> None:
        for parent in list(Path(entry.path).parents)[:-1]:
            self._entries.setdefault(str(parent), Entry(str(parent), 0o755))
        known = self._entries.get(entry.path)
        if known is not None and not (known.is_folder and entry.is_folder):
            raise ValueError(f"{entry.path} is put in twice")
        self._entries[entry.path] = entry


def _clean(path: str) -> str:
    clean = path.strip("/")
    if not clean or any(part in ("", ".", "..") for part in clean.split("/")):
        raise ValueError(f"no path for a package: {path!r}")
    return clean


def tar(
    entries: Iterable[Entry],
    epoch_s: int,
    prefix: str = "./",
    ids: Mapping[str, int] | None = None,
    *,
    names: bool = True,
    folder: bool = True,
) -> bytes:
    """GNU tar of the entries, below a member for the folder that they are in, unless told not to.

    `ids` gives the number of a user or group other than root; without `names` only the numbers are
    written, as `tar --numeric-owner` does.
    """
    numbers = {"root": 0, **(ids or {})}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        if prefix and folder:
            archive.addfile(_member(Entry(prefix, 0o755), "", epoch_s, numbers, names))
        for entry in entries:
            member = _member(entry, prefix, epoch_s, numbers, names)
            archive.addfile(member, io.BytesIO(entry.content or b""))
    return out.getvalue()


def _member(
    entry: Entry, prefix: str, epoch_s: int, numbers: Mapping[str, int], names: bool
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(prefix + entry.path)
    member.mode, member.mtime = entry.mode, epoch_s
    member.uid, member.gid = numbers[entry.user], numbers[entry.group]
    if names:
        member.uname, member.gname = entry.user, entry.group
    if entry.target is not None:
        member.type, member.linkname = tarfile.SYMTYPE, entry.target
    elif entry.content is None:
        member.type = tarfile.DIRTYPE
    else:
        member.size = len(entry.content)
    return member


def gzip_n(data: bytes) -> bytes:
    """As `gzip -9n`: neither name nor time in it."""
    return gzip.compress(data, compresslevel=9, mtime=0)


def epoch_s() -> int:
    """The one time of all that is packed: SOURCE_DATE_EPOCH, else the last commit's."""
    told = os.environ.get("SOURCE_DATE_EPOCH", "")
    if told.isdecimal():
        return int(told)
    try:
        asked = subprocess.run(
            ["git", "-C", str(ROOT), "log", "-1", "--no-show-signature", "--format=%ct"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return NO_COMMIT_EPOCH_S
    return int(asked.stdout) if asked.stdout.strip().isdecimal() else NO_COMMIT_EPOCH_S


def version() -> str:
    """As pyproject.toml has it."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return checked_version(tomllib.load(file)["project"]["version"])


def checked_version(told: str) -> str:
    """X.Y.Z alone: of all else, dpkg, apk and opkg think differently which is the newer."""
    if not re.fullmatch(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}", told):
        raise BuildError(f"a release is called X.Y.Z, not {told}")
    return told
