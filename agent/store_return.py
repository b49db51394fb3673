"""The way back from memory: all rows move to the file in one transaction, or stay."""

from collections.abc import Sequence
from typing import NamedTuple

from agent import losses, store_epochs
from agent.spans import Spans
from agent.store_tables import State, Stored, Tables

_WINDOW = 500


class Left(NamedTuple):
    """How the file was left. ``journal`` None: it never was open in this run."""

    journal: str | None
    last_id: int  # rows in memory have greater ids
    handed: int  # rows up to this id had been published
    published_upto: int


def move(
    memory: Tables,
    file: Tables,
    mine: State,
    left: Left,
    acks: Sequence[tuple[str, int, int]],
    news: dict[str, str],
) -> tuple[State, int]:
    """Everything in memory goes to the file; its new state, and by how much all ids grew.

    In a file that this run never had open, nothing is overwritten but what is news.
    """
    theirs = file.state()
    same = theirs.journal == left.journal
    last_id = max(file.last_id(), theirs.published_upto)
    shift = max(0, last_id - left.last_id)
    with file.transaction():
        confirmed = file.delete(_confirmed(file, acks, left.handed if same else last_id))
        _drop_empty(file)
        for epoch in memory.epochs():
            file.put_epoch(epoch._replace(base=epoch.base + shift))
        _move_rows(memory, file, shift)
        file.put_settings(news)
        state = _state(theirs, mine, left if same else None)
        state = state._replace(rows=file.count(), confirmed=state.confirmed + confirmed)
        file.put_state(state)
    return state, shift


def _state(theirs: State, mine: State, left: Left | None) -> State:
    """What was counted since; where the file is the one that was left, it began from its counts."""
    newest_ms = max(theirs.newest_ms, mine.newest_ms)
    if left is not None:
        upto = max(theirs.published_upto, left.published_upto)
        return mine._replace(journal=theirs.journal, published_upto=upto, newest_ms=newest_ms)
    return theirs._replace(
        confirmed=theirs.confirmed + mine.confirmed,
        evicted=theirs.evicted + mine.evicted,
        strays=theirs.strays + mine.strays,
        newest_ms=newest_ms,
        loss=losses.merged(theirs.loss, mine.loss),
    )


def _confirmed(file: Tables, acks: Sequence[tuple[str, int, int]], handed: int) -> Spans:
    """The published rows of the file that were confirmed while it was out of reach."""
    where = store_epochs.ends(file.epochs())
    gone = Spans()
    for name, first, last in acks:
        if name in where:
            epoch, end = where[name]
            gone.add(epoch.base + max(first, 1), min(epoch.base + last, end, handed))
    return gone


def _drop_empty(file: Tables) -> None:
    for epoch, end in store_epochs.ends(file.epochs()).values():
        first = file.first_id(epoch.base)
        if first is None or first > end:
            file.drop_epoch(epoch.base)


def _move_rows(memory: Tables, file: Tables, shift: int) -> None:
    after_id = 0
    while rows := memory.rows(after_id, store_epochs.NO_END, _WINDOW):
        file.insert(
            Stored(row.id + shift, row.epoch + shift, row.boot_ns, row.body) for row in rows
        )
        after_id = rows[-1].id
