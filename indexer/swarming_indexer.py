"""The indexer's loop: one thread owns all state, everything else sends it events.

    brokers -> events -> intake -> store, aside -> acks on every broker
                  \\-> presence, lists, share probes         page -> commands -> the same queue

A store that is down, or hangs, is told at once on `indexer/<name>` and waited for: connections
stay, nothing is acknowledged, nothing is lost, and only the intake asks the store, now and then.
A turn handles what has come, hands over at most one commit, and does what is due; then the loop
sleeps until the next thing is due.
"""

import logging
import queue
import random
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from agent import wire
from agent.connection import Closed, Crashed, Opened, Received, Refused, Subscribed
from agent.notify import Notifier
from indexer import share
from indexer.aside import Ended
from indexer.chores import Chores
from indexer.committer import Broken, NotStored, Stored
from indexer.config import Config
from indexer.consume import Commit
from indexer.desk import Busy, ChangeList, Desk, Health, Live, LookAt, UndoList
from indexer.intake import Intake
from indexer.leaving import Leavers
from indexer.lines import Line
from indexer.lists import ListRefused, Lists
from indexer.patience import Patience
from indexer.presence import Presence, waits_for_time
from indexer.store import Store, StoreDown
from indexer.switchboard import Switchboard

ANNOUNCE_S = 300.0
TIME_ASKED_S = 10.0  # an agent that waits for the time gets it at most this often
TURN_S = 1.0  # no sleep is longer, so that the page sees the truth
GATHER_S = 0.002  # what comes together is handled together; waking for each would cost as much
WAITING = 20_000  # messages that a broker owes a PUBACK for
_EVENTS_A_TURN = 2000
_FINISH_S = 5.0  # for what is read already, at the end
_GOODBYE_S = 1.0

log = logging.getLogger("swarming.indexer")


class Stop(NamedTuple):
    """Somebody wants the indexer to end."""


class Indexer:
    """Everything that one indexer is, but for its page, which talks to ``desk``."""

    def __init__(self, config: Config, store: Store) -> None:
        self.config = config
        self.started_ms = wall_ms()
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.desk = Desk(
            config.name,
            self.events.put,
            auth_file=config.auth,
            behind_proxy=config.behind_proxy,
            ca_folder=config.ca_folder if config.page_cert or config.behind_proxy else None,
            keep_raw_ms=config.keep_raw_ms,
            now_ms=wall_ms,
        )
        self.store = store
        self.patience = Patience(random.Random())
        self.presence = Presence(store.agents())
        self.intake = Intake(
            store,
            config.keep_raw_ms,
            config.classic,
            self.events.put,
            self.presence.heard,
            self._publish,
        )
        self.intake.consumer.v1_agents |= self.presence.names
        self.leavers = Leavers()
        self.intake.consumer.before_ms = self.leavers.before_ms
        self.lists = Lists(store)
        self.switchboard = Switchboard(config, self.events.put, random.Random())
        self.chores = Chores(
            config,
            store,
            self.presence,
            self.lists,
            self.switchboard,
            self.desk,
            self.leavers,
            self.events.put,
        )
        self._supervisor = Notifier()
        self._announced_s = 0.0  # monotonic: a clock set back must not silence us
        self._laid_s = 0.0
        self._stopping = False

    # --- the loop ---

    def run(self) -> int:
        """Until Stop comes; the exit code."""
        self._announce(wall_ms())
        self._guarded(lambda: self.desk.lay_lists(self.lists.own()))
        self._supervisor.ready()
        while not self._stopping:
            self._supervisor.alive()
            self.turn()
        self._supervisor.stopping()
        self._goodbye()
        return 0

    def stop(self) -> None:
        """From any thread, or a signal's handler."""
        self.events.put(Stop())

    def turn(self) -> None:
        """Waits for an event or the next due time, and does all that there is to do."""
        self._take_events(self._wake_s(time.monotonic()))
        now_s, now_ms = time.monotonic(), wall_ms()
        self.switchboard.turn(now_s, self.patience.down is None)
        self.intake.read(now_ms)
        if self.patience.down is None:
            self.intake.commit(now_ms)
        self._bound_inbox(now_s, now_ms)
        self._watch_store(now_s, now_ms)
        if now_s - self._announced_s >= ANNOUNCE_S:
            self._announce(now_ms)
        if self.patience.down is None and not self.intake.slow(now_s):
            self._guarded(lambda: self.chores.turn(now_s, now_ms, self.intake.idle))
        if now_s - self._laid_s >= TURN_S:
            self._laid_s = now_s
            self._bound_waiting(now_s, now_ms)
            health = self._health(now_s, now_ms)
            self.desk.lay(health, self.switchboard.states(now_s), now_ms)
            self._supervisor.status(_in_a_line(health.facts))

    def _wake_s(self, now_s: float) -> float:
        dues: list[float | None] = [TURN_S, self.switchboard.due_s(now_s)]
        dues.append(self._supervisor.longest_sleep_s)
        if self.patience.down is None:
            dues += [self.intake.due_s(now_s), self.chores.due_s(now_s, wall_ms())]
        elif not self.intake.waits:
            dues.append(self.patience.due_s(now_s))
        return min(due_s for due_s in dues if due_s is not None)

    def _take_events(self, timeout_s: float) -> None:
        """Handles what has come; waits for the first of it."""
        try:
            event = self.events.get(timeout_s > 0, timeout_s or None)
            if isinstance(event, Received):
                time.sleep(GATHER_S)
            for _ in range(_EVENTS_A_TURN):
                self._handle(event)
                event = self.events.get_nowait()
            self._handle(event)
        except queue.Empty:
            return

    def _handle(self, event: Any) -> None:
        match event:
            case Received():
                self._received(event)
            case Opened():
                line = self.switchboard.opened(event, time.monotonic(), wall_ms())
                if line is not None:
                    self.lists.opened(line.address, wall_ms())
            case Closed() | Refused():
                line = self.switchboard.lost(event, time.monotonic(), wall_ms())
                if line is not None:
                    self.lists.closed(line.address)
            case Subscribed():
                self.switchboard.subscribed(event, time.monotonic())
            case ChangeList() | UndoList():
                self._command(event)
            case LookAt(target):
                self.chores.leader.ask(target, wall_ms())
            case Ended():
                self._guarded(event.settle)
            case Stored():
                self.intake.answered(event)
                if self.patience.down is not None:
                    self._guarded(self._recover)
            case NotStored():
                self.intake.answered(event)
                self._store_down(event.reason)
            case Crashed() | Broken():
                raise event.error
            case Stop():
                self._stopping = True

    # --- what comes by MQTT ---

    def _received(self, event: Received) -> None:
        line = self.switchboard.line_of(event.connection)
        if line is None:
            return  # over a connection that was given up: its broker has it
        is_result = event.topic.startswith("ping/") and not event.topic.startswith("ping/_share/")
        if is_result and event.payload and not event.topic.endswith("/check"):
            self.intake.inbox.add(event)
            return
        if event.payload or event.topic.startswith(("watch", "rip/", "verdict/", "ping/")):
            self._guarded(lambda: self._told(event, line.address))
        event.connection.acknowledge(event.message)

    def _told(self, event: Received, broker: str) -> None:
        """Everything but results."""
        try:
            message = wire.read(event.topic, event.payload)
        except wire.WireError as error:
            log.debug("%s: %s", event.topic, error)
            return
        now_ms = wall_ms()
        match message:
            case wire.About(agent, _):
                self.presence.about(message, event.retain, now_ms)
                record = self.presence.record(agent)
                self.leavers.heard(message, record, now_ms, time.monotonic())
                self.intake.consumer.v1_agents.add(agent)
                if not event.retain and waits_for_time(message):
                    self._tell_time(now_ms)
            case wire.Rip():
                self.presence.rip(message, now_ms)
            case wire.Watch():
                self.lists.seen(broker, message, not event.retain, now_ms)
            case wire.Verdict():
                self.desk.lay_verdict(message)
            case wire.ShareProbe(nonce):
                self._share_probe(nonce, event)

    def _share_probe(self, nonce: str, event: Received) -> None:
        """Only what came through a shared subscription proves anything."""
        line = self.switchboard.line_of(event.connection)
        owner = share.owner_of(nonce)
        if line is None or line.probe is None or owner is None:
            return
        line.probe.came_back(nonce)
        if owner != self.config.name:
            self.chores.noted(owner, nonce)

    # --- results ---

    def _publish(self, commit: Commit) -> None:
        """Of what is durable, and of nothing else: to the broker, then to the agents."""
        for arrived in commit.arrived:
            arrived.connection.acknowledge(arrived.message)
        for topic, payload in commit.acks():
            self.switchboard.publish(topic, payload)
        if commit.results and self.desk.watched:
            self.desk.tell(Live("results", tuple(commit.results)))

    def _bound_inbox(self, now_s: float, now_ms: int) -> None:
        fullest = self.intake.inbox.fullest()
        if fullest is None:
            return
        line = self.switchboard.line_of(fullest.connection)
        self.intake.inbox.forget(fullest.connection)
        if line is not None:
            self._give_up(line, "it sends faster than the store takes", now_s, now_ms)

    def _bound_waiting(self, now_s: float, now_ms: int) -> None:
        """What a broker never acknowledges would fill the memory; agents ask for it again."""
        for line in self.switchboard.open_lines:
            if line.connection is not None and line.connection.waiting > WAITING:
                self._give_up(line, "it acknowledges nothing any more", now_s, now_ms)

    def _give_up(self, line: Line, reason: str, now_s: float, now_ms: int) -> None:
        line.give_up(reason, now_s, now_ms)
        self.lists.closed(line.address)
        log.warning("%s: %s; disconnected for a while", line.address, reason)

    # --- the store ---

    def _guarded(self, work: Callable[[], Any]) -> None:
        """Does it; a store that is down is told at once and waited for."""
        try:
            work()
        except StoreDown as error:
            self._store_down(str(error))

    def _store_down(self, reason: str) -> None:
        if self.patience.failed(reason, time.monotonic()):
            log.error("the store takes nothing: %s; waiting for it", reason)
            self._announce(wall_ms())

    def _watch_store(self, now_s: float, now_ms: int) -> None:
        """Asks again when it is time to; an answer that is owed for long is as good as none."""
        if self.patience.waits(self.intake.waited_s(now_s)):
            log.error("the store has not answered for a while; waiting for it")
            self._announce(now_ms)
        if self.patience.due_s(now_s) == 0.0 and not self.intake.waits:
            self.intake.again(now_ms)

    def _recover(self) -> None:
        """It took what was in flight; what the page shows is read anew. StoreDown."""
        self.desk.lay_lists(self.lists.own())
        self.patience.answered()
        log.info("the store takes results again")
        self._announce(wall_ms())

    # --- what is said ---

    def _announce(self, now_ms: int) -> None:
        facts = {"online": self.patience.down is None, "time": wire.rfc3339(now_ms)}
        self.switchboard.keep(wire.indexer_topic(self.config.name), wire.encode_json(facts))
        self._announced_s = time.monotonic()

    def _tell_time(self, now_ms: int) -> None:
        if time.monotonic() - self._announced_s >= TIME_ASKED_S:
            self._announce(now_ms)

    def _command(self, command: ChangeList | UndoList) -> None:
        if not command.answer.set_running_or_notify_cancel():
            return
        if self.patience.down is not None:
            command.answer.set_exception(_busy(self.patience.down))
            return
        try:
            command.answer.set_result(self.chores.change_list(command, wall_ms()))
        except ListRefused as error:
            command.answer.set_exception(error)
        except StoreDown as error:
            command.answer.set_exception(_busy(str(error)))
            self._store_down(str(error))

    def _health(self, now_s: float, now_ms: int) -> Health:
        """Well means: the store takes results, and a broker is connected."""
        lines, counts = self.switchboard.lines, self.intake.consumer.counts
        facts = {
            "store": self.patience.text(self.intake.waited_s(now_s)),
            "brokers": [
                {"address": line.address, "connected": line.open, "reason": line.reason}
                for line in lines
            ],
            "leading": self.chores.leader.leads(now_ms),
            "agents_here": self.presence.here(),
            "inbox_bytes": self.intake.inbox.waiting_bytes,
            **counts._asdict(),
            "since": wire.rfc3339(self.started_ms),
        }
        well = self.patience.down is None and any(line.open for line in lines)
        return Health(well, facts)

    # --- the end ---

    def _goodbye(self) -> None:
        """Finishes what was read, says goodbye; what is not stored stays with the brokers."""
        now_ms = wall_ms()
        if self.patience.down is None:
            self.intake.finish(self.events, now_ms, _FINISH_S)
        if self.patience.down is None and self.intake.ended:
            self._guarded(lambda: self.chores.finish(now_ms))
        facts = {"online": False, "time": wire.rfc3339(now_ms)}
        self.switchboard.keep(wire.indexer_topic(self.config.name), wire.encode_json(facts))
        end_s = time.monotonic() + _GOODBYE_S
        while self.switchboard.waiting() and time.monotonic() < end_s:
            time.sleep(0.01)
        self.switchboard.end()


def _in_a_line(facts: dict[str, Any]) -> str:
    """For `systemctl status`."""
    brokers = facts["brokers"]
    connected = sum(one["connected"] for one in brokers)
    return (
        f"{connected} of {len(brokers)} brokers, {facts['agents_here']} agents here, "
        f"store: {facts['store']}"
    )


def _busy(reason: str) -> Busy:
    return Busy(f"the store takes nothing now: {reason}")


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def stop_on_signals(indexer: Indexer) -> None:
    """SIGTERM, Ctrl-C and a closed terminal end the indexer in order."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: indexer.stop())
