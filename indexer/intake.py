"""The way of a result: inbox, open commit, commit in flight, durable.

At most one commit is in flight. Meanwhile the next one fills, up to as many rows as the store
likes in one put, and everything else waits undecoded in the inbox. So the memory is bounded
whatever the backlog, and what comes while the store is busy is put together.
"""

import queue
import time
from collections.abc import Callable
from typing import Any

from indexer.committer import Broken, Committer, NotStored, Stored
from indexer.consume import Commit, Consumer
from indexer.inbox import Inbox
from indexer.patience import SLOW_S
from indexer.store import Store


class Intake:
    """``heard`` is told whose sign of life a message was; ``durable`` is given what is stored."""

    def __init__(
        self,
        store: Store,
        keep_raw_ms: int,
        read_classic: bool,
        post: Callable[[Any], None],
        heard: Callable[[str, int], None],
        durable: Callable[[Commit], None],
    ) -> None:
        self.inbox = Inbox()
        self.consumer = Consumer(store.rows_a_put, keep_raw_ms, read_classic)
        self._committer = Committer(store, post)
        self._heard = heard
        self._durable = durable

    @property
    def idle(self) -> bool:
        """All that has come is read."""
        return not len(self.inbox) and not self.consumer.full

    @property
    def waits(self) -> bool:
        """The store owes us an answer."""
        return self._committer.working

    @property
    def ended(self) -> bool:
        """All that was read is durable."""
        return self._committer.free and self.consumer.empty

    def waited_s(self, now_s: float) -> float:
        """How long the store has owed us an answer."""
        return self._committer.waited_s(now_s)

    def slow(self, now_s: float) -> bool:
        """So long that nobody should ask the store for anything else."""
        return self.waited_s(now_s) >= SLOW_S

    def due_s(self, now_s: float) -> float | None:
        """How long until the open commit is to be handed over, if it may be."""
        return self.consumer.due_s(now_s) if self._committer.free else None

    def read(self, now_ms: int) -> None:
        """What is waiting, into the open commit."""
        now_s = time.monotonic()
        while len(self.inbox) and not self.consumer.full:
            arrived = self.inbox.take()
            agent = self.consumer.read(arrived, now_ms, now_s)
            if agent is not None and not arrived.retain:
                self._heard(agent, now_ms)

    def commit(self, now_ms: int) -> None:
        """Hands the open commit over when it is due, and reads on. Not while the store is down."""
        now_s = time.monotonic()
        if self.due_s(now_s) == 0.0:
            self._committer.hand(self.consumer.close(), now_s, now_ms)
            self.read(now_ms)

    def again(self, now_ms: int) -> None:
        """The store was down: asks it again, with what it has not taken, or what is open."""
        self._committer.again(time.monotonic(), now_ms, self._open_one)

    def answered(self, event: Stored | NotStored) -> None:
        """The store has answered."""
        self._committer.ended(event)
        if isinstance(event, Stored) and event.commit is not None:
            self.consumer.stored(event.commit, event.put, time.monotonic())
            self._durable(event.commit)

    def finish(self, events: "queue.SimpleQueue[Any]", now_ms: int, within_s: float) -> None:
        """Makes durable what was read already; gives up when the store is down, or too slow."""
        end_s = time.monotonic() + within_s
        while not self.ended:
            if self._committer.free:
                self._committer.hand(self.consumer.close(), time.monotonic(), now_ms)
            try:
                event = events.get(timeout=max(0.0, end_s - time.monotonic()))
            except queue.Empty:
                return
            if isinstance(event, Broken):
                raise event.error
            if isinstance(event, Stored | NotStored):
                self.answered(event)
            if isinstance(event, NotStored):
                return

    def _open_one(self) -> Commit | None:
        return None if self.consumer.empty else self.consumer.close()
