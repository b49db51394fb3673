"""The Debian packages as files: what is in them, as Debian's own tools read it."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import debs, needs
from tests.debs import ROOT, SIDES, Debs

EPOCH_S = 1_790_000_000
MOST_EXPOSED = {"swarming-agent": 1.5, "swarming-indexer": 1.2, "swarming-agent-link": 2.5}
SYSTEMD = ROOT / "packaging" / "systemd"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Debs:
    return debs.build(tmp_path_factory.mktemp("dist"), epoch_s=EPOCH_S)


@pytest.fixture(scope="module", params=SIDES)
def deb(built: Debs, request: pytest.FixtureRequest) -> Path:
    return built[SIDES.index(request.param)]


@pytest.fixture(scope="module")
def folders(built: Debs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where each side's package is unpacked."""
    needs.tool("dpkg-deb")
    made = {side: tmp_path_factory.mktemp(side) for side in SIDES}
    for side, deb in zip(SIDES, built, strict=True):
        subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(made[side])], check=True)
    return made


@pytest.fixture(params=SIDES)
def unpacked(folders: dict[str, Path], request: pytest.FixtureRequest) -> Path:
    return folders[request.param]


def side_of(folder: Path) -> str:
    return next(side for side in SIDES if (folder / f"usr/bin/swarming-{side}").exists())


def printed(*command: str | Path) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_same_sources_give_the_same_bytes_elsewhere_and_at_another_time(
    built: Debs, tmp_path: Path
) -> None:
    mask = os.umask(0o077)
    try:
        sources = debs.copy_of_the_sources(tmp_path / "sources")
        again = debs.build(tmp_path / "dist", sources=sources, epoch_s=EPOCH_S)
    finally:
        os.umask(mask)
    assert [path.name for path in again] == [path.name for path in built]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in built]


def test_dpkg_reads_what_it_is(deb: Path) -> None:
    needs.tool("dpkg-deb")
    name, version, kind = deb.stem.split("_")
    fields = printed("dpkg-deb", "--field", deb, "Package", "Version", "Architecture")
    assert fields.split() == ["Package:", name, "Version:", version, "Architecture:", kind]
    description = printed("dpkg-deb", "--field", deb, "Description").splitlines()
    assert len(description[0]) <= 60 and not description[0].startswith(("a ", "A ", "the "))
    assert all(line.startswith(" ") and len(line) <= 80 for line in description[1:])
    assert re.search(r"<\S+@\S+>$", printed("dpkg-deb", "--field", deb, "Maintainer").strip())


def test_everything_in_it_is_roots_and_nobody_elses_to_write(deb: Path) -> None:
    listed = [line.split() for line in printed("dpkg-deb", "--contents", deb).splitlines()]
    assert {line[1] for line in listed} == {"root/root"}
    assert {line[0] for line in listed} <= {"drwxr-xr-x", "drwx------", "-rw-r--r--", "-rwxr-xr-x"}
    assert not [line for line in listed if "__pycache__" in line[-1] or ".pyc" in line[-1]]


def test_what_dpkg_is_told_of_the_files_is_true(unpacked: Path) -> None:
    control = unpacked / "DEBIAN"
    files = {str(path.relative_to(unpacked)): path.read_bytes() for path in unpacked.rglob("*")
             if path.is_file() and path.parent != control}  # fmt: skip
    told = dict(line.split("  ")[::-1] for line in (control / "md5sums").read_text().splitlines())
    assert told == {path: hashlib.md5(content).hexdigest() for path, content in files.items()}
    side = side_of(unpacked)
    assert (control / "conffiles").read_text() == f"/etc/swarming/{side}.toml\n"
    assert [path for path in files if path.startswith("etc/")] == [f"etc/swarming/{side}.toml"]
    folders = sum(path.is_dir() for path in unpacked.rglob("*")) - 1
    size = sum(-(-len(content) // 1024) for content in files.values()) + folders
    found = re.search(r"^Installed-Size: (\d+)$", (control / "control").read_text(), re.MULTILINE)
    assert found is not None and abs(int(found[1]) - size) <= len(files)


def test_the_documents_that_help_names_are_in_it(folders: dict[str, Path]) -> None:
    source = "".join(path.read_text() for path in (ROOT / "indexer").rglob("*.py"))
    named = {
        "agent": {"docs/debian.md", "docs/links.md"},
        "indexer": {"docs/operator.md", *re.findall(r"docs/\w+\.md", source)},
    }
    for side, paths in named.items():
        home = folders[side] / f"usr/share/doc/swarming-{side}"
        assert [path for path in ("README.md", *paths) if not (home / path).exists()] == []


def test_its_scripts_are_sh(unpacked: Path) -> None:
    for name in ("postinst", "prerm", "postrm"):
        script = unpacked / "DEBIAN" / name
        assert script.stat().st_mode & 0o777 == 0o755
        printed("sh", "-n", script)


@pytest.mark.parametrize(
    ("side", "state"),
    [("agent", "/var/lib/private/swarming"), ("indexer", "/var/lib/swarming-indexer")],
)
def test_purged_it_empties_a_disk_that_is_mounted_on_its_state(side: str, state: str) -> None:
    needs.namespaces()
    postrm = ROOT / "packaging" / "debian" / side / "postrm"
    script = f"""
    exec 9< {postrm}
    mount --make-rprivate /
    for folder in /etc /var/lib /run; do mount -t tmpfs tmpfs $folder; done
    mkdir -p {state} /etc/swarming /etc/systemd/system/swarming-{side}.service.d
    mount -t tmpfs tmpfs {state}
    touch {state}/journal.db
    sh /dev/fd/9 purge
    find /etc /var/lib -name "*swarming*" -o -name "*.db"
    """
    left = printed("unshare", "--mount", "--fork", "sh", "-ec", script).split()
    assert [path for path in left if "deb-systemd-helper" not in path] == [state]


def test_purged_the_agent_deletes_no_store_of_an_indexer() -> None:
    needs.namespaces()
    postrm = ROOT / "packaging" / "debian" / "agent" / "postrm"
    script = f"""
    exec 9< {postrm}
    mount --make-rprivate /
    for folder in /etc /var/lib /run; do mount -t tmpfs tmpfs $folder; done
    mkdir -p /var/lib/private/swarming /etc/swarming
    ln -s private/swarming /var/lib/swarming
    cd /var/lib/swarming
    touch swarming.db swarming.db-wal journal.db journal.db-wal name control.json
    sh /dev/fd/9 purge
    find /var/lib/private/ -type f
    """
    left = printed("unshare", "--mount", "--fork", "sh", "-ec", script).split()
    stores = ["swarming.db", "swarming.db-wal"]
    assert sorted(left) == [f"/var/lib/private/swarming/{name}" for name in stores]


def test_it_has_what_debian_wants_of_every_package(unpacked: Path) -> None:
    name = f"swarming-{side_of(unpacked)}"
    docs = unpacked / "usr/share/doc" / name
    assert "License: Expat" in (docs / "copyright").read_text()
    changes = gzip.decompress((docs / "changelog.gz").read_bytes()).decode()
    path = docs / "changelog"
    path.write_text(changes)
    needs.tool("dpkg-parsechangelog")
    assert f"Source: {name}\n" in printed("dpkg-parsechangelog", f"-l{path}")
    assert (unpacked / f"usr/share/man/man1/{name}.1.gz").stat().st_size > 1000


def test_the_agent_carries_its_own_code_and_nothing_else(folders: dict[str, Path]) -> None:
    home = folders["agent"] / "usr/lib/swarming"
    carried = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    own = {str(path.relative_to(ROOT)) for path in (ROOT / "agent").rglob("*.py")}
    assert carried == own
    assert debs.depends("agent") == ["python3", "python3-paho-mqtt", "sqlite-utils"]


def test_all_of_the_indexer_can_be_imported_from_what_it_carries(folders: dict[str, Path]) -> None:
    """What Debian brings comes from this Python; paho must not, nor the agent's rooms."""
    home = folders["indexer"] / "usr/lib/swarming-indexer"
    names = [".".join(path.relative_to(home).with_suffix("").parts)
             for path in (home / "indexer").rglob("*.py")]  # fmt: skip
    code = (
        f"import sys, importlib; sys.path[:0] = [{str(home)!r}, {str(home / 'vendor')!r}]\n"
        f"for name in {names!r}: importlib.import_module(name.removesuffix('.__init__'))\n"
        "for name in ('agent.wire', 'paho.mqtt', 'starlette', 'uvicorn', 'elasticsearch',"
        " 'opensearchpy', 'anyio'): print(importlib.import_module(name).__file__)\n"
    )
    for line in printed(sys.executable, "-I", "-c", code).splitlines():
        assert line.startswith(str(home)), line
    locked = (ROOT / "packaging/debian/indexer.lock").read_text().splitlines()
    licences = list((home / "vendor" / "licences").iterdir())
    assert len(licences) == sum(line[:1].isalpha() for line in locked)


def test_the_page_has_what_it_draws_with(folders: dict[str, Path]) -> None:
    home = folders["indexer"] / "usr/lib/swarming-indexer"
    assert (home / "vendor/youplot/vendor/uplot.iife.min.js").stat().st_size > 10_000
    for folder in ("static", "templates"):
        there = {path.name for path in (home / "indexer/web" / folder).iterdir()}
        assert there == {path.name for path in (ROOT / "indexer/web" / folder).iterdir()}


@pytest.mark.parametrize("unit", MOST_EXPOSED)
def test_a_unit_is_as_little_exposed_as_is_told(unit: str) -> None:
    needs.tool("systemd-analyze")
    path = SYSTEMD / f"{unit}.service"
    told = printed("systemd-analyze", "security", "--no-pager", "--offline=true", path)
    line = told.splitlines()[-1]
    print(line)
    assert float(line.split(": ")[1].split()[0]) <= MOST_EXPOSED[unit]


def test_systemd_finds_nothing_wrong_with_the_units(unpacked: Path) -> None:
    needs.tool("systemd-analyze")
    units = sorted((unpacked / "usr/lib/systemd/system").iterdir())
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, units)],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in ran.stderr.splitlines() if "is not executable" not in line]
    assert said == [], "the commands are not on this machine; all else is well"


@pytest.mark.parametrize("side", SIDES)
def test_the_manual_is_well_made_and_tells_every_command_and_option(side: str) -> None:
    needs.tool("groff")
    name = f"swarming-{side}"
    page = ROOT / "packaging" / "debian" / side / f"{name}.1"
    ran = subprocess.run(
        ["groff", "-mdoc", "-ww", "-Tutf8", "-K", "utf8", str(page)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "GROFF_NO_SGR": "1"},
    )
    assert ran.stderr == ""
    text = re.sub(".\b", "", ran.stdout).replace("\u2010\n", "").replace("\u2010", "-")
    for command in commands(side):
        assert re.search(rf"^ +{' '.join(command)}\b", text, re.MULTILINE), command
        for option in set(re.findall(r"(?<![\w-])--[a-z-]+", helped(side, *command))):
            assert option in text or option == "--help", f"{name} {command} {option}"


def helped(side: str, *command: str) -> str:
    words = [sys.executable, "-m", f"{side}.cli", *command, "--help"]
    ran = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT,
                         env={**os.environ, "COLUMNS": "300"})  # fmt: skip
    return ran.stdout.partition("Each option may also")[0]


def commands(side: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [(word,) for word in listed(helped(side))]
    if ("ca",) in found:
        found.remove(("ca",))
        found += [("ca", word) for word in listed(helped(side, "ca"))]
    assert len(found) > 5
    return found


def listed(text: str) -> list[str]:
    """The commands that a help lists, one a line, indented."""
    part = text.partition("commands:\n")[2] or text.partition("positional arguments:\n")[2]
    part = part.partition("\n\n")[0]
    return re.findall(r"^ {2,4}([a-z]+)(?: |$)", part, re.MULTILINE)
