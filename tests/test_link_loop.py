"""The running agent and its line: what is looked at when, and what each result is told."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import clock, link, observer
from agent.line import ASK_EVERY_S, ASK_MOBILE_EVERY_S, Answer, Line, Wish
from agent.link import Said, outside
from agent.link.modem import Modem, modem
from agent.observer import Observed, Observer
from tests.agent_bed import ROOT, Box, alone
from tests.servers import wait_for
from tests.test_linkguess import HEADING
from tests.test_linkguess import Box as Files

EVERYBODY = Wish(None, None)
HOP = "198.41.0.4"  # a public one
LTE = modem("ModemManager", "lte", "ModemManager says lte", iface="wwan0")
EDGE = modem("ModemManager", "edge", "ModemManager says edge", iface="wwan0")


def says(*modems: Modem, age_s: float = 0.0) -> Said:
    return Said({each.source: (each,) for each in modems}, age_s)


class Follower:
    """A line on a box of files, whose tools say what they are told to."""

    def __init__(self, root: Path, stated: str | None = None) -> None:
        self.files = Files(root)
        self.files.interface("eth0", driver="r8169")
        self.files.interface("wwan0", devtype="wwan", type=519, driver="qmi_wwan", bus="usb")
        self.route("eth0")
        self.line = Line(stated, 0.0, str(root))
        self.asked: list[tuple[float, Wish]] = []

    def route(self, *ifaces: str) -> None:
        (self.files.root / "proc/net/route").write_text(HEADING)
        for metric, iface in enumerate(ifaces):
            self.files.default(iface, metric=metric)

    def to(self, network: str, mask: str, iface: str) -> None:
        """A route in the kernel's hexadecimal."""
        line = f"{iface}\t{network}\t00000000\t0001\t0\t0\t0\t{mask}\t0\t0\t0\n"
        self.files.write("proc/net/route", line)

    def run(self, begin_s: int, end_s: int, *modems: Modem, hop: str | None = None) -> None:
        """Each second, as the loop does; every wish is answered within two."""
        for second in range(begin_s, end_s):
            now = float(second)
            wish = self.line.wish(now, hop)
            if wish is not None:
                self.asked.append((now, wish))
                self.line.answered(Answer(wish, says(*modems), None, now + 1), now + 1)
                self.line.look(now + 1)


@pytest.fixture
def box(tmp_path: Path) -> Follower:
    return Follower(tmp_path)


@pytest.fixture
def mobile(tmp_path: Path) -> Follower:
    made = Follower(tmp_path)
    made.route("wwan0")
    made.line.look(0.0)
    made.run(0, 2, LTE)
    assert made.line.link.type == "lte" and made.asked == [(0.0, EVERYBODY)]
    return made


# When the tools are asked


def test_a_fixed_line_is_asked_about_at_the_start_and_every_ten_minutes(box: Follower) -> None:
    box.run(0, 3600)
    times = [now for now, _ in box.asked]
    assert times[0] == 0.0 and len(times) == 6
    assert all(300 <= later - now <= 900 for now, later in zip(times, times[1:], strict=False))
    assert {wish for _, wish in box.asked} == {EVERYBODY}


def test_a_fall_to_edge_is_known_within_a_minute(mobile: Follower) -> None:
    mobile.run(2, 100, LTE)
    mobile.asked.clear()
    mobile.run(100, 160, EDGE)
    assert mobile.line.link.type == "edge" and len(mobile.asked) <= 2


def test_only_the_source_that_told_is_asked_again_each_minute(mobile: Follower) -> None:
    mobile.run(2, int(ASK_EVERY_S) - 1, LTE)
    again = [wish for _, wish in mobile.asked[1:]]
    assert 10 <= len(again) <= 14 and set(again) == {Wish(frozenset({"ModemManager"}), None)}


def test_a_source_that_falls_silent_is_followed_by_all_others(mobile: Follower) -> None:
    silent_s = int(ASK_MOBILE_EVERY_S) + 5
    mobile.run(2, silent_s)
    assert [wish.sources for _, wish in mobile.asked[1:]] == [frozenset({"ModemManager"}), None]
    assert mobile.line.link.type == "mobile"


def test_a_source_that_is_silent_once_takes_nothing_back(mobile: Follower) -> None:
    wish = mobile.line.wish(60.0)
    assert wish is not None and wish.sources
    mobile.line.answered(Answer(wish, says(), None, 61.0), 61.0)
    mobile.line.look(61.0)
    assert mobile.line.link.type == "lte"
    assert mobile.line.wish(61.0) == EVERYBODY


def test_one_source_of_two_that_is_silent_once_takes_nothing_back(mobile: Follower) -> None:
    other = modem("NetworkManager", "mobile", "NetworkManager says gsm is connected", 0.85)
    mobile.line.forget(2.0)
    mobile.run(2, 4, LTE, other)
    for now in (60.0, 61.0):
        wish = mobile.line.wish(now)
        assert wish is not None
        heard = (other,) if wish.sources else (LTE, other)  # the modem was busy for a moment
        mobile.line.answered(Answer(wish, says(*heard), None, now), now)
        mobile.line.look(now)
        assert mobile.line.link.type == "lte"


def test_a_source_that_knows_no_technology_is_not_the_last_word(mobile: Follower) -> None:
    mobile.asked.clear()
    mobile.line.forget(2.0)
    mobile.run(2, 200, modem("NetworkManager", "mobile", "NetworkManager says gsm", 0.85))
    assert len([wish for _, wish in mobile.asked if wish == EVERYBODY]) == 3


def test_a_mobile_link_that_nobody_knows_is_asked_about_more_often_at_first(
    mobile: Follower,
) -> None:
    mobile.run(600, 601)
    mobile.asked.clear()
    mobile.run(601, 4200)
    gaps = [b[0] - a[0] for a, b in zip(mobile.asked, mobile.asked[1:], strict=False)]
    assert gaps[0] <= 130 and gaps == sorted(gaps) and gaps[-1] >= 600


def test_a_new_way_out_is_asked_about_at_once(box: Follower) -> None:
    box.run(0, 100)
    box.route("wwan0", "eth0")
    assert box.line.look(100.0)
    assert box.line.link.type == "mobile"  # in the very next result
    box.run(100, 102, LTE)
    assert box.line.link.type == "lte"


def test_a_new_way_out_while_being_asked_is_asked_about_again(box: Follower) -> None:
    wish = box.line.wish(0.0, HOP)
    assert wish == Wish(None, HOP)
    box.route("wwan0")
    box.line.look(1.0)
    box.line.answered(Answer(wish, says(), "adsl.example", 2.0), 2.0)
    assert box.line.wish(2.0) == EVERYBODY
    box.route("eth0")
    box.line.look(3.0)
    assert box.line.link.type == "ethernet"  # the name was of another line's router


def test_one_question_at_a_time(box: Follower) -> None:
    assert box.line.wish(0.0) is not None
    assert all(box.line.wish(float(now)) is None for now in range(1, 5000, 100))


def test_the_loop_wakes_for_the_next_question(mobile: Follower) -> None:
    assert 0 < mobile.line.wake_s(2.0) <= ASK_MOBILE_EVERY_S
    assert mobile.line.wake_s(1000.0) == 0.0
    assert mobile.line.wish(1000.0) is not None
    assert mobile.line.wake_s(1000.0) > 0


# What results are told


def test_each_result_tells_how_old_the_reading_is(mobile: Follower) -> None:
    mobile.line.look(40.0)
    assert mobile.line.as_body(mobile.line.seen, None, 45.0)["age_s"] == 44  # asked at 1
    fixed = mobile
    fixed.route("eth0")
    fixed.line.look(50.0)
    assert fixed.line.as_body(fixed.line.seen, None, 53.0)["age_s"] == 3  # files, read at 50


def test_what_root_wrote_is_as_old_as_it_is(mobile: Follower) -> None:
    wish = mobile.line.wish(100.0)
    assert wish is not None
    mobile.line.answered(Answer(wish, says(EDGE, age_s=30.0), None, 101.0), 101.0)
    mobile.line.look(101.0)
    assert mobile.line.as_body(mobile.line.seen, None, 101.0)["age_s"] == 30


def test_signal_is_in_each_result(mobile: Follower) -> None:
    strong = LTE._replace(signal={"rsrp_dbm": -71.0})
    mobile.run(60, 62, strong)
    assert mobile.line.as_body(mobile.line.seen, None, 62.0)["signal"] == {"rsrp_dbm": -71.0}


def test_a_target_behind_another_interface_tells_that_one(box: Follower) -> None:
    box.to("0000010A", "0000FFFF", "wwan0")  # 10.1.0.0/16
    box.to("0001010A", "00FFFFFF", "eth0")  # 10.1.1.0/24, in it
    box.line.look(1.0)
    seen = box.line.seen
    ifaces = {
        ip: box.line.as_body(seen, ip, 1.0)["iface"]
        for ip in ("10.1.2.3", "10.1.1.3", "10.2.0.1", "198.41.0.4", "2001:500:2::c", "127.0.0.1")
    }
    by_wwan0, by_lo = ifaces.pop("10.1.2.3"), ifaces.pop("127.0.0.1")
    assert (by_wwan0, by_lo) == ("wwan0", "lo") and set(ifaces.values()) == {"eth0"}
    assert box.line.as_body(seen, "10.1.2.3", 1.0)["type"] == "mobile"


def test_two_sticks_named_by_their_addresses_are_told_apart(box: Follower) -> None:
    one, other = "enx00e04c680001", "enx0c5b8f279a64"
    box.files.interface(one, driver="r8152", bus="usb")
    box.files.interface(other, devtype="wwan", driver="cdc_mbim", bus="usb")
    box.route(one)
    box.to("0000010A", "0000FFFF", other)  # 10.1.0.0/16
    box.line.look(1.0)
    assert box.line.as_body(box.line.seen, "198.41.0.4", 1.0)["type"] == "ethernet"
    assert box.line.as_body(box.line.seen, "10.1.2.3", 1.0)["type"] == "mobile"
    box.route(other)
    assert box.line.look(2.0)  # the same gateway, and no address is shown: another way out


def test_ipv6_that_goes_elsewhere_tells_so(box: Follower) -> None:
    zero, via = "0" * 32, "fe80" + "0" * 27 + "1"
    line = f"{zero} 00 {zero} 00 {via} 00000400 00000001 00000000 00000003 wwan0\n"
    box.files.write("proc/net/ipv6_route", line)
    box.line.look(1.0)
    assert box.line.link.iface == "eth0"
    assert box.line.as_body(box.line.seen, "2001:500:2::c", 1.0)["iface"] == "wwan0"


def test_the_owners_word_wins_over_tools_and_routes(tmp_path: Path) -> None:
    box = Follower(tmp_path, stated="satellite")
    box.to("0000010A", "0000FFFF", "wwan0")
    box.run(0, 3, LTE)
    for ip in ("10.1.2.3", "198.41.0.4"):
        body = box.line.as_body(box.line.seen, ip, 3.0)
        assert (body["type"], body["stated"], body["confidence"]) == ("satellite", True, 1.0)


# The line outside


def answered_name(box: Follower, name: str | None) -> None:
    wish = box.line.wish(0.0, HOP)
    assert wish is not None and wish.first_hop == HOP
    box.line.answered(Answer(wish, says(), name, 1.0), 1.0)
    box.line.look(1.0)


def test_the_name_of_the_first_hop_tells_a_little(box: Follower) -> None:
    answered_name(box, "bas3.adsl.provider.example")
    assert box.line.link.type == "adsl" and box.line.link.confidence <= 0.6
    assert "provider" not in " ".join(box.line.link.evidence)


def test_it_is_asked_for_once(box: Follower) -> None:
    answered_name(box, None)
    assert box.line.wish(2.0, HOP) is None
    assert box.line.wish(2.0, "192.168.2.1") is None  # nobody's name is asked for at home
    assert box.line.wish(2.0, "198.41.0.5") == Wish(frozenset(), "198.41.0.5")


def test_the_ladders_times_tell_a_little(box: Follower) -> None:
    rung = {"sent": 5, "received": 4, "rtts_ms": [1.2, 1.3, None, 1.2, 1.3]}
    for _ in range(10):
        box.line.climbed({"gateway": None, "first_hop": rung}, HOP)
    box.line.look(1.0)
    assert any("steady" in reason for reason in box.line.link.evidence)
    assert box.line.link.type == "ethernet"  # so little does not make another type of it
    box.route("wwan0")
    box.line.look(2.0)
    box.route("eth0")
    box.line.look(3.0)
    assert not any("steady" in reason for reason in box.line.link.evidence)


def test_a_first_hop_at_home_tells_nothing(box: Follower) -> None:
    rung = {"rtts_ms": [1.2] * 50}
    box.line.climbed({"gateway": rung, "first_hop": rung}, "192.168.2.1")
    box.line.look(1.0)
    assert box.line.link.evidence == (
        "default route by eth0",
        "eth0 is an Ethernet interface (driver r8169)",
    )


# The observer


@contextlib.contextmanager
def observing(monkeypatch: pytest.MonkeyPatch, said: Any) -> Iterator[tuple[Observer, Any]]:
    monkeypatch.setattr(clock, "ask", lambda: clock.NOTHING)
    monkeypatch.setattr(link, "ask", said)
    posted: queue.SimpleQueue[Any] = queue.SimpleQueue()
    watching = Observer(posted.put)
    try:
        assert isinstance(posted.get(timeout=20), Observed)
        yield watching, posted
    finally:
        watching.stop()


def test_a_wish_is_answered_on_the_observers_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def ask(ways: link.Ways, only: frozenset[str] | None) -> Said:
        threads.append(threading.current_thread().name)
        return says(LTE) if only is None else says()

    monkeypatch.setattr(outside, "name_of", lambda ip: f"name-of-{ip}")
    with observing(monkeypatch, ask) as (watching, posted):
        watching.ask(Wish(None, HOP))
        watching.ask(Wish(frozenset({"uqmi"}), None))
        first, second = posted.get(timeout=20), posted.get(timeout=20)
    assert first[:3] == (Wish(None, HOP), says(LTE), f"name-of-{HOP}")
    assert second.said == says() and second.name is None
    assert set(threads) == {"observer"}


def test_a_bug_in_asking_reaches_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(ways: link.Ways, only: frozenset[str] | None) -> Said:
        raise ZeroDivisionError

    with observing(monkeypatch, ask) as (watching, posted):
        watching.ask(EVERYBODY)
        crashed = posted.get(timeout=20)
    assert isinstance(crashed, observer.ObserverCrashed)
    assert isinstance(crashed.error, ZeroDivisionError)


def test_the_owners_ports_and_pages_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    ways: list[link.Ways] = []

    def ask(own: link.Ways, only: frozenset[str] | None) -> Said:
        ways.append(own)
        return says()

    with observing(monkeypatch, ask) as (watching, posted):
        watching.ask(EVERYBODY)
        posted.get(timeout=20)
        watching.serial_ports, watching.pages = ("/dev/ttyUSB2",), "none"
        watching.ask(EVERYBODY)
        posted.get(timeout=20)
    assert ways[0].ports == () and ways[0].page is not None and not ways[0].any_page
    assert ways[1].ports == ("/dev/ttyUSB2",) and ways[1].page is None


# The whole agent, with real interfaces

_MMCLI = """#!/bin/sh
case "$*" in
-L) echo /org/freedesktop/ModemManager1/Modem/0;;
"-m 0 -J") cat {folder}/modem.json;;
*) exit 1;;
esac
"""
_MODEM = (
    '{"modem":{"generic":{"access-technologies":["%s"],"state":"connected",'
    '"ports":["wwan0 (net)"]}}}'
)
_BACK = ("ip", "route", "add", "default", "via", "10.99.1.2", "dev", "cable0", "metric", "10")
_TARGETS = "198.18.77.1 198.18.77.2 198.18.77.3"


class Roaming(Box):
    """A box whose /sys is of its own network, with a modem's tool on PATH."""

    def start(self, *more: str) -> None:
        inside = 'mount -t sysfs sysfs /sys; exec "$@"'
        python = [sys.executable, "-m", "tests.fast_agent", "run", *self._words, *more]
        environ = self._environ | {"PATH": f"{self.folder}:{os.environ['PATH']}"}
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", inside, "sh", *python],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environ,
            )

    def is_on(self, technology: str) -> None:
        new = self.folder / "modem.new"
        new.write_text(_MODEM % technology)
        new.rename(self.folder / "modem.json")

    def links(self) -> list[tuple[str, str | None]]:
        """Type and interface of each row, in the order of their probes."""
        rows = [row for row in self.rows() if row["kind"] == "icmp"]
        return [(row["link"]["type"], row["link"].get("iface")) for row in rows]


@contextlib.contextmanager
def roaming(folder: Path) -> Iterator[tuple[Any, Roaming]]:
    """Cable first, LTE behind it; the targets answer, whichever is left."""
    folder.mkdir()
    (folder / "mmcli").write_text(_MMCLI.format(folder=folder))
    (folder / "mmcli").chmod(0o755)
    with alone() as network:
        for nth, name in enumerate(("cable0", "wwan0"), 1):
            network.run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}.far")
            network.run("ip", "link", "set", name, "up")
            network.run("ip", "link", "set", f"{name}.far", "up")
            network.run("ip", "address", "add", f"10.99.{nth}.1/24", "dev", name)
            gateway = f"10.99.{nth}.2"
            metric = str(10 * nth)
            network.run(*f"ip route add default via {gateway} dev {name} metric {metric}".split())
        for target in _TARGETS.split():
            network.run("ip", "address", "add", f"{target}/32", "dev", "lo")
        rich = ("--allow-private", "198.18.0.0/15", "--budget", "1000GB")  # else LTE is slow here
        box = Roaming(folder, *rich, targets=_TARGETS, fast=50)
        box.is_on("lte")
        with box:
            yield network, box


def test_a_failover_and_a_fall_to_edge_are_in_the_results(tmp_path: Path) -> None:
    with roaming(tmp_path / "box") as (network, box):
        wait_for(lambda: box.links(), 60.0, "a first result")
        network.run("ip", "route", "del", "default", "dev", "cable0")
        wait_for(lambda: ("lte", "wwan0") in box.links(), 60.0, "a result over LTE")
        box.is_on("edge")
        wait_for(lambda: ("edge", "wwan0") in box.links(), 60.0, "a result over EDGE")
        network.run(*_BACK)
        wait_for(lambda: box.links()[-1][1] == "cable0", 60.0, "a result over the cable again")
        assert box.runs, box.log
        links = box.links()
    ifaces = [iface for _, iface in links]
    turns = [b for a, b in zip([None, *ifaces], ifaces, strict=False) if a != b]
    assert turns == ["cable0", "wwan0", "cable0"]  # no result of one link tells another
    types = [type_ for type_, iface in links if iface == "wwan0"]
    assert types[-1] == "edge" and set(types) <= {"mobile", "lte", "edge"}
