"""A shared subscription is used only where it is proven to deliver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent import wire
from indexer import share
from indexer.share import TRIES, WAIT_S, ShareProbe
from tests.indexers import Client, result, running, seqs, settings, sqlite
from tests.servers import wait_for


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
        counts = [indexer.consumer.counts for indexer in (first, second)]
        assert sum(count.results + count.known for count in counts) == 200
        assert all(count.results for count in counts)


def test_a_broker_that_grants_and_delivers_nothing_is_read_plainly(
    amqtt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("indexer.share.WAIT_S", 0.3)
    port = amqtt().port
    with (
        sqlite(tmp_path / "s.db") as store,
        running(settings(port, share="g", mqtt="3.1.1"), store) as indexer,
        Client(port, "ack/+", "indexer/+") as client,
    ):
        wait_for(lambda: "--share is not used" in caplog.text, what="the warning")
        assert not indexer.desk.brokers()[0].shared

        def confirmed() -> bool:
            client.send(result(1))
            return client.confirmed() == {1}

        wait_for(confirmed, what="a plain subscription")
        assert seqs(store) == [1]
