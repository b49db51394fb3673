"""The thread that makes commits durable: one at a time, in order, each kept whole until it is.

A put takes tens of milliseconds, and on a slow store minutes; so the loop hands a closed commit
over and goes on. What became of it comes back as an event, which the loop gives to `ended`:

    Stored       durable: acknowledge and confirm it, and hand over the next
    NotStored    StoreDown: nothing of it is promised; the loop calls `again` after a while
    Broken       anything else that a store raised is a bug, for the loop to raise
"""

import queue
import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol

from agent.wire import Result
from indexer.consume import Commit
from indexer.store import Dead, Put, StoreDown


class Shelf(Protocol):
    """What of a store is needed here."""

    def put(self, results: list[Result], now_ms: int) -> Put: ...

    def put_dead(self, letters: list[Dead]) -> None: ...

    def check(self) -> None: ...


class Stored(NamedTuple):
    """The commit is durable; None: only the store was asked, and it is well."""

    commit: Commit | None
    put: Put


class NotStored(NamedTuple):
    """The store is down; the commit, if there is one, is still in flight."""

    reason: str


class Broken(NamedTuple):
    """The store raised what it never should."""

    error: Exception


Outcome = Stored | NotStored | Broken


class _Job(NamedTuple):
    commit: Commit | None
    now_ms: int
    check: bool


class Committer:
    """All but `_live` and what it calls is the loop's. ``post`` puts an event into its queue."""

    def __init__(self, store: Shelf, post: Callable[[Outcome], None]) -> None:
        self._store = store
        self._post = post
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._commit: Commit | None = None
        self._since_s: float | None = None
        self._thread: threading.Thread | None = None

    @property
    def free(self) -> bool:
        """Nothing is in flight: the next commit may be handed over."""
        return self._commit is None and not self.working

    @property
    def working(self) -> bool:
        """The store has been asked, and has not answered yet."""
        return self._since_s is not None

    def waited_s(self, now_s: float) -> float:
        """How long the store has owed us an answer."""
        return 0.0 if self._since_s is None else now_s - self._since_s

    def hand(self, commit: Commit, now_s: float, now_ms: int) -> None:
        """Makes this commit durable."""
        assert self.free, "one commit is in flight at a time"
        self._commit = commit
        self._ask(now_s, now_ms, check=False)

    def again(self, now_s: float, now_ms: int, more: Callable[[], Commit | None]) -> None:
        """Asks a store that was down whether it is well, and then to take what is in flight, or
        `more`: a nearly full disk takes a small check, and no results."""
        assert not self.working, "the store has not answered yet"
        self._commit = self._commit or more()
        self._ask(now_s, now_ms, check=True)

    def ended(self, event: Stored | NotStored) -> None:
        """The loop has this event now."""
        self._since_s = None
        if isinstance(event, Stored):
            self._commit = None

    def _ask(self, now_s: float, now_ms: int, check: bool) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name="commit", daemon=True)
            self._thread.start()
        self._since_s = now_s
        self._jobs.put(_Job(self._commit, now_ms, check))

    # From here on, all runs on the committer's own thread.

    def _live(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                self._post(Stored(job.commit, self._store_it(job)))
            except StoreDown as error:
                self._post(NotStored(str(error)))
            except Exception as error:
                self._post(Broken(error))
                return

    def _store_it(self, job: _Job) -> Put:
        put = Put(0, 0, 0)
        if job.check:
            self._store.check()
        if job.commit is not None and job.commit.results:
            put = self._store.put(job.commit.results, job.now_ms)
        if job.commit is not None and job.commit.letters:
            self._store.put_dead(job.commit.letters)
        return put
