"""What went over the wire, as the witnesses saw it: no floods, no window that is too wide. Pure."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tests.torture.witness import Line

MOST_BATCHES = 4
EARLY = 0.5  # the loop's time is that of its turn's beginning, ours is later by what it did since
RARE = 5

Number = tuple[str, int]  # epoch, seq


class Traffic(NamedTuple):
    """What the publishing of one agent came to."""

    messages: int
    rows: int
    too_soon: int  # messages with a row that had gone over this connection just before
    widest: int  # batches at a time that were not confirmed, an indexer being online
    handed: Counter[tuple[str, int]]  # (broker's address, checksum): how often


class _Connection:
    """What is known of the connection in use."""

    def __init__(self) -> None:
        self.last_s: dict[Number, float] = {}
        self.batches: list[tuple[float, set[Number]]] = []


def account(lines: Iterable[Line], fresh_s: float) -> Traffic:
    """Walk through one agent's witness."""
    messages = rows = too_soon = widest = 0
    handed: Counter[tuple[str, int]] = Counter()
    now = _Connection()
    for line in lines:
        if line.kind in ("S", "C", "L"):
            now = _Connection()
        elif line.kind == "O":
            now.batches = []
        elif line.kind == "K":
            _confirm(now, set(_numbers(line.facts[0])))
        elif line.kind == "P":
            _, broker, crc, online, batch, ranges = line.facts
            numbers = set(_numbers(ranges))
            messages, rows = messages + 1, rows + len(numbers)
            handed[broker, crc] += 1
            early_s = line.at_s - fresh_s * EARLY
            too_soon += any(now.last_s.get(one, -fresh_s) > early_s for one in numbers)
            now.last_s.update(dict.fromkeys(numbers, line.at_s))
            if batch and online:
                now.batches = [one for one in now.batches if one[0] > early_s]
                now.batches.append((line.at_s, numbers))
                widest = max(widest, len(now.batches))
    return Traffic(messages, rows, too_soon, widest, handed)


def complaints(agent: str, traffic: Traffic) -> list[str]:
    found = []
    if traffic.too_soon > RARE + traffic.messages // 1000:
        found.append(f"{agent} resent {traffic.too_soon} messages sooner than the policy allows")
    if traffic.widest > MOST_BATCHES:
        found.append(f"{agent} had {traffic.widest} batches out that nobody had confirmed")
    return found


def _confirm(now: _Connection, gone: set[Number]) -> None:
    for _, numbers in now.batches:
        numbers -= gone
    now.batches = [one for one in now.batches if one[1]]


def _numbers(ranges: dict[str, list[list[int]]]) -> Iterable[Number]:
    for epoch, pairs in ranges.items():
        for first, last in pairs:
            yield from ((epoch, seq) for seq in range(first, last + 1))
