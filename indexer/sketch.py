"""Percentiles that merge honestly: any quantile within 1 % of the exact one, in a few bytes.

Values fall into buckets whose bounds grow by a constant factor (the idea of DDSketch), so merging
is adding counts: the merged sketch is the very one that all values together would have made, in
whatever order. Values below a microsecond count as one; zero and less cannot be told from it.
"""

import sys
from array import array
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate
from math import ceil, log

ACCURACY = 0.01
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = log(_GAMMA)
_MIDDLE = 2 / (1 + _GAMMA)  # of a bucket, as a factor of its upper bound
SMALLEST = 0.001
LARGEST = 1e9
_FIRST = ceil(log(SMALLEST) / _LOG_GAMMA)  # the lowest bucket; bytes count from here
_WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}  # bytes of a number, little end first: its array type


class Sketch:
    """How many values fell into each bucket."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sketch) and self.counts == other.counts

    __hash__ = None  # type: ignore[assignment]

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def add(self, value: float) -> None:
        self.counts[_bucket(value)] += 1

    def extend(self, values: Iterable[float]) -> None:
        self.counts.update(map(_bucket, values))

    def merge(self, other: "Sketch") -> None:
        """Afterwards as if every value of the other had been added here."""
        self.counts.update(other.counts)

    def quantiles(self, *wanted: float) -> list[float | None]:
        """For each q, in rising order, the value of rank q·(n - 1), rounded down; None if empty."""
        last = self.count - 1
        if last < 0:
            return [None] * len(wanted)
        found: list[float | None] = []
        seen = 0
        for bucket, count in sorted(self.counts.items()):
            seen += count
            while len(found) < len(wanted) and int(wanted[len(found)] * last) < seen:
                found.append(_MIDDLE * _GAMMA**bucket)
        return found

    def quantile(self, q: float) -> float | None:
        return self.quantiles(q)[0]

    def to_bytes(self) -> bytes:
        """Each bucket's distance from the one before, then each count; the widths of both first."""
        if not self.counts:
            return b""
        buckets, counts = zip(*sorted(self.counts.items()), strict=True)
        before = (_FIRST, *buckets[:-1])
        distances = [bucket - last for bucket, last in zip(buckets, before, strict=True)]
        widths = _width(distances), _width(counts)
        return bytes(widths) + _packed(distances, widths[0]) + _packed(counts, widths[1])

    @classmethod
    def from_bytes(cls, packed: bytes) -> "Sketch":
        """The sketch that to_bytes gave. Raises ValueError for what it cannot have given."""
        sketch = cls()
        if packed:
            distances, counts = _numbers(packed)
            buckets = accumulate(distances, initial=_FIRST)
            next(buckets)
            sketch.counts = Counter(dict(zip(buckets, counts, strict=True)))
        return sketch


def _bucket(value: float) -> int:
    return ceil(log(min(max(value, SMALLEST), LARGEST)) / _LOG_GAMMA)


def _width(numbers: Iterable[int]) -> int:
    """How many bytes the largest of them needs."""
    largest = max(numbers)
    return next(width for width in _WIDTHS if largest < 1 << 8 * width)


def _packed(numbers: Iterable[int], width: int) -> bytes:
    made = array(_WIDTHS[width], numbers)
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()


def _numbers(packed: bytes) -> tuple["array[int]", "array[int]"]:
    widths = packed[0], packed[1] if len(packed) > 1 else 0
    count, odd = divmod(len(packed) - 2, sum(widths) or 1)
    if odd or any(width not in _WIDTHS for width in widths):
        raise ValueError("a sketch that ends in the middle")
    distances, counts = (array(_WIDTHS[width]) for width in widths)
    end = 2 + count * widths[0]
    distances.frombytes(packed[2:end])
    counts.frombytes(packed[end:])
    if sys.byteorder == "big":
        distances.byteswap()
        counts.byteswap()
    return distances, counts
