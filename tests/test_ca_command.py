"""`swarming-indexer ca`: what an operator types, gets, and is told to do next."""

from __future__ import annotations

import json
import os
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent import swarm_file
from agent.connection import Broker
from agent.membership import csr as agent_csr
from agent.membership import p256
from indexer import cli, config, run_command
from indexer.ca import Authority
from indexer.ca import command as ca_command
from indexer.ca.forms import new_key
from indexer.flags import parser
from tests.operator_bed import SHIPPED

HOST = "swarm.example.org"


@pytest.fixture
def ca(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ca:
    monkeypatch.setenv("SWARMING_INDEXER_CA_FOLDER", str(tmp_path / "ca"))
    return Ca(tmp_path / "ca", capsys)


class Ca:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.out, self._capsys = folder, folder / "out", capsys
        self.aside = ""  # what the last one said beside its output

    def __call__(self, *words: str) -> str:
        """What it prints."""
        code = cli.main(["ca", *words])
        told = self._capsys.readouterr()
        assert code == 0, told.err
        self.aside = told.err
        return str(told.out)

    def refused(self, *words: str) -> str:
        """The one line that it ends with instead."""
        code = cli.main(["ca", *words])
        told = self._capsys.readouterr()
        assert (code, told.out, len(told.err.splitlines())) == (2, "", 1)
        return str(told.err)


def test_init_makes_all_that_a_server_needs_and_says_where_it_goes(ca: Ca) -> None:
    told = ca("init", HOST, "192.0.2.1")
    files = {path.name for path in ca.out.iterdir()}
    assert files == {"server.crt", "server.key", "indexer-one.crt", "indexer-one.key"}
    conf, acl, install = (line for line in told.splitlines() if line.startswith("  install"))
    assert shlex.split(conf)[-2:] == [str(SHIPPED / "swarming.conf"), "/etc/mosquitto/conf.d/"]
    assert shlex.split(acl)[-2:] == [str(SHIPPED / "swarming.acl"), "/etc/mosquitto/swarming.acl"]
    words = shlex.split(install)
    paths = [Path(word) for word in words if word.startswith(str(ca.folder))]
    assert [path.name for path in paths] == ["ca.crt", "crl.pem", "server.crt", "server.key"]
    assert all(path.exists() for path in paths)
    conf = (SHIPPED / "swarming.conf").read_text()
    target = words[words.index("-t") + 1]
    assert set(re.findall(rf"{target}/(\S+)", conf)) == {path.name for path in paths}


def test_the_configuration_that_init_prints_is_one_that_the_indexer_takes(
    ca: Ca, tmp_path: Path
) -> None:
    lines = ca("init", HOST).splitlines()
    auth = tmp_path / "page.auth"
    auth.write_text("")
    told = "\n".join(line.strip() for line in lines if " = " in line)
    file = tmp_path / "indexer.toml"
    file.write_text(told.replace("/etc/swarming/page.auth", str(auth)))
    found = config.from_flags(parser().parse_args(["run", "--config", str(file)]), {})
    assert found.brokers == (Broker(HOST, 8883, True),)
    assert (found.name, str(found.listen)) == ("indexer-one", "[::]:8443")
    file.write_text(re.sub("(?m)^name = .*$", "", file.read_text()))
    found = config.from_flags(parser().parse_args(["run", "--config", str(file)]), {})
    assert found.name == "indexer-one", "its certificate says so"


def test_init_is_done_once(ca: Ca) -> None:
    ca("init", HOST)
    before = (ca.folder / "ca.key").read_bytes()
    assert "not empty" in ca.refused("init", HOST)
    assert (ca.folder / "ca.key").read_bytes() == before


@pytest.mark.parametrize("words", [("init", "bad_host"), ("init", HOST, "*"),
                                   ("init", HOST, "--indexer", "bob"),
                                   ("init", HOST, "--indexer", "indexer-a/b")])  # fmt: skip
def test_what_cannot_be_made_leaves_nothing_behind(words: tuple[str, ...], ca: Ca) -> None:
    ca.refused(*words)
    assert not ca.folder.exists()


def test_a_swarm_file_is_one_that_an_agent_reads(ca: Ca) -> None:
    ca("init", HOST)
    told = ca("issue", "box-1", "box-2", "--place", 'Paris "8e"', "--isp", "Free")
    assert told.split() == [str(ca.out / "box-1.swarm"), str(ca.out / "box-2.swarm")]
    found = swarm_file.read(str(ca.out / "box-1.swarm"))
    assert found is not None
    assert (found.name, found.place, found.isp) == ("box-1", 'Paris "8e"', "Free")
    assert found.brokers == (f"mqtts://{HOST}:8883",)
    assert found.ca.strip() == (ca.folder / "ca.crt").read_text().strip()
    assert (ca.out / "box-1.swarm").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", ["Pa\nris", "Pa\x1b[2Jris", "Pa\udcffris", "x" * 65])
def test_what_no_box_would_take_is_not_issued(place: str, ca: Ca) -> None:
    ca("init", HOST)
    for flag in ("--place", "--isp"):
        assert f"{flag}: at most 64 printable" in ca.refused("issue", "box-1", flag, place)
    assert "box-1" not in ca("list")


def test_a_full_disk_is_said_of_the_file(ca: Ca, monkeypatch: pytest.MonkeyPatch) -> None:
    ca("init", HOST)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    said = ca.refused("issue", "box-1")
    assert f"{ca.folder}/issued/" in said and "No space left" in said and "None" not in said


def test_what_the_operator_changes_in_swarm_toml_is_in_the_next_file(ca: Ca) -> None:
    ca("init", HOST)
    brokers = ["mqtts://a.example:8883", "mqtts://b.example:8883"]
    (ca.folder / "swarm.toml").write_text(f"brokers = {json.dumps(brokers)}\n")
    ca("issue", "box-1")
    found = swarm_file.read(str(ca.out / "box-1.swarm"))
    assert found is not None and list(found.brokers) == brokers
    (ca.folder / "swarm.toml").write_text("brokers = 7\n")
    assert "brokers" in ca.refused("issue", "box-1")


def test_a_request_is_certified_and_its_key_stays_away(ca: Ca, tmp_path: Path) -> None:
    ca("init", HOST)
    file = tmp_path / "box-1.csr"
    file.write_text(agent_csr.request_pem(p256.generate(), "box-1"))
    path = ca("issue", "box-1", "--csr", str(file), "--out", str(tmp_path / "there")).strip()
    assert path == str(tmp_path / "there" / "box-1.pem")
    assert Path(path).read_text().count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE" not in Path(path).read_text()
    assert "of 'box-1'" in ca.refused("issue", "box-2", "--csr", str(file))
    assert "one NAME" in ca.refused("issue", "box-1", "box-2", "--csr", str(file))
    assert "No such file" in ca.refused("issue", "box-3", "--csr", "/nonexistent")


def test_another_indexer_is_told_its_lines_for_mosquitto(ca: Ca) -> None:
    ca("init", HOST)
    told = ca("issue", "indexer-two")
    assert ca_command.acl_of("indexer-two") in told
    assert (ca.out / "indexer-two.key").stat().st_mode & 0o777 == 0o600


def test_a_second_brokers_certificate_leaves_that_of_the_first_alone(
    ca: Ca, tmp_path: Path
) -> None:
    ca("init", HOST)
    before = (ca.out / "server.crt").read_bytes()
    other = tmp_path / "other"
    told = ca("issue", "--server", "b.example.org", "192.0.2.2", "--out", str(other))
    assert f"{other / 'server.crt'} {other / 'server.key'}" in told
    assert (ca.out / "server.crt").read_bytes() == before
    assert [one["role"] for one in _listed(ca, "b.example.org")] == ["server"]


def test_the_access_list_that_we_ship_has_the_indexer_that_init_makes() -> None:
    shipped = (SHIPPED / "swarming.acl").read_text()
    assert shipped.endswith("\n" + ca_command.acl_of("indexer-one"))
    default = parser().parse_args(["ca", "init", HOST]).indexer
    assert default == "indexer-one"


def test_revoke_says_that_brokers_must_be_told(ca: Ca) -> None:
    ca("init", HOST)
    ca("issue", "box-1", "box-2")
    told = ca("revoke", "box-1")
    assert str(ca.folder / "crl.pem") in told and "systemctl restart mosquitto" in told
    assert "did you mean box-2" in ca.refused("revoke", "box-1")


def test_a_renewed_certificate_leaves_the_old_one_good_until_it_is_revoked(ca: Ca) -> None:
    ca("init", HOST)
    ca("issue", "box-1")
    old = (ca.out / "box-1.swarm").read_text()
    assert "--again" in ca.refused("issue", "box-2", "box-1")
    assert (ca.out / "box-1.swarm").read_text() == old and not (ca.out / "box-2.swarm").exists()
    ca("issue", "box-1", "--again")
    assert "ca revoke box-1 --old" in ca.aside
    assert (ca.out / "box-1.swarm").read_text() != old
    assert [one["valid"] for one in _listed(ca, "box-1")] == [True, True]
    assert "1 revoked" in ca("revoke", "box-1", "--old")
    assert [one["valid"] for one in _listed(ca, "box-1")] == [False, True]


def test_list_says_until_when_and_what_is_revoked(ca: Ca) -> None:
    ca("init", HOST)
    ca("issue", "box-1", "--days", "20")
    ca("issue", "box-2")
    ca("revoke", "box-2")
    authority, ago = Authority.open(ca.folder), datetime.now(UTC) - timedelta(days=9)
    authority.issue("box-3", new_key().public_key(), role="agent", days=3, now=ago)
    lines = {line.split()[0]: line for line in ca("list").splitlines()}
    assert set(lines) == {HOST, "indexer-one", "box-1", "box-2", "box-3"}
    assert "19 days left" in lines["box-1"] and "days left" not in lines[HOST]
    assert "revoked 20" in lines["box-2"] and "ended 20" in lines["box-3"]
    (one,) = _listed(ca, "box-2")
    assert set(one) == {"name", "role", "serial", "begins", "ends", "revoked", "valid"}
    assert one["revoked"] and (ca.folder / "issued" / f"{one['serial']}.crt").exists()


def test_the_indexer_says_which_of_its_certificates_ends_soon(ca: Ca) -> None:
    ca("init", HOST)
    ca("issue", "indexer-one", "--days", "59")
    paths = [str(ca.out / name) for name in ("indexer-one.crt", "server.crt", "no.crt")]
    now_ms = round(datetime.now(UTC).timestamp() * 1000)
    (line,) = run_command.ending(paths, now_ms)
    assert "indexer-one.crt ends on 20" in line
    assert len(run_command.ending(paths, now_ms + 700 * 86_400_000)) == 2


def test_what_is_issued_is_told_to_be_handed_over_as_a_password(ca: Ca) -> None:
    ca("init", HOST)
    ca("issue", "anna")
    assert "as you would a password" in ca.aside and "swarming-agent join anna.swarm" in ca.aside
    ca("issue", "indexer-two")
    ca("issue", "indexer-two")
    assert ca.aside == "", "an indexer's is renewed so"


def test_names_that_differ_by_capitals_alone_are_not_both_let_in(ca: Ca) -> None:
    ca("init", HOST)
    ca("issue", "anna")
    assert "there is anna already" in ca.refused("issue", "Anna")
    ca("revoke", "anna")
    ca("issue", "Anna")


@pytest.mark.parametrize("name", ["ca.key", "ca.crt", "crl.pem", "swarm.toml"])
def test_a_file_that_is_spoilt_is_named(name: str, ca: Ca) -> None:
    ca("init", HOST)
    (ca.folder / name).write_text("-----BEGIN garbage\n")
    said = ca.refused("issue", "box-1")
    assert str(ca.folder / name) in said and "_OpenSSL" not in said and len(said) < 200


def test_where_nothing_can_be_made_the_folder_that_was_asked_for_is_named(ca: Ca) -> None:
    assert "/proc/x cannot be made" in ca.refused("init", HOST, "--ca-folder", "/proc/x")


def test_who_may_not_read_it_is_told_so(
    ca: Ca, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CA_HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert f"{tmp_path} may not be read: use sudo" in ca.refused("list")


def test_without_an_authority_each_command_says_how_to_make_one(ca: Ca) -> None:
    for words in (("list",), ("issue", "box-1"), ("revoke", "box-1")):
        assert "swarming-indexer ca init HOST" in ca.refused(*words)
    assert "ACTION" in ca.refused()


def _listed(ca: Ca, name: str) -> list[dict[str, object]]:
    return [one for one in json.loads(ca("list", "--json")) if one["name"] == name]
