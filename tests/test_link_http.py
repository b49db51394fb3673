"""The page of a modem at the gateway: one small GET, whatever the other side does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.link import http
from agent.link.http import Getter, Reply, getter, parse

Serve = Callable[[bytes], Getter]
_PATIENCE_S = 20.0


class Page:
    """A server for one request, on a loopback: says its answer, then closes or stays."""

    def __init__(self, answer: bytes, stay: bool) -> None:
        self.asked = b""
        self._answer, self._stay = answer, stay
        self._done = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        with connection:
            while b"\r\n\r\n" not in self.asked:
                self.asked += connection.recv(4096) or b"\r\n\r\n"
            try:
                connection.sendall(self._answer)
            except OSError:
                return  # it has had enough
            if self._stay:
                self._done.wait(_PATIENCE_S)

    def close(self) -> None:
        self._done.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._listener.close()
        self._thread.join(_PATIENCE_S)


@pytest.fixture
def pages() -> Iterator[Callable[..., Page]]:
    made: list[Page] = []

    def page(answer: bytes, stay: bool = False) -> Page:
        made.append(Page(answer, stay))
        return made[-1]

    yield page
    for each in made:
        each.close()


def ask(page: Page, path: str = "/", left_s: float = 10.0, **headers: str) -> Reply | None:
    return getter("127.0.0.1", lambda: left_s, page.port)(path, headers)


def test_a_page_with_its_token(pages: Callable[..., Page]) -> None:
    page = pages(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: SessionID=abc; path=/; HttpOnly\r\n"
        b"__RequestVerificationToken: xyz\r\nSet-Cookie: lang=en\r\n\r\n<a>1</a>"
    )
    reply = ask(page, "/api/monitoring/status", Referer="http://192.168.8.1/")
    assert reply is not None and reply.status == 200 and reply.body == "<a>1</a>"
    assert reply.headers["set-cookie"] == "SessionID=abc; lang=en"
    assert reply.headers["__requestverificationtoken"] == "xyz"
    lines = page.asked.decode().split("\r\n")
    assert lines[0] == "GET /api/monitoring/status HTTP/1.0"
    assert "Host: 127.0.0.1" in lines and "Referer: http://192.168.8.1/" in lines


def test_a_page_that_is_never_closed_ends_where_it_says(pages: Callable[..., Page]) -> None:
    reply = ask(pages(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nlte", stay=True))
    assert reply is not None and reply.body == "lte"


def test_a_page_that_does_not_say_so_ends_with_its_time(pages: Callable[..., Page]) -> None:
    reply = ask(pages(b"HTTP/1.1 200 OK\r\n\r\nlte", stay=True), left_s=1.0)
    assert reply is not None and reply.body == "lte"


def test_chunks_are_joined() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nlte\r\n2\r\n-a\r\n0\r\n\r\n"
    )
    assert parse(answer).body == "lte-a"


def test_megabytes_are_cut_short(pages: Callable[..., Page]) -> None:
    reply = ask(pages(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (4 * http.MOST_BYTES)))
    assert reply is not None and len(reply.body) <= 2 * http.MOST_BYTES


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-dropbear\r\n", b"HTTP/1.1\r\n\r\n", b"\xff\x00"])
def test_what_is_no_page_is_no_answer(pages: Callable[..., Page], answer: bytes) -> None:
    assert ask(pages(answer)) is None


def test_nobody_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert getter("127.0.0.1", lambda: 5.0, port)("/", {}) is None


@pytest.mark.parametrize(
    "gateway",
    ["8.8.4.4", "169.254.1.1", "fe80::1", "fe80::1%eth0", "router.example", "0.0.0.0", ""],
)
def test_only_a_private_address_is_ever_asked(
    monkeypatch: pytest.MonkeyPatch, gateway: str
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a connection went out")

    monkeypatch.setattr("socket.create_connection", never)
    assert getter(gateway, lambda: 5.0)("/", {}) is None


def test_no_time_left_no_question(pages: Callable[..., Page]) -> None:
    page = pages(b"HTTP/1.1 200 OK\r\n\r\n")
    assert ask(page, left_s=0.0) is None and page.asked == b""


def test_a_token_that_would_be_a_second_header_is_not_sent(pages: Callable[..., Page]) -> None:
    page = pages(b"HTTP/1.1 200 OK\r\n\r\n")
    assert ask(page, Cookie="a\r\nX: y") is None and page.asked == b""


@given(st.binary(max_size=300))
def test_whatever_comes_is_a_page_or_is_not(noise: bytes) -> None:
    for answer in (noise, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + noise):
        try:
            assert isinstance(parse(answer), Reply)
        except ValueError:
            assert answer is noise
