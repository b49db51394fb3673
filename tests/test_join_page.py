"""POST /join on a real indexer's page, over TLS, asked by the box's own code and by strangers."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from agent import swarm_file
from agent.certificate import common_name
from agent.membership import csr, join, p256
from indexer import cli
from indexer.ca import Authority
from indexer.ca.invites import Invites, new_token
from indexer.web import auth
from indexer.web.join import WRONG, plain
from tests.certificates import Authority as Elsewhere
from tests.certificates import Pair
from tests.indexer_process import IndexerProcess
from tests.servers import accepts, free_port, wait_for

OPERATOR, VIEWER = ("olga", "a secret"), ("vic", "another")
ROOT = Path(__file__).parents[1]


class House:
    """An indexer whose page has TLS and passwords, and the authority behind it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.make(folder / "ca", ["127.0.0.1"], datetime.now(UTC))
        self.page: Pair = Elsewhere(folder / "page").issue("page", ("127.0.0.1",))
        (folder / "page.auth").write_text(
            f"{auth.line(*OPERATOR[:1], 'operator', OPERATOR[1])}\n"
            f"{auth.line(*VIEWER[:1], 'viewer', VIEWER[1])}\n"
        )
        self.indexer = IndexerProcess(
            folder, [free_port()], f"sqlite:{folder / 's.db'}", "indexer-test",
            "--page-cert", self.page.cert, "--page-key", self.page.key,
            "--auth", str(folder / "page.auth"), "--ca-folder", str(folder / "ca"),
        )  # fmt: skip
        self.url = f"https://127.0.0.1:{self.indexer.page_port}"
        wait_for(lambda: accepts(self.indexer.page_port), what="the page")

    def line(self, capsys: pytest.CaptureFixture[str], *words: str) -> str:
        """What the operator pastes."""
        typed = ["invite", *words, "--url", self.url, "--ca-folder", str(self.folder / "ca")]
        assert cli.main(typed) == 0
        return capsys.readouterr().out.strip().partition(" join ")[2].strip("'")

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        user: tuple[str, str] | None = None,
        **headers: str,
    ) -> tuple[int, str]:
        request = urllib.request.Request(self.url + path, body, headers)
        if user is not None:
            word = base64.b64encode(":".join(user).encode()).decode()
            request.add_header("authorization", f"Basic {word}")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(request, timeout=20, context=context) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def join(self, **facts: Any) -> tuple[int, dict[str, Any]]:
        status, text = self.ask("/join", json.dumps(facts).encode())
        told = json.loads(text)
        assert isinstance(told, dict)
        return status, told

    def answer(self, verb: str, user: tuple[str, str] = OPERATOR, **headers: str) -> int:
        (waiting,) = Invites(self.authority).waiting(int(time.time()))
        form = urlencode({"id": waiting.id, "do": verb}).encode()
        headers = headers or {"origin": self.url}
        return self.ask("/joining", form, user, **headers)[0]


@pytest.fixture(scope="module")
def module_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    yield made
    made.indexer.kill()


@pytest.fixture
def house(module_house: House) -> House:
    return module_house


@pytest.fixture
def key() -> p256.PrivateKey:
    return p256.generate()


def test_a_box_with_an_invitation_gets_its_certificate_and_may_ask_again(
    house: House, key: p256.PrivateKey, capsys: pytest.CaptureFixture[str]
) -> None:
    invitation = join.read_line(house.line(capsys, "box-1"))
    made = join.ask(invitation, key, "Paris", None)
    assert made is not None and made.name == "box-1"
    assert made.brokers == ("mqtts://127.0.0.1:8883",)
    assert made.ca.strip() == house.authority.certificate_pem.strip()
    assert common_name(made.certificate) == "box-1"
    again = join.ask(invitation, key, "Paris", None)  # the power went before it was written
    assert again == made
    with pytest.raises(join.Refused, match="ask the operator for a new one"):
        join.ask(invitation, p256.generate(), "Paris", None)
    valid = [one.name for one in house.authority.listed(datetime.now(UTC))]
    assert valid.count("box-1") == 1
    wait_for(lambda: "127.0.0.1 has joined as box-1" in house.indexer.log, what="the log")
    assert invitation.token not in house.indexer.log


def test_an_operator_approves_and_nobody_else_does(
    house: House, key: p256.PrivateKey, capsys: pytest.CaptureFixture[str]
) -> None:
    invitation = join.read_line(house.line(capsys, "box-2", "--approve", "--isp", "Orange"))
    assert join.ask(invitation, key, "<b>Lyon</b>", None) is None
    status, shown = house.ask("/joining", user=OPERATOR)
    assert status == 200 and "&lt;b&gt;Lyon&lt;/b&gt;" in shown and "<b>" not in shown
    assert "Orange" in shown and "127.0.0.1" in shown and "Joining (1)" in shown
    (asked,) = [one.asked for one in Invites(house.authority).waiting(int(time.time()))]
    assert asked is not None and asked.key[:8] in shown and invitation.token not in shown

    assert house.ask("/joining")[0] == 401
    assert house.ask("/joining", user=VIEWER)[0] == 403
    assert "Joining" not in house.ask("/agents", user=VIEWER)[1]
    assert house.answer("approve", user=VIEWER) == 403
    assert house.answer("approve", origin="https://elsewhere.example") == 403
    assert join.ask(invitation, key, None, None) is None

    assert house.answer("approve") == 200  # the page again, by way of a redirection
    made = join.ask(invitation, key, None, None)
    assert made is not None and common_name(made.certificate) == "box-2"
    assert "box-2: approved by olga" in house.indexer.log


def test_who_is_refused_is_told_so_and_stays_out(
    house: House, key: p256.PrivateKey, capsys: pytest.CaptureFixture[str]
) -> None:
    invitation = join.read_line(house.line(capsys, "box-3", "--approve"))
    assert join.ask(invitation, key, None, None) is None
    assert house.answer("refuse") == 200
    with pytest.raises(join.Refused, match="an operator has refused this box"):
        join.ask(invitation, key, None, None)
    assert "box-3" not in {one.name for one in house.authority.listed(datetime.now(UTC))}


def test_the_real_agent_joins_by_the_line(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = house.line(capsys, "box-4")
    swarm = tmp_path / "agent.swarm"
    typed = [sys.executable, "-m", "agent.cli", "join", line, "--swarm", str(swarm), "--yes"]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(typed, cwd=ROOT, env=environment, capture_output=True, text=True)
    made = swarm_file.read(str(swarm))
    assert ran.returncode == 0, ran.stderr
    assert made is not None and made.name == "box-4"


def test_what_is_no_request_is_told_in_one_line_of_json(
    house: House, key: p256.PrivateKey, capsys: pytest.CaptureFixture[str]
) -> None:
    invitation = join.read_line(house.line(capsys, "box-5"))
    good = {"name": "box-5", "token": invitation.token, "csr": csr.request_pem(key, "box-5")}
    for wrong in (
        {"name": "box-5"},
        {**good, "token": 5},
        {**good, "place": ["Paris"]},
        {**good, "csr": csr.request_pem(key, "box-6")},
        {**good, "csr": "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"},
    ):
        status, told = house.join(**wrong)
        assert status == 400 and "\n" not in told["error"], wrong
    assert house.ask("/join", b"[1, 2")[0] == 400
    assert house.ask("/join", b"x" * 20_000)[0] == 413
    assert house.join(**good)[0] == 200  # none of it has used the token up


def test_nothing_else_is_open_without_a_password(house: House) -> None:
    for path, body in (
        ("/join", None), ("/join/", b"{}"), ("/lists", b"do=add"), ("/joining", b"do=approve"),
        ("/api/lists", b"{}"), ("/", None), ("/join/../agents", None), ("//join", b"{}"),
    ):  # fmt: skip
        assert house.ask(path, body)[0] == 401, path


def test_without_tls_or_an_authority_the_page_lets_nobody_in(tmp_path: Path) -> None:
    plain = IndexerProcess(tmp_path, [free_port()], f"sqlite:{tmp_path / 's.db'}", "indexer-plain")
    try:
        wait_for(lambda: accepts(plain.page_port), what="the page")
        request = urllib.request.Request(
            f"http://127.0.0.1:{plain.page_port}/join", b"{}", {"content-type": "application/json"}
        )
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(request, timeout=20)
    finally:
        plain.kill()


@pytest.mark.parametrize(("host", "shown"), [
    ("::ffff:192.0.2.7", "192.0.2.7"), ("192.0.2.7", "192.0.2.7"), ("2001:db8::1", "2001:db8::1"),
    ("testclient", "testclient"),
])  # fmt: skip
def test_an_address_of_ipv4_is_shown_as_one(host: str, shown: str) -> None:
    assert plain(host) == shown


def test_who_guesses_is_soon_not_listened_to_any_more_and_shuts_nobody_out(tmp_path: Path) -> None:
    house = House(tmp_path)
    try:
        name, words = "box-9", set()
        for _ in range(WRONG):
            status, told = house.join(name=name, token=new_token(), csr="x")
            assert status == 403
            words.add(told["error"])
        assert len(words) == 1
        assert house.join(name=name, token=new_token(), csr="x")[0] == 429
        assert house.ask("/join", b"[1, 2")[0] == 429
        token = Invites(house.authority).make(name, int(time.time()))
        asked = {"name": name, "token": token, "csr": csr.request_pem(p256.generate(), name)}
        assert house.join(**asked)[0] == 200  # from the same address: a neighbour behind a router
        told_of = [line for line in house.indexer.log.splitlines() if "127.0.0.1" in line]
        assert sum("refused 127.0.0.1" in line for line in told_of) == 1
        assert any("none is looked at" in line for line in told_of)
    finally:
        house.indexer.kill()


def test_strangers_cannot_fill_the_log(tmp_path: Path) -> None:
    house = House(tmp_path)
    try:
        for number in range(3 * WRONG):
            house.ask("/join", b" " * number + b"?")
            house.join(name="box-9", token=new_token(), csr="x")
        asked = json.dumps({"name": "box-9", "token": "x", "csr": "x"}).encode()
        for _ in range(10):  # and goes away in the midst of it
            with ssl_to(house.indexer.page_port) as sock:
                head = b"POST /join HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n"
                sock.sendall(head + asked)
            with ssl_to(house.indexer.page_port) as sock:
                sock.sendall(b"\0no HTTP\r\n\r\n")
                assert b"400" in sock.recv(1000)
        wait_for(lambda: house.ask("/healthz")[0] in (200, 503), what="the page")
        assert "Traceback" not in house.indexer.log
        assert "Invalid HTTP" not in house.indexer.log
        assert house.indexer.log.count("127.0.0.1") < 2 * WRONG + 20
    finally:
        house.indexer.kill()


def ssl_to(port: int) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20))
