"""The engines that other tests rely on: they keep what they took, and let in whom they should."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import engines
from tests.engines import Engine


@pytest.fixture(params=[engines.elasticsearch, engines.opensearch], ids=lambda make: make.__name__)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine: Engine = request.param(tmp_path, quick=True)
    yield engine
    engine.end()


def test_a_document_survives_a_kill_of_the_engine(engine: Engine) -> None:
    path = "/things/_doc/1"
    assert engine.ask("PUT", path, {"colour": "red"})[0] == 201
    engine.kill()
    with pytest.raises(OSError):
        engine.ask("GET", path)
    engine.start()
    status, document = engine.ask("GET", path)
    assert (status, document["_source"]) == (200, {"colour": "red"})


def test_a_frozen_engine_answers_once_it_is_thawed(opensearch: Engine) -> None:
    opensearch.freeze()
    try:
        with pytest.raises(OSError):
            opensearch.ask("GET", "/_cluster/health", timeout_s=0.5)
    finally:
        opensearch.thaw()
    assert opensearch.ask("GET", "/_cluster/health")[0] == 200


def test_an_api_key_may_do_what_it_was_made_for_until_it_is_revoked(elasticsearch: Engine) -> None:
    mine, other = f"mine-{uuid.uuid4()}", f"other-{uuid.uuid4()}"
    key = elasticsearch.api_key([], [mine], ["create_index", "index"])

    def status(index: str) -> int:
        return elasticsearch.ask("POST", f"/{index}/_doc", {"a": 1}, key=key)[0]

    assert (status(mine), status(other)) == (201, 403)
    elasticsearch.revoke(key)
    assert status(mine) == 401


def test_nobody_enters_without_a_secret(elasticsearch: Engine) -> None:
    assert elasticsearch.ask("GET", "/_cluster/health", key="bm9ib2R5Om5vdGhpbmc=")[0] == 401


def test_three_nodes_make_one_cluster_that_keeps_replicas(tmp_path: Path) -> None:
    nodes = engines.elasticsearch_cluster(tmp_path / "cluster", quick=True)
    try:
        shape = {"settings": {"number_of_shards": 1, "number_of_replicas": 2}}
        assert nodes[0].ask("PUT", "/things", shape)[0] == 200
        nodes[1].wait_up("green")
        assert nodes[2].ask("GET", "/_cluster/health")[1]["number_of_nodes"] == 3
    finally:
        for node in nodes:
            node.end()
