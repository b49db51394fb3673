"""A connected socket to a broker, with TLS where it is asked for, or a reason, in bounded time.

A resolver, a TCP connect and a TLS handshake may each hang, and do so exactly in the outage that we
are here to record. Each gets 10 seconds. getaddrinfo cannot be cancelled: it runs on a thread of
its own that is left behind when it hangs, and no more than a few may be stuck at a time.
"""

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

STEP_S = 10.0
_MAX_RESOLVING = 8
_resolving = threading.BoundedSemaphore(_MAX_RESOLVING)

NO_CHECK_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME
_MOST_PEM = 256 * 1024
_END = "-----END CERTIFICATE-----"
_PORTS = {"mqtt": 1883, "mqtts": 8883}


class BrokerError(ValueError):
    """Says in one sentence why a text does not name a broker."""


class Broker(NamedTuple):
    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def parse_broker(text: str, tls: bool = False) -> Broker:
    """The broker that `host`, `host:port`, `mqtt://…` or `mqtts://…` names.

    Without a scheme it is TLS on port 8883, or when the caller says so (who has a certificate).
    """
    if not text or not text.isprintable() or " " in text:
        raise BrokerError("a broker is a host, host:port, mqtt://host or mqtts://host")
    bare = "://" not in text
    if bare:
        text = "//" + (f"[{text}]" if _is_address(text) and ":" in text else text)
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise BrokerError(f"{text.removeprefix('//')} is not a broker's address") from None
    if "@" in url.netloc:
        raise BrokerError("a broker's address may not hold a password; use a client certificate")
    if url.scheme not in ("", "mqtt", "mqtts"):
        raise BrokerError(f"{url.scheme}:// is not spoken here; use mqtt:// or mqtts://")
    if not host or host.startswith("-") or url.path.strip("/") or url.query or url.fragment:
        raise BrokerError(f"{text.removeprefix('//')} is not a broker's address")
    if port == 0:
        raise BrokerError("port 0 is no port")
    secure = (tls or port == 8883) if bare else url.scheme == "mqtts"
    return Broker(host, port or _PORTS["mqtts" if secure else "mqtt"], secure)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files of PEM: who we trust, who we are.

    ``dates`` False: this box's clock is known to be wrong, so no certificate is judged by it. Else
    a box without a real-time clock could never reach the broker that brings it the time.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    dates: bool = True


class DialError(Exception):
    """Why there is no socket: str() is one sentence, stage is "resolve", "connect" or "tls"."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage


def dial(broker: Broker, credentials: Credentials, step_s: float = STEP_S) -> socket.socket:
    """A non-blocking socket to the broker, its TLS handshake done; or a DialError."""
    context = _tls_context(credentials) if broker.tls else None
    sock = reach(broker.host, broker.port, step_s)
    return sock if context is None else secured(sock, context, broker.host, step_s)


def reach(host: str, port: int, step_s: float = STEP_S) -> socket.socket:
    """A non-blocking socket to there; or a DialError."""
    sock = _connect(_resolve(host, port, step_s), step_s)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise DialError("connect", _plain(error)) from None
    return sock


def secured(
    sock: socket.socket, context: ssl.SSLContext, host: str, step_s: float = STEP_S
) -> ssl.SSLSocket:
    """The socket, its TLS handshake done; or a DialError, and the socket is closed."""
    try:
        wrapped = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        sock = wrapped
        _shake_hands(wrapped, step_s)
    except ssl.SSLCertVerificationError as error:
        sock.close()
        why = error.verify_message or "it does not match"
        raise DialError("tls", f"the broker's certificate is not good: {why}") from None
    except (OSError, ValueError) as error:
        sock.close()
        raise DialError("tls", f"the TLS handshake failed: {_plain(error)}") from None
    return wrapped


def unknown_words(hosts: Iterable[str]) -> Iterator[str]:
    """Bare words among them of which no name server knows: perhaps misspelt commands. Blocks.

    They can only be told of: at a start the network may be down, and nobody can know.
    """
    for host in filter(is_bare, hosts):
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError):
            yield host


def is_bare(host: str) -> bool:
    """A word that is a host here at most: neither a whole name nor an address."""
    return not set(host) & set(".:") and host != "localhost"


def authorities(path: str) -> str:
    """The certificates after the first one in a file that holds our own first (a .swarm file).

    Ours is no authority: with it and its key, stolen, nobody may pose as the broker.
    """
    with open(path, encoding="ascii", errors="ignore") as file:
        pem = file.read(_MOST_PEM).partition(_END)[2]
    if _END not in pem:
        raise ValueError("there is no authority's certificate after our own")
    return pem


def _tls_context(credentials: Credentials) -> ssl.SSLContext:
    ca, both = credentials.ca, credentials.ca is not None and credentials.ca == credentials.cert
    try:
        context = ssl.create_default_context(
            cafile=None if both else ca, cadata=authorities(ca) if ca and both else None
        )
        # Python 3.13's own strictness: the same broker is as good on every Python.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if both:  # a client's certificate names an agent, which may be called like a host
            context.hostname_checks_common_name = False
        if not credentials.dates:
            context.verify_flags |= NO_CHECK_TIME
        if credentials.cert:
            context.load_cert_chain(credentials.cert, credentials.key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = f"the certificate files cannot be used: {_plain(error)}"
        raise DialError("tls", reason) from None
    return context


def _resolve(host: str, port: int, step_s: float) -> list[tuple[Any, ...]]:
    if _is_address(host):
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:  # its zone is an interface that is not there (now)
            raise DialError("resolve", f"{host} cannot be used: {_plain(error)}") from None
    if not _resolving.acquire(blocking=False):
        raise DialError("resolve", "the resolver is stuck")
    answers: list[list[tuple[Any, ...]] | OSError] = []
    answered = threading.Event()

    def ask() -> None:
        try:
            answers.append(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except OSError as error:
            answers.append(error)
        except UnicodeError as error:  # a name that no resolver is asked about
            answers.append(OSError(str(error)))
        finally:
            _resolving.release()
            answered.set()

    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    if not answered.wait(step_s):
        raise DialError("resolve", f"the resolver has not answered for {host}")
    answer = answers[0]
    if isinstance(answer, OSError):
        raise DialError("resolve", f"{host} cannot be resolved: {_plain(answer)}")
    return answer


def _connect(addresses: list[tuple[Any, ...]], step_s: float) -> socket.socket:
    """The first address that answers; all of them share the time, so that none can eat it up."""
    end = time.monotonic() + step_s
    failure: OSError = OSError("there is no address")
    for nth, (family, kind, protocol, _, address) in enumerate(addresses):
        share_s = (end - time.monotonic()) / (len(addresses) - nth)
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            failure = error
            continue
        try:
            sock.settimeout(max(0.1, share_s))
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise DialError("connect", _plain(failure)) from None


def _shake_hands(sock: ssl.SSLSocket, step_s: float) -> None:
    """The whole handshake within the time, however slowly the other side drips."""
    end = time.monotonic() + step_s
    poll = select.poll()
    while True:
        want = 0
        try:
            sock.do_handshake()
            return
        except ssl.SSLWantReadError:
            want = select.POLLIN
        except ssl.SSLWantWriteError:
            want = select.POLLOUT
        poll.register(sock, want)
        left_s = end - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise TimeoutError


def _is_address(text: str) -> bool:
    with contextlib.suppress(ValueError):
        ip_address(text)
        return True
    return False


def _plain(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
