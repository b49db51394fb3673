"""What is broken, and when: the same for the same seed. Pure."""

import random
from typing import NamedTuple


class Step(NamedTuple):
    """One evil deed. ``who`` is the name of a part; ``for_s`` how long it lasts, or is down."""

    at_s: float
    what: str
    who: str
    for_s: float
    value: float = 0.0


class Swarm(NamedTuple):
    """Who there is. The last broker has no indexer."""

    agents: tuple[str, ...]
    brokers: tuple[str, ...]
    indexers: tuple[str, ...]

    @property
    def small_disks(self) -> tuple[str, ...]:
        """Agents whose journal lies on a disk that can be filled."""
        return self.agents[::3]


STEP_S = 2700.0  # the farthest that a wrong clock is stepped: an hour ahead would be refused

# what: (how often, among whom, shortest, longest)
_EVIL: dict[str, tuple[int, str, float, float]] = {
    "kill agent": (10, "agents", 0.0, 4.0),
    "stop agent": (2, "agents", 0.0, 4.0),
    "reboot agent": (4, "agents", 1.0, 6.0),
    "pause agent": (4, "agents", 1.0, 10.0),
    "cut agent": (8, "agents", 1.0, 25.0),
    "step clock": (4, "agents", 0.0, 0.0),
    "fill disk": (4, "small_disks", 4.0, 25.0),
    "kill broker": (4, "brokers", 0.0, 8.0),
    "wipe broker": (2, "brokers", 0.0, 4.0),
    "pause broker": (2, "brokers", 2.0, 12.0),
    "cut broker": (2, "brokers", 2.0, 12.0),
    "kill indexer": (5, "indexers", 0.0, 6.0),
    "kill indexers": (2, "indexers", 0.0, 6.0),
    "stop indexer": (1, "indexers", 0.0, 6.0),
    "pause indexer": (2, "indexers", 1.0, 10.0),
    "cut indexer": (2, "indexers", 2.0, 12.0),
    "fill store": (1, "indexers", 3.0, 12.0),
}


def make(seed: int, swarm: Swarm, seconds: float, every_s: float) -> list[Step]:
    """The whole plan, in order of time."""
    rng = random.Random(seed)
    kinds = list(_EVIL)
    weights = [_EVIL[kind][0] for kind in kinds]
    steps: list[Step] = []
    at_s = rng.expovariate(1 / every_s)
    while at_s < seconds:
        what = rng.choices(kinds, weights)[0]
        _, among, least_s, most_s = _EVIL[what]
        who = rng.choice(getattr(swarm, among))
        for_s = rng.uniform(least_s, most_s)
        steps.append(Step(at_s, what, who, for_s, rng.uniform(-STEP_S, STEP_S)))
        at_s += rng.expovariate(1 / every_s)
    return steps
