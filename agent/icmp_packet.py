"""ICMP echoes as bytes, and the table of those in flight. Pure: no socket and no clock.

Each echo carries a 64-bit random token of its own, seven times over (56 bytes, like everybody's
ping), since the kernel rewrites the identifier of an unprivileged socket and numbers repeat.

What comes in is told apart like this; only `answered` gives a round trip time:

| token or number is known | payload intact | echo so far        | counts as           |
|--------------------------|----------------|--------------------|---------------------|
| no, or another address   |                |                    | foreign             |
| yes                      | no             |                    | corrupted           |
| yes                      | yes            | open, in time      | answered            |
| yes                      | yes            | open, out of time  | late                |
| yes                      | yes            | ended by an error  | late                |
| yes                      | yes            | answered or late   | duplicate           |
| an error that quotes it  |                | open               | ends it, with a word|
"""

import struct
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

TOKEN_BYTES = 8
PAYLOAD_BYTES = 56

_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, number
_REQUEST = {4: 8, 6: 128}
_REPLY = {4: 0, 6: 129}
_ICMP = {4: 1, 6: 58}

_V4_UNREACHABLE = {
    0: "net_unreachable",
    1: "host_unreachable",
    2: "refused",  # the host takes no ICMP at all
    3: "port_unreachable",
    5: "net_unreachable",
    6: "net_unreachable",
    7: "host_unreachable",
    8: "host_unreachable",
    9: "admin_prohibited",
    10: "admin_prohibited",
    11: "net_unreachable",
    12: "host_unreachable",
    13: "admin_prohibited",
    14: "admin_prohibited",
    15: "admin_prohibited",
}
_V6_UNREACHABLE = {
    0: "net_unreachable",
    1: "admin_prohibited",
    2: "net_unreachable",
    3: "host_unreachable",
    4: "port_unreachable",
    5: "admin_prohibited",
    6: "refused",  # a reject route
    7: "net_unreachable",
}
# The IPv6 headers that may stand before ICMPv6 in a quoted packet, and how many we step over.
_V6_OPTIONS, _V6_FRAGMENT, _V6_AUTH = (0, 43, 60), 44, 51
_V6_MOST_HEADERS = 8


class Reply(NamedTuple):
    ident: int
    seq: int
    payload: bytes
    intact: bool  # its checksum is right, or the kernel has checked it


class Problem(NamedTuple):
    """An ICMP error that quotes an echo request. Routers may quote as little as 8 bytes of it."""

    word: str
    ident: int
    seq: int
    payload: bytes
    to: bytes | None  # where the quoted echo went; None: the kernel has matched it for us


class Counted(NamedTuple):
    """What some echoes to one address gave, one entry an echo in `rtts_ms` and `answered_by`."""

    rtts_ms: tuple[float | None, ...]
    words: tuple[str, ...]  # of the echoes that an error ended
    answered_by: tuple[str | None, ...]
    late: int = 0
    duplicates: int = 0
    corrupted: int = 0


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); 0 over a packet that contains a right one."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def payload_of(token: bytes) -> bytes:
    return token * (PAYLOAD_BYTES // TOKEN_BYTES)


def encode_echo(family: int, ident: int, seq: int, token: bytes) -> bytes:
    """An echo request. The kernel fills in ICMPv6's checksum, as it covers the addresses."""
    payload = payload_of(token)
    bare = _HEADER.pack(_REQUEST[family], 0, 0, ident, seq) + payload
    if family == 6:
        return bare
    return _HEADER.pack(_REQUEST[family], 0, checksum(bare), ident, seq) + payload


def decode_ipv4(data: bytes) -> Reply | Problem | None:
    """What a raw IPv4 socket gave: the packet with its IP header, options and all."""
    inner = _after_ipv4(data)
    return None if inner is None else decode_icmp(4, inner)


def decode_icmp(family: int, data: bytes) -> Reply | Problem | None:
    """An echo reply, an error about an echo request, or None for anything else in the world."""
    if len(data) < _HEADER.size:
        return None
    kind, code, _, ident, seq = _HEADER.unpack_from(data)
    intact = family == 6 or checksum(data) == 0
    if kind == _REPLY[family]:
        return Reply(ident, seq, data[_HEADER.size :], intact)
    word = error_word(family, kind, code)
    if word is None or not intact:
        return None
    return _quoted(family, word, data[_HEADER.size :])


def error_word(family: int, kind: int, code: int) -> str | None:
    """The word for an ICMP error, or None where the message ends no echo (a redirect, say)."""
    if family == 4:
        return "ttl_exceeded" if kind == 11 else _V4_UNREACHABLE.get(code) if kind == 3 else None
    if kind == 4 and code == 1:
        return "refused"  # "unrecognised next header": the host takes no ICMPv6
    return "ttl_exceeded" if kind == 3 else _V6_UNREACHABLE.get(code) if kind == 1 else None


def decode_request(family: int, word: str, request: bytes, to: bytes | None) -> Problem | None:
    """The quoted echo request itself, as the kernel's error queue gives it."""
    if len(request) < _HEADER.size:
        return None
    kind, _, _, ident, seq = _HEADER.unpack_from(request)
    if kind != _REQUEST[family]:
        return None
    return Problem(word, ident, seq, request[_HEADER.size :], to)


def _quoted(family: int, word: str, packet: bytes) -> Problem | None:
    request = _after_ipv4(packet) if family == 4 else _after_ipv6(packet)
    if request is None:
        return None
    to = packet[16:20] if family == 4 else packet[24:40]
    return decode_request(family, word, request, to)


def _after_ipv4(packet: bytes) -> bytes | None:
    """What follows the IPv4 header of an unfragmented (or a first fragment's) ICMP packet."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    header_bytes = (packet[0] & 15) * 4
    fragment_offset = int.from_bytes(packet[6:8]) & 0x1FFF
    if header_bytes < 20 or packet[9] != _ICMP[4] or fragment_offset:
        return None
    return packet[header_bytes:]


def _after_ipv6(packet: bytes) -> bytes | None:
    """The same for IPv6, over a bounded number of extension headers."""
    if len(packet) < 40 or packet[0] >> 4 != 6:
        return None
    following, at = packet[6], 40
    for _ in range(_V6_MOST_HEADERS):
        if following == _ICMP[6]:
            return packet[at:]
        header = packet[at : at + 8]
        if len(header) < 8:
            return None
        if following in _V6_OPTIONS:
            at += 8 + header[1] * 8
        elif following == _V6_AUTH:
            at += 8 + header[1] * 4
        elif following == _V6_FRAGMENT and int.from_bytes(header[2:4]) >> 3 == 0:
            at += 8
        else:
            return None
        following = header[0]
    return None


class _Echo:
    """One echo: open until `rtt_ns`, `word` or `late` is set."""

    __slots__ = ("seq", "token", "sent_ns", "rtt_ns", "word", "late", "answered_by")

    def __init__(self, seq: int, token: bytes, sent_ns: int) -> None:
        self.seq, self.token, self.sent_ns = seq, token, sent_ns
        self.rtt_ns: int | None = None
        self.word: str | None = None
        self.late = False
        self.answered_by: str | None = None


class InFlight:
    """The echoes of one ping to one address, and what has become of each.

    A reply is late by its arrival stamp, never by when we came to read it: a busy box must not
    turn answers into losses.
    """

    def __init__(self, timeout_ns: int, ident: int | None = None, to: bytes | None = None) -> None:
        """`ident` and `to` (a packed address) are checked where given."""
        self.late = self.duplicates = self.corrupted = self.foreign = 0
        self._timeout_ns, self._ident, self._to = timeout_ns, ident, to
        self._by_seq: dict[int, _Echo] = {}
        self._by_token: dict[bytes, _Echo] = {}

    def sent(self, seq: int, token: bytes, sent_ns: int, word: str | None = None) -> None:
        """An echo went out, or `word` says why the box itself would not send it."""
        echo = _Echo(seq, token, sent_ns)
        echo.word = word
        self._by_seq[seq] = self._by_token[token] = echo

    def take(
        self, message: Reply | Problem, arrived_ns: int, source: bytes | None, name: str
    ) -> None:
        """`source` is who sent it (packed) and `name` the same for people."""
        if isinstance(message, Reply):
            self._reply(message, arrived_ns, source, name)
        else:
            self._problem(message, name)

    def settled(self, now_ns: int) -> bool:
        """Nothing that could still be in time is awaited."""
        return not any(self._awaited(echo, now_ns) for echo in self._by_seq.values())

    def counted(self, now_ns: int) -> Counted:
        """What is known by now; an echo that may still be answered in time is left out."""
        echoes = [echo for echo in self._by_seq.values() if not self._awaited(echo, now_ns)]
        return Counted(
            tuple(None if e.rtt_ns is None else round(e.rtt_ns / 1e6, 3) for e in echoes),
            tuple(e.word for e in echoes if e.word is not None),
            tuple(e.answered_by for e in echoes),
            self.late,
            self.duplicates,
            self.corrupted,
        )

    def _awaited(self, echo: _Echo, now_ns: int) -> bool:
        ended = echo.rtt_ns is not None or echo.word is not None or echo.late
        return not ended and now_ns - echo.sent_ns <= self._timeout_ns

    def _reply(self, reply: Reply, arrived_ns: int, source: bytes | None, name: str) -> None:
        by_token = self._by_token.get(reply.payload[:TOKEN_BYTES])
        echo = by_token or self._by_seq.get(reply.seq)
        other_ident = self._ident is not None and reply.ident != self._ident
        other_source = self._to is not None and source != self._to
        if echo is None or other_source or other_ident:
            self.foreign += 1
        elif reply.payload != payload_of(echo.token) or reply.seq != echo.seq or not reply.intact:
            self.corrupted += 1
        elif echo.rtt_ns is not None or echo.late:
            self.duplicates += 1
        elif echo.word is not None or arrived_ns - echo.sent_ns > self._timeout_ns:
            echo.late = True
            self.late += 1
        else:
            echo.rtt_ns = max(0, arrived_ns - echo.sent_ns)
            echo.answered_by = name

    def _problem(self, problem: Problem, name: str) -> None:
        echo = self._by_seq.get(problem.seq)
        token = problem.payload[:TOKEN_BYTES]
        other_ident = self._ident is not None and problem.ident != self._ident
        other_target = None not in (self._to, problem.to) and problem.to != self._to
        other_token = echo is not None and token != echo.token[: len(token)]
        if echo is None or other_ident or other_target or other_token:
            self.foreign += 1
        elif echo.rtt_ns is None and echo.word is None and not echo.late:
            echo.word, echo.answered_by = problem.word, name


def body_of(counted: Counted, ip: str, family: int, method: str | None) -> dict[str, Any]:
    """A result's body. It is ok when any echo was answered; else `error` has the commonest word."""
    came = [rtt for rtt in counted.rtts_ms if rtt is not None]
    sent = len(counted.rtts_ms)
    commonest = Counter(counted.words).most_common(1)
    return {
        "ip": ip,
        "family": family,
        "method": method,
        "ok": bool(came),
        "error": None if came else commonest[0][0] if commonest else "timeout",
        "sent": sent,
        "received": len(came),
        "loss_pct": round(100 * (sent - len(came)) / sent, 1) if sent else None,
        "late": counted.late,
        "duplicates": counted.duplicates,
        "corrupted": counted.corrupted,
        "rtt_ms": _spread(came),
        "rtts_ms": list(counted.rtts_ms),
    }


def _spread(rtts_ms: Iterable[float]) -> dict[str, float] | None:
    rtts = list(rtts_ms)
    if not rtts:
        return None
    mean = sum(rtts) / len(rtts)
    spread = (sum((rtt - mean) ** 2 for rtt in rtts) / len(rtts)) ** 0.5
    named = {"min": min(rtts), "avg": mean, "max": max(rtts), "stddev": spread}
    return {name: round(value, 3) for name, value in named.items()}
