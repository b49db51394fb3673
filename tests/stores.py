"""Stores of every kind for a test: addresses in a real engine, each with indices of its own."""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.engines import Engine

# All that an indexer's API key may do; docs/elasticsearch.md says the same.
CLUSTER = ("manage_index_templates", "monitor")
INDICES = (
    *("create_index", "index", "delete", "delete_index", "read", "maintenance", "monitor"),
    "view_index_metadata",
)


def address(engine: Engine, folder: Path, prefix: str | None = None) -> str:
    """`--store` of indices that nobody else uses; where there is security, with a key for these."""
    prefix = prefix or f"t{uuid.uuid4().hex[:12]}"
    if engine.ca is None:
        return f"opensearch:{engine.url}?prefix={prefix}"
    key = folder / f"{prefix}.key"
    key.write_text(engine.api_key(CLUSTER, [f"{prefix}-*"], INDICES))
    return f"elasticsearch:{engine.url}?ca={engine.ca}&api_key={key}&prefix={prefix}"


def drop(engine: Engine, text: str) -> None:
    """What such a store has left in the engine, so that a session of tests does not fill it."""
    prefix = text.rpartition("prefix=")[2]
    status, found = engine.ask("GET", f"/_cat/indices/{prefix}-*?format=json&h=index")
    assert status == 200
    for index in found:
        engine.ask("DELETE", f"/{index['index']}")
    engine.ask("DELETE", f"/_index_template/{prefix}-*")
