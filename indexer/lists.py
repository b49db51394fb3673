"""The watch lists: written to every broker, rewritten where one differs, each change on record.

The store's history is the truth that all indexers share; its newest entry is our own last list.
A broker is looked at SETTLE_MS after it was connected, or after something came on `watch`, so that
echoes of our own writing, in whatever order, have passed. Then, for each scope:

    the broker has what we have                      nothing to do
    somebody wrote another list there while we       it is the newest: taken into the history, and
    listened (our session on the broker listens      written to every broker
    on while we are away), after our own change
    it differs in any other way, or is missing       ours is written there
    we have none yet                                 the broker's is taken

Only the indexer that leads does this; any indexer writes what its own page changes.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from agent import targets, wire
from indexer.store import WatchChange

SETTLE_MS = 5_000
BY_MQTT = "MQTT"  # who: somebody with mosquitto_pub
FOUND = "found on the broker"


class ListRefused(ValueError):
    """The change was not made; one line for a person says why."""

    def __init__(self, text: str, refused: Iterable[targets.Refused] = ()) -> None:
        super().__init__(text)
        self.refused = tuple(refused)


class History(Protocol):
    """What of a store is needed here."""

    def put_watch(self, at_ms: int, scope: str, text: str | None, who: str) -> None: ...

    def watch_history(self, scope: str | None = None, limit: int = 100) -> list[WatchChange]: ...


class Write(NamedTuple):
    """A retained message that is to be on this broker; None: on every one."""

    broker: str | None
    scope: str
    payload: bytes


class _Seen(NamedTuple):
    """What a broker last had in a scope."""

    text: str | None
    at_ms: int
    live: bool


class _Shelf:
    """What one broker is known to hold, and when to look at it."""

    def __init__(self, due_ms: int) -> None:
        self.seen: dict[str, _Seen] = {}
        self.due_ms: int | None = due_ms


class Lists:
    """Our own lists and those of each connected broker."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._shelves: dict[str, _Shelf] = {}

    def own(self) -> dict[str, str | None]:
        """Our own last list of each scope; None: an own list that was taken back."""
        return {scope: change.text for scope, change in self._newest().items()}

    def change(self, scope: str, text: str | None, who: str, now_ms: int) -> Write:
        """Puts the change on record; the Write is for every broker. ListRefused, or StoreDown."""
        _check_scope(scope, text)
        tidy = None if text is None else _accepted(text, self.own().get(scope) or "")
        self._history.put_watch(now_ms, scope, tidy, who)
        return Write(None, scope, payload_of(tidy))

    def undo(self, scope: str, who: str, now_ms: int) -> Write:
        """Back to what was before the newest change."""
        changes = self._history.watch_history(scope, 2)
        if len(changes) == 2:
            before = changes[1].text
        elif changes and scope != wire.WATCH:
            before = None
        else:
            raise ListRefused("there is no earlier list to go back to")
        self._history.put_watch(now_ms, scope, before, who)
        return Write(None, scope, payload_of(before))

    def opened(self, broker: str, now_ms: int) -> None:
        """Connected, and subscribed: what the broker holds will come."""
        self._shelves[broker] = _Shelf(now_ms + SETTLE_MS)

    def closed(self, broker: str) -> None:
        self._shelves.pop(broker, None)

    def seen(self, broker: str, message: wire.Watch, live: bool, now_ms: int) -> None:
        """A list came from this broker."""
        shelf = self._shelves.setdefault(broker, _Shelf(now_ms))
        scope = wire.WATCH if message.agent is None else wire.watch_topic(message.agent)
        text = None if message.text is None else tidied(message.text)
        before = shelf.seen.get(scope)
        if text is None and scope == wire.WATCH:
            shelf.seen.pop(scope, None)  # nobody's list changes by that; ours is put back
        elif live or before is None or before.text != text:
            shelf.seen[scope] = _Seen(text, now_ms, live)  # else: the retained copy of it
        shelf.due_ms = now_ms + SETTLE_MS

    def due_ms(self) -> int | None:
        """When `settle` has something to look at."""
        dues = [shelf.due_ms for shelf in self._shelves.values() if shelf.due_ms is not None]
        return min(dues, default=None)

    def settle(self, now_ms: int) -> list[Write]:
        """Compares the brokers that have settled with our own lists; what is to be written."""
        ready = {
            broker: shelf
            for broker, shelf in self._shelves.items()
            if shelf.due_ms is not None and shelf.due_ms <= now_ms
        }
        if not ready:
            return []
        own = self._newest()
        writes = self._taken(ready, own, now_ms)
        taken = {write.scope for write in writes}
        for broker, shelf in ready.items():
            shelf.due_ms = None
            writes += [
                Write(broker, scope, payload_of(change.text))
                for scope, change in own.items()
                if scope not in taken and _differs(shelf.seen.get(scope), change.text)
            ]
        return writes

    def _taken(
        self, ready: dict[str, _Shelf], own: dict[str, WatchChange], now_ms: int
    ) -> list[Write]:
        """What somebody else wrote last, scope by scope: now on record, for every broker."""
        newest: dict[str, _Seen] = {}
        for shelf in ready.values():
            for scope, seen in shelf.seen.items():
                if _is_news(seen, own.get(scope), now_ms) and (
                    scope not in newest or seen.at_ms > newest[scope].at_ms
                ):
                    newest[scope] = seen
        for scope, seen in newest.items():
            self._history.put_watch(now_ms, scope, seen.text, BY_MQTT if seen.live else FOUND)
        return [Write(None, scope, payload_of(seen.text)) for scope, seen in newest.items()]

    def _newest(self) -> dict[str, WatchChange]:
        """The newest change of each scope."""
        newest: dict[str, WatchChange] = {}
        for change in self._history.watch_history(None, 10_000):
            newest.setdefault(change.scope, change)
        return newest


def tidied(text: str) -> str:
    """The same list with one space between."""
    return " ".join(text.split())


def payload_of(text: str | None) -> bytes:
    """As it is retained: None deletes it, a list of nothing is one space."""
    return b"" if text is None else text.encode() or b" "


def _accepted(text: str, before: str) -> str:
    """The targets of the text. What was refused before already (somebody wrote it by hand) goes
    without a word; anything new that is refused spoils the change."""
    found = targets.parse_list(text)
    refused = [one for one in found.refused if one.text not in before.split()]
    if refused:
        reasons = "; ".join(f"{one.text}: {one.reason}" for one in refused)
        raise ListRefused(f"not watched: {reasons}", refused)
    return " ".join(target.text for target in found.targets)


def _check_scope(scope: str, text: str | None) -> None:
    if scope == wire.WATCH:
        if text is None:
            raise ListRefused("the list for everybody can be empty, but not be taken away")
        return
    if not scope.startswith("watch/") or not wire.is_name(scope.removeprefix("watch/")):
        raise ListRefused(f"no such list: {scope[:80]!r}")


def _is_news(seen: _Seen, own: WatchChange | None, now_ms: int) -> bool:
    if own is None:
        return seen.text is not None
    later = seen.at_ms > own.at_ms or own.at_ms > now_ms  # a clock that was wrong put ours there
    return seen.live and seen.text != own.text and later


def _differs(seen: _Seen | None, own: str | None) -> bool:
    return (None if seen is None else seen.text) != own
