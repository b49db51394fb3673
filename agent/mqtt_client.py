"""paho's Client as we want it: over a socket of ours, and cheaper where messages are many."""

import socket
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

from paho.mqtt import client as mqtt


class Message(NamedTuple):
    """What is read of a PUBLISH; the names are paho's."""

    topic: str
    payload: bytes
    retain: bool
    mid: int
    qos: int


class Client(mqtt.Client):
    """paho's Client over a socket that is connected already."""

    dialled: socket.socket
    alert: ssl.SSLError | None = None
    farewell: int | None = None  # why the broker says that it ends the connection
    plain: Callable[..., None] | None = None  # takes a Message; where nothing else is to be done

    def _create_socket_connection(self) -> socket.socket:
        return self.dialled

    def _sock_recv(self, size: int) -> bytes:
        # In TLS 1.3 a server says only now what it thinks of our certificate, and paho keeps it.
        try:
            return bytes(super()._sock_recv(size))
        except ssl.SSLError as error:
            self.alert = error
            raise

    def _handle_disconnect(self) -> None:
        # paho before 2.2 reads a reason only where properties follow, and brokers send it alone.
        packet: Any = self._in_packet
        self.farewell = next(iter(packet["packet"]), 0)
        super()._handle_disconnect()

    def _handle_publish(self) -> Any:
        """paho's own reading costs half of what an indexer does for a single result: it makes a
        Properties, a Condition and a log line for each. Whatever is not plain is left to it."""
        if self.plain is None:
            return super()._handle_publish()
        packet: Any = self._in_packet
        version_5 = self._protocol == mqtt.MQTTv5
        message = plain_publish(packet["command"], packet["packet"], version_5)
        if message is None:
            return super()._handle_publish()
        self.plain(self, None, message)
        return mqtt.MQTT_ERR_SUCCESS


def plain_publish(command: int, packet: bytes, properties: bool) -> Message | None:
    """A PUBLISH of QoS 1 (MQTT 5, 3.3), its properties skipped; None for any other."""
    try:
        if command & 0b110 != 0b010:
            return None
        end = 2 + int.from_bytes(packet[:2], "big")
        body = end + 2
        if properties:
            if packet[body] > 127:  # their length has a second byte
                return None
            body += 1 + packet[body]
        if len(packet) < body:
            return None
        topic = str(packet[2:end], "utf-8")
    except (IndexError, UnicodeDecodeError):
        return None
    mid = int.from_bytes(packet[end : end + 2], "big")
    return Message(topic, bytes(packet[body:]), bool(command & 1), mid, 1)
