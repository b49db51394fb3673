"""Names are resolved afresh each time, never for longer than asked, and a failure is one word."""

import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from agent import wire
from agent.resolve import Address, ResolveError, Resolver, as_literal, choose, has_route
from agent.targets import Policy

V4, V6 = Address("192.0.2.1", 4), Address("2001:db8::1", 6)
LOOPBACK = Policy(allow_private=(ip_network("127.0.0.0/8"), ip_network("::1/128")))


def answering(*addresses: str):
    """A getaddrinfo that knows these addresses, and remembers what it was asked."""

    def lookup(host, port, family=0, kind=0):
        lookup.asked.append((host, family))
        rows = []
        for ip in addresses:
            of = socket.AF_INET6 if ":" in ip else socket.AF_INET
            if family in (0, of):
                rows.append((of, kind, 6, "", (ip, 0, 0, 0) if ":" in ip else (ip, 0)))
        return rows

    lookup.asked = []
    return lookup


def raising(error: Exception):
    def lookup(*_):
        raise error

    return lookup


@pytest.fixture
def hanging() -> Iterator[Resolver]:
    """A resolver whose look-ups hang until the test ends."""
    release = threading.Event()
    resolver = Resolver(lambda *_: release.wait(60) and [])
    yield resolver
    release.set()


def word_of(resolver: Resolver, host: str = "example.com", timeout_s: float = 30.0) -> str:
    with pytest.raises(ResolveError) as caught:
        resolver.resolve(host, timeout_s)
    assert caught.value.word in wire.ERRORS
    return caught.value.word


def test_the_addresses_come_in_the_systems_order_and_each_once():
    lookup = answering("2001:db8::1", "192.0.2.1", "192.0.2.1", "192.0.2.2")
    found = Resolver(lookup).resolve("example.com", 30)
    assert found == [V6, V4, Address("192.0.2.2", 4)]


def test_a_name_is_asked_afresh_each_time():
    lookup = answering("192.0.2.1")
    resolver = Resolver(lookup)
    resolver.resolve("example.com", 30)
    resolver.resolve("example.com", 30)
    assert len(lookup.asked) == 2


def test_only_one_family_is_asked_for_on_request():
    lookup = answering("2001:db8::1", "192.0.2.1")
    assert Resolver(lookup).resolve("example.com", 30, family=4) == [V4]
    assert lookup.asked == [(b"example.com", socket.AF_INET)]


@pytest.mark.parametrize("literal", ["192.0.2.1", "2001:db8::1"])
def test_an_address_is_never_looked_up(literal):
    lookup = answering("203.0.113.9")
    assert Resolver(lookup).resolve(literal, 0.0) == [as_literal(literal)]
    assert lookup.asked == []


def test_an_address_of_the_other_family_is_an_unknown_host():
    with pytest.raises(ResolveError, match="unknown_host"):
        Resolver(answering()).resolve("192.0.2.1", 30, family=6)


def test_the_real_resolver_knows_localhost():
    found = Resolver().resolve("localhost", 30)
    assert {address.ip for address in found} <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no"), "unknown_host"),
        (socket.gaierror(-5, "no address"), "unknown_host"),
        (socket.gaierror(-9, "no address of that family"), "unknown_host"),
        (socket.gaierror(socket.EAI_AGAIN, "later"), "resolver_failed"),
        (socket.gaierror(socket.EAI_FAIL, "never"), "resolver_failed"),
        (socket.gaierror(socket.EAI_SYSTEM, "errno"), "resolver_failed"),
        (OSError(24, "too many files"), "resolver_failed"),
    ],
)
def test_each_failure_of_the_system_is_one_word(error, word):
    assert word_of(Resolver(raising(error))) == word


def test_a_name_without_an_address_is_unknown():
    assert word_of(Resolver(answering())) == "unknown_host"


def test_a_bug_in_the_lookup_reaches_whoever_asked():
    with pytest.raises(ZeroDivisionError):
        Resolver(raising(ZeroDivisionError())).resolve("example.com", 30)


def test_a_name_that_dns_cannot_hold_is_unknown():
    assert word_of(Resolver(answering()), "ü" * 80 + ".example") == "unknown_host"


def test_a_name_beyond_ascii_is_asked_for_in_its_dns_form():
    lookup = answering("192.0.2.1")
    Resolver(lookup).resolve("bücher.example", 30)
    assert lookup.asked[0][0] == b"xn--bcher-kva.example"


def test_a_python_without_the_idna_codec_says_that_the_resolver_failed():
    class Codecless(str):
        def encode(self, encoding="utf-8", errors="strict"):
            raise LookupError(f"unknown encoding: {encoding}")

    assert word_of(Resolver(answering()), Codecless("bücher.example")) == "resolver_failed"


def test_a_plain_name_needs_no_codec(monkeypatch):
    """OpenWrt's python3-light has no encodings.idna: Python itself would ask for it."""
    lookup = answering("192.0.2.1")
    Resolver(lookup).resolve("example.com", 30)
    assert isinstance(lookup.asked[0][0], bytes)


def test_a_lookup_that_hangs_is_left_behind_in_time(hanging):
    assert word_of(hanging, timeout_s=0.05) == "resolver_timeout"


def test_after_two_hanging_lookups_the_third_is_refused_at_once(hanging):
    assert word_of(hanging, timeout_s=0.05) == "resolver_timeout"
    assert word_of(hanging, timeout_s=0.05) == "resolver_timeout"
    threads = threading.active_count()
    assert word_of(hanging, timeout_s=3600.0) == "resolver_stuck"
    assert threading.active_count() <= threads


def test_an_address_still_works_while_the_resolver_is_stuck(hanging):
    for _ in range(3):
        word_of(hanging, timeout_s=0.01)
    assert hanging.resolve("192.0.2.1", 1) == [V4]


def test_a_thread_that_comes_back_makes_room():
    release = threading.Event()
    resolver = Resolver(lambda *_: release.wait(60) and [])
    for _ in range(2):
        word_of(resolver, timeout_s=0.01)
    release.set()
    end = time.monotonic() + 30
    while (word := word_of(resolver, timeout_s=30)) == "resolver_stuck":
        assert time.monotonic() < end
    assert word == "unknown_host"


def test_stuck_threads_do_not_keep_the_process_alive(hanging):
    word_of(hanging, timeout_s=0.01)
    stuck = [thread for thread in threading.enumerate() if thread.name == "resolve"]
    assert stuck and all(thread.daemon for thread in stuck)


# Which of a name's addresses is probed.

HERE4, HERE6 = Address("127.0.0.1", 4), Address("::1", 6)
PRIVATE = Address("10.1.2.3", 4)


def test_the_first_address_is_taken_at_ordinary_visits():
    assert choose([HERE6, HERE4], LOOPBACK).address == HERE6


def test_the_other_family_is_taken_when_asked_for_and_routed():
    assert choose([HERE6, HERE4], LOOPBACK, other_family=True).address == HERE4


def test_without_another_family_the_first_address_is_taken():
    assert choose([HERE4], LOOPBACK, other_family=True).address == HERE4


def test_a_family_that_this_box_has_no_route_for_is_not_chosen(monkeypatch):
    monkeypatch.setattr("agent.resolve.has_route", lambda address: address.family == 4)
    assert choose([HERE4, HERE6], LOOPBACK, other_family=True).address == HERE4


def test_of_several_addresses_an_allowed_one_is_taken():
    assert choose([PRIVATE, HERE4], LOOPBACK) == (HERE4, None)


def test_when_all_are_refused_the_first_is_told_with_the_reason():
    address, refused = choose([PRIVATE, Address("10.1.2.4", 4)], Policy())
    assert address == PRIVATE
    assert refused is not None and "10.1.2.3" in refused


def test_loopback_has_a_route():
    assert has_route(HERE4)


def test_an_address_that_cannot_be_connected_to_has_no_route():
    assert not has_route(Address("not an address", 4))
