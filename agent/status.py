"""A running agent tells its owner how it is, over an abstract Unix socket: no file, no flash.

The loop hands over a snapshot of bytes; a thread gives it to whoever asks and runs as the same user
or as root. The socket's name is made from the journal's path, so each journal has its own.
"""

import contextlib
import hashlib
import os
import signal
import socket
import struct
import threading
import time
from typing import Any

from agent import strict_json, wire
from agent.expiry import WARN_DAYS, in_words

TIMEOUT_S = 3
MAX_BYTES = 1024 * 1024
# systemd from 257 on shows the state of a DynamicUser= as nobody's to all but the service.
_NOBODY = 65534
_DYNAMIC = range(61184, 65520)  # users that it makes up: nobody can log in as one


class StatusError(Exception):
    """The agent cannot be asked; one line says why."""


class NobodyThere(StatusError):
    """No agent runs on this journal, as far as can be seen from here."""


class StatusServer:
    """Answers with the newest snapshot until closed; StatusError where an agent answers already."""

    def __init__(self, journal: str) -> None:
        self.snapshot = b"{}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(_address(journal))
        except OSError as error:
            self._socket.close()
            raise StatusError(f"another agent runs on {journal}") from error
        self._closed = False
        self._socket.listen(4)
        threading.Thread(target=self._serve, name="status", daemon=True).start()

    def close(self) -> None:
        self._closed = True
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                if self._closed:
                    return
                time.sleep(1)  # out of files: not for ever
                continue
            with client:
                client.settimeout(TIMEOUT_S)
                try:
                    if _peer(client)[1] in (0, os.geteuid()):
                        client.sendall(self.snapshot)
                except OSError:
                    continue  # went away before the end


def ask(journal: str) -> dict[str, Any]:
    """The running agent's snapshot, or StatusError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT_S)
        try:
            client.connect(_address(journal))
            _check_owner(client, journal)
            payload = b""
            while (part := client.recv(65536)) and len(payload) < MAX_BYTES:
                payload += part
        except ConnectionRefusedError as error:
            raise NobodyThere(_nobody(journal)) from error
        except OSError as error:
            raise StatusError(f"the agent on {journal} does not answer: {error}") from error
    if not payload:
        raise StatusError(f"the agent on {journal} belongs to another user")
    try:
        facts = strict_json.decode(payload)
    except strict_json.JsonError as error:
        raise StatusError(f"the agent's answer cannot be read: {error}") from error
    return facts if isinstance(facts, dict) else {}


def pid(journal: str) -> int:
    """The process that answers on this journal, by the kernel's word: anybody may bind a name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT_S)
        try:
            client.connect(_address(journal))
        except OSError as error:
            raise NobodyThere(_nobody(journal)) from error
        _check_owner(client, journal)
        found = _peer(client)[0]
    if found <= 0:
        raise StatusError(f"the agent on {journal} runs in another container")
    return found


def wake(journal: str) -> None:
    """Has the running agent read again what its owner wants. StatusError: none runs; OSError."""
    os.kill(pid(journal), signal.SIGHUP)


def text(facts: dict[str, Any]) -> str:
    """Ten lines for a person."""
    about = facts.get("about", {})
    journal = about.get("journal", {})
    rows = [
        ("agent", _agent(about)),
        ("broker", facts.get("broker") or _join("none reached", facts.get("broker_trouble"))),
        ("indexer", facts.get("indexer") or "none online"),
        ("journal", _join(_journal(journal), about.get("silence"))),
        ("clock", _clock(about.get("clock", {}))),
        ("link", _link(about.get("link"))),
        ("list", _list(about.get("list", {}), about.get("refused", []))),
        ("icmp", _icmp(about.get("icmp"), facts.get("icmp_advice"))),
        ("traffic", _traffic(about.get("traffic", {}))),
        ("last", facts.get("last") or "no result yet"),
    ]
    return "\n".join(f"{name:8} {said}" for name, said in rows)


def last_word(result: dict[str, Any]) -> str:
    """One result's body in a few words."""
    target, error = result.get("target"), result.get("error")
    phases, rtt = result.get("phases_ms") or {}, result.get("rtt_ms") or {}
    ms = phases.get("total") if phases else rtt.get("avg")
    said = [str(result.get("kind")), str(target)]
    if ms is not None:
        said.append(f"{ms:.1f} ms")
    if error:
        said.append(wire.ERRORS.get(error, error))
    return " ".join(said)


def _address(journal: str) -> str:
    digest = hashlib.sha256(os.path.realpath(journal).encode()).hexdigest()[:24]
    return f"\0swarming-agent-{digest}"


def _peer(client: socket.socket) -> tuple[int, int]:
    """Its process and its user."""
    size = struct.calcsize("3i")
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    process, user, _ = struct.unpack("3i", credentials)
    return process, user


def _check_owner(client: socket.socket, journal: str) -> None:
    """StatusError where it cannot be the agent: where none runs, any user may take its name, and
    would have root leave its swarm at a broker of that user's."""
    owners = {0, os.geteuid()}
    for path in (journal, os.path.dirname(os.path.abspath(journal))):
        with contextlib.suppress(OSError):
            owners.add(os.stat(path).st_uid)
    peer = _peer(client)[1]
    if peer not in owners and not (_NOBODY in owners and peer in _DYNAMIC):
        raise StatusError(f"the agent on {journal} belongs to another user")


def _join(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part)


def _nobody(journal: str) -> str:
    return f"no agent runs on {journal} (--journal FILE names another)"


def _agent(about: dict[str, Any]) -> str:
    until = about.get("paused_until")
    until = f" until {wire.for_people(str(until))}" if until else ""
    paused = about.get("paused") and f"paused by its owner{until} (swarming-agent resume)"
    return _join(about.get("agent"), f"version {about.get('version')}", paused, _expiry(about))


def _expiry(about: dict[str, Any]) -> str | None:
    """Nothing while there is time."""
    told = about.get("certificate", {})
    days_left = told.get("days_left")
    if days_left is None or days_left >= WARN_DAYS:
        return None
    return in_words(str(told.get("ends")), days_left)


def _icmp(method: str | None, advice: str | None) -> str:
    """How it pings; where that is dear or impossible, what would help."""
    if method in ("dgram", "raw"):
        return f"by {method} sockets"
    said = "by the system's ping" if method else "not possible here"
    return f"{said}; to do better: {advice}" if advice else said


def _journal(journal: dict[str, Any]) -> str:
    said = f"{journal.get('waiting', 0)} not yet confirmed, {journal.get('evicted', 0)} evicted"
    return f"{said}, in memory: {journal['memory']}" if journal.get("memory") else said


def _clock(clock: dict[str, Any]) -> str:
    age = clock.get("age_s")
    return str(clock.get("trust", "?")) + ("" if age is None else f", vouched for {age} s ago")


def _link(link: dict[str, Any] | None) -> str:
    if not link:
        return "unknown"
    return _join(link.get("type"), link.get("iface"), link.get("stated") and "stated by the owner")


def _list(listed: dict[str, Any], refused: list[Any]) -> str:
    targets = listed.get("targets") or []
    said = f"{len(targets)} targets from {listed.get('from')}"
    if not targets and listed.get("from") in (None, "--targets"):
        said = "none yet"
    return f"{said}, {len(refused)} refused" if refused else said


def _traffic(traffic: dict[str, Any]) -> str:
    used = traffic.get("bytes")
    if used is None:
        return "?"
    left = traffic.get("left_bytes")
    said = f"{used / 1e6:.1f} MB since the start"
    return said if left is None else f"{said}, {left / 1e6:.0f} MB left of the budget"
