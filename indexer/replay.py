"""Dead letters are read again, as if they had just come: after an upgrade, or with --classic.

What can be read now is stored and its letter dropped; what cannot stays. Safe at any time, also
while an indexer runs: identity makes a second reading harmless. Only a page of letters is in the
memory at a time.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from agent.wire import Result, WireError
from indexer import classic, reading
from indexer.store import Dead, Put

PAGE = 100  # letters, of up to 128 KiB each


class Morgue(Protocol):
    """What of a store is needed here."""

    def put(self, results: list[Result], now_ms: int) -> Put: ...

    def dead(self, limit: int = 1000, after: Dead | None = None) -> list[Dead]: ...

    def drop_dead(self, ids: list[str]) -> None: ...


class Replayed(NamedTuple):
    """How many letters there were, how many could be read, and the results in these."""

    letters: int
    read: int
    results: int


def replay(store: Morgue, now_ms: int, read_classic: bool = False) -> Replayed:
    """Reads every dead letter again that is from before now: what the store has no place for
    becomes a letter of now. StoreDown: what was done so far is done."""
    done = Replayed(0, 0, 0)
    last: Dead | None = None
    while page := [one for one in store.dead(PAGE, last) if one.at_ms < now_ms]:
        last = page[-1]
        found = {one.id: _read(one, now_ms, read_classic) for one in page}
        read = [name for name, results in found.items() if results is not None]
        stored = 0
        if read:
            stored = store.put([one for name in read for one in found[name] or ()], now_ms).stored
            store.drop_dead(read)
        done = Replayed(done.letters + len(page), done.read + len(read), done.results + stored)
    return done


def every(store: Morgue) -> Iterator[Dead]:
    """All dead letters, the oldest first."""
    last: Dead | None = None
    while page := store.dead(PAGE, last):
        yield from page
        last = page[-1]


def _read(letter: Dead, now_ms: int, read_classic: bool) -> list[Result] | None:
    """The results of a letter that can be read whole, else None."""
    if read_classic and classic.is_classic(letter.topic, letter.payload):
        try:
            return [classic.read(letter.topic, letter.payload, letter.at_ms)]
        except (WireError, UnicodeDecodeError):
            return None
    found = reading.read_results(letter.topic, letter.payload, now_ms)
    if found.letters or found.newer is not None or not found.results:
        return None
    return found.results
