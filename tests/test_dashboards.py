"""The dashboards: what is committed, what it refers to, and what it asks of a real engine.

Neither Kibana nor OpenSearch Dashboards can be had here. How they draw it is not tested.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from agent.wire import Result
from bench import simulate
from indexer.dashboards import objects
from indexer.elastic import fields
from indexer.store import AgentRecord, Store
from indexer.stores import open_store
from tests import dashboards_reader as reader
from tests.dashboards_asked import Search
from tests.dashboards_asked import searches as asked_by
from tests.dashboards_query import query_of
from tests.engine import USER, Engine

FOLDER = Path(__file__).parent.parent / "dashboards"
KINDS = ("kibana", "opensearch-dashboards")
PREFIX = "boards"
HOUR_MS = 3_600_000


def committed(kind: str) -> str:
    return (FOLDER / f"{kind}.ndjson").read_text(encoding="utf-8")


# --- what is committed --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_committed_files_are_what_the_generator_makes(kind: str) -> None:
    made = objects.ndjson(kind, "swarming")
    assert committed(kind) == made, "run: python -m indexer.dashboards"


@pytest.mark.parametrize("kind", KINDS)
def test_everything_refers_to_what_is_there_and_every_field_is_one_that_fits(kind: str) -> None:
    assert reader.complaints(reader.read(committed(kind)), kind) == []


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_dashboard_for_each_question_and_each_links_to_all_others(kind: str) -> None:
    found = reader.read(committed(kind))
    names = {name for what, name in found if what == "dashboard"}
    assert names == {
        f"swarming-{name}"
        for name in ("overview", "target", "agent", "links", "http", "health", "verdicts")
    }
    for name in names:
        about = found["visualization", f"{name}-about"]["attributes"]["visState"]
        linked = set(re.findall(r"#/view/([\w-]+)", about))
        assert linked == names - {name}


def test_kibana_says_of_every_field_what_it_is() -> None:
    found = reader.read(committed("kibana"))
    told = json.loads(found["index-pattern", "swarming-view-results"]["attributes"]["fieldAttrs"])
    assert set(told) == {field.name for field in fields.RESULT}
    assert told["swarming.loss_pct"]["customDescription"] == "echoes without a reply, in %"


def test_both_tools_are_asked_the_same() -> None:
    asked = [list(asked_by(reader.read(committed(kind)), kind)) for kind in KINDS]
    assert asked[0] == asked[1]


def test_another_prefix_and_another_space_share_nothing_with_the_first() -> None:
    first = reader.read(objects.ndjson("kibana", "swarming"))
    other = reader.read(objects.ndjson("kibana", "home"))
    spaced = reader.read(objects.ndjson("kibana", "swarming", "lab"))
    assert not {name for _, name in first} & {name for _, name in other | spaced}
    assert reader.complaints(other, "kibana") == reader.complaints(spaced, "kibana") == []
    titles = {one["attributes"]["title"] for (what, _), one in other.items() if "index" in what}
    assert "home-results-*" in titles and not any("swarming" in title for title in titles)


def _replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old.replace('"', r"\""), new.replace('"', r"\""))


def _without(name: str) -> Callable[[str], str]:
    return lambda text: "".join(
        line for line in text.splitlines(keepends=True) if json.loads(line)["id"] != name
    )


@pytest.mark.parametrize(
    ("planted", "noticed"),
    [
        (_replaced("swarming.rtt_ms", "swarming.rtt_mss"), "is no field"),
        (_replaced("monitor.type:http", "monitor.kind:http"), "looks for"),
        (_replaced('"field":"http.rtt.total.us', '"field":"tls.version'), "a keyword"),
        (_replaced('"field":"@timestamp', '"field":"swarming.seq'), "a long"),
        (_replaced('"schema":"bucket"', '"schema":"segment"'), "no place"),
        (_replaced('"valueAxis":"ValueAxis-1"', '"valueAxis":"ValueAxis-2"'), "no axis"),
        (_replaced('"x":24', '"x":20'), "lies on another"),
        (_replaced('customDescription":"', 'customDescription":"' + 300 * "x"), "too long"),
        (_replaced("#/view/swarming-http", "#/view/swarming-htp"), "no dashboard"),
        (lambda text: text.replace("swarming.verdict.sentence", "swarming.sentence"), "shows"),
        (lambda text: text.replace('"name":"3:panel_3"', '"name":"panel_3"'), "differ"),
        (_without("swarming-target-bands"), "which is not there"),
        (_without("swarming-verdicts-last"), "which is not there"),
    ],
)
def test_the_reader_notices_what_is_wrong(planted: Callable[[str], str], noticed: str) -> None:
    text = planted(committed("kibana"))
    assert text != committed("kibana")
    assert noticed in "\n".join(reader.complaints(reader.read(text), "kibana"))


def test_a_query_is_read_as_it_is_meant() -> None:
    assert query_of("") == {"match_all": {}}
    either = query_of("a:1 and not b:* or c:x")["bool"]["should"]
    first, second = (part["bool"]["filter"] for part in either)
    assert first == [{"match": {"a": "1"}}, {"bool": {"must_not": [{"exists": {"field": "b"}}]}}]
    assert second == [{"match": {"c": "x"}}]
    for wrong in ("a", "a:", "(a:b", "a:b)", "a:b c:d", "and"):
        with pytest.raises(ValueError):
            query_of(wrong)


# --- what a real engine answers -----------------------------------------------------------------


class Reader:
    """Who may read the swarm's indices, and nothing else."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._key = engine.api_key((), [f"{PREFIX}-*"], ["read", "view_index_metadata"])

    def ask(self, search: Search) -> dict[str, Any]:
        path = f"/{search.indices}/_search?ignore_unavailable=false"
        status, answer = self._engine.ask("POST", path, search.body, key=self._key)
        assert status == 200, f"{search.panel}: {answer}"
        assert not answer["timed_out"] and answer["_shards"]["failed"] == 0, search.panel
        return dict(answer)


@pytest.fixture(scope="module")
def swarm(elasticsearch: Engine, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Reads a simulated swarm, and what was put by hand since that has none of it."""
    password = tmp_path_factory.mktemp("dashboards") / "password"
    password.write_text(str(elasticsearch.password))
    options = f"ca={elasticsearch.ca}&user={USER}&password={password}&prefix={PREFIX}"
    store = open_store(f"elasticsearch:{elasticsearch.url}?{options}")
    _fill(store, time.time_ns() // 1_000_000)
    store.close()
    assert elasticsearch.ask("POST", f"/{PREFIX}-*/_refresh")[0] == 200
    return Reader(elasticsearch)


def _fill(store: Store, now_ms: int) -> None:
    simulated = simulate.swarm()
    for agent, facts in simulate.abouts(simulated):
        store.put_agents([AgentRecord(agent, facts, now_ms, None, True)])
    journal = {"waiting": 7, "evicted": 3, "lost": 3}
    store.put_agents([AgentRecord("hand", {"journal": journal}, now_ms, None, True)])
    rows = simulate.results(simulated, now_ms - 6 * HOUR_MS, now_ms, 10.0)
    while chunk := list(islice(rows, store.rows_a_put)):
        assert store.put(chunk, now_ms).refused == 0
    assert store.put(list(_by_hand(now_ms)), now_ms).refused == 0
    for word, state in (("isp", "bad"), ("fine", "fine")):
        told = {"state": state, "word": word, "scope": "Bluefibre", "sentence": "It is so."}
        store.put_verdict(now_ms - HOUR_MS, f"{word}.example", told)
    while store.rollup(now_ms):
        pass


def _by_hand(now_ms: int) -> Iterator[Result]:
    """Signals, certificates, lost results, and clocks that are wrong."""
    for number in range(60):
        at_ms = now_ms - number * 60_000
        echoes = {"sent": 2, "received": 2, "loss_pct": 0.0, "rtts_ms": [20.0, 30.0 + number]}
        lte = {"rsrp_dbm": -80 - number, "rsrq_db": -9, "sinr_db": 12, "rssi_dbm": -60}
        wifi = {"signal_dbm": -50 - number, "snr_db": 30}
        bodies: list[dict[str, Any]] = [
            _probe("icmp", "a.example") | echoes | _sits_on("lte", lte),
            _probe("icmp", "a.example") | echoes | _sits_on("umts", {"rscp_dbm": -90}),
            _probe("icmp", "a.example") | echoes | _sits_on("wifi", wifi),
            _probe("http", "https://a.example/")
            | {"certificate_end": "2031-05-01T00:00:00Z", "tls_version": "TLSv1.3", "retrans": 1},
            {"kind": "lost", "count": 3},
        ]
        for turn, body in enumerate(bodies):
            yield Result("hand", "a" * 16, number * 10 + turn + 1, at_ms, "ntp", 5, body)
        early = Result("hand", "b" * 16, number + 1, 1_000 * number, "unsynced", None, bodies[0])
        ahead_ms = now_ms + 5 * HOUR_MS + number
        yield early
        yield Result("hand", "c" * 16, number + 1, ahead_ms, "unknown", None, bodies[0])


def _probe(kind: str, target: str) -> dict[str, Any]:
    return {"kind": kind, "target": target, "ok": True, "error": None, "ip": "192.0.2.1"}


def _sits_on(kind: str, signal: dict[str, float]) -> dict[str, Any]:
    link = {"type": kind, "iface": "w0", "confidence": 1.0, "generation": "4g", "signal": signal}
    return {"link": link}


def searches(text: str | None = None) -> dict[str, Search]:
    """By the name of the panel, what each asks."""
    found = reader.read(text or objects.ndjson("kibana", PREFIX))
    asked = asked_by(found, "kibana")
    return {search.panel.removeprefix(f"{PREFIX}-"): search for search in asked}


def is_empty(answer: dict[str, Any]) -> bool:
    """Nothing is to be seen: no document, no bucket, or some number without a value."""
    if not answer["hits"]["total"]["value"]:
        return True
    return any(_is_nothing(one) for one in answer.get("aggregations", {}).values())


def _is_nothing(found: dict[str, Any]) -> bool:
    """A number is there if one bucket has it."""
    if "buckets" not in found:
        return _valueless(found)
    inner = [name for bucket in found["buckets"][:1] for name in bucket if name.isdigit()]
    return not found["buckets"] or any(
        all(_is_nothing(bucket[name]) for bucket in found["buckets"]) for name in inner
    )


def _valueless(found: dict[str, Any]) -> bool:
    if "values" in found:
        return all(value is None for value in found["values"].values())
    return found["value"] is None


def test_every_panel_shows_something_of_a_swarm(swarm: Reader) -> None:
    asked = searches()
    assert len(asked) > 60
    assert [name for name, search in asked.items() if is_empty(swarm.ask(search))] == []


def test_a_panel_of_a_misspelt_field_shows_nothing(swarm: Reader) -> None:
    """So the test above can fail."""
    text = objects.ndjson("kibana", PREFIX).replace("swarming.jitter_ms", "swarming.jitter")
    asked = searches(text)
    assert {name for name, search in asked.items() if is_empty(swarm.ask(search))} == {
        *("target-agents", "links-links", "links-jitter", "links-generations", "links-isps"),
    }


def test_the_numbers_of_a_panel_are_those_of_the_results(swarm: Reader) -> None:
    rows = swarm.ask(searches()["http-certificates"])["aggregations"]["3"]["buckets"]
    assert [(row["key"], row["doc_count"]) for row in rows] == [("https://a.example/", 60)]
    [version] = rows[0]["4"]["buckets"]
    end = datetime.fromtimestamp(version["1"]["value"] / 1000, UTC)
    assert (version["key"], end.isoformat()) == ("TLSv1.3", "2031-05-01T00:00:00+00:00")


def test_percentiles_are_of_every_echo(swarm: Reader) -> None:
    search = searches()["target-bands"]
    search.body["query"]["bool"]["filter"].append({"match": {"monitor.name": "a.example"}})
    search.body["aggs"]["1"] = search.body["aggs"].pop("2")["aggs"]["1"]
    found = swarm.ask(search)["aggregations"]["1"]["values"]
    echoes = sorted(ms for number in range(60) for ms in (20.0, 30.0 + number))
    assert found["25.0"] == 20.0
    assert found["90.0"] == pytest.approx(echoes[round(0.9 * len(echoes))], abs=2)


def test_results_of_a_wrong_clock_are_counted_by_when_they_were_stored(swarm: Reader) -> None:
    found: dict[str, int] = {}
    for hour in swarm.ask(searches()["health-clocks"])["aggregations"]["2"]["buckets"]:
        for clock in hour["3"]["buckets"]:
            found[clock["key"]] = found.get(clock["key"], 0) + clock["doc_count"]
    assert found["unsynced"] == 60 and found["unknown"] == 60 and found["ntp"] > 1000


def test_an_agent_that_says_nothing_of_its_clock_has_its_row_too(swarm: Reader) -> None:
    rows = swarm.ask(searches()["health-journals"])["aggregations"]["5"]["buckets"]
    [hand] = (row for row in rows if row["key"] == "hand")
    [clock] = hand["6"]["buckets"]
    assert (clock["key"], clock["1"]["value"], clock["3"]["value"]) == ("__missing__", 7, 3)
