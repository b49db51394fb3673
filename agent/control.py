"""What the owner has told a running agent: the file ``control.json`` beside the journal.

A command replaces the file whole and sends SIGHUP; the agent reads it at its start and then. So a
pause survives a restart, and so does leaving.
"""

import contextlib
import json
import os
import re
from typing import Any, NamedTuple

from agent.wire import for_people, rfc3339

FILE = "control.json"
LONGEST_PAUSE_S = 366 * 86_400.0
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MAX_BYTES = 4096
_LAST_MS = 1 << 53


class Pause(NamedTuple):
    """A pause that ends by itself: when, by three clocks, of which each may be of no use."""

    for_s: float  # from when it was asked for
    until_ms: int  # the wall clock's time
    boot_id: str  # the boot in which it was asked for …
    boot_s: float  # … and when, by the clock of that boot


class Control(NamedTuple):
    paused: bool = False
    pause: Pause | None = None  # None: until resume
    left: bool = False  # the box leaves its swarm …
    forget: str | None = None  # … and wants what it measured until this time to be forgotten
    gone: bool = False  # that is done: it must not come back by itself
    told: str | None = None  # the broker that knows
    problem: str | None = None  # why the file could not be read; one line


def path_beside(journal: str) -> str:
    """The control file of the agent with this journal."""
    return os.path.join(os.path.dirname(os.path.abspath(journal)), FILE)


def has_left(journal: str) -> str:
    """Of a box that is ``gone``, for a person: nothing else brings it back."""
    file = path_beside(journal)
    return (
        "this box has left its swarm: join brings it back (where no invitation is wanted, so does "
        f"removing {file})"
    )


def seconds(text: str) -> float:
    """Of 90s, 30m, 2h or 1d; else ValueError with a sentence."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd])", text.strip().lower(), re.ASCII)
    length_s = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if not 0 < length_s <= LONGEST_PAUSE_S:
        raise ValueError(f"{text!r} must be a time such as 90s, 30m, 2h or 1d, of at most a year")
    return length_s


def pause_left_s(
    pause: Pause, boot_id: str, boot_s: float, ran_s: float, wall_ms: int | None
) -> float:
    """How long it still lasts; 0 or less: it is over. Pure.

    In the boot in which it was asked for, the boot clock is right whatever the wall clock does.
    After a reboot the wall clock counts, where it is trusted (else None); and a pause never lasts
    longer than the agent has run since.
    """
    if boot_id == pause.boot_id:
        return pause.boot_s + pause.for_s - boot_s
    left_s = pause.for_s - ran_s
    return left_s if wall_ms is None else min(left_s, (pause.until_ms - wall_ms) / 1000)


def in_words(control: Control) -> str:
    """For a person; empty: nothing is wished."""
    if control.left:
        return "leaving the swarm"
    if not control.paused:
        return ""
    until = for_people(rfc3339(control.pause.until_ms)) if control.pause else None
    return f"paused until {until}" if until else "paused"


def read(path: str) -> Control:
    """What the file says. Absent, nothing is wanted; unreadable, nothing either, and it says so."""
    try:
        with open(path, encoding="utf-8") as file:
            return _checked(json.loads(file.read(_MAX_BYTES)))
    except FileNotFoundError:
        return Control()
    except OSError as error:
        return Control(problem=f"{path}: {error.strerror}")
    except (ValueError, RecursionError) as error:
        return Control(problem=f"{path}: {error}")


def write(path: str, control: Control) -> None:
    """Replace the file whole, durably. Raises OSError.

    Root may write what the agent, as another user, reads and replaces; and that user, who owns the
    folder, must not be able to lead root's hand elsewhere by a link.
    """
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with open(handle, "w", encoding="utf-8") as file:
        json.dump(_as_json(control), file)
        file.write("\n")
        os.fchmod(handle, 0o644)
        if os.geteuid() == 0:
            folder = os.stat(os.path.dirname(path))
            os.fchown(handle, folder.st_uid, folder.st_gid)
        file.flush()
        os.fsync(handle)
    os.replace(new, path)
    folder_handle = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder_handle)  # the name, too
    finally:
        os.close(folder_handle)


def _as_json(control: Control) -> dict[str, Any]:
    told: dict[str, Any] = {"paused": control.paused}
    if control.pause is not None:
        told |= control.pause._asdict()
    if control.left:
        told |= {"left": True, "gone": control.gone}
        told |= {"forget": control.forget, "told": control.told}
    return told


def _checked(told: Any) -> Control:
    """ValueError: it is not what a command of ours writes."""
    if not isinstance(told, dict):
        raise ValueError("not an object")
    paused, left, gone = (_boolean(told, name) for name in ("paused", "left", "gone"))
    pause = None
    if paused and told.get("until_ms") is not None:
        pause = Pause(
            for_s=_number(told, "for_s", LONGEST_PAUSE_S),
            until_ms=int(_number(told, "until_ms", _LAST_MS)),
            boot_id=_text(told, "boot_id") or "",
            boot_s=_number(told, "boot_s", _LAST_MS),
        )
    forget, broker = _text(told, "forget"), _text(told, "told")
    return Control(paused, pause, left, forget, gone, broker)


def _boolean(told: dict[str, Any], name: str) -> bool:
    value = told.get(name, False)
    if not isinstance(value, bool):
        raise ValueError(f"{name!r} is not true or false")
    return value


def _number(told: dict[str, Any], name: str, most: float) -> float:
    value = told.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"{name!r} is not a number of 0 to {most:g}")
    return float(value)


def _text(told: dict[str, Any], name: str) -> str | None:
    value = told.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name!r} is not text")
    return value
