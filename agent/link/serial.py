"""A few harmless AT commands over a serial port that the owner has named; never one that is in use.

Nothing is set, no call is begun, and nothing is asked that would tell who the modem or its
subscriber is. A port that does not answer "OK" to "AT" is left alone at once.
"""

import contextlib
import fcntl
import os
import re
import select
import stat
import termios
import time
from collections.abc import Callable

EACH_S = 1.0
_ENOUGH_BYTES = 16 * 1024
_LOCKS = ("/var/lock", "/run/lock")
_GENERAL = ("AT+COPS?", "AT+CEREG?", "AT+CGREG?", "AT+CSQ", "AT+CESQ")
_BY_MAKER = (
    ("quectel", ("AT+QNWINFO", 'AT+QENG="servingcell"', "AT+QCSQ")),
    ("huawei", ("AT^SYSINFOEX", "AT^HCSQ?")),
    ("simcom", ("AT+CPSI?",)),
    ("sierra", ("AT!GSTATUS?",)),
    ("fibocom", ("AT+GTCCINFO?",)),
)
_ENDS = re.compile(rb"(?:^|\r|\n)(OK|ERROR|\+CM[ES] ERROR:[^\r\n]*|COMMAND NOT SUPPORT)\r?\n")


def transcript(device: str, left_s: Callable[[], float]) -> str | None:
    """What the modem at this port answered, commands and all; None: nobody may ask, or answers."""
    if is_held(device):
        return None
    try:
        port = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None  # also EBUSY: somebody wants it for himself
    try:
        if not stat.S_ISCHR(os.fstat(port).st_mode) or not os.isatty(port):
            return None
        fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
        before = termios.tcgetattr(port)
        try:
            _make_raw(port, before)
            return _talk(port, left_s)
        finally:
            termios.tcsetattr(port, termios.TCSANOW, before)
    except (OSError, termios.error):
        return None
    finally:
        os.close(port)


def is_held(device: str, proc: str = "/proc") -> bool:
    """Whether another program has it: by its lock file, or by its open files as far as we see."""
    real = os.path.realpath(device)
    for folder in _LOCKS:
        if _is_running(_text(os.path.join(folder, f"LCK..{os.path.basename(real)}")), proc):
            return True
    for pid in _entries(proc):
        if pid.isdigit() and int(pid) != os.getpid():
            folder = os.path.join(proc, pid, "fd")
            for handle in _entries(folder):
                with contextlib.suppress(OSError):
                    if os.readlink(os.path.join(folder, handle)) == real:
                        return True
    return False


def _talk(port: int, left_s: Callable[[], float]) -> str | None:
    termios.tcflush(port, termios.TCIOFLUSH)
    if "OK" not in _ask(port, "AT", left_s).split():
        return None
    maker = _ask(port, "AT+CGMI", left_s)
    finer = next((asked for name, asked in _BY_MAKER if name in maker.lower()), ())
    return "".join(_ask(port, command, left_s) for command in (*finer, *_GENERAL))


def _ask(port: int, command: str, left_s: Callable[[], float]) -> str:
    """The answer, as far as it has come in its time."""
    until_s = time.monotonic() + min(EACH_S, left_s())
    said = bytearray()
    if until_s <= time.monotonic():
        return ""
    os.write(port, command.encode("ascii") + b"\r")
    while len(said) < _ENOUGH_BYTES and not _ENDS.search(said):
        wait_s = until_s - time.monotonic()
        if wait_s <= 0 or not select.select([port], [], [], wait_s)[0]:
            break
        part = os.read(port, 4096)
        if not part:
            break
        said += part
    return said.decode("ascii", errors="replace")


def _make_raw(port: int, before: "termios._AttrReturn") -> None:
    mode = list(before)
    mode[0] = mode[1] = mode[3] = 0  # bytes as they are: no echo, no line editing
    mode[2] = termios.CS8 | termios.CREAD | termios.CLOCAL
    mode[4] = mode[5] = termios.B115200
    termios.tcsetattr(port, termios.TCSANOW, mode)


def _is_running(pid: str, proc: str) -> bool:
    return pid.isdigit() and os.path.exists(os.path.join(proc, pid))


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(64).strip()
    except OSError:
        return ""


def _entries(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
