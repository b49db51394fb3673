"""What state a pair is in: down, lossy, slow, fine, or no data."""

from __future__ import annotations

import pytest

from indexer import verdict
from indexer.verdict.probes import GATEWAY
from tests.verdict_world import BEFORE, NOW_MS, World


@pytest.fixture
def world() -> World:
    world = World()
    world.agent("me", isp="Free")
    return world


def state(world: World, target: str = "a.example") -> str:
    pair = world.pair("me", target)
    return "no data" if pair is None else pair.state


def test_a_pair_that_nobody_looked_at_has_no_data(world: World) -> None:
    assert state(world) == "no data"
    world.echo("me", "a.example", 110)
    assert state(world) == "no data"  # that was too long ago


def test_a_first_probe_that_answers_is_fine(world: World) -> None:
    world.echo("me", "a.example", 1)
    assert state(world) == "fine"


def test_down_needs_no_baseline(world: World) -> None:
    world.echo("me", "a.example", 1, error="timeout")
    assert state(world) == "down"


@pytest.mark.parametrize(
    ("link", "ms", "expected"),
    [
        ("ethernet", 250, "fine"),  # the other side of the earth
        ("ethernet", 1000, "slow"),
        ("umts", 700, "fine"),
        ("satellite", 650, "fine"),
        ("satellite", 1500, "slow"),
        ("edge", 1500, "fine"),
    ],
)
def test_before_anything_is_usual_limits_depend_on_the_link(
    link: str, ms: float, expected: str
) -> None:
    world = World()
    world.agent("me", link=link)
    world.echo("me", "a.example", 1, ms=ms)
    assert state(world) == expected


def test_a_line_that_is_always_slow_becomes_usual(world: World) -> None:
    world.usual("me", "a.example", ms=1000)
    world.echo("me", "a.example", 1, ms=1000)
    assert state(world) == "fine"


def test_a_doubled_rtt_is_seen_at_the_first_probe(world: World) -> None:
    world.usual("me", "a.example", ms=20)
    world.echo("me", "a.example", 1, ms=41)
    pair = world.pair("me", "a.example")
    assert pair is not None and pair.state == "slow"
    assert pair.why == "41 ms, usually 20 ms"


def test_a_tenth_more_is_nothing(world: World) -> None:
    world.usual("me", "a.example", ms=20)
    for minute in (5, 3, 1):
        world.echo("me", "a.example", minute, ms=22)
    assert state(world) == "fine"


def test_a_millisecond_more_is_nothing_however_large_a_share(world: World) -> None:
    world.usual("me", "a.example", ms=1.0)
    for minute in (5, 3, 1):
        world.echo("me", "a.example", minute, ms=2.0)
    assert state(world) == "fine"


def test_a_link_with_two_modes_is_not_called_slow_in_its_slower_one() -> None:
    world = World()
    world.agent("me", link="lte")
    for number, minute in enumerate(BEFORE):
        world.echo("me", "a.example", minute, ms=70 if number % 3 == 0 else 45)
    for minute in (9, 5, 1):
        world.echo("me", "a.example", minute, ms=70)
    assert state(world) == "fine"


def test_on_mobile_the_first_echo_that_wakes_the_radio_does_not_count() -> None:
    world = World()
    world.agent("me", link="lte")
    world.usual("me", "a.example", ms=40)
    world.echo("me", "a.example", 1, ms=40)
    rtts = world.results[-1].body["rtts_ms"]
    rtts[:] = [900.0, *[40.0] * 4, *[None] * 5]
    world.results[-1].body["received"] = 5
    pair = world.pair("me", "a.example")
    assert pair is not None and pair.ms == 40.0


def test_a_long_trouble_does_not_become_the_usual(world: World) -> None:
    world.usual("me", "a.example", ms=20)
    for tenth in range(140, 0, -2):
        world.echo("me", "a.example", tenth / 10, ms=60)
    pair = world.pair("me", "a.example")
    assert pair is not None and pair.state == "slow"
    assert pair.usual_ms == pytest.approx(20, rel=0.05)
    assert pair.since_ms == NOW_MS - 14 * 60_000


def test_a_host_that_is_called_gateway_is_not_the_router(world: World) -> None:
    world.usual("me", "gateway")
    world.echo("me", "gateway", 1, error="timeout")
    assert state(world, "gateway") == "down"
    picture = world.picture()
    assert picture.targets == ("gateway",)
    assert picture.rung("me", GATEWAY) is None


def test_single_slow_probes_are_how_a_line_is_and_two_in_a_row_are_not(world: World) -> None:
    for number, minute in enumerate(range(115, 5, -2)):
        world.echo("me", "a.example", minute, ms=42 if number % 15 == 14 else 20)
    world.echo("me", "a.example", 3, ms=42)
    assert state(world) == "fine"
    world.echo("me", "a.example", 1, ms=42)
    assert state(world) == "slow"


def test_another_site_of_the_service_has_its_own_usual(world: World) -> None:
    world.usual("me", "a.example", ms=20)
    world.echo("me", "a.example", 1, ms=60, ip="99.1.2.3")
    assert state(world) == "fine"


def test_one_echo_of_ten_lost_tells_nothing(world: World) -> None:
    world.usual("me", "a.example")
    world.echo("me", "a.example", 1, lost=1)
    assert state(world) == "fine"


def test_half_of_the_echoes_lost_is_lossy_at_once(world: World) -> None:
    world.usual("me", "a.example")
    world.echo("me", "a.example", 1, lost=5)
    assert state(world) == "lossy"


def test_a_little_loss_adds_up_over_three_probes(world: World) -> None:
    world.usual("me", "a.example")
    for minute, lost in ((9, 2), (5, 1), (1, 2)):
        world.echo("me", "a.example", minute, lost=lost)
    pair = world.pair("me", "a.example")
    assert pair is not None and (pair.state, pair.why) == ("lossy", "5 of 30 echoes lost")


def test_usual_loss_is_not_told_again_and_again(world: World) -> None:
    for number, minute in enumerate(BEFORE):
        world.echo("me", "a.example", minute, lost=number % 2)
    for minute in (9, 5, 1):
        world.echo("me", "a.example", minute, lost=1)
    assert state(world) == "fine"


def test_loss_is_pooled_over_an_agents_targets(world: World) -> None:
    targets = [f"{letter}.example" for letter in "abcdef"]
    world.usual("me", *targets)
    for minute in (8, 4, 1):
        for target in targets:
            world.echo("me", target, minute, lost=1)
    assert {state(world, target) for target in targets} == {"lossy"}


def test_a_name_that_is_down_is_not_pooled_as_loss(world: World) -> None:
    world.usual("me", "a.example", "b.example", "c.example")
    for minute in (8, 4, 1):
        world.echo("me", "a.example", minute, error="timeout")
        world.echo("me", "b.example", minute, lost=1)
        world.echo("me", "c.example", minute)
    assert state(world, "b.example") == "fine"


def test_results_of_a_wrong_clock_say_nothing(world: World) -> None:
    world.echo("me", "a.example", 1, error="timeout", clock="unsynced")
    assert state(world) == "no data"


@pytest.mark.parametrize("error", ["policy", "permission"])
def test_what_was_not_probed_is_not_down(world: World, error: str) -> None:
    world.echo("me", "a.example", 1, error=error)
    assert state(world) == "no data"


def test_results_of_the_future_are_left_out(world: World) -> None:
    world.echo("me", "a.example", 1)
    world.echo("me", "a.example", -60, error="timeout")
    assert state(world) == "fine"


def test_a_host_that_only_ignores_pings_is_not_down(world: World) -> None:
    for minute in (30, 20, 10, 1):
        world.page("me", "https://a.example/", minute)
        world.echo("me", "https://a.example/", minute - 0.5, error="timeout")
    assert state(world, "https://a.example/") == "fine"


def test_a_name_that_resolves_again_is_not_down(world: World) -> None:
    world.echo("me", "a.example", 9, error="resolver_timeout", ip=None)
    assert state(world) == "down"
    world.echo("me", "a.example", 1)
    assert state(world) == "fine"


def test_one_family_alone_can_be_bad(world: World) -> None:
    for minute in (9, 5, 1):
        world.echo("me", "a.example", minute)
        world.echo("me", "a.example", minute - 0.5, error="timeout", ip="2001:db8::1", family=6)
    pair = world.pair("me", "a.example")
    assert pair is not None and pair.state == "down"
    assert "over IPv6 only" in pair.why


def test_a_lost_syn_is_loss_not_slowness(world: World) -> None:
    for minute in BEFORE:
        world.page("me", "https://a.example/", minute)
    world.page("me", "https://a.example/", 5, connect_ms=1020, retrans=1)
    assert state(world, "https://a.example/") == "fine"
    world.page("me", "https://a.example/", 1, connect_ms=1020, retrans=1)
    assert state(world, "https://a.example/") == "lossy"


def test_a_slow_page_is_slow(world: World) -> None:
    for minute in BEFORE:
        world.page("me", "https://a.example/", minute)
    world.page("me", "https://a.example/", 1, ttfb_ms=900)
    assert state(world, "https://a.example/") == "slow"


def test_what_was_learnt_before_is_known_at_once(world: World) -> None:
    world.usual("me", "a.example", ms=20)
    usual = verdict.learn(world.results)
    world.results.clear()
    world.echo("me", "a.example", 1, ms=60)
    assert state(world) == "fine"  # by the limits of the cold start
    found = verdict.pair(world.picture(baselines=usual), "me", "a.example")
    assert found is not None and found.state == "slow"


def test_a_picture_leaves_what_was_learnt_untouched(world: World) -> None:
    world.usual("me", "a.example", ms=20)
    usual = verdict.learn(world.results)
    before = {key: list(one.xs) for key, one in usual.items()}
    world.picture(baselines=usual)
    assert {key: one.xs for key, one in usual.items()} == before


def test_the_order_of_arrival_does_not_matter(world: World) -> None:
    world.usual("me", "a.example", ms=20)
    world.echo("me", "a.example", 1, ms=60)
    forward = world.pair("me", "a.example")
    world.results.reverse()
    assert world.pair("me", "a.example") == forward
