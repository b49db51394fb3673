"""The packages on a booted Debian: installed by apt, started by systemd, upgraded, purged.

The tests stand in the order of a box's life, and share one machine for each release of Debian.
SWARMING_TRIXIE=1 adds Debian 13.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import debs, nspawn
from tests.nspawn import Failed, Machine
from tests.servers import wait_for

SUITES = ("bookworm", "trixie") if os.environ.get("SWARMING_TRIXIE") else ("bookworm",)
UNITS = ("swarming-agent", "swarming-indexer")
MOST_EXPOSED = {"swarming-agent": 1.5, "swarming-indexer": 1.2}
# With the packages' own Depends, all there is: what is missing in those is missed here.
BASE = ("systemd", "systemd-sysv", "dbus", "mosquitto", "iputils-ping")
CERTS = "/var/lib/swarming-indexer/ca"
WATCHDOG_S = 3

pytestmark = pytest.mark.timeout(400)

MOSQUITTO = f"""
cd /usr/share/swarming-indexer/mosquitto
install -m 0644 swarming.conf /etc/mosquitto/conf.d/
install -o mosquitto -m 0600 swarming.acl /etc/mosquitto/
install -o mosquitto -m 0600 -t /etc/mosquitto/certs {CERTS}/ca.crt {CERTS}/crl.pem \\
  {CERTS}/out/server.crt {CERTS}/out/server.key
systemctl restart mosquitto
"""
INDEXER = f"""
brokers = ["mqtts://localhost:8883"]
name = "indexer-one"
ca = "{CERTS}/ca.crt"
cert = "{CERTS}/out/indexer-one.crt"
key = "{CERTS}/out/indexer-one.key"
listen = "127.0.0.1:8443"
page-cert = "{CERTS}/out/server.crt"
page-key = "/run/credentials/swarming-indexer.service/keys_page.key"
"""
AGENT = """
allow-private = ["127.0.0.0/8"]
targets = "127.0.0.1 127.0.0.2 127.0.0.3 127.0.0.4 127.0.0.5"
"""


@pytest.fixture(scope="module", params=SUITES)
def box(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A booted Debian on which both packages were installed, and nothing else done."""
    folder = tmp_path_factory.mktemp("deb")
    packages = dict.fromkeys([*BASE, *debs.depends("agent"), *debs.depends("indexer")])
    built = debs.build(folder / "dist")
    with nspawn.machine(request.param, list(packages), folder) as machine:
        install(machine, built)
        yield machine


@pytest.fixture(scope="module")
def swarm(box: Machine) -> Machine:
    """One that has joined: broker, indexer and agent, as docs/debian.md and ca init have it."""
    box.run("swarming-indexer", "ca", "init", "localhost")
    box.shell(MOSQUITTO)
    keys = box.root / "etc/swarming/keys"
    shutil.copy(f"{box.root}{CERTS}/out/server.key", keys / "page.key")
    (keys / "page.key").chmod(0o600)  # root's, whom the indexer is not
    add(box, "indexer.toml", INDEXER)
    add(box, "agent.toml", AGENT)
    box.run("swarming-indexer", "ca", "issue", "box-1")
    box.run("swarming-agent", "join", f"{CERTS}/out/box-1.swarm", "--yes")
    synchronised(box)
    box.run("systemctl", "enable", "--now", *UNITS)
    return box


def install(machine: Machine, built: debs.Debs) -> None:
    for path in built:
        shutil.copy(path, machine.root / "root")
    names = [f"/root/{path.name}" for path in built]
    machine.run("apt-get", "install", "--yes", "-o", "Dpkg::Options::=--force-confold", *names)


def add(machine: Machine, name: str, text: str) -> None:
    with open(machine.root / "etc/swarming" / name, "a") as file:
        file.write(text)


def synchronised(machine: Machine) -> None:
    """What systemd-timesyncd leaves once a server has told it the time; none is reached here."""
    machine.shell("mkdir -p /run/systemd/timesync && touch /run/systemd/timesync/synchronized")


def results(machine: Machine) -> list[dict[str, Any]]:
    """Of the store that the indexer's configuration names."""
    return [json.loads(line) for line in machine.run(
        "swarming-indexer", "export", "--quiet").splitlines()]  # fmt: skip


def more_results(machine: Machine, than: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = wait_for(
        lambda: rows if len(rows := results(machine)) > than else None, 90, "results in the store"
    )
    return found


def epochs(found: list[dict[str, Any]]) -> dict[str, list[int]]:
    seqs: dict[str, list[int]] = {}
    for row in found:
        seqs.setdefault(row["epoch"], []).append(row["seq"])
    return {epoch: sorted(numbers) for epoch, numbers in seqs.items()}


def none_lost_none_twice(machine: Machine) -> bool:
    """All that the agent ever made is in the store, once."""
    counted = machine.run("swarming-agent", "journal")
    numbers = epochs(results(machine)).values()
    whole = all(seqs == list(range(1, len(seqs) + 1)) for seqs in numbers)
    return whole and bool(re.search(r"^evicted +0$", counted, re.MULTILINE))


def status(machine: Machine) -> str:
    return machine.asked("swarming-agent", "status")


def test_apt_installs_them_and_nothing_is_started(box: Machine) -> None:
    assert box.run("dpkg", "--audit") == ""
    changed = box.asked("dpkg", "--verify", *UNITS).splitlines()
    assert not [line for line in changed if "/usr/share/doc" not in line and "/man" not in line]
    for unit in UNITS:
        assert box.unit(unit, "ActiveState") == "inactive"
        assert box.unit(unit, "UnitFileState") == "disabled"
    assert "0.1" in box.run("swarming-agent", "--version")
    assert box.run("stat", "-c", "%a %U %s", "/etc/swarming/agent.swarm") == "600 root 0\n"


@pytest.mark.parametrize("unit", MOST_EXPOSED)
def test_the_units_are_as_little_exposed_as_is_told(box: Machine, unit: str) -> None:
    told = box.run("systemd-analyze", "security", "--no-pager", f"{unit}.service").splitlines()[-1]
    print(f"{box.root.name}: {told}")
    assert float(told.split(": ")[1].split()[0]) <= MOST_EXPOSED[unit]


def test_an_agent_that_has_not_joined_says_so_and_is_not_tried_again(box: Machine) -> None:
    box.asked("systemctl", "start", "swarming-agent")
    assert box.unit("swarming-agent", "Result") == "exit-code"
    assert box.unit("swarming-agent", "ExecMainStatus") == "2"
    assert box.unit("swarming-agent", "NRestarts") == "0"
    assert "name a broker" in box.log_of("swarming-agent")
    box.run("systemctl", "reset-failed", "swarming-agent")


def test_enabled_they_bring_results_into_the_store(swarm: Machine) -> None:
    assert swarm.unit("swarming-agent-link.timer", "ActiveState") == "active"
    row = next(row for row in more_results(swarm, 1) if row["kind"] == "icmp")
    assert (row["agent"], row["ok"], row["received"]) == ("box-1", True, row["sent"])
    for unit in UNITS:
        assert swarm.unit(unit, "ActiveState") == "active"
        assert swarm.unit(unit, "UnitFileState") == "enabled"
    assert "1 of 1 brokers, 1 agents here, store: ok" in swarm.unit(UNITS[1], "StatusText")


def test_neither_runs_as_root(swarm: Machine) -> None:
    agent, indexer = (Path(f"/proc/{swarm.unit(unit, 'MainPID')}/status") for unit in UNITS)
    told = [swarm.run("grep", "-E", "^(Uid|CapEff|NoNewPrivs|Seccomp):", str(path))
            for path in (agent, indexer)]  # fmt: skip
    facts = [dict(line.split(":\t") for line in one.splitlines()) for one in told]
    assert all("0" not in one["Uid"].split() for one in facts)
    assert all((one["NoNewPrivs"], one["Seccomp"]) == ("1", "2") for one in facts)
    assert [int(one["CapEff"], 16) for one in facts] == [1 << 13, 0], "CAP_NET_RAW, and nothing"


def test_journald_knows_how_grave_a_line_is(swarm: Machine) -> None:
    told = swarm.run("journalctl", "--output=json", "--unit=swarming-agent", "--no-pager")
    words = {str(line["MESSAGE"]): line["PRIORITY"] for line in map(json.loads, told.splitlines())}
    assert words["icmp by raw"] == "6"
    assert words["agent box-1, journal /var/lib/swarming/journal.db"] == "6"
    assert not any(word.startswith("<") for word in words)


@pytest.mark.parametrize(("groups", "method"), [("1 0", "raw"), ("0 2147483647", "dgram")])
def test_the_unit_pings_whoever_the_range_of_groups_lets(
    swarm: Machine, groups: str, method: str
) -> None:
    swarm.sysctl("net.ipv4.ping_group_range", groups)
    swarm.run("systemctl", "restart", "swarming-agent")
    found = wait_for(lambda: re.search(r"^icmp +by (.*)$", status(swarm), re.MULTILINE))
    print(f"{swarm.root.name}: ping_group_range '{groups}': icmp by {found[1]}")
    assert found[1] == f"{method} sockets"


def test_a_plain_user_without_either_has_the_systems_ping_and_is_told(swarm: Machine) -> None:
    """Debian 13's ping has no right of its own any more: then nobody pings, and that is said."""
    swarm.sysctl("net.ipv4.ping_group_range", "1 0")
    user = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", "HOME=/tmp")
    pings = "1 received" in swarm.asked(*user, "ping", "-c", "1", "127.0.0.1")
    again = ("swarming-agent", "once", "127.0.0.1", "--allow-private", "127.0.0.0/8")
    told = swarm.asked(*user, *again)
    print(f"{swarm.root.name}: {told}")
    assert "A better way to ping: sysctl -w net.ipv4.ping_group_range" in told
    assert ("0 of 10 lost" if pings else "this box may not send that") in told
    doctor = swarm.asked(*user, "swarming-agent", "doctor")
    line = next(line for line in doctor.splitlines() if "icmp" in line)
    assert "ping_group_range" in line, doctor


def test_the_clocks_word_is_timesyncds(swarm: Machine) -> None:
    assert "clock    ntp" in status(swarm)
    swarm.run("rm", "-r", "/run/systemd/timesync")
    swarm.run("systemctl", "restart", "swarming-agent")
    told = wait_for(lambda: re.search(r"^clock +(\w+)", status(swarm), re.MULTILINE))
    assert told[1] != "ntp", "timedated says that the kernel's clock was set by nobody"
    assert "NTPSynchronized=no" in swarm.run("timedatectl", "show", "--property=NTPSynchronized")
    synchronised(swarm)
    swarm.run("systemctl", "restart", "swarming-agent")
    wait_for(lambda: "clock    ntp" in status(swarm))


@pytest.fixture
def read_only(swarm: Machine) -> Iterator[Machine]:
    """Booted anew, on a root that nobody can write; /var can be. Watchdogs quicker than shipped."""
    for unit in UNITS:
        extra = swarm.root / f"etc/systemd/system/{unit}.service.d"
        extra.mkdir()
        (extra / "test.conf").write_text(f"[Service]\nWatchdogSec={WATCHDOG_S}\nRestartSec=1\n")
    swarm.end()
    swarm.boot("--read-only", f"--bind={swarm.root}/var:/var")
    try:
        swarm.run("mount", "-o", "remount,bind,rw", "/var")  # which nspawn made as the root is
        synchronised(swarm)
        swarm.run("systemctl", "stop", "mosquitto", *UNITS)
        swarm.run("systemctl", "reset-failed")
        swarm.run("systemctl", "start", "mosquitto", *UNITS)
        yield swarm
    finally:
        swarm.end()
        swarm.boot()
    synchronised(swarm)
    swarm.run("systemctl", "restart", UNITS[0])  # which asks for the time once a minute alone


def came_back(machine: Machine, unit: str) -> bool:
    restarts, state = (machine.unit(unit, what) for what in ("NRestarts", "ActiveState"))
    return (restarts, state) == ("1", "active")


def test_on_a_read_only_root_those_that_hang_are_started_again(read_only: Machine) -> None:
    with pytest.raises(Failed, match="Read-only"):
        read_only.run("touch", "/usr/lib/swarming/new")
    had = len(results(read_only))
    for unit in UNITS:
        read_only.shell(f"kill -STOP {read_only.unit(unit, 'MainPID')}")
    wait_for(lambda: all(came_back(read_only, unit) for unit in UNITS), 60)
    assert all("Watchdog timeout" in read_only.log_of(unit) for unit in UNITS)
    more_results(read_only, had)
    assert none_lost_none_twice(read_only)


def test_an_upgrade_keeps_what_was_configured_and_what_was_measured(
    swarm: Machine, tmp_path: Path
) -> None:
    assert all(swarm.unit(unit, "ActiveState") == "active" for unit in UNITS), "since the boot"
    had = set(epochs(results(swarm)))
    sources = debs.copy_of_the_sources(tmp_path / "sources")
    for side in debs.SIDES:
        with open(sources / f"packaging/debian/{side}/{side}.toml", "a") as file:
            file.write("# Something new.\n")
    edited = [(swarm.root / f"etc/swarming/{side}.toml").read_text() for side in debs.SIDES]
    pids = [swarm.unit(unit, "MainPID") for unit in UNITS]
    journal = (swarm.root / "var/lib/private/swarming/journal.db").stat().st_ino
    install(swarm, debs.build(tmp_path / "dist", "--version", "99.1.0", sources=sources))
    assert "99.1.0" in swarm.run("dpkg-query", "--show", "swarming-agent")
    assert edited == [(swarm.root / f"etc/swarming/{side}.toml").read_text() for side in debs.SIDES]
    assert all(swarm.unit(unit, "ActiveState") == "active" for unit in UNITS)
    assert pids != [swarm.unit(unit, "MainPID") for unit in UNITS], "the new ones run"
    assert (swarm.root / "var/lib/private/swarming/journal.db").stat().st_ino == journal
    found = more_results(swarm, len(results(swarm)))
    assert had < set(epochs(found)), "the store holds what it held, and goes on"
    assert found[-1]["agent"] == "box-1"
    assert none_lost_none_twice(swarm)


def test_a_box_that_leaves_is_stopped_and_is_not_tried_again(swarm: Machine) -> None:
    swarm.run("swarming-agent", "leave", "--yes")
    wait_for(lambda: swarm.unit("swarming-agent", "ActiveState") == "inactive")
    assert (swarm.root / "etc/swarming/agent.swarm").read_bytes() == b""
    assert swarm.unit("swarming-agent-link.timer", "ActiveState") == "inactive"
    swarm.run("systemctl", "start", "swarming-agent")
    wait_for(lambda: swarm.unit("swarming-agent", "ActiveState") == "inactive")
    assert swarm.unit("swarming-agent", "Result") == "success"
    assert "has left its swarm: join brings it back" in swarm.log_of("swarming-agent")
    (swarm.root / "etc/swarming/agent.swarm").unlink()
    swarm.run("systemctl", "start", "swarming-agent")
    assert swarm.unit("swarming-agent", "ConditionResult") == "no", "not a failure, either"


def test_removed_they_stop_and_keep_their_own(swarm: Machine) -> None:
    swarm.run("apt-get", "remove", "--yes", *UNITS)
    assert "swarming-" not in swarm.shell("cat /proc/[0-9]*/comm")
    assert not list(swarm.root.glob("usr/lib/swarming*")), "no bytecode is left behind"
    assert (swarm.root / "etc/swarming/agent.toml").read_text().endswith(AGENT)
    assert (swarm.root / "var/lib/private/swarming").exists()
    assert (swarm.root / "var/lib/swarming-indexer/swarming.db").exists()


def test_purged_they_leave_nothing(swarm: Machine) -> None:
    swarm.run("apt-get", "purge", "--yes", *UNITS)
    swarm.shell("rm /root/*.deb /etc/mosquitto/swarming.acl /etc/mosquitto/conf.d/swarming.conf")
    swarm.run("systemctl", "daemon-reload")
    left = swarm.run("find", "/", "-xdev", "-name", "*swarming*", "-not", "-path", "/proc/*")
    assert left == ""
    assert swarm.asked("getent", "passwd", "swarming-indexer") == ""
    assert swarm.asked("getent", "group", "swarming-indexer") == ""
    for asked in ("list-units", "list-unit-files"):
        units = swarm.run("systemctl", asked, "--all", "--no-pager", "--plain").splitlines()
        # systemd may remember for a while that it once knew a name.
        assert not [unit for unit in units if "swarming" in unit and "not-found" not in unit]
    assert "swarming" not in swarm.run("dpkg-query", "--show")
    assert not (swarm.root / "etc/swarming").exists()
