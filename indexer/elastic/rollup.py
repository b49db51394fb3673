"""Roll-ups in the engine: found by sequence number, recomputed from raw, kept for ever.

There are no transactions to mark an hour in. But each shard numbers what it takes, and says up to
which number all its copies hold everything (the global checkpoint). So what came since the last
look is exactly known, whoever wrote it: `note` marks the hours of it, and all longer periods around
them; `roll` makes what is marked. Both may be repeated from any point.

- A roll-up's version is the number of its probes: one of fewer never replaces one of more. So an
  hour whose raw is dropped stays, and two leaders at once do no harm.
- A mark is deleted only as it was read: a newer one stays.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any, NamedTuple

from agent.wire import Result
from indexer import rollup
from indexer.elastic import read
from indexer.elastic.bulk import Bulk
from indexer.elastic.document import indices_of, raw_of
from indexer.elastic.engine import Engine
from indexer.elastic.quick_json import dumps
from indexer.elastic.read import HOUR_MS, Period, Query, Wanted, between
from indexer.elastic.state import State, action, digest
from indexer.rollup import HOUR_S, LEVELS_S, Tally
from indexer.store import Bucket

ROLLED = "rolled up to"  # the fact: of each index, its uuid and each shard's number
_KINDS = ["icmp", "http", "ladder"]
_BELOW = dict(zip(LEVELS_S[1:], LEVELS_S[:-1], strict=True))
_NAMES = ("min", "p10", "p25", "median", "p75", "p90", "max")
_CHUNK = 2000  # documents written at once

log = logging.getLogger("swarming.elastic")


class Mark(NamedTuple):
    """A period to be rolled up, and its document as it was read."""

    period: Period
    id: str
    seq_no: int
    primary_term: int


class Rolling:
    """The roll-ups of a swarm. One at a time: the leader's."""

    def __init__(self, engine: Engine, bulk: Bulk, state: State) -> None:
        self._engine = engine
        self._bulk = bulk
        self._state = state
        self._prefix = engine.address.prefix

    # --- what has changed ---

    def note(self) -> None:
        """Marks everything that is made of results that came since the last time; begun again
        after StoreDown, it goes on at the index where it was."""
        known: dict[str, Any] = self._state.fact(ROLLED) or {}
        found = self.checkpoints()
        for name, told in found.items():
            before = known.get(name)
            if before is None or before["uuid"] != told["uuid"]:
                before = {"shards": {}}
            told["shards"] = before["shards"] | told["shards"]  # one without a primary is away
            if before.get("shards") != told["shards"]:
                self._engine.ask("POST", f"/{name}/_refresh", timeout_s=60)
                for shard, upto in told["shards"].items():
                    since = before["shards"].get(shard, -1)
                    if upto != since:  # fewer: history was lost, and numbers are given again
                        since = since if since < upto else -1
                        self._mark(self._touched(name, shard, since, upto))
                known[name] = told
                self._state.put_fact(ROLLED, known)

    def forget(self, index: str) -> None:
        """The index is gone."""
        known: dict[str, Any] = self._state.fact(ROLLED) or {}
        if known.pop(index, None) is not None:
            self._state.put_fact(ROLLED, known)

    def checkpoints(self) -> dict[str, Any]:
        """Of each index of results, its uuid and up to which number each shard has everything."""
        path = (
            f"/{self._prefix}-results-*/_stats/docs?level=shards&filter_path=indices.*.uuid,"
            "indices.*.shards.*.routing.primary,indices.*.shards.*.seq_no.global_checkpoint"
        )
        found: dict[str, Any] = {}
        for name, told in (self._engine.ask("GET", path).get("indices") or {}).items():
            shards = {
                shard: copy["seq_no"]["global_checkpoint"]
                for shard, copies in told.get("shards", {}).items()
                for copy in copies
                if copy["routing"]["primary"] and "seq_no" in copy
            }
            found[name] = {"uuid": told["uuid"], "shards": shards}
        return found

    def _touched(self, index: str, shard: str, since: int, upto: int) -> Iterator[Period]:
        """The hours of what this shard has taken since."""
        filters: list[Query] = [
            {"range": {"_seq_no": {"gt": since, "lte": upto}}},
            {"terms": {"monitor.type": _KINDS}},
        ]
        hour: Query = {"date_histogram": {"field": "@timestamp", "fixed_interval": "1h"}}
        sources: list[Query] = [
            {"hour": hour},
            read.terms("agent", "observer.name"),
            read.terms("target", "monitor.name"),
        ]
        more = f"&preference=_shards:{shard}"
        for bucket in read.composite(self._engine, index, filters, sources, more=more):
            key = bucket["key"]
            yield Period(HOUR_S, key["hour"] // 1000, key["agent"], key["target"])

    def _mark(self, hours: Iterable[Period]) -> None:
        marks: set[Period] = set()
        for hour in hours:
            marks |= _around(hour)
            if len(marks) > _CHUNK:
                self.put_marks(marks)
                marks = set()
        self.put_marks(marks)

    def mark_longer(self, hours: Iterable[Period]) -> None:
        """What is made of these roll-ups of hours has to be made again."""
        self.put_marks({mark for hour in hours for mark in _around(hour) if mark != hour})

    def put_marks(self, marks: Iterable[Period]) -> None:
        """These have to be made again."""
        self._send([self._mark_line(mark) for mark in marks])

    def _mark_line(self, mark: Period) -> bytes:
        ours = {
            "step_s": mark.step_s,
            "agent": mark.agent,
            "target": mark.target,
            "raw": dumps(mark).decode(),
        }
        found = {"@timestamp": mark.start_s * 1000, "swarming": ours}
        return action("index", f"{self._prefix}-dirty", digest(*mark)) + dumps(found) + b"\n"

    # --- making it again ---

    def roll(self, now_ms: int, limit: int) -> int:
        """Makes at most limit roll-ups that are due, the shortest and newest first; how many."""
        done = 0
        for level in LEVELS_S:
            if done >= limit:
                break  # something below is still dirty
            self._engine.ask("POST", f"/{self._prefix}-dirty/_refresh", may_miss=True)
            marks = list(self._marks(level, _due(level, now_ms), limit - done))
            self.make(level, self._whole_below(level, marks))
            done += len(marks)
        return done

    def left(self, now_ms: int) -> int:
        """How many roll-ups are due."""
        self._engine.ask("POST", f"/{self._prefix}-dirty/_refresh", may_miss=True)
        return sum(
            read.count(self._engine, f"{self._prefix}-dirty", [_of(level), _due(level, now_ms)])
            for level in LEVELS_S
        )

    def _whole_below(self, level: int, marks: Sequence[Mark]) -> list[Mark]:
        """Those with nothing below that is marked: another leader may have noted it just now."""
        if level == HOUR_S or not marks:
            return list(marks)
        starts = [mark.period.start_s for mark in marks]
        filters: list[Query] = [
            {"range": {"swarming.step_s": {"lt": level}}},
            between(min(starts) * 1000, (max(starts) + level) * 1000),
            {"terms": {"swarming.agent": sorted({mark.period.agent for mark in marks})}},
        ]
        hits = read.pages(self._engine, f"{self._prefix}-dirty", filters, read.BY_PERIOD)
        below = (Period._make(raw_of(hit)) for hit in hits)
        blocked = {
            one._replace(step_s=level, start_s=one.start_s // level * level) for one in below
        }
        return [mark for mark in marks if mark.period not in blocked]

    def roll_hours(self, since_ms: int, until_ms: int) -> None:
        """Makes every marked hour that begins in this time, due or not."""
        self._engine.ask("POST", f"/{self._prefix}-dirty/_refresh", may_miss=True)
        marks = self._marks(HOUR_S, between(since_ms, until_ms), None)
        while some := list(islice(marks, _CHUNK)):
            self.make(HOUR_S, some)

    def _marks(self, level: int, when: Query, limit: int | None) -> Iterator[Mark]:
        sort = [("@timestamp", "desc"), ("_seq_no", "asc")]
        hits = read.pages(
            self._engine, f"{self._prefix}-dirty", [_of(level), when], sort,
            limit=limit, more=",hits.hits._seq_no,hits.hits._primary_term&seq_no_primary_term=true",
        )  # fmt: skip
        for hit in hits:
            yield Mark(Period._make(raw_of(hit)), hit["_id"], hit["_seq_no"], hit["_primary_term"])

    def make(self, level: int, marks: Sequence[Mark]) -> None:
        """Reads what they are made of, writes them, and deletes the marks, in this order."""
        for start_s, found in groupby(marks, key=lambda mark: mark.period.start_s):
            some = list(found)
            pairs = {(mark.period.agent, mark.period.target) for mark in some}
            if level == HOUR_S:
                tallies = self._hour(start_s, pairs)
            else:
                tallies = self._longer(level, start_s, pairs)
            self.put(
                (rollup.bucket(agent, target, kind, start_s * 1000, level, total), total.sketches())
                for (agent, target, kind), total in tallies
            )
            self._unmark(some)

    def _hour(
        self, start_s: int, pairs: set[tuple[str, str]]
    ) -> Iterable[tuple[tuple[str, str, str], Tally]]:
        found: dict[tuple[str, str, str], Tally] = {}
        for result in self._raw(start_s, pairs):
            pair = (result.agent, result.body["target"])
            if pair in pairs:
                for sample in rollup.samples(result.body):
                    found.setdefault((*pair, sample.kind), Tally()).add(sample)
        return found.items()

    def _raw(self, start_s: int, pairs: set[tuple[str, str]]) -> Iterator[Result]:
        filters = [{"terms": {"monitor.type": _KINDS}}, *_among(pairs)]
        span_ms = (start_s * 1000, start_s * 1000 + HOUR_MS)
        return read.results(self._engine, indices_of(self._prefix, *span_ms), *span_ms, filters)

    def _longer(
        self, level: int, start_s: int, pairs: set[tuple[str, str]]
    ) -> Iterator[tuple[tuple[str, str, str], Tally]]:
        self._engine.ask("POST", f"/{self._prefix}-rollups-*/_refresh")
        found = read.rolled_up(
            self._engine, self._prefix, _BELOW[level], [(start_s, start_s + level)], Wanted(),
            _among(pairs),
        )  # fmt: skip
        pieces = sorted(found, key=lambda piece: piece[0][:2])  # stable: by start within
        for (agent, target), some in groupby(pieces, key=lambda piece: piece[0][:2]):
            if (agent, target) in pairs:
                for kind, total in rollup.merged(some).items():
                    yield (agent, target, kind), total

    def put(self, made: Iterable[tuple[Bucket, bytes]]) -> None:
        """Keeps roll-ups of any level; one of fewer probes than are told already is left out."""
        lines: list[bytes] = []
        for told, sketches in made:
            lines.append(self.line(told, sketches))
            if len(lines) >= _CHUNK:
                self._send(lines)
                lines = []
        self._send(lines)

    def line(self, told: Bucket, sketches: bytes) -> bytes:
        """The two lines of a bulk that keep a roll-up."""
        month = datetime.fromtimestamp(told.start_ms // 1000, UTC).strftime("%Y.%m").rjust(7, "0")
        name = digest(told.step_s, told.start_ms, told.agent, told.target, told.kind)
        head = action(
            "index", f"{self._prefix}-rollups-{month}", name,
            version=told.count, version_type="external_gte",
        )  # fmt: skip
        return head + dumps(document(told, sketches)) + b"\n"

    def _unmark(self, marks: Sequence[Mark]) -> None:
        index = f"{self._prefix}-dirty"
        lines = [
            action("delete", index, mark.id, if_seq_no=mark.seq_no,
                   if_primary_term=mark.primary_term)
            for mark in marks
        ]  # fmt: skip
        for at in range(0, len(lines), _CHUNK):
            body = b"".join(lines[at : at + _CHUNK])
            self._engine.ask("POST", "/_bulk?filter_path=errors", body)

    def _send(self, lines: Sequence[bytes]) -> None:
        bad = [item for item in (self._bulk.send(lines) if lines else ()) if item.word == "bad"]
        if bad:  # it must not stand in the way of all others
            log.warning("%d roll-ups are not taken: %s", len(bad), bad[0].reason)


def _around(hour: Period) -> set[Period]:
    """The hour's period of every level."""
    return {
        Period(level, hour.start_s // level * level, hour.agent, hour.target) for level in LEVELS_S
    }


def _of(level: int) -> Query:
    return {"term": {"swarming.step_s": level}}


def _due(level: int, now_ms: int) -> Query:
    """Hours at once; longer ones when they are over."""
    if level == HOUR_S:
        return {"match_all": {}}
    return {"range": {"@timestamp": {"lte": now_ms - level * 1000, "format": "epoch_millis"}}}


def _among(pairs: set[tuple[str, str]]) -> list[Query]:
    """Whatever may be of one of these pairs."""
    agents, targets = ({pair[at] for pair in pairs} for at in (0, 1))
    return [
        {"terms": {"observer.name": sorted(agents)}},
        {"terms": {"monitor.name": sorted(targets)}},
    ]


def document(told: Bucket, sketches: bytes) -> dict[str, Any]:
    """Every field of fields.ROLLUP that the bucket gives, RAW, and the sketches."""
    measured = told[9:16]
    ours: dict[str, Any] = {
        "step_s": told.step_s,
        **{name: getattr(told, name) for name in ("count", "ok", "sent", "received")},
        **{
            f"rtt_{name}_ms": ms
            for name, ms in zip(_NAMES, measured, strict=True)
            if ms is not None
        },
        "link": {"type": list(told.links)},
        "raw": dumps(told).decode(),
        "sketches": sketches.hex(),
    }
    if told.loss_pct is not None:
        ours["loss_pct"] = told.loss_pct
    return {
        "@timestamp": told.start_ms,
        "observer": {"name": told.agent},
        "monitor": {"name": told.target, "type": told.kind},
        "swarming": ours,
    }
