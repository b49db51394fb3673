"""The whole of Swarming on one machine: broker, indexer with its page, and one agent.

Each part is a process of its own, as it would be in the field; this one starts them, prints one
line per result, and ends them in order. Data stays in the folder and is used again.
"""

import argparse
import fcntl
import json
import os
import queue
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent import connection, targets, wire
from indexer.house_lines import line, listed
from indexer.references import OWN_LOOPBACK, REFERENCES

START_S = 30
ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # the last: its terminal was closed
SETTLE_S = 3  # for the broker's retained list, and the indexer's own last one


class HouseError(Exception):
    """A part did not start, or died; one line says which."""


@contextmanager
def sole(folder: Path) -> Iterator[Callable[[str], None]]:
    """Nobody else has this folder meanwhile, or HouseError. What is yielded leaves a word about
    us for who comes second."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "house.lock", "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise HouseError(f"the data cannot be kept in {folder}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            where = lock.read(200).strip() or f"in {folder}, about to start"
            raise HouseError(f"already running: {where}") from None
        lock.truncate(0)

        def tell(word: str) -> None:
            lock.write(word)
            lock.flush()

        yield tell


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
        self.mosquitto = _mosquitto()
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
        command = _broker_command(self.mosquitto, self.folder, self.broker_port)
        self.start("broker", command, self._broker_listens)

    def start_indexer(self) -> None:
        listen = f"127.0.0.1:{self.page_port}"
        store = f"sqlite:{self.folder / 'swarming.db'}"
        command = [sys.executable, "-m", "indexer.cli", "run", self.broker]
        command += ["--store", store, "--listen", listen, *self._version()]
        self.start("indexer", command, self._page_answers)

    def start_agent(self) -> None:
        command = [sys.executable, "-m", "agent.cli", "run", self.broker]
        command += ["--journal", str(self.folder / "journal.db")]
        command += ["--allow-private", f"{OWN_LOOPBACK}/32", "--place", "this machine"]
        command += ["--swarm", os.devnull]  # though this machine may have joined a swarm
        command += self._version()
        self.start("agent", command, lambda: True)

    def commands(self, target: str) -> list[str]:
        """What can be asked of this house from another terminal, to be copied."""
        agent, indexer = (
            _near(Path(sys.executable).with_name(f"swarming-{name}"))
            for name in ("agent", "indexer")
        )
        return [
            f"{agent} status --journal {_near(self.folder / 'journal.db')}",
            f"{indexer} verdict {shlex.quote(target)} "
            f"--store sqlite:{_near(self.folder / 'swarming.db')}",
        ]

    def _version(self) -> list[str]:
        """aMQTT says nothing to who asks it for MQTT 5: each try would wait for ten seconds."""
        return [] if self.mosquitto else ["--mqtt", "3.1.1"]

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
        self.own: dict[str, str] = {}  # agent: the list that goes before everybody's
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
                self._connection.subscribe([wire.WATCH, "watch/+", "ping/+", "ping/+/batch"])
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
            self._heed(message)
        return [message]

    def _heed(self, list_: wire.Watch) -> None:
        if list_.agent is not None and list_.text is None:
            self.own.pop(list_.agent, None)
        elif list_.agent is not None:
            self.own[list_.agent] = list_.text or ""
        elif list_.text is not None:  # zero bytes change nothing for those who have it
            self.watch = list_.text


def _near(path: Path) -> str:
    """The path as it is typed from here."""
    near = os.path.relpath(path)
    return shlex.quote(str(path) if near.startswith("..") else near)


def _mosquitto() -> str | None:
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def _broker_command(mosquitto: str | None, folder: Path, port: int) -> list[str]:
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
        listener.watch = text
    house.start_agent()
    if beside is not None:
        beside(house.broker)
    _tell_start(house, listener)
    try:
        while True:
            house.check()
            for said in _news(listener):
                print(said, flush=True)
    finally:
        listener.close()


def _news(listener: Listener) -> list[str]:
    """What came within a second: results, and lists that are others than before."""
    watched, own = listener.watch, dict(listener.own)
    came = [one for one in listener.messages(1) if isinstance(one, wire.Results)]
    said = [line(result) for message in came for result in message.results]
    if listener.watch != watched:
        said.append(listed(None, listener.watch))
    changed = dict(own.items() ^ listener.own.items())
    return said + [listed(agent, listener.own.get(agent)) for agent in sorted(changed)]


def _tell_start(house: House, listener: Listener) -> None:
    """Where the page is, what is watched, and the commands that work here."""
    print(f"Open {house.url} (results come within a minute; Ctrl-C ends everything)")
    print(listed(None, listener.watch))
    for agent, text in sorted(listener.own.items()):
        print(listed(agent, text))
    first = (listener.watch or "").split()[:1] or ["TARGET"]
    print("From another terminal:")
    for command in house.commands(first[0]):
        print(f"  {command}")
    sys.stdout.flush()


def _told_to_end(*_: object) -> None:
    """Once: whoever presses Ctrl-C again would leave parts behind."""
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(
    argv: Sequence[str] | None = None,
    before: Callable[[Path], object] | None = None,
    beside: Callable[[str], object] | None = None,
) -> int:
    """Runs until it is told to end (0) or until a part fails (1); bad targets: 2.

    ``before`` is called with the folder once it is ours and nothing runs; ``beside`` with the
    broker's address once everything does.
    """
    parser = argparse.ArgumentParser(prog="house", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("var"), help="where the data stays")
    parser.add_argument("--targets", default=os.environ.get("TARGETS", ""))
    options = parser.parse_args(argv)
    for number in ENDS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, _told_to_end)
    words = options.targets.strip()
    try:
        first_list(words)
    except HouseError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        with sole(options.folder) as tell:
            if before is not None:
                before(options.folder)
            house = House(options.folder.resolve(), free_port(8080), free_port(1883))
            tell(house.url)
            try:
                live(house, words, beside)
            finally:
                house.end()
    except KeyboardInterrupt:
        print("\nEnding…", flush=True)
    except HouseError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or 'this machine'}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
