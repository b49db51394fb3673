"""Runs one probe at a time on a thread of its own, and posts what it gave.

A probe that fails is data. A probe that this box slept through is dropped: it timed the sleep. A
bug in a probe is posted as ProbeCrashed, and never ends the thread unseen. All that is ever sent
to a target starts here, after the policy has seen the address.
"""

import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from agent import ladder, probe_http
from agent.probe_icmp import Pinger
from agent.resolve import ResolveError, Resolver, choose
from agent.schedule import Probe
from agent.targets import Policy, Target

RESOLVE_TIMEOUT_S = 10.0
SLEPT_NS = 1_000_000_000  # the boot clock counts a suspend, the monotonic one does not
FAMILY_CYCLE = 4  # visits, the last of which goes to the family that the system does not prefer


class Probed(NamedTuple):
    """A probe has ended. Without a body it is dropped: this box slept meanwhile."""

    probe: Probe
    body: dict[str, Any] | None
    begun_boot_ns: int
    ended_boot_ns: int


class FirstHopFound(NamedTuple):
    """What answers behind the gateway; None: nobody did."""

    gateway: str | None
    ip: str | None


class ProbeCrashed(NamedTuple):
    """A bug. The prober goes on; what to do about it is the loop's business."""

    probe: Probe | None  # None: while the first hop was looked for
    error: Exception
    trace: str


Event = Probed | FirstHopFound | ProbeCrashed


class _Order(NamedTuple):
    probe: Probe | None  # None: find the first hop
    gateway: str | None
    first_hop: str | None


def boot_clock_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Prober:
    """The one hand that probes. ``policy`` may be replaced between probes."""

    def __init__(
        self,
        post: Callable[[Event], None],
        pinger: Pinger,
        resolver: Resolver,
        policy: Policy,
        *,
        boot_ns: Callable[[], int] = boot_clock_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.policy = policy
        self._post = post
        self._pinger = pinger
        self._resolver = resolver
        self._boot_ns = boot_ns
        self._monotonic_ns = monotonic_ns
        self._stop = threading.Event()
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="prober", daemon=True)
        self._thread.start()

    def submit(
        self, probe: Probe, gateway: str | None = None, first_hop: str | None = None
    ) -> None:
        """Run the probe after those submitted before; a ladder probe needs the rungs' addresses."""
        self._orders.put(_Order(probe, gateway, first_hop))

    def find_first_hop(self, gateway: str | None) -> None:
        """Look behind the gateway, at most one echo a second; FirstHopFound is posted."""
        self._orders.put(_Order(None, gateway, None))

    def stop(self, timeout_s: float = 1.0) -> None:
        """Ends what can be ended; whatever still runs is forgotten, and nothing is posted."""
        self._stop.set()
        self._orders.put(None)
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while (order := self._orders.get()) is not None and not self._stop.is_set():
            event = self._carry_out(order)
            if not self._stop.is_set():
                self._post(event)

    def _carry_out(self, order: _Order) -> Event:
        try:
            if order.probe is None:
                found = ladder.first_hop(self._pinger, order.gateway, stop=self._stop)
                return FirstHopFound(order.gateway, found)
            return self._timed(order.probe, order)
        except Exception as error:  # a bug of ours must reach the loop, not this thread's grave
            return ProbeCrashed(order.probe, error, traceback.format_exc())

    def _timed(self, probe: Probe, order: _Order) -> Probed:
        begun_boot_ns, begun_ns = self._boot_ns(), self._monotonic_ns()
        body: dict[str, Any] | None = self._body(probe, order)
        ended_boot_ns, ended_ns = self._boot_ns(), self._monotonic_ns()
        slept_ns = (ended_boot_ns - begun_boot_ns) - (ended_ns - begun_ns)
        if slept_ns > SLEPT_NS:
            body = None
        return Probed(probe, body, begun_boot_ns, ended_boot_ns)

    def _body(self, probe: Probe, order: _Order) -> dict[str, Any]:
        if probe.target is None:
            rungs = ladder.probe(self._pinger, order.gateway, order.first_hop, stop=self._stop)
            return {"kind": probe.kind, "target": "ladder"} | rungs
        other_family = probe.visit % FAMILY_CYCLE == FAMILY_CYCLE - 1
        if probe.kind == "http":
            body = probe_http.get(
                probe.target, self._resolver, self.policy, other_family=other_family
            )
        else:
            body = self._ping(probe.target, other_family)
        return {"kind": probe.kind, "target": probe.target.text} | body

    def _ping(self, target: Target, other_family: bool) -> dict[str, Any]:
        try:
            found = self._resolver.resolve(target.host, RESOLVE_TIMEOUT_S)
        except ResolveError as error:
            return {"ip": None, "family": None, "ok": False, "error": error.word}
        (ip, family), refused = choose(found, self.policy, other_family)
        where = {"ip": ip, "family": family}
        if refused is not None:
            return where | {"ok": False, "error": "policy", "detail": refused}
        return self._pinger.ping(ip, family, stop=self._stop) | where
