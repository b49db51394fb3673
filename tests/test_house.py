"""`make run`: however it is ended, none of its parts is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent import wire
from bench import demo
from indexer import house
from indexer.house_lines import line, listed
from tests.servers import wait_for

SLEEPER = """
import sys, time
from indexer import house

def live(home, words, beside):
    home.start("sleeper", ["sleep", "600"], lambda: True)
    print(home.parts[0].process.pid, flush=True)
    time.sleep(600)

house.live = live
sys.exit(house.main(["--folder", sys.argv[1], "--targets", "127.0.0.1"]))
"""


def is_running(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_a_kill_and_a_closed_terminal_end_all_its_parts(
    number: signal.Signals, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SLEEPER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as house:
        assert house.stdout is not None
        pid = int(house.stdout.readline())
        assert is_running(pid)
        house.send_signal(number)
        house.send_signal(number)  # the impatient press twice
        assert house.wait(30) == 0
        wait_for(lambda: not is_running(pid), what="the part's end")


def test_a_second_one_in_the_same_folder_is_told_where_the_first_is_and_touches_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broker.log").write_text("of the first")
    (tmp_path / "swarming.db").write_text("of the first")
    with house.sole(tmp_path) as tell:
        tell("http://127.0.0.1:8080/")
        for main in (house.main, demo.main):
            assert main(["--folder", str(tmp_path)]) == 1
            assert capsys.readouterr().err == "already running: http://127.0.0.1:8080/\n"
    assert (tmp_path / "broker.log").read_text() == "of the first"
    assert (tmp_path / "swarming.db").read_text() == "of the first"
    with house.sole(tmp_path) as tell:
        tell("free again")


def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "var"
    assert house.main(["--folder", str(folder)]) == 1
    err = capsys.readouterr().err
    assert err == f"the data cannot be kept in {folder}: Not a directory\n"


def test_targets_of_white_space_alone_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(house, "live", lambda _, words, __: seen.append(words))
    assert house.main(["--folder", str(tmp_path), "--targets", "   "]) == 0
    assert house.main(["--folder", str(tmp_path), "--targets", "not/a/target"]) == 2
    assert seen == [""]


def test_the_parts_speak_an_mqtt_that_the_python_broker_answers(tmp_path: Path) -> None:
    home = house.House(tmp_path, 1, 2)
    home.mosquitto = None
    assert home._version() == ["--mqtt", "3.1.1"]
    home.mosquitto = "/usr/sbin/mosquitto"
    assert home._version() == []


def test_the_commands_that_work_here_are_said_to_be_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, verdict = house.House(tmp_path / "var", 1, 2).commands("http://x.example/?a&b")
    assert status.endswith("swarming-agent status --journal var/journal.db")
    assert verdict.endswith("verdict 'http://x.example/?a&b' --store sqlite:var/swarming.db")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"kind": "http", "error": "resolver_failed"}, "http  the name server did not help"),
        (
            {"kind": "http", "error": "resolver_failed", "phases_ms": {"total": None}},
            "http  the name server did not help",
        ),
        ({"kind": "http", "status": 204, "phases_ms": {"total": 31.4}}, "http  31 ms  204"),
        ({"kind": "icmp", "error": "resolver_failed"}, "the name server did not help"),
        ({"kind": "icmp", "error": "timeout", "sent": 10, "rtts_ms": [None] * 10}, "no reply"),
        (
            {"kind": "icmp", "sent": 2, "received": 1, "rtts_ms": [3.0, None]},
            "3.0 ms (1 of 2 lost)",
        ),
        (
            {"kind": "ladder", "gateway": {"sent": 1, "received": 1, "rtts_ms": [0.5]}},
            "router 0.5 ms, provider -",
        ),
    ],
)
def test_a_result_is_a_line_of_one_form(body: dict[str, Any], said: str) -> None:
    result = wire.Result("box", "a" * 16, 1, 0, "ntp", None, body | {"target": "x.example"})
    assert line(result) == f"box  x.example  {said}"


def test_an_own_list_is_told_because_it_goes_first() -> None:
    listener = house.Listener.__new__(house.Listener)
    listener.watch, listener.own = None, {}
    listener._heed(wire.Watch(None, "a.example\nb.example"))
    listener._heed(wire.Watch(None, None))
    listener._heed(wire.Watch("box", "c.example"))
    assert listed(None, listener.watch) == "Watching: a.example b.example"
    assert "box has a list of its own" in listed("box", listener.own["box"])
    listener._heed(wire.Watch("other", ""))
    assert listed("other", listener.own["other"]).endswith("it watches nothing")
    listener._heed(wire.Watch("box", None))
    assert "any more" in listed("box", listener.own.get("box"))
