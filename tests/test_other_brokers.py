"""The same agent and indexer over other brokers: the same rows end up in the store.

Gaps of theirs, skipped by name: amqtt and NATS speak no MQTT 5.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import wire
from tests.agent_bed import Box, IndexerProcess, alone, complete
from tests.servers import Server, wait_for

BACKLOG = 25  # more than 20: it goes as a batch
BROKERS = [
    ("mosquitto", "5"),
    ("mosquitto", "3.1.1"),
    ("amqtt", "3.1.1"),
    ("nats", "3.1.1"),
    ("mochi", "3.1.1"),
    ("mochi", "5"),
]


@pytest.fixture(scope="module", autouse=True)
def own_network() -> Iterator[None]:
    with alone():
        yield


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A journal that a real agent filled while it had no broker, and its rows."""
    folder = tmp_path_factory.mktemp("measured")
    with Box(folder) as box:
        box.wait_rows(BACKLOG)
        assert box.told("pause").returncode == 0
        assert box.stop() == 0
        return folder, box.rows()


@pytest.mark.parametrize(("broker", "version"), BROKERS)
def test_the_same_rows_over(
    broker: str,
    version: str,
    measured: tuple[Path, list[dict[str, Any]]],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    start: Callable[[], Server] = request.getfixturevalue(broker)
    port = start().port
    folder, rows = measured
    shutil.copytree(folder, tmp_path / "box")
    box = Box(tmp_path / "box", port, "--mqtt", version)
    indexer = IndexerProcess(tmp_path / "indexer", port, more=("--mqtt", version))
    with indexer, box:
        wait_for(lambda: len(indexer.stored()) >= len(rows), 90, f"the rows:\n{box.log}")
        assert [as_row(result) for result in indexer.stored()] == [as_kept(row) for row in rows]
        wait_for(lambda: box.rows() == [], 60, f"the confirmations:\n{box.log}\n{indexer.log}")
        assert box.told("resume").returncode == 0
        wait_for(lambda: len(indexer.stored()) >= len(rows) + 3, 60, f"live results:\n{box.log}")
        assert f"MQTT {version}" in box.log
        assert box.stop() == 0
        wait_for(lambda: complete(indexer.stored()), what="no gap in any epoch")


def as_row(result: wire.Result) -> dict[str, Any]:
    head = {"epoch": result.epoch, "seq": result.seq, "time": wire.rfc3339(result.time_ms)}
    return head | json.loads(json.dumps(result.body))


def as_kept(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("clock", "published")}
