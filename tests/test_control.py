"""What the owner tells a running agent reaches it, and nobody else."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import cli, control, owner, status
from agent.control import Control
from agent.wire import rfc3339
from tests import needs
from tests.agent_bed import Box, about, alone
from tests.indexers import Client
from tests.servers import Server, wait_for


@pytest.fixture
def journal(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


def test_what_is_written_is_read(journal: str) -> None:
    path = control.path_beside(journal)
    assert control.read(path) == Control()
    control.write(path, Control(paused=True))
    assert control.read(path) == Control(paused=True)


def test_the_files_name_is_on_the_disk_too_before_anybody_is_told(
    journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    link = "/proc/self/fd/{}".format
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(link(handle))))
    path = control.path_beside(journal)
    control.write(path, Control(paused=True))
    assert synced == [f"{path}.new", os.path.dirname(path)]


PAUSE = control.Pause(for_s=7200.0, until_ms=1_790_000_000_000, boot_id="b1", boot_s=100.0)


@pytest.mark.parametrize("wish", [
    Control(paused=True, pause=PAUSE),
    Control(left=True, forget="2026-11-26T09:30:00.000Z"),
    Control(left=True, gone=True, told="mqtt://localhost:1883"),
])  # fmt: skip
def test_every_wish_survives_in_the_file(journal: str, wish: Control) -> None:
    path = control.path_beside(journal)
    control.write(path, wish)
    assert control.read(path) == wish


@pytest.mark.parametrize("text", [
    *("", "[]", "{", '{"paused": 1}', "[" * 4000, '{"left": "yes"}', '{"forget": 7}'),
    '{"paused": true, "until_ms": 1}',
    '{"paused": true, "until_ms": NaN, "for_s": 1, "boot_id": "b", "boot_s": 1}',
    '{"paused": true, "until_ms": 1, "for_s": 1e300, "boot_id": "b", "boot_s": 1}',
])  # fmt: skip
def test_what_cannot_be_read_wants_nothing_and_says_why(journal: str, text: str) -> None:
    path = control.path_beside(journal)
    Path(path).write_text(text)
    assert not control.read(path).paused and control.read(path).problem


def test_the_agents_user_can_read_what_a_careful_root_wrote(journal: str) -> None:
    before = os.umask(0o077)
    try:
        control.write(control.path_beside(journal), Control(paused=True))
    finally:
        os.umask(before)
    assert os.stat(control.path_beside(journal)).st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("text", "length_s"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400), (" 1.5H ", 5400)],
)
def test_how_long_is_a_number_and_a_unit(text: str, length_s: float) -> None:
    assert control.seconds(text) == length_s


@pytest.mark.parametrize("text", ["2", "h", "0s", "-1h", "2 weeks", "9999d", "1e3s", "٣h"])
def test_any_other_length_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="2h or 1d"):
        control.seconds(text)


def left_s(boot_id: str, boot_s: float, ran_s: float, wall_ms: int | None) -> float:
    return control.pause_left_s(PAUSE, boot_id, boot_s, ran_s, wall_ms)


def test_in_its_own_boot_a_pause_ends_by_the_boot_clock_whatever_the_wall_says() -> None:
    assert left_s("b1", 100.0, 0.0, None) == 7200
    assert left_s("b1", 7200.0, 5.0, 0) == 100
    assert left_s("b1", 7300.0, 5.0, PAUSE.until_ms + 10**9) == 0


def test_after_a_reboot_it_ends_by_the_wall_clock() -> None:
    assert left_s("b2", 10.0, 1.0, PAUSE.until_ms - 60_000) == 60
    assert left_s("b2", 10.0, 1.0, PAUSE.until_ms + 1) < 0


def test_after_a_reboot_without_a_clock_it_ends_by_the_time_that_the_agent_ran() -> None:
    assert left_s("b2", 9000.0, 200.0, None) == 7000
    assert left_s("b2", 9000.0, 7200.0, None) == 0
    assert left_s("b2", 9000.0, 200.0, 0) == 7000, "a wall clock far back makes it no longer"


def test_root_follows_no_link_that_the_agents_user_laid(journal: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = control.path_beside(journal)
    os.symlink(victim, f"{path}.new")
    os.symlink(victim, path)
    control.write(path, Control(paused=True))
    assert victim.read_text() == "precious" and control.read(path).paused


def test_what_root_writes_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    needs.root()
    os.chown(tmp_path, 12345, 23456)
    path = control.path_beside(str(tmp_path / "journal.db"))
    control.write(path, Control(paused=True))
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (12345, 23456)


@pytest.mark.parametrize(("wall_ms", "told_ms"), [(5000, 5000), (1000, 2000)])
def test_what_is_to_be_forgotten_ends_by_the_clock_that_the_results_have(
    wall_ms: int, told_ms: int, journal: str
) -> None:
    """The command may know the time less well than the agent, which an indexer has told it."""
    path = control.path_beside(journal)
    control.write(path, Control(left=True, forget=rfc3339(2000)))
    asked = owner.Owner(journal, 0.0)
    asked.reread(wall_ms)
    assert asked.facts()["forget"] == rfc3339(told_ms)
    asked.reread(wall_ms + 60_000)
    assert asked.facts()["forget"] == rfc3339(told_ms), "another SIGHUP is no other wish"


@pytest.fixture
def impostor(journal: str) -> Iterator[socket.socket]:
    """A process that has taken the name under which the agent of this journal answers."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(status._address(journal))
        listening.listen()
        yield listening


@pytest.mark.usefixtures("impostor")
def test_only_the_process_that_answers_is_signalled_whatever_it_claims(
    journal: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: told.append((pid, number)))
    assert cli.main(["pause", "--journal", journal]) == 0
    assert told == [(os.getpid(), signal.SIGHUP)]
    assert capsys.readouterr().out == "paused\n"
    assert cli.main(["resume", "--journal", journal]) == 0
    assert capsys.readouterr().out == "going on\n"


@pytest.mark.usefixtures("impostor")
def test_a_process_that_cannot_be_named_here_is_not_signalled(
    journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("signalled"))
    monkeypatch.setattr(status, "_peer", lambda _: (0, 0))  # as from another container
    assert cli.main(["pause", "--journal", journal]) == 0


def test_a_pause_is_told_survives_a_restart_and_ends_by_itself(
    tmp_path: Path, mosquitto: Callable[..., Server]
) -> None:
    with alone():
        server = mosquitto()
        with Client(server.port, "agent/box") as client, Box(tmp_path, server.port) as box:
            box.wait_rows(1)
            said = box.told("pause", "2h")
            assert said.returncode == 0 and said.stdout.startswith("paused until 20"), said.stderr
            told = wait_for(lambda: about(client).get("paused_until"))
            read = f"{told[:10]} {told[11:16]} UTC"
            assert said.stdout == f"paused until {read}\n" and about(client)["paused"] is True
            assert f"paused by its owner until {read}" in box.told("status").stdout
            assert box.stop() == 0
            box.start()
            wait_for(lambda: about(client).get("here"))
            assert about(client)["paused_until"] == told
            assert box.told("pause", "1s").returncode == 0
            wait_for(lambda: "the pause is over" in box.log)
            wait_for(lambda: about(client).get("here") and "paused" not in about(client))
            assert control.read(control.path_beside(str(box.journal))) == Control()
            box.wait_rows(1)


def test_a_pause_without_an_end_lasts_until_resume(tmp_path: Path) -> None:
    with alone(), Box(tmp_path, 1) as box:
        box.wait_rows(1)
        assert box.told("pause").stdout == "paused\n"
        wait_for(lambda: "1: nobody listens there\n" in box.told("status").stdout)
        wait_for(lambda: "paused by its owner (" in box.told("status").stdout)
        assert box.told("resume").stdout == "going on\n"
        wait_for(lambda: "paused" not in box.told("status").stdout)
