"""ICMP ping: some echoes to one address, and when each came back.

Three methods, the best that the box allows: an unprivileged ICMP socket, a raw socket, the system's
`ping`. The calling thread paces, sends, and keeps the table of echoes in flight; one receive thread
a ping only stamps what arrives.
"""

import contextlib
import errno
import os
import secrets
import socket
import sys
import threading
import time
from typing import Any

from agent import icmp_packet, icmp_socket, ping_command
from agent.icmp_packet import Counted, InFlight
from agent.ping_command import Plan

_GROUPS = "/proc/sys/net/ipv4/ping_group_range"
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)  # and gaierror: no such zone (%eth0)
_NOTHING = Counted((), (), ())
# After the last echo the table is looked at ever more seldom: each waking costs more than an echo.
_FIRST_LOOK_S, _LAST_LOOK_S = 0.01, 0.5
_CROWD = 1024  # so many packets are not left waiting for the end
_STAMPS_BEGIN_NS = 20_000_000  # Linux turns stamping on a moment after it is asked to


class Pinger:
    """Pings one address at a time, or several from several threads, by methods chosen once."""

    def __init__(self, methods: dict[int, str | None], programs: dict[int, str | None]) -> None:
        """Both by family: "dgram", "raw", "ping" or None; and the path of the system's ping."""
        self.methods = methods
        self._programs = programs
        self._closed = threading.Event()

    @property
    def method(self) -> str | None:
        """The method for IPv4, or the one for IPv6 where there is no IPv4."""
        return self.methods[4] or self.methods[6]

    @property
    def advice(self) -> str | None:
        """The one command that would allow a better method."""
        return None if self.method == "dgram" else advice()

    def ping(
        self,
        ip: str,
        family: int,
        count: int = 10,
        interval_s: float = 1.0,
        timeout_s: float = 5.0,
        ttl: int | None = None,
        stop: threading.Event | None = None,
    ) -> dict[str, Any]:
        """A result's body. A stopped ping tells only of the echoes that were settled by then."""
        plan = Plan(ip, family, count, interval_s, timeout_s, ttl)
        return icmp_packet.body_of(self._carry_out(plan, stop), ip, family, self.methods[family])

    def who_answers(
        self,
        ip: str,
        family: int,
        ttl: int,
        timeout_s: float = 2.0,
        stop: threading.Event | None = None,
    ) -> tuple[str, str | None] | None:
        """One echo that may go `ttl` hops: who answered it, and with which error word if any."""
        counted = self._carry_out(Plan(ip, family, 1, 1.0, timeout_s, ttl), stop)
        if not counted.answered_by or counted.answered_by[0] is None:
            return None
        return counted.answered_by[0], counted.words[0] if counted.words else None

    def close(self) -> None:
        """Pings end: at once, or by their next echo where they were given a `stop` as well."""
        self._closed.set()

    def _carry_out(self, plan: Plan, stop: threading.Event | None) -> Counted:
        method, program = self.methods[plan.family], self._programs.get(plan.family)
        pause = _Pause(stop, self._closed)
        if pause.over():
            return _NOTHING
        try:
            if method == "ping" and program is not None:
                return ping_command.run(program, plan, pause.over)
            if method in ("dgram", "raw"):
                return _exchange(method, plan, pause)
            return _NOTHING._replace(words=("permission",))
        except (PermissionError, FileNotFoundError):  # what was allowed at the start no longer is
            return _NOTHING._replace(words=("permission",))
        except OSError as error:
            if error.errno in _NO_FAMILY or isinstance(error, socket.gaierror):
                return _NOTHING._replace(words=("no_route",))
            raise


def open_pinger() -> Pinger:
    """A pinger with the best method that this box allows, for each family."""
    programs = {family: ping_command.find(family) for family in (4, 6)}
    return Pinger({family: _best_method(family, programs[family]) for family in (4, 6)}, programs)


def advice() -> str:
    """The command, for root, that lets this very program use a better kind of socket."""
    if os.path.exists(_GROUPS):
        return "sysctl -w net.ipv4.ping_group_range='0 2147483647'"
    return f"setcap cap_net_raw+ep {os.path.realpath(sys.executable)}"


def _best_method(family: int, program: str | None) -> str | None:
    for method in ("dgram", "raw"):
        with contextlib.suppress(OSError), icmp_socket.open_socket(method, family):
            return method
    return "ping" if program else None


class _Pause:
    """Waiting that a stop cuts short at once, and a close at the next look where there is both."""

    def __init__(self, stop: threading.Event | None, closed: threading.Event) -> None:
        self._stop, self._closed = stop or closed, closed

    def over(self) -> bool:
        return self._stop.is_set() or self._closed.is_set()

    def until(self, at_ns: int) -> bool:
        """Wait; true if stopped."""
        left_ns = at_ns - time.monotonic_ns()
        if left_ns > 0 and not self.over():
            self._stop.wait(left_ns / 1e9)
        return self.over()


def _exchange(method: str, plan: Plan, pause: _Pause) -> Counted:
    """Send the echoes, never closer than the interval; wait for what may still come in time."""
    address = icmp_socket.address_of(plan.ip, plan.family)
    ident = secrets.randbelow(0x10000)
    table = InFlight(
        round(plan.timeout_s * 1e9),
        ident if method == "raw" else None,  # the kernel checks its own for an unprivileged socket
        icmp_socket.packed(plan.ip),
    )
    # All that can be done beforehand is: an echo a second finds every cache cold.
    tokens = [secrets.token_bytes(icmp_packet.TOKEN_BYTES) for _ in range(plan.echoes)]
    packets = [
        icmp_packet.encode_echo(plan.family, ident, seq, token) for seq, token in enumerate(tokens)
    ]
    with icmp_socket.open_socket(method, plan.family, plan.ttl) as sock:
        receiver = icmp_socket.Receiver(sock, method, plan.family)
        receiver.start()
        try:
            next_ns = time.monotonic_ns() + _STAMPS_BEGIN_NS
            for seq, (token, packet) in enumerate(zip(tokens, packets, strict=True)):
                if pause.until(next_ns):
                    break
                sent_ns, word = icmp_socket.send(sock, packet, address)
                next_ns = time.monotonic_ns() + round(plan.interval_s * 1e9)
                table.sent(seq, token, sent_ns, word)
                if receiver.waiting() > _CROWD:
                    _take(receiver, table)
            _await_rest(receiver, table, pause)
        finally:
            receiver.end()
    _take(receiver, table)
    return table.counted(time.monotonic_ns())


def _await_rest(receiver: icmp_socket.Receiver, table: InFlight, pause: _Pause) -> None:
    look_s = _FIRST_LOOK_S
    _take(receiver, table)
    while not table.settled(now_ns := time.monotonic_ns()):
        if pause.until(now_ns + round(look_s * 1e9)):
            return
        look_s = min(_LAST_LOOK_S, look_s * 2)
        _take(receiver, table)


def _take(receiver: icmp_socket.Receiver, table: InFlight) -> None:
    for message in receiver.messages():
        table.take(message.what, message.arrived_ns, message.source, message.source_name)
