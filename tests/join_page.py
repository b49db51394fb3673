"""An operator's page for a test, as far as a box that joins sees it: real TLS, scripted answers."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.certificates import Authority

TOKEN = "abcdefghijklmnopqrstuvwx27"
Answer = tuple[int, Any] | bytes | None  # status and JSON, raw bytes, or the line goes dead


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A box that goes away is no news."""


class JoinPage:
    """Answers as ``answer`` says; remembers what was asked. Use it in a ``with``."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.authority = authority
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.bytes = 0  # of what came through TLS
        self.answer: Callable[[dict[str, Any]], Answer] = self.grant
        self.brokers = ["mqtts://127.0.0.1:8883"]
        # Its certificate is of an authority that nobody trusts, for a host that nobody asks for.
        cert, key = Authority(folder / "page", "page").issue("elsewhere.example")
        self.fingerprint = hashlib.sha256(
            ssl.PEM_cert_to_DER_cert(Path(cert).read_text())
        ).hexdigest()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]

    def line(self, name: str = "box-1", token: str = TOKEN, fingerprint: str | None = None) -> str:
        mark = fingerprint or self.fingerprint
        return f"https://127.0.0.1:{self.port}/join#{name}:{token}:{mark}"

    def __enter__(self) -> JoinPage:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def certificate(self, asked: dict[str, Any]) -> str:
        """For the key of the request, in the name of the request."""
        request = x509.load_pem_x509_csr(asked["csr"].encode())
        assert request.is_signature_valid
        return self.authority._sign(asked["name"], request, (), False).decode()

    def granted(self, asked: dict[str, Any], **instead: Any) -> dict[str, Any]:
        return {
            "name": asked["name"],
            "certificate": self.certificate(asked),
            "ca": Path(self.authority.ca).read_text(),
            "brokers": self.brokers,
        } | instead

    def grant(self, asked: dict[str, Any]) -> Answer:
        return 200, self.granted(asked)

    def keys(self) -> set[bytes]:
        """The public keys that were asked for."""
        requests = [x509.load_pem_x509_csr(asked["csr"].encode()) for asked in self.asked]
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return {request.public_key().public_bytes(*form) for request in requests}

    def _handler(page) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                page.bytes += len(body)
                page.paths.append(self.path)
                page.asked.append(json.loads(body))
                answer = page.answer(page.asked[-1])
                if isinstance(answer, bytes):
                    self.wfile.write(answer)
                elif answer is not None:
                    text = json.dumps(answer[1]).encode()
                    self.send_response(answer[0])
                    self.send_header("Content-Type", "application/json")
                    self.end_headers()
                    self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
