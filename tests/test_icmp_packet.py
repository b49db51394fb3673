"""The bytes of ICMP echoes, and what the table of echoes in flight makes of all that comes in."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import icmp_packet
from agent.icmp_packet import Counted, InFlight, Problem, Reply

TOKEN = bytes(range(8))
OTHER = bytes(range(8, 16))
MS = 1_000_000
TARGET = {4: socket.inet_pton(socket.AF_INET, "192.0.2.7"), 6: b"\x20\x01" + bytes(14)}
STRANGER = b"\x0a\x00\x00\x01"


def v4(payload: bytes, options: bytes = b"", protocol: int = 1, offset: int = 0) -> bytes:
    """An IPv4 packet to the target."""
    size = 20 + len(options)
    head = struct.pack("!BBHHHBBH", 0x40 | size // 4, 0, size, 0, offset, 64, protocol, 0)
    return head + STRANGER + TARGET[4] + options + payload


def v6(payload: bytes, following: int = 58) -> bytes:
    return (
        struct.pack("!IHBB", 6 << 28, len(payload), following, 64) + bytes(16) + TARGET[6] + payload
    )


def reply_to(family: int, request: bytes) -> bytes:
    """What an honest host answers."""
    bare = bytes([{4: 0, 6: 129}[family], 0, 0, 0]) + request[4:]
    if family == 6:
        return bare
    return bare[:2] + struct.pack("!H", icmp_packet.checksum(bare)) + bare[4:]


def error_about(family: int, kind: int, code: int, packet: bytes) -> bytes:
    bare = bytes([kind, code, 0, 0, 0, 0, 0, 0]) + packet
    if family == 6:
        return bare
    return bare[:2] + struct.pack("!H", icmp_packet.checksum(bare)) + bare[4:]


@pytest.mark.parametrize("family", [4, 6])
def test_a_reply_carries_back_the_number_and_the_payload(family: int) -> None:
    request = icmp_packet.encode_echo(family, 0xBEEF, 513, TOKEN)
    assert len(request) == 8 + 56
    reply = icmp_packet.decode_icmp(family, reply_to(family, request))
    assert reply == Reply(0xBEEF, 513, TOKEN * 7, True)


def test_an_ipv4_request_has_a_right_checksum() -> None:
    assert icmp_packet.checksum(icmp_packet.encode_echo(4, 1, 2, TOKEN)) == 0


def test_the_checksum_is_that_of_rfc_1071() -> None:
    assert icmp_packet.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
    assert icmp_packet.checksum(b"\xff") == 0x00FF


def test_a_raw_packet_is_read_past_its_ip_options() -> None:
    reply = reply_to(4, icmp_packet.encode_echo(4, 1, 2, TOKEN))
    for options in (b"", b"\x01" * 4, b"\x01" * 40):
        assert icmp_packet.decode_ipv4(v4(reply, options)) == Reply(1, 2, TOKEN * 7, True)


def test_our_own_request_seen_on_loopback_is_not_a_reply() -> None:
    for family in (4, 6):
        request = icmp_packet.encode_echo(family, 1, 2, TOKEN)
        assert icmp_packet.decode_icmp(family, request) is None


@given(st.integers(8 * 8, 8 * 64 - 1))
def test_any_bit_flipped_in_a_reply_is_seen(bit: int) -> None:
    reply = bytearray(reply_to(4, icmp_packet.encode_echo(4, 1, 2, TOKEN)))
    reply[bit // 8] ^= 1 << bit % 8
    decoded = icmp_packet.decode_icmp(4, bytes(reply))
    assert isinstance(decoded, Reply)
    assert not decoded.intact


@given(st.sampled_from([4, 6]), st.binary(max_size=200))
def test_any_bytes_give_a_message_or_none(family: int, data: bytes) -> None:
    for read in (
        icmp_packet.decode_ipv4(data),
        icmp_packet.decode_icmp(family, data),
        icmp_packet.decode_request(family, "host_unreachable", data, None),
    ):
        assert read is None or isinstance(read, Reply | Problem)


@given(
    st.sampled_from([4, 6]),
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(max_size=120),
    st.sampled_from([0, 1, 43, 44, 51, 58, 60]),
)
def test_any_quoted_bytes_give_a_problem_or_none(
    family: int, kind: int, code: int, data: bytes, protocol: int
) -> None:
    packet = v4(data, protocol=protocol) if family == 4 else v6(data, protocol)
    for quoted in (data, packet):
        read = icmp_packet.decode_icmp(family, error_about(family, kind, code, quoted))
        assert read is None or isinstance(read, Reply | Problem)


@pytest.mark.parametrize(
    ("family", "kind", "code", "word"),
    [
        (4, 3, 0, "net_unreachable"),
        (4, 3, 1, "host_unreachable"),
        (4, 3, 2, "refused"),
        (4, 3, 3, "port_unreachable"),
        (4, 3, 9, "admin_prohibited"),
        (4, 3, 10, "admin_prohibited"),
        (4, 3, 13, "admin_prohibited"),
        (4, 11, 0, "ttl_exceeded"),
        (6, 1, 0, "net_unreachable"),
        (6, 1, 1, "admin_prohibited"),
        (6, 1, 3, "host_unreachable"),
        (6, 1, 4, "port_unreachable"),
        (6, 1, 6, "refused"),
        (6, 3, 0, "ttl_exceeded"),
        (6, 4, 1, "refused"),
    ],
)
def test_an_error_about_an_echo_has_a_word(family: int, kind: int, code: int, word: str) -> None:
    request = icmp_packet.encode_echo(family, 7, 3, TOKEN)
    packet = v4(request) if family == 4 else v6(request)
    problem = icmp_packet.decode_icmp(family, error_about(family, kind, code, packet))
    assert problem == Problem(word, 7, 3, TOKEN * 7, TARGET[family])


@pytest.mark.parametrize(
    ("family", "kind", "code"), [(4, 5, 1), (4, 3, 4), (4, 4, 0), (4, 12, 0), (6, 2, 0), (6, 4, 0)]
)
def test_a_redirect_or_a_size_hint_ends_no_echo(family: int, kind: int, code: int) -> None:
    request = icmp_packet.encode_echo(family, 7, 3, TOKEN)
    packet = v4(request) if family == 4 else v6(request)
    assert icmp_packet.decode_icmp(family, error_about(family, kind, code, packet)) is None


def test_a_router_may_quote_eight_bytes_only_or_pad_what_it_quotes() -> None:
    request = icmp_packet.encode_echo(4, 7, 3, TOKEN)
    short = icmp_packet.decode_icmp(4, error_about(4, 11, 0, v4(request[:8], b"\x01" * 8)))
    assert short == Problem("ttl_exceeded", 7, 3, b"", TARGET[4])
    padded = icmp_packet.decode_icmp(4, error_about(4, 11, 0, v4(request) + bytes(44)))
    assert isinstance(padded, Problem)
    assert padded.payload.startswith(TOKEN)


def test_a_quoted_packet_that_is_no_first_fragment_of_an_echo_is_nobodys() -> None:
    request = icmp_packet.encode_echo(4, 7, 3, TOKEN)
    for packet in (v4(request, protocol=17), v4(request, offset=4), v4(reply_to(4, request))):
        assert icmp_packet.decode_icmp(4, error_about(4, 3, 1, packet)) is None


def test_ipv6_extension_headers_are_stepped_over_up_to_a_bound() -> None:
    request = icmp_packet.encode_echo(6, 7, 3, TOKEN)
    wanted = Problem("host_unreachable", 7, 3, TOKEN * 7, TARGET[6])

    def problem(packet: bytes) -> Reply | Problem | None:
        return icmp_packet.decode_icmp(6, error_about(6, 1, 3, packet))

    hop_by_hop = bytes([60, 0]) + bytes(6)
    options = bytes([44, 1]) + bytes(14)
    first_fragment = bytes([51, 0, 0, 1]) + bytes(4)
    authentication = bytes([58, 4]) + bytes(22)
    chain = hop_by_hop + options + first_fragment + authentication
    assert problem(v6(chain + request, 0)) == wanted
    later_fragment = bytes([58, 0, 0, 8]) + bytes(4)
    assert problem(v6(later_fragment + request, 44)) is None
    endless = (bytes([60, 0]) + bytes(6)) * 60
    assert problem(v6(endless + bytes([58, 0]) + bytes(6) + request, 60)) is None


def table(timeout_ms: int = 5000, ident: int | None = None) -> InFlight:
    """A table with one echo, sent at time 0."""
    made = InFlight(timeout_ms * MS, ident, TARGET[4])
    made.sent(0, TOKEN, 0)
    return made


def reply(seq: int = 0, token: bytes = TOKEN, ident: int = 9, intact: bool = True) -> Reply:
    return Reply(ident, seq, token * 7, intact)


def give(to: InFlight, message: Reply | Problem, at_ms: float, source: bytes = TARGET[4]) -> None:
    to.take(message, round(at_ms * MS), source, socket.inet_ntop(socket.AF_INET, source))


def test_a_reply_in_time_gives_its_round_trip() -> None:
    echoes = table()
    give(echoes, reply(), 12.3456)
    assert echoes.settled(13 * MS)
    assert echoes.counted(13 * MS) == Counted((12.346,), (), ("192.0.2.7",))


def test_an_echo_without_a_reply_is_lost_when_its_time_is_over_and_not_before() -> None:
    echoes = table(timeout_ms=5000)
    assert not echoes.settled(5000 * MS)
    assert echoes.counted(5000 * MS).rtts_ms == ()
    assert echoes.settled(5000 * MS + 1)
    assert echoes.counted(5000 * MS + 1).rtts_ms == (None,)


def test_a_reply_out_of_time_is_late_and_the_next_one_a_duplicate() -> None:
    echoes = table(timeout_ms=5000)
    give(echoes, reply(), 5000.1)
    give(echoes, reply(), 5001)
    assert echoes.counted(6000 * MS) == Counted((None,), (), (None,), late=1, duplicates=1)


def test_a_reply_that_came_in_time_but_was_read_late_is_not_lost() -> None:
    echoes = table(timeout_ms=5000)
    assert echoes.settled(9000 * MS)
    give(echoes, reply(), 4999)
    assert echoes.counted(9000 * MS).rtts_ms == (4999.0,)


def test_a_second_reply_is_a_duplicate_and_changes_no_time() -> None:
    echoes = table()
    give(echoes, reply(), 10)
    give(echoes, reply(), 11)
    counted = echoes.counted(12 * MS)
    assert (counted.rtts_ms, counted.duplicates) == ((10.0,), 1)


@pytest.mark.parametrize(
    "altered",
    [
        Reply(9, 0, TOKEN * 6 + OTHER, True),
        Reply(9, 0, OTHER + TOKEN * 6, True),
        Reply(9, 0, TOKEN * 3, True),
        Reply(9, 0, b"", True),
        Reply(9, 5, TOKEN * 7, True),
        Reply(9, 0, TOKEN * 7, False),
    ],
)
def test_an_altered_reply_is_corrupted_and_a_whole_one_may_still_come(altered: Reply) -> None:
    echoes = table()
    give(echoes, altered, 10)
    assert not echoes.settled(10 * MS)
    give(echoes, reply(), 20)
    counted = echoes.counted(20 * MS)
    assert (counted.rtts_ms, counted.corrupted, counted.duplicates) == ((20.0,), 1, 0)


def test_what_another_host_or_another_ping_was_sent_is_foreign() -> None:
    echoes = table(ident=9)
    give(echoes, reply(), 10, source=STRANGER)
    give(echoes, reply(ident=8), 10)
    give(echoes, reply(seq=77, token=OTHER), 10)
    assert echoes.foreign == 3
    assert not echoes.settled(10 * MS)
    assert echoes.counted(9000 * MS) == Counted((None,), (), (None,))


def test_an_error_ends_its_echo_and_tells_who_sent_it() -> None:
    echoes = table()
    give(echoes, Problem("ttl_exceeded", 9, 0, b"", TARGET[4]), 3, source=STRANGER)
    assert echoes.settled(3 * MS)
    assert echoes.counted(3 * MS) == Counted((None,), ("ttl_exceeded",), ("10.0.0.1",))
    give(echoes, reply(), 10)
    assert echoes.counted(10 * MS).late == 1


def test_an_error_after_the_answer_is_of_no_interest() -> None:
    echoes = table()
    give(echoes, reply(), 3)
    give(echoes, Problem("host_unreachable", 9, 0, b"", None), 4)
    assert echoes.counted(5 * MS) == Counted((3.0,), (), ("192.0.2.7",))


@pytest.mark.parametrize(
    "problem",
    [
        Problem("host_unreachable", 9, 1, b"", TARGET[4]),
        Problem("host_unreachable", 8, 0, b"", TARGET[4]),
        Problem("host_unreachable", 9, 0, OTHER * 7, TARGET[4]),
        Problem("host_unreachable", 9, 0, OTHER[:4], TARGET[4]),
        Problem("host_unreachable", 9, 0, TOKEN * 7, STRANGER),
    ],
)
def test_an_error_that_quotes_no_echo_of_ours_is_foreign(problem: Problem) -> None:
    echoes = table(ident=9)
    give(echoes, problem, 3, source=STRANGER)
    assert echoes.foreign == 1
    assert not echoes.settled(4 * MS)


def test_an_echo_that_the_box_would_not_send_is_settled_with_its_word() -> None:
    echoes = InFlight(5000 * MS)
    echoes.sent(0, TOKEN, 0, "no_route")
    assert echoes.settled(0)
    assert echoes.counted(0) == Counted((None,), ("no_route",), (None,))


_MESSAGE = st.one_of(
    st.builds(
        Reply,
        st.integers(0, 1),
        st.integers(0, 5),
        st.integers(0, 5).map(lambda i: bytes([i]) * 56) | st.binary(max_size=60),
        st.booleans(),
    ),
    st.builds(
        Problem,
        st.sampled_from(["host_unreachable", "ttl_exceeded"]),
        st.integers(0, 1),
        st.integers(0, 5),
        st.just(b""),
        st.none(),
    ),
)


@given(st.integers(1, 4), st.lists(st.tuples(_MESSAGE, st.integers(0, 20)), max_size=30))
def test_every_message_is_counted_once_whatever_comes(
    sent: int, messages: list[tuple[Reply | Problem, int]]
) -> None:
    echoes = InFlight(10 * MS, None, None)
    for seq in range(sent):
        echoes.sent(seq, bytes([seq]) * 8, 0)
    for message, at_ms in messages:
        echoes.take(message, at_ms * MS, None, "")
    counted = echoes.counted(11 * MS)
    received = sum(rtt is not None for rtt in counted.rtts_ms)
    replies = sum(isinstance(message, Reply) for message, _ in messages)
    errors = len(messages) - replies
    told_apart = received + counted.late + counted.duplicates + counted.corrupted
    assert len(counted.rtts_ms) == sent
    assert received + len(counted.words) <= sent
    assert told_apart <= replies <= told_apart + echoes.foreign <= replies + errors


def test_a_body_has_the_times_and_their_spread() -> None:
    body = icmp_packet.body_of(
        Counted((10.0, None, 14.0, 12.0), (), (), 1, 2, 3), "192.0.2.7", 4, "raw"
    )
    assert body == {
        "ip": "192.0.2.7",
        "family": 4,
        "method": "raw",
        "ok": True,
        "error": None,
        "sent": 4,
        "received": 3,
        "loss_pct": 25.0,
        "late": 1,
        "duplicates": 2,
        "corrupted": 3,
        "rtt_ms": {"min": 10.0, "avg": 12.0, "max": 14.0, "stddev": 1.633},
        "rtts_ms": [10.0, None, 14.0, 12.0],
    }


def test_a_body_without_an_answer_has_the_commonest_word_or_timeout() -> None:
    words = ("net_unreachable", "host_unreachable", "host_unreachable")
    silent = (None,) * 4

    def error(counted: Counted) -> object:
        body = icmp_packet.body_of(counted, "192.0.2.7", 4, "raw")
        assert (body["ok"], body["rtt_ms"], body["loss_pct"]) == (False, None, 100.0)
        return body["error"]

    assert error(Counted(silent, words, silent)) == "host_unreachable"
    assert error(Counted(silent, (), silent)) == "timeout"


def test_a_body_of_nothing_has_no_loss() -> None:
    body = icmp_packet.body_of(Counted((), (), ()), "192.0.2.7", 4, "raw")
    assert (body["ok"], body["sent"], body["loss_pct"], body["rtts_ms"]) == (False, 0, None, [])
