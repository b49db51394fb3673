"""The page's first sentence: about you, from the ladder and the targets. Pure.

It names the party and counts for whom it is so. In the first minutes it says what is known; with
one agent alone it speaks from the ladder; it never opens with what is not known.
"""

from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_address

from indexer.verdict import sentences
from indexer.verdict.answers import (
    BAD,
    CHECKING,
    DOWN,
    FINE,
    LOSSY,
    NO_DATA,
    SEVERITY,
    SLOW,
    Answer,
    Headline,
    Pair,
    Station,
)
from indexer.verdict.judge import judge, judge_all, pair
from indexer.verdict.picture import Picture
from indexer.verdict.probes import FIRST_HOP, GATEWAY, NOT_CONNECTED, is_own, is_this_machine

ABSENT = "absent"
YOU, ROUTER, PROVIDER, SERVICE = "you", "router", "provider", "service"
# Which trouble is told first when there are several: the nearest to you.
_NEAREST = ("me", "access", "isp", "service", "path", "beyond")
_OFFLINE = {
    "no_gateway": "this box has no router",
    "no_route": "this box has no route to its router",
    "network_down": "this box's network is down",
}


def headline(picture: Picture, agent: str | None = None, listed: Sequence[str] = ()) -> Headline:
    """One sentence and four stations, for this agent; None: the only one, else the swarm.

    ``listed`` is what the agent is to look at: what of it was never tried is counted apart.
    """
    if agent is None and len(picture.agents) == 1:
        agent = picture.agents[0]
    if agent is None:
        return _of_swarm(picture)
    silent_ms = picture.silent_since_ms(agent)
    pairs = [found for t in picture.targets_of(agent) if (found := pair(picture, agent, t))]
    pairs.sort(key=lambda one: (SEVERITY[one.state], one.target))
    if not pairs and silent_ms is not None:
        sentence = _silence(picture, agent, silent_ms)
        return Headline(sentence, NO_DATA, agent, _unknown(agent))
    answers = tuple(judge(picture, one.target, agent) for one in pairs if one.state in BAD)
    services = [one for one in pairs if not _is_this_machine(picture, one)]
    offline = _offline(picture, agent, services)
    untried = _untried(picture, agent, listed)
    way = (
        _rung(picture, agent, GATEWAY, ROUTER, "your router", offline),
        _rung(picture, agent, FIRST_HOP, PROVIDER, "your provider", offline),
        _services(picture, agent, services, untried),
    )
    word = "me" if offline else _word(answers) if answers or services else _word_of_ladder(way)
    stations = (_you(picture, agent, word, offline, way[0], answers), *way)
    sentence = _sentence(picture, stations, answers, word, len(services), offline, untried)
    missing = answers[0].missing if answers else ()
    return Headline(sentence, word, agent, stations, tuple(pairs), answers, missing)


def _sentence(
    picture: Picture,
    stations: tuple[Station, ...],
    answers: tuple[Answer, ...],
    word: str,
    services: int,
    offline: str | None,
    untried: int,
) -> str:
    told = stations[3:] if offline else stations[1:]
    parts = [station.text for station in told if station.state not in (ABSENT, NO_DATA)]
    known = ", ".join(parts)
    if not known and not offline:
        return "Just begun: the first answers come within a minute."
    if word == FINE:
        whole = services and not untried
        opening = "All well" if whole else "So far all well"
        ending = "" if services else "; no target has been looked at yet"
        return f"{opening}: {known}{ending}."
    ending = f" {_capital(known)}." if known else ""
    if answers:
        return f"{_accusation(picture, answers, word, offline)}{ending}"
    if offline:
        return f"It's you: {offline}.{ending}"
    return f"{_opening(word)}: {known}."


def _offline(picture: Picture, agent: str, services: list[Pair]) -> str | None:
    """Why the box is not connected at all, or None. A service that answers from outside shows
    that it is, whatever the ladder found (some links have no router)."""
    view = picture.view(agent, GATEWAY)
    error = view.series.last.probe.error if view is not None else None
    if error not in NOT_CONNECTED:
        return None
    outside = [one for one in services if not _is_local(picture, agent, one.target)]
    return None if any(one.state != DOWN for one in outside) else _OFFLINE[error]


def _is_this_machine(picture: Picture, one: Pair) -> bool:
    if is_this_machine(one.target):
        return True
    view = picture.view(one.agent, one.target)
    try:
        return view is not None and ip_address(view.series.last.probe.ip or "").is_loopback
    except ValueError:
        return False


def _untried(picture: Picture, agent: str, listed: Sequence[str]) -> int:
    tried = {*picture.targets_of(agent)}
    return sum(one not in tried and not is_this_machine(one) for one in listed)


def _silence(picture: Picture, agent: str, silent_ms: int) -> str:
    when = sentences.since(silent_ms, picture.now_ms)
    return f"Nothing from {agent} {when}: it is off, or it reaches no broker."


def _unknown(agent: str) -> tuple[Station, ...]:
    """The way of a box that says nothing now."""
    labels = ((YOU, agent), (ROUTER, "your router"), (PROVIDER, "your provider"))
    return tuple(
        Station(name, label, None, NO_DATA, label if name == YOU else f"{label}: not known now")
        for name, label in (*labels, (SERVICE, "services"))
    )


def _accusation(
    picture: Picture, answers: tuple[Answer, ...], word: str, offline: str | None = None
) -> str:
    """Who it is, with the targets concerned, for how many, and the strongest finding."""
    about = [answer for answer in answers if answer.word == word] or list(answers)
    first = min(about, key=lambda answer: (SEVERITY[answer.state], answer.since_ms or 0))
    names = _list([answer.target for answer in about])
    verb = {DOWN: "down", LOSSY: "losing packets", SLOW: "slow"}[first.state]
    when = sentences.since(min(a.since_ms or picture.now_ms for a in about), picture.now_ms)
    clause = f"{names} {'is' if len(about) == 1 else 'are'} {verb} {when}"
    if offline:
        return f"It's you: {offline}. {clause}."
    text = f"{_opening(word, first)}: {clause}"
    strikes = [one for one in first.evidence if one.strikes]
    finding = max(strikes, key=lambda one: len(one.strikes)).text if strikes else None
    text += f". {finding}" if finding and word != CHECKING else "."
    if first.agents_bad + first.agents_fine > 1:
        total = first.agents_bad + first.agents_fine
        text += f" It is so for {first.agents_bad} of {total} agents."
    return text


def _opening(word: str, answer: Answer | None = None) -> str:
    name = answer.target if answer else "the service"
    scope = "one site of " if answer and answer.scope else ""
    return {
        "me": "It's you: your box, your router or your home network",
        "isp": "It's your provider, not you",
        "access": "It's your access, your home or your provider",
        "path": "It's the way between your provider and the service, not you",
        "service": f"It's {scope}{name}, not you",
        "beyond": "It lies beyond your provider, not with you",
        CHECKING: "Something changed, and it is being checked",
    }.get(word, "Something is wrong, and it cannot be told yet whose it is")


def _word(answers: tuple[Answer, ...]) -> str:
    """The word of most bad targets; of several, the trouble nearest to you."""
    if not answers:
        return FINE
    counts = Counter(answer.word for answer in answers)
    settled = [word for word in counts if word in _NEAREST] or list(counts)
    return min(settled, key=lambda w: (-counts[w], _NEAREST.index(w) if w in _NEAREST else 9))


def _word_of_ladder(way: tuple[Station, Station, Station]) -> str:
    """Without any target: what the ladder alone tells."""
    router, provider, _ = way
    if router.state in BAD:
        return "me"
    if provider.state in BAD:
        return "isp" if router.state == FINE else "access"
    return FINE


def _you(
    picture: Picture,
    agent: str,
    word: str,
    offline: str | None,
    router: Station,
    answers: tuple[Answer, ...],
) -> Station:
    """This box; it is as bad as what it is found guilty of."""
    member = picture.members.get(agent)
    link = member.link if member and member.link not in ("", "unknown") else None
    label = f"{agent}, by {link}" if link else agent
    if offline:
        return Station(YOU, f"{agent}, not connected", None, DOWN, "this box is not connected")
    if word == "me":
        states = [one.state for one in answers if one.word == word] or [router.state]
        return Station(YOU, label, None, min(states, key=SEVERITY.__getitem__), "this box")
    known = bool(picture.targets_of(agent)) or picture.rung(agent, GATEWAY) is not None
    return Station(YOU, label, None, FINE if known else NO_DATA, "this box")


def _rung(
    picture: Picture, agent: str, rung: str, name: str, label: str, offline: str | None
) -> Station:
    if offline and rung == GATEWAY:
        return Station(name, label, None, DOWN, offline)
    if offline:
        return Station(name, label, None, NO_DATA, f"not reached: {offline}")
    view = picture.view(agent, rung)
    if view is not None and view.series.last.probe.error in NOT_CONNECTED:
        return Station(name, label, None, ABSENT, "this box has no router of its own")
    series = picture.rung(agent, rung)
    if series is None:
        asked = any(picture.view(agent, other) is not None for other in (GATEWAY, FIRST_HOP))
        text = f"{label} does not answer pings" if asked else f"{label} was not asked yet"
        return Station(name, label, None, ABSENT, text)
    last = series.last
    if series.state == DOWN:
        return Station(name, label, None, DOWN, f"{label} does not answer")
    text = f"{label} answers in {sentences.ms(last.probe.ms)}"
    if series.state == LOSSY:
        text += f" and loses {sentences.loss_pct(series.marks[-3:]):.0f} % of the echoes"
    if series.state == SLOW and last.usual_ms is not None:
        text += f" (usually {sentences.ms(last.usual_ms)})"
    return Station(name, label, last.probe.ms, series.state, text)


def _services(picture: Picture, agent: str, services: list[Pair], untried: int) -> Station:
    """All targets together: how many answer as they should, and the median of those."""
    if not services:
        waiting = f"{sentences.count(untried, 'service')} on the list, none tried yet"
        text = waiting if untried else "no service looked at yet"
        return Station(SERVICE, "services", None, NO_DATA, text)
    fine = sum(one.state == FINE for one in services)
    times = sorted(
        one.ms
        for one in services
        if one.ms is not None and not _is_local(picture, agent, one.target)
    )
    worst = min((one.state for one in services), key=SEVERITY.__getitem__)
    ms = times[len(times) // 2] if times and worst != DOWN else None
    total = len(services) + untried
    verb = "answers" if total == 1 else "answer"
    text = f"{fine} of {sentences.count(total, 'service')} {verb}"
    if worst in BAD:
        text += " as usual"
    if untried:
        text += f" ({untried} not tried yet)"
    return Station(SERVICE, sentences.count(total, "service"), ms, worst, text)


def _is_local(picture: Picture, agent: str, target: str) -> bool:
    view = picture.view(agent, target)
    return view is not None and is_own(view.series.last.probe.ip)


def _of_swarm(picture: Picture) -> Headline:
    """No "you": how the targets are for everybody."""
    answers = judge_all(picture)
    looked = [
        answer
        for target, answer in answers.items()
        if answer.state != NO_DATA and not is_this_machine(target)
    ]
    bad = sorted(
        (answer for answer in looked if answer.state in BAD),
        key=lambda answer: (SEVERITY[answer.state], -answer.agents_bad, answer.target),
    )
    here = {view.agent for view in picture.views.values()}
    isps = {picture.members[agent].isp for agent in here}
    fine = sum(answer.agents_bad <= answer.agents_fine for answer in looked)
    services = f"{fine} of {sentences.count(len(looked), 'service')}"
    whom = f"{sentences.count(len(here), 'agent')} of {sentences.count(len(isps), 'provider')}"
    if not looked:
        sentence, word = "Just begun: the first answers come within a minute.", FINE
    elif not bad:
        sentence, word = f"All well: {services} answer for {whom}.", FINE
    else:
        sentence, word = f"{bad[0].sentence} {_capital(services)} are fine ({whom}).", bad[0].word
    stations = _swarm_stations(picture, len(here), len(isps), services, looked)
    missing = bad[0].missing if bad else ()
    return Headline(sentence, word, None, stations, (), tuple(bad), missing)


def _swarm_stations(
    picture: Picture, agents: int, isps: int, services: str, looked: list[Answer]
) -> tuple[Station, ...]:
    state = min((answer.state for answer in looked), key=SEVERITY.__getitem__, default=NO_DATA)
    seen = FINE if agents else NO_DATA
    whole = sentences.count(agents, "agent")
    router = _swarm_rung(picture, GATEWAY, ROUTER, "router")
    provider = _swarm_rung(picture, FIRST_HOP, PROVIDER, "access line")
    if isps:
        provider = provider._replace(label=sentences.count(isps, "provider"))
    return (
        Station(YOU, whole, None, seen, whole),
        router,
        provider,
        Station(
            SERVICE, sentences.count(len(looked), "service"), None, state, f"{services} answer"
        ),
    )


def _swarm_rung(picture: Picture, rung: str, name: str, noun: str) -> Station:
    found = [series for agent in picture.agents if (series := picture.rung(agent, rung))]
    if not found:
        return Station(name, f"{noun}s", None, ABSENT, f"no {noun} answers pings")
    fine = sum(series.state == FINE for series in found)
    times = sorted(s.last.probe.ms for s in found if s.last.probe.ms is not None)
    ms = times[len(times) // 2] if times else None
    label = sentences.count(len(found), noun)
    state = (
        FINE if 2 * fine >= len(found) else min((s.state for s in found), key=SEVERITY.__getitem__)
    )
    return Station(name, label, ms, state, f"{fine} of {label} fine")


def _list(names: list[str]) -> str:
    if len(names) <= 2:
        return " and ".join(names)
    return f"{names[0]}, {names[1]} and {len(names) - 2} more"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
