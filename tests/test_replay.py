"""Dead letters are read again: what can be read now is stored, what cannot stays."""

from __future__ import annotations

from pathlib import Path

from agent import wire
from indexer.replay import replay
from indexer.store import Dead
from tests.indexers import now_ms, result, seqs, sqlite


def letter(topic: str, payload: bytes) -> Dead:
    return Dead(now_ms(), topic, payload, "as if a bug had refused it")


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


def test_more_letters_than_one_chunk(tmp_path: Path) -> None:
    with sqlite(tmp_path / "s.db") as store:
        rows = [result(seq) for seq in range(1, 1202)]
        store.put_dead([letter("ping/a1", wire.encode_result(row)) for row in rows])
        assert replay(store, now_ms()).results == 1201
        assert store.dead() == []
