"""A box joins by one line or one file: says what it shares, asks, and is in; or nothing happens."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import cli, control, swarm_file
from agent.clock import Reading
from agent.membership import csr, join, join_command, p256, pinned, proof, sharing
from agent.membership.join import JoinError, read_line
from agent.store import Journal
from tests.agent_bed import ROOT
from tests.certificates import Authority
from tests.join_page import TOKEN, JoinPage
from tests.servers import Server
from tests.swarms import joined

MARK = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SWARMING_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def page(tmp_path: Path, authority: Authority) -> Iterator[JoinPage]:
    with JoinPage(tmp_path / "page", authority) as page:
        yield page


class Box:
    """A box that has not joined, and its owner at the keyboard."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.swarm = folder / "etc" / "agent.swarm"
        self.journal = folder / "journal.db"
        self.joining = folder / "etc" / "agent.swarm.joining"
        self.flags = ["--swarm", str(self.swarm), "--journal", str(self.journal)]

    def join(self, *words: str) -> int:
        return cli.main(["join", *words, *self.flags])

    @property
    def files(self) -> list[str]:
        return sorted(os.listdir(self.swarm.parent)) if self.swarm.parent.exists() else []

    @property
    def membership(self) -> swarm_file.SwarmFile:
        read = swarm_file.read(str(self.swarm))
        assert read is not None
        return read


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "box")


class TestByLine:
    def test_the_box_makes_its_key_and_gets_a_certificate(
        self, page: JoinPage, box: Box, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert box.join(page.line(), "--yes", "--place", "Paris 11e", "--isp", "Órange") == 0
        (asked,) = page.asked
        assert page.paths == ["/join"]
        assert set(asked) == {"name", "token", "csr", "place", "isp"}
        assert (asked["name"], asked["token"]) == ("box-1", TOKEN)
        assert (asked["place"], asked["isp"]) == ("Paris 11e", "Órange")
        made = box.membership
        assert (made.name, made.brokers) == ("box-1", ("mqtts://127.0.0.1:8883",))
        assert (made.place, made.isp) == ("Paris 11e", "Órange")
        proof.prove(str(box.swarm))
        assert box.files == ["agent.swarm"] and box.swarm.stat().st_mode & 0o777 == 0o600
        out = capsys.readouterr().out
        assert out.endswith(f"Joined: {box.swarm}\nNext: swarming-agent --swarm {box.swarm}\n")

    def test_what_was_not_told_is_not_sent(self, page: JoinPage, box: Box) -> None:
        assert box.join(page.line(), "--yes") == 0
        assert set(page.asked[0]) == {"name", "token", "csr"}

    def test_a_server_with_another_certificate_hears_nothing(
        self, page: JoinPage, box: Box, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert box.join(page.line(fingerprint=MARK), "--yes") == 1
        assert (page.asked, page.bytes, box.files) == ([], 0, ["agent.swarm.joining"])
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "another certificate" in err and "told nothing" in err

    def test_it_waits_until_an_operator_has_approved(
        self,
        page: JoinPage,
        box: Box,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        slept: list[float] = []
        monkeypatch.setattr(join_command, "pause", slept.append)
        answers: list[Any] = [
            (202, {"waiting": "an operator must approve"}),
            None,
            (202, {}),
            (500, {}),
        ]
        page.answer = lambda asked: answers.pop(0) if answers else page.grant(asked)
        assert box.join(page.line(), "--yes") == 0
        assert slept == [5.0] * 4 and len(page.asked) == 5 and len(page.keys()) == 1
        assert capsys.readouterr().out.count("An operator must approve") == 1

    def test_the_wait_can_be_broken_off_and_goes_on_with_the_same_key(
        self, page: JoinPage, box: Box, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(_: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(join_command, "pause", interrupt)
        page.answer = lambda _: (202, {})
        assert box.join(page.line(), "--yes") == 130
        assert box.files == ["agent.swarm.joining"]
        assert box.joining.stat().st_mode & 0o777 == 0o600 and TOKEN not in box.joining.read_text()
        page.answer = page.grant
        assert box.join(page.line(), "--yes") == 0
        assert len(page.asked) == 2 and len(page.keys()) == 1 and box.files == ["agent.swarm"]

    def test_an_answer_that_is_lost_is_asked_for_again_with_the_same_key(
        self, page: JoinPage, box: Box, capsys: pytest.CaptureFixture[str]
    ) -> None:
        page.answer = lambda _: None
        assert box.join(page.line(), "--yes") == 1
        assert capsys.readouterr().err.startswith(f"swarming-agent: 127.0.0.1:{page.port}: ")
        page.answer = page.grant
        assert box.join(page.line(), "--yes") == 0 and len(page.keys()) == 1

    def test_a_hotels_page_in_between_costs_neither_the_key_nor_the_invitation(
        self, page: JoinPage, box: Box, tmp_path: Path, authority: Authority
    ) -> None:
        page.answer = lambda _: None  # it has heard us, and its answer was lost
        assert box.join(page.line(), "--yes") == 1
        with JoinPage(tmp_path / "hotel", authority) as hotel:
            line = hotel.line(fingerprint=page.fingerprint)
            assert box.join(line, "--yes") == 1 and hotel.asked == []
        page.answer = page.grant
        assert box.join(page.line(), "--yes") == 0 and len(page.keys()) == 1

    @pytest.mark.parametrize("status", [403, 404])
    def test_what_a_proxy_says_of_itself_is_not_the_pages_word(
        self, status: int, page: JoinPage, box: Box
    ) -> None:
        page.answer = lambda _: b"HTTP/1.1 %d Sorry\r\n\r\n<html>nginx</html>" % status
        assert box.join(page.line(), "--yes") == 1 and box.files == ["agent.swarm.joining"]
        page.answer = page.grant
        assert box.join(page.line(), "--yes") == 0 and len(page.keys()) == 1

    def test_another_invitation_gets_another_key(self, page: JoinPage, box: Box) -> None:
        page.answer = lambda _: None
        box.join(page.line(), "--yes")
        box.join(page.line(token="z" * 26), "--yes")
        box.joining.write_text("{spoilt")
        box.join(page.line(token="z" * 26), "--yes")
        assert len(page.keys()) == 3

    def test_a_refusal_is_told_in_the_pages_words_which_cannot_steer_the_terminal(
        self, page: JoinPage, box: Box, capsys: pytest.CaptureFixture[str]
    ) -> None:
        page.answer = lambda _: (403, {"error": "this line\x1b[2J is used up\n" + "x" * 999})
        assert box.join(page.line(), "--yes") == 1
        err = capsys.readouterr().err
        assert "says: this line[2J is used up" in err and err.count("\n") == 1 and len(err) < 300
        assert box.files == [], "and no key is left behind"

    @pytest.mark.parametrize(
        ("status", "words"), [(429, "slower, please"), (500, "HTTP status 500"), (302, "302")]
    )
    def test_any_other_answer_leaves_the_way_open(
        self, status: int, words: str, page: JoinPage, box: Box, capsys: pytest.CaptureFixture[str]
    ) -> None:
        page.answer = lambda _: (status, {"error": "slower, please"} if status == 429 else [])
        assert box.join(page.line(), "--yes") == 1
        assert words in capsys.readouterr().err and box.files == ["agent.swarm.joining"]

    @pytest.mark.parametrize(
        ("instead", "said"),
        [
            ({"name": "box-2"}, "names another box"),
            ({"brokers": []}, "no broker"),
            ({"brokers": "mqtts://a.example"}, "no broker"),
            ({"brokers": [1]}, "brokers"),
            ({"brokers": ["a.example"] * 17}, "brokers"),
            ({"brokers": ["http://a.example"]}, "http:// is not spoken here"),
            ({"certificate": ""}, "another key"),
            ({"certificate": None}, "another key"),
            ({"ca": ""}, "its authority's certificate"),
            ({"ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}, "ca: "),
        ],
    )
    def test_an_answer_that_does_not_do_changes_nothing(
        self,
        instead: dict[str, Any],
        said: str,
        page: JoinPage,
        box: Box,
        authority: Authority,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        swarm_file.write(str(box.swarm), joined(authority, "before"))
        page.answer = lambda asked: (200, page.granted(asked, **instead))
        assert box.join(page.line(), "--yes") == 1
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
        assert box.membership.name == "before"
        assert box.files == ["agent.swarm", "agent.swarm.joining"]

    def test_a_certificate_that_is_not_ours_is_refused(
        self, page: JoinPage, box: Box, authority: Authority, capsys: pytest.CaptureFixture[str]
    ) -> None:
        another_key = Path(authority.issue("box-1").cert).read_text()
        page.answer = lambda asked: (200, page.granted(asked, certificate=another_key))
        assert box.join(page.line(), "--yes") == 1
        assert "another key than ours" in capsys.readouterr().err
        page.answer = lambda asked: (
            200, page.granted(asked, certificate=page.certificate(asked | {"name": "box-2"}))
        )  # fmt: skip
        assert box.join(page.line(), "--yes") == 1
        assert "its certificate is for 'box-2'" in capsys.readouterr().err

    def test_an_authority_that_did_not_sign_it_is_refused(
        self, page: JoinPage, box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        other = Path(Authority(tmp_path / "other").ca).read_text()
        page.answer = lambda asked: (200, page.granted(asked, ca=other))
        assert box.join(page.line(), "--yes") == 1
        assert "its authority does not vouch for its certificate" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "answer",
        [
            *(b"", b"220 mail.example ESMTP\r\n", b"HTTP/1.0 200 OK\r\n\r\nnot json"),
            b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 5000,
            b"HTTP/1.0 200 OK\r\n\r\n" + b" " * 70_000,
            b"HTTP/1.0 many\r\n\r\n",
        ],
    )
    def test_whatever_comes_is_one_line(
        self, answer: bytes, page: JoinPage, box: Box, capsys: pytest.CaptureFixture[str]
    ) -> None:
        page.answer = lambda _: answer
        assert box.join(page.line(), "--yes") == 1
        assert capsys.readouterr().err.count("\n") == 1

    def test_a_broker_in_the_pages_place_is_told_from_it_in_plain_words(
        self, box: Box, tmp_path: Path, authority: Authority, mosquitto: Callable[..., Server],
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        cert, key = authority.issue("localhost")
        wants = f"require_certificate true\ncafile {authority.ca}\ncertfile {cert}\nkeyfile {key}"
        shown = hashlib.sha256(ssl.PEM_cert_to_DER_cert(Path(cert).read_text())).hexdigest()
        for server, said in (
            (mosquitto(wants), ", as a broker does: is that the page's port"),
            (mosquitto(), "no TLS handshake succeeds: is that the page's port"),
        ):
            line = f"https://127.0.0.1:{server.port}/join#box-1:{TOKEN}:{shown}"
            assert box.join(line, "--yes") == 1
            err = capsys.readouterr().err
            assert said in err and "_ssl" not in err and err.count("\n") == 1, err

    def test_a_server_that_never_ends_is_left(
        self, page: JoinPage, box: Box, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        monkeypatch.setattr(pinned, "EXCHANGE_S", 0.3)

        def dawdle(_: object) -> None:
            time.sleep(1)

        page.answer = dawdle
        assert box.join(page.line(), "--yes") == 1
        assert "no answer in time" in capsys.readouterr().err


class TestByFile:
    def test_it_is_put_in_place_for_its_owner_alone(
        self, box: Box, tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = tmp_path / "box-1.swarm"
        given.write_text(joined(authority, "box-1", "mqtts://a.example", place="Paris"))
        assert box.join(str(given), "--yes", "--isp", "Free") == 0
        assert (box.membership.place, box.membership.isp) == ("Paris", "Free")
        assert box.swarm.stat().st_mode & 0o777 == 0o600
        out = capsys.readouterr().out
        assert "mqtts://a.example" in out and "Paris" in out and "Free" in out

    def test_what_is_in_it_cannot_steer_the_terminal(
        self, box: Box, tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = tmp_path / "box-1.swarm"
        given.write_text(joined(authority, "box-1", "a\x1b[2J.example", place="Pa\x1b[8mris"))
        assert box.join(str(given), "--yes") == 1
        out, err = capsys.readouterr()
        assert "\x1b" not in out + err and "Pa\ufffd[8mris" in out
        name = "box\x1b[2J"
        given.write_text(joined(authority, name))
        assert box.join(str(given), "--yes") == 2
        out, err = capsys.readouterr()
        assert out == "" and "\x1b" not in err and err.count("\n") == 1

    def test_an_empty_or_a_broken_one_is_one_line_and_2(
        self, box: Box, tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = tmp_path / "box-1.swarm"
        for text, said in (("", "is empty"), ("name =", "no certificate")):
            given.write_text(text)
            assert box.join(str(given), "--yes") == 2
            assert said in capsys.readouterr().err
        assert box.join(str(tmp_path / "nowhere"), "--yes") == 2
        assert "No such file" in capsys.readouterr().err

    def test_one_whose_key_is_anothers_changes_nothing(
        self, box: Box, tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
    ) -> None:
        whole = joined(authority, "box-1")
        key = whole[whole.index("-----BEGIN PRIVATE") : whole.index("-----END PRIVATE")]
        other = csr.private_key_pem(p256.generate()).split("-----END")[0]
        given = tmp_path / "box-1.swarm"
        given.write_text(whole.replace(key, other))
        assert box.join(str(given), "--yes") == 1
        assert "could not be used" in capsys.readouterr().err and box.files == []


class TestTheOwner:
    """Says yes or no, at a terminal, to what is printed there."""

    def at_terminal(self, box: Box, line: str, types: str) -> tuple[int, str]:
        keyboard, terminal = pty.openpty()
        command = [sys.executable, "-m", "agent.cli", "join", line, *box.flags]
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        os.write(keyboard, types.encode())
        out, _ = process.communicate(timeout=60)
        os.close(keyboard)
        os.close(terminal)
        return process.returncode, out.decode()

    @pytest.mark.parametrize("types", ["\n", "n\n", "no\n", "maybe\n"])
    def test_anything_but_yes_is_no(self, types: str, page: JoinPage, box: Box) -> None:
        status, out = self.at_terminal(box, page.line(), types)
        assert status == 1 and "Join? [y/N]" in out and "Nothing was sent or written." in out
        assert page.asked == [] and box.files == []

    @pytest.mark.parametrize("types", ["y\n", "YES\n"])
    def test_yes_joins(self, types: str, page: JoinPage, box: Box) -> None:
        status, out = self.at_terminal(box, page.line(), types)
        assert status == 0 and "Joined: " in out and box.files == ["agent.swarm"]

    def test_without_a_terminal_there_must_be_a_yes(
        self, page: JoinPage, box: Box, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        with open(os.devnull) as nothing:
            monkeypatch.setattr(sys, "stdin", nothing)
            assert box.join(page.line()) == 2
        out, err = capsys.readouterr()
        assert "--yes" in err and (out, page.asked) == ("", []), "the line is not buried"

    def test_is_told_how_many_results_change_their_name(
        self, page: JoinPage, box: Box, capsys: pytest.CaptureFixture[str]
    ) -> None:
        keep(box, "calm-otter-41", 3)
        assert box.join(page.line(), "--yes") == 0
        out = capsys.readouterr().out
        assert "This box has been calm-otter-41.\n3 results that are not confirmed yet" in out
        assert box.join(page.line("box-9", "z" * 26), "--yes") == 0
        out = capsys.readouterr().out
        assert "swarm at mqtts://127.0.0.1:8883; this replaces it.\n3 results" in out
        assert box.join(page.line("box-9", "y" * 26), "--yes") == 0
        assert "This box is box-9" not in capsys.readouterr().out, "the same name again"

    def test_is_told_which_swarm_the_box_is_of_before_it_becomes_anothers(
        self, page: JoinPage, box: Box, tmp_path: Path, authority: Authority,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        before = joined(authority, "box-1", "mqtts://old.example")
        swarm_file.write(str(box.swarm), before)
        given = tmp_path / "given"
        given.write_text(joined(authority, "box-1"))
        assert box.join(str(given), "--yes") == 0
        assert "replaces" not in capsys.readouterr().out, "another certificate of the same swarm"
        for word in (page.line(), joined(Authority(tmp_path / "other"), "box-1")):
            swarm_file.write(str(box.swarm), before)
            if not word.startswith("https:"):
                given.write_text(word)
                word = str(given)
            assert box.join(word, "--yes") == 0
            out = capsys.readouterr().out
            assert "This box is box-1 in the swarm at mqtts://old.example:8883; this replace" in out

    def test_keeps_place_and_isp_under_the_same_name_unless_told_others(
        self, page: JoinPage, box: Box, tmp_path: Path, authority: Authority,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        assert box.join(page.line(), "--yes", "--place", "Paris", "--isp", "Free") == 0
        capsys.readouterr()
        assert box.join(page.line(token="z" * 26), "--yes", "--isp", "Orange") == 0
        assert (page.asked[1]["place"], page.asked[1]["isp"]) == ("Paris", "Orange")
        assert (box.membership.place, box.membership.isp) == ("Paris", "Orange")
        assert "Paris" in capsys.readouterr().out
        given = tmp_path / "box-1.swarm"
        given.write_text(joined(authority, "box-1", isp="SFR"))
        assert box.join(str(given), "--yes") == 0
        assert (box.membership.place, box.membership.isp) == ("Paris", "SFR")
        assert box.join(str(given), "--yes", "--place", "") == 0
        assert box.membership.place is None
        assert box.join(page.line("box-2", "y" * 26), "--yes") == 0
        assert not {"place", "isp"} & set(page.asked[2]), "another box may stand elsewhere"

    def test_hears_before_anything_is_sent_that_the_configuration_names_another(
        self, page: JoinPage, box: Box, tmp_path: Path, authority: Authority,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        file = tmp_path / "agent.toml"
        file.write_text('name = "attic"\n')
        assert box.join(page.line(), "--yes", "--config", str(file)) == 2
        assert "name is 'attic', not 'box-1'" in capsys.readouterr().err
        cert, key = authority.issue("box-1")
        file.write_text(f'cert = "{cert}"\nkey = "{key}"\n')
        assert box.join(page.line(), "--yes", "--config", str(file)) == 2
        assert "would beat" in capsys.readouterr().err and page.asked == []

    def test_a_broken_membership_does_not_stand_in_the_way_of_a_new_one(
        self, page: JoinPage, box: Box
    ) -> None:
        box.swarm.parent.mkdir()
        box.swarm.write_text("rubbish")
        assert box.join(page.line(), "--yes") == 0 and box.membership.name == "box-1"

    def test_a_box_that_had_left_is_back(self, page: JoinPage, box: Box) -> None:
        path = control.path_beside(str(box.journal))
        control.write(path, control.Control(left=True, gone=True))
        assert box.join(page.line(), "--yes") == 0
        assert control.read(path) == control.Control()


def keep(box: Box, name: str, results: int) -> None:
    """A journal of a run under a made-up name."""
    (box.journal.parent / "name").write_text(name + "\n")
    journal = Journal(str(box.journal), name, max_rows=1000, max_bytes=10**7, flush_s=0, now=0)
    journal.follow(Reading("boot", 1, 1_790_000_000_000_000_000, "ntp", 0))
    for _ in range(results):
        journal.add({"kind": "icmp", "target": "a.example", "ok": True}, 1)
    journal.flush(1)
    journal.close()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), "Next: swarming-agent --swarm /etc/swarming/agent.swarm"),
        (("etc/init.d/swarming-agent",), "/etc/init.d/swarming-agent restart"),
        (("usr/lib/systemd/system/swarming-agent.service",), "systemctl restart swarming-agent"),
        (("etc/systemd/system/swarming-agent.service",), "systemctl restart swarming-agent"),
    ],
)
def test_what_comes_next_is_this_systems_own_command(
    files: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    root = f"{tmp_path}/"
    monkeypatch.setattr(swarm_file, "default_path", lambda _: "/home/x/agent.swarm")
    assert join_command.next_step(swarm_file.SYSTEM_PATH, False, root=root).endswith(said)
    other = join_command.next_step("/home/x/agent.swarm", True, root=root)
    assert other.endswith("start it again: swarming-agent")


@pytest.mark.parametrize(
    "line",
    [
        "https://",
        "https://a.example/join",
        f"https://a.example/join#box:{TOKEN}",
        f"https://a.example/join#box:{TOKEN[1:]}:{MARK}",
        f"https://a.example/join#box:{TOKEN.upper()}:{MARK}",
        f"https://a.example/join#box:{TOKEN}:{MARK[1:]}",
        f"https://a.example/join#b/x:{TOKEN}:{MARK}",
        f"https://a.example/join#indexer-1:{TOKEN}:{MARK}",
        f"https://a.example/#box:{TOKEN}:{MARK}",
        f"https://a.example/join?x=1#box:{TOKEN}:{MARK}",
        f"https://me@a.example/join#box:{TOKEN}:{MARK}",
        f"https://a.example:99999/join#box:{TOKEN}:{MARK}",
        f"https:///join#box:{TOKEN}:{MARK}",
        f"https://a.example/jo\rin#box:{TOKEN}:{MARK} x",
        f"http://a.example/join#box:{TOKEN}:{MARK}",
        "http://a.exam",
        f"s://a.example:8443/join#box:{TOKEN}:{MARK}",
        "a.example/join#box:abc",
    ],
)
def test_a_line_that_is_cut_or_changed_is_2(
    line: str, box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    assert box.join(line, "--yes") == 2
    assert "invitation" in capsys.readouterr().err


@pytest.mark.parametrize(
    "copied", ["swarming-agent join '{}'", '"{}"', " $ sudo swarming-agent join {}\n", "‘{}’", "{}"]
)
def test_a_line_may_be_pasted_with_its_command_and_quotes(copied: str) -> None:
    line = f"https://a.example/join#box:{TOKEN}:{MARK}"
    assert join.bare(copied.format(line)) == line
    assert join.bare("anna.swarm") == "anna.swarm"


def test_a_line_names_server_path_box_and_token() -> None:
    read = read_line(f" https://[::1]/a/join#box-1:{TOKEN}:{MARK.upper()}\n")
    assert (str(read.server), read.server.port, read.server.fingerprint) == ("[::1]", 443, MARK)
    assert (read.path, read.name, read.token) == ("/a/join", "box-1", TOKEN)
    assert TOKEN not in read.fingerprint


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["name", "certificate", "ca", "brokers", "x"]), JSON))
def test_any_answer_is_a_membership_or_a_line(told: dict[str, Any]) -> None:
    with contextlib.suppress(JoinError):
        join.granted(told, "box", p256.PrivateKey(7), None, None)


def test_what_is_printed_says_all_that_is_shared_and_fits_a_terminal() -> None:
    told = sharing.text(
        sharing.Joining("box-1", ("mqtts://a.example:8883",), "swarm.example:8443", "Paris", None)
    )
    assert all(len(line) < 80 for line in told.splitlines())
    for word in ("box-1", "Paris", "--isp", "mqtts://a.example:8883", "swarm.example:8443"):
        assert word in told
    for word in ("private key", "Wi-Fi", "MAC", "IMEI", "pseudonym"):
        assert word in told
