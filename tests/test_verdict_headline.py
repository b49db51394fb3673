"""The page's first sentence: about you, and never about what is not known."""

from __future__ import annotations

import json

from indexer import verdict
from tests.verdict_world import World

TARGETS = ("a.example", "bb.example", "ccc.example", "dddd.example", "eeeee.example")


def home() -> World:
    world = World()
    world.agent("amber-fox-7", isp="Free", link="wifi")
    world.usual("amber-fox-7", *TARGETS, ladder=True)
    return world


def now(world: World, ms: float = 20, gateway: float | None = 3.0, hop: float | None = 12) -> None:
    for minute in (9, 5, 1):
        for target in TARGETS:
            world.echo("amber-fox-7", target, minute, ms=ms)
        world.ladder("amber-fox-7", minute - 0.5, gateway_ms=gateway, hop_ms=hop)


def said(world: World, agent: str | None = None) -> verdict.Headline:
    return verdict.headline(world.picture(), agent)


def test_all_well() -> None:
    world = home()
    now(world)
    assert said(world).sentence == (
        "All well: your router answers in 3.0 ms, your provider answers in 12 ms, "
        "5 of 5 services answer."
    )


def test_the_four_stations_are_always_there_in_order() -> None:
    for world in (World(), home()):
        stations = said(world).stations
        assert [one.name for one in stations] == ["you", "router", "provider", "service"]
    world = home()
    now(world)
    stations = said(world).stations
    assert [one.ms for one in stations[1:3]] == [3.0, 12]
    assert {one.state for one in stations} == {"fine"}


def test_the_first_minute_says_what_is_known() -> None:
    world = World()
    assert said(world).sentence == "Just begun: the first answers come within a minute."
    world.agent("amber-fox-7")
    assert said(world).sentence == "Just begun: the first answers come within a minute."
    world.ladder("amber-fox-7", 0.1)
    assert said(world).sentence == (
        "So far all well: your router answers in 2.0 ms, your provider answers in 10 ms; "
        "no target has been looked at yet."
    )


def test_it_is_your_provider_not_you() -> None:
    world = home()
    now(world, ms=90, hop=80)
    headline = said(world)
    assert headline.word == "isp"
    assert headline.sentence.startswith("It's your provider, not you: a.example, bb.example and 3")


def test_it_is_you() -> None:
    world = home()
    now(world, ms=90, gateway=72, hop=80)
    headline = said(world)
    assert headline.word == "me"
    assert headline.sentence.startswith("It's you: your box, your router or your home network")


def test_it_is_the_service_and_for_how_many() -> None:
    world = home()
    for number in range(4):
        name = world.agent(f"peer-{number}", isp=f"ISP {number}")
        world.usual(name, *TARGETS)
        for minute in (8, 4, 1):
            world.echo(name, TARGETS[0], minute, error="timeout")
    now(world)
    for minute in (9, 5, 1):
        world.echo("amber-fox-7", TARGETS[0], minute - 0.1, error="timeout")
    headline = said(world, "amber-fox-7")
    assert headline.word == "service"
    assert headline.sentence.startswith("It's a.example, not you: a.example is down since ")
    assert "4 of 4 other providers see it too" in headline.sentence
    assert "It is so for 5 of 5 agents" in headline.sentence
    assert headline.pairs[0].target == "a.example"


def test_one_service_that_is_down_for_an_agent_alone_is_not_called_unknown_at_the_start() -> None:
    world = World()
    world.agent("amber-fox-7")
    world.ladder("amber-fox-7", 2)
    for minute in (40, 30, 20, 10, 1):
        world.echo("amber-fox-7", "a.example", minute, error="timeout")
    sentence = said(world).sentence
    assert not sentence.lower().startswith("unknown")
    assert "0 peers" not in sentence
    assert "your router answers in 2.0 ms" in sentence.lower()


def test_without_any_target_the_ladder_alone_speaks() -> None:
    world = World()
    world.agent("amber-fox-7")
    for minute in range(110, 14, -5):
        world.ladder("amber-fox-7", minute)
    for minute in (9, 5, 1):
        world.ladder("amber-fox-7", minute, hop_ms=None)
    headline = said(world)
    assert headline.word == "isp"
    assert headline.sentence.startswith("It's your provider, not you")


def test_offline_it_is_the_box_and_the_own_machine_is_fine() -> None:
    world = World()
    world.agent("amber-fox-7")
    for minute in (9, 5, 1):
        for target in TARGETS:
            world.echo("amber-fox-7", target, minute, error="resolver_failed", ip=None)
        world.echo("amber-fox-7", "127.0.0.1", minute, ms=0.05, ip="127.0.0.1")
        world.ladder("amber-fox-7", minute, error="no_gateway")
    headline = said(world)
    assert headline.word == "me"
    assert "this box has no router" in headline.sentence.lower()
    assert "1 of 6 services answer" in headline.sentence
    assert [pair.state for pair in headline.pairs].count("fine") == 1


def test_a_router_that_never_answers_is_absent() -> None:
    world = World()
    world.agent("amber-fox-7")
    world.ladder("amber-fox-7", 1, gateway_ms=None, hop_ms=12)
    world.echo("amber-fox-7", "a.example", 1)
    headline = said(world)
    assert headline.stations[1].state == "absent"
    assert headline.word == "fine"
    assert "router" not in headline.sentence


def test_the_own_machine_does_not_make_services_look_near() -> None:
    world = home()
    now(world)
    for number in range(9):
        world.echo("amber-fox-7", f"127.0.0.{number}", 1, ms=0.05, ip=f"127.0.0.{number}")
    assert said(world).stations[3].ms == 20.2


def test_an_agent_that_has_gone_silent_is_told() -> None:
    world = home()
    now(world)
    world.agent("gone", seen_min=60)
    headline = said(world, "gone")
    assert headline.word == "no data"
    assert headline.sentence.startswith("Nothing from gone since ")


def test_a_swarm_without_a_you() -> None:
    world = home()
    now(world)
    world.agent("peer", isp="Orange")
    world.usual("peer", *TARGETS)
    for target in TARGETS:
        world.echo("peer", target, 1)
    assert said(world).sentence == ("All well: 5 of 5 services answer for 2 agents of 2 providers.")


def test_the_headline_is_json() -> None:
    world = home()
    now(world, ms=90, hop=80)
    facts = verdict.headline_json(said(world))
    assert json.loads(json.dumps(facts)) == facts
    assert [one["name"] for one in facts["stations"]] == ["you", "router", "provider", "service"]
    assert facts["answers"][0]["word"] == "isp"
