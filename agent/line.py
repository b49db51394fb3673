"""The line that this box is on, followed: the look that is cheap, and what the tools said last.

The loop looks at files before each probe, so a change of route or interface is in the very next
result. What needs a tool is asked by the observer, on its own thread, whenever ``wish`` says so:
at the start, when the way out is another, every ten minutes; and on mobile links every minute, but
then only the sources that had something to say, for LTE may fall to EDGE.
"""

from collections import deque
from ipaddress import ip_address
from typing import Any, NamedTuple

from agent import link, linkguess
from agent.link import outside, routes
from agent.link.modem import Modem
from agent.linkguess import Link

ASK_EVERY_S = 600.0
ASK_MOBILE_EVERY_S = 50.0  # known within 60 s, whatever the tool takes
_AGAIN_S = 60.0  # a mobile link that nobody knows: ModemManager may still be looking for its modem
_ECHOES = 100  # of the ladder, that tell what is behind the gateway


class Wish(NamedTuple):
    """What the observer is to ask."""

    sources: frozenset[str] | None  # None: everybody
    first_hop: str | None  # it wants this one's name, too


class Answer(NamedTuple):
    """What the tools said, and the name of the first hop."""

    wish: Wish
    said: link.Said
    name: str | None
    ended_s: float  # boot clock


class Seen(NamedTuple):
    """The link at one moment, and where it leads: what a probe that begins now is told of."""

    link: Link
    facts: link.Facts
    table: tuple[routes.Route, ...]
    since_s: float  # when the source of the link's type was asked

    @property
    def way_out(self) -> str | None:
        """By its whole name: what is shown leaves out addresses, by which sticks differ."""
        return self.facts.routes[0].iface if self.facts.routes else None


class Line:
    """What is known of the line. ``look`` and ``answered`` change it, ``wish`` says what is due."""

    def __init__(self, stated: str | None, now: float, root: str = "/") -> None:
        self.stated = stated
        self._root = root
        self._said: dict[str, tuple[Modem, ...]] = {}
        self._said_s = now
        self._asking: Wish | None = None
        self._all_at = self._some_at = now
        self._again_s = _AGAIN_S
        self._moved = False  # since the wish
        self._name: str | None = None  # of the first hop
        self._named: str | None = None  # the first hop that has been asked for
        self._gateway_ms: deque[float] = deque(maxlen=_ECHOES)
        self._first_hop_ms: deque[float] = deque(maxlen=_ECHOES)
        self.gateway: str | None = None
        self.looked_s = now
        self.seen = self._see(now)

    @property
    def link(self) -> Link:
        return self.seen.link

    # The look

    def look(self, now: float) -> bool:
        """Reads the files again; whether the way out is another one than before."""
        before = self.gateway, self.seen.way_out
        self.seen = self._see(now)
        self.looked_s = now
        if (self.gateway, self.seen.way_out) == before:
            return False
        self.forget(now)
        self.seen = self._see(now)
        return True

    def forget(self, now: float) -> None:
        """What was behind the gateway need not be there now; the tools are asked anew."""
        self._all_at = now
        self._moved = True
        self._name = self._named = None
        self._gateway_ms.clear()
        self._first_hop_ms.clear()

    def _see(self, now: float) -> Seen:
        gateways = routes.gateway(self._root)
        route = gateways.get(4) or gateways.get(6)
        self.gateway = route.address if route is not None else None
        hint = outside.judge(self._name, self._gateway_ms, self._first_hop_ms)
        modems = tuple(modem for modems in self._said.values() for modem in modems)
        bare = link.gather(self._root)
        facts = bare._replace(modems=modems, outside=hint)
        guess = linkguess.guess(facts, self.stated)
        told = guess != linkguess.guess(bare._replace(outside=hint), self.stated)
        return Seen(guess, facts, routes.table(self._root), self._said_s if told else now)

    # The tools

    def wish(self, now: float, first_hop: str | None = None) -> Wish | None:
        """What is to be asked now, if anything; it counts as being asked from here on."""
        if self._asking is not None:
            return None
        hop = first_hop if outside.is_providers(first_hop) and first_hop != self._named else None
        if now >= self._all_at:
            self._asking = Wish(None, hop)
        elif self.link.metered and self._said and now >= self._some_at:
            self._asking = Wish(frozenset(self._said), hop)
        elif hop is not None:
            self._asking = Wish(frozenset(), hop)
        self._moved = False
        return self._asking

    def wake_s(self, now: float) -> float:
        """Until something may be due."""
        if self._asking is not None:
            return ASK_EVERY_S
        mobile = self.link.metered and self._said
        return max(0.0, (min(self._all_at, self._some_at) if mobile else self._all_at) - now)

    def answered(self, answer: Answer, now: float) -> None:
        """The observer is back. If the box has moved meanwhile, it is sent again at once."""
        self._asking = None
        sources, said = answer.wish.sources, answer.said
        if answer.wish.first_hop is not None and not self._moved:
            self._named, self._name = answer.wish.first_hop, answer.name
        silent = sources is not None and not sources <= said.modems.keys()
        if sources is None or (sources and not silent):  # who is silent is heard again, with all
            self._said, self._said_s = said.modems, answer.ended_s - said.age_s
        self._some_at = now + ASK_MOBILE_EVERY_S
        if sources is None:
            self._all_at = now if self._moved else now + self._until_all_s()
        elif silent:
            self._all_at = now

    def _until_all_s(self) -> float:
        known = any(said.generation for modems in self._said.values() for said in modems)
        if known or not self.link.metered:
            self._again_s = _AGAIN_S
            return ASK_EVERY_S
        wait_s, self._again_s = self._again_s, min(2 * self._again_s, ASK_EVERY_S)
        return wait_s

    # What results are told

    def climbed(self, body: dict[str, Any], first_hop: str | None) -> None:
        """The ladder's times: how far the first hop is tells a little of the line outside."""
        if outside.is_providers(first_hop):
            for name, times in (("gateway", self._gateway_ms), ("first_hop", self._first_hop_ms)):
                rung = body.get(name) or {}
                times.extend(rtt for rtt in rung.get("rtts_ms", ()) if rtt is not None)

    def as_body(self, seen: Seen, ip: str | None, now: float) -> dict[str, Any]:
        """The link of a result whose probe began when this was ``seen``, and went to ``ip``."""
        iface = None if ip is None else _toward(seen, ip)
        if iface is None or iface == seen.way_out:
            return seen.link.as_body(int(now - seen.since_s))
        other = linkguess.guess(seen.facts, self.stated, iface)
        return other.as_body(int(now - seen.since_s))


def _toward(seen: Seen, ip: str) -> str | None:
    """The interface towards this address; its own loopback is in no table."""
    return "lo" if ip_address(ip).is_loopback else routes.toward(seen.table, ip)
