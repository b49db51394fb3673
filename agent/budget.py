"""The bytes of a month, and the slots that they are enough for. Pure.

A month is 30 days of counted running time, for a box has no calendar that it can trust. Bytes left
divided by time left is the pace; it is never faster than the schedule's own, because the schedule
takes the longer of the two. When all is spent: one probe and one batch an hour.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

MONTH_S = 30 * 24 * 3600.0
METERED_BYTES = 500_000_000  # a month, on a mobile link whose owner has said nothing
SPENT_SLOT_S = 3600.0
FIRST_COST_BYTES = 3000.0  # of a probe with its result on the wire, until it is measured
_WEIGHT = 0.05  # of the newest probe in the mean cost


class Plan(NamedTuple):
    slot_s: float  # for Schedule.stretch; 0: no wish
    spent: bool
    left_bytes: int | None  # None: no budget is in force


NO_BUDGET = Plan(0.0, False, None)


class Budget:
    """What this month has cost so far. ``now`` is the boot clock in seconds."""

    def __init__(
        self, limit_bytes: int | None, now: float, saved: Mapping[str, Any] | None = None
    ) -> None:
        self._limit_bytes = limit_bytes
        self._spent_bytes = _number(saved, "spent_bytes")
        self._ran_s = _number(saved, "ran_s")
        self._cost_bytes = _number(saved, "cost_bytes") or FIRST_COST_BYTES
        self._now = now
        self._since_probe_bytes = 0

    def applies(self, metered: bool) -> bool:
        """On metered links, and on all where the owner has named a budget."""
        return metered or self._limit_bytes is not None

    def spend(self, count_bytes: int, metered: bool) -> None:
        """So many went over the wire."""
        if self.applies(metered):
            self._spent_bytes += max(0, count_bytes)
            self._since_probe_bytes += max(0, count_bytes)

    def probed(self) -> None:
        """A probe has ended, its bytes are told: so learn what one costs, publishing included."""
        cost_bytes = float(self._since_probe_bytes)
        self._since_probe_bytes = 0
        if cost_bytes > 0:
            self._cost_bytes += _WEIGHT * (cost_bytes - self._cost_bytes)

    def plan(self, metered: bool, now: float) -> Plan:
        """The pace from here on."""
        self._run(now)
        if not self.applies(metered):
            return NO_BUDGET
        left_bytes = (self._limit_bytes or METERED_BYTES) - self._spent_bytes
        if left_bytes <= 0:
            return Plan(SPENT_SLOT_S, True, 0)
        slot_s = self._cost_bytes * (MONTH_S - self._ran_s) / left_bytes
        return Plan(min(slot_s, SPENT_SLOT_S), False, int(left_bytes))

    def saved(self) -> dict[str, float]:
        """For the journal's settings; the next run begins with it."""
        return {
            "spent_bytes": self._spent_bytes,
            "ran_s": self._ran_s,
            "cost_bytes": self._cost_bytes,
        }

    def _run(self, now: float) -> None:
        self._ran_s += max(0.0, now - self._now)
        self._now = now
        if self._ran_s >= MONTH_S:
            self._ran_s %= MONTH_S
            self._spent_bytes = 0.0


def _number(saved: Mapping[str, Any] | None, name: str) -> float:
    """A number from the journal; anything else there counts as nothing."""
    value = (saved or {}).get(name)
    usable = isinstance(value, int | float) and 0 <= value < 2**60
    return float(value) if usable and value is not None else 0.0
