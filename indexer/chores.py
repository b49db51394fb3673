"""What the loop does now and then: presence, lists, the lease, roll-ups, retention, judging.

Each chore is short. Judging is not: it reads hours of results, so it runs on a thread of its own,
at most one at a time, and comes back to the loop as an event. Dropping what is too old has a thread
of its own as well. StoreDown of all others goes to the caller.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from indexer import share
from indexer.config import DAY_MS, Config
from indexer.desk import Change, Desk, Live
from indexer.leader import ADVISE_S, Advice, Leader, advise, new_salt
from indexer.learnt import Learnt
from indexer.lists import Lists, Write
from indexer.presence import Presence
from indexer.store import Store, StoreDown
from indexer.switchboard import Switchboard

PRESENCE_S = 2.0
LEASE_S = 2.0
SHARE_S = 0.5
ROLLUP_S = 60.0
ROLLUP_CHUNK = 100
RETAIN_S = 3600.0
_PATIENCE = 10  # judging may take a tenth of the time

log = logging.getLogger("swarming.chores")


class Judged(NamedTuple):
    """The judging has ended; advice None: the store was down."""

    advice: Advice | None
    took_s: float


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
        post: Callable[["Judged"], None],
    ) -> None:
        self._config = config
        self._store = store
        self._presence = presence
        self._lists = lists
        self._switchboard = switchboard
        self._desk = desk
        self._post = post
        self.leader = Leader(config.name, store)
        self._done_s: dict[str, float] = {"retain": time.monotonic()}
        self._led = False
        self._learnt = Learnt(store)
        self._judging = False
        self._judge_s = 0.0
        self._rollup_pause_s = ROLLUP_S

    def turn(self, now_s: float, now_ms: int, idle: bool) -> None:
        """Everything that is due; the longer ones only while idle. StoreDown."""
        self._every("presence", PRESENCE_S, now_s, lambda: self._write_presence(now_ms))
        self._every("share", SHARE_S, now_s, self._share)
        self._every("lease", LEASE_S, now_s, lambda: self._lead(now_ms))
        if self.leader.leads(now_ms):
            self._settle_lists(now_ms)
            self._judge(now_s, now_ms)
        if idle:
            self._every("rollup", self._rollup_pause_s, now_s, lambda: self._rollup(now_ms))
            self._every("retain", RETAIN_S, now_s, lambda: self._retain(now_ms))

    def due_s(self) -> float:
        """In how long to turn again at the latest."""
        return self._rollup_pause_s

    def finish(self, now_ms: int) -> None:
        """Before the end: what is known is written, and another may lead. StoreDown."""
        self._write_presence(now_ms)
        self.leader.resign(now_ms)

    def judged(self, event: Judged, now_ms: int) -> None:
        """Publishes what is new in the advice, if we still lead."""
        self._judging = False
        self._judge_s = time.monotonic() + max(ADVISE_S, event.took_s * _PATIENCE)
        if event.advice is None or not self.leader.leads(now_ms):
            return
        for message in self.leader.say(event.advice, self._desk.verdicts(), now_ms):
            if message.retain:
                self._switchboard.keep(message.topic, message.payload)
            else:
                self._switchboard.publish(message.topic, message.payload)

    def _every(self, what: str, pause_s: float, now_s: float, work: Callable[[], None]) -> None:
        if now_s - self._done_s.get(what, -pause_s) >= pause_s:
            self._done_s[what] = now_s
            work()

    def _write_presence(self, now_ms: int) -> None:
        for record in self._presence.due(now_ms):
            self._store.put_agent(record)
            self._presence.written(record)
            self._desk.tell(Live("agent", record))

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

    def _lead(self, now_ms: int) -> None:
        leads = self.leader.renew(now_ms)
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

    def _settle_lists(self, now_ms: int) -> None:
        due_ms = self._lists.due_ms()
        if due_ms is None or now_ms < due_ms:
            return
        for write in self._lists.settle(now_ms):
            took = write_list(self._switchboard, write)
            log.info("%s rewritten on %s", write.scope, ", ".join(took) or "no broker")
            if write.broker is None:
                self._desk.lay_lists(self._lists.own())
                newest = self._store.watch_history(write.scope, 1)[0]
                self._desk.tell(Live("list", Change(*newest, took)))

    def _judge(self, now_s: float, now_ms: int) -> None:
        if self._judging or now_s < self._judge_s:
            return
        self._judging = True
        threading.Thread(target=self._judge_all, args=(now_ms,), name="judge", daemon=True).start()

    def _judge_all(self, now_ms: int) -> None:
        """On its own thread: reads the store, and posts what it made of it."""
        begun_s = time.monotonic()
        advice: Advice | None = None
        try:
            advice = advise(self._store, now_ms, self._learnt.before(now_ms))
        except StoreDown as error:
            log.debug("not judged: %s", error)
        except Exception:
            log.exception("judging failed")  # a bug there must not stop what is here
        self._post(Judged(advice, time.monotonic() - begun_s))

    def _rollup(self, now_ms: int) -> None:
        """A few; with more to do, results have as much time in between as this took."""
        begun_s = time.monotonic()
        left = self._store.rollup(now_ms, ROLLUP_CHUNK)
        self._rollup_pause_s = time.monotonic() - begun_s if left else ROLLUP_S

    def _retain(self, now_ms: int) -> None:
        threading.Thread(target=self._drop, args=(now_ms,), name="retain", daemon=True).start()

    def _drop(self, now_ms: int) -> None:
        """On its own thread: after a shorter --keep it takes minutes; results get in between.

        Where nothing is measured nothing grows, and perhaps our own clock is months ahead.
        """
        try:
            if not self._store.targets(now_ms - DAY_MS):
                log.info("nothing is dropped: by this clock nobody has measured for a day")
                return
            dropped = self._store.retain(now_ms, self._config.keep_raw_ms)
        except StoreDown as error:
            log.debug("nothing dropped: %s", error)
            return
        if dropped:
            log.info("%d results were older than what is kept", dropped)


def write_list(switchboard: Switchboard, write: Write) -> tuple[str, ...]:
    """Onto every broker, or the one that the Write names; the addresses that took it."""
    return switchboard.publish(write.scope, write.payload, retain=True, to=write.broker)
