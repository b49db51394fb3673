"""Which list of targets is in force: the one for this agent, else everybody's, else the owner's.

The lists come as retained messages in any order, again on each connection, and from several
brokers; the journal keeps both. The rules. What came last on a topic wins, whole. Nothing is acted
on before two seconds have passed, so that the order of arrival is not seen. A list of white space
alone means: watch nothing, and that lasts. Zero bytes only delete a retained message: for
everybody's list that changes nothing, for this agent's own it means back to everybody's. An own
list that a connection does not confirm, though it brings everybody's, has been deleted meanwhile:
it is dropped after ten seconds. `now` is monotonic, in seconds.
"""

import math
from typing import NamedTuple

SETTLE_S = 2.0
DROP_S = 10.0
MAX_LENGTH = 65536  # far more than 64 targets need; the rest of a longer list is not kept


class Listed(NamedTuple):
    text: str  # as it came; empty: watch nothing
    source: str  # "watch/<agent>", "watch" or "--targets"


class WatchList:
    """Both lists, and when the next change is due."""

    def __init__(self, agent: str, owners: str, saved: dict[str, str | None] | None = None) -> None:
        saved = saved or {}
        self._own_source = f"watch/{agent}"
        self._owners = owners
        self._own = _text(saved.get("own"))
        self._all = _text(saved.get("all"))
        self._own_seen = False  # on this connection
        self._drop_at = math.inf
        self._settle_at = math.inf
        self._acted = self._decide()

    @property
    def in_force(self) -> Listed:
        return self._acted

    def owners(self, text: str, now: float) -> None:
        """The owner of the box names other targets."""
        self._owners = text
        self._settle_at = min(self._settle_at, now)

    def connected(self, now: float) -> None:
        """A new connection: what it brings is what its broker knows."""
        self._own_seen = False
        self._drop_at = math.inf
        self._settle_at = min(self._settle_at, now + SETTLE_S)

    def disconnected(self) -> None:
        """It is over: what it has not brought by now it can no longer bring."""
        self._drop_at = math.inf

    def received(self, for_this_agent: bool, text: str | None, now: float) -> None:
        """A message on one of the two topics; None: zero bytes."""
        self._settle_at = min(self._settle_at, now + SETTLE_S)
        if for_this_agent:
            self._own_seen = True
            self._drop_at = math.inf
            self._own = _text(text)
        elif text is not None:
            self._all = _text(text)
            if not self._own_seen and self._drop_at == math.inf:
                self._drop_at = now + DROP_S

    def due(self, now: float) -> Listed | None:
        """The list that is in force from now on, when that is another than before."""
        if now >= self._drop_at:
            self._drop_at = math.inf
            self._own = None
            self._settle_at = min(self._settle_at, now)
        if now < self._settle_at:
            return None
        self._settle_at = math.inf
        decided = self._decide()
        if decided == self._acted:
            return None
        self._acted = decided
        return decided

    def wake_s(self, now: float) -> float:
        return max(0.0, min(self._settle_at, self._drop_at) - now)

    def to_save(self) -> dict[str, str | None]:
        """What the constructor takes back as `saved`."""
        return {"own": self._own, "all": self._all}

    def _decide(self) -> Listed:
        if self._own is not None:
            return Listed(self._own, self._own_source)
        if self._all is not None:
            return Listed(self._all, "watch")
        return Listed(self._owners, "--targets")


def _text(text: str | None) -> str | None:
    """The list as it is kept: without the white space around it, and not endless."""
    if text is None:
        return None
    kept = text.strip()
    if len(kept) > MAX_LENGTH:
        kept = kept[:MAX_LENGTH].rsplit(None, 1)[0]
    return kept
