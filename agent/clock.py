"""Time on a box without a real-time clock: the boot clock, and how far the wall clock is believed.

Durations never come from here. A Reading ties the boot clock to wall time and says who vouches for
it. Only a clock that is *known to be wrong* makes results wait; one that nobody can ask about is
"unknown", and good enough. ``judge`` is pure and holds the whole rule; ``ask`` is the thin I/O, it
runs helper commands and belongs on a worker thread.
"""

import os
import secrets
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

ONE_MOMENT_NS = 100_000_000
NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
BUILT_MS = 1_735_689_600_000  # 2025-01-01: no clock of this program can be right before it
LAST_MS = 4_102_444_800_000  # 2100-01-01: nor from then on; and 64 bits of ns end in 2262
INDEXER_AFTER_S = 300.0  # connected without a source: the indexer's time is taken
INDEXER_APART_S = 10.0  # two of its times that far apart, and in agreement, are believed
UNSYNCED_AFTER_S = 600.0  # connected without any: the results go, and say so
ASK_EVERY_S = 60.0
ASK_AGAIN_S = 600.0  # once a source has vouched
HELPER_TIMEOUT_S = 2.0
HELPER_BYTES = 64 * 1024
_AGREE_NS = 2 * NS_PER_S  # an indexer's time is good to the second: closer than this is agreement

BOOT_ID = "proc/sys/kernel/random/boot_id"
TIMESYNC_FOLDER = "run/systemd/timesync"
HOTPLUG = "var/run/swarming/clock"  # one word: synced | unsynced; its mtime is the last vouching
NTPD = "var/state/ntpd-synced"


class Reading(NamedTuple):
    """The boot clock now, and what to add to it for wall time."""

    boot_id: str
    boot_ns: int
    offset_ns: int
    trust: str  # "ntp" | "indexer" | "unknown" | "unsynced" | "waiting": known wrong, results wait
    age_s: int | None  # since somebody last vouched for it

    @property
    def wall_ms(self) -> int:
        return (self.boot_ns + self.offset_ns) // NS_PER_MS


class Facts(NamedTuple):
    """What the sources of time said when they were asked."""

    source: str | None  # who vouched, or denied
    synchronised: bool | None  # None: nobody could be asked
    vouched_ms: int | None  # when the source last heard from its server, if it tells
    rtc: bool  # a real-time clock set the system's clock at boot


NOTHING = Facts(None, None, None, False)
Run = Callable[[Sequence[str]], str | None]


# What a clock is worth


class Evidence(NamedTuple):
    """All that the judgement depends on."""

    wall_ms: int
    built_ms: int
    newest_known_ms: int | None  # the newest time in the journal
    asked: bool  # the sources have been, once
    vouched: bool  # in this boot, by a source
    denied: bool  # a source says "not synchronised", and no real-time clock set it
    indexer: bool  # a live indexer told its time
    connected_s: float


def judge(evidence: Evidence) -> str:
    """The word of trust for a clock of which all this is known."""
    impossible = not evidence.built_ms <= evidence.wall_ms < LAST_MS
    if evidence.vouched and not impossible:
        return "ntp"
    if evidence.indexer and evidence.connected_s >= INDEXER_AFTER_S:
        return "indexer"
    newest_ms = evidence.newest_known_ms
    back_in_time = newest_ms is not None and evidence.wall_ms < newest_ms
    if evidence.asked and not (impossible or back_in_time or evidence.denied):
        return "unknown"
    return "unsynced" if evidence.connected_s >= UNSYNCED_AFTER_S else "waiting"


class Clock:
    """The judgement over one run: fed by events, read by the loop."""

    def __init__(
        self,
        boot_id: str,
        boot_ns: int,
        newest_known_ms: int | None = None,
        built_ms: int = BUILT_MS,
    ) -> None:
        self.boot_id = boot_id
        self._began_ns = boot_ns
        self._newest_known_ms = newest_known_ms
        self._built_ms = built_ms
        self._asked = False
        self._vouched_ns: int | None = None  # boot clock
        self._denied = False
        self._indexer: tuple[int, int] | None = None  # heard at (boot clock), offset: believed
        self._claim: tuple[int, int] | None = None  # the same, of one that nothing bears out yet
        self._connected_ns = 0
        self._connected_since_ns: int | None = None

    def heard(self, facts: Facts, boot_ns: int, wall_ns: int) -> None:
        """What ``ask`` brought. Once vouched for in this boot, a clock only ages."""
        self._asked = True
        if facts.synchronised:
            age_ns = 0
            if facts.vouched_ms is not None:
                age_ns = max(0, wall_ns - facts.vouched_ms * NS_PER_MS)
            self._vouched_ns = max(boot_ns - age_ns, self._vouched_ns or 0)
        self._denied = facts.synchronised is False and not facts.rtc

    def indexer_said(self, time_ms: int, boot_ns: int, wall_ns: int) -> None:
        """A live ``indexer/<name>`` arrived. A wall clock that agrees is the finer of the two.

        A broker that hung, or a slow line, hands it over late, and many at the same moment. So it
        is believed when it agrees with the own wall clock, with what is believed already, or with
        another one that came some time before.
        """
        if not self._built_ms <= time_ms < LAST_MS:
            return  # forged, or as wrong as ours
        told_ns = time_ms * NS_PER_MS - boot_ns
        for offset_ns in (wall_ns - boot_ns, self._indexer[1] if self._indexer else None):
            if offset_ns is not None and abs(offset_ns - told_ns) <= _AGREE_NS:
                self._indexer = (boot_ns, offset_ns)
                return
        claimed = self._claim
        if claimed is None or abs(claimed[1] - told_ns) > _AGREE_NS:
            self._claim = (boot_ns, told_ns)
        elif boot_ns - claimed[0] >= INDEXER_APART_S * NS_PER_S:
            self._indexer = (boot_ns, max(told_ns, claimed[1]))

    def connected(self, boot_ns: int) -> None:
        """A broker took us."""
        if self._connected_since_ns is None:
            self._connected_since_ns = boot_ns

    def disconnected(self, boot_ns: int) -> None:
        """The last broker is gone. The time with a broker adds up over the run."""
        if self._connected_since_ns is not None:
            self._connected_ns += boot_ns - self._connected_since_ns
        self._connected_since_ns = None

    @property
    def ask_every_s(self) -> float:
        """How long until the sources should be asked again."""
        return ASK_EVERY_S if self._vouched_ns is None else ASK_AGAIN_S

    def reading(self, boot_ns: int, wall_ns: int) -> Reading:
        """The time now, and its trust."""
        trust = judge(self._evidence(boot_ns, wall_ns))
        if trust == "ntp" and self._vouched_ns is not None:
            age_s = (boot_ns - self._vouched_ns) // NS_PER_S
            return Reading(self.boot_id, boot_ns, wall_ns - boot_ns, trust, max(0, age_s))
        if trust == "indexer" and self._indexer is not None:
            heard_ns, offset_ns = self._indexer
            age_s = max(0, (boot_ns - heard_ns) // NS_PER_S)
            return Reading(self.boot_id, boot_ns, offset_ns, trust, age_s)
        earliest_ns = self._earliest_ns(boot_ns)
        if trust == "unsynced" and not earliest_ns <= wall_ns < LAST_MS * NS_PER_MS:
            wall_ns = earliest_ns
        return Reading(self.boot_id, boot_ns, wall_ns - boot_ns, trust, None)

    def _evidence(self, boot_ns: int, wall_ns: int) -> Evidence:
        connected_ns = self._connected_ns
        if self._connected_since_ns is not None:
            connected_ns += boot_ns - self._connected_since_ns
        return Evidence(
            wall_ms=wall_ns // NS_PER_MS,
            built_ms=self._built_ms,
            newest_known_ms=self._newest_known_ms,
            asked=self._asked,
            vouched=self._vouched_ns is not None,
            denied=self._denied,
            indexer=self._indexer is not None,
            connected_s=connected_ns / NS_PER_S,
        )

    def _earliest_ns(self, boot_ns: int) -> int:
        """No earlier than this: the newest time known at the start, and what ran since."""
        known_ms = max(self._built_ms, self._newest_known_ms or 0)
        return known_ms * NS_PER_MS + boot_ns - self._began_ns


# The machine


def boot_ns() -> int:
    """Nanoseconds since boot, sleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def now_ns() -> tuple[int, int]:
    """Boot clock and wall clock of one moment: read again if the box slept in between."""
    for _ in range(3):
        before_ns, wall_ns = boot_ns(), time.time_ns()
        if boot_ns() - before_ns < ONE_MOMENT_NS:
            break
    return before_ns, wall_ns


def boot_id(root: str = "/") -> str:
    """The kernel's id of this boot. Without one, this run counts as a boot of its own."""
    text = _read(root, BOOT_ID)
    return text if text else f"run-{secrets.token_hex(16)}"


def ask(root: str = "/", run: Run | None = None) -> Facts:
    """Ask every source of time; bounded, but slow: for a worker thread.

    One that vouches is enough. "Not synchronised" counts only where nobody vouches.
    """
    sources: tuple[Callable[[], Facts], ...] = (
        lambda: _hotplug(root),
        lambda: _ntpd(root),
        lambda: _timesyncd(root),
        lambda: _timedate(run or _run),
        lambda: _chrony(run or _run),
    )
    rtc = _rtc_set_it(root)
    denied: Facts | None = None
    for source in sources:
        facts = source()
        if facts.synchronised:
            return facts._replace(rtc=rtc)
        if facts.synchronised is False and denied is None:
            denied = facts
    return (denied or NOTHING)._replace(rtc=rtc)


def _hotplug(root: str) -> Facts:
    word = _read(root, HOTPLUG)
    if word not in ("synced", "unsynced"):
        return NOTHING
    return Facts("ntpd, told by hotplug", word == "synced", _mtime_ms(root, HOTPLUG), False)


def _ntpd(root: str) -> Facts:
    vouched_ms = _mtime_ms(root, NTPD)
    return NOTHING if vouched_ms is None else Facts("ntpd", True, vouched_ms, False)


def _timesyncd(root: str) -> Facts:
    vouched_ms = _mtime_ms(root, f"{TIMESYNC_FOLDER}/synchronized")
    if vouched_ms is not None:
        return Facts("systemd-timesyncd", True, vouched_ms, False)
    folder = os.path.join(root, TIMESYNC_FOLDER)
    if not (os.path.isdir(folder) and os.access(folder, os.X_OK)):
        return NOTHING  # it does not run, or we may not look
    return Facts("systemd-timesyncd", False, None, False)


def _timedate(run: Run) -> Facts:
    """systemd's timedate1, which knows the kernel's state whichever daemon set it."""
    text = run(["timedatectl", "show", "--property=NTPSynchronized"])
    answer = (text or "").strip().removeprefix("NTPSynchronized=")
    if answer not in ("yes", "no"):
        return NOTHING
    return Facts("timedate1", answer == "yes", None, False)


def _chrony(run: Run) -> Facts:
    """``chronyc -c tracking``: field 4 is when it last measured, the last field the state."""
    fields = (run(["chronyc", "-c", "tracking"]) or "").strip().split(",")
    if len(fields) < 14:
        return NOTHING
    if fields[-1] not in ("Normal", "Insert second", "Delete second"):
        return Facts("chrony", False, None, False)
    try:
        vouched_ms = int(float(fields[3]) * 1000)
    except (ValueError, OverflowError):
        vouched_ms = 0
    return Facts("chrony", True, vouched_ms if vouched_ms > 0 else None, False)


def _rtc_set_it(root: str) -> bool:
    folder = os.path.join(root, "sys/class/rtc")
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return any(_read(folder, f"{name}/hctosys") == "1" for name in names)


def _read(root: str, path: str) -> str | None:
    try:
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
            return file.read(256).strip()
    except OSError:
        return None


def _mtime_ms(root: str, path: str) -> int | None:
    try:
        return os.stat(os.path.join(root, path)).st_mtime_ns // NS_PER_MS
    except OSError:
        return None


def _run(command: Sequence[str]) -> str | None:
    """What the helper printed. Missing, hanging or failing, it is a source that cannot be asked."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=HELPER_TIMEOUT_S,
            check=False,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode != 0:
        return None
    return done.stdout[:HELPER_BYTES].decode("utf-8", errors="replace")
