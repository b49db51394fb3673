"""Runs the box's own tools (mmcli, uqmi, ubus, …): one that cannot answer is missing evidence.

A tool is given 2 s and 256 KiB, all tools of one look together 5 s; then its whole process group
is killed. No shell is ever involved, and nothing that came by MQTT is ever an argument.
"""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

Runner = Callable[[Sequence[str]], str | None]  # what it printed; None: no answer

EACH_S = 2.0
ALL_S = 5.0
MOST_BYTES = 256 * 1024
_STOP_WITHIN_S = 0.2
_POLL_S = 0.005
_GRACE_S = 0.5  # for the kernel to end what was killed


_TELLS_A_STATE = frozenset({"umbim"})  # its exit status is that of the registration


class Helpers:
    """The tools of one look at the box. Call it like a Runner; the same question is asked once.

    ``stop`` ends whatever still runs, as the agent does at its own end.
    """

    def __init__(self, all_s: float = ALL_S, stop: threading.Event | None = None) -> None:
        self._until_s = time.monotonic() + all_s
        self._stop = stop or threading.Event()
        self._answers: dict[tuple[str, ...], str | None] = {}

    def __call__(self, command: Sequence[str]) -> str | None:
        key = tuple(command)
        if key not in self._answers:
            self._answers[key] = self._run(key)
        return self._answers[key]

    def left_s(self) -> float:
        """Of the time for all; also what talks to a modem without a tool keeps to it."""
        return 0.0 if self._stop.is_set() else max(0.0, self._until_s - time.monotonic())

    def _run(self, command: tuple[str, ...]) -> str | None:
        path = shutil.which(command[0])
        until_s = min(time.monotonic() + EACH_S, self._until_s)
        if path is None or not self.left_s():
            return None
        try:
            process = subprocess.Popen(
                [path, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            )
        except (OSError, ValueError):
            return None
        printed = self._printed(process, until_s)
        ended = _end(process, until_s if printed is not None else 0.0)
        state = ended is not None and ended > 0 and command[0] in _TELLS_A_STATE
        if printed is None or not (ended == 0 or state):
            return None
        return printed.decode("utf-8", errors="replace")

    def _printed(self, process: "subprocess.Popen[bytes]", until_s: float) -> bytes | None:
        """All of it, or None when it takes too long or is too much."""
        assert process.stdout is not None
        handle, printed = process.stdout.fileno(), bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            while len(printed) <= MOST_BYTES:
                left_s = until_s - time.monotonic()
                if left_s <= 0 or self._stop.is_set():
                    return None
                if selector.select(min(left_s, _STOP_WITHIN_S)):
                    part = os.read(handle, 65536)
                    if not part:
                        return bytes(printed)
                    printed += part
        return None


def _end(process: "subprocess.Popen[bytes]", until_s: float) -> int | None:
    """Its exit status; whatever is left of it and its children is killed."""
    if process.stdout is not None:
        process.stdout.close()
    while not _has_ended(process.pid) and time.monotonic() < until_s:
        time.sleep(_POLL_S)  # it has closed its output, and is about to end
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # not reaped yet: the number is still its own
    with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: let it be
        process.wait(_GRACE_S)
    return process.returncode


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
