"""A cold HTTP(S) request is timed in phases that never overlap, and every failure is one word."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent import probe_http, wire
from agent.http_message import BODY_LIMIT
from agent.probe_http import PHASES
from agent.resolve import ResolveError, Resolver
from agent.targets import Policy, parse
from bench.planted_server import RESET, PlantedServer, page
from tests import needs

LOOPBACK = Policy(allow_private=(ip_network("127.0.0.0/8"), ip_network("::1/128")))
PLANTED_S = 0.15
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def names(*addresses: str, after_s: float = 0.0) -> Resolver:
    """A resolver that knows these addresses for every name."""

    def lookup(*_):
        time.sleep(after_s)
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, 1, 6, "", (ip, 0))
            for ip in addresses
        ]

    return Resolver(lookup)


def get(url, resolver=None, policy=LOOPBACK, **options):
    body = probe_http.get(parse(url), resolver or names("127.0.0.1"), policy, **options)
    assert body["error"] is None or body["error"] in wire.ERRORS
    assert body["ok"] is (body["error"] is None)
    assert list(body["phases_ms"]) == [*PHASES, "total"]
    return body


def answer(script, **options):
    """What a GET of a server with this script gives."""
    with PlantedServer(lambda: script) as server:
        return get(f"http://planted.test:{server.port}/", **options)


def run_at_root(command):
    root = Path(__file__).parent.parent
    return subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=120, check=False
    )


def timed(body) -> set[str]:
    """The phases that have a time."""
    return {name for name, ms in body["phases_ms"].items() if ms is not None}


@pytest.fixture
def secure(authority):
    """secure(script) starts an HTTPS server at planted.test, 127.0.0.1 and ::1; trust knows it."""
    pair = authority.issue("planted.test", ("planted.test", "127.0.0.1", "::1"))
    context = probe_http.trust_in(authority.ca)
    with contextlib.ExitStack() as running:

        def start(script=None, **options):
            server = PlantedServer(script or page(), pair=pair, **options)
            return running.enter_context(server)

        yield SimpleNamespace(start=start, trust=lambda: context)


# What a good visit tells.


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_a_plain_visit_to_an_address_tells_all_but_names_and_tls(host, shown):
    with PlantedServer(page(), host) as server:
        body = get(f"http://{shown}:{server.port}/a?b=c")
    assert (body["ok"], body["status"], body["bytes"]) == (True, 200, 1000)
    assert (body["ip"], body["family"]) == (host, 6 if ":" in host else 4)
    assert timed(body) == {"connect", "ttfb", "transfer", "total"}
    assert (body["truncated"], body["redirect"], body["failed_after_ms"]) == (False, False, None)
    assert (body["retrans"], body["tls_version"], body["retry_after_s"]) == (0, None, None)
    assert server.requests[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert f"\r\nHost: {shown}:{server.port}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_visit_by_name_over_tls_has_every_phase_and_they_add_up_to_the_total(secure, host):
    server = secure.start(host=host)
    body = get(f"https://planted.test:{server.port}/", names(host), trust=secure.trust)
    assert (body["error"], body["status"], body["ip"]) == (None, 200, host)
    assert timed(body) == {*PHASES, "total"}
    spent = [body["phases_ms"][phase] for phase in PHASES]
    assert sum(spent) == pytest.approx(body["phases_ms"]["total"], abs=0.0005)
    assert body["tls_version"] in ("TLSv1.2", "TLSv1.3")
    assert wire.from_rfc3339(body["certificate_end"]) > time.time() * 1000
    assert server.names == ["planted.test"]


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("http://example.com/", "example.com"),
        ("http://example.com:80/", "example.com"),
        ("http://example.com:443/", "example.com:443"),
        ("https://example.com:443/", "example.com"),
        ("https://[2001:db8::1]/", "[2001:db8::1]"),
        ("https://[2001:db8::1]:8443/", "[2001:db8::1]:8443"),
    ],
)
def test_the_host_header_names_the_port_only_where_it_is_uncommon(url, header):
    assert probe_http._host_header(parse(url)) == header


def test_an_address_is_checked_against_the_certificate_but_never_sent_as_a_name(secure):
    server = secure.start()
    body = get(f"https://127.0.0.1:{server.port}/", trust=secure.trust)
    assert (body["error"], body["phases_ms"]["resolve"]) == (None, None)
    assert server.names == [None]


def test_no_tls_session_is_resumed(secure):
    server = secure.start()
    for _ in range(3):
        assert get(f"https://planted.test:{server.port}/", trust=secure.trust)["ok"]
    assert server.resumed == [False, False, False]


def test_one_family_alone_is_visited_on_request():
    with PlantedServer(page(), "::1") as server:
        url = f"http://localhost:{server.port}/"
        assert get(url, names("127.0.0.1", "::1"), other_family=True)["ip"] == "::1"
        assert get(url, names("127.0.0.1", "::1"))["error"] == "connection_refused"


# A delay is told by the phase that it was planted in.

PLANT = {
    "resolve": {"names_s": PLANTED_S},
    "tls": {"tls_s": PLANTED_S},
    "ttfb": {"first_byte_s": PLANTED_S},
    "transfer": {"body_s": PLANTED_S},
}


def phases_with(secure, names_s=0.0, tls_s=0.0, first_byte_s=0.0, body_s=0.0):
    server = secure.start(page(first_byte_s, body_s), tls_s=tls_s)
    url = f"https://planted.test:{server.port}/"
    body = get(url, names("127.0.0.1", after_s=names_s), trust=secure.trust)
    return {phase: body["phases_ms"][phase] for phase in PHASES}


@pytest.mark.parametrize("phase", PLANT)
def test_a_planted_delay_is_in_its_phase_and_in_no_other(secure, phase):
    """A busy machine may stamp any of them late; five visits in a row it does not."""
    visits = []
    for _ in range(5):
        spent = phases_with(secure, **PLANT[phase])
        assert sum(spent.values()) >= PLANTED_S * 1000 - 1
        visits.append(spent)
        planted = spent[phase]
        if planted >= PLANTED_S * 1000 - 10 and max(spent.values()) == planted:
            return
    pytest.fail(f"{phase} was not told apart: {visits}")


@pytest.mark.flaky(reruns=2)  # a stamp that a busy machine takes late moves time between phases
def test_delays_in_every_phase_are_told_apart_on_a_real_path():
    """Late DNS, a held back SYN-ACK, a lost SYN: the bench's own namespaces, IPv4 and IPv6."""
    needs.namespaces()
    needs.tool("openssl")
    if not os.path.exists("/dev/net/tun"):
        needs.tool("TUN device")
    command = [sys.executable, "-m", "bench.http_phases", "--rounds", "3", "--json"]
    done = run_at_root(command)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    for family in (4, 6):
        told = report[f"IPv{family}"]
        assert told["body"]["family"] == family and told["body"]["error"] is None
        assert told["sums"]
        for phase, planted_ms in report["planted_ms"].items():
            assert planted_ms * 0.7 <= told["probe"][phase] <= planted_ms + 60, phase
    assert report["lost_syn"]["retrans"] >= 1
    assert report["lost_syn"]["phases_ms"]["connect"] >= 900


# What the server says.


@pytest.mark.parametrize(
    ("status", "error", "redirect"),
    [
        (200, None, False),
        (204, None, False),
        (301, None, True),
        (308, None, True),
        (304, None, False),
        (401, None, False),
        (403, None, False),
        (404, None, False),
        (429, None, False),
        (500, "http_error", False),
        (503, "http_error", False),
    ],
)
def test_a_status_is_told_and_only_a_servers_own_error_is_one(status, error, redirect):
    line = f"HTTP/1.1 {status} X\r\nLocation: http://elsewhere.test/\r\n\r\n"
    body = answer([line.encode()])
    assert (body["status"], body["error"], body["redirect"]) == (status, error, redirect)
    assert body["phases_ms"]["total"] is not None and body["failed_after_ms"] is None


def test_a_redirect_is_not_followed_and_nothing_is_tried_twice():
    with PlantedServer(lambda: [b"HTTP/1.1 302 X\r\nLocation: /again\r\n\r\n"]) as server:
        get(f"http://127.0.0.1:{server.port}/")
    assert len(server.requests) == 1


def test_retry_after_is_told():
    body = answer([b"HTTP/1.1 429 X\r\nRetry-After: 90\r\nContent-Length: 0\r\n\r\n"])
    assert (body["ok"], body["retry_after_s"]) == (True, 90)


def test_early_hints_are_not_the_answer():
    assert answer([b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.01, OK])["status"] == 200


def test_a_long_body_is_read_for_64_kib_and_no_more():
    body = answer(page(body=b"x" * 1_000_000)())
    assert (body["ok"], body["bytes"], body["truncated"]) == (True, BODY_LIMIT, True)
    assert body["phases_ms"]["total"] is not None


def test_a_chunked_body_that_trickles_in_is_read_to_its_end():
    pieces = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
    pieces += [b"3\r\nabc\r\n", 0.01] * 3 + [b"0\r\n\r\n", 60.0]
    assert (body := answer(pieces))["bytes"] == 9
    assert body["ok"]


# What goes wrong: the script, the word, and the phases that had ended by then.

def drip():
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield 0.02
        yield b"X: y\r\n"


WRONG = {
    "silence": ([60.0], "too_slow", {"connect"}),
    "half a body, then silence": ([OK[:-1], 60.0], "too_slow", {"connect", "ttfb"}),
    "headers that drip without end": (drip(), "too_slow", {"connect", "ttfb"}),
    "closed at once": ([], "closed", {"connect"}),
    "closed in the header": ([OK[:20]], "closed", {"connect", "ttfb"}),
    "closed in the body": ([OK[:-1]], "closed", {"connect", "ttfb"}),
    "torn down": ([RESET], "connection_reset", {"connect"}),
    "another protocol": ([b"220 mail.test ESMTP\r\n"], "bad_response", {"connect", "ttfb"}),
    "headers beyond 64 KiB": (
        [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000],
        "bad_response",
        {"connect", "ttfb"},
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_goes_wrong_after_connect_is_a_word_and_the_phase_is_timed(case):
    script, word, ended = WRONG[case]
    body = answer(script, resolver=names("127.0.0.1"), timeout_s=1.0 if word == "too_slow" else 30)
    assert body["error"] == word
    assert timed(body) == {"resolve", *ended}
    assert body["failed_after_ms"] >= 0


def test_a_server_that_gives_up_midway_still_told_its_status():
    body = answer([OK[:-1]])
    assert (body["status"], body["bytes"], body["ok"]) == (200, 1, False)


@pytest.mark.parametrize("word", ["unknown_host", "resolver_failed", "resolver_stuck"])
def test_a_name_that_does_not_resolve_is_a_result_of_its_own(word):
    class Failing(Resolver):
        def resolve(self, host, timeout_s, family=None):
            raise ResolveError(word)

    body = get("http://planted.test/", Failing())
    assert (body["error"], body["ip"], timed(body)) == (word, None, set())
    assert body["failed_after_ms"] is not None


def test_a_resolver_that_hangs_ends_with_the_probes_deadline():
    release = threading.Event()
    resolver = Resolver(lambda *_: release.wait(60) and [])
    body = get("http://planted.test/", resolver, timeout_s=0.1)
    release.set()
    assert (body["error"], timed(body)) == ("resolver_timeout", set())


def test_the_deadline_counts_from_the_start_of_the_name_lookup():
    body = answer([60.0], resolver=names("127.0.0.1", after_s=0.9), timeout_s=1.0)
    assert body["error"] == "too_slow"
    assert body["failed_after_ms"] < 900  # 1,000 or more, if the lookup had not counted


def test_a_port_where_nobody_listens_is_a_refused_connection():
    with PlantedServer(page()) as server:
        port = server.port
    body = get(f"http://127.0.0.1:{port}/")
    assert (body["error"], body["ip"], timed(body)) == ("connection_refused", "127.0.0.1", set())


def test_a_server_that_does_not_pick_up_is_a_connect_timeout():
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):  # fill the queue; the kernel drops the next SYN
            caller = waiting.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(full.getsockname())
        body = get(f"http://127.0.0.1:{full.getsockname()[1]}/", timeout_s=0.3)
    assert (body["error"], timed(body)) == ("connect_timeout", set())


def test_a_box_without_a_route_says_so():
    needs.namespaces()
    code = (
        "from agent import probe_http, resolve, targets; "
        "print(probe_http.get(targets.parse('http://192.0.2.1/'), resolve.Resolver(), "
        "targets.Policy())['error'])"
    )
    command = ["unshare", "-n", sys.executable, "-c", code]
    done = run_at_root(command)
    assert done.stdout == "no_route\n", done.stderr


# TLS.


def test_a_certificate_that_nobody_vouches_for_is_invalid_and_timed(secure):
    server = secure.start()
    body = get(f"https://planted.test:{server.port}/")
    assert (body["error"], body["status"]) == ("certificate_invalid", None)
    assert timed(body) == {"resolve", "connect"}
    assert body["failed_after_ms"] > 0 and "certificate" in body["detail"]
    assert server.requests == []


def test_a_certificate_for_another_name_is_invalid(secure):
    server = secure.start()
    body = get(f"https://other.test:{server.port}/", trust=secure.trust)
    assert (body["error"], server.requests) == ("certificate_invalid", [])


def test_a_server_without_tls_is_a_failed_handshake(secure):
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def greet():
            connection, _ = plain.accept()
            with connection:
                connection.sendall(b"220 mail.test ESMTP, and no TLS at all\r\n")
                connection.recv(4096)

        thread = threading.Thread(target=greet)
        thread.start()
        body = get(f"https://planted.test:{plain.getsockname()[1]}/", trust=secure.trust)
        thread.join(30)
    assert (body["error"], timed(body)) == ("tls_failed", {"resolve", "connect"})


def test_a_handshake_that_the_server_leaves_unfinished_is_too_slow(secure):
    server = secure.start(tls_s=60.0)
    body = get(f"https://planted.test:{server.port}/", trust=secure.trust, timeout_s=0.5)
    assert (body["error"], timed(body)) == ("too_slow", {"resolve", "connect"})


def test_a_server_that_wants_a_certificate_of_ours_is_a_failed_handshake(secure):
    server = secure.start()
    server._context.verify_mode = ssl.CERT_REQUIRED
    body = get(f"https://planted.test:{server.port}/", trust=secure.trust)
    # The alert may lose the race against the reset, and the reset against the end of the stream.
    assert body["error"] in ("tls_failed", "connection_reset", "closed")
    assert body["status"] is None


def test_a_clock_that_was_never_set_does_not_make_every_certificate_bad(monkeypatch):
    no_check_time = 0x200000
    assert not probe_http.system_trust().verify_flags & no_check_time
    monkeypatch.setattr(probe_http.time, "time", lambda: 12.0)
    assert probe_http.system_trust().verify_flags & no_check_time


# What this box's owner forbids.


@pytest.mark.parametrize("url", ["http://10.1.2.3/", "http://planted.test/"])
def test_an_address_that_the_policy_refuses_is_never_connected_to(url, monkeypatch):
    monkeypatch.setattr(probe_http.socket, "socket", None)
    body = get(url, names("10.1.2.3"), Policy())
    assert (body["error"], body["ip"]) == ("policy", "10.1.2.3")
    assert body["failed_after_ms"] is None and "10.1.2.3" in body["detail"]


def test_of_a_names_addresses_an_allowed_one_is_visited():
    with PlantedServer(page()) as server:
        body = get(f"http://planted.test:{server.port}/", names("10.1.2.3", "127.0.0.1"))
    assert (body["ok"], body["ip"]) == (True, "127.0.0.1")


def test_the_peer_is_judged_again_after_connect_and_before_a_byte_is_sent(monkeypatch):
    monkeypatch.setattr(probe_http, "refusal", lambda ip, policy: f"{ip} moved")
    with PlantedServer(page()) as server:
        body = get(f"http://127.0.0.1:{server.port}/")
    assert (body["error"], body["detail"]) == ("policy", "127.0.0.1 moved")
    assert timed(body) == {"connect"}
    assert server.requests in ([], [b""])


def test_a_bug_is_an_exception_not_a_result():
    def broken(*_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        get("https://127.0.0.1/", trust=broken)
