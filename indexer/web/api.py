"""JSON under /api/: the same that the pages show, for programs. Each route describes itself here,
and /api/openapi.json is made of these descriptions."""

from collections.abc import Callable
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent import wire
from agent.wire import WireError
from indexer import references, verdict
from indexer.desk import Change
from indexer.store import AgentRecord
from indexer.web import charts, lists, words
from indexer.web.house import (
    FORM_BYTES,
    agent_of,
    charts_of,
    house_of,
    json_time,
    range_of,
    record_of,
    target_of,
    time_of,
)
from indexer.web.moment import Moment

_MOST_RESULTS = 10_000


class Answer(NamedTuple):
    """What a route returns, for OpenAPI: the media type, and the fields of its object."""

    media: str
    fields: dict[str, str]


class Described(NamedTuple):
    """A route and its description."""

    method: str
    path: str
    endpoint: Callable[..., Any]
    summary: str
    query: tuple[str, ...]
    answer: Answer

    @property
    def route(self) -> Route:
        return Route(self.path, self.endpoint, methods=[self.method])


# --- endpoints: plain functions run on a thread, so that a slow store stops nobody else ---


def headline(request: Request) -> Response:
    moment = house_of(request).lookout.moment()
    agent = agent_of(request) or moment.you
    found = verdict.headline_json(moment.headline(agent)) | {"time": json_time(moment.now_ms)}
    if not request.user.changes:
        found["pairs"] = [_by_the_day(pair) for pair in found["pairs"]]
    return JSONResponse(found)


def overview(request: Request) -> Response:
    """Every pair of target and agent."""
    moment = house_of(request).lookout.moment()
    pairs = [
        verdict.pair_json(pair)
        for target in moment.picture.targets
        for agent in moment.picture.agents
        if (pair := moment.pair(agent, target))
    ]
    if not request.user.changes:
        pairs = [_by_the_day(pair) for pair in pairs]
    targets = [_target_json(moment, target) for target in moment.picture.targets]
    return JSONResponse(
        {
            "time": json_time(moment.now_ms),
            "sentence": moment.swarm.sentence,
            "targets": targets,
            "agents": list(moment.picture.agents),
            "pairs": pairs,
        }
    )


def judged(request: Request) -> Response:
    target, agent = target_of(request), agent_of(request)
    moment = house_of(request).lookout.moment()
    answer = verdict.judge(moment.picture, target, agent)
    return JSONResponse(verdict.as_json(answer) | {"time": json_time(moment.now_ms)})


def chart(request: Request) -> Response:
    target, agent, span = target_of(request), agent_of(request), range_of(request)
    found = charts_of(house_of(request), span, target, agent)
    shown = [charts.as_json(one) for one in found]
    return JSONResponse({"target": target, "range": span.word, "charts": shown})


def agents(request: Request) -> Response:
    moment = house_of(request).lookout.moment()
    found = [_agent_json(one, request) for one in sorted(moment.agents.values())]
    return JSONResponse({"agents": found})


def agent(request: Request) -> Response:
    record = record_of(house_of(request), request.path_params["agent"])
    return JSONResponse(_agent_json(record, request) | {"facts": _facts(record, request)})


def results(request: Request) -> Response:
    """Raw results; they show when a box was on, so that operators alone get them."""
    if not request.user.changes:
        raise HTTPException(403, "only operators see single results")
    house, query = house_of(request), request.query_params
    now_ms = house.lookout.wall_ms()
    since_ms = time_of(query.get("since"), now_ms - 3_600_000)
    until_ms = time_of(query.get("until"), now_ms + 1)
    limit = query.get("limit", "1000")
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= _MOST_RESULTS):
        raise HTTPException(400, f"limit is a number from 1 to {_MOST_RESULTS}")
    target = target_of(request) if query.get("target") else None
    found = house.store.results(
        since_ms,
        until_ms,
        agent=agent_of(request),
        target=target,
        limit=int(limit),
        newest_first=True,
    )
    return JSONResponse({"results": [wire.decode_json(wire.encode_result(one)) for one in found]})


def watch(request: Request) -> Response:
    house = house_of(request)
    history = [
        {"time": json_time(one.at_ms), "scope": one.scope, "text": one.text, "who": one.who}
        for one in lists.history(house.store)
    ]
    return JSONResponse({"lists": house.desk.lists(), "history": history})


async def change_watch(request: Request) -> Response:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES:
            raise HTTPException(413, "that is too long for a list")
    try:
        asked = wire.decode_json(body)
    except WireError as error:
        raise HTTPException(400, str(error)) from error
    scope, text = (asked.get("scope"), asked.get("text")) if isinstance(asked, dict) else (0, 0)
    if not isinstance(scope, str) or not isinstance(text, (str, type(None))):
        raise HTTPException(400, 'it is not {"scope": "watch", "text": "target target"}')
    desk = house_of(request).desk
    change: Change = await run_in_threadpool(desk.change_list, scope, text, request.user.name)
    return JSONResponse(change._asdict() | {"time": json_time(change.at_ms)})


def brokers(request: Request) -> Response:
    found = [one._asdict() for one in house_of(request).desk.brokers()]
    return JSONResponse({"brokers": found})


def healthz(request: Request) -> Response:
    """Anybody gets the status; who may see the page sees the facts."""
    health = house_of(request).desk.healthz()
    facts = health.facts if request.user is not None else {}
    return JSONResponse({"ok": health.ok, **facts}, 200 if health.ok else 503)


def _target_json(moment: Moment, target: str) -> dict[str, Any]:
    found = verdict.as_json(moment.answers[target])
    return found | {"label": references.label(target)}


def _agent_json(record: AgentRecord, request: Request) -> dict[str, Any]:
    exactly = request.user.changes
    return {
        "agent": record.agent,
        "here": record.here if exactly else None,
        "goodbye": words.said_goodbye(record) if exactly else None,
        "seen": words.seen_of(record, exactly),
        "simulated": record.facts.get("simulated") is True,
        "link": words.link_of(record.facts),
        "place": record.facts.get("place"),
        "isp": record.facts.get("isp"),
        "notices": words.notices_of(record),
    }


def _facts(record: AgentRecord, request: Request) -> dict[str, Any]:
    hidden = () if request.user.changes else ("since", "here", "epoch", "traffic")
    return {name: value for name, value in record.facts.items() if name not in hidden}


def _by_the_day(pair: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in pair.items() if name not in ("last", "last_ms")}


_JSON = "application/json"
_LIST = {"at_ms": "integer", "scope": "string", "text": "string", "who": "string"}
ROUTES = (
    Described(
        "GET",
        "/api/headline",
        headline,
        "The first sentence, the four stations and the targets of an agent, or of the swarm",
        ("agent",),
        Answer(
            _JSON,
            {
                "sentence": "string",
                "word": "string",
                "agent": "string",
                "stations": "array",
                "pairs": "array",
                "answers": "array",
                "missing": "array",
                "time": "string",
            },
        ),
    ),
    Described(
        "GET",
        "/api/overview",
        overview,
        "Every target and agent, and how each sees each",
        (),
        Answer(
            _JSON,
            {
                "time": "string",
                "sentence": "string",
                "targets": "array",
                "agents": "array",
                "pairs": "array",
            },
        ),
    ),
    Described(
        "GET",
        "/api/verdict",
        judged,
        "Whose fault it is that a target is bad, with the evidence",
        ("target", "agent"),
        Answer(
            _JSON,
            {
                "target": "string",
                "agent": "string",
                "state": "string",
                "word": "string",
                "parties": "array",
                "sentence": "string",
                "evidence": "array",
                "since": "string",
                "since_ms": "integer",
                "missing": "array",
                "scope": "string",
                "agents_bad": "integer",
                "agents_fine": "integer",
                "time": "string",
            },
        ),
    ),
    Described(
        "GET",
        "/api/chart",
        chart,
        "Percentiles, loss, HTTP phases and changes over a range; without agent those of all",
        ("target", "agent", "range"),
        Answer(_JSON, {"target": "string", "range": "string", "charts": "array"}),
    ),
    Described(
        "GET",
        "/api/agents",
        agents,
        "Every agent that is known",
        (),
        Answer(_JSON, {"agents": "array"}),
    ),
    Described(
        "GET",
        "/api/agents/{agent}",
        agent,
        "One agent, and all that it says of itself",
        (),
        Answer(
            _JSON,
            {
                "agent": "string",
                "here": "boolean",
                "goodbye": "boolean",
                "seen": "string",
                "simulated": "boolean",
                "link": "string",
                "place": "string",
                "isp": "string",
                "notices": "array",
                "facts": "object",
            },
        ),
    ),
    Described(
        "GET",
        "/api/results",
        results,
        "Single results, the newest first (operators)",
        ("target", "agent", "since", "until", "limit"),
        Answer(_JSON, {"results": "array"}),
    ),
    Described(
        "GET",
        "/api/lists",
        watch,
        "The watch lists in force, and who changed them when",
        (),
        Answer(_JSON, {"lists": "object", "history": "array"}),
    ),
    Described(
        "POST",
        "/api/lists",
        change_watch,
        "Changes a list on every broker (operators)",
        (),
        Answer(_JSON, {**_LIST, "brokers": "array", "time": "string"}),
    ),
    Described(
        "GET",
        "/api/brokers",
        brokers,
        "The brokers, and which of them are connected",
        (),
        Answer(_JSON, {"brokers": "array"}),
    ),
    Described(
        "GET",
        "/healthz",
        healthz,
        "200 while results are taken and a broker is connected, else 503",
        (),
        Answer(_JSON, {"ok": "boolean"}),
    ),
)
QUERY = {
    "agent": "an agent's name",
    "target": "a host name, an address, an http(s) URL, or ladder",
    "range": f"one of {', '.join(charts.RANGES)}",
    "since": "RFC 3339; an hour ago",
    "until": "RFC 3339; now",
    "limit": f"at most {_MOST_RESULTS}",
}
