"""Does the store take anything? What is said of it, and when it is asked again. Pure.

Once it is down, nothing touches it but the asking: after a random part of a pause that doubles
from FIRST_S to LAST_S (full jitter), because many indexers may wait for the same store. A store
that owes an answer for HANGS_S is down as well, but not asked again: the answer will come.
"""

import random

FIRST_S = 1.0
LAST_S = 5.0
SLOW_S = 3.0  # the page tells of an answer that is owed so long
HANGS_S = 10.0
_MOST_FAILURES = 10  # in the exponent


class Patience:
    """`down` says why; None: it takes results, as far as is known."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failures = 0
        self._due_s = 0.0
        self.down: str | None = None

    def failed(self, reason: str, now_s: float) -> bool:
        """It was asked and was down; True when that is news."""
        news = self.down is None
        self.down = reason
        pause_s = min(LAST_S, FIRST_S * 2.0 ** min(self._failures, _MOST_FAILURES))
        self._failures += 1
        self._due_s = now_s + pause_s * self._rng.random()
        return news

    def waits(self, waited_s: float) -> bool:
        """It has not answered for so long; True when it is down by that, and that is news."""
        if self.down is not None or waited_s < HANGS_S:
            return False
        self.down = "it hangs"
        return True

    def answered(self) -> bool:
        """It took something; True when that is news."""
        news = self.down is not None
        self.down = None
        self._failures = 0
        return news

    def due_s(self, now_s: float) -> float | None:
        """In how long to ask again; None: it is not down."""
        return None if self.down is None else max(0.0, self._due_s - now_s)

    def text(self, waited_s: float) -> str:
        """For the page, with how long an answer is owed."""
        said = [] if self.down is None else [f"down: {self.down}"]
        if waited_s >= SLOW_S:
            said.append(f"has not answered for {waited_s:.0f} s")
        return "; ".join(said) or "ok"
