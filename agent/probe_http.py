"""One cold HTTP(S) request, timed in phases that never overlap and add up to its total.

A stamp ends each phase and begins the next:

    resolve   the name's addresses (null for an address)
    connect   SYN sent -> connection open
    tls       the handshake alone
    ttfb      first byte of the request written -> first byte of the response
    transfer  first byte of the response -> its last, or 64 KiB

One deadline holds for all of them together. No retry, no second address, no redirect followed, no
cookie, no session resumed. Whatever the network, the server or the resolver does gives a body; an
exception is a bug of ours, or this box without a file handle left.
"""

import contextlib
import errno
import functools
import os
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from agent import wire
from agent.http_message import BadResponse, Incomplete, Response, request, retry_after_s
from agent.resolve import Address, ResolveError, Resolver, as_literal, choose
from agent.targets import Policy, Target, refusal

TIMEOUT_S = 15.0
PHASES = ("resolve", "connect", "tls", "ttfb", "transfer")

_PORTS = {"http": 80, "https": 443}
_RECV_BYTES = 16 * 1024
_DETAIL_CHARACTERS = 120
_TOTAL_RETRANS = struct.Struct("=100xI")  # where struct tcp_info of linux/tcp.h holds it
_NO_CHECK_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME
_BUILT_S = 1_767_225_600  # 2026: a clock that shows less has not been set yet

# What the kernel reports of an open or opening connection: a packet came back, or none did.
_WORDS = {
    0: "closed",  # OpenSSL without an errno: the stream ended inside a record
    errno.ECONNREFUSED: "connection_refused",
    errno.ECONNRESET: "connection_reset",
    errno.ECONNABORTED: "connection_reset",
    errno.ENOTCONN: "connection_reset",
    errno.EPIPE: "connection_reset",
    errno.EHOSTUNREACH: "host_unreachable",
    errno.EHOSTDOWN: "host_unreachable",
    errno.ENONET: "host_unreachable",
    errno.ENETUNREACH: "net_unreachable",
    errno.ENETDOWN: "network_down",
    errno.ENOBUFS: "network_down",
    errno.ENOMEM: "network_down",
    errno.EACCES: "admin_prohibited",
    errno.EPERM: "permission",
    errno.ENOPROTOOPT: "refused",
    errno.EOPNOTSUPP: "refused",
    errno.EPROTO: "refused",
}
# What it says at once, before anything was sent, is about this box.
_LOCAL_WORDS = {
    errno.ENETUNREACH: "no_route",
    errno.EHOSTUNREACH: "no_route",
    errno.EADDRNOTAVAIL: "no_route",
    errno.EAFNOSUPPORT: "no_route",
    errno.EINVAL: "no_route",
    errno.ENETDOWN: "network_down",
    errno.ENOBUFS: "network_down",
    errno.ENOMEM: "network_down",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.ECONNREFUSED: "connection_refused",
}


class _Failed(Exception):
    def __init__(self, word: str, detail: str = "", timed: bool = True) -> None:
        super().__init__(word)
        self.word = word
        self.detail = detail
        self.timed = timed  # a phase was under way


def system_trust() -> ssl.SSLContext:
    """What this machine trusts. A clock that was never set must not make every server bad."""
    return _system_trust(time.time() < _BUILT_S)


@functools.cache  # made once: that takes longer than many a request
def _system_trust(clock_unset: bool) -> ssl.SSLContext:
    context = trust_in()
    if clock_unset:
        context.verify_flags |= _NO_CHECK_TIME
    return context


def trust_in(authorities: str | None = None) -> ssl.SSLContext:
    """These authorities, or this machine's. A service is not bad for being measured with Python
    3.13, which is stricter than every earlier one and than browsers."""
    context = ssl.create_default_context(cafile=authorities)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def get(
    url: Target,
    resolver: Resolver,
    policy: Policy,
    *,
    timeout_s: float = TIMEOUT_S,
    family: int | None = None,
    other_family: bool = False,
    trust: Callable[[], ssl.SSLContext] = system_trust,
) -> dict[str, Any]:
    """What one GET of the URL gave: the fields of a HTTP result's body, ip, family, ok and error.

    ``family`` asks for addresses of one family only; ``other_family`` prefers the one that the
    system does not.
    """
    context = trust() if url.scheme == "https" else None
    visit = _Visit(url, timeout_s)
    try:
        address = visit.resolve(resolver, policy, family, other_family)
        visit.connect(address, policy)
        if context is not None:
            visit.handshake(context)
        visit.exchange()
        failed_after_ms, word, detail = None, None, ""
    except _Failed as failed:
        failed_after_ms = visit.failed_after_ms() if failed.timed else None
        word, detail = failed.word, failed.detail[:_DETAIL_CHARACTERS]
    finally:
        visit.close()
    body = visit.facts()
    if word is None and body["status"] >= 500:
        word = "http_error"
    body["failed_after_ms"] = failed_after_ms
    return {"ok": word is None, "error": word} | body | ({"detail": detail} if detail else {})


class _Visit:
    """One request on its way: the socket, the stamps, and what is known so far."""

    def __init__(self, url: Target, timeout_s: float) -> None:
        self._url = url
        self._port = url.port or _PORTS[str(url.scheme)]
        self._response = Response()
        self._phases: dict[str, float | None] = dict.fromkeys(PHASES)
        self._address: Address | None = None
        self._socket: socket.socket | None = None
        self._tls: dict[str, str | None] = {"tls_version": None, "certificate_end": None}
        self._retrans: int | None = None
        self._stamp_ns = time.monotonic_ns()
        self._deadline_ns = self._stamp_ns + round(timeout_s * 1e9)

    def resolve(
        self, resolver: Resolver, policy: Policy, family: int | None, other_family: bool
    ) -> Address:
        with _told(_WORDS, timeout="resolver_timeout"):
            found = resolver.resolve(self._url.host, self._left_s(), family)
        if as_literal(self._url.host) is None:
            self._end("resolve")
        choice = choose(found, policy, other_family)
        self._address = choice.address
        if choice.refused is not None:
            raise _Failed("policy", choice.refused, timed=False)
        return choice.address

    def connect(self, address: Address, policy: Policy) -> None:
        self._stamp_ns = time.monotonic_ns()
        with _told(_LOCAL_WORDS):
            kind = socket.AF_INET if address.family == 4 else socket.AF_INET6
            opening = self._socket = socket.socket(kind, socket.SOCK_STREAM)
            opening.setblocking(False)
            began = opening.connect_ex((address.ip, self._port))
            if began not in (0, errno.EINPROGRESS):
                raise OSError(began, os.strerror(began))
        with _told(_WORDS, timeout="connect_timeout"):
            _wait_until_open(opening, self._left_s())
        self._end("connect")
        self._check_peer(opening, policy)

    def _check_peer(self, connected: socket.socket, policy: Policy) -> None:
        """The address that answers is judged again: what was resolved is not what counts."""
        try:
            peer = connected.getpeername()[0]
        except OSError as error:  # reset already
            raise _Failed("connection_reset") from error
        refused = refusal(peer, policy)
        if refused is not None:
            raise _Failed("policy", refused, timed=False)

    def handshake(self, context: ssl.SSLContext) -> None:
        # As bytes, Python needs no idna codec; an address is matched and never sent as SNI.
        name: Any = self._url.host.encode("ascii")
        with _told(_WORDS):
            secure = context.wrap_socket(
                self._open(), server_hostname=name, do_handshake_on_connect=False
            )
            self._socket = secure
            secure.settimeout(self._left_s())
            secure.do_handshake()
        self._end("tls")
        self._tls = {"tls_version": secure.version(), "certificate_end": _end_of(secure)}

    def exchange(self) -> None:
        """The request is written, the response read to its end."""
        message = request(_host_header(self._url), self._url.path or "/")
        self._stamp_ns = time.monotonic_ns()
        with _told(_WORDS):
            self._open().sendall(message)
            data = self._open().recv(_RECV_BYTES)
            if not data:
                raise _Failed("closed", "the server closed the connection before it answered")
            self._end("ttfb")
            self._response.feed(data)
            while not self._response.done:
                data = self._open().recv(_RECV_BYTES)
                self._response.feed(data) if data else self._response.end()
        self._end("transfer")

    def close(self) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(OSError):  # a connection that is gone has no facts left
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            if len(info) >= _TOTAL_RETRANS.size:
                self._retrans = _TOTAL_RETRANS.unpack_from(info)[0]
        self._socket.close()

    def failed_after_ms(self) -> float:
        """How long the phase that failed had been under way."""
        return round((time.monotonic_ns() - self._stamp_ns) / 1e6, 3)

    def facts(self) -> dict[str, Any]:
        response = self._response
        status = response.status
        answered = status is not None
        whole = self._phases["transfer"] is not None
        spent = [ms for ms in self._phases.values() if ms is not None]
        return {
            "ip": self._address.ip if self._address else None,
            "family": self._address.family if self._address else None,
            "status": status,
            "phases_ms": self._phases | {"total": round(sum(spent), 3) if whole else None},
            "bytes": response.body_bytes if answered else None,
            "truncated": response.truncated if answered else None,
            "redirect": 300 <= status < 400 and status != 304 if status is not None else None,
            "retry_after_s": retry_after_s(response),
            "retrans": self._retrans,
            **self._tls,
        }

    def _left_s(self) -> float:
        left_ns = self._deadline_ns - time.monotonic_ns()
        if left_ns <= 0:
            raise TimeoutError
        return left_ns / 1e9

    def _open(self) -> socket.socket:
        """The socket, for one more call that ends by the deadline."""
        assert self._socket is not None
        self._socket.settimeout(self._left_s())
        return self._socket

    def _end(self, phase: str) -> None:
        now_ns = time.monotonic_ns()
        self._phases[phase] = round((now_ns - self._stamp_ns) / 1e6, 3)
        self._stamp_ns = now_ns


def _wait_until_open(opening: socket.socket, timeout_s: float) -> None:
    writable = select.poll()
    writable.register(opening, select.POLLOUT)
    if not writable.poll(timeout_s * 1000):
        raise TimeoutError
    code = opening.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _end_of(secure: ssl.SSLSocket) -> str | None:
    """When the server's certificate ends."""
    end = (secure.getpeercert() or {}).get("notAfter")
    return wire.rfc3339(ssl.cert_time_to_seconds(end) * 1000) if isinstance(end, str) else None


def _host_header(url: Target) -> str:
    host = f"[{url.host}]" if ":" in url.host else url.host
    return host if url.port is None else f"{host}:{url.port}"


@contextlib.contextmanager
def _told(words: dict[int, str], timeout: str = "too_slow") -> Iterator[None]:
    """The one place where what went wrong becomes a word."""
    try:
        yield
    except ResolveError as error:
        raise _Failed(error.word) from error
    except Incomplete as error:
        raise _Failed("closed", str(error)) from error
    except BadResponse as error:
        raise _Failed("bad_response", str(error)) from error
    except ssl.SSLCertVerificationError as error:
        raise _Failed("certificate_invalid", error.verify_message) from error
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        raise _Failed("closed") from error
    except TimeoutError as error:  # ours, or the kernel's ETIMEDOUT
        raise _Failed(timeout) from error
    except ssl.SSLError as error:
        raise _Failed("tls_failed", error.reason or "") from error
    except OSError as error:
        word = words.get(error.errno or 0)
        if word is None:
            raise
        raise _Failed(word) from error
