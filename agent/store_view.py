"""A look into a journal, safe while its agent runs: read-only, a short transaction at a time."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import sqlite_utils

from agent import store_epochs, store_tables, wire
from agent.store_counts import published
from agent.store_epochs import Epoch
from agent.store_tables import Stored, Tables

FLOOR_MS = 1_735_689_600_000
_WINDOW = 500


class ViewError(Exception):
    """The journal cannot be read; one line says why."""


class ViewCounts(NamedTuple):
    """What the journal held at this moment, without what the agent still buffers."""

    waiting: int  # not confirmed, published or not
    published: int
    confirmed: int
    evicted: int
    lost: int  # in the open loss record
    strays: int
    epochs: int
    oldest_ms: int | None
    newest_ms: int | None
    bytes: int
    known_ms: int | None = None  # the newest time of all, of what is confirmed and gone, too

    def lines(self) -> Iterator[tuple[str, str]]:
        """Name and value for a person; times as the clock on the wall has them, in UTC."""
        for name, value in self._asdict().items():
            if name == "known_ms":
                continue  # says nothing about what the journal holds
            if name.endswith("_ms") and value is not None:
                value = wire.for_people(wire.rfc3339(value))
            yield name.removesuffix("_ms"), "-" if value is None else str(value)


class View:
    """A journal that is only read. Made by ``view``."""

    def __init__(self, path: str, tables: Tables) -> None:
        self._path, self._tables = path, tables

    @property
    def counts(self) -> ViewCounts:
        """One consistent answer."""
        with _said_plainly(self._path), self._tables.reading():
            state, last_id = self._tables.state(), self._tables.last_id()
            first_id = self._tables.first_id()
            epochs = {epoch.base: epoch for epoch in self._tables.epochs()}
            ends = [self._time_at(id_, epochs) for id_ in (first_id, last_id) if id_]
            return ViewCounts(
                waiting=state.rows,
                published=published(state.rows, first_id, last_id, state.published_upto),
                confirmed=state.confirmed,
                evicted=state.evicted,
                lost=state.loss.results,
                strays=state.strays,
                epochs=len(epochs),
                oldest_ms=ends[0] if ends else None,
                newest_ms=ends[-1] if ends else None,
                bytes=self._tables.used_bytes(),
                known_ms=max([state.newest_ms, *filter(None, ends)]) or None,
            )

    @property
    def epochs(self) -> frozenset[str]:
        """The names of those that it still knows: what bears one of them is this agent's."""
        with _said_plainly(self._path), self._tables.reading():
            return frozenset(epoch.name for epoch in self._tables.epochs())

    def export(self, after_id: int = 0) -> Iterator[str]:
        """Every row as a line of JSON, oldest first; those that leave meanwhile may be missing."""
        while True:
            with _said_plainly(self._path), self._tables.reading():
                rows = self._tables.rows(after_id, store_epochs.NO_END, _WINDOW)
                epochs = {epoch.base: epoch for epoch in self._tables.epochs()}
                upto = self._tables.state().published_upto
            for row in rows:
                yield json.dumps(_exported(row, epochs.get(row.epoch), upto), ensure_ascii=False)
            if not rows:
                return
            after_id = rows[-1].id

    def close(self) -> None:
        self._tables.close()

    def _time_at(self, id_: int, epochs: dict[int, Epoch]) -> int | None:
        (row,) = self._tables.rows(id_ - 1, id_ + 1, 1)
        return _time_ms(row, epochs.get(row.epoch))


def view(path: str) -> View:
    """The journal at this path, or ViewError."""
    if not os.path.exists(path):
        raise ViewError(f"there is no journal at {path}")
    if not os.path.isfile(path):
        raise ViewError(f"{path} is not a journal, not even a file")
    if not os.access(path, os.R_OK):
        raise ViewError(f"{path} may not be read by this user")
    if store_tables.version_in_header(path) > len(store_tables.UPGRADES):
        raise ViewError(f"{path} was written by a newer program: upgrade this one")
    with _said_plainly(path):
        conn = sqlite3.connect(
            f"{Path(path).absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            timeout=store_tables.BUSY_S,
        )
        try:
            return View(path, Tables(sqlite_utils.Database(conn)))
        except BaseException:
            conn.close()
            raise


@contextmanager
def _said_plainly(path: str) -> Iterator[None]:
    try:
        yield
    except store_tables.Newer as newer:
        raise ViewError(f"{path} was written by a newer program: upgrade this one") from newer
    except store_tables.Foreign as foreign:
        raise ViewError(f"{path} is not a journal") from foreign
    except sqlite3.Error as error:
        if store_tables.is_broken(error):
            raise ViewError(f"{path} is not a journal, or corrupt ({error})") from error
        if os.path.exists(path) and not os.path.getsize(path):
            raise ViewError(f"{path} holds nothing yet") from error
        raise ViewError(f"{path} cannot be read: {error}") from error


def _exported(row: Stored, epoch: Epoch | None, published_upto: int) -> dict[str, Any]:
    time_ms = _time_ms(row, epoch)
    try:
        body = json.loads(store_tables.unpack(row.body))
    except ValueError:
        body = {"unreadable": True}
    return {
        "epoch": epoch.name if epoch else None,
        "seq": row.id - row.epoch,
        "time": None if time_ms is None else wire.rfc3339(time_ms),
        "clock": epoch.trust if epoch else None,
        "published": row.id <= published_upto,
    } | (body if isinstance(body, dict) else {"unreadable": True})


def _time_ms(row: Stored, epoch: Epoch | None) -> int | None:
    """When it was measured; None while its clock is still waited for."""
    if epoch is None or store_epochs.waits(epoch, None):
        return None
    return store_epochs.time_ms(epoch, row.boot_ns, FLOOR_MS)
