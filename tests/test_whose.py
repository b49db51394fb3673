"""Beside the system's agent, a command of a plain user says whose agent it is, and does nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent import cli, config, swarm_file, whose
from agent.membership import join

LINE = f"https://127.0.0.1:1/join#box:{'a' * 26}:{'0' * 64}"
COMMANDS = ("status", "journal", "pause", "resume", "leave", f"join {LINE} --yes")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plain user's, on a box with Debian's package."""
    for name in [name for name in os.environ if name.startswith("SWARMING_")]:
        monkeypatch.delenv(name)
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "agent.swarm").touch()
    (etc / "agent.toml").touch()
    home = tmp_path / "home"
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda path, mode: str(path).startswith(str(home)))
    monkeypatch.setattr(swarm_file, "SYSTEM_PATH", str(etc / "agent.swarm"))
    monkeypatch.setattr(whose, "SYSTEM_CONFIG", str(etc / "agent.toml"))
    monkeypatch.setattr(config, "STATE_FOLDER", str(tmp_path / "nowhere"))
    monkeypatch.setattr(join, "ask", lambda *_: pytest.fail("the invitation is used up"))
    return home


@pytest.mark.parametrize("line", COMMANDS)
def test_the_systems_agent_is_roots(
    line: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWARMING_CONFIG", whose.SYSTEM_CONFIG)  # as the package's launcher does
    assert cli.main(line.split()) == 2
    out, err = capsys.readouterr()
    command = line.split()[0]
    assert f"the system's, which is root's: sudo swarming-agent {command} (" in err
    assert (out, err.count("\n"), home.exists()) == ("", 1, False)


def test_without_a_package_a_state_that_nobody_may_look_into_tells(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (tmp_path / "etc").iterdir():
        file.unlink()
    assert cli.main(["leave"]) == 0 and "in no swarm" in capsys.readouterr().out
    (tmp_path / "nowhere").mkdir()
    assert cli.main(["leave"]) == 2 and "sudo" in capsys.readouterr().err


def test_who_names_an_agent_or_has_one_is_understood(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["leave", "--journal", str(tmp_path / "journal.db")]) == 0
    (home / "state" / "swarming").mkdir(parents=True)
    (home / "state" / "swarming" / "journal.db").touch()
    assert cli.main(["pause"]) == 0
    assert "sudo" not in capsys.readouterr().err


def test_doctor_says_it_too_and_misses_neither_broker_nor_journal_of_the_users(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["doctor", "--link", "ethernet"])
    out = capsys.readouterr().out
    assert "?    agent        the agent of this box is the system's, which is root's -> sudo" in out
    assert not {"broker", "journal", "name"} & {line.split()[1] for line in out.splitlines()}
