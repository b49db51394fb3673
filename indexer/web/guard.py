"""What every request passes, and what every answer carries.

Host       without passwords or a proxy the page is this machine's alone: it answers to the
           names of loopback only, else a foreign name that resolves to 127.0.0.1 could read it
user       named by the Gate, or 401; /healthz alone is for everybody, and what `unasked` names
           takes a POST of anybody: it asks for something else than a password
change     (not GET or HEAD) by an operator, and from a page of ours: browsers say where a
           request comes from, and no browser sends JSON to strangers unasked
"""

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indexer.web.auth import Gate, User

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Guard:
    """Wraps the app; nothing reaches it that may not."""

    def __init__(self, app: ASGIApp, gate: Gate, unasked: Collection[str] = ()) -> None:
        self._app = app
        self._gate = gate
        self._unasked = unasked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _dress(message)
            await send(message)

        refusal = await self._refusal(scope, headers)
        await (refusal or self._app)(scope, receive, send_guarded)

    async def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if self._gate.is_local and not _is_loopback_name(headers.get("host", "")):
            return PlainTextResponse("This page answers to localhost only.\n", 421)
        if scope["method"] == "POST" and scope["path"] in self._unasked:
            scope["user"] = None
            return None
        user = await run_in_threadpool(self._gate.user, headers)
        scope["user"] = user
        if user is None and scope["path"] != "/healthz":
            ask = {"www-authenticate": 'Basic realm="Swarming", charset="UTF-8"'}
            return PlainTextResponse("Who are you?\n", 401, ask)
        if scope["method"] not in ("GET", "HEAD"):
            return _refusal_of_change(user, scope, headers)
        return None


def _refusal_of_change(user: User | None, scope: Scope, headers: Headers) -> Response | None:
    if user is None or not user.changes:
        return PlainTextResponse("Only an operator may change this.\n", 403)
    if not _is_ours(scope, headers):
        return PlainTextResponse("This came from another page, or does not say from where.\n", 403)
    return None


def _is_ours(scope: Scope, headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc == headers.get("host")
    return headers.get("content-type", "").partition(";")[0].strip() == "application/json"


def _is_loopback_name(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in _LOOPBACK_NAMES
    except ValueError:
        return False


def _dress(message: Message) -> None:
    headers: Any = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers[name] = value
    headers.setdefault("cache-control", "no-store")
