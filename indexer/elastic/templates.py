"""Index templates of a swarm, and whether the engine lets us do what we must.

A template is written when it is missing or another than this program makes; one of a newer program
stays. What is in the engine already keeps the mapping that it was made with.
"""

import hashlib
import json
from typing import Any, NamedTuple

from indexer.elastic import fields
from indexer.elastic.address import Address
from indexer.elastic.engine import Engine, Refusal, at_start
from indexer.elastic.fields import properties
from indexer.store import StoreRefused

VERSION = 1
OLDEST = {"elasticsearch": 8, "opensearch": 2}

# The least that an indexer's key may do; docs/elasticsearch.md shows how to make one.
CLUSTER_PRIVILEGES = ("manage_index_templates", "monitor")
INDEX_PRIVILEGES = (
    *("create_index", "index", "delete", "delete_index", "read", "maintenance", "monitor"),
    "view_index_metadata",
)

_KEPT = {"type": "keyword", "index": False, "doc_values": False}


class Family(NamedTuple):
    """Indices of one kind: which, and what their documents hold."""

    name: str
    patterns: tuple[str, ...]
    properties: dict[str, Any]
    sharded: bool = False


def families() -> tuple[Family, ...]:
    rollup = properties(fields.ROLLUP)
    rollup["swarming"]["properties"]["sketches"] = _KEPT
    return (
        Family("results", ("results-*", "unsynced"), properties(fields.RESULT), True),
        Family("rollups", ("rollups-*",), rollup, True),
        Family("verdicts", ("verdicts",), properties(fields.VERDICT)),
        Family("agents", ("agents",), properties(fields.AGENT)),
        Family("small", ("watches", "dead", "dirty", "state"), _SMALL),
    )


_SMALL: dict[str, Any] = {
    "@timestamp": {"type": "date", "format": "epoch_millis"},
    "swarming": {
        "properties": {
            "scope": {"type": "keyword", "ignore_above": 2048},
            "reason": {"type": "keyword", "ignore_above": 2048},
            "step_s": {"type": "integer"},
            "agent": {"type": "keyword"},
            "target": {"type": "keyword", "ignore_above": 2048},
            "bytes": {"type": "long"},
            "raw": _KEPT,
        }
    },
}


def template(address: Address, family: Family) -> dict[str, Any]:
    """The body of PUT _index_template."""
    settings: dict[str, Any] = {
        "index.number_of_shards": address.shards if family.sharded else 1,
        "index.translog.durability": "request",  # confirmed is on the disk
        "index.mapping.ignore_malformed": True,  # a strange address is kept, and not searched by
        "index.refresh_interval": "5s",
    }
    if address.replicas is None:
        settings["index.auto_expand_replicas"] = "0-1"
    else:
        settings["index.number_of_replicas"] = address.replicas
    made = {
        "index_patterns": [f"{address.prefix}-{pattern}" for pattern in family.patterns],
        "priority": 500,
        "template": {
            "settings": settings,
            "mappings": {"dynamic": False, "properties": family.properties},
        },
    }
    digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]
    return made | {"version": VERSION, "_meta": {"swarming": digest}}


def install(engine: Engine) -> None:
    """Afterwards every template is this program's, or a newer one's."""
    for family in families():
        wanted = template(engine.address, family)
        path = f"/_index_template/{engine.address.prefix}-{family.name}"
        found = engine.ask("GET", path, may_miss=True)
        kept = found["index_templates"][0]["index_template"] if found else {}
        newer = (kept.get("version") or 0) > VERSION
        if not newer and (kept.get("_meta") or {}).get("swarming") != wanted["_meta"]["swarming"]:
            engine.ask("PUT", path, wanted)


def check(engine: Engine, look: bool = False) -> None:
    """Raises StoreRefused with what is missing for good, StoreDown with what may come back.

    look: asks for no more than reading needs.
    """
    try:
        with at_start(engine.address):
            _check(engine, look)
    except Refusal as error:
        if error.unknown:
            raise StoreRefused(f"the engine does not let us in: {error}") from error
        if error.kind == "media_type_header_exception":
            raise StoreRefused(
                "the elasticsearch client installed here is newer than the engine: "
                "pip install 'elasticsearch>=8,<9'"
            ) from error
        raise


def _check(engine: Engine, look: bool) -> None:
    if look:
        engine.ask("GET", f"/{engine.address.prefix}-results-*/_search?size=0")
        return
    _check_privileges(engine)
    _check_version(engine)
    install(engine)


def _check_version(engine: Engine) -> None:
    found = engine.ask("GET", "/_nodes?filter_path=nodes.*.version")
    versions = {str(node["version"]) for node in found.get("nodes", {}).values()}
    oldest = OLDEST[engine.address.scheme]
    for version in sorted(versions):
        if int(version.partition(".")[0]) < oldest:
            raise StoreRefused(
                f"{engine.address.scheme} {version} is too old: {oldest} or newer is needed"
            )


def _check_privileges(engine: Engine) -> None:
    """Asks Elasticsearch's security, where it is on, for all that will be needed."""
    if engine.address.scheme != "elasticsearch":
        return
    indices = f"{engine.address.prefix}-*"
    wanted = {
        "cluster": CLUSTER_PRIVILEGES,
        "index": [{"names": [indices], "privileges": INDEX_PRIVILEGES}],
    }
    try:
        found = engine.ask("POST", "/_security/user/_has_privileges", wanted)
    except Refusal as error:
        if error.unknown:
            raise
        return  # it has no security that could be asked
    missing = [name for name, may in found.get("cluster", {}).items() if not may]
    on_indices = found.get("index", {}).get(indices, {})
    missing += [f"{name} on {indices}" for name, may in on_indices.items() if not may]
    if missing:
        raise StoreRefused(f"the engine lets us in, but not do all we must: {', '.join(missing)}")
