"""What a person types at the indexer, and what they get."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent import config as agent_config
from agent import wire
from indexer import cli, config, run_command
from indexer.flags import COMMANDS, parser
from indexer.store import AgentRecord, Dead, StoreDown
from indexer.stores import open_store
from tests.indexers import Client, Flaky, now_ms, result, seqs, settings, sqlite
from tests.servers import free_port, wait_for

ROOT = Path(__file__).parent.parent


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    code = cli.main(words)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store that holds three results and a dead letter."""
    with sqlite(tmp_path / "s.db") as made:
        made.put([result(1), result(2), result(3, agent="b2", target="yahoo.cn")], now_ms())
        letter = Dead(now_ms(), "ping/a1", wire.encode_result(result(4)), "a bug of ours")
        made.put_dead([letter, Dead(now_ms(), "ping/a1", b"garbage", "not JSON")])
    return f"sqlite:{tmp_path / 's.db'}"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["run"], "which broker"),
        (["verdcit", "voila.fr"], "did you mean verdict?"),
        (["exprot"], "did you mean export?"),
        (["localhost", "--sotre", "x"], "did you mean --store?"),
        (["localhost", "--name", "bob"], "indexer-"),
        (["localhost", "--keep", "never"], "--keep"),
        (["localhost", "--listen", "nowhere"], "--listen"),
        (["localhost", "--listen", "0.0.0.0:8080"], "--behind-proxy"),
        (["localhost", "--share", "a/b"], "--share"),
        (["localhost", "--cert", "x"], "--key"),
        (["localhost", "--ca", "/nonexistent"], "--ca: /nonexistent: there is no such file"),
        (["localhost", "--auth", "/nonexistent"], "made by swarming-indexer auth"),
        (["localhost", "--mqtt", "4"], "--mqtt"),
        (["localhost", "--config", "/nonexistent"], "/nonexistent"),
        (["http://localhost"], "mqtt"),
        (["localhost", "--listen", "off", "--store", "mysql:x"], "sqlite:PATH"),
        (["verdict"], "TARGET"),
        (["verdict", "voila.fr", "--store", "sqlite:/nonexistent"], "no such file"),
        (["export", "--format", "xml"], "ndjson"),
        (["backup"], "FILE"),
        (["export", "--out", "x.xlsx"], "--format is ndjson, csv, parquet"),
        (["localhost", "--index-prefix", "x", "--store", "sqlite:s"], "--index-prefix is for"),
        (["verdict", "t", "--index-prefix", "x", "--store", "sqlite:s"], "--index-prefix is for"),
        (["export", "--index-prefix", "a", "--store", "opensearch:http://h?prefix=b"], "another"),
        (["replay", "--index-prefix", "A B", "--store", "opensearch:http://h"], "prefix 'A B'"),
        (["backup", "--store", "elasticsearch:https://h:9200", "f.db"], "--to sqlite:FILE"),
        (["verdict", "t", "--store", "elasticsearch:https://u:secret@h"], "no secret"),
        (["copy", "--from", "sqlite:x"], "--to"),
        (["dashboards"], "--install"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(capsys, *words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert hint in err


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_names_everything(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"] if command else ["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "usage" in out and len(out.splitlines()) > 5


def test_without_a_word_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 0
    assert all(command in capsys.readouterr().out for command in ("verdict",))


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "indexer.toml"
    file.write_text('brokers = ["b1", "b2:1884"]\nkeep = 10\nshare = "g"\nlog-level = "debug"\n')
    words = ["run", "--config", str(file), "--share", "h"]
    flags = parser().parse_args(words)
    found = config.from_flags(flags, {"SWARMING_INDEXER_KEEP": "20"})
    assert [str(broker) for broker in found.brokers] == ["mqtt://b1:1883", "mqtt://b2:1884"]
    assert found.keep_raw_ms == 20 * config.DAY_MS
    assert (found.share, found.log_level) == ("h", "debug")


def test_a_file_with_a_strange_setting_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "indexer.toml"
    file.write_text('brokers = ["b1"]\nkepe = 10\n')
    code, _, err = said(capsys, "run", "--config", str(file))
    assert code == 2 and "kepe" in err


@pytest.mark.parametrize("days", ["400", "400d", 400])
def test_days_are_kept_with_and_without_their_unit(days: str | int) -> None:
    flags = parser().parse_args(["run", "b1", "--keep", str(days)])
    assert config.from_flags(flags, {}).keep_raw_ms == 400 * config.DAY_MS


def test_an_index_prefix_becomes_part_of_the_stores_address() -> None:
    words = ["run", "b1", "--store", "opensearch:http://h:9200?shards=2", "--index-prefix", "p"]
    flags = parser().parse_args(words)
    assert config.from_flags(flags, {}).store == "opensearch:http://h:9200?shards=2&prefix=p"
    found = {"SWARMING_INDEXER_STORE": "opensearch:http://h", "SWARMING_INDEXER_INDEX_PREFIX": "q"}
    flags = parser().parse_args(["run", "b1"])
    assert config.from_flags(flags, found).store == "opensearch:http://h?prefix=q"


@pytest.mark.parametrize("host", ["box", "Bücher.local", "a" * 100, ""])
def test_every_host_gives_a_name_that_is_an_indexers(host: str) -> None:
    name = config.default_name(host)
    assert wire.is_name(name) and name.startswith("indexer-")


def test_verdict_says_it_in_words_and_in_json(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(capsys, "verdict", "voila.fr", "--store", store)
    assert code == 0 and "voila.fr" in out
    code, out, _ = said(capsys, "verdict", "voila.fr", "--agent", "a1", "--json", "--store", store)
    facts = json.loads(out)
    assert code == 0 and (facts["target"], facts["agent"]) == ("voila.fr", "a1")
    assert {"state", "word", "sentence", "missing"} <= set(facts)
    code, _, err = said(capsys, "verdict", "voila.fr", "--agent", "nobody", "--store", store)
    assert code == 2 and "nobody" in err


@pytest.mark.parametrize("word", ["voila.fr", "VOILA.fr", "voila.fr."])
def test_a_target_is_known_however_it_is_typed(
    word: str, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(capsys, "verdict", word, "--store", store)
    assert code == 0 and out.startswith("voila.fr ")


def test_a_target_that_nobody_knows_is_one_line_with_what_is_close(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(capsys, "verdict", "viola.fr", "--store", store)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "did you mean voila.fr?" in err
    code, _, err = said(capsys, "verdict", "ftp://voila.fr", "--store", store)
    assert code == 2 and "only http and https" in err


def test_a_target_that_is_only_on_a_list_has_a_verdict(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite(tmp_path / "s.db") as kept:
        kept.put_watch(1, "watch", "dropped.example", "me")
        kept.put_watch(2, "watch", "https://www.wikipedia.org/", "me")
        kept.put_watch(3, "watch/a1", None, "me")
        facts = {"list": {"targets": ["own.example"]}}
        kept.put_agents([AgentRecord("a2", facts, now_ms(), None, True)])
        kept.put_agents([AgentRecord("a3", {"list": "forged"}, now_ms(), None, True)])
    for word in ("https://www.wikipedia.org", "own.example"):
        code, out, _ = said(capsys, "verdict", word, "--store", store)
        assert code == 0 and "Nobody has looked" in out
    assert said(capsys, "verdict", "dropped.example", "--store", store)[0] == 2


def test_export_writes_every_result(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(capsys, "export", "--store", store)
    assert code == 0
    assert sorted(json.loads(line)["seq"] for line in out.splitlines()) == [1, 2, 3]
    code, out, _ = said(capsys, "export", "--store", store, "--agent", "b2", "--since", "1h")
    assert len(out.splitlines()) == 1
    path = tmp_path / "out.csv"
    assert said(capsys, "export", "--store", store, "--out", str(path))[0] == 0
    assert len(path.read_text().splitlines()) == 4
    assert said(capsys, "export", "--store", store, "--out", str(tmp_path / "o.parquet"))[0] == 0
    assert (tmp_path / "o.parquet").read_bytes()[:4] == b"PAR1"
    path = tmp_path / "plain"
    assert said(capsys, "export", "--store", store, "--out", str(path))[0] == 0
    assert path.read_text().startswith("{"), "a name without an ending: NDJSON"
    assert said(capsys, "export", "--store", store, "--since", "yesterday")[0] == 2
    assert said(capsys, "export", "--store", store, "--out", "/nonexistent/x.csv")[0] == 2


def test_replay_reads_the_dead_letters_again(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(capsys, "replay", "--list", "--store", store)
    assert code == 0
    assert "2 dead letters: 1 read now, 1 new results" in out
    assert "not JSON" in out and "a bug" not in out
    with sqlite(tmp_path / "s.db") as again:
        assert seqs(again) == [1, 2, 4]


def test_backup_is_a_store_of_its_own(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "backup", str(tmp_path / "copy.db"), "--store", store)[0] == 0
    with sqlite(tmp_path / "copy.db") as copy:
        assert seqs(copy) == [1, 2]


def test_backup_blames_the_file_and_writes_over_none_unless_told(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = said(capsys, "backup", "/nonexistent/b.db", "--store", store)
    assert code == 2 and "/nonexistent/b.db: there is no folder" in err
    code, _, err = said(capsys, "backup", str(tmp_path), "--store", store)
    assert code == 2 and "is a folder" in err
    kept = tmp_path / "kept.db"
    kept.write_text("of yesterday")
    code, _, err = said(capsys, "backup", str(kept), "--store", store)
    assert code == 2 and "--force" in err and kept.read_text() == "of yesterday"
    assert said(capsys, "backup", "--force", str(kept), "--store", store)[0] == 0
    with sqlite(kept) as copy:
        assert seqs(copy) == [1, 2]


@pytest.mark.parametrize(
    ("absent", "words", "extra"),
    [
        ("uvicorn", ["localhost", "--store", "sqlite:unused.db"], "indexer"),
        ("tqdm", ["copy", "--from", "sqlite:a.db", "--to", "sqlite:b.db"], "indexer"),
        ("elasticsearch", ["verdict", "t", "--store", "elasticsearch:http://h"], "elastic"),
        ("opensearchpy", ["copy", "--from", "opensearch:http://h/l-*", "--to", "sqlite:b.db"],
         "elastic"),
        ("opensearchpy", ["localhost", "--listen", "off", "--store", "opensearch:http://h"],
         "elastic"),
    ],
)  # fmt: skip
def test_without_its_extra_it_names_it(
    absent: str, words: list[str], extra: str, tmp_path: Path
) -> None:
    code = (
        f"import sys; sys.modules[{absent!r}] = None; from indexer import cli;"
        f"sys.exit(cli.main({words!r}))"
    )
    command = [sys.executable, "-c", code]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert (ran.returncode, len(ran.stderr.splitlines())) == (2, 1)
    assert f"pip install '.[{extra}]'" in ran.stderr
    assert os.listdir(tmp_path) == []


def test_a_bare_word_that_is_no_host_may_have_been_a_command(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_such_host(host: str, _: object) -> None:
        raise OSError(host)

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    run_command.doubt(["localhost", "broker.example", "::1", "bogus"])
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith("bogus: no such host") and "verdict export" in line


@pytest.mark.parametrize(
    ("words", "error", "code"),
    [
        (["frobnicate"], socket.EAI_NONAME, 2),
        (["frobnicate", "--listen", "off"], socket.EAI_NONAME, 2),
        (["frobnicate"], socket.EAI_AGAIN, 7),  # no name server answers: the network may be down
        (["run", "frobnicate"], socket.EAI_NONAME, 7),
        (["here", "there"], socket.EAI_NONAME, 7),
        (["broker.example"], socket.EAI_NONAME, 7),
    ],
)
def test_a_lone_word_that_is_neither_command_nor_host_is_refused(
    words: list[str],
    error: int,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_such_host(host: str, _: object) -> None:
        raise socket.gaierror(error, host)

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    monkeypatch.setitem(cli._WORK, "run", lambda _: 7)
    found, _, err = said(capsys, *words)
    assert found == code
    assert ("no such command, and no such host; there are: run verdict" in err) is (code == 2)


def test_the_store_stands_where_the_box_would_keep_its_journal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert config.default_store({}) == "sqlite:/var/lib/swarming/swarming.db"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda *_: False)
    environ = {"XDG_STATE_HOME": "/home/me/state"}
    assert config.default_store(environ) == "sqlite:/home/me/state/swarming/swarming.db"
    journal = agent_config.default_journal(environ)
    assert os.path.dirname(config.default_store(environ)) == f"sqlite:{os.path.dirname(journal)}"


def test_the_certificates_stand_beside_the_indexers_own_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda path, _: path == "/var/lib/swarming-indexer")
    assert config.default_ca_folder({}) == "/var/lib/swarming-indexer/ca"
    monkeypatch.setattr(os, "access", lambda *_: False)
    flags = parser().parse_args(["run", "b1"])
    environ = {"XDG_STATE_HOME": "/home/me/state"}
    assert config.ca_folder(flags, environ) == "/home/me/state/swarming/ca"
    file = tmp_path / "indexer.toml"
    file.write_text('ca-folder = "/srv/ca"\n')
    flags.config = str(file)
    assert config.ca_folder(flags, environ) == "/srv/ca"
    assert config.ca_folder(flags, environ | {"SWARMING_INDEXER_CA_FOLDER": "/e"}) == "/e"
    flags.ca_folder = "/f"
    assert config.ca_folder(flags, environ | {"SWARMING_INDEXER_CA_FOLDER": "/e"}) == "/f"


@pytest.mark.parametrize("words", [("backup",), ("export", "--out")])
def test_the_store_itself_is_never_written_over(
    words: tuple[str, ...], store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store.removeprefix("sqlite:")
    code, _, err = said(capsys, *words, path, "--store", store)
    assert code == 2 and "the store itself" in err
    with sqlite(Path(path)) as kept:
        assert seqs(kept) == [1, 2]


# --- the running program ------------------------------------------------------------------------


@contextmanager
def program(*words: str) -> Iterator[subprocess.Popen[str]]:
    """`swarming-indexer …`, ended with the test."""
    child = subprocess.Popen(
        [sys.executable, "-m", "indexer.cli", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def test_sigterm_finishes_the_commit_says_goodbye_and_exits_0(
    mosquitto: Any, tmp_path: Path
) -> None:
    port = mosquitto().port
    words = [f"127.0.0.1:{port}", "--store", f"sqlite:{tmp_path / 's.db'}", "--listen", "off"]
    with (
        Client(port, "ack/+", "indexer/+") as client,
        program(*words, "--name", "indexer-test") as child,
    ):
        client.wait_online()
        client.send(*(result(seq) for seq in range(1, 101)))
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
        client.wait_online(False)
        with sqlite(tmp_path / "s.db") as store:
            assert client.confirmed() <= set(seqs(store))


def test_what_came_while_it_was_away_is_there_when_it_is_back(
    mosquitto: Any, tmp_path: Path
) -> None:
    port = mosquitto().port
    words = [f"127.0.0.1:{port}", "--store", f"sqlite:{tmp_path / 's.db'}", "--listen", "off"]
    with Client(port, "ack/+", "indexer/+") as client:
        for round_ in range(2):
            with program(*words, "--name", "indexer-test") as child:
                client.wait_online()
                client.wait_confirmed(range(1, 1 + 50 * round_))
                child.send_signal(signal.SIGTERM)
                assert child.wait(30) == 0
            client.wait_online(False)
            client.send(*(result(seq) for seq in range(1, 51)))


def test_a_port_that_is_taken_is_one_line_and_exit_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ["localhost", "--store", f"sqlite:{tmp_path / 's.db'}", "--listen", listen]
        with program(*words) as child:
            _, err = child.communicate(timeout=60)
    assert child.returncode == 2
    assert len(err.splitlines()) == 1 and listen in err


def test_a_store_that_opens_but_does_not_answer_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened: list[Any] = []

    def open_starting(text: str) -> Any:
        store = Flaky(open_store(text))
        store.down = len(opened) < 2
        opened.append(store)
        return store

    monkeypatch.setattr(run_command, "open_store", open_starting)
    monkeypatch.setattr(run_command, "_STORE_RETRY_S", 0.0)
    begun = settings(store=f"sqlite:{tmp_path / 's.db'}")
    store, indexer = run_command.patiently(lambda: run_command.begun(begun))
    assert store is opened[2] and indexer.store is store
    assert [each.refused for each in opened] == [["agents"], ["agents"], []]
    assert len([one for one in caplog.records if "waiting for it" in one.message]) == 1
    with pytest.raises(StoreDown):
        opened[0].real.agents()  # it was closed
    store.close()


def test_a_newer_store_is_left_untouched_and_exit_2(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with sqlite(path):
        pass
    made = sqlite3.connect(path)
    made.execute("PRAGMA user_version = 99")
    made.close()
    before = path.read_bytes()
    with program("localhost", "--store", f"sqlite:{path}", "--listen", "off") as child:
        _, err = child.communicate(timeout=60)
    assert child.returncode == 2 and len(err.splitlines()) == 1
    assert path.read_bytes() == before


def test_sigterm_ends_an_open_page_without_a_murmur(mosquitto: Any, tmp_path: Path) -> None:
    page = free_port()
    words = [f"127.0.0.1:{mosquitto().port}", "--store", f"sqlite:{tmp_path / 's.db'}"]
    words += ["--log-level", "warning", "--listen", f"127.0.0.1:{page}"]
    with program(*words) as child:
        wait_for(lambda: _status(page) == 200, what="the page")
        with urllib.request.urlopen(f"http://127.0.0.1:{page}/events", timeout=30) as events:
            assert events.readline()
            child.send_signal(signal.SIGTERM)
            _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (0, "")


def test_healthz_tells_the_truth(mosquitto: Any, tmp_path: Path) -> None:
    broker = mosquitto()
    page = free_port()
    words = [f"127.0.0.1:{broker.port}", "--store", f"sqlite:{tmp_path / 's.db'}"]
    with program(*words, "--listen", f"127.0.0.1:{page}") as child:
        wait_for(lambda: _status(page) == 200, what="healthz to be well")
        broker.kill()
        wait_for(lambda: _status(page) == 503, what="healthz to be ill")
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0


def _status(port: int) -> int | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None


def test_the_other_commands_ask_the_store_that_the_running_indexer_has(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "indexer.toml"
    file.write_text(f'store = "{store}"\n')
    monkeypatch.setenv("SWARMING_INDEXER_CONFIG", str(file))
    code, out, _ = said(capsys, "export", "--quiet")
    assert code == 0 and len(out.splitlines()) == 3
    file.write_text("store = 3\n")
    code, _, err = said(capsys, "export")
    assert code == 2 and "--store wants a text" in err
    assert said(capsys, "export", "--quiet", "--store", store)[0] == 0, "typed, no file is asked"
    file.write_text('store = "elasticsearch:http://127.0.0.1:1"\nindex_prefix = "NOT"\n')
    code, _, err = said(capsys, "export")
    assert code == 2 and "NOT" in err


def test_without_pyarrow_all_but_parquet_is_exported(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert said(capsys, "export", "--store", store, "--format", "csv", "--quiet")[0] == 0
    out = tmp_path / "out.parquet"
    code, _, err = said(capsys, "export", "--store", store, "--out", str(out))
    assert code == 2 and "Debian has no package of it" in err and not out.exists()
