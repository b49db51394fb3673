"""Loss is pooled: one probe of ten echoes tells next to nothing about it.

The echoes of an agent's targets are counted together, and those of a target's agents. Where such a
pool is lossy, and not by one pair alone, each of its pairs that lost something in its last three
probes is lossy since then. (Not since the first loss in the pool: an onset that is too early would
let peers vote who looked before it began.)
"""

from indexer.verdict.answers import FINE, LOSSY
from indexer.verdict.probes import FIRST_HOP, GATEWAY
from indexer.verdict.series import Mark, Series

POOL_MS = 15 * 60_000
LEAST_SENT = 60
LEAST_LOST = 6
LOSS = 0.05

Part = tuple[Series, list[Mark]]


def pool_losses(series: dict[tuple[str, str], list[Series]], now_ms: int) -> None:
    """Mark as lossy what only the pool can see."""
    pools: dict[tuple[str, str], list[Part]] = {}
    for (agent, target), every in series.items():
        if target in (GATEWAY, FIRST_HOP):
            continue
        for one in every:
            marks = one.since(now_ms - POOL_MS)
            if one.kind == "icmp" and one.answered and marks:
                pools.setdefault(("agent", agent), []).append((one, marks))
                pools.setdefault(("target", target), []).append((one, marks))
    lossy = [pool for pool in pools.values() if _is_lossy(pool)]
    for pool in lossy:
        for one, marks in pool:
            _mark(one, marks)


def _is_lossy(pool: list[Part]) -> bool:
    # An echo of a host that is down is not lost on the way, and says nothing of the others.
    marks = [mark for _, part in pool for mark in part if mark.probe.ok]
    losing = sum(any(mark.probe.ok and mark.probe.lost for mark in part) for _, part in pool)
    sent = sum(mark.probe.sent for mark in marks)
    lost = sum(mark.probe.lost for mark in marks)
    if len(pool) < 2 or losing * 2 < len(pool) or sent < LEAST_SENT or lost < LEAST_LOST:
        return False
    usual = sum(mark.usual_loss * mark.probe.sent for mark in marks) / sent
    return lost / sent >= max(LOSS, 3 * usual)


def _mark(series: Series, marks: list[Mark]) -> None:
    recent = marks[-3:]
    first = next((i for i, mark in enumerate(recent) if mark.probe.ok and mark.probe.lost), None)
    if first is None:
        return
    for index in range(first - len(recent), 0):
        if series.marks[index].state == FINE:
            series.marks[index] = series.marks[index]._replace(state=LOSSY)
