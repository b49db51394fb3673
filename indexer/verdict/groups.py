"""Who is independent of whom: homes, access groups, providers. Pure.

What is measured (the hash of the first hop's prefix) goes before what an owner declared: agents of
one access group are of one provider, whatever they call it. Agents behind a VPN are a group of
their own, because their provider is not what they measure. Two agents of one access group and one
place are one home, and one vote. Agents of which nothing is known are one provider together: they
may well sit on one shelf.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from indexer.verdict.probes import link_type

NOT_TOLD = "not told"
VPN = "VPN"


class AgentFacts(Protocol):
    """What is read of the store's record of an agent."""

    @property
    def agent(self) -> str: ...

    @property
    def facts(self) -> Mapping[str, Any]: ...

    @property
    def seen_ms(self) -> int: ...

    @property
    def here(self) -> bool: ...


class Member(NamedTuple):
    """Where one agent sits."""

    agent: str
    isp: str  # the key that votes are counted by
    isp_name: str | None  # for people; None: not known
    access: str | None
    place: str | None
    home: str
    link: str


def members(records: Iterable[AgentFacts], links: Mapping[str, str]) -> dict[str, Member]:
    """Each agent's place in the groups; ``links``: the type in each agent's newest result."""
    drafts = {record.agent: _draft(record.agent, record.facts, links) for record in records}
    for agent in links:
        drafts.setdefault(agent, _draft(agent, {}, links))
    names = _names_of_groups(drafts.values())
    return {agent: _settled(draft, names) for agent, draft in drafts.items()}


def _draft(agent: str, facts: Mapping[str, Any], links: Mapping[str, str]) -> Member:
    link = links.get(agent) or link_type(facts.get("link"))
    access, place = _word(facts.get("access_group")), _word(facts.get("place"))
    isp = VPN if link == "vpn" else _word(facts.get("isp"))
    home = f"{access}\n{place.casefold()}" if access and place else agent
    return Member(agent, "", isp, access, place, home, link)


def _names_of_groups(drafts: Iterable[Member]) -> dict[str, str]:
    """What most members of each access group call their provider."""
    counts: dict[str, Counter[str]] = {}
    for draft in drafts:
        if draft.access and draft.isp_name and draft.isp_name != VPN:
            counts.setdefault(draft.access, Counter())[draft.isp_name] += 1
    return {
        access: min(names, key=lambda name: (-names[name], name))
        for access, names in counts.items()
    }


def _settled(draft: Member, names: Mapping[str, str]) -> Member:
    name = draft.isp_name
    if name != VPN and draft.access in names:
        name = names[draft.access or ""]
    if name:
        return draft._replace(isp=name.casefold(), isp_name=name)
    return draft._replace(isp=f"group {draft.access}" if draft.access else NOT_TOLD)


def _word(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
