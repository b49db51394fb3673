"""swarming-agent with its constants of time made short, for tests: ``python -m tests.fast_agent``.

The product has no way to go faster; this starter changes the constants of its own process before
the agent begins, and the rest is the real thing. FAST (environment) is by how much, 20 if unset.
"""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from agent import (
    brokers,
    cli,
    drain,
    ladder,
    line,
    probing,
    schedule,
    store_home,
    swarming_agent,
    uplink,
    watch,
)
from agent.probe_icmp import Pinger

FACTOR = float(os.environ.get("FAST", "20"))
_PROBED = (
    "SLOT_S",
    "JITTER_S",
    "HOST_GAP_S",
    "LOOK_S",
    "SWARM_S",
    "SLOWEST_S",
    "HALVED_S",
)


def shorten() -> None:
    """Every wait of the agent is FACTOR times shorter from here on."""
    for name in _PROBED:
        setattr(schedule, name, getattr(schedule, name) / FACTOR)
    Pinger.ping = _hurried(Pinger.ping)  # type: ignore[method-assign]
    first_hop = functools.partial(ladder.first_hop, interval_s=0.05, timeout_s=0.1)
    ladder.first_hop = first_hop  # type: ignore[assignment]
    probing.FIND_HOP_AGAIN_S /= FACTOR
    line.ASK_EVERY_S /= FACTOR
    line.ASK_MOBILE_EVERY_S /= FACTOR
    watch.SETTLE_S /= FACTOR
    store_home.RETRY_S /= FACTOR
    brokers.FIRST_WAIT_S /= FACTOR
    brokers.LONGEST_WAIT_S /= FACTOR
    brokers.NO_INDEXER_S /= FACTOR
    brokers.SHORT_LIFE_S /= FACTOR
    brokers.TAKEOVER_WAIT_S /= FACTOR
    uplink.SHORT_LIFE_S /= FACTOR
    swarming_agent.PUBLISH_AFTER_S = 1.0
    rules = drain.Rules()
    rules = rules._replace(
        **{name: value / FACTOR for name, value in rules._asdict().items() if name.endswith("_s")}
    )
    uplink.Drain = functools.partial(drain.Drain, rules=rules)  # type: ignore[misc, assignment]


def _hurried(ping: Callable[..., Any]) -> Callable[..., Any]:
    """A ping that waits less, between its echoes and for the last one."""

    @functools.wraps(ping)
    def hurried(
        self: Pinger,
        ip: str,
        family: int,
        count: int = 10,
        interval_s: float = 1.0,
        timeout_s: float = 5.0,
        **more: Any,
    ) -> Any:
        interval_s, timeout_s = interval_s / FACTOR, max(timeout_s / FACTOR, 0.2)
        return ping(self, ip, family, count, interval_s, timeout_s, **more)

    return hurried


if __name__ == "__main__":
    shorten()
    sys.exit(cli.main())
