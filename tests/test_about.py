"""What ``agent/<agent>`` says, when it is said again, and who shares an access network."""

import json
from typing import Any

import pytest

from agent.about import EVERY_MS, Announcer, access_group, encode

FACTS: dict[str, Any] = {
    "agent": "box",
    "here": True,
    "epoch": "5f0c7a9be2d14c38",
    "link": {"type": "wifi", "generation": None, "iface": "wlan0", "signal": {"dbm": -60}},
    "journal": {"in": "file", "waiting": 3},
    "clock": {"trust": "ntp", "age_s": 60},
    "refused": [],
}


def said(facts: dict[str, Any], at_ms: int = 0) -> Announcer:
    announcer = Announcer()
    announcer.said(facts, at_ms)
    return announcer


@pytest.mark.parametrize("wish", [{}, {"forget": "2026-11-26T09:30:00.000Z"}])
def test_who_wants_to_be_forgotten_leaves_nothing_else_on_the_broker(wish: dict[str, Any]) -> None:
    last = FACTS | {"place": "Lyon", "here": False, "left": True} | wish
    said = json.loads(encode(last, 65_536))
    assert (said == last) is not bool(wish)
    if wish:
        names = {"agent", "here", "epoch", "clock", "left", "forget"}
        assert said == {name: last[name] for name in names}


def test_the_first_word_goes_at_once() -> None:
    assert Announcer().due(FACTS, 0)


def test_the_same_facts_are_never_said_twice() -> None:
    assert not said(FACTS).due(dict(FACTS), 100 * EVERY_MS)


def test_a_new_connection_hears_everything() -> None:
    announcer = said(FACTS)
    announcer.forget()
    assert announcer.due(FACTS, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"link": FACTS["link"] | {"type": "lte", "generation": "4g"}},
        {"refused": [{"target": "10.0.0.1", "reason": "private"}]},
        {"paused": True},
        {"here": False},
        {"epoch": "0000000000000001"},
        {"silence": "nothing confirmed"},
        {"journal": {"in": "memory", "memory": "disk I/O error", "waiting": 3}},
        {"clock": {"trust": "unsynced", "age_s": None}},
        {"list": {"from": "watch", "targets": ["voila.fr"]}},
        {"namesake": True},
        {"place": "Lyon"},
    ],
    ids=lambda change: str(*change),
)
def test_link_refusals_and_health_are_said_at_once(change: dict[str, Any]) -> None:
    assert said(FACTS).due(FACTS | change, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"journal": {"in": "file", "waiting": 4}},
        {"clock": {"trust": "ntp", "age_s": 120}},
        {"link": FACTS["link"] | {"signal": {"dbm": -71}}},
        {"traffic": {"bytes": 10_000}},
    ],
    ids=lambda change: str(*change),
)
def test_what_moves_all_the_time_is_said_once_a_minute(change: dict[str, Any]) -> None:
    announcer = said(FACTS)
    assert not announcer.due(FACTS | change, EVERY_MS - 1)
    assert announcer.due(FACTS | change, EVERY_MS)


def test_who_shares_the_first_hops_prefix_shares_the_group() -> None:
    group = access_group("80.10.1.1", "salt")
    assert group == access_group("80.10.1.254", "salt")
    assert group != access_group("80.10.2.1", "salt")
    assert access_group("2a01:e0a:1:2::1", "salt") == access_group("2a01:e0a:1:3::9", "salt")
    assert access_group("2a01:e0a:1:2::1", "salt") != access_group("2a01:e0a:2:2::1", "salt")


def test_another_swarm_sees_another_pseudonym_and_never_the_address() -> None:
    group = access_group("80.10.1.1", "salt")
    assert group is not None and len(group) == 16 and "80.10" not in group
    assert group != access_group("80.10.1.1", "pepper")


@pytest.mark.parametrize("hop", [None, "192.168.1.1", "10.0.0.1", "100.64.0.1", "fe80::1%eth0"])
def test_a_first_hop_that_many_networks_have_groups_nobody(hop: str | None) -> None:
    assert access_group(hop, "salt") is None


def test_without_a_salt_there_is_no_group() -> None:
    assert access_group("80.10.1.1", "") is None
