"""What the page may ask of the loop, and what it may see of it; safe from any thread.

The loop owns all state. Commands go into its queue and come back through a Future; what can be
looked at is a snapshot that the loop lays down here, replaced whole and never altered.
"""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, NamedTuple

from agent import wire
from indexer.lists import ListRefused
from indexer.verdict import Picture

__all__ = [
    "BrokerState", "Busy", "Change", "ChangeList", "Desk", "Health", "ListRefused", "Live",
    "LookAt", "UndoList",
]  # fmt: skip

ANSWER_S = 5.0
STALE_MS = 30_000  # a loop that has not turned for so long is not well


class Busy(RuntimeError):
    """The loop did not answer in time, or the store is down: nothing is promised."""


class Change(NamedTuple):
    """A list as it was changed, and the brokers that it was handed to at once."""

    at_ms: int
    scope: str
    text: str | None
    who: str
    brokers: tuple[str, ...]


class BrokerState(NamedTuple):
    address: str
    connected: bool
    since_ms: int
    reason: str | None
    version: str
    shared: bool


class Health(NamedTuple):
    ok: bool
    facts: dict[str, Any]


class Live(NamedTuple):
    """Something happened: results | agent | list | verdict | health."""

    kind: str
    data: Any


class ChangeList(NamedTuple):
    """A command: the list of this scope becomes text."""

    scope: str
    text: str | None
    who: str
    answer: "Future[Change]"


class UndoList(NamedTuple):
    """A command: the list of this scope becomes what it was before."""

    scope: str
    who: str
    answer: "Future[Change]"


class LookAt(NamedTuple):
    """A command: somebody wants this target looked at now."""

    target: str


Command = ChangeList | UndoList | LookAt


class Desk:
    """Made by the loop with the way into its queue; `lay` and `tell` are the loop's alone."""

    def __init__(
        self,
        name: str,
        post: Callable[[Command], None],
        *,
        auth_file: str | None = None,
        behind_proxy: bool = False,
        ca_folder: str | None = None,
        keep_raw_ms: int = 90 * 86_400_000,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self.name = name
        self.auth_file = auth_file
        self.behind_proxy = behind_proxy
        self.ca_folder = ca_folder  # None: nobody may join by this page
        self.keep_raw_ms = keep_raw_ms
        self._post = post
        self._now_ms = now_ms or _never
        self._listeners: tuple[Callable[[Live], None], ...] = ()
        self._lists: dict[str, str | None] = {}
        self._brokers: tuple[BrokerState, ...] = ()
        self._verdicts: dict[str, wire.Verdict] = {}
        self._health = Health(False, {"store": "not asked yet"})
        self._turned_ms = 0
        self._picture: tuple[Picture | None, int] = (None, 0)

    # --- for the page ---

    def change_list(self, scope: str, text: str | None, who: str) -> Change:
        """Writes the list on every broker; waits for the store. ListRefused, Busy."""
        answer: Future[Change] = Future()
        self._post(ChangeList(scope, text, who, answer))
        return _answered(answer)

    def undo_list(self, scope: str, who: str) -> Change:
        """Back to the list before the newest change. ListRefused, Busy."""
        answer: Future[Change] = Future()
        self._post(UndoList(scope, who, answer))
        return _answered(answer)

    def look(self, target: str) -> None:
        self._post(LookAt(target))

    def lists(self) -> dict[str, str]:
        """Our own last list of each scope."""
        return {scope: text for scope, text in self._lists.items() if text is not None}

    def brokers(self) -> list[BrokerState]:
        return list(self._brokers)

    def verdicts(self) -> dict[str, wire.Verdict]:
        """The newest verdict on each target that is on a broker."""
        return self._verdicts

    def picture(self, now_ms: int) -> Picture | None:
        """What the verdicts were read off last, if we lead and it is not too old."""
        picture, until_ms = self._picture
        return picture if now_ms < until_ms else None

    def live(self, post: Callable[[Live], None]) -> Callable[[], None]:
        """Calls post on the loop's thread for all that happens, until the answer is called."""
        self._listeners = (*self._listeners, post)

        def stop() -> None:
            self._listeners = tuple(one for one in self._listeners if one is not post)

        return stop

    def healthz(self) -> Health:
        """The truth of the last turn; a loop that stands still is not well."""
        behind_ms = self._now_ms() - self._turned_ms
        if self._health.ok and behind_ms > STALE_MS:
            facts = self._health.facts | {"loop": f"stands still since {behind_ms // 1000} s"}
            return Health(False, facts)
        return self._health

    # --- for the loop ---

    def lay(self, health: Health, brokers: tuple[BrokerState, ...], turned_ms: int) -> None:
        """What there is to see after this turn."""
        turned = (health.ok, brokers) != (self._health.ok, self._brokers)
        self._health, self._brokers, self._turned_ms = health, brokers, turned_ms
        if turned:
            self.tell(Live("health", health))

    def lay_lists(self, lists: dict[str, str | None]) -> None:
        self._lists = lists

    def lay_picture(self, picture: Picture, until_ms: int) -> None:
        self._picture = picture, until_ms

    def lay_verdict(self, found: wire.Verdict) -> None:
        """A verdict without facts is one that was taken back."""
        verdicts = {target: one for target, one in self._verdicts.items() if target != found.target}
        if found.facts:
            verdicts[found.target] = found
        self._verdicts = verdicts
        self.tell(Live("verdict", found))

    @property
    def watched(self) -> bool:
        """Somebody listens to `tell`."""
        return bool(self._listeners)

    def tell(self, live: Live) -> None:
        for post in self._listeners:
            post(live)


def _answered(answer: "Future[Change]") -> Change:
    try:
        return answer.result(ANSWER_S)
    except FutureTimeout as error:
        answer.cancel()
        raise Busy("the indexer is busy; look again in a moment") from error


def _never() -> int:
    return 0
