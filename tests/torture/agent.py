"""The real agent, in a hurry, on a clock of its own, with a witness.

``python -m tests.torture.agent FOLDER …`` takes the words of swarming-agent. Everything is
changed in this process alone, before the agent begins. MUTANT (environment) plants a bug.
"""

import functools
import itertools
import os
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent import (
    about,
    brokers,
    cli,
    clock,
    drain,
    prober,
    store,
    store_home,
    swarming_agent,
    uplink,
    wire,
)
from agent.connection import Connection
from tests import fast_agent
from tests.torture import mutants
from tests.torture.fakeclock import FakeClock
from tests.torture.witness import Witness, fingerprint

BATCH_ROWS = 50
NO_INDEXER_S = 20.0


def keepalive_s(factor: float) -> int:
    """As short as paho and brokers can keep on a loaded machine."""
    return max(4, round(30 / factor))


def rules(factor: float) -> drain.Rules:
    """The product's rules in a hurry; batches are small, so that a backlog is several of them."""
    plain = drain.Rules()
    times = {name: value for name, value in plain._asdict().items() if name.endswith("_s")}
    shorter = {name: value / factor for name, value in times.items()}
    return plain._replace(**shorter, batch_rows=BATCH_ROWS)


def hurry() -> None:
    """What fast_agent leaves alone, and the torture needs shorter too."""
    factor = fast_agent.FACTOR
    wanted = {
        clock: ("INDEXER_AFTER_S", "INDEXER_APART_S", "UNSYNCED_AFTER_S")
        + ("ASK_EVERY_S", "ASK_AGAIN_S"),
        brokers: ("STEADY_S", "SHORT_LIFE_S", "TAKEOVERS_WITHIN_S", "TAKEOVER_WAIT_S"),
        store_home: ("RETRY_S",),
        about: ("EVERY_MS",),
    }
    plain = [(one, name, getattr(one, name)) for one, names in wanted.items() for name in names]
    fast_agent.shorten()
    for module, name, value in plain:
        setattr(module, name, value / factor)
    brokers.NO_INDEXER_S = NO_INDEXER_S
    vars(uplink)["Drain"] = functools.partial(drain.Drain, rules=rules(factor))
    vars(uplink)["Connection"] = functools.partial(
        Connection, keepalive_s=keepalive_s(factor), step_s=5.0
    )


def replace(owner: type, **methods: Any) -> None:
    """These take the place of the class's own."""
    for name, method in methods.items():
        assert hasattr(owner, name), f"{owner.__name__} has no {name} any more: mend the torture"
        setattr(owner, name, method)


class Watched:
    """Hooks between the agent and the witness; the agent's own work is left as it is."""

    def __init__(self, witness: Witness, box: FakeClock) -> None:
        self._witness, self._box = witness, box
        self._numbers = itertools.count(1)
        self._drain: drain.Drain | None = None

    def install(self) -> None:
        self._journal()
        self._connection()
        self._drains()
        self._witness.write("S", self._box.boot_id())

    def _journal(self) -> None:
        witness, box, journal = self._witness, self._box, store.Journal
        add, write, confirm = journal.add, journal._write, journal.confirm
        take_back, to_memory = store_home.Home.take_back, store_home.Home._memory

        def added(self: store.Journal, body: Mapping[str, Any], boot_ns: int) -> tuple[str, int]:
            epoch, seq = add(self, body, boot_ns)
            witness.write("A", epoch, seq, box.true_ms(boot_ns), fingerprint(body))
            return epoch, seq

        def written(self: store.Journal) -> None:
            had = bool(self._buffer)
            write(self)
            if had:
                witness.write("F", "memory" if self._in_memory else "file")

        def returned(self: store_home.Home, *rest: Any) -> Any:
            moved = take_back(self, *rest)
            if moved is not None:
                witness.write("D")
            return moved

        def refused(self: store_home.Home, error: Exception, now: float) -> Any:
            witness.write("M", str(error))
            return to_memory(self, error, now)

        def heard(
            self: store.Journal, ranges: Mapping[str, Sequence[tuple[int, int]]]
        ) -> list[tuple[int, int]]:
            witness.write("K", ranges)
            return confirm(self, ranges)

        replace(journal, add=added, _write=written, confirm=heard)
        replace(store_home.Home, take_back=returned, _memory=refused)

    def _connection(self) -> None:
        witness, numbers, publish = self._witness, self._numbers, Connection.publish

        def published(
            conn: Connection, topic: str, payload: bytes, retain: bool = False, qos: int = 1
        ) -> int:
            if not hasattr(conn, "torture_no"):
                conn.torture_no = next(numbers)  # type: ignore[attr-defined]
                witness.write("C", conn.torture_no, conn.broker.host)  # type: ignore[attr-defined]
            if topic.startswith("ping/"):
                self._publishes(conn, topic, payload)
            return publish(conn, topic, payload, retain, qos)

        replace(Connection, publish=published)

    def _publishes(self, conn: Any, topic: str, payload: bytes) -> None:
        message = wire.read(topic, payload)
        assert isinstance(message, wire.Results)
        seqs: dict[str, list[int]] = {}
        for result in message.results:
            seqs.setdefault(result.epoch, []).append(result.seq)
        ranges = {epoch: wire.ranges_of(found) for epoch, found in seqs.items()}
        assert self._drain is not None
        online = self._drain.indexer_online(clock.boot_ns() / 1e9)
        batch = topic.endswith("/batch")
        self._witness.write(
            "P", conn.torture_no, conn.broker.host, zlib.crc32(payload), online, batch, ranges
        )

    def _drains(self) -> None:
        watched, begin, forget = self, drain.Drain._begin_anew, drain.Drain._forget_stuck
        acknowledged, look = drain.Drain.acknowledged, drain.Drain._look_for_indexer

        def begun(self: drain.Drain) -> None:
            watched._drain = self
            begin(self)
            watched._witness.write("L", "the rows changed place")

        def stuck(self: drain.Drain, now: float) -> None:
            before = len(self._waiting)
            forget(self, now)
            if len(self._waiting) < before:
                watched._witness.write("L", "a message was never acknowledged")

        def answered(self: drain.Drain, token: Any, code: int, now: float) -> None:
            if code >= 0x80:
                watched._witness.write("L", f"refused with {code}")
            acknowledged(self, token, code, now)

        def looked(self: drain.Drain, now: float) -> None:
            before = self._was_online
            look(self, now)
            if self._was_online != before:
                watched._witness.write("O", self._was_online)

        replace(drain.Drain, _look_for_indexer=looked, _begin_anew=begun)
        replace(drain.Drain, _forget_stuck=stuck, acknowledged=answered)


def main() -> int:
    folder = Path(sys.argv[1])
    hurry()
    box = FakeClock(folder)
    box.install()
    vars(swarming_agent)["Prober"] = functools.partial(prober.Prober, boot_ns=box.boot_ns)
    mutants.plant_in_agent(os.environ.get("MUTANT"))
    Watched(Witness(folder / "witness"), box).install()
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
