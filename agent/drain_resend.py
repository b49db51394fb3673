"""When the drain goes back to the oldest row, and how far. Pure.

A resend covers what was published more than a minute ago and had its PUBACK, never anything
fresher. It begins when the oldest published row has stayed the oldest for 1 min, then 2, 4 … 6 h,
and again 1 min as soon as it is confirmed; and a while after an indexer came online.
"""

import math
from collections import deque
from typing import NamedTuple


class Pace(NamedTuple):
    """How long it waits, and what is too fresh to be sent again."""

    resend_s: float
    resend_most_s: float
    fresh_s: float
    tries: int


class Resend:
    """The resend that is under way, if one is, and when the next begins."""

    def __init__(self, pace: Pace, published_upto: int) -> None:
        self._pace = pace
        self._at: float | None = None  # asked for, whatever the oldest row says
        self.begin_anew(published_upto)

    def begin_anew(self, published_upto: int) -> None:
        """Rows up to this id were published at some time before."""
        self.span: tuple[int, int] | None = None  # (cursor, end)
        self._history: deque[tuple[float, int]] = deque([(-math.inf, published_upto)])
        self._oldest: int | None = None
        self._since = -math.inf
        self._wait_s = self._pace.resend_s
        self._tries = 0

    def passed(self, id_: int, now: float) -> None:
        """The cursor is here now. One entry a second is kept, for a minute."""
        if now - self._history[-1][0] < self._pace.fresh_s / 60:
            self._history[-1] = (self._history[-1][0], id_)
        else:
            self._history.append((now, id_))
        while len(self._history) > 1 and self._history[1][0] <= now - self._pace.fresh_s:
            self._history.popleft()

    def went_back(self, upto: int) -> None:
        """What lies after this id will be published anew."""
        self._history = deque((at, min(id_, upto)) for at, id_ in self._history)

    def stop(self) -> None:
        """Nobody is there to confirm anything."""
        self.span = self._at = None

    def ask(self, at: float, now: float) -> None:
        """An indexer is there: begin one then; the oldest row's time runs from now on."""
        self._at, self._since = at, now

    def walked(self, upto: int | None) -> None:
        """The resend came this far; None: it is at its end."""
        self.span = (upto, self.span[1]) if upto is not None and self.span else None

    def consider(self, oldest: int | None, cursor: int, before: int, now: float) -> bool:
        """Begin one if it is time. True: three tries brought no confirmation.

        ``cursor`` is where first sendings are; what lies from ``before`` on has no PUBACK yet.
        """
        if oldest is None or oldest > cursor:
            self._oldest = self._at = None
            return False
        if oldest != self._oldest:
            self._oldest, self._since = oldest, now
            self._wait_s, self._tries = self._pace.resend_s, 1
        if self._at is not None and now >= self._at:
            self._at = None
            self._rewind(oldest, before, now)
        elif now >= self._since + self._wait_s:
            self._since = now
            if self._rewind(oldest, before, now):
                return self._next_try()
        return False

    def hurry(self) -> None:
        """Something else is tried now: it need not wait as long as what failed."""
        self._wait_s = self._pace.resend_s

    def wake_at(self) -> float:
        """When ``consider`` may begin one."""
        due = self._since + self._wait_s
        return due if self._at is None else min(due, self._at)

    def _next_try(self) -> bool:
        self._wait_s = min(self._pace.resend_most_s, self._wait_s * 2)
        self._tries += 1
        if self._tries <= self._pace.tries:
            return False
        self._tries = 1
        return True

    def _rewind(self, oldest: int, before: int, now: float) -> bool:
        stale = [id_ for at, id_ in self._history if at <= now - self._pace.fresh_s]
        end = min(before - 1, stale[-1] if stale else 0)
        if end < oldest:
            return False
        self.span = (oldest - 1, end)
        return True
