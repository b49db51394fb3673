"""What is usual for one agent, target, kind, family, link and address prefix. Pure.

x is ln(median of the echoes). A window of accepted probes gives its median and the threshold: how
far the mean of three probes may lie above it. A probe that is bad is never accepted, so a long
incident does not become the usual. Until 12 probes are in, nothing is known, and absolute rules
hold (series.py).
"""

import math
from statistics import median
from typing import NamedTuple

from indexer.verdict.probes import MOBILE, Probe, log_ms, site_of

ENOUGH = 12
WINDOW = 400
LEAST = math.log(1.25)
MANY = 100
NOISE = 0.05
LEAST_MS = 2.0  # a quarter more of a millisecond is nothing that anybody notices
QUANTILE = 0.995
WEEK_MS = 7 * 24 * 3600 * 1000


class Key(NamedTuple):
    """What a baseline is kept for. The prefix is in it: another site has another RTT."""

    agent: str
    target: str
    kind: str
    family: int | None
    link: str
    prefix: str | None


def key_of(agent: str, probe: Probe) -> Key:
    return Key(agent, probe.target, probe.kind, probe.family, probe.link, site_of(probe.ip))


class Usual:
    """A rolling window of what was accepted as usual."""

    __slots__ = (
        "xs",
        "sent",
        "lost",
        "waits",
        "first_ms",
        "last_ms",
        "centre",
        "threshold",
        "_due",
    )

    def __init__(self) -> None:
        self.xs: list[float] = []
        self.waits: list[float] = []  # HTTP: ms to the first byte, less one RTT
        self.sent = 0
        self.lost = 0
        self.first_ms = self.last_ms = 0
        self.centre = 0.0
        self.threshold = LEAST
        self._due = ENOUGH

    def copy(self) -> "Usual":
        other = Usual()
        other.xs, other.waits = list(self.xs), list(self.waits)
        other.sent, other.lost = self.sent, self.lost
        other.first_ms, other.last_ms = self.first_ms, self.last_ms
        other.centre, other.threshold, other._due = self.centre, self.threshold, self._due
        return other

    @property
    def known(self) -> bool:
        return len(self.xs) >= ENOUGH

    @property
    def ms(self) -> float | None:
        """The usual median, or None while it is not known."""
        return math.exp(self.centre) if self.known else None

    @property
    def loss(self) -> float:
        """The usual share of echoes lost: 0 until enough were sent."""
        return self.lost / self.sent if self.sent >= 100 else 0.0

    @property
    def wait_ms(self) -> float | None:
        return median(self.waits) if len(self.waits) >= ENOUGH else None

    def accept(self, probe: Probe) -> None:
        """Take a probe that was fine."""
        if not self.first_ms:
            self.first_ms = probe.begun_ms
        self.last_ms = probe.begun_ms
        self.sent += probe.sent
        self.lost += probe.lost
        if self.sent > 2 * 10 * WINDOW:
            self.sent, self.lost = self.sent // 2, self.lost // 2
        if probe.wait_ms is not None:
            self.waits.append(probe.wait_ms)
            del self.waits[:-WINDOW]
        if probe.ms is None or probe.retried:
            return
        self.xs.append(log_ms(probe.ms))
        del self.xs[:-WINDOW]
        self._due -= 1
        if self._due <= 0:
            self._measure(probe.link in MOBILE)

    def _measure(self, mobile: bool) -> None:
        """Centre and threshold anew; done when the window has grown by an eighth."""
        self._due = max(4, len(self.xs) // 8)
        self.centre = median(self.xs)
        xs = self.xs
        means = sorted((xs[i] + xs[i + 1] + xs[i + 2]) / 3 for i in range(len(xs) - 2))
        highest = means[min(len(means) - 1, int(QUANTILE * len(means)))] - self.centre
        # The highest of few means lies below the real p99.5: allow for what was not seen yet,
        # and for three in a row of the slower of two modes.
        unseen = 1 + (2 if mobile else 1) * ENOUGH / len(xs)
        mode = 0.0 if len(xs) >= MANY else sorted(xs)[int(0.9 * len(xs))] - self.centre + NOISE
        self.threshold = max(LEAST, highest * unseen, mode)


Baselines = dict[Key, Usual]
