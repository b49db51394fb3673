"""One Elasticsearch or OpenSearch process: started, killed, frozen, and asked over HTTP.

What is asked goes past the product's own client, so that a test sees what the engine really holds.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

NOBODY = 65534
USER = "admin"
UP_WITHIN_S = 150


class Secrets(NamedTuple):
    """What a client needs to be let in."""

    ca: str
    password: str


class Engine:
    """One engine process, on the same port and data however often it is started."""

    def __init__(
        self,
        home: Path,
        port: int,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        secrets: Secrets | None = None,
        temporary: bool = False,
    ) -> None:
        self.home = home
        self.port = port
        self.ca = secrets.ca if secrets else None
        self.password = secrets.password if secrets else None
        self.url = f"{'https' if secrets else 'http'}://127.0.0.1:{port}"
        self._command = command
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(home), **(environment or {})}
        self._temporary = temporary
        self._process: subprocess.Popen[bytes] | None = None
        tls = ssl.create_default_context(cafile=self.ca) if secrets else None
        self._http = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
        )
        atexit.register(self.end)

    @property
    def pid(self) -> int:
        """The server's own process; Elasticsearch's launcher is another, its parent."""
        launched = self._running().pid
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int((self.home / "pid").read_text())
        return launched

    @property
    def log(self) -> str:
        return (self.home / "log").read_text(errors="replace")

    def start(self, *, wait: bool = True) -> None:
        """The process, up and ready for writes; without wait only launched."""
        assert self._process is None, "the engine is running already"
        (self.home / "pid").unlink(missing_ok=True)
        with open(self.home / "log", "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env=self._environment,
                start_new_session=True,  # a group of its own, so that signals reach all of it
                **_other_user(),
            )
        if wait:
            self.wait_up()

    def wait_up(self, status: str = "yellow", timeout_s: float = UP_WITHIN_S) -> None:
        """Until the cluster's health is at least the status."""
        end = time.monotonic() + timeout_s
        while not self._is(status):
            if self._running().poll() is not None:
                raise RuntimeError(f"the engine has ended:\n{self.log[-3000:]}")
            if time.monotonic() > end:
                raise RuntimeError(f"the engine is not up in {timeout_s} s:\n{self.log[-3000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """It ends in its own way."""
        if self._process is not None:
            self.thaw()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(60)
            self.kill()

    def kill(self) -> None:
        """It ends at once, as by kill -9, and is gone when this returns."""
        if self._process is None:
            return
        server = self.pid
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process = None
        while _lives(server):
            time.sleep(0.01)

    def freeze(self) -> None:
        """It stops dead without a word: its sockets stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """Killed, and a temporary home removed."""
        self.kill()
        atexit.unregister(self.end)
        if self._temporary:
            shutil.rmtree(self.home, ignore_errors=True)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        timeout_s: float = 30,
    ) -> tuple[int, Any]:
        """The status and the JSON that it answers, to its superuser or to an API key.

        A list is sent as lines of JSON, for _bulk.
        """
        lines = body if isinstance(body, list) else [] if body is None else [body]
        kind = "application/x-ndjson" if isinstance(body, list) else "application/json"
        request = urllib.request.Request(self.url + path, method=method)
        if lines:
            request.data = "".join(json.dumps(line) + "\n" for line in lines).encode()
            request.add_header("Content-Type", kind)
        if key is not None:
            request.add_header("Authorization", f"ApiKey {key}")
        elif self.password is not None:
            pair = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
            request.add_header("Authorization", f"Basic {pair}")
        try:
            with self._http.open(request, timeout=timeout_s) as answer:
                return answer.status, _parsed(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _parsed(error.read())

    def api_key(
        self, cluster: Sequence[str], indices: Sequence[str], privileges: Sequence[str]
    ) -> str:
        """A new API key, encoded as clients want it, that may do this and nothing else."""
        grants = [{"names": list(indices), "privileges": list(privileges)}] if indices else []
        role = {"cluster": list(cluster), "indices": grants}
        body = {"name": f"test-{uuid.uuid4()}", "role_descriptors": {"test": role}}
        status, made = self.ask("POST", "/_security/api_key", body)
        assert status == 200, made
        return str(made["encoded"])

    def revoke(self, key: str) -> None:
        """The API key is refused from now on."""
        name = base64.b64decode(key).decode().partition(":")[0]
        status, answer = self.ask("DELETE", "/_security/api_key", {"ids": [name]})
        assert status == 200, answer

    def _is(self, status: str) -> bool:
        health = f"/_cluster/health?wait_for_status={status}&timeout=1s"
        try:
            return self.ask("GET", health)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _signal(self, which: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._running().pid, which)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the engine is not running"
        return self._process


def _other_user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def _lives(pid: int) -> bool:
    """Whether the process still holds anything: more than a dead one that nobody has waited for.

    One of many threads looks dead as soon as its first thread is; the others may still hold files.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(os.listdir(f"/proc/{pid}/task")) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def _parsed(answer: bytes) -> Any:
    if not answer:
        return None
    try:
        return json.loads(answer)
    except ValueError:
        return answer.decode(errors="replace")
