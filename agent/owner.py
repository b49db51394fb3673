"""What the owner wants of the running agent right now: to pause, to leave, or to go on.

The file is read at the start and at SIGHUP; in between only time can change it, when a pause ends.
"""

import contextlib
import logging
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from agent import control
from agent.control import Control
from agent.wire import WireError, from_rfc3339, rfc3339

log = logging.getLogger("swarming")


class Moment(NamedTuple):
    """Now, by each clock."""

    boot_id: str
    boot_s: float
    wall_ms: int | None  # None: the wall clock is known to be wrong


class Owner:
    """The owner's wishes for the agent with this journal."""

    def __init__(self, journal: str, boot_s: float) -> None:
        self._path = control.path_beside(journal)
        self._began_s = boot_s
        self._said = Control()
        self._forget: str | None = None  # what was measured until then

    @property
    def paused(self) -> bool:
        """Nothing is to be probed."""
        return self._said.paused or self._said.left

    @property
    def leaving(self) -> bool:
        """The swarm is to be told that this box leaves; then the agent ends."""
        return self._said.left

    @property
    def silent(self) -> bool:
        """No more results are to be published: they would only have to be forgotten again."""
        return self._said.left and self._said.forget is not None

    def reread(self, wall_ms: int) -> None:
        """``wall_ms``: as the results have it. Who asks may know less of the time than the agent,
        whose results would then be of after it."""
        before, self._said = self._said, control.read(self._path)
        if self._said.forget != before.forget:
            self._forget = _later(self._said.forget, wall_ms)
        if self._said.problem:
            log.warning("%s", self._said.problem)
        if self._said.left and not before.left:
            log.info("leaving the swarm, as the owner wishes")
        elif (words := self.in_words()) != control.in_words(before):
            log.info("%s", f"{words}, as the owner wishes" if words else "going on")

    def act(self, now: Moment) -> bool:
        """Ends a pause whose time is over; whether it did."""
        if self._left_s(now) > 0:
            return False
        log.info("the pause is over: going on")
        before, self._said = self._said, Control()
        with contextlib.suppress(OSError):  # by the clock it is over after a restart, too
            if control.read(self._path) == before:
                control.write(self._path, self._said)
        return True

    def wake_s(self, now: Moment) -> float:
        """Until a pause ends."""
        return max(0.0, self._left_s(now))

    def has_left(self, broker: str) -> None:
        """A broker has it: the agent is not to come back by itself."""
        self._said = self._said._replace(gone=True, told=broker)
        try:
            control.write(self._path, self._said)
        except OSError as error:
            log.warning("%s: %s", self._path, error.strerror)

    def facts(self) -> Mapping[str, Any]:
        """For ``agent/<agent>``."""
        if self._said.left:
            forget = {} if self._said.forget is None else {"forget": self._forget}
            return {"here": False, "left": True} | forget
        if not self._said.paused:
            return {}
        pause = self._said.pause
        return {"paused": True} | ({"paused_until": rfc3339(pause.until_ms)} if pause else {})

    def in_words(self) -> str:
        """For a person; empty: nothing is wished."""
        return control.in_words(self._said)

    def _left_s(self, now: Moment) -> float:
        pause = self._said.pause
        if pause is None or not self._said.paused:
            return math.inf
        ran_s = now.boot_s - self._began_s
        return control.pause_left_s(pause, now.boot_id, now.boot_s, ran_s, now.wall_ms)


def _later(time: str | None, wall_ms: int) -> str:
    with contextlib.suppress(WireError):
        wall_ms = max(wall_ms, from_rfc3339(time))
    return rfc3339(wall_ms)
