"""The states of one agent's probes of one target, of one kind and family, in order. Pure.

    no reply, or a failed request                         down
    half of one probe's echoes lost, or 4 of the last 30
    and well above the usual loss                         lossy
    the mean of three above the baseline's threshold,
    or (until 12 probes) above an absolute limit          slow
    else                                                  fine

A bad stretch may hold one fine probe: congestion comes and goes. "down" begins a stretch of its
own, so that peers who looked before it are asked again.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from indexer.verdict.answers import BAD, DOWN, FINE, LOSSY, SLOW
from indexer.verdict.baseline import LEAST_MS, Baselines, Usual, key_of
from indexer.verdict.probes import FIRST_HOP, GATEWAY, Probe, log_ms

# The cold start: what is slow whoever you are. ms of one median echo, by link.
SLOW_MS = {
    "gprs": 2500.0,
    "edge": 2000.0,
    "gsm": 2000.0,
    "umts": 1200.0,
    "hspa": 1000.0,
    "mobile": 1200.0,
    "satellite": 1300.0,
}
SLOW_ECHO_MS = 900.0  # a satellite behind the home's Wi-Fi takes 650
SLOW_PAGE_MS = 6000.0
SLOW_RUNG_MS = {GATEWAY: 100.0, FIRST_HOP: 750.0}
SLOW_WAIT_MS = 2000.0  # to a page's first byte, less one RTT

LOST_AT_ONCE = 0.5
LOST_POOLED = 0.10
LOST_LEAST = 4


class Mark(NamedTuple):
    """One probe and the state it left its series in."""

    probe: Probe
    state: str
    usual_ms: float | None
    limit_ms: float  # the mean of three above this is slow
    usual_loss: float = 0.0
    slow_wait: bool = False  # HTTP: the first byte took unusually long after a normal connect


class Series:
    """All marks of one (agent, target, kind, family), oldest first."""

    __slots__ = ("kind", "family", "marks", "answered")

    def __init__(self, kind: str, family: int | None, marks: list[Mark]) -> None:
        self.kind = kind
        self.family = family
        self.marks = marks
        self.answered = any(mark.probe.ok for mark in marks)

    @property
    def last(self) -> Mark:
        return self.marks[-1]

    @property
    def state(self) -> str:
        return self.marks[-1].state

    def since(self, onset_ms: int) -> list[Mark]:
        """The marks of probes begun at or after the onset."""
        marks = self.marks
        first = len(marks)
        while first and marks[first - 1].probe.begun_ms >= onset_ms:
            first -= 1
        return marks[first:]

    def stretch(self) -> list[Mark]:
        """The marks of the present state: bad ones may hold single fine ones."""
        if self.state not in BAD:
            return self._back(lambda state: state == FINE, patience=0)
        if self.state == DOWN:
            return self._back(lambda state: state == DOWN, patience=0)
        return self._back(lambda state: state in (SLOW, LOSSY), patience=1)

    def _back(self, belongs: Callable[[str], bool], patience: int) -> list[Mark]:
        first, misses = len(self.marks) - 1, 0
        for index in range(len(self.marks) - 1, -1, -1):
            if belongs(self.marks[index].state):
                first, misses = index, 0
            elif (misses := misses + 1) > patience:
                break
        return self.marks[first:]

    def gap_ms(self) -> float:
        """The usual time between two of its probes."""
        if len(self.marks) < 2:
            return 0.0
        first, last = self.marks[0].probe.begun_ms, self.marks[-1].probe.begun_ms
        return (last - first) / (len(self.marks) - 1)


def walk(agent: str, probes: Iterable[Probe], baselines: Baselines) -> list[Mark]:
    """The marks of these probes, oldest first; what is fine is taken into the baselines."""
    marks: list[Mark] = []
    recent: list[Probe] = []
    deviations: dict[Usual, list[float]] = {}
    held: tuple[Usual, Probe] | None = None
    for probe in probes:
        usual = baselines.get(key := key_of(agent, probe))
        if usual is None:
            usual = baselines[key] = Usual()
        recent = [*recent[-2:], probe]
        mark = _mark(probe, recent, usual, deviations.setdefault(usual, []))
        if mark.state == FINE:
            if held is not None and held[0] is usual:
                usual.accept(held[1])
            usual.accept(probe)
        elif mark.state == SLOW and probe.ok and not usual.known:
            usual.accept(probe)  # nothing is usual yet: this may well be a slow kind of line
        # One bad probe between fine ones is how this line is; two in a row are a trouble.
        alone = mark.state in (SLOW, LOSSY) and probe.ok and marks and marks[-1].state == FINE
        held = (usual, probe) if alone and usual.known else None
        marks.append(mark)
    return marks


def _mark(probe: Probe, recent: list[Probe], usual: Usual, deviations: list[float]) -> Mark:
    limit = _limit_ms(probe, usual)
    slow_wait = probe.kind == "http" and _waits_long(probe, usual)
    if usual.known and probe.ms is not None and not probe.retried:
        deviations.append(log_ms(probe.ms) - usual.centre)
        del deviations[:-3]
    if not probe.ok:
        state = SLOW if probe.error == "too_slow" else DOWN
    elif _is_lossy(recent, usual):
        state = LOSSY
    elif _is_slow(probe, usual, limit, deviations):
        state = SLOW
    else:
        state = FINE
    return Mark(probe, state, usual.ms, limit, usual.loss, slow_wait)


def _is_slow(probe: Probe, usual: Usual, limit_ms: float, deviations: list[float]) -> bool:
    if probe.ms is None or probe.retried:
        return False
    if not usual.known:
        return probe.ms > limit_ms
    last = deviations[-1]
    above = sum(deviations) / len(deviations) > usual.threshold and last > usual.threshold / 2
    return above and probe.ms - math.exp(usual.centre) > LEAST_MS


def _is_lossy(recent: list[Probe], usual: Usual) -> bool:
    last = recent[-1]
    if last.kind == "http":
        return sum(probe.retried for probe in recent) >= 2
    if last.sent and last.lost / last.sent >= max(LOST_AT_ONCE, 2 * usual.loss):
        return last.lost >= 3
    lost = sum([probe.lost for probe in recent])
    if lost < LOST_LEAST:
        return False
    sent = sum([probe.sent for probe in recent])
    return lost / sent >= max(LOST_POOLED, 3 * usual.loss)


def _limit_ms(probe: Probe, usual: Usual) -> float:
    if usual.known:
        return math.exp(usual.centre + usual.threshold)
    if probe.kind == "http":
        return SLOW_PAGE_MS
    absolute = SLOW_MS.get(probe.link, SLOW_ECHO_MS)
    if probe.kind == "rung" and probe.target in SLOW_RUNG_MS and probe.link not in SLOW_MS:
        return SLOW_RUNG_MS[probe.target]
    return absolute


def _waits_long(probe: Probe, usual: Usual) -> bool:
    """The connection opened as usual and the first byte did not come: the service thinks."""
    if probe.wait_ms is None or probe.retried:
        return False
    known = usual.wait_ms
    return probe.wait_ms > (SLOW_WAIT_MS if known is None else max(2.0 * known, known + 300.0))
