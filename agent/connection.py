"""One MQTT connection: made once, told as events, thrown away. Nothing here ever blocks the caller.

A paho Client that reconnects sends again, from RAM, what it had queued for another broker; so each
connection has a Client of its own, and reconnect() is never called. The connection's own thread
dials, waits for the CONNACK and drives paho's loop; all that happens there is posted as an event.
Its last event is Refused (it never opened), Closed (it did), or Crashed. After close() there is
none. An exception in a callback would end that thread without a word: it is posted as Crashed,
with the exception in it, for the owner to raise.
"""

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.dial import (
    STEP_S,
    Broker,
    BrokerError,
    Credentials,
    DialError,
    dial,
    is_bare,
    parse_broker,
    unknown_words,
)
from agent.mqtt_client import Client
from agent.mqtt_events import (
    CONNACK_3,
    ENDS,
    NO_SUBSCRIBERS,
    NOT_AUTHORIZED,
    QUOTA_EXCEEDED,
    REFUSALS,
    SILENT,
    TAKEN_OVER,
    UNSUPPORTED_VERSION,
    Acknowledged,
    Closed,
    Crashed,
    Event,
    NotConnected,
    Opened,
    Received,
    Refused,
    Subscribed,
)

__all__ = [
    "NEWEST",
    "NOT_AUTHORIZED",
    "NO_SUBSCRIBERS",
    "QUOTA_EXCEEDED",
    "TAKEN_OVER",
    "UNSUPPORTED_VERSION",
    "WITH_PAHO_2",
    "Acknowledged",
    "Broker",
    "BrokerError",
    "Closed",
    "Connection",
    "Crashed",
    "Credentials",
    "Event",
    "NotConnected",
    "Opened",
    "Received",
    "Refused",
    "Subscribed",
    "is_bare",
    "parse_broker",
    "unknown_words",
]

_CALLBACKS = getattr(mqtt, "CallbackAPIVersion", None)
WITH_PAHO_2 = _CALLBACKS is not None
NEWEST = "5" if WITH_PAHO_2 else "3.1.1"

_PROTOCOLS = {"5": mqtt.MQTTv5, "3.1.1": mqtt.MQTTv311, "3.1": mqtt.MQTTv31}
_WINDOW = 20  # QoS 1 messages in flight; paho's own default, less where a broker grants less
_MAX_INCOMING = 4 << 20  # bytes of one message, where MQTT 5 lets us say it
_TICK_S = 0.5  # how late a deadline may be noticed
_GOODBYE_S = 1.0  # how long close() waits for its DISCONNECT to leave
_LOST, _PROTOCOL, _KEEPALIVE = 7, 2, 16  # paho's own error numbers


class Connection:
    """Made, opened once, closed or lost, and never used again."""

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        *,
        post: Callable[[Event], None],
        version: str = NEWEST,
        credentials: Credentials | None = None,
        will: tuple[str, bytes] | None = None,
        keepalive_s: int = 30,
        clean: bool = True,
        expiry_s: int = 0,
        receive_maximum: int | None = None,
        manual_ack: bool = False,
        step_s: float = STEP_S,
    ) -> None:
        if manual_ack and not WITH_PAHO_2:
            raise ValueError("acknowledging by hand needs paho-mqtt 2")
        self.broker = broker
        self.version = version
        self.client_id = _short(client_id) if version == "3.1" else client_id
        self._post_event = post
        self._credentials = credentials or Credentials()
        self._will = will
        self._keepalive_s = keepalive_s
        self._clean = clean
        self._expiry_s = expiry_s
        self._receive_maximum = receive_maximum
        self._manual_ack = manual_ack
        self._step_s = step_s
        self._client: Client | None = None
        self._opened_at_s: float | None = None
        self._refusal: tuple[str, int | None] | None = None
        self._told: tuple[int, bool] | None = None  # how it ended: code, said by the broker
        self._stumble = ""
        self._crash: Exception | None = None
        self._close_by_s: float | None = None  # monotonic; set by close()
        self._sent = 0
        self._acknowledged = 0
        self._lock = threading.Lock()  # over these two alone
        self._asked: dict[int, tuple[str, ...]] = {}
        self._granted: dict[int, list[int]] = {}
        self._thread = threading.Thread(target=self._live, name=f"mqtt {broker}", daemon=True)

    def open(self) -> None:
        """Returns at once; Opened or Refused follows."""
        self._thread.start()

    def publish(self, topic: str, payload: bytes, retain: bool = False, qos: int = 1) -> int:
        """Hands one message over; its token comes back in Acknowledged."""
        client = self._open_client()
        self._sent += 1
        info = client.publish(topic, payload, qos=qos, retain=retain)
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            self._sent -= 1
            raise NotConnected(str(self.broker))
        return int(info.mid)

    def subscribe(self, topics: Sequence[str], qos: int = 1) -> None:
        """Asks for the topics; Subscribed says what the broker made of it."""
        client = self._open_client()
        code, mid = client.subscribe([(topic, qos) for topic in topics])
        if code != mqtt.MQTT_ERR_SUCCESS or mid is None:
            raise NotConnected(str(self.broker))
        with self._lock:
            codes = self._granted.pop(mid, None)
            if codes is None:
                self._asked[mid] = tuple(topics)
        if codes is not None:
            self._subscribed(tuple(topics), codes)

    def acknowledge(self, message: Any) -> None:
        """The broker may forget the message. Too late for a lost connection, which is no harm."""
        client = self._client
        if client is not None:
            client.ack(message.mid, message.qos)

    def close(self, disconnect: bool = True) -> None:
        """Ends it: with a goodbye, or so that the broker sends the will. No event follows."""
        self._close_by_s = time.monotonic() + _GOODBYE_S
        client = self._client
        if client is None:
            return  # still dialling, which may hang: its thread will find out
        if disconnect and self._opened_at_s is not None:
            client.disconnect()
            self._thread.join(_GOODBYE_S)
        else:
            _cut(client.socket())

    @property
    def is_open(self) -> bool:
        return self._client is not None and self._opened_at_s is not None

    @property
    def waiting(self) -> int:
        """How many published messages have no PUBACK yet."""
        return max(0, self._sent - self._acknowledged)

    @property
    def sock(self) -> Any:
        """The socket, for those who count its traffic; None when there is none."""
        client = self._client
        return None if client is None else client.socket()

    def _open_client(self) -> Client:
        client = self._client
        if client is None or self._opened_at_s is None or self._close_by_s is not None:
            raise NotConnected(str(self.broker))
        return client

    def _post(self, event: Event) -> None:
        if self._close_by_s is None or isinstance(event, Crashed):
            self._post_event(event)

    # From here on, all runs on the connection's own thread.

    def _live(self) -> None:
        try:
            try:
                sock = dial(self.broker, self._credentials, self._step_s)
            except DialError as error:
                self._post(Refused(self, str(error), None, error.stage))
                return
            with contextlib.closing(sock):
                if self._close_by_s is not None:
                    return
                end = self._talk(sock)
            if self._crash is not None:
                raise self._crash
            self._post(end)
        except Exception as error:
            self._post(Crashed(self, error))

    def _talk(self, sock: socket.socket) -> Event:
        """Drives paho's loop until the connection is over, and says how it ended."""
        client = self._make_client(sock)
        client.connect(self.broker.host, self.broker.port, self._keepalive_s, **self._session())
        if client.socket() is not sock:
            raise RuntimeError("this version of paho-mqtt opens sockets of its own")
        self._client = client
        connack_by_s = time.monotonic() + self._step_s
        code: int = 0
        while not code and self._crash is None:
            try:
                code = client.loop(_TICK_S)
            except Exception as error:
                # paho stumbled, over what it read as a rule; our own callbacks are guarded.
                code, self._stumble = _PROTOCOL, f" ({error!r})"
            now_s = time.monotonic()
            if self._opened_at_s is None and now_s > connack_by_s:
                self._client = None
                return Refused(self, "the broker has not answered in time", None, "connack")
            if self._close_by_s is not None and now_s > self._close_by_s:
                break
        self._client = None
        if self._opened_at_s is None and client.alert is not None:
            reason = client.alert.reason or str(client.alert)
            return Refused(self, f"the broker broke TLS off: {reason}", None, "tls")
        return self._ended(code)

    def _ended(self, code: int) -> Event:
        told, by_broker = self._told or (code, False)
        if self._opened_at_s is None:
            if self._refusal is not None:
                return Refused(self, *self._refusal, "connack")
            if code == _PROTOCOL:
                reason = f"the broker does not answer in MQTT{self._stumble}"
                return Refused(self, reason, None, "connack")
            guess = "; perhaps it does not accept our certificate" if self.broker.tls else ""
            return Refused(self, f"the broker closed the connection at once{guess}", None, "closed")
        after_s = time.monotonic() - self._opened_at_s
        if by_broker:
            reason = ENDS.get(told, f"the broker closed the connection with code 0x{told:02X}")
            return Closed(self, reason, told, after_s)
        if told in (_KEEPALIVE, SILENT):
            return Closed(self, ENDS[SILENT], None, after_s)
        if code == _PROTOCOL:
            reason = f"the broker sent what is not MQTT{self._stumble}"
            return Closed(self, reason, None, after_s)
        return Closed(self, "the connection was lost", None, after_s)

    def _make_client(self, sock: socket.socket) -> Client:
        options: dict[str, Any] = {"client_id": self.client_id, "reconnect_on_failure": False}
        options["protocol"] = _PROTOCOLS[self.version]
        if self.version != "5":
            options["clean_session"] = self._clean
        if _CALLBACKS is not None:
            options["callback_api_version"] = _CALLBACKS.VERSION2
            options["manual_ack"] = self._manual_ack
        client = Client(**options)
        client.dialled = sock
        if self._will is not None:
            client.will_set(*self._will, qos=1, retain=True)
        # With this callback paho leaves all writing to loop(), and so to this thread.
        client.on_socket_register_write = lambda *_: None
        client.on_connect = self._guarded(self._on_connect)
        client.on_disconnect = self._guarded(self._on_disconnect)
        client.on_publish = self._guarded(self._on_publish)
        client.on_message = self._guarded(self._on_message)
        if self._manual_ack:
            client.plain = client.on_message
        client.on_subscribe = self._guarded(self._on_subscribe)
        return client

    def _session(self) -> dict[str, Any]:
        if self.version != "5":
            return {}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._expiry_s
        properties.MaximumPacketSize = _MAX_INCOMING
        if self._receive_maximum is not None:
            properties.ReceiveMaximum = self._receive_maximum
        return {"clean_start": self._clean, "properties": properties}

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """The callback without paho's first two arguments; what it raises ends the connection."""

        def guarded(_client: Any, _userdata: Any, *rest: Any) -> None:
            try:
                callback(*rest)
            except Exception as error:
                self._crash = error

        return guarded

    def _on_connect(self, flags: Any, reason: Any, properties: Any = None) -> None:
        code = _code(reason)
        if self.version != "5":
            code = CONNACK_3.get(code, code)
        if code != 0:
            told = REFUSALS.get(code, f"the broker refused the connection with code 0x{code:02X}")
            self._refusal = (told, code)
            return
        receive_maximum = getattr(properties, "ReceiveMaximum", None)
        assert self._client is not None
        # paho looks at neither the broker's window nor, once connected, at max_inflight_…_set().
        self._client._max_inflight_messages = min(_WINDOW, receive_maximum or _WINDOW)
        self._opened_at_s = time.monotonic()
        present = flags["session present"] if isinstance(flags, dict) else flags.session_present
        max_packet = getattr(properties, "MaximumPacketSize", None)
        self._post(Opened(self, max_packet, receive_maximum, bool(present)))

    def _on_disconnect(self, *rest: Any) -> None:
        farewell = self._client.farewell if self._client is not None else None
        if farewell is not None:
            self._told = (farewell, True)
        elif len(rest) == 3:  # paho 2: flags, reason code, properties
            self._told = (_code(rest[1]), rest[0].is_disconnect_packet_from_server)
        else:
            self._told = (_code(rest[0]), False)

    def _on_publish(self, mid: int, reason: Any = 0, _properties: Any = None) -> None:
        self._acknowledged += 1
        self._post(Acknowledged(self, mid, _code(reason)))

    def _on_message(self, message: Any) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # not a topic that anybody could have asked for
            if self._manual_ack:
                self.acknowledge(message)
            return
        self._post(Received(self, topic, bytes(message.payload), bool(message.retain), message))

    def _on_subscribe(self, mid: int, granted: Any, _properties: Any = None) -> None:
        codes = [_code(code) for code in granted]
        with self._lock:
            topics = self._asked.pop(mid, None)
            if topics is None:  # faster than subscribe() could note what it had asked for
                self._granted[mid] = codes
        if topics is not None:
            self._subscribed(topics, codes)

    def _subscribed(self, topics: tuple[str, ...], codes: list[int]) -> None:
        granted = dict(zip(topics, codes, strict=False))
        denied = tuple(topic for topic in topics if granted.get(topic, 0x80) >= 0x80)
        self._post(Subscribed(self, topics, not denied, denied))


def _code(reason: Any) -> int:
    """The number of a reason: paho says it as a number or as an object, by its version."""
    return int(getattr(reason, "value", reason))


def _short(client_id: str) -> str:
    """A client id that MQTT 3.1 takes: at most 23 characters, and the same for the same name."""
    if len(client_id) <= 23:
        return client_id
    return client_id[:14] + hashlib.sha256(client_id.encode()).hexdigest()[:8]


def _cut(sock: Any) -> None:
    """Ends the TCP connection under the feet of the thread that reads it, which then notices."""
    if sock is None:
        return
    with contextlib.suppress(OSError):
        copy = socket.socket(fileno=os.dup(sock.fileno()))
        with contextlib.closing(copy):
            copy.shutdown(socket.SHUT_RDWR)
