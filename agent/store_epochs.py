"""Epochs: one stretch of one run of the agent on one clock offset. Pure.

A row holds boot-clock time; its epoch says what to add for wall time, and how far to trust that.
- Until its first row is published an epoch of this boot takes the current offset: the first sync
  is the correction that it waited for. What somebody vouched for is kept against a lesser word.
- Then it is frozen, so that a resend says the same time. After that a step of more than 1 s, or a
  better word for the clock, begins a new epoch.
- One that waits is not published. A reboot ends the waiting: nobody will ever correct it, so it
  goes as ``unsynced``: the newest time known when it began, plus its age. That is never later than
  the truth, and never 1970.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from agent.clock import Reading

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
STEP_NS = NS_PER_S
NO_END = 2**62
_DRIFT_NS = 100_000_000
_AGED_NS = 3600 * NS_PER_S
_LONGEST_NS = 2**60  # 36 years without a reboot
_TRUST = {"waiting": 0, "unsynced": 1, "unknown": 2, "indexer": 3, "ntp": 4}
_VOUCHED = _TRUST["indexer"]


class Epoch(NamedTuple):
    """``base`` is the id of the row before its first: a row's seq is its id less the base."""

    base: int
    name: str  # 64 random bits, so that nothing that is restored or lost can make two alike
    boot_id: str
    start_ns: int  # boot clock
    known_ms: int  # the newest time known when it began
    offset_ns: int
    trust: str
    vouched_ns: int | None  # boot clock of the last vouching
    frozen: bool


def begin(base: int, reading: "Reading", known_ms: int) -> Epoch:
    """A new epoch at this moment."""
    epoch = Epoch(
        base, secrets.token_hex(8), reading.boot_id, reading.boot_ns, known_ms,
        reading.offset_ns, reading.trust, None, False,
    )  # fmt: skip
    return _taken(epoch, reading)


def followed(epoch: Epoch, reading: "Reading") -> Epoch:
    """The epoch after this look at the clock. Those of other boots never change."""
    if epoch.boot_id != reading.boot_id:
        return epoch
    if epoch.frozen:
        return _aged(epoch, reading)
    lesser = _rank(reading.trust) < _rank(epoch.trust)
    if lesser and _rank(epoch.trust) >= _VOUCHED:
        return epoch
    return _taken(epoch, reading)


def outgrown(epoch: Epoch, raw_offset_ns: int, reading: "Reading") -> bool:
    """A frozen epoch cannot hold this reading: a step, a better word, or another boot.

    ``raw_offset_ns`` is the clock's offset when the epoch was frozen, whatever it was frozen at.
    """
    if epoch.boot_id != reading.boot_id:
        return True
    if not epoch.frozen:
        return False
    stepped = abs(reading.offset_ns - raw_offset_ns) > STEP_NS
    return stepped or _rank(reading.trust) > _rank(epoch.trust)


def waits(epoch: Epoch, boot_id: str | None) -> bool:
    """Its rows wait for a better clock, which only its own boot can bring."""
    return epoch.trust == "waiting" and not epoch.frozen and boot_id in (None, epoch.boot_id)


def frozen(epoch: Epoch, floor_ms: int) -> Epoch:
    """The epoch as it will be told from now on."""
    if epoch.frozen:
        return epoch
    begins_ms = (epoch.start_ns + epoch.offset_ns) // NS_PER_MS
    if _rank(epoch.trust) <= _TRUST["unsynced"] or begins_ms < floor_ms:
        offset_ns = epoch.known_ms * NS_PER_MS - epoch.start_ns
        epoch = epoch._replace(offset_ns=offset_ns, trust="unsynced", vouched_ns=None)
    return epoch._replace(frozen=True)


def time_ms(epoch: Epoch, boot_ns: int, floor_ms: int) -> int:
    """UTC of a row, as far as it is known now."""
    return (boot_ns + frozen(epoch, floor_ms).offset_ns) // NS_PER_MS


def is_boot_time(boot_ns: object) -> bool:
    """A boot clock may show this. A card that lies may hold anything in its place."""
    return type(boot_ns) is int and 0 <= boot_ns < _LONGEST_NS


def clock_age_s(epoch: Epoch, boot_ns: int) -> int | None:
    """How long before the row somebody had last vouched for the clock."""
    if epoch.vouched_ns is None:
        return None
    return max(0, boot_ns - epoch.vouched_ns) // NS_PER_S


def _taken(epoch: Epoch, reading: "Reading") -> Epoch:
    taken = epoch._replace(offset_ns=reading.offset_ns, trust=reading.trust, vouched_ns=None)
    return _aged(taken, reading)


def _aged(epoch: Epoch, reading: "Reading") -> Epoch:
    """A vouching counts for the epoch that has its word, also after it is frozen."""
    if reading.trust != epoch.trust or reading.age_s is None:
        return epoch
    vouched_ns = reading.boot_ns - reading.age_s * NS_PER_S
    return epoch._replace(vouched_ns=max(vouched_ns, epoch.vouched_ns or vouched_ns))


def _rank(trust: str) -> int:
    return _TRUST.get(trust, 0)


class Epochs:
    """All epochs that have rows, and the one that new rows get; what of it is not on the disk."""

    def __init__(self, stored: Iterable[Epoch], floor_ms: int) -> None:
        self._floor_ms = floor_ms
        self._all: dict[int, Epoch] = {}
        self._stored: dict[int, Epoch] = {}
        self._moving: set[int] = set()  # not frozen, or not yet written as frozen
        self._suspects: set[int] = set()  # may have no rows any more
        self._boot_id: str | None = None
        self._raw_offset_ns = 0
        self.current: Epoch | None = None
        self.of_this_run: set[str] = set()
        self.reload(stored)

    def reload(self, stored: Iterable[Epoch]) -> None:
        """These, from the disk, take the place of all others; the current one is found by name."""
        name = self.current.name if self.current else None
        self._stored = {epoch.base: epoch for epoch in stored}
        self._all = dict(self._stored)
        self._moving = {base for base, epoch in self._all.items() if not epoch.frozen}
        self._suspects = set(self._all)
        self.current = next((e for e in self._all.values() if e.name == name), None)

    def keep_only(self, bases: Iterable[int]) -> None:
        """The tables are others, and empty: these go on, and so does the current one."""
        kept = {base: self._all[base] for base in bases}
        if self.current is not None:
            kept[self.current.base] = self.current
        self._all, self._stored = kept, {}
        self._moving, self._suspects = set(kept), set()

    def follow(self, reading: "Reading") -> None:
        """Epochs that may still move take the reading; one that cannot hold it is over."""
        self._boot_id = reading.boot_id
        current = {self.current.base} if self.current else set()
        for base in self._moving | current:
            self._all[base] = followed(self._all[base], reading)
        if self.current is None:
            return
        self.current = self._all[self.current.base]
        if not self.current.frozen:
            self._raw_offset_ns = reading.offset_ns
        if outgrown(self.current, self._raw_offset_ns, reading):
            self._suspects.add(self.current.base)
            self.current = None

    def begin(self, base: int, reading: "Reading", known_ms: int) -> Epoch:
        """A new current epoch, for rows after this id."""
        self.current = begin(base, reading, max(known_ms, self._floor_ms))
        self._raw_offset_ns = reading.offset_ns
        self._all[base] = self.current
        self._moving.add(base)
        self.of_this_run.add(self.current.name)
        return self.current

    def at(self, base: int) -> Epoch | None:
        return self._all.get(base)

    def named(self) -> dict[str, tuple[Epoch, int]]:
        """Every epoch by its name, with the last id that can be its own."""
        return ends(self._all.values())

    def time_ms(self, base: int, boot_ns: int) -> int:
        """When a row of a known epoch was measured, as far as it is known now."""
        return time_ms(self._all[base], boot_ns, self._floor_ms)

    def freeze(self, names: Iterable[str]) -> bool:
        """Freeze these; True when that must be written before they are told."""
        wanted = set(names)
        thaw = {e.base for e in self._all.values() if e.name in wanted and not e.frozen}
        for base in thaw:
            self._all[base] = frozen(self._all[base], self._floor_ms)
        self._moving |= thaw
        if self.current is not None:
            self.current = self._all[self.current.base]
        return bool(thaw)

    def waiting_from(self) -> int:
        """Rows from this id on wait for a clock."""
        waiting = (base for base in self._moving if waits(self._all[base], self._boot_id))
        return min((base + 1 for base in waiting), default=NO_END)

    def unsaved(self) -> list[Epoch]:
        """Those whose record on the disk is missing, or differs enough to be worth a page."""
        current = {self.current.base} if self.current else set()
        found = (self._all[base] for base in self._moving | current)
        return [epoch for epoch in found if _matters(self._stored.get(epoch.base), epoch)]

    def saved(self, epochs: Iterable[Epoch], dropped: Iterable[int]) -> None:
        """These were written, and the records of those were deleted."""
        self._suspects = set()
        self._stored.update((epoch.base, epoch) for epoch in epochs)
        for base in dropped:
            self._stored.pop(base, None)
            self._all.pop(base, None)
        self._moving = {b for b in self._moving if b in self._all and not self._all[b].frozen}

    def maybe_empty(self, gone: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """(base, last id) of the epochs that these deletions may have left without a row."""
        return [
            (epoch.base, end)
            for epoch, end in self.named().values()
            if epoch is not self.current
            and (
                epoch.base in self._suspects
                or any(first <= end and last > epoch.base for first, last in gone)
            )
        ]


def ends(epochs: Iterable[Epoch]) -> dict[str, tuple[Epoch, int]]:
    """Every epoch by its name, with the last id that can be its own: the next one's base."""
    ordered = sorted(epochs)
    lasts = [epoch.base for epoch in ordered[1:]] + [NO_END]
    return {epoch.name: (epoch, last) for epoch, last in zip(ordered, lasts, strict=False)}


def _matters(stored: Epoch | None, epoch: Epoch) -> bool:
    if stored is None:
        return True
    plain = {"offset_ns": 0, "vouched_ns": None}
    if stored._replace(**plain) != epoch._replace(**plain):  # type: ignore[arg-type]
        return True
    aged_ns = (epoch.vouched_ns or 0) - (stored.vouched_ns or 0)
    return abs(stored.offset_ns - epoch.offset_ns) > _DRIFT_NS or abs(aged_ns) > _AGED_NS
