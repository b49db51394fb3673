"""Brokers that die, come back, or never were there: every seq arrives in the store, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent_bed import Box, IndexerProcess, alone, complete
from tests.servers import Server, wait_for

Start = Callable[..., Server]


@pytest.fixture(autouse=True)
def own_network() -> Iterator[None]:
    with alone():
        yield


def arrives(box: Box, indexer: IndexerProcess, more: int) -> None:
    """So many results more than are stored now."""
    wanted = len(indexer.stored()) + more
    wait_for(
        lambda: len(indexer.stored()) >= wanted,
        90,
        f"{wanted} results:\n{box.log}\n{indexer.log}",
    )


def all_arrives(box: Box, indexer: IndexerProcess) -> None:
    """The agent goes on until its journal is empty, then ends: all is in the store, once."""
    box.told("pause")
    wait_for(
        lambda: not box.rows() and "0 not yet confirmed" in box.told("status").stdout,
        90,
        f"an empty journal:\n{box.log}\n{indexer.log}",
    )
    assert box.stop() == 0
    stored = indexer.stored()
    assert len({(result.epoch, result.seq) for result in stored}) == len(stored), "one is twice"
    assert complete(stored), "one is missing"
    assert "Traceback" not in box.log and "Traceback" not in indexer.log


def test_a_broker_is_killed_again_and_again(mosquitto: Start, tmp_path: Path) -> None:
    broker = mosquitto()
    with (
        IndexerProcess(tmp_path / "indexer", broker.port) as indexer,
        Box(tmp_path / "box", broker.port) as box,
    ):
        for _ in range(3):
            arrives(box, indexer, 2)
            broker.kill()
            rows = len(box.rows())
            box.wait_rows(rows + 2)  # the duty is kept meanwhile
            broker.start()
        arrives(box, indexer, 2)
        all_arrives(box, indexer)


def test_of_two_brokers_one_dies(mosquitto: Start, tmp_path: Path) -> None:
    brokers = [mosquitto(), mosquitto()]
    ports = [broker.port for broker in brokers]
    with (
        IndexerProcess(tmp_path / "indexer", *ports) as indexer,
        Box(tmp_path / "box", *ports) as box,
    ):
        arrives(box, indexer, 2)
        for broker in brokers:  # one of them is the agent's, whichever it has chosen
            broker.kill()
            arrives(box, indexer, 3)
            broker.start()
        all_arrives(box, indexer)


def test_no_broker_for_the_whole_start(mosquitto: Start, tmp_path: Path) -> None:
    broker = mosquitto()
    broker.kill()
    with (
        IndexerProcess(tmp_path / "indexer", broker.port) as indexer,
        Box(tmp_path / "box", broker.port) as box,
    ):
        box.wait_rows(5)
        box.kill()
        box.start()
        box.wait_rows(8)
        assert indexer.stored() == []
        broker.start()
        arrives(box, indexer, 8)
        all_arrives(box, indexer)


def test_agent_and_indexer_are_killed_between_store_and_confirmation(
    mosquitto: Start, tmp_path: Path
) -> None:
    broker = mosquitto()
    indexer = IndexerProcess(tmp_path / "indexer", broker.port)
    with indexer, Box(tmp_path / "box", broker.port) as box:
        for _ in range(2):
            arrives(box, indexer, 3)
            indexer.kill()
            box.wait_rows(3)
            box.kill()
            box.start()
            indexer.start()
        arrives(box, indexer, 3)
        all_arrives(box, indexer)


def test_a_broker_that_has_forgotten_everything(mosquitto: Start, tmp_path: Path) -> None:
    """Its persistence is wiped while it holds acknowledged results for an absent indexer."""
    broker = mosquitto()
    indexer = IndexerProcess(tmp_path / "indexer", broker.port)
    with indexer, Box(tmp_path / "box", broker.port) as box:
        arrives(box, indexer, 2)
        indexer.kill()
        wait_for(lambda: any(row["published"] for row in box.rows()), what="something published")
        box.wait_rows(4)
        broker.kill()
        for kept in broker.folder.glob("mosquitto.db*"):
            kept.unlink()
        broker.start()
        indexer.start()
        arrives(box, indexer, 4)
        all_arrives(box, indexer)
