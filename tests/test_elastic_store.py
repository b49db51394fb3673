"""The failure contract of a store over real engines, and what its start says is missing."""

from __future__ import annotations

import base64
import itertools
import multiprocessing
import os
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.wire import Result
from indexer import replay
from indexer.elastic import templates
from indexer.store import Put, Store, StoreRefused
from indexer.store_elastic import ElasticStore
from indexer.stores import open_store
from tests import engines, stores
from tests.certificates import Authority
from tests.engine import Engine
from tests.engine_counts import documents
from tests.forwarder import Forwarder
from tests.indexer_process import IndexerProcess
from tests.indexers import now_ms, result
from tests.servers import free_port, wait_for

HOUR_MS = 3_600_000
AT_MS = now_ms()
ANYBODY = base64.b64encode(b"nobody:nothing").decode()


@pytest.fixture(params=["elasticsearch", "opensearch"])
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def address(engine: Engine, tmp_path: Path) -> Iterator[str]:
    text = stores.address(engine, tmp_path)
    yield text
    stores.drop(engine, text)


@pytest.fixture
def guarded(elasticsearch: Engine, tmp_path: Path) -> Iterator[str]:
    """The address of a store in the engine that lets in nobody without a key."""
    text = stores.address(elasticsearch, tmp_path)
    yield text
    stores.drop(elasticsearch, text)


@pytest.fixture
def run(mosquitto: Any, tmp_path: Path) -> Iterator[Callable[..., IndexerProcess]]:
    """run(STORE, …) starts a whole indexer."""
    running: list[IndexerProcess] = []

    def start(store: str, *more: str, **named: Any) -> IndexerProcess:
        port = mosquitto().port
        name = f"indexer-{len(running)}"
        running.append(IndexerProcess(tmp_path, [port], store, name, *more, **named))
        return running[-1]

    yield start
    for indexer in running:
        indexer.kill()


def prefix_of(address: str) -> str:
    return address.rpartition("prefix=")[2]


def many(count: int, first: int = 1) -> list[Result]:
    return [result(seq, time_ms=AT_MS) for seq in range(first, first + count)]


def index_of(address: str) -> str:
    """Where these belong."""
    return f"{prefix_of(address)}-results-{time.strftime('%Y.%m.%d', time.gmtime(AT_MS / 1000))}"


# --- item by item -------------------------------------------------------------------------------


def test_what_the_engine_cannot_map_is_a_dead_letter_and_the_rest_is_stored(
    engine: Engine, address: str
) -> None:
    index = f"/{index_of(address)}"
    small: dict[str, Any] = {"swarming": {"properties": {"seq": {"type": "byte"}}}}
    engine.ask("PUT", index, {"mappings": {"dynamic": False, "properties": small}})
    with closing(open_store(address)) as store:
        assert store.put(many(130), now_ms()) == Put(127, 0, 0, 3)
        assert store.put(many(130), now_ms()) == Put(0, 127, 0, 3)
        letters = store.dead()
        assert "failed to parse field [swarming.seq]" in letters[0].reason
        assert b'"seq":128' in letters[0].payload
        engine.ask("DELETE", index)
        done = replay.replay(store, now_ms(), False)
        assert done.results == 3
        assert sorted(one.seq for one in store.results(0, now_ms() + 1)) == [128, 129, 130]
        assert store.dead() == []


def test_a_bulk_whose_answer_was_lost_counts_once(engine: Engine, address: str) -> None:
    with Forwarder(engine) as middle:
        through = address.replace(str(engine.port), str(middle.port))
        with closing(open_store(through)) as store:
            store.put(many(1), now_ms())
            middle.lose_the_next_answer()
            assert store.put(many(300, first=2), now_ms()) == Put(0, 300, 0)
        assert middle.swallowed == 1
    assert documents(engine, prefix_of(address)) == 301


def test_a_result_that_is_more_than_the_engine_takes_is_a_dead_letter(tmp_path: Path) -> None:
    small = {"http.max_content_length": "100kb"}
    engine = engines.opensearch(tmp_path / "small", settings=small, quick=True)
    try:
        with closing(open_store(stores.address(engine, tmp_path))) as store:
            large = result(500, error="x" * 150_000)
            assert store.put([*many(499), large], now_ms()) == Put(499, 0, 0, 1)
            (letter,) = store.dead()
            assert "takes no document of" in letter.reason and "(cut:" in letter.reason
            assert letter.payload.startswith(b'{"v":1,"agent":"a1"')
    finally:
        engine.end()


# --- several nodes, TLS, certificates -----------------------------------------------------------


def test_of_several_urls_one_may_be_dead(engine: Engine, address: str) -> None:
    dead = engine.url.replace(str(engine.port), str(free_port()))
    with closing(open_store(address.replace(engine.url, f"{dead},{engine.url}"))) as store:
        for first in range(1, 100, 10):
            assert store.put(many(10, first), now_ms()).stored == 10
    assert documents(engine, prefix_of(address)) == 100


def test_who_wants_a_clients_certificate_gets_it(
    engine: Engine, address: str, authority: Authority, tmp_path: Path
) -> None:
    server = authority.issue("server", ("127.0.0.1",))
    client = authority.issue("client")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca)
    tls.load_cert_chain(server.cert, server.key)
    tls.verify_mode = ssl.CERT_REQUIRED
    with Forwarder(engine, tls) as middle:
        here = f"{address.partition(':')[0]}:https://127.0.0.1:{middle.port}?ca={authority.ca}"
        options = [one for one in address.partition("?")[2].split("&") if one[:3] != "ca="]
        bare = "&".join([here, *options])
        with closing(open_store(f"{bare}&cert={client.cert}&key={client.key}")) as store:
            assert store.put(many(3), now_ms()).stored == 3
        with pytest.raises(Exception, match="127.0.0.1") as refused:
            open_store(bare)
        assert "\n" not in str(refused.value)


def test_an_engine_that_nobody_we_trust_vouches_for_is_told_in_one_line(
    elasticsearch: Engine, guarded: str, authority: Authority, run: Any
) -> None:
    assert elasticsearch.ca is not None
    indexer = run(guarded.replace(elasticsearch.ca, authority.ca))
    (line,) = wait_for(lambda: complaints(indexer), what="a complaint")
    assert "certificate" in line and elasticsearch.url in line
    time.sleep(3)
    assert complaints(indexer) == [line]


# --- the start ----------------------------------------------------------------------------------


def complaints(indexer: IndexerProcess) -> list[str]:
    """What it says beside that all is well."""
    lines = indexer.log.splitlines()
    return [line for line in lines if " INFO " not in line and "the page is at" not in line]


def test_a_key_that_may_too_little_is_told_what_it_lacks(
    elasticsearch: Engine, guarded: str, run: Any, tmp_path: Path
) -> None:
    names = [f"{prefix_of(guarded)}-*"]
    lacking = [one for one in templates.INDEX_PRIVILEGES if one != "maintenance"]
    (tmp_path / f"{prefix_of(guarded)}.key").write_text(
        elasticsearch.api_key(["monitor"], names, lacking)
    )
    indexer = run(guarded)
    assert indexer.wait_end() == 2
    (line,) = complaints(indexer)
    assert "manage_index_templates" in line and f"maintenance on {names[0]}" in line


def test_a_wrong_key_is_told_and_not_repeated(guarded: str, run: Any, tmp_path: Path) -> None:
    (tmp_path / f"{prefix_of(guarded)}.key").write_text(ANYBODY)
    indexer = run(guarded)
    assert indexer.wait_end() == 2
    (line,) = complaints(indexer)
    assert "does not let us in" in line and ANYBODY not in line


def test_an_engine_that_is_too_old_is_told(
    engine: Engine, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = address.partition(":")[0]
    monkeypatch.setitem(templates.OLDEST, scheme, 99)
    with pytest.raises(StoreRefused, match=f"{scheme} [0-9.]+ is too old: 99 or newer"):
        open_store(address)


def test_opensearch_is_not_taken_for_elasticsearch(opensearch: Engine, tmp_path: Path) -> None:
    address = stores.address(opensearch, tmp_path)
    with pytest.raises(StoreRefused, match="no Elasticsearch") as refused:
        open_store(address.replace("opensearch:", "elasticsearch:"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("begun", [False, True])
def test_a_cluster_that_takes_no_writes_is_told_and_waited_for(
    begun: bool, elasticsearch: Engine, guarded: str, run: Any
) -> None:
    if begun:
        open_store(guarded).close()
    read_only = "cluster.blocks.read_only"
    elasticsearch.ask("PUT", "/_cluster/settings", {"persistent": {read_only: True}})
    try:
        indexer = run(guarded)
        wait_for(lambda: complaints(indexer), what="a complaint")
        assert "read-only" in complaints(indexer)[0]
    finally:
        elasticsearch.ask("PUT", "/_cluster/settings", {"persistent": {read_only: None}})
    wait_for(partial(is_well, indexer), 30, "a store that is well")


def is_well(indexer: IndexerProcess) -> bool:
    return indexer.asked("/healthz").get("ok") is True


def says(indexer: IndexerProcess, word: str) -> bool:
    return word in indexer.log


def test_secrets_are_in_no_log_and_no_process_list(
    elasticsearch: Engine, guarded: str, run: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"{prefix_of(guarded)}.key"
    key = path.read_text()
    of_file = run(guarded, "--log-level", "debug")
    of_environment = run(
        guarded.replace(f"&api_key={path}", ""), "--log-level", "debug",
        environment={"SWARMING_STORE_API_KEY": key},
    )  # fmt: skip
    for indexer in (of_file, of_environment):
        wait_for(partial(is_well, indexer), 30, "a store that is well")
    elasticsearch.revoke(key)
    for indexer in (of_file, of_environment):
        wait_for(partial(says, indexer, "401"), 30, "the refusal")
        shown = indexer.log + Path(f"/proc/{indexer.pid}/cmdline").read_text()
        _, _, secret = base64.b64decode(key).decode().partition(":")
        assert key not in shown and secret not in shown


# --- templates ----------------------------------------------------------------------------------


def test_templates_are_written_once_and_a_newer_one_is_left_alone(
    engine: Engine, address: str
) -> None:
    path = f"/_index_template/{prefix_of(address)}-results"
    open_store(address).close()
    before = cluster_version(engine)
    open_store(address).close()
    assert cluster_version(engine) == before
    _, found = engine.ask("GET", path)
    made = found["index_templates"][0]["index_template"]

    engine.ask("PUT", path, made | {"version": templates.VERSION + 1, "_meta": {"of": "later"}})
    open_store(address).close()
    assert engine.ask("GET", path)[1]["index_templates"][0]["index_template"]["_meta"] == {
        "of": "later"
    }

    engine.ask("PUT", path, made | {"priority": 400, "_meta": {"of": "somebody"}})
    open_store(address).close()
    assert engine.ask("GET", path)[1] == found


def cluster_version(engine: Engine) -> int:
    _, state = engine.ask("GET", "/_cluster/state/version")
    return int(state["version"])


# --- roll-ups -----------------------------------------------------------------------------------


def of_hour(number: int) -> list[Result]:
    """A few results, so many hours ago."""
    begin_ms = (AT_MS // HOUR_MS - number) * HOUR_MS
    return [
        result(10 * number + at, f"a{at % 2}", begin_ms + at * 60_000, rtts_ms=[1.0 + at, 20.0])
        for at in range(4)
    ]


def roll(store: Store) -> None:
    while store.rollup(AT_MS):
        pass


def rolled_up(store: Store) -> list[Any]:
    """All that is told of each hour and each day, as far as it does not depend on an order."""
    told = []
    for step_s in (3600, 21_600, 86_400):
        for one in store.buckets(0, AT_MS + HOUR_MS, step_s):
            numbers = [round(number, 2) for number in one if isinstance(number, float)]
            told.append((one.step_s, one.start_ms, one.agent, one.target, one.kind, one.count,
                         one.ok, one.sent, one.received, numbers))  # fmt: skip
    return told


def as_sqlite_has_it(folder: Path, results: list[Result]) -> list[Any]:
    with closing(open_store(f"sqlite:{folder / 'other.db'}")) as store:
        store.put(results, AT_MS)
        roll(store)
        return rolled_up(store)


def before_request(store: ElasticStore, number: int, act: Callable[[], None]) -> None:
    """Acts just before this store asks its engine for the so-manieth time from now on."""
    ask, asked = store._engine.ask, itertools.count(1)

    def counting(*args: Any, **named: Any) -> Any:
        if next(asked) == number:
            act()
        return ask(*args, **named)

    vars(store._engine)["ask"] = counting


def dies_rolling(address: str, before: int) -> bool:
    """A leader of its own process rolls up, and is killed before this request; False: it was not,
    for it was ready sooner."""

    def lead() -> None:
        with closing(ElasticStore(address)) as store:
            before_request(store, before, lambda: os.kill(os.getpid(), signal.SIGKILL))
            store.rollup(AT_MS)
            os._exit(0)

    leader = multiprocessing.get_context("fork").Process(target=lead)
    leader.start()
    leader.join()
    assert leader.exitcode in (0, -signal.SIGKILL)
    return leader.exitcode != 0


def test_a_leader_that_is_killed_before_any_of_its_requests_leaves_nothing_out(
    guarded: str, tmp_path: Path
) -> None:
    results: list[Result] = []
    with closing(ElasticStore(guarded)) as store:
        for number in itertools.count(1):
            results += of_hour(number)
            store.put(of_hour(number), AT_MS)
            died = dies_rolling(guarded, number)
            roll(store)
            if not died:
                break
        assert number > 15
        assert rolled_up(store) == as_sqlite_has_it(tmp_path, results)


@pytest.mark.parametrize(("begin", "limit"), [(1, 0), (2, 2000)], ids=["notes it", "rolls up"])
def test_what_comes_between_the_requests_of_a_leader_while_another_leads_too_is_not_left_out(
    begin: int, limit: int, guarded: str, tmp_path: Path
) -> None:
    results: list[Result] = []
    with closing(ElasticStore(guarded)) as store:
        for number in itertools.count(begin, 2):
            first, *more = of_hour(number)
            results += [first]
            store.put([first], AT_MS)

            led: list[int] = []

            def other_leads(more: list[Result] = more, led: list[int] = led) -> None:
                with closing(ElasticStore(guarded)) as other:
                    other.put(more, AT_MS)
                    led.append(other.rollup(AT_MS, limit))

            with closing(ElasticStore(guarded)) as leader:
                before_request(leader, number, other_leads)
                leader.rollup(AT_MS)
            roll(store)
            if not led:
                break
            results += more
        assert number > 15
        assert rolled_up(store) == as_sqlite_has_it(tmp_path, results)
