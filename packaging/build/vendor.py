"""The libraries that a package carries: pinned by version and hash, fetched at build time.

pip checks the hashes of a lock file (`--require-hashes`); the wheels are kept in build/, so a
second build asks nobody. What is carried is what is imported: no command lines, no data, no
metadata; every licence goes along.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tree import ROOT, BuildError, Tree

LOCK = ROOT / "packaging" / "vendor.lock"
CACHE = ROOT / "build" / "wheels"
WANTED = (".py", ".js", ".css")  # the last two: what the page draws with
LEFT_OUT = ("sqlite_utils/cli.py", "sqlite_utils/__main__.py")  # they want two more libraries


class VendorError(BuildError):
    """One line that says why the libraries cannot be had."""


class Wheel(NamedTuple):
    name: str  # of the distribution: sqlite_utils
    version: str
    files: dict[str, bytes]  # what is imported
    licences: dict[str, bytes]


def wheels(lock: Path = LOCK) -> list[Wheel]:
    """All that the lock file names, hashes checked."""
    folder = _fetched(lock)
    found = sorted(folder.glob("*.whl"))
    # Again, for they may have lain there for long.
    there = [hashlib.sha256(path.read_bytes()).hexdigest() for path in found]
    named = re.findall(r"--hash=sha256:([0-9a-f]{64})", lock.read_text("utf-8"))
    if sorted(there) != sorted(named):
        raise VendorError(f"{folder} does not hold what {lock.name} names: remove it")
    return [_read(path) for path in found]


def put(tree: Tree, folder: str, lock: Path = LOCK) -> list[Wheel]:
    """The wheels' modules into a folder of the tree, their licences below it."""
    found = wheels(lock)
    for wheel in found:
        for path, content in wheel.files.items():
            tree.file(f"{folder}/{path}", content)
        for path, content in wheel.licences.items():
            tree.file(f"{folder}/licences/{wheel.name}-{wheel.version}/{path}", content)
    return found


def _fetched(lock: Path) -> Path:
    """The folder with the lock file's wheels; another lock file has another folder."""
    folder = CACHE / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as new:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
        command += ["--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
        ran = subprocess.run(
            [*command, "--requirement", str(lock), "--dest", new],
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            last = ran.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
            raise VendorError(f"{lock.name}: {last[0]}")
        try:
            Path(new).rename(folder)
        except OSError:  # another build was faster
            if not folder.is_dir():
                raise
        else:
            Path(new).mkdir()  # for its TemporaryDirectory to remove
    folder.chmod(0o755)
    return folder


def _read(path: Path) -> Wheel:
    name, version = path.name.split("-")[:2]
    with zipfile.ZipFile(path) as archive:
        named = [one for one in archive.namelist() if not one.endswith("/")]
        files = {one: archive.read(one) for one in named if _imported(one)}
        licences = {one.split("/")[-1]: archive.read(one) for one in _licences(named)}
    if not licences:
        raise VendorError(f"{path.name} brings no licence")
    return Wheel(name, version, files, licences)


def _imported(path: str) -> bool:
    return path.endswith(WANTED) and ".dist-info/" not in path and not path.startswith(LEFT_OUT)


def _licences(paths: list[str]) -> Iterator[str]:
    for path in paths:
        last = path.split("/")[-1].upper()
        named = last.startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE"))
        if ".dist-info/licenses/" in path or (".dist-info/" in path and named):
            yield path
