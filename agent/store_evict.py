"""What leaves the journal besides confirmed rows: the oldest, when it is too full, and epochs
without rows. Runs inside the transaction of a flush."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from agent import losses, store_epochs, store_tables
from agent.losses import Loss
from agent.store_epochs import Epochs
from agent.store_tables import Stored, Tables


class Cap(NamedTuple):
    """How much the journal may hold."""

    rows: int
    bytes: int


class Evicted(NamedTuple):
    """What left: the ids as ranges, how many rows, and the loss that they are."""

    gone: list[tuple[int, int]]
    rows: int
    loss: Loss


def evict(tables: Tables, epochs: Epochs, rows: int, cap: Cap, unknown_ms: int) -> Evicted:
    """Delete the oldest of so many rows until they are under the cap, 1 % at a time.

    ``unknown_ms`` stands for the time of a row whose epoch is gone.
    """
    gone: list[tuple[int, int]] = []
    loss, left = losses.NOTHING, rows
    while left > cap.rows or (left > 1 and tables.used_bytes() > cap.bytes):
        percent = min(cap.rows, left) // 100
        chunk = tables.rows(0, store_epochs.NO_END, max(left - cap.rows, percent, 1))
        if not chunk:
            break
        for row in chunk:
            loss = losses.merged(loss, _lost_with(row, epochs, unknown_ms))
        gone.append((chunk[0].id, chunk[-1].id))
        left -= tables.delete(gone[-1:])
    return Evicted(gone, rows - left, loss)


def without_rows(tables: Tables, epochs: Epochs, gone: Sequence[tuple[int, int]]) -> list[int]:
    """Bases of the epochs that these deletions left without a row; never the current one's."""
    found = []
    for base, end in epochs.maybe_empty(gone):
        first = tables.first_id(base)
        if first is None or first > end:
            found.append(base)
    return found


def _lost_with(row: Stored, epochs: Epochs, unknown_ms: int) -> Loss:
    if epochs.at(row.epoch) is None or not store_epochs.is_boot_time(row.boot_ns):
        return Loss(1, unknown_ms, unknown_ms)
    try:
        body = json.loads(store_tables.unpack(row.body))
    except (ValueError, RecursionError):
        body = {}
    return losses.of_row(body, epochs.time_ms(row.epoch, row.boot_ns))
