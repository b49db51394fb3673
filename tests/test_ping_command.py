"""The system's ping as a last resort: what it is told, and what is read from its output."""

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import ping_command
from agent.icmp_packet import Counted
from agent.ping_command import Complained, Echoed, Failed, Plan
from agent.probe_icmp import Pinger
from bench.emulated_link import Impairment
from tests import needs, netlab
from tests.netlab import Lab

PLAN = Plan("192.0.2.7", 4, 4, 1.0, 5.0, None)

IPUTILS = """\
PING 192.0.2.7 (192.0.2.7) 56(84) bytes of data.
64 bytes from 192.0.2.7: icmp_seq=1 ttl=55 time=11.9 ms
64 bytes from 192.0.2.7: icmp_seq=1 ttl=55 time=12.1 ms (DUP!)
64 bytes from 192.0.2.7: icmp_seq=3 ttl=55 time=0.044 ms
64 bytes from 192.0.2.7: icmp_seq=4 ttl=55 time=6001 ms

--- 192.0.2.7 ping statistics ---
4 packets transmitted, 3 received, +1 duplicates, 25% packet loss, time 3004ms
rtt min/avg/max/mdev = 0.044/2004.314/6001.000/2825.861 ms, pipe 4
"""

BUSYBOX = """\
PING 192.0.2.7 (192.0.2.7): 56 data bytes
64 bytes from 192.0.2.7: seq=0 ttl=55 time=11.923 ms
64 bytes from 192.0.2.7: seq=0 ttl=55 time=12.102 ms (DUP!)
64 bytes from 192.0.2.7: seq=2 ttl=55 time=0.044 ms
64 bytes from 192.0.2.7: seq=3 ttl=55 time=6001.000 ms

--- 192.0.2.7 ping statistics ---
4 packets transmitted, 3 packets received, 1 duplicates, 25% packet loss
round-trip min/avg/max = 0.044/2004.322/6001.000 ms
"""

UNREACHABLE = """\
PING 192.0.2.7 (192.0.2.7) 56(84) bytes of data.
From 10.1.0.1 icmp_seq=1 Destination Host Unreachable
From 10.1.0.1 icmp_seq=2 Destination Host Unreachable
64 bytes from 192.0.2.7: icmp_seq=3 ttl=55 time=10.0 ms

--- 192.0.2.7 ping statistics ---
4 packets transmitted, 1 received, +2 errors, 75% packet loss, time 3070ms
pipe 3
"""


def test_iputils_output_gives_times_a_duplicate_a_loss_and_a_late_one() -> None:
    here = "192.0.2.7"
    assert ping_command.read_output(IPUTILS, PLAN) == Counted(
        (11.9, None, 0.044, None), (), (here, None, here, None), late=1, duplicates=1
    )


def test_busybox_output_counts_from_zero_and_gives_the_same() -> None:
    here = "192.0.2.7"
    assert ping_command.read_output(BUSYBOX, PLAN) == Counted(
        (11.923, None, 0.044, None), (), (here, None, here, None), late=1, duplicates=1
    )


def test_errors_that_a_router_sent_end_their_echoes() -> None:
    assert ping_command.read_output(UNREACHABLE, PLAN) == Counted(
        (None, None, 10.0, None),
        ("host_unreachable", "host_unreachable"),
        ("10.1.0.1", "10.1.0.1", "192.0.2.7", None),
    )


def test_altered_replies_are_corrupted_and_give_no_time() -> None:
    text = (
        "64 bytes from 192.0.2.7: icmp_seq=1 ttl=55 time=11.9 ms (BAD CHECKSUM!)\n"
        "64 bytes from 192.0.2.7: icmp_seq=2 ttl=55 time=11.9 ms (truncated)\n"
    )
    counted = ping_command.read_output(text, PLAN)
    assert (counted.rtts_ms, counted.corrupted) == ((None,) * 4, 2)


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("Destination Net Unreachable", "net_unreachable"),
        ("Destination Host Unreachable", "host_unreachable"),
        ("Destination Protocol Unreachable", "refused"),
        ("Destination Port Unreachable", "port_unreachable"),
        ("Destination Host Prohibited", "admin_prohibited"),
        ("Packet filtered", "admin_prohibited"),
        ("Time to live exceeded", "ttl_exceeded"),
        ("Destination unreachable: No route", "net_unreachable"),
        ("Destination unreachable: Administratively prohibited", "admin_prohibited"),
        ("Destination unreachable: Address unreachable", "host_unreachable"),
        ("Destination unreachable: Port unreachable", "port_unreachable"),
        ("Time exceeded: Hop limit", "ttl_exceeded"),
    ],
)
def test_what_a_router_said_has_a_word(said: str, word: str) -> None:
    for router in ("10.1.0.1", "fd00:10:1::1", "fe80::1%eth0"):
        line = f"From {router} icmp_seq=2 {said}"
        assert ping_command.read_line(line) == Failed(1, router, word)


def test_a_redirect_is_no_error() -> None:
    line = "From 10.1.0.1: icmp_seq=1 Redirect Network(New nexthop: 10.1.0.9)"
    assert ping_command.read_line(line) is None


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("ping: connect: Network is unreachable", "no_route"),
        ("ping: sendto: Network unreachable", "no_route"),
        ("ping6: sendto: Host is unreachable", "no_route"),
        ("ping: sendmsg: Operation not permitted", "permission"),
        ("ping: permission denied (are you root?)", "permission"),
        ("ping: socket: Operation not permitted", "permission"),
        ("ping: sendmsg: Network is down", "network_down"),
        ("ping: connect: Cannot assign requested address", "no_route"),
    ],
)
def test_what_ping_itself_could_not_do_has_a_word(said: str, word: str) -> None:
    assert ping_command.read_line(said) == Complained(word)
    assert ping_command.read_output(said, PLAN) == Counted((None,) * 4, (word,), (None,) * 4)


@pytest.mark.parametrize("address", ["fe80::1%eth0", "2001:db8::7"])
def test_an_ipv6_address_is_read_with_its_zone(address: str) -> None:
    line = f"64 bytes from {address}: icmp_seq=2 ttl=64 time=1.25 ms"
    assert ping_command.read_line(line) == Echoed(1, address, 1.25, True)


_LIKE_PING = st.lists(
    st.sampled_from(
        [
            "64 bytes from ",
            "192.0.2.7",
            ": ",
            "icmp_seq=",
            "seq=",
            "0",
            "3",
            "99999999999999999999",
            " ttl=55 time=",
            "1.2.3",
            " ms",
            "\n",
            "From ",
            " Time to live exceeded",
            " packets transmitted",
            "٣",
        ]
    )
    | st.text(max_size=5),
    max_size=40,
).map("".join)


@given(st.text() | _LIKE_PING)
def test_any_output_gives_as_many_echoes_as_were_sent_at_most(text: str) -> None:
    counted = ping_command.read_output(text, PLAN)
    assert len(counted.rtts_ms) == len(counted.answered_by) <= 4


def test_busybox_is_told_by_the_first_word_what_to_be() -> None:
    plan = PLAN._replace(interval_s=0.2, ttl=3)
    argv = ping_command.arguments("/bin/busybox", plan)
    assert argv[0] == "ping"
    assert argv[-1] == "192.0.2.7"
    assert " ".join(argv[1:-1]) == "-n -c 4 -s 56 -i 0.2 -W 5 -4 -t 3"


def test_an_old_ping6_takes_no_family() -> None:
    argv = ping_command.arguments("/bin/ping6", PLAN._replace(ip="2001:db8::7", family=6))
    assert argv[0] == "ping6"
    assert "-6" not in argv


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    needs.namespaces()
    needs.tool("ip")
    with Lab() as made:
        yield made


def program(name: str) -> str:
    return needs.tool(name)


def pinger(path: str) -> Pinger:
    return Pinger({4: "ping", 6: "ping"}, {4: path, 6: path})


@pytest.mark.flaky(reruns=2)  # iputils itself gives up on its last echo after two round trips
def test_real_pings_lose_exactly_what_the_link_loses(lab: Lab) -> None:
    paths = [program("ping"), program("busybox")]
    bad = Impairment(delay_ms=100, loss=0.15, duplicate=0.1, seed=3)
    box, far = lab.namespace(), lab.namespace()
    link = lab.link(box, far, "10.77.0.1", "10.77.0.2", bad)
    with ThreadPoolExecutor() as threads:
        running = [
            threads.submit(box.call, pinger(path).ping, ip, family, 20, 0.05, 2.0)
            for path in paths
            for ip, family in (("10.77.0.2", 4), (netlab.inet6("10.77.0.2"), 6))
        ]
        bodies = [ping.result() for ping in running]
    (lost,) = {flow["lost"] for flow in link.counts()["flows"]}
    assert 0 < lost < 20
    for body in bodies:
        assert body["method"] == "ping"
        assert (body["sent"], body["received"]) == (20, 20 - lost)
        assert body["duplicates"] > 0
        assert body["rtt_ms"]["min"] >= 200


@pytest.mark.parametrize("name", ["ping", "busybox"])
def test_a_box_without_a_route_is_told_so_by_a_real_ping(lab: Lab, name: str) -> None:
    box = lab.namespace()
    for ip, family in (("192.0.2.7", 4), ("2001:db8::7", 6)):
        body = box.call(pinger(program(name)).ping, ip, family, 2, 0.05, 1.0)
        assert (body["ok"], body["error"]) == (False, "no_route")


def test_a_real_ping_is_told_who_let_the_hops_run_out(lab: Lab) -> None:
    street = lab.street()
    path = program("ping")
    answer = street.box.call(pinger(path).who_answers, netlab.SERVICE, 4, 2, 5.0)
    assert answer == (netlab.PROVIDER, "ttl_exceeded")


def test_a_stopped_ping_ends_its_command_and_tells_nothing(lab: Lab) -> None:
    box, stop = lab.namespace(), threading.Event()
    begun = threading.Event()

    def stopped() -> bool:
        begun.set()
        return stop.is_set()

    bodies: list[Counted] = []
    plan = PLAN._replace(ip="127.0.0.1", echoes=1000)
    thread = threading.Thread(
        target=lambda: bodies.append(box.call(ping_command.run, program("ping"), plan, stopped))
    )
    thread.start()
    assert begun.wait(30)
    stop.set()
    thread.join(30)
    assert bodies == [Counted((), (), ())]


def test_a_ping_that_may_not_be_run_is_a_matter_of_permission(tmp_path: Path) -> None:
    forbidden = tmp_path / "ping"
    for program_now in (str(forbidden), str(tmp_path / "gone")):
        forbidden.write_text("#!/bin/sh\n")
        forbidden.chmod(0o644)
        body = pinger(program_now).ping("127.0.0.1", 4)
        assert (body["ok"], body["error"], body["sent"]) == (False, "permission", 0)


def test_a_ping_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping_command, "_SPARE_S", 0.2)
    endless = tmp_path / "ping"
    endless.write_text("#!/bin/sh\nexec sleep 600\n")
    endless.chmod(0o755)
    plan = PLAN._replace(echoes=1, interval_s=0.1, timeout_s=0.1)
    counted = ping_command.run(str(endless), plan, lambda: False)
    assert counted.rtts_ms == (None,)
    left = subprocess.run(["pgrep", "-f", str(endless)], capture_output=True, check=False)
    assert left.stdout == b""
