"""The agent's own bytes: what an operator would bill, within a little."""

import socket

from agent.traffic import (
    BrokerMeter,
    Tcp,
    parse_tcp_info,
    probe_bytes,
    tcp_bytes,
    tcp_info,
    try_bytes,
)
from tests.servers import wait_for


def test_ten_echoes_cost_twenty_packets_and_a_look_up() -> None:
    body = {"kind": "icmp", "family": 4, "sent": 10, "received": 10}
    assert probe_bytes(body) == 20 * 84 + 300
    assert probe_bytes({**body, "family": 6}) == 20 * 104 + 300
    assert probe_bytes({**body, "received": 0}) == 10 * 84 + 300
    assert probe_bytes({**body, "late": 2, "duplicates": 1}) == 23 * 84 + 300


def test_a_ladder_counts_both_rungs_and_a_missing_one_costs_nothing() -> None:
    rung = {"sent": 5, "received": 4}
    assert probe_bytes({"kind": "ladder", "gateway": rung, "first_hop": rung}) == 18 * 84
    assert probe_bytes({"kind": "ladder", "gateway": rung, "first_hop": None}) == 9 * 84


def test_http_costs_more_with_tls_and_with_a_body() -> None:
    plain = {"kind": "http", "family": 4, "status": 200, "bytes": 0,
             "phases_ms": {"connect": 1.0, "tls": None}}  # fmt: skip
    tls = {**plain, "phases_ms": {"connect": 1.0, "tls": 2.0}}
    large = {**tls, "bytes": 65536}
    unanswered = {"kind": "http", "family": 4, "phases_ms": {"connect": None}}
    costs = [probe_bytes(body) for body in (unanswered, plain, tls, large)]
    assert costs == sorted(costs) and costs[0] < 1000 and 65536 < costs[3] < 85000


def test_a_result_without_anything_costs_at_least_nothing() -> None:
    assert probe_bytes({"kind": "icmp", "ok": False, "error": "unknown_host"}) == 300
    assert probe_bytes({"kind": "http", "phases_ms": None, "bytes": None}) > 0


def test_the_kernel_counts_a_real_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as sock:
            peer, _ = server.accept()
            with peer:
                sock.sendall(b"x" * 5000)
                received = b""
                while len(received) < 5000:
                    received += peer.recv(5000)
                peer.sendall(b"y" * 700)
                assert sock.recv(700)
                wait_for(lambda: (tcp_info(sock) or Tcp(0, 0, 0, 0)).sent >= 5000)
                tcp = tcp_info(sock)
        assert tcp is not None and 5000 <= tcp.sent <= 5001 and 700 <= tcp.received <= 701
        assert tcp.segments_out >= 2 and tcp.segments_in >= 2
        assert tcp_bytes(tcp) >= 5700 + 4 * 52
        assert tcp_info(sock) is None  # closed
    assert tcp_info(None) is None
    with socket.socket(socket.AF_UNIX) as other:
        assert tcp_info(other) is None


def test_the_short_struct_of_an_old_kernel_gives_nothing() -> None:
    assert parse_tcp_info(bytes(104)) is None and parse_tcp_info(b"") is None
    assert parse_tcp_info(bytes(192)) == Tcp(0, 0, 0, 0)


def test_the_meter_tells_what_was_added_over_connections_that_come_and_go() -> None:
    meter, first, second = BrokerMeter(), object(), object()
    assert meter.read(first, Tcp(1000, 100, 2, 2)) == 1100 + 4 * 52
    assert meter.read(first, Tcp(1500, 100, 3, 2)) == 500 + 52
    assert meter.read(first, None) == 0
    assert meter.read(first, Tcp(1500, 100, 3, 2)) == 0
    assert meter.read(second, Tcp(10, 10, 1, 1)) == 20 + 2 * 52


def test_a_try_that_failed_costs_more_the_further_it_came() -> None:
    costs = [try_bytes(stage, tls=True) for stage in ("resolve", "connect", "closed")]
    assert 0 < costs[0] < costs[1] < costs[2]
    assert costs[2] - try_bytes("closed", tls=False) > 2000  # the certificates
