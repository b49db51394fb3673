"""Sets of row ids kept as inclusive ranges: as small as the gaps, however many ids. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Spans:
    """A growing set of integers, as sorted ranges that never touch."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def add(self, first: int, last: int) -> None:
        """All of first..last belong to the set; an empty range adds nothing."""
        if first > last:
            return
        start = bisect_left(self._last, first - 1)
        end = bisect_right(self._first, last + 1)
        if start < end:
            first = min(first, self._first[start])
            last = max(last, self._last[end - 1])
        self._first[start:end] = [first]
        self._last[start:end] = [last]

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._first, number) - 1
        return at >= 0 and number <= self._last[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._first, self._last, strict=True))

    def __len__(self) -> int:
        """How many ranges there are: what the set costs."""
        return len(self._first)

    def end_of(self, number: int) -> int:
        """The last number of the range that holds this one, which must be in the set."""
        return self._last[bisect_right(self._first, number) - 1]
