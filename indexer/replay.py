"""Dead letters are read again, as if they had just come: after an upgrade, or with --classic.

What can be read now is stored and its letter dropped; what cannot stays. Safe at any time, also
while an indexer runs: identity makes a second reading harmless.
"""

from typing import NamedTuple, Protocol

from agent.wire import Result, WireError
from indexer import classic, reading
from indexer.store import Dead, Put

_CHUNK = 500


class Morgue(Protocol):
    """What of a store is needed here."""

    def put(self, results: list[Result], now_ms: int) -> Put: ...

    def dead(self, limit: int = 1000) -> list[Dead]: ...

    def drop_dead(self, ids: list[str]) -> None: ...


class Replayed(NamedTuple):
    """How many letters there were, how many could be read, and the results in these."""

    letters: int
    read: int
    results: int


def replay(store: Morgue, now_ms: int, read_classic: bool = False) -> Replayed:
    """Reads every dead letter again. StoreDown: what was done so far is done."""
    letters = store.dead(1_000_000_000)
    done = Replayed(len(letters), 0, 0)
    for start in range(0, len(letters), _CHUNK):
        results: list[Result] = []
        readable: list[str] = []
        for letter in letters[start : start + _CHUNK]:
            found = _read(letter, now_ms, read_classic)
            if found is not None:
                results += found
                readable.append(letter.id)
        if readable:
            put = store.put(results, now_ms)
            store.drop_dead(readable)
            done = done._replace(read=done.read + len(readable), results=done.results + put.stored)
    return done


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
