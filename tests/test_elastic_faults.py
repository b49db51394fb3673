"""An engine that breaks in the middle of a load: all in, once each, by the same indexer as before.

The short form; `python -m tests.elastic_load` is the long one, with more results, all the faults,
three nodes and four indexers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from indexer.store import Put
from indexer.stores import open_store
from tests import elastic_faults, stores
from tests.closed_loop import ClosedLoop
from tests.elastic_faults import Fault
from tests.elastic_load import BROKER_CONF, PREFIX, broken, guarded_bed, guarded_node
from tests.engine import Engine
from tests.indexers import now_ms, result

_RESULTS = 8_000
_BETWEEN = 300
_MEASURED_A_SECOND = 150  # so that there is load all the time


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """With TLS and keys, one thread that writes, a queue of 20 writes, requests of 100 kB."""
    with guarded_node(tmp_path_factory.mktemp("guarded"), quick=True) as engine:
        yield engine


@pytest.fixture
def all_in_once_each(
    engine: Engine, mosquitto: Any, tmp_path: Path
) -> Iterator[Callable[[Sequence[Fault]], None]]:
    """all_in_once_each(FAULTS) sends the load, lets these happen, and counts."""

    def tried(faults: Sequence[Fault]) -> None:
        broker = mosquitto(*BROKER_CONF)
        with (
            guarded_bed(tmp_path, engine, broker) as bed,
            ClosedLoop([broker.port], _RESULTS, measured_a_second=_MEASURED_A_SECOND) as loop,
        ):
            print(broken(bed, loop, faults, print, _BETWEEN))

    yield tried
    stores.drop(engine, f"prefix={PREFIX}")


def test_it_is_killed_and_stands_still(
    all_in_once_each: Callable[[Sequence[Fault]], None],
) -> None:
    all_in_once_each([elastic_faults.KILLED, elastic_faults.frozen(15)])


def test_it_has_no_room_no_time_and_another_key(
    all_in_once_each: Callable[[Sequence[Fault]], None],
) -> None:
    all_in_once_each(
        [
            elastic_faults.crowded(5),
            elastic_faults.blocked("read_only_allow_delete"),  # as when its disk is full
            elastic_faults.NEW_KEY,
            elastic_faults.blocked("read_only"),
        ]
    )


def test_a_result_that_is_more_than_it_takes_is_a_dead_letter(
    engine: Engine, tmp_path: Path
) -> None:
    text = stores.address(engine, tmp_path)
    with closing(open_store(text)) as store:
        few = [result(seq) for seq in range(1, 300)]
        large = result(300, error="x" * 150_000)
        assert store.put([*few, large], now_ms()) == Put(299, 0, 0, 1)
        (letter,) = store.dead()
        assert "takes no document of" in letter.reason and "(cut:" in letter.reason
        assert letter.payload.startswith(b'{"v":1,"agent":"a1"')
    stores.drop(engine, text)
