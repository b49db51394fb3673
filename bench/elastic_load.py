"""The same results as JSON messages and as batches, and agents that wait for confirmations."""

import json
import random
import time
from collections import deque
from typing import Any, NamedTuple

from agent import batch, wire
from bench.indexer_rate import WINDOW_BATCHES, WINDOW_SINGLES, messages
from bench.publisher import Publisher, packets

AGENTS = 20
RESULTS = 120_000
TARGETS = 20
SLOT_MS = 12_500
DAY_MS = 86_400_000
LIMIT_S = 180
_LINKS: tuple[dict[str, Any], ...] = (
    {"type": "ethernet", "confidence": 0.9, "iface": "eth0"},
    {"type": "wifi", "confidence": 0.9, "iface": "wlan0", "signal": {"signal_dbm": -61.0}},
    {
        "type": "lte", "confidence": 0.9, "generation": "4g", "iface": "wwan0",
        "signal": {"rsrp_dbm": -98.0, "rsrq_db": -11.0, "sinr_db": 9.0},
    },
)  # fmt: skip


def body(rng: random.Random, seq: int, link: dict[str, Any]) -> dict[str, Any]:
    base = rng.choice((12.0, 28.0, 55.0))
    rtts: list[float | None] = [round(base * rng.lognormvariate(0, 0.15), 3) for _ in range(10)]
    if rng.random() < 0.03:
        rtts[rng.randrange(10)] = None
    received = 10 - rtts.count(None)
    return {
        "kind": "icmp", "target": f"target-{seq % TARGETS}.example",
        "ip": f"198.51.100.{seq % TARGETS}", "family": 4, "ok": True, "error": None,
        "sent": 10, "received": received, "loss_pct": batch.loss_pct(10, received), "rtts_ms": rtts,
        "rtt_ms": batch.rtt_summary(rtts),
        "late": 0, "duplicates": 0, "corrupted": 0, "method": "dgram",
        "link": link | {"age_s": rng.randrange(60)},
    }  # fmt: skip


def results(agent: str, number: int, count: int) -> list[wire.Result]:
    """What one agent has measured yesterday."""
    rng = random.Random(number)
    start_ms = (time.time_ns() // 1_000_000 // DAY_MS - 1) * DAY_MS
    epoch = f"{rng.getrandbits(64) | 1 << 63:016x}"
    link = _LINKS[number % len(_LINKS)]
    return [
        wire.Result(
            agent, epoch, seq, start_ms + seq * SLOT_MS, "ntp", 60, body(rng, seq + number, link)
        )
        for seq in range(1, count + 1)
    ]


class Load(NamedTuple):
    """Each agent's packets, and how many results each holds."""

    queues: dict[str, list[tuple[bytes, int]]]
    window: int  # packets of one agent that may wait

    def all(self) -> list[bytes]:
        """As they come when every agent sends at once."""
        return [packet for row in zip(*self.queues.values(), strict=True) for packet, _ in row]


def load(batched: bool) -> Load:
    names = [f"agent-{number:02}" for number in range(AGENTS)]
    made = {
        name: messages(name, results(name, number, RESULTS // AGENTS), batched)
        for number, name in enumerate(names)
    }
    topic = wire.batch_topic if batched else wire.ping_topic
    turns = zip(*made.values(), strict=True)  # packet identifiers in the order of sending
    encoded = packets(
        (topic(name), payload)
        for turn in turns
        for name, (payload, _) in zip(names, turn, strict=True)
    )
    queues = {
        name: [
            (packet, count)
            for packet, (_, count) in zip(encoded[number::AGENTS], made[name], strict=True)
        ]
        for number, name in enumerate(names)
    }
    return Load(queues, WINDOW_BATCHES if batched else WINDOW_SINGLES)


def drive(link: Publisher, load: Load) -> None:
    """Until everything is confirmed; each agent has no more than its window waiting."""
    queues = {agent: deque(queue) for agent, queue in load.queues.items()}
    size = {agent: max(count for _, count in queue) for agent, queue in queues.items()}
    waiting = dict.fromkeys(queues, 0)
    left, end_s = RESULTS, time.monotonic() + LIMIT_S
    while left:
        more = []
        for agent, queue in queues.items():
            while queue and waiting[agent] + queue[0][1] <= load.window * size[agent]:
                packet, count = queue.popleft()
                waiting[agent] += count
                more.append(packet)
        link.send(b"".join(more))
        for topic, payload in link.came(1.0).messages:
            agent = topic.removeprefix("ack/")
            if agent in waiting:
                ranges = json.loads(payload).values()
                count = sum(last - first + 1 for pairs in ranges for first, last in pairs)
                waiting[agent] -= count
                left -= count
        if time.monotonic() > end_s:
            raise SystemExit(f"{left} results are not confirmed in {LIMIT_S} s")
