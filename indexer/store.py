"""What every store of a swarm promises; the indexer knows its store only by this page.

- `put` returns when the results are durable, and not before. Identity (agent, epoch, seq) is
  unique: what is stored already changes nothing, so a resend is harmless.
- Every call may raise StoreDown; nothing of that call was then promised, the store comes back by
  itself, and the same call may simply be made again.
- Reading is free for all threads. Writing too, one at a time; other processes may share a store.
- A result of an unsynchronised clock (`clock == "unsynced"`) is kept, but apart: it is in
  `results`, never in `buckets`, and in `latest` only when asked for.
- A result from the future (an hour and more) is kept, and is never the latest.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from agent.wire import Result

FUTURE_MS = 3_600_000  # later than now by more than this: no clock of ours is that wrong


class StoreDown(Exception):
    """The store takes nothing now (locked, full, unreachable); one line says why."""


class StoreRefused(Exception):
    """This store is not for this program (newer, corrupt, of another program): exit 2."""


class Put(NamedTuple):
    """What became of the results of one `put`: every kind of them may be confirmed."""

    stored: int
    known: int  # were in the store already
    too_old: int  # of times whose raw results are dropped: counted, not stored
    refused: int = 0  # the store has no place for them: `put` made dead letters of them


class Dead(NamedTuple):
    """A message that could not be read, every byte kept; the store gives it an id."""

    at_ms: int
    topic: str
    payload: bytes
    reason: str
    id: str = ""


class AgentRecord(NamedTuple):
    """What an agent last said of itself."""

    agent: str
    facts: dict[str, Any]
    seen_ms: int
    rip_ms: int | None
    here: bool


class WatchChange(NamedTuple):
    """Somebody changed a list: scope is `watch` or `watch/<agent>`, text None its deletion."""

    at_ms: int
    scope: str
    text: str | None
    who: str


class Told(NamedTuple):
    """One verdict of the history: what was said of a target, and since when."""

    at_ms: int
    target: str
    facts: dict[str, Any]


class Bucket(NamedTuple):
    """One agent's view of one target over one step of time.

    kind is icmp, http, or for the target `ladder`: gateway, first_hop. The percentiles are over
    each echo (icmp, ladder) or each request's total (http), within 1 % of the exact ones; None
    when nothing was answered. They are read only: buckets may share what they hold.
    """

    agent: str
    target: str
    kind: str
    start_ms: int
    step_s: int
    count: int  # type: ignore[assignment]  # probes
    ok: int  # probes that said ok
    sent: int  # echoes or requests
    received: int
    min_ms: float | None
    p10_ms: float | None
    p25_ms: float | None
    median_ms: float | None
    p75_ms: float | None
    p90_ms: float | None
    max_ms: float | None
    errors: dict[str, int]  # error word -> probes
    phases_ms: dict[str, float]  # http: median of each phase
    links: tuple[str, ...]  # link types, in order of appearance
    ips: tuple[str, ...]  # addresses that answered, in order of appearance

    @property
    def loss_pct(self) -> float | None:
        return 100.0 * (self.sent - self.received) / self.sent if self.sent else None


class Rollup(NamedTuple):
    """One roll-up as it is kept; `rollup.tally_of` makes a sum of it again."""

    bucket: Bucket
    sketches: bytes


class Store(Protocol):
    """A swarm has one store; everything that the indexer knows is in it."""

    rows_a_put: int  # as many results one `put` should have while more are waiting

    def put(self, results: Sequence[Result], now_ms: int) -> Put: ...

    def put_dead(self, letters: Sequence[Dead]) -> None: ...

    def dead(self, limit: int = 1000, after: Dead | None = None) -> list[Dead]:
        """The oldest letters first: by `at_ms`; those of one moment in an order that stays.

        after: only what follows this letter in that order, whether it is still there or not.
        """

    def drop_dead(self, ids: Iterable[str]) -> None: ...

    def results(
        self,
        since_ms: int,
        until_ms: int,
        *,
        agent: str | None = None,
        target: str | None = None,
        kind: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[Result]:
        """Raw results with since <= time < until, by time; unsynced ones among them."""

    def buckets(
        self,
        since_ms: int,
        until_ms: int,
        step_s: int,
        *,
        agent: str | None = None,
        target: str | None = None,
        kind: str | None = None,
    ) -> list[Bucket]:
        """By agent, target, kind, start; starts are whole steps since 1970 UTC.

        Days, quarters of days and hours are read from roll-ups (so up to one `rollup` late),
        shorter steps from raw; where raw is dropped already, a shorter step becomes hours.
        """

    def latest(self, since_ms: int, *, unsynced: bool = False) -> list[Result]:
        """The newest result of each (agent, target, kind) that is not older than since."""

    def targets(self, since_ms: int) -> list[str]:
        """Everything that was probed since then, the ladder left out."""

    def put_agents(self, records: Sequence[AgentRecord]) -> None:
        """Replaces these agents' records, where the stored one was not seen later."""

    def agents(self) -> list[AgentRecord]: ...

    def put_watch(self, at_ms: int, scope: str, text: str | None, who: str) -> None: ...

    def watch_history(self, scope: str | None = None, limit: int = 100) -> list[WatchChange]:
        """The newest change first; scope None: all lists."""

    def put_verdict(self, at_ms: int, target: str, facts: dict[str, Any]) -> None:
        """Adds to the history; the same target at the same time again changes nothing."""

    def verdicts(
        self, since_ms: int, until_ms: int, *, target: str | None = None, limit: int = 1000
    ) -> list[Told]:
        """What was said with since <= time < until, the newest first."""

    def lease(self, what: str, holder: str, now_ms: int, ttl_ms: int) -> bool:
        """True while holder has it (taken or renewed until now + ttl); ttl 0 gives it back."""

    def put_fact(self, key: str, value: Any) -> None:
        """Keeps one JSON value under a key; None deletes it."""

    def fact(self, key: str) -> Any: ...

    def rollup(self, now_ms: int, limit: int = 2000) -> int:
        """Recomputes at most limit dirty roll-ups; how many are left. Call until 0."""

    def retain(self, now_ms: int, keep_raw_ms: int) -> int:
        """Drops raw results (and dead letters) older than keep, rolled up first; how many.

        Of dead letters it keeps a bounded number of bytes, the newest; verdicts go as these do.
        It may keep up to a day more than it must.
        """

    def forget(self, agent: str, before_ms: int) -> int:
        """Drops all that is known of an agent from before this time; how many rows it was.

        Results, roll-ups, dead letters on its topics, verdicts that name it, what it said of
        itself; lists stay. What is stopped in between is done by the same call again; a second
        time there is nothing. Results of before that come later are for the caller to keep out.
        """

    def raw_from_ms(self) -> int | None:
        """Raw results before this time are dropped, and too old from now on; None: none are."""

    def put_raw_from(self, at_ms: int) -> None:
        """Results before then (or the hour or day around it) are too old now; never moves back."""

    def rollups(self, since_ms: int, until_ms: int) -> Iterator[Rollup]:
        """The hourly roll-ups that start in this range, by start."""

    def put_rollups(self, rollups: Sequence[Rollup]) -> None:
        """Hourly roll-ups whose raw results are elsewhere or gone.

        One of more probes stays as it is. Longer periods around them are made again.
        """

    def backup(self, path: str) -> None:
        """A whole, consistent copy at path, there at once or not at all, while all goes on."""

    def check(self) -> None:
        """Raises StoreDown unless a write would be durable now."""

    def close(self) -> None: ...
