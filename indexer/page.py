"""The page's server: uvicorn on a thread of its own, on a socket that was bound before.

Binding comes first and on the caller's thread, so that a port that is taken is one line and exit 2.
"""

import logging
import socket
import threading

import uvicorn
from starlette.applications import Starlette

from indexer.config import Address, Config, ConfigError

_STOP_S = 1.5


def bind(address: Address) -> socket.socket:
    """A listening socket, or ConfigError."""
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()  # Python would say IPv6 alone
    try:
        return socket.create_server(
            (host, port), family=family, backlog=128, dualstack_ipv6=both
        )
    except OSError as error:
        raise ConfigError(f"--listen {address}: {error.strerror or error}") from error


class Page:
    """Serves the app until stopped."""

    def __init__(self, app: Starlette, sock: socket.socket, config: Config) -> None:
        self._sock = sock
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                proxy_headers=config.behind_proxy,
                server_header=False,
                ssl_certfile=config.page_cert,
                ssl_keyfile=config.page_key,
                timeout_graceful_shutdown=1,
                lifespan="off",
            )
        )
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        self._thread = threading.Thread(
            target=self._server.run, args=([sock],), name="page", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Takes no more requests; open event streams are cut, which uvicorn takes for an error."""
        logging.getLogger("uvicorn.error").disabled = True
        self._server.should_exit = True
        self._thread.join(_STOP_S)
        self._sock.close()


def _is_news(record: logging.LogRecord) -> bool:
    """Not what every scanner of ports does, as often as it likes."""
    return "Invalid HTTP request" not in record.getMessage()
