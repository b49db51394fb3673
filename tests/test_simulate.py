"""The simulated swarm is reproducible, reads like a real one, and its incidents are named right."""

from __future__ import annotations

import pytest

from agent import wire
from bench import simulate
from bench.verdict_accuracy import records
from indexer import verdict

END_MS = 1_764_000_000_000
MINUTE_MS = 60_000
SWARM = simulate.swarm()
PLANTED = {one.name: one for one in simulate.incidents(SWARM, END_MS)}


def some(since_min: int, until_min: int = 0) -> list[wire.Result]:
    since_ms, until_ms = END_MS - since_min * MINUTE_MS, END_MS - until_min * MINUTE_MS
    return list(simulate.results(SWARM, since_ms, until_ms, planted=list(PLANTED.values())))


def at(incident: simulate.Incident, minutes: int) -> verdict.Picture:
    """The swarm so long after the incident's begin."""
    now_ms = incident.since_ms + minutes * MINUTE_MS
    found = simulate.results(SWARM, now_ms - 90 * MINUTE_MS, now_ms, planted=list(PLANTED.values()))
    return verdict.Picture(found, records(SWARM, now_ms), now_ms)


def test_there_are_about_thirty_agents_at_six_providers_on_many_kinds_of_link() -> None:
    facts = dict(simulate.abouts(SWARM))
    assert 25 <= len(facts) <= 35
    assert len({one["isp"] for one in facts.values()}) == 6
    links = {one["link"]["type"] for one in facts.values()}
    assert links >= {"ethernet", "wifi", "fiber", "cable", "vdsl", "adsl", "lte", "5g", "umts"}
    assert links >= {"edge", "satellite", "vpn"}


def test_nobody_can_take_it_for_real() -> None:
    assert all(agent.startswith("sim-") for agent, _ in simulate.abouts(SWARM))
    assert all(facts["simulated"] is True for _, facts in simulate.abouts(SWARM))


def test_the_same_stretch_gives_the_same_results_whatever_was_asked_before() -> None:
    whole = some(6)
    assert some(6, 3) + some(3) == whole


def test_results_come_in_order_and_each_has_an_identity_of_its_own() -> None:
    found = some(60)
    assert [one.time_ms for one in found] == sorted(one.time_ms for one in found)
    assert len({one[:3] for one in found}) == len(found)


def test_every_result_is_good_on_the_wire() -> None:
    for result in some(3):
        message = wire.read(wire.ping_topic(result.agent), wire.encode_result(result))
        assert isinstance(message, wire.Results)
        assert message.results[0].body == result.body


def test_every_agent_probes_every_target_and_its_ladder() -> None:
    seen: dict[str, set[str]] = {}
    for result in some(30):
        seen.setdefault(result.agent, set()).add(result.body["target"])
    assert set(map(frozenset, seen.values())) == {frozenset({*simulate.TARGETS, "ladder"})}


def test_a_scale_thins_it_out() -> None:
    thin = simulate.results(SWARM, END_MS - 60 * MINUTE_MS, END_MS, scale=10)
    assert 0.08 < len(list(thin)) / len(some(60)) < 0.12


def test_incidents_lie_in_the_week_and_one_goes_on_at_its_end() -> None:
    week = 7 * 24 * 60 * MINUTE_MS
    assert {one.word for one in PLANTED.values()} == {"me", "isp", "service"}
    assert all(END_MS - week < one.since_ms < END_MS for one in PLANTED.values())
    assert any(one.until_ms > END_MS for one in PLANTED.values())


@pytest.mark.parametrize("minutes", [6, 20])
def test_the_outage_is_the_service(minutes: int) -> None:
    incident = PLANTED["service outage"]
    answer = verdict.judge(at(incident, minutes), incident.target or "")
    assert (answer.word, answer.state, answer.scope) == ("service", "down", None)


def test_the_evening_is_the_provider() -> None:
    incident = PLANTED["ISP evening"]
    picture = at(incident, 20)
    words = {target: verdict.judge(picture, target).word for target in simulate.TARGETS}
    assert set(words.values()) <= {"isp", "access"}
    heads = [verdict.headline(picture, agent).word for agent in incident.agents]
    assert set(heads) <= {"isp", "access"}
    others = set(picture.agents) - set(incident.agents)
    wrong = [agent for agent in others if verdict.headline(picture, agent).word == "isp"]
    assert not wrong


def test_the_bad_wifi_is_me_and_nobody_else() -> None:
    incident = PLANTED["bad Wi-Fi"]
    picture = at(incident, 20)
    assert verdict.headline(picture, incident.agents[0]).word == "me"
    words = {verdict.judge(picture, target).word for target in simulate.TARGETS}
    assert words <= {"fine", "checking"}


def test_the_bad_site_is_one_site_of_the_service() -> None:
    incident = PLANTED["one site of a CDN"]
    answer = verdict.judge(at(incident, 20), incident.target or "")
    assert (answer.word, answer.scope) == ("service", "one site")


def test_quiet_hours_give_few_false_words() -> None:
    """Every 20 minutes of three hours, each agent and target: hardly any party is blamed."""
    blamed = asked = 0
    for step in range(9):
        now_ms = END_MS - 3 * 24 * 60 * MINUTE_MS + step * 20 * MINUTE_MS
        since_ms = now_ms - verdict.HORIZON_MS
        found = simulate.results(SWARM, since_ms, now_ms, scale=2, planted=[])
        picture = verdict.Picture(found, records(SWARM, now_ms), now_ms)
        for agent in picture.agents:
            for target in picture.targets:
                asked += 1
                blamed += verdict.judge(picture, target, agent).word not in ("fine", "checking")
    assert asked > 1000
    assert blamed / asked < 0.005
