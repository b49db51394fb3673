"""The line behind a home router: a low guess from a name and from times, and never more."""

from __future__ import annotations

import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.link.outside import LEAST_ECHOES, by_name, by_times, is_providers, judge, name_of
from agent.linkguess import TYPES


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("bas3-adsl-lns2.provider.example", "adsl"),
        ("198-51-100-7.vdsl2.example.net.", "vdsl"),
        ("dsl-201-128-7-1-dyn.prod-infinitum.com.mx", "dsl"),
        ("dslam12.paris.example", "dsl"),
        ("p5B0F1234.dip0.t-ipconnect.de", "dsl"),
        ("cpe-24-24-24-24.cable.example.net", "cable"),
        ("c-73-1-2-3.hsd1.ca.comcast.net", "cable"),
        ("cmts03-lyon.example", "cable"),
        ("198-51-100-7.ftth.glasoperator.nl", "fiber"),
        ("static-7.fibra.example.it", "fiber"),
        ("olt2.gpon.example", "fiber"),
        ("7.100.51.198.lte.example", "lte"),
        ("customer.5g.example", "5g"),
        ("pool.mobile.example", "mobile"),
        ("pgw1.example", "mobile"),
        ("customer.prs1.pop.starlinkisp.net", "satellite"),
        ("198-51-100-7.vsat.example", "satellite"),
    ],
)
def test_the_words_of_a_name(name: str, type_: str) -> None:
    hint = by_name(name)
    assert hint is not None and hint.type == type_ and hint.type in TYPES
    assert hint.confidence <= 0.5 and "not certain" in hint.because


@pytest.mark.parametrize(
    "name",
    [
        None,
        "",
        "ae1-0.cr2.par.example.net",
        "satsuma.example.net",  # a word, not a part of one
        "cablegram.example.net",
        "adsl.cable.example.net",  # both at once is neither
        "198-51-100-7.example.net",
    ],
)
def test_a_name_without_such_a_word_says_nothing(name: str | None) -> None:
    assert by_name(name) is None


def test_the_name_itself_is_not_told() -> None:
    hint = by_name("p5B0F1234.adsl.example.net")
    assert hint is not None and "p5b0f" not in hint.because.lower()
    assert "example" not in hint.because


def times(least_ms: float, wavers_ms: float, count: int = 60) -> list[float]:
    rng = random.Random(1)
    return [least_ms + rng.random() * wavers_ms for _ in range(count)]


@pytest.mark.parametrize(
    ("hop_ms", "type_"),
    [
        (times(1.4, 0.4), "fiber"),
        (times(9.0, 1.0), "dsl"),
        (times(35.0, 1.0), "dsl"),
        (times(9.0, 9.0), "cable"),
        (times(28.0, 30.0), "mobile"),
        (times(560.0, 60.0), "satellite"),
    ],
)
def test_the_times_to_the_first_hop(hop_ms: list[float], type_: str) -> None:
    hint = by_times([0.4] * 60, hop_ms)
    assert hint is not None and hint.type == type_
    assert hint.confidence < 0.4 or type_ == "satellite"


def test_what_the_way_to_the_gateway_takes_is_not_the_lines() -> None:
    far_wifi = [300.0] * 60
    hint = by_times(far_wifi, times(301.0, 0.5))
    assert hint is not None and hint.type == "fiber"
    assert by_times(far_wifi, times(600.0, 0.5)) is None


def test_a_few_echoes_tell_nothing() -> None:
    assert by_times([0.4] * 60, times(1.4, 0.4, LEAST_ECHOES - 1)) is None


def test_a_name_and_times_that_agree_are_worth_more_than_either() -> None:
    alone = judge("a.adsl.example", [], [])
    both = judge("a.adsl.example", [0.4] * 60, times(30.0, 1.0))
    against = judge("a.adsl.example", [0.4] * 60, times(1.4, 0.4))
    assert alone is not None and both is not None and against is not None
    assert both.type == against.type == alone.type == "adsl"
    assert against.confidence < alone.confidence < both.confidence <= 0.6


def test_a_name_cannot_speak_against_the_speed_of_light() -> None:
    hint = judge("a.adsl.example", [0.4] * 60, times(600.0, 1.0))
    assert hint is not None and hint.type == "satellite"


@given(st.text(max_size=80), st.lists(st.floats(0, 1e5)), st.lists(st.floats(0, 1e5)))
def test_whatever_comes_is_judged(name: str, gateway: list[float], hop: list[float]) -> None:
    hint = judge(name, gateway, hop)
    assert hint is None or (hint.type in TYPES and 0 < hint.confidence <= 0.6)


@pytest.mark.parametrize(
    ("ip", "outside"),
    [
        ("8.8.4.4", True),
        ("100.64.3.1", True),
        ("192.168.1.1", False),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("2a01:e00::1", True),
        (None, False),
    ],
)
def test_only_a_hop_out_of_the_house_tells_of_the_line(ip: str | None, outside: bool) -> None:
    assert is_providers(ip) is outside


def test_nobody_is_asked_for_the_name_of_a_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a private address went out")

    monkeypatch.setattr("socket.getnameinfo", never)
    assert name_of("192.168.1.1") is None and name_of("100.64.0.1") is None


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()

    def resolver(*_: object) -> tuple[str, str]:
        hang.wait(60.0)
        return "too.late.example", "0"

    monkeypatch.setattr("socket.getnameinfo", resolver)
    assert name_of("8.8.4.4", timeout_s=0.05) is None
    hang.set()


def test_the_resolvers_name_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getnameinfo", lambda *_: ("dns.example", "0"))
    assert name_of("8.8.4.4") == "dns.example"
