"""A shared subscription is used only where it is proven to deliver."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent import wire
from bench.indexer_rate import Wire
from indexer import share
from indexer.share import TRIES, WAIT_S, ShareProbe
from tests.agent_bed import IndexerProcess
from tests.indexers import (
    EPOCH,
    Client,
    Flaky,
    now_ms,
    result,
    running,
    seqs,
    settings,
    sqlite,
)
from tests.servers import Server, wait_for


def test_a_probe_that_comes_back_proves_it() -> None:
    probe = ShareProbe("indexer-one")
    assert probe.due_s(0.0) is None
    probe.begin(True, 0.0)
    topic = probe.tick(0.0)
    assert topic is not None
    message = wire.read(topic, b"")
    assert isinstance(message, wire.ShareProbe)
    assert share.owner_of(message.nonce) == "indexer-one"
    probe.came_back("indexer-one.deadbeef")
    assert probe.verdict is None
    probe.came_back(message.nonce)
    assert probe.verdict is True
    assert probe.due_s(100.0) is None


def test_probes_that_do_not_come_back_disprove_it() -> None:
    probe = ShareProbe("indexer-one")
    probe.begin(True, 0.0)
    topics = {probe.tick(number * WAIT_S) for number in range(TRIES)}
    assert len(topics) == TRIES and None not in topics
    assert probe.verdict is None
    assert probe.tick(TRIES * WAIT_S) is None
    assert probe.verdict is False


def test_while_the_store_is_down_no_answer_disproves_nothing() -> None:
    probe = ShareProbe("indexer-one")
    probe.begin(True, 0.0)
    for number in range(TRIES):
        probe.tick(number * WAIT_S)
    probe.hold(100.0)
    for number in range(TRIES):
        assert probe.tick(100.0 + (number + 1) * WAIT_S)
        assert probe.verdict is None
    assert probe.tick(100.0 + (TRIES + 1) * WAIT_S) is None
    assert probe.verdict is False


def test_a_subscription_that_is_not_granted_needs_no_probe() -> None:
    probe = ShareProbe("indexer-one")
    probe.begin(False, 0.0)
    assert probe.verdict is False


@pytest.mark.parametrize("nonce", ["", "x", "agent.00000000", "indexer-one", "indexer-one.00"])
def test_a_nonce_that_no_indexer_sent_is_nobodys(nonce: str) -> None:
    assert share.owner_of(nonce) is None


# --- with real brokers --------------------------------------------------------------------------


def test_two_members_on_mosquitto_share_the_work(mosquitto: Any, tmp_path: Path) -> None:
    port = mosquitto().port
    with (
        sqlite(tmp_path / "s.db") as one,
        sqlite(tmp_path / "s.db") as two,
        running(settings(port, name="indexer-one", share="g"), one) as first,
        running(settings(port, name="indexer-two", share="g"), two) as second,
        Client(port, "ack/+", "indexer/+") as client,
    ):
        for indexer in (first, second):
            wait_for(lambda i=indexer: i.desk.brokers() and i.desk.brokers()[0].shared)
        client.send(*(result(seq) for seq in range(1, 201)))
        client.wait_confirmed(range(1, 201))
        assert seqs(one) == list(range(1, 201))
        counts = [indexer.intake.consumer.counts for indexer in (first, second)]
        assert sum(count.results + count.known for count in counts) == 200
        assert all(count.results for count in counts)


@pytest.mark.parametrize("kind", ["amqtt", "nats"])
def test_a_broker_that_grants_and_delivers_nothing_is_read_plainly(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("indexer.share.WAIT_S", 0.3)
    port = request.getfixturevalue(kind)().port
    with (
        sqlite(tmp_path / "s.db") as one,
        sqlite(tmp_path / "s.db") as two,
        running(settings(port, name="indexer-one", share="g", mqtt="3.1.1"), one) as first,
        running(settings(port, name="indexer-two", share="g", mqtt="3.1.1"), two) as second,
        Client(port, "ack/+", "indexer/+") as client,
    ):
        wait_for(lambda: caplog.text.count("--share is not used") == 2, what="both warnings")
        assert not any(each.desk.brokers()[0].shared for each in (first, second))

        def confirmed() -> bool:
            client.send(result(1))
            return client.confirmed() == {1}

        wait_for(confirmed, what="a plain subscription")
        assert seqs(one) == [1]


def test_a_store_that_is_down_makes_no_broker_look_bad(
    amqtt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer of another member could not reach us; so silence says nothing until it could."""
    monkeypatch.setattr("indexer.share.WAIT_S", 0.2)
    with sqlite(tmp_path / "s.db") as real:
        store = Flaky(real)
        config = settings(amqtt().port, share="g", mqtt="3.1.1")
        with running(config, store) as indexer:  # type: ignore[arg-type]
            store.down = True
            wait_for(lambda: indexer.switchboard.lines[0].probe, what="the probing")
            time.sleep((TRIES + 2) * 0.2)
            assert "--share is not used" not in caplog.text
            store.down = False
            wait_for(lambda: "--share is not used" in caplog.text, what="the warning")


def test_what_a_member_has_to_tell_another_is_kept_while_the_store_is_down(
    mosquitto: Any, tmp_path: Path
) -> None:
    port = mosquitto().port
    nonce = "indexer-other.00c0ffee"
    with sqlite(tmp_path / "s.db") as real:
        store = Flaky(real)
        with (
            running(settings(port, share="g"), store) as indexer,  # type: ignore[arg-type]
            Client(port, "indexer/+") as client,
        ):
            wait_for(lambda: indexer.desk.brokers() and indexer.desk.brokers()[0].shared)
            store.down = True
            client.publish(wire.share_probe_topic(nonce), b"")
            client.wait_online(False)
            assert real.fact("share/indexer-other") is None
            store.down = False
            wait_for(lambda: real.fact("share/indexer-other") == nonce, what="the note")


# --- four members, two brokers ------------------------------------------------------------------

AGENTS, EACH = 20, 1_000
WINDOW = 50  # results of one agent that wait for their confirmation
RESEND_S = 3.0  # real agents wait longer


class Swarm:
    """Agents on one broker, as the contract has them: what is not confirmed is sent again."""

    def __init__(self, port: int, agents: Sequence[str]) -> None:
        self._link = Wire(port)
        begun_ms = now_ms() - EACH * 1_000
        self._payloads = {
            agent: [
                wire.encode_result(result(seq, agent, begun_ms + seq * 1_000))
                for seq in range(1, EACH + 1)
            ]
            for agent in agents
        }
        self._next = dict.fromkeys(agents, 1)
        self._waiting: dict[str, dict[int, float]] = {agent: {} for agent in agents}
        self.confirmations = 0

    def close(self) -> None:
        self._link._sock.close()

    @property
    def unconfirmed(self) -> int:
        """Of all that these agents have measured."""
        unsent = sum(EACH + 1 - seq for seq in self._next.values())
        return unsent + sum(len(waiting) for waiting in self._waiting.values())

    def turn(self) -> None:
        """Sends what the windows let out, again what has waited long, and hears who confirms."""
        now_s = time.monotonic()
        for agent, waiting in self._waiting.items():
            while len(waiting) < WINDOW and self._next[agent] <= EACH:
                self._send(agent, self._next[agent], now_s)
                self._next[agent] += 1
            for seq in [seq for seq, sent_s in waiting.items() if now_s - sent_s > RESEND_S]:
                self._send(agent, seq, now_s)
        for topic, payload in self._link.confirmations(0.01):
            self._confirmed(wire.read(topic, payload))

    def _send(self, agent: str, seq: int, now_s: float) -> None:
        self._waiting[agent][seq] = now_s
        self._link.publish(wire.ping_topic(agent), self._payloads[agent][seq - 1])

    def _confirmed(self, message: Any) -> None:
        for first, last in message.ranges.get(EPOCH, []) if message.agent in self._next else ():
            for seq in range(first, last + 1):
                self.confirmations += 1
                self._waiting[message.agent].pop(seq, None)


def test_four_members_on_two_brokers_store_all_of_it_once_while_they_come_and_go(
    mosquitto: Any, mochi: Any, tmp_path: Path
) -> None:
    brokers: list[Server] = [mosquitto(), mochi()]
    ports = [broker.port for broker in brokers]
    agents = [f"a{number}" for number in range(AGENTS)]
    members = [
        IndexerProcess(tmp_path, *ports, more=("--share", "g", "--name", f"indexer-{number}"))
        for number in range(4)
    ]
    swarms: list[Swarm] = []
    try:
        for member in members:
            member.start()
        wait_for(lambda: members[0].log.count("connected to") == 8, 60, "all connections")
        swarms += [Swarm(port, agents[at::2]) for at, port in enumerate(ports)]
        _drive(swarms, AGENTS * EACH * 2 // 3)
        members[1].kill()
        _drive(swarms, AGENTS * EACH // 2)
        members[2].kill()
        members[1].start()
        _drive(swarms, 0)
    finally:
        for member in members:
            member.kill()
        for swarm in swarms:
            swarm.close()
    assert "--share is not used" not in members[0].log
    assert sum(swarm.confirmations for swarm in swarms) < 2 * AGENTS * EACH  # plainly: four times
    stored = [(one.agent, one.seq) for agent in agents for one in members[0].stored(agent)]
    assert len(stored) == AGENTS * EACH == len(set(stored))


def _drive(swarms: Sequence[Swarm], until: int) -> None:
    """Until no more than so many results are unconfirmed."""

    def few() -> bool:
        for swarm in swarms:
            swarm.turn()
        return sum(swarm.unconfirmed for swarm in swarms) <= until

    wait_for(few, 90, f"all but {until} results to be confirmed")
