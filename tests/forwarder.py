"""Something in the middle between a store and its engine, that can lose an answer on its way.

It may want TLS of its own, and speaks it with the engine where the engine does.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading

from tests.engine import Engine


class Forwarder:
    """Listens on ``port``, and forwards to the engine; with ``tls`` only who passes that."""

    def __init__(self, engine: Engine, tls: ssl.SSLContext | None = None) -> None:
        self._engine = engine
        self._tls = tls
        self._swallow = threading.Event()
        self.swallowed = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Forwarder:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def lose_the_next_answer(self) -> None:
        """The engine will have done what it was asked; whoever asked finds the connection cut."""
        self._swallow.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            near = self._tls.wrap_socket(client, server_side=True) if self._tls else client
            with near, self._dial() as far:
                self._relay(near, far)

    def _relay(self, near: socket.socket, far: socket.socket) -> None:
        """Both ways on one thread, for a TLS connection is not for two."""
        while True:
            ends = [one for one in (near, far) if isinstance(one, ssl.SSLSocket) and one.pending()]
            for source in ends or select.select([near, far], [], [])[0]:
                data = _received(source)
                if data is None:
                    continue
                if source is far and self._swallow.is_set():
                    self._swallow.clear()
                    self.swallowed += 1
                    return
                if not data:
                    return
                (far if source is near else near).sendall(data)

    def _dial(self) -> socket.socket:
        far = socket.create_connection(("127.0.0.1", self._engine.port))
        if self._engine.ca is None or self._tls is None:
            return far  # what is TLS already is forwarded as it is
        context = ssl.create_default_context(cafile=self._engine.ca)
        return context.wrap_socket(far, server_hostname="127.0.0.1")


def _received(source: socket.socket) -> bytes | None:
    """What has come; None when it was only TLS that spoke of itself."""
    source.settimeout(0)
    try:
        return source.recv(1 << 16)
    except (ssl.SSLWantReadError, BlockingIOError):
        return None
    finally:
        source.settimeout(None)
