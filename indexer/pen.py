"""What is written to the store while nothing waits for it: agents' records, and notes.

A thread of its own writes them, one after the other. What a store that was down did not take is
kept, and written later; only notes beyond MOST_NOTES are lost.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from indexer.aside import Aside, Ended
from indexer.desk import Desk, Live
from indexer.presence import Presence
from indexer.store import AgentRecord, Store, StoreDown

MOST_NOTES = 1000

Note = Callable[[], None]


class Written(NamedTuple):
    """How much of it the store has, and why it has no more."""

    records: list[AgentRecord]
    notes: list[Note]
    down: StoreDown | None


class Pen:
    """All but `_write_all` is the loop's."""

    def __init__(
        self, store: Store, presence: Presence, desk: Desk, post: Callable[[Ended], None]
    ) -> None:
        self._store = store
        self._presence = presence
        self._desk = desk
        self._aside = Aside("pen", post)
        self._records: list[AgentRecord] = []
        self._notes: list[Note] = []

    def note(self, write: Note) -> None:
        """A call of the store that may be made later, and twice."""
        if len(self._notes) < MOST_NOTES:
            self._notes.append(write)

    def look(self, now_ms: int) -> None:
        """Which agents' records the store should have by now."""
        if not self._aside.busy:
            self._records = self._presence.due(now_ms)

    def write(self) -> None:
        """Begins to write what there is, unless it is at it."""
        if (self._records or self._notes) and not self._aside.busy:
            records, notes = self._records, list(self._notes)
            self._records = []
            self._aside.start(lambda: self._write_all(records, notes), self._written)

    def finish(self, now_ms: int) -> None:
        """Writes all that there is, at once. StoreDown."""
        self._written(self._write_all(self._presence.due(now_ms), self._notes), 0.0)

    def _write_all(self, records: list[AgentRecord], notes: Iterable[Note]) -> Written:
        """On a thread of its own."""
        written = Written([], [], None)
        try:
            for note in notes:
                note()
                written.notes.append(note)
            if records:
                self._store.put_agents(records)
                written.records.extend(records)
        except StoreDown as error:
            return written._replace(down=error)
        return written

    def _written(self, written: Written, _took_s: float) -> None:
        self._notes = self._notes[len(written.notes) :]
        for record in written.records:
            self._presence.written(record)
            self._desk.tell(Live("agent", record))
        if written.down is not None:
            raise written.down
