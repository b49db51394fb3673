"""Membership is one file: read, written, and good as certificate, key and authority at once."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent import config, dial, names, swarm_file
from agent.config import ConfigError
from agent.connection import Connection, Credentials, Opened
from agent.swarm_file import SwarmFile, SwarmFileError
from tests import needs
from tests.certificates import Authority
from tests.events import Events
from tests.servers import Server
from tests.swarms import joined, swarm_of

Start = Callable[..., Server]
TEXTS = st.text(
    st.characters(exclude_categories=("C", "Z")) | st.sampled_from(" \x7f\"'\\#=[],"), max_size=64
)


@pytest.fixture
def swarm(authority: Authority) -> SwarmFile:
    return swarm_of(authority, "box-1", ("mqtts://a.example:8883", "b.example"), "Orsay", "Órange")


def test_what_is_written_is_what_is_read(swarm: SwarmFile, tmp_path: Path) -> None:
    path = tmp_path / "etc" / "box.swarm"
    swarm_file.write(str(path), swarm.text)
    read = swarm_file.read(str(path))
    assert read is not None and read.text == swarm.text
    assert read == swarm_file.parse(swarm.text)
    assert (read.name, read.brokers) == (swarm.name, swarm.brokers)
    assert (read.place, read.isp) == ("Orsay", "Órange")
    assert read._replace(place=None, isp=None).text.splitlines()[2] == ""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SwarmFile:
    return swarm_of(Authority(tmp_path_factory.mktemp("ca")), "box")


@given(place=TEXTS, isp=TEXTS, broker=TEXTS)
@example(place='a "quoted" \\ place', isp="# no comment", broker="x")
def test_its_head_is_toml_whatever_it_says(
    made: SwarmFile, place: str, isp: str, broker: str
) -> None:
    told = made._replace(place=place, isp=isp, brokers=(broker, "y"))
    head = tomllib.loads(told.text[: told.text.index("-----BEGIN")])
    assert head == {"name": "box", "brokers": [broker, "y"]} | {
        name: value for name, value in (("place", place), ("isp", isp)) if value
    }
    read = swarm_file.parse(told.text)
    assert read is not None
    assert (read.brokers, read.place or "", read.isp or "") == ((broker, "y"), place, isp)


def test_comments_windows_line_ends_and_settings_of_a_later_version_do_no_harm(
    swarm: SwarmFile,
) -> None:
    text = "# for Ann\n\nlater = { x = 1 }\n" + swarm.text
    read = swarm_file.parse("\ufeff" + text.replace("\n", "\r\n"))
    assert read is not None and read.brokers == swarm.brokers and read.place == "Orsay"


@pytest.mark.parametrize("text", ["", "\n", "  \n\n"])
def test_an_empty_file_means_not_joined(text: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.swarm"
    path.write_text(text)
    assert swarm_file.read(str(path)) is None
    read = config.parse(["--swarm", str(path), "localhost"], {})
    assert read.swarm is None and read.cert is None
    assert str(read.brokers[0]) == "mqtt://localhost:1883"


def spoilt(text: str, *edits: tuple[str, str]) -> str:
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return text


BROKEN: list[tuple[str, Callable[[str], str]]] = [
    ("there is no certificate", lambda text: "name = 'x'\n"),
    ("does not say name", lambda text: spoilt(text, ('name = "box-1"\n', ""))),
    ("does not say brokers", lambda text: spoilt(text, ("brokers =", "brokres ="))),
    ("certificate is for 'box-1'", lambda text: spoilt(text, ('"box-1"', '"box-2"'))),
    ('line 1: must be "text"', lambda text: spoilt(text, ('"box-1"', "'box-1'"))),
    ("line 2: must be [", lambda text: spoilt(text, ("brokers = [", "brokers = [1, "))),
    ("line 2: must be [", lambda text: spoilt(text, ("brokers = [", "brokers = " + "[" * 9999))),
    ("line 1 is not", lambda text: "[table]\n" + text),
    ("line 2 is not", lambda text: 'name = "a"\n' + text),
    ("its one key", lambda text: text[: text.rindex("-----BEGIN")]),
    ("its one key", lambda text: text[: len(text) // 2]),
    ("its one key", lambda text: spoilt(text, ("PRIVATE KEY", "PUBLIC KEY"))),
    ("its one key", lambda text: text + text[text.index("-----BEGIN PRIVATE") :]),
    ("its one key", lambda text: text[: text.index("-----")] + text[text.index("-----BEGIN P") :]),
    ("larger than", lambda text: text + "\n" * 70_000),
]  # fmt: skip


@pytest.mark.parametrize(("said", "spoil"), BROKEN)
def test_a_broken_file_is_one_line_and_2(
    said: str, spoil: Callable[[str], str], swarm: SwarmFile, tmp_path: Path
) -> None:
    path = tmp_path / "box.swarm"
    path.write_text(spoil(swarm.text))
    done = run("run", "--swarm", str(path), "--journal", str(tmp_path / "j"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"swarming-agent: swarm: {path}: ") and said in done.stderr
    assert done.stderr.count("\n") == 1


@given(st.binary(max_size=300))
def test_any_bytes_give_a_file_or_one_line(made: SwarmFile, content: bytes) -> None:
    text = content.decode("utf-8", errors="replace")
    for whole in (text, text + made.text, made.text + text):
        try:
            swarm_file.parse(whole)
        except SwarmFileError as error:
            assert "\n" not in str(error)


def test_a_file_that_is_named_must_be_there_and_be_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: No such file"):
        config.parse(["--swarm", str(tmp_path / "nowhere")], {})
    environ = {"SWARMING_SWARM": str(tmp_path / "nowhere")}
    assert config.parse([], environ).swarm is None, "a unit names it before anybody has joined"
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not text"):
        config.parse([], {"SWARMING_SWARM": str(tmp_path / "binary")})


def test_it_says_name_brokers_place_and_isp_and_is_certificate_key_and_authority(
    swarm: SwarmFile, tmp_path: Path
) -> None:
    path = str(tmp_path / "box.swarm")
    swarm_file.write(path, swarm.text)
    read = config.parse([], {"SWARMING_SWARM": path})
    assert [str(b) for b in read.brokers] == ["mqtts://a.example:8883", "mqtts://b.example:8883"]
    assert (read.swarm, read.ca, read.cert, read.key) == (path,) * 4
    assert (read.name, read.place, read.isp) == ("box-1", "Orsay", "Órange")
    assert names.settle(read) == "box-1"


def test_everything_else_beats_it(swarm: SwarmFile, tmp_path: Path, authority: Authority) -> None:
    path = str(tmp_path / "box.swarm")
    swarm_file.write(path, swarm.text)
    (tmp_path / "agent.toml").write_text('swarm = "box.swarm"\nplace = "file"\nisp = "file"\n')
    environ = {"SWARMING_CONFIG": str(tmp_path / "agent.toml"), "SWARMING_ISP": "env"}
    read = config.parse(["other.example"], environ)
    assert (read.swarm, read.place, read.isp) == (path, "file", "env")
    assert [str(broker) for broker in read.brokers] == ["mqtts://other.example:8883"]
    with pytest.raises(ConfigError, match="certificate's CN"):
        names.settle(config.parse(["--name", "box-2"], environ))
    cert, key = authority.issue("mine")
    read = config.parse(["--cert", cert, "--key", key], environ)
    assert (read.ca, read.cert, read.key, read.name) == (None, cert, key, None)


def test_it_is_for_its_owner_alone_and_replaced_whole(swarm: SwarmFile, tmp_path: Path) -> None:
    path = tmp_path / "box.swarm"
    swarm_file.write(str(path), "")
    assert path.stat().st_mode & 0o777 == 0o600

    def objects(new: str) -> None:
        assert Path(new).read_text() == swarm.text and Path(new).stat().st_mode & 0o777 == 0o600
        raise SwarmFileError("no")

    with pytest.raises(SwarmFileError, match="no"):
        swarm_file.write(str(path), swarm.text, objects)
    assert path.read_text() == "" and [p.name for p in tmp_path.glob("box*")] == ["box.swarm"]
    path.chmod(0o666)
    swarm_file.write(str(path), swarm.text)
    assert path.stat().st_mode & 0o777 == 0o640, "others never, and nobody else may write"


def test_group_and_owner_that_a_package_gave_it_stay(swarm: SwarmFile, tmp_path: Path) -> None:
    needs.root()
    path = tmp_path / "box.swarm"
    path.touch()
    os.chown(path, 0, 4711)
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    swarm_file.write(str(link), swarm.text)
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 4711, 0o640)
    assert link.is_symlink() and path.read_text() == swarm.text


def test_a_place_that_cannot_be_written_is_one_line() -> None:
    with pytest.raises(SwarmFileError, match="/proc/nowhere/box.swarm: "):
        swarm_file.write("/proc/nowhere/box.swarm", "")


def test_who_has_not_joined_is_told_how(tmp_path: Path) -> None:
    done = run("run", "--journal", str(tmp_path / "j"), "--swarm", os.devnull)
    assert done.returncode == 2 and "not joined yet: swarming-agent join" in done.stderr


def test_reading_it_costs_no_toml_reader(swarm: SwarmFile, tmp_path: Path) -> None:
    path = str(tmp_path / "box.swarm")
    swarm_file.write(path, swarm.text)
    code = (
        "import sys; from agent import config; import agent.swarming_agent;"
        f"assert config.parse(['--swarm', {path!r}], {{}}).name == 'box-1';"
        "print(*(name for name in sys.modules if name.startswith(("
        "'tomllib', 'agent.membership', 'agent.doctor'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


class TestWithABroker:
    """Real Mosquitto, which wants a certificate."""

    MUTUAL = ("require_certificate true", "use_identity_as_username true")

    def broker(self, start: Start, server: tuple[str, str], ca: str) -> Server:
        cert, key = server
        return start(f"certfile {cert}", f"keyfile {key}", f"cafile {ca}", *self.MUTUAL)

    def credentials(self, path: Path, text: str) -> Credentials:
        swarm_file.write(str(path), text)
        return Credentials(str(path), str(path), str(path))

    def test_one_path_is_certificate_key_and_authority(
        self, mosquitto: Start, authority: Authority, swarm: SwarmFile, tmp_path: Path
    ) -> None:
        server = self.broker(mosquitto, authority.issue("server", ("127.0.0.1",)), authority.ca)
        events = Events()
        own = self.credentials(tmp_path / "box.swarm", swarm.text)
        broker = dial.Broker("127.0.0.1", server.port, True)
        connection = Connection(broker, "box-1", post=events.post, credentials=own)
        connection.open()
        events.next(Opened)
        connection.close()

    def test_another_authoritys_file_lets_nobody_in_and_trusts_nobody(
        self, mosquitto: Start, authority: Authority, tmp_path: Path
    ) -> None:
        server = self.broker(mosquitto, authority.issue("server", ("127.0.0.1",)), authority.ca)
        other = self.credentials(
            tmp_path / "x.swarm", joined(Authority(tmp_path / "other"), "box-1")
        )
        with pytest.raises(dial.DialError, match="certificate is not good"):
            dial.dial(dial.Broker("127.0.0.1", server.port, True), other)

    def test_a_stolen_certificate_does_not_make_a_broker(
        self, mosquitto: Start, authority: Authority, swarm: SwarmFile, tmp_path: Path
    ) -> None:
        """An agent may be called like the broker's host, and its certificate is good."""
        own = self.credentials(tmp_path / "box.swarm", swarm.text)
        server = self.broker(mosquitto, authority.issue("localhost"), authority.ca)
        with pytest.raises(dial.DialError, match="certificate is not good"):
            dial.dial(dial.Broker("localhost", server.port, True), own)

    def test_our_own_certificate_is_no_authority(
        self, authority: Authority, swarm: SwarmFile, tmp_path: Path
    ) -> None:
        own = self.credentials(tmp_path / "box.swarm", swarm.text)
        context = dial._tls_context(own)
        assert context.cert_store_stats()["x509"] == 1
        (trusted,) = context.get_ca_certs(binary_form=True)
        assert trusted == ssl.PEM_cert_to_DER_cert(Path(authority.ca).read_text())

    def test_without_an_authority_nobody_is_trusted_instead_of_the_systems(
        self, swarm: SwarmFile, tmp_path: Path
    ) -> None:
        text = swarm.text[: swarm.text.rindex("-----BEGIN")]
        with pytest.raises(dial.DialError, match="no authority"):
            dial._tls_context(self.credentials(tmp_path / "cut.swarm", text))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)
