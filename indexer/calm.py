"""For a command: a store that is down is asked again, after longer and longer pauses."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from indexer.patience import Patience
from indexer.store import StoreDown

PATIENCE_S = 60.0

T = TypeVar("T")


class Calm:
    """A store that is down is asked again, after longer and longer pauses, for PATIENCE_S."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._patience = Patience(random.Random())
        self._since_s = 0.0

    def call(self, work: Callable[[], T]) -> T:
        while True:
            try:
                found = work()
            except StoreDown as error:
                self.failed(error)
            else:
                self._patience.answered()
                return found

    def failed(self, error: StoreDown) -> None:
        """Waits for a while, or raises it."""
        now_s = time.monotonic()
        if self._patience.failed(str(error), now_s):
            self._since_s = now_s
            self._say(f"the store takes nothing now: {error}; waiting for it")
        if now_s - self._since_s >= PATIENCE_S:
            raise error
        time.sleep(self._patience.due_s(now_s) or 0)
