"""Pythons that this machine lacks: Debian's own, unpacked under build/ and run in place.

Nothing is installed and no root is entered. A small script beside the unpacked interpreter starts
it by its own loader, or by qemu where its processor is another; the rest of the machine stays in
sight, so brokers, namespaces and tools are this machine's. What that Python starts as
``sys.executable`` is the script again, and a virtual environment may be made of it.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests import needs

BUILD = Path(__file__).resolve().parents[1] / "build"
NAME = "python-in-place"

# The archives of updates are younger than this file, and not there for every processor.
_MAIN_ARCHIVE_ONLY = r'sed -i -e /security/d -e /updates/d "$1"/etc/apt/sources.list'


def python_3_13() -> Path:
    """Debian 13's, for this machine's processor; its venv module needs --without-pip."""
    return _debian("trixie", None, "python3")


def python_3_11_armhf() -> Path:
    """Debian 12's for 32-bit ARM, under qemu: the standard library and nothing else."""
    return _debian("bookworm", "armhf", "python3-minimal,libpython3-stdlib")


def once(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder that is there whole or not at all, however many ask for it at the same time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = folder / "ready"
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            ready.touch()
    return folder


def _debian(suite: str, arch: str | None, packages: str) -> Path:
    name = suite if arch is None else f"{suite}-{arch}"
    root = once(BUILD / "roots" / name, lambda root: _unpack(root, suite, arch, packages))
    return root / "usr" / "bin" / NAME


def _unpack(root: Path, suite: str, arch: str | None, packages: str) -> None:
    command = [needs.tool("mmdebstrap"), "--quiet", "--variant=extract", f"--include={packages}"]
    command += [f"--setup-hook={_MAIN_ARCHIVE_ONLY}"]
    command += [] if arch is None else [f"--arch={arch}"]
    ran = subprocess.run([*command, suite, str(root)], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        needs.missing(f"Debian's {suite} cannot be unpacked: {ran.stderr[-1000:]}")
    starter = root / "usr" / "bin" / NAME
    starter.write_text(f'#!/bin/sh\nexec {_start(root, arch)} "$@"\n')
    starter.chmod(0o755)


def _start(root: Path, arch: str | None) -> str:
    """The words of the shell that start its Python, under the script's name."""
    python = shlex.quote(os.path.realpath(root / "usr" / "bin" / "python3"))
    if arch is not None:
        qemu = needs.tool("qemu-arm-static")
        return f'{qemu} -L {shlex.quote(str(root))} -0 "$0" {python}'
    (loader,) = (root / "usr" / "lib").glob("*/ld-linux-*.so.*")
    quoted = shlex.quote(str(loader)), shlex.quote(str(loader.parent))
    return f'{quoted[0]} --argv0 "$0" --library-path {quoted[1]} {python}'


if __name__ == "__main__":  # so that CI can fetch first, with an error of its own
    print(python_3_13())
    print(python_3_11_armhf())
