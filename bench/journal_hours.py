"""How many hours of results a journal of so many megabytes holds, while nobody takes them.

The real journal, filled past its cap at the pace of a probe a slot, written at each 60 s; what is
left in it when the oldest have begun to go. The files' own sizes, with what SQLite keeps beside,
say what flash really has to hold.

    python -m bench.journal_hours
"""

import random
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from agent.clock import Reading
from agent.schedule import JITTER_S, SLOT_S
from agent.store import Journal
from bench import bed

CAPS_MB = (1, 2, 4, 8)
FLUSH_S = 60
EVERY_S = SLOT_S + JITTER_S / 2  # a slot, on average


class Held(NamedTuple):
    rows: int
    most_bytes: int  # on the disk, at any time

    @property
    def hours(self) -> float:
        return self.rows * EVERY_S / 3600


def held(folder: Path, cap_bytes: int) -> Held:
    """What a journal with this cap holds once it is full."""
    path = folder / f"{cap_bytes}.db"
    journal = Journal(str(path), "box", max_rows=10**9, max_bytes=cap_bytes, flush_s=FLUSH_S)
    rng, wall_ns, most, number = random.Random(1), time.time_ns(), 0, 0
    a_day_after = None
    while a_day_after is None or number < a_day_after:
        at_s = number * EVERY_S
        journal.follow(Reading("boot", int(at_s * 1e9), wall_ns, "ntp", 60))
        journal.add(bed.body(rng, number), int(at_s * 1e9))
        number += 1
        if journal.flush_due(at_s):
            journal.flush(at_s)
            most = max(most, sum(each.stat().st_size for each in folder.glob(f"{path.name}*")))
            if a_day_after is None and journal.counts().evicted:
                a_day_after = number + int(86_400 / EVERY_S)
    rows = journal.counts().waiting
    journal.close()
    return Held(rows, most)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for cap_mb in CAPS_MB:
            found = held(Path(folder), cap_mb * 10**6)
            print(
                f"journal of {cap_mb} MB: {found.rows:,} results, {found.hours:.0f} hours at one "
                f"in {EVERY_S:g} s ({found.hours / cap_mb:.0f} hours a MB); "
                f"its files took {found.most_bytes / 1e6:.1f} MB at most"
            )


if __name__ == "__main__":
    main()
