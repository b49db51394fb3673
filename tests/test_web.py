"""The page and its API, without a browser: what they say, whom they answer, what they carry."""

import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from agent import wire
from agent.wire import Result
from indexer import verdict, web
from indexer.desk import Desk, Live
from indexer.leader import advise
from indexer.store import AgentRecord, Bucket, Store, StoreDown
from indexer.verdict.sentences import ms
from indexer.web import charts, words
from indexer.web.live import Pocket
from indexer.web.moment import Lookout, Moment
from indexer.web.render import opening, rest, timed
from tests.web_house import (
    HOST,
    OUTAGE,
    YOU,
    DeskWithLoop,
    TestClient,
    asked_to_join,
    empty_store,
    filled_store,
    wall_ms,
)

Client = TestClient
SHOP = f"/target?target={quote(OUTAGE, safe='')}"
VIEWS = (
    *("/", f"/?agent={YOU}", "/overview", "/overview?isp=Skydish", SHOP, f"{SHOP}&agent={YOU}"),
    *(f"{SHOP}&range=90d", "/target?target=unheard.example", "/agents", f"/agents/{YOU}"),
    *(f"/agents/{YOU}?range=7d", "/lists"),
)
FROM_HERE = {"origin": HOST}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    found = filled_store(tmp_path_factory.mktemp("web"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def client(store: Store) -> Client:
    return TestClient(web.app(store, DeskWithLoop(store)), HOST)


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Client]:
    """A page over a store in which nothing is yet."""
    found = empty_store(tmp_path)
    yield TestClient(web.app(found, DeskWithLoop(found)), HOST, raise_server_exceptions=False)
    found.close()


def store_of(client: Client) -> Store:
    found: Store = client.app.state.house.store  # type: ignore[attr-defined]
    return found


def text_of(html: str) -> str:
    """What a person reads."""
    parts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = parts.append  # type: ignore[method-assign]
    parser.feed(html)
    return " ".join(" ".join(parts).split())


def heading(client: Client, path: str) -> str:
    found = re.search(r"<h1>(.*?)</h1>", client.get(path).text, re.S)
    assert found is not None
    return text_of(found.group(1))


# --- what the page says ---


@pytest.mark.parametrize("path", VIEWS)
def test_every_view_answers(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "<h1>" in answer.text


def test_the_front_page_answers_first_and_for_you(client: Client) -> None:
    assert heading(client, f"/?agent={YOU}").startswith(f"It's {OUTAGE}, not you")


def test_without_a_choice_the_swarm_speaks(client: Client) -> None:
    assert OUTAGE in heading(client, "/")
    assert "unknown" not in heading(client, "/").lower()


def test_the_way_has_four_stations_in_order_with_times(client: Client) -> None:
    stations = client.get(f"/api/headline?agent={YOU}").json()["stations"]
    assert [one["name"] for one in stations] == ["you", "router", "provider", "service"]
    shown = text_of(client.get(f"/?agent={YOU}").text)
    for station in stations[1:3]:
        assert ms(station["ms"]) in shown


def test_one_agent_alone_is_you(new: Client) -> None:
    ladder = {"sent": 5, "received": 5, "rtts_ms": [3.0] * 5}
    body = {"kind": "ladder", "target": "ladder", "ok": True, "error": None}
    body |= {"gateway": ladder, "first_hop": ladder}
    store_of(new).put([Result("pi-1", "0" * 16, 1, wall_ms(), "ntp", 1, body)], wall_ms())
    assert "your router answers in 3.0 ms" in heading(new, "/")
    assert "0 peers" not in new.get("/").text
    assert new.get("/api/headline").json()["agent"] == "pi-1"


def test_the_only_real_agent_among_simulated_ones_is_you(store: Store) -> None:
    records = store.agents()
    real = AgentRecord("pi-1", {"place": "here"}, wall_ms(), None, True)
    picture = verdict.Picture([], [*records, real], wall_ms())
    moment = Moment(picture, {one.agent: one for one in [*records, real]})
    assert moment.you == "pi-1"


@pytest.mark.parametrize(
    ("path", "next_step"),
    [
        ("/", "swarming-agent mqtt://127.0.0.1:1883"),
        ("/overview", "Add a target"),
        ("/agents", "how to start one"),
        ("/lists", "mosquitto_pub -t watch"),
        ("/target?target=dns.google", "put it on the list"),
        ("/", "Start an agent"),
    ],
)
def test_an_empty_view_says_what_to_do_next(new: Client, path: str, next_step: str) -> None:
    assert next_step in text_of(new.get(path).text)


@pytest.mark.parametrize(("role", "is_told"), [("operator", True), ("viewer", False)])
def test_where_boxes_are_invited_nobody_is_told_what_the_broker_would_refuse(
    role: str, is_told: bool, tmp_path: Path
) -> None:
    store = empty_store(tmp_path)
    desk = DeskWithLoop(store, behind_proxy=True, ca_folder=str(asked_to_join(tmp_path / "ca")))
    headers = {"x-forwarded-user": "olga", "x-forwarded-role": role}
    client = Client(web.app(store, desk), HOST, headers=headers)
    for path in ("/", "/overview", "/agents", "/lists"):
        shown = text_of(client.get(path).text)
        assert "swarming-agent" not in shown and "mosquitto_pub" not in shown, path
        assert "start an agent" not in shown.lower() and "start one" not in shown, path
    assert ("swarming-indexer invite NAME" in client.get("/").text) is is_told
    assert ("swarming-indexer invite NAME" in client.get("/joining").text) is is_told
    store.close()


def test_simulated_agents_and_references_are_labelled(client: Client, new: Client) -> None:
    for path in ("/overview", "/agents", f"/agents/{YOU}"):
        assert "simulated" in client.get(path).text.replace("sim-", "")
    new.post("/lists", data={"do": "add", "text": "one.one.one.one 127.0.0.1"}, headers=FROM_HERE)
    shown = text_of(new.get("/lists").text)
    assert "reference (Cloudflare)" in shown
    assert "this machine itself" in shown


def test_the_overview_is_a_table_of_words(client: Client) -> None:
    html = client.get("/overview").text
    rows = re.findall(r"<tr>.*?</tr>", html, re.S)
    assert len(rows) == 1 + 6
    row = next(one for one in rows if "shop.example" in one)
    assert row.count("down") >= 12
    assert 'scope="row"' in row


def test_a_chart_says_in_words_and_in_a_table_what_it_draws(client: Client) -> None:
    html = client.get(f"{SHOP}&agent={YOU}").text
    labels = re.findall(r'aria-label="(HTTP request [^"]*)"', html)
    assert len(labels) == 1
    assert YOU in labels[0] and "median" in labels[0] and "failed" in labels[0]
    assert html.count('<th scope="col" class="num">Median</th>') == 2  # HTTP and ping


def test_a_store_that_is_down_is_said_in_one_line(new: Client, monkeypatch: Any) -> None:
    def down(*_: Any, **__: Any) -> Any:
        raise StoreDown("the disk is full")

    monkeypatch.setattr(store_of(new), "results", down)
    answer = new.get("/")
    assert answer.status_code == 503
    assert "The disk is full." in answer.text
    assert new.get("/api/headline").json() == {"error": "the disk is full"}


def test_what_breaks_here_is_told_without_details_and_with_the_policy(
    new: Client, monkeypatch: Any
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret")

    monkeypatch.setattr(store_of(new), "results", broken)
    answer = new.get("/")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")


def test_results_of_a_clock_that_was_not_set_stand_apart(new: Client) -> None:
    body = {"kind": "icmp", "target": "a.example", "ok": True, "error": None, "rtts_ms": [9.0]}
    odd = Result("pi-1", "0" * 16, 1, wall_ms() - 5000, "unsynced", None, body)
    store_of(new).put([odd], wall_ms())
    store_of(new).put_agents([AgentRecord("pi-1", {}, wall_ms() - 5000, None, True)])
    assert "Apart: measured while its clock was not set" in new.get("/agents/pi-1").text
    assert "a.example 9.0 ms" in new.get("/agents/pi-1").text
    assert new.get("/api/overview").json()["pairs"] == []


def test_facts_that_somebody_made_up_are_only_text(new: Client) -> None:
    facts = {"place": "<script>alert(1)</script>", "link": {"type": '"><img src=x>'}}
    facts |= {"refused": [{"target": "<b>", "reason": "<i>"}], "journal": [], "clock": 3}
    store_of(new).put_agents([AgentRecord("pi-1", facts, wall_ms(), None, True)])
    for path in ("/agents", "/agents/pi-1", "/"):
        html = new.get(path).text
        assert "<script>alert" not in html and "<img src=x" not in html and "<b>" not in html


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(), one, max_size=3),
    max_leaves=6,
)
_FACTS = (
    "link place isp journal clock list brokers icmp traffic version refused silence budget "
    "certificate paused paused_until left forget"
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(_FACTS.split()), _JSON))
def test_no_facts_can_break_the_words(facts: dict[str, Any]) -> None:
    record = AgentRecord("pi-1", facts, 0, None, True)
    for fact in [*words.facts_of(record), *words.refused_of(record)]:
        assert isinstance(fact.text, str)
    assert all(isinstance(text, str) for text in words.notices_of(record))
    assert all(isinstance(text, str) for text in words.tags_of(record))
    assert isinstance(words.link_of(facts), str)


def test_a_certificate_that_ends_soon_and_a_pause_are_told_beside_the_name(new: Client) -> None:
    ends = {"ends": "2026-12-24T10:00:00.000Z", "days_left": 12}
    facts = {"certificate": ends, "paused": True, "paused_until": "2026-11-26T14:02:00.000Z"}
    store_of(new).put_agents([
        AgentRecord("pi-1", facts, wall_ms(), None, True),
        AgentRecord("pi-2", {"certificate": ends | {"days_left": 30}}, wall_ms(), None, True),
    ])  # fmt: skip
    listed = new.get("/agents").text
    assert listed.count("certificate: 12 days left") == 1 and listed.count("paused") == 1
    told = new.get("/agents/pi-1").text
    assert "ends on 2026-12-24, in 12 days: invite it once more (--again)" in told
    assert "paused by its owner until 2026-11-26 14:02 UTC" in told
    ended = facts | {"certificate": ends | {"days_left": -1}}
    assert words.tags_of(AgentRecord("pi-1", ended, 0, None, True))[-1] == "certificate ended"


def test_a_goodbye_is_told_before_it_counts_as_gone(new: Client) -> None:
    now_ms = wall_ms()
    for here, shown in ((True, "said goodbye"), (False, "gone")):
        record = AgentRecord("pi-1", {"here": False}, now_ms, now_ms, here)
        store_of(new).put_agents([record])
        found = Client(web.app(store_of(new), DeskWithLoop(store_of(new))), HOST)
        (one,) = found.get("/api/agents").json()["agents"]
        assert (one["here"], one["goodbye"]) == (here, True)
        assert f"{shown}, " in text_of(found.get("/agents").text)


def test_who_has_left_is_no_box_of_the_swarm_any_more(new: Client) -> None:
    now_ms = wall_ms()
    for number, name in enumerate(("pi-1", "pi-2")):
        body = {"kind": "icmp", "target": "a.example", "ok": True, "rtts_ms": [9.0]}
        store_of(new).put([Result(name, "a" * 16, number, now_ms - 60_000, "ntp", 1, body)], now_ms)
    left = AgentRecord("pi-1", {"left": True, "here": False}, now_ms, now_ms, False)
    store_of(new).put_agents([left, AgentRecord("pi-2", {}, now_ms, None, True)])
    assert [one["agent"] for one in new.get("/api/agents").json()["agents"]] == ["pi-2"]
    assert new.get("/api/overview").json()["agents"] == ["pi-2"]
    assert new.get("/agents/pi-1").status_code == 404
    assert advise(store_of(new), now_ms).agents == {"a.example": 1}


# --- what the sentences look like ---


def test_a_time_in_a_sentence_is_one_that_the_browser_can_turn() -> None:
    now_ms = wire.from_rfc3339("2026-03-02T00:10:00Z")
    html = timed("down since 23:50 UTC, <b> since 01 Mar 14:02 UTC", now_ms)
    assert 'datetime="2026-03-01T23:50:00Z"' in html  # never of the future
    assert 'datetime="2026-03-01T14:02:00Z"' in html
    assert "&lt;b&gt;" in html


def test_a_heading_is_the_first_sentence() -> None:
    text = "It's https://a.example/, not you. It took 2.5 ms. So."
    assert (opening(text), rest(text)) == (
        "It's https://a.example/, not you.",
        "It took 2.5 ms. So.",
    )
    assert (opening("All well."), rest("All well.")) == ("All well.", "")


# --- what a fresh user asks the page ---


def ladder(agent: str, at_ms: int, error: str | None = None) -> Result:
    rung = None if error else {"sent": 5, "received": 5, "rtts_ms": [3.0] * 5}
    body = {"kind": "ladder", "target": "ladder", "ok": error is None, "error": error}
    return Result(agent, "0" * 16, 1, at_ms, "ntp", 1, body | {"gateway": rung, "first_hop": rung})


def ping_failed(seq: int, at_ms: int, target: str) -> Result:
    body = {"kind": "icmp", "ok": False, "error": "resolver_failed", "sent": 0, "received": 0}
    return Result("pi-1", "1" * 16, seq, at_ms, "ntp", 1, body | {"target": target})


def tell(client: Client, agent: str, **facts: Any) -> None:
    store_of(client).put_agents([AgentRecord(agent, facts, wall_ms(), None, True)])


def test_a_target_that_you_do_not_look_at_is_told_as_the_swarm_sees_it(tmp_path: Path) -> None:
    store = filled_store(tmp_path, hours=1.5, scale=2.0)
    store.put_agents([AgentRecord("pi-1", {"place": "here"}, wall_ms(), None, True)])
    store.put([ladder("pi-1", wall_ms() - 9000)], wall_ms())
    client = TestClient(web.app(store, DeskWithLoop(store)), HOST)
    assert client.get("/api/headline").json()["agent"] == "pi-1"
    assert "pi-1 has not looked" not in client.get(SHOP).text
    assert heading(client, SHOP).startswith(f"{OUTAGE} does not answer for ")
    assert "pi-1 has not looked" in client.get(f"{SHOP}&agent=pi-1").text
    store.close()


def test_the_first_minute_says_how_many_targets_wait(new: Client) -> None:
    store_of(new).put([ladder("pi-1", wall_ms() - 9000)], wall_ms())
    tell(new, "pi-1", list={"from": "watch", "targets": ["a.example", "b.example"]})
    shown = text_of(new.get("/").text)
    assert "2 targets are on the list; the first results come within a minute." in shown
    assert "2 services on the list, none tried yet" in shown


def test_trouble_of_the_box_is_told_once_and_not_target_by_target(new: Client) -> None:
    now_ms, names = wall_ms(), [f"{'abcdefg'[n]}{'x' * n}.example" for n in range(7)]
    store_of(new).put(
        [ladder("pi-1", now_ms - 60_000 * n, "no_gateway") for n in (9, 5, 1)]
        + [
            ping_failed(100 * n + m, now_ms - 60_000 * n, t)
            for n in (9, 5, 1)
            for m, t in enumerate(names)
        ],
        now_ms,
    )
    html = new.get("/").text
    assert heading(new, "/") == "It's you: this box has no router."
    assert "pi-1, not connected" in text_of(html)
    assert "not reached: this box has no router" in text_of(html)
    assert html.count('class="verdict"') <= 1
    assert html.count("does not answer from pi-1") <= 1


def test_look_now_says_who_was_asked(client: Client) -> None:
    form = {"target": OUTAGE, "agent": YOU, "range": "1h"}
    answer = client.post("/look", data=form, headers=FROM_HERE, follow_redirects=False)
    assert answer.status_code == 303
    where = answer.headers["location"]
    assert f"agent={YOU}" in where and "range=1h" in where
    html = client.get(where).text
    assert re.search(r"Asked: the next free slot of \d\d agents\.", text_of(html))
    assert "<button disabled>Look now</button>" in html
    for asked in ("1", "99999999999", "-1", "x", "²"):
        html = client.get(f"{SHOP}&asked={asked}").text
        assert "Asked" not in html and "<button>Look now</button>" in html


def test_what_every_agent_may_refuse_is_said_when_it_is_added(new: Client) -> None:
    for word in ("10.1.2.3", "http://192.168.1.1/", "169.254.169.254"):
        answer = new.post("/lists", data={"do": "add", "text": word}, headers=FROM_HERE)
        assert f"{word}: private: each agent's owner must allow it" in text_of(answer.text)
    answer = new.post("/lists", data={"do": "add", "text": "224.0.0.1"}, headers=FROM_HERE)
    assert "224.0.0.1: no agent probes it" in text_of(answer.text)
    answer = new.post("/lists", data={"do": "add", "text": "a.example"}, headers=FROM_HERE)
    assert "Added: a.example." in text_of(answer.text)
    assert "Added" not in new.get("/lists?added=made.example").text


def test_who_refuses_a_target_and_why_is_told_where_it_is_listed(new: Client) -> None:
    change(new, do="add", text="10.1.2.3 a.example")
    why = "10.1.2.3 is private, and this box's owner has not allowed it"
    for agent in ("pi-1", "pi-2"):
        tell(new, agent, refused=[{"target": "10.1.2.3", "reason": why}])
    for path in ("/lists", "/target?target=10.1.2.3"):
        shown = text_of(new.get(path).text)
        assert f"Refused by 2 agents: {why}" in shown
        assert f"pi-2 : {why}" in shown
    shown = text_of(new.get("/target?target=10.1.2.3").text)
    assert "It is on the list, but refused by 2 agents." in shown
    assert "put it on the list" not in shown
    assert "nobody has looked at it yet" in text_of(new.get("/target?target=a.example").text)


def test_what_is_on_the_list_already_is_not_added_again(new: Client) -> None:
    change(new, do="add", text="example.com https://b.example")
    answer = new.post("/lists", data={"do": "add", "text": "EXAMPLE.com"}, headers=FROM_HERE)
    assert "EXAMPLE.com: already on the list." in text_of(answer.text)
    new.post("/lists", data={"do": "add", "text": "https://b.example/"}, headers=FROM_HERE)
    assert len(new.get("/api/lists").json()["history"]) == 1
    change(new, do="add", text="a.example A.example example.com")
    found = new.get("/api/lists").json()["lists"]["watch"].split()
    assert found[:2] == ["example.com", "https://b.example"]
    assert [one.lower() for one in found[2:]] == ["a.example"]


def test_whose_list_an_agent_watches_is_what_it_says_itself(client: Client, new: Client) -> None:
    everybody = "It watches the list for everybody"
    assert everybody not in client.get(f"/agents/{YOU}").text
    tell(new, "pi-1", list={"from": "watch", "targets": ["a.example"]})
    tell(new, "pi-2", list={"from": "--targets", "targets": ["b.example"]})
    assert everybody in new.get("/agents/pi-1").text
    assert "what it was started with (--targets), not" in text_of(new.get("/agents/pi-2").text)


def test_the_overview_says_in_words_whose_trouble_it_is(client: Client) -> None:
    shown = text_of(client.get("/overview").text)
    assert re.search(r"bad for \d+ of \d+ agents: the service itself", shown)


# --- charts ---


def bucket(start_s: int, **changed: Any) -> Bucket:
    plain = Bucket(
        *("pi-1", "a.example", "icmp", start_s * 1000, 300, 2, 2, 20, 20),
        *(9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, {}, {}, ("wifi",), ("192.0.2.1",)),
    )
    return plain._replace(**changed)


SPAN = charts.RANGES["6h"]


def test_a_line_breaks_where_nothing_was_measured() -> None:
    (chart,) = charts.charts([bucket(0), bucket(300), bucket(3000)], SPAN, 4_000_000)
    assert chart.columns["x"] == [0, 300, 1650, 3000]
    assert chart.columns["median"] == [12.0, 12.0, None, 12.0]


def test_changes_of_link_and_address_are_marked_when_they_happen() -> None:
    later = bucket(300, links=("wifi", "lte"), ips=("192.0.2.1", "192.0.2.9"))
    (chart,) = charts.charts([bucket(0), later, bucket(600, links=("lte",))], SPAN, 700_000)
    assert chart.marks == [(300, "link: wifi → lte"), (300, "address: 192.0.2.9")]
    assert "1 change of link, 1 new address" in chart.sentence


def test_a_name_with_ever_new_addresses_does_not_draw_a_fence() -> None:
    many = [bucket(300 * n, ips=(f"192.0.2.{n}",)) for n in range(40)]
    (chart,) = charts.charts(many, SPAN, 12_000_000)
    assert chart.marks == []
    assert "39 new addresses" in chart.sentence


def test_loss_is_of_echoes_and_the_table_adds_it_up() -> None:
    lossy = bucket(300, received=10)
    (chart,) = charts.charts([bucket(0), lossy], SPAN, 700_000)
    assert chart.columns["loss_pct"] == [0.0, 50.0]
    assert "25.0 % of 40 echoes lost" in chart.sentence
    assert len(charts.charts([bucket(300 * n) for n in range(72)], SPAN, 1)[0].rows) == 12


def test_the_phases_of_failed_requests_are_not_drawn() -> None:
    phases = {"resolve": 1.0, "connect": 2.0, "tls": 3.0, "ttfb": 4.0, "transfer": 5.0}
    good = bucket(0, kind="http", phases_ms=phases)
    bad = bucket(300, kind="http", phases_ms={"resolve": 1.0}, median_ms=None, received=0)
    (chart,) = charts.charts([good, bad], SPAN, 700_000)
    assert {name: values[0] for name, values in chart.phases.items()} == phases
    assert all(values[1] is None for values in chart.phases.values())


def test_nothing_answered_is_said_so() -> None:
    nothing = {f"{name}_ms": None for name in ("min", "p10", "p25", "median", "p75", "p90", "max")}
    (chart,) = charts.charts([bucket(0, received=0, **nothing)], SPAN, 1000)
    assert "no answer; 100.0 % of 20 echoes lost" in chart.sentence


def test_probes_that_sent_nothing_are_drawn_and_told_as_failures() -> None:
    """A name that is not found sends no echo, and is not fine for that."""
    nothing = {f"{name}_ms": None for name in ("min", "p10", "p25", "median", "p75", "p90", "max")}
    one = bucket(0, ok=0, sent=0, received=0, errors={"resolver_failed": 2}, **nothing)
    (chart,) = charts.charts([one, one._replace(start_ms=300_000)], SPAN, 700_000)
    assert chart.columns["loss_pct"] == [100.0, 100.0]
    assert chart.columns["error"] == [wire.ERRORS["resolver_failed"]] * 2
    assert "no answer; all 4 probes failed (the name server" in chart.sentence
    assert [row.loss_pct for row in chart.rows] == [100.0, 100.0]
    (chart,) = charts.charts([bucket(0), one._replace(start_ms=300_000)], SPAN, 700_000)
    assert "2 of 4 probes failed" in chart.sentence


def test_a_box_without_a_router_has_a_chart_that_says_so(new: Client) -> None:
    now_ms = wall_ms()
    body = {"kind": "ladder", "target": "ladder", "ok": False, "error": "no_gateway"}
    failed = [Result("pi-1", "0" * 16, n, now_ms - 25_000 * n, "ntp", 1, body) for n in range(1, 9)]
    rung = {"sent": 5, "received": 5, "rtts_ms": [3.0] * 5}
    good = body | {"ok": True, "error": None, "gateway": rung}
    before = Result("pi-1", "0" * 16, 20, now_ms - 3_600_000, "ntp", 1, good)
    store_of(new).put([*failed, before], now_ms)
    html = new.get("/agents/pi-1").text
    assert "No ladder probe" not in html
    assert "8 of 9 probes failed (this box has no router)" in html
    (chart,) = new.get("/api/chart?target=ladder&agent=pi-1").json()["charts"]
    assert chart["kind"] == "gateway" and sum(chart["columns"]["probes"]) == 9
    assert chart["columns"]["loss_pct"][-1] == 100.0


# --- the API ---


def described(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/api/openapi.json").json()["paths"]
    return found


def test_every_route_for_programs_is_described(client: Client) -> None:
    paths = described(client)
    for route in client.app.routes:  # type: ignore[attr-defined]
        if isinstance(route, Route) and route.path.startswith(("/api/", "/events", "/healthz")):
            for method in (route.methods or set()) - {"HEAD"}:
                if route.path != "/api/openapi.json":
                    assert method.lower() in paths[route.path], route.path


EXAMPLES = {
    "/api/verdict": f"/api/verdict?target={quote(OUTAGE, safe='')}&agent={YOU}",
    "/api/chart": f"/api/chart?target=news.example&agent={YOU}&range=1h",
    "/api/agents/{agent}": f"/api/agents/{YOU}",
    "/api/results": f"/api/results?target=news.example&agent={YOU}&limit=3",
}


def test_each_answer_is_as_described(client: Client) -> None:
    for path, operations in described(client).items():
        if path == "/events" or "get" not in operations:
            continue
        content = operations["get"]["responses"]["200"]["content"]
        schema = content["application/json"]["schema"]
        answer = client.get(EXAMPLES.get(path, path))
        assert answer.status_code == 200, path
        assert set(schema["required"]) <= set(answer.json()), path
        if path != "/healthz":
            assert set(answer.json()) <= set(schema["properties"]), path


def test_a_chart_without_agent_is_of_all_of_them(client: Client) -> None:
    found = client.get("/api/chart?target=news.example&range=90d").json()["charts"]
    assert len({one["agent"] for one in found}) == len(store_of(client).agents())


def test_results_are_the_newest_first_and_whole(client: Client) -> None:
    found = client.get(EXAMPLES["/api/results"]).json()["results"]
    assert len(found) == 3
    assert [one["time"] for one in found] == sorted((one["time"] for one in found), reverse=True)
    assert found[0]["agent"] == YOU and found[0]["v"] == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/chart", 400),
        ("/api/chart?target=-rf", 400),
        ("/api/chart?target=a.example&range=2h", 400),
        ("/api/chart?target=a.example&agent=%2B", 400),
        ("/api/headline?agent=a/b", 400),
        ("/api/agents/nobody", 404),
        ("/api/results?limit=0", 400),
        ("/api/results?limit=1e9", 400),
        ("/api/results?since=yesterday", 400),
        ("/api/nothing", 404),
    ],
)
def test_what_cannot_be_answered_is_one_line(client: Client, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]


def test_a_page_that_is_not_there_is_a_page_too(client: Client) -> None:
    answer = client.get("/nothing")
    assert answer.status_code == 404
    assert "There is no page /nothing here." in text_of(answer.text)
    assert "Back to the first page" in answer.text


def test_healthz_is_200_or_503(new: Client) -> None:
    assert new.get("/healthz").status_code == 200
    desk = new.app.state.house.desk  # type: ignore[attr-defined]
    desk.lay(desk.healthz()._replace(ok=False), (), wall_ms())
    answer = new.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["ok"] is False


# --- lists ---


def change(client: Client, **form: str) -> Any:
    return client.post("/lists", data=form, headers=FROM_HERE, follow_redirects=False)


def test_a_target_is_added_removed_and_undone_and_it_is_known_by_whom(new: Client) -> None:
    assert change(new, do="add", text="a.example").status_code == 303
    assert change(new, do="add", text="https://b.example/x").status_code == 303
    assert new.get("/api/lists").json()["lists"] == {"watch": "a.example https://b.example/x"}
    change(new, do="remove", text="a.example")
    assert new.get("/api/lists").json()["lists"] == {"watch": "https://b.example/x"}
    change(new, do="undo", scope="watch")
    history = new.get("/api/lists").json()["history"]
    assert history[0]["text"] == "a.example https://b.example/x"
    assert {one["who"] for one in history} == {"somebody on this machine"}
    shown = text_of(new.get("/lists").text)
    assert "removed a.example" in shown and "added a.example" in shown


def test_what_may_not_be_watched_is_refused_with_a_reason_and_nothing_changes(new: Client) -> None:
    change(new, do="add", text="a.example")
    answer = change(new, do="add", text="ftp://b.example/ <b>")
    assert answer.status_code == 400
    assert "only http and https URLs can be watched" in text_of(answer.text)
    assert "<b>" not in answer.text
    assert 'value="ftp://b.example/ &lt;b&gt;"' in answer.text  # to be mended, not typed again
    assert new.get("/api/lists").json()["lists"] == {"watch": "a.example"}


@pytest.mark.parametrize("form", [{"do": "add"}, {"do": "undo"}, {"do": "drop"}, {"do": "dance"}])
def test_a_change_that_makes_no_sense_is_refused(new: Client, form: dict[str, str]) -> None:
    assert change(new, **form).status_code == 400


def test_an_agents_own_list_begins_as_a_copy_and_can_be_dropped(new: Client) -> None:
    change(new, do="add", text="a.example")
    change(new, do="add", text="b.example", scope="watch/pi-1")
    assert new.get("/api/lists").json()["lists"]["watch/pi-1"] == "a.example b.example"
    change(new, do="drop", scope="watch/pi-1")
    assert "watch/pi-1" not in new.get("/api/lists").json()["lists"]


def test_programs_change_lists_with_json(new: Client) -> None:
    answer = new.post("/api/lists", json={"scope": "watch", "text": "a.example  b.example"})
    assert answer.status_code == 200
    assert answer.json()["text"] == "a.example b.example"
    assert new.post("/api/lists", json={"scope": "watch", "text": "-x"}).status_code == 400
    assert new.post("/api/lists", json=["watch"]).status_code == 400
    too_long = {"scope": "watch", "text": "a" * 70_000}
    assert new.post("/api/lists", json=too_long).status_code == 413


def test_look_now_asks_the_desk(new: Client) -> None:
    new.post("/look", data={"target": "a.example"}, headers=FROM_HERE, follow_redirects=False)
    assert new.app.state.house.desk.looked == ["a.example"]  # type: ignore[attr-defined]


# --- security ---


@pytest.mark.parametrize(
    "path", ["/", "/lists", "/nothing", "/api/headline", "/static/page.js", "/healthz"]
)
def test_every_answer_carries_the_strict_policy(client: Client, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy and "*" not in policy and "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("path", VIEWS)
def test_no_page_has_inline_scripts_or_styles_or_anything_from_elsewhere(
    client: Client, path: str
) -> None:
    html = client.get(path).text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert re.findall(r"<script(?![^>]*\ssrc=)", html) == []
    for url in re.findall(r"(?:src|href|action)=\"([^\"]+)\"", html):
        assert url.startswith(("/", "?", "#")) and not url.startswith("//"), url


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080"])
def test_the_names_of_this_machine_are_answered(client: Client, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.", "", "[::"]
)
def test_a_foreign_name_that_leads_here_is_not_answered(client: Client, host: str) -> None:
    for path in ("/", "/api/headline", "/healthz", "/events"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 421
        assert OUTAGE not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"origin": HOST, "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_page_cannot_change_a_list(new: Client, headers: dict[str, str]) -> None:
    answer = new.post("/lists", data={"do": "add", "text": "a.example"}, headers=headers)
    assert answer.status_code == 403
    assert new.get("/api/lists").json()["lists"] == {}


UPLOT = {
    "uplot.iife.min.js": "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
    "uplot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


@pytest.mark.parametrize("name", UPLOT)
def test_uplot_is_the_official_release_byte_for_byte(client: Client, name: str) -> None:
    served = client.get(f"/static/uplot/{name}").content
    assert hashlib.sha256(served).hexdigest() == UPLOT[name]


def test_nothing_else_of_the_wheel_is_served(client: Client) -> None:
    for path in ("__init__.py", "../figure.py", "%2e%2e/figure.py"):
        assert client.get(f"/static/uplot/{path}").status_code == 404


# --- now, once for all ---


def test_the_picture_is_built_once_for_all_who_look(store: Store, monkeypatch: Any) -> None:
    clock = [0.0]
    real = store.results

    def slow(*args: Any, **options: Any) -> Any:
        clock[0] = 2.0  # what reading takes
        return real(*args, **options)

    monkeypatch.setattr(store, "results", slow)
    lookout = Lookout(store, wall_ms, lambda: clock[0])
    first = lookout.moment()
    clock[0] = 2.0 + 19.0  # ten times what it took: a tenth of the time at most
    assert lookout.moment() is first
    clock[0] = 2.0 + 21.0
    assert lookout.moment() is not first


def test_where_the_indexer_leads_the_picture_is_that_of_the_verdicts(
    store: Store, monkeypatch: Any
) -> None:
    clock = [wall_ms()]
    laid = advise(store, clock[0]).picture
    assert laid is not None
    desk = Desk("indexer-test", lambda command: None)
    desk.lay_picture(laid, clock[0] + 1000)
    lookout = Lookout(store, lambda: clock[0], laid=desk.picture)
    with monkeypatch.context() as patched:
        patched.setattr(store, "results", None)  # nothing is read again
        assert lookout.moment().picture is laid
        assert lookout.moment() is lookout.moment()
    clock[0] += 1000
    assert lookout.moment().picture is not laid


# --- live ---


def result(seq: int, target: str = "a.example") -> Result:
    body = {"kind": "icmp", "target": target, "ok": True, "error": None, "rtts_ms": [12.0]}
    return Result("pi-1", "0" * 16, seq, 1_000_000 + seq, "ntp", 1, body)


def test_what_comes_within_a_second_is_told_together() -> None:
    pocket = Pocket(sees_agents=True)
    pocket.put(Live("results", (result(1), result(2))))
    pocket.put(Live("results", (result(3, "b.example"),)))
    ((kind, told),) = pocket.take()
    assert (kind, told["count"], told["targets"]) == ("results", 3, ["a.example", "b.example"])
    assert told["last"]["text"] == "pi-1: b.example 12 ms"
    assert pocket.take() == []


def test_a_viewer_is_not_told_who_is_there() -> None:
    pocket = Pocket(sees_agents=False)
    pocket.put(Live("agent", AgentRecord("pi-1", {}, 0, None, True)))
    pocket.put(Live("results", (result(1),)))
    ((kind, told),) = pocket.take()
    assert kind == "results"
    assert "pi-1" not in str(told)
