"""The agent: one loop that owns all state, and threads that only bring it events.

A turn of the loop takes the events that are there, then does what is due, then sleeps until the
next thing is due or the next event comes. A bug ends the process; the journal makes that safe, and
the supervisor starts it again.
"""

import contextlib
import dataclasses
import logging
import math
import os
import queue
import random
import signal
import time
from collections.abc import Callable
from typing import Any

from agent import VERSION, about, clock, names, wire
from agent.budget import Budget
from agent.config import Config, ConfigError
from agent.expiry import Expiry
from agent.line import Answer
from agent.linkguess import Link
from agent.notify import Notifier
from agent.observer import Observed, Observer, ObserverCrashed
from agent.owner import Moment, Owner
from agent.probe_icmp import Pinger, open_pinger
from agent.prober import FirstHopFound, ProbeCrashed, Probed, Prober
from agent.probing import Probing
from agent.resolve import Resolver
from agent.status import StatusServer, last_word
from agent.store import Journal
from agent.targets import Policy
from agent.traffic import probe_bytes
from agent.uplink import Uplink
from agent.watch import WatchList

log = logging.getLogger("swarming")

WATCH = "watch_lists"  # settings of the journal
SALT = "salt"
MONTH = "month"
PUBLISH_AFTER_S = 5.0  # publishing waits so long for the first word about the clock
SAVE_MONTH_FIRST_S = 60.0  # and again whenever the run has doubled: a power cut forgets half of it
SAVE_MONTH_EVERY_S = 900.0
FACTS_EVERY_S = 1.0
GOODBYE_S = 2.0
LONGEST_SLEEP_S = 30.0
EVENTS_A_TURN = 200  # then what is due is done, however many more a broker pours in
RELOADED = (
    *("targets", "place", "isp", "link", "at", "pages", "allow_private", "deny", "log_level"),
)


class Stop:
    """SIGTERM or SIGINT."""


class Reload:
    """SIGHUP."""


class Agent:
    """All state of the box. ``run`` returns when it has been told to stop.

    ``again`` reads the configuration once more, at SIGHUP.
    """

    def __init__(self, config: Config, again: Callable[[], Config]) -> None:
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._catch_signals()  # before anybody can know that we run
        self._config = config
        self._again = again
        self._name = names.settle(config)
        now = clock.boot_ns() / 1e9
        with contextlib.suppress(OSError):  # the journal will say why, and go on in memory
            os.makedirs(os.path.dirname(os.path.abspath(config.journal)), exist_ok=True)
        self._journal = Journal(
            config.journal,
            self._name,
            max_rows=config.max_rows,
            max_bytes=config.max_bytes,
            flush_s=config.flush_s,
            now=now,
        )
        self._clock = clock.Clock(clock.boot_id(), clock.boot_ns(), self._journal.newest_ms)
        self._journal.follow(self._clock.reading(*clock.now_ns()))
        rng = random.Random()
        self._watch = WatchList(self._name, config.targets or "", self._journal.get(WATCH))
        self._saved_watch = self._watch.to_save()
        self._uplink = Uplink(
            config, self._name, self._journal, self._watch, rng, self.events.put, now
        )
        self._uplink.heard = self._heard
        self._uplink.spent_bytes = self._spend
        self._uplink.clock_is_wrong = self._clock_is_wrong
        self._pinger = open_pinger()
        self._prober, self._probing = self._make_probing(config, self._pinger, rng, now)
        self._budget = Budget(config.budget_bytes, now, self._journal.get(MONTH))
        self._status = StatusServer(config.journal)
        self._observer: Observer | None = None
        self._started_at = now
        self._started_ms = self._wall_ms()
        self._observed = False
        self._connected = False
        self._saved_month_at = now
        self._facts: dict[str, Any] = {}
        self._facts_at = -FACTS_EVERY_S
        self._news = False  # something happened that the facts do not tell yet
        self._last = ""
        self._traffic_bytes = 0  # of this run
        self._salt: str = self._journal.get(SALT, "")
        self._expiry = Expiry(config.cert)
        self._owner = Owner(config.journal, now)
        self._supervisor = Notifier()

    def _make_probing(
        self, config: Config, pinger: Pinger, rng: random.Random, now: float
    ) -> tuple[Prober, Probing]:
        policy = Policy(config.allow_private, config.deny)
        prober = Prober(self.events.put, pinger, Resolver(), policy)
        probing = Probing(prober, rng, policy, config.link, now)
        probing.on_link = self._on_link
        return prober, probing

    # The loop

    def run(self) -> int:
        """Until SIGTERM or SIGINT: then flush, say goodbye, and 0."""
        self._tell_start()
        self._observer = Observer(self.events.put, self._config.at, self._config.pages)
        self._reload()
        self._on_link(self._probing.link)
        self._probing.follow(self._watch.in_force, clock.boot_ns() / 1e9)
        self._supervisor.ready()
        while not self._turn():
            self._supervisor.alive()
        self._supervisor.stopping()
        self._end()
        return 0

    def _turn(self) -> bool:
        """One turn; whether it is to stop."""
        event = self._next(self._wake_s(clock.boot_ns() / 1e9))
        now = clock.boot_ns() / 1e9
        self._journal.follow(self._clock.reading(*clock.now_ns()))
        for nth in range(EVENTS_A_TURN):
            event = self._next(0) if nth else event
            if event is None:
                break
            if isinstance(event, Stop):
                return True
            self._handle(event, now)
            self._news = True
        self._act(now)
        return self._has_left()

    def _next(self, timeout_s: float) -> Any:
        try:
            return self.events.get(timeout=timeout_s) if timeout_s > 0 else self.events.get(False)
        except queue.Empty:
            return None

    def _handle(self, event: Any, now: float) -> None:
        if isinstance(event, Probed):
            self._probed(event, now)
        elif isinstance(event, FirstHopFound):
            self._probing.found(event, now)
        elif isinstance(event, Observed):
            self._observed = True
            self._clock.heard(event.clock, *clock.now_ns())
            if self._observer is not None:
                self._observer.every_s = self._clock.ask_every_s
            self._journal.follow(self._clock.reading(*clock.now_ns()))
        elif isinstance(event, Answer):
            self._probing.answered(event, now)
        elif isinstance(event, ProbeCrashed):
            self._probing.crashed(event)
        elif isinstance(event, ObserverCrashed):
            raise event.error
        elif isinstance(event, Reload):
            self._configure(now)
            self._reload()
        else:
            self._uplink.handle(event, now)
            self._follow_connection()

    def _act(self, now: float) -> None:
        """Everything that is due."""
        if self._owner.paused and self._owner.act(self._moment(now)):
            self._heed_owner()
        plan = self._budget.plan(self._probing.link.metered, now)
        self._probing.schedule.stretch(plan.slot_s)
        self._uplink.drain.spent = plan.spent
        listed = self._watch.due(now)
        if listed is not None:
            self._probing.follow(listed, now)
        if self._watch.to_save() != self._saved_watch:
            self._saved_watch = self._watch.to_save()
            self._journal.put(WATCH, self._saved_watch)
        self._probing.act(now)
        if self._observer is not None and (wish := self._probing.wish(now)) is not None:
            self._observer.ask(wish)
        ran_s = self._saved_month_at - self._started_at
        if now - self._saved_month_at >= min(SAVE_MONTH_EVERY_S, max(SAVE_MONTH_FIRST_S, ran_s)):
            self._save_month(now)
        if self._journal.flush_due(now):
            self._journal.flush(now)
        if self._may_publish(now):
            self._uplink.act(lambda: self._told(now), now)
        self._told(now)

    def _may_publish(self, now: float) -> bool:
        return self._observed or now - self._started_at >= PUBLISH_AFTER_S

    def _wake_s(self, now: float) -> float:
        flush_at = self._journal.flush_at(now)
        due = [self._probing.wake_s(now), self._watch.wake_s(now)]
        if self._owner.paused:
            due.append(self._owner.wake_s(self._moment(now)))
        if flush_at is not None:
            due.append(flush_at - now)
        if self._may_publish(now):
            due.append(self._uplink.wake_s(now))
        else:
            due.append(self._started_at + PUBLISH_AFTER_S - now)
        if self._news:
            due.append(self._facts_at + FACTS_EVERY_S - now)
        return max(0.0, min(*due, LONGEST_SLEEP_S, self._supervisor.longest_sleep_s))

    # Events

    def _probed(self, event: Probed, now: float) -> None:
        body = self._probing.probed(event, now)
        if body is None:
            return
        self._spend(probe_bytes(body))
        self._budget.probed()
        self._last = last_word(body)
        self._journal.add(body, event.begun_boot_ns)

    def _heard(self, message: wire.Message, retain: bool, now: float) -> None:
        if isinstance(message, wire.Indexer):
            if message.online and message.time_ms is not None and not retain:
                self._clock.indexer_said(message.time_ms, *clock.now_ns())
        elif isinstance(message, wire.Swarm):
            self._probing.schedule.swarm(message.agents, now)
            if message.salt and message.salt != self._salt:
                self._salt = message.salt
                self._journal.put(SALT, self._salt)
        elif isinstance(message, wire.Look):
            self._probing.schedule.look(message.targets, now)

    def _on_link(self, link: Link) -> None:
        self._uplink.drain.metered = self._budget.applies(link.metered)
        self._facts_at = -FACTS_EVERY_S

    def _spend(self, count_bytes: int) -> None:
        self._traffic_bytes += count_bytes
        self._budget.spend(count_bytes, self._probing.link.metered)

    def _follow_connection(self) -> None:
        connected = self._uplink.broker is not None
        if connected and not self._connected:
            self._clock.connected(clock.boot_ns())
        elif self._connected and not connected:
            self._clock.disconnected(clock.boot_ns())
        self._connected = connected

    def _configure(self, now: float) -> None:
        """Takes what the owner changed in the file; a mistake in it changes nothing."""
        try:
            read = self._again()
        except ConfigError as error:
            log.warning("the configuration stays as it was: %s", error)
            return
        changed = {name: getattr(read, name) for name in RELOADED}
        self._config = dataclasses.replace(self._config, **changed)
        if self._config != read:
            log.warning("some of the configuration's changes need a restart")
        logging.getLogger().setLevel(read.log_level.upper())
        if self._observer is not None:
            self._observer.serial_ports, self._observer.pages = read.at, read.pages
        self._watch.owners(read.targets or "", now)
        self._probing.configure(Policy(read.allow_private, read.deny), read.link, now)
        self._probing.follow(self._watch.in_force, now)

    def _reload(self) -> None:
        self._owner.reread(self._wall_ms())
        self._heed_owner()

    def _heed_owner(self) -> None:
        self._probing.paused = self._owner.paused
        self._uplink.silent = self._owner.silent
        self._facts_at = -FACTS_EVERY_S

    def _has_left(self) -> bool:
        """Whether the owner wanted that, and a broker has handed it back to us."""
        if not (self._owner.leaving and self._uplink.heard_leaving):
            return False
        self._owner.has_left(self._uplink.broker or "")
        log.info("this box has left the swarm")
        return True

    def _moment(self, now: float) -> Moment:
        wall_ms = None if self._clock_is_wrong() else self._wall_ms()
        return Moment(self._clock.boot_id, now, wall_ms)

    # What it says of itself

    def _told(self, now: float) -> dict[str, Any]:
        """The facts for ``agent/<agent>``, at most a second old; the owner's snapshot with them."""
        if now - self._facts_at < FACTS_EVERY_S:
            return self._facts
        self._facts, self._facts_at, self._news = self._gather(now), now, False
        self._status.snapshot = wire.encode_json(
            {
                "about": self._facts,
                "broker": self._uplink.broker,
                "broker_trouble": self._uplink.trouble,
                "indexer": self._uplink.drain.facts(now).get("indexer"),
                "icmp_advice": self._pinger.advice,
                "last": self._last,
                "pid": os.getpid(),
            }
        )
        self._supervisor.status(self._in_a_line())
        return self._facts

    def _in_a_line(self) -> str:
        """For ``systemctl status``."""
        where = self._uplink.broker or "no broker reached"
        waiting = f"{self._facts['journal']['waiting']} results not yet confirmed"
        return ", ".join(filter(None, (where, waiting, self._owner.in_words())))

    def _gather(self, now: float) -> dict[str, Any]:
        config, link = self._config, self._probing.link
        reading = self._clock.reading(*clock.now_ns())
        drained = self._uplink.drain.facts(now)
        plan = self._budget.plan(link.metered, now)
        facts: dict[str, Any] = {
            "v": wire.VERSION,
            "version": VERSION,
            "agent": self._name,
            "here": True,
            "epoch": self._journal.epoch,
            "since": wire.rfc3339(self._started_ms),
            "place": config.place,
            "isp": config.isp,
            "link": link.as_json(),
            "access_group": about.access_group(self._probing.first_hop, self._salt),
            "flush_s": config.flush_s,
            "journal": self._journal.facts(),
            "clock": {"trust": reading.trust, "age_s": _minutes(reading.age_s)},
            "list": {
                "from": self._watch.in_force.source,
                "targets": list(self._probing.targets),
            },
            "refused": self._probing.refused(),
            "icmp": self._pinger.method,
            "brokers": [str(broker) for broker in config.brokers],
            "traffic": {"bytes": self._traffic_bytes, "left_bytes": plan.left_bytes},
            "silence": drained.get("silent") or drained.get("denied"),
        }
        certificate = self._expiry.facts(None if self._clock_is_wrong() else reading.wall_ms)
        if certificate is not None:
            facts["certificate"] = certificate
        if plan.spent:
            facts["budget"] = "spent: one probe and one batch an hour"
        facts |= self._owner.facts()
        if self._uplink.namesake:
            facts["namesake"] = True
        return facts

    def _clock_is_wrong(self) -> bool:
        return self._clock.reading(*clock.now_ns()).trust in ("waiting", "unsynced")

    def _wall_ms(self) -> int:
        return self._clock.reading(*clock.now_ns()).wall_ms

    def _tell_start(self) -> None:
        log.info("agent %s, journal %s", self._name, self._config.journal)
        log.info("icmp by %s", self._pinger.method or "nothing: no ICMP probe is possible")
        if self._pinger.advice and self._pinger.method != "raw":
            log.info("a better way to ping: %s", self._pinger.advice)
        if not self._config.brokers:
            log.warning("no broker is named: results stay in the journal")

    # The end

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._posting(Stop))
        signal.signal(signal.SIGHUP, self._posting(Reload))

    def _posting(self, event: Callable[[], Any]) -> Callable[..., None]:
        return lambda *_: self.events.put(event())

    def _save_month(self, now: float) -> None:
        self._saved_month_at = now
        self._journal.put(MONTH, self._budget.saved())

    def _end(self) -> None:
        """Flush, publish, say goodbye; all within GOODBYE_S and what a commit takes."""
        now = clock.boot_ns() / 1e9
        if self._observer is not None:
            self._observer.stop()
        self._prober.stop(0.2)
        for _ in range(self.events.qsize()):
            event = self._next(0)
            if not isinstance(event, (Stop, Reload)):
                self._handle(event, now)
        self._save_month(now)
        self._journal.flush(now)
        if self._uplink.goodbye(self._gather(now) | {"here": False}, now):
            end = time.monotonic() + GOODBYE_S
            while not self._uplink.settled() and (left := end - time.monotonic()) > 0:
                event = self._next(min(left, 0.1))
                if event is not None and not isinstance(event, (Stop, Reload, Probed)):
                    self._handle(event, now)
        self._uplink.close()
        self._journal.flush(math.inf)  # the last chance of what is in memory, tried a minute ago
        self._journal.close()
        self._status.close()
        log.info("goodbye")


def _minutes(age_s: int | None) -> int | None:
    """Whole minutes, so that an age alone does not make news every second."""
    return None if age_s is None else age_s // 60 * 60
