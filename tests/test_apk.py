"""The .apk packages for OpenWrt 25.12, read by a reader of the tests' own."""

from __future__ import annotations

import _imp
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from agent import VERSION
from tests import openwrt, openwrt_python, pythons
from tests.package_readers import Read, read_apk

MAGIC_3_13 = 3571
LISTS = "lib/apk/packages/swarming-agent"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return openwrt.build("apk", tmp_path_factory.mktemp("apk"))


@pytest.fixture(scope="module")
def agent(folder: Path) -> Read:
    return read_apk((folder / f"swarming-agent-{VERSION}-r1.apk").read_bytes())


def text(package: Read, path: str) -> str:
    return (package.files[path].content or b"").decode()


def test_the_same_sources_elsewhere_give_the_same_bytes(tmp_path: Path) -> None:
    for first, second in openwrt.built_twice("apk", tmp_path):
        assert first == second


def test_it_says_what_apk_wants_to_know(agent: Read, folder: Path) -> None:
    assert agent.info["name"] == "swarming-agent"
    assert agent.info["version"] == f"{VERSION}-r1"
    assert agent.info["arch"] == "noarch"
    size = sum(len(one.content or b"") for one in agent.files.values())
    assert agent.info["installed-size"] == size
    luci = read_apk((folder / f"luci-app-swarming-{VERSION}-r1.apk").read_bytes())
    assert luci.info["depends"] == ["luci-base", "swarming-agent"]


def test_it_depends_on_the_parts_of_python_it_needs_and_on_no_more(agent: Read) -> None:
    parts = "light sqlite3 openssl logging urllib uuid decimal codecs paho-mqtt click pluggy"
    assert set(agent.info["depends"]) == {f"python3-{part}" for part in parts.split()}


def test_the_lists_by_which_openwrt_enables_and_configures_it(agent: Read) -> None:
    files = [f"/{path}" for path, one in agent.files.items() if one.content is not None]
    listed = text(agent, f"{LISTS}.list").splitlines()
    assert listed == sorted(path for path in files if not path.startswith(f"/{LISTS}"))
    assert "/etc/init.d/swarming-agent" in listed
    assert text(agent, f"{LISTS}.conffiles") == "/etc/config/swarming\n"
    config = agent.files["etc/config/swarming"].content or b""
    assert text(agent, f"{LISTS}.conffiles_static") == (
        f"/etc/config/swarming {hashlib.sha256(config).hexdigest()}\n"
    )
    assert text(agent, f"{LISTS}.rusers") == "swarming=471:swarming=471\n"


def test_the_scripts_are_openwrts(agent: Read) -> None:
    assert set(agent.scripts) == {"post-install", "post-upgrade", "pre-deinstall"}
    for script in agent.scripts.values():
        assert script.startswith("#!/bin/sh\n") and '"swarming-agent"' in script
    assert agent.scripts["post-install"].endswith("\nadd_group_and_user\ndefault_postinst\n")
    assert "PKG_UPGRADE=1" not in agent.scripts["post-install"]
    assert agent.scripts["post-upgrade"].splitlines()[1] == "export PKG_UPGRADE=1"
    assert "\ndefault_prerm\n" in agent.scripts["pre-deinstall"]


def test_all_is_roots_and_of_one_time(agent: Read) -> None:
    for one in agent.files.values():
        assert (one.user, one.group) == ("root", "root")
        assert one.mode in (0o644, 0o755)
        if one.content is None:
            assert (one.mode, one.mtime) == (0o755, None)
        else:
            assert one.mtime == openwrt.EPOCH_S
    assert agent.files["etc/init.d/swarming-agent"].mode == 0o755


def test_every_module_has_the_bytecode_of_python_3_13(agent: Read) -> None:
    sources = {path for path in agent.files if path.endswith(".py")}
    for path in sources:
        parent, name = path.rsplit("/", 1)
        cached = f"{parent}/__pycache__/{name.removesuffix('.py')}.cpython-313.pyc"
        content = agent.files[cached].content or b""
        assert content[:4] == MAGIC_3_13.to_bytes(2, "little") + b"\r\n"
        assert content[4:8] == bytes([1, 0, 0, 0]), "unchecked-hash"
        key = int.from_bytes(content[:4], "little")
        assert content[8:16] == _imp.source_hash(key, agent.files[path].content or b"")


@pytest.mark.parametrize("at", range(0, 4000, 397))
def test_the_reader_notices_a_byte_that_is_not_right(at: int, folder: Path) -> None:
    data = (folder / f"swarming-agent-{VERSION}-r1.apk").read_bytes()
    content = bytearray(zlib.decompress(data[4:], -15))
    where = 8 + 4 + at  # within the database
    content[where] ^= 0x41
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
    spoilt = data[:4] + deflate.compress(bytes(content)) + deflate.flush()
    with pytest.raises((AssertionError, KeyError, ValueError, TypeError, struct.error)):
        read_apk(spoilt)


def test_apk_itself_installs_upgrades_and_removes_it(folder: Path, tmp_path: Path) -> None:
    if shutil.which("apk") is None:
        pytest.skip("this machine has no apk, which is optional")
    root = openwrt.busybox_root(tmp_path / "root")
    newer = openwrt.build("apk", tmp_path / "r2", openwrt.newer(tmp_path / "2"))
    depends = read_apk((folder / f"swarming-agent-{VERSION}-r1.apk").read_bytes()).info["depends"]
    stubs = " ".join(map(str, openwrt.stubs(tmp_path / "stubs", depends)))
    (tmp_path / "none").touch()
    apk = f"{shutil.which('apk')} --root $ROOT --arch x86_64 --allow-untrusted --no-network"
    apk += f" --force-non-repository --repositories-file {tmp_path}/none"
    said = openwrt.run_in(
        root,
        "ls /etc/config",
        before=f"""
        apk="{apk}"
        $apk --initdb add {stubs} {folder}/swarming-agent-{VERSION}-r1.apk >&2
        cd $ROOT
        echo "user $(grep swarming etc/passwd)"
        echo "enabled $(ls etc/rc.d)"
        echo "range $(cat proc/sys/net/ipv4/ping_group_range)"
        echo "    list broker 'mqtt://here'" >> etc/config/swarming
        $apk add {newer}/swarming-agent-{VERSION}-r2.apk >&2
        echo "release $(cat usr/lib/swarming/RELEASE)" "$(tail -1 etc/config/swarming)"
        $apk audit --system >&2 || true
        mkdir -p etc/swarming/state && touch etc/swarming/state/journal.db
        $apk del swarming-agent >&2
        echo left $(ls -d usr/lib/swarming etc/rc.d/S95* etc/sysctl.d/60* 2> /dev/null)
        ls etc/swarming/state
        """,
    )
    assert said.splitlines() == [
        "user swarming:x:471:471:swarming:/var/run/swarming:/bin/false",
        "enabled S95swarming-agent",
        "range 471\t471",
        f"release {VERSION}-r2     list broker 'mqtt://here'",
        "left",
        "journal.db",
        "swarming",
    ]


def test_without_that_python_it_says_so_and_can_be_told_to_do_without(tmp_path: Path) -> None:
    command = [sys.executable, str(openwrt.ROOT / "packaging" / "build" / "apk.py")]
    command += ["--out", str(tmp_path)]
    environ = {**os.environ, "SWARMING_PYTHON_3_13": "/nowhere/python"}
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (1, "", 1)
    assert "SWARMING_PYTHON_3_13=/path" in ran.stderr and "--without-bytecode" in ran.stderr
    subprocess.run([*command, "--without-bytecode"], env=environ, check=True)
    plain = read_apk((tmp_path / f"swarming-agent-{VERSION}-r1.apk").read_bytes())
    assert not any(path.endswith(".pyc") for path in plain.files)


def test_its_tree_runs_on_python_3_13_from_the_bytecode(agent: Read, tmp_path: Path) -> None:
    agent.unpack(tmp_path)
    launch = tmp_path / "usr" / "lib" / "swarming" / "launch.py"
    ran = subprocess.run(
        [str(pythons.python_3_13()), "-B", "-v", str(launch), "run", "--help"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(openwrt_python.feed())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0 and "--journal FILE" in ran.stdout
    loaded = re.findall(r"code object from '?([^'\n]*/swarming/agent/[^'\n]*)", ran.stderr)
    assert len(loaded) > 5
    assert all(path.endswith(".cpython-313.pyc") for path in loaded)
