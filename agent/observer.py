"""Asks the box, on a thread of its own, what may take seconds: its clock, and its modem's tools."""

import queue
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from agent import clock, link
from agent.line import Answer, Wish
from agent.link import outside


class Observed(NamedTuple):
    clock: clock.Facts


class ObserverCrashed(NamedTuple):
    error: Exception


class Observer:
    """Posts what the box knows of its clock: at once, and every so often until stopped; and the
    answer to each wish."""

    def __init__(
        self,
        post: Callable[[Observed | Answer | ObserverCrashed], None],
        serial_ports: tuple[str, ...] = (),
        pages: str = "modem",
    ) -> None:
        self.every_s = clock.ASK_EVERY_S
        self.serial_ports, self.pages = serial_ports, pages  # that the owner lets us ask
        self._post = post
        self._stop = threading.Event()
        self._wishes: queue.SimpleQueue[Wish | None] = queue.SimpleQueue()
        threading.Thread(target=self._observe, name="observer", daemon=True).start()

    def ask(self, wish: Wish) -> None:
        self._wishes.put(wish)

    def stop(self) -> None:
        self._stop.set()
        self._wishes.put(None)

    def _observe(self) -> None:
        try:
            while not self._stop.is_set():
                self._post(Observed(clock.ask()))
                self._answer_until(time.monotonic() + self.every_s)
        except Exception as error:  # a bug of ours must reach the loop, not end a thread unseen
            self._post(ObserverCrashed(error))

    def _answer_until(self, until_s: float) -> None:
        while not self._stop.is_set() and (left_s := until_s - time.monotonic()) > 0:
            try:
                wish = self._wishes.get(timeout=left_s)
            except queue.Empty:
                return
            if wish is not None:
                self._post(self._answer(wish))

    def _answer(self, wish: Wish) -> Answer:
        ways = link.own_ways(self.serial_ports, self.pages, self._stop)
        said = link.ask(ways, only=wish.sources)
        name = outside.name_of(wish.first_hop) if wish.first_hop is not None else None
        return Answer(wish, said, name, clock.boot_ns() / 1e9)
