"""The swarm's processes and wires: started, killed, cut off, filled up, and healed.

Every part (agent, broker, indexer) lives in a network namespace of its own, wired to one bridge.
Nothing here can reach the world. All this runs inside namespaces that __main__ has made, and ends
with that process.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests import needs
from tests.torture.fakeclock import Setting, load
from tests.torture.plan import Swarm

ROOT = Path(__file__).resolve().parent.parent.parent
BRIDGE = "torture"
SMALL_DISK = "1536k"
STORE_DISK = "512m"
PORT = 1883
CUT_OFF_DAYS = 40
KEEP_DAYS = "3650"  # a box that never knew the time says the year it was built
NS_PER_S = 1_000_000_000


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")


class Part:
    """One process in its namespace, and the wire to it."""

    def __init__(self, name: str, number: int, folder: Path, env: dict[str, str]) -> None:
        self.name, self.folder, self.address = name, folder, f"10.66.0.{number}"
        self.argv: list[str] = []
        self.disturbed_s = 0.0  # monotonic: the last time that we touched it
        self._wire = f"v{number}"
        self._env = os.environ | env
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._holder = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE)
        self._lay_wire()

    def _lay_wire(self) -> None:
        pid, ours = self._holder.pid, os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{pid}/ns/net") == ours:
            time.sleep(0.005)
        _run("ip", "link", "add", self._wire, "type", "veth", "peer", "name", "eth0", "netns",
             str(pid))  # fmt: skip
        _run("ip", "link", "set", self._wire, "master", BRIDGE, "up")
        for words in (
            f"address add {self.address}/24 dev eth0",
            "link set eth0 up",
            "link set lo up",
        ):
            _run("nsenter", f"--net=/proc/{pid}/ns/net", "ip", *words.split())

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def ended(self) -> int | None:
        """How it ended by itself: its exit code, once."""
        if self._process is None or self._process.poll() is None:
            return None
        code, self._process = self._process.returncode, None
        return code

    def start(self) -> None:
        if self.running:
            return
        self.disturbed_s = time.monotonic()
        inside = ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *self.argv]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                inside, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=self._env
            )

    def end(self, how: signal.Signals = signal.SIGKILL) -> bool:
        """Whether there was anything to end."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return False
        self.disturbed_s = time.monotonic()
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"{self.name} does not end within a minute of SIGTERM") from None
        return True

    def signal(self, what: signal.Signals) -> bool:
        if not self.running or self._process is None:
            return False
        self.disturbed_s = time.monotonic()
        self._process.send_signal(what)
        return True

    def go_on(self) -> None:
        """After a pause; no harm when there was none."""
        self.signal(signal.SIGCONT)

    def cut(self) -> None:
        self.disturbed_s = time.monotonic()
        _run("ip", "link", "set", self._wire, "down")

    def mend(self) -> None:
        self.disturbed_s = time.monotonic()
        _run("ip", "link", "set", self._wire, "up")

    def log_end(self, size: int = 1500) -> str:
        text = (self.folder / "log").read_text(errors="replace")
        return text[-size:]


class World:
    """All parts of a swarm, by name."""

    def __init__(self, swarm: Swarm, folder: Path, factor: float, mutant: str | None) -> None:
        self.swarm, self.folder, self.factor = swarm, folder, factor
        self._env = {"FAST": str(factor), "MUTANT": mutant or "", "PYTHONUNBUFFERED": "1"}
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "address", "add", "10.66.0.1/24", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        self.parts: dict[str, Part] = {}
        for number, name in enumerate([*swarm.brokers, *swarm.indexers, *swarm.agents], 2):
            self.parts[name] = Part(name, number, folder / name, self._env)
        self.store = self._disk("store", STORE_DISK) / "swarm.db"
        for number, name in enumerate(swarm.brokers):
            self.parts[name].argv = self._broker(self.parts[name], number)
        for name in swarm.indexers:
            self.parts[name].argv = self._indexer(name)
        for number, name in enumerate(swarm.agents):
            if name in swarm.small_disks:
                self._disk(f"{name}/disk", SMALL_DISK)
            else:
                (folder / name / "disk").mkdir()
            self.reboot(name, first=True)
            self.parts[name].argv = self._agent(name, number)

    def _disk(self, name: str, size: str) -> Path:
        where = self.folder / name
        where.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={size}", "torture", str(where))
        return where

    # --- who runs how ---

    def _broker(self, part: Part, number: int) -> list[str]:
        binary = needs.tool("mosquitto")
        lines = [f"listener {PORT} 0.0.0.0", "allow_anonymous true", "user root",
                 "persistence true", f"persistence_location {part.folder}/"]  # fmt: skip
        if number % 2 == 0:  # as shipped; the others are stock
            lines += ["autosave_interval 5", "max_inflight_messages 1000",
                      "max_queued_messages 10000", "persistent_client_expiration 1d"]  # fmt: skip
        conf = part.folder / "mosquitto.conf"
        conf.write_text("\n".join(lines) + "\n")
        return [binary, "-c", str(conf)]

    def _indexer(self, name: str) -> list[str]:
        brokers = [f"{self.parts[one].address}:{PORT}" for one in self.swarm.brokers[:-1]]
        return [sys.executable, "-m", "tests.torture.indexer", "run", *brokers,
                "--store", f"sqlite:{self.store}", "--keep", KEEP_DAYS, "--listen", "off",
                "--name", name]  # fmt: skip

    def _agent(self, name: str, number: int) -> list[str]:
        folder = self.folder / name
        brokers = [f"{self.parts[one].address}:{PORT}" for one in self.swarm.brokers]
        targets = " ".join(f"127.0.0.{last}" for last in range(1, 9)) + " http://127.0.0.9/"
        options = ["--flush", "2"] if number % 3 == 1 else []
        if number % 7 == 3:
            options += ["--link", "lte", "--budget", "1000GB"]
        elif number % 7 != 5:
            options += ["--link", "ethernet"]
        return [sys.executable, "-m", "tests.torture.agent", str(folder), "run", *brokers,
                "--name", name, "--journal", f"{folder}/disk/journal.db", "--targets", targets,
                "--allow-private", "127.0.0.0/8", *options]  # fmt: skip

    def flush_s(self, name: str) -> float:
        return 2.0 if "--flush" in self.parts[name].argv else 0.0

    # --- clocks. Every fourth box has no real-time clock, every fourth nobody to ask about the time

    def clockwork(self, name: str) -> str:
        kinds = ("ntp", "no rtc", "ntp", "nobody")
        return kinds[self.swarm.agents.index(name) % 4]

    def reboot(self, name: str, first: bool = False) -> None:
        """The box starts anew: another boot id, a boot clock near zero, perhaps a wrong time."""
        kind, boot_ns = self.clockwork(name), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wrong_ns = -CUT_OFF_DAYS * 86_400 * NS_PER_S if kind == "no rtc" else 0
        said = {"ntp": True, "no rtc": False, "nobody": None}[kind]
        Setting(secrets.token_hex(16), 20 * NS_PER_S - boot_ns, wrong_ns, said).save(
            self.folder / name
        )

    def step(self, name: str, by_s: float) -> None:
        """The first sync of a box without a clock; where nobody can be asked, any step."""
        now = load(self.folder / name)
        if self.clockwork(name) == "no rtc":
            now = now._replace(wall_shift_ns=0, synchronised=True)
        elif self.clockwork(name) == "nobody":
            now = now._replace(wall_shift_ns=int(by_s * NS_PER_S))
        now.save(self.folder / name)

    # --- disks ---

    def fill(self, where: Path) -> None:
        """Not a byte is left."""
        with open(where / "filler", "ab", buffering=0) as filler:
            for size in (1 << 20, 1 << 12, 1 << 9):
                try:
                    while filler.write(b"\0" * size) == size:
                        pass
                except OSError:
                    continue

    def free(self, where: Path) -> None:
        (where / "filler").unlink(missing_ok=True)

    # --- brokers ---

    def wipe(self, name: str) -> None:
        """All that the broker has kept is gone."""
        for kept in self.parts[name].folder.glob("mosquitto.db*"):
            kept.unlink()

    def close(self) -> None:
        for part in self.parts.values():
            part.end()

    def remove(self) -> None:
        for disk in ["store", *(f"{name}/disk" for name in self.swarm.small_disks)]:
            _run("umount", "-l", str(self.folder / disk))
        shutil.rmtree(self.folder, ignore_errors=True)

    def agents(self) -> list[Part]:
        return [self.parts[name] for name in self.swarm.agents]


def describe(world: World) -> dict[str, Any]:
    """What goes to the top of the report."""
    swarm = world.swarm
    return {"agents": len(swarm.agents), "brokers": len(swarm.brokers),
            "indexers": len(swarm.indexers), "fast": world.factor}  # fmt: skip
