"""What only root may ask of a modem, left in a small file for an agent that is not root.

``swarming-agent link --write`` (from procd, hotplug or a systemd timer) replaces the file whole.
The agent believes it only when it is root's, nobody else could have written it, and it is of this
boot and not old; times are the boot clock's, which never steps. It holds what a Modem holds: no
number of a modem or a subscriber.
"""

import contextlib
import errno
import json
import math
import os
import re
import secrets
import stat
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from agent.link.modem import Modem, load, measured, modem, table

PATH = "/var/run/swarming/link.json"
OLD_S = 20 * 60
_MOST_BYTES = 64 * 1024
_MOST_MODEMS = 16
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Told(NamedTuple):
    modems: tuple[Modem, ...]
    age_s: float


def write(modems: Sequence[Modem], path: str = PATH) -> None:
    """Replaces the file atomically, readable by all; OSError where that cannot be."""
    if os.path.exists(path) and not os.path.isfile(path):  # a device is never replaced
        raise OSError(errno.EINVAL, "it is not a file")
    os.makedirs(os.path.dirname(os.path.abspath(path)), 0o755, exist_ok=True)
    text = json.dumps(
        {
            "v": 1,
            "boot": _boot_id(),
            "at_s": round(_boot_s(), 3),
            "modems": [one._asdict() | {"signal": dict(one.signal)} for one in modems],
        }
    )
    new = f"{path}.{secrets.token_hex(8)}"
    try:
        # The folder may be another user's: nothing that lies there is followed or trusted.
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with open(handle, "w", encoding="ascii") as file:
            os.fchmod(handle, 0o644)  # whatever the umask is
            file.write(text + "\n")
        os.replace(new, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise


def read(path: str = PATH, *, strict: bool = True) -> Told | None:
    """What root left there, and its age; None when there is nothing to believe.

    Not ``strict`` is for a recorded box, whose files are whoever's and of any time.
    """
    text = _text(path, strict)
    said = table(load(text)) if text is not None else {}
    at_s, listed = said.get("at_s"), said.get("modems")
    if said.get("v") != 1 or not isinstance(at_s, int | float) or not isinstance(listed, list):
        return None
    age_s = _boot_s() - at_s if abs(at_s) < 1e12 else math.inf
    if strict and (said.get("boot") != _boot_id() or not -1 <= age_s <= OLD_S):
        return None
    made = (_modem(table(each)) for each in listed[:_MOST_MODEMS])
    modems = tuple(each for each in made if each is not None)
    return Told(modems, max(0.0, age_s) if strict else 0.0)


def _text(path: str, strict: bool) -> str | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (OSError, ValueError):
        return None
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            return None
        if strict and (facts.st_uid != 0 or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
            return None
        return os.read(handle, _MOST_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return None
    finally:
        os.close(handle)


def _modem(said: dict[str, Any]) -> Modem | None:
    """A Modem again; every field is checked, as if a stranger had written it."""
    words = {name: said.get(name) for name in ("source", "type", "evidence")}
    signal, sure = table(said.get("signal")), said.get("confidence")
    iface, generation, roaming = (said.get(name) for name in ("iface", "generation", "roaming"))
    if not all(isinstance(word, str) and word.isprintable() for word in words.values()):
        return None
    if not re.fullmatch("[a-z0-9]{2,12}", str(words["type"])):
        return None
    if isinstance(sure, bool) or not isinstance(sure, int | float) or not 0 <= sure <= 1:
        return None
    return modem(
        str(words["source"])[:40],
        str(words["type"]),
        str(words["evidence"])[:200],
        float(sure),
        iface=iface if isinstance(iface, str) and iface.isprintable() else None,
        generation=generation if generation in ("2g", "3g", "4g", "5g") else None,
        signal=_signal(signal),
        operator=said.get("operator"),
        roaming=roaming if isinstance(roaming, bool) else None,
    )


def _signal(said: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in said.items():
        with contextlib.suppress(KeyError):  # a name of a newer version
            found |= measured(**{name: value})
    return found


def _boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _boot_id() -> str | None:
    try:
        with open(_BOOT_ID, encoding="ascii", errors="replace") as file:
            return file.read(64).strip()
    except OSError:
        return None
