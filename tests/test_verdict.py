"""Me, my ISP, the path, or the service: each rule of the table, and what must not fool it."""

from __future__ import annotations

import json

import pytest

from agent import wire
from indexer import verdict
from indexer.leaving import is_named
from tests.verdict_world import NOW_MS, World

SUSPECT = "suspect.example"
OTHERS = ("a.example", "bb.example", "ccc.example", "dddd.example")
TOWNS = ("Lyon", "Lille", "Brest", "Nantes", "Paris")


def swarm(isps: int = 4) -> World:
    """ "me" at Free in Lyon with other targets and a ladder, and a peer at each other provider."""
    world = World()
    world.agent("me", isp="Free", place="Lyon", access="g0")
    world.usual("me", SUSPECT, *OTHERS, ladder=True)
    for number in range(1, isps + 1):
        name = world.agent(f"peer-{number}", isp=f"ISP {number}", place=TOWNS[number % 5])
        world.usual(name, SUSPECT, *OTHERS)
    return world


def slow_for(world: World, agent: str, target: str = SUSPECT, since: float = 10) -> None:
    for minute in (since, since / 2, 1):
        world.echo(agent, target, minute, ms=80)


def fine_for(world: World, agent: str, *targets: str, since: float = 9) -> None:
    for minute in (since, since / 2, 1):
        for target in targets:
            world.echo(agent, target, minute)


def rules(answer: verdict.Answer) -> set[str]:
    return {one.rule for one in answer.evidence if one.strikes}


# --- the four parties -----------------------------------------------------------------------------


def test_when_other_providers_see_it_too_it_is_the_service() -> None:
    world = swarm()
    fine_for(world, "me", *OTHERS)
    slow_for(world, "me")
    for number in (1, 2, 3, 4):
        slow_for(world, f"peer-{number}", since=9)
    answer = world.judge(SUSPECT, "me")
    assert (answer.word, answer.state) == ("service", "slow")
    assert "outside_bad" in rules(answer)
    assert "4 of 4 other providers see it too" in answer.sentence
    assert answer.since_ms == NOW_MS - 10 * 60_000


def test_when_my_other_targets_and_other_providers_are_fine_it_is_the_path() -> None:
    world = swarm()
    slow_for(world, "me")
    fine_for(world, "me", *OTHERS)
    for number in (1, 2, 3, 4):
        fine_for(world, f"peer-{number}", SUSPECT)
    answer = world.judge(SUSPECT, "me")
    assert answer.word == "path"
    assert rules(answer) == {"others_fine", "outside_fine"}


def test_when_all_my_targets_are_bad_and_my_router_is_too_it_is_me() -> None:
    world = swarm()
    for target in (SUSPECT, *OTHERS):
        slow_for(world, "me", target)
    for minute in (9, 5, 2):
        world.ladder("me", minute, gateway_ms=70, hop_ms=80)
    answer = world.judge(SUSPECT, "me")
    assert answer.word == "me"
    assert {"gateway_bad", "others_bad"} <= rules(answer)


def test_when_my_router_is_fine_and_what_is_behind_it_is_not_it_is_my_isp() -> None:
    world = swarm()
    for target in (SUSPECT, *OTHERS):
        slow_for(world, "me", target)
    for minute in (9, 5, 2):
        world.ladder("me", minute, gateway_ms=2, hop_ms=70)
    answer = world.judge(SUSPECT, "me")
    assert answer.word == "isp"
    assert {"rung_fine", "first_hop_bad", "others_bad"} <= rules(answer)


def test_without_a_ladder_all_targets_bad_is_my_access() -> None:
    world = swarm()
    for target in (SUSPECT, *OTHERS):
        slow_for(world, "me", target)
    assert world.judge(SUSPECT, "me").word == "access"


def test_when_my_other_targets_are_fine_and_nobody_else_looks_it_lies_beyond() -> None:
    world = swarm(isps=0)
    slow_for(world, "me")
    fine_for(world, "me", *OTHERS)
    answer = world.judge(SUSPECT, "me")
    assert answer.word == "beyond"
    assert any("agents of other providers" in missing for missing in answer.missing)


def test_a_lonely_target_of_a_lonely_agent_is_unknown_and_it_says_what_is_missing() -> None:
    world = World()
    world.agent("me")
    world.usual("me", SUSPECT)
    for minute in (40, 35, 30, 25, 20, 10, 1):
        world.echo("me", SUSPECT, minute, error="timeout")
    answer = world.judge(SUSPECT, "me")
    assert answer.word == "unknown"
    assert "other targets on other networks" in " ".join(answer.missing)
    assert "--isp" in " ".join(answer.missing)


def test_findings_that_exclude_everybody_are_a_conflict_with_both_told() -> None:
    world = swarm()
    for target in (SUSPECT, *OTHERS):
        slow_for(world, "me", target)
    for number in (1, 2, 3, 4):
        slow_for(world, f"peer-{number}", since=9)
        fine_for(world, f"peer-{number}", *OTHERS)
    answer = world.judge(SUSPECT, "me")
    assert answer.word == "conflict"
    assert {"others_bad", "outside_bad"} <= rules(answer)


def test_a_fine_target_is_fine() -> None:
    world = swarm()
    fine_for(world, "me", SUSPECT)
    answer = world.judge(SUSPECT, "me")
    assert (answer.word, answer.state, answer.parties) == ("fine", "fine", frozenset())
    assert answer.since_ms is None


# --- freshness ------------------------------------------------------------------------------------


def test_peers_that_looked_before_the_onset_do_not_vote() -> None:
    """Their latest values would name the path in a fault of the service."""
    world = swarm()
    for number in (1, 2, 3, 4):
        world.echo(f"peer-{number}", SUSPECT, 6)
    for minute in (5, 3):
        world.echo("me", SUSPECT, minute, error="timeout")
    fine_for(world, "me", *OTHERS, since=4)
    answer = world.judge(SUSPECT, "me")
    assert answer.word == "checking"
    assert "outside_fine" not in rules(answer)
    assert any("4 providers not asked since it began" in one for one in answer.missing)


def test_checking_ends_after_a_quarter_of_an_hour() -> None:
    world = World()
    world.agent("me", isp="Free")
    world.agent("peer", isp="Orange")
    world.usual("me", SUSPECT)
    world.usual("peer", SUSPECT)
    world.echo("peer", SUSPECT, 14.9)
    for minute in (14.8, 10, 5, 1):
        world.echo("me", SUSPECT, minute, error="timeout")
    assert world.judge(SUSPECT, "me").word == "checking"
    for minute in (25, 20, 16):
        world.echo("me", SUSPECT, minute, error="timeout")
    world.results = [
        one for one in world.results if one.agent == "me" or one.time_ms < NOW_MS - 26 * 60_000
    ]
    assert world.judge(SUSPECT, "me").word == "unknown"


def test_one_bad_probe_alone_is_looked_at_again_before_anybody_is_blamed() -> None:
    world = swarm()
    world.echo("me", SUSPECT, 2, error="timeout")
    fine_for(world, "me", *OTHERS, since=1.5)
    for number in (1, 2, 3, 4):
        world.echo(f"peer-{number}", SUSPECT, 1)
    picture = world.picture()
    assert verdict.judge(picture, SUSPECT, "me").word == "checking"
    assert SUSPECT in verdict.what_to_look(picture)


def test_down_begins_a_stretch_of_its_own() -> None:
    """Slow for long, then down: peers that were fine in between say nothing about the outage."""
    world = swarm()
    for minute in (14, 12, 10, 8):
        world.echo("me", SUSPECT, minute, ms=80)
    for number in (1, 2, 3, 4):
        world.echo(f"peer-{number}", SUSPECT, 7)
    for minute in (5, 3, 1):
        world.echo("me", SUSPECT, minute, error="timeout")
    answer = world.judge(SUSPECT, "me")
    assert answer.since_ms == NOW_MS - 5 * 60_000
    assert "outside_fine" not in rules(answer)


def test_a_peer_that_would_not_have_seen_it_abstains() -> None:
    """60 ms more are nothing on a line of 700 ms."""
    world = swarm(isps=0)
    for number in (1, 2, 3):
        name = world.agent(f"far-{number}", isp=f"Sky {number}", link="satellite")
        world.usual(name, SUSPECT, ms=700)
        for minute in (9, 5, 1):
            world.echo(name, SUSPECT, minute, ms=700)
    slow_for(world, "me")
    fine_for(world, "me", *OTHERS)
    answer = world.judge(SUSPECT, "me")
    assert answer.word == "beyond"
    assert "outside_fine" not in rules(answer)


# --- who is independent of whom -------------------------------------------------------------------


def test_one_provider_is_one_vote_however_many_customers_it_has() -> None:
    world = swarm(isps=1)
    for number in range(5):
        name = world.agent(f"same-{number}", isp="isp 1", place=TOWNS[number])
        world.usual(name, SUSPECT)
        fine_for(world, name, SUSPECT)
    fine_for(world, "peer-1", SUSPECT)
    slow_for(world, "me")
    fine_for(world, "me", *OTHERS)
    assert "outside_fine" not in rules(world.judge(SUSPECT, "me"))


def test_two_agents_in_one_home_are_one_vote() -> None:
    world = swarm(isps=0)
    for name in ("box-1", "box-2"):
        world.agent(name, isp="Orange", place="Brest", access="g7")
        world.usual(name, SUSPECT)
        slow_for(world, name, since=9)
    for name in ("other-1", "other-2"):
        world.agent(name, isp="Orange", place=name, access=name)
        world.usual(name, SUSPECT)
        fine_for(world, name, SUSPECT)
    slow_for(world, "me")
    picture = world.picture()
    from indexer.verdict.case import Case

    view = picture.view("me", SUSPECT)
    assert view is not None
    assert Case(picture, view).outside_votes == {"orange": "fine"}


def test_the_measured_access_group_goes_before_the_declared_name() -> None:
    world = World()
    world.agent("one", isp="Orange", access="g1")
    world.agent("two", isp="Orange", access="g1")
    world.agent("liar", isp="Somebody", access="g1")
    world.agent("silent", access="g1")
    members = world.picture().members
    assert {members[name].isp for name in ("one", "two", "liar", "silent")} == {"orange"}


def test_a_vpn_is_a_group_of_its_own() -> None:
    world = World()
    world.agent("one", isp="Orange", link="vpn")
    world.agent("two", isp="Orange")
    members = world.picture().members
    assert members["one"].isp != members["two"].isp


def test_agents_of_which_nothing_is_known_are_not_independent() -> None:
    world = World()
    for name in ("me", "peer-1", "peer-2", "peer-3"):
        world.agent(name)
        world.usual(name, SUSPECT)
        slow_for(world, name)
    assert "outside_bad" not in rules(world.judge(SUSPECT, "me"))


def test_an_agent_in_trouble_of_its_own_is_no_witness_against_a_service() -> None:
    world = swarm(isps=5)
    for number in (1, 2):
        for target in (SUSPECT, *OTHERS):
            slow_for(world, f"peer-{number}", target, since=9)
    slow_for(world, "me")
    fine_for(world, "me", *OTHERS)
    for number in (3, 4, 5):
        fine_for(world, f"peer-{number}", SUSPECT, *OTHERS)
    assert world.judge(SUSPECT, "me").word == "path"


# --- my other targets -----------------------------------------------------------------------------


def test_other_targets_on_the_suspects_own_network_say_nothing() -> None:
    world = World()
    world.agent("me", isp="Free")
    for letter in "abcd":
        for minute in range(110, 14, -5):
            world.echo("me", f"{letter}.example", minute, ip=f"33.1.{ord(letter)}.1")
        for minute in (9, 5, 1):
            world.echo("me", f"{letter}.example", minute, ms=80, ip=f"33.1.{ord(letter)}.1")
    assert not rules(world.judge("a.example", "me"))


def test_the_own_machine_says_nothing_about_the_provider() -> None:
    world = World()
    world.agent("me", isp="Free")
    world.usual("me", SUSPECT)
    for number in range(1, 5):
        for minute in (100, 50, 9, 5, 1):
            world.echo("me", f"127.0.{number}.1", minute, ms=0.1, ip=f"127.{number}.0.1")
    slow_for(world, "me")
    assert "others_fine" not in rules(world.judge(SUSPECT, "me"))


def test_a_target_in_the_own_network_is_never_the_providers_fault() -> None:
    world = World()
    world.agent("me", isp="Free")
    for minute in (9, 5, 1):
        world.echo("me", "127.0.0.1", minute, error="timeout", ip="127.0.0.1")
    answer = world.judge("127.0.0.1", "me")
    assert not answer.parties & {"isp", "path"}


def test_targets_that_are_bad_for_everybody_do_not_accuse_my_line() -> None:
    """Four services go down at once (one cloud): my line is not to blame for the fifth."""
    world = swarm()
    for number in (1, 2, 3, 4):
        for target in OTHERS[:3]:
            slow_for(world, f"peer-{number}", target)
        fine_for(world, f"peer-{number}", SUSPECT, OTHERS[3])
    for target in (SUSPECT, *OTHERS[:3]):
        slow_for(world, "me", target)
    assert "others_bad" not in rules(world.judge(SUSPECT, "me"))


def test_a_target_given_as_an_address_says_nothing_about_the_resolver() -> None:
    world = World()
    world.agent("me", isp="Free")
    addresses = [f"3{number}.1.1.1" for number in range(4)]
    for target in addresses:
        for minute in (100, 9, 5, 1):
            world.echo("me", target, minute, ip=target)
    for minute in (9, 5, 1):
        world.echo("me", SUSPECT, minute, error="resolver_timeout", ip=None)
    assert "others_fine" not in rules(world.judge(SUSPECT, "me"))


def test_nothing_answers_at_all_with_few_targets() -> None:
    world = World()
    world.agent("me", isp="Free")
    world.usual("me", SUSPECT, OTHERS[0], ladder=True)
    for minute in (9, 5, 1):
        for target in (SUSPECT, OTHERS[0]):
            world.echo("me", target, minute, error="timeout")
        world.ladder("me", minute - 0.5, gateway_ms=2, hop_ms=None)
    answer = world.judge(SUSPECT, "me")
    assert answer.word == "isp"
    assert "no_way_out" in rules(answer)


@pytest.mark.parametrize("error", ["network_down", "no_route"])
def test_a_box_without_a_network_says_so_itself(error: str) -> None:
    world = swarm()
    for minute in (9, 5, 1):
        for target in (SUSPECT, *OTHERS):
            world.echo("me", target, minute, error=error)
        world.ladder("me", minute, error="no_gateway")
    assert world.judge(SUSPECT, "me").word == "me"


# --- sites ----------------------------------------------------------------------------------------


def test_one_bad_site_of_a_service_is_told_as_that() -> None:
    world = World()
    sites = {"me": 1, "p1": 1, "p2": 1, "p3": 2, "p4": 2}
    for number, (name, site) in enumerate(sites.items()):
        world.agent(name, isp=f"ISP {number}", place=TOWNS[number])
        for minute in range(110, 14, -5):
            world.echo(name, "cdn.example", minute, ip=f"33.{site}.0.1")
        for minute in (9, 5, 1):
            ms = 120 if site == 1 else 20
            world.echo(name, "cdn.example", minute, ms=ms, ip=f"33.{site}.0.1")
    answer = world.judge("cdn.example", "me")
    assert (answer.word, answer.scope) == ("service", "one site")
    assert "one site of cdn.example" in answer.sentence
    assert world.judge("cdn.example").scope == "one site"


def test_peers_that_are_served_elsewhere_do_not_acquit_the_service() -> None:
    world = swarm()
    slow_for(world, "me")
    fine_for(world, "me", *OTHERS)
    for number in (1, 2, 3, 4):
        for minute in (9, 5, 1):
            world.echo(f"peer-{number}", SUSPECT, minute, ip="99.9.9.9")
    answer = world.judge(SUSPECT, "me")
    assert answer.word == "beyond"


# --- neighbours and other customers ---------------------------------------------------------------


def neighbours(world: World, count: int = 2) -> list[str]:
    names = [f"near-{number}" for number in range(count)]
    for name in names:
        world.agent(name, isp="Free", place=f"{name} street", access="g0")
        world.usual(name, SUSPECT, *OTHERS)
    return names


def test_neighbours_that_have_it_too_acquit_me() -> None:
    world = swarm()
    for name in ["me", *neighbours(world)]:
        for target in (SUSPECT, *OTHERS):
            slow_for(world, name, target, since=9 if name != "me" else 10)
    answer = world.judge(SUSPECT, "me")
    assert answer.word == "isp"
    assert {"mates_bad", "others_bad"} <= rules(answer)


def test_neighbours_that_are_fine_acquit_the_provider() -> None:
    world = swarm()
    for name in neighbours(world):
        fine_for(world, name, SUSPECT, *OTHERS)
    for target in (SUSPECT, *OTHERS):
        slow_for(world, "me", target)
    answer = world.judge(SUSPECT, "me")
    assert answer.word == "me"
    assert {"mates_fine", "others_bad"} <= rules(answer)


def test_a_provider_that_fails_in_several_towns_is_named() -> None:
    world = swarm()
    for number in (1, 2, 3):
        name = world.agent(f"free-{number}", isp="Free", place=TOWNS[number], access=f"f{number}")
        world.usual(name, *OTHERS)
        for target in OTHERS:
            slow_for(world, name, target, since=9)
    for target in (SUSPECT, *OTHERS):
        slow_for(world, "me", target)
    for number in (1, 2, 3, 4):
        fine_for(world, f"peer-{number}", *OTHERS)
    answer = world.judge(SUSPECT, "me")
    assert answer.word == "isp"
    assert "provider_bad" in rules(answer)
    assert "(Free)" in answer.sentence


# --- the ladder -----------------------------------------------------------------------------------


def test_a_bad_router_convicts_nobody_while_the_other_targets_are_fine() -> None:
    world = swarm()
    slow_for(world, "me")
    fine_for(world, "me", *OTHERS)
    for minute in (9, 5, 2):
        world.ladder("me", minute, gateway_ms=70, hop_ms=80)
    assert "gateway_bad" not in rules(world.judge(SUSPECT, "me"))


def test_a_rung_that_never_answered_is_absent_not_bad() -> None:
    world = World()
    world.agent("me", isp="Free")
    world.usual("me", SUSPECT, *OTHERS)
    for minute in (100, 50, 9, 5, 2):
        world.ladder("me", minute, gateway_ms=None, hop_ms=None)
    for target in (SUSPECT, *OTHERS):
        slow_for(world, "me", target)
    answer = world.judge(SUSPECT, "me")
    assert answer.word == "access"
    assert not rules(answer) & {"gateway_bad", "first_hop_bad", "rung_fine"}


def test_a_router_a_little_above_its_usual_does_not_explain_a_large_delay() -> None:
    world = swarm()
    for target in (SUSPECT, *OTHERS):
        for minute in (10, 5, 1):
            world.echo("me", target, minute, ms=300)
    for minute in (9, 5, 2):
        world.ladder("me", minute, gateway_ms=7, hop_ms=290)
    assert "gateway_bad" not in rules(world.judge(SUSPECT, "me"))


# --- HTTP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("thinks", ["late", "error"])
def test_a_service_that_accepts_and_then_thinks_is_named_by_one_agent_alone(thinks: str) -> None:
    world = World()
    world.agent("me")
    url = "https://shop.example/"
    for minute in range(110, 14, -5):
        world.page("me", url, minute)
    for minute in (9, 5, 1):
        if thinks == "late":
            world.page("me", url, minute, ttfb_ms=1500)
        else:
            world.page("me", url, minute, error="http_error", status=503)
    answer = world.judge(url, "me")
    assert answer.word == "service"
    assert rules(answer) == {"service_thinks"}


def test_once_is_not_enough() -> None:
    world = World()
    world.agent("me")
    for minute in range(110, 4, -5):
        world.page("me", "https://shop.example/", minute)
    world.page("me", "https://shop.example/", 1, error="http_error", status=503)
    assert "service_thinks" not in rules(world.judge("https://shop.example/", "me"))


# --- the swarm's view -----------------------------------------------------------------------------


def test_the_swarm_says_for_how_many_it_is_so() -> None:
    world = swarm()
    for name in ("me", "peer-1", "peer-2", "peer-3", "peer-4"):
        slow_for(world, name)
        fine_for(world, name, *OTHERS)
    answer = world.judge(SUSPECT)
    assert (answer.word, answer.agent) == ("service", None)
    assert (answer.agents_bad, answer.agents_fine) == (5, 0)
    assert "for 5 of 5 agents" in answer.sentence


def test_a_trouble_of_one_agents_own_leaves_the_target_fine_for_the_swarm() -> None:
    world = swarm()
    for target in (SUSPECT, *OTHERS):
        slow_for(world, "me", target)
    for minute in (9, 5, 2):
        world.ladder("me", minute, gateway_ms=70, hop_ms=80)
    for number in (1, 2, 3, 4):
        fine_for(world, f"peer-{number}", SUSPECT, *OTHERS)
    answer = world.judge(SUSPECT)
    assert (answer.word, answer.state) == ("fine", "fine")
    assert "fine for 4 of 5 agents" in answer.sentence and "me" in answer.sentence


@pytest.mark.parametrize("name", ["me", "box.fine", "fine"])
def test_who_is_forgotten_is_found_in_what_was_said_of_it_and_nobody_else_is(name: str) -> None:
    world = swarm()
    world.agent(name, isp="Other", place="Brest")
    world.usual(name, *OTHERS, SUSPECT)
    for number in (1, 2, 3, 4):
        fine_for(world, f"peer-{number}", SUSPECT, *OTHERS)
    for target in (SUSPECT, *OTHERS):
        slow_for(world, name, target)
    for minute in (9, 5, 2):
        world.ladder(name, minute, gateway_ms=70, hop_ms=80)
    for of in (None, name):
        facts = verdict.as_json(world.judge(SUSPECT, of))
        assert name in facts["sentence"]
        said = {one for one in ("me", "peer-1", "peer-2", "box.fine", "fine", "slow", "isp")
                if is_named(facts | {"agent": None}, one)}  # fmt: skip
        assert said == {name}


def test_nobody_looked() -> None:
    answer = World().judge(SUSPECT)
    assert (answer.state, answer.word) == ("no data", "unknown")
    assert answer.missing


def test_an_agent_nobody_knows() -> None:
    assert "Nothing is known" in swarm().judge(SUSPECT, "stranger").sentence


# --- what it says ---------------------------------------------------------------------------------


def test_it_says_that_it_does_not_know_the_evenings_yet() -> None:
    world = swarm()
    fine_for(world, "me", SUSPECT)
    assert any("the evenings" in one for one in world.judge(SUSPECT, "me").missing)


def test_it_says_how_often_it_has_been_like_this() -> None:
    world = swarm()
    for minute in (90.5, 60.5, 30.5):
        world.echo("me", SUSPECT, minute, error="timeout")
    for minute in (9, 5, 1):
        world.echo("me", SUSPECT, minute, error="timeout")
    before = [one for one in world.judge(SUSPECT, "me").evidence if one.rule == "before"]
    assert before[0].numbers == {"times": 3}


def test_the_answer_is_json() -> None:
    world = swarm()
    slow_for(world, "me")
    fine_for(world, "me", *OTHERS)
    for number in (1, 2, 3, 4):
        fine_for(world, f"peer-{number}", SUSPECT)
    facts = verdict.as_json(world.judge(SUSPECT, "me"))
    assert wire.decode_json(wire.encode_json(facts)) == facts
    assert facts["parties"] == ["path"]
    assert facts["since"] == wire.rfc3339(NOW_MS - 10 * 60_000)
    assert json.dumps(facts)


def test_the_command_lines_text_has_sentence_evidence_and_what_is_missing() -> None:
    world = swarm(isps=0)
    slow_for(world, "me")
    fine_for(world, "me", *OTHERS)
    answer = world.judge(SUSPECT, "me")
    said = verdict.text(answer)
    assert SUSPECT in said.splitlines()[0] and answer.evidence
    assert all(said.count(one.text) == 1 for one in answer.evidence), "nothing is said twice"
    assert said.splitlines()[-1].startswith("What is missing: ")
    fine = verdict.text(world.judge(OTHERS[0], "me")).splitlines()
    assert fine[-1].startswith("What it cannot know: the evenings")
    more = verdict.text(answer._replace(sentence="It is me.")).splitlines()
    assert more[1] == f"  - {answer.evidence[0].text}"


def test_facts_of_a_forger_do_no_harm() -> None:
    world = swarm()
    world.agent("forger")
    world.records["forger"].facts.update(isp=["x"], place=7, access_group={}, link=["wifi"])
    world.echo("forger", SUSPECT, 1)
    slow_for(world, "me")
    assert world.judge(SUSPECT).word


def test_doubts_are_at_most_three() -> None:
    world = World()
    world.agent("me")
    for number in range(6):
        world.echo("me", f"{'x' * (number + 1)}.example", 2, error="timeout")
    assert len(verdict.what_to_look(world.picture())) == 3
