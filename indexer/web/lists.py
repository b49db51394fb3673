"""The watch lists as the page shows and changes them; the desk checks and writes."""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from agent import targets, wire
from indexer.desk import Change, Desk, ListRefused
from indexer.store import AgentRecord, Store, WatchChange
from indexer.web import words

_ALLOWS_ALL = targets.Policy((ip_network("0.0.0.0/0"), ip_network("::/0")), ())


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


def add(desk: Desk, scope: str, typed: str, who: str) -> tuple[str, ...]:
    """Puts the words at the end of the list; those that were new on it."""
    if not typed.strip():
        raise ListRefused("nothing was typed: a host name, an address, or an http(s) URL")
    had = current(desk, scope)
    known = {_key(word) for word in had}
    new = {_key(word): word for word in typed.split() if _key(word) not in known}
    if new:
        desk.change_list(scope, " ".join([*had, *new.values()]), who)
    return tuple(new.values())


def remove(desk: Desk, scope: str, word: str, who: str) -> Change:
    """Takes one word from the list; the rest stays in its order."""
    left = [one for one in current(desk, scope) if one != word]
    return desk.change_list(scope, " ".join(left), who)


def current(desk: Desk, scope: str) -> list[str]:
    """An agent's own list begins as the list for everybody."""
    lists = desk.lists()
    return lists.get(scope, lists.get(wire.WATCH, "")).split()


class Refusal(NamedTuple):
    """An agent does not probe a word of its list."""

    agent: str
    reason: str


def refusals(records: Iterable[AgentRecord]) -> dict[str, list[Refusal]]:
    """What agents say that they refuse, word by word."""
    found: dict[str, list[Refusal]] = {}
    for record in sorted(records, key=lambda one: one.agent):
        for fact in words.refused_of(record):
            found.setdefault(fact.name, []).append(Refusal(record.agent, fact.text))
    return found


def warning(word: str) -> str | None:
    """What stands in the way of an address that leads to no public place; None: nothing."""
    try:
        host = targets.parse(word).host
        ip_address(host)
    except (targets.TargetError, ValueError):
        return None
    if (reason := targets.refusal(host, _ALLOWS_ALL)) is not None:
        return f"no agent probes it: {reason}"
    if targets.refusal(host, targets.Policy((), ())) is not None:
        return "private: each agent's owner must allow it (--allow-private)"
    return None


def _key(word: str) -> object:
    """The same for two words that mean the same target."""
    try:
        found = targets.parse(word)
    except targets.TargetError:
        return word
    return found._replace(text="")


def _entry(change: WatchChange, older: Sequence[WatchChange], is_newest: bool) -> Entry:
    before = next((one.text for one in older if one.scope == change.scope), None)
    had, has = (before or "").split(), (change.text or "").split()
    added = tuple(word for word in has if word not in had)
    removed = tuple(word for word in had if word not in has)
    return Entry(change.at_ms, change.scope, change.who, change.text, added, removed, is_newest)
