"""Is an indexer online here? What this broker said of it, and how long that is believed. Pure.

An indexer counts as online for 15 min after its last live ``indexer/<name>`` or an ack. A retained
one is believed for 15 min from when it came (after a broker's crash it stays for ever).
"""

BELIEVED_S = 900.0
_SOME = ""  # an ack does not tell which indexer sent it


class Indexers:
    """The belief about one broker's indexers."""

    def __init__(self, believed_s: float = BELIEVED_S) -> None:
        self._believed_s = believed_s
        self._until: dict[str, float] = {}
        self._ended: float | None = None

    def seen(self, name: str, online: bool, now: float) -> None:
        """``indexer/<name>`` came. The last one that says goodbye takes the acks' word along."""
        if online:
            self._until[name] = now + self._believed_s
            return
        was_online = self.online(now)
        self._until.pop(name, None)
        if not any(until > now for known, until in self._until.items() if known != _SOME):
            self._until.clear()
        if was_online and not self._until:
            self._ended = now

    def acknowledged(self, now: float) -> None:
        """Some indexer confirmed something."""
        self._until[_SOME] = now + self._believed_s

    def forget(self) -> None:
        """Another broker: nothing is known of it."""
        self._until.clear()
        self._ended = None

    def online(self, now: float) -> bool:
        return any(until > now for until in self._until.values())

    def offline_since(self, now: float) -> float | None:
        """When the last one went, or stopped being believed. None: none was here, or one is."""
        if self.online(now):
            return None
        ends = [*self._until.values()] + ([] if self._ended is None else [self._ended])
        return max(ends, default=None)
