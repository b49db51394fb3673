"""One indexer leads, says what is new and only that, and is followed when it is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent import wire
from indexer.leader import (
    LEASE_MS,
    LOOK_MS,
    RENEW_MS,
    SWARM_MS,
    Advice,
    Leader,
    Message,
    advise,
    record,
)
from indexer.store import Told
from tests.indexers import Client, now_ms, result, running, settings, sqlite
from tests.servers import wait_for

T0 = 1_790_000_000_000


class Leases:
    """One lease, as a store would keep it."""

    def __init__(self) -> None:
        self.holder, self.until_ms = "", 0

    def lease(self, what: str, holder: str, now_ms: int, ttl_ms: int) -> bool:
        if holder != self.holder and now_ms < self.until_ms:
            return False
        self.holder, self.until_ms = holder, now_ms + ttl_ms
        return True


def advice(**changes: Any) -> Advice:
    fine = {"state": "fine", "word": "fine", "sentence": "all is fine"}
    return Advice({"voila.fr": 3}, "salt", (), {"voila.fr": fine})._replace(**changes)


def leading() -> Leader:
    leader = Leader("indexer-one", Leases())
    assert leader.renew(T0)
    return leader


def said(leader: Leader, what: Advice, now_ms: int, topic: str) -> list[Message]:
    return [message for message in leader.say(what, (), now_ms) if message.topic == topic]


def test_one_leads_and_the_next_follows_within_the_lease() -> None:
    leases = Leases()
    one, two = Leader("indexer-one", leases), Leader("indexer-two", leases)
    assert one.renew(T0) and not two.renew(T0)
    assert one.renew(T0 + RENEW_MS) and not two.renew(T0 + RENEW_MS)
    late_ms = T0 + RENEW_MS + LEASE_MS
    assert two.renew(late_ms)
    assert not one.leads(late_ms)
    assert not one.renew(late_ms)


def test_who_cannot_renew_stops_leading_by_itself() -> None:
    leader = leading()
    assert leader.leads(T0 + LEASE_MS - 1)
    assert not leader.leads(T0 + LEASE_MS)


def test_who_resigns_is_followed_at_once() -> None:
    leases = Leases()
    one, two = Leader("indexer-one", leases), Leader("indexer-two", leases)
    one.renew(T0)
    one.resign(T0 + 1)
    assert two.renew(T0 + 2)


def test_the_swarm_is_said_when_it_changes_and_before_agents_forget_it() -> None:
    leader = leading()
    (first,) = said(leader, advice(), T0, "swarm")
    assert first.retain
    assert wire.read("swarm", first.payload) == wire.Swarm({"voila.fr": 3}, "salt")
    assert said(leader, advice(), T0 + 10_000, "swarm") == []
    assert said(leader, advice(agents={"voila.fr": 4}), T0 + 70_000, "swarm")
    assert SWARM_MS < 3_600_000
    assert said(leader, advice(agents={"voila.fr": 4}), T0 + 70_000 + SWARM_MS, "swarm")


def test_a_look_is_three_targets_at_most_asked_ones_first_and_not_retained() -> None:
    leader = leading()
    leader.ask("asked.example", T0)
    doubtful = ("a.example", "b.example", "c.example")
    (message,) = said(leader, advice(doubtful=doubtful), T0, "look")
    assert not message.retain
    look = wire.read("look", message.payload)
    assert isinstance(look, wire.Look)
    assert set(look.targets) == {"asked.example", "a.example", "b.example"}
    assert said(leader, advice(doubtful=doubtful), T0 + 1000, "look") == []
    assert said(leader, advice(doubtful=doubtful), T0 + LOOK_MS, "look")


def test_what_is_no_longer_asked_for_is_forgotten() -> None:
    leader = leading()
    assert said(leader, advice(), T0, "look") == []
    leader.ask("asked.example", T0)
    assert said(leader, advice(), T0, "look")
    (last,) = said(leader, advice(), T0 + 400_000, "look")
    assert wire.read("look", last.payload) == wire.Look(())


def test_a_verdict_is_retained_and_said_again_at_once_when_it_turns() -> None:
    leader = leading()
    topic = wire.verdict_topic("voila.fr")
    (first,) = said(leader, advice(), T0, topic)
    assert first.retain and json.loads(first.payload)["time"] == wire.rfc3339(T0)
    numbers = {"voila.fr": {"state": "fine", "word": "fine", "sentence": "fine, 12 ms"}}
    assert said(leader, advice(verdicts=numbers), T0 + 1000, topic) == []
    down = {"voila.fr": {"state": "down", "word": "service", "sentence": "down"}}
    assert said(leader, advice(verdicts=down), T0 + 2000, topic)
    later = {"voila.fr": {"state": "down", "word": "service", "sentence": "down for long"}}
    assert said(leader, advice(verdicts=later), T0 + 63_000, topic)


def test_only_a_verdict_that_turns_is_one_for_the_history() -> None:
    leader = leading()
    topic = wire.verdict_topic("voila.fr")
    fine, down = {"state": "fine", "word": "fine"}, {"state": "down", "word": "service"}
    turns = []
    for at_ms, facts in ((0, fine), (70_000, fine | {"median_ms": 12}), (80_000, down)):
        (message,) = said(leader, advice(verdicts={"voila.fr": facts}), T0 + at_ms, topic)
        turns.append(message.turned)
    assert turns == [Told(T0, "voila.fr", fine), None, Told(T0 + 80_000, "voila.fr", down)]


def test_the_history_has_each_turn_once_whoever_leads(tmp_path: Path) -> None:
    fine, down = {"state": "fine", "word": "fine"}, {"state": "down", "word": "service"}
    turns = [
        Told(T0, "voila.fr", fine),
        Told(T0 + 1, "yahoo.cn", down),
        Told(T0 + 2, "voila.fr", down),
    ]
    again = Told(T0 + 3, "voila.fr", down | {"median_ms": 12})  # by another, which has just begun
    with sqlite(tmp_path / "s.db") as store:
        for told in (*turns, again, turns[2]):
            record(store, told)
        assert store.verdicts(0, T0 + 10) == turns[::-1]


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    leader = leading()
    doubtful = advice(doubtful=("voila.fr",))
    topics = {message.topic for message in leader.say(doubtful, (), T0)}
    back_ms = T0 - 86_400_000
    leader.renew(back_ms)
    assert {message.topic for message in leader.say(doubtful, (), back_ms)} == topics
    assert leader.say(doubtful, (), back_ms + 1000) == []


def test_the_verdict_on_a_target_that_nobody_probes_is_taken_back() -> None:
    leader = leading()
    messages = leader.say(advice(), ["voila.fr", "https://gone.example/"], T0)
    gone = wire.verdict_topic("https://gone.example/")
    assert [message for message in messages if not message.payload] == [Message(gone, b"", True)]


def test_the_advice_counts_the_agents_of_each_target(tmp_path: Path) -> None:
    with sqlite(tmp_path / "s.db") as store:
        rows = [result(seq, agent=f"a{seq % 3}") for seq in range(1, 10)]
        rows.append(result(10, agent="a0", kind="ladder", target="ladder"))
        rows.append(result(11, agent="a0", target="yahoo.cn"))
        store.put(rows, now_ms())
        store.put_fact("salt", "pepper")
        found = advise(store, now_ms())
    assert found.agents == {"voila.fr": 3, "yahoo.cn": 1}
    assert found.salt == "pepper"
    assert set(found.verdicts) == {"voila.fr", "yahoo.cn"}


# --- with a real broker -------------------------------------------------------------------------


def test_the_leader_writes_and_its_follower_takes_over_with_the_same_salt(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.chores.ADVISE_S", 0.2)
    monkeypatch.setattr("indexer.leader.RENEW_MS", 500)
    port = mosquitto().port
    verdict = wire.verdict_topic("voila.fr")
    with (
        sqlite(tmp_path / "s.db") as one,
        sqlite(tmp_path / "s.db") as two,
        Client(port, "swarm", "verdict/+", "indexer/+", "ack/+") as client,
    ):
        with running(settings(port, name="indexer-one"), one) as first:
            wait_for(lambda: first.chores.leader.leads(now_ms()), what="the first to lead")
            client.wait_online(name="indexer-one")
            client.send(result(1))
            wait_for(lambda: client.payloads(verdict), what="a verdict")
            wait_for(lambda: "voila.fr" in first.desk.verdicts(), what="the page to know it")
            salt = json.loads(client.payloads("swarm")[-1])["salt"]
            assert len(salt) >= 16
        before = len(client.payloads("swarm"))
        with running(settings(port, name="indexer-two"), two) as second:
            wait_for(lambda: second.chores.leader.leads(now_ms()), what="the second to lead")
            wait_for(lambda: len(client.payloads("swarm")) > before, what="its swarm")
            assert two.fact("salt") == salt
            wait_for(lambda: two.verdicts(0, now_ms() + 1), what="the history")


def test_who_does_not_lead_writes_none_of_it(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.chores.ADVISE_S", 0.2)
    port = mosquitto().port
    with sqlite(tmp_path / "s.db") as store:
        assert store.lease("lead", "indexer-other", now_ms(), 300_000)
        with (
            running(settings(port), store) as indexer,
            Client(port, "swarm", "look", "verdict/+", "indexer/+", "ack/+") as client,
        ):
            client.wait_online()
            client.send(result(1))
            client.wait_confirmed([1])
            indexer.desk.look("voila.fr")
            indexer.desk.change_list("watch", "voila.fr", "ann")  # the loop has turned since
            assert not indexer.chores.leader.leads(now_ms())
            assert client.payloads("swarm") == client.payloads("look") == []
            assert client.payloads(wire.verdict_topic("voila.fr")) == []
