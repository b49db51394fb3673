"""JSON that any store can hold: finite numbers of 64 bits, whole Unicode, bounded depth.

RFC 8259 leaves all of these to the reader; what SQLite or Elasticsearch would choke on is refused
here, at the edge, once.
"""

import json
import math
import re
from typing import Any, NoReturn

MAX_INT = 2**63 - 1
MAX_DEPTH = 32  # the same for every reader, however deep its own calls are when it reads

# Only payloads that hold one of these can break a promise: a long number, one with an exponent, a
# surrogate. The plain C scanner reads all others at full speed.
_NUMBER = re.compile(rb"[\s:,[]-?\d(?:\d{18}|[\d.]*+[eE])")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class JsonError(ValueError):
    """The bytes are not JSON that we take; one line says why."""


def decode(payload: bytes) -> Any:
    """The value that the UTF-8 bytes hold, or JsonError."""
    try:
        if _NUMBER.search(b" " + payload) is None and _SURROGATE.search(payload) is None:
            value = _plain.decode(payload.decode())
        else:
            value = _careful.decode(payload.decode())
            encode(value)  # a lone surrogate cannot be written again
    except UnicodeError as error:
        raise JsonError("not UTF-8") from error
    except RecursionError as error:
        raise JsonError("nested too deep") from error
    except ValueError as error:
        raise JsonError(f"not JSON: {error}") from error
    if payload.count(b"[") + payload.count(b"{") > MAX_DEPTH and _is_deep(value):
        raise JsonError("nested too deep")
    return value


def encode(value: Any) -> bytes:
    """Compact UTF-8 JSON. Raises ValueError for what JSON has no word for (NaN, infinities)."""
    return _compact.encode(value).encode()


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        holders = [one for one in level if type(one) in (list, dict)]
        if not holders:
            return False
        level = [each for one in holders for each in (one if type(one) is list else one.values())]
    return True


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number")


def _int(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) > MAX_INT:
        raise ValueError("a number of more than 64 bits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number out of range")
    return number


_plain = json.JSONDecoder(parse_constant=_no_constant)
_careful = json.JSONDecoder(parse_constant=_no_constant, parse_int=_int, parse_float=_float)
_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
