"""Server-sent events: what happens is told to every open page, at most once a second.

The indexer's loop calls `Pocket.put` by way of the event loop and goes on at once; what comes
within a second is told together, so that a busy swarm costs a page no more than a quiet one.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from agent import wire
from agent.wire import Result
from indexer.desk import Change, Desk, Live
from indexer.store import AgentRecord
from indexer.web.words import ticker

PACE_S = 1.0
_ALIVE_S = 15.0  # so often something is said, that a dead connection is noticed
_MOST_STREAMS = 200
_TOLD = 50  # targets and agents named in one event


class Pocket:
    """What has happened since it was last emptied; used on the event loop only."""

    def __init__(self, sees_agents: bool) -> None:
        self._sees_agents = sees_agents
        self.filled = asyncio.Event()
        self._results: dict[str, Any] | None = None
        self._others: dict[tuple[str, str], dict[str, Any]] = {}

    def put(self, live: Live) -> None:
        if live.kind == "results":
            self._add(live.data)
        elif live.kind != "agent" or self._sees_agents:
            told = _told(live)
            self._others[live.kind, str(told.get("name"))] = told
        else:
            return
        self.filled.set()

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        """The events to send; the pocket is empty then."""
        events = [(kind, told) for (kind, _), told in self._others.items()]
        if self._results is not None:
            events.append(("results", self._results))
        self._results, self._others = None, {}
        self.filled.clear()
        return events

    def _add(self, results: tuple[Result, ...]) -> None:
        if not results:
            return
        sum_ = self._results or {"count": 0, "targets": [], "last": None}
        sum_["count"] += len(results)
        targets = {*sum_["targets"], *(str(one.body.get("target")) for one in results)}
        sum_["targets"] = sorted(targets)[:_TOLD]
        last = max(results, key=lambda one: one.time_ms)
        sum_["last"] = {
            "text": ticker(last, self._sees_agents),
            "time": wire.rfc3339(last.time_ms),
        }
        self._results = sum_


class Stream:
    """The endpoint /events."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._streams = 0

    async def open(self, request: Request) -> Response:
        if self._streams >= _MOST_STREAMS:
            return PlainTextResponse("Too many pages are open.\n", 503, {"retry-after": "60"})
        events = self._events(Pocket(request.user.changes))
        headers = {"x-accel-buffering": "no"}  # a proxy shall not keep them back
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def _events(self, pocket: Pocket) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()

        def post(live: Live) -> None:
            with suppress(RuntimeError):  # the page's loop has ended before the indexer's
                loop.call_soon_threadsafe(pocket.put, live)

        stop = self._desk.live(post)
        self._streams += 1
        try:
            yield "retry: 3000\nevent: hello\ndata: {}\n\n"
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(pocket.filled.wait(), _ALIVE_S)
                events = pocket.take()
                yield "".join(_event(kind, told) for kind, told in events) or ": alive\n\n"
                await asyncio.sleep(PACE_S)
        finally:
            self._streams -= 1
            stop()


def _event(kind: str, told: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(told, ensure_ascii=False)}\n\n"


def _told(live: Live) -> dict[str, Any]:
    """What a page needs to know that it should look again."""
    data = live.data
    if isinstance(data, AgentRecord):
        return {"name": data.agent, "here": data.here}
    if isinstance(data, Change):
        return {"name": data.scope}
    if isinstance(data, wire.Verdict):
        return {"name": data.target}
    return {"name": live.kind, "ok": bool(getattr(data, "ok", True))}
