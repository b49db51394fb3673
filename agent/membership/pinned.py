"""One HTTPS POST to a server that is known by its certificate's fingerprint, and by nothing else.

No authority vouches for an operator's page, and its host may be an address. So neither chain nor
name is looked at: the certificate must be the very one whose SHA-256 the invitation carries, and
until that is seen, not a byte of what we have to say goes out.
"""

import hashlib
import hmac
import socket
import ssl
import time
from typing import NamedTuple

from agent import dial
from agent.link import http

EXCHANGE_S = 20.0
MOST_BYTES = 64 * 1024
_NO_PAGE = "is that the page's port, as in the operator's line?"


class PinnedError(Exception):
    """There is no answer; one line says why."""


class Impostor(PinnedError):
    """Another certificate than the one that was named: it was told nothing."""


class Server(NamedTuple):
    host: str
    port: int
    fingerprint: str  # SHA-256 of its certificate in DER, as hex digits in lower case

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"


def post(server: Server, path: str, body: bytes) -> http.Reply:
    """The reply to this JSON, or PinnedError."""
    try:
        plain = dial.reach(server.host, server.port)
        with dial.secured(plain, _any_certificate(), server.host) as sock:
            _check(sock, server)
            return http.parse(_exchange(sock, _request(server, path, body)))
    except dial.DialError as error:
        said = f"no TLS handshake succeeds: {_NO_PAGE}" if error.stage == "tls" else str(error)
        raise PinnedError("no answer in time" if "in time" in str(error) else said) from None
    except (OSError, ValueError) as error:
        raise PinnedError(_plain(error)) from error


def _plain(error: OSError | ValueError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        wants = "CERTIFICATE_REQUIRED" in (error.reason or "")
        said = "wants a certificate" if wants else "ends the connection"
        return f"it {said}, as a broker does: {_NO_PAGE}"
    if isinstance(error, ValueError):
        return f"what answers there is no page: {_NO_PAGE}"
    return error.strerror or "the connection was lost"


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # _check looks, and more closely
    return context


def _check(sock: ssl.SSLSocket, server: Server) -> None:
    shown = hashlib.sha256(sock.getpeercert(binary_form=True) or b"").hexdigest()
    if not hmac.compare_digest(shown, server.fingerprint):
        raise Impostor(
            f"{server} shows another certificate than the one in the invitation: it has been told "
            "nothing. Ask the operator for a new line; if that is refused too, somebody is between"
        )


def _request(server: Server, path: str, body: bytes) -> bytes:
    lines = (
        f"POST {path} HTTP/1.0",
        f"Host: {server}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + body


def _exchange(sock: socket.socket, request: bytes) -> bytes:
    """All that comes until the other side closes; bounded in time and bytes."""
    until_s = time.monotonic() + EXCHANGE_S
    sock.settimeout(EXCHANGE_S)
    sock.sendall(request)
    answer = bytearray()
    while len(answer) <= MOST_BYTES:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        sock.settimeout(left_s)
        try:
            part = sock.recv(8192)
        except ssl.SSLEOFError:  # some close without a word
            part = b""
        if not part:
            return bytes(answer)
        answer += part
    raise PinnedError("the answer is longer than any that was asked for")
