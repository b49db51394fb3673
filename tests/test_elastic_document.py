"""A result becomes a document of fields that the templates know, and comes back word for word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire import Result
from indexer.elastic import document, fields, rollup, templates
from indexer.elastic.address import parse
from indexer.rollup import Tally, bucket, samples
from indexer.store import AgentRecord

DAY_MS = 86_400_000
LINK = {"type": "lte", "generation": "4g", "iface": "wwan0", "confidence": 0.9, "age_s": 3,
        "signal": {name.rpartition(".")[2]: -80.5 for name in
                   (field.name for field in fields.RESULT) if ".signal." in name}}  # fmt: skip
ICMP = {
    "kind": "icmp", "target": "voila.fr", "ip": "192.0.2.1", "family": 4, "ok": False,
    "error": "timeout", "sent": 4, "received": 3, "loss_pct": 25.0, "late": 1, "duplicates": 0,
    "corrupted": 0, "rtts_ms": [10.0, None, 14.0, 11.0], "method": "raw", "link": LINK,
    "rtt_ms": {"min": 10.0, "avg": 11.667, "max": 14.0, "stddev": 1.7},
}  # fmt: skip
HTTP = {
    "kind": "http", "target": "https://example.org/a?b", "ip": "2001:db8::1", "family": 6,
    "ok": True, "error": None, "status": 200, "bytes": 1024, "truncated": False, "redirect": False,
    "retrans": 0, "tls_version": "TLSv1.3", "certificate_end": "2027-01-01T00:00:00Z",
    "failed_after_ms": 1.5, "phases_ms": {"resolve": 1.0, "connect": 2.0, "tls": 3.0, "ttfb": 4.0,
                                          "transfer": 5.0, "total": 15.0},
}  # fmt: skip
LADDER = {
    "kind": "ladder", "target": "ladder", "ok": True, "error": None,
    "gateway": {"sent": 2, "received": 2, "rtts_ms": [1.0, 2.0], "ip": "192.0.2.254"},
    "first_hop": {"sent": 2, "received": 1, "rtts_ms": [8.0, None]},
}  # fmt: skip
LOST = {"kind": "lost", "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "count": 12}
BODIES = (ICMP, HTTP, LADDER, LOST)
WHO = document.who({"place": "Paris 48.86,2.35", "isp": "Free"})


def result(body: dict[str, Any], **more: Any) -> Result:
    whole = Result("box", "a" * 16, 7, 1_700_000_000_123, "ntp", 5, body)
    return whole._replace(**more)


def leaves(found: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a document, by its whole name; a place has two numbers, and is one."""
    if isinstance(found, dict) and set(found) != {"lat", "lon"}:
        for name, value in found.items():
            yield from leaves(value, f"{path}.{name}" if path else name)
    else:
        yield path, found


def known(of: tuple[fields.Field, ...]) -> set[str]:
    return {field.name for field in of} | {fields.RAW}


def test_every_field_of_a_result_is_in_the_list_and_every_field_of_the_list_is_used() -> None:
    seen: set[str] = set()
    for body in BODIES:
        made = document.document(result(body), WHO, 1, future=True)
        seen |= {name for name, value in leaves(made) if value is not None}
    assert seen == known(fields.RESULT)


def test_every_value_is_of_its_fields_type() -> None:
    python: dict[str, tuple[type, ...]] = {
        "keyword": (str,), "ip": (str,), "date": (int, str), "float": (float, int),
        "long": (int,), "integer": (int,), "boolean": (bool,), "geo_point": (dict,),
    }  # fmt: skip
    types = {field.name: field.type for field in fields.RESULT} | {fields.RAW: "keyword"}
    for body in BODIES:
        for name, value in leaves(document.document(result(body), WHO, 1, future=False)):
            for one in value if isinstance(value, list) else [value]:
                assert isinstance(one, python[types[name]]), (name, one)


def test_the_fields_say_what_the_result_says() -> None:
    made = dict(leaves(document.document(result(ICMP), WHO, 99, future=False)))
    assert made["@timestamp"] == 1_700_000_000_123 and made["event.ingested"] == 99
    assert made["observer.name"] == "box" and made["observer.geo.name"] == "Paris"
    assert made["observer.geo.location"] == {"lat": 48.86, "lon": 2.35}
    assert made["as.organization.name"] == "Free"
    assert (made["monitor.status"], made["event.outcome"]) == ("down", "failure")
    assert made["monitor.duration.us"] == 11_667
    assert made["swarming.rtt_ms"] == [10.0, 14.0, 11.0]
    assert made["swarming.jitter_ms"] == 3.5
    assert made["url.domain"] == "voila.fr" and "url.full" not in made
    http = dict(leaves(document.document(result(HTTP), None, 99, future=False)))
    assert http["http.rtt.response_header.us"] == 4000 and http["tls.rtt.handshake.us"] == 3000
    assert http["url.full"] == HTTP["target"] and http["url.domain"] == "example.org"
    assert "observer.geo.name" not in http and "swarming.loss_pct" not in http


def test_what_is_not_of_its_fields_type_is_left_out_and_comes_back() -> None:
    odd = {"type": {"a": 1}, "generation": [2], "iface": 3, "confidence": "much",
           "signal": {"rsrp_dbm": {"b": 2}, "rsrq_db": -9}}  # fmt: skip
    sent = result(HTTP | {"link": odd, "tls_version": {"c": 3}, "certificate_end": [4]})
    made = document.document(sent, None, 1, future=False)
    fields_of = dict(leaves(made))
    assert fields_of["swarming.link.signal.rsrq_db"] == -9
    assert not {name for name in fields_of if name.startswith(("swarming.link.t", "tls.v"))}
    assert document.result_of({"_source": made}) == sent
    facts = {"version": {"a": 1}, "link": {"type": []}, "clock": {"trust": {}},
             "journal": {"waiting": {}, "evicted": True, "lost": 7}}  # fmt: skip
    told = dict(leaves(document.agent_document(AgentRecord("box", facts, 1, None, True))))
    assert told["swarming.version"] is None and told["swarming.journal.lost"] == 7
    assert "swarming.journal.evicted" not in told


@pytest.mark.parametrize(
    ("place", "name", "location"),
    [
        ("Paris", "Paris", None),
        ("Lyon (45.76, 4.84)", "Lyon", {"lat": 45.76, "lon": 4.84}),
        ("-33.87 151.21", None, {"lat": -33.87, "lon": 151.21}),
        ("floor 3.5 4.5", "floor", {"lat": 3.5, "lon": 4.5}),
        ("room 91.5 4.5", "room 91.5 4.5", None),
    ],
)
def test_a_place_may_end_in_coordinates(place: str, name: str | None, location: Any) -> None:
    geo = document.who({"place": place})["observer"]["geo"]
    assert (geo.get("name"), geo.get("location")) == (name, location)


def test_a_result_goes_where_its_own_time_says() -> None:
    assert document.index_of("p", result(ICMP)) == "p-results-2023.11.14"
    assert document.index_of("p", result(ICMP, clock="unsynced")) == "p-unsynced"
    old = document.index_of("p", result(ICMP, time_ms=-62_135_596_800_000))
    assert old == "p-results-0001.01.01"
    assert document.day_of("p", old) == -719_162
    assert document.day_of("p", "p-results-by.hand") is None
    assert document.day_of("p", "p-results-old-2023.01.01") is None
    assert document.indices_of("p", -(10**17), 10**17) == "p-results-*"


def test_identities_never_meet() -> None:
    assert document.identity(result(ICMP)) == f"box:{'a' * 16}:7"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner,
                                                                max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=8).map("x".__add__), json_values, max_size=4))
def test_any_body_comes_back_word_for_word(more: dict[str, Any]) -> None:
    sent = result(more | ICMP)
    _, line = document.line("p", sent, {}, 1, False).splitlines()
    found = document.result_of({"_source": json.loads(line)})
    assert found == sent and repr(found) == repr(sent)


def test_a_rollup_and_an_agent_have_only_fields_of_the_list() -> None:
    total = Tally()
    for sample in samples(ICMP):
        total.add(sample)
    told = bucket("box", "voila.fr", "icmp", 3_600_000, 3600, total)
    made = rollup.document(told, total.sketches())
    seen = {name for name, _ in leaves(made)} - {"swarming.sketches"}
    assert seen == known(fields.ROLLUP)
    record = AgentRecord(
        "box", {"place": "Paris 48.86,2.35", "isp": "Free", "version": "1", "link": LINK,
                "clock": {"trust": "ntp"}, "journal": {"waiting": 1, "evicted": 0, "lost": 0}},
        1, None, True,
    )  # fmt: skip
    assert {name for name, _ in leaves(document.agent_document(record))} == known(fields.AGENT)


def test_templates_map_every_field_and_nothing_by_themselves() -> None:
    made = {
        family.name: templates.template(parse("elasticsearch:http://h?prefix=p"), family)
        for family in templates.families()
    }
    for name, of in (("results", fields.RESULT), ("agents", fields.AGENT),
                     ("verdicts", fields.VERDICT), ("rollups", fields.ROLLUP)):  # fmt: skip
        mappings = made[name]["template"]["mappings"]
        assert mappings["dynamic"] is False
        mapped = {path.replace(".properties", "") for path, _ in _types(mappings["properties"])}
        assert mapped - {"swarming.sketches"} == known(of)
    settings = made["results"]["template"]["settings"]
    assert settings["index.translog.durability"] == "request"


def _types(properties: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, told in properties.items():
        whole = f"{path}{name}"
        if "properties" in told:
            yield from _types(told["properties"], f"{whole}.")
        else:
            yield whole, told["type"]
