"""One bad pair, and all that the rules may ask about it. It counts; it strikes nobody."""

from functools import cached_property
from typing import NamedTuple

from indexer.verdict import votes
from indexer.verdict.answers import LOSSY
from indexer.verdict.picture import Picture, View
from indexer.verdict.probes import is_own, network_of
from indexer.verdict.series import Mark
from indexer.verdict.votes import VOTES_BAD, VOTES_FINE

MOSTLY, FEW = 0.60, 0.34
ENOUGH_TARGETS = 3


class Tally(NamedTuple):
    """Targets (or echoes) of one agent since the onset: bad, fine, and all that were looked at."""

    bad: int
    fine: int
    of: int

    @property
    def mostly_bad(self) -> bool:
        return self.of >= ENOUGH_TARGETS and self.bad / self.of >= MOSTLY

    @property
    def mostly_fine(self) -> bool:
        enough = self.of >= ENOUGH_TARGETS
        return enough and self.bad / self.of <= FEW and self.fine / self.of >= FEW


class Case:
    """One bad pair and all that may be asked about it."""

    def __init__(self, picture: Picture, view: View) -> None:
        self.picture = picture
        self.view = view
        self.me = picture.members[view.agent]
        self.effect = votes.effect_of(view)
        self.ip = known_ip(view)
        self._tallies: dict[str, Tally] = {}

    @cached_property
    def ballots(self) -> list[votes.Ballot]:
        return votes.ballots(self.picture, self.view, self.effect)

    @cached_property
    def outside(self) -> list[votes.Ballot]:
        """The ballots of other providers than mine."""
        return [ballot for ballot in self.ballots if ballot.isp != self.me.isp]

    @cached_property
    def outside_votes(self) -> dict[str, str]:
        return votes.by_isp(self.outside)

    def tally(self, agent: str) -> Tally:
        """How the agent's other targets, on other networks than the suspect, are since then."""
        if agent not in self._tallies:
            self._tallies[agent] = self._count(agent)
        return self._tallies[agent]

    def _count(self, agent: str) -> Tally:
        parts = [marks for marks in map(self._marks_of, self._others(agent)) if marks]
        said = [votes.vote(marks, self.effect) for marks in parts]
        if self.effect.state == LOSSY and None in said:
            # One target's echoes are too few to tell: those that abstain vote together.
            silent = [m for v, marks in zip(said, parts, strict=True) if v is None for m in marks]
            pooled = votes.vote_on_loss(silent, self.effect)
            said = [pooled if one is None else one for one in said]
        return Tally(said.count(VOTES_BAD), said.count(VOTES_FINE), len(said))

    def _others(self, agent: str) -> list[View]:
        found = []
        for target in self.picture.targets_of(agent):
            view = self.picture.view(agent, target)
            if view is None or target == self.view.target or target in self.picture.common:
                continue
            ip = view.series.last.probe.ip
            elsewhere = ip is None or network_of(ip) != network_of(self.ip)
            if elsewhere and not is_own(ip) and self._could_see(view):
                found.append(view)
        return found

    def _could_see(self, view: View) -> bool:
        """A target that is an address tells nothing about a resolver."""
        return not (self.effect.by_name and _is_address(view.target))

    def _marks_of(self, view: View) -> list[Mark]:
        return votes.fresh(view.series, self.view.onset_ms)

    def rung(self, rung: str) -> str | None:
        """What a rung of the ladder says since the onset; None when absent."""
        series = self.picture.rung(self.view.agent, rung)
        return None if series is None else votes.vote(series.since(self.view.onset_ms), self.effect)


def known_ip(view: View) -> str | None:
    """The address that answered last, also when the name does not resolve any more."""
    return next((mark.probe.ip for mark in reversed(view.series.marks) if mark.probe.ip), None)


def _is_address(target: str) -> bool:
    host = target.split("//", 1)[-1].split("/", 1)[0]
    return host.replace(".", "").isdigit() or host.count(":") > 1
