"""The watch lists as the page shows and changes them; the desk checks and writes."""

from collections.abc import Sequence
from typing import NamedTuple

from agent import wire
from indexer.desk import Change, Desk, ListRefused
from indexer.store import Store, WatchChange


class Entry(NamedTuple):
    """One change of a list, beside what it was before."""

    at_ms: int
    scope: str
    who: str
    text: str | None
    added: tuple[str, ...]
    removed: tuple[str, ...]
    is_newest: bool  # of its scope: it can be undone

    @property
    def says(self) -> str:
        """ "added dns.google" """
        if self.text is None:
            return "back to the list for everybody"
        parts = [("added", self.added), ("removed", self.removed)]
        said = "; ".join(f"{verb} {', '.join(words)}" for verb, words in parts if words)
        return said or ("nothing changed" if self.text else "watch nothing")


def history(store: Store, limit: int = 50) -> list[Entry]:
    """The newest changes first, each told as a difference."""
    changes = store.watch_history(None, limit + 50)
    newest: set[str] = set()
    entries = []
    for at, change in enumerate(changes[:limit]):
        entries.append(_entry(change, changes[at + 1 :], change.scope not in newest))
        newest.add(change.scope)
    return entries


def add(desk: Desk, scope: str, words: str, who: str) -> Change:
    """Puts the words at the end of the list."""
    if not words.strip():
        raise ListRefused("nothing was typed: a host name, an address, or an http(s) URL")
    return desk.change_list(scope, " ".join([*current(desk, scope), *words.split()]), who)


def remove(desk: Desk, scope: str, word: str, who: str) -> Change:
    """Takes one word from the list; the rest stays in its order."""
    left = [one for one in current(desk, scope) if one != word]
    return desk.change_list(scope, " ".join(left), who)


def current(desk: Desk, scope: str) -> list[str]:
    """An agent's own list begins as the list for everybody."""
    lists = desk.lists()
    return lists.get(scope, lists.get(wire.WATCH, "")).split()


def _entry(change: WatchChange, older: Sequence[WatchChange], is_newest: bool) -> Entry:
    before = next((one.text for one in older if one.scope == change.scope), None)
    had, has = (before or "").split(), (change.text or "").split()
    added = tuple(word for word in has if word not in had)
    removed = tuple(word for word in had if word not in has)
    return Entry(change.at_ms, change.scope, change.who, change.text, added, removed, is_newest)
