"""Who may say what about one effect: "bad", "fine", or nothing at all. Pure.

Only probes begun after the onset vote: a peer's older value tells of the time before, and would
name the path in most faults of a service. And a peer says "fine" only if it would have seen this
effect; else it abstains. One home is one vote, and one provider is one vote.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from indexer.verdict.answers import BAD, DOWN, LOSSY, SLOW
from indexer.verdict.baseline import LEAST
from indexer.verdict.picture import MINUTE_MS, Picture, View
from indexer.verdict.probes import RESOLVER, log_ms, site_of
from indexer.verdict.series import Mark, Series

VOTES_BAD, VOTES_FINE = "bad", "fine"
EARLY_MS = 5 * MINUTE_MS  # who is bad may have noticed it this much before me
EXPECTED_LOSSES = 3.0  # echoes that a peer would have had to lose before its silence means fine
LEAST_LOSS = 0.05
OWN_TROUBLE = 0.6


class Effect(NamedTuple):
    """What is wrong, in the numbers that a peer would have to see."""

    state: str
    kind: str
    family: int | None
    excess_ms: float
    loss: float
    by_name: bool  # the name did not resolve: who asks for an address would not see it


class Ballot(NamedTuple):
    """What one peer says about the suspect; ``waits``: it has not looked since the onset."""

    agent: str
    isp: str
    home: str
    site: str | None
    vote: str | None
    waits: bool


def effect_of(view: View) -> Effect:
    marks = view.series.stretch()[-3:]
    last = marks[-1]
    sent = sum(mark.probe.sent for mark in marks)
    lost = sum(mark.probe.lost for mark in marks)
    return Effect(
        state=view.state,
        kind=view.series.kind,
        family=view.family,
        excess_ms=max(_excess_ms(mark) for mark in marks),
        loss=lost / sent if sent else 0.0,
        by_name=last.probe.error in RESOLVER,
    )


def vote(marks: Sequence[Mark], effect: Effect) -> str | None:
    """What these probes, all begun after the onset, say about the effect."""
    if not marks:
        return None
    last = marks[-1].state
    if effect.state == DOWN and last in (SLOW, LOSSY):
        return None  # it answers, and has some other trouble
    if last in BAD or sum(mark.state in BAD for mark in marks[-3:]) >= 2:
        return VOTES_BAD
    if effect.state == LOSSY and any(mark.probe.sent for mark in marks):
        return vote_on_loss(marks, effect)
    return VOTES_FINE if would_have_seen(marks, effect) else None


def vote_on_loss(marks: Sequence[Mark], effect: Effect) -> str | None:
    """What these echoes together say about a loss; they may be of several pairs."""
    sent = sum(mark.probe.sent for mark in marks)
    lost = sum(mark.probe.lost for mark in marks)
    if not sent:
        return None
    usual = max(mark.usual_loss for mark in marks)
    if lost >= 3 and lost / sent >= max(LEAST_LOSS, effect.loss / 2, 2 * usual):
        return VOTES_BAD
    if sent * effect.loss >= EXPECTED_LOSSES and lost / sent <= effect.loss / 4:
        return VOTES_FINE
    return None


def would_have_seen(marks: Sequence[Mark], effect: Effect) -> bool:
    """A fine peer with this effect on top would not have been fine."""
    if effect.state == DOWN:
        return True
    if effect.state == LOSSY:  # of requests: three of them without one retry
        return len(marks) >= 3
    last = marks[-1]
    if last.usual_ms is None:
        return last.probe.ms is not None and last.probe.ms + effect.excess_ms > last.limit_ms
    rise = log_ms(last.usual_ms + effect.excess_ms) - log_ms(last.usual_ms)
    threshold = log_ms(last.limit_ms) - log_ms(last.usual_ms)
    return rise * min(len(marks), 3) / 3 >= max(threshold, LEAST)


def fresh(series: Series, onset_ms: int) -> list[Mark]:
    """The marks that may vote: begun after the onset. One that is bad and has not been looked at
    since may have noticed the same trouble a little earlier, and counts from then on."""
    marks = series.since(onset_ms)
    if not marks and series.state in BAD:
        marks = [mark for mark in series.since(onset_ms - EARLY_MS) if mark.state in BAD]
    return marks


def ballots(picture: Picture, view: View, effect: Effect) -> list[Ballot]:
    """What every other agent that probes the suspect says about it."""
    found = []
    for peer in picture.viewers.get(view.target, []):
        if peer.agent != view.agent:
            found.append(_ballot(picture, view, peer, effect))
    return found


def by_isp(cast: Iterable[Ballot]) -> dict[str, str]:
    """One vote for each provider that has one: most of its homes. A tie is no vote."""
    homes: dict[tuple[str, str], list[str | None]] = {}
    for ballot in cast:
        homes.setdefault((ballot.isp, ballot.home), []).append(ballot.vote)
    isps: dict[str, list[str | None]] = {}
    for (isp, _), votes in homes.items():
        isps.setdefault(isp, []).append(_most(votes))
    return {isp: said for isp, votes in isps.items() if (said := _most(votes)) is not None}


def own_trouble(picture: Picture, agent: str, target: str) -> bool:
    """Most of the agent's other targets are bad too: it is no witness against this one."""
    bad, of = picture.bad_elsewhere(agent, but=target)
    return of >= 3 and bad / of >= OWN_TROUBLE


def _ballot(picture: Picture, view: View, peer: View, effect: Effect) -> Ballot:
    member = picture.members[peer.agent]
    said, last, waits = None, peer.series.last, False
    series = _same_kind(peer, view, effect)
    if series is not None:
        last = series.last
        marks = fresh(series, view.onset_ms)
        waits = not marks
        said = vote(marks, effect)
    if said == VOTES_BAD and own_trouble(picture, peer.agent, view.target):
        said = None
    return Ballot(peer.agent, member.isp, member.home, site_of(last.probe.ip), said, waits)


def _same_kind(peer: View, view: View, effect: Effect) -> Series | None:
    """The peer's series that is comparable: same kind, same family where it has that one."""
    same = [series for series in peer.every if series.kind == effect.kind]
    exact = [series for series in same if series.family == view.series.family]
    if effect.family is not None:
        return exact[0] if exact else None
    pool = exact or same
    return max(pool, key=lambda series: series.last.probe.begun_ms, default=None)


def _excess_ms(mark: Mark) -> float:
    """How much slower than usual; where that is not known, half of it is taken for excess."""
    if mark.probe.ms is None:
        return 0.0
    if mark.usual_ms is None:
        return mark.probe.ms / 2
    return max(0.0, mark.probe.ms - mark.usual_ms)


def _most(votes: Iterable[str | None]) -> str | None:
    known = [said for said in votes if said is not None]
    bad = known.count(VOTES_BAD)
    if 2 * bad == len(known):
        return None
    return VOTES_BAD if 2 * bad > len(known) else VOTES_FINE
