"""Who may see the page and who may change it, when others than this machine can reach it."""

import base64
import getpass
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import wire
from indexer import cli, web
from indexer.store import Store
from indexer.web import auth
from tests.web_house import YOU, DeskWithLoop, TestClient, filled_store

AWAY = "https://swarm.example"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    found = filled_store(tmp_path_factory.mktemp("auth"), hours=0.5)
    yield found
    found.close()


@pytest.fixture(scope="module")
def client(store: Store, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    path = tmp_path_factory.mktemp("passwords") / "page.auth"
    lines = [
        auth.line("vera", "viewer", "look"),
        "# a comment",
        "",
        auth.line("olaf", "operator", "Öl: 5€"),
    ]
    path.write_text("\n".join(lines))
    return TestClient(web.app(store, DeskWithLoop(store, auth_file=str(path))), AWAY)


VERA, OLAF = ("vera", "look"), ("olaf", "Öl: 5€")


def as_user(user: tuple[str, str]) -> dict[str, str]:
    encoded = base64.b64encode(":".join(user).encode()).decode()
    return {"authorization": f"Basic {encoded}", "origin": AWAY}


def test_who_does_not_say_who_they_are_sees_nothing(client: TestClient) -> None:
    for path in ("/", "/api/headline", "/events", "/static/page.js", "/api/openapi.json"):
        answer = client.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    "header",
    [
        as_user(("vera", "lock"))["authorization"],
        as_user(("nobody", "look"))["authorization"],
        as_user(("vera", ""))["authorization"],
        "Basic dmVyYQ==",
        "Basic !!!",
        "Basic",
        "Bearer dmVyYTpsb29r",
    ],
)
def test_a_wrong_password_opens_nothing(client: TestClient, header: str) -> None:
    assert client.get("/", headers={"authorization": header}).status_code == 401


def test_the_right_one_does_and_again(client: TestClient) -> None:
    for _ in range(2):
        assert client.get("/", headers=as_user(VERA)).status_code == 200
        assert client.get("/", headers=as_user(OLAF)).status_code == 200


def test_viewers_look_and_do_not_change(client: TestClient) -> None:
    html = client.get("/lists", headers=as_user(VERA)).text
    assert "<form" not in html and "Only an operator" in html
    form = {"do": "add", "text": "a.example"}
    assert client.post("/lists", data=form, headers=as_user(VERA)).status_code == 403
    json = {"scope": "watch", "text": ""}
    assert client.post("/api/lists", json=json, headers=as_user(VERA)).status_code == 403
    assert client.post("/look", data={"target": "x"}, headers=as_user(VERA)).status_code == 403


def test_operators_change_under_their_own_name(client: TestClient, store: Store) -> None:
    form = {"do": "add", "text": "a.example"}
    answer = client.post("/lists", data=form, headers=as_user(OLAF), follow_redirects=False)
    assert answer.status_code == 303
    assert store.watch_history("watch", 1)[0].who == "olaf"


def test_a_password_is_no_leave_for_other_pages(client: TestClient) -> None:
    headers = as_user(OLAF) | {"origin": "https://evil.example"}
    answer = client.post("/lists", data={"do": "add", "text": "evil.example"}, headers=headers)
    assert answer.status_code == 403


def test_viewers_see_presence_by_the_day(client: TestClient, store: Store) -> None:
    record = next(one for one in store.agents() if one.agent == YOU)
    exactly = wire.rfc3339(record.seen_ms)
    for path in (f"/api/agents/{YOU}", f"/agents/{YOU}", "/agents"):
        assert exactly in client.get(path, headers=as_user(OLAF)).text
        shown = client.get(path, headers=as_user(VERA)).text
        assert exactly not in shown and exactly[:10] in shown
    assert client.get(f"/api/agents/{YOU}", headers=as_user(VERA)).json()["here"] is None
    assert client.get("/api/results", headers=as_user(VERA)).status_code == 403
    for path in ("/api/overview", f"/api/headline?agent={YOU}"):
        pairs = client.get(path, headers=as_user(VERA)).json()["pairs"]
        assert pairs and not any("last_ms" in one or "last" in one for one in pairs)


def test_anybody_may_ask_whether_all_is_well_but_hears_no_more(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"ok": True}
    assert "store" in client.get("/healthz", headers=as_user(VERA)).json()


# --- behind a proxy ---


@pytest.fixture(scope="module")
def proxied(store: Store) -> TestClient:
    return TestClient(web.app(store, DeskWithLoop(store, behind_proxy=True)), AWAY)


def test_the_proxy_says_who_it_is(proxied: TestClient) -> None:
    assert proxied.get("/").status_code == 401
    seen = proxied.get("/lists", headers={"x-forwarded-user": "vera"})
    assert "you are vera (viewer)" in seen.text
    role = {"x-forwarded-user": "olaf", "x-forwarded-role": "operator", "origin": AWAY}
    form = {"do": "add", "text": "b.example"}
    assert (
        proxied.post("/lists", data=form, headers=role, follow_redirects=False).status_code == 303
    )
    headers = {"x-forwarded-user": "vera", "x-forwarded-role": "king", "origin": AWAY}
    assert proxied.post("/lists", data=form, headers=headers).status_code == 403


def test_without_a_proxy_nobody_can_call_themselves_operator(client: TestClient) -> None:
    headers = {"x-forwarded-user": "olaf", "x-forwarded-role": "operator"}
    assert client.get("/", headers=headers).status_code == 401


# --- the file ---


def test_the_command_makes_a_line_that_the_page_takes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "indexer.cli", "auth", "vera", "viewer"]
    made = subprocess.run(command, input="look\n", capture_output=True, text=True, check=True)
    assert "look" not in made.stdout and made.stderr == ""
    path = tmp_path / "page.auth"
    path.write_text(made.stdout)
    gate = auth.Gate(str(path), False)
    user = gate.user({"authorization": as_user(VERA)["authorization"]})
    assert user == auth.User("vera", "viewer")


@pytest.mark.parametrize(("second", "code"), [("look", 0), ("lock", 2)])
def test_on_a_terminal_it_asks_twice(
    second: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(("look", second))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", lambda _: next(typed))
    assert cli.main(["auth", "vera", "viewer"]) == code
    assert capsys.readouterr().out.startswith("vera:viewer:scrypt$") is (code == 0)


@pytest.mark.parametrize("role", ["king", ""])
def test_the_command_refuses_what_is_no_role(role: str) -> None:
    command = [sys.executable, "-m", "indexer.cli", "auth", "vera", role]
    made = subprocess.run(command, input="look\n", capture_output=True, text=True, check=False)
    assert made.returncode == 2 and "viewer" in made.stderr and "operator" in made.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names nobody"),
        ("vera", "line 1"),
        ("vera:viewer:look", "line 1"),
        ("vera:viewer:scrypt$16384$8$1$AAAA$AAAA", "line 1"),
        ("vera:viewer:scrypt$-1$8$1$AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAA==", "line 1"),
        ("vera:king:scrypt$1", "line 1"),
    ],
)
def test_a_bad_file_is_one_line(store: Store, tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "page.auth"
    path.write_text(text)
    with pytest.raises(ValueError, match=says) as caught:
        web.app(store, DeskWithLoop(store, auth_file=str(path)))
    assert "\n" not in str(caught.value)


def test_a_name_is_there_once(tmp_path: Path) -> None:
    path = tmp_path / "page.auth"
    path.write_text("\n".join(auth.line("vera", "viewer", word) for word in ("a", "b")))
    with pytest.raises(ValueError, match="twice"):
        auth.read(str(path))


def test_a_file_that_is_not_there_is_one_line() -> Any:
    with pytest.raises(ValueError, match="No such file"):
        auth.read("/nowhere/page.auth")
