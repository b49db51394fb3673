"""A broker that does exactly what the test says, packet by packet, on a real socket.

The test plays the broker: it accepts, reads what the client sends, and answers, or does not.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

TIMEOUT_S = 30

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14


class Packet(NamedTuple):
    kind: int
    flags: int
    body: bytes


class Publish(NamedTuple):
    topic: str
    mid: int
    payload: bytes
    retain: bool


class ScriptedBroker:
    """Listens on a free loopback port; each accepted connection is a Peer."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TIMEOUT_S)
        self.port: int = self._listener.getsockname()[1]
        self._peers: list[Peer] = []

    def accept(self) -> Peer:
        sock, _ = self._listener.accept()
        peer = Peer(sock)
        self._peers.append(peer)
        return peer

    def welcome(self, **connack: int) -> Peer:
        """The next client, let in."""
        peer = self.accept()
        peer.read_connect()
        peer.connack(**connack)
        return peer

    def close(self) -> None:
        self._listener.close()
        for peer in self._peers:
            peer.close()

    def __enter__(self) -> ScriptedBroker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Peer:
    """The broker's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(TIMEOUT_S)
        self.sock = sock
        self.level = 0  # 3, 4 or 5, once the CONNECT is read

    def read(self) -> Packet:
        first = self._exactly(1)[0]
        length = shift = 0
        while True:
            byte = self._exactly(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        return Packet(first >> 4, first & 0x0F, self._exactly(length))

    def read_connect(self) -> Packet:
        packet = self.read()
        assert packet.kind == CONNECT, packet
        (name_length,) = struct.unpack_from("!H", packet.body)
        self.level = packet.body[2 + name_length]
        return packet

    def read_publish(self) -> Publish:
        packet = self.read()
        assert packet.kind == PUBLISH, packet
        (length,) = struct.unpack_from("!H", packet.body)
        topic = packet.body[2 : 2 + length].decode()
        (mid,) = struct.unpack_from("!H", packet.body, 2 + length)
        start = 4 + length
        if self.level == 5:
            start += 1 + packet.body[start]  # properties, shorter than 128 bytes
        return Publish(topic, mid, packet.body[start:], bool(packet.flags & 1))

    def connack(
        self, code: int = 0, receive_maximum: int | None = None, max_packet: int | None = None
    ) -> None:
        properties = b""
        if receive_maximum is not None:
            properties += struct.pack("!BH", 0x21, receive_maximum)
        if max_packet is not None:
            properties += struct.pack("!BI", 0x27, max_packet)
        tail = bytes([len(properties)]) + properties if self.level == 5 else b""
        self.send(CONNACK, bytes([0, code]) + tail)

    def puback(self, mid: int, code: int | None = None) -> None:
        self.send(PUBACK, struct.pack("!H", mid) + (b"" if code is None else bytes([code])))

    def disconnect(self, code: int) -> None:
        self.send(DISCONNECT, bytes([code]))

    def publish(self, topic: str, payload: bytes) -> None:
        head = struct.pack("!H", len(topic)) + topic.encode()
        self.send(PUBLISH, head + (b"\0" if self.level == 5 else b"") + payload)

    def send(self, kind: int, body: bytes) -> None:
        length = bytearray()
        left = len(body)
        while True:
            left, byte = left >> 7, left & 0x7F
            length.append(byte | (0x80 if left else 0))
            if not left:
                break
        self.sock.sendall(bytes([kind << 4]) + bytes(length) + body)

    def is_quiet(self, for_s: float = 0.3) -> bool:
        """Nothing comes for a moment. What would come later is missed: never proof alone."""
        self.sock.settimeout(for_s)
        try:
            return self.sock.recv(1, socket.MSG_PEEK) == b""
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(TIMEOUT_S)

    def reset(self) -> None:
        """Ends the connection as a dying machine does: no FIN, a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    def _exactly(self, count: int) -> bytes:
        got = b""
        while len(got) < count:
            more = self.sock.recv(count - len(got))
            if not more:
                raise ConnectionError("the client has closed the connection")
            got += more
        return got
