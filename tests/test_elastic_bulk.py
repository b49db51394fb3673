"""What one item of a bulk's answer means."""

from __future__ import annotations

import pytest

from indexer.elastic.bulk import judge
from indexer.store import StoreDown


@pytest.mark.parametrize(
    ("status", "kind", "word"),
    [
        (201, "", "stored"),
        (200, "", "stored"),
        (409, "version_conflict_engine_exception", "known"),
        (429, "es_rejected_execution_exception", "again"),
        (429, "circuit_breaking_exception", "again"),
        (500, "translog_exception", "again"),
        (503, "unavailable_shards_exception", "again"),
        (400, "document_parsing_exception", "bad"),
        (400, "mapper_parsing_exception", "bad"),
        (400, "strict_dynamic_mapping_exception", "bad"),
        (400, "illegal_argument_exception", "odd"),
    ],
)
def test_an_item_is_stored_known_bad_odd_or_wanted_again(status: int, kind: str, word: str) -> None:
    item = judge(status, kind, "why")
    assert item.word == word
    assert ("why" in item.reason) == (word in ("again", "bad", "odd"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, "cluster_block_exception"),  # read-only
        (429, "cluster_block_exception"),  # the disk is full
        (403, "security_exception"),
        (401, "security_exception"),
        (404, "index_not_found_exception"),
        (400, "index_closed_exception"),
        (400, "validation_exception"),  # too many shards
    ],
)
def test_what_all_others_will_meet_too_is_the_store_that_is_down(status: int, kind: str) -> None:
    with pytest.raises(StoreDown, match="why"):
        judge(status, kind, "why")
