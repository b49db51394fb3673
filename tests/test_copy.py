"""`swarming-indexer copy`: everything arrives once, however often it is stopped and done again."""

from __future__ import annotations

import os
import pty
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import termios
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.wire import Result, rfc3339
from indexer import calm, cli, copy, typed
from indexer.copy import ALWAYS_MS, Copy, note_of
from indexer.copy_shown import Shown
from indexer.leader import LEASE
from indexer.store import AgentRecord, Dead, Store, StoreDown
from indexer.store_sqlite import SqliteStore
from tests import engines, stores
from tests.engines import Engine
from tests.servers import wait_for
from tests.store_bed import fast_parent
from tests.test_store_interface import DAY_MS, HOUR_MS, NOW_MS, everything, result, settle, week

ROOT = str(Path(__file__).parent.parent)
STEPS_S = (300, 3600, 21600, 86400, 2 * 86400)
NOTE = note_of("a test")


def fill(store: Store) -> None:
    """Something of all that a store can hold; raw results of the older half are dropped."""
    store.put(week(random.Random(1)), NOW_MS)
    settle(store)
    store.retain(NOW_MS, 4 * DAY_MS)
    odd = [
        result(9001, NOW_MS - 7 * DAY_MS, clock="unsynced"),
        result(9002, 5, clock="unsynced", agent="other"),
        result(9003, NOW_MS + 40 * DAY_MS),
        Result("box", "b" * 16, 2**62, NOW_MS, "ntp", None, {"kind": "lost", "count": 12}),
    ]
    store.put(odd, NOW_MS)
    settle(store, NOW_MS + 60 * DAY_MS)
    store.put_agents([AgentRecord("box", {"place": "Lyon"}, NOW_MS, None, True)])
    store.put_agents([AgentRecord("gone", {}, NOW_MS - 5, NOW_MS, False)])
    for at_ms, text in ((5, "a"), (6, None), (6, "a b"), (7, "b")):
        store.put_watch(at_ms, "watch", text, "ann")
    store.put_watch(9, "watch/box", "c", "bob")
    store.put_dead(
        [Dead(NOW_MS - 2 + n, "ping/box", bytes([n, 255]), "not JSON") for n in range(3)]
    )
    for n in range(40):
        store.put_verdict(NOW_MS - n // 14, f"t{n}", {"word": "me", "n": n})
    store.put_fact("salt", "0123")
    store.put_fact("share/indexer-a", "nonce")
    store.lease(LEASE, "indexer-a", 0, 1)


def contents(store: Store) -> dict[str, Any]:
    """What is in it, as far as it is to be copied."""
    return {
        "results": sorted(everything(store), key=lambda each: (each.time_ms, each[:3])),
        "hours": sorted(store.rollups(*ALWAYS_MS)),
        "raw from": store.raw_from_ms(),
        "agents": store.agents(),
        "changes": store.watch_history(limit=100),
        "letters": [letter[:4] for letter in store.dead()],
        "verdicts": sorted(store.verdicts(*ALWAYS_MS, limit=10**6), key=repr),
        "salt": store.fact("salt"),
        **{f"every {s} s": store.buckets(0, NOW_MS + 60 * DAY_MS, s) for s in STEPS_S},
    }


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where nothing waits for a disk: what a kill does is the same."""
    with tempfile.TemporaryDirectory(dir=fast_parent()) as name:
        yield Path(name)


@pytest.fixture
def source(folder: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(str(folder / "source.db"))
    yield store
    store.close()


@pytest.fixture
def to(folder: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(str(folder / "to.db"), busy_s=0.1)
    yield store
    store.close()


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that all that is read in pages needs several."""
    monkeypatch.setattr(copy, "VERDICTS", 7)
    monkeypatch.setattr(copy, "LETTERS", 2)


def copying(to: Store) -> Copy:
    return Copy(to, NOTE, Shown(bars=False, quiet=False))


def whole(source: Store, to: Store) -> copy.Copied:
    return copying(to).everything(source, *ALWAYS_MS)


def command(source: SqliteStore, to: SqliteStore, *more: str) -> list[str]:
    return ["copy", "--from", f"sqlite:{source.path}", "--to", f"sqlite:{to.path}", *more]


# --- what is copied -----------------------------------------------------------------------------


def test_everything_arrives_as_it_was(source: SqliteStore, to: SqliteStore):
    fill(source)
    done = whole(source, to)
    assert contents(to) == contents(source)
    assert done.results == len(everything(source)) > 300
    assert (done.known, done.too_old, done.refused) == (0, 0, 0)
    assert (done.letters, done.agents, done.changes, done.verdicts) == (3, 2, 5, 40)
    assert done.rollups == len(list(source.rollups(*ALWAYS_MS))) > 300
    assert done.rolled_up


def test_what_only_this_swarms_indexers_tell_each_other_stays(source: SqliteStore, to: SqliteStore):
    fill(source)
    whole(source, to)
    assert to.fact("share/indexer-a") is None
    assert to.fact(NOTE) is None
    assert to.lease(LEASE, "another", NOW_MS, 1)


def test_all_of_it_twice_changes_nothing(source: SqliteStore, to: SqliteStore):
    fill(source)
    whole(source, to)
    again = whole(source, to)
    assert (again.results, again.known) == (0, len(everything(source)))
    assert (again.letters, again.changes) == (0, 0)
    assert contents(to) == contents(source)


def test_a_copy_of_a_copy_is_the_same(source: SqliteStore, to: SqliteStore, folder: Path):
    fill(source)
    whole(source, to)
    third = SqliteStore(str(folder / "third.db"))
    whole(to, third)
    assert contents(third) == contents(source)
    third.close()


def test_a_range_takes_its_results_letters_and_verdicts(source: SqliteStore, to: SqliteStore):
    fill(source)
    since_ms, until_ms = NOW_MS - 2 * DAY_MS, NOW_MS - 1
    copying(to).everything(source, since_ms, until_ms)
    assert everything(to) == list(source.results(since_ms, until_ms))
    assert [letter.at_ms for letter in to.dead()] == [NOW_MS - 2]
    assert {told.at_ms for told in to.verdicts(*ALWAYS_MS, limit=10**6)} == {NOW_MS - 2}
    hour_ms = NOW_MS // HOUR_MS * HOUR_MS
    for store in (source, to):
        assert store.buckets(hour_ms - DAY_MS, hour_ms, 3600)
    assert to.buckets(hour_ms - DAY_MS, hour_ms, 3600) == source.buckets(
        hour_ms - DAY_MS, hour_ms, 3600
    )


def test_what_the_destination_has_of_its_own_stays(source: SqliteStore, to: SqliteStore):
    """It keeps raw results for longer, and is in use: its list is newer, its salt is said."""
    fill(source)
    own = [result(1, NOW_MS - 30 * DAY_MS, agent="own"), result(2, NOW_MS, agent="own")]
    to.put(own, NOW_MS)
    to.put_watch(8, "watch", "mine", "ann")
    to.put_fact("salt", "mine")
    to.put_agents([AgentRecord("box", {"place": "Paris"}, NOW_MS + 1, None, True)])
    done = whole(source, to)
    assert [each for each in everything(to) if each.agent == "own"] == own
    assert to.raw_from_ms() is None
    assert to.watch_history("watch", 1)[0].text == "mine"
    assert to.watch_history("watch/box", 1)[0].text == "c"
    assert done.changes == 1
    assert to.fact("salt") == "mine"
    assert to.agents()[0].facts == {"place": "Paris"}
    assert [each.step_s for each in to.buckets(0, NOW_MS, 300, agent="own")] == [300]


def test_letters_are_read_page_by_page_and_none_is_missed_or_copied_twice(
    source: SqliteStore, to: SqliteStore, monkeypatch: pytest.MonkeyPatch
):
    rng = random.Random(3)
    letters = [Dead(NOW_MS + rng.randrange(9), "ping/box", bytes([n]), "no") for n in range(60)]
    source.put_dead(letters)
    own = [Dead(NOW_MS + n, "ping/own", b"", "no") for n in range(9)]
    to.put_dead([*own, *letters[::3]])
    asked: list[int] = []
    read = SqliteStore.dead

    def noting(store: SqliteStore, limit: int = 1000, after: Dead | None = None) -> list[Dead]:
        asked.append(limit)
        return read(store, limit, after)

    monkeypatch.setattr(SqliteStore, "dead", noting)
    assert whole(source, to).letters == 40
    assert whole(source, to).letters == 0
    assert set(asked) == {copy.LETTERS}
    assert sorted(one[:4] for one in to.dead()) == sorted(one[:4] for one in [*own, *letters])


def test_results_that_the_destination_has_dropped_are_told(source: SqliteStore, to: SqliteStore):
    source.put([result(seq, NOW_MS - seq * DAY_MS) for seq in range(1, 7)], NOW_MS)
    to.put_raw_from(NOW_MS - 3 * DAY_MS - HOUR_MS)
    done = whole(source, to)
    assert (done.results, done.too_old) == (3, 3)


# --- stopped, and gone on with ------------------------------------------------------------------


def test_whoever_is_stopped_goes_on_where_it_was(
    source: SqliteStore, to: SqliteStore, capsys: pytest.CaptureFixture[str]
):
    fill(source)

    class Stopped(SqliteStore):
        rows_a_put = 50
        left = 4

        def put(self, results: Any, now_ms: int) -> Any:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return super().put(results, now_ms)

    with pytest.raises(KeyboardInterrupt):
        whole(source, Stopped(to.path))
    assert "goes on where it was" in capsys.readouterr().err
    there = len(everything(to))
    assert there == 150
    done = whole(source, to)
    assert "it goes on from " in capsys.readouterr().err
    assert done.results == len(everything(source)) - there
    assert done.known < 10 and done.rollups < 10
    assert contents(to) == contents(source)


CLI = "import sys; from indexer import cli, copy; copy.NOTE_S = 0; sys.exit(cli.main(sys.argv[1:]))"


def started(words: list[str], **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CLI, *words],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more,
    )  # fmt: skip


@pytest.fixture
def many(source: SqliteStore) -> SqliteStore:
    """A source that takes seconds to copy."""
    fill(source)
    for start in range(0, 16_000, 2000):
        more = (result(seq, NOW_MS - seq * 100, agent="many") for seq in range(start, start + 2000))
        source.put([each._replace(seq=each.seq + 1) for each in more], NOW_MS)
    settle(source)
    return source


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_ended_by_any_signal_in_the_middle_nothing_is_lost_or_twice(
    many: SqliteStore, tmp_path: Path, how: signal.Signals
):
    for number in range(10):  # until the signal is faster than the copy
        to = SqliteStore(str(tmp_path / f"to-{number}.db"))
        with started(command(many, to)) as process:
            wait_for(lambda to=to: next(to.results(*ALWAYS_MS, agent="many"), None), what="results")
            process.send_signal(how)
            _, err = process.communicate(timeout=30)
        if process.returncode != 0:
            break
        to.close()
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert ("goes on where it was" in err) == (how == signal.SIGINT)
    there = len(everything(to))
    assert there < len(everything(many))
    with started(command(many, to)) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, "it goes on from 20" in err) == (0, True)
    assert "roll-ups: all made" in out
    assert contents(to) == contents(many)
    to.close()


def test_a_destination_that_is_locked_for_a_while_is_waited_for(
    source: SqliteStore, to: SqliteStore, capsys: pytest.CaptureFixture[str]
):
    fill(source)
    lock = sqlite3.connect(to.path, isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(1.0, lambda: lock.execute("ROLLBACK"))
    timer.start()
    done = whole(source, to)
    timer.join()
    lock.close()
    err = capsys.readouterr().err
    assert "waiting for it" in err and len(err.splitlines()) == 1
    assert (done.results, done.known) == (len(everything(source)), 0)
    assert contents(to) == contents(source)


def test_a_destination_that_stays_down_is_one_line_and_exit_1(
    source: SqliteStore,
    to: SqliteStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    fill(source)
    monkeypatch.setattr(calm, "PATIENCE_S", 0.2)
    lock = sqlite3.connect(to.path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    assert cli.main(command(source, to, "--quiet")) == 1
    lock.close()
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and "goes on where it was" in err
    assert cli.main(command(source, to, "--quiet")) == 0
    assert capsys.readouterr() == ("", "")
    assert contents(to) == contents(source)


def test_a_source_that_goes_down_is_read_on_and_nothing_is_counted_twice(
    source: SqliteStore, to: SqliteStore
):
    fill(source)

    class Failing(SqliteStore):
        """Down again and again, in the middle of a moment too."""

        def results(self, *args: Any, **more: Any) -> Iterator[Result]:
            for number, each in enumerate(super().results(*args, **more)):
                if number == 190 and "limit" not in more:
                    raise StoreDown("gone for now")
                yield each

    failing = Failing(source.path)
    same_moment = [result(9100 + n, NOW_MS - DAY_MS, agent="same") for n in range(30)]
    source.put(same_moment, NOW_MS)
    settle(source)
    done = whole(failing, to)
    failing.close()
    assert (done.results, done.known) == (len(everything(source)), 0)
    assert contents(to) == contents(source)


# --- at the command -----------------------------------------------------------------------------


def test_the_command_counts_at_the_end(
    source: SqliteStore, to: SqliteStore, capsys: pytest.CaptureFixture[str]
):
    fill(source)
    results = len(everything(source))
    assert cli.main(command(source, to)) == 0
    out, err = capsys.readouterr()
    assert f"results: {results} copied, 0 were there already" in out
    assert "3 dead letters, 2 agents, 5 changes of lists, 40 verdicts" in out
    assert err == ""
    assert cli.main(command(source, to, "--since", "1d", "--quiet")) == 0
    assert capsys.readouterr() == ("", "")


def test_where_an_indexer_leads_the_roll_ups_are_left_to_it(
    source: SqliteStore, to: SqliteStore, capsys: pytest.CaptureFixture[str]
):
    fill(source)
    assert to.lease(LEASE, "indexer-b", time.time_ns() // 1_000_000, 60_000)
    assert cli.main(command(source, to)) == 0
    assert "left to the indexer that leads" in capsys.readouterr().out
    settle(to)
    assert contents(to) == contents(source)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--to", "sqlite:x.db"], "--from"),
        (["--from", "sqlite:x.db"], "--to"),
        (["--from", "sqlite:nowhere.db", "--to", "sqlite:x.db"], "--from sqlite:nowhere.db"),
        (["--from", "sqlite:s.db", "--to", "sqlite:s.db"], "same store"),
        (["--from", "sqlite:s.db", "--to", "sqlite:./link.db"], "same store"),
        (
            ["--from", "opensearch:http://h:1", "--to", "opensearch:http://g:1,http://h:1"],
            "same store",
        ),
        (["--from", "sqlite:s.db", "--to", "mysql:x"], "no store"),
        (["--from", "sqlite:s.db", "--to", "sqlite:x.db", "--since", "never"], "no time"),
        (["--from", "sqlite:s.db", "--to", "sqlite:x.db", "--index-prefix", "a"], "engine"),
        (["--from", "sqlite:s.db", "--to", "opensearch:http://h:1/logs-*"], "prefix"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    words: list[str], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    SqliteStore("s.db").close()
    os.symlink("s.db", "link.db")
    assert cli.main(["copy", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert hint in err
    assert not os.path.exists("x.db")


def test_a_terminal_sees_how_far_it_is(source: SqliteStore, to: SqliteStore):
    fill(source)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    words = [sys.executable, "-c", CLI, *command(source, to)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, timeout=60)
    os.close(theirs)
    seen = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0
    assert f"{len(everything(source))} results to 2" in seen and " 100%|" in seen
    assert "roll-ups" in seen


# --- to and from an engine ----------------------------------------------------------------------


@pytest.fixture(params=["elasticsearch", "opensearch"])
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def indices(engine: Engine, tmp_path: Path) -> Iterator[str]:
    """The address of a store in the engine."""
    text = stores.address(engine, tmp_path)
    yield text
    stores.drop(engine, text)


def test_to_an_engine_and_back_everything_is_as_it_was(
    source: SqliteStore, to: SqliteStore, indices: str, capsys: pytest.CaptureFixture[str]
):
    fill(source)
    there = ["copy", "--from", f"sqlite:{source.path}", "--to", indices]
    results = len(everything(source))
    for new, old in ((results, 0), (0, results)):
        assert cli.main(there) == 0
        out = capsys.readouterr().out
        assert f"results: {new} copied, {old} were there already, 0 too old, 0 refused" in out
    in_engine = typed.existing(indices)
    assert contents(in_engine) == contents(source)
    in_engine.close()
    assert cli.main(["copy", "--from", indices, "--to", f"sqlite:{to.path}"]) == 0
    assert f"results: {results} copied" in capsys.readouterr().out
    assert contents(to) == contents(source)


def test_the_commands_read_an_engine_too(
    source: SqliteStore, indices: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    address, _, prefix = indices.rpartition("prefix=")
    words = ["--store", address.rstrip("?&"), "--index-prefix", prefix]
    for command in (["verdict", "voila.fr"], ["export"], ["replay"]):
        assert cli.main([*command, *words]) == 2
        assert f"there are no indices {prefix}-*" in capsys.readouterr().err
    source.put([result(1)], NOW_MS)
    source.put_dead([Dead(NOW_MS, "ping/box", b"x", "not JSON")])
    begin = ["copy", "--from", f"sqlite:{source.path}", "--quiet"]
    assert cli.main([*begin, "--to", address.rstrip("?&"), "--index-prefix", prefix]) == 0
    assert cli.main(["verdict", "voila.fr", *words]) == 2
    assert "voila.fr is on no list" in capsys.readouterr().err
    assert cli.main(["export", "--out", str(tmp_path / "all.csv"), *words]) == 0
    assert "1 results" in capsys.readouterr().err
    assert cli.main(["replay", *words]) == 0
    assert "1 dead letters" in capsys.readouterr().out


def test_who_may_only_read_can_copy_from_it_export_and_ask_for_verdicts(
    elasticsearch: Engine, source: SqliteStore, to: SqliteStore, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    fill(source)
    indices = stores.address(elasticsearch, tmp_path)
    assert cli.main(["copy", "--from", f"sqlite:{source.path}", "--to", indices, "--quiet"]) == 0
    bare, prefix = indices.partition("&api_key=")[0], indices.rpartition("prefix=")[2]
    templates = f"/_index_template/{prefix}-*"
    elasticsearch.ask("DELETE", templates)
    reader = elasticsearch.api_key([], [f"{prefix}-*"], ["read"])
    begin = f"{bare}&prefix={prefix}"
    back = ["copy", "--from", begin, "--to", f"sqlite:{to.path}", "--quiet"]
    export = ["export", "--store", begin, "--out", str(tmp_path / "all.csv")]

    monkeypatch.setenv("SWARMING_STORE_API_KEY", reader)

    def exported() -> bool:
        """Whole; who may only read sees what was written when the engine refreshes by itself."""
        assert cli.main(export) == 0
        return f"{len(everything(source))} results" in capsys.readouterr().err

    wait_for(exported, what="every result in the export")
    assert cli.main(["verdict", "nobody.example", "--store", begin]) == 2
    assert "nobody.example is on no list" in capsys.readouterr().err
    assert cli.main(back) == 2  # that secret is for --to
    assert "does not let us in" in capsys.readouterr().err

    monkeypatch.setenv("SWARMING_STORE_API_KEY", "bm9ib2R5Om5vYm9keQ==")
    monkeypatch.setenv("SWARMING_SOURCE_API_KEY", reader)
    assert cli.main(back) == 0
    assert contents(to) == contents(source)
    status, found = elasticsearch.ask("GET", templates)
    assert status == 404 or not found["index_templates"]
    stores.drop(elasticsearch, indices)


@pytest.mark.timeout(400)
def test_an_engine_that_is_killed_in_the_middle_and_comes_back_loses_nothing(
    many: SqliteStore, to: SqliteStore, tmp_path: Path
):
    engine = engines.elasticsearch(tmp_path / "killed", quick=True)
    indices = f"elasticsearch:{engine.url}"
    there = started(["copy", "--from", f"sqlite:{many.path}", "--to", indices])
    path = "/swarming-results-*/_count?ignore_unavailable=true"
    wait_for(lambda: (engine.ask("GET", path)[1] or {}).get("count", 0) > 1000, what="results")
    engine.kill()
    engine.start()
    out, err = there.communicate(timeout=150)
    assert there.returncode == 0, err
    assert "0 too old, 0 refused" in out
    back = started(["copy", "--from", indices, "--to", f"sqlite:{to.path}"])
    wait_for(lambda: next(to.results(*ALWAYS_MS, agent="many"), None), what="results")
    engine.kill()
    engine.start()
    out, err = back.communicate(timeout=150)
    engine.end()
    assert back.returncode == 0, err
    assert "waiting for it" in err
    assert f"results: {len(everything(many))} copied, 0 were there already" in out
    assert contents(to) == contents(many)


# --- an old swarm -------------------------------------------------------------------------------

OLD = {"agent": "bob", "target": "voila.fr", "min": 10.1, "avg": 12.2, "max": 15.3, "stddev": 1.4}
DAYS = ("2016.04.30", "2016.05.01", "2016.05.02")


@pytest.fixture
def logstash(engine: Engine) -> Iterator[str]:
    """The address of an old swarm's indices, as Logstash made them: mappings guessed from what
    came, numbers now and then as text; some documents are no pings."""
    name = f"logstash{uuid.uuid4().hex[:8]}"
    lines: list[Any] = []
    for number in range(90):
        day = DAYS[number % 3]
        at = f"{day.replace('.', '-')}T12:{number // 6:02}:00.{number // 30}00Z"  # many at once
        loss: Any = [0, "10.0", 100][number % 3]
        facts = OLD | {"@timestamp": at, "@version": "1", "loss": loss, "host": "h"}
        if loss == 100:
            facts |= {"min": None, "avg": None, "max": None, "stddev": None}
        lines += [{"index": {"_index": f"{name}-{day}", "_id": f"A{number}"}}, facts]
    strange = [{"agent": "bob"}, {"message": "hello", "@timestamp": "2016-05-01T00:00:00Z"}]
    for facts in strange:
        lines += [{"index": {"_index": f"{name}-{DAYS[1]}"}}, facts]
    status, answer = engine.ask("POST", "/_bulk?refresh=true", lines)
    assert status == 200 and not answer["errors"]
    scheme = "elasticsearch" if engine.ca else "opensearch"
    yield f"{scheme}:{engine.url}/{name}-*"
    for day in DAYS:
        engine.ask("DELETE", f"/{name}-{day}")


@pytest.fixture
def old(engine: Engine, logstash: str, tmp_path: Path) -> str:
    """The same with what lets a reader in."""
    if engine.ca is None:
        return logstash
    key = tmp_path / "reader.key"
    key.write_text(engine.api_key([], [logstash.rpartition("/")[2]], ["read"]))
    return f"{logstash}?ca={engine.ca}&api_key={key}"


@pytest.mark.parametrize("page", [7, 2000])
def test_the_indices_of_an_old_swarm_become_classic_results(
    old: str,
    to: SqliteStore,
    page: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr("indexer.old_swarm.PAGE", page)
    for new, known in ((90, 0), (0, 90)):
        assert cli.main(["copy", "--from", old, "--to", f"sqlite:{to.path}"]) == 0
        out, err = capsys.readouterr()
        assert f"results: {new} copied, {known} were there already" in out
        assert "documents that are no results: 2, for example" in out
        assert err == ""
    found = everything(to)
    assert len(found) == 90
    assert {each.clock for each in found} == {"unknown"}
    assert {each.body["loss_pct"] for each in found} == {0.0, 10.0, 100.0}
    assert {each.body["ok"] for each in found if each.body["loss_pct"] == 100} == {False}
    first = found[0]
    assert rfc3339(first.time_ms) == "2016-04-30T12:00:00.000Z"
    assert first.body == {
        "kind": "icmp", "target": "voila.fr", "classic": True, "ok": True, "error": None,
        "loss_pct": 0.0, "rtt_ms": {"min": 10.1, "avg": 12.2, "max": 15.3, "stddev": 1.4},
    }  # fmt: skip
    assert sum(each.count for each in to.buckets(0, NOW_MS, 86400)) == 90


def test_the_secret_of_an_old_swarm_is_not_that_of_the_destination(
    elasticsearch: Engine, to: SqliteStore, monkeypatch: pytest.MonkeyPatch
):
    name = f"logstash{uuid.uuid4().hex[:8]}"
    facts = OLD | {"@timestamp": "2016-05-01T12:00:00.000Z", "loss": 0}
    elasticsearch.ask("POST", f"/{name}/_doc?refresh=true", facts)
    begin = f"elasticsearch:{elasticsearch.url}/{name}?ca={elasticsearch.ca}"
    words = ["copy", "--from", begin, "--to", f"sqlite:{to.path}", "--quiet"]
    reader = elasticsearch.api_key([], [name], ["read"])
    monkeypatch.setenv("SWARMING_STORE_API_KEY", reader)
    assert cli.main(words) == 1
    assert everything(to) == []
    monkeypatch.setenv("SWARMING_SOURCE_API_KEY", reader)
    assert cli.main(words) == 0
    assert len(everything(to)) == 1
    elasticsearch.ask("DELETE", f"/{name}")


def test_a_range_of_an_old_swarm(old: str, to: SqliteStore):
    words = ["copy", "--from", old, "--to", f"sqlite:{to.path}", "--quiet"]
    assert cli.main([*words, "--since", "2016-05-01", "--until", "2016-05-02"]) == 0
    assert {rfc3339(each.time_ms)[:10] for each in everything(to)} == {"2016-05-01"}
    assert len(everything(to)) == 30


def test_an_old_swarm_that_is_not_there_is_one_line_and_exit_2(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    scheme, more = "opensearch", ""
    if engine.ca is not None:
        key = tmp_path / "reader.key"
        key.write_text(engine.api_key([], ["nothing-*"], ["read"]))
        scheme, more = "elasticsearch", f"?ca={engine.ca}&api_key={key}"
    begin = f"{scheme}:{engine.url}/nothing-*{more}"
    assert cli.main(["copy", "--from", begin, "--to", f"sqlite:{tmp_path / 'x.db'}"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and "there are no indices nothing-*" in err
    assert not (tmp_path / "x.db").exists()
