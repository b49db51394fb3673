"""swarming-agent with its constants of time made short, for tests: ``python -m tests.fast_agent``.

The product has no way to go faster; this starter changes the constants of its own process before
the agent begins, and the rest is the real thing. FAST (environment) is by how much, 20 if unset.
"""

import functools
import os
import sys

from agent import (
    brokers,
    cli,
    drain,
    ladder,
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
    interval_s = schedule.ECHO_GAP_S / FACTOR
    timeout_s = max(schedule.ECHO_TIMEOUT_S / FACTOR, 0.2)
    Pinger.ping = functools.partialmethod(  # type: ignore[method-assign, assignment]
        Pinger.ping, interval_s=interval_s, timeout_s=timeout_s
    )
    first_hop = functools.partial(ladder.first_hop, interval_s=0.05, timeout_s=0.1)
    ladder.first_hop = first_hop  # type: ignore[assignment]
    probing.FIND_HOP_AGAIN_S /= FACTOR
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


if __name__ == "__main__":
    shorten()
    sys.exit(cli.main())
