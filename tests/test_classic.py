"""The payload of the first swarms: read only when asked for, marked, never confirmed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import wire
from agent.wire import Result, WireError
from indexer import classic
from tests.indexers import Client, now_ms, result, running, settings, sqlite
from tests.servers import wait_for

T0 = 1_790_000_000_000
OK = b'["bob", "ok", {"loss": 0.0, "Round trip": [10.1, 12.2, 15.3, 1.4]}]'


def test_it_is_a_result_like_another_but_marked() -> None:
    found = classic.read("ping/voila.fr", OK, T0)
    assert (found.agent, found.time_ms, found.clock) == ("bob", T0, "unknown")
    assert found.body == {
        "kind": "icmp",
        "target": "voila.fr",
        "classic": True,
        "ok": True,
        "error": None,
        "loss_pct": 0.0,
        "rtt_ms": {"min": 10.1, "avg": 12.2, "max": 15.3, "stddev": 1.4},
    }


def test_what_was_not_ok_timed_out() -> None:
    found = classic.read("ping/voila.fr", b'["bob", "ko", {"loss": 100.0}]', T0)
    assert (found.body["ok"], found.body["error"]) == (False, "timeout")


def test_the_same_message_twice_is_one_result_and_a_later_one_another() -> None:
    one, again, later = (classic.read("ping/voila.fr", OK, at) for at in (T0, T0 + 50, T0 + 60_000))
    assert (one.epoch, one.seq) == (again.epoch, again.seq)
    assert (later.epoch, later.seq) != (one.epoch, one.seq)


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b'["bob"]',
        b'["b/b", "ok", {}]',
        b'["bob", 1, {}]',
        b'["bob", "ok", {"loss": "much"}]',
        b'["bob", "ok", {"Round trip": [1, 2]}]',
        b'["bob", "ok", {"Round trip": [1, 2, 3, -4]}]',
        b'["bob", "ok", {"loss": true}]',
    ],
)
def test_what_is_not_quite_classic_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        classic.read("ping/voila.fr", payload, T0)


@hypothesis.settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_a_result_or_refused(payload: bytes) -> None:
    try:
        classic.read("ping/voila.fr", b"[" + payload, T0)
    except (WireError, UnicodeDecodeError):
        return


# --- documents of the first indexer -------------------------------------------------------------

DOCUMENT = {"agent": "bob", "target": "voila.fr", "loss": 10, "type": "ping"} | {
    "min": 10.1, "avg": "12.2", "max": 15.3, "stddev": "1.4"
}  # fmt: skip


def of_document(**changes: Any) -> Result:
    return classic.of_document("logstash-2016.05.01", "AVx1", T0, DOCUMENT | changes)


def test_a_document_is_a_classic_result_whether_its_numbers_are_text_or_not() -> None:
    found = of_document(loss="10.0")
    assert found == of_document()
    assert (found.agent, found.time_ms, found.clock, found.clock_age_s) == (
        "bob",
        T0,
        "unknown",
        None,
    )
    assert found.body == {
        "kind": "icmp",
        "target": "voila.fr",
        "classic": True,
        "ok": True,
        "error": None,
        "loss_pct": 10.0,
        "rtt_ms": {"min": 10.1, "avg": 12.2, "max": 15.3, "stddev": 1.4},
    }


def test_a_document_of_a_ping_that_nobody_answered_timed_out() -> None:
    gone: dict[str, Any] = {"min": None, "avg": "", "max": 0, "stddev": None}
    found = of_document(loss="100", **gone)
    assert (found.body["ok"], found.body["error"]) == (False, "timeout")
    assert "rtt_ms" not in found.body


def test_a_documents_identity_is_its_index_and_id() -> None:
    ids = {
        classic.of_document(index, doc_id, T0, DOCUMENT)[:3]
        for index in ("logstash-2016.05.01", "logstash-2016.05.02")
        for doc_id in ("a", "b")
        for _ in range(2)
    }
    assert len(ids) == 4


def test_a_document_becomes_what_the_wire_would_take_too() -> None:
    found = of_document()
    message = wire.read(wire.ping_topic("bob"), wire.encode_result(found))
    assert isinstance(message, wire.Results) and message.results == [found]


@pytest.mark.parametrize(
    "changes",
    [
        {"agent": None},
        {"agent": "b/b"},
        {"target": ""},
        {"target": 5},
        {"loss": None},
        {"loss": "much"},
        {"loss": 101},
        {"loss": True},
        {"avg": "nan"},
        {"max": -1},
        {"stddev": None},
        {"min": [1]},
    ],
)
def test_a_document_that_is_no_ping_is_refused_with_a_reason(changes: dict[str, Any]) -> None:
    with pytest.raises(WireError, match="agent|target|loss|number|stddev|name"):
        of_document(**changes)


# --- with a real broker -------------------------------------------------------------------------


def test_without_the_flag_it_is_a_dead_letter(mosquitto: Any, tmp_path: Path) -> None:
    port = mosquitto().port
    with (
        sqlite(tmp_path / "s.db") as store,
        running(settings(port), store),
        Client(port, "ack/+", "indexer/+") as client,
    ):
        client.wait_online()
        client.publish("ping/voila.fr", OK)
        wait_for(store.dead, what="the dead letter")


def test_with_the_flag_it_is_stored_not_confirmed_and_claims_no_v1_name(
    mosquitto: Any, tmp_path: Path
) -> None:
    port = mosquitto().port
    with (
        sqlite(tmp_path / "s.db") as store,
        running(settings(port, classic=True), store),
        Client(port, "ack/+", "indexer/+") as client,
    ):
        client.wait_online()
        client.publish("ping/voila.fr", OK)
        client.send(result(1, agent="a1"))
        client.wait_confirmed([1], agent="a1")
        client.publish("ping/voila.fr", OK.replace(b"bob", b"a1"))
        (letter,) = wait_for(store.dead, what="the dead letter")
        assert "a1" in letter.reason
        found = list(store.results(0, now_ms() + 1000, agent="bob"))
        assert [one.body["classic"] for one in found] == [True]
        assert client.payloads("ack/bob") == []
        assert "bob" not in {one.agent for one in store.agents()}
