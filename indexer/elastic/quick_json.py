"""JSON for the engines: by orjson where it is installed, else by Python itself, which takes longer.

Both write the same bytes, but for a float below 1e-6, of which no name is made: indexers with and
without it share a store.
"""

import json
from typing import Any

try:
    import orjson
except ImportError:  # Debian 12 has no such package
    orjson = None  # type: ignore[assignment,unused-ignore]


def dumps(value: Any) -> bytes:
    """A named tuple is a list in it."""
    try:
        if orjson is not None:
            return orjson.dumps(value, default=_plain)
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    except (TypeError, UnicodeEncodeError):  # half a surrogate pair, a number of more than 64 bits
        return json.dumps(value, separators=(",", ":")).encode()


def loads(text: str | bytes) -> Any:
    return json.loads(text) if orjson is None else orjson.loads(text)


def _plain(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple):
        raise TypeError(f"not of JSON: {type(value)}")
    return tuple(value)
