"""A whole `swarming-indexer run` as a process of its own, watched from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.servers import free_port, wait_for

_ROOT = Path(__file__).parents[1]


class IndexerProcess:
    """Started once, and never again: who wants another makes another."""

    def __init__(
        self,
        folder: Path,
        ports: Sequence[int],
        store: str,
        name: str,
        *more: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.page_port = free_port()
        self._log = folder / f"{name}.log"
        brokers = [f"127.0.0.1:{port}" for port in ports]
        self.command = [sys.executable, "-m", "indexer.cli", "run", *brokers, "--store", store]
        self.command += ["--listen", f"127.0.0.1:{self.page_port}", "--name", name, *more]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=_ROOT,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    @property
    def peak_rss_bytes(self) -> int:
        """The most memory that it has had so far."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the kernel does not say")

    def wait_shares(self, brokers: int, delivers: bool) -> None:
        """It has found out on so many brokers whether a shared subscription delivers."""

        def found_out() -> bool:
            if not delivers:
                return self.log.count("--share is not used") >= brokers
            states = self.asked("/api/brokers").get("brokers", ())
            return [state["shared"] for state in states] == [True] * brokers

        wait_for(found_out, 90, f"{self.name} and what it knows of shares")

    def asked(self, path: str) -> Any:
        """What its page answers; nothing as long as there is no page."""
        try:
            url = f"http://127.0.0.1:{self.page_port}{path}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)
        except OSError:
            return {}

    def wait_end(self, timeout_s: float = 30) -> int:
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
