"""An indexer without orjson writes what one with it writes: they may share a store."""

from typing import NamedTuple

import pytest

from indexer.elastic import quick_json

VALUES = (
    ["é ü 文 🛰", 'a"b\\c\n\x00', 1, -5, 0.1, True, None],
    {"name": "Zürich", "rtts": [1.25, None], "deep": {"ids": [2**63 - 1]}},
    ("a", ("b", 2)),
    ["\ud800"],
    [2**70],
)


class Pair(NamedTuple):
    name: str
    number: int


@pytest.mark.parametrize("value", VALUES)
def test_the_bytes_are_the_same_with_and_without_orjson(
    value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert quick_json.orjson is not None
    quick = quick_json.dumps(value)
    monkeypatch.setattr(quick_json, "orjson", None)
    assert quick_json.dumps(value) == quick


def test_a_named_tuple_is_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert quick_json.loads(quick_json.dumps(Pair("a", 1))) == ["a", 1]
    monkeypatch.setattr(quick_json, "orjson", None)
    assert quick_json.loads(quick_json.dumps(Pair("a", 1))) == ["a", 1]
