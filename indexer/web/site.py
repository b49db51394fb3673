"""The routes of the page put together, and what is answered when something cannot be answered."""

import importlib.util
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from indexer.desk import Busy, Desk, ListRefused
from indexer.store import Store, StoreDown
from indexer.web import api, guard, live, openapi, pages
from indexer.web.auth import Gate
from indexer.web.house import House
from indexer.web.moment import Lookout
from indexer.web.render import page

# The release of uPlot that the wheel youplot carries as files; the wheel's own code is not run.
UPLOT = ("uplot.iife.min.js", "uplot.min.css")


def site(store: Store, desk: Desk) -> Starlette:
    gate = Gate(desk.auth_file, desk.behind_proxy)
    events = api.Described(
        "GET",
        "/events",
        live.Stream(desk).open,
        "Server-sent events: results, agent, list, verdict, health, at most one a second of each",
        (),
        api.Answer("text/event-stream", {}),
    )
    described = (*api.ROUTES, events)
    document = openapi.document(described, version("swarming"))
    door, joining = _door(desk)

    async def description(request: Request) -> Response:
        return JSONResponse(document)

    made = Starlette(
        routes=[
            *pages.ROUTES,
            *joining,
            *(one.route for one in api.ROUTES),
            Route("/events", events.endpoint),
            Route("/api/openapi.json", description),
            *(Route(f"/static/uplot/{name}", _file(uplot_folder() / name)) for name in UPLOT),
            Mount("/static", StaticFiles(packages=[("indexer.web", "static")])),
        ],
        middleware=[Middleware(guard.Guard, gate=gate, unasked={one.path for one in joining[:1]})],
        exception_handlers={
            HTTPException: _refused,
            StoreDown: _busy,
            Busy: _busy,
            ListRefused: _refused_list,
            ClientDisconnect: _gone,
            Exception: _broken,
        },
    )
    made.state.door = door
    made.state.house = House(store, desk, Lookout(store, laid=desk.picture))
    return made


def _door(desk: Desk) -> tuple[object, list[Route]]:
    """What lets boxes in, and its routes."""
    if desk.ca_folder is None:
        return None, []
    from indexer.web import join  # only now: it needs the library that certificates are made by

    return join.Door(desk.ca_folder), list(join.ROUTES)


def uplot_folder() -> Path:
    found = importlib.util.find_spec("youplot")
    if found is None or found.origin is None:
        raise ValueError("the page needs youplot: pip install 'swarming[indexer]'")
    return Path(found.origin).parent / "vendor"


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return FileResponse(path, headers={"cache-control": "no-cache"})

    return endpoint


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    unknown = error.status_code == 404 and error.detail == "Not Found"
    line = f"there is no page {request.url.path[:80]} here" if unknown else error.detail
    return _told(request, error.status_code, line)


async def _busy(request: Request, error: Exception) -> Response:
    return _told(request, 503, str(error))


async def _refused_list(request: Request, error: Exception) -> Response:
    return _told(request, 400, str(error))


async def _gone(request: Request, error: Exception) -> Response:
    """Who asked went away in the midst of it: no news, for anybody can do that all day."""
    return Response(status_code=400)


async def _broken(request: Request, error: Exception) -> Response:
    """Our own fault; the log has the rest. It does not pass the Guard on its way out."""
    line = "Something broke here; the indexer's log says what.\n"
    return PlainTextResponse(line, 500, guard.HEADERS | {"cache-control": "no-store"})


def _told(request: Request, status: int, line: str) -> Response:
    """One line that says why not: JSON for programs, a page for people."""
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": line}, status)
    return page(request, "error.html", status, line=line)
