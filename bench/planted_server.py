"""An HTTP(S) server on loopback that delays and misbehaves exactly as it is told, and a name server
that answers late: what the HTTP ping is measured against, by the bench and the tests.

A script is what one connection is answered with, in order: bytes are sent, numbers are seconds of
silence, RESET tears the connection down. When the script ends, the connection is closed.
"""

import contextlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

RESET = None
Script = Callable[[], Iterable[bytes | float | None]]


class Pair(NamedTuple):
    cert: str
    key: str


def certificate(folder: Path, hosts: Iterable[str]) -> Pair:
    """A self-signed certificate for names and addresses, good for a day: its own authority."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise FileNotFoundError("the openssl command makes the certificate, and is not installed")
    names = ",".join(f"{'IP' if _is_address(host) else 'DNS'}:{host}" for host in hosts)
    pair = Pair(str(folder / "planted.crt"), str(folder / "planted.key"))
    command = [openssl, "req", "-x509", "-nodes", "-newkey", "ec", "-days", "1"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=planted"]
    command += ["-addext", f"subjectAltName={names}", "-out", pair.cert, "-keyout", pair.key]
    subprocess.run(command, check=True, capture_output=True)
    return pair


def page(first_byte_s: float = 0.0, body_s: float = 0.0, body: bytes = b"x" * 1000) -> Script:
    """A page of which half comes late."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    half = len(body) // 2
    return lambda: (first_byte_s, head + body[:half], body_s, body[half:])


class PlantedServer:
    """Answers every connection by the script, each on a thread of its own, until it is closed."""

    def __init__(
        self,
        script: Script,
        host: str = "127.0.0.1",
        pair: Pair | tuple[str, str] | None = None,
        tls_s: float = 0.0,
        port: int = 0,
    ) -> None:
        self.script = script
        self.tls_s = tls_s
        self.requests: list[bytes] = []
        self.names: list[str | None] = []  # that TLS clients asked for (SNI)
        self.resumed: list[bool] = []  # a TLS session from before was taken up again
        self._context = None if pair is None else self._server_context(*pair)
        self._closed = threading.Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> "PlantedServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._threads[0].join(10)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _server_context(self, cert: str, key: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        return context

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(30)
        # Else Nagle's rule holds back a first byte until the client acknowledged the TLS tickets.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            try:
                if self._context is not None:
                    self._closed.wait(self.tls_s)
                    secure = self._context.wrap_socket(connection, server_side=True)
                    connection = secure
                    self.resumed.append(bool(secure.session_reused))
                self.requests.append(_read_request(connection))
                self._play(connection)
            finally:
                connection.close()

    def _play(self, connection: socket.socket) -> None:
        for item in self.script():
            if self._closed.is_set():
                return
            if item is RESET:
                connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                return
            if isinstance(item, bytes):
                connection.sendall(item)
            else:
                self._closed.wait(item)


class PlantedNames:
    """A name server whose every answer comes late; a name it does not know does not exist."""

    def __init__(
        self, addresses: dict[str, list[str]], delay_s: float, host: str, port: int
    ) -> None:
        self._addresses = addresses
        self.delay_s = delay_s
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(4096)
            late = threading.Timer(self.delay_s, self._socket.sendto, (self._answer(query), sender))
            late.daemon = True
            late.start()

    def _answer(self, query: bytes) -> bytes:
        name, end = _question(query)
        question = query[12 : end + 4]
        (kind,) = struct.unpack_from("!H", query, end)
        wanted = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        known = self._addresses.get(name)
        records = [
            struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(packed)) + packed
            for family, packed in map(_packed, known or [])
            if family == wanted
        ]
        flags = 0x8580 if known is not None else 0x8583  # authoritative; NXDOMAIN
        head = query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
        return head + question + b"".join(records)


def _question(query: bytes) -> tuple[str, int]:
    """The name that is asked for, and where it ends."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii").lower())
        at += 1 + query[at]
    return ".".join(labels), at + 1


def _packed(address: str) -> tuple[int, bytes]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _read_request(connection: socket.socket) -> bytes:
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        data = connection.recv(4096)
        if not data:
            break
        request += data
    return request


def trust_in(pair: Pair) -> ssl.SSLContext:
    """What a client has to trust to talk to the planted server."""
    return ssl.create_default_context(cafile=os.fspath(pair.cert))
