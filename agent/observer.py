"""Asks the box about its clock, on a thread of its own: the answers may take seconds."""

import threading
from collections.abc import Callable
from typing import NamedTuple

from agent import clock


class Observed(NamedTuple):
    clock: clock.Facts


class ObserverCrashed(NamedTuple):
    error: Exception


class Observer:
    """Posts what the box knows of its clock: at once, and every so often until stopped."""

    def __init__(self, post: Callable[[Observed | ObserverCrashed], None]) -> None:
        self.every_s = clock.ASK_EVERY_S
        self._post = post
        self._stop = threading.Event()
        threading.Thread(target=self._observe, name="observer", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _observe(self) -> None:
        while not self._stop.is_set():
            try:
                self._post(Observed(clock.ask()))
            except Exception as error:  # a bug of ours must reach the loop, not end a thread unseen
                self._post(ObserverCrashed(error))
                return
            self._stop.wait(self.every_s)
