"""Every message survives the wire, and any bytes give a Message or a WireError."""

import contextlib
import json
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import batch, strict_json, wire

EPOCH = "0123456789abcdef"


def icmp(seq: int = 1, **more: object) -> wire.Result:
    rng = random.Random(seq)
    rtts = [round(20 + rng.random(), 3) for _ in range(9)] + [None]
    body = {
        "kind": "icmp",
        "target": "voila.fr",
        "ip": "192.0.2.1",
        "family": 4,
        "ok": True,
        "error": None,
        "sent": 10,
        "received": 9,
        "loss_pct": 10.0,
        "rtt_ms": batch.rtt_summary(rtts),
        "rtts_ms": rtts,
        "link": {"type": "lte", "iface": "wwan0", "age_s": seq},
    }
    return wire.Result("box", EPOCH, seq, 1_790_000_000_000 + seq * 12_345, "ntp", 7, body | more)


HTTP = {
    "kind": "http",
    "target": "https://example.com/",
    "ok": True,
    "status": 200,
    "phases_ms": {
        "resolve": None,
        "connect": 1.5,
        "tls": 2.25,
        "ttfb": 3.125,
        "transfer": 0.5,
        "total": 7.375,
    },
}
LADDER = {
    "kind": "ladder",
    "target": "ladder",
    "ok": True,
    "gateway": {"sent": 5, "received": 4, "rtts_ms": [1.0, 2.0, None, 4.0, 5.5]},
    "first_hop": None,
}
ODD = {"kind": "icmp", "target": "x", "rtts_ms": [1.23456], "sent": 9, "note": "é", "loss_pct": 1}


def test_one_result_is_readable_json_and_comes_back() -> None:
    payload = wire.encode_result(icmp())
    assert json.loads(payload)["time"] == "2026-09-21T14:13:32.345Z"
    assert wire.read("ping/box", payload) == wire.Results("box", [icmp()])


@pytest.mark.parametrize("body", [HTTP, LADDER, ODD, icmp().body, {"kind": "lost", "count": 3}])
def test_a_batch_gives_every_body_back_exactly(body: dict[str, object]) -> None:
    rows = [icmp(3), icmp(4)._replace(body=body), icmp(9, error="timeout")]
    payload, taken = wire.encode_batch(rows)
    assert taken == 3
    assert wire.read("ping/box/batch", payload) == wire.Results("box", rows)


def test_a_batch_keeps_within_the_limit_and_takes_at_least_one() -> None:
    rows = [icmp(seq) for seq in range(1, 900)]
    payload, taken = wire.encode_batch(rows, 4096)
    assert len(payload) <= 4096 and 1 < taken < 899
    assert wire.decode_batch(payload) == rows[:taken]
    assert wire.encode_batch(rows, 10)[1] == 1


def test_a_batch_is_many_times_smaller_than_its_singles() -> None:
    rows = [icmp(seq) for seq in range(1, 501)]
    payload, _ = wire.encode_batch(rows)
    assert len(payload) * 10 < sum(len(wire.encode_result(row)) for row in rows)


def test_a_bomb_is_refused_before_it_inflates() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflate.compress(b"[" * 50_000_000) + deflate.flush()
    with pytest.raises(wire.WireError):
        wire.decode_batch(batch.MAGIC + bytes((1, 1)) + bomb)


@pytest.mark.parametrize(
    "change",
    [
        {"agent": "other"},
        {"agent": "a/b"},
        {"epoch": "xyz"},
        {"seq": 0},
        {"seq": True},
        {"seq": 2**63},
        {"time": "yesterday"},
        {"time": "2026-02-30T00:00:00Z"},
        {"clock": "sundial"},
        {"clock_age_s": -1},
        {"kind": 5},
        {"target": ""},
        {"rtts_ms": [-1.0]},
        {"rtts_ms": "fast"},
        {"rtt_ms": {"min": "x"}},
        {"ok": 1},
        {"link": []},
        {"gateway": {"rtts_ms": 4}},
        {"gateway": {"ip": ["192.0.2.1"], "sent": 1}},
        {"sent": 2**62},
        {"first_hop": {"received": 1001}},
        {"v": 0},
    ],
)
def test_a_result_with_one_bad_field_is_refused(change: dict[str, object]) -> None:
    fields = json.loads(wire.encode_result(icmp())) | change
    with pytest.raises(wire.WireError):
        wire.read("ping/box", json.dumps(fields).encode())


@pytest.mark.parametrize("text", ["NaN", "1e999", "1" * 400, '"\\ud800"', "[" * 5000, "\xff"])
def test_json_that_no_store_can_hold_is_refused(text: str) -> None:
    payload = b'{"online":true,"x":' + text.encode("latin-1") + b"}"
    with pytest.raises(wire.WireError):
        wire.read("indexer/one", payload)


@pytest.mark.parametrize("inmost", ["", "1", "[]," * 100 + "1"])
def test_json_may_be_as_deep_whoever_reads_it(inmost: str) -> None:
    """What only a shallow caller could read would end whoever reads it again, deeper down."""
    deepest = strict_json.MAX_DEPTH - ("[" in inmost)
    wire.decode_json(("[" * deepest + inmost + "]" * deepest).encode())
    with pytest.raises(wire.WireError, match="deep"):
        wire.decode_json(("[" * (deepest + 1) + inmost + "]" * (deepest + 1)).encode())


def test_a_body_cannot_speak_for_another_result() -> None:
    """A batch's body may hold any word: whose result it is stays what the batch's head says."""
    forged = {"agent": "other", "epoch": "f" * 16, "seq": 7, "time": "2026-01-01T00:00:00Z"}
    sent = icmp()._replace(body=icmp().body | forged)
    (read,) = wire.decode_batch(wire.encode_batch([sent])[0])
    again = wire.decode_result(wire.encode_result(read))
    assert again[:5] == read[:5] == icmp()[:5]


def test_a_newer_version_is_told_from_rubbish() -> None:
    fields = json.loads(wire.encode_result(icmp())) | {"v": 2}
    with pytest.raises(wire.UnknownVersion):
        wire.read("ping/box", json.dumps(fields).encode())
    with pytest.raises(wire.UnknownVersion):
        wire.read("ping/box/batch", b"SWB\x02\x01xyz")


def test_watch_tells_nothing_from_white_space() -> None:
    assert wire.read("watch", b"") == wire.Watch(None, None)
    assert wire.read("watch/box", b" ") == wire.Watch("box", " ")


def test_acks_are_cut_at_256_ranges_and_say_the_same() -> None:
    seqs = list(range(1, 1201, 2)) + [2]
    ranges = {EPOCH: wire.ranges_of(seqs)}
    assert ranges[EPOCH][0] == (1, 3)
    payloads = wire.encode_acks(ranges)
    assert len(payloads) == 3
    back: list[tuple[int, int]] = []
    for payload in payloads:
        message = wire.read("ack/box", payload)
        assert isinstance(message, wire.Ack)
        back += message.ranges[EPOCH]
    assert back == ranges[EPOCH]


def test_targets_survive_a_topic() -> None:
    for target in ("https://example.com/a?b=c#d", "é.fr", "2001:db8::1", "a_b-c.~"):
        topic = wire.verdict_topic(target)
        assert topic.count("/") == 1 and not set(topic) & set("+#~")
        assert wire.read(topic, b"{}") == wire.Verdict(target, {})


TOPICS = st.sampled_from(
    ["ping/box", "ping/box/batch", "watch", "watch/box", "ack/box", "agent/box", "rip/agent/box"]
    + ["indexer/one", "swarm", "look", "verdict/x", "verdict/%ff", "ping/_share/n", "other", ""]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["v", "agent", "epoch", "seq", "time", "online", "agents", "targets", EPOCH, "rtts_ms"]
        ),
        inner,
        max_size=6,
    ),
    max_leaves=12,
)


@given(TOPICS, st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_a_message_or_a_wire_error(topic: str, payload: bytes) -> None:
    try:
        wire.read(topic, payload)
    except wire.WireError as error:
        assert "\n" not in str(error)


@given(JSON)
def test_any_columns_give_rows_or_a_wire_error(value: object) -> None:
    columns = {"agent": "box", "heads": [[EPOCH, "ntp"]], "forms": [value], "head": [0]}
    columns |= {"form": [0], "seq": [1], "time_ms": [1], "clock_age_s": [None], "numbers": [value]}
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=batch._DICTIONARY)
    inner = deflate.compress(json.dumps(columns).encode()) + deflate.flush()
    with contextlib.suppress(wire.WireError):
        wire.read("ping/box/batch", batch.MAGIC + bytes((1, 1)) + inner)


@given(
    st.dictionaries(st.text(max_size=5), JSON, max_size=3),
    st.lists(st.floats(0, 1e6), max_size=5),
)
def test_any_body_survives_a_batch(extra: dict[str, object], rtts: list[float]) -> None:
    body = json.loads(json.dumps(extra), parse_constant=lambda _: None)
    body |= {"kind": "icmp", "target": "x", "rtts_ms": rtts}
    row = batch.Row(EPOCH, 1, 5, "ntp", None, body)
    try:
        payload = batch.pack("box", [row])
    except ValueError:
        return  # a lone surrogate or the like: no journal can hold it either
    assert batch.unpack(payload) == ("box", [row])
