"""The agent's own bytes on the wire: what probes cost by their results, a broker by TCP_INFO.

Everything counts as a mobile operator would: IP and TCP headers included, Ethernet's not. Pure but
for ``tcp_info``, which asks one socket.
"""

import socket
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

_IP = {4: 20, 6: 40}
_ICMP = 8
_ECHO_PAYLOAD = 56
_TCP = 32  # with time stamps
_TCP_SEGMENT = 1448
_DNS_BYTES = 300  # a question and an answer, for A and for AAAA
_REQUEST_BYTES = 300
_HEADERS_BYTES = 600
_TLS_BYTES = 5000  # a handshake with a chain of certificates, both ways
_SYNS = 4  # of a connection that nobody answers, in ten seconds
_ACKS = 8  # segments without content: handshake, end, and some in between

# struct tcp_info, linux/tcp.h: 8 bytes, 24 words of 32 bits, 4 of 64, 2 of 32 …, 64 bits at 200.
_BYTES_ACKED = struct.Struct("=QQII")  # acked, received, segments out, segments in
_AT_BYTES_ACKED = 120
_BYTES_SENT = struct.Struct("=Q")  # resent ones too; since Linux 4.19
_AT_BYTES_SENT = 200
_TCP_INFO_BYTES = 256


class Tcp(NamedTuple):
    """Counters of one connection since it was opened."""

    sent: int
    received: int
    segments_out: int
    segments_in: int


def tcp_info(sock: socket.socket | None) -> Tcp | None:
    """The kernel's counters for a TCP socket; None where they cannot be had."""
    if sock is None:
        return None
    try:
        raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except (OSError, ValueError):  # closed meanwhile, or not TCP
        return None
    return parse_tcp_info(raw)


def parse_tcp_info(raw: bytes) -> Tcp | None:
    """The counters of a struct tcp_info; None for the short one of an old kernel."""
    if len(raw) < _AT_BYTES_ACKED + _BYTES_ACKED.size:
        return None
    sent, received, out, in_ = _BYTES_ACKED.unpack_from(raw, _AT_BYTES_ACKED)
    if len(raw) >= _AT_BYTES_SENT + _BYTES_SENT.size:
        sent = max(sent, _BYTES_SENT.unpack_from(raw, _AT_BYTES_SENT)[0])
    return Tcp(sent, received, out, in_)


def tcp_bytes(tcp: Tcp, family: int = 4) -> int:
    """On the wire, with headers, both ways."""
    return tcp.sent + tcp.received + (tcp.segments_out + tcp.segments_in) * (_IP[family] + _TCP)


def try_bytes(stage: str, tls: bool) -> int:
    """What a try cost that never became a connection, by where it ended: its socket is gone."""
    header = _IP[4] + _TCP
    if stage == "resolve":
        return _DNS_BYTES
    if stage == "connect":
        return _DNS_BYTES + _SYNS * header
    return _DNS_BYTES + _ACKS * header + (_TLS_BYTES if tls else 0)


class BrokerMeter:
    """What was added since it was last asked, over connections that come and go."""

    def __init__(self) -> None:
        self._connection: object = None
        self._counted = 0

    def read(self, connection: object, tcp: Tcp | None, family: int = 4) -> int:
        """New bytes of this connection. Ask often: what follows the last reading is not seen."""
        if connection is not self._connection:
            self._connection, self._counted = connection, 0
        if tcp is None:
            return 0
        total = tcp_bytes(tcp, family)
        added = max(0, total - self._counted)
        self._counted = max(total, self._counted)
        return added


def probe_bytes(body: Mapping[str, Any]) -> int:
    """What a probe cost, from its result."""
    kind = body.get("kind")
    if kind == "http":
        return _http_bytes(body)
    if kind == "ladder":
        rungs = (body.get("gateway"), body.get("first_hop"))
        return sum(_echo_bytes(rung, 4) for rung in rungs if isinstance(rung, Mapping))
    return _echo_bytes(body, _family(body)) + _DNS_BYTES


def _echo_bytes(body: Mapping[str, Any], family: int) -> int:
    packets = sum(int(body.get(field) or 0) for field in ("sent", "received", "duplicates", "late"))
    return packets * (_IP[family] + _ICMP + _ECHO_PAYLOAD)


def _http_bytes(body: Mapping[str, Any]) -> int:
    """An estimate: the body is known, the rest is what such an exchange takes."""
    phases_ms = body.get("phases_ms") or {}
    header = _IP[_family(body)] + _TCP
    length = int(body.get("bytes") or 0)
    total = _DNS_BYTES + (_ACKS + int(body.get("retrans") or 0)) * header
    if phases_ms.get("tls") is not None:
        total += _TLS_BYTES
    if phases_ms.get("connect") is not None:
        total += _REQUEST_BYTES + header
    if body.get("status") is not None:
        total += _HEADERS_BYTES + length + (1 + length // _TCP_SEGMENT) * header * 3 // 2
    return total


def _family(body: Mapping[str, Any]) -> int:
    return 6 if body.get("family") == 6 else 4
