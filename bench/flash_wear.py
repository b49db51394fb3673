"""What the journal makes a flash card write in a day, at one result in ten seconds.

The real journal on a small ext4 of its own, with the day's clock run fast: every result is
published at its flush and confirmed a second later, as with an indexer online. Counted twice: what
the journal hands to the file system, and the sectors that the device under it is told to write,
which are whole blocks and the file system's own journal, too.
"""

import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from agent import wire
from agent.clock import Reading
from agent.store import Journal
from bench import bed

FLUSHES_S = (0, 10, 60, 300)
EVERY_S = 10
HOURS = {0: 2, 10: 2, 60: 6, 300: 12}  # that are run; a day is counted up from them
AIM_MB = 6  # at 60 s
DAY_S = 86_400


@contextmanager
def card() -> Iterator[tuple[Path, Path]]:
    """A mounted ext4 of 64 MB, and the kernel's counters of the device under it."""
    with tempfile.TemporaryDirectory() as folder:
        image, mounted = Path(folder) / "card", Path(folder) / "mounted"
        mounted.mkdir()
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        options = ["-q", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
        subprocess.run(["mkfs.ext4", *options, str(image)], check=True)
        subprocess.run(["mount", "-o", "loop,noatime", str(image), str(mounted)], check=True)
        try:
            source = subprocess.run(
                ["findmnt", "-no", "SOURCE", str(mounted)], capture_output=True, text=True,
                check=True,
            ).stdout.strip()  # fmt: skip
            yield mounted, Path("/sys/block") / Path(source).name / "stat"
        finally:
            subprocess.run(["umount", str(mounted)], check=True)


def device_bytes(stat: Path) -> int:
    return int(stat.read_text().split()[6]) * 512


def handed_bytes() -> int:
    """What this process has given to write() so far."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


class Written(NamedTuple):
    """Bytes a day."""

    handed: float
    device: float


def day(folder: Path, stat: Path, flush_s: int) -> Written:
    seconds = HOURS[flush_s] * 3600
    journal = Journal(str(folder / f"flush-{flush_s}.db"), "box", flush_s=flush_s, now=0.0)
    rng, wall_ns = random.Random(1), time.time_ns()
    live(journal, rng, range(0, 600, EVERY_S), wall_ns)  # the file has its size
    subprocess.run(["sync", "-f", str(folder)], check=True)
    before, handed_before = device_bytes(stat), handed_bytes()
    live(journal, rng, range(600, 600 + seconds, EVERY_S), wall_ns)
    subprocess.run(["sync", "-f", str(folder)], check=True)
    written = device_bytes(stat) - before
    handed = handed_bytes() - handed_before
    journal.close()
    return Written(handed * DAY_S / seconds, written * DAY_S / seconds)


def live(journal: Journal, rng: random.Random, moments: range, wall_ns: int) -> None:
    """A result at each of these seconds, and a look at what is due at every one between."""
    confirmed: dict[str, list[tuple[int, int]]] = {}
    for at_s in range(moments.start, moments.stop):
        boot_ns = at_s * 10**9
        journal.follow(Reading("boot", boot_ns, wall_ns, "ntp", 60))
        if at_s % EVERY_S == 0:
            journal.add(bed.body(rng, at_s // EVERY_S), boot_ns)
        if confirmed:  # an indexer has them a second after they were published
            journal.confirm(confirmed)
            confirmed = {}
        if journal.flush_due(float(at_s)):
            journal.flush(float(at_s))
            results = journal.as_results(journal.window(journal.published_upto, 1000))
            if results:
                journal.published(journal.window(journal.published_upto, 1000)[-1].id)
                confirmed = {results[0].epoch: wire.ranges_of(r.seq for r in results)}


def main() -> None:
    with card() as (folder, stat):
        for flush_s in FLUSHES_S:
            written = day(folder, stat, flush_s)
            aim = f" (aim {AIM_MB} MB)" if flush_s == 60 else ""
            print(
                f"flash, a result in {EVERY_S} s, --flush {flush_s}: the journal writes "
                f"{written.handed / 1e6:.1f} MB a day{aim}; an ext4 with blocks of 4 KiB makes "
                f"{written.device / 1e6:.1f} MB of it at its device ({HOURS[flush_s]} h counted)"
            )


if __name__ == "__main__":
    main()
