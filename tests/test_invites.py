"""An invitation: one box, one day, one key; what is kept of it, and what the operator types."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent.certificate import common_name
from agent.membership import csr, join, p256
from indexer import cli
from indexer.ca import Authority, CaError
from indexer.ca.invites import (
    LIFE_S,
    REMEMBERED_S,
    Asked,
    BadRequest,
    Invite,
    Invites,
    Told,
    decide,
    new_token,
)
from tests import certificates
from tests.join_page import JoinPage

NOW_S = 1_790_000_000
KEY, OTHER = p256.generate(), p256.generate()


# --- what a box is told -------------------------------------------------------------------------

OPEN = Invite("i", "box-1", NOW_S, NOW_S + LIFE_S, False)
ASKED = Asked("mine", "192.0.2.7", NOW_S + 60, None, None)


@pytest.mark.parametrize(
    ("invite", "key", "after_s", "word"),
    [
        (OPEN, "mine", 60, "issue"),
        (OPEN, "mine", LIFE_S - 1, "issue"),
        (OPEN, "mine", LIFE_S, "unknown"),
        (OPEN._replace(asked=ASKED), "mine", 61, "issue"),  # the power went before it was issued
        (OPEN._replace(asked=ASKED), "other", 61, "unknown"),
        (OPEN._replace(asked=ASKED, certificate="c"), "mine", 61, "granted"),
        (OPEN._replace(asked=ASKED, certificate="c"), "mine", LIFE_S + 1, "granted"),
        (OPEN._replace(asked=ASKED, certificate="c"), "other", 61, "unknown"),
        (OPEN._replace(asked=ASKED, certificate="c"), "mine", LIFE_S + REMEMBERED_S, "unknown"),
        (OPEN._replace(approve=True), "mine", 60, "wait"),
        (OPEN._replace(approve=True, asked=ASKED), "mine", 61, "wait"),
        (OPEN._replace(approve=True, asked=ASKED), "other", 61, "unknown"),
        (OPEN._replace(approve=True, asked=ASKED), "mine", LIFE_S, "unknown"),
        (OPEN._replace(approve=True, asked=ASKED, answer="approved"), "mine", 61, "issue"),
        (OPEN._replace(approve=True, asked=ASKED, answer="approved"), "mine", LIFE_S + 1, "issue"),
        (OPEN._replace(approve=True, asked=ASKED, answer="refused"), "mine", 61, "refused"),
        (OPEN._replace(approve=True, asked=ASKED, answer="refused"), "other", 61, "unknown"),
    ],
)
def test_what_a_box_is_told(invite: Invite, key: str, after_s: int, word: str) -> None:
    assert decide(invite, key, NOW_S + after_s) == word


def test_a_token_is_what_the_box_reads_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(200)}
    assert len(tokens) == 200
    for token in tokens:
        line = f"https://swarm.example:8443/join#box-1:{token}:{'a' * 64}"
        assert join.read_line(line).token == token


# --- what is kept -------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "ca", ["swarm.example"], datetime.fromtimestamp(NOW_S, UTC))


@pytest.fixture
def invites(authority: Authority) -> Invites:
    return Invites(authority)


def told(name: str = "box-1", key: p256.PrivateKey = KEY, place: str | None = None) -> Told:
    return Told(name, csr.request_pem(key, name), "192.0.2.7", place)


def test_a_box_joins_once_and_the_same_key_gets_the_same_certificate_again(
    invites: Invites, authority: Authority
) -> None:
    token = invites.make("box-1", NOW_S)
    first = invites.ask(token, told(), NOW_S + 60)
    again = invites.ask(token, told(), NOW_S + 70)
    assert first[0] == again[0] == "granted"
    assert first[1] is not None and again[1] is not None
    assert first[1].certificate == again[1].certificate is not None
    assert common_name(first[1].certificate or "") == "box-1"
    assert invites.ask(token, told(key=OTHER), NOW_S + 80) == ("unknown", invites.all()[0])
    assert [one.name for one in authority.listed(datetime.fromtimestamp(NOW_S, UTC))] == ["box-1"]


def test_the_disk_knows_no_token(invites: Invites, authority: Authority) -> None:
    token = invites.make("box-1", NOW_S)
    (path,) = (authority.folder / "invites").glob("*.json")
    assert path.stem == hashlib.sha256(token.encode()).hexdigest()
    assert token not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_token_is_good_for_its_own_name_alone(invites: Invites) -> None:
    token = invites.make("box-1", NOW_S)
    assert invites.ask(token, told("box-2"), NOW_S + 1) == ("unknown", None)
    assert invites.ask(new_token(), told(), NOW_S + 1) == ("unknown", None)
    assert invites.all()[0].asked is None  # nobody has used it up


def test_a_bad_request_does_not_use_it_up(invites: Invites) -> None:
    token = invites.make("box-1", NOW_S)
    for wrong in (
        "no PEM",
        csr.request_pem(KEY, "box-2"),
        csr.request_pem(KEY, "box-1").replace("B", "C", 9),
    ):
        with pytest.raises(BadRequest):
            invites.ask(token, Told("box-1", wrong, "192.0.2.7"), NOW_S + 1)
    assert invites.ask(token, told(key=OTHER), NOW_S + 2)[0] == "granted"


def test_an_operator_looks_first_where_that_was_asked_for(invites: Invites) -> None:
    token = invites.make("box-1", NOW_S, approve=True)
    odd = "Paris\x1b[31m" + "x" * 500
    assert invites.ask(token, told(place=odd), NOW_S + 1)[0] == "wait"
    (waiting,) = invites.waiting(NOW_S + 1)
    assert waiting.asked is not None and waiting.asked.address == "192.0.2.7"
    assert waiting.asked.place is not None and waiting.asked.place.isprintable()
    assert len(waiting.asked.place) == 200
    invites.answer(waiting.id, NOW_S + 2, approved=True)
    assert invites.waiting(NOW_S + 2) == []
    with pytest.raises(CaError, match="answered already"):
        invites.answer(waiting.id, NOW_S + 2, approved=False)
    assert invites.ask(token, told(key=OTHER), NOW_S + 3)[0] == "unknown"
    assert invites.ask(token, told(), NOW_S + 3)[0] == "granted"


def test_what_an_operator_refuses_stays_refused(invites: Invites, authority: Authority) -> None:
    token = invites.make("box-1", NOW_S, approve=True)
    invites.ask(token, told(), NOW_S + 1)
    invites.answer(invites.all()[0].id, NOW_S + 2, approved=False)
    assert invites.ask(token, told(), NOW_S + 3)[0] == "refused"
    assert authority.listed(datetime.fromtimestamp(NOW_S, UTC)) == []


def test_a_new_invitation_takes_the_place_of_the_one_before(invites: Invites) -> None:
    old, new = invites.make("box-1", NOW_S), invites.make("box-1", NOW_S + 5)
    assert invites.ask(old, told(), NOW_S + 6)[0] == "unknown"
    assert invites.ask(new, told(), NOW_S + 6)[0] == "granted"


def test_who_has_a_certificate_is_invited_only_again(invites: Invites) -> None:
    invites.ask(invites.make("box-1", NOW_S), told(), NOW_S + 1)
    with pytest.raises(CaError, match="--again"):
        invites.make("box-1", NOW_S + 10)
    token = invites.make("box-1", NOW_S + 10, again=True)
    assert invites.ask(token, told(key=OTHER), NOW_S + 11)[0] == "granted"


@pytest.mark.parametrize("name", ["indexer-two", "a b", "../x", "", "x" * 65, "é"])
def test_what_no_agent_may_be_called_is_refused(invites: Invites, name: str) -> None:
    with pytest.raises(CaError):
        invites.make(name, NOW_S)


def test_what_is_long_over_goes_and_files_of_others_stay(
    invites: Invites, authority: Authority
) -> None:
    invites.make("box-1", NOW_S)
    for name, text in (("notes", "mine"), ("null", "null"), ("list", "[]"), ("text", '"x"')):
        (authority.folder / "invites" / f"{name}.json").write_text(text)
    invites.make("box-2", NOW_S + LIFE_S + REMEMBERED_S)
    assert [one.name for one in invites.all()] == ["box-2"]
    assert (authority.folder / "invites" / "notes.json").exists()


# --- what the operator types --------------------------------------------------------------------


@pytest.fixture
def page(tmp_path: Path) -> Iterator[JoinPage]:
    with JoinPage(tmp_path / "page", certificates.Authority(tmp_path / "other")) as served:
        yield served


def typed(authority: Authority, *words: str) -> int:
    return cli.main(["invite", *words, "--ca-folder", str(authority.folder)])


@pytest.fixture
def today(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "today", ["127.0.0.1"], datetime.now(UTC))


def line_of(capsys: pytest.CaptureFixture[str]) -> join.Invitation:
    told = capsys.readouterr()
    (line,) = told.out.splitlines()
    assert line.startswith("swarming-agent join 'https://") and line.endswith("'")
    assert "24 hours" in told.err
    return join.read_line(line.removeprefix("swarming-agent join ").strip("'"))


def test_the_line_names_the_certificate_that_the_page_shows(
    today: Authority, page: JoinPage, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"https://127.0.0.1:{page.port}/"
    assert typed(today, "box-1", "--url", url, "--place", "Paris", "--approve") == 0
    invitation = line_of(capsys)
    assert (invitation.name, invitation.path) == ("box-1", "/join")
    assert invitation.server == ("127.0.0.1", page.port, page.fingerprint)
    (kept,) = Invites(today).all()
    assert (kept.place, kept.approve) == ("Paris", True)
    assert kept.id == hashlib.sha256(invitation.token.encode()).hexdigest()


def test_the_indexers_own_certificate_counts_and_a_page_that_shows_another_is_told(
    today: Authority, page: JoinPage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cert, key = certificates.Authority(tmp_path / "own").issue("page", ("127.0.0.1",))
    settings = tmp_path / "indexer.toml"
    settings.write_text(f'page-cert = "{cert}"\npage-key = "{key}"\n')
    url = f"https://127.0.0.1:{page.port}"
    assert typed(today, "box-1", "--url", url, "--config", str(settings)) == 0
    told = capsys.readouterr()
    der = x509.load_pem_x509_certificate(Path(cert).read_bytes()).public_bytes(Encoding.DER)
    assert told.out.rstrip().endswith(f":{hashlib.sha256(der).hexdigest()}'")
    assert "shows another certificate" in told.err


def test_what_cannot_be_is_one_line_and_makes_nothing(
    today: Authority, page: JoinPage, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"https://127.0.0.1:{page.port}"
    for words, said in (
        (("indexer-x", "--url", url), "indexer"),
        (("box-1", "--url", "http://127.0.0.1:8443"), "is not the address of a page"),
        (("box-1", "--url", "https://127.0.0.1:8443/'; rm -rf /"), "is not the address"),
        (("box-1", "--url", "https://127.0.0.1:1"), "does not answer"),
        ((), "which box"),
        (("box-1", "--withdraw"), "no invitation"),
    ):
        assert typed(today, *words) == 2
        error = capsys.readouterr().err
        assert said in error and len(error.splitlines()) == 1
    assert Invites(today).all() == []


def test_invitations_are_listed_and_withdrawn(
    today: Authority, page: JoinPage, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"https://127.0.0.1:{page.port}"
    assert typed(today, "box-1", "--url", url) == 0
    token = line_of(capsys).token
    assert typed(today, "--list") == 0
    listed = capsys.readouterr().out
    assert listed.split()[:3] == ["box-1", "open", "until"] and token not in listed
    assert typed(today, "box-1", "--url", url) == 0
    assert "before this one is good no more" in capsys.readouterr().err
    assert typed(today, "box-1", "--withdraw") == 0
    assert Invites(today).all() == []


def test_without_an_authority_nobody_is_invited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["invite", "box-1", "--ca-folder", str(tmp_path)]) == 2
    assert "swarming-indexer ca init" in capsys.readouterr().err
