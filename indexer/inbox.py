"""What has arrived and is not committed yet: payloads as they came, undecoded, counted in bytes.

The broker's in-flight window is what bounds the inbox (nothing in it has been acknowledged). A
broker that knows no window could fill the memory; past LIMIT_BYTES its connection is given up, and
what came over it is forgotten: nobody has promised anything about it.
"""

from collections import deque
from typing import NamedTuple

from agent.connection import Connection, Received

LIMIT_BYTES = 64 * 1024 * 1024
_MESSAGE_BYTES = 500  # what a message costs beside its payload


class Fullest(NamedTuple):
    """The connection that brought most of what is waiting."""

    connection: Connection
    waiting_bytes: int


class Inbox:
    """First in, first out; ``waiting_bytes`` is what it holds."""

    def __init__(self) -> None:
        self._waiting: deque[Received] = deque()
        self.waiting_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, arrived: Received) -> None:
        self._waiting.append(arrived)
        self.waiting_bytes += cost_bytes(arrived)

    def take(self) -> Received:
        """The oldest; it is no longer the inbox's."""
        arrived = self._waiting.popleft()
        self.waiting_bytes -= cost_bytes(arrived)
        return arrived

    def fullest(self) -> Fullest | None:
        """Whose connection to give up, once the limit is passed."""
        if self.waiting_bytes <= LIMIT_BYTES:
            return None
        costs: dict[Connection, int] = {}
        for arrived in self._waiting:
            costs[arrived.connection] = costs.get(arrived.connection, 0) + cost_bytes(arrived)
        connection = max(costs, key=lambda one: costs[one])
        return Fullest(connection, costs[connection])

    def forget(self, connection: Connection) -> None:
        """Lets go of all that came over this connection; its broker or its agents have it."""
        kept = [arrived for arrived in self._waiting if arrived.connection is not connection]
        self._waiting = deque(kept)
        self.waiting_bytes = sum(cost_bytes(arrived) for arrived in kept)


def cost_bytes(arrived: Received) -> int:
    return len(arrived.payload) + len(arrived.topic) + _MESSAGE_BYTES
