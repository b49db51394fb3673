"""What the owner tells a running agent reaches it, and nobody else."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import cli, control, status
from agent.control import Control


@pytest.fixture
def journal(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


def test_what_is_written_is_read(journal: str) -> None:
    path = control.path_beside(journal)
    assert control.read(path) == Control()
    control.write(path, Control(paused=True))
    assert control.read(path) == Control(paused=True)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"paused": 1}', "[" * 4000])
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
