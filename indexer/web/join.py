"""How a box becomes a member: POST /join, and the page on which operators approve it.

No password is asked of a box: the token of its invitation is what it knows. Who knows none learns
nothing, and after some tries not even that; whoever guesses shuts nobody else out, though all of a
house, or of a proxy, come from one address. A box that has to wait asks again every few seconds.
"""

import logging
import os
import time
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from agent import wire
from indexer.ca import CERTIFICATE, Authority, CaError
from indexer.ca.invites import BadRequest, Invite, Invites, Told, id_of
from indexer.web.render import page

MOST_BYTES = 16_384
WRONG, WRONG_S = 20, 600.0  # so many wrong tokens from one address in so many seconds
_REMEMBERED = 10_000  # addresses
_UNKNOWN = "this invitation is not known here, used up, or over: ask the operator for a new one"

log = logging.getLogger("swarming.join")


class Reply(NamedTuple):
    status: int
    facts: dict[str, Any]


class Wrongs:
    """How often each address was wrong lately."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[float, int]] = {}

    def too_many(self, address: str, now_s: float) -> bool:
        begun_s, count = self._since.get(address, (now_s, 0))
        return count >= WRONG and now_s - begun_s < WRONG_S

    def one_more(self, address: str, now_s: float) -> None:
        begun_s, count = self._since.get(address, (now_s, 0))
        if now_s - begun_s >= WRONG_S:
            begun_s, count = now_s, 0
        if address not in self._since and len(self._since) >= _REMEMBERED:
            self._since.clear()
        self._since[address] = (begun_s, count + 1)


class Door:
    """Who may come in. For all threads of the page."""

    def __init__(
        self,
        ca_folder: str,
        wall_s: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = Path(ca_folder)
        self._wall_s = wall_s
        self._monotonic = monotonic
        self._wrongs = Wrongs()
        self._said: dict[str, str] = {}  # of each address, what was logged last

    @property
    def now_s(self) -> int:
        return int(self._wall_s())

    def invites(self) -> Invites:
        """CaError when there is no authority."""
        return Invites(Authority.open(self._folder))

    def has_authority(self) -> bool:
        """Whether boxes come in by an invitation: brokers that want certificates know no other."""
        return os.path.isfile(self._folder / CERTIFICATE)

    def waiting(self) -> int:
        """How many boxes an operator is to look at."""
        try:
            return len(self.invites().waiting(self.now_s))
        except CaError:
            return 0

    def ask(self, body: bytes, address: str) -> Reply:
        """What a box is told."""
        try:
            token, told = _read(body, address)
            if self._is_shut(address) and not self._is_known(token):
                return self._too_many(address)
            word, invite = self.invites().ask(token, told, self.now_s)
        except BadRequest as error:
            self._tell(address, "a request to join from %s is none: %s", str(error))
            return Reply(400, {"error": str(error)})
        except wire.WireError as error:
            return self._wrong(address, Reply(400, {"error": str(error)}), "it is no request")
        except CaError as error:
            self._tell(address, "%s cannot join: %s", str(error))
            return Reply(503, {"error": "this page cannot let anybody in now; its log says why"})
        if word == "unknown" or invite is None:
            why = "its invitation is not known, used up, or over"
            return self._wrong(address, Reply(403, {"error": _UNKNOWN}), why)
        return self._answer(word, invite, address)

    def _is_known(self, token: str) -> bool:
        """Whether there is such an invitation, whatever became of it; at little cost."""
        return os.path.exists(self._folder / "invites" / f"{id_of(token)}.json")

    def _is_shut(self, address: str) -> bool:
        return self._wrongs.too_many(address, self._monotonic())

    def _wrong(self, address: str, reply: Reply, why: str) -> Reply:
        if self._is_shut(address):
            return self._too_many(address)
        self._wrongs.one_more(address, self._monotonic())
        self._tell(address, "refused %s: %s", why)
        return reply

    def _too_many(self, address: str) -> Reply:
        self._tell(address, "too many wrong invitations from %s: none is looked at for a while")
        return Reply(429, {"error": "too many wrong invitations: try again in ten minutes"})

    def _answer(self, word: str, invite: Invite, address: str) -> Reply:
        if word == "refused":
            self._tell(address, "refused %s: an operator does not want %s", invite.name)
            return Reply(403, {"error": "an operator has refused this box"})
        if word == "wait":
            self._tell(
                address, "%s asks to join as %s: approve it on the page", invite.name, bad=False
            )
            return Reply(202, {"waiting": "an operator must approve"})
        self._tell(address, "%s has joined as %s", invite.name, bad=False)
        authority = self.invites().authority
        return Reply(
            200,
            {
                "name": invite.name,
                "certificate": invite.certificate,
                "ca": authority.certificate_pem,
                "brokers": list(authority.brokers),
            },
        )

    def _tell(self, address: str, text: str, *values: str, bad: bool = True) -> None:
        """Into the log, but the same of an address only once."""
        said = text % (address, *values)
        if self._said.get(address) != said:
            if len(self._said) >= _REMEMBERED:
                self._said.clear()
            self._said[address] = said
            log.log(logging.WARNING if bad else logging.INFO, "%s", said)


def _read(body: bytes, address: str) -> tuple[str, Told]:
    """The token, and what the box says of itself. WireError."""
    found = wire.decode_json(body)
    if not isinstance(found, dict):
        raise wire.WireError("a request to join is a JSON object")
    name, token, csr = (found.get(word) for word in ("name", "token", "csr"))
    place, isp = (found.get(word) for word in ("place", "isp"))
    if not (isinstance(name, str) and isinstance(token, str) and isinstance(csr, str)):
        raise wire.WireError("a request to join holds name, token and csr")
    if not all(isinstance(one, str | None) for one in (place, isp)):
        raise wire.WireError("place and isp are texts")
    return token, Told(name, csr, address, place, isp)


# --- routes -------------------------------------------------------------------------------------


async def join(request: Request) -> Response:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            return JSONResponse({"error": "that is too long for a request to join"}, 413)
    address = plain(request.client.host) if request.client else "somewhere"
    reply = await run_in_threadpool(_door_of(request).ask, body, address)
    return JSONResponse(reply.facts, reply.status)


def plain(host: str) -> str:
    """An IPv4 address as one: a socket for both families shows it as ::ffff:192.0.2.1."""
    try:
        mapped = IPv6Address(host).ipv4_mapped
    except ValueError:
        return host
    return host if mapped is None else str(mapped)


def joining(request: Request) -> Response:
    """Who wants to join, for operators."""
    return _shown(request)


async def answer(request: Request) -> Response:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413, "that is too long")
    form = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
    return await run_in_threadpool(_answered, request, form)


def _answered(request: Request, form: dict[str, str]) -> Response:
    door, verb = _door_of(request), form.get("do")
    if verb not in ("approve", "refuse"):
        raise HTTPException(400, "a box is approved or refused")
    try:
        invite = door.invites().answer(form.get("id", ""), door.now_s, approved=verb == "approve")
    except CaError as error:
        return _shown(request, str(error), 409)
    log.info("%s: %sd by %s", invite.name, verb, request.user.name)
    return RedirectResponse("/joining", 303)


def _shown(request: Request, error: str | None = None, status: int = 200) -> Response:
    if not request.user.changes:
        raise HTTPException(403, "only operators see who wants to join")
    door = _door_of(request)
    now_s = door.now_s
    try:
        found = door.invites().all()
    except CaError as failed:
        found, error = [], str(failed) if door.has_authority() else error
    return page(
        request,
        "joining.html",
        status,
        waiting=[one for one in found if one.approve and one.state(now_s) == "waiting"],
        others=[(one, one.state(now_s)) for one in found if one.state(now_s) != "waiting"],
        error=error,
    )


def _door_of(request: Request) -> Door:
    found = request.app.state.door
    assert isinstance(found, Door)
    return found


ROUTES = (
    Route("/join", join, methods=["POST"]),
    Route("/joining", joining),
    Route("/joining", answer, methods=["POST"]),
)
