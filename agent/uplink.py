"""The way to a broker: which one, the connection to it, and what goes over it.

It decides nothing of its own: ``brokers`` says where to, ``drain`` what to publish, ``watch`` which
list is in force. Here they meet one Connection, made for one try and thrown away after it.
"""

import dataclasses
import logging
import random
import socket
from collections.abc import Callable
from typing import Any

from agent import about, connection, wire
from agent.about import Announcer
from agent.brokers import SHORT_LIFE_S, Brokers
from agent.config import Config
from agent.connection import Connection, Credentials
from agent.drain import Drain
from agent.store import Journal
from agent.traffic import BrokerMeter, tcp_info, try_bytes
from agent.watch import WatchList

log = logging.getLogger("swarming")

VERSIONS = "mqtt_versions"  # the journal's setting: which brokers are spoken to in 3.1.1
INDEXERS = "indexer/"
PACKET_BYTES = 32  # of a PUBLISH besides topic and payload
METER_EVERY_S = 10.0


class Uplink:
    """At most one connection, and all that is waiting to go over it."""

    def __init__(
        self,
        config: Config,
        name: str,
        journal: Journal,
        watch: WatchList,
        rng: random.Random,
        post: Callable[[connection.Event], None],
        now: float,
    ) -> None:
        self.drain = Drain(journal, name, rng)
        self.heard: Callable[[wire.Message, bool, float], None] = lambda *_: None
        self.spent_bytes: Callable[[int], None] = lambda _: None
        self.clock_is_wrong: Callable[[], bool] = lambda: False  # and nobody knows the time
        self._name = name
        self._journal = journal
        self._watch = watch
        self._post = post
        self._credentials = Credentials(config.ca, config.cert, config.key)
        lists = (wire.watch_topic(name), wire.WATCH)  # the own one first
        self._asked = (*lists, wire.ack_topic(name), wire.SWARM, wire.LOOK, wire.agent_topic(name))
        self._brokers = self._choice(config, journal, rng, now)
        self._connection: Connection | None = None
        self._announcer = Announcer()
        self._most_bytes = about.MOST_BYTES  # of what we say of ourselves
        self._meter = BrokerMeter()
        self._metered_at = now
        self._complained: set[str] = set()
        self.trouble: str | None = None  # why the last broker was not reached, or is no more
        self.namesake = False  # another agent has this name
        self.silent = False  # publish no results
        self.heard_leaving = False  # a broker has handed our own last word back
        self._about_token: int | None = None
        self._since: str | None = None  # when this run began, as it says itself
        self._told: set[str] = set()  # brokers that hold what this run said of itself
        self._pushed_out = False  # the last connection ended as if another client took it over

    @staticmethod
    def _choice(config: Config, journal: Journal, rng: random.Random, now: float) -> Brokers | None:
        if not config.brokers:
            return None
        saved = journal.get(VERSIONS, {})
        return Brokers(config.brokers, rng, version=config.mqtt, saved=saved, now=now)

    @property
    def broker(self) -> str | None:
        """The broker that we are connected to."""
        is_open = self._connection is not None and self._connection.is_open
        return str(self._connection.broker) if is_open and self._connection else None

    def owns(self, event: object) -> bool:
        """Whether a connection's event is of the present one, not of one that we left."""
        return self._connection is not None and getattr(event, "connection", None) is (
            self._connection
        )

    # What happened

    def handle(self, event: connection.Event, now: float) -> None:
        """One event of a connection."""
        if isinstance(event, connection.Crashed):
            raise event.error
        if not self.owns(event):
            return
        if isinstance(event, connection.Opened):
            self._opened(event, now)
        elif isinstance(event, connection.Received):
            self._received(event, now)
        elif isinstance(event, connection.Acknowledged):
            if event.token == self._about_token:
                self._told.add(str(event.connection.broker))
            self.drain.acknowledged(event.token, event.code, now)
        elif isinstance(event, connection.Subscribed):
            if event.denied:
                self._complain(f"the broker denies reading {', '.join(event.denied)}")
        else:
            self._ended(event, now)

    def _opened(self, event: connection.Opened, now: float) -> None:
        assert self._brokers is not None
        log.info("connected to %s, MQTT %s", event.connection.broker, event.connection.version)
        self.trouble = None
        self._brokers.opened(now)
        self._watch.connected(now)
        self._announcer.forget()
        self._most_bytes = min(about.MOST_BYTES, event.max_packet or about.MOST_BYTES)
        self._measure(now, force=True)  # its handshakes, however soon it ends
        try:
            event.connection.subscribe([*self._asked, INDEXERS + "+"])
            event.connection.publish(wire.rip_topic(self._name), b"", retain=True)
        except connection.NotConnected:
            return  # its Closed is on the way
        self.drain.opened(
            str(event.connection.broker),
            now,
            max_packet=event.max_packet,
            receive_maximum=event.receive_maximum,
        )

    def _received(self, event: connection.Received, now: float) -> None:
        assert self._brokers is not None
        if event.topic not in self._asked and not event.topic.startswith(INDEXERS):
            return  # nobody asked for it
        try:
            message = wire.read(event.topic, event.payload)
        except wire.WireError as error:
            kind = event.topic.partition("/")[0]
            self._complain(f"{event.topic[:80]}: {error}", once_for=f"unreadable {kind}")
            return
        if isinstance(message, wire.Ack):
            self._brokers.indexer_seen(now)
            self.drain.confirmed(message.ranges, now)
        elif isinstance(message, wire.Indexer):
            if message.online and not event.retain:
                self._brokers.indexer_seen(now)
            self.drain.indexer_seen(message.name, message.online, event.retain, now)
        elif isinstance(message, wire.Watch):
            self._watch.received(message.agent is not None, message.text, now)
        elif isinstance(message, wire.About):
            self._is_it_me(message, event)
        self.heard(message, event.retain, now)

    def _is_it_me(self, word: wire.About, event: connection.Received) -> None:
        """A live word that is not ours proves a namesake; so does a retained one that took the
        place of ours after we were pushed out."""
        epoch = str(word.facts.get("epoch"))  # anything can stand there
        if epoch in self._journal.epochs_of_this_run or word.facts.get("since") == self._since:
            self.heard_leaving = word.facts.get("left") is True
            return
        if not event.retain or (self._pushed_out and str(event.connection.broker) in self._told):
            self.namesake = True
            self._complain(f"another agent is named {self._name}: give one of them another name")

    def _ended(self, event: connection.Closed | connection.Refused, now: float) -> None:
        assert self._brokers is not None
        self._measure(now, force=True)
        broker = event.connection.broker
        self._connection, self.trouble = None, f"{broker}: {event.reason}"
        if isinstance(event, connection.Closed):
            log.info("%s: %s", broker, event.reason)
            self._complained.discard(f"{broker}: {event.reason}")
            short = (event.after_s or 0.0) < SHORT_LIFE_S
            self._pushed_out = short or event.code == connection.TAKEN_OVER
            self._brokers.closed(event.code, event.after_s, now)
            self._watch.disconnected()
            self.drain.closed(now)
        else:
            self._complain(f"{broker}: {event.reason}")
            self.spent_bytes(try_bytes(event.stage, broker.tls))
            self._brokers.refused(event.code, event.stage, now)
        if trouble := self._brokers.trouble(now):
            self._complain(trouble)
        saved = self._brokers.to_save(now)
        if set(saved) != set(self._journal.get(VERSIONS, {})):
            self._journal.put(VERSIONS, saved)

    # What is to be done

    def act(self, facts: Callable[[], dict[str, Any]], now: float) -> None:
        """Everything that is due now: a try, a move, results, and what the box says of itself."""
        if self._brokers is None:
            return
        if self._connection is None:
            self._try(now)
        elif self._connection.is_open:
            self._measure(now)
            if self._brokers.should_leave(now) and self.drain.lonely_s(now) > 0:
                self._leave("no indexer for 15 min, trying another broker", now)
                return
            self._announce(facts(), round(now * 1000))
            if not self.silent:
                self._publish(now)

    def wake_s(self, now: float) -> float:
        if self._brokers is None:
            return 60.0
        if self._connection is not None and self._connection.is_open:
            return METER_EVERY_S if self.silent else min(self.drain.wake_s(now), METER_EVERY_S)
        return self._brokers.wake_s(now)

    def _try(self, now: float) -> None:
        assert self._brokers is not None
        attempt = self._brokers.due(now)
        if attempt is None:
            return
        wrong = self.clock_is_wrong()
        if wrong and attempt.broker.tls:
            self._complain("the clock is wrong: certificates of brokers are not judged by dates")
        will = wire.encode_json({"agent": self._name, "epoch": self._journal.epoch})
        self._connection = Connection(
            attempt.broker,
            self._name,
            post=self._post,
            version=attempt.version,
            credentials=dataclasses.replace(self._credentials, dates=not wrong),
            will=(wire.rip_topic(self._name), will),
        )
        self._connection.open()

    def _leave(self, why: str, now: float) -> None:
        assert self._connection is not None and self._brokers is not None
        log.info("%s: %s", self._connection.broker, why)
        self._measure(now, force=True)
        self._connection.close()
        self._connection = None
        self._brokers.left(now)
        self._watch.disconnected()
        self.drain.closed(now)

    def _announce(self, facts: dict[str, Any], now_ms: int) -> None:
        every_ms = about.METERED_EVERY_MS if self.drain.metered else about.EVERY_MS
        if self.drain.spent:
            every_ms = about.SPENT_EVERY_MS
        if self._announcer.due(facts, now_ms, every_ms) and self._send_about(facts):
            self._announcer.said(facts, now_ms)

    def _send_about(self, facts: dict[str, Any]) -> bool:
        assert self._connection is not None
        try:
            topic = wire.agent_topic(self._name)
            payload = about.encode(facts, self._most_bytes - len(topic) - PACKET_BYTES)
            self._about_token = self._connection.publish(topic, payload, retain=True)
            self._since = facts.get("since")
        except connection.NotConnected:
            return False
        return True

    def _publish(self, now: float) -> None:
        assert self._connection is not None
        due = self.drain.due(now)
        if self.drain.stuck:
            self._leave("it acknowledges nothing, trying again", now)
            return
        for outgoing in due:
            try:
                token = self._connection.publish(outgoing.topic, outgoing.payload)
            except connection.NotConnected:
                return  # its Closed is on the way
            self.drain.sent(outgoing, token, now)

    def _measure(self, now: float, force: bool = False) -> None:
        if self._connection is None or not (force or now - self._metered_at >= METER_EVERY_S):
            return
        self._metered_at = now
        sock = self._connection.sock
        family = 6 if sock is not None and sock.family == socket.AF_INET6 else 4
        self.spent_bytes(self._meter.read(self._connection, tcp_info(sock), family))

    # The end

    def goodbye(self, facts: dict[str, Any], now: float) -> bool:
        """What is due and the last word are sent; whether there is something to wait for."""
        if self._connection is None or not self._connection.is_open:
            return False
        if not self.silent:
            self._publish(now)
        return self._connection is not None and self._send_about(facts)

    def settled(self) -> bool:
        """Whether the broker has acknowledged all that was sent."""
        return self._connection is None or not self._connection.waiting

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _complain(self, sentence: str, once_for: str | None = None) -> None:
        """Once for each sentence, so that the log shows changes of state.

        What others can word as they like is told once for its kind, lest they fill the log.
        """
        if (once_for or sentence) not in self._complained:
            self._complained.add(once_for or sentence)
            log.warning("%s", sentence)
