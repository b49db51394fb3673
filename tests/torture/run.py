"""One torture from beginning to end: evil, then peace, then the books."""

import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from agent import clock, control, store
from agent.store_view import ViewError, view
from indexer.store import StoreDown
from indexer.stores import open_store
from tests.torture import books, plan, traffic, witness
from tests.torture.agent import keepalive_s
from tests.torture.evil import Evil
from tests.torture.fakeclock import load
from tests.torture.plan import Swarm
from tests.torture.spy import Spy
from tests.torture.witness import Witness, fingerprint
from tests.torture.world import World

TURN_S = 0.1
BACKLOG = 600  # rows that some agents bring along
LOOK_S = 0.2
TELL_S = 60.0
MOST_DEAD = 40  # processes that ended by themselves
BREATH_S = 6.0  # time for what an agent has in memory to be written


class Order(NamedTuple):
    """What is asked for on the command line."""

    seed: int
    seconds: float
    agents: int
    every_s: float
    patience_s: float
    factor: float
    mutant: str | None


def swarm_of(agents: int) -> Swarm:
    return Swarm(
        tuple(f"agent-{number:02}" for number in range(agents)),
        ("broker-0", "broker-1", "broker-alone"),
        ("indexer-a", "indexer-b"),
    )


class Torture:
    """The world, what is done to it, and who looks on."""

    def __init__(self, order: Order, folder: Path) -> None:
        self.order = order
        self.world = World(swarm_of(order.agents), folder, order.factor, order.mutant)
        self.evil = Evil(self.world)
        self.heard: dict[str, deque[float]] = {}
        self.spies = [Spy(n, self.world.parts[n].address) for n in self.world.swarm.brokers]
        self.gone_alive: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.counts: dict[str, int] = {}
        self._look_at_s = 0.0
        self._store: Any = None

    def run(self) -> None:
        """All of it; what was broken is in ``complaints``."""
        for name in self.world.swarm.agents[1::7]:
            self._bring_along(name)
        for part in self.world.parts.values():
            part.start()
        self._carry_out()
        self.evil.heal()
        self._hanging_indexers()
        self._wiped_brokers()
        self._late_rips()
        self._drain()
        self._stop_all()
        self._make_books()

    def _bring_along(self, name: str) -> None:
        """This agent has measured for long, and was never connected."""
        folder = self.world.folder / name
        setting, seen = load(folder), Witness(folder / "witness")
        real_ns, real_ms = clock.boot_ns(), time.time_ns() // 1_000_000
        boot_ns = real_ns + setting.boot_shift_ns
        offset_ns = time.time_ns() + setting.wall_shift_ns - boot_ns
        journal = store.Journal(str(folder / "disk" / "journal.db"), name, now=0.0)
        journal.follow(clock.Reading(setting.boot_id, boot_ns, offset_ns, "unknown", None))
        seen.write("S", setting.boot_id)
        for number in range(BACKLOG):
            body = {"kind": "icmp", "target": "127.0.0.1", "ok": True, "sent": 2, "received": 2,
                    "rtts_ms": [0.05, number / 1000]}  # fmt: skip
            back_ms = (BACKLOG - number) * 10
            epoch, seq = journal.add(body, boot_ns - back_ms * 1_000_000)
            seen.write("A", epoch, seq, real_ms - back_ms, fingerprint(body))
        journal.flush(0.0)
        seen.write("F", "file")
        journal.close()

    def _turn(self) -> None:
        self.evil.turn()
        for spy in self.spies:
            spy.turn({} if spy.name == self.world.swarm.brokers[-1] else self.heard)
        time.sleep(TURN_S)

    def _until(self, done: Callable[[], bool], for_s: float) -> bool:
        """Whether it came true in time."""
        end_s = time.monotonic() + for_s
        while time.monotonic() < end_s:
            if done():
                return True
            self._turn()
        return done()

    def _carry_out(self) -> None:
        order, begun_s = self.order, time.monotonic()
        told_s = begun_s
        for step in plan.make(order.seed, self.world.swarm, order.seconds, order.every_s):
            while time.monotonic() - begun_s < step.at_s:
                self._turn()
            self.evil.do(step)
            if len(self.evil.complaints) > MOST_DEAD:
                break  # nothing to be learnt from more of the same
            if time.monotonic() - told_s >= TELL_S:
                told_s = time.monotonic()
                print(f"{told_s - begun_s:5.0f} s  {sum(self.evil.done.values())} steps, "
                      f"{sum(spy.results for spy in self.spies)} results heard, "
                      f"{len(self.evil.complaints)} complaints", flush=True)  # fmt: skip
        self._until(lambda: False, order.seconds - (time.monotonic() - begun_s))

    # --- peace ---

    def _hanging_indexers(self) -> None:
        """They are believed online and confirm nothing; what they confirm at last, nobody hears.

        Until then nobody may hammer; after that each result is confirmed once more.
        """
        pause_s = 2.0 * keepalive_s(self.order.factor)
        indexers = [self.world.parts[name] for name in self.world.swarm.indexers]
        self._until(lambda: False, pause_s)
        for part in indexers:
            part.signal(signal.SIGSTOP)
        self._until(lambda: False, pause_s)
        for part in self.world.agents():
            self.evil.kill(part, pause_s)
        for part in indexers:
            part.go_on()
        self._until(lambda: False, pause_s)

    def _wiped_brokers(self) -> None:
        """They come back and know nothing: nobody subscribed, nothing retained."""
        pause_s = 2.0 * keepalive_s(self.order.factor)
        for name in self.world.swarm.brokers[:-1]:
            self.evil.kill(self.world.parts[name], 1.0)
            self.world.wipe(name)
        self._until(lambda: False, pause_s)

    def _late_rips(self) -> None:
        """A broker hangs until everybody has left it, and then tells of their deaths."""
        keepalive = keepalive_s(self.order.factor)
        first = self.world.parts[self.world.swarm.brokers[0]]
        first.signal(signal.SIGSTOP)
        self._until(lambda: False, 3 * keepalive)
        first.signal(signal.SIGCONT)
        end_s = time.monotonic() + 4 * keepalive
        while time.monotonic() < end_s:
            self._turn()
            self._look()
        for name, times in self.gone_alive.items():
            self.complaints.append(f"{name} was shown as gone {times} times while it was heard")

    def _look(self) -> None:
        """Is anybody said to be gone who was heard all the time?"""
        now_s = time.monotonic()
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + LOOK_S
        try:
            self._store = self._store or open_store(f"sqlite:{self.world.store}")
            records = self._store.agents()
        except StoreDown:
            return
        slot_s = 15.0 / self.order.factor
        for record in records:
            times = [at for at in self.heard.get(record.agent, ()) if at > now_s - 8 - 2 * slot_s]
            if not record.here and len(times) >= 6 and times[-1] - times[0] > 5:
                self.gone_alive[record.agent] += 1

    def _drain(self) -> None:
        """Nobody probes any more, and every journal must become empty."""
        for part in self.world.agents():
            control.write(
                control.path_beside(str(part.folder / "disk" / "journal.db")),
                control.Control(paused=True),
            )
            part.signal(signal.SIGHUP)
        self._until(lambda: False, BREATH_S)
        begun_s = time.monotonic()
        drained = self._until(lambda: not any(self._waiting().values()), self.order.patience_s)
        self.counts["drained_after_s"] = round(time.monotonic() - begun_s)
        if not drained:
            left = {name: rows for name, rows in self._waiting().items() if rows}
            self.complaints.append(
                f"not drained {self.order.patience_s:.0f} s after everything was well: {left}"
            )

    def _waiting(self) -> dict[str, int]:
        return {part.name: self._rows(part.folder) for part in self.world.agents()}

    def _rows(self, folder: Path) -> int:
        try:
            seen = view(str(folder / "disk" / "journal.db"))
        except ViewError:
            return -1
        rows = seen.counts.waiting
        seen.close()
        return rows

    def _stop_all(self) -> None:
        ending = [*self.world.agents(), *(self.world.parts[n] for n in self.world.swarm.indexers)]
        for part in ending:
            part.signal(signal.SIGTERM)
        for part in ending:
            part.end(signal.SIGTERM)
        self._turn()
        self.world.close()

    # --- the books ---

    def _make_books(self) -> None:
        swarm, world = self.world.swarm, self.world
        runs = [run for name in swarm.agents
                for run in books.runs(name, world.folder / name / "witness")]  # fmt: skip
        journals = {name: world.folder / name / "disk" / "journal.db" for name in swarm.agents}
        account = books.Books(
            runs,
            books.kept(world.store, journals),
            self.evil.deaths,
            {name: world.flush_s(name) for name in swarm.agents},
            {name: world.clockwork(name) for name in swarm.agents},
            self.order.factor,
            max(most for _, _, _, most in plan._EVIL.values()),
        ).close()
        self.counts |= account.counts | {"runs_of_agents": len(runs)}
        self.counts["kills_of_agents"] = len(self.evil.deaths)
        self.complaints += account.complaints + self.evil.complaints
        self._traffic()

    def _traffic(self) -> None:
        fresh_s = 60.0 / self.order.factor
        handed: Counter[tuple[str, int]] = Counter()
        for part in self.world.agents():
            went = traffic.account(witness.read(part.folder / "witness"), fresh_s)
            self.complaints += traffic.complaints(part.name, went)
            handed += went.handed
            for name, number in {"messages": went.messages, "rows_published": went.rows,
                                 "too_soon": went.too_soon}.items():  # fmt: skip
                self.counts[name] = self.counts.get(name, 0) + number
            self.counts["widest_window"] = max(self.counts.get("widest_window", 0), went.widest)
        for spy in self.spies:
            address = self.world.parts[spy.name].address
            often = [crc for crc, times in spy.arrived.items() if times > handed[address, crc]]
            if often:
                self.complaints.append(f"{len(often)} messages reached {spy.name} more often than "
                                       "their agents had published them there")  # fmt: skip
