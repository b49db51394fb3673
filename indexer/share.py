"""Is a shared subscription worth its name here? Asked before anything depends on it. Pure.

Brokers grant `$share/GROUP/ping/#` and then deliver nothing (amqtt and NATS do). So each connection
publishes a probe on `ping/_share/<nonce>`: it must come back to some member of the group. If that
is another, it notes the nonce as a fact in the store, which all members have; the prober looks
there. No answer to TRIES probes: plain subscriptions, and a warning. While the store is down no
answer says nothing; the tries begin anew when it is back.
"""

import secrets

from agent import wire

TRIES = 3
WAIT_S = 5.0
_NONCE_BYTES = 4


def shared_topic(group: str) -> str:
    return f"$share/{group}/ping/#"


def fact_of(owner: str) -> str:
    """Where the store keeps the last probe of this indexer that came back."""
    return f"share/{owner}"


def owner_of(nonce: str) -> str | None:
    """Who sent the probe; None for one that no indexer sent."""
    owner, _, random = nonce.rpartition(".")
    well = wire.is_name(owner) and owner.startswith("indexer-") and len(random) == 2 * _NONCE_BYTES
    return owner if well else None


class ShareProbe:
    """The probing of one connection. ``verdict``: None while open, True it works, False it doesn't.

    Call begin once the subscription was granted, tick whenever it is due.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._sent: list[str] = []
        self._tries = 0
        self._due_s: float | None = None
        self.verdict: bool | None = None

    def begin(self, granted: bool, now_s: float) -> None:
        if not granted:
            self.verdict = False
        elif self._due_s is None:
            self._due_s = now_s

    def due_s(self, now_s: float) -> float | None:
        """In how long tick should be called; None: no more."""
        if self.verdict is not None or self._due_s is None:
            return None
        return max(0.0, self._due_s - now_s)

    def tick(self, now_s: float) -> str | None:
        """The topic of the probe that is to be published now, if one is."""
        if self.due_s(now_s) != 0.0:
            return None
        if self._tries == TRIES:
            self.verdict = False
            return None
        self._tries += 1
        self._due_s = now_s + WAIT_S
        self._sent.append(f"{self._owner}.{secrets.token_hex(_NONCE_BYTES)}")
        return wire.share_probe_topic(self._sent[-1])

    def hold(self, now_s: float) -> None:
        """The store is down: what was sent so far counts only if it has come back."""
        if self.verdict is None and self._due_s is not None:
            self._tries = 0
            self._due_s = now_s + WAIT_S

    def came_back(self, nonce: object) -> None:
        """A member of the group has got this probe."""
        if nonce in self._sent and self.verdict is None:
            self.verdict = True
