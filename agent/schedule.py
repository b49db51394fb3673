"""Who is probed next, and when; nothing that arrives can make it faster than the constants below.

The rules, all of them pure functions of the times that the caller passes (seconds of one clock that
never steps, such as the boot clock):

- One probe at a time. A slot begins at least SLOT_S after the one before, plus up to JITTER_S at
  random; a start waits a slot first; a slot with nobody due counts.
- A ladder probe after every three other slots, and in the slot after an unusual result.
- All other slots: a shuffled round robin over the list, the same host at most once in HOST_GAP_S.
- ``look`` moves targets of the own list to the head, in at most every second slot.
- ``swarm`` and answers of 429 only make the gaps of a target longer, and end after an hour.
- A budget only makes slots longer (``stretch``).
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from agent.targets import Target

SLOT_S = 10.0  # start to start, at least
JITTER_S = 5.0  # and up to so much more, at random
HOST_GAP_S = 60.0  # between two probes of one host
LADDER_EVERY = 4  # slots
ECHOES = 10  # of an ICMP probe
LADDER_ECHOES = 5  # to each of the two rungs
ECHO_GAP_S = 1.0
ECHO_TIMEOUT_S = 5.0
HTTP_TIMEOUT_S = 15.0
HTTP_BODY_BYTES = 64 * 1024
MAX_TARGETS = 64
LOOK_TARGETS = 3
LOOK_S = 300.0
SWARM_S = 3600.0
SLOWEST_S = 3600.0  # nothing but a budget makes a target wait longer than this
HALVED_S = 3600.0
URL_CYCLE = 4  # visits, the last of which is ICMP to the URL's host

_REMEMBERED = 16  # results of a target and kind, to tell what is usual
_BUSY_WAKE_S = 60.0  # while a probe runs its end wakes the caller
_UNUSUAL_FACTOR = 1.5
_UNUSUAL_MS = 5.0


class Probe(NamedTuple):
    kind: str  # "icmp" | "http" | "ladder"
    target: Target | None  # None for the ladder
    visit: int  # how many probes of this kind the target had before, in this run


class _Visited:
    """What this run knows of one target. It outlives a removal from the list by SLOWEST_S."""

    def __init__(self, now: float, share: float) -> None:
        self.listed_at = now
        self.share = share  # uniform(0, 1): its part of the wait of a new target
        self.visits = 0
        self.by_kind: dict[str, int] = {}
        self.last_s: float | None = None
        self.halved_until_s = now
        self.past: dict[str, list[tuple[bool, float | None]]] = {}
        self.was_unusual: dict[str, bool] = {}


class _Looked(NamedTuple):
    since_s: float
    share: float  # as of a new target: the swarm must not come at once
    until_s: float


class Schedule:
    """The slots of one run. Ask ``next`` when ``wake_s`` has passed; tell the end of each probe."""

    def __init__(self, now: float, rng: Random) -> None:
        self._rng = rng
        self._targets: dict[str, Target] = {}
        self._visited: dict[str, _Visited] = {}
        self._host_last_s: dict[str, float] = {}
        self._round: list[str] = []
        self._look: dict[str, _Looked] = {}
        self._agents: dict[str, int] = {}
        self._swarm_until_s = now
        self._slot_at_s = now
        self._jitter_s = rng.uniform(0, JITTER_S)
        self._stretch_s = SLOT_S
        self._running = False
        self._unusual = False
        self._since_ladder = LADDER_EVERY - 1  # the first probe tells about the own line
        self._since_look = 1

    # What arrives

    def set_targets(self, targets: Sequence[Target], now: float) -> None:
        """The list in force from now on. A target that stays keeps its turn."""
        listed = {target.text: target for target in targets[:MAX_TARGETS]}
        for text in listed:
            known = self._visited.get(text)
            if known is None:
                self._visited[text] = _Visited(now, self._rng.random())
            elif text not in self._targets:
                known.listed_at = now
        self._targets = listed
        self._round = [text for text in self._round if text in listed]
        self._forget(now)

    def look(self, texts: Sequence[str], now: float) -> None:
        """These targets first, for LOOK_S, as far as they are on the list."""
        before = self._looking(now)
        self._look = {}
        for text in texts[:LOOK_TARGETS]:
            new = _Looked(now, self._rng.random(), 0.0)
            self._look[text] = before.get(text, new)._replace(until_s=now + LOOK_S)

    def swarm(self, agents: Mapping[str, int], now: float) -> None:
        """So many agents probe each target: together at most one probe a second towards it."""
        self._agents = dict(agents)
        self._swarm_until_s = now + SWARM_S

    def stretch(self, slot_s: float) -> None:
        """What the budget asks for: slots of at least ``slot_s``, never shorter than SLOT_S."""
        self._stretch_s = max(SLOT_S, slot_s)

    def answered(self, target: Target | None, body: Mapping[str, Any] | None, now: float) -> None:
        """The running probe has ended with this result; None: it was dropped."""
        self._running = False
        if target is None or body is None:
            return
        visited = self._visited.get(target.text)
        if visited is None:
            return
        if body.get("status") == 429 or body.get("retry_after_s") is not None:
            visited.halved_until_s = now + HALVED_S
        if _is_unusual(visited, body):
            self._unusual = True

    # What is due

    def wake_s(self, now: float) -> float:
        """How long the caller may sleep before it asks ``next`` again."""
        if self._running:
            return _BUSY_WAKE_S
        return max(0.0, self._due_s() - now)

    def next(self, now: float) -> Probe | None:
        """The probe to start now. None: not yet, or this slot has nobody due."""
        if self._running or now < self._due_s():
            return None
        self._slot_at_s = now
        self._jitter_s = self._rng.uniform(0, JITTER_S)
        if self._unusual or self._since_ladder >= LADDER_EVERY - 1:
            self._unusual = False
            self._since_ladder = 0
            self._since_look += 1
            self._running = True
            return Probe("ladder", None, 0)
        self._since_ladder += 1
        text = self._pick(now)
        return None if text is None else self._visit(self._targets[text], now)

    def _due_s(self) -> float:
        return self._slot_at_s + self._stretch_s + self._jitter_s

    def _visit(self, target: Target, now: float) -> Probe:
        visited = self._visited[target.text]
        http = target.kind == "url" and visited.visits % URL_CYCLE != URL_CYCLE - 1
        kind = "http" if http else "icmp"
        visit = visited.by_kind.get(kind, 0)
        visited.by_kind[kind] = visit + 1
        visited.visits += 1
        visited.last_s = now
        self._host_last_s[_host(target)] = now
        self._running = True
        if target.text in self._round:
            self._round.remove(target.text)
        return Probe(kind, target, visit)

    def _pick(self, now: float) -> str | None:
        if self._since_look >= 1:
            for text, looked in self._looking(now).items():
                waited = now - looked.since_s >= looked.share * self._spread_s(text, now)
                if waited and text in self._targets and self._is_due(text, now):
                    self._since_look = 0
                    return text
        self._since_look += 1
        due = self._first_due(now)
        if due is None:  # a new round; whoever was left of the old one stays in front
            rest = [text for text in self._targets if text not in self._round]
            self._rng.shuffle(rest)
            self._round += rest
            due = self._first_due(now)
        return due

    def _first_due(self, now: float) -> str | None:
        return next((text for text in self._round if self._is_due(text, now)), None)

    def _is_due(self, text: str, now: float) -> bool:
        visited = self._visited[text]
        host_last_s = self._host_last_s.get(_host(self._targets[text]))
        if host_last_s is not None and now - host_last_s < HOST_GAP_S:
            return False
        if now - visited.listed_at < visited.share * self._spread_s(text, now):
            return False
        return visited.last_s is None or now - visited.last_s >= self._gap_s(text, now)

    def _gap_s(self, text: str, now: float) -> float:
        """Between two probes of this target, at least."""
        agents = self._counts(now).get(text, 0)
        gap_s = max(HOST_GAP_S, min(float(agents), SLOWEST_S))
        if now < self._visited[text].halved_until_s:
            gap_s = 2 * max(gap_s, self._round_s())
        return gap_s

    def _round_s(self) -> float:
        """What one round over the list takes, the ladder's slots included."""
        slot_s = self._stretch_s + JITTER_S / 2
        return len(self._targets) * slot_s * LADDER_EVERY / (LADDER_EVERY - 1)

    def _spread_s(self, text: str, now: float) -> float:
        """Over so long the agents spread their first probe of a new target.

        One that nobody has counted yet is new to all: as many as the most probed target has.
        """
        counts = self._counts(now)
        agents = counts.get(text, max(counts.values(), default=0))
        return min(max(SLOT_S, float(agents)), SLOWEST_S)

    def _counts(self, now: float) -> dict[str, int]:
        return self._agents if now < self._swarm_until_s else {}

    def _looking(self, now: float) -> dict[str, _Looked]:
        return {text: looked for text, looked in self._look.items() if now < looked.until_s}

    def _forget(self, now: float) -> None:
        """Drop what no rule needs any more, so that changing lists cannot fill the memory."""
        old = now - 2 * SLOWEST_S
        for text in [text for text in self._visited if text not in self._targets]:
            last_s = self._visited[text].last_s
            if last_s is None or last_s < old:
                del self._visited[text]
        self._host_last_s = {host: at for host, at in self._host_last_s.items() if at >= old}


def _host(target: Target) -> str:
    """A URL and its host count as one."""
    return target.host.lower().rstrip(".")


def _is_unusual(visited: _Visited, body: Mapping[str, Any]) -> bool:
    """Bad against this target's own past, and the result before was not: once per onset."""
    kind = str(body.get("kind"))
    past = visited.past.setdefault(kind, [])
    ok, ms = body.get("ok") is True, _milliseconds(body)
    bad = _is_bad(ok, ms, past) or (ok and _lost(body) >= 2)
    past.append((ok, ms))
    del past[:-_REMEMBERED]
    onset = bad and not visited.was_unusual.get(kind, False)
    visited.was_unusual[kind] = bad
    return onset


def _is_bad(ok: bool, ms: float | None, past: Sequence[tuple[bool, float | None]]) -> bool:
    if not ok:
        return True
    usual = [was_ms for was_ok, was_ms in past if was_ok and was_ms is not None]
    if ms is None or len(usual) < 3:
        return False
    middle_ms = _median(usual)
    return ms > max(middle_ms * _UNUSUAL_FACTOR, middle_ms + _UNUSUAL_MS)


def _milliseconds(body: Mapping[str, Any]) -> float | None:
    phases_ms = body.get("phases_ms")
    if isinstance(phases_ms, Mapping):
        total_ms = phases_ms.get("total")
        return float(total_ms) if total_ms is not None else None
    rtts_ms = [float(rtt_ms) for rtt_ms in body.get("rtts_ms") or () if rtt_ms is not None]
    return _median(rtts_ms) if rtts_ms else None


def _median(numbers: Sequence[float]) -> float:
    """Of at least one. The statistics module costs a small box 0.7 MB."""
    ordered = sorted(numbers)
    half = len(ordered) // 2
    return (ordered[half] + ordered[-half - 1]) / 2


def _lost(body: Mapping[str, Any]) -> int:
    return int(body.get("sent") or 0) - int(body.get("received") or 0)
