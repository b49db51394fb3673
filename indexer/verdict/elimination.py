"""The rules: what a finding must be, and whom it clears.

Start from {me, isp, path, service}; each rule below looks at one kind of evidence and, where it is
fresh and strong enough, strikes parties. What is left is the answer. ``RULES`` is the table; a rule
is a function from a Case to its Evidence, or None when it has nothing to say.

    not_connected       this box itself says that it has no network     isp, path, service
    own_network         the suspect lies in the agent's own network     isp, path
    others_bad          >= 3 other targets elsewhere, >= 60 % bad       path, service
    others_fine         ... <= 34 % bad and >= 34 % fine                me, isp
    no_way_out          nothing at all answers beyond the router        path, service
    outside_bad         other ISPs: >= 2 bad and >= 2 x the fine        me, isp, path
    outside_fine        ... >= 2 fine at my own site, none bad          service
    one_site            my site bad for >= 2 and >= 4 x the fine,
                        other sites fine                                me, isp, path
    mates_bad           my access group, other targets: >= 60 % bad     me
    mates_fine          ... >= 2 mates mostly fine                      isp
    provider_bad        my ISP bad for homes in different places,
                        other ISPs fine                                 me, path, service
    gateway_bad         my router over its own usual                    isp, path, service
    rung_fine           my router (or what is behind it) as usual       me
    first_hop_bad       router as usual, the rung behind it not         path, service
    service_thinks      connects as usual, answers late or with an
                        error, twice                                    me, isp, path
"""

from collections.abc import Callable

from indexer.verdict import votes
from indexer.verdict.answers import ALL, BAD, DOWN, ISP, ME, PATH, SERVICE, SLOW, Evidence
from indexer.verdict.case import ENOUGH_TARGETS, MOSTLY, Case, known_ip
from indexer.verdict.groups import NOT_TOLD
from indexer.verdict.probes import (
    FIRST_HOP,
    GATEWAY,
    NOT_CONNECTED,
    SERVICE_SAID,
    is_own,
    network_of,
    site_of,
)
from indexer.verdict.series import Mark
from indexer.verdict.votes import VOTES_BAD, VOTES_FINE

ENOUGH_ISPS = 2


Rule = Callable[[Case], Evidence | None]


def evidence_of(case: Case) -> tuple[Evidence, ...]:
    """Every finding that the table has about the case."""
    found = (rule(case) for rule in RULES)
    return tuple(evidence for evidence in found if evidence is not None)


def left_over(evidence: tuple[Evidence, ...]) -> frozenset[str]:
    """The parties that nothing strikes."""
    struck: frozenset[str] = frozenset().union(*(one.strikes for one in evidence))
    return ALL - struck


def _not_connected(case: Case) -> Evidence | None:
    picture, agent = case.picture, case.view.agent
    gateway = picture.view(agent, GATEWAY)
    views = [v for t in picture.targets_of(agent) if (v := picture.view(agent, t))]
    errors = [v.series.last.probe.error for v in views if not is_own(v.series.last.probe.ip)]
    if is_own(case.ip) or case.view.state != DOWN:
        return None
    no_router = gateway is not None and gateway.series.last.probe.error in NOT_CONNECTED
    if not no_router and not all(error in NOT_CONNECTED for error in errors):
        return None
    text = "The box itself says that it has no network: no route, or no router."
    return _found("not_connected", text, {ISP, PATH, SERVICE}, targets=len(errors))


def _own_network(case: Case) -> Evidence | None:
    if not is_own(case.ip):
        return None
    text = f"{case.ip} lies in the own network: no provider is on the way."
    return _found("own_network", text, {ISP, PATH})


def _others_bad(case: Case) -> Evidence | None:
    tally = case.tally(case.view.agent)
    if not tally.mostly_bad:
        return None
    text = f"{tally.bad} of {tally.of} other targets, on other networks, are bad too."
    return _found("others_bad", text, {PATH, SERVICE}, **tally._asdict())


def _others_fine(case: Case) -> Evidence | None:
    tally = case.tally(case.view.agent)
    if not tally.mostly_fine:
        return None
    text = f"{tally.fine} of {tally.of} other targets, on other networks, are fine."
    return _found("others_fine", text, {ME, ISP}, **tally._asdict())


def _no_way_out(case: Case) -> Evidence | None:
    """Too few targets for a share, but not one of them answers, and they lie apart."""
    picture, agent = case.picture, case.view.agent
    views = [v for t in picture.targets_of(agent) if (v := picture.view(agent, t))]
    views = [view for view in views if not is_own(view.series.last.probe.ip)]
    silent = [view for view in views if view.state == DOWN and view.series.answered]
    networks = {network_of(known_ip(view)) for view in silent} - {None}
    if (
        len(silent) < len(views)
        or len(networks) < 2
        or any(v.target in picture.common for v in views)
    ):
        return None
    if case.rung(FIRST_HOP) == VOTES_FINE:
        return None
    text = f"None of {len(views)} targets on {len(networks)} networks answers any more."
    return _found("no_way_out", text, {PATH, SERVICE}, targets=len(views), networks=len(networks))


def _outside_bad(case: Case) -> Evidence | None:
    bad, fine = _split(case.outside_votes)
    if bad < ENOUGH_ISPS or bad < 2 * fine:
        return None
    text = f"{bad} of {bad + fine} other providers see it too."
    return _found("outside_bad", text, {ME, ISP, PATH}, bad=bad, fine=fine)


def _outside_fine(case: Case) -> Evidence | None:
    site = site_of(case.ip)
    at_my_site = [ballot for ballot in case.outside if site and ballot.site == site]
    bad, fine = _split(votes.by_isp(at_my_site))
    if fine < ENOUGH_ISPS or bad:
        return None
    text = f"{fine} other providers reach the same address without trouble."
    return _found("outside_fine", text, {SERVICE}, fine=fine, site=site)


def _one_site(case: Case) -> Evidence | None:
    """My site of the service is bad for others too, and its other sites are fine."""
    site = site_of(case.ip)
    here = [ballot for ballot in case.ballots if site and ballot.site == site]
    elsewhere = [ballot for ballot in case.ballots if ballot.site not in (None, site)]
    bad, fine = _homes(here, VOTES_BAD), _homes(here, VOTES_FINE)
    far_bad, far_fine = _split(votes.by_isp(elsewhere))
    outside = any(b.vote == VOTES_BAD and b.isp != case.me.isp for b in here)
    if bad < 2 or bad < 4 * fine or not outside or far_fine < 1 or far_bad:
        return None
    text = (
        f"{bad} of {bad + fine} other homes that are served from {site} see it too; "
        f"at its other addresses it is fine for {_providers(far_fine)}."
    )
    return _found("one_site", text, {ME, ISP, PATH}, bad=bad, fine=fine, site=site)


def _mates_bad(case: Case) -> Evidence | None:
    tallies = [case.tally(mate) for mate in _mates(case)]
    bad, of = sum(tally.bad for tally in tallies), sum(tally.of for tally in tallies)
    if of < ENOUGH_TARGETS or bad / of < MOSTLY:
        return None
    text = f"Neighbours on the same access network have it too: {bad} of {of} targets are bad."
    return _found("mates_bad", text, {ME}, bad=bad, of=of, mates=len(tallies))


def _mates_fine(case: Case) -> Evidence | None:
    fine = sum(case.tally(mate).mostly_fine for mate in _mates(case))
    if fine < 2:
        return None
    text = f"{fine} neighbours on the same access network are fine."
    return _found("mates_fine", text, {ISP}, fine=fine)


def _provider_bad(case: Case) -> Evidence | None:
    if case.me.isp == NOT_TOLD:
        return None
    members = case.picture.members.values()
    mates = [m for m in members if m.isp == case.me.isp and m.home != case.me.home]
    bad = [m for m in mates if case.tally(m.agent).mostly_bad]
    fine = [m for m in mates if case.tally(m.agent).mostly_fine]
    where = {m.place or m.home for m in bad} - {case.me.place}
    if len({m.home for m in bad}) < 2 or not where or len(bad) < 2 * len(fine):
        return None
    outside = {m.isp for m in members if m.isp != case.me.isp and case.tally(m.agent).mostly_fine}
    if len(outside) < ENOUGH_ISPS:
        return None
    text = (
        f"{len(bad)} other customers of {case.me.isp_name or 'this provider'} have it too, at most "
        f"targets; {len(outside)} other providers are fine."
    )
    numbers = {"bad": len(bad), "fine": len(fine), "providers_fine": len(outside)}
    return _found("provider_bad", text, {ME, PATH, SERVICE}, **numbers)


def _gateway_bad(case: Case) -> Evidence | None:
    series = case.picture.rung(case.view.agent, GATEWAY)
    if series is None or case.rung(GATEWAY) != VOTES_BAD:
        return None
    if case.tally(case.view.agent).mostly_fine or not _explains(case, series.last):
        return None
    text = f"The own router answers badly at the same time: {_rung_words(series.last)}."
    return _found("gateway_bad", text, {ISP, PATH, SERVICE}, ms=series.last.probe.ms)


def _rung_fine(case: Case) -> Evidence | None:
    for rung, name in ((GATEWAY, "The own router"), (FIRST_HOP, "The first hop behind it")):
        series = case.picture.rung(case.view.agent, rung)
        if series is not None and case.rung(rung) == VOTES_FINE:
            if case.rung(GATEWAY) == VOTES_BAD:
                return None
            text = f"{name} answers as usual: {_rung_words(series.last)}."
            return _found("rung_fine", text, {ME}, ms=series.last.probe.ms, rung=rung)
    return None


def _first_hop_bad(case: Case) -> Evidence | None:
    series = case.picture.rung(case.view.agent, FIRST_HOP)
    if series is None or case.rung(FIRST_HOP) != VOTES_BAD or case.rung(GATEWAY) != VOTES_FINE:
        return None
    if case.tally(case.view.agent).mostly_fine or not _explains(case, series.last):
        return None
    text = f"The first hop behind the router answers badly: {_rung_words(series.last)}."
    return _found("first_hop_bad", text, {PATH, SERVICE}, ms=series.last.probe.ms)


def _service_thinks(case: Case) -> Evidence | None:
    marks = case.view.series.since(case.view.onset_ms)[-2:]
    if case.view.series.kind != "http" or len(marks) < 2:
        return None
    if all(mark.probe.error in SERVICE_SAID for mark in marks):
        text = "The service itself answered with an error, twice."
    elif all(mark.slow_wait for mark in marks):
        waited = max(mark.probe.wait_ms or 0.0 for mark in marks)
        text = f"It accepts connections as usual, and then takes {waited:.0f} ms to answer."
    else:
        return None
    return _found("service_thinks", text, {ME, ISP, PATH})


RULES: tuple[Rule, ...] = (
    _not_connected,
    _own_network,
    _others_bad,
    _others_fine,
    _no_way_out,
    _outside_bad,
    _outside_fine,
    _one_site,
    _mates_bad,
    _mates_fine,
    _provider_bad,
    _gateway_bad,
    _rung_fine,
    _first_hop_bad,
    _service_thinks,
)


def _found(rule: str, text: str, strikes: set[str], **numbers: object) -> Evidence:
    return Evidence(text, frozenset(strikes), numbers, rule)


def _split(votes_by_isp: dict[str, str]) -> tuple[int, int]:
    said = list(votes_by_isp.values())
    return said.count(VOTES_BAD), said.count(VOTES_FINE)


def _homes(cast: list[votes.Ballot], said: str) -> int:
    return len({ballot.home for ballot in cast if ballot.vote == said})


def _mates(case: Case) -> list[str]:
    """Agents of my access group in other homes."""
    if case.me.access is None:
        return []
    return [
        member.agent
        for member in case.picture.members.values()
        if member.access == case.me.access and member.home != case.me.home
    ]


def _explains(case: Case, rung: Mark) -> bool:
    """A rung 2 ms above its usual does not explain a target that is 200 ms above."""
    if case.effect.state != SLOW or rung.state not in BAD or rung.probe.ms is None:
        return True
    usual = rung.usual_ms or 0.0
    return rung.probe.ms - usual >= case.effect.excess_ms / 4


def _rung_words(mark: Mark) -> str:
    if not mark.probe.ok or mark.probe.ms is None:
        return "no reply"
    words = f"{_ms(mark.probe.ms)}"
    if mark.usual_ms is not None:
        words += f", usually {_ms(mark.usual_ms)}"
    if mark.probe.lost:
        words += f", {mark.probe.lost} of {mark.probe.sent} echoes lost"
    return words


def _ms(value: float) -> str:
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _providers(count: int) -> str:
    return f"{count} other provider" + ("" if count == 1 else "s")
