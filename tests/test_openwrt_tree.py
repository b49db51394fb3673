"""What is around OpenWrt's service, and the agent started from the tree by the listed parts."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests import needs, openwrt, openwrt_python
from tests.openwrt_bed import JOINED, STATE, installed, start

PARTS = ("light", "sqlite3", "openssl", "logging", "urllib", "uuid", "decimal", "codecs")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def with_python(root: Path) -> Path:
    """The same root with a Python, too."""
    copy = root.with_name("with-python")
    shutil.copytree(root, copy, symlinks=True)
    openwrt_python.install(copy, PARTS)
    return copy


STUB = r"""
printf '#!/bin/sh\necho service "$@" >> /tmp/asked\n' > /etc/init.d/swarming-agent
cat > /usr/bin/python3 <<'END'
#!/bin/sh
shift 2
echo python "$@" "of $SWARMING_JOURNAL" >> /tmp/asked
case "$*$STATUS" in
*help*) ;;
leave*0) echo '{"left": true, "gone": true}' > /control.json ;;
esac
exit $STATUS
END
chmod 755 /usr/bin/python3; mkdir -p /var/run/swarming /etc/swarming/state
echo /j.db > /var/run/swarming/journal; touch /etc/swarming/state/name
"""


@pytest.mark.parametrize(
    ("words", "status", "service", "name"),
    [
        ("join LINE", 0, ["service reload"], True),
        ("resume", 0, [], True),
        ("join LINE", 1, [], True),
        ("leave --forget", 0, ["service reload"], False),
        ("leave", 1, [], True),
        ("leave --help", 0, [], True),
        ("status", 0, [], True),
    ],
)
def test_the_service_begins_and_ends_with_the_membership(
    root: Path, words: str, status: int, service: list[str], name: bool
) -> None:
    said = openwrt.run_in(
        root,
        f"""{STUB}
        export STATUS={status}
        /usr/bin/swarming-agent {words} && echo 0 || echo $?
        cat /tmp/asked; ls /etc/swarming/state""",
    )
    expected = [str(status), f"python {words} of /j.db", *service, *(["name"] if name else [])]
    assert said.splitlines() == expected


def test_that_the_box_has_left_outlives_a_journal_in_memory(root: Path) -> None:
    said = openwrt.run_in(
        root,
        f"""{STUB}
        export STATUS=0
        for word in leave resume join; do
            /usr/bin/swarming-agent $word
            rm -f /control.json
            ls /etc/swarming
        done""",
    )
    assert said.split() == ["left", "state", "left", "state", "state"], "only join brings it back"


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
        ("ACTION=stratum stratum=", "unsynced"),
        ("ACTION=stratum stratum=x", "unsynced"),
        ("ACTION=other", ""),
        ("ACTION=", ""),
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


@pytest.mark.parametrize("kept", ["/etc/swarming/state", "/mnt/usb/swarming"])
def test_a_box_that_left_comes_back_after_a_reboot_too(with_python: Path, kept: str) -> None:
    said = openwrt.run_in(
        with_python,
        f"""
        echo "option journal {kept.replace(STATE, "flash")}" >> /etc/config/swarming
        mkdir -p /etc/swarming; : > /etc/swarming/left
        /etc/init.d/swarming-agent start
        echo '{{"left": true, "gone": true}}' > {kept}/control.json
        ! /usr/bin/swarming-agent resume
        echo "list broker localhost" >> /etc/config/swarming
        /etc/init.d/swarming-agent start
        ! grep instance /tmp/procd
        eval "$(grep -o 'rm -f .*' /tmp/log)"
        /etc/init.d/swarming-agent start
        cat /var/run/swarming/journal; grep instance /tmp/procd""",
        size="300m",
    )
    assert said.splitlines()[-3:] == [f"{kept}/journal.db", "instance\tagent", "instance\tlink"]


def test_root_follows_no_link_that_the_agent_has_left_where_the_name_is(with_python: Path) -> None:
    said = openwrt.run_in(
        with_python,
        f"""{JOINED}
        echo "option journal tmpfs" >> /etc/config/swarming
        echo secret > /etc/shadow
        mkdir -p {STATE} /var/lib/swarming
        ln -s /etc/shadow {STATE}/name.new
        ln -s /etc/shadow /var/lib/swarming/name.new
        ln -s /etc/shadow /var/lib/swarming/name
        echo mallory > {STATE}/name
        chmod 600 /etc/shadow
        chown -hR swarming:swarming {STATE} /var/lib/swarming
        /etc/init.d/swarming-agent start
        stat -c %U /etc/shadow; cat /etc/shadow /tmp/log""",
        size="300m",
    ).splitlines()
    assert said[:2] == ["root", "secret"]
    assert "Permission denied: the name may be another after a reboot" in said[2]


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
