"""The page's first sentence: about you, and never about what is not known."""

from __future__ import annotations

import json

import pytest

from indexer import verdict
from indexer.verdict import sentences
from indexer.verdict.probes import is_this_machine
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
    assert headline.sentence.startswith("It's you: this box has no router. a.example")
    assert "0 of 5 services answer" in headline.sentence  # the own machine is no service
    you, router, provider, service = headline.stations
    assert (you.state, you.label) == ("down", "amber-fox-7, not connected")
    assert (router.state, router.text) == ("down", "this box has no router")
    assert provider.text == "not reached: this box has no router"
    assert (service.state, service.ms) == ("down", None)
    assert [pair.state for pair in headline.pairs].count("fine") == 1


def test_with_nothing_but_the_own_machine_being_offline_is_not_all_well() -> None:
    world = World()
    world.agent("amber-fox-7")
    world.echo("amber-fox-7", "127.0.0.1", 1, ms=0.05, ip="127.0.0.1")
    world.ladder("amber-fox-7", 1, error="no_gateway")
    headline = said(world)
    assert (headline.sentence, headline.word) == ("It's you: this box has no router.", "me")
    assert headline.stations[3].state == "no data"


def test_a_box_without_a_router_whose_services_answer_is_connected() -> None:
    world = World()
    world.agent("amber-fox-7")
    world.echo("amber-fox-7", "a.example", 1)
    world.ladder("amber-fox-7", 1, error="no_gateway")  # a point-to-point link
    headline = said(world)
    assert headline.sentence == "All well: 1 of 1 service answers."
    assert headline.stations[1].state == "absent"


def test_the_own_network_does_not_show_that_the_box_is_connected() -> None:
    world = World()
    world.agent("amber-fox-7")
    world.echo("amber-fox-7", "nas.example", 1, ip="192.168.1.9")
    world.ladder("amber-fox-7", 1, error="no_gateway")
    assert said(world).sentence == "It's you: this box has no router. 1 of 1 service answers."


@pytest.mark.parametrize(
    ("target", "is_so"),
    [
        *[("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)],
        *[("http://localhost:8080/x", True), ("http://[::1]/", True), ("a.localhost", True)],
        *[("mylocalhost", False), ("http://a.example/localhost", False), ("192.168.1.1", False)],
        *[("[::1]", True), ("127.a.example", False), ("http://[nonsense/", False)],
    ],
)
def test_what_leads_to_the_box_itself_is_no_service(target: str, is_so: bool) -> None:
    assert is_this_machine(target) is is_so
    world = World()
    world.agent("amber-fox-7")
    world.echo("amber-fox-7", target, 1, ip="192.0.2.1")
    assert ("1 of 1 service" in said(world).stations[3].text) is not is_so


def test_a_name_that_leads_to_the_own_machine_is_no_service() -> None:
    world = World()
    world.agent("amber-fox-7")
    world.echo("amber-fox-7", "box.example", 1, ip="127.0.1.1")
    assert said(world).stations[3].state == "no data"


def test_what_is_on_the_list_and_was_not_tried_yet_is_counted_apart() -> None:
    world = home()
    now(world)
    listed = (*TARGETS, "new.example", "newer.example", "127.0.0.1")
    headline = verdict.headline(world.picture(), "amber-fox-7", listed)
    assert headline.stations[3].text == "5 of 7 services answer (2 not tried yet)"
    assert headline.sentence.startswith("So far all well: your router")
    world = World()
    world.agent("amber-fox-7")
    headline = verdict.headline(world.picture(), "amber-fox-7", listed)
    assert headline.stations[3].text == "7 services on the list, none tried yet"


def test_you_are_as_bad_as_the_word_says() -> None:
    world = home()
    now(world, ms=90, gateway=72, hop=80)
    headline = said(world)
    assert headline.word == "me"
    assert headline.stations[0].state in verdict.answers.BAD


def test_a_time_below_what_can_be_told_is_not_nothing() -> None:
    assert [sentences.ms(one) for one in (0.0, 0.04, 0.1, 2.6)] == [
        "<0.1 ms",
        "<0.1 ms",
        "0.1 ms",
        "2.6 ms",
    ]


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


def test_of_a_box_that_is_gone_nothing_is_said_of_now() -> None:
    world = home()
    now(world)
    world.agent("amber-fox-7", isp="Free", seen_min=2.4, here=False)
    headline = said(world)
    assert headline.sentence.startswith("Nothing from amber-fox-7 since ")
    assert {one.state for one in headline.stations} == {"no data"}
    assert (headline.pairs, world.pair("amber-fox-7", TARGETS[0])) == ((), None)
    world.echo("amber-fox-7", TARGETS[0], 0.1)  # which another indexer has stored
    assert said(world).sentence.startswith("All well")


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
