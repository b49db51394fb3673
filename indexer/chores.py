"""What the loop does now and then: presence, lists, the lease, roll-ups, retention, judging.

Only who leads judges, rolls up and drops; it forgets first, and the others later, for what they had
still to read may have come after it. What is long has a thread of its own, one at a
time of each kind, and comes back to the loop as an event: judging, roll-ups, dropping what is too
old, forgetting an agent, and the pen, which writes whatever nothing waits for. The rest is short;
its StoreDown goes to the caller.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from indexer import share
from indexer.aside import Aside, Ended
from indexer.config import DAY_MS, Config
from indexer.desk import Change, ChangeList, Desk, Live, UndoList
from indexer.leader import ADVISE_S, Advice, Leader, advise, new_salt, record
from indexer.learnt import Learnt
from indexer.leaving import Asked, Leavers
from indexer.lists import Lists, Write
from indexer.pen import Pen
from indexer.presence import Presence
from indexer.store import Store, StoreDown
from indexer.switchboard import Switchboard

PRESENCE_S = 2.0
LEASE_S = 2.0
SHARE_S = 0.5
ROLLUP_S = 60.0
ROLLUP_CHUNK = 500
RETAIN_S = 3600.0
FOLLOW_S = 300.0  # who does not lead forgets an agent so much later
_SOON_S = 0.02  # what is due but has to wait is looked at again after this
_PATIENCE = 10  # judging may take a tenth of the time, and so may roll-ups
_OVERDUE = 10  # pauses after which what waits for a rest is done without one
_TURNS, _TURNS_S = 6, 600.0  # the lead changes less often than this while the clocks agree

log = logging.getLogger("swarming.chores")


class Chores:
    """When each was done last. ``post`` puts an event into the loop's queue."""

    def __init__(
        self,
        config: Config,
        store: Store,
        presence: Presence,
        lists: Lists,
        switchboard: Switchboard,
        desk: Desk,
        leavers: Leavers,
        post: Callable[[Ended], None],
    ) -> None:
        self._config = config
        self._store = store
        self._presence = presence
        self._lists = lists
        self._switchboard = switchboard
        self._desk = desk
        self._leavers = leavers
        self._pen = Pen(store, presence, desk, post)
        self._judging, self._rolling, self._retaining, self._forgetting = (
            Aside(name, post) for name in ("judge", "rollup", "retain", "forget")
        )
        self.leader = Leader(config.name, store)
        self._done_s: dict[str, float] = {"retain": time.monotonic()}
        self._led = self._doubted = False
        self._turned_s: deque[float] = deque(maxlen=_TURNS + 1)
        self._learnt = Learnt(store)
        self._judge_s = 0.0
        self._roll_s = time.monotonic()
        self._roll_pause_s = ROLLUP_S

    def turn(self, now_s: float, now_ms: int, idle: bool) -> None:
        """Everything that is due; roll-ups and dropping wait until all is read, but not for ever.
        StoreDown."""
        self._every("share", SHARE_S, now_s, self._share)
        self._every("lease", LEASE_S, now_s, lambda: self._lead(now_s, now_ms))
        if self.leader.leads(now_ms):
            self._settle_lists(now_ms)
            self._judge(now_s, now_ms)
            more = 0 if idle else _OVERDUE
            if now_s >= self._roll_s + more * self._roll_pause_s:
                self._rollup(now_ms)
            self._every("retain", (1 + more) * RETAIN_S, now_s, lambda: self._retain(now_ms))
        self._forget(now_s if self.leader.leads(now_ms) else now_s - FOLLOW_S)
        self._every("presence", PRESENCE_S, now_s, lambda: self._pen.look(now_ms))
        self._pen.write(now_s)

    def due_s(self, now_s: float, now_ms: int) -> float:
        """In how long to turn again at the latest."""
        if self._rolling.busy or not self.leader.leads(now_ms):
            return ROLLUP_S
        return max(_SOON_S, self._roll_s - now_s)

    def change_list(self, command: ChangeList | UndoList, now_ms: int) -> Change:
        """Somebody has changed a list: on record, and onto every broker. ListRefused, StoreDown."""
        if isinstance(command, ChangeList):
            write = self._lists.change(command.scope, command.text, command.who, now_ms)
        else:
            write = self._lists.undo(command.scope, command.who, now_ms)
        own = self._lists.own()
        self._desk.lay_lists(own)
        took = _write_list(self._switchboard, write)
        change = Change(now_ms, write.scope, own[write.scope], command.who, took)
        self._desk.tell(Live("list", change))
        return change

    def noted(self, owner: str, nonce: str) -> None:
        """The share probe of another indexer has come to us, which it shall know."""
        self._pen.note("shares", partial(self._store.put_fact, share.fact_of(owner), nonce))

    def finish(self, now_ms: int) -> None:
        """Before the end: what is known is written, if it can be; another may lead. StoreDown."""
        self._pen.finish(now_ms)
        self.leader.resign(now_ms)

    def _every(self, what: str, pause_s: float, now_s: float, work: Callable[[], None]) -> None:
        if now_s - self._done_s.get(what, -pause_s) >= pause_s:
            self._done_s[what] = now_s
            work()

    def _share(self) -> None:
        """Has a member of the group noted our probe?"""
        waiting = [
            line.probe
            for line in self._switchboard.lines
            if line.probe is not None and line.probe.verdict is None
        ]
        if waiting:
            noted = self._store.fact(share.fact_of(self._config.name))
            for probe in waiting:
                probe.came_back(noted)

    def _lead(self, now_s: float, now_ms: int) -> None:
        leads = self.leader.renew(now_ms)
        if leads != self._led:
            self._doubt_clocks(now_s)
        if leads and not self._led:
            log.info("this indexer leads")
            if self._store.fact("salt") is None:
                self._store.put_fact("salt", new_salt())
        if self._led and not leads:
            log.info("another indexer leads")
            kept = self._switchboard.retained
            self._switchboard.drop(
                [topic for topic in kept if topic == "swarm" or topic.startswith("verdict/")]
            )
        self._led = leads

    def _doubt_clocks(self, now_s: float) -> None:
        """A lease that others give or take by another time changes hands again and again."""
        turned_s = self._turned_s
        turned_s.append(now_s)
        often = len(turned_s) > _TURNS and now_s - turned_s[0] < _TURNS_S
        if often and not self._doubted:
            self._doubted = True
            log.warning("the lead changes again and again: do the indexers' clocks differ?")

    def _settle_lists(self, now_ms: int) -> None:
        due_ms = self._lists.due_ms()
        if due_ms is None or now_ms < due_ms:
            return
        for write in self._lists.settle(now_ms):
            took = _write_list(self._switchboard, write)
            log.info("%s rewritten on %s", write.scope, ", ".join(took) or "no broker")
            if write.broker is None:
                self._desk.lay_lists(self._lists.own())
                newest = self._store.watch_history(write.scope, 1)[0]
                self._desk.tell(Live("list", Change(*newest, took)))

    def _judge(self, now_s: float, now_ms: int) -> None:
        if not self._judging.busy and now_s >= self._judge_s:
            self._judging.start(partial(_spared, "judging", self._advice, now_ms), self._judged)

    def _advice(self, now_ms: int) -> Advice:
        """On a thread of its own: reads hours of results."""
        return advise(self._store, now_ms, self._learnt.before(now_ms))

    def _judged(self, advice: Advice | None, took_s: float) -> None:
        """Publishes what is new in the advice, if we still lead."""
        pause_s = max(ADVISE_S, took_s * _PATIENCE)
        self._judge_s = time.monotonic() + pause_s
        now_ms = time.time_ns() // 1_000_000
        if advice is not None and advice.picture is not None:
            until_ms = now_ms + round(1000 * (pause_s + 2 * took_s))  # the next one is there
            self._desk.lay_picture(advice.picture, until_ms)
        if advice is None or not self.leader.leads(now_ms):
            return
        for message in self.leader.say(advice, self._desk.verdicts(), now_ms):
            if message.retain:
                self._switchboard.keep(message.topic, message.payload)
            else:
                self._switchboard.publish(message.topic, message.payload)
            if message.turned is not None:
                self._pen.note("verdicts", partial(record, self._store, message.turned))

    def _rollup(self, now_ms: int) -> None:
        if not self._rolling.busy:
            work = partial(_spared, "rolling up", self._store.rollup, now_ms, ROLLUP_CHUNK)
            self._rolling.start(work, self._rolled)

    def _rolled(self, left: int | None, took_s: float) -> None:
        """With more to do, results have as much time in between as this took; else much more."""
        self._roll_pause_s = took_s if left else max(ROLLUP_S, took_s * _PATIENCE)
        self._roll_s = time.monotonic() + self._roll_pause_s

    def _retain(self, now_ms: int) -> None:
        if not self._retaining.busy:
            work = partial(_spared, "dropping", self._drop, now_ms)
            self._retaining.start(work, lambda *_: None)

    def _drop(self, now_ms: int) -> None:
        """On a thread of its own: after a shorter --keep it takes minutes.

        Where nothing is measured nothing grows, and perhaps our own clock is months ahead.
        """
        if not self._store.targets(now_ms - DAY_MS):
            log.info("nothing is dropped: by this clock nobody has measured for a day")
            return
        dropped = self._store.retain(now_ms, self._config.keep_raw_ms)
        if dropped:
            log.info("%d results were older than what is kept", dropped)

    def _forget(self, now_s: float) -> None:
        asked = None if self._forgetting.busy else self._leavers.due(now_s)
        if asked is not None:
            work = partial(_spared, "forgetting", self._store.forget, *asked)
            self._forgetting.start(work, partial(self._forgot, asked))

    def _forgot(self, asked: Asked, gone: int | None, _took_s: float) -> None:
        self._leavers.done(asked, time.monotonic(), gone is not None)
        if gone:
            log.info("%s has left and is forgotten: %d rows dropped", asked.agent, gone)


def _spared(what: str, work: Callable[..., Any], *values: Any) -> Any:
    """Its answer; None when it failed, which must not stop what takes the results."""
    try:
        return work(*values)
    except StoreDown as error:
        log.info("no %s for now: %s", what, error)
    except Exception:
        log.exception("%s failed", what)
    return None


def _write_list(switchboard: Switchboard, write: Write) -> tuple[str, ...]:
    """Onto every broker, or the one that the Write names; the addresses that took it."""
    return switchboard.publish(write.scope, write.payload, retain=True, to=write.broker)
