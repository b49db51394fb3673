"""The books: what the witnesses saw, against what the store and the journals hold.

Every promise that was broken is a complaint, by name. Nothing here touches a process.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from agent import wire
from agent.store_view import view
from indexer.stores import open_store
from tests.torture import witness
from tests.torture.evil import Death

Identity = tuple[str, str, int]
FLOOR_MS = 1_735_689_600_000 - 60_000  # 2025, and the first probe began before its epoch
FAR_MS = 1 << 60
TOLD_MS = 2_000  # how far a vouched time may be from the truth
SLOT_S = 10.0
EXAMPLES = 3


class Added(NamedTuple):
    """A result as the agent made it."""

    true_ms: int
    crc: int


class Run(NamedTuple):
    """One process of an agent, from start to end, as its witness saw it."""

    agent: str
    start_ms: int
    end_ms: int
    added: dict[Identity, Added]
    durable: set[Identity]
    unflushed: list[Identity]  # added, and never committed
    in_memory: list[Identity]  # committed while the disk refused


class Kept(NamedTuple):
    """What is where at the end."""

    stored: dict[Identity, wire.Result]
    journals: set[Identity]
    evicted: dict[str, int]
    dead: int


class Account(NamedTuple):
    counts: dict[str, int]
    complaints: list[str]


def runs(agent: str, path: Path) -> list[Run]:
    """The runs of one agent, in order."""
    found: list[Run] = []
    for line in witness.read(path):
        if line.kind == "S":
            found.append(Run(agent, line.at_ms, line.at_ms, {}, set(), [], []))
        if not found:
            continue
        run = found[-1] = found[-1]._replace(end_ms=line.at_ms)
        if line.kind == "A":
            epoch, seq, true_ms, crc = line.facts
            run.added[(agent, epoch, seq)] = Added(true_ms, crc)
            run.unflushed.append((agent, epoch, seq))
        elif line.kind == "F" and line.facts == ["memory"]:
            run.in_memory.extend(run.unflushed)
            run.unflushed.clear()
        elif line.kind == "F":
            run.durable.update(run.unflushed)
            run.unflushed.clear()
        elif line.kind == "D":
            run.durable.update(run.in_memory)
            run.in_memory.clear()
    return found


def kept(store: Path, journals: dict[str, Path]) -> Kept:
    """Read the store and every journal."""
    opened = open_store(f"sqlite:{store}")
    stored: dict[Identity, wire.Result] = {}
    for result in opened.results(0, FAR_MS):
        identity = (result.agent, result.epoch, result.seq)
        assert identity not in stored, f"the store gives {identity} twice"
        stored[identity] = result
    dead = len(opened.dead(100_000))
    opened.close()
    waiting: set[Identity] = set()
    evicted: dict[str, int] = {}
    for agent, path in journals.items():
        seen = view(str(path))
        rows = [json.loads(text) for text in seen.export()]
        waiting |= {(agent, row["epoch"], row["seq"]) for row in rows}
        evicted[agent] = seen.counts.evicted
        seen.close()
    return Kept(stored, waiting, evicted, dead)


def _some(what: Iterable[object]) -> str:
    listed = [str(one) for one in what]
    return f"{len(listed)}: {', '.join(listed[:EXAMPLES])}{' …' if len(listed) > EXAMPLES else ''}"


class Books:
    """One account of one torture."""

    def __init__(
        self, all_runs: list[Run], found: Kept, deaths: list[Death], flush_s: dict[str, float],
        clockwork: dict[str, str], factor: float, longest_s: float,
    ) -> None:  # fmt: skip
        self._runs, self._kept, self._deaths = all_runs, found, deaths
        self._flush_s, self._clockwork = flush_s, clockwork
        self._slot_s, self._longest_ms = SLOT_S / factor, longest_s * 1000
        self._added = {one: facts for run in all_runs for one, facts in run.added.items()}
        self.complaints: list[str] = []
        self.counts: Counter[str] = Counter()

    def close(self) -> Account:
        """All promises, one after the other."""
        self._nothing_lost()
        self._kills_cost_a_flush()
        self._nothing_invented()
        self._times_are_true()
        return Account(dict(self.counts), self.complaints)

    def _nothing_lost(self) -> None:
        stored, journals = self._kept.stored, self._kept.journals
        flushed = [identity for run in self._runs for identity in run.durable]
        missing = [one for one in flushed if one not in stored and one not in journals]
        by_agent = Counter(agent for agent, _, _ in missing)
        over = {a: n for a, n in by_agent.items() if n > self._kept.evicted.get(a, 0)}
        for agent in over:
            lost = [one for one in missing if one[0] == agent]
            self.complaints.append(f"flushed, and neither stored nor in a journal: {_some(lost)}")
        self.counts.update(
            made=len(self._added), flushed=len(flushed), stored=len(stored),
            in_journals=len(journals), evicted=sum(self._kept.evicted.values()),
            missing=len(missing), dead_letters=self._kept.dead,
        )  # fmt: skip
        if self._kept.dead:
            self.complaints.append(f"{self._kept.dead} dead letters")
        if len(self._added) != sum(len(run.added) for run in self._runs):
            self.complaints.append("two results were given one identity")

    def _kills_cost_a_flush(self) -> None:
        for run in self._runs:
            gone = [one for one in run.unflushed if one not in self._kept.stored]
            gone = [one for one in gone if one not in self._kept.journals]
            memory = [one for one in run.in_memory if one not in self._kept.stored]
            self.counts.update(lost_to_kills=len(gone), lost_in_memory=len(memory))
            most = int(self._flush_s[run.agent] / self._slot_s) + 2 if self._killed(run) else 0
            if len(gone) > most:
                self.complaints.append(f"{run.agent} lost more than a flush: {_some(gone)}")
            if len(gone) > 0:
                self.counts["kills_that_cost"] += 1

    def _killed(self, run: Run) -> bool:
        later = [other.start_ms for other in self._runs
                 if other.agent == run.agent and other.start_ms > run.start_ms]  # fmt: skip
        until_ms = min(later, default=FAR_MS)
        return any(
            death.agent == run.agent and run.end_ms <= death.at_ms <= until_ms
            for death in self._deaths
        )

    def _nothing_invented(self) -> None:
        strange, altered = [], []
        for identity, result in self._kept.stored.items():
            added = self._added.get(identity)
            if added is None:
                strange.append(identity)
            elif witness.fingerprint(result.body) != added.crc:
                altered.append(identity)
        if strange:
            self.complaints.append(f"stored, and never made: {_some(strange)}")
        if altered:
            self.complaints.append(f"stored under another's identity, or altered: {_some(altered)}")

    def _times_are_true(self) -> None:
        wrong: list[str] = []
        for identity, result in self._kept.stored.items():
            added = self._added.get(identity)
            if added is None or result.body["kind"] == "lost":
                continue
            self.counts[f"clock_{result.clock}"] += 1
            off_ms = result.time_ms - added.true_ms
            if not self._may_say(result, off_ms):
                wrong.append(f"{identity} {result.clock} {off_ms / 1000:+.1f} s")
        if wrong:
            self.complaints.append(f"times that are not what they claim: {_some(wrong)}")

    def _may_say(self, result: wire.Result, off_ms: int) -> bool:
        """What the time of a result may be, by the word that it has for its clock."""
        if result.time_ms < FLOOR_MS:
            return False
        if result.clock == "ntp":
            return abs(off_ms) <= TOLD_MS
        if result.clock == "indexer":  # as old as a message can become on its way here
            return abs(off_ms) <= TOLD_MS + self._longest_ms
        if result.clock == "unsynced" and self._clockwork[result.agent] == "no rtc":
            return off_ms <= TOLD_MS
        return True
