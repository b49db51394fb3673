"""The supervisor hears that the agent is ready, how it is, that it turns, and that it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.notify import Notifier
from tests.agent_bed import ROOT, Box, alone, environ
from tests.servers import wait_for

WATCHDOG_S = 0.6


class Supervisor:
    """The socket of a systemd, and what came."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)
        self.words: list[str] = []

    def heard(self, word: str) -> bool:
        self.look()
        return any(said.startswith(word) for said in self.words)

    def look(self) -> list[str]:
        while True:
            try:
                self.words.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self.words

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(str(tmp_path / "notify"))
    yield made
    made.close()


def test_without_a_supervisor_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("a socket was opened"))
    silent = Notifier({"WATCHDOG_USEC": "60000000"})
    silent.ready()
    silent.status("well")
    silent.alive()
    silent.stopping()
    assert silent.longest_sleep_s == float("inf")


def test_the_words_are_those_of_sd_notify(supervisor: Supervisor, tmp_path: Path) -> None:
    told = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"})
    told.ready()
    told.status("one\nline")
    told.status("one\nline")  # no news
    told.alive()
    told.alive()  # too soon to be news
    told.stopping()
    assert supervisor.look() == ["READY=1", "STATUS=one line", "WATCHDOG=1", "STOPPING=1"]


def test_an_abstract_socket_is_one_as_well() -> None:
    name = f"swarming-test-{os.getpid()}"
    abstract = Supervisor(f"\0{name}")
    try:
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert abstract.look() == ["READY=1"]
    finally:
        abstract.close()


@pytest.mark.parametrize("environment", [
    {},
    {"WATCHDOG_USEC": "0"},
    {"WATCHDOG_USEC": "soon"},
    {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"},
])  # fmt: skip
def test_without_a_watchdog_of_ours_there_is_nothing_to_feed(
    environment: dict[str, str], supervisor: Supervisor, tmp_path: Path
) -> None:
    told = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")} | environment)
    told.alive()
    assert supervisor.look() == [] and told.longest_sleep_s == float("inf")


def test_the_loop_sleeps_less_than_half_of_what_the_watchdog_bears() -> None:
    environment = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "10000000"}
    assert Notifier(environment).longest_sleep_s < 10 / 2


@pytest.mark.parametrize("address", ["/nowhere/notify", "vsock:2:1", "", "@" + "x" * 200])
def test_a_supervisor_that_cannot_be_reached_is_no_harm(address: str) -> None:
    Notifier({"NOTIFY_SOCKET": address}).ready()


def test_a_supervisor_that_does_not_read_stops_nobody(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.notify._SEND_S", 0.01)
    told = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    for number in range(50):  # the kernel holds fewer
        told.status(f"{number}")
    assert 0 < len(supervisor.look()) < 50


HANGS = """
import os, sys, time
from agent import cli, swarming_agent
from tests import fast_agent
fast_agent.shorten()
act = swarming_agent.Agent._act
def hanging(self, now):
    while os.path.exists("hang"):
        open("hangs", "w").close()
        time.sleep(0.05)
    act(self, now)
swarming_agent.Agent._act = hanging
sys.exit(cli.main(sys.argv[1:]))
"""


def test_the_agent_says_that_it_is_ready_turns_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with alone():
        supervisor = Supervisor(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", str(round(WATCHDOG_S * 1e6)))
        with Box(tmp_path / "box", 1) as box:
            wait_for(lambda: supervisor.heard("READY=1"))
            assert box.journal.exists(), "ready means that results are kept"
            wait_for(lambda: supervisor.heard("STATUS=no broker reached, 0 results"))
            wait_for(lambda: supervisor.look().count("WATCHDOG=1") > 3)
            assert not supervisor.heard("STOPPING=1")
            box.told("pause")
            wait_for(lambda: any("confirmed, paused" in word for word in supervisor.look()))
            assert box.stop() == 0
            assert supervisor.look()[-1] == "STOPPING=1"
        supervisor.close()


def test_a_loop_that_hangs_is_silent_though_its_threads_live(tmp_path: Path) -> None:
    with alone():
        supervisor = Supervisor(str(tmp_path / "notify"))
        variables = environ(100) | {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6)),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-c", HANGS, "run", "127.0.0.1:1", "--journal", "journal.db"]
        with subprocess.Popen(command, cwd=tmp_path, env=variables, stderr=-1) as process:
            try:
                wait_for(lambda: supervisor.heard("WATCHDOG=1"))
                (tmp_path / "hang").touch()
                wait_for((tmp_path / "hangs").exists)
                supervisor.look().clear()
                time.sleep(2 * WATCHDOG_S)
                assert supervisor.look() == []
                (tmp_path / "hang").unlink()
                wait_for(lambda: supervisor.heard("WATCHDOG=1"))
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=30)
        supervisor.close()


LOGS = "from agent import log_lines; log_lines.begin('info'); import logging\n" + (
    "logging.warning('one\\ntwo'); logging.info('three'); logging.debug('four')"
)


def logged(environment: dict[str, str]) -> str:
    """What such a process writes to its stderr."""
    command = [sys.executable, "-c", LOGS]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    return process.communicate()[1]


def test_journald_is_told_each_lines_priority_and_others_read_a_word() -> None:
    reader, writer = os.pipe()
    stream = os.fstat(writer)
    named = environ(1) | {"JOURNAL_STREAM": f"{stream.st_dev}:{stream.st_ino}"}
    assert logged(named) == "WARNING one\ntwo\nINFO three\n", "stderr leads elsewhere by now"
    subprocess.run([sys.executable, "-c", LOGS], env=named, stderr=writer, check=True)
    os.close(writer)
    with open(reader) as lines:
        assert lines.read() == "<4>one\n<4>two\n<6>three\n"
