"""One ICMP socket of Linux: opened, sent to, and read by a thread that stamps what arrives.

A stamp is the kernel's receive time carried over to the monotonic clock, so that neither a busy
processor nor a step of the wall clock looks like a slow network.
"""

import contextlib
import errno
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from agent import icmp_packet
from agent.icmp_packet import Problem, Reply

# Numbers of <asm/socket.h>, <linux/in.h>, <linux/in6.h>, <linux/icmp.h> without a name in Python.
_TIMESTAMPNS = (64, 35)  # SO_TIMESTAMPNS_NEW (64-bit time everywhere), SO_TIMESTAMPNS_OLD
_RECVERR = {4: (socket.IPPROTO_IP, 11), 6: (socket.IPPROTO_IPV6, 25)}  # IP_RECVERR, IPV6_RECVERR
_FILTER = {4: (255, 1), 6: (58, 1)}  # SOL_RAW ICMP_FILTER, SOL_ICMPV6 ICMPV6_FILTER
_TTL = {
    4: (socket.IPPROTO_IP, socket.IP_TTL),
    6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}
_WANTED = {4: (0, 3, 11), 6: (1, 3, 4, 129)}  # the ICMP types that we read
_EXTENDED_ERROR = struct.Struct("=IBBBxII")  # sock_extended_err; the sender's address follows
_FROM_ICMP = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_PROTOCOL = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}

# Why the box itself would not send. No room in a queue is not among them: that is a loss.
_NOT_SENT = {
    errno.EPERM: "permission",
    errno.EACCES: "permission",
    errno.ENETDOWN: "network_down",
    errno.ENODEV: "network_down",
    errno.ENXIO: "network_down",
}
_NO_ROOM = (errno.ENOBUFS, errno.EAGAIN, errno.ENOMEM, errno.EMSGSIZE)

_SEND_TRIES = 3
_MOST_WAITING = 4096  # packets held for the caller; a flood beyond them costs the oldest
_MOST_AT_THE_END = 1024
_OLDEST_STAMP_NS = 2_000_000_000  # an older one only if the wall clock was stepped
_CLOSE_READINGS_NS = 20_000
_UNEXPLAINED_S = 0.01


class Arrival(NamedTuple):
    data: bytes
    source: tuple[Any, ...]
    arrived_ns: int  # monotonic
    error: bytes | None  # of the error queue: sock_extended_err and an address


class Message(NamedTuple):
    """An arrival that is about echoes."""

    what: Reply | Problem
    arrived_ns: int
    source: bytes
    source_name: str


def open_socket(method: str, family: int, ttl: int | None = None) -> socket.socket:
    """An ICMP socket that stamps what it receives and, if unprivileged, queues ICMP errors."""
    kind = socket.SOCK_DGRAM if method == "dgram" else socket.SOCK_RAW
    sock = socket.socket(_FAMILY[family], kind, _PROTOCOL[family])
    try:
        sock.setblocking(False)
        for option in _TIMESTAMPNS:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, 1)
                break
        if method == "dgram":
            sock.setsockopt(*_RECVERR[family], 1)
        else:
            sock.setsockopt(*_FILTER[family], _filter(family))
        if ttl is not None:
            sock.setsockopt(*_TTL[family], ttl)
    except OSError:
        sock.close()
        raise
    return sock


def _filter(family: int) -> bytes:
    """The kernel's map of ICMP types to keep from us: a busy router wakes nobody for nothing."""
    bits = 32 if family == 4 else 256
    blocked = (1 << bits) - 1
    for kind in _WANTED[family]:
        blocked &= ~(1 << kind)
    words = [blocked >> shift & 0xFFFFFFFF for shift in range(0, bits, 32)]
    return struct.pack(f"={len(words)}I", *words)


def address_of(ip: str, family: int) -> tuple[Any, ...]:
    """What sendto wants for an address with or without a zone. OSError: there is no such zone."""
    found: Any = socket.getaddrinfo(
        ip, None, _FAMILY[family], socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST
    )
    ip, *rest = found[0][4]
    return (ip.partition("%")[0], *rest)  # the zone's name would be looked up at every echo


def packed(ip: str) -> bytes:
    """An address as bytes, without its zone."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return socket.inet_pton(family, ip.partition("%")[0])


def send(sock: socket.socket, packet: bytes, address: tuple[Any, ...]) -> tuple[int, str | None]:
    """When it was sent, and the word for why the box would not send it (None: it went out)."""
    word: str | None = None
    for _ in range(_SEND_TRIES):
        # The error of an *earlier* echo may be raised here, once, in place of sending this one.
        sent_ns = time.monotonic_ns()
        try:
            sock.sendto(packet, address)
            return sent_ns, None
        except OSError as error:
            no_room = error.errno in _NO_ROOM
            word = None if no_room else _NOT_SENT.get(error.errno or 0, "no_route")
    return sent_ns, word


class Receiver(threading.Thread):
    """Reads one socket until it is told to end, and stamps what comes."""

    def __init__(self, sock: socket.socket, method: str, family: int) -> None:
        super().__init__(name="icmp-receive", daemon=True)
        self._arrivals: deque[Arrival] = deque(maxlen=_MOST_WAITING)
        self._socket, self._method, self._family = sock, method, family
        self._wake = os.eventfd(0)

    def waiting(self) -> int:
        """How many packets wait to be read as messages."""
        return len(self._arrivals)

    def messages(self) -> list[Message]:
        """What has arrived since the last call, and is about echoes. For the calling thread."""
        found = []
        while self._arrivals:
            message = _read(self._arrivals.popleft(), self._method, self._family)
            if message is not None:
                found.append(message)
        return found

    def end(self) -> None:
        """What the kernel holds by now is still read."""
        os.eventfd_write(self._wake, 1)
        self.join()
        os.close(self._wake)

    def run(self) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        while self._wake not in (ready := dict(poller.poll())):
            error = ready[self._socket.fileno()] & ~select.POLLIN
            if not (error and self._receive(socket.MSG_ERRQUEUE)) and not self._receive():
                time.sleep(_UNEXPLAINED_S)  # an error that nothing explains must not make us spin
        for _ in range(_MOST_AT_THE_END):
            if not self._receive() and not self._receive(socket.MSG_ERRQUEUE):
                break

    def _receive(self, flags: int = 0) -> bool:
        """Take one packet, or one entry of the error queue; false if there is none."""
        try:
            data, ancillary, _, source = self._socket.recvmsg(2048, 512, flags)
        except BlockingIOError:
            return False
        except OSError:
            return True  # an echo's error: taken off here, and told in full by the error queue
        error = _queued_error(ancillary) if flags else None
        if not flags or error is not None:
            self._arrivals.append(Arrival(data, source, arrived_ns(ancillary), error))
        return True


def arrived_ns(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """The kernel's stamp on the monotonic clock; now, where there is none or it can't be true."""
    now_ns, wall_ns = _both_clocks()
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind in _TIMESTAMPNS and len(data) in (8, 16):
            seconds, nanoseconds = struct.unpack("=qq" if len(data) == 16 else "=ii", data)
            age_ns = wall_ns - (seconds * 1_000_000_000 + nanoseconds)
            if 0 <= age_ns <= _OLDEST_STAMP_NS:
                return now_ns - int(age_ns)
    return now_ns


def _both_clocks() -> tuple[int, int]:
    """Monotonic and wall time of the same moment: read again if something came between."""
    for _ in range(3):
        before_ns = time.monotonic_ns()
        wall_ns = time.time_ns()
        after_ns = time.monotonic_ns()
        if after_ns - before_ns < _CLOSE_READINGS_NS:
            break
    return after_ns, wall_ns


def _queued_error(ancillary: Sequence[tuple[int, int, bytes]]) -> bytes | None:
    levels = _RECVERR.values()
    return next((data for level, kind, data in ancillary if (level, kind) in levels), None)


def _read(arrival: Arrival, method: str, family: int) -> Message | None:
    if arrival.error is not None:
        return _read_error(arrival, arrival.error, family)
    raw = method == "raw" and family == 4
    what = icmp_packet.decode_ipv4(arrival.data) if raw else None
    if not raw:
        what = icmp_packet.decode_icmp(family, arrival.data)
    name = str(arrival.source[0])
    return what and Message(what, arrival.arrived_ns, packed(name), name)


def _read_error(arrival: Arrival, error: bytes, family: int) -> Message | None:
    """The echo that the error queue quotes, and who complained about it."""
    if len(error) < _EXTENDED_ERROR.size:
        return None
    _, origin, kind, code, _, _ = _EXTENDED_ERROR.unpack_from(error)
    word = icmp_packet.error_word(family, kind, code) if origin in _FROM_ICMP else None
    offender = error[_EXTENDED_ERROR.size :]
    source = offender[4:8] if family == 4 else offender[8:24]  # of a sockaddr_in, a sockaddr_in6
    if word is None or len(source) != (4 if family == 4 else 16):
        return None
    to = packed(str(arrival.source[0])) if arrival.source else None
    problem = icmp_packet.decode_request(family, word, arrival.data, to)
    name = socket.inet_ntop(_FAMILY[family], source)
    return problem and Message(problem, arrival.arrived_ns, source, name)
