"""The service on OpenWrt: its init script, run by BusyBox's shell against small stand-ins."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest

from agent import config, flags
from tests import openwrt
from tests.openwrt_bed import JOINED, STATE, Told, installed, start


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module")
def plain(root: Path) -> list[str]:
    """The command of a box that has joined, and set nothing."""
    return start(root).command


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


def test_no_other_file_is_given_to_the_agent(root: Path) -> None:
    said = openwrt.run_in(
        root,
        """
        echo "option swarm /etc/passwd" >> /etc/config/swarming
        /etc/init.d/swarming-agent start
        stat -c "%U:%G %a" /etc/passwd""",
    )
    assert said == "root:root 644\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
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
        ("option isp '--flush=0'", ["--isp=--flush=0"]),
        ("option place '$(touch /tmp/oops) `id` * ?'", ["--place=$(touch /tmp/oops) `id` * ?"]),
    ],
)
def test_uci_becomes_flags(root: Path, plain: list[str], line: str, words: list[str]) -> None:
    asked = start(root, line).command
    assert [word for word in asked if word not in plain] == words
    parser = argparse.ArgumentParser()
    flags.add(parser, "run")
    parser.parse_intermixed_args(asked[2:])


def test_every_option_of_the_agent_is_one_of_uci(root: Path) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    config.add_options(parser)
    names = {action.dest for action in parser._actions} - {"config"}  # UCI takes its place
    names -= {"name"}  # not beside a certificate
    lists = {"targets", "allow_private", "deny", "at"}
    values = dict.fromkeys(names, "/etc/hosts") | {"journal": "flash"}
    lines = [f"{'list' if name in lists else 'option'} {name} '{values[name]}'" for name in names]
    said = start(root, "\n".join(lines), before="")
    words = said.command + said.instances["link"]["command"]
    assert {f"--{name.replace('_', '-')}" for name in names} <= {
        word.partition("=")[0] for word in words
    }


def test_flash_is_spared_without_a_setting_too(root: Path) -> None:
    without = JOINED + "sed -i /flush/d /etc/config/swarming\n"
    assert start(root, before=without).flag("flush") == "60"


def test_a_certificates_name_goes_before_the_setting(root: Path) -> None:
    lines = "option name 'attic'\nlist broker 'mqtts://a:8883'"
    assert start(root, lines, before="").flag("name") == "attic"
    assert start(root, f"{lines}\noption cert '/etc/hosts'", before="").flag("name") is None
    assert start(root, lines, before=JOINED).flag("name") is None


def test_every_option_is_in_the_documentation(root: Path) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    config.add_options(parser)
    names = {action.dest for action in parser._actions} - {"config"} | {"enabled", "broker"}
    text = (openwrt.ROOT / "docs" / "openwrt.md").read_text()
    documented = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", text, re.M))))
    assert names <= documented


def test_a_list_that_was_written_as_an_option_is_a_list_of_one(root: Path) -> None:
    asked = start(root, "option broker 'mqtts://a:8883'\noption deny '192.0.2.0/24'").command
    assert asked[-2:] == ["--deny=192.0.2.0/24", "mqtts://a:8883"]


def test_a_box_that_has_left_is_not_started_for_ever(root: Path) -> None:
    brokers = "list broker 'mqtts://a:8883'"
    gone = f'mkdir -p {STATE}; echo \'{{"left": true, "gone": true}}\' > {STATE}/control.json'
    for before in (gone, "mkdir -p /etc/swarming; : > /etc/swarming/left"):
        said = start(root, brokers, before=before)
        assert said.instances == {}
        assert "has left its swarm" in said.log
    said = start(root, brokers, before=gone.replace("true}", "false}"))
    assert set(said.instances) == {"agent", "link"}


def test_a_service_that_is_off_starts_nothing(root: Path) -> None:
    said = start(root, "option enabled '0'")
    assert (said.instances, said.log) == ({}, "")


def test_a_change_of_settings_or_a_new_link_reaches_the_agent(root: Path) -> None:
    said = start(root)
    assert ["trigger config", "swarming"] in said.others
    assert ["trigger raw", "interface.*.up", "2000", "/etc/init.d/swarming-agent", "again"] in (
        said.others
    )
    assert said.instances["agent"]["file"] == ["/usr/lib/swarming/RELEASE"]
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
    free = kilobytes(start(root, size="48m"))
    assert 3000 < free < 4800
    assert free % 100 == 0, "a reload is no restart because a file has grown elsewhere"


def test_on_flash_the_journal_never_has_more_than_8_mb(root: Path) -> None:
    assert kilobytes(start(root, size="400m")) == 8000


def test_a_journal_that_is_there_does_not_count_against_itself(root: Path) -> None:
    fill = f"mkdir -p {STATE}; head -c 4000000 /dev/zero > {STATE}/journal.db\n"
    empty, filled = start(root, size="48m"), start(root, size="48m", before=JOINED + fill)
    assert abs(kilobytes(empty) - kilobytes(filled)) <= 100


NAMED = "mkdir -p /etc/swarming/state; : > /usr/bin/python3; chmod 755 /usr/bin/python3\n"
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


@pytest.mark.parametrize("folder", ["/etc", "/tmp", "/mnt/usb"])
def test_a_folder_with_what_is_somebody_elses_is_not_taken(root: Path, folder: str) -> None:
    said = openwrt.run_in(
        root,
        f"""{JOINED}{NAMED}
        echo "option journal {folder}" >> /etc/config/swarming
        mkdir -p /mnt/usb/photos
        before=$(stat -c "%U %a" {folder})
        /etc/init.d/swarming-agent start
        [ "$before" = "$(stat -c "%U %a" {folder})" ]
        cat /tmp/log /tmp/procd""",
    )
    assert f"{folder}: holds what is not the agent's: name a folder below it" in said
    assert "--journal=/var/lib/swarming/journal.db" in said


def test_a_folder_of_its_own_is_taken_again(root: Path) -> None:
    usb = "mkdir -p /mnt/usb/swarming; : > /mnt/usb/swarming/journal.db\n"
    line = "option journal '/mnt/usb/swarming'"
    for mine in (
        usb,
        f"{usb}rm /mnt/usb/swarming/*; mkdir /mnt/usb/swarming/x\n"
        "chown swarming /mnt/usb/swarming\n",
    ):
        said = start(root, line, before=JOINED + NAMED + mine)
        assert said.flag("journal") == "/mnt/usb/swarming/journal.db"
