"""One HTTP/1.1 request and its response, as bytes: pure, no I/O. Any bytes give a response or
BadResponse, and nothing that a server sends makes us hold or read without bound.

The response is fed as it arrives and walks through these steps; each takes what it can and names
the next one:

    head ── 1xx ──> head              chunked: size ──> data ──> data's end ──> size
      ├─ 204, 304 ──────> done                   └─ 0 ──> trailer ──> done
      ├─ chunked ───────> size        length: data until all are there ──> done
      ├─ Content-Length > length      close:  data until the stream ends ──> done
      └─ neither ───────> close

Heads (all 1xx together) hold at most 64 KiB, what follows is read for at most 64 KiB, framing
included; then the response is done and ``truncated``. Where the standard lets a reader be lenient
(bare LF, odd header lines), we are: the question is how long it took, not how well it is written.
"""

import calendar
import re
import time
from collections.abc import Callable

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 64 * 1024
LINE_LIMIT = 4 * 1024

USER_AGENT = (
    "swarming/0.1.0 (network measurement: many small boxes time this page, each at most once a "
    "minute; reads at most 64 KiB, follows no links, keeps no content)"
)

_START = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?![0-9])")
_HEAD_END = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(r"[0-9]{1,18}\Z", re.ASCII)
_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\Z", re.DOTALL)
_HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"
_PRINTABLE = re.compile(r"[!-~]+\Z")


class BadResponse(Exception):
    """What came is not an HTTP/1 response; one line says why."""


class Incomplete(BadResponse):
    """The stream ended before the response did."""


def request(host: str, path: str) -> bytes:
    """One cold GET; ``host`` as its header wants it: a name or [v6], :port where it is uncommon."""
    if not _PRINTABLE.match(host) or not _PRINTABLE.match(path):
        raise ValueError(f"not a line of a request: {host!r} {path!r}")
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: {USER_AGENT}",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Connection: close",
        "",
        "",
    )
    return "\r\n".join(lines).encode("ascii")


class Response:
    """What has arrived of one response: ``feed`` it bytes, ``end`` it with the stream."""

    def __init__(self, body_limit: int = BODY_LIMIT) -> None:
        self.status: int | None = None  # of the final response; never 1xx
        self.headers: list[tuple[str, str]] = []  # names in lower case
        self.body_bytes = 0  # of the body proper, without chunk sizes
        self.truncated = False
        self._buffer = bytearray()
        self._searched = 0  # no head ends before this place in the buffer
        self._head_room = HEAD_LIMIT
        self._room = body_limit
        self._remaining = 0  # of the body, or of the chunk
        self._step: Callable[[], bool] | None = self._head

    @property
    def done(self) -> bool:
        return self._step is None

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def feed(self, data: bytes) -> None:
        """More bytes; those that come after the end are ignored."""
        if self._step is not None:
            self._buffer += data
        while self._step is not None and self._step():
            pass

    def end(self) -> None:
        """The stream has ended; Incomplete when the response has not."""
        if self._step == self._until_close:
            self._step = None
        if self._step is not None:
            what = "its body" if self.status is not None else "a response"
            raise Incomplete(f"the server closed the connection before the end of {what}")

    # The steps: each returns False when it waits for more bytes.

    def _head(self) -> bool:
        if not _START.startswith(self._buffer[: len(_START)]):
            raise BadResponse("the answer does not begin with HTTP/1")
        found = _HEAD_END.search(self._buffer, self._searched)
        size = found.end() if found else len(self._buffer)
        if size > self._head_room:
            raise BadResponse("the header is longer than 64 KiB")
        if found is None:
            self._searched = max(0, size - 2)
            return False
        self._head_room -= size
        self._searched = 0
        lines = bytes(self._buffer[:size]).split(b"\n")
        del self._buffer[:size]
        self._begin(lines)
        return True

    def _begin(self, lines: list[bytes]) -> None:
        match = _STATUS_LINE.match(lines[0])
        if match is None:
            raise BadResponse("the answer has no HTTP status")
        status = int(match[1])
        if status == 101:
            raise BadResponse("the server switched to a protocol that nobody asked for")
        if status < 200:
            return
        self.headers = _headers(lines[1:])
        self.status = status
        self._step = self._body_step(status)

    def _body_step(self, status: int) -> Callable[[], bool] | None:
        if status in (204, 304):
            return None
        codings = self._all("transfer-encoding")
        if codings:
            return self._size if codings[-1].lower() == "chunked" else self._until_close
        lengths = set(self._all("content-length"))
        if not lengths:
            return self._until_close
        length = lengths.pop()
        if lengths or not _LENGTH.match(length):
            raise BadResponse("the answer's Content-Length is not one number")
        self._remaining = int(length)
        return self._length if self._remaining else None

    def _all(self, name: str) -> list[str]:
        """A header's values, which may stand on several lines or on one between commas."""
        return [
            part.strip() for key, value in self.headers if key == name for part in value.split(",")
        ]

    def _length(self) -> bool:
        self._take_body()
        if self._remaining == 0:
            self._step = None
        return False

    def _until_close(self) -> bool:
        self._remaining = len(self._buffer)
        self._take_body()
        return False

    def _size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        match = _SIZE.match(line)
        if match is None:
            raise BadResponse("a chunk of the answer has no size")
        self._remaining = int(match[1], 16)
        self._step = self._chunk if self._remaining else self._trailer
        return True

    def _chunk(self) -> bool:
        self._take_body()
        if self._remaining == 0 and self._step is not None:
            self._step = self._chunk_end
            return True
        return False

    def _chunk_end(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if line:
            raise BadResponse("a chunk of the answer is longer than its size")
        self._step = self._size
        return True

    def _trailer(self) -> bool:
        line = self._line()
        if line == b"":
            self._step = None
        return line is not None

    def _take_body(self) -> None:
        count = min(self._remaining, len(self._buffer), self._room)
        del self._buffer[:count]
        self._remaining -= count
        self._room -= count
        self.body_bytes += count
        if self._room == 0 and self._remaining:
            self._cut()

    def _line(self) -> bytes | None:
        """The next line of the framing, without its end; None while it is not all there."""
        end = self._buffer.find(b"\n", 0, min(self._room, LINE_LIMIT))
        if end < 0:
            if len(self._buffer) >= self._room:
                self._cut()
            elif len(self._buffer) >= LINE_LIMIT:
                raise BadResponse("a chunk's size or a trailer is longer than 4 KiB")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._room -= end + 1
        return line.removesuffix(b"\r")

    def _cut(self) -> None:
        self.truncated = True
        self._step = None


def _headers(lines: list[bytes]) -> list[tuple[str, str]]:
    headers: list[tuple[str, str]] = []
    for line in lines:
        text = line.decode("latin-1").rstrip("\r")
        name, colon, value = text.partition(":")
        if text[:1] in (" ", "\t") and headers:  # a folded line goes on
            key, before = headers[-1]
            headers[-1] = (key, f"{before} {text.strip()}")
        elif colon and name:
            headers.append((name.strip().lower(), value.strip(" \t")))
    return headers


def retry_after_s(response: Response) -> int | None:
    """How long the server asks us to stay away. A date counts from the server's own Date."""
    value = response.header("retry-after")
    if value is None:
        return None
    if _LENGTH.match(value):
        return int(value)
    until, since = _date(value), _date(response.header("date"))
    if until is None or since is None:
        return None
    return max(0, until - since)


def _date(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return calendar.timegm(time.strptime(text, _HTTP_DATE))
    except ValueError:
        return None
