"""The system's `ping`, for a box that gives us no ICMP socket: run it, read what it prints.

Understood are iputils and BusyBox. Neither lets us choose a token or see a reply that is late, so
this is the last resort; iputils also leaves two round trips after its last echo, whatever -W says.
"""

import contextlib
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

from agent.icmp_packet import Counted

_SLICE_S = 0.1
_SPARE_S = 3.0  # for the command to start and to end by itself
_MOST_BYTES = 256 * 1024  # of output; ten echoes print about one thousand

# "icmp_seq=" counts from 1 (iputils), "seq=" from 0 (BusyBox). A name or an address may be printed.
_REPLY = re.compile(r"bytes from (\S+?):? .*?\b(icmp_)?seq=(\d+)")
_TIME = re.compile(r" time[=<]([0-9.]+) ?ms")
_ERROR = re.compile(r"^From (\S+?):? (?:\S+ )?(icmp_)?seq=(\d+) (.+)$")
_SENT = re.compile(r"^(\d+) packets transmitted")
_OWN = re.compile(r"^ping6?: (.+)$")

# What a router or a host said; the first that is contained decides.
_SAID = (
    ("time to live exceeded", "ttl_exceeded"),
    ("time exceeded", "ttl_exceeded"),
    ("reassembly time", "ttl_exceeded"),
    ("prohibited", "admin_prohibited"),
    ("packet filtered", "admin_prohibited"),
    ("precedence", "admin_prohibited"),
    ("port unreachable", "port_unreachable"),
    ("protocol unreachable", "refused"),
    ("unrecognized next header", "refused"),
    ("reject route", "refused"),
    ("host unreachable", "host_unreachable"),
    ("host unknown", "host_unreachable"),
    ("isolated", "host_unreachable"),
    ("address unreachable", "host_unreachable"),
    ("net unreachable", "net_unreachable"),
    ("net unknown", "net_unreachable"),
    ("no route", "net_unreachable"),
    ("source route failed", "net_unreachable"),
    ("beyond scope", "net_unreachable"),
)
# What ping itself could not do, in the words of glibc and of musl.
_COULD_NOT = (
    ("not permitted", "permission"),
    ("permission denied", "permission"),
    ("network is down", "network_down"),
    ("no such device", "network_down"),
    ("unreachable", "no_route"),
    ("no route to host", "no_route"),
    ("cannot assign requested address", "no_route"),
    ("address not available", "no_route"),
    ("address family not supported", "no_route"),
    ("invalid argument", "no_route"),
)


class Plan(NamedTuple):
    """One ping, however it is carried out."""

    ip: str
    family: int
    echoes: int
    interval_s: float
    timeout_s: float
    ttl: int | None


class Echoed(NamedTuple):
    seq: int  # from 0
    source: str
    rtt_ms: float | None  # None: this box's ping printed none
    intact: bool


class Failed(NamedTuple):
    seq: int  # from 0
    source: str
    word: str


class Complained(NamedTuple):
    word: str


def find(family: int) -> str | None:
    """The path of the command for this family, if the box has one."""
    path = os.environ.get("PATH", "") + ":/usr/bin:/bin:/usr/sbin:/sbin"
    if family == 6:
        return shutil.which("ping6", path=path) or shutil.which("ping", path=path)
    return shutil.which("ping", path=path)


def arguments(program: str, plan: Plan) -> list[str]:
    """argv. BusyBox goes by its first word, and messages begin with it: ping or ping6."""
    is_ping6 = os.path.basename(program) == "ping6"
    argv = ["ping6" if is_ping6 else "ping", "-n", "-c", str(plan.echoes), "-s", "56"]
    argv += ["-i", f"{plan.interval_s:g}", "-W", str(max(1, round(plan.timeout_s)))]
    if not is_ping6:
        argv.append(f"-{plan.family}")
    if plan.ttl is not None:
        argv += ["-t", str(plan.ttl)]
    return [*argv, plan.ip]


def read_line(line: str) -> Echoed | Failed | Complained | None:
    """What one line of output says, or None where it says nothing about an echo."""
    reply = _REPLY.search(line)
    if reply is not None:
        took = _TIME.search(line)
        broken = any(mark in line for mark in ("(BAD CHECKSUM!)", "(truncated)", "DIFFERENT"))
        rtt_ms = _number(took[1]) if took else None
        return Echoed(_from_zero(reply[3], reply[2]), reply[1], rtt_ms, not broken)
    error = _ERROR.match(line)
    if error is not None:
        word = _word(_SAID, error[4])
        return word and Failed(_from_zero(error[3], error[2]), error[1], word) or None
    own = _OWN.match(line)
    word = _word(_COULD_NOT, own[1]) if own else None
    return Complained(word) if word else None


def read_output(text: str, plan: Plan) -> Counted:
    """All that a finished ping printed. An echo that it says nothing about is lost."""
    lines = text.splitlines()
    says = [said for said in map(read_line, lines) if said is not None]
    wrong_bytes = sum("wrong data byte" in line for line in lines)
    rtts_ms: list[float | None] = [None] * _sent(lines, plan)
    answered_by: list[str | None] = [None] * len(rtts_ms)
    came: set[int] = set()
    late = duplicates = corrupted = 0
    for said in says:
        if not isinstance(said, Echoed) or not 0 <= said.seq < len(rtts_ms):
            continue
        if not said.intact:
            corrupted += 1
        elif said.seq in came:
            duplicates += 1
        else:
            came.add(said.seq)
            is_late = said.rtt_ms is not None and said.rtt_ms > plan.timeout_s * 1000
            late += is_late
            if not is_late:
                rtts_ms[said.seq] = said.rtt_ms
                answered_by[said.seq] = said.source
    failed = [s for s in says if isinstance(s, Failed) and s.seq not in came]
    for failure in failed:
        if failure.seq < len(answered_by):
            answered_by[failure.seq] = failure.source
    words = tuple(s.word for s in failed) + tuple(s.word for s in says if isinstance(s, Complained))
    return Counted(
        tuple(rtts_ms), words, tuple(answered_by), late, duplicates, corrupted + wrong_bytes
    )


def run(program: str, plan: Plan, stopped: Callable[[], bool]) -> Counted:
    """Ping with the box's own command. Stopped, it tells nothing: an echo cut off is not a loss."""
    environment = {**os.environ, "LC_ALL": "C"}
    deadline = time.monotonic() + plan.echoes * plan.interval_s + plan.timeout_s + _SPARE_S
    with subprocess.Popen(
        arguments(program, plan),
        executable=program,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as ping:
        assert ping.stdout is not None
        output = _read_all(ping.stdout.fileno(), deadline, stopped)
        with contextlib.suppress(ProcessLookupError):
            ping.kill()  # it has ended, or is to end now
    if stopped():
        return Counted((), (), ())
    return read_output(output.decode("utf-8", "replace"), plan)


def _read_all(descriptor: int, deadline: float, stopped: Callable[[], bool]) -> bytes:
    output = b""
    while not stopped() and time.monotonic() < deadline and len(output) < _MOST_BYTES:
        if not select.select([descriptor], [], [], _SLICE_S)[0]:
            continue
        piece = os.read(descriptor, 65536)
        if not piece:
            break
        output += piece
    return output


def _sent(lines: list[str], plan: Plan) -> int:
    """How many were sent: a ping that gave up at once has tried them all, like our own sockets."""
    told = [int(match[1]) for match in map(_SENT.match, lines) if match and len(match[1]) < 6]
    return min(plan.echoes, told[-1]) if told and told[-1] else plan.echoes


def _from_zero(digits: str, iputils: str | None) -> int:
    seq = int(digits[:9])
    return seq - 1 if iputils else seq


def _number(text: str) -> float | None:
    try:
        return round(float(text), 3)
    except ValueError:
        return None


def _word(table: tuple[tuple[str, str], ...], text: str) -> str | None:
    lower = text.lower()
    return next((word for part, word in table if part in lower), None)
