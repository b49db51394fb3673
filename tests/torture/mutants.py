"""Bugs planted on purpose, and whether the torture notices: ``python -m tests.torture.mutants``.

Only the starters of this folder read MUTANT; the product knows nothing of it. Each plant_… changes
the running program so that one promise of the protocol is broken.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

MINUTES = 0.7
AGENTS = 8
FAST = "20"
HEALTHY = "no-bug"  # the same torture without any: it must find nothing


def plant(owner: Any, name: str, bug: Any) -> None:
    """The bug takes the place of what the owner has under this name."""
    assert hasattr(owner, name), f"no {name} any more: mend the mutant"
    setattr(owner, name, bug)


# --- in the agent -------------------------------------------------------------------------------


def _resend_forgotten() -> None:
    from agent.drain_resend import Resend

    plant(Resend, "consider", lambda *_: False)


def _resend_hammers() -> None:
    from agent.drain_resend import Pace, Resend

    begin = Resend.__init__

    def hurried(self: Resend, pace: Pace, published_upto: int) -> None:
        begin(self, Pace(0.1, 0.1, 0.1, pace.tries), published_upto)

    plant(Resend, "__init__", hurried)


def _epoch_dropped() -> None:
    from agent import store_epochs

    begin = store_epochs.begin
    plant(store_epochs, "begin", lambda *facts: begin(*facts)._replace(name="0" * 16))


def _no_window() -> None:
    from agent.drain import Drain

    def room(self: Any, online: bool, now: float) -> int:
        return int(self._most_unacknowledged - len(self._waiting))

    plant(Drain, "_room", room)


def _puback_is_enough() -> None:
    from agent.drain import Drain

    acknowledged = Drain.acknowledged

    def gone(self: Any, token: Any, code: int, now: float) -> None:
        sent = self._waiting.get(token)
        acknowledged(self, token, code, now)
        if sent is None or code >= 0x80:
            return
        for epoch, end in self._journal._epochs.named().values():
            first, last = max(sent.first_id, epoch.base + 1), min(sent.last_id, end)
            if first <= last:
                self._journal.confirm({epoch.name: [(first - epoch.base, last - epoch.base)]})

    plant(Drain, "acknowledged", gone)


def _same_client() -> None:
    from agent.connection import Connection

    make, kept = Connection._make_client, list[Any]()

    def again(self: Any, sock: Any) -> Any:
        if not kept:
            kept.append(make(self, sock))
            return kept[0]
        client = kept[0]
        client.dialled = sock
        client.on_connect = self._guarded(self._on_connect)
        client.on_disconnect = self._guarded(self._on_disconnect)
        client.on_publish = self._guarded(self._on_publish)
        client.on_message = self._guarded(self._on_message)
        client.on_subscribe = self._guarded(self._on_subscribe)
        return client

    plant(Connection, "_make_client", again)


def _agent_resubscription_skipped() -> None:
    from agent.connection import Connection

    subscribe, first = Connection.subscribe, list[Any]()

    def once(self: Connection, topics: Any, qos: int = 1) -> None:
        if first in ([], [self]):
            first[:] = [self]
            subscribe(self, topics, qos)

    plant(Connection, "subscribe", once)


# --- in the indexer -----------------------------------------------------------------------------


def _confirm_before_commit() -> None:
    from indexer.consume import Commit, Consumer

    close, held = Consumer.close, list[Any]()

    def early(self: Any) -> Commit:
        commit = close(self)
        late, held[:] = list(held), commit.results
        return commit._replace(results=late)

    plant(Consumer, "close", early)


def _no_ack_for_a_duplicate() -> None:
    from indexer.committer import Committer

    store_it = Committer._store_it

    def silent(self: Any, job: Any) -> Any:
        for result in job.commit.results if job.commit is not None else ():
            if self._store.put([result], job.now_ms).known:
                job.commit.identities[result.agent][result.epoch].remove(result.seq)
        return store_it(self, job)

    plant(Committer, "_store_it", silent)


def _late_rip_believed() -> None:
    from indexer.presence import Presence

    def believed(self: Any, message: Any, now_ms: int) -> None:
        if not message.cleared and message.agent in self._records:
            record = self._records[message.agent]
            self._records[message.agent] = record._replace(here=False, rip_ms=now_ms)

    plant(Presence, "rip", believed)


def _resubscription_skipped() -> None:
    from indexer.switchboard import Switchboard

    subscribe, known = Switchboard._subscribe, set[str]()

    def once(self: Any, line: Any) -> None:
        if line.address not in known:
            known.add(line.address)
            subscribe(self, line)

    plant(Switchboard, "_subscribe", once)


IN_AGENT: dict[str, Callable[[], None]] = {
    "resend-forgotten": _resend_forgotten,
    "resend-hammers": _resend_hammers,
    "epoch-dropped": _epoch_dropped,
    "no-window": _no_window,
    "puback-is-enough": _puback_is_enough,
    "same-client": _same_client,
    "agent-resubscription-skipped": _agent_resubscription_skipped,
}
IN_INDEXER: dict[str, Callable[[], None]] = {
    "confirm-before-commit": _confirm_before_commit,
    "no-ack-for-a-duplicate": _no_ack_for_a_duplicate,
    "late-rip-believed": _late_rip_believed,
    "resubscription-skipped": _resubscription_skipped,
}


def plant_in_agent(name: str | None) -> None:
    IN_AGENT.get(name or "", lambda: None)()


def plant_in_indexer(name: str | None) -> None:
    IN_INDEXER.get(name or "", lambda: None)()


def _noticed(name: str, seed: int) -> bool:
    """Run the torture with this bug, or with none; what it complains of first is printed."""
    begun_s = time.monotonic()
    command = [sys.executable, "-m", "tests.torture", "--seed", str(seed), "--agents", str(AGENTS),
               "--minutes", str(MINUTES), "--mutant", name, "--patience", "60"]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"FAST": FAST}
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("BROKEN")]
    took_s = time.monotonic() - begun_s
    if name == HEALTHY:
        word = "healthy " if done.returncode == 0 else "SICK    "
        print(f"{word} {name:30} {took_s:4.0f} s  {' '.join(said)[:160]}", flush=True)
        return done.returncode == 0
    if done.returncode == 1 and said:
        print(f"noticed  {name:30} {took_s:4.0f} s  {said[0][8:160]}", flush=True)
        return True
    print(f"MISSED   {name:30} {took_s:4.0f} s  exit {done.returncode} {done.stderr[-300:]}",
          flush=True)  # fmt: skip
    return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.torture.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which (all)")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    names = chosen.names or [HEALTHY, *IN_AGENT, *IN_INDEXER]
    noticed = [_noticed(name, chosen.seed) for name in names]
    print(f"{sum(noticed)} of {len(noticed)} as it should be")
    return 0 if all(noticed) else 1


if __name__ == "__main__":
    sys.exit(main())
