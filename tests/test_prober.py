"""One probe at a time; a failed probe is data, a slept-through one is dropped, a bug is told."""

import queue
import socket
import threading
from ipaddress import ip_network

import pytest

from agent.prober import FirstHopFound, ProbeCrashed, Probed, Prober
from agent.resolve import Resolver
from agent.schedule import Probe
from agent.targets import Policy, parse
from bench.planted_server import PlantedServer, page

LOOPBACK = Policy(allow_private=(ip_network("127.0.0.0/8"), ip_network("::1/128")))
SECOND_NS = 1_000_000_000


class FakePinger:
    """Answers at once, and remembers whom it was to ping."""

    method = "dgram"
    methods = {4: "dgram", 6: "dgram"}

    def __init__(self):
        self.pinged = []
        self.error = None
        self.at_once = 0
        self.most_at_once = 0
        self.hold = None

    def ping(self, ip, family, count=10, interval_s=1.0, timeout_s=5.0, ttl=None, stop=None):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.hold is not None:
            self.hold(stop)
        self.at_once -= 1
        if self.error is not None:
            raise self.error
        self.pinged.append(ip)
        return {"ok": True, "error": None, "sent": count, "received": count, "rtts_ms": [1.0]}

    def who_answers(self, ip, family, ttl, timeout_s=2.0, stop=None):
        return ("198.51.100.1", "ttl_exceeded")


class Lab:
    def __init__(self, resolver=None, policy=LOOPBACK, **clocks):
        self.events = queue.Queue()
        self.pinger = FakePinger()
        self.resolver = resolver or names("127.0.0.1", "::1")
        self.prober = Prober(self.events.put, self.pinger, self.resolver, policy, **clocks)

    def run(self, probe, **rungs):
        self.prober.submit(probe, **rungs)
        return self.events.get(timeout=30)


def names(*addresses):
    return Resolver(
        lambda *_: [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, 1, 6, "", (ip, 0))
            for ip in addresses
        ]
    )


def icmp(text="planted.test", visit=0):
    return Probe("icmp", parse(text), visit)


@pytest.fixture
def lab():
    labs = []

    def make(*args, **options):
        labs.append(Lab(*args, **options))
        return labs[-1]

    yield make
    for one in labs:
        one.prober.stop(10)


def test_an_icmp_probe_tells_the_word_on_the_list_and_the_address_that_answered(lab):
    event = lab().run(icmp())
    assert isinstance(event, Probed)
    assert event.probe == icmp()
    told = {name: event.body[name] for name in ("kind", "target", "ip", "family", "ok", "sent")}
    assert told == {
        "kind": "icmp",
        "target": "planted.test",
        "ip": "127.0.0.1",
        "family": 4,
        "ok": True,
        "sent": 10,
    }


def test_a_http_probe_visits_the_url(lab):
    with PlantedServer(page()) as server:
        url = f"http://planted.test:{server.port}/"
        body = lab().run(Probe("http", parse(url), 0)).body
    assert (body["kind"], body["target"], body["ok"]) == ("http", url, True)
    assert (body["ip"], body["status"]) == ("127.0.0.1", 200)


def test_a_url_is_pinged_by_its_host(lab):
    body = lab().run(icmp("https://planted.test/x")).body
    assert (body["kind"], body["target"]) == ("icmp", "https://planted.test/x")
    assert body["ip"] == "127.0.0.1"


def test_a_ladder_probe_pings_the_rungs_whatever_the_policy_says(lab):
    one = lab(policy=Policy())
    body = one.run(Probe("ladder", None, 0), gateway=None, first_hop="10.0.0.1").body
    assert (body["kind"], body["target"]) == ("ladder", "ladder")
    assert one.pinger.pinged == ["10.0.0.1"]
    assert body["first_hop"]["sent"] == 5


def test_the_first_hop_is_found_on_the_same_thread(lab):
    one = lab()
    one.prober.find_first_hop(None)
    assert one.events.get(timeout=30) == FirstHopFound(None, "198.51.100.1")


@pytest.mark.parametrize("kind", ["icmp", "http"])
def test_the_preferred_family_is_probed_at_three_of_four_visits(lab, kind, monkeypatch):
    one = lab(names("::1", "127.0.0.1"))
    monkeypatch.setattr("agent.resolve.has_route", lambda address: True)
    target = parse("http://planted.test:81/")
    families = [one.run(Probe(kind, target, visit)).body["family"] for visit in range(8)]
    assert families == [6, 6, 6, 4] * 2


def test_a_name_that_does_not_resolve_is_data(lab):
    body = lab(names()).run(icmp()).body
    assert (body["ok"], body["error"], body["ip"]) == (False, "unknown_host", None)
    assert (body["kind"], body["target"]) == ("icmp", "planted.test")


@pytest.mark.parametrize("probe", [icmp(), Probe("http", parse("http://planted.test/"), 0)])
def test_an_address_that_the_policy_refuses_is_told_and_never_probed(lab, probe):
    one = lab(names("10.1.2.3"))
    body = one.run(probe).body
    assert (body["ok"], body["error"], body["ip"]) == (False, "policy", "10.1.2.3")
    assert one.pinger.pinged == []


def test_of_a_names_addresses_an_allowed_one_is_probed(lab):
    one = lab(names("10.1.2.3", "127.0.0.1"))
    assert one.run(icmp()).body["ip"] == "127.0.0.1"


def test_a_policy_that_is_replaced_counts_from_the_next_probe(lab):
    one = lab()
    one.prober.policy = Policy()
    assert one.run(icmp()).body["error"] == "policy"


def test_a_probe_is_stamped_by_the_boot_clock(lab):
    ticks = iter([5 * SECOND_NS, 7 * SECOND_NS])
    steady = iter([0, 2 * SECOND_NS])
    event = lab(boot_ns=lambda: next(ticks), monotonic_ns=lambda: next(steady)).run(icmp())
    assert (event.begun_boot_ns, event.ended_boot_ns) == (5 * SECOND_NS, 7 * SECOND_NS)
    assert event.body is not None


@pytest.mark.parametrize(
    ("slept_ns", "dropped"), [(SECOND_NS, False), (SECOND_NS + 1, True), (10**15, True)]
)
def test_a_probe_that_the_box_slept_through_is_dropped(lab, slept_ns, dropped):
    ticks = iter([0, 2 * SECOND_NS + slept_ns])
    steady = iter([0, 2 * SECOND_NS])
    event = lab(boot_ns=lambda: next(ticks), monotonic_ns=lambda: next(steady)).run(icmp())
    assert (event.body is None) is dropped


def test_a_bug_reaches_the_loop_and_the_next_probe_runs(lab):
    one = lab()
    one.pinger.error = ZeroDivisionError("a bug")
    crash = one.run(icmp())
    assert isinstance(crash, ProbeCrashed)
    assert crash.probe == icmp() and crash.error is one.pinger.error
    assert "ZeroDivisionError" in crash.trace
    one.pinger.error = None
    assert isinstance(one.run(icmp()), Probed)


def test_probes_run_one_at_a_time_in_their_order(lab):
    one = lab()
    for visit in range(20):
        one.prober.submit(icmp(visit=visit))
    visits = [one.events.get(timeout=30).probe.visit for _ in range(20)]
    assert visits == list(range(20))
    assert one.pinger.most_at_once == 1


def test_stopping_ends_a_probe_under_way_and_posts_nothing(lab):
    one = lab()
    under_way = threading.Event()

    def hold(stop):
        under_way.set()
        assert stop.wait(30)

    one.pinger.hold = hold
    one.prober.submit(icmp())
    one.prober.submit(icmp(visit=1))
    assert under_way.wait(30)
    one.prober.stop(30)
    assert not one.prober._thread.is_alive()
    assert one.events.empty()


def test_a_prober_that_hangs_does_not_keep_the_process_alive(lab):
    assert lab().prober._thread.daemon
