"""An MQTT publisher that costs as little as it can, so that others are what is measured.

Messages are made into packets beforehand and sent many at a time; of what comes back, PUBACKs are
only counted.
"""

import select
import socket
from collections.abc import Iterable
from typing import NamedTuple


class Came(NamedTuple):
    """What the broker sent: how many PUBACKs, and messages on ack/+."""

    pubacks: int
    messages: list[tuple[str, bytes]]


class Publisher:
    """One MQTT 3.1.1 connection that reads ack/+."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.send(_packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x00" + _text("bench")))
        self.send(_packet(0x82, b"\x00\x01" + _text("ack/+") + b"\x01"))

    def send(self, packets: bytes) -> None:
        self._sock.sendall(packets)

    def came(self, timeout_s: float) -> Came:
        if not select.select([self._sock], [], [], timeout_s)[0]:
            return Came(0, [])
        data = self._sock.recv(1 << 20)
        if not data:
            raise SystemExit("the broker has closed the connection")
        data, at, pubacks = self._buffer + data, 0, 0
        messages, answers = [], b""
        while at + 4 <= len(data):
            if data[at] == 0x40:
                at, pubacks = at + 4, pubacks + 1
                continue
            length, start = _length(data, at + 1)
            if length is None or start + length > len(data):
                break
            if data[at] >> 4 == 3:
                topic_end = start + 2 + int.from_bytes(data[start : start + 2], "big")
                answers += b"\x40\x02" + data[topic_end : topic_end + 2]
                topic = data[start + 2 : topic_end].decode()
                messages.append((topic, data[topic_end + 2 : start + length]))
            at = start + length
        self._buffer = data[at:]
        if answers:
            self.send(answers)
        return Came(pubacks, messages)


def packets(messages: Iterable[tuple[str, bytes]]) -> list[bytes]:
    """PUBLISH packets at QoS 1; no more than 65,535 may wait for their PUBACK."""
    return [
        _packet(0x32, _text(topic) + (number % 65535 + 1).to_bytes(2, "big") + payload)
        for number, (topic, payload) in enumerate(messages)
    ]


def _packet(kind: int, body: bytes) -> bytes:
    head, length = bytearray([kind]), len(body)
    while True:
        head.append(length % 128 | (128 if length > 127 else 0))
        length //= 128
        if not length:
            return bytes(head) + body


def _length(data: bytes, at: int) -> tuple[int | None, int]:
    """The packet's remaining length, and where the rest begins; None when it is not all there."""
    length = shift = 0
    while at < len(data):
        byte = data[at]
        length |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return length, at
    return None, at


def _text(text: str) -> bytes:
    return len(text.encode()).to_bytes(2, "big") + text.encode()
