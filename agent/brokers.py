"""Which broker to try next, when, and in which version of MQTT. Pure: told what happened, and when.

The rules. Brokers are tried in random order; one that dies is left for the next one. The wait
before a try is uniform between 0 and a bound that doubles with every fruitless round, so that a
swarm that has lost its broker does not come back as one. Three takeovers in five minutes mean that
another client has our name: to go on would only throw it out again, so we wait. Version 5 falls
back to 3.1.1 for a broker that says that it cannot, that closes twice before its CONNACK, or that
stays silent instead of sending one; that is remembered for a day. A broker on which no indexer has
been online for 15 minutes is left, if there is another. `now` is monotonic, in seconds.
"""

import math
import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agent.connection import NEWEST, TAKEN_OVER, UNSUPPORTED_VERSION, Broker

FIRST_WAIT_S = 4.0
LONGEST_WAIT_S = 120.0
STEADY_S = 60.0  # a connection that lived as long ends the doubling

SHORT_LIFE_S = 10.0
TAKEOVERS = 3
TAKEOVERS_WITHIN_S = 300.0
TAKEOVER_WAIT_S = 300.0

REMEMBER_VERSION_S = 86400.0
NO_INDEXER_S = 900.0


class Attempt(NamedTuple):
    broker: Broker
    version: str


class Brokers:
    """The agent's brokers, one of which it is trying, or has open, or waits to try."""

    def __init__(
        self,
        brokers: Sequence[Broker],
        rng: random.Random,
        *,
        version: str = "auto",
        newest: str = NEWEST,
        saved: Mapping[str, float] | None = None,
        now: float = 0.0,
    ) -> None:
        if not brokers:
            raise ValueError("an agent needs a broker")
        self._brokers = tuple(dict.fromkeys(brokers))
        self._rng = rng
        self._asked_version = version
        self._newest = newest
        self._old_until: dict[str, float] = {
            name: now + min(left_s, REMEMBER_VERSION_S) for name, left_s in (saved or {}).items()
        }
        self._round: list[Broker] = []
        self._last: Broker | None = None
        self._trying: Attempt | None = None
        self._opened_at: float | None = None
        self._indexer_at = -math.inf
        self._next_at = now
        self._failures = 0
        self._early_closes: dict[Broker, int] = {}
        self._takeovers: list[float] = []
        self._taken_over_until = -math.inf

    def due(self, now: float) -> Attempt | None:
        """The attempt to make now, if any. It lasts until refused(), closed() or left()."""
        if self._trying is not None or now < self._next_at:
            return None
        broker = self._next_broker()
        self._last = broker
        self._trying = Attempt(broker, self._version_for(broker, now))
        return self._trying

    def opened(self, now: float) -> None:
        self._opened_at = now
        if self._trying is not None:
            self._early_closes.pop(self._trying.broker, None)

    def refused(self, code: int | None, stage: str, now: float) -> None:
        """The attempt came to nothing: what the broker said, and where it ended."""
        attempt, self._trying = self._trying, None
        if attempt is None:
            return
        if attempt.version == "5" and self._is_about_version(attempt.broker, code, stage):
            self._old_until[str(attempt.broker)] = now + REMEMBER_VERSION_S
            if self._asked_version == "auto":
                self._round.insert(0, attempt.broker)
                self._next_at = now
                return
        self._failures += 1
        self._wait(now)

    def closed(self, code: int | None, after_s: float | None, now: float) -> None:
        """The open connection was lost, so long after its CONNACK."""
        self._trying, self._opened_at = None, None
        lived_s = after_s or 0.0
        if lived_s >= STEADY_S:
            self._failures = 0
        if code == TAKEN_OVER or lived_s < SHORT_LIFE_S:
            self._failures += 1
            self._taken_over(now)
        self._wait(now)

    def left(self, now: float) -> None:
        """We closed it ourselves, to move to another broker: that one is tried at once."""
        self._trying, self._opened_at = None, None
        self._next_at = now

    def indexer_seen(self, now: float) -> None:
        """An indexer is online on this broker: a live `online: true`, or an ack."""
        self._indexer_at = now

    def should_leave(self, now: float) -> bool:
        """No indexer has been online here for long, and there is another broker."""
        return now >= self._leave_at()

    def wake_s(self, now: float) -> float:
        """How long nothing is to be done; infinite when only an event changes that."""
        due_at = self._leave_at() if self._trying is not None else self._next_at
        return max(0.0, due_at - now)

    def trouble(self, now: float) -> str | None:
        """What the owner should know."""
        if now >= self._taken_over_until:
            return None
        minutes = math.ceil((self._taken_over_until - now) / 60)
        return (
            "another client with this agent's name seems to take its connection over: "
            f"waiting {minutes} min; give one of the two another name"
        )

    def to_save(self, now: float) -> dict[str, float]:
        """Which brokers are spoken to in 3.1.1, and for how many seconds more."""
        return {name: until - now for name, until in self._old_until.items() if until > now}

    def _leave_at(self) -> float:
        if self._opened_at is None or len(self._brokers) < 2:
            return math.inf
        return max(self._opened_at, self._indexer_at) + NO_INDEXER_S

    def _next_broker(self) -> Broker:
        if not self._round:
            self._round = list(self._brokers)
            self._rng.shuffle(self._round)
            if self._round[0] == self._last:
                self._round.append(self._round.pop(0))
        return self._round.pop(0)

    def _version_for(self, broker: Broker, now: float) -> str:
        if self._asked_version != "auto":
            return self._asked_version
        if now < self._old_until.get(str(broker), -math.inf):
            return "3.1.1"
        return self._newest

    def _is_about_version(self, broker: Broker, code: int | None, stage: str) -> bool:
        if code == UNSUPPORTED_VERSION:
            return True
        if code is not None or stage not in ("closed", "connack"):
            self._early_closes.pop(broker, None)
            return False
        # Silence has cost ten seconds already (amqtt does that): it needs no second time.
        count = self._early_closes.get(broker, 0) + (2 if stage == "connack" else 1)
        self._early_closes[broker] = count
        if count < 2:
            return False
        del self._early_closes[broker]
        return True

    def _taken_over(self, now: float) -> None:
        recent = [at for at in self._takeovers if now - at < TAKEOVERS_WITHIN_S]
        self._takeovers = [*recent, now]
        if len(self._takeovers) >= TAKEOVERS:
            self._takeovers = []
            wait_s = TAKEOVER_WAIT_S * (1 + self._rng.random())  # not both at the same time again
            self._taken_over_until = now + wait_s

    def _wait(self, now: float) -> None:
        rounds = min(self._failures // len(self._brokers), 16)
        bound_s = min(FIRST_WAIT_S * 2**rounds, LONGEST_WAIT_S)
        wait_s = self._rng.uniform(0.0, bound_s)
        self._next_at = max(now + wait_s, self._taken_over_until)
