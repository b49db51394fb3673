"""The box's own tools, as bad as they come: none of them costs more than its time."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from agent.link import helpers
from agent.link.helpers import Helpers
from tests.servers import wait_for


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is first on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_what_a_tool_prints_is_its_answer(tools: Path) -> None:
    tool(tools, "mmcli", 'echo "$@"')
    assert Helpers()(["mmcli", "-m", "any; reboot $(id)"]) == "-m any; reboot $(id)\n"


def test_a_tool_speaks_english_and_is_asked_nothing(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("SECRET", "1")
    tool(tools, "mmcli", 'cat; echo "$LC_ALL $LANG $SECRET"')
    assert Helpers()(["mmcli"]) == "C  \n"


@pytest.mark.parametrize(
    "script", ["exit 1", "echo half an answer; exit 3", "echo half; kill -SEGV $$"]
)
def test_a_tool_that_fails_has_said_nothing(tools: Path, script: str) -> None:
    tool(tools, "mmcli", script)
    assert Helpers()(["mmcli"]) is None


def test_a_tool_that_is_not_there_has_said_nothing() -> None:
    assert Helpers()(["no-such-tool-anywhere"]) is None


def test_a_tool_that_cannot_be_run_has_said_nothing(tools: Path) -> None:
    (tools / "mmcli").write_bytes(b"\x7fELF of another machine")
    (tools / "mmcli").chmod(0o755)
    assert Helpers()(["mmcli"]) is None
    assert Helpers()(["mmcli", "a\0b"]) is None


def test_broken_text_is_still_text(tools: Path) -> None:
    tool(tools, "mmcli", r"printf 'operator: Caf\351\n'")
    assert Helpers()(["mmcli"]) == "operator: Caf�\n"


def test_megabytes_are_no_answer_and_end(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tools)
    tool(tools, "mmcli", "echo $$ > pid; exec yes")
    assert Helpers()(["mmcli"]) is None
    assert gone(tools / "pid")


def test_a_tool_that_hangs_is_killed_with_its_children(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helpers, "EACH_S", 1.0)
    monkeypatch.chdir(tools)
    tool(tools, "mmcli", "sleep 600 & echo $! > child; echo $$ > pid; wait")
    assert Helpers()(["mmcli"]) is None
    assert gone(tools / "pid") and gone(tools / "child")


def test_a_tool_that_leaves_a_child_behind_has_answered_only_once_it_is_dead(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tools)
    tool(tools, "mmcli", "sleep 600 >/dev/null & echo $! > child; echo lte")
    assert Helpers()(["mmcli"]) == "lte\n"
    assert gone(tools / "child")


def test_a_tool_that_closes_its_output_and_stays_is_killed(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helpers, "EACH_S", 1.0)
    monkeypatch.chdir(tools)
    tool(tools, "mmcli", "echo $$ > pid; echo lte; exec sleep 600 >/dev/null 2>&1")
    assert Helpers()(["mmcli"]) is None
    assert gone(tools / "pid")


def test_all_tools_together_have_one_time(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tools)
    tool(tools, "mmcli", "sleep 600")
    tool(tools, "uqmi", "echo 1 >> asked; echo lte")
    ask = Helpers(all_s=0.3)
    assert ask(["mmcli"]) is None and ask.left_s() == 0
    assert ask(["uqmi"]) is None and not (tools / "asked").exists()


def test_the_same_question_is_asked_once(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tools)
    tool(tools, "mmcli", 'echo "$@" >> asked; echo lte')
    ask = Helpers()
    assert [ask(["mmcli", "-L"]), ask(("mmcli", "-L")), ask(["mmcli", "-J"])] == ["lte\n"] * 3
    assert (tools / "asked").read_text() == "-L\n-J\n"


def test_the_end_of_the_agent_ends_a_tool(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers, "EACH_S", 600.0)
    monkeypatch.chdir(tools)
    tool(tools, "mmcli", "echo $$ > pid; exec sleep 600")
    stop = threading.Event()
    asking = threading.Thread(target=Helpers(600.0, stop), args=(["mmcli"],))
    asking.start()
    wait_for((tools / "pid").exists, 30.0, "the tool to run")
    stop.set()
    asking.join(30.0)
    assert not asking.is_alive() and gone(tools / "pid")


def gone(pid_file: Path) -> bool:
    """The process is no more, or is about to be reaped by whoever inherited it."""
    if not pid_file.exists():
        return True  # so busy a machine that it was killed before it had begun
    deadline = time.monotonic() + 20.0
    pid = pid_file.read_text().strip()
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    return False
