"""What a copy shows: on a terminal bars, on standard error; elsewhere only what happens."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from agent.wire import rfc3339
from indexer.store import StoreDown

_BY_TIME = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"


class Shown:
    """bars: whether there is a terminal for them; quiet: not even lines."""

    def __init__(self, *, bars: bool, quiet: bool) -> None:
        self._bars = bars
        self._quiet = quiet

    def say(self, line: str) -> None:
        if not self._quiet:
            with tqdm.external_write_mode(file=sys.stderr):
                print(line, file=sys.stderr, flush=True)

    @contextmanager
    def counting(self, what: str) -> Iterator[Callable[[int], None]]:
        """Told how many more there are."""
        with tqdm(desc=what, unit="", disable=not self._bars) as bar:
            yield bar.update

    @contextmanager
    def remaining(self, what: str) -> Iterator[Callable[[int], None]]:
        """Told how many are left."""
        with tqdm(desc=what, unit="", disable=not self._bars) as bar:

            def show(left: int) -> None:
                bar.total = max(bar.total or 0, bar.n + left)
                bar.update(bar.total - left - bar.n)

            yield show

    @contextmanager
    def days(
        self, span_ms: Callable[[], tuple[int, int] | None]
    ) -> Iterator[Callable[[int, int], None]]:
        """Told of which time the last result is, and how many more there are. The span is asked for
        only when there is somebody to see it."""
        if not self._bars:
            yield lambda at_ms, more: None
            return
        try:
            first_ms, last_ms = span_ms() or (0, 0)
        except StoreDown:
            first_ms = last_ms = 0  # the reading itself will wait for it
        with tqdm(desc="results", total=last_ms - first_ms, bar_format=_BY_TIME) as bar:
            count = 0

            def show(at_ms: int, more: int) -> None:
                nonlocal count
                count += more
                bar.set_description_str(f"{count} results to {rfc3339(at_ms)[:10]}", refresh=False)
                bar.update(max(0, at_ms - first_ms - bar.n))

            yield show
