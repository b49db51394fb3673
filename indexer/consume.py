"""MQTT to commits: what arrived is read into the open commit, which is closed whole.

One commit is open at a time. Payloads are read into it one by one, out of the inbox; it is closed
at so many rows as the store likes in one put, or when nothing has come for QUIET_S. What follows
happens in this order and no other:

    store.put, store.put_dead        durable on return (committer.py)
    acknowledge each message         MQTT's PUBACK: the broker may forget it
    confirm each identity            ack/<agent>, on every broker: the agent may forget it

Whoever dies between two lines has promised nothing that is not true. A row that was stored already
is confirmed again, always. Nothing depends on the order in which rows arrive.
"""

import logging
from collections.abc import Mapping
from typing import NamedTuple

from agent import wire
from agent.connection import Received
from agent.wire import Result, WireError
from indexer import classic, reading
from indexer.reading import Read
from indexer.store import Dead, Put

QUIET_S = 0.02
OPEN_S = 0.25  # a trickle without any quiet waits no longer than this
_TELL_S = 60.0

log = logging.getLogger("swarming.consume")


class Commit(NamedTuple):
    """What is made durable together: then acknowledge `arrived`, and publish `acks` everywhere."""

    arrived: list[Received]
    results: list[Result]
    letters: list[Dead]
    identities: dict[str, dict[str, list[int]]]  # agent -> epoch -> seqs

    def acks(self) -> list[tuple[str, bytes]]:
        """Topic and payload of what confirms every identity."""
        acks = []
        for agent, epochs in self.identities.items():
            ranges = {epoch: wire.ranges_of(seqs) for epoch, seqs in epochs.items()}
            acks += [(wire.ack_topic(agent), payload) for payload in wire.encode_acks(ranges)]
        return acks


class Counts(NamedTuple):
    """What went through since the start."""

    results: int = 0
    known: int = 0
    too_old: int = 0
    dead_letters: int = 0
    refused: int = 0  # of these: read well, but the store has no place for them
    newer: int = 0

    def plus(self, **more: int) -> "Counts":
        return self._replace(**{name: getattr(self, name) + by for name, by in more.items()})


class Consumer:
    """The open commit. ``v1_agents`` are names that no classic payload may claim; ``before_ms``
    says of agents that are forgotten, up to when."""

    def __init__(self, rows: int, keep_raw_ms: int, read_classic: bool = False) -> None:
        self._most_rows = rows
        self._keep_raw_ms = keep_raw_ms
        self._read_classic = read_classic
        self.v1_agents: set[str] = set()
        self.before_ms: Mapping[str, int] = {}
        self.counts = Counts()
        self._told: dict[str, float] = {}
        self._begin()

    @property
    def full(self) -> bool:
        return self._rows >= self._most_rows

    @property
    def empty(self) -> bool:
        return not self._arrived

    def due_s(self, now_s: float) -> float | None:
        """How long until the open commit is to be closed: 0 is now, None when there is none."""
        if self.empty:
            return None
        if self.full:
            return 0.0
        return max(0.0, min(self._last_s + QUIET_S, self._first_s + OPEN_S) - now_s)

    def read(self, arrived: Received, now_ms: int, now_s: float) -> str | None:
        """Takes one message into the open commit. Whose sign of life it was, or None."""
        if self.empty:
            self._first_s = now_s
        self._last_s = now_s
        self._arrived.append(arrived)
        if self._read_classic and classic.is_classic(arrived.topic, arrived.payload):
            self._take_classic(arrived, now_ms)
            return None
        found = reading.read_results(arrived.topic, arrived.payload, now_ms)
        if found.newer is not None:
            self._newer(found, now_s)
            return found.agent
        self._take(found, now_ms, now_s)
        return found.agent if found.results else None

    def close(self) -> Commit:
        """The open commit, whole; the next is open now."""
        closed = Commit(self._arrived, self._results, self._letters, self._identities)
        self._begin()
        return closed

    def stored(self, commit: Commit, put: Put, now_s: float) -> None:
        """Counts what was made durable."""
        self.counts = self.counts.plus(
            results=put.stored,
            known=put.known,
            too_old=put.too_old,
            dead_letters=len(commit.letters) + put.refused,
            refused=put.refused,
        )
        if put.refused:
            self._tell("refused", now_s, "the store has no place for %d results: they are dead "
                       "letters (swarming-indexer replay --list)", put.refused)  # fmt: skip

    def _begin(self) -> None:
        self._arrived: list[Received] = []
        self._results: list[Result] = []
        self._letters: list[Dead] = []
        self._identities: dict[str, dict[str, list[int]]] = {}
        self._rows = 0
        self._first_s = self._last_s = 0.0

    def _take(self, found: Read, now_ms: int, now_s: float) -> None:
        forgotten_ms = self.before_ms.get(found.agent or "", 0)
        oldest_ms = max(now_ms - self._keep_raw_ms, forgotten_ms)
        fresh = [
            result
            for result in found.results
            if result.time_ms >= oldest_ms or result.clock == "unsynced"  # its age is not known
        ]
        too_old = len(found.results) - len(fresh)
        if too_old:
            self.counts = self.counts.plus(too_old=too_old)
            self._tell(f"old {found.agent}", now_s, "%s sends %d results older than what is kept",
                       found.agent, too_old)  # fmt: skip
        if found.results and found.agent is not None:
            self.v1_agents.add(found.agent)
        self._results += fresh
        self._refuse(found.letters, now_s)
        self._rows += max(1, len(found.identities))
        if found.agent is not None and found.identities:
            epochs = self._identities.setdefault(found.agent, {})
            for epoch, seq in found.identities:
                epochs.setdefault(epoch, []).append(seq)

    def _take_classic(self, arrived: Received, now_ms: int) -> None:
        self._rows += 1
        try:
            result = classic.read(arrived.topic, arrived.payload, now_ms)
            if result.agent in self.v1_agents:
                raise WireError(f"a classic payload claims the name of {result.agent}")
        except (WireError, UnicodeDecodeError) as error:
            payload = arrived.payload[: wire.MAX_PAYLOAD_BYTES]
            self._refuse([Dead(now_ms, arrived.topic, payload, str(error))], self._last_s)
            return
        self._results.append(result)

    def _refuse(self, letters: list[Dead], now_s: float) -> None:
        self._letters += letters
        for letter in letters:
            self._tell(f"dead {letter.topic}", now_s, "dead letter on %s: %s",
                       letter.topic, letter.reason)  # fmt: skip

    def _newer(self, found: Read, now_s: float) -> None:
        self._rows += 1
        self.counts = self.counts.plus(newer=1)
        key = f"newer {found.agent}"
        if key not in self._told:
            log.warning("%s: %s; upgrade this indexer (the agent keeps its results)",
                        found.agent, found.newer)  # fmt: skip
        self._told[key] = now_s

    def _tell(self, key: str, now_s: float, text: str, *values: object) -> None:
        """Says it, but the same thing only once a minute."""
        if now_s - self._told.get(key, -_TELL_S) < _TELL_S:
            return
        if len(self._told) > 10_000:
            self._told.clear()
        self._told[key] = now_s
        log.warning(text, *values)
