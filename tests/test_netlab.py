"""The emulated link does what it is told, and the same again for the same seed."""

from agent import icmp_packet
from bench.emulated_link import Direction, Impairment, Ledger, echo_in
from tests.test_icmp_packet import TOKEN, reply_to, v4, v6

BAD = Impairment(delay_ms=10, jitter_ms=5, loss=0.2, duplicate=0.2, reorder=0.2, corrupt=0.2)


def echo(seq: int, ident: int = 1) -> bytes:
    return v4(icmp_packet.encode_echo(4, ident, seq, TOKEN))


def test_an_echo_is_known_in_both_families() -> None:
    for wrapped in (v4, v6):
        family = 4 if wrapped is v4 else 6
        request = icmp_packet.encode_echo(family, 7, 3, TOKEN)
        asked = echo_in(wrapped(request))
        answered = echo_in(wrapped(reply_to(family, request)))
        assert asked is not None and answered is not None
        assert (asked.flow, asked.seq, asked.is_request) == ((family, 7), 3, True)
        assert (answered.flow, answered.seq, answered.is_request) == ((family, 7), 3, False)
    assert echo_in(v4(b"x" * 20, protocol=6)) is None
    assert echo_in(b"") is None


def test_the_same_seed_gives_every_flow_the_same_fate() -> None:
    def fate(ident: int, seed: int) -> list[list[float]]:
        direction = Direction("there", BAD._replace(seed=seed))
        return [[due for due, _ in direction.take(echo(n, ident), n)] for n in range(200)]

    assert fate(1, seed=1) == fate(2, seed=1) != fate(1, seed=2)


def test_the_shares_come_out_as_asked() -> None:
    direction = Direction("there", BAD)
    for number in range(2000):
        direction.take(echo(number), number)
    counts = direction.counts
    assert counts["packets"] == 2000
    assert 330 < counts["lost"] < 470
    for what in ("duplicated", "held", "corrupted"):
        assert 250 < counts[what] < 390  # a fifth of those that are left


def test_a_good_link_only_delays_and_keeps_the_order() -> None:
    direction = Direction("there", Impairment(delay_ms=10, jitter_ms=50))
    due = [direction.take(echo(n), n / 1000)[0][0] for n in range(100)]
    assert due == sorted(due)
    assert all(at - n / 1000 >= 0.010 for n, at in enumerate(due))


def test_a_narrow_link_serves_one_packet_after_the_other_and_drops_what_waits_too_long() -> None:
    packet = bytes(1000)  # takes 100 ms at 80 kbit/s
    direction = Direction("there", Impairment(rate_kbit=80, queue_ms=250))
    due = [round(at, 6) for _ in range(10) for at, _ in direction.take(packet, 5.0)]
    assert due == [5.1, 5.2, 5.3]
    assert direction.counts["lost"] == 7


def test_the_ledger_counts_an_altered_reply_as_no_answer() -> None:
    ledger = Ledger()
    for seq in range(3):
        ledger.from_a(echo(seq))
    ledger.to_a(v4(reply_to(4, icmp_packet.encode_echo(4, 1, 0, TOKEN))))
    ledger.to_a(v4(reply_to(4, icmp_packet.encode_echo(4, 1, 1, TOKEN[::-1]))))
    assert ledger.flows() == [{"family": 4, "ident": 1, "asked": 3, "lost": 2}]
