"""The pages for people. Each gathers what its template shows; nothing is decided here."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from agent import wire
from indexer import verdict
from indexer.desk import Busy, Desk, ListRefused
from indexer.verdict import Answer, Pair
from indexer.verdict.answers import BAD, SEVERITY
from indexer.web import charts, lists, words
from indexer.web.house import (
    FORM_BYTES,
    House,
    agent_of,
    charts_of,
    house_of,
    range_of,
    record_of,
    target_of,
)
from indexer.web.moment import Moment
from indexer.web.render import page

_COLUMNS = 40  # agents side by side in the overview; the worst first
_APART, _APART_MS = 10, 7 * 86_400_000
_SHOWN = 200  # characters of what somebody typed
_ASKED_MS = 60_000  # the same host is looked at once a minute at most
_EACH_ITS_OWN = frozenset({"service", "path", "beyond", "conflict"})
_CHARTS = 4  # agents drawn on a target's page at once


def front(request: Request) -> Response:
    """You, the way out, the services, and what to do next."""
    house = house_of(request)
    moment = house.lookout.moment()
    chosen = agent_of(request) or moment.you
    headline = moment.headline(chosen)
    swarm = moment.swarm if chosen and len(moment.picture.agents) > 1 else None
    return page(
        request,
        "front.html",
        moment=moment,
        chosen=chosen,
        headline=headline,
        swarm=swarm,
        targets=_targets(moment, chosen),
        waiting=len(words.listed_of(moment.agents.get(chosen)) if chosen else ())
        or len(lists.current(house.desk, wire.WATCH)),
        folded=_folded(headline.answers),
        is_empty=not moment.picture.agents,
        brokers=house.desk.brokers(),
    )


def overview(request: Request) -> Response:
    """Targets × agents."""
    moment = house_of(request).lookout.moment()
    isp = request.query_params.get("isp")
    members = moment.picture.members
    isps = Counter(member.isp_name or "provider not told" for member in members.values())
    agents = [
        name for name in moment.picture.agents
        if isp is None or (members[name].isp_name or "provider not told") == isp
    ]  # fmt: skip
    pairs = {
        (agent, target): pair
        for target in moment.picture.targets
        for agent in agents
        if (pair := moment.pair(agent, target))
    }
    bad = Counter(agent for (agent, _), pair in pairs.items() if pair.state in BAD)
    common = Counter(target for (_, target), pair in pairs.items() if pair.state in BAD)
    agents.sort(key=lambda name: (-bad[name], members[name].isp, name))
    return page(
        request,
        "overview.html",
        moment=moment,
        members=members,
        targets=sorted(moment.picture.targets, key=lambda one: (-common[one], one)),
        agents=agents[:_COLUMNS],
        left_out=len(agents[_COLUMNS:]),
        pairs=pairs,
        isps=sorted(isps.items()),
        isp=isp,
        chosen=agent_of(request) or moment.you,
    )


def target(request: Request) -> Response:
    """One target: the verdict, and a smoke graph of each agent."""
    house = house_of(request)
    text, span, chosen = target_of(request), range_of(request), agent_of(request)
    moment = house.lookout.moment()
    you = moment.you if moment.you and moment.pair(moment.you, text) else None
    answer = verdict.judge(moment.picture, text, chosen or you)
    pairs = [pair for name in moment.picture.agents if (pair := moment.pair(name, text))]
    pairs.sort(key=lambda one: (SEVERITY[one.state], one.agent))
    drawn = [chosen] if chosen else [pair.agent for pair in pairs[:_CHARTS]]
    if not drawn:
        drawn = _who_looked(house, span, text)[:_CHARTS]
    return page(
        request,
        "target.html",
        moment=moment,
        target=text,
        answer=answer,
        pairs=pairs,
        chosen=chosen,
        charts=[chart for name in drawn for chart in charts_of(house, span, text, name)],
        drawn=drawn,
        span=span,
        is_listed=text in lists.current(house.desk, wire.WATCH),
        refused=lists.refusals(moment.agents.values()).get(text, ()),
        warning=lists.warning(text),
        asked=_asked(request, moment, pairs),
    )


def agents(request: Request) -> Response:
    moment = house_of(request).lookout.moment()
    records = sorted(moment.agents.values(), key=lambda one: (not one.here, one.agent))
    rows = [(record, _worst(moment, record.agent)) for record in records]
    return page(request, "agents.html", moment=moment, rows=rows)


def agent(request: Request) -> Response:
    """One box: what it says of itself, its way out, and its targets."""
    house = house_of(request)
    record, span = record_of(house, request.path_params["agent"]), range_of(request)
    moment = house.lookout.moment()
    scope = wire.watch_topic(record.agent)
    return page(
        request,
        "agent.html",
        moment=moment,
        record=record,
        facts=words.facts_of(record),
        notices=words.notices_of(record),
        refused=words.refused_of(record),
        targets=_targets(moment, record.agent),
        charts=charts_of(house, span, "ladder", record.agent),
        span=span,
        source=words.list_source_of(record),
        scope=scope,
        own_list=house.desk.lists().get(scope),
        apart=_apart(house, record.agent),
    )


def watch(request: Request) -> Response:
    """The lists, who changed them, and the way back."""
    shown, query = _lists(house_of(request)), request.query_params
    shown["added"] = [one for one in query.get("added", "").split() if one in shown["everybody"]]
    shown["already"] = query.get("already", "")[:_SHOWN]
    return page(request, "lists.html", **shown)


async def change_watch(request: Request) -> Response:
    form = await _form(request)
    return await run_in_threadpool(_change_watch, request, form)


async def look(request: Request) -> Response:
    """Somebody wants a target looked at now."""
    form, house = await _form(request), house_of(request)
    text = form.get("target", "")
    house.desk.look(text)
    query = {name: form[name] for name in ("target", "agent", "range") if form.get(name)}
    query["asked"] = str(house.lookout.wall_ms() // 1000)
    return RedirectResponse(f"/target?{urlencode(query)}", 303)


def _change_watch(request: Request, form: dict[str, str]) -> Response:
    house = house_of(request)
    scope, text, who = form.get("scope", wire.WATCH), form.get("text", ""), request.user.name
    try:
        added = _do(house.desk, form.get("do", ""), scope, text, who)
    except (ListRefused, Busy) as error:
        status = 400 if isinstance(error, ListRefused) else 503
        return page(
            request,
            "lists.html",
            status,
            **_lists(house) | {"error": str(error), "typed": text, "typed_scope": scope},
        )
    if form.get("do") != "add" or scope != wire.WATCH:
        return RedirectResponse("/lists", 303)
    query = {"added": " ".join(added)} if added else {"already": text[:_SHOWN]}
    return RedirectResponse(f"/lists?{urlencode(query)}", 303)


def _do(desk: Desk, verb: str, scope: str, text: str, who: str) -> Any:
    verbs: dict[str, Callable[[], Any]] = {
        "add": lambda: lists.add(desk, scope, text, who),
        "remove": lambda: lists.remove(desk, scope, text, who),
        "undo": lambda: desk.undo_list(scope, who),
        "drop": lambda: desk.change_list(scope, None, who),
    }
    if verb not in verbs:
        raise HTTPException(400, "a list is changed by add, remove, undo or drop")
    return verbs[verb]()


def _lists(house: House) -> dict[str, Any]:
    own, moment = house.desk.lists(), house.lookout.moment()
    everybody = lists.current(house.desk, wire.WATCH)
    return {
        "moment": moment,
        "everybody": everybody,
        "warnings": {word: why for word in everybody if (why := lists.warning(word))},
        "refusals": lists.refusals(moment.agents.values()),
        "added": [],
        "already": "",
        "own_lists": {
            scope.removeprefix("watch/"): text.split()
            for scope, text in sorted(own.items())
            if scope != wire.WATCH
        },
        "history": lists.history(house.store),
        "brokers": house.desk.brokers(),
        "error": None,
        "typed": "",
        "typed_scope": wire.WATCH,
    }


def _targets(moment: Moment, agent: str | None) -> list[Pair]:
    """How this agent sees its targets, worst first."""
    if agent is None:
        return []
    names = moment.picture.targets_of(agent)
    pairs = [pair for name in names if (pair := moment.pair(agent, name))]
    return sorted(pairs, key=lambda one: (SEVERITY[one.state], one.target))


def _folded(answers: Sequence[Answer]) -> list[list[Answer]]:
    """Answers that say the same of several targets, together. A service or the way to it is a
    cause of its own each time."""
    found: dict[object, list[Answer]] = {}
    for answer in answers:
        own = answer.target if answer.word in _EACH_ITS_OWN else None
        rules = frozenset(one.rule for one in answer.evidence if one.strikes)
        found.setdefault((own, answer.word, answer.state, rules), []).append(answer)
    return list(found.values())


class Asked(NamedTuple):
    """Somebody wanted a target looked at: by how many that is done, and how many look at it."""

    at_ms: int
    looked: int
    agents: int


def _asked(request: Request, moment: Moment, pairs: Sequence[Pair]) -> Asked | None:
    """What became of "Look now"; None when nobody asked within a host's pause."""
    text = request.query_params.get("asked", "")
    at_ms = 1000 * int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0
    if not 0 <= house_of(request).lookout.wall_ms() - at_ms < _ASKED_MS:
        return None
    return Asked(at_ms, sum(one.last_ms >= at_ms for one in pairs), len(pairs))


def _worst(moment: Moment, agent: str) -> tuple[int, int]:
    """How many of its targets are bad now, of how many."""
    pairs = _targets(moment, agent)
    return sum(pair.state in BAD for pair in pairs), len(pairs)


def _apart(house: House, agent: str) -> list[str]:
    """The newest results of a clock that was not set, in words."""
    now_ms = house.lookout.wall_ms()
    found = house.store.results(
        now_ms - _APART_MS, now_ms, agent=agent, limit=200, newest_first=True
    )
    unsynced = [words.ticker(one, False) for one in found if one.clock == "unsynced"]
    return unsynced[:_APART]


def _who_looked(house: House, span: charts.Range, target: str) -> list[str]:
    """Agents that looked at it within the range, though not just now."""
    return list(dict.fromkeys(one.agent for one in charts_of(house, span, target)))


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES:
            raise HTTPException(413, "that is too long")
    found = parse_qs(body.decode("utf-8", "replace"), max_num_fields=20)
    return {name: values[0] for name, values in found.items()}


ROUTES = (
    Route("/", front),
    Route("/overview", overview),
    Route("/target", target),
    Route("/agents", agents),
    Route("/agents/{agent}", agent),
    Route("/lists", watch, methods=["GET"]),
    Route("/lists", change_watch, methods=["POST"]),
    Route("/look", look, methods=["POST"]),
)
