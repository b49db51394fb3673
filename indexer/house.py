"""The whole of Swarming on one machine: broker, indexer with its page, and one agent.

Each part is a process of its own, as it would be in the field; this one starts them, prints one
line per result, and ends them in order. Data stays in the folder and is used again.
"""

import argparse
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent import connection, targets, wire
from indexer.references import OWN_LOOPBACK, REFERENCES

START_S = 30
ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # the last: its terminal was closed
SETTLE_S = 3  # for the broker's retained list, and the indexer's own last one


class HouseError(Exception):
    """A part did not start, or died; one line says which."""


class Part:
    """One child process, its output in a log beside the data."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def check(self) -> None:
        """Raises HouseError once the process has ended."""
        if self.process.poll() is not None:
            last = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["no word"]
            raise HouseError(f"the {self.name} ended: {last[0]} (see {self.log})")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class House:
    """The parts that run, in the order in which they were started."""

    def __init__(self, folder: Path, page_port: int, broker_port: int) -> None:
        self.folder = folder
        self.page_port = page_port
        self.broker_port = broker_port
        self.parts: list[Part] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.page_port}/"

    @property
    def broker(self) -> str:
        return f"mqtt://127.0.0.1:{self.broker_port}"

    def start(self, name: str, command: Sequence[str], ready: Callable[[], bool]) -> None:
        """The part runs and is ready, or HouseError."""
        part = Part(name, command, self.folder)
        self.parts.append(part)
        end = time.monotonic() + START_S
        while not ready():
            part.check()
            if time.monotonic() > end:
                raise HouseError(f"the {name} is not ready after {START_S} s (see {part.log})")
            time.sleep(0.1)

    def start_broker(self) -> None:
        self.start("broker", _broker_command(self.folder, self.broker_port), self._broker_listens)

    def start_indexer(self) -> None:
        listen = f"127.0.0.1:{self.page_port}"
        store = f"sqlite:{self.folder / 'swarming.db'}"
        command = [sys.executable, "-m", "indexer.cli", "run", self.broker]
        command += ["--store", store, "--listen", listen]
        self.start("indexer", command, self._page_answers)

    def start_agent(self) -> None:
        command = [sys.executable, "-m", "agent.cli", "run", self.broker]
        command += ["--journal", str(self.folder / "journal.db")]
        command += ["--allow-private", f"{OWN_LOOPBACK}/32", "--place", "this machine"]
        self.start("agent", command, lambda: True)

    def check(self) -> None:
        for part in self.parts:
            part.check()

    def end(self) -> None:
        """Ends all parts, the last one first."""
        for part in reversed(self.parts):
            part.end()

    def _broker_listens(self) -> bool:
        with socket.socket() as client:
            client.settimeout(1)
            return client.connect_ex(("127.0.0.1", self.broker_port)) == 0

    def _page_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Listener:
    """What the house hears on its own broker."""

    def __init__(self, broker: str) -> None:
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.watch: str | None = None
        self._connection = connection.Connection(
            connection.parse_broker(broker),
            "house",
            post=self.events.put,
            version="3.1.1",
        )
        self._connection.open()

    def messages(self, timeout_s: float) -> list[wire.Message]:
        """What came within the time; subscribes once connected."""
        messages = []
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            try:
                event = self.events.get(timeout=left)
            except queue.Empty:
                break
            if isinstance(event, connection.Opened):
                self._connection.subscribe([wire.WATCH, "ping/+", "ping/+/batch"])
            elif isinstance(event, connection.Received):
                messages += self._read(event)
            elif isinstance(event, (connection.Closed, connection.Refused)):
                raise HouseError(f"the broker closed the connection: {event.reason}")
        return messages

    def publish_watch(self, text: str) -> None:
        self._connection.publish(wire.WATCH, text.encode(), retain=True)

    def close(self) -> None:
        self._connection.close()

    def _read(self, event: connection.Received) -> list[wire.Message]:
        try:
            message = wire.read(event.topic, event.payload)
        except wire.WireError:
            return []
        if isinstance(message, wire.Watch):
            self.watch = message.text
        return [message]


def line(result: wire.Result) -> str:
    """One result for a person."""
    body = result.body
    name = f"{result.agent}  {body.get('target', '')}"
    if body["kind"] == "lost":
        return f"{result.agent}  {body.get('count')} results were dropped by a full journal"
    if body["kind"] == "http" and body.get("phases_ms"):
        total = body["phases_ms"].get("total")
        measured = "" if total is None else f"  {total:.0f} ms  {body.get('status') or ''}"
        return f"{name}  http{measured}  {body.get('error') or ''}".rstrip()
    if body["kind"] == "ladder":
        router, provider = _median(body.get("gateway")), _median(body.get("first_hop"))
        said = f"{name}  router {router}, provider {provider}"
        return f"{said}  {body.get('error') or ''}".rstrip()
    return f"{name}  {_median(body)}  {body.get('error') or ''}".rstrip()


def _median(part: dict[str, Any] | None) -> str:
    rtts = sorted(rtt for rtt in (part or {}).get("rtts_ms") or [] if rtt is not None)
    if not part or not part.get("sent"):
        return "-"
    if not rtts:
        return "no reply"
    lost = part["sent"] - part.get("received", 0)
    return f"{rtts[len(rtts) // 2]:.1f} ms" + (f" ({lost} of {part['sent']} lost)" if lost else "")


def _broker_command(folder: Path, port: int) -> list[str]:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    mosquitto = shutil.which("mosquitto", path=path)
    if mosquitto:
        return [mosquitto, "-c", str(_mosquitto_conf(folder, port))]
    conf = folder / "amqtt.json"  # YAML reads JSON
    anonymous = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listener = {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}
    conf.write_text(json.dumps({"listeners": listener, "plugins": anonymous}))
    return [str(Path(sys.executable).with_name("amqtt")), "-c", str(conf)]


def _mosquitto_conf(folder: Path, port: int) -> Path:
    kept = folder / "broker"
    kept.mkdir(exist_ok=True)
    lines = [
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        "persistence true",
        f"persistence_location {kept}/",
        "max_inflight_messages 1000",
        "max_queued_messages 10000",
        "message_size_limit 131072",
        *(["user root"] if os.geteuid() == 0 else []),
    ]
    conf = folder / "mosquitto.conf"
    conf.write_text("\n".join(lines) + "\n")
    return conf


def free_port(wanted: int) -> int:
    """The wanted loopback port, or another one where that is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise HouseError("no free port on this machine")


def first_list(words: str) -> str:
    """The targets to begin with: what the owner named, else the references and this machine."""
    listed = targets.parse_list(words or " ".join([*REFERENCES, OWN_LOOPBACK]))
    for refused in listed.refused:
        raise HouseError(f"TARGETS: {refused.text}: {refused.reason}")
    return " ".join(target.text for target in listed.targets)


def live(house: House, words: str, beside: Callable[[str], object] | None) -> None:
    """Everything runs, and every result is a line on the terminal, until a part dies."""
    text = first_list(words)
    house.start_broker()
    house.start_indexer()
    listener = Listener(house.broker)
    listener.messages(SETTLE_S)
    if words or listener.watch is None:
        listener.publish_watch(text)
    house.start_agent()
    if beside is not None:
        beside(house.broker)
    print(f"Open {house.url} (results come within a minute; Ctrl-C ends everything)", flush=True)
    print(f"Watching: {text if words else listener.watch or text}", flush=True)
    try:
        while True:
            house.check()
            for message in listener.messages(1):
                for result in message.results if isinstance(message, wire.Results) else ():
                    print(line(result), flush=True)
    finally:
        listener.close()


def _told_to_end(*_: object) -> None:
    """Once: whoever presses Ctrl-C again would leave parts behind."""
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None, beside: Callable[[str], object] | None = None) -> int:
    """Runs until it is told to end (0) or until a part fails (1); bad targets: 2.

    ``beside`` is called with the broker's address once everything runs.
    """
    parser = argparse.ArgumentParser(prog="house", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("var"), help="where the data stays")
    parser.add_argument("--targets", default=os.environ.get("TARGETS", ""))
    options = parser.parse_args(argv)
    for number in ENDS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, _told_to_end)
    house: House | None = None
    try:
        first_list(options.targets)
    except HouseError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        house = House(options.folder.resolve(), free_port(8080), free_port(1883))
        live(house, options.targets, beside)
    except KeyboardInterrupt:
        print("\nEnding…", flush=True)
    except (HouseError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if house is not None:
            house.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
