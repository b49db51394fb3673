"""Any bytes give a response or BadResponse, and no server makes us read or hold without bound."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.http_message import (
    BODY_LIMIT,
    HEAD_LIMIT,
    USER_AGENT,
    BadResponse,
    Incomplete,
    Response,
    request,
    retry_after_s,
)


def read(*pieces: bytes, ends: bool = True) -> Response:
    response = Response()
    for piece in pieces:
        response.feed(piece)
    if ends:
        response.end()
    return response


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", *lines, "", "")).encode("latin-1")


CHUNKED = head("Transfer-Encoding: chunked")


# The request.


def test_the_request_is_one_cold_get():
    assert request("example.com", "/a?b=c").split(b"\r\n") == [
        b"GET /a?b=c HTTP/1.1",
        b"Host: example.com",
        f"User-Agent: {USER_AGENT}".encode(),
        b"Accept: */*",
        b"Accept-Encoding: identity",
        b"Connection: close",
        b"",
        b"",
    ]


def test_the_user_agent_names_the_project_and_its_version():
    file = Path(__file__).parent.parent / "pyproject.toml"
    project = tomllib.loads(file.read_text())["project"]
    assert USER_AGENT.startswith(f"swarming/{project['version']} (network measurement")


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/ü", ""])
def test_a_path_that_would_break_the_request_line_is_refused(path):
    with pytest.raises(ValueError, match="not a line"):
        request("example.com", path)


@pytest.mark.parametrize("host", ["a\r\nX: y", "a b", ""])
def test_a_host_that_would_break_its_header_is_refused(host):
    with pytest.raises(ValueError, match="not a line"):
        request(host, "/")


# The response: (bytes, status, bytes of the body, truncated).

WHOLE = {
    "content-length": (head("Content-Length: 5") + b"hello", 200, 5, False),
    "an empty body": (head("Content-Length: 0"), 200, 0, False),
    "chunked": (CHUNKED + b"5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", 200, 15, False),
    "chunked with a trailer": (CHUNKED + b"1\r\na\r\n0\r\nX: y\r\n\r\n", 200, 1, False),
    "until the end": (head() + b"hello", 200, 5, False),
    "nothing until the end": (head(), 200, 0, False),
    "no content": (head(status="204 No Content"), 204, 0, False),
    "not modified": (head("Content-Length: 5", status="304 Not Modified"), 304, 0, False),
    "a status alone": (b"HTTP/1.1 200\r\n\r\n", 200, 0, False),
    "HTTP/1.0": (b"HTTP/1.0 404 Not Found\r\n\r\nx", 404, 1, False),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", 200, 2, False),
    "early hints first": (
        head("Link: </x>", status="103 Early Hints") + head("Content-Length: 1") + b"x",
        200,
        1,
        False,
    ),
    "the same length twice": (
        head("Content-Length: 2", "Content-Length: 2") + b"hi",
        200,
        2,
        False,
    ),
    "the same length in one line": (head("Content-Length: 2, 2") + b"hi", 200, 2, False),
    "chunked beats a length": (
        head("Content-Length: 99", "Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n\r\n",
        200,
        1,
        False,
    ),
    "gzip, chunked": (
        head("Transfer-Encoding: gzip, Chunked") + b"1\r\nx\r\n0\r\n\r\n",
        200,
        1,
        False,
    ),
    "odd header lines": (head("no colon", ": no name", "Content-Length: 1") + b"x", 200, 1, False),
    "a folded header": (head("X: a", " b", "Content-Length: 1") + b"x", 200, 1, False),
    "a server's own status": (head("Content-Length: 0", status="999 Denied"), 999, 0, False),
    "exactly the limit": (
        head(f"Content-Length: {BODY_LIMIT}") + b"x" * BODY_LIMIT,
        200,
        BODY_LIMIT,
        False,
    ),
    "one more than the limit": (
        head(f"Content-Length: {BODY_LIMIT + 1}") + b"x" * (BODY_LIMIT + 1),
        200,
        BODY_LIMIT,
        True,
    ),
    "endless until the end": (head() + b"x" * (2 * BODY_LIMIT), 200, BODY_LIMIT, True),
    "one endless chunk": (
        CHUNKED + b"FFFFFFFF\r\n" + b"x" * BODY_LIMIT,
        200,
        BODY_LIMIT - len(b"FFFFFFFF\r\n"),
        True,
    ),
    "endless tiny chunks": (CHUNKED + b"1\r\nx\r\n" * BODY_LIMIT, 200, 10923, True),
    "an endless trailer": (CHUNKED + b"0\r\n" + b"X: y\r\n" * BODY_LIMIT, 200, 0, True),
}

BAD = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "HTML alone": b"<html></html>",
    "no number": b"HTTP/1.1 abc\r\n\r\n",
    "a long number": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status below 100": b"HTTP/1.1 020 OK\r\n\r\n",
    "two lengths": head("Content-Length: 1", "Content-Length: 2"),
    "a negative length": head("Content-Length: -1"),
    "a length in other digits": head("Content-Length: \xb2"),
    "a length without end": head("Content-Length: " + "9" * 5000),
    "no length": head("Content-Length:"),
    "a chunk without a size": CHUNKED + b"xyz\r\n",
    "a negative chunk": CHUNKED + b"-1\r\n",
    "a chunk longer than its size": CHUNKED + b"1\r\nxyz\r\n",
    "a chunk size without end": CHUNKED + b"0" * 5000,
    "an unwanted upgrade": head(status="101 Switching Protocols"),
    "headers without end": head()[:-2] + b"X: y\r\n" * HEAD_LIMIT,
    "1xx without end": head(status="100 Continue") * HEAD_LIMIT,
}

INCOMPLETE = {
    "nothing": b"",
    "half a status": b"HTTP/1.1 20",
    "half a head": b"HTTP/1.1 200 OK\r\nX: y\r\n",
    "early hints alone": head(status="103 Early Hints"),
    "half a body": head("Content-Length: 5") + b"hel",
    "half a chunk": CHUNKED + b"5\r\nhel",
    "no last chunk": CHUNKED + b"5\r\nhello\r\n",
    "no end of the trailer": CHUNKED + b"0\r\n",
}


@pytest.mark.parametrize("case", WHOLE)
@pytest.mark.parametrize("step", [1 << 20, 7, 1])
def test_a_whole_response_is_read(case, step):
    stream, status, size, truncated = WHOLE[case]
    if step == 1 and len(stream) > 2 * HEAD_LIMIT:
        step = 3
    response = read(*(stream[at : at + step] for at in range(0, len(stream), step)))
    assert (response.done, response.status) == (True, status)
    assert (response.body_bytes, response.truncated) == (size, truncated)


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("step", [1 << 20, 7])
def test_what_is_not_http_is_a_bad_response(case, step):
    stream = BAD[case]
    with pytest.raises(BadResponse) as caught:
        read(*(stream[at : at + step] for at in range(0, len(stream), step)), ends=False)
    assert not isinstance(caught.value, Incomplete)


@pytest.mark.parametrize("case", INCOMPLETE)
def test_a_stream_that_ends_too_early_is_incomplete(case):
    with pytest.raises(Incomplete):
        read(INCOMPLETE[case])


def test_a_response_is_done_before_the_stream_ends_where_its_length_is_known():
    assert read(head("Content-Length: 2") + b"hi", ends=False).done
    assert read(CHUNKED + b"0\r\n\r\n", ends=False).done
    assert not read(head() + b"hi", ends=False).done


def test_bytes_after_the_end_are_ignored():
    response = read(head("Content-Length: 2") + b"hi and more", b"and more")
    assert response.body_bytes == 2


def test_a_response_that_is_not_http_is_known_by_its_first_bytes():
    with pytest.raises(BadResponse):
        read(b"SSH", ends=False)


def test_little_is_held_while_much_arrives():
    response = read(head(), ends=False)
    for _ in range(1000):
        response.feed(b"x" * 16384)
    assert len(response._buffer) <= 16384 * 2


# Retry-After.


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ((), None),
        (("Retry-After: 120",), 120),
        (("Retry-After: 0",), 0),
        (("Retry-After: -1",), None),
        (("Retry-After: soon",), None),
        (("Retry-After: " + "9" * 5000,), None),
        (("Retry-After: Wed, 21 Oct 2026 07:30:00 GMT",), None),  # from when?
        (
            (
                "Date: Wed, 21 Oct 2026 07:28:00 GMT",
                "Retry-After: Wed, 21 Oct 2026 07:30:00 GMT",
            ),
            120,
        ),
        (
            (
                "Date: Wed, 21 Oct 2026 07:30:00 GMT",
                "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT",
            ),
            0,
        ),
    ],
)
def test_retry_after_is_told_in_seconds_whatever_this_boxs_clock_says(lines, seconds):
    assert retry_after_s(read(head("Content-Length: 0", *lines))) == seconds


# Any bytes.

HTTPISH = st.lists(
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 204 X\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Length: 3\r\n",
            b"Retry-After: Wed, 31 Feb 2026 99:30:00 GMT\r\n",
            b"Date: Wed, 21 Oct 2026 07:30:00 GMT\r\n",
            b"\r\n",
            b"\n",
            b" ",
            b"3\r\nabc\r\n",
            b"0\r\n\r\n",
            b"FFFFFFFFFFFFFFF\r\n",
        ]
    )
    | st.binary(max_size=20),
    max_size=20,
)


def outcome(pieces: list[bytes]) -> tuple[object, ...]:
    try:
        response = read(*pieces)
    except BadResponse as error:
        return (type(error),)
    assert response.status is not None and 200 <= response.status <= 999
    assert 0 <= response.body_bytes <= BODY_LIMIT
    after = retry_after_s(response)
    return (response.status, response.body_bytes, response.truncated, response.headers, after)


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_any_bytes_give_a_response_or_bad_response(pieces):
    outcome(pieces)


@given(HTTPISH, st.integers(1, 5))
def test_it_does_not_matter_how_the_bytes_are_cut(pieces, step):
    stream = b"".join(pieces)
    cut = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert outcome([stream]) == outcome(cut)
