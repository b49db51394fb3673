"""swarming-agent.pyz: one file, any Python from 3.11 on, and nothing else needed."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import pythons, zipapp

EPOCH = "1767225600"
BARE = [sys.executable, "-I", "-S"]  # without site-packages and without what the environment says


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zipapp")
    return zipapp.build(folder / "swarming-agent.pyz", SOURCE_DATE_EPOCH=EPOCH)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The address of a page on loopback."""
    (tmp_path / "index.html").write_text("hello")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def told(*command: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")


def test_it_says_the_projects_version(pyz: Path) -> None:
    project = tomllib.loads((zipapp.ROOT / "pyproject.toml").read_text())["project"]
    assert told(*BARE, pyz, "--version").stdout == project["version"] + "\n"


def test_it_starts_as_a_program_of_its_own(pyz: Path) -> None:
    assert os.access(pyz, os.X_OK)
    assert pyz.read_bytes().startswith(b"#!/usr/bin/env python3\n")


@pytest.mark.parametrize("python", ["this one", "3.13"])
def test_once_probes_with_a_bare_python(pyz: Path, site: str, python: str) -> None:
    bare = BARE if python == "this one" else [str(pythons.python_3_13()), "-I", "-S"]
    said = told(*bare, pyz, "once", "--json", "--allow-private", "127.0.0.0/8", site)
    assert said.returncode == 0, said.stderr
    (result,) = map(json.loads, said.stdout.splitlines())
    assert (result["target"], result["ok"], result["status"]) == (site, True, 200)


def test_the_journal_needs_no_library_of_the_machine(pyz: Path, tmp_path: Path) -> None:
    said = told(
        *(*BARE, "-c"),
        f"import sys; sys.path.insert(0, {str(pyz)!r})\n"
        "import paho.mqtt.client, sqlite_utils, agent.store\n"
        f"agent.store.Journal({str(tmp_path / 'journal.db')!r}, 'box').close()\n"
        "print(paho.mqtt.client.__file__, sqlite_utils.__file__, sep='\\n')",
    )
    assert said.returncode == 0, said.stderr
    assert all(line.startswith(str(pyz)) for line in said.stdout.splitlines())
    assert (tmp_path / "journal.db").exists()


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 10, 14)])
def test_a_python_that_is_too_old_gets_one_line(pyz: Path, version: tuple[int, ...]) -> None:
    name = f"python{version[0]}.{version[1]}"
    if (old := shutil.which(name)) and told(old, "--version").returncode == 0:
        said = told(old, pyz, "once")
    else:
        pretend = f"import runpy, sys; sys.version_info = {version}; "
        said = told(*BARE, "-c", pretend + f"runpy.run_path({str(pyz)!r}, run_name='__main__')")
    words = f"Python 3.11 or newer is needed, and this is {version[0]}.{version[1]}"
    assert said.stderr == f"swarming-agent: {words}\n"
    assert (said.returncode, said.stdout) == (2, "")


def test_the_same_sources_give_the_same_bytes(pyz: Path, tmp_path: Path) -> None:
    os.utime(zipapp.ROOT / "agent" / "__init__.py")
    again = zipapp.build(tmp_path / "again.pyz", SOURCE_DATE_EPOCH=EPOCH, TZ="Pacific/Auckland")
    assert again.read_bytes() == pyz.read_bytes()
    later = zipapp.build(tmp_path / "later.pyz", SOURCE_DATE_EPOCH="1800000000")
    with zipfile.ZipFile(later) as archive:
        assert {member.date_time for member in archive.infolist()} == {(2027, 1, 15, 8, 0, 0)}


def test_what_is_carried_brings_its_licence(pyz: Path) -> None:
    names = zipfile.ZipFile(pyz).namelist()
    carried = {name.split("/")[0].removesuffix(".py") for name in names}
    assert carried == {"__main__", "agent", "licences"} | {
        *("click", "dateutil", "paho", "pluggy", "six", "sqlite_fts4", "sqlite_utils")
    }
    licensed = {name.split("/")[1].rpartition("-")[0] for name in names if name[:9] == "licences/"}
    assert licensed == {
        *("click", "paho_mqtt", "pluggy", "python_dateutil", "six", "sqlite_fts4"),
        "sqlite_utils",
    }
    assert any("paho_mqtt" in name and name.endswith("edl-v10") for name in names)


def test_nothing_is_in_it_that_is_never_run(pyz: Path) -> None:
    names = zipfile.ZipFile(pyz).namelist()
    assert "sqlite_utils/cli.py" not in names
    assert all(name.endswith(".py") for name in names if not name.startswith("licences/"))
