"""Real echoes through real sockets, in namespaces of their own, over links of known badness."""

import errno
import os
import shlex
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agent import icmp_packet, icmp_socket, ping_command, probe_icmp
from agent.probe_icmp import Pinger
from bench.emulated_link import Impairment
from tests import needs, netlab
from tests.netlab import Lab, Namespace

NEAR, FAR = "10.77.0.1", "10.77.0.2"
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
SOCKETS = pytest.mark.parametrize("method", ["dgram", "raw"])
FAMILIES = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    needs.namespaces()
    needs.tool("ip")
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def box(lab: Lab) -> Namespace:
    made = lab.namespace()
    made.allow_pings()
    return made


def pinger(method: str) -> Pinger:
    return Pinger({4: method, 6: method}, {})


def far(family: int) -> str:
    return FAR if family == 4 else netlab.inet6(FAR)


def send_log(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes]]:
    """Every echo that goes out from here on: when, and its bytes."""
    sent: list[tuple[int, bytes]] = []
    real_send = icmp_socket.send

    def send(sock: socket.socket, packet: bytes, address: tuple[Any, ...]) -> Any:
        told = real_send(sock, packet, address)
        sent.append((told[0], packet))
        return told

    monkeypatch.setattr(icmp_socket, "send", send)
    return sent


@SOCKETS
@FAMILIES
def test_every_echo_to_a_good_host_comes_back(box: Namespace, method: str, family: int) -> None:
    body = box.call(pinger(method).ping, LOOPBACK[family], family, 10, 0.01, 20.0)
    assert (body["ok"], body["error"], body["method"]) == (True, None, method)
    assert (body["sent"], body["received"], body["loss_pct"]) == (10, 10, 0.0)
    assert (body["late"], body["duplicates"], body["corrupted"]) == (0, 0, 0)
    assert (body["ip"], body["family"]) == (LOOPBACK[family], family)
    times = body["rtts_ms"]
    assert body["rtt_ms"]["min"] == min(times) > 0
    assert body["rtt_ms"]["max"] == max(times)
    assert all(round(rtt, 3) == rtt for rtt in times)


def at_once(box: Namespace, pings: list[tuple[str, int]], **options: Any) -> list[dict[str, Any]]:
    """The bodies of pings to the far end, (method, family) each, all running together."""

    def one(method: str, family: int) -> dict[str, Any]:
        return box.call(pinger(method).ping, far(family), family, **options)

    with ThreadPoolExecutor(len(pings)) as threads:
        return list(threads.map(one, *zip(*pings, strict=True)))


def test_loss_is_exactly_what_the_link_lost(lab: Lab) -> None:
    bad = Impairment(
        delay_ms=20, jitter_ms=5, loss=0.1, duplicate=0.1, reorder=0.1, corrupt=0.05, seed=7
    )
    near, beyond = lab.namespace(), lab.namespace()
    near.allow_pings()
    link = lab.link(near, beyond, NEAR, FAR, bad)
    pings = [(method, family) for method in ("dgram", "raw") for family in (4, 6)]
    bodies = at_once(near, pings, count=40, interval_s=0.03, timeout_s=3.0)
    counts = link.counts()
    assert len(counts["flows"]) == len(bodies) == 4
    # Every flow meets the same fate on this link, so each body must tell the same losses.
    (lost,) = {flow["lost"] for flow in counts["flows"]}
    assert lost > 0
    assert counts["there"]["held"] > 0
    for body in bodies:
        assert (body["sent"], body["rtts_ms"].count(None)) == (40, lost)
        assert body["received"] == 40 - lost
        assert body["loss_pct"] == round(lost / 40 * 100, 1)
        assert body["duplicates"] > 0
        assert body["corrupted"] > 0
        assert body["rtt_ms"]["min"] >= 40
    assert len({tuple(rtt is None for rtt in body["rtts_ms"]) for body in bodies}) == 1


@SOCKETS
def test_replies_that_take_longer_than_the_time_limit_are_late(lab: Lab, method: str) -> None:
    near, beyond = lab.namespace(), lab.namespace()
    near.allow_pings()
    lab.link(near, beyond, NEAR, FAR, Impairment(delay_ms=100))
    body = near.call(pinger(method).ping, FAR, 4, 12, 0.1, 0.05)
    assert (body["ok"], body["error"], body["received"]) == (False, "timeout", 0)
    assert body["rtts_ms"] == [None] * 12
    assert body["late"] > 0


@SOCKETS
def test_two_pings_at_once_do_not_take_each_others_replies(box: Namespace, method: str) -> None:
    bodies: list[dict[str, Any]] = []

    def ping() -> None:
        bodies.append(box.call(pinger(method).ping, "127.0.0.1", 4, 20, 0.01, 20.0))

    threads = [threading.Thread(target=ping) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [body["received"] for body in bodies] == [20] * 4
    assert all(body["duplicates"] == body["corrupted"] == 0 for body in bodies)


@pytest.mark.parametrize("method", ["dgram", "raw", "ping"])
def test_errors_on_the_way_are_words(lab: Lab, method: str) -> None:
    street = lab.street()
    street.box.allow_pings()
    tool = needs.tool("ping")
    asking = Pinger({4: method, 6: method}, {4: tool, 6: tool})

    def word(ip: str, family: int, ttl: int | None = None) -> str | None:
        # One echo each: Linux as a router sends few such errors.
        body = street.box.call(asking.ping, ip, family, 1, 0.02, 20.0, ttl)
        assert body["received"] == 0
        return str(body["error"])

    assert word("10.9.1.1", 4) == "host_unreachable"
    assert word("10.9.2.1", 4) == "admin_prohibited"
    assert word("10.9.3.1", 4) == "net_unreachable"
    assert word(netlab.inet6("10.9.2.1"), 6) == "admin_prohibited"
    assert word(netlab.inet6("10.9.3.1"), 6) == "net_unreachable"
    assert word(netlab.SERVICE, 4, ttl=2) == "ttl_exceeded"
    assert word(netlab.inet6(netlab.SERVICE), 6, ttl=2) == "ttl_exceeded"
    whole = street.box.call(asking.ping, netlab.SERVICE, 4, 1, 0.02, 20.0)
    assert whole["ok"]


@SOCKETS
@FAMILIES
def test_who_answers_names_the_router_or_the_host(lab: Lab, method: str, family: int) -> None:
    street = lab.street()
    street.box.allow_pings()

    def ip(v4: str) -> str:
        return v4 if family == 4 else netlab.inet6(v4)

    def who(ttl: int) -> object:
        answers = pinger(method).who_answers
        return street.box.call(answers, ip(netlab.SERVICE), family, ttl, 20.0)

    assert who(1) == (ip(netlab.GATEWAY), "ttl_exceeded")
    assert who(2) == (ip(netlab.PROVIDER), "ttl_exceeded")
    assert who(3) == (ip(netlab.SERVICE), None)


@SOCKETS
def test_a_neighbour_that_is_not_there_is_host_unreachable(lab: Lab, method: str) -> None:
    near, beyond = lab.namespace(), lab.namespace()
    near.allow_pings()
    name = lab.wire(near, beyond, NEAR, FAR)
    near.set(f"ipv4/neigh/{name}/retrans_time_ms", "20")
    near.run("ip", "route", "add", "10.77.1.0/24", "dev", name)
    body = near.call(pinger(method).ping, "10.77.1.9", 4, 2, 0.05, 20.0)
    assert (body["ok"], body["error"]) == (False, "host_unreachable")


@SOCKETS
@FAMILIES
def test_a_box_that_cannot_send_says_why(lab: Lab, method: str, family: int) -> None:
    alone = lab.namespace()
    alone.allow_pings()
    ip = {4: "192.0.2.7", 6: "2001:db8::7"}[family]

    def error() -> object:
        body = alone.call(pinger(method).ping, ip, family, 2, 0.01, 20.0)
        assert (body["sent"], body["received"]) == (2, 0)
        return body["error"]

    assert error() == "no_route"
    alone.run("ip", f"-{family}", "route", "add", "prohibit", "default")
    assert error() == "permission"


def test_an_address_in_a_zone_that_is_gone_has_no_route(box: Namespace) -> None:
    body = box.call(pinger("raw").ping, "fe80::1%gone0", 6, 1, 0.01, 1.0)
    assert (body["ok"], body["error"]) == (False, "no_route")


@SOCKETS
def test_each_echo_has_a_token_of_its_own_and_keeps_its_distance(
    box: Namespace, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = send_log(monkeypatch)
    box.call(pinger(method).ping, "127.0.0.1", 4, 10, 0.03, 20.0)
    assert len({packet[8:16] for _, packet in sent}) == 10
    times = [at_ns for at_ns, _ in sent]
    assert min(b - a for a, b in zip(times, times[1:], strict=False)) >= 30_000_000


@pytest.mark.parametrize("how", ["stop", "close"])
def test_a_ping_can_be_stopped_from_another_thread(
    box: Namespace, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = send_log(monkeypatch)
    asking = pinger("dgram")
    stop = threading.Event() if how == "stop" else None
    bodies: list[dict[str, Any]] = []
    thread = threading.Thread(
        target=lambda: bodies.append(
            box.call(asking.ping, "127.0.0.1", 4, 10, 600.0, 600.0, stop=stop)
        ),
        daemon=True,
    )
    thread.start()
    give_up = time.monotonic() + 30
    while not sent and time.monotonic() < give_up:
        time.sleep(0.005)
    if stop is not None:
        stop.set()
    else:
        asking.close()
    thread.join(30)
    assert [body["sent"] for body in bodies] == [1]
    assert asking.ping("127.0.0.1", 4, stop=stop)["sent"] == 0


def test_a_stopped_ping_does_not_call_the_awaited_echo_lost(lab: Lab) -> None:
    near, beyond = lab.namespace(), lab.namespace()
    near.allow_pings()
    lab.link(near, beyond, NEAR, FAR, Impairment(loss=1.0))
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    body = near.call(pinger("dgram").ping, FAR, 4, 10, 600.0, 600.0, stop=stop)
    assert (body["sent"], body["loss_pct"], body["ok"]) == (0, None, False)


def test_the_best_method_that_the_box_allows_is_chosen(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs.tool("sysctl")
    made = lab.namespace()
    made.allow_pings("1 0")
    with_raw = made.call(probe_icmp.open_pinger)
    assert with_raw.methods == {4: "raw", 6: "raw"}
    advice = made.call(lambda: with_raw.advice)
    assert advice is not None
    made.run(*shlex.split(advice))
    best = made.call(probe_icmp.open_pinger)
    assert (best.methods, best.advice) == ({4: "dgram", 6: "dgram"}, None)


def test_without_sockets_the_systems_ping_is_chosen_and_without_it_nothing(
    box: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> socket.socket:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(icmp_socket, "open_socket", refused)
    monkeypatch.setattr(ping_command, "find", lambda family: "/bin/ping")
    last_resort = probe_icmp.open_pinger()
    assert last_resort.method == "ping"
    assert last_resort.advice is not None
    monkeypatch.setattr(ping_command, "find", lambda family: None)
    nothing = probe_icmp.open_pinger()
    assert nothing.method is None
    assert nothing.ping("127.0.0.1", 4)["error"] == "permission"
    assert pinger("raw").ping("127.0.0.1", 4)["error"] == "permission"


def test_advice_without_ping_groups_is_a_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_icmp, "_GROUPS", "/nonexistent")
    assert probe_icmp.advice().startswith("setcap cap_net_raw+ep /")


@SOCKETS
@FAMILIES
def test_an_arrival_has_the_kernels_time_however_late_it_is_read(
    box: Namespace, method: str, family: int
) -> None:
    echo = icmp_packet.encode_echo(family, 1, 1, b"12345678")

    def oldest_ns() -> int:
        """Linux begins to stamp a moment after it is asked to, so several are tried."""
        oldest = 0
        with icmp_socket.open_socket(method, family) as sock:
            for _ in range(50):
                icmp_socket.send(sock, echo, icmp_socket.address_of(LOOPBACK[family], family))
                time.sleep(0.1)
                _, ancillary, _, _ = sock.recvmsg(2048, 512)
                oldest = max(oldest, time.monotonic_ns() - icmp_socket.arrived_ns(ancillary))
                if oldest >= 90_000_000:
                    break
        return oldest

    assert box.call(oldest_ns) >= 90_000_000


def stamp(wall_ns: int, layout: str = "=qq", option: int = 35) -> list[tuple[int, int, bytes]]:
    data = struct.pack(layout, *divmod(wall_ns, 1_000_000_000))
    return [(socket.SOL_SOCKET, option, data)]


@pytest.mark.parametrize(("layout", "option"), [("=qq", 64), ("=qq", 35), ("=ii", 35)])
def test_a_stamp_is_carried_over_to_the_monotonic_clock(
    monkeypatch: pytest.MonkeyPatch, layout: str, option: int
) -> None:
    monkeypatch.setattr(icmp_socket, "_both_clocks", lambda: (5_000_000_000, 1_700_000_000_500))
    ancillary = stamp(1_700_000_000_000, layout, option)
    assert icmp_socket.arrived_ns(ancillary) == 5_000_000_000 - 500


@pytest.mark.parametrize("step_ns", [-3_000_000_000, 1_000, 3_600_000_000_000])
def test_a_stepped_wall_clock_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, step_ns: int
) -> None:
    wall_ns = 1_700_000_000_000_000_000
    monkeypatch.setattr(icmp_socket, "_both_clocks", lambda: (7, wall_ns))
    assert icmp_socket.arrived_ns(stamp(wall_ns + step_ns)) == 7
    assert icmp_socket.arrived_ns([]) == 7


def test_a_wall_clock_that_jumps_during_a_ping_moves_no_time(
    box: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = iter(range(10**6))
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - next(jumps) * 10**12)
    body = box.call(pinger("dgram").ping, "127.0.0.1", 4, 5, 0.01, 20.0)
    assert body["received"] == 5
    assert body["rtt_ms"]["max"] < 20_000


def test_a_pinger_leaves_no_thread_and_no_descriptor_behind(box: Namespace) -> None:
    before = set(os.listdir("/proc/self/fd"))
    box.call(pinger("raw").ping, "127.0.0.1", 4, 2, 0.01, 20.0)
    assert set(os.listdir("/proc/self/fd")) == before
    assert not [thread for thread in threading.enumerate() if thread.name == "icmp-receive"]
