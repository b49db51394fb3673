"""`make run`: however it is ended, none of its parts is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
