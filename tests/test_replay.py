"""Dead letters are read again: what can be read now is stored, what cannot stays."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from agent import wire
from indexer.replay import replay
from indexer.store import Dead, Put
from indexer.store_sqlite import SqliteStore
from tests.indexers import now_ms, result, seqs, sqlite


def letter(topic: str, payload: bytes) -> Dead:
    return Dead(now_ms() - 1, topic, payload, "as if a bug had refused it")


def test_what_can_be_read_is_stored_and_what_cannot_stays(tmp_path: Path) -> None:
    batch, _ = wire.encode_batch([result(2), result(3)])
    with sqlite(tmp_path / "s.db") as store:
        store.put_dead(
            [
                letter("ping/a1", wire.encode_result(result(1))),
                letter("ping/a1", b"garbage"),
                letter(wire.batch_topic("a1"), batch),
            ]
        )
        done = replay(store, now_ms())
        assert (done.letters, done.read, done.results) == (3, 2, 3)
        assert seqs(store) == [1, 2, 3]
        assert [one.payload for one in store.dead()] == [b"garbage"]
        assert replay(store, now_ms()).read == 0


def test_a_letter_whose_rows_are_stored_already_changes_nothing(tmp_path: Path) -> None:
    with sqlite(tmp_path / "s.db") as store:
        store.put([result(1)], now_ms())
        store.put_dead([letter("ping/a1", wire.encode_result(result(1)))])
        done = replay(store, now_ms())
        assert (done.read, done.results) == (1, 0)
        assert seqs(store) == [1]


def test_a_result_from_the_future_waits_for_its_time(tmp_path: Path) -> None:
    later_ms = now_ms() + 2 * 3_600_000
    with sqlite(tmp_path / "s.db") as store:
        store.put_dead([letter("ping/a1", wire.encode_result(result(1, time_ms=later_ms)))])
        assert replay(store, now_ms()).read == 0
        assert replay(store, later_ms).read == 1


def test_classic_letters_are_read_only_when_asked_for(tmp_path: Path) -> None:
    with sqlite(tmp_path / "s.db") as store:
        store.put_dead([letter("ping/voila.fr", b'["bob", "ok", {"loss": 0.0}]')])
        assert replay(store, now_ms()).read == 0
        assert replay(store, now_ms(), read_classic=True).results == 1
        assert seqs(store, "bob")


@pytest.mark.parametrize("page", [1, 7, 100])
def test_letters_are_read_page_by_page_whatever_stays(
    page: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.replay.PAGE", page)
    asked: list[int] = []

    class Morgue(SqliteStore):
        def dead(self, limit: int = 1000, after: Dead | None = None) -> list[Dead]:
            asked.append(limit)
            return super().dead(limit, after)

    rows = [wire.encode_result(result(seq)) for seq in range(1, 252)]
    payloads = [payload for row in rows for payload in (row, b"garbage")]
    with closing(Morgue(str(tmp_path / "s.db"))) as store:
        store.put_dead([letter("ping/a1", payload) for payload in payloads])
        assert replay(store, now_ms()) == (502, 251, 251)
        assert set(asked) == {page}
        assert [one.payload for one in store.dead()] == [b"garbage"] * 251


def test_what_becomes_a_letter_while_they_are_read_is_not_read_at_once(tmp_path: Path) -> None:
    """As an engine does it with a result that it has no place for."""

    class Full(SqliteStore):
        def put(self, results: Sequence[wire.Result], now_ms: int) -> Put:
            letters = [Dead(now_ms, "ping/a1", wire.encode_result(one), "no") for one in results]
            self.put_dead(letters)
            return Put(0, 0, 0, len(letters))

    with closing(Full(str(tmp_path / "s.db"))) as store:
        store.put_dead([letter("ping/a1", wire.encode_result(result(seq))) for seq in (1, 2)])
        assert replay(store, now_ms()) == (2, 2, 0)
        assert [one.reason for one in store.dead()] == ["no", "no"]
