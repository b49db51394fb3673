"""Me, my ISP, the path, or the service: one answer for a target, from elimination. Pure.

``judge`` walks no results itself: it asks a Picture. For one agent the answer is what elimination
leaves; for the swarm it is the answer of most of those for whom the target is bad, and it says for
whom that is.
"""

from collections import Counter

from indexer.verdict import sentences, votes
from indexer.verdict.answers import (
    BAD,
    CHECKING,
    CONFLICT,
    FINE,
    ME,
    NO_DATA,
    UNKNOWN,
    Answer,
    Evidence,
    Pair,
    name_of,
)
from indexer.verdict.baseline import WEEK_MS
from indexer.verdict.case import ENOUGH_TARGETS, Case
from indexer.verdict.elimination import ENOUGH_ISPS, evidence_of, left_over
from indexer.verdict.groups import NOT_TOLD
from indexer.verdict.picture import MINUTE_MS, STALE_MS, Picture, View
from indexer.verdict.probes import FIRST_HOP, GATEWAY

PATIENCE_MS = 15 * MINUTE_MS  # so long an answer may be "checking"
ASKED_AT_MOST = 12  # agents that are judged for the swarm's view, spread over the providers
_BEYOND = frozenset({"path", "service"})
# Where as many agents say the one as the other, the earlier word is told.
_ORDER = ("service", "path", "isp", "beyond", "access", "me", CONFLICT, CHECKING, UNKNOWN)


def judge(picture: Picture, target: str, agent: str | None = None) -> Answer:
    """Whose fault it is that the target is bad: for this agent, or (None) for the swarm."""
    views = picture.viewers.get(target, [])
    bad = [view for view in views if view.state in BAD]
    if agent is None:
        answer = _judge_swarm(picture, target, views, bad)
    else:
        view = picture.view(agent, target)
        answer = _no_data(picture, target, agent) if view is None else _judge_view(picture, view)
    return answer._replace(agents_bad=len(bad), agents_fine=len(views) - len(bad))


def judge_all(picture: Picture) -> dict[str, Answer]:
    """The swarm's view of each target."""
    return {target: judge(picture, target) for target in picture.targets}


def what_to_look(picture: Picture, limit: int = 3) -> tuple[str, ...]:
    """The targets in doubt, the ones that most agents see badly first."""
    doubts = []
    for target in picture.targets:
        bad = [view for view in picture.viewers.get(target, []) if view.state in BAD]
        young = [v for v in bad if picture.now_ms - v.onset_ms <= PATIENCE_MS]
        if young and judge(picture, target).word in (
            CHECKING,
            UNKNOWN,
            CONFLICT,
            "beyond",
            "access",
        ):
            doubts.append((-len(young), target))
        elif young and any(_is_one_probe(view) for view in young):
            doubts.append((0, target))
    return tuple(target for _, target in sorted(doubts)[:limit])


def pair(picture: Picture, agent: str, target: str) -> Pair | None:
    """How the agent sees the target now; None when it does not look at it."""
    view = picture.view(agent, target)
    if view is None or picture.is_gone(agent):
        return None
    last = view.series.last
    return Pair(
        agent=agent,
        target=target,
        state=view.state,
        since_ms=view.onset_ms,
        ms=last.probe.ms if last.probe.ok else None,
        usual_ms=last.usual_ms,
        loss_pct=sentences.loss_pct(view.series.marks[-3:]),
        last_ms=last.probe.begun_ms,
        error=last.probe.error,
        why=sentences.why(view),
    )


def _judge_view(picture: Picture, view: View, whom: str | None = None) -> Answer:
    member = picture.members[view.agent]
    if view.state not in BAD:
        text = sentences.finding(view, picture.now_ms)
        missing = tuple(_not_known_yet(picture, view.agent))
        return Answer(view.target, view.agent, FINE, FINE, frozenset(), text, missing=missing)
    case = Case(picture, view)
    evidence = evidence_of(case)
    parties = left_over(evidence)
    word = CHECKING if _is_checking(case, evidence, parties) else name_of(parties)
    scope = "one site" if any(one.rule == "one_site" for one in evidence) else None
    scope = scope if word == "service" else None
    strongest = sorted(evidence, key=lambda one: -len(one.strikes))[:2]
    parts = [
        sentences.finding(view, picture.now_ms, whom),
        sentences.blame(word, member, view.target, scope),
        *[one.text for one in strongest if word != CHECKING],
    ]
    return Answer(
        target=view.target,
        agent=view.agent,
        state=view.state,
        word=word,
        parties=parties,
        sentence=" ".join(parts),
        evidence=(*evidence, *_before(view)),
        since_ms=view.onset_ms,
        missing=tuple(_missing(case, parties, word)),
        scope=scope,
    )


def _judge_swarm(picture: Picture, target: str, views: list[View], bad: list[View]) -> Answer:
    if not views:
        return _no_data(picture, target, None)
    if not bad:
        return _all_fine(picture, target, views)
    whom = f"{len(bad)} of {sentences.count(len(views), 'agent')}" if len(views) > 1 else None
    answers = [_judge_view(picture, view, whom) for view in _spread(picture, target, bad)]
    counts = Counter(answer.word for answer in answers)
    word = min(counts, key=lambda one: (-counts[one], _rank(one)))
    chosen = [answer for answer in answers if answer.word == word]
    best = max(chosen, key=lambda answer: len(answer.evidence))
    if word == ME and len(bad) * 2 < len(views):
        return _fine_but(picture, target, views, bad, best)
    return best._replace(agent=None)


def _spread(picture: Picture, target: str, bad: list[View]) -> list[View]:
    """Some of those who see it badly: each provider in turn, agents without own trouble first."""
    turns: dict[str, list[View]] = {}
    trouble = {view.agent: votes.own_trouble(picture, view.agent, target) for view in bad}
    for view in sorted(bad, key=lambda view: (trouble[view.agent], view.onset_ms, view.agent)):
        turns.setdefault(picture.members[view.agent].isp, []).append(view)
    ranked = [
        (turn, trouble[view.agent], isp, view)
        for isp, queue in turns.items()
        for turn, view in enumerate(queue)
    ]
    ranked.sort(key=lambda one: (one[1], one[0], one[2]))
    return [view for _, _, _, view in ranked[:ASKED_AT_MOST]]


def _all_fine(picture: Picture, target: str, views: list[View]) -> Answer:
    isps = {picture.members[view.agent].isp for view in views}
    text = f"{target} is fine for {_all_of(len(views))}"
    text += f" of {len(isps)} providers." if len(isps) > 1 else "."
    missing = tuple(_not_known_yet(picture, None))
    return Answer(target, None, FINE, FINE, frozenset(), text, missing=missing)


def _fine_but(
    picture: Picture, target: str, views: list[View], bad: list[View], best: Answer
) -> Answer:
    """A few have trouble of their own; the target is fine for the rest."""
    good = len(views) - len(bad)
    agents = ", ".join(sorted(view.agent for view in bad)[:3])
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    text = (
        f"{target} is fine for {good} of {sentences.count(len(views), 'agent')}. It is bad only "
        f"for {agents}{more}, on their own side."
    )
    return best._replace(
        agent=None, state=FINE, word=FINE, parties=frozenset(), sentence=text, since_ms=None
    )


def _no_data(picture: Picture, target: str, agent: str | None) -> Answer:
    who = agent or "Nobody"
    if agent is None or agent in picture.members:
        verb = "has not looked" if agent else "has looked"
        text = f"{who} {verb} at {target} in the last {STALE_MS // MINUTE_MS} minutes."
    else:
        text = f"Nothing is known of an agent {agent}."
    missing = (f"a fresh probe of {target}",)
    return Answer(target, agent, NO_DATA, UNKNOWN, frozenset(), text, missing=missing)


def _is_checking(case: Case, evidence: tuple[Evidence, ...], parties: frozenset[str]) -> bool:
    """More evidence is on its way: peers who have not looked since the onset, or a second look."""
    if case.picture.now_ms - case.view.onset_ms > PATIENCE_MS:
        return False
    if _is_one_probe(case.view):
        rules = {one.rule for one in evidence}
        return not rules & {"outside_bad", "one_site", "provider_bad", "others_bad", "gateway_bad"}
    if len(parties) == 1:
        return False
    # Other providers can clear the path or the service, neighbours me or the provider.
    return any(
        ballot.waits and parties & ({"me", "isp"} if ballot.isp == case.me.isp else _BEYOND)
        for ballot in case.ballots
    )


def _is_one_probe(view: View) -> bool:
    return len(view.series.stretch()) == 1


def _missing(case: Case, parties: frozenset[str], word: str) -> list[str]:
    """What would narrow the answer down."""
    found = []
    if len(parties) > 1 or word == CHECKING:
        found = _wanted(case, parties)
    return found + _not_known_yet(case.picture, case.view.agent)


def _wanted(case: Case, parties: frozenset[str]) -> list[str]:
    found = []
    waiting = len({ballot.isp for ballot in case.outside if ballot.waits})
    if waiting:
        found.append(f"{sentences.count(waiting, 'provider')} not asked since it began")
    outside = {ballot.isp for ballot in case.outside}
    if len(outside) < ENOUGH_ISPS and parties & {"service", "path"}:
        found.append(
            f"agents of other providers that probe {case.view.target}: "
            f"{len(outside)} here, {ENOUGH_ISPS} needed"
        )
    seen = case.tally(case.view.agent).of
    if seen < ENOUGH_TARGETS:
        found.append(
            f"other targets on other networks, looked at since then: "
            f"{seen} here, {ENOUGH_TARGETS} needed"
        )
    if not any(case.picture.rung(case.view.agent, rung) for rung in (GATEWAY, FIRST_HOP)):
        found.append("an answer from the own router (the ladder has none)")
    if case.me.isp == NOT_TOLD:
        found.append(f"the provider of {case.view.agent} (--isp)")
    return found


def _not_known_yet(picture: Picture, agent: str | None) -> list[str]:
    first = picture.watched_since_ms(agent)
    if first is not None and picture.now_ms - first >= WEEK_MS:
        return []
    if first is None:
        return ["what is usual here: too few probes so far, so only fixed limits count"]
    length = sentences.length(picture.now_ms - first)
    return [f"the evenings: it has watched for {length}, less than a week"]


def _before(view: View) -> list[Evidence]:
    """How often it has been like this before, in what was handed over."""
    marks = view.series.marks[: -len(view.series.stretch())]
    times = sum(
        mark.state == view.state and (index == 0 or marks[index - 1].state != view.state)
        for index, mark in enumerate(marks)
    )
    if not times:
        return []
    words = "lately" if times == 1 else f"{times} times lately"
    text = f"It has been like this before, {words}."
    return [Evidence(text, frozenset(), {"times": times}, "before")]


def _all_of(number: int) -> str:
    return "the one agent" if number == 1 else f"all {number} agents"


def _rank(word: str) -> int:
    return _ORDER.index(word) if word in _ORDER else len(_ORDER)
