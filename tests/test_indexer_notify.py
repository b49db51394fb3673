"""The supervisor hears that an indexer is ready, how it is, that it turns, and that it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.indexer_process import IndexerProcess
from tests.servers import free_port, mosquitto, wait_for
from tests.test_notify import Supervisor


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(str(tmp_path / "notify"))
    yield made
    made.close()


def told(folder: Path) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "600000"}


def test_an_indexer_says_that_it_is_ready_turns_and_ends(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    broker = mosquitto(tmp_path / "broker")
    store = f"sqlite:{tmp_path}/store.db"
    indexer = IndexerProcess(
        tmp_path, [broker.port], store, "indexer-one", environment=told(tmp_path)
    )
    wait_for(lambda: supervisor.heard("READY=1"))
    wait_for(lambda: supervisor.heard("STATUS=1 of 1 brokers, 0 agents here, store: ok"))
    wait_for(lambda: supervisor.look().count("WATCHDOG=1") > 3)
    assert not supervisor.heard("STOPPING=1")
    os.kill(indexer.pid, signal.SIGTERM)
    assert indexer.wait_end() == 0
    assert supervisor.heard("STOPPING=1")
    broker.stop()


def test_an_indexer_that_waits_for_its_store_is_ready_and_says_for_what(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    store = f"elasticsearch:http://127.0.0.1:{free_port()}"
    indexer = IndexerProcess(
        tmp_path, [free_port()], store, "indexer-one", environment=told(tmp_path)
    )
    wait_for(lambda: supervisor.heard("STATUS=waiting for the store: http://127.0.0.1"))
    wait_for(lambda: supervisor.heard("WATCHDOG=1"))
    assert supervisor.words[0] == "READY=1"
    indexer.kill()
