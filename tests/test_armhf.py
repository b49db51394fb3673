"""The zipapp on 32-bit ARM, under qemu: it probes, keeps, and drains to a broker over TLS.

Nobody hurries it: the pace is the product's. qemu hands through no SO_TIMESTAMPNS, so the times of
arrival are the receive thread's own.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import wire
from agent.store_view import view
from tests import pythons, zipapp
from tests.agent_bed import IndexerProcess, alone, complete, environ
from tests.certificates import Authority
from tests.servers import Server, free_port, wait_for

Start = Callable[..., Server]

STAMPS = """
import platform, socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
for option in (64, 35):
    try:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    except OSError as error:
        print(error.strerror)
print(platform.machine())
"""


@pytest.fixture(scope="module")
def python() -> Path:
    return pythons.python_3_11_armhf()


@pytest.fixture(autouse=True)
def own_network() -> Iterator[None]:
    with alone():
        yield


def secured(authority: Authority, port: int) -> tuple[str, ...]:
    pair = authority.issue("localhost", ("127.0.0.1",))
    files = (f"cafile {authority.ca}", f"certfile {pair.cert}", f"keyfile {pair.key}")
    return (f"listener {port} 127.0.0.1", *files, "require_certificate true")


def test_the_kernel_stamps_nothing_there(python: Path) -> None:
    """If this fails, qemu has learnt it, and the other test no longer tests the fallback."""
    said = subprocess.run([python, "-c", STAMPS], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == ["Protocol not available"] * 2 + ["armv7l"]


def test_it_probes_and_drains_to_a_broker(
    python: Path, mosquitto: Start, authority: Authority, tmp_path: Path
) -> None:
    port, journal = free_port(), str(tmp_path / "journal.db")
    broker, pair = mosquitto(*secured(authority, port)), authority.issue("arm")
    command = [python, zipapp.build(tmp_path / "swarming-agent.pyz"), f"mqtts://127.0.0.1:{port}"]
    command += ["--ca", authority.ca, "--cert", pair.cert, "--key", pair.key]
    command += ["--journal", journal, "--allow-private", "127.0.0.0/8", "--targets", "127.0.0.2"]
    with (
        IndexerProcess(tmp_path / "indexer", broker.port) as indexer,
        open(tmp_path / "log", "wb") as log,
        subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env=environ(1)) as agent,
    ):
        try:
            echoes = wait_for(lambda: pings(indexer), 120, f"a result; see {tmp_path}/log")
            wait_for(lambda: waits(journal) == 0, what="its confirmation")
        finally:
            agent.terminate()
        assert agent.wait(30) == 0, (tmp_path / "log").read_text()
        wait_for(lambda: complete(indexer.stored("arm")), what="no gap")
    assert "Traceback" not in (tmp_path / "log").read_text()
    probe = echoes[0].body
    assert (probe["target"], probe["method"], probe["received"]) == ("127.0.0.2", "dgram", 10)
    assert all(0 < rtt < 1000 for rtt in probe["rtts_ms"]), json.dumps(probe)


def pings(indexer: IndexerProcess) -> list[wire.Result]:
    """Without the ladder's, which has nothing to climb here."""
    return [result for result in indexer.stored("arm") if result.body["kind"] == "icmp"]


def waits(journal: str) -> int:
    seen = view(journal)
    try:
        return seen.counts.waiting
    finally:
        seen.close()
