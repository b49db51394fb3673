"""How many rows are where, without counting them: from the ends of the queue."""

from typing import NamedTuple

from agent.store_tables import State


class Counts(NamedTuple):
    """``waiting`` is all that is not confirmed yet, ``buffered`` included."""

    waiting: int
    buffered: int
    published: int
    confirmed: int
    evicted: int
    lost: int
    strays: int
    bytes: int


def published(rows: int, first_id: int | None, last_id: int, published_upto: int) -> int:
    """How many of so many rows between these ids were published."""
    if first_id is None:
        return 0
    return max(0, rows - max(0, last_id - max(published_upto, first_id - 1)))


def counted(
    state: State, *, gone: int, buffered: int, ends: tuple[int | None, int], used_bytes: int
) -> Counts:
    """``gone`` rows are confirmed and not deleted yet; ``ends`` are the first and last id."""
    rows = max(0, state.rows - gone)
    return Counts(
        waiting=rows + buffered,
        buffered=buffered,
        published=published(rows, *ends, state.published_upto),
        confirmed=state.confirmed,
        evicted=state.evicted,
        lost=state.loss.results,
        strays=state.strays,
        bytes=used_bytes,
    )
