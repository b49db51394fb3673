"""What is probed, and over what: the schedule's slots, the prober's hand, the link, the ladder.

One thing runs at a time: a probe, or the search for the first hop behind the gateway.
"""

import logging
import random
from collections.abc import Callable
from typing import Any

from agent import linkguess, schedule
from agent.line import Answer, Line, Seen, Wish
from agent.linkguess import Link
from agent.prober import FirstHopFound, ProbeCrashed, Probed, Prober
from agent.targets import Policy, Refused, parse_list
from agent.watch import Listed

log = logging.getLogger("swarming")

FIND_HOP_EVERY_S = 86_400.0  # while it is known
FIND_HOP_AGAIN_S = 3_600.0  # nobody answered
LOOK_EVERY_S = 60.0  # at the link, also while nothing is probed
ASLEEP_S = 120.0  # the loop never waits so long: the box slept, and may be elsewhere now


class Probing:
    """Starts what is due; keeps what it learns of the link and the way out."""

    def __init__(
        self,
        prober: Prober,
        rng: random.Random,
        policy: Policy,
        stated_link: str | None,
        now: float,
        root: str = "/",
    ) -> None:
        self.schedule = schedule.Schedule(now, rng)
        self.paused = False
        self.targets: tuple[str, ...] = ()
        self.first_hop: str | None = None
        self.on_link: Callable[[Link], None] = lambda _: None
        self._prober = prober
        self._policy = policy
        self._busy = False
        self._refused: tuple[Refused, ...] = ()
        self._refused_address: dict[str, dict[str, Any]] = {}
        self._line = Line(stated_link, now, root)
        self._began_on: Seen = self._line.seen
        self._acted_at = now
        self._find_hop_at = now + schedule.SLOT_S  # a crash loop must send nothing

    def follow(self, listed: Listed, now: float) -> None:
        """The list in force from now on."""
        parsed = parse_list(listed.text, policy=self._policy)
        self.targets = tuple(target.text for target in parsed.targets)
        self._refused = parsed.refused
        self._refused_address = {
            text: why for text, why in self._refused_address.items() if text in self.targets
        }
        self.schedule.set_targets(parsed.targets, now)
        if listed.source == "--targets" and not listed.text:
            log.info("no list of targets yet")
        else:
            log.info("watching %d targets from %s", len(self.targets), listed.source)
        for refused in parsed.refused:
            log.warning("refused %s: %s", refused.text, refused.reason)

    def configure(self, policy: Policy, stated_link: str | None, now: float) -> None:
        """What the owner allows, and says of the link, from now on; then ``follow`` the list."""
        self._policy = self._prober.policy = policy
        self._line.stated = stated_link
        self._look_at_link(now)

    @property
    def link(self) -> Link:
        return self._line.link

    def refused(self) -> list[dict[str, Any]]:
        """The words on the list that are not probed, and why."""
        words = [{"target": refused.text, "reason": refused.reason} for refused in self._refused]
        return words + list(self._refused_address.values())

    def act(self, now: float) -> None:
        """Starts what is due, unless something runs or the owner has paused the box."""
        if now - self._acted_at > ASLEEP_S:  # many networks have a gateway of the same address
            self._lose_the_way(now)
            self._line.forget(now)
        self._acted_at = now
        if self._busy:
            return  # its result is of the link that it began on
        if now - self._line.looked_s >= LOOK_EVERY_S:
            self._look_at_link(now)
        if self.paused:
            return
        if now >= self._find_hop_at:
            self._look_at_link(now)
            self._find_hop_at = now + FIND_HOP_AGAIN_S
            self._busy = True
            self._prober.find_first_hop(self._line.gateway)
            return
        probe = self.schedule.next(now)
        if probe is not None:
            self._look_at_link(now)
            self._busy = True
            self._began_on = self._line.seen
            self._prober.submit(probe, self._line.gateway, self.first_hop)

    def wake_s(self, now: float) -> float:
        if self._busy or self.paused:
            return self._line.wake_s(now)
        due_s = min(self.schedule.wake_s(now), self._find_hop_at - now, self._line.wake_s(now))
        return max(0.0, due_s)

    def wish(self, now: float) -> Wish | None:
        """What the observer is to ask the box's tools, if anything is due."""
        return self._line.wish(now, self.first_hop)

    def answered(self, answer: Answer, now: float) -> None:
        """The observer has asked."""
        self._line.answered(answer, now)
        self._look_at_link(now)

    def probed(self, event: Probed, now: float) -> dict[str, Any] | None:
        """A probe has ended: the body of its result, or None when the box slept through it."""
        self._busy = False
        target = event.probe.target
        self.schedule.answered(target, event.body, now)
        body = event.body
        if body is None or (body.get("sent") == 0 and body.get("error") is None):
            return None  # slept, or stopped before it had begun
        if target is not None:
            self._judge_address(target.text, body)
        else:
            self._line.climbed(body, self.first_hop)
        return body | {"link": self._line.as_body(self._began_on, body.get("ip"), now)}

    def found(self, event: FirstHopFound, now: float) -> None:
        self._busy = False
        self.first_hop = event.ip
        self._find_hop_at = now + (FIND_HOP_EVERY_S if event.ip else FIND_HOP_AGAIN_S)

    def crashed(self, event: ProbeCrashed) -> None:
        log.error("%s", event.trace)
        raise event.error

    def _judge_address(self, text: str, body: dict[str, Any]) -> None:
        """Keeps why the address of a target is not probed, for as long as that is so."""
        if body.get("error") != "policy":
            self._refused_address.pop(text, None)
            return
        if text not in self._refused_address:
            log.warning("refused %s at %s: %s", text, body.get("ip"), body.get("detail"))
        why = {"target": text, "reason": body.get("detail"), "ip": body.get("ip")}
        self._refused_address[text] = why

    def _look_at_link(self, now: float) -> None:
        before = self.link
        moved = self._line.look(now)
        if moved:
            self._lose_the_way(now)
        if moved or linkguess.changed(before, self.link):
            log.info("link: %s by %s", self.link.type, self.link.iface or "no interface")
            self.on_link(self.link)

    def _lose_the_way(self, now: float) -> None:
        """What was behind the gateway need not be there now."""
        self.first_hop = None
        self._find_hop_at = now
