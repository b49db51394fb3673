"""A page with all that is behind it but MQTT: a real store, and a desk that answers at once."""

import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.membership import csr, p256
from bench import simulate
from indexer import lists
from indexer.ca import Authority
from indexer.ca.invites import Invites, Told
from indexer.desk import BrokerState, Change, ChangeList, Desk, Health, Live, LookAt
from indexer.store import AgentRecord, Store
from indexer.stores import open_store

with warnings.catch_warnings():  # it would rather have httpx2, and works with httpx
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

__all__ = ["TestClient"]

HOST = "http://localhost"
OUTAGE = "https://shop.example/"
YOU = "sim-bluefibre-fiber-1"


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class DeskWithLoop(Desk):
    """Does with a command what the indexer's loop does, on the caller's thread."""

    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__("indexer-test", self._obey, now_ms=wall_ms, **options)
        self._records = lists.Lists(store)
        self.looked: list[str] = []
        self.lay_lists(self._records.own())
        broker = BrokerState("mqtt://127.0.0.1:1883", True, wall_ms(), None, "5", False)
        far_ms = wall_ms() + 3_600_000  # no test waits until this desk seems to stand still
        self.lay(Health(True, {"store": "ok", "leading": True}), (broker,), far_ms)

    def _obey(self, command: Any) -> None:
        if isinstance(command, LookAt):
            self.looked.append(command.target)
            return
        try:
            if isinstance(command, ChangeList):
                write = self._records.change(command.scope, command.text, command.who, wall_ms())
            else:
                write = self._records.undo(command.scope, command.who, wall_ms())
        except lists.ListRefused as error:
            command.answer.set_exception(error)
            return
        own = self._records.own()
        self.lay_lists(own)
        change = Change(wall_ms(), write.scope, own[write.scope], command.who, ())
        self.tell(Live("list", change))
        command.answer.set_result(change)


def empty_store(folder: Path) -> Store:
    return open_store(f"sqlite:{folder / 'swarming.db'}")


def filled_store(folder: Path, hours: float = 2.5, scale: float = 4.0) -> Store:
    """A swarm whose last 40 minutes have a service outage going on."""
    store, now_ms, whole = empty_store(folder), wall_ms(), simulate.swarm()
    # Two of each provider are a swarm, too, and quicker to draw.
    swarm = whole._replace(agents=tuple(a for a in whole.agents if a.name.endswith(("-1", "-2"))))
    results = list(simulate.results(swarm, now_ms - int(hours * 3_600_000), now_ms, scale))
    for at in range(0, len(results), 5000):
        store.put(results[at : at + 5000], now_ms)
    while store.rollup(now_ms):
        pass
    for name, facts in simulate.abouts(swarm):
        store.put_agents([AgentRecord(name, facts, now_ms, None, True)])
    targets = list(simulate.TARGETS)
    store.put_watch(now_ms - 7_200_000, "watch", " ".join(targets[:-1]), "MQTT")
    store.put_watch(now_ms - 3_600_000, "watch", " ".join(targets), "somebody on this machine")
    return store


def asked_to_join(folder: Path) -> Path:
    """An authority whose operator is to look at two boxes, and has invited a third."""
    now_s = int(time.time())
    invites = Invites(Authority.make(folder, ["swarm.example"], datetime.now(UTC)))
    for name in ("box-1", "box-2"):
        token = invites.make(name, now_s, approve=True, place="Lyon", isp="Orange")
        request = csr.request_pem(p256.generate(), name)
        invites.ask(token, Told(name, request, "2001:db8:1234:5678:9abc:def0:1234:5678"), now_s)
    invites.make("box-3", now_s)
    return folder
