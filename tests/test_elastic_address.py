"""An address of an engine is read whole, or refused with a sentence; it never holds a secret."""

from __future__ import annotations

from typing import Any

import pytest

from indexer.elastic.address import Address, is_engine, parse
from indexer.store import StoreRefused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("elasticsearch:http://h", {"urls": ("http://h:9200",)}),
        ("opensearch:https://h:443", {"scheme": "opensearch", "urls": ("https://h:443",)}),
        ("elasticsearch:http://a:1,http://b:2", {"urls": ("http://a:1", "http://b:2")}),
        ("elasticsearch:http://a:1, http://a:1", {"urls": ("http://a:1",)}),
        ("elasticsearch:http://[::1]:9200", {"urls": ("http://[::1]:9200",)}),
        ("elasticsearch:http://h/old-*", {"urls": ("http://h:9200",), "indices": "old-*"}),
        (
            "elasticsearch:https://h?ca=/ca.pem&api_key=/key&prefix=home.1&shards=3&replicas=0",
            {
                "urls": ("https://h:9200",), "ca": "/ca.pem", "api_key": "/key",
                "prefix": "home.1", "shards": 3, "replicas": 0,
            },
        ),
        (
            "elasticsearch:https://h?cert=/c&key=/k&user=ann&password=/p",
            {"urls": ("https://h:9200",), "cert": "/c", "key": "/k", "user": "ann",
             "password": "/p"},
        ),
    ],
)  # fmt: skip
def test_an_address_says_where_and_how(text: str, expected: dict[str, Any]) -> None:
    assert parse(text) == Address(**({"scheme": "elasticsearch"} | expected))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("elasticsearch:", "a store is"),
        ("elasticsearch:h:9200", "each host is"),
        ("elasticsearch:https://", "each host is"),
        ("elasticsearch:https://h:nine", "Port"),
        ("elasticsearch:https://h:99999", "Port"),
        ("elasticsearch:http://a,https://b", "each host is"),
        ("elasticsearch:https://[::1", "IPv6"),
        ("elasticsearch:https://h?api-key=x", "no option 'api-key'"),
        ("elasticsearch:https://h?ca=", "ca is empty"),
        ("elasticsearch:https://h?cert=/c", "belong together"),
        ("elasticsearch:https://h?api_key=/k&user=ann", "not both"),
        ("elasticsearch:https://h?password=/p", "wants a user"),
        ("elasticsearch:http://h?ca=/c", "want https"),
        ("elasticsearch:https://h?prefix=Home", "prefix"),
        ("elasticsearch:https://h?prefix=-x", "prefix"),
        ("elasticsearch:https://h?shards=0", "at least 1"),
        ("elasticsearch:https://h?shards=99999999999", "number"),
        ("elasticsearch:https://h?prefix=home-", "prefix"),
        ("elasticsearch:https://h?prefix=home-results", "indices of ours"),
        ("elasticsearch:https://h:0", "each host is"),
        ("elasticsearch:https://exa mple", "each host is"),
        ("elasticsearch:https://h/old-*#x", "named once"),
        ("elasticsearch:https://h/old-*,https://i", "named once"),
        ("elasticsearch:https://h?shards=many", "number"),
        ("elasticsearch:https://h/Log*", "no such indices"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, why: str) -> None:
    with pytest.raises(StoreRefused, match=why) as refused:
        parse(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "elasticsearch:https://ann:geheim@h",
        "elasticsearch:https://ann:p/geheim@h",
        "opensearch:geheim@h",
        "opensearch:a:geheim@h",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(StoreRefused, match="no secret") as refused:
        parse(text)
    assert "geheim" not in str(refused.value)


def test_only_engines_are_engines() -> None:
    assert is_engine("elasticsearch:x") and is_engine("opensearch:x")
    assert not is_engine("sqlite:elasticsearch:x")
