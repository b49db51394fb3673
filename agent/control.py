"""What the owner has told a running agent: the file ``control.json`` beside the journal.

A command replaces the file whole and sends SIGHUP; the agent reads it at its start and then. So a
pause survives a restart.
"""

import json
import os
from typing import NamedTuple

FILE = "control.json"
_MAX_BYTES = 4096


class Control(NamedTuple):
    paused: bool = False
    problem: str | None = None  # why the file could not be read; one line


def path_beside(journal: str) -> str:
    """The control file of the agent with this journal."""
    return os.path.join(os.path.dirname(os.path.abspath(journal)), FILE)


def read(path: str) -> Control:
    """What the file says. Absent, nothing is wanted; unreadable, nothing either, and it says so."""
    try:
        with open(path, encoding="utf-8") as file:
            told = json.loads(file.read(_MAX_BYTES))
        if not isinstance(told, dict) or not isinstance(told.get("paused", False), bool):
            raise ValueError("not an object with a boolean 'paused'")
    except FileNotFoundError:
        return Control()
    except OSError as error:
        return Control(problem=f"{path}: {error.strerror}")
    except (ValueError, RecursionError) as error:
        return Control(problem=f"{path}: {error}")
    return Control(paused=told.get("paused", False))


def write(path: str, control: Control) -> None:
    """Replace the file whole, durably. Raises OSError."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump({"paused": control.paused}, file)
        file.write("\n")
        os.fchmod(file.fileno(), 0o644)  # root may write what the agent, as another user, reads
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)
