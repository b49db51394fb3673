"""The query language of both tools, as much of it as the dashboards use."""

from __future__ import annotations

import re
from typing import Any

_TOKEN = re.compile(r'\s*([()]|[^\s():]+:(?:"[^"]*"|[^\s()]+)|\w+)')


def query_of(text: str) -> dict[str, Any]:
    """`a:b and not (c:d or e:*)` as a query; ValueError for anything else."""
    tokens = _tokens(text)
    if not tokens:
        return {"match_all": {}}
    found = _either(tokens)
    if tokens:
        raise ValueError(f"{text}: what is {tokens[0]}?")
    return found


def fields_in(text: str) -> list[str]:
    query_of(text)
    return [token.partition(":")[0] for token in _tokens(text) if ":" in token]


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"{text}: what is {text[at:]}?")
        tokens.append(match[1])
        at = match.end()
    return tokens


def _either(tokens: list[str]) -> dict[str, Any]:
    parts = [_all(tokens)]
    while tokens and tokens[0] == "or":
        tokens.pop(0)
        parts.append(_all(tokens))
    return {"bool": {"should": parts, "minimum_should_match": 1}}


def _all(tokens: list[str]) -> dict[str, Any]:
    parts = [_one(tokens)]
    while tokens and tokens[0] == "and":
        tokens.pop(0)
        parts.append(_one(tokens))
    return {"bool": {"filter": parts}}


def _one(tokens: list[str]) -> dict[str, Any]:
    if not tokens:
        raise ValueError("the query ends too early")
    token = tokens.pop(0)
    if token == "not":
        return {"bool": {"must_not": [_one(tokens)]}}
    if token == "(":
        found = _either(tokens)
        if not tokens or tokens.pop(0) != ")":
            raise ValueError("a bracket is not closed")
        return found
    field, colon, value = token.partition(":")
    if not colon:
        raise ValueError(f"what is {token}?")
    if value == "*":
        return {"exists": {"field": field}}
    return {"match": {field: value.strip('"')}}
