"""A small world for the tests of the verdict: probes are placed by hand, minutes before now."""

from __future__ import annotations

from typing import Any, NamedTuple

from agent.wire import Result
from indexer import verdict

NOW_MS = 1_764_000_000_000
MINUTE_MS = 60_000
BEFORE = range(110, 14, -5)  # minutes ago at which all was as usual


class Record(NamedTuple):
    agent: str
    facts: dict[str, Any]
    seen_ms: int
    here: bool = True


class World:
    """Agents and what they measured. Times are minutes before now."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.records: dict[str, Record] = {}
        self._links: dict[str, str] = {}
        self._seq = 0

    def agent(
        self,
        name: str,
        isp: str | None = None,
        place: str | None = None,
        access: str | None = None,
        link: str = "ethernet",
        seen_min: float = 0,
        here: bool = True,
    ) -> str:
        told = {"isp": isp, "place": place, "access_group": access, "link": {"type": link}}
        facts = {key: value for key, value in told.items() if value is not None}
        self.records[name] = Record(name, facts, NOW_MS - int(seen_min * MINUTE_MS), here)
        self._links[name] = link
        return name

    def echo(
        self,
        agent: str,
        target: str,
        minutes: float,
        ms: float = 20.0,
        lost: int = 0,
        error: str | None = None,
        ip: str | None = "",
        clock: str = "ntp",
        family: int = 4,
    ) -> None:
        """One ICMP probe of ten echoes, begun so many minutes ago."""
        lost = 10 if error else lost
        rtts = [None] * lost + [ms * (1 + 0.01 * (i % 3)) for i in range(10 - lost)]
        body = {
            "kind": "icmp",
            "target": target,
            "ip": address(target) if ip == "" else ip,
            "family": family if ip is not None else None,
            "ok": lost < 10,
            "error": error,
            "sent": 10,
            "received": 10 - lost,
            "rtts_ms": rtts,
        }
        self._add(agent, minutes, body, clock)

    def page(
        self,
        agent: str,
        target: str,
        minutes: float,
        ttfb_ms: float = 60.0,
        connect_ms: float = 20.0,
        error: str | None = None,
        status: int = 200,
        retrans: int = 0,
    ) -> None:
        """One HTTP probe."""
        phases: dict[str, float | None] = {"resolve": 5.0, "connect": connect_ms, "tls": 30.0}
        phases |= {"ttfb": ttfb_ms, "transfer": 5.0, "total": 40.0 + connect_ms + ttfb_ms}
        if error in ("timeout", "connect_timeout", "connection_refused"):
            phases = {"resolve": 5.0, "connect": None, "total": None}
        told = {"ok": error is None, "error": error, "status": status, "retrans": retrans}
        where = {"ip": address(target), "family": 4}
        body = {"kind": "http", "target": target, "phases_ms": phases} | told | where
        self._add(agent, minutes, body, "ntp")

    def ladder(
        self,
        agent: str,
        minutes: float,
        gateway_ms: float | None = 2.0,
        hop_ms: float | None = 10.0,
        error: str | None = None,
    ) -> None:
        """One ladder probe; None: that rung lost all its echoes."""
        rungs = {"gateway": gateway_ms, "first_hop": hop_ms}
        parts = {
            name: {"sent": 5, "received": 0 if ms is None else 5, "rtts_ms": [ms] * 5}
            for name, ms in rungs.items()
        }
        if error == "no_gateway":
            parts = {}
        body = {"kind": "ladder", "target": "ladder", "ok": error is None, "error": error}
        self._add(agent, minutes, body | parts, "ntp")

    def usual(self, agent: str, *targets: str, ms: float = 20.0, ladder: bool = False) -> None:
        """Two hours as always, until a quarter of an hour ago."""
        for minute in BEFORE:
            for number, target in enumerate(targets):
                self.echo(agent, target, minute - 0.2 * number, ms)
            if ladder:
                self.ladder(agent, minute)

    def picture(self, **options: Any) -> verdict.Picture:
        return verdict.Picture(self.results, self.records.values(), NOW_MS, **options)

    def judge(self, target: str, agent: str | None = None) -> verdict.Answer:
        return verdict.judge(self.picture(), target, agent)

    def pair(self, agent: str, target: str) -> verdict.Pair | None:
        return verdict.pair(self.picture(), agent, target)

    def _add(self, agent: str, minutes: float, body: dict[str, Any], clock: str) -> None:
        self._seq += 1
        link = {"type": self._links.get(agent, "ethernet")}
        time_ms = NOW_MS - int(minutes * MINUTE_MS)
        self.results.append(
            Result(agent, "0" * 16, self._seq, time_ms, clock, None, body | {"link": link})
        )


def address(target: str) -> str:
    """A fixed public address for each name, each on a network of its own."""
    return f"{20 + sum(target.encode()) % 100}.{len(target)}.1.1"
