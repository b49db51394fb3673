"""The Debian packages, built as `make deb` builds them, or from a copy of the sources."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SIDES = ("agent", "indexer")
_SOURCES = ("agent", "indexer", "packaging", "pyproject.toml", "CHANGELOG.md", "README.md",
            "docs")  # fmt: skip


class Debs(NamedTuple):
    agent: Path
    indexer: Path


def build(out: Path, *options: str, sources: Path = ROOT, epoch_s: int | None = None) -> Debs:
    """Both packages in the folder."""
    told = {} if epoch_s is None else {"SOURCE_DATE_EPOCH": str(epoch_s)}
    command = [sys.executable, str(sources / "packaging" / "build" / "deb.py")]
    subprocess.run([*command, "--out", str(out), *options], check=True, env=os.environ | told)
    agent, indexer = (next(out.glob(f"swarming-{side}_*_all.deb")) for side in SIDES)
    return Debs(agent, indexer)


def copy_of_the_sources(folder: Path) -> Path:
    """To be changed; it shares the wheels that were fetched already."""
    for name in _SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, copy_function=shutil.copy)
        else:
            shutil.copy(source, folder / name)
    (ROOT / "build").mkdir(exist_ok=True)
    (folder / "build").symlink_to(ROOT / "build")
    return folder


def depends(side: str) -> list[str]:
    """The names of the packages that it cannot do without, the first of each choice."""
    control = (ROOT / "packaging" / "debian" / side / "control").read_text()
    found = re.search(r"^Depends: (.*)$", control, re.MULTILINE)
    assert found is not None
    return [one.split()[0] for one in found[1].split(", ")]
