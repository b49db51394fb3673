"""The .ipk packages for OpenWrt 24.10, read by a reader of the tests' own."""

from __future__ import annotations

import _imp
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent import VERSION
from tests import openwrt
from tests.package_readers import Read, read_ipk

MAGIC_3_11 = 3495
PYC = re.compile(r"(.*)/__pycache__/(\w+)\.cpython-311\.pyc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return openwrt.build("ipk", tmp_path_factory.mktemp("ipk"))


@pytest.fixture(scope="module")
def agent(folder: Path) -> Read:
    return read_ipk((folder / f"swarming-agent_{VERSION}-r1_all.ipk").read_bytes())


@pytest.fixture(scope="module")
def luci(folder: Path) -> Read:
    return read_ipk((folder / f"luci-app-swarming_{VERSION}-r1_all.ipk").read_bytes())


def test_the_same_sources_elsewhere_give_the_same_bytes(tmp_path: Path) -> None:
    for first, second in openwrt.built_twice("ipk", tmp_path):
        assert first == second


def test_it_says_what_opkg_wants_to_know(agent: Read, luci: Read) -> None:
    assert agent.info["Package"] == "swarming-agent"
    assert agent.info["Version"] == f"{VERSION}-r1"
    assert agent.info["Architecture"] == "all"
    assert agent.info["Require-User"] == "swarming=471:swarming=471"
    assert luci.info["Depends"] == "luci-base, swarming-agent"


def test_it_depends_on_the_parts_of_python_it_needs_and_on_no_more(agent: Read) -> None:
    parts = "light sqlite3 openssl logging urllib uuid decimal codecs paho-mqtt click pluggy"
    assert set(agent.info["Depends"].split(", ")) == {f"python3-{part}" for part in parts.split()}


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 10, 13)])
def test_an_older_python_says_so_in_a_line(
    agent: Read, tmp_path: Path, version: tuple[int, ...]
) -> None:
    agent.unpack(tmp_path)
    launch = tmp_path / "usr/lib/swarming/launch.py"
    code = f"import runpy, sys; sys.version_info = {version}; runpy.run_path({str(launch)!r})"
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False
    )
    words = f"Python 3.11 or newer is needed, and this is {version[0]}.{version[1]}"
    assert (ran.returncode, ran.stderr) == (2, f"swarming-agent: {words}\n")


def test_the_feed_says_the_same(agent: Read, luci: Read) -> None:
    makefile = (openwrt.FEED / "swarming-agent" / "Makefile").read_text().replace("\\\n", " ")
    depends = re.search(r"^  DEPENDS:=(.*)$", makefile, re.MULTILINE)
    assert depends and depends[1].replace("+", "").split() == agent.info["Depends"].split(", ")
    assert f"USERID:={agent.info['Require-User']}\n" in makefile
    assert f"PKG_VERSION:={VERSION}\n" in makefile and "PKG_RELEASE:=1\n" in makefile
    conffiles = re.search(r"define Package/swarming-agent/conffiles\n(.*?)endef", makefile, re.S)
    assert conffiles and conffiles[1] == agent.scripts["conffiles"]
    page = (openwrt.FEED / "luci-app-swarming" / "Makefile").read_text()
    assert "LUCI_DEPENDS:=+luci-base +swarming-agent\n" in page


def test_the_service_is_enabled_by_openwrts_own_scripts(agent: Read) -> None:
    assert "default_postinst $0 $@" in agent.scripts["postinst"]
    assert "default_prerm $0 $@" in agent.scripts["prerm"]
    for script in ("postinst", "prerm"):
        assert agent.scripts[script].startswith("#!/bin/sh\n")
    assert agent.scripts["conffiles"] == "/etc/config/swarming\n"


def test_all_is_roots_and_of_one_time(agent: Read) -> None:
    for one in agent.files.values():
        assert (one.user, one.group, one.mtime) == ("0", "0", openwrt.EPOCH_S)
        assert one.mode == (0o755 if one.content is None else one.mode)
    may_run = {path for path, one in agent.files.items() if one.content and one.mode & 0o111}
    assert may_run == {
        "etc/init.d/swarming-agent",
        "etc/uci-defaults/60-swarming",
        "usr/bin/swarming-agent",
        "usr/libexec/swarming-link",
    }


def test_every_module_has_bytecode_that_is_never_questioned(agent: Read) -> None:
    sources = {path for path in agent.files if path.endswith(".py")}
    compiled = {path for path in agent.files if path.endswith(".pyc")}
    made_of = {path: PYC.fullmatch(path) for path in compiled}
    assert {f"{m[1]}/{m[2]}.py" for m in made_of.values() if m} == sources
    for path, found in made_of.items():
        assert found
        content = agent.files[path].content or b""
        assert content[:4] == MAGIC_3_11.to_bytes(2, "little") + b"\r\n"
        assert content[4:8] == bytes([1, 0, 0, 0]), "unchecked-hash"
        source = agent.files[f"{found[1]}/{found[2]}.py"].content or b""
        key = int.from_bytes(content[:4], "little")
        assert content[8:16] == _imp.source_hash(key, source)


def test_what_it_carries_has_its_licences(agent: Read) -> None:
    vendor = "usr/lib/swarming/vendor/"
    carried = {path.removeprefix(vendor) for path in agent.files if path.startswith(vendor)}
    assert {path.split("/")[0] for path in carried} == {
        "__pycache__", "dateutil", "licences", "six.py", "sqlite_fts4", "sqlite_utils",
    }  # fmt: skip
    assert len([path for path in carried if path.endswith("/LICENSE")]) == 4
    assert "sqlite_utils/cli.py" not in carried and "sqlite_utils/db.py" in carried


def test_a_tree_without_the_journal_is_kept_at_an_upgrade_of_the_system(agent: Read) -> None:
    kept = (agent.files["lib/upgrade/keep.d/swarming-agent"].content or b"").decode().split()
    assert "/etc/swarming/agent.swarm" in kept and "/etc/swarming/state/name" in kept
    assert not any("journal" in path for path in kept)
    assert not any(path.endswith(("/", "*")) for path in kept)


OPKG_CONF = """arch all 1
dest root /
option info_dir /usr/lib/opkg/info
option status_file /usr/lib/opkg/status
"""


def test_opkg_itself_installs_upgrades_and_removes_it(folder: Path, tmp_path: Path) -> None:
    opkg = shutil.which("opkg")
    if opkg is None:
        pytest.skip("this machine has no opkg, which is optional")
    root = openwrt.busybox_root(tmp_path / "root")
    openwrt.with_libraries(root, opkg, "usr/bin/opkg")
    (root / "usr" / "lib" / "opkg" / "info").mkdir(parents=True)
    (root / "usr" / "opkg.conf").write_text(OPKG_CONF)
    for packages in (folder, openwrt.build("ipk", tmp_path / "r2", openwrt.newer(tmp_path / "2"))):
        shutil.copy(next(packages.glob("swarming-agent_*")), root / "usr")
    said = openwrt.run_in(
        root,
        f"""
        trap 'cat /tmp/said >&2' EXIT
        opkg="opkg -f /usr/opkg.conf --nodeps"
        $opkg install /usr/swarming-agent_{VERSION}-r1_all.ipk > /tmp/said 2>&1
        echo "user $(grep swarming /etc/passwd)"
        echo "enabled $(ls /etc/rc.d)"
        echo "range $(cat /proc/sys/net/ipv4/ping_group_range)"
        echo "    list broker 'mqtt://here'" >> /etc/config/swarming
        PKG_UPGRADE=1 $opkg install /usr/swarming-agent_{VERSION}-r2_all.ipk >> /tmp/said 2>&1
        echo "release $(cat /usr/lib/swarming/RELEASE)" "$(tail -1 /etc/config/swarming)"
        mkdir -p /etc/swarming/state && touch /etc/swarming/state/journal.db
        $opkg remove swarming-agent >> /tmp/said 2>&1
        echo "left" $(ls -d /usr/lib/swarming /etc/rc.d/S95* /etc/sysctl.d/60* 2> /dev/null)
        ls /etc/swarming/state /etc/config
        """,
    )
    assert said.splitlines() == [
        "user swarming:x:471:471:swarming:/var/run/swarming:/bin/false",
        "enabled S95swarming-agent",
        "range 471\t471",
        f"release {VERSION}-r2     list broker 'mqtt://here'",
        "left",
        "/etc/config:",
        "swarming",
        "swarming-opkg",
        "",
        "/etc/swarming/state:",
        "journal.db",
    ]
