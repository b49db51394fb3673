"""Real MQTT servers on free loopback ports, started and ended by a test."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import needs


def wait_for(condition: Callable[[], Any], timeout_s: float = 30, what: str = "") -> Any:
    """The condition's first true value; the test fails when it stays false."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout_s} s in vain for {what or condition}")
        time.sleep(0.02)


def free_port() -> int:
    """A loopback TCP port that nobody listens on, below those that the kernel gives to clients."""
    for _ in range(200):
        port = random.randrange(15000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("200 ports in a row are taken")


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


class Server:
    """One server process, up once it is made; start() brings it back on the same port."""

    def __init__(self, folder: Path, command: Callable[[Path, int], list[str]]) -> None:
        self.folder = folder
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(5):
            self.port = free_port()
            try:
                self.start()
                return
            except RuntimeError:
                if attempt == 4:
                    raise

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        command = self._command(self.folder, self.port)
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder
            )
        end = time.monotonic() + 60
        while not accepts(self.port):
            if self._process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended at once:\n{self.log[-2000:]}")
            if time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"{command[0]} does not listen:\n{self.log[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """The process stops dead without a word: its sockets stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(how)
        if how is signal.SIGTERM:
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def mosquitto(folder: Path, lines: tuple[str, ...] = ()) -> Server:
    """Mosquitto, keeping its state in the folder; anybody may in, unless the lines say else."""
    binary = needs.tool("mosquitto")

    def command(folder: Path, port: int) -> list[str]:
        conf = [f"listener {port} 127.0.0.1", "persistence true", f"persistence_location {folder}/"]
        if not any(line.startswith("allow_anonymous") for line in lines):
            conf.append("allow_anonymous true")
        if os.geteuid() == 0:
            conf.append("user root")
        path = folder / "mosquitto.conf"
        path.write_text("\n".join([*conf, *lines]) + "\n")
        return [binary, "-c", str(path)]

    return Server(folder, command)


def amqtt(folder: Path) -> Server:
    """amqtt, in pure Python: MQTT 3.1.1 alone, nothing on disk."""
    beside = Path(sys.executable).with_name("amqtt")
    binary = str(beside) if beside.exists() else needs.tool("amqtt")

    def command(folder: Path, port: int) -> list[str]:
        path = folder / "amqtt.yaml"
        path.write_text(
            f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{port}\n"
            "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n"
            "    allow_anonymous: true\n"
        )
        return [binary, "-c", str(path)]

    return Server(folder, command)


def nats(folder: Path) -> Server:
    """NATS with its MQTT listener. Optional everywhere."""
    binary = _optional("nats-server")

    def command(folder: Path, port: int) -> list[str]:
        path = folder / "nats.conf"
        path.write_text(
            f"server_name: test\nlisten: 127.0.0.1:{free_port()}\n"
            f'jetstream {{ store_dir: "{folder}/jetstream" }}\n'
            f'mqtt {{ listen: "127.0.0.1:{port}" }}\n'
        )
        return [binary, "-c", str(path)]

    return Server(folder, command)


def mochi(folder: Path) -> Server:
    """mochi-mqtt's own command, which Go installs under the name `cmd`. Optional everywhere."""
    binary = _optional("mochi", "cmd")

    def command(folder: Path, port: int) -> list[str]:
        others = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        return [binary, "-tcp", f"127.0.0.1:{port}", "-ws", others[0], "-info", others[1]]

    return Server(folder, command)


def _optional(*names: str) -> str:
    folders = os.environ.get("PATH", "") + ":" + os.path.expanduser("~/go/bin")
    for name in names:
        path = shutil.which(name, path=folders)
        if path:
            return path
    pytest.skip(f"this machine has no {names[0]}, which is optional")
