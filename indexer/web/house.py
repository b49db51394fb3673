"""What every endpoint of the page shares: the store, the desk, the lookout, and what was asked."""

from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request

from agent import targets, wire
from agent.wire import WireError
from indexer.desk import Desk
from indexer.store import AgentRecord, Store
from indexer.web import charts
from indexer.web.moment import Lookout

FORM_BYTES = 65_536
_RAW_S = 86_400  # single results are read no further back than this


class House(NamedTuple):
    store: Store
    desk: Desk
    lookout: Lookout


def house_of(request: Request) -> House:
    found = request.app.state.house
    assert isinstance(found, House)
    return found


def agent_of(request: Request) -> str | None:
    """?agent=, or None; a name that can be none is a 400."""
    name = request.query_params.get("agent") or None
    if name is not None and not wire.is_name(name):
        raise HTTPException(400, "that is no agent's name")
    return name


def target_of(request: Request) -> str:
    """?target=, which may also be the ladder."""
    text = request.query_params.get("target", "")
    try:
        return text if text == "ladder" else targets.parse(text).text
    except targets.TargetError as error:
        raise HTTPException(400, f"no target {text[:80]!r}: {error}") from error


def range_of(request: Request) -> charts.Range:
    word = request.query_params.get("range", charts.DEFAULT_RANGE)
    if word not in charts.RANGES:
        raise HTTPException(400, f"a range is one of {', '.join(charts.RANGES)}")
    return charts.RANGES[word]


def charts_of(
    house: House, span: charts.Range, target: str, agent: str | None = None
) -> list[charts.Chart]:
    """Every chart of a target over the range: of one agent finely, of all of them coarsely."""
    now_ms = house.lookout.wall_ms()
    step_s = span.step_s if agent is not None else span.swarm_step_s
    since_ms = now_ms - 1000 * span.length_s
    buckets = house.store.buckets(since_ms, now_ms + 1, step_s, agent=agent, target=target)
    if target == "ladder" and agent is not None:
        newest_ms = max(since_ms, now_ms - 1000 * _RAW_S)
        raw = house.store.results(newest_ms, now_ms + 1, agent=agent, target=target)
        buckets = charts.with_failures(buckets, raw, step_s)
    return charts.charts(buckets, span, now_ms)


def record_of(house: House, name: str) -> AgentRecord:
    """The agent, or a 404."""
    record = house.lookout.moment().agents.get(name)
    if record is None:
        raise HTTPException(404, f"nothing is known of an agent {name}")
    return record


def time_of(text: str | None, otherwise_ms: int) -> int:
    """An RFC 3339 time of a query, in ms."""
    if text is None:
        return otherwise_ms
    try:
        return wire.from_rfc3339(text)
    except WireError as error:
        raise HTTPException(400, f"no time: {text[:40]!r}") from error


def json_time(time_ms: int | None) -> Any:
    return None if time_ms is None else wire.rfc3339(time_ms)
