"""Percentiles that merge honestly: any quantile within 1 % of the exact one, in a few bytes.

Values fall into buckets whose bounds grow by a constant factor (the idea of DDSketch), so merging
is adding counts: the merged sketch is the very one that all values together would have made, in
whatever order. Values below a microsecond count as one; zero and less cannot be told from it.
"""

from collections.abc import Iterable
from math import ceil, log

ACCURACY = 0.01
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = log(_GAMMA)
_MIDDLE = 2 / (1 + _GAMMA)  # of a bucket, as a factor of its upper bound
SMALLEST = 0.001
LARGEST = 1e9
_FIRST = ceil(log(SMALLEST) / _LOG_GAMMA)  # the lowest bucket; bytes count from here


class Sketch:
    """How many values fell into each bucket."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sketch) and self.counts == other.counts

    __hash__ = None  # type: ignore[assignment]

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def add(self, value: float) -> None:
        self.extend((value,))

    def extend(self, values: Iterable[float]) -> None:
        counts = self.counts
        for value in values:
            bounded = min(max(value, SMALLEST), LARGEST)
            bucket = ceil(log(bounded) / _LOG_GAMMA)
            counts[bucket] = counts.get(bucket, 0) + 1

    def merge(self, other: "Sketch") -> None:
        """Afterwards as if every value of the other had been added here."""
        counts = self.counts
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count

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
        """For each bucket its distance from the one before and its count, as varints."""
        numbers: list[int] = []
        before = _FIRST
        for bucket, count in sorted(self.counts.items()):
            numbers += (bucket - before, count)
            before = bucket
        if max(numbers, default=0) < 0x80:
            return bytes(numbers)
        return b"".join(map(_varint, numbers))

    @classmethod
    def from_bytes(cls, packed: bytes) -> "Sketch":
        """The sketch that to_bytes gave. Raises ValueError for what it cannot have given."""
        numbers = list(packed) if packed.isascii() else _numbers(packed)
        if len(numbers) % 2:
            raise ValueError("a sketch that ends in the middle")
        sketch = cls()
        bucket = _FIRST
        for distance, count in zip(numbers[::2], numbers[1::2], strict=True):
            bucket += distance
            sketch.counts[bucket] = count
        return sketch


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    packed = bytearray()
    while number >= 0x80:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)
    return bytes(packed)


def _numbers(packed: bytes) -> list[int]:
    numbers = []
    number = shift = 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    if shift:
        raise ValueError("a sketch that ends in the middle")
    return numbers
