"""What can befall an engine in the middle of a load, each as one thing that happens and is over.

A fault says what it saw. It ends only when the indexer has noticed, has said that it is offline
where results could not be taken, and has said that it is online again.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tests.closed_loop import ClosedLoop
from tests.engine import Engine
from tests.indexer_process import IndexerProcess
from tests.servers import wait_for

_CROWD = 40
_WATERMARK = "cluster.routing.allocation.disk.watermark"
_FLOOD = {
    "cluster.info.update.interval": "10s",
    "cluster.routing.allocation.disk.threshold_enabled": "true",
    f"{_WATERMARK}.low": "1002tb",  # of free space, which no disk has
    f"{_WATERMARK}.high": "1001tb",
    f"{_WATERMARK}.flood_stage": "1000tb",
}


@dataclass
class Bed:
    """What the faults happen to. `engine` is one that can always be asked once a fault is over."""

    engine: Engine
    indexers: list[IndexerProcess]
    prefix: str
    key_file: Path | None = None
    key: str = ""
    new_key: Callable[[Engine], str] | None = None

    def settings(self, changes: dict[str, Any]) -> None:
        """Of every index of the swarm."""
        self.asked("PUT", f"/{self.prefix}-*/_settings", changes)

    def asked(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = self.engine.ask(method, path, body)
        assert status == 200, answer
        return answer


class Fault(NamedTuple):
    """`happen` gives a word on how it went."""

    name: str
    happen: Callable[[Bed, ClosedLoop], str]


def _noticed(loop: ClosedLoop, since_s: float, over: Callable[[], object]) -> str:
    """Says offline, then what was wrong is put right, then says online."""
    offline = loop.wait_said(False, since_s)
    over()
    over_s = time.monotonic()
    online = loop.wait_said(True, offline.at_s, 90)
    after_s = max(0.0, online.at_s - over_s)  # an engine takes results before it is quite up
    return f"offline after {offline.at_s - since_s:.1f} s, online {after_s:.1f} s after its end"


def _killed(bed: Bed, loop: ClosedLoop) -> str:
    since_s = time.monotonic()
    bed.engine.kill()
    return _noticed(loop, since_s, bed.engine.start)


def frozen(for_s: float) -> Fault:
    def happen(bed: Bed, loop: ClosedLoop) -> str:
        since_s = time.monotonic()
        bed.engine.freeze()

        def thaw() -> None:
            time.sleep(max(0.0, since_s + for_s - time.monotonic()))
            bed.engine.thaw()

        return _noticed(loop, since_s, thaw)

    return Fault(f"SIGSTOP for {for_s:.0f} s", happen)


def blocked(block: str) -> Fault:
    def happen(bed: Bed, loop: ClosedLoop) -> str:
        since_s = time.monotonic()
        bed.settings({f"index.blocks.{block}": True})

        def over() -> None:
            time.sleep(3)
            bed.settings({f"index.blocks.{block}": None})

        return _noticed(loop, since_s, over)

    return Fault(f"every index has index.blocks.{block}", happen)


def _flooded(bed: Bed, loop: ClosedLoop) -> str:
    """The real thing: the engine believes that its disk is full, and blocks by itself."""
    since_s = time.monotonic()
    bed.asked("PUT", "/_cluster/settings", {"persistent": _FLOOD})
    wait_for(lambda: _flood_blocks(bed), 60, "the flood stage")
    blocks_s = time.monotonic()

    def over() -> None:
        bed.asked("PUT", "/_cluster/settings", {"persistent": dict.fromkeys(_FLOOD)})
        wait_for(lambda: not _flood_blocks(bed), 60, "the end of the flood stage")

    told = _noticed(loop, since_s, over)
    return f"blocked by the engine itself after {blocks_s - since_s:.0f} s; {told}"


def _flood_blocks(bed: Bed) -> bool:
    found = bed.asked("GET", f"/{bed.prefix}-*/_settings/index.blocks.*")
    return any("blocks" in told["settings"].get("index", {}) for told in found.values())


def _new_key(bed: Bed, loop: ClosedLoop) -> str:
    assert bed.key_file is not None and bed.new_key is not None
    key_file, make = bed.key_file, bed.new_key
    since_s = time.monotonic()
    bed.engine.revoke(bed.key)

    def renew() -> None:
        time.sleep(2)
        bed.key = make(bed.engine)
        key_file.write_text(bed.key)

    return _noticed(loop, since_s, renew)


def crowded(for_s: float) -> Fault:
    """Others fill the write queue; whoever comes then is told 429."""

    def happen(bed: Bed, _loop: ClosedLoop) -> str:
        bed.asked("PUT", "/noise", {"settings": {"number_of_replicas": 0}})
        before = _rejected(bed.engine)
        ends = threading.Event()
        refused: list[bool] = []
        key = bed.engine.api_key([], ["noise"], ["index", "create_doc"])
        crowd = [
            threading.Thread(target=_shout, args=(bed.engine, key, ends, refused))
            for _ in range(_CROWD)
        ]
        for one in crowd:
            one.start()
        time.sleep(for_s)
        ends.set()
        for one in crowd:
            one.join()
        bed.asked("DELETE", "/noise")
        rejected = _rejected(bed.engine) - before
        assert rejected > 0, "the queue was never full"
        share = 100 * sum(refused) // max(1, len(refused))
        return f"{rejected} writes rejected (429), {share} % of the crowd's"

    return Fault(f"{_CROWD} others fill the write queue", happen)


def _shout(engine: Engine, key: str, ends: threading.Event, refused: list[bool]) -> None:
    """Bulks of documents without content, one after the other."""
    body = b'{"create":{}}\n{}\n' * 5000
    headers = {"Content-Type": "application/x-ndjson", "Authorization": f"ApiKey {key}"}
    tls = ssl.create_default_context(cafile=engine.ca)
    while not ends.is_set():
        asked = http.client.HTTPSConnection("127.0.0.1", engine.port, timeout=60, context=tls)
        try:
            while not ends.is_set():
                asked.request("POST", "/noise/_bulk?filter_path=items.*.status", body, headers)
                answer = asked.getresponse()
                refused.append(b'"status":429' in answer.read() or answer.status == 429)
        except OSError:
            pass
        finally:
            asked.close()


def _rejected(engine: Engine) -> int:
    path = "/_nodes/stats/thread_pool?filter_path=nodes.*.thread_pool.write.rejected"
    _, told = engine.ask("GET", path)
    return sum(node["thread_pool"]["write"]["rejected"] for node in told["nodes"].values())


KILLED = Fault("kill -9 and a new start", _killed)
FLOODED = Fault("flood stage", _flooded)
NEW_KEY = Fault("API key revoked and renewed", _new_key)
ALL: Sequence[Fault] = (
    KILLED,
    crowded(15),
    frozen(60),
    blocked("write"),
    FLOODED,
    NEW_KEY,
    blocked("read_only"),
    KILLED,
)


# --- of several ---------------------------------------------------------------------------------


def one_of_three(victim: Engine, name: str) -> Sequence[Fault]:
    """The others go on without it, and it comes back."""

    def dies(_bed: Bed, loop: ClosedLoop) -> str:
        victim.kill()
        loop.wait_confirmed(loop.confirmed + loop.results // 20)
        return f"{loop.results // 20} more were confirmed without it"

    def comes_back(bed: Bed, _loop: ClosedLoop) -> str:
        victim.start()
        bed.engine.wait_up("green")
        return "every replica is whole again"

    return (Fault(f"{name} dies (kill -9)", dies), Fault(f"{name} comes back", comes_back))


def two_die(rng: Random) -> Sequence[Fault]:
    """Any two of the indexers, for good."""

    def happen(bed: Bed, loop: ClosedLoop) -> str:
        victim = bed.indexers.pop(rng.randrange(len(bed.indexers)))
        victim.kill()
        loop.wait_confirmed(loop.confirmed + loop.results // 20)
        led = victim.log.rfind("this indexer leads") > victim.log.rfind("another indexer leads")
        who = f"{victim.name}, which {'led' if led else 'did not lead'}"
        return f"it was {who}; {loop.results // 20} more were confirmed without it"

    return (Fault("kill -9 of an indexer", happen),) * 2
