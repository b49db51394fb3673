"""Real agents in a network of their own: what the tests of the whole agent share.

``alone()`` moves the test itself into a new network namespace, so that everything it starts is in
there too: brokers, agents, indexers. Nothing of it can reach the world.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent import wire
from agent.store_view import ViewError, view
from indexer.store_sqlite import SqliteStore
from tests import needs
from tests.indexers import Client
from tests.netlab import Namespace
from tests.servers import wait_for

ROOT = Path(__file__).resolve().parent.parent
LOOPBACKS = tuple(f"127.0.0.{last}" for last in range(1, 9))
_CLONE_NEWNET = 0x40000000
_WAIT_S = 60.0


@contextlib.contextmanager
def alone() -> Iterator[Namespace]:
    """The caller's thread, and what it starts, has only a loopback."""
    needs.namespaces()
    namespace = Namespace()
    namespace.allow_pings()
    with open("/proc/thread-self/ns/net", "rb") as home:
        with open(f"/proc/{namespace.pid}/ns/net", "rb") as inside:
            _enter(inside.fileno())
        try:
            yield namespace
        finally:
            _enter(home.fileno())
            namespace.close()


def _enter(handle: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Box:
    """An agent in a hurry, as a process: probes loopbacks, keeps its journal in the folder."""

    def __init__(
        self,
        folder: Path,
        *words: object,
        name: str = "box",
        targets: str | None = " ".join(LOOPBACKS),
        fast: int = 100,
    ) -> None:
        self.folder, self.name = folder, name
        self.journal = folder / "journal.db"
        folder.mkdir(parents=True, exist_ok=True)
        self._words = [
            f"127.0.0.1:{word}" if isinstance(word, int) else str(word) for word in words
        ]
        self._words += ["--name", name, "--journal", str(self.journal)]
        self._words += ["--allow-private", "127.0.0.0/8"]
        self._words += ["--targets", targets] if targets is not None else []
        self._environ = environ(fast)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Box:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, *more: str) -> None:
        command = [sys.executable, "-m", "tests.fast_agent", "run", *self._words, *more]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=ROOT, env=self._environ
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, "the agent is not running"
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def ended(self) -> int:
        """Its exit status, once it has ended."""
        assert self._process is not None
        return self._process.wait(_WAIT_S)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.ended()

    def signal(self, name: str) -> None:
        os.kill(self.pid, getattr(signal, f"SIG{name}"))

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def told(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What a command about this journal says."""
        command = [sys.executable, "-m", "agent.cli", *words, "--journal", str(self.journal)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=self._environ, check=False
        )

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the journal's file; the agent may be running or not."""
        try:
            seen = view(str(self.journal))
        except ViewError:
            return []
        try:
            return [json.loads(line) for line in seen.export()]
        except ViewError:
            return []  # it is being made
        finally:
            seen.close()

    def wait_rows(self, count: int) -> list[dict[str, Any]]:
        """Once so many rows are in the file."""

        def come() -> bool:
            assert self.runs, f"the agent has ended:\n{self.log}"
            return len(self.rows()) >= count

        wait_for(come, _WAIT_S, f"{count} rows")
        return self.rows()


def environ(fast: int) -> dict[str, str]:
    """Ours, without what would configure an agent."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("SWARMING_")}
    return ours | {"FAST": str(fast), "PYTHONPATH": str(ROOT)}


def identities(rows: list[dict[str, Any]]) -> set[tuple[str, int]]:
    return {(row["epoch"], row["seq"]) for row in rows}


def heard(client: Client, agent: str = "box") -> list[wire.Result]:
    """Every result that the client saw of this agent, resent ones too."""
    found = []
    client.look()
    for topic, payload, _ in list(client.messages):
        if topic in (wire.ping_topic(agent), wire.batch_topic(agent)):
            message = wire.read(topic, payload)
            assert isinstance(message, wire.Results)
            found += message.results
    return found


def heard_identities(client: Client, agent: str = "box") -> set[tuple[str, int]]:
    return {(result.epoch, result.seq) for result in heard(client, agent)}


def about(client: Client, agent: str = "box") -> dict[str, Any]:
    """The last that the agent said of itself; empty: nothing yet."""
    said = client.payloads(wire.agent_topic(agent))
    if not said or not said[-1]:
        return {}
    message = wire.read(wire.agent_topic(agent), said[-1])
    assert isinstance(message, wire.About)
    return message.facts


class IndexerProcess:
    """An indexer as a process, without its page, and what its store has."""

    def __init__(self, folder: Path, *ports: int, more: tuple[str, ...] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._log = folder / "store.db", folder / "indexer.log"
        python = os.environ.get("INDEXER_PYTHON", sys.executable)  # it wants a newer paho than we
        self._command = [python, "-m", "indexer.cli", "run"]
        self._command += [f"127.0.0.1:{port}" for port in ports]
        self._command += ["--store", f"sqlite:{self._path}", "--listen", "off", *more]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> IndexerProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd=ROOT, env=environ(1)
            )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stored(self, agent: str = "box") -> list[wire.Result]:
        """Every row that the store has of this agent; one that is stored twice would be twice."""
        if not self._path.exists():
            return []
        store = SqliteStore(str(self._path))
        try:
            return list(store.results(0, 1 << 50, agent=agent))
        finally:
            store.close()


def complete(results: list[wire.Result]) -> bool:
    """Of each epoch every seq from 1 on, once."""
    epochs: dict[str, list[int]] = {}
    for result in results:
        epochs.setdefault(result.epoch, []).append(result.seq)
    return all(sorted(seqs) == list(range(1, len(seqs) + 1)) for seqs in epochs.values())
