"""Where a package cannot be made, or would be another: a line says why, and nothing is written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import debs

BUILDERS = ("deb", "ipk", "apk", "pyz")
OFFLINE = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "PIP_NO_INDEX": ""}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the sources."""
    folder = tmp_path / "sources"
    folder.mkdir()
    return debs.copy_of_the_sources(folder)


def build(
    sources: Path, builder: str, *options: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    """What it says, if it writes to out/ beside the sources."""
    out = sources.parent / "out"
    where = [str(out / "agent.pyz")] if builder == "pyz" else ["--out", str(out)]
    return subprocess.run(
        [sys.executable, str(sources / f"packaging/build/{builder}.py"), *where, *options],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def refused(ran: subprocess.CompletedProcess[str], sources: Path) -> str:
    """The one line that it ended with."""
    assert ran.returncode in (1, 2) and ran.stdout == ""
    assert ran.stderr.count("\n") == 1, ran.stderr
    assert not (sources.parent / "out").exists()
    return ran.stderr


@pytest.mark.parametrize("builder", BUILDERS)
def test_without_a_network_it_says_what_could_not_be_fetched(sources: Path, builder: str) -> None:
    (sources / "build").unlink()
    line = refused(build(sources, builder, **OFFLINE), sources)
    assert line.startswith(f"{builder}: ") and ".lock: ERROR: No matching distribution" in line


def test_what_an_editor_left_is_not_packed(sources: Path) -> None:
    environ = {"SOURCE_DATE_EPOCH": "1767225600"}
    made = []
    for _ in range(2):
        for builder in ("deb", "ipk", "pyz"):
            assert build(sources, builder, **environ).returncode == 0
        made.append({path.name: path.read_bytes() for path in (sources.parent / "out").iterdir()})
        for name in (".cli.py.swp", "cli.py~", "cli.py.orig", "__pycache__/cli.cpython-399.pyc"):
            for folder in ("agent", "indexer", "packaging/openwrt/swarming-agent/files/usr/bin"):
                (sources / folder / name).parent.mkdir(exist_ok=True)
                (sources / folder / name).write_text("secret")
    assert made[0] == made[1]


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_library_that_was_changed_after_it_was_fetched_is_not_packed(
    sources: Path, builder: str
) -> None:
    build(sources, builder)  # so that they are there
    shutil.rmtree(sources.parent / "out", ignore_errors=True)
    kept = sources / "build"
    kept.unlink()
    shutil.copytree(debs.ROOT / "build" / "wheels", kept / "wheels")
    for path in kept.rglob("*.whl"):
        with open(path, "ab") as file:
            file.write(b"\0")
    assert "does not hold what" in refused(build(sources, builder), sources)


@pytest.mark.parametrize("builder", ["deb", "ipk", "apk"])
@pytest.mark.parametrize("version", ["0.2.0rc1", "0.2", "1.0.0-1", "01.0.0", "1.0.0~x"])
def test_a_release_is_called_by_three_numbers(sources: Path, builder: str, version: str) -> None:
    project = sources / "pyproject.toml"
    project.write_text(project.read_text().replace('version = "', f'version = "{version}" # "', 1))
    assert f"X.Y.Z, not {version}" in refused(build(sources, builder), sources)


def test_a_release_that_is_told_to_deb_is_called_so_too(sources: Path) -> None:
    assert "X.Y.Z, not 2" in refused(build(sources, "deb", "--version=2"), sources)


def test_whatever_the_locale_the_packages_are_the_same(sources: Path) -> None:
    plain = {"SOURCE_DATE_EPOCH": "1767225600"}
    bare = plain | {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "TZ": "Asia/Tokyo",
    }
    made = []
    for environ in (plain, bare):
        ran = build(sources, "deb", **environ)
        assert ran.returncode == 0, ran.stderr
        made.append({path.name: path.read_bytes() for path in (sources.parent / "out").iterdir()})
    assert made[0] == made[1]
