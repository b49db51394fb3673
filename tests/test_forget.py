"""An agent that leaves: nobody waits for it, and with `forget` nothing of it is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent import cli, wire
from agent.wire import About
from indexer import chores
from indexer.leader import LEASE
from indexer.leaving import AGAIN_S, DOWN_S, SETTLE_S, Asked, Leavers
from indexer.presence import Presence
from indexer.store import AgentRecord, Store
from indexer.swarming_indexer import Indexer
from tests.agent_bed import Box, IndexerProcess, alone
from tests.indexers import Client, Flaky, now_ms, result, running, seqs, settings, sqlite
from tests.operator_bed import Operator
from tests.servers import Server, wait_for

T0 = 1_790_000_000_000
HERE = {"flush_s": 0, "here": True, "clock": {"trust": "ntp"}}
LEFT = HERE | {"here": False, "left": True}


def said(facts: dict[str, Any], since_ms: int = T0, agent: str = "a1") -> About:
    """By a run that began then."""
    return About(agent, facts | {"since": wire.rfc3339(since_ms)})


def forget(at_ms: int) -> dict[str, Any]:
    return LEFT | {"forget": wire.rfc3339(at_ms)}


# --- presence -----------------------------------------------------------------------------------


def known(presence: Presence, at_ms: int = T0 + 10**6) -> AgentRecord:
    presence.due(at_ms)
    return presence.record("a1")


def test_who_has_left_is_not_here_at_once_and_what_comes_late_changes_nothing() -> None:
    presence = Presence([])
    presence.about(said(HERE), False, T0)
    presence.about(said(LEFT), False, T0 + 1000)
    assert not presence.record("a1").here and presence.here() == 0
    presence.heard("a1", T0 + 2000)  # results of before, over another broker
    presence.about(said(HERE), True, T0 + 3000)  # what another broker still holds
    assert not known(presence).here and known(presence).facts["left"]


def test_who_joins_again_is_here_and_what_brokers_still_hold_changes_nothing() -> None:
    presence = Presence([AgentRecord("a1", dict(said(LEFT).facts), T0, T0, False)])
    presence.about(said(HERE, T0 + 9000), False, T0 + 9000)
    presence.about(said(LEFT), True, T0 + 10_000)
    presence.heard("a1", T0 + 11_000)
    assert known(presence).here and presence.here() == 1


def test_what_wants_to_be_forgotten_is_never_written() -> None:
    presence = Presence([])
    presence.about(said(forget(T0)), True, T0 + 1000)
    assert presence.due(T0 + 2000) == []
    presence.about(said(HERE, T0 + 3000), False, T0 + 3000)
    assert [record.agent for record in presence.due(T0 + 4000)] == ["a1"]


@pytest.mark.parametrize("last", [LEFT, forget(T0 + 5000)])
def test_of_what_two_brokers_hold_the_later_run_counts(last: dict[str, Any]) -> None:
    for words in ((last, HERE), (HERE, last)):
        presence = Presence([])
        for facts in words:  # of the same run
            presence.about(said(facts), True, T0 + 6000)
        assert presence.record("a1").facts.get("left")
        presence.about(said(HERE, T0 + 7000), True, T0 + 8000)
        presence.heard("a1", T0 + 9000)
        assert known(presence).here
        presence.about(said(last), True, T0 + 9000)
        assert known(presence).here


# --- who is to be forgotten, and when -----------------------------------------------------------

RECORD = AgentRecord("a1", LEFT, T0 - 500, None, False)


def test_it_is_done_soon_and_once_more_and_the_same_message_again_does_nothing() -> None:
    leavers = Leavers()
    leavers.heard(said(forget(T0)), RECORD, T0, 0.0)
    assert leavers.before_ms == {"a1": T0}
    assert leavers.due(SETTLE_S - 0.1) is None
    for at_s in (SETTLE_S, AGAIN_S):
        assert leavers.due(at_s) == Asked("a1", T0)
        leavers.done(Asked("a1", T0), at_s, True)
        leavers.heard(said(forget(T0)), RECORD, T0, at_s)  # over another broker, connected again
        assert leavers.due(at_s) is None
    assert leavers.due(1e9) is None


def test_a_store_that_is_down_is_asked_again() -> None:
    leavers = Leavers()
    leavers.heard(said(forget(T0)), RECORD, T0, 0.0)
    leavers.done(Asked("a1", T0), 5.0, False)
    assert leavers.due(5.0 + DOWN_S - 0.1) is None
    assert leavers.due(5.0 + DOWN_S) == Asked("a1", T0)


def test_who_leaves_again_is_forgotten_again_and_an_older_word_counts_no_more() -> None:
    leavers = Leavers()
    leavers.heard(said(forget(T0)), RECORD, T0, 0.0)
    leavers.heard(said(forget(T0 + 5)), RECORD, T0, 1.0)
    leavers.done(Asked("a1", T0), 2.0, True)  # it was at it meanwhile
    leavers.heard(said(forget(T0)), RECORD, T0, 3.0)
    assert leavers.due(1.0 + SETTLE_S) == Asked("a1", T0 + 5)


def test_leaving_alone_forgets_nothing() -> None:
    leavers = Leavers()
    for facts in (LEFT, HERE | {"forget": wire.rfc3339(T0)}):
        leavers.heard(said(facts), RECORD, T0, 0.0)
    assert leavers.before_ms == {} and leavers.due(1e9) is None


def test_a_clock_that_is_wrong_cannot_say_when_so_it_is_when_it_was_seen_last() -> None:
    slow = forget(86_400_000) | {"clock": {"trust": "unsynced"}}
    odd: tuple[dict[str, Any], ...] = (slow, forget(T0 + 10**10), LEFT | {"forget": "now"})
    for facts in odd:
        leavers = Leavers()
        leavers.heard(said(facts), RECORD._replace(facts=HERE), T0, 0.0)  # it is back already
        assert leavers.before_ms == {}
        leavers.heard(said(facts), RECORD, T0, 0.0)
        assert leavers.before_ms == {"a1": RECORD.seen_ms}


def test_a_goodbye_by_a_clock_that_was_ahead_takes_nothing_of_who_is_back() -> None:
    goodbye = forget(T0 + 10**10)  # retained on a broker that the box has not met since
    presence, leavers = (
        Presence([AgentRecord("a1", dict(said(HERE).facts), T0, None, True)]),
        Leavers(),
    )
    presence.about(said(goodbye), True, T0 + 1000)
    leavers.heard(said(goodbye), presence.record("a1"), T0 + 1000, 0.0)
    assert leavers.before_ms == {} and known(presence, T0 + 2000).here


# --- over a real broker -------------------------------------------------------------------------


def about(client: Client, facts: dict[str, Any], agent: str = "a1") -> None:
    client.publish(
        wire.agent_topic(agent), wire.encode_json(said(facts, now_ms(), agent).facts), True
    )


def names(store: Store) -> list[str]:
    return [record.agent for record in store.agents()]


def measured(client: Client, agent: str, *numbers: int, age_ms: int = 60_000) -> None:
    client.send(*(result(seq, agent, now_ms() - age_ms - seq) for seq in numbers))
    client.wait_confirmed(numbers, agent)


def test_who_leaves_and_wants_to_be_forgotten_is_and_nobody_else(
    mosquitto: Callable[..., Server], tmp_path: Path
) -> None:
    port = mosquitto().port
    with sqlite(tmp_path / "s.db") as store, Client(port, "ack/+", "indexer/+") as client:
        with running(settings(port), store) as indexer:
            client.wait_online()
            for agent in ("a1", "a2"):
                about(client, HERE, agent)
                measured(client, agent, 1, 2, 3)
            wait_for(lambda: names(store) == ["a1", "a2"], what="both on record")
            about(client, forget(now_ms()))
            wait_for(lambda: seqs(store) == [], what="a1 forgotten")
            wait_for(lambda: names(store) == ["a2"], what="its record gone")
            assert seqs(store, "a2") == [1, 2, 3] and indexer.presence.here() == 1

            # What was still on its way is confirmed, so that nobody sends it again, and not kept.
            measured(client, "a1", 4, 5)
            assert indexer.intake.consumer.counts.too_old == 2
            assert seqs(store) == []

        with running(settings(port), store) as indexer:  # the message is still retained
            wait_for(lambda: indexer.leavers.before_ms, what="the retained message")
            measured(client, "a1", 6)
            wait_for(lambda: not soon_due(indexer), what="the store asked once more")
            assert seqs(store) == [] and names(store) == ["a2"]


def test_who_joins_again_stays_though_another_broker_still_says_that_it_left(
    mosquitto: Callable[..., Server], tmp_path: Path
) -> None:
    ports = mosquitto().port, mosquitto().port
    with (
        sqlite(tmp_path / "s.db") as store,
        Client(ports[0]) as old,
        Client(ports[1], "ack/+", "indexer/+") as client,
    ):
        about(old, forget(now_ms() - 30_000))
        about(client, HERE)
        with running(settings(*ports), store) as indexer:
            client.wait_online()
            wait_for(lambda: indexer.leavers.before_ms, what="the word of the first broker")
            measured(client, "a1", 7, 8, age_ms=0)
            measured(client, "a1", 1, 2)
            wait_for(lambda: not soon_due(indexer), what="the store asked")
            wait_for(lambda: names(store) == ["a1"], what="a1 on record")
            assert seqs(store) == [7, 8]
            assert indexer.presence.here() == 1


def test_a_store_that_was_down_forgets_when_it_is_back(
    mosquitto: Callable[..., Server], tmp_path: Path
) -> None:
    port = mosquitto().port
    with sqlite(tmp_path / "s.db") as real, Client(port, "ack/+", "indexer/+") as client:
        store = Flaky(real, only=("forget",))
        with running(settings(port), store) as indexer:
            client.wait_online()
            measured(client, "a1", 1)
            store.down = True
            about(client, forget(now_ms()))
            wait_for(lambda: "forget" in store.refused, what="the store asked to forget")
            store.down = False
            assert seqs(real) == [1]
            wait_for(lambda: not soon_due(indexer), what="its answer")
            indexer.leavers.done(Asked("a1", indexer.leavers.before_ms["a1"]), -DOWN_S, False)
            wait_for(lambda: seqs(real) == [], what="a1 forgotten")


def test_what_an_indexer_that_does_not_lead_still_had_to_read_is_forgotten_by_it(
    mosquitto: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was away; its session held results that another one has stored, and forgotten since."""
    monkeypatch.setattr(chores, "FOLLOW_S", 1.0)
    port = mosquitto().port
    with sqlite(tmp_path / "s.db") as store, Client(port, "ack/+", "indexer/+") as client:
        assert store.lease(LEASE, "indexer-other", now_ms(), 500_000)
        with running(settings(port), store) as indexer:
            client.wait_online()
            measured(client, "a1", 1, 2)
            about(client, forget(now_ms()))
            wait_for(lambda: seqs(store) == [], what="a1 forgotten")
            assert not indexer.chores.leader.leads(now_ms())


def test_a_real_box_joins_leaves_is_forgotten_and_joins_again(tmp_path: Path) -> None:
    swarm = str(tmp_path / "etc" / "agent.swarm")
    with alone(), Operator(tmp_path / "operator") as operator:
        mine = operator.member("indexer-one")
        assert mine.ca and mine.cert and mine.key
        more = (operator.broker, "--ca", mine.ca, "--cert", mine.cert, "--key", mine.key)
        with IndexerProcess(tmp_path / "indexer", more=more) as indexer:
            for name in ("box-1", "box-2"):
                file = str(operator.swarm_file(name))
                assert cli.main(["join", file, "--swarm", f"{swarm}-{name}", "--yes"]) == 0
            with (
                Box(tmp_path / "box-1", "--swarm", f"{swarm}-box-1", name="box-1") as box,
                Box(tmp_path / "box-2", "--swarm", f"{swarm}-box-2", name="box-2"),
            ):
                for name in ("box-1", "box-2"):
                    wait_for(partial(indexer.stored, name), 60, f"results of {name}")
                words = ["leave", "--forget", "--yes", "--swarm", f"{swarm}-box-1"]
                left = box.told(*words)
                assert left.returncode == 0, left.stderr
                wait_for(lambda: not indexer.stored("box-1"), 30, "box-1 forgotten")
                wait_for(lambda: "box-1 has left and is forgotten" in indexer.log, 10, "the log")
                assert indexer.stored("box-2")

                file = str(operator.swarm_file("box-1"))
                assert cli.main(["join", file, "--swarm", f"{swarm}-box-1", "--yes"]) == 0
                with Box(tmp_path / "again", "--swarm", f"{swarm}-box-1", name="box-1"):
                    wait_for(lambda: indexer.stored("box-1"), 60, "results of box-1 again")


def soon_due(indexer: Indexer) -> bool:
    return indexer.leavers.due(time.monotonic() + SETTLE_S) is not None
