"""Carries the plan out: each step now, its end later; and puts everything right at last."""

import heapq
import itertools
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from tests.torture.plan import Step
from tests.torture.world import Part, World


class Death(NamedTuple):
    """An agent that we killed; what it had not flushed may be lost."""

    agent: str
    at_ms: int


class Evil:
    """The one hand that breaks things."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.done: Counter[str] = Counter()
        self.deaths: list[Death] = []
        self.complaints: list[str] = []
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._down: set[str] = set()

    def after(self, for_s: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + for_s, next(self._order), work))

    def turn(self) -> None:
        """What was to end has ended; whoever died by itself is told of, and started again."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        for part in self.world.parts.values():
            code = part.ended
            if code is not None:
                self.complaints.append(f"{part.name} ended by itself ({code}): {part.log_end()}")
                self.deaths.append(Death(part.name, time.time_ns() // 1_000_000))
                self.after(1.0, part.start)

    def do(self, step: Step) -> None:
        """One step; counted when it could be done."""
        part = self.world.parts[step.who]
        verb, _, noun = step.what.partition(" ")
        works: dict[str, Callable[[Step, Part], bool]] = {
            "kill": self._kill, "stop": self._stop, "wipe": self._wipe, "pause": self._pause,
            "cut": self._cut, "reboot": self._reboot, "step": self._step, "fill": self._fill,
        }  # fmt: skip
        counted = works[verb](step, part)
        self.done[step.what if counted else f"skipped: {step.what}"] += 1

    def _end(self, part: Part, how: signal.Signals, for_s: float) -> bool:
        if not part.end(how):
            return False
        if part.name in self.world.swarm.agents and how is signal.SIGKILL:
            self.deaths.append(Death(part.name, time.time_ns() // 1_000_000))
        self.after(for_s, part.start)
        return True

    def kill(self, part: Part, for_s: float) -> bool:
        """kill -9; it is back after a while."""
        return self._end(part, signal.SIGKILL, for_s)

    def _kill(self, step: Step, part: Part) -> bool:
        if step.what == "kill indexers":
            both = [self.world.parts[name] for name in self.world.swarm.indexers]
            ended = [self.kill(one, step.for_s) for one in both]
            return all(ended)
        return self.kill(part, step.for_s)

    def _stop(self, step: Step, part: Part) -> bool:
        return self._end(part, signal.SIGTERM, step.for_s)

    def _wipe(self, step: Step, part: Part) -> bool:
        done = self._end(part, signal.SIGKILL, step.for_s)
        self.world.wipe(part.name)
        return done

    def _pause(self, step: Step, part: Part) -> bool:
        if not part.signal(signal.SIGSTOP):
            return False
        self.after(step.for_s, lambda: part.go_on())
        return True

    def _cut(self, step: Step, part: Part) -> bool:
        part.cut()
        self.after(step.for_s, part.mend)
        return True

    def _reboot(self, step: Step, part: Part) -> bool:
        if not part.end():
            return False
        self.deaths.append(Death(part.name, time.time_ns() // 1_000_000))
        self.world.reboot(part.name)
        self.after(step.for_s, part.start)
        if step.value > 0:  # this time somebody tells it the time, in a while
            self.after(step.for_s + 10.0, lambda: self.world.step(part.name, 0.0))
        return True

    def _step(self, step: Step, part: Part) -> bool:
        self.world.step(part.name, step.value)
        return self.world.clockwork(part.name) != "ntp"

    def _fill(self, step: Step, part: Part) -> bool:
        where = self.world.store.parent
        if step.what == "fill disk":
            where = part.folder / "disk"
        self.world.fill(where)
        self.after(step.for_s, lambda: self.world.free(where))
        return True

    def heal(self) -> None:
        """Everything is put right, whatever was to last longer."""
        while self._later:
            heapq.heappop(self._later)[2]()
        for part in self.world.parts.values():
            part.mend()
            part.go_on()
            part.start()
        # Who never knew of an indexer stays where none is, as it should: here it is told to move.
        alone = self.world.parts[self.world.swarm.brokers[-1]]
        alone.end()
        self.after(5.0, alone.start)
        for name in self.world.swarm.agents:
            if self.world.clockwork(name) == "nobody":
                self.world.step(name, 0.0)
