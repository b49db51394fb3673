"""swarming-indexer in a hurry, its constants of time made short: ``python -m tests.fast_indexer``.

The product has no way to go faster; this starter changes the constants of its own process before
the indexer begins, and the rest is the real thing. FAST (environment) is by how much, 20 if unset.
"""

import functools
import os
import sys
from typing import Any

from agent.connection import Connection
from indexer import chores, cli, leader, lines, lists, presence, swarming_indexer

FACTOR = float(os.environ.get("FAST", "20"))
KEEPALIVE_S = max(4, round(30 / FACTOR))
_SHORTENED: dict[Any, tuple[str, ...]] = {
    swarming_indexer: ("ANNOUNCE_S", "TIME_ASKED_S"),
    chores: ("PRESENCE_S", "LEASE_S", "ROLLUP_S"),
    leader: ("LEASE_MS", "RENEW_MS", "SWARM_MS", "SWARM_CHANGE_MS", "LOOK_MS", "VERDICT_MS"),
    lines: ("LAST_S", "TAKEN_OVER_S", "STEADY_S"),
    lists: ("SETTLE_MS",),
    presence: ("WRITE_MS",),
}
LEAST_SILENCE_MS = 6_000


def shorten() -> None:
    """Every wait of the indexer is FACTOR times shorter from here on."""
    for module, names in _SHORTENED.items():
        for name in names:
            shorter = getattr(module, name) / FACTOR
            setattr(module, name, round(shorter) if name.endswith("_MS") else shorter)
    presence.SILENCE_MS = max(LEAST_SILENCE_MS, round(presence.SILENCE_MS / FACTOR))
    hurried: Any = functools.partial(Connection, keepalive_s=KEEPALIVE_S, step_s=5.0)
    vars(lines)["Connection"] = hurried


if __name__ == "__main__":
    shorten()
    sys.exit(cli.main())
