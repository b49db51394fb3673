"""What a service tells systemd over NOTIFY_SOCKET, as sd_notify(3) has it; else nothing at all.

Whoever has a watchdog calls ``alive`` at each turn of its loop, and sleeps no longer than
``longest_sleep_s``: a loop that hangs is silent, and is started again.
"""

import contextlib
import math
import os
import socket
import time
from collections.abc import Mapping

_SEND_S = 1.0  # a supervisor that does not read stops nobody for longer
_PART = 8  # of the watchdog's time, within which alive() says it once: turns may be many


class Notifier:
    """Tells the supervisor of this process, if it has one that wants to be told."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address[:1] == "@" else address
        self._watchdog_s = _watchdog_s(environ) if self._address[:1] in ("\0", "/") else math.inf
        self._alive_at_s = -math.inf
        self._status = ""

    @property
    def longest_sleep_s(self) -> float:
        """So long may a turn of the loop sleep, with time to spare; infinite without a watchdog."""
        return self._watchdog_s / 3

    def ready(self) -> None:
        self._send("READY=1")

    def status(self, line: str) -> None:
        """One line for ``systemctl status``, sent when it is another one than before."""
        if line != self._status:
            self._status = line
            self._send("STATUS=" + " ".join(line.split()))

    def alive(self) -> None:
        """The loop turns."""
        now_s = time.monotonic()
        if self._watchdog_s < math.inf and now_s - self._alive_at_s >= self._watchdog_s / _PART:
            self._alive_at_s = now_s
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, word: str) -> None:
        if self._address[:1] not in ("\0", "/"):
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_SEND_S)
            sock.sendto(word.encode(), self._address)


def _watchdog_s(environ: Mapping[str, str]) -> float:
    """How long the supervisor waits for a word; infinite: it does not, or waits for another."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return math.inf
    try:
        limit_s = int(environ.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return math.inf
    return limit_s if limit_s > 0 else math.inf
