"""The clock of one box: real time, shifted as the file `clock.json` says, read again as it changes.

Only the process of one agent is deceived. A reboot is another boot id and a boot clock near zero.
"""

import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from agent import clock

FILE = "clock.json"
SAME_MOMENT_NS = 100_000_000


class Setting(NamedTuple):
    boot_id: str
    boot_shift_ns: int  # boot clock of the box = that of this machine + this
    wall_shift_ns: int  # wall clock of the box = the truth + this
    synchronised: bool | None  # what its sources of time say

    def save(self, folder: Path) -> None:
        """Atomically: whoever reads sees the old one or the new one."""
        beside = folder / f"{FILE}.new"
        beside.write_text(json.dumps(self))
        os.replace(beside, folder / FILE)


def load(folder: Path) -> Setting:
    return Setting(*json.loads((folder / FILE).read_text()))


class FakeClock:
    """Takes the place of what agent.clock asks the machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = (0, 0)
        self._setting = load(folder)
        self._boot_shift_ns = self._setting.boot_shift_ns

    @property
    def setting(self) -> Setting:
        found = os.stat(self._folder / FILE)
        if (found.st_ino, found.st_mtime_ns) != self._seen:
            self._setting = load(self._folder)
            self._seen = (found.st_ino, found.st_mtime_ns)
        return self._setting

    def boot_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) + self._boot_shift_ns

    def now_ns(self) -> tuple[int, int]:
        """Of one moment: whoever is stopped between two looks looks again."""
        shift_ns = self.setting.wall_shift_ns
        while True:
            before_ns, wall_ns = self.boot_ns(), time.time_ns()
            if self.boot_ns() - before_ns < SAME_MOMENT_NS:
                return before_ns, wall_ns + shift_ns

    def boot_id(self, root: str = "/") -> str:
        return self.setting.boot_id

    def ask(self, root: str = "/", run: clock.Run | None = None) -> clock.Facts:
        said = self.setting.synchronised
        return clock.Facts(None if said is None else "the torture", said, None, False)

    def true_ms(self, boot_ns: int) -> int:
        """When that was, in truth."""
        return (time.time_ns() - (self.boot_ns() - boot_ns)) // 1_000_000

    def install(self) -> None:
        """From here on, the agent of this process lives on this clock."""
        clock.boot_ns = self.boot_ns
        clock.now_ns = self.now_ns
        clock.boot_id = self.boot_id
        clock.ask = self.ask
