"""``leave``: the swarm is told first, and holds the word; then nothing ties the box to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import cli, control, swarm_file, wire
from agent.clock import Reading
from agent.control import Control
from agent.membership import last_word, leave
from agent.store import Journal
from tests import needs
from tests.agent_bed import ROOT, Box, about, alone, environ
from tests.indexers import Client
from tests.operator_bed import Operator
from tests.servers import Server, free_port, wait_for

Start = Callable[..., Server]
SWALLOWS = ("pattern readwrite ping/#", "pattern read #")  # agent/<agent> may not be written


@pytest.fixture(autouse=True)
def in_a_network_of_its_own() -> Iterator[None]:
    with alone():
        yield


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SWARMING_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can be told in any case."""
    monkeypatch.setattr(leave, "TOLD_BY_AGENT_S", 3.0)
    monkeypatch.setattr(last_word, "TOLD_WITHIN_S", 2.0)


@pytest.fixture
def asleep(tmp_path: Path) -> str:
    """The journal of a box whose agent does not run, with one result."""
    folder = tmp_path / "box"
    folder.mkdir()
    path = str(folder / "journal.db")
    journal = Journal(path, "box")
    journal.close()
    (folder / "name").write_text("box\n")
    return path


def leaving(journal: object, *words: object) -> int:
    return cli.main(["leave", "--journal", str(journal), "--yes", *map(str, words)])


def held(server: Server) -> dict[str, Any]:
    """What whoever comes later reads of the box."""
    with Client(server.port, "agent/+") as later:
        said = wait_for(lambda: later.look() or later.messages)
        topic, payload, retain = said[-1]
        assert topic == "agent/box" and retain
        found: dict[str, Any] = json.loads(payload)
        return found


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_running_agent_says_it_itself_and_ends_well(
    version: str, tmp_path: Path, mosquitto: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    server = mosquitto()
    words = ("--mqtt", version)
    with Box(tmp_path / "box", server.port, *words) as box:
        box.wait_rows(1)
        with Client(server.port, "agent/box") as client:
            wait_for(lambda: about(client).get("here"))
            begun = wire.rfc3339(time.time_ns() // 1_000_000)
            assert leaving(box.journal, f"127.0.0.1:{server.port}", "--forget", *words) == 0
            assert box.ended() == 0 and "this box has left the swarm" in box.log
            said = about(client)
        assert said["left"] is True and said["here"] is False
        assert begun <= said["forget"] <= wire.rfc3339(time.time_ns() // 1_000_000)
        assert held(server) == said
        assert not {"place", "link", "list", "traffic", "access_group"} & set(said), "nor its place"
        out = capsys.readouterr().out
        assert f"mqtt://127.0.0.1:{server.port}: told" in out
        assert f"removed: {box.journal}\n" in out
        assert os.listdir(box.folder) in (["control.json", "log"], ["log", "control.json"])
        box.start()
        assert box.ended() == 0 and "this box has left its swarm" in box.log, "not by itself"
        for command in ("pause", "resume"):
            said = box.told(command)
            assert (said.returncode, said.stdout) == (2, "")
            assert "has left its swarm: join brings it back" in said.stderr
        (box.folder / "control.json").unlink()
        box.start()
        box.wait_rows(1)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_without_a_running_agent_the_command_says_it(
    version: str, asleep: str, mosquitto: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    server, other = mosquitto(), mosquitto()
    with Client(server.port, name="dead", will=("rip/agent/box", b"{}")) as dead:
        dead.cut()
    brokers = [f"127.0.0.1:{one.port}" for one in (server, other)]
    assert leaving(asleep, *brokers, "--mqtt", version) == 0
    for one in (server, other):
        said = held(one)
        assert (said["left"], said["here"]) == (True, False) and "forget" not in said
    assert os.listdir(os.path.dirname(asleep)) == ["control.json"]
    with Client(server.port, "rip/#", "agent/#") as later:
        wait_for(lambda: later.look() or later.messages)
        assert [topic for topic, _, _ in later.messages] == ["agent/box"], "no will is left either"


def test_a_member_leaves_a_broker_with_the_configuration_that_we_ship(tmp_path: Path) -> None:
    with Operator(tmp_path / "operator") as operator:
        swarm = operator.swarm_file("box")
        looker = operator.member("indexer-one")
        assert leaving(tmp_path / "journal.db", "--swarm", swarm) == 0
        assert not swarm.exists()
        with Client(operator.server.port, "agent/+", name="l", credentials=looker) as later:
            wait_for(lambda: later.look() or later.messages)
            assert json.loads(later.messages[0][1])["left"] is True


def test_one_broker_is_enough_and_the_other_is_named(
    asleep: str, mosquitto: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    server, nobody = mosquitto(), free_port()
    assert leaving(asleep, f"127.0.0.1:{nobody}", f"127.0.0.1:{server.port}") == 0
    told = capsys.readouterr()
    assert f"mqtt://127.0.0.1:{nobody}: not told: nobody listens there" in told.err
    assert held(server)["left"] is True


def test_what_is_to_be_forgotten_is_all_that_was_measured_whatever_the_clock(
    asleep: str, mosquitto: Start
) -> None:
    server = mosquitto()
    counts = leave._counts(asleep)
    assert counts is not None
    newest_ms = time.time_ns() // 1_000_000 + 3_600_000
    reading = leave._reading(counts._replace(known_ms=newest_ms))
    assert reading.trust in ("ntp", "waiting"), "the wall clock went back"
    assert leaving(asleep, f"127.0.0.1:{server.port}", "--forget") == 0
    assert held(server)["clock"]["trust"] in ("ntp", "unknown", "waiting")


def test_what_is_confirmed_and_gone_still_says_how_late_it_must_be(tmp_path: Path) -> None:
    path, ahead_ms = str(tmp_path / "journal.db"), time.time_ns() // 1_000_000 + 10**9
    journal = Journal(path, "box", max_rows=1000, max_bytes=10**7, flush_s=0, now=0)
    journal.follow(Reading("boot", 1, ahead_ms * 10**6, "indexer", 0))
    epoch, seq = journal.add({"kind": "icmp", "target": "a.example", "ok": True}, 1)
    journal.flush(1)
    journal.as_results(journal.window(0, 1))
    journal.confirm({epoch: [(seq, seq)]})
    journal.flush(2)
    journal.close()
    counts = leave._counts(path)
    assert counts is not None and (counts.waiting, counts.newest_ms) == (0, None)
    assert counts.known_ms is not None and abs(counts.known_ms - ahead_ms) < 1000
    assert leave._reading(counts).trust in ("ntp", "waiting"), "the wall clock went back"


def kept(journal: object) -> bool:
    """Whether all that ties the box to its swarm is still there; else nothing of it is."""
    there = set(os.listdir(os.path.dirname(str(journal)))) - {"control.json", "log", "name"}
    assert not there or "journal.db" in there, there
    return bool(there)


@pytest.mark.usefixtures("impatient")
def test_with_no_broker_in_reach_nothing_is_removed_and_the_agent_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Box(tmp_path / "box", 1) as box:
        box.wait_rows(1)
        assert box.told("pause", "2h").returncode == 0
        before = control.read(control.path_beside(str(box.journal)))
        assert leaving(box.journal, "127.0.0.1:1", "--forget") == 1
        assert "nothing was removed" in capsys.readouterr().err
        assert kept(box.journal)
        assert control.read(control.path_beside(str(box.journal))) == before, "still paused"
        assert box.told("resume").returncode == 0
        rows = len(box.rows())
        box.wait_rows(rows + 1)


def test_who_thinks_better_of_it_while_it_waits_has_not_left(tmp_path: Path) -> None:
    with Box(tmp_path / "box", 1) as box:
        box.wait_rows(1)
        command = [sys.executable, "-m", "agent.cli", "leave", "--yes", "--journal", box.journal]
        with subprocess.Popen(command, stderr=-1, cwd=ROOT, env=environ(1)) as process:
            wait_for(lambda: "leaving the swarm" in box.log)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
            assert process.returncode == 130
        wait_for(lambda: "going on" in box.log)
        assert kept(box.journal)


def test_by_force_it_leaves_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Box(tmp_path / "box", 1) as box:
        box.wait_rows(1)
        monkeypatch.setattr(leave, "TOLD_BY_AGENT_S", 1.0)
        assert leaving(box.journal, "127.0.0.1:1", "--force") == 0
        assert box.ended() == 0
        assert not kept(box.journal)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_broker_that_acknowledges_and_drops_the_word_does_not_count_as_told(
    version: str, asleep: str, tmp_path: Path, mosquitto: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "acl").write_text("\n".join(SWALLOWS) + "\n")
    server = mosquitto(f"acl_file {tmp_path / 'acl'}")
    assert leaving(asleep, f"127.0.0.1:{server.port}", "--mqtt", version) == 1
    assert "does not keep it; it may not allow it" in capsys.readouterr().err
    assert kept(asleep)
    assert control.read(control.path_beside(asleep)) == Control()


def test_it_asks_first_and_no_answer_is_no(
    asleep: str, mosquitto: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = mosquitto()
    command = [sys.executable, "-m", "agent.cli", "leave", "--journal", asleep]
    command.append(f"127.0.0.1:{server.port}")

    def answered(words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, input=words, capture_output=True, text=True, cwd=ROOT, env=environ(1)
        )

    for words in ("", "n\n", "what?\n"):
        said = answered(words)
        assert said.returncode == 1 and said.stdout.endswith("nothing was changed\n")
        assert f"removed: {asleep}" in said.stdout and "stays there" in said.stdout
        assert kept(asleep)
    assert answered("y\n").returncode == 0


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder in a place where others may go; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_root_takes_an_agent_of_another_user_out_of_the_swarm(
    public: Path, mosquitto: Start
) -> None:
    """As with DynamicUser: the state belongs to the service's user, the command is root's."""
    needs.root()
    server = mosquitto()
    box = Box(public / "box", server.port)
    os.chown(box.folder, 12345, 12345)
    box.folder.chmod(0o700)
    user = [needs.tool("setpriv"), "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    agent = [*user, sys.executable, "-m", "tests.fast_agent", "run", *box._words]
    with subprocess.Popen(agent, cwd=ROOT, env=environ(100), stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: len(box.rows()) > 0)
            assert leaving(box.journal, "--forget") == 0, "its brokers are those of the agent"
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert held(server)["left"] is True and held(server)["forget"]
    assert os.listdir(box.folder) == ["control.json"]
    assert os.stat(box.folder / "control.json").st_uid == 12345


def test_of_a_membership_nothing_is_left_and_a_packages_file_stays_empty(
    asleep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.swarm"
    own.write_text("a key")
    assert leave._remove(str(own)) == 0 and not own.exists()
    packaged = tmp_path / "agent.swarm"
    packaged.write_text("a key")
    packaged.chmod(0o640)
    monkeypatch.setattr(swarm_file, "SYSTEM_PATH", str(packaged))
    assert leave._remove(str(packaged)) == 0
    assert packaged.read_text() == "" and packaged.stat().st_mode & 0o777 == 0o640


def test_a_journal_that_another_agent_holds_is_not_removed(
    asleep: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One in another container cannot be asked, but it holds the lock."""
    holder = Journal(asleep, "box")
    try:
        assert leaving(asleep, "--force") == 2
        assert "another agent uses" in capsys.readouterr().err
        assert kept(asleep)
    finally:
        holder.close()


def test_a_box_in_no_swarm_has_nothing_to_leave(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leaving(tmp_path / "journal.db") == 0
    assert "in no swarm" in capsys.readouterr().out
