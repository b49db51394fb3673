"""The agent's command line: what a person types, and what comes back when it is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import VERSION, cli, config, dial
from agent.store_view import ViewCounts
from tests import needs
from tests.agent_bed import ROOT, environ
from tests.netlab import SERVICE, Lab, Namespace, Street


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("brokers", *(name for name, _, _ in config._OPTIONS)):
        monkeypatch.delenv("SWARMING_" + name.replace("-", "_").upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_text("nmae = 'x'\n")
    (tmp_path / "not.toml").write_text("this is = no = toml\n")
    (tmp_path / "text.db").write_text("not a journal, but long enough to look like one\n" * 50)


BAD = [
    ("sttaus", "did you mean status?"),
    ("jurnal", "did you mean journal?"),
    ("run", "name a broker"),
    ("", "name a broker"),
    ("localhost --nmae x", "did you mean --name?"),
    ("localhost --name", "--name: expected one argument"),
    ("localhost --name a/b", "name: 'a/b' must be"),
    ("localhost --name indexer-x", "belong to indexers"),
    ("localhost:99999", "broker 'localhost:99999'"),
    ("http://localhost", "broker 'http://localhost'"),
    ("localhost --flush soon", "flush: must be a number"),
    ("localhost --flush -1", "flush: must be between"),
    ("localhost --mqtt 4", "mqtt: '4' is none of"),
    ("localhost --link string", "link: 'string' is none of"),
    ("localhost --allow-private 10.0.0.1/8", "allow-private: 10.0.0.1/8 has host bits set"),
    ("localhost --deny everything", "deny: 'everything'"),
    ("localhost --budget lots", "budget: must be a size"),
    ("localhost --budget 1", "budget: must be at least"),
    ("localhost --max-rows 3", "max-rows: must be between"),
    ("localhost --ca nowhere.pem", "ca: nowhere.pem: No such file"),
    ("localhost --ca text.db", "ca: text.db: no certificates in PEM"),
    ("localhost --key text.db", "key: there is a key, but no cert"),
    ("localhost --config nowhere.toml", "config nowhere.toml: No such file"),
    ("localhost --config bad.toml", "there is no setting 'nmae'"),
    ("localhost --config not.toml", "not TOML"),
    ("localhost --log-level loud", "log-level: 'loud' is none of"),
    ("once -x", "unrecognized arguments: -x"),
    ("once ftp://example.org", "only http and https"),
    ("once 1.2.3", "1.2.3: it ends in a number"),
    ("once http://user:secret@example.org/", "may not hold a user name"),
    ("status --journal nowhere.db", "no agent runs on nowhere.db"),
    ("status extra", "unrecognized arguments: extra"),
    ("journal nowhere.db", "there is no journal at nowhere.db"),
    ("journal text.db", "text.db is not a journal"),
    ("journal .", ". is not a journal"),
    ("link --replay nowhere.tar.gz", "nowhere.tar.gz: No such file or directory"),
    ("link --replay text.db", "text.db: not a capture of link --capture, or cut short"),
    ("link --link string", "link: 'string' is none of"),
    ("pause soon", "pause: 'soon' must be a time such as 90s, 30m, 2h or 1d"),
    ("pause --journal nowhere/journal.db", "no agent has run here yet"),
    ("resume --journal nowhere/journal.db", "no agent has run here yet"),
    ("pause --journal text.db/journal.db", "text.db/journal.db: Not a directory"),
]


@pytest.mark.parametrize(("line", "said"), BAD)
def test_bad_input_is_one_line_and_2(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("swarming-agent: ") and err.count("\n") == 1, err
    assert said in err


def test_help_shows_every_command_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for name, (_, sentence) in cli._COMMANDS.items():
        assert f"  {name} " in told and sentence in told
    assert "swarming-agent localhost" in told, "an example to copy"


@pytest.mark.parametrize("command", cli._COMMANDS)
def test_each_command_explains_each_of_its_options(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    told = capsys.readouterr().out
    assert "SWARMING_" in told and "TOML" in told
    for action in cli._parser(command)._actions:
        assert action.help or action.dest == "targets_now", f"{action.dest} has no help"
        for option in action.option_strings:
            assert option in told


def test_a_command_offers_the_options_that_it_heeds_and_no_others() -> None:
    def options(command: str) -> set[str]:
        actions = cli._parser(command)._actions
        return {name for action in actions for name in action.option_strings if name != "-h"}

    assert {f"--{name}" for name, _, _ in config._OPTIONS} <= options("run")
    for command in ("pause", "resume"):
        assert options(command) == {"--help", "--config", "--journal"}
    assert options("status") == {"--help", "--config", "--journal", "--json"}
    assert {"--allow-private", "--deny"} <= options("once")


def test_options_and_brokers_in_any_order() -> None:
    words = ["one", "--name", "x", "two:1884", "--flush", "5", "mqtts://three"]
    options = cli._parser("run").parse_intermixed_args(words)
    read = config.load(options, {})
    assert [broker.host for broker in read.brokers] == ["one", "two", "three"]
    assert (read.name, read.flush_s) == ("x", 5.0)


def test_run_may_be_left_out() -> None:
    assert cli._with_command(["localhost", "--name", "x"]) == ["run", "localhost", "--name", "x"]
    assert cli._with_command(["run", "localhost"]) == ["run", "localhost"]
    assert cli._with_command(["ones.example"]) == ["run", "ones.example"], "a host, no misspelling"


def test_a_bare_word_that_is_no_host_may_have_been_a_command(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    def no_such_host(host: str, _: object) -> None:
        asked.append(host)
        raise OSError("no such host")

    monkeypatch.setattr(dial.socket, "getaddrinfo", no_such_host)
    cli._doubt(["localhost", "broker.example", "::1", "bogus"])
    assert asked == ["bogus"], "whatever else cannot be a command"
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith("bogus: no such host") and "status journal link" in line


def test_a_box_without_a_way_out_says_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["link", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "unknown: there is no default route\n"


def test_the_journals_times_are_read_by_a_person() -> None:
    empty = ViewCounts(0, 0, 0, 0, 0, 0, 1, None, None, 4096)
    assert dict(empty.lines())["oldest"] == "-"
    full = empty._replace(oldest_ms=1_790_000_000_123, newest_ms=1_790_000_000_123)
    assert dict(full.lines())["newest"] == "2026-09-21 14:13 UTC"


def test_link_prints_a_guess_with_its_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["link", "--root", "/nowhere", "--link", "lte"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "  the owner says lte"
    assert cli.main(["link", "--root", "/nowhere", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["type"] == "unknown"


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.strip() == VERSION


class TestOnce:
    """Probes now, in a street of our own: box, router, provider, service."""

    @pytest.fixture
    def street(self) -> Iterator[Street]:
        needs.namespaces()
        with Lab() as lab:
            street = lab.street()
            street.box.allow_pings()
            yield street

    def once(self, box: Namespace, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.fast_agent", "once", *words]
        process = box.start(*command, stdout=-1, stderr=-1, env=environ(20))
        out, err = process.communicate(timeout=90)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def test_without_a_target_it_runs_the_ladder(self, street: Street) -> None:
        street.provider.run("ip", "route", "add", "default", "via", SERVICE)
        said = self.once(street.box)
        assert said.returncode == 0, said.stderr
        assert said.stdout.startswith("your router: ")
        assert "your provider's first hop: " in said.stdout and "0 of 5 lost" in said.stdout
        body = json.loads(self.once(street.box, "--json").stdout)
        assert (body["kind"], body["target"]) == ("ladder", "ladder")
        assert body["first_hop"]["received"] == body["gateway"]["received"] == 5

    def test_a_target_is_measured_and_refusals_have_a_reason(self, street: Street) -> None:
        said = self.once(street.box, SERVICE, SERVICE, "--allow-private", "10.3.0.0/16")
        assert said.returncode == 0, said.stderr
        (line,) = said.stdout.splitlines()  # named twice, probed once
        assert line.startswith(f"{SERVICE}: ") and "0 of 10 lost" in line
        refused = self.once(street.box, SERVICE, "no-such.example", "--json")
        assert refused.returncode == 1
        first, second = map(json.loads, refused.stdout.splitlines())
        assert first["error"] == "policy" and "private" in first["detail"]
        assert second["ok"] is False and second["error"] in ("unknown_host", "resolver_failed")

    def test_a_box_without_a_network_says_so(self) -> None:
        needs.namespaces()
        with Lab() as lab:
            said = self.once(lab.namespace())
        assert said.returncode == 1
        assert "no router" in said.stdout


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m agent.cli --help | head -1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=ROOT, check=True, env=environ(1)
    )
    assert "Traceback" not in done.stderr


def test_in_a_file_an_error_stands_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / "name").write_text("box\n")
    (tmp_path / "journal.db").touch()
    words = ["leave", "--yes", "--journal", str(tmp_path / "journal.db")]
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environ(1),
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.startswith("box leaves its swarm.") and "nothing was removed" in (
        done.stdout.splitlines()[-1]
    )
