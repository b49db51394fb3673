"""The API's own description, made of the routes' descriptions: OpenAPI 3.1."""

import re
from collections.abc import Iterable
from typing import Any

from indexer.web.api import QUERY, Described

_REQUIRED = {("/api/verdict", "target"), ("/api/chart", "target")}
_MAY_BE_NULL = {"string", "integer", "boolean"}


def document(routes: Iterable[Described], version: str) -> dict[str, Any]:
    """What /api/openapi.json holds."""
    paths: dict[str, Any] = {}
    for one in routes:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Swarming",
            "version": version,
            "description": "It's just me, or this service is slow? Times are UTC.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
    }


def _operation(one: Described) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": f"{one.method.lower()}{re.sub('[^a-z]+', '_', one.path)}".rstrip("_"),
        "summary": one.summary,
        "parameters": _parameters(one),
        "responses": {"200": _answer(one), "default": {"description": "One line says why not"}},
    }
    if one.method == "POST":
        fields = {"scope": {"type": "string"}, "text": {"type": ["string", "null"]}}
        schema = {"type": "object", "properties": fields, "required": ["scope", "text"]}
        content = {"application/json": {"schema": schema}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _parameters(one: Described) -> list[dict[str, Any]]:
    in_path = re.findall(r"{(\w+)}", one.path)
    found = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in in_path
    ]
    return found + [
        {
            "name": name,
            "in": "query",
            "required": (one.path, name) in _REQUIRED,
            "description": QUERY[name],
            "schema": {"type": "string"},
        }
        for name in one.query
    ]


def _answer(one: Described) -> dict[str, Any]:
    if not one.answer.fields:
        schema: dict[str, Any] = {"type": "string"}
    else:
        schema = {
            "type": "object",
            "properties": {name: _type(kind) for name, kind in one.answer.fields.items()},
            "required": list(one.answer.fields),
        }
    return {"description": one.summary, "content": {one.answer.media: {"schema": schema}}}


def _type(kind: str) -> dict[str, Any]:
    return {"type": [kind, "null"] if kind in _MAY_BE_NULL else kind}
