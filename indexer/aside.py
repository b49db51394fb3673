"""Work that takes too long for the loop: on a thread of its own, and never the same twice at once.

Its end is an event in the loop's queue; whatever state it changes, it changes there, in `then`.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Ended(NamedTuple):
    """The work has ended with an answer, or with what it raised; the loop calls `settle`."""

    aside: "Aside"
    then: Callable[[Any, float], None]
    answer: Any
    error: Exception | None
    took_s: float

    def settle(self) -> None:
        """What the work was for, on the loop's thread; raises what the work raised."""
        self.aside.busy = False
        if self.error is not None:
            raise self.error
        self.then(self.answer, self.took_s)


class Aside:
    """One kind of work; ``busy`` from its start until the loop has settled it."""

    def __init__(self, name: str, post: Callable[[Ended], None]) -> None:
        self._name = name
        self._post = post
        self.busy = False

    def start(self, work: Callable[[], Any], then: Callable[[Any, float], None]) -> None:
        """Begins the work; then(answer, took_s) follows."""
        assert not self.busy, f"{self._name} has not ended yet"
        self.busy = True
        threading.Thread(target=self._do, args=(work, then), name=self._name, daemon=True).start()

    def _do(self, work: Callable[[], Any], then: Callable[[Any, float], None]) -> None:
        begun_s = time.monotonic()
        answer, raised = None, None
        try:
            answer = work()
        except Exception as error:
            raised = error
        self._post(Ended(self, then, answer, raised, time.monotonic() - begun_s))
