"""What a connection tells its owner, and the words for what a broker may say in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from agent.connection import Connection

# Reason codes, as MQTT 5 numbers them (CONNACK_3 translates what a 3.1.1 CONNACK says).
NO_SUBSCRIBERS = 0x10
UNSUPPORTED_VERSION = 0x84
NOT_AUTHORIZED = 0x87
TAKEN_OVER = 0x8E
SILENT = 0x8D
QUOTA_EXCEEDED = 0x97

CONNACK_3 = {1: UNSUPPORTED_VERSION, 2: 0x85, 3: 0x88, 4: 0x86, 5: NOT_AUTHORIZED}
REFUSALS = {
    UNSUPPORTED_VERSION: "the broker does not speak this version of MQTT",
    0x85: "the broker does not accept this client id",
    0x86: "the broker does not know this user name or password",
    NOT_AUTHORIZED: "the broker does not let this client in",
    0x88: "the broker says that it is unavailable",
    0x89: "the broker says that it is busy",
    0x8A: "the broker has banned this client",
    0x9F: "the broker says that we connect too often",
}
ENDS = {
    TAKEN_OVER: "another client with the same name took the connection over",
    0x8B: "the broker is shutting down",
    SILENT: "the broker has fallen silent",
    0x95: "the broker says that a message was too large",
    0x98: "the broker's administrator closed the connection",
}


class NotConnected(Exception):
    """The connection is not open (yet, or any more)."""


class Opened(NamedTuple):
    connection: Connection
    max_packet: int | None  # bytes, where the broker said so
    receive_maximum: int | None
    session_present: bool


class Refused(NamedTuple):
    """It never opened. Stage: resolve, connect, tls, connack, or closed (by them, without one)."""

    connection: Connection
    reason: str
    code: int | None
    stage: str


class Closed(NamedTuple):
    connection: Connection
    reason: str
    code: int | None
    after_s: float | None  # since the CONNACK


class Acknowledged(NamedTuple):
    connection: Connection
    token: int
    code: int  # 0 on MQTT 3; 0x10 and more: see the constants


class Received(NamedTuple):
    connection: Connection
    topic: str
    payload: bytes
    retain: bool
    message: Any  # for acknowledge()


class Subscribed(NamedTuple):
    connection: Connection
    topics: tuple[str, ...]
    ok: bool
    denied: tuple[str, ...]


class Crashed(NamedTuple):
    connection: Connection
    error: Exception


Event = Opened | Refused | Closed | Acknowledged | Received | Subscribed | Crashed
