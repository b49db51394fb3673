"""Many probes of one pair told as one bucket: counts, percentiles, phases, links. Pure.

A Tally is what a roll-up keeps. Tallies add up: the tally of a day is exactly the sum of the
tallies of its hours, which are the sums of their probes, in order of time.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from agent.wire import Result
from indexer.sketch import Sketch
from indexer.store import Bucket

HOUR_S = 3600
LEVELS_S = (HOUR_S, 6 * HOUR_S, 24 * HOUR_S)  # each is made of the one before, the first of raw
PHASES = ("resolve", "connect", "tls", "ttfb", "transfer", "total")
RUNGS = ("gateway", "first_hop")
BUCKET_KINDS = ("icmp", "http", *RUNGS)
MAX_WORDS = 12  # different errors, links, addresses that one bucket remembers
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


class Sample(NamedTuple):
    """What one result adds to the buckets of one kind."""

    kind: str
    ok: bool
    sent: int
    rtts_ms: Sequence[float]
    error: str | None
    phases_ms: dict[str, float]
    link: str | None
    ip: str | None


def samples(body: dict[str, Any]) -> list[Sample]:
    """One for each bucket that a result's body belongs in; none when it is not a probe's."""
    match body.get("kind"):
        case "icmp":
            return [_echoes("icmp", body, body)]
        case "http":
            return [_request(body)]
        case "ladder":
            return [_echoes(rung, body[rung], body) for rung in RUNGS if body.get(rung)]
    return []


def _echoes(kind: str, echoes: dict[str, Any], body: dict[str, Any]) -> Sample:
    rtts = [rtt for rtt in echoes.get("rtts_ms") or () if rtt is not None]
    sent = echoes.get("sent") or len(echoes.get("rtts_ms") or ())
    ok = bool(rtts) if kind in RUNGS else bool(body.get("ok"))
    return Sample(kind, ok, sent, rtts, body.get("error"), {}, _link(body), echoes.get("ip"))


def _request(body: dict[str, Any]) -> Sample:
    """A request counts as received when it was answered, whatever the status said."""
    phases = {
        name: ms
        for name, ms in (body.get("phases_ms") or {}).items()
        if name in PHASES and ms is not None
    }
    answered = body.get("status") is not None and "total" in phases
    total = [phases["total"]] if answered else []
    ok, error = bool(body.get("ok")), body.get("error")
    return Sample("http", ok, 1, total, error, phases, _link(body), body.get("ip"))


def _link(body: dict[str, Any]) -> str | None:
    kind = (body.get("link") or {}).get("type")
    return kind if isinstance(kind, str) else None


class Tally:
    """The sum of samples of one (agent, target, kind)."""

    __slots__ = (
        "count", "errors", "ips", "links", "max_ms", "min_ms", "ok", "phases", "received",
        "rtts", "sent",
    )  # fmt: skip

    def __init__(self) -> None:
        self.count = self.ok = self.sent = self.received = 0
        self.min_ms: float | None = None
        self.max_ms: float | None = None
        self.rtts = Sketch()
        self.errors: dict[str, int] = {}
        self.phases: dict[str, Sketch] = {}
        self.links: dict[str, None] = {}  # as ordered sets
        self.ips: dict[str, None] = {}

    def add(self, sample: Sample) -> None:
        self.count += 1
        self.ok += sample.ok
        self.sent += sample.sent
        self.received += len(sample.rtts_ms)
        if sample.rtts_ms:
            self.rtts.extend(sample.rtts_ms)
            self._span(min(sample.rtts_ms), max(sample.rtts_ms))
        for name, ms in sample.phases_ms.items():
            self.phases.setdefault(name, Sketch()).add(ms)
        if sample.error:
            self._error(sample.error[:64], 1)
        if sample.link:
            _remember(self.links, (sample.link[:64],))
        if sample.ip:
            _remember(self.ips, (sample.ip[:64],))

    def merge(self, later: "Tally") -> None:
        """As if the later samples had been added here."""
        self.count += later.count
        self.ok += later.ok
        self.sent += later.sent
        self.received += later.received
        self.rtts.merge(later.rtts)
        if later.min_ms is not None and later.max_ms is not None:
            self._span(later.min_ms, later.max_ms)
        for name, sketch in later.phases.items():
            self.phases.setdefault(name, Sketch()).merge(sketch)
        for word, count in later.errors.items():
            self._error(word, count)
        _remember(self.links, later.links)
        _remember(self.ips, later.ips)

    def _span(self, low: float, high: float) -> None:
        self.min_ms = low if self.min_ms is None else min(self.min_ms, low)
        self.max_ms = high if self.max_ms is None else max(self.max_ms, high)

    def _error(self, word: str, count: int) -> None:
        if word not in self.errors and len(self.errors) >= MAX_WORDS:
            word = "other"
        self.errors[word] = self.errors.get(word, 0) + count

    def percentiles(self) -> list[float | None]:
        """p10, p25, median, p75, p90, never outside what was seen."""
        low, high = self.min_ms, self.max_ms
        if low is None or high is None:
            return [None] * len(QUANTILES)
        found = self.rtts.quantiles(*QUANTILES)
        return [None if q is None else round(min(max(q, low), high), 3) for q in found]

    def phase_medians(self) -> dict[str, float]:
        medians = {name: self.phases[name].quantile(0.5) for name in PHASES if name in self.phases}
        return {name: round(ms, 3) for name, ms in medians.items() if ms is not None}

    def sketches(self) -> bytes:
        """What cannot be read off a bucket, to be kept beside it: rtts, then each phase."""
        parts = [self.rtts, *(self.phases.get(name, Sketch()) for name in PHASES)]
        packed = [part.to_bytes() for part in (parts if self.phases else parts[:1])]
        return b"".join(len(part).to_bytes(2, "little") + part for part in packed)


def _remember(words: dict[str, None], more: Iterable[str]) -> None:
    for word in more:
        if len(words) < MAX_WORDS:
            words[word] = None


def bucket(agent: str, target: str, kind: str, start_ms: int, step_s: int, total: Tally) -> Bucket:
    """What a reader sees of a tally."""
    p10, p25, median, p75, p90 = total.percentiles()
    return Bucket(
        agent, target, kind, start_ms, step_s,
        total.count, total.ok, total.sent, total.received,
        total.min_ms, p10, p25, median, p75, p90, total.max_ms,
        total.errors, total.phase_medians(), tuple(total.links), tuple(total.ips),
    )  # fmt: skip


def tally_of(told: Bucket, sketches: bytes) -> Tally:
    """The tally that this bucket and these sketches were made of."""
    total = Tally()
    total.count, total.ok = told.count, told.ok
    total.sent, total.received = told.sent, told.received
    total.min_ms, total.max_ms = told.min_ms, told.max_ms
    total.errors = dict(told.errors)
    total.links, total.ips = dict.fromkeys(told.links), dict.fromkeys(told.ips)
    total.rtts, *phases = _unpacked(sketches)
    total.phases = {
        name: sketch for name, sketch in zip(PHASES, phases, strict=False) if sketch.counts
    }
    return total


def _unpacked(sketches: bytes) -> list[Sketch]:
    parts = []
    while sketches:
        end = 2 + int.from_bytes(sketches[:2], "little")
        parts.append(Sketch.from_bytes(sketches[2:end]))
        sketches = sketches[end:]
    return parts


def tallies(bodies: Iterable[dict[str, Any]]) -> dict[str, Tally]:
    """Bodies of one (agent, target) by time, as one tally for each kind of bucket."""
    found: dict[str, Tally] = {}
    for body in bodies:
        for sample in samples(body):
            found.setdefault(sample.kind, Tally()).add(sample)
    return found


def from_raw(results: Iterable[Result], step_s: int) -> list[Bucket]:
    """Results by time, as buckets of this step; unsynced ones are left out."""
    step_ms = step_s * 1000
    found: dict[tuple[str, str, str, int], Tally] = {}
    for result in results:
        if result.clock != "unsynced":
            start_ms = result.time_ms // step_ms * step_ms
            for sample in samples(result.body):
                key = (result.agent, result.body["target"], sample.kind, start_ms)
                found.setdefault(key, Tally()).add(sample)
    return [bucket(*key, step_s, total) for key, total in found.items()]


def merged(kept: Iterable[tuple[Bucket, bytes]]) -> dict[str, Tally]:
    """Roll-ups of one (agent, target) by time, as one tally for each kind."""
    found: dict[str, Tally] = {}
    for told, sketches in kept:
        found.setdefault(told.kind, Tally()).merge(tally_of(told, sketches))
    return found


def from_rollups(kept: Iterable[tuple[Bucket, bytes]], step_s: int) -> list[Bucket]:
    """Shorter buckets with their sketches, by time, as buckets of this longer step."""
    step_ms = step_s * 1000
    found: dict[tuple[str, str, str, int], Tally] = {}
    for told, sketches in kept:
        start_ms = told.start_ms // step_ms * step_ms
        key = (told.agent, told.target, told.kind, start_ms)
        found.setdefault(key, Tally()).merge(tally_of(told, sketches))
    return [bucket(*key, step_s, total) for key, total in found.items()]


def level(step_s: int) -> int | None:
    """The longest roll-up that this step is a multiple of; None: it needs raw."""
    return next((kept for kept in reversed(LEVELS_S) if step_s % kept == 0), None)
