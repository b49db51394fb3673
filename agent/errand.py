"""A short visit to a broker beside a running agent: go there, do one thing, come back.

It has a client id of its own, no session and no will, so that it takes nobody's place and leaves
nothing behind. All of it blocks, for a bounded time: for a command, not for the agent's loop.
"""

import queue
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from agent import connection
from agent.connection import Broker, Connection, Credentials

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
_SPARE_S = 4.0


class Member(NamedTuple):
    """As whom we come."""

    name: str
    credentials: Credentials
    mqtt: str = "auto"


class Talk:
    """An open connection, and what has come over it so far. Made by ``visit``."""

    def __init__(self, broker: Broker, client_id: str, who: Member, version: str) -> None:
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.connection = Connection(
            broker,
            client_id,
            post=self.events.put,
            version=version,
            credentials=who.credentials,
        )
        self.opened: connection.Opened | None = None
        self.over: connection.Refused | connection.Closed | None = None
        self.denied: tuple[str, ...] = ()
        self.subscribed = 0
        self.acknowledged: dict[int, int] = {}  # token, code
        self.received: list[connection.Received] = []

    def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Waits for it; False: the time or the connection is over."""
        end_s = time.monotonic() + within_s
        while not condition():
            left_s = end_s - time.monotonic()
            if self.over is not None or left_s <= 0:
                return False
            try:
                self._take(self.events.get(timeout=left_s))
            except queue.Empty:
                return False
        return True

    def opens(self, within_s: float) -> bool:
        """Whether the broker lets us in by then."""
        self.connection.open()
        return self.until(lambda: self.opened is not None, within_s)

    @property
    def refused(self) -> connection.Refused:
        """How it did not come about."""
        if isinstance(self.over, connection.Refused):
            return self.over
        return connection.Refused(self.connection, "no answer in time", None, "connack")

    def close(self) -> None:
        self.connection.close()

    def _take(self, event: connection.Event) -> None:
        if isinstance(event, connection.Crashed):
            raise event.error
        if isinstance(event, connection.Opened):
            self.opened = event
        elif isinstance(event, connection.Subscribed):
            self.subscribed += 1
            self.denied += event.denied
        elif isinstance(event, connection.Acknowledged):
            self.acknowledged[event.token] = event.code
        elif isinstance(event, connection.Received):
            self.received.append(event)
        else:
            self.over = event


def visit(broker: Broker, what: str, who: Member, within_s: float) -> Talk | connection.Refused:
    """An open Talk as ``NAME.what``, or how it was refused. 3.1.1 where 5 is not taken."""
    end_s = time.monotonic() + within_s
    first = connection.NEWEST if who.mqtt == "auto" else who.mqtt
    versions = [first, "3.1.1"] if who.mqtt == "auto" and first == "5" else [first]
    refused: connection.Refused | None = None
    while versions:
        talk = Talk(broker, f"{who.name}.{what}", who, versions.pop(0))
        # Some stay silent at version 5: time must be left for the other one.
        spare_s = _SPARE_S if versions else 0.0
        if talk.opens(end_s - spare_s - time.monotonic()):
            return talk
        talk.close()
        refused = talk.refused
        if not _is_about_version(refused):
            break
    assert refused is not None
    return refused


class Answer(NamedTuple, Generic[K, T]):
    asked: K
    what: T


def everywhere(
    asked: Sequence[K], do: Callable[[K], T], otherwise: T, within_s: float
) -> Iterator[Answer[K, T]]:
    """What ``do`` gives for each, in their order. All begin now, at once; where it has not ended
    in time, it is left behind and the answer is ``otherwise``."""
    by_s = time.monotonic() + within_s
    answers: dict[K, queue.SimpleQueue[T | Exception]] = {}
    for one in asked:
        answers[one] = queue.SimpleQueue()
        carry = (do, one, answers[one])
        threading.Thread(target=_carry, args=carry, name=f"errand {one}", daemon=True).start()
    return (Answer(one, _awaited(answer, otherwise, by_s)) for one, answer in answers.items())


def _carry(do: Callable[[K], T], one: K, answer: "queue.SimpleQueue[T | Exception]") -> None:
    try:
        answer.put(do(one))
    except Exception as error:  # carried to the thread that asked, raised there
        answer.put(error)


def _awaited(answer: "queue.SimpleQueue[T | Exception]", otherwise: T, by_s: float) -> T:
    try:
        found = answer.get(timeout=max(0.0, by_s - time.monotonic()))
    except queue.Empty:
        return otherwise
    if isinstance(found, Exception):
        raise found
    return found


def _is_about_version(refused: connection.Refused) -> bool:
    if refused.code is not None:
        return refused.code == connection.UNSUPPORTED_VERSION
    return refused.stage in ("closed", "connack")
