"""Everything of one store into another, or of an old swarm's indices: `swarming-indexer copy`.

    agents, lists, dead letters, verdicts, the salt    few, and harmless to put again
    the roll-up of every hour                          so long views are there first
    results by time                                    harmless to put again: they have identity
    longer roll-ups, made anew

The destination keeps a fact of how far it is, so whoever is stopped goes on there; it goes when all
is done. What comes in at the source meanwhile is copied where its time is still ahead; the rest is,
by doing it all once more. Neither leases nor what indexers note for each other are copied.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import Protocol, TypeVar

from agent.wire import Result, rfc3339
from indexer.calm import Calm
from indexer.copy_shown import Shown
from indexer.leader import LEASE, LEASE_MS
from indexer.store import Dead, Rollup, Store, StoreDown, Told, WatchChange

ALWAYS_MS = (-(10**14), 3 * 10**14)  # before and after every time that a result can have
NOTE_S = 2.0  # the fact is written so often: as much is read again by whoever goes on
ROLLUP_SLICE = 500  # made before the lease is renewed
LETTERS = 100  # read, and written, at once
AGENTS = 2000  # written at once
VERDICTS = 1000  # read at once

_GOES_ON = "the same command goes on where it was"

T = TypeVar("T")


class Source(Protocol):
    """What of a store `results` needs; an old swarm has no more."""

    def results(
        self, since_ms: int, until_ms: int, *, limit: int | None = None, newest_first: bool = False
    ) -> Iterator[Result]: ...


@dataclass(slots=True)
class Copied:
    """How many of each; `rolled_up`: the longer roll-ups are made, too."""

    results: int = 0
    known: int = 0
    too_old: int = 0
    refused: int = 0
    rollups: int = 0
    letters: int = 0
    agents: int = 0
    changes: int = 0
    verdicts: int = 0
    rolled_up: bool = False

    def results_line(self) -> str:
        return (
            f"results: {self.results} copied, {self.known} were there already, "
            f"{self.too_old} too old, {self.refused} refused"
        )

    def beside_line(self) -> str:
        return (
            f"beside them: {self.rollups} roll-ups of hours, {self.letters} dead letters, "
            f"{self.agents} agents, {self.changes} changes of lists, {self.verdicts} verdicts"
        )

    def rollups_line(self) -> str:
        if self.rolled_up:
            return "roll-ups: all made"
        return "roll-ups: left to the indexer that leads there"


def note_of(*words: str | None) -> str:
    """The fact in which the destination keeps how far a copy of this has come."""
    return f"copy/{blake2b(repr(words).encode(), digest_size=8).hexdigest()}"


class Copy:
    """One copy into a store. StoreDown, or a Ctrl-C, may end each step; the next copy goes on."""

    def __init__(self, to: Store, note: str, shown: Shown) -> None:
        self._to = to
        self._note = note
        self._shown = shown
        self._calm = Calm(shown.say)
        self._reached: dict[str, int] = self._calm.call(partial(to.fact, note)) or {}
        self._noted_s = time.monotonic()
        self.done = Copied()

    def everything(self, source: Store, since_ms: int, until_ms: int) -> Copied:
        """All that the docstring above lists."""
        with self._stopping():
            self._beside(source, since_ms, until_ms)
            self._rollups(source, since_ms, until_ms)
            self._raw_from(source)
            self._results(source, since_ms, until_ms)
            self._finish()
        return self.done

    def old_swarm(self, source: Source, since_ms: int, until_ms: int) -> Copied:
        """Results, and nothing else."""
        with self._stopping():
            self._results(source, since_ms, until_ms)
            self._finish()
        return self.done

    # --- what is beside the results -------------------------------------------------------------

    def _beside(self, source: Store, since_ms: int, until_ms: int) -> None:
        call, done = self._calm.call, self.done
        salt = call(partial(source.fact, "salt"))
        if salt is not None and call(partial(self._to.fact, "salt")) is None:
            call(partial(self._to.put_fact, "salt", salt))
        records = call(source.agents)
        for part in _parts(records, AGENTS):
            call(partial(self._to.put_agents, part))
            done.agents += len(part)
        for change in self._changes(source):
            call(partial(self._to.put_watch, *change))
            done.changes += 1
        self._letters(source, since_ms, until_ms)
        for told in self._verdicts(source, since_ms, until_ms):
            call(partial(self._to.put_verdict, *told))
            done.verdicts += 1

    def _changes(self, source: Store) -> list[WatchChange]:
        """The oldest first, and only those after the last one of the list that is there already:
        the newest change is what the list is now."""
        there = self._calm.call(partial(self._to.watch_history, None, 10**9))
        newest: dict[str, int] = {}
        for change in there:
            newest[change.scope] = max(change.at_ms, newest.get(change.scope, change.at_ms))
        found = reversed(self._calm.call(partial(source.watch_history, None, 10**9)))
        return [
            change
            for change in found
            if change.scope not in newest
            or change.at_ms > newest[change.scope]
            or (change.at_ms == newest[change.scope] and change not in there)
        ]

    def _letters(self, source: Store, since_ms: int, until_ms: int) -> None:
        for part in _parts(self._missing(source, since_ms, until_ms), LETTERS):
            self._calm.call(partial(self._to.put_dead, part))
            self.done.letters += len(part)

    def _missing(self, source: Store, since_ms: int, until_ms: int) -> Iterator[Dead]:
        """The source's letters that are not there yet. Both stores tell theirs by time, so it is
        enough to know what is there of one moment."""
        there = self._all_dead(self._to)
        first = next(there, None)
        moment_ms, known = since_ms - 1, set[bytes]()
        for letter in self._all_dead(source):
            if not since_ms <= letter.at_ms < until_ms:
                continue
            if letter.at_ms != moment_ms:
                moment_ms, known = letter.at_ms, set()
            while first is not None and first.at_ms <= moment_ms:
                if first.at_ms == moment_ms:
                    known.add(_gist(first))
                first = next(there, None)
            if _gist(letter) not in known:
                yield letter

    def _all_dead(self, store: Store) -> Iterator[Dead]:
        """Page by page: each may be long."""
        last: Dead | None = None
        while page := self._calm.call(partial(store.dead, LETTERS, last)):
            yield from page
            last = page[-1]

    def _verdicts(self, source: Store, since_ms: int, until_ms: int) -> Iterator[Told]:
        """Page by page, back from the newest. A page's last moment may not be whole: it is asked
        for again with the next, and with a longer one when it is all that the page holds."""
        limit = VERDICTS
        while True:
            ask = partial(source.verdicts, since_ms, until_ms, limit=limit)
            page = self._calm.call(ask)
            oldest_ms = page[-1].at_ms if len(page) == limit else since_ms - 1
            whole = [told for told in page if told.at_ms > oldest_ms]
            yield from whole
            if len(page) < limit:
                return
            until_ms = oldest_ms + 1
            limit *= 1 if whole else 2

    # --- roll-ups and results -------------------------------------------------------------------

    def _rollups(self, source: Store, since_ms: int, until_ms: int) -> None:
        begin_ms = self._reached.get("rollups", since_ms)
        read = partial(_rollups_from, source, until_ms)
        with self._shown.counting("roll-ups") as bar:
            for part in _parts(self._all(read, begin_ms, _of_rollup), self._to.rows_a_put):
                self._calm.call(partial(self._to.put_rollups, part))
                self.done.rollups += len(part)
                self._reach("rollups", part[-1].bucket.start_ms)
                bar(len(part))

    def _raw_from(self, source: Store) -> None:
        """What the source dropped comes to no store again; but one that keeps older results of its
        own is not made to hide them."""
        raw_from_ms = self._calm.call(source.raw_from_ms)
        if raw_from_ms is not None and not self._calm.call(partial(self._keeps, raw_from_ms)):
            self._calm.call(partial(self._to.put_raw_from, raw_from_ms))

    def _keeps(self, before_ms: int) -> bool:
        found = self._to.results(ALWAYS_MS[0], before_ms)
        return any(result.clock != "unsynced" for result in found)

    def _results(self, source: Source, since_ms: int, until_ms: int) -> None:
        begin_ms = self._reached.get("results", since_ms)
        read = partial(_results_from, source, until_ms)
        done = self.done
        with self._shown.days(partial(_span_ms, source, begin_ms, until_ms)) as bar:
            for part in _parts(self._all(read, begin_ms, _of_result), self._to.rows_a_put):
                put = self._calm.call(partial(self._to.put, part, _now_ms()))
                done.results += put.stored
                done.known += put.known
                done.too_old += put.too_old
                done.refused += put.refused
                self._reach("results", part[-1].time_ms)
                bar(part[-1].time_ms, len(part))

    def _finish(self) -> None:
        """Longer roll-ups are the leader's work; where nobody leads it is ours, meanwhile."""
        try:
            with self._shown.remaining("roll-ups") as bar:
                while not self.done.rolled_up and self._calm.call(partial(self._leads, LEASE_MS)):
                    left = self._calm.call(self._roll_up)
                    self.done.rolled_up = left == 0
                    bar(left)
        finally:
            with suppress(StoreDown):
                self._leads(0)
        self._calm.call(partial(self._to.put_fact, self._note, None))

    def _leads(self, for_ms: int) -> bool:
        """The holder has the copy's own name: after a kill -9 it is still us."""
        return self._to.lease(LEASE, self._note, _now_ms(), for_ms)

    def _roll_up(self) -> int:
        return self._to.rollup(_now_ms(), ROLLUP_SLICE)

    # --- going on -------------------------------------------------------------------------------

    def _reach(self, what: str, at_ms: int) -> None:
        """All of it that is before this time is in the destination."""
        self._reached[what] = at_ms
        now_s = time.monotonic()
        if now_s - self._noted_s >= NOTE_S:
            self._noted_s = now_s
            self._calm.call(partial(self._to.put_fact, self._note, self._reached))

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Whatever ends it, it is noted how far it came."""
        came_ms = self._reached.get("results", self._reached.get("rollups"))
        if came_ms is not None:
            self._shown.say(f"it goes on from {rfc3339(came_ms)}")
        try:
            yield
        except BaseException as error:
            with suppress(StoreDown):
                self._to.put_fact(self._note, self._reached or None)
            if isinstance(error, KeyboardInterrupt):
                self._shown.say(_GOES_ON)
            if isinstance(error, StoreDown):
                raise StoreDown(f"{error}; {_GOES_ON}") from error
            raise

    def _all(
        self,
        read: Callable[[int], Iterable[T]],
        begin_ms: int,
        key: Callable[[T], tuple[int, Hashable]],
    ) -> Iterator[T]:
        """Everything from this time on, each once: a source that was down is read again from the
        moment that it had come to. `key` gives time and identity."""
        at_ms = begin_ms
        seen: set[Hashable] = set()  # of this moment
        while True:
            try:
                for one in read(at_ms):
                    time_ms, identity = key(one)
                    if time_ms > at_ms:
                        at_ms = time_ms
                        seen.clear()
                    elif identity in seen:
                        continue
                    seen.add(identity)
                    yield one
                return
            except StoreDown as error:
                self._calm.failed(error)


def _results_from(source: Source, until_ms: int, since_ms: int) -> Iterator[Result]:
    return source.results(since_ms, until_ms)


def _rollups_from(source: Store, until_ms: int, since_ms: int) -> Iterator[Rollup]:
    return source.rollups(since_ms, until_ms)


def _of_result(result: Result) -> tuple[int, Hashable]:
    return result.time_ms, result[:3]


def _of_rollup(kept: Rollup) -> tuple[int, Hashable]:
    return kept.bucket.start_ms, kept.bucket[:3]


def _gist(letter: Dead) -> bytes:
    """What makes two letters the same one."""
    return blake2b(repr(letter[:4]).encode(), digest_size=16).digest()


def _span_ms(source: Source, since_ms: int, until_ms: int) -> tuple[int, int] | None:
    """The times of the first and the last result; None: there is none."""
    first = next(iter(source.results(since_ms, until_ms, limit=1)), None)
    last = next(iter(source.results(since_ms, until_ms, limit=1, newest_first=True)), None)
    return (first.time_ms, last.time_ms) if first and last else None


def _parts(items: Iterable[T], most: int) -> Iterator[list[T]]:
    items = iter(items)
    while part := list(islice(items, most)):
        yield part


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
