"""The Mosquitto of this machine, and Debian 13's beside it: unpacked under build/, run in place."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests import needs
from tests.pythons import BUILD, once

_MAIN_ARCHIVE_ONLY = r'sed -i -e /security/d -e /updates/d "$1"/etc/apt/sources.list'
NAMES = ("here", "trixie")


def command(name: str) -> list[str]:
    """The words that start it."""
    return [needs.tool("mosquitto")] if name == "here" else _debian(name)


def _debian(suite: str) -> list[str]:
    root = once(BUILD / "roots" / f"{suite}-mosquitto", lambda root: _unpack(root, suite))
    (loader,) = (root / "usr" / "lib").glob("*/ld-linux-*.so.*")
    program = root / "usr" / "sbin" / "mosquitto"
    return [str(loader), "--library-path", str(loader.parent), str(program)]


def _unpack(root: Path, suite: str) -> None:
    words = [needs.tool("mmdebstrap"), "--quiet", "--variant=extract", "--include=mosquitto"]
    words += [f"--setup-hook={_MAIN_ARCHIVE_ONLY}", suite, str(root)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        needs.missing(f"the Mosquitto of {suite} cannot be unpacked: {ran.stderr[-1000:]}")
