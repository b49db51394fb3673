"""What is written to the store while nothing waits for it: agents' records, and notes.

A thread of its own writes them, one after the other. What the store did not take is kept, and
written later, after longer and longer pauses; only notes beyond MOST_NOTES of a kind are lost. An
engine may refuse one kind and take the others, so no kind waits for another, and none of this says
that the store is down: results do.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from indexer.aside import Aside, Ended
from indexer.desk import Desk, Live
from indexer.patience import Patience
from indexer.presence import Presence
from indexer.store import AgentRecord, Store, StoreDown

MOST_NOTES = 1000
RECORDS = 2000  # in one call of the store
END_S = 5.0
_TAKES_NOT = "the store does not take what is beside the results: %s"

Note = Callable[[], object]

log = logging.getLogger("swarming.pen")


class Written(NamedTuple):
    """How much of it the store has, how many notes of each kind, and why it has no more."""

    records: list[AgentRecord]
    notes: dict[str, int]
    down: str | None


class Pen:
    """All but `_write_all` is the loop's."""

    def __init__(
        self, store: Store, presence: Presence, desk: Desk, post: Callable[[Ended], None]
    ) -> None:
        self._store = store
        self._presence = presence
        self._desk = desk
        self._aside = Aside("pen", post)
        self._patience = Patience(random.Random())
        self._records: list[AgentRecord] = []
        self._notes: dict[str, list[Note]] = {}

    def note(self, kind: str, write: Note) -> None:
        """A call of the store that may be made later, and twice. StoreDown; anything else that it
        raises ends the indexer."""
        waiting = self._notes.setdefault(kind, [])
        if len(waiting) < MOST_NOTES:
            waiting.append(write)

    def look(self, now_ms: int) -> None:
        """Which agents' records the store should have by now."""
        if not self._aside.busy:
            self._records = self._presence.due(now_ms)

    def write(self, now_s: float) -> None:
        """Begins to write what there is, unless it is at it, or has to wait."""
        there = self._records or any(self._notes.values())
        if there and not self._aside.busy and not self._patience.due_s(now_s):
            records, notes = self._records, self._taken()
            self._records = []
            self._aside.start(lambda: self._write_all(records, notes), self._written)

    def finish(self, now_ms: int) -> None:
        """Before the end: writes all that there is, as far as the store takes it within END_S."""
        records, notes = self._presence.due(now_ms), self._taken()

        def write() -> None:
            down = self._write_all(records, notes).down
            if down is not None:
                log.warning(_TAKES_NOT, down)

        end = threading.Thread(target=write, name="pen", daemon=True)
        end.start()
        end.join(END_S)

    def _taken(self) -> dict[str, Sequence[Note]]:
        return {kind: tuple(waiting) for kind, waiting in self._notes.items()}

    def _write_all(
        self, records: Sequence[AgentRecord], notes: Mapping[str, Sequence[Note]]
    ) -> Written:
        """On a thread of its own."""
        written = Written([], dict.fromkeys(notes, 0), None)
        for kind, writes in notes.items():
            try:
                for write in writes:
                    write()
                    written.notes[kind] += 1
            except StoreDown as error:
                written = written._replace(down=f"{kind}: {error}")
        try:
            for at in range(0, len(records), RECORDS):
                part = records[at : at + RECORDS]
                self._store.put_agents(part)
                written.records.extend(part)
        except StoreDown as error:
            written = written._replace(down=f"agents: {error}")
        return written

    def _written(self, written: Written, _took_s: float) -> None:
        for kind, count in written.notes.items():
            del self._notes[kind][:count]
        for record in written.records:
            self._presence.written(record)
            self._desk.tell(Live("agent", record))
        if written.down is None:
            if self._patience.answered():
                log.info("the store takes all that is beside the results again")
        elif self._patience.failed(written.down, time.monotonic()):
            log.warning(_TAKES_NOT, written.down)
