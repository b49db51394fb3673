"""How large a batch each broker takes, learnt from what it broke on, remembered for a day."""

import logging
from typing import Any, Protocol

log = logging.getLogger(__name__)

SETTING = "batch_bytes"
_CUTS = 2


class Memory(Protocol):
    """Where it is remembered, and what time it is as far as anybody knows."""

    @property
    def newest_ms(self) -> int: ...
    def get(self, key: str, default: Any = None) -> Any: ...
    def put(self, key: str, value: Any) -> None: ...


class Limits(Protocol):
    """Between what sizes, and for how long."""

    @property
    def batch_bytes(self) -> int: ...
    @property
    def least_batch_bytes(self) -> int: ...
    @property
    def smaller_for_s(self) -> float: ...


class Sizes:
    """The largest batch for each broker."""

    def __init__(self, memory: Memory, limits: Limits) -> None:
        self._memory, self._limits = memory, limits
        self._cuts: dict[str, int] = {}

    def limit(self, broker: str) -> int:
        """How many bytes a batch may have."""
        known = self._known().get(broker)
        return known[0] if known else self._limits.batch_bytes

    def cut(self, broker: str) -> None:
        """The connection ended with a batch in flight."""
        self._cuts[broker] = self._cuts.get(broker, 0) + 1
        if self._cuts[broker] >= _CUTS:
            self.halve(broker)

    def passed(self, broker: str) -> None:
        """It took a batch."""
        self._cuts.pop(broker, None)

    def halve(self, broker: str) -> bool:
        """Smaller ones from now on; False: they are as small as they get."""
        self._cuts.pop(broker, None)
        limit_bytes = self.limit(broker)
        smaller = max(self._limits.least_batch_bytes, limit_bytes // 2)
        if smaller == limit_bytes:
            return False
        until_ms = self._memory.newest_ms + int(self._limits.smaller_for_s * 1000)
        self._memory.put(SETTING, self._known() | {broker: [smaller, until_ms]})
        log.info("batches for %s have at most %d bytes from now on", broker, smaller)
        return True

    def _known(self) -> dict[str, list[int]]:
        """What is still remembered; nonsense is not."""
        known = self._memory.get(SETTING, {})
        now_ms = self._memory.newest_ms
        if not isinstance(known, dict):
            return {}
        return {
            broker: entry
            for broker, entry in known.items()
            if isinstance(entry, list) and len(entry) == 2 and entry[1] > now_ms
        }
