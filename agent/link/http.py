"""One small HTTP GET from a modem's own page at the gateway: bounded in time and bytes.

Plain sockets: these pages are HTTP/1.0 in spirit, and urllib would follow redirects, proxies and
whatever else. Only private addresses are ever asked: a gateway with another one is the provider's.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import NamedTuple

EACH_S = 2.0
MOST_BYTES = 64 * 1024
PORT = 80


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]  # names in lower case; all cookies joined, ready for Cookie
    body: str


Getter = Callable[[str, Mapping[str, str]], Reply | None]  # path, further headers


def getter(gateway: str, left_s: Callable[[], float], port: int = PORT) -> Getter:
    """Asks this gateway, for as long as ``left_s`` leaves time. No answer is None."""

    def get(path: str, headers: Mapping[str, str]) -> Reply | None:
        timeout_s = min(EACH_S, left_s())
        if timeout_s <= 0 or not _is_near(gateway) or not _is_safe(path, headers):
            return None
        try:
            return parse(_exchange(gateway, port, _request(gateway, path, headers), timeout_s))
        except (OSError, ValueError):
            return None

    return get


def parse(answer: bytes) -> Reply:
    """The reply in these bytes, or ValueError."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(None, 2)
    if len(words) < 2 or not words[0].startswith("HTTP/"):
        raise ValueError(f"not HTTP: {first[:40]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if name == "set-cookie":
            value = "; ".join(filter(None, [headers.get(name), value.partition(";")[0]]))
        headers[name] = value
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _unchunked(body)
    return Reply(int(words[1]), headers, body.decode("utf-8", errors="replace"))


def _is_near(gateway: str) -> bool:
    """A private address, not link-local: no modem has its page there."""
    try:
        address = ip_address(gateway)
    except ValueError:
        return False
    reachable = address.is_private and not (address.is_unspecified or address.is_link_local)
    return reachable and "%" not in gateway


def _is_safe(path: str, headers: Mapping[str, str]) -> bool:
    """A token that the modem gave must not become a second header."""
    return all(text.isprintable() and text.isascii() for text in (path, *headers.values()))


def _request(gateway: str, path: str, headers: Mapping[str, str]) -> bytes:
    host = f"[{gateway}]" if ":" in gateway else gateway
    lines = [f"GET {path} HTTP/1.0", f"Host: {host}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _exchange(host: str, port: int, request: bytes, timeout_s: float) -> bytes:
    """All that comes, until the other side closes, it is enough, or the time is over."""
    until_s = time.monotonic() + timeout_s
    answer = bytearray()
    with socket.create_connection((host, port), timeout_s) as connection:
        connection.sendall(request)
        with contextlib.suppress(TimeoutError):  # some of them never close
            while len(answer) < MOST_BYTES and not _is_whole(answer):
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    break
                connection.settimeout(left_s)
                part = connection.recv(8192)
                if not part:
                    break
                answer += part
    return bytes(answer)


def _is_whole(answer: bytearray) -> bool:
    """As much has come as Content-Length says."""
    head, end, body = bytes(answer).partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n") if end else ():
        if line.startswith(b"content-length:"):
            length = line.partition(b":")[2].strip()
            return length.isdigit() and len(body) >= int(length)
    return False


def _unchunked(body: bytes) -> bytes:
    """Chunks joined; what is cut off or wrong ends it."""
    whole = bytearray()
    while body:
        size, _, rest = body.partition(b"\r\n")
        try:
            length = int(size.partition(b";")[0], 16)
        except ValueError:
            break
        if length <= 0:
            break
        whole += rest[:length]
        body = rest[length + 2 :]
    return bytes(whole)
