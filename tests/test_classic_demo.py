"""The classic demo, word for word, with a stock Mosquitto: four lines, and results flow.

It runs in a network and a file tree of its own: the four names are in a hosts file there, on
addresses that its loopback has, and nothing leaves it.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.connection import NEWEST
from tests import needs
from tests.agent_bed import ROOT, alone, environ
from tests.netlab import Namespace
from tests.servers import accepts, wait_for

MOSQUITTO = "mosquitto"
SUB = 'mosquitto_sub -t "ping/+" -v'
AGENT = "swarming-agent localhost"
PUB = 'mosquitto_pub -t watch -m "voila.fr yahoo.cn prout.local palourde.net" -q 1'
HOSTS = {"voila.fr": "9.9.1.1", "yahoo.cn": "9.9.2.2", "palourde.net": "9.9.4.4"}
FAST = 50


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Path]:
    """A folder with commands, a hosts file and a home; the network has the demo's addresses."""
    for tool in ("mosquitto", "mosquitto_sub", "mosquitto_pub"):
        needs.tool(tool)
    with alone() as namespace:
        furnish(tmp_path, namespace)
        yield tmp_path


def furnish(folder: Path, namespace: Namespace) -> None:
    for address in HOSTS.values():
        namespace.run("ip", "address", "add", f"{address}/32", "dev", "lo")
    names = "".join(f"{address} {name}\n" for name, address in HOSTS.items())
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{names}")
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (folder / "state").mkdir()
    (folder / "bin").mkdir()
    command = folder / "bin" / "swarming-agent"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.fast_agent "$@"\n')
    command.chmod(0o755)


class Line:
    """One line of the demo, typed in a terminal of its own."""

    def __init__(self, town: Path, line: str) -> None:
        self.output = town / f"{line.split()[0]}.out"
        mounts = (("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf"))
        binds = [f"mount --bind {town}/{ours} {path}" for ours, path in mounts]
        binds += ["mkdir -p /var/lib/swarming", f"mount --bind {town}/state /var/lib/swarming"]
        script = " && ".join([*binds, f"exec {line}"])
        environment = environ(FAST)
        environment["PATH"] = f"{town}/bin:{os.environ['PATH']}:/usr/sbin"
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", script],
                stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=ROOT, env=environment,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def results(said: str) -> list[dict[str, object]]:
    """What mosquitto_sub -v printed: the topic, a blank, the payload a person can read."""
    found = []
    for line in said.splitlines():
        topic, _, payload = line.partition(" ")
        if topic.startswith("ping/"):
            found.append(json.loads(payload) | {"topic": topic})
    return found


@pytest.mark.parametrize("version", [None, "3.1.1", "3.1"])
def test_the_four_lines_word_for_word(town: Path, version: str | None) -> None:
    line = AGENT if version is None else f"{AGENT} --mqtt {version}"
    with Line(town, MOSQUITTO) as broker:
        wait_for(lambda: accepts(1883), what=f"Mosquitto:\n{broker.said}")
        with Line(town, SUB) as sub, Line(town, line) as agent:
            wait_for(lambda: "connected to" in agent.said, 60, "the agent's connection")
            spoken = agent.said.split("MQTT ")[1].split()[0]
            assert spoken == (version or NEWEST)
            with Line(town, PUB) as pub:
                assert pub.process.wait(30) == 0, pub.said

            def targets() -> set[object]:
                return {result["target"] for result in results(sub.said)}

            wanted = {*shlex.split(PUB)[4].split(), "ladder"}
            wait_for(lambda: targets() >= wanted, 60, f"all targets:\n{agent.said}")
            check_results(sub.said)
            agent.process.send_signal(signal.SIGTERM)
            assert agent.process.wait(30) == 0
            assert "Traceback" not in agent.said


def check_results(said: str) -> None:
    found = results(said)
    agents = {str(result["agent"]) for result in found}
    assert len(agents) == 1
    assert {result["topic"] for result in found} == {f"ping/{agents.pop()}"}
    assert all(result["v"] == 1 for result in found)
    assert time.strftime("%Y-") in str(found[0]["time"])
    for result in found:
        if result["target"] in HOSTS:
            assert (result["ok"], result["ip"]) == (True, HOSTS[str(result["target"])])
            assert (result["sent"], result["received"], result["loss_pct"]) == (10, 10, 0)
        elif result["target"] == "prout.local":
            assert result["ok"] is False and "unknown_host resolver_failed".count(
                str(result["error"])
            )
