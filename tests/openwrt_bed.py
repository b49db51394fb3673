"""OpenWrt's tree installed in a root, and its service started there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from agent import VERSION
from tests import needs, openwrt
from tests.package_readers import read_ipk

JOINED = "mkdir -p /etc/swarming; echo 'name = \"router-1\"' > /etc/swarming/agent.swarm\n"
STATE = "/etc/swarming/state"


def installed(folder: Path) -> Path:
    """A root with BusyBox, the .ipk's files and the user."""
    needs.namespaces()
    package = openwrt.build("ipk", folder / "ipk") / f"swarming-agent_{VERSION}-r1_all.ipk"
    root = openwrt.busybox_root(folder / "root")
    read_ipk(package.read_bytes()).unpack(root)
    with open(root / "etc" / "passwd", "a") as file:
        file.write("swarming:x:471:471:swarming:/var/run/swarming:/bin/false\n")
    with open(root / "etc" / "group", "a") as file:
        file.write("swarming:x:471:\n")
    return root


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
