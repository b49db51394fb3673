"""The drain: walks the journal and says what to publish. Pure: fed by events, asked what is due.

The rules, of which the code below is only the walking:

Cursor. Rows have ids that grow. The cursor stands at the last row that was handed to the broker.
``published_upto`` is the last row up to which every one had its PUBACK; after a disconnect, a
refusal or a restart the cursor goes back there.

Window. At most 20 messages await a PUBACK (or what the broker's Receive Maximum says). While an
indexer is online, at most 500 singles or 4 batches await its confirmation as well: brokers
acknowledge faster than they deliver, and drop the rest. What is not confirmed a minute after its
PUBACK was dropped, and makes room. With no indexer nobody confirms, and only PUBACKs count.

Singles or batches. Up to 20 rows waiting go one by one, readable; more, or a resend, in batches. On
a metered link two rows already make a batch, and with a known indexer offline nothing is sent. When
the budget is spent: one batch an hour.

Resend. A row leaves the journal only when it is confirmed. A resend is a rewind to the oldest row,
over what was published more than a minute ago and had its PUBACK, only while an indexer is online:
 - when the oldest published row has stayed the oldest for 1 min; then 2, 4 … 6 h; again 1 min as
   soon as it is confirmed;
 - uniform(0, 120 s) after an indexer came online here (which a change of brokers implies).

Refusals. PUBACK below 0x80 is taken (0x10: nobody subscribed, the broker has done its part). 0x97,
quota: nothing is published for a minute. Any other: the same, doubling to an hour, so that a denied
agent does not hammer. A message that has no PUBACK after 15 min on a living connection goes again,
over another one: what it owes would fill this one's window for ever (``stuck``).

Size. Brokers drop what is too large for them in silence. A batch in flight at two disconnects,
refused, or resent three times to an indexer that is online without a confirmation: half the size
for this broker, from 64 down to 4 KiB, remembered for a day.

Loss. The open loss record becomes a result only while an indexer is online.
"""

import logging
import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from agent import wire
from agent.drain_resend import Pace, Resend
from agent.drain_sizes import Sizes
from agent.indexers import BELIEVED_S, Indexers
from agent.spans import Spans
from agent.store import INDEXER_SEEN, NO_END, Row

log = logging.getLogger(__name__)

NOT_AUTHORIZED = 0x87
QUOTA_EXCEEDED = 0x97
SILENT = "published, an indexer online, nothing confirmed after three tries"
DENIED = "the broker does not allow this agent to publish"


class Rules(NamedTuple):
    """How much, and how long."""

    singles: int = 20
    unacknowledged: int = 20
    unconfirmed_singles: int = 500
    unconfirmed_batches: int = 4
    batch_rows: int = 300  # a thousand would take 6 MB of a small box, and save 6 bytes a result
    batch_bytes: int = 64 * 1024
    least_batch_bytes: int = 4 * 1024
    smaller_for_s: float = 86_400.0
    resend_s: float = 60.0
    resend_most_s: float = 6 * 3600.0
    fresh_s: float = 60.0
    after_online_s: float = 120.0
    believed_s: float = BELIEVED_S
    quota_pause_s: float = 60.0
    refused_pause_s: float = 60.0
    refused_pause_most_s: float = 3600.0
    acknowledged_within_s: float = 900.0
    spent_every_s: float = 3600.0
    loss_every_s: float = 60.0
    tries: int = 3


class Queue(Protocol):
    """What the drain needs of the journal."""

    generation: int

    @property
    def published_upto(self) -> int: ...
    @property
    def newest_ms(self) -> int: ...
    def window(self, after_id: int, limit: int) -> list[Row]: ...
    def as_results(self, rows: Sequence[Row]) -> list[wire.Result]: ...
    def confirm(self, ranges: Mapping[str, Sequence[tuple[int, int]]]) -> list[tuple[int, int]]: ...
    def published(self, upto: int) -> None: ...
    def oldest_id(self) -> int | None: ...
    def add_loss(self) -> bool: ...
    def get(self, key: str, default: Any = None) -> Any: ...
    def put(self, key: str, value: Any) -> None: ...


class Outgoing(NamedTuple):
    """A message to publish now."""

    topic: str
    payload: bytes
    ids: tuple[int, ...]
    batch: bool
    again: bool  # part of a resend


class Sent:
    """A message that was published."""

    def __init__(self, outgoing: Outgoing, now: float) -> None:
        self.first_id, self.last_id = outgoing.ids[0], outgoing.ids[-1]
        self.unconfirmed = set(outgoing.ids)
        self.batch, self.again = outgoing.batch, outgoing.again
        self.at = now
        self.acknowledged_at: float | None = None

    def forget_ids(self) -> None:
        """They mean other rows now. The message still takes a place in the window."""
        self.first_id = self.last_id = NO_END
        self.again = True


class Drain:
    """One agent's drain, to one broker at a time."""

    def __init__(
        self, journal: Queue, agent: str, rng: random.Random, rules: Rules | None = None
    ) -> None:
        self.metered = False
        self.spent = False
        self.stuck = False  # this connection is of no use any more
        self._journal, self._agent, self._rng = journal, agent, rng
        self._rules = rules or Rules()
        self._indexers = Indexers(self._rules.believed_s)
        self._sizes = Sizes(journal, self._rules)
        self._broker: str | None = None
        self._connected_at: float | None = None
        self._most_unacknowledged = self._rules.unacknowledged
        self._max_packet: int | None = None
        self._was_online = False
        self._waiting: dict[Any, Sent] = {}  # by token: no PUBACK yet
        self._forward: deque[Sent] = deque()  # first sendings, in order of ids
        self._unconfirmed: list[Sent] = []  # kept only while an indexer is online
        self._paused_until = -math.inf
        self._refusals = 0
        self._spent_at = self._loss_at = -math.inf
        self._silent = False
        self._denied = False
        self._more = False
        rules = self._rules
        pace = Pace(rules.resend_s, rules.resend_most_s, rules.fresh_s, rules.tries)
        self._resend = Resend(pace, journal.published_upto)
        self._begin_anew()

    def _begin_anew(self) -> None:
        """The journal's rows are in another place: walk them from ``published_upto``."""
        self._generation = self._journal.generation
        self._cursor = self._journal.published_upto
        self._resend.begin_anew(self._cursor)
        self._forward.clear()
        self._unconfirmed.clear()
        for sent in self._waiting.values():
            sent.forget_ids()

    # --- events -----------------------------------------------------------------------------------

    def opened(
        self,
        broker: str,
        now: float,
        *,
        max_packet: int | None = None,
        receive_maximum: int | None = None,
    ) -> None:
        """A broker took us."""
        if broker != self._broker:
            self._indexers.forget()
            self._was_online = self._silent = False
        self._broker, self._connected_at = broker, now
        self._denied, self._refusals, self._paused_until = False, 0, -math.inf
        self.stuck = False
        self._max_packet = max_packet
        self._most_unacknowledged = max(
            1, min(self._rules.unacknowledged, receive_maximum or self._rules.unacknowledged)
        )

    def closed(self, now: float) -> None:
        """The connection is gone, and with it every message that had no PUBACK."""
        if self._broker is not None and any(sent.batch for sent in self._waiting.values()):
            self._sizes.cut(self._broker)
        self._connected_at = None
        self._waiting.clear()
        self._unconfirmed = [sent for sent in self._unconfirmed if sent.acknowledged_at is not None]
        self._resend.walked(None)
        self._more = False
        self._go_back()

    def sent(self, outgoing: Outgoing, token: Any, now: float) -> None:
        """It was handed to the connection, which will acknowledge this token."""
        sent = Sent(outgoing, now)
        self._waiting[token] = sent
        if not sent.again:
            self._forward.append(sent)
            self._resend.passed(sent.last_id, now)
        if self.indexer_online(now):
            self._unconfirmed.append(sent)

    def acknowledged(self, token: Any, code: int, now: float) -> None:
        """PUBACK, with its reason code (0 where the protocol has none)."""
        sent = self._waiting.pop(token, None)
        if sent is None:
            return
        if code >= 0x80:
            self._refused(sent, code, now)
            return
        sent.acknowledged_at = now
        self._refusals, self._denied = 0, False
        if sent.batch and self._broker is not None:
            self._sizes.passed(self._broker)
        while self._forward and self._forward[0].acknowledged_at is not None:
            self._journal.published(self._forward.popleft().last_id)

    def confirmed(self, ranges: Mapping[str, Sequence[tuple[int, int]]], now: float) -> None:
        """``ack/<agent>``: the store has these rows."""
        self._indexers.acknowledged(now)
        self._look_for_indexer(now)
        gone = Spans(self._journal.confirm(ranges))
        if not gone:
            return
        self._silent = False
        for sent in self._unconfirmed:
            sent.unconfirmed = {id_ for id_ in sent.unconfirmed if id_ not in gone}
        self._unconfirmed = [sent for sent in self._unconfirmed if sent.unconfirmed]

    def indexer_seen(self, name: str, online: bool, retained: bool, now: float) -> None:
        """``indexer/<name>``. A retained word never ends what a live one began."""
        if retained and not online and self._indexers.online(now):
            return
        self._indexers.seen(name, online, now)
        self._look_for_indexer(now)

    def _refused(self, sent: Sent, code: int, now: float) -> None:
        rules = self._rules
        self._refusals += 1
        pause_s = rules.quota_pause_s
        if code != QUOTA_EXCEEDED:
            most = rules.refused_pause_most_s
            pause_s = min(most, rules.refused_pause_s * 2 ** min(self._refusals - 1, 16))
        self._paused_until = max(self._paused_until, now + pause_s)
        if code == NOT_AUTHORIZED and not self._denied:
            self._denied = True
            log.warning("%s (0x87, not authorized)", DENIED)
        elif sent.batch and code not in (NOT_AUTHORIZED, QUOTA_EXCEEDED) and self._broker:
            self._sizes.halve(self._broker)
        self._unconfirmed = [other for other in self._unconfirmed if other is not sent]
        if not sent.again:
            self._go_back()

    def _go_back(self) -> None:
        """What had no PUBACK goes again, from ``published_upto`` on."""
        self._cursor = self._journal.published_upto
        self._forward.clear()
        self._resend.went_back(self._cursor)

    def _look_for_indexer(self, now: float) -> None:
        online = self._indexers.online(now)
        if online and not self._was_online:
            self._journal.put(INDEXER_SEEN, True)
            self._resend.ask(now + self._rng.uniform(0.0, self._rules.after_online_s), now)
        if not online and self._was_online:
            self._resend.stop()
            self._unconfirmed.clear()
        self._was_online = online

    # --- what is due ------------------------------------------------------------------------------

    def due(self, now: float) -> list[Outgoing]:
        """What to publish now; call ``sent`` for each."""
        self._more = False
        if self._generation != self._journal.generation:
            self._begin_anew()
        self._look_for_indexer(now)
        if not self._may_publish(now):
            return []
        online = self.indexer_online(now)
        if online:
            self._tell_loss(now)
            self._consider_resend(now)
        self._forget_stuck(now)
        outgoing = self._next(online, now)
        self._more = bool(outgoing)
        if outgoing and self.spent:
            self._spent_at = now
        return outgoing

    def _may_publish(self, now: float) -> bool:
        if self._connected_at is None or now < self._paused_until:
            return False
        if self.spent and now < self._spent_at + self._rules.spent_every_s:
            return False
        absent = self._journal.get(INDEXER_SEEN, False) and not self.indexer_online(now)
        return not (self.metered and absent)

    def _next(self, online: bool, now: float) -> list[Outgoing]:
        room = self._room(online, now)
        if room <= 0:
            return []
        if self._resend.span is not None:
            resend = self._batch(*self._resend.span, again=True)
            self._resend.walked(resend[0].ids[-1] if resend else None)
            if resend:
                return resend
        rows = self._journal.window(self._cursor, self._rules.singles + 1)
        most_singles = 1 if self.metered or self.spent else self._rules.singles
        if len(rows) > most_singles:
            outgoing = self._batch(self._cursor, math.inf, again=False)
        else:
            outgoing = self._singles(rows[:room])
        if outgoing:
            self._cursor = outgoing[-1].ids[-1]
        return outgoing

    def _room(self, online: bool, now: float) -> int:
        """How many more messages the windows take."""
        room = self._most_unacknowledged - len(self._waiting)
        if not online:
            return room
        dropped = now - self._rules.fresh_s
        self._unconfirmed = [
            sent
            for sent in self._unconfirmed
            if sent.acknowledged_at is None or sent.acknowledged_at > dropped
        ]
        batches = sum(sent.batch for sent in self._unconfirmed)
        if batches >= self._rules.unconfirmed_batches:
            return 0
        return min(room, self._rules.unconfirmed_singles - len(self._unconfirmed) + batches)

    def _singles(self, rows: Sequence[Row]) -> list[Outgoing]:
        topic = wire.ping_topic(self._agent)
        return [
            Outgoing(topic, wire.encode_result(result), (row.id,), batch=False, again=False)
            for row, result in zip(rows, self._journal.as_results(rows), strict=False)
        ]

    def _batch(self, after_id: int, end: float, *, again: bool) -> list[Outgoing]:
        """One batch of what follows this row, up to the end; none when nothing does."""
        topic = wire.batch_topic(self._agent)
        limit_bytes = self._sizes.limit(self._broker or "")
        if self._max_packet is not None:
            limit_bytes = min(limit_bytes, self._max_packet - len(topic) - 32)
        likely = max(20, min(self._rules.batch_rows, limit_bytes // 40))
        rows = [row for row in self._journal.window(after_id, likely) if row.id <= end]
        results = self._journal.as_results(rows)
        if not results:
            return []
        payload, count = wire.encode_batch(results, limit_bytes)
        ids = tuple(row.id for row in rows[:count])
        return [Outgoing(topic, payload, ids, batch=True, again=again)]

    def _tell_loss(self, now: float) -> None:
        if now >= self._loss_at and self._journal.add_loss():
            self._loss_at = now + self._rules.loss_every_s

    def _consider_resend(self, now: float) -> None:
        """Begin a resend if it is time. Only called while an indexer is online."""
        oldest = self._journal.oldest_id()
        before = min((sent.first_id for sent in self._waiting.values()), default=NO_END)
        if not self._resend.consider(oldest, self._cursor, before, now):
            return
        if not self._silent:
            log.warning("%s: is the indexer's store well, may this agent publish?", SILENT)
        self._silent = True
        if self._broker is not None and self._sizes.halve(self._broker):
            self._resend.hurry()

    def _forget_stuck(self, now: float) -> None:
        """A living connection that never acknowledges must not stop us."""
        late = now - self._rules.acknowledged_within_s
        if any(sent.at < late for sent in self._waiting.values()):
            log.warning("the broker owes acknowledgements for too long: sending again")
            self.stuck = True
            self._waiting.clear()
            self._go_back()

    # --- what is known ----------------------------------------------------------------------------

    def wake_s(self, now: float) -> float:
        """Seconds until ``due`` may have something without another event."""
        if self._more:
            return 0.0
        if self._connected_at is None:
            return self._rules.resend_s
        times = [now + self._rules.resend_s, self._resend.wake_at()]
        times += [self._paused_until, self._spent_at + self._rules.spent_every_s]
        return min(time for time in times if time > now) - now

    def indexer_online(self, now: float) -> bool:
        """An indexer takes results here."""
        return self._connected_at is not None and self._indexers.online(now)

    def lonely_s(self, now: float) -> float:
        """How long this broker has had no indexer, where one is known; else 0."""
        if self._connected_at is None or not self._journal.get(INDEXER_SEEN, False):
            return 0.0
        if self._indexers.online(now):
            return 0.0
        since = self._indexers.offline_since(now)
        return now - max(self._connected_at, since if since is not None else self._connected_at)

    def facts(self, now: float) -> dict[str, Any]:
        """What log, ``journal`` and ``doctor`` tell of it."""
        known = self._journal.get(INDEXER_SEEN, False)
        facts: dict[str, Any] = {"indexer": "offline" if known else "never seen"}
        if self.indexer_online(now):
            facts["indexer"] = "online"
        if self._silent:
            facts["silent"] = SILENT
        if self._denied:
            facts["denied"] = DENIED
        if self._paused_until > now:
            facts["paused_s"] = round(self._paused_until - now)
        limit_bytes = self._sizes.limit(self._broker or "")
        if limit_bytes < self._rules.batch_bytes:
            facts["batch_bytes"] = limit_bytes
        return facts
