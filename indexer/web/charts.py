"""Buckets become what a chart draws, the sentence that says the same, and a short table. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from agent.wire import ERRORS, Result
from indexer.store import Bucket
from indexer.verdict.sentences import ms

_HOUR_S, _DAY_S = 3600, 86_400
PHASES = ("resolve", "connect", "tls", "ttfb", "transfer")
_MARKS = 12  # more changes than that are told in words, not drawn
_ROWS = 12
_NOTHING = Bucket(
    *("", "", "", 0, 0, 0, 0, 0, 0), *(None, None, None, None, None, None, None), {}, {}, (), ()
)
_GAP_S = 900  # the line breaks where nothing was measured for longer
NAMES = {
    "icmp": "Ping",
    "http": "HTTP request",
    "gateway": "Ping to the router",
    "first_hop": "Ping to the provider",
}


class Range(NamedTuple):
    """A stretch of time that ends now, and how finely it is drawn."""

    word: str
    label: str
    length_s: int
    step_s: int
    swarm_step_s: int  # when all agents are asked for at once


RANGES = {
    one.word: one
    for one in (
        Range("1h", "hour", _HOUR_S, 120, 300),
        Range("6h", "6 hours", 6 * _HOUR_S, 300, 3600),
        Range("24h", "24 hours", _DAY_S, 900, 3600),
        Range("7d", "7 days", 7 * _DAY_S, 3600, 21_600),
        Range("30d", "30 days", 30 * _DAY_S, 21_600, 86_400),
        Range("90d", "90 days", 90 * _DAY_S, 86_400, 86_400),
    )
}
DEFAULT_RANGE = "6h"


class Mark(NamedTuple):
    """A change of link or address, and when."""

    at_s: int
    text: str


class Row(NamedTuple):
    """One line of the table that says what the chart shows."""

    start_ms: int
    median_ms: float | None
    low_ms: float | None
    high_ms: float | None
    loss_pct: float | None
    probes: int


class Chart(NamedTuple):
    """One agent's view of one target, of one kind, over a range."""

    agent: str
    target: str
    kind: str
    title: str
    sentence: str
    step_s: int
    since_s: int
    until_s: int
    columns: dict[str, list[Any]]  # x in seconds; null rows break the line
    phases: dict[str, list[float | None]]  # http: medians, along x
    marks: list[Mark]
    buckets: list[Bucket]

    @property
    def rows(self) -> list[Row]:
        """The same in at most a dozen lines."""
        size = -(-len(self.buckets) // _ROWS)
        return [_row(self.buckets[at : at + size]) for at in range(0, len(self.buckets), size)]


def as_json(chart: Chart) -> dict[str, Any]:
    """The chart for programs, and for what draws it."""
    found = chart._asdict() | {"marks": [mark._asdict() for mark in chart.marks]}
    del found["buckets"]
    return found


def charts(buckets: Iterable[Bucket], span: Range, now_ms: int) -> list[Chart]:
    """The chart of each (agent, target, kind) in the buckets, which are sorted so."""
    until_s = now_ms // 1000
    return [
        _chart(list(found), span, until_s)
        for _, found in groupby(buckets, key=lambda one: (one.agent, one.target, one.kind))
    ]


def with_failures(buckets: list[Bucket], ladders: Iterable[Result], step_s: int) -> list[Bucket]:
    """The buckets of ladders, and in those of the router also what found no router at all: it
    sent nothing, so that no bucket knows of it."""
    found = {(one.agent, one.kind, one.start_ms): one for one in buckets}
    for result in ladders:
        body = result.body
        error = body.get("error")
        if body.get("gateway") or body.get("first_hop") or not isinstance(error, str):
            continue
        start_ms = result.time_ms - result.time_ms % (1000 * step_s)
        key = (result.agent, "gateway", start_ms)
        one = found.get(key) or _NOTHING._replace(
            agent=result.agent,
            target="ladder",
            kind="gateway",
            start_ms=start_ms,
            step_s=step_s,
        )
        errors = one.errors | {error: one.errors.get(error, 0) + 1}
        found[key] = one._replace(count=one.count + 1, errors=errors)
    return [found[key] for key in sorted(found)]


def _chart(buckets: list[Bucket], span: Range, until_s: int) -> Chart:
    first = buckets[0]
    points = _with_gaps(buckets)
    changes = list(_changes(buckets))
    return Chart(
        agent=first.agent,
        target=first.target,
        kind=first.kind,
        title=NAMES.get(first.kind, first.kind),
        sentence=_sentence(buckets, span, changes),
        step_s=first.step_s,
        since_s=until_s - span.length_s,
        until_s=until_s,
        columns=_columns(points),
        phases=_phases(points) if first.kind == "http" else {},
        marks=changes if len(changes) <= _MARKS else [],
        buckets=buckets,
    )


def _with_gaps(buckets: list[Bucket]) -> list[tuple[int, Bucket | None]]:
    """Each bucket at its start, and None where too long a time is without any."""
    points: list[tuple[int, Bucket | None]] = []
    before_s = None
    for bucket in buckets:
        at_s = bucket.start_ms // 1000
        if before_s is not None and at_s - before_s > max(3 * bucket.step_s, _GAP_S):
            points.append(((at_s + before_s) // 2, None))
        points.append((at_s, bucket))
        before_s = at_s
    return points


def _columns(points: list[tuple[int, Bucket | None]]) -> dict[str, list[Any]]:
    """Whole columns at a time: a page of a large swarm has ten thousand points."""
    found = [_NOTHING if bucket is None else bucket for _, bucket in points]
    fields = dict(zip(Bucket._fields, zip(*found, strict=True), strict=True))
    columns: dict[str, list[Any]] = {"x": [at_s for at_s, _ in points]}
    for name in ("median", "p10", "p25", "p75", "p90"):
        values = fields[f"{name}_ms"]
        columns[name] = [None if value is None else round(value, 2) for value in values]
    sums = zip(*(fields[name] for name in ("sent", "received", "count", "ok")), strict=True)
    columns["loss_pct"] = [_round(_share(*one)) for one in sums]
    columns["error"] = [_error(errors) if errors else None for errors in fields["errors"]]
    columns["probes"] = list(fields["count"])
    return columns


def _phases(points: list[tuple[int, Bucket | None]]) -> dict[str, list[float | None]]:
    """A phase that was not there (no DNS for an address) took no time; failures are not drawn."""
    return {
        phase: [
            None if one is None or one.median_ms is None else _round(one.phases_ms.get(phase, 0.0))
            for _, one in points
        ]
        for phase in PHASES
    }


def _changes(buckets: list[Bucket]) -> Iterable[Mark]:
    """Where the link became another, or an address answered that did not before."""
    link, ips = "", frozenset[str]()
    for bucket in buckets:
        for found in bucket.links:
            if link and found != link:
                yield Mark(bucket.start_ms // 1000, f"link: {link} → {found}")
            link = found
        new = [ip for ip in bucket.ips if ip not in ips]
        if ips and new:
            yield Mark(bucket.start_ms // 1000, f"address: {new[0]}")
        ips |= frozenset(bucket.ips)


def _sentence(buckets: list[Bucket], span: Range, changes: list[Mark]) -> str:
    first = buckets[0]
    whose = "" if first.target == "ladder" else f" {first.target}"
    what = f"{NAMES.get(first.kind, first.kind)}{whose} from {first.agent}, last {span.label}"
    loss = _loss(buckets)
    medians = [one.median_ms for one in buckets if one.median_ms is not None]
    if not medians:
        return f"{what}: no answer; {loss}."
    low, high = min(medians), max(medians)
    known = f"median {ms(_middle(medians))}, between {ms(low)} and {ms(high)}"
    ending = f"; {_changed(changes)}" if changes else ""
    return f"{what}: {known}; {loss}{ending}."


def _loss(buckets: list[Bucket]) -> str:
    """What was lost or failed, and of what most of it."""
    sent, count = sum(one.sent for one in buckets), sum(one.count for one in buckets)
    lost, failed = sent - sum(one.received for one in buckets), count - sum(o.ok for o in buckets)
    if buckets[0].kind == "http":
        text = f"{_loss_pct(buckets) or 0:.1f} % of {count} requests failed"
    elif not sent:
        text = f"all {count} probes failed" if count > 1 else "the one probe failed"
    else:
        text = f"{100 * lost / sent:.1f} % of {sent} echoes lost"
        text += f", {failed} of {count} probes failed" if failed else ""
    errors: Counter[str] = Counter()
    for one in buckets:
        errors.update(one.errors)
    common = _error(errors)
    return f"{text} ({'mostly: ' if len(errors) > 1 else ''}{common})" if common else text


def _loss_pct(buckets: list[Bucket]) -> float | None:
    columns = [(one.sent, one.received, one.count, one.ok) for one in buckets]
    return _share(*(sum(column) for column in zip(*columns, strict=True)))


def _share(sent: int, received: int, count: int, ok: int) -> float | None:
    """In %, the echoes that were lost or the probes that failed (a name that is not found sends
    no echo), whichever is more."""
    lost = 100 * (sent - received) / sent if sent else None
    failed = 100 * (count - ok) / count if count else None
    return failed if lost is None else max(lost, failed or 0.0)


def _error(errors: Mapping[str, int]) -> str | None:
    """The most frequent error, in words."""
    word = max(errors, key=lambda one: errors[one], default=None)
    return None if word is None else ERRORS.get(word, word)


def _changed(changes: list[Mark]) -> str:
    links = sum(mark.text.startswith("link") for mark in changes)
    parts = [(links, "change of link", "changes of link")]
    parts += [(len(changes) - links, "new address", "new addresses")]
    return ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in parts if n)


def _row(part: list[Bucket]) -> Row:
    medians = [one.median_ms for one in part if one.median_ms is not None]
    lows = [one.p10_ms for one in part if one.p10_ms is not None]
    highs = [one.p90_ms for one in part if one.p90_ms is not None]
    return Row(
        start_ms=part[0].start_ms,
        median_ms=_round(_middle(medians)) if medians else None,
        low_ms=_round(min(lows, default=None)),
        high_ms=_round(max(highs, default=None)),
        loss_pct=_round(_loss_pct(part)),
        probes=sum(one.count for one in part),
    )


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
