"""The journal: every result that was flushed is on the disk until an indexer confirms it.

What is promised, whatever is killed, cut off or filled up:
- ``add`` only buffers. ``flush`` writes buffered results, deletions by confirmations, settings and
  ``published_upto`` in one transaction: all of it is kept, or nothing.
- Only committed rows are handed out, with times that are committed too, so that a resend says the
  same. A row's identity is (epoch, seq); seq is its id less its epoch's base. Ids only grow.
- At most ``max_rows`` and ``max_bytes``, and never more than half of what the disk has free; the
  oldest go first, 1 % at a time, into the one open loss record, which lies outside the cap.
- A corrupt file is renamed aside and a new one begun. A disk that refuses: the same tables in
  memory; the file is tried every minute, the rows move back, and confirmations that came in the
  meantime are applied to it. ``generation`` changes whenever the rows that one can see changed
  place.
- Memory holds the buffer and one window, never the lot.

The SQL is in ``store_tables``, the rules of time in ``store_epochs``, the way back from memory in
``store_return``.
"""

import json
import logging
import os
import sqlite3
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from agent import losses, store_counts, store_epochs, store_evict, store_return, store_tables
from agent.spans import Spans
from agent.store_counts import Counts
from agent.store_epochs import NO_END, Epoch, Epochs
from agent.store_evict import Cap, Evicted
from agent.store_file import JournalError, JournalForeign, JournalLocked, JournalNewer
from agent.store_home import Home
from agent.store_settings import Settings
from agent.store_tables import State, Stored, Tables
from agent.wire import Result

if TYPE_CHECKING:
    from agent.clock import Reading

__all__ = [
    "INDEXER_SEEN",
    "NO_END",
    "Counts",
    "Journal",
    "JournalError",
    "JournalForeign",
    "JournalLocked",
    "JournalNewer",
    "Row",
]

log = logging.getLogger(__name__)

FLOOR_MS = 1_735_689_600_000  # 2025-01-01: no time of ours is earlier
ROWS_PER_FLUSH = 200
ROWS_IN_MEMORY = 10_000
ACKS_KEPT = 10_000  # while in memory; a confirmation that is forgotten comes again after a resend
ACKS_S = 1.0  # deletions alone wait at least this long: one commit for many confirmations
INDEXER_SEEN = "indexer_seen"


class Row(NamedTuple):
    """A committed result that may be published; ``body`` is JSON."""

    id: int
    epoch: str
    seq: int
    boot_ns: int
    body: str


class Journal:
    """One agent's journal, used from one thread."""

    def __init__(
        self,
        path: str,
        agent: str,
        *,
        max_rows: int = 200_000,
        max_bytes: int = 64 * 1024 * 1024,
        flush_s: float = 0.0,
        floor_ms: int = FLOOR_MS,
        now: float = 0.0,
    ) -> None:
        self._agent, self._flush_s, self._floor_ms = agent, flush_s, floor_ms
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._now = now
        self._reading: Reading | None = None
        self._buffer: list[Stored] = []
        self._acks: list[tuple[str, int, int]] = []  # not applied to the file yet
        self._gone = Spans()  # the same, as ids of the tables in use
        self._bad: set[int] = set()
        self._dirty = False
        self._pending_since: float | None = None
        self.generation = 0
        self._home = Home(path, now)
        self._most_bytes = self._home.cap_bytes(max_bytes)
        self._state: State = self._tables.state()
        self._settings = Settings(self._tables.settings())
        self._epochs = Epochs(self._tables.epochs(), floor_ms)
        self._last_id: int = max(self._tables.last_id(), self._state.published_upto)
        self._handed: int = self._last_id  # rows of earlier runs count as published

    # --- adding and committing --------------------------------------------------------------------

    def follow(self, reading: "Reading") -> None:
        """What the clock says now. Epochs that may still move take it; a new one may begin."""
        self._reading = reading
        self._note_time(reading)
        self._epochs.follow(reading)

    def add(self, body: Mapping[str, Any], boot_ns: int) -> tuple[str, int]:
        """Take a result; its identity. It is on the disk after the next flush."""
        epoch = self._epochs.current or self._begin_epoch()
        self._last_id += 1
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        self._buffer.append(Stored(self._last_id, epoch.base, boot_ns, store_tables.pack(text)))
        return epoch.name, self._last_id - epoch.base

    def flush_at(self, now: float) -> float | None:
        """When ``flush`` is due, if nothing else happens."""
        retry = self._home.try_at if self._in_memory else None
        if not self._pending():
            self._pending_since = None
            return retry
        if self._pending_since is None:
            self._pending_since = now
        if len(self._buffer) >= ROWS_PER_FLUSH:
            return now
        wait_s = self._flush_s if self._buffer else max(self._flush_s, ACKS_S)
        due = self._pending_since + wait_s
        return due if retry is None else min(due, retry)

    def flush_due(self, now: float) -> bool:
        """Call ``flush`` now."""
        at = self.flush_at(now)
        return at is not None and at <= now

    def flush(self, now: float) -> None:
        """Everything so far is kept when this returns; in memory, if the disk refuses."""
        self._now = now
        self._pending_since = None
        if self._pending():
            self._commit()
        if self._in_memory and now >= self._home.try_at:
            self._return_to_file()

    def _begin_epoch(self) -> Epoch:
        if self._reading is None:
            raise RuntimeError("follow() comes before add()")
        return self._epochs.begin(self._last_id, self._reading, self._state.newest_ms)

    def _note_time(self, reading: "Reading") -> None:
        """A vouched time is the truth, also when it is earlier than what was believed."""
        wall_ms = (reading.boot_ns + reading.offset_ns) // store_epochs.NS_PER_MS
        if wall_ms < self._floor_ms or reading.trust in ("waiting", "unsynced"):
            return
        if reading.trust == "unknown":
            wall_ms = max(wall_ms, self._state.newest_ms)
        self._state = self._state._replace(newest_ms=wall_ms)

    def _pending(self) -> bool:
        unsaved = not self._in_memory and self._settings.has_unsaved()
        return bool(self._buffer or len(self._gone) or self._dirty or self._bad or unsaved)

    def _commit(self) -> bool:
        """Write all that is pending; False when the disk refused and the tables are others now."""
        generation = self.generation
        for last_resort in (False, True):
            try:
                self._write()
                return self.generation == generation
            except sqlite3.Error as error:
                self._refused(error, last_resort)
        self._write()
        return False

    def _write(self) -> None:
        tables, state = self._tables, self._state
        epochs = self._epochs.unsaved()
        settings = {} if self._in_memory else self._settings.unsaved()
        with tables.transaction():
            for epoch in epochs:
                tables.put_epoch(epoch)
            confirmed = tables.delete(self._gone)  # first: its pages are filled again
            tables.insert(self._buffer)
            strays = tables.set_aside(self._bad)
            rows = state.rows + len(self._buffer) - confirmed - strays
            evicted = self._evict(rows)
            emptied = store_evict.without_rows(tables, self._epochs, [*self._gone, *evicted.gone])
            for base in emptied:
                tables.drop_epoch(base)
            tables.put_settings(settings)
            state = state._replace(
                rows=rows - evicted.rows,
                confirmed=state.confirmed + confirmed,
                evicted=state.evicted + evicted.rows,
                strays=state.strays + strays,
                newest_ms=max(state.newest_ms, self._newest_estimate()),
                loss=losses.merged(state.loss, evicted.loss),
            )
            tables.put_state(state)
        if strays:
            log.warning("%d rows of the journal make no sense: set aside", strays)
        self._state = state
        self._epochs.saved(epochs, emptied)
        self._settings.saved(settings)
        self._forget_pending()

    def _evict(self, rows: int) -> Evicted:
        most = min(self._max_rows, ROWS_IN_MEMORY) if self._in_memory else self._max_rows
        unknown_ms = max(self._floor_ms, self._state.newest_ms)
        cap = Cap(most, self._most_bytes)
        evicted = store_evict.evict(self._tables, self._epochs, rows, cap, unknown_ms)
        if not self._settings.get(INDEXER_SEEN, False):
            return evicted._replace(loss=losses.NOTHING)  # nobody ever waited for them
        return evicted

    def _forget_pending(self) -> None:
        self._buffer = []
        self._gone, self._bad, self._dirty = Spans(), set(), False
        if not self._in_memory:
            self._acks = []

    def _newest_estimate(self) -> int:
        """The latest row of an unsynced clock: so the next boot begins no earlier than that."""
        if not self._buffer:
            return 0
        row = self._buffer[-1]
        epoch = self._epochs.at(row.epoch)
        if epoch is None or epoch.trust not in ("waiting", "unsynced"):
            return 0
        return self._epochs.time_ms(row.epoch, row.boot_ns)

    # --- reading ----------------------------------------------------------------------------------

    def window(self, after_id: int, limit: int) -> list[Row]:
        """Up to ``limit`` committed rows after this id, in order, that wait for no clock."""
        before_id = self._epochs.waiting_from()
        found: list[Row] = []
        while len(found) < limit:
            try:
                batch = self._tables.rows(after_id, before_id, limit - len(found))
            except sqlite3.Error as error:
                self._refused(error)
                return []
            if not batch:
                break
            found += filter(None, map(self._readable, batch))
            after_id = batch[-1].id
            if after_id in self._gone:
                after_id = self._gone.end_of(after_id)
        return found

    def as_results(self, rows: Sequence[Row]) -> list[Result]:
        """The rows as they are published, from now on always with these times.

        As many results as rows, or none: the disk refused, and the rows changed place.
        """
        if self._epochs.freeze(row.epoch for row in rows) and not self._commit():
            return []
        named = self._epochs.named()
        if not rows or not all(row.epoch in named for row in rows):
            return []
        self._handed = max(self._handed, rows[-1].id)
        return [self._result(row, named[row.epoch][0]) for row in rows]

    def _result(self, row: Row, epoch: Epoch) -> Result:
        time_ms = store_epochs.time_ms(epoch, row.boot_ns, self._floor_ms)
        age_s = store_epochs.clock_age_s(epoch, row.boot_ns)
        body = json.loads(row.body)
        return Result(self._agent, epoch.name, row.seq, time_ms, epoch.trust, age_s, body)

    def _readable(self, stored: Stored) -> Row | None:
        if stored.id in self._gone or stored.id in self._bad:
            return None
        epoch = self._epochs.at(stored.epoch)
        try:
            body = store_tables.unpack(stored.body)
            sane = store_epochs.is_boot_time(stored.boot_ns)
            if epoch is None or not sane or not isinstance(json.loads(body), dict):
                raise ValueError("not a row of ours")
        except (ValueError, RecursionError):
            self._bad.add(stored.id)
            return None
        return Row(stored.id, epoch.name, stored.id - epoch.base, stored.boot_ns, body)

    # --- what the swarm has -----------------------------------------------------------------------

    def confirm(self, ranges: Mapping[str, Sequence[tuple[int, int]]]) -> list[tuple[int, int]]:
        """An indexer has these: the published ones among them leave. Their ids, as ranges."""
        named = self._epochs.named()
        gone = []
        for name, pairs in ranges.items():
            self._acks += ((name, first, last) for first, last in pairs)
            if name not in named:
                continue
            epoch, end = named[name]
            for first, last in pairs:
                ids = epoch.base + max(first, 1), min(epoch.base + last, end, self._handed)
                if ids[0] <= ids[1]:
                    self._gone.add(*ids)
                    gone.append(ids)
        self._acks = self._acks[-ACKS_KEPT:]
        return gone

    def published(self, upto: int) -> None:
        """Every row up to this id had its PUBACK."""
        if upto > self._state.published_upto:
            self._state = self._state._replace(published_upto=upto)
            self._dirty = True

    @property
    def published_upto(self) -> int:
        return self._state.published_upto

    def oldest_id(self) -> int | None:
        """The oldest row that nobody confirmed."""
        after_id = 0
        while True:
            try:
                found = self._tables.first_id(after_id)
            except sqlite3.Error as error:
                self._refused(error)
                return None
            if found is None or (found not in self._gone and found not in self._bad):
                return found
            after_id = self._gone.end_of(found) if found in self._gone else found

    def add_loss(self) -> bool:
        """Turn the open loss record into a result. False: nothing was lost."""
        if not self._state.loss.results or self._reading is None:
            return False
        self.add(losses.as_body(self._state.loss), self._reading.boot_ns)
        self._state = self._state._replace(loss=losses.NOTHING)
        return True

    # --- settings and what is told ----------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """A setting."""
        return self._settings.get(key, default)

    def put(self, key: str, value: Any) -> None:
        """Remember a setting, from the next flush on."""
        self._settings.put(key, value)

    @property
    def newest_ms(self) -> int:
        """The newest time known; 0 when none ever was."""
        return self._state.newest_ms

    @property
    def epoch(self) -> str | None:
        """The current epoch's id."""
        return self._epochs.current.name if self._epochs.current else None

    @property
    def epochs_of_this_run(self) -> set[str]:
        """Every epoch's id that this run began."""
        return self._epochs.of_this_run

    def counts(self) -> Counts:
        """How much is where."""
        oldest_id = self.oldest_id()  # first: it finds out when the disk refuses
        try:
            used_bytes, gone = self._tables.used_bytes(), self._tables.count(self._gone)
        except sqlite3.Error:
            used_bytes = gone = 0
        committed = self._buffer[0].id - 1 if self._buffer else self._last_id
        return store_counts.counted(
            self._state,
            gone=gone,
            buffered=len(self._buffer),
            ends=(oldest_id, committed),
            used_bytes=used_bytes,
        )

    def facts(self) -> dict[str, Any]:
        """What ``agent/<agent>`` tells of the journal."""
        counts = self.counts()
        facts: dict[str, Any] = {
            "in": "memory" if self._in_memory else "file",
            "waiting": counts.waiting,
            "published": counts.published,
            "confirmed": counts.confirmed,
            "evicted": counts.evicted,
            "lost": counts.lost,
        }
        if self._home.refusal is not None:
            facts["memory"] = self._home.refusal
        if self._home.aside is not None:
            facts["set_aside"] = os.path.basename(self._home.aside)
        if counts.strays:
            facts["strays"] = counts.strays
        return facts

    def close(self) -> None:
        """Let go of the file. What was not flushed is lost."""
        self._home.close()

    # --- the disk refuses, and takes again --------------------------------------------------------

    @property
    def _in_memory(self) -> bool:
        return self._home.refusal is not None

    @property
    def _tables(self) -> Tables:
        return self._home.tables

    def _refused(self, error: sqlite3.Error, give_up_file: bool = False) -> None:
        """The tables failed, and are others now, and empty: go on with what is buffered."""
        floor = self._buffer[0].id - 1 if self._buffer else self._last_id
        state = self._state
        left = store_return.Left(state.journal, floor, self._handed, state.published_upto)
        self._home.refused(error, left, self._now, give_up_file=give_up_file)
        if self._home.refusal is None:
            self._settings.none_saved()
            self._acks = []
        journal = self._tables.state().journal
        self._state = state._replace(journal=journal, rows=0, published_upto=floor)
        self._epochs.keep_only({row.epoch for row in self._buffer})
        self._gone, self._bad, self._dirty = Spans(), set(), True
        self.generation += 1

    def _return_to_file(self) -> None:
        """Move everything from memory to the file, if it takes it."""
        news = self._settings.unsaved()
        moved = self._home.take_back(self._state, self._acks, news, self._now)
        if moved is None:
            return
        self._state, shift = moved
        self._most_bytes = self._home.cap_bytes(self._max_bytes)
        self._last_id += shift
        self._handed += shift
        self._epochs.reload(self._tables.epochs())
        self._settings.saved(news)
        self._settings.adopt(self._tables.settings())
        self._acks = []
        self.generation += 1
