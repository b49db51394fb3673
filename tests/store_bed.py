"""What the tests of journal and drain share: a clock to read from, bodies, a journal opened so."""

import json
import os
from pathlib import Path
from typing import Any

from agent.clock import Reading
from agent.store import Journal, Row

NS_PER_S = 1_000_000_000
TODAY_S = 1_790_000_000  # some day in 2026
BOOT = "boot-1"


def fast_parent() -> str | None:
    """Where a folder may be made that costs no real fsync; None: wherever others are."""
    try:
        disk = os.statvfs("/dev/shm")
    except OSError:
        return None
    roomy = disk.f_bavail * disk.f_frsize > 32 * 1024 * 1024
    return "/dev/shm" if roomy and os.access("/dev/shm", os.W_OK) else None


def reading(
    at_s: float,
    *,
    wall_s: float | None = None,
    trust: str = "ntp",
    age_s: int | None = None,
    boot: str = BOOT,
) -> Reading:
    """The clock at this second after boot; the box booted at TODAY_S unless told otherwise."""
    boot_ns = round(at_s * NS_PER_S)
    wall_ns = round((TODAY_S + at_s if wall_s is None else wall_s) * NS_PER_S)
    return Reading(boot, boot_ns, wall_ns - boot_ns, trust, age_s)


def body(number: int = 0, **more: Any) -> dict[str, Any]:
    return {"kind": "icmp", "target": "voila.fr", "ok": True, "number": number} | more


def open_journal(folder: Path, **options: Any) -> Journal:
    return Journal(str(folder / "journal.db"), "box", **options)


def fill(journal: Journal, count: int, *, at_s: float = 10.0, now: float = 1.0) -> list[Row]:
    """Committed rows, ten seconds apart; all that can be published."""
    for number in range(count):
        journal.follow(reading(at_s + 10 * number))
        journal.add(body(number), round((at_s + 10 * number) * NS_PER_S))
    journal.flush(now)
    return journal.window(0, 1_000_000)


def numbers(rows: list[Row]) -> list[int]:
    return [json.loads(row.body)["number"] for row in rows]
