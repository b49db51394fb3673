"""Who is here, and who is gone: a rip or goodbye, and then silence on all brokers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent import wire
from agent.wire import About, Rip
from indexer.presence import SILENCE_MS, WRITE_MS, Presence, waits_for_time
from indexer.store import AgentRecord
from tests.indexers import Client, result, running, settings, sqlite
from tests.servers import wait_for

T0 = 1_790_000_000_000


def record(presence: Presence, now_ms: int, agent: str = "a1") -> AgentRecord:
    """What is known of the agent at this moment."""
    presence.due(now_ms)
    return presence._records[agent]


def met(facts: dict[str, Any] | None = None) -> Presence:
    """An agent that has just said who it is."""
    presence = Presence([])
    presence.about(About("a1", {"flush_s": 60, **(facts or {})}), False, T0)
    return presence


def test_who_speaks_is_here() -> None:
    presence = Presence([])
    presence.heard("a1", T0)
    assert record(presence, T0).here
    assert presence.names == {"a1"}


def test_silence_alone_makes_nobody_gone() -> None:
    assert record(met(), T0 + 86_400_000).here


@pytest.mark.parametrize("goodbye", [True, False])
def test_gone_is_a_goodbye_or_a_rip_and_then_silence_for_the_flush_and_90_s(goodbye: bool) -> None:
    presence = met()
    if goodbye:
        presence.about(About("a1", {"flush_s": 60, "here": False}), False, T0 + 1000)
    else:
        presence.rip(Rip("a1", cleared=False), T0 + 1000)
    last_ms = T0 + 1000 + 60_000 + SILENCE_MS
    assert record(presence, last_ms - 1).here
    assert not record(presence, last_ms).here


def test_a_rip_that_comes_late_is_not_believed() -> None:
    presence = met()
    presence.rip(Rip("a1", cleared=False), T0 + 7000)
    presence.heard("a1", T0 + 20_000)  # it has long been on another broker
    assert record(presence, T0 + 86_400_000).here


def test_a_rip_that_is_said_again_does_not_begin_the_silence_anew() -> None:
    presence = met({"flush_s": 0})
    presence.rip(Rip("a1", cleared=False), T0)
    presence.rip(Rip("a1", cleared=False), T0 + SILENCE_MS - 1)
    assert not record(presence, T0 + SILENCE_MS).here


def test_who_was_gone_is_here_with_the_next_live_message() -> None:
    presence = met({"flush_s": 0})
    presence.rip(Rip("a1", cleared=False), T0)
    assert not record(presence, T0 + SILENCE_MS).here
    presence.heard("a1", T0 + 200_000)
    found = record(presence, T0 + 200_000)
    assert found.here and found.rip_ms is None


def test_what_a_broker_retained_is_no_sign_of_life() -> None:
    gone = AgentRecord("a1", {}, T0, T0, False)
    presence = Presence([gone])
    presence.about(About("a1", {"place": "home"}), True, T0 + 1000)
    found = record(presence, T0 + 1000)
    assert not found.here and found.seen_ms == T0
    assert found.facts == {"place": "home"}


def test_older_facts_that_another_broker_retained_do_not_win() -> None:
    presence = Presence([])
    new = {"time": wire.rfc3339(T0), "link": "lte"}
    old = {"time": wire.rfc3339(T0 - 5000), "link": "wifi"}
    presence.about(About("a1", new), True, T0)
    presence.about(About("a1", old), True, T0)
    assert record(presence, T0).facts == new


def test_a_retained_goodbye_makes_an_unknown_agent_gone_from_the_start() -> None:
    presence = Presence([])
    presence.about(About("a1", {"here": False}), True, T0)
    assert not record(presence, T0).here


@pytest.mark.parametrize("rip_first", [True, False])
def test_what_a_broker_retained_of_a_dead_agent_may_come_in_any_order(rip_first: bool) -> None:
    presence = Presence([])
    if rip_first:
        presence.rip(Rip("a1", cleared=False), T0)
    presence.about(About("a1", {"flush_s": 0}), True, T0)
    if not rip_first:
        presence.rip(Rip("a1", cleared=False), T0)
    assert record(presence, T0).here
    assert not record(presence, T0 + SILENCE_MS).here


def test_a_clock_that_is_set_back_keeps_nobody_here() -> None:
    presence = met({"flush_s": 0})
    presence.rip(Rip("a1", cleared=False), T0 - 3_600_000)
    assert record(presence, T0 - 3_600_000).here
    assert not record(presence, T0 - 3_600_000 + SILENCE_MS).here


def test_an_absurd_flush_does_not_keep_anybody_here_for_ever() -> None:
    presence = met({"flush_s": 1e300})
    presence.rip(Rip("a1", cleared=False), T0)
    assert not record(presence, T0 + 2 * 86_400_000).here


def test_a_sign_of_life_alone_is_written_now_and_then_and_news_at_once() -> None:
    presence = met()
    (first,) = presence.due(T0)
    presence.written(first)
    presence.heard("a1", T0 + 1000)
    assert presence.due(T0 + 1000) == []
    presence.heard("a1", T0 + WRITE_MS)
    assert len(presence.due(T0 + WRITE_MS)) == 1
    presence.written(presence.due(T0 + WRITE_MS)[0])
    presence.rip(Rip("a1", cleared=False), T0 + WRITE_MS + 1)
    assert len(presence.due(T0 + WRITE_MS + 1)) == 1


@pytest.mark.parametrize(
    ("clock", "waits"),
    [({"trust": "waiting"}, True), ("unsynced", True), ({"trust": "ntp"}, False)],
)
def test_an_agent_without_a_clock_is_told_the_time(clock: Any, waits: bool) -> None:
    assert waits_for_time(About("a1", {"clock": clock})) is waits


# --- with a real broker -------------------------------------------------------------------------


def test_the_time_is_told_at_once_when_an_agent_asks(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.swarming_indexer.TIME_ASKED_S", 0)
    port = mosquitto().port
    about = wire.encode_json({"clock": {"trust": "waiting"}})
    with (
        sqlite(tmp_path / "s.db") as store,
        running(settings(port), store),
        Client(port, "indexer/+") as client,
    ):
        client.wait_online()
        before = len(client.payloads("indexer/indexer-test"))
        client.publish(wire.agent_topic("a1"), about, retain=True)
        wait_for(lambda: len(client.payloads("indexer/indexer-test")) > before, what="the time")


def test_a_rip_and_silence_reach_the_store(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.presence.SILENCE_MS", 500)
    port = mosquitto().port
    with sqlite(tmp_path / "s.db") as store, running(settings(port), store):
        agent = Client(port, "indexer/+", name="a1", will=(wire.rip_topic("a1"), b"gone"))
        agent.wait_online()
        agent.send(result(1))
        wait_for(lambda: [one.here for one in store.agents()] == [True], what="the agent")
        agent.cut()
        wait_for(lambda: [one.here for one in store.agents()] == [False], what="its end")
        with Client(port, name="a1") as back:
            back.send(result(2))
            wait_for(lambda: [one.here for one in store.agents()] == [True], what="its return")
