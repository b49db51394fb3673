"""The installed tree in a root: its init script under BusyBox, the agent by the listed parts."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from agent import VERSION, config, flags
from tests import needs, openwrt, openwrt_python
from tests.package_readers import Read, read_ipk

JOINED = "mkdir -p /etc/swarming; echo 'name = \"router-1\"' > /etc/swarming/agent.swarm\n"
PARTS = ("light", "sqlite3", "openssl", "logging", "urllib", "uuid", "decimal", "codecs")
STATE = "/etc/swarming/state"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Read:
    folder = openwrt.build("ipk", tmp_path_factory.mktemp("ipk"))
    return read_ipk((folder / f"swarming-agent_{VERSION}-r1_all.ipk").read_bytes())


@pytest.fixture(scope="module")
def root(package: Read, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree, installed beside BusyBox; the user is there."""
    needs.namespaces()
    root = openwrt.busybox_root(tmp_path_factory.mktemp("tree") / "root")
    package.unpack(root)
    with open(root / "etc" / "passwd", "a") as file:
        file.write("swarming:x:471:471:swarming:/var/run/swarming:/bin/false\n")
    with open(root / "etc" / "group", "a") as file:
        file.write("swarming:x:471:\n")
    return root


@pytest.fixture(scope="module")
def with_python(root: Path) -> Path:
    """The same root with a Python, too."""
    copy = root.with_name("with-python")
    shutil.copytree(root, copy, symlinks=True)
    openwrt_python.install(copy, PARTS)
    return copy


class Told(NamedTuple):
    """What procd was told, and the log."""

    instances: dict[str, dict[str, list[str]]]
    others: list[list[str]]
    log: str

    @property
    def command(self) -> list[str]:
        return self.instances["agent"]["command"]

    def flag(self, name: str) -> str | None:
        found = [word for word in self.command if word.startswith(f"--{name}=")]
        assert len(found) < 2
        return found[0].partition("=")[2] if found else None


def told(said: str) -> Told:
    procd, _, log = said.partition("== the log ==\n")
    instances: dict[str, dict[str, list[str]]] = {}
    others: list[list[str]] = []
    current: dict[str, list[str]] | None = None
    for line in procd.splitlines():
        word, *rest = line.split("\t")
        if word == "instance":
            current = instances[rest[0]] = {}
        elif word == "end":
            current = None
        elif current is None:
            others.append([word, *rest])
        elif word.startswith("more ") or word in ("mount", "mount rw"):
            current.setdefault(word.removeprefix("more "), []).extend(rest)
        else:
            assert word not in current, f"{word} is told twice"
            current[word] = rest
    return Told(instances, others, log)


def start(
    root: Path, config: str = "", before: str = JOINED, size: str = "64m", outside: str = ""
) -> Told:
    """The service started with these lines more in its section of UCI."""
    script = f"""
    printf '%s\\n' {shlex.quote(config)} >> /etc/config/swarming
    {before}
    /etc/init.d/swarming-agent start > /tmp/printed 2>&1
    test ! -s /tmp/printed || {{ cat /tmp/printed >&2; exit 1; }}
    cat /tmp/procd
    echo "== the log =="
    cat /tmp/log 2> /dev/null || true
    """
    return told(openwrt.run_in(root, script, size, outside))


# --- the service ---------------------------------------------------------------------------------


def test_a_box_in_no_swarm_starts_nothing_and_says_what_to_do(root: Path) -> None:
    for before in ("", "mkdir -p /etc/swarming; : > /etc/swarming/agent.swarm"):
        said = start(root, before=before)
        assert said.instances == {}
        assert "swarming-agent join" in said.log


def test_a_box_that_has_joined_needs_no_other_setting(root: Path) -> None:
    said = start(root)
    assert said.command[:2] == ["/usr/bin/swarming-agent", "run"]
    assert said.flag("swarm") == "/etc/swarming/agent.swarm"
    assert said.flag("journal") == f"{STATE}/journal.db"
    assert said.flag("flush") == "60"
    assert len(said.command) == 6
    assert said.log == ""


def test_it_starts_late_without_a_network_as_a_user_of_its_own_and_for_ever(root: Path) -> None:
    agent = start(root).instances["agent"]
    assert agent["user"] == agent["group"] == ["swarming"]
    assert agent["respawn"] == ["3600", "5", "0"]
    assert agent["stdout"] == agent["stderr"] == agent["no_new_privs"] == ["1"]
    script = (root / "etc" / "init.d" / "swarming-agent").read_text()
    assert "\nSTART=95\n" in script and "\nUSE_PROCD=1\n" in script
    assert openwrt.run_in(root, "/etc/init.d/swarming-agent enable; ls /etc/rc.d") == (
        "S95swarming-agent\n"
    )


def test_the_membership_is_roots_and_the_agent_may_read_it(root: Path) -> None:
    said = openwrt.run_in(
        root,
        f"""{JOINED}
        chmod 600 /etc/swarming/agent.swarm
        /etc/init.d/swarming-agent start
        stat -c "%U:%G %a" /etc/swarming/agent.swarm {STATE}""",
    )
    assert said == "root:swarming 640\nswarming:swarming 700\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("option name 'attic'", ["--name=attic"]),
        ("option place 'Paris, 3e étage'", ["--place=Paris, 3e étage"]),
        ('option isp "L\'autre"', ["--isp=L'autre"]),
        ("option link 'vdsl'", ["--link=vdsl"]),
        ("option pages 'none'", ["--pages=none"]),
        ("option mqtt '3.1.1'", ["--mqtt=3.1.1"]),
        ("option budget '200MB'", ["--budget=200MB"]),
        ("option max_rows '5000'", ["--max-rows=5000"]),
        ("option max_bytes '2MB'", ["--max-bytes=2MB"]),
        ("option flush '5'", ["--flush=5"]),
        ("option log_level 'debug'", ["--log-level=debug"]),
        ("option swarm '/etc/passwd'", ["--swarm=/etc/passwd"]),
        ("option ca '/etc/hosts'", ["--ca=/etc/hosts"]),
        ("option cert '/etc/hosts'", ["--cert=/etc/hosts"]),
        ("option key '/etc/hosts'", ["--key=/etc/hosts"]),
        (
            "list targets 'example.org http://a.example/'",
            ["--targets=example.org http://a.example/"],
        ),
        (
            "list allow_private '10.1.0.0/16'\nlist allow_private 'fd00::/8'",
            ["--allow-private=10.1.0.0/16", "--allow-private=fd00::/8"],
        ),
        ("list deny '192.0.2.0/24'", ["--deny=192.0.2.0/24"]),
        ("list broker 'mqtts://a:8883'\nlist broker 'b'", ["mqtts://a:8883", "b"]),
        ("option name '--flush=0'", ["--name=--flush=0"]),
        ("option place '$(touch /tmp/oops) `id` * ?'", ["--place=$(touch /tmp/oops) `id` * ?"]),
    ],
)
def test_uci_becomes_flags(root: Path, line: str, words: list[str]) -> None:
    plain, asked = start(root).command, start(root, line).command
    assert [word for word in asked if word not in plain] == words
    parser = argparse.ArgumentParser()
    flags.add(parser, "run")
    parser.parse_intermixed_args(asked[2:])


def test_every_option_of_the_agent_is_one_of_uci(root: Path) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    config.add_options(parser)
    names = {action.dest for action in parser._actions} - {"config"}  # UCI takes its place
    lists = {"targets", "allow_private", "deny", "at"}
    values = dict.fromkeys(names, "/etc/hosts") | {"journal": "flash"}
    lines = [f"{'list' if name in lists else 'option'} {name} '{values[name]}'" for name in names]
    said = start(root, "\n".join(lines), before="")
    words = said.command + said.instances["link"]["command"]
    assert {f"--{name.replace('_', '-')}" for name in names} <= {
        word.partition("=")[0] for word in words
    }


def test_every_option_is_in_the_documentation(root: Path) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    config.add_options(parser)
    names = {action.dest for action in parser._actions} - {"config"} | {"enabled", "broker"}
    text = (openwrt.ROOT / "docs" / "openwrt.md").read_text()
    documented = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", text, re.M))))
    assert names <= documented


def test_a_service_that_is_off_starts_nothing(root: Path) -> None:
    said = start(root, "option enabled '0'")
    assert (said.instances, said.log) == ({}, "")


def test_a_change_of_settings_or_a_new_link_reaches_the_agent(root: Path) -> None:
    said = start(root)
    assert ["trigger config", "swarming"] in said.others
    assert ["trigger raw", "interface.*.up", "2000", "/etc/init.d/swarming-agent", "again"] in (
        said.others
    )
    assert said.instances["agent"]["file"] == [
        "/usr/lib/swarming/RELEASE",
        "/etc/swarming/agent.swarm",
    ]
    script = "/etc/init.d/swarming-agent again; cat /tmp/procd"
    assert openwrt.run_in(root, script) == "signal\tswarming-agent\t*\tHUP\n"


# --- the jail ------------------------------------------------------------------------------------


def test_with_ujail_the_agent_is_in_a_jail_with_one_capability(root: Path) -> None:
    ujail = "mkdir -p /sbin; touch /sbin/ujail; chmod 755 /sbin/ujail; : > /etc/mine.pem\n"
    said = start(root, "option ca '/etc/mine.pem'", before=JOINED + ujail)
    agent = said.instances["agent"]
    assert agent["jail"] == ["swarming-agent", "log", "ubus", "procfs", "sysfs"]
    assert agent["mount rw"] == [STATE]
    assert {
        "/usr/lib",
        "/lib",
        "/etc/swarming",
        "/var/run/swarming",
        "/usr/bin",
        "/etc/mine.pem",
    } <= (set(agent["mount"]))
    capabilities = json.loads((root / agent["capabilities"][0].lstrip("/")).read_text())
    assert set(capabilities) == {"bounding", "effective", "ambient", "permitted", "inheritable"}
    assert all(each == ["CAP_NET_RAW"] for each in capabilities.values())


def test_without_ujail_nothing_is_said_of_jails(root: Path) -> None:
    agent = start(root).instances["agent"]
    assert not {"jail", "mount", "mount rw", "capabilities"} & set(agent)


# --- where the journal is ------------------------------------------------------------------------


def kilobytes(said: Told) -> int:
    return int((said.flag("max-bytes") or "").removesuffix("kB"))


def test_on_flash_the_journal_has_a_tenth_of_what_is_free(root: Path) -> None:
    assert 3000 < kilobytes(start(root, size="48m")) < 4800


def test_on_flash_the_journal_never_has_more_than_8_mb(root: Path) -> None:
    assert kilobytes(start(root, size="400m")) == 8000


def test_a_journal_that_is_there_does_not_count_against_itself(root: Path) -> None:
    fill = f"mkdir -p {STATE}; head -c 4000000 /dev/zero > {STATE}/journal.db\n"
    empty, filled = start(root, size="48m"), start(root, size="48m", before=JOINED + fill)
    assert abs(kilobytes(empty) - kilobytes(filled)) < 100


NAMED = f"mkdir -p {STATE}; echo attic > {STATE}/name\n"
MEMORY = "mount -t tmpfs -o size=30m tmpfs $ROOT/tmp"


def test_where_flash_is_full_the_journal_is_in_memory_and_it_is_said(root: Path) -> None:
    fill = "free=$(df -Pk / | awk 'NR == 2 { print $4 }')\n"
    fill += "head -c $(((free - 5000) * 1024)) /dev/zero > /filler\n"
    said = start(root, before=JOINED + NAMED + fill, outside=MEMORY)
    assert said.flag("journal") == "/var/lib/swarming/journal.db"
    assert 2000 < kilobytes(said) < 3100
    assert f"{STATE}: too little room; the journal is in memory" in said.log


def test_a_journal_in_memory_by_the_owners_wish_is_capped_by_memory(root: Path) -> None:
    said = start(root, "option journal 'tmpfs'", before=JOINED + NAMED, outside=MEMORY)
    assert said.flag("journal") == "/var/lib/swarming/journal.db"
    assert 2000 < kilobytes(said) < 3100
    assert said.log == ""


def test_a_disk_of_its_own_has_no_cap_and_the_service_waits_for_it(root: Path) -> None:
    usb = "mkdir -p $ROOT/mnt/usb; mount -t tmpfs -o size=900m tmpfs $ROOT/mnt/usb"
    line = "option journal '/mnt/usb/swarming/'"
    said = start(root, line, before=JOINED + NAMED, outside=usb)
    assert said.flag("journal") == "/mnt/usb/swarming/journal.db"
    assert said.flag("max-bytes") is None
    assert ["trigger mount", "/mnt/usb/swarming/"] in said.others


def test_a_place_that_cannot_be_had_is_said(root: Path) -> None:
    said = start(root, "option journal '/etc/hosts'", before=JOINED + NAMED, outside=MEMORY)
    assert said.flag("journal") == "/var/lib/swarming/journal.db"
    assert "/etc/hosts: cannot be given to the agent" in said.log
    said = start(root, "option journal 'usb'")
    assert said.flag("journal") == f"{STATE}/journal.db"
    assert "usb is none of flash, tmpfs or a folder" in said.log


def test_a_made_up_name_outlives_a_journal_in_memory(with_python: Path) -> None:
    said = openwrt.run_in(
        with_python,
        f"""{JOINED}
        echo "option journal tmpfs" >> /etc/config/swarming
        /etc/init.d/swarming-agent start
        first=$(cat {STATE}/name)
        rm -r /var/lib/swarming
        /etc/init.d/swarming-agent start
        echo "$first" "$(cat /var/lib/swarming/name)" $(stat -c %U /var/lib/swarming/name)""",
        size="300m",
    )
    first, second, owner = said.split()
    assert (first, owner) == (second, "swarming")
    assert first.count("-") == 2


# --- what is around it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "written"),
    [
        ("1 0", "471\t471", True),
        ("0 100", "471\t471", True),
        ("0 2147483647", "0\t2147483647", False),
        ("471 471", "471\t471", False),
    ],
)
def test_the_range_of_echoes_is_touched_only_where_it_lacks_our_group(
    root: Path, before: str, after: str, written: bool
) -> None:
    said = openwrt.run_in(
        root,
        f"""
        echo {before} > /proc/sys/net/ipv4/ping_group_range
        sh /etc/uci-defaults/60-swarming
        cat /proc/sys/net/ipv4/ping_group_range
        cat /etc/sysctl.d/60-swarming.conf 2> /dev/null || true""",
    ).splitlines()
    assert said[0] == after
    assert said[1:] == (["net.ipv4.ping_group_range = 471 471"] if written else [])


@pytest.mark.parametrize(
    ("event", "word"),
    [
        ("ACTION=step", "synced"),
        ("ACTION=stratum stratum=3", "synced"),
        ("ACTION=stratum stratum=16", "unsynced"),
        ("ACTION=periodic stratum=2", "synced"),
        ("ACTION=unsync stratum=16", "unsynced"),
        ("ACTION=other", ""),
    ],
)
def test_what_ntpd_says_is_left_for_the_agent(root: Path, event: str, word: str) -> None:
    script = f"""
    export {event}
    (. /etc/hotplug.d/ntp/60-swarming)
    cat /var/run/swarming/clock 2> /dev/null || true"""
    assert openwrt.run_in(root, script).strip() == word


def test_roots_part_asks_the_modem_where_there_is_one_and_again_when_told(root: Path) -> None:
    said = openwrt.run_in(
        root,
        """
        printf '#!/bin/sh\\necho "$@" >> /tmp/asked\\n' > /usr/bin/swarming-agent
        cp /usr/bin/swarming-agent /usr/bin/xdslctl
        /usr/libexec/swarming-link --at=/dev/ttyUSB9 &
        sleep 1; kill -HUP $!; sleep 1; kill $!
        cat /tmp/asked""",
    )
    assert said == "link --write --at=/dev/ttyUSB9\n" * 2


def test_ubus_lets_the_agent_ask_what_it_asks(root: Path) -> None:
    allowed = json.loads((root / "usr" / "share" / "acl.d" / "swarming.json").read_text())
    assert allowed["user"] == "swarming"
    asked = {
        tuple(words[2:4])
        for path in (openwrt.ROOT / "agent" / "link").glob("*.py")
        for words in _ubus_calls(path.read_text())
    }
    assert asked == {
        (name, method) for name, its in allowed["access"].items() for method in its["methods"]
    }


def _ubus_calls(text: str) -> list[list[str]]:
    found = re.findall(r'\("ubus", "call", "([\w.]+)", "(\w+)"', text)
    return [["ubus", "call", name, method] for name, method in found]


# --- the agent itself, by the listed parts alone -------------------------------------------------

IMPORTS = """
import importlib, pkgutil, sys
sys.path[:0] = ["/usr/lib/swarming", "/usr/lib/swarming/vendor"]
import agent, agent.link, sqlite_utils
for package in (agent, agent.link):
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
import socket
assert socket.getaddrinfo("localhost", 80)
print("all of it")
"""


SITE = "/usr/lib/python3.11/site-packages/sitecustomize.py"


def python(root: Path, script: str, hide: str = "") -> str:
    """Its output, or its last line where it fails; `hide`: a part of Python that is not there."""
    more = f"sys.modules.update(dict.fromkeys({sorted(openwrt_python.modules([hide]))}))"
    said = openwrt.run_in(
        root,
        f"""
        echo {shlex.quote(more if hide else "")} >> {SITE}
        python3 -B -c {shlex.quote(script)} 2>&1 || true""",
        size="300m",
    )
    return said.splitlines()[-1]


def test_every_room_of_the_agent_starts_by_the_listed_parts_of_python(with_python: Path) -> None:
    assert python(with_python, IMPORTS) == "all of it"


@pytest.mark.parametrize("part", [part for part in PARTS if part != "light"])
def test_without_one_of_the_listed_parts_it_does_not(with_python: Path, part: str) -> None:
    said = python(with_python, IMPORTS, hide=part)
    assert "Error" in said and said != "all of it"
    if part == "codecs":
        assert "unknown encoding: idna" in said


def test_the_bytecode_is_what_runs(with_python: Path) -> None:
    said = openwrt.run_in(
        with_python,
        "python3 -B -v /usr/lib/swarming/launch.py --version 2>&1 | grep code.object || true",
        size="300m",
    )
    of_ours = [line for line in said.splitlines() if "/usr/lib/swarming/" in line]
    assert len(of_ours) > 20
    assert all(".cpython-311.pyc" in line for line in of_ours if "/launch.py" not in line)


def test_the_service_probes_and_drains_to_a_broker(with_python: Path, tmp_path: Path) -> None:
    mosquitto, sub = needs.tool("mosquitto"), needs.tool("mosquitto_sub")
    conf = tmp_path / "mosquitto.conf"
    conf.write_text("listener 1883 127.0.0.1\nallow_anonymous true\nuser root\n")
    uci = (
        "list broker 'localhost'\nlist targets '127.0.0.1'\noption name 'router-1'\n"
        "list allow_private '127.0.0.0/8'\noption flush '1'"
    )
    command = start(with_python, uci, before="", size="300m").command
    said = openwrt.run_in(
        with_python,
        "/usr/bin/swarming-agent status; cat /var/run/swarming/journal",
        size="300m",
        before=f"""
        {mosquitto} -c {conf} > {tmp_path}/mosquitto.log 2>&1 &
        printf '%s\\n' {shlex.quote(uci)} >> $ROOT/etc/config/swarming
        chroot $ROOT sh /etc/uci-defaults/60-swarming
        chroot $ROOT /etc/init.d/swarming-agent start
        sleep 0.5
        timeout 60 {sub} -t ping/+ -C 1 > {tmp_path}/got &
        listening=$!
        as_agent="chroot --userspec=471:471 $ROOT /bin/env -i PATH=/usr/bin:/bin"
        $as_agent {shlex.join(command)} > {tmp_path}/agent.log 2>&1 &
        $as_agent /usr/bin/swarming-agent once --json --allow-private=127.0.0.0/8 127.0.0.1 \
            > {tmp_path}/once 2>&1
        wait $listening || {{ cat {tmp_path}/agent.log >&2; exit 1; }}
        """,
    )
    result = json.loads((tmp_path / "got").read_text())
    assert result["agent"] == "router-1" and result["target"] in ("ladder", "127.0.0.1")
    once = json.loads((tmp_path / "once").read_text())
    assert once["target"] == "127.0.0.1" and once["received"] == 10
    assert "router-1" in said and f"{STATE}/journal.db" in said
    assert re.search(r"^broker +.*localhost", said, re.MULTILINE)
    assert re.search(r"^icmp +.*socket", said, re.MULTILINE), said
    log = (tmp_path / "agent.log").read_text()
    assert "Traceback" not in log, log
