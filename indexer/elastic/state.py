"""What is kept beside the results: facts, leases, agents, lists, verdicts, dead letters.

Each document's id is made of what it says, so that writing it again after an answer that was lost
changes nothing. Leases and agents are compared and swapped by the engine's own versions.
"""

import base64
import logging
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

from indexer.elastic.bulk import Bulk
from indexer.elastic.document import Known, agent_document, raw_of
from indexer.elastic.engine import Engine, Refusal
from indexer.elastic.quick_json import dumps
from indexer.elastic.read import Query, between, pages
from indexer.store import AgentRecord, Dead, StoreDown, Told, WatchChange

LONGEST_LEASE_MS = 600_000  # one that ends later was given by a wrong clock: taken over
MOST_DEAD_BYTES = 1 << 30  # of dead letters: garbage must not fill the disks for all others
_LETTERS = 50  # read at once: each may have 170 kB
_ARRIVAL = ("_seq_no", "asc")  # within one shard: the order of arrival


log = logging.getLogger("swarming.elastic")


def digest(*parts: object) -> str:
    return blake2b(dumps(parts), digest_size=16).hexdigest()


def action(verb: str, index: str, name: str, **more: Any) -> bytes:
    return dumps({verb: {"_index": index, "_id": name, **more}}) + b"\n"


class State:
    """The small indices of a swarm."""

    def __init__(self, engine: Engine, bulk: Bulk) -> None:
        self._engine = engine
        self._bulk = bulk
        self._prefix = engine.address.prefix

    def _doc(self, family: str, name: str) -> str:
        return f"/{self._prefix}-{family}/_doc/{quote(name, safe='')}"

    # --- facts and leases ---

    def put_fact(self, key: str, value: Any) -> None:
        path = self._doc("state", f"fact:{key}")
        if value is None:
            self._engine.ask("DELETE", path, may_miss=True)
        else:
            self._engine.ask("PUT", path, {"swarming": {"raw": dumps(value).decode()}})

    def fact(self, key: str) -> Any:
        found = self._engine.ask("GET", self._doc("state", f"fact:{key}"), may_miss=True)
        return None if found is None else raw_of(found)

    def lease(self, what: str, holder: str, now_ms: int, ttl_ms: int) -> bool:
        path = self._doc("state", f"lease:{what}")
        found = self._engine.ask("GET", path, may_miss=True)
        if found is None:
            condition = "op_type=create"
        else:
            held_by, until_ms = raw_of(found)
            if held_by != holder and now_ms < until_ms <= now_ms + LONGEST_LEASE_MS:
                return False
            condition = f"if_seq_no={found['_seq_no']}&if_primary_term={found['_primary_term']}"
        raw = dumps([holder, now_ms + ttl_ms]).decode()
        try:
            self._engine.ask("PUT", f"{path}?{condition}", {"swarming": {"raw": raw}})
        except Refusal as error:
            if error.status == 409:
                return False  # somebody was faster
            raise
        return True

    # --- agents, lists, verdicts ---

    def put_agents(self, records: Sequence[AgentRecord]) -> None:
        """A record's version is when it was seen: what is there and was seen later stays."""
        lines = [
            action(
                "index",
                f"{self._prefix}-agents",
                record.agent,
                version=max(0, record.seen_ms),
                version_type="external_gte",
            )
            + dumps(agent_document(record))
            + b"\n"
            for record in records
        ]
        for record, item in zip(records, self._bulk.send(lines), strict=True):
            if item.word == "bad":  # it must not stand in the way of all others
                log.warning("the record of %s is not taken: %s", record.agent, item.reason)

    def who(self, agents: Iterable[str]) -> Known:
        """What each document of these agents is to say of them."""
        found = self._engine.ask(
            "POST",
            f"/{self._prefix}-agents/_mget?_source_includes=observer.geo,as",
            {"ids": list(agents)},
            may_miss=True,
        )
        return {
            one["_id"]: one["_source"] for one in (found or {}).get("docs", ()) if one.get("found")
        }

    def agents(self) -> list[AgentRecord]:
        hits = pages(self._engine, f"{self._prefix}-agents", [], [("observer.name", "asc")])
        return [AgentRecord._make(raw_of(hit)) for hit in hits]

    def put_watch(self, at_ms: int, scope: str, text: str | None, who: str) -> None:
        change = WatchChange(at_ms, scope, text, who)
        ours = {"scope": scope, "raw": dumps(change).decode()}
        self._create("watches", digest(*change), {"@timestamp": at_ms, "swarming": ours})

    def watch_history(self, scope: str | None, limit: int) -> list[WatchChange]:
        filters: list[Query] = [] if scope is None else [{"term": {"swarming.scope": scope}}]
        sort = [("@timestamp", "desc"), ("_seq_no", "desc")]
        hits = pages(self._engine, f"{self._prefix}-watches", filters, sort, limit=limit)
        return [WatchChange._make(raw_of(hit)) for hit in hits]

    def put_verdict(self, at_ms: int, target: str, facts: dict[str, Any]) -> None:
        told = Told(at_ms, target, facts)
        names = ("state", "word", "scope", "sentence")
        words = {name: facts[name] for name in names if isinstance(facts.get(name), str)}
        ours = {"verdict": words, "raw": dumps(told).decode()}
        found = {"@timestamp": at_ms, "monitor": {"name": target}, "swarming": ours}
        self._create("verdicts", digest(at_ms, target), found)

    def verdicts(self, since_ms: int, until_ms: int, target: str | None, limit: int) -> list[Told]:
        filters = [between(since_ms, until_ms)]
        if target is not None:
            filters.append({"term": {"monitor.name": target}})
        sort = [("@timestamp", "desc"), ("_seq_no", "desc")]
        hits = pages(self._engine, f"{self._prefix}-verdicts", filters, sort, limit=limit)
        return [Told._make(raw_of(hit)) for hit in hits]

    def _create(self, family: str, name: str, document: dict[str, Any]) -> None:
        """Once: what is there already is the same."""
        try:
            self._engine.ask("PUT", f"{self._doc(family, name)}?op_type=create", document)
        except Refusal as error:
            if error.status == 400:  # for good: it must not stand in the way of all others
                log.warning("a document of %s is not taken: %s", family, error)
            elif error.status != 409:
                raise

    # --- dead letters ---

    def put_dead(self, letters: Sequence[Dead]) -> None:
        """A letter that is longer than the engine takes keeps its beginning."""
        items = self._bulk.send([self._letter(letter) for letter in letters])
        for letter, item in zip(letters, items, strict=True):
            if item.word == "bad":
                cut = letter._replace(
                    payload=letter.payload[:4096], reason=f"{letter.reason} (cut: {item.reason})"
                )
                if self._bulk.send([self._letter(cut)])[0].word == "bad":
                    raise StoreDown(f"a dead letter is not taken: {item.reason}")

    def _letter(self, letter: Dead) -> bytes:
        text = base64.b64encode(letter.payload).decode()
        raw = dumps([letter.at_ms, letter.topic, text, letter.reason]).decode()
        name = digest(letter.at_ms, letter.topic, text, letter.reason)
        ours = {"reason": letter.reason, "bytes": len(letter.payload), "raw": raw}
        found = {"@timestamp": letter.at_ms, "swarming": ours}
        return action("create", f"{self._prefix}-dead", name) + dumps(found) + b"\n"

    def dead(self, limit: int, after: Dead | None) -> list[Dead]:
        """A letter's id begins with its number in the order of arrival."""
        begin = None if after is None else [after.at_ms, int(after.id.partition(":")[0])]
        hits = pages(
            self._engine,
            f"{self._prefix}-dead",
            [],
            [("@timestamp", "asc"), _ARRIVAL],
            limit=limit,
            size=_LETTERS,
            after=begin,
        )
        return [_dead_of(hit) for hit in hits]

    def drop_dead(self, ids: Iterable[str]) -> None:
        self.delete("dead", [each.partition(":")[2] for each in ids])

    def retain(self, before_ms: int) -> None:
        """Drops dead letters and verdicts from before, and letters past the bound of bytes."""
        old = [between(-(10**18), before_ms)]
        for family in ("dead", "verdicts"):
            sort = [("@timestamp", "asc"), _ARRIVAL]
            hits = pages(self._engine, f"{self._prefix}-{family}", old, sort, source=())
            self.delete(family, [hit["_id"] for hit in hits])
        kept_bytes = 0
        too_many: list[str] = []
        sort = [("@timestamp", "desc"), ("_seq_no", "desc")]
        source = ("swarming.bytes",)
        for hit in pages(self._engine, f"{self._prefix}-dead", [], sort, source=source):
            kept_bytes += hit["_source"]["swarming"]["bytes"]
            if kept_bytes > MOST_DEAD_BYTES:
                too_many.append(hit["_id"])
        self.delete("dead", too_many)

    def delete(self, family: str, ids: Iterable[str]) -> None:
        index = f"{self._prefix}-{family}"
        lines = [action("delete", index, name) for name in ids]
        for at in range(0, len(lines), 1000):
            body = b"".join(lines[at : at + 1000])
            self._engine.ask("POST", "/_bulk?refresh=true&filter_path=errors", body)


def _dead_of(hit: dict[str, Any]) -> Dead:
    at_ms, topic, text, reason = raw_of(hit)
    return Dead(at_ms, topic, base64.b64decode(text), reason, f"{hit['sort'][1]}:{hit['_id']}")
