"""Sends the saved objects to a running Kibana or OpenSearch Dashboards; says what was refused.

Which of the two it is, is asked of itself. A secret is sent over TLS or to this very machine, there
past every proxy, never to where a redirect points, and stands in no error.
"""

import base64
import json
import re
import secrets
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from indexer.dashboards.objects import KIBANA, OPENSEARCH, ndjson
from indexer.typed import BadInput

_TIMEOUT_S = 60.0  # a hundred objects, on a small machine
_MOST_BYTES = 16_000_000
_OLDEST_KIBANA = 8
_XSRF = {KIBANA: "kbn-xsrf", OPENSEARCH: "osd-xsrf"}
_SPACE = re.compile(r"[a-z0-9_-]{1,255}\Z")
_HERE = ("localhost", "127.0.0.1", "::1")


class DashboardsError(BadInput):
    """One line says why the dashboards are not there, or not all of them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to install, and how to get in. `among` is a space of Kibana, or a tenant."""

    url: str
    ca: str | None = None
    among: str | None = None
    api_key: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)


class Installed(NamedTuple):
    """`refused` has a line for each object that is not there now."""

    kind: str
    version: str
    objects: int
    refused: tuple[str, ...]


def install(place: Place, prefix: str) -> Installed:
    """The dashboards of this prefix are at the place, instead of those that were there before.

    Raises DashboardsError when it could not even be tried.
    """
    server = _Server(place)
    kind, version = server.ask_kind()
    among = place.among if kind == KIBANA and place.among != "default" else None
    if kind == OPENSEARCH and place.api_key:
        raise DashboardsError("OpenSearch Dashboards takes no API key: --user and --password")
    if among is not None and not _SPACE.match(among):
        raise DashboardsError(f"a space has small letters, digits, '_' and '-': {among!r:.80}")
    answer = server.import_(kind, ndjson(kind, prefix, among), among)
    return Installed(kind, version, int(answer.get("successCount") or 0), tuple(_refused(answer)))


def _refused(answer: dict[str, Any]) -> list[str]:
    lines = []
    for one in answer.get("errors") or []:
        error = one.get("error") or {}
        why = str(error.get("message") or error.get("type") or "no reason given")
        missing = [str(reference.get("id")) for reference in error.get("references") or []]
        lines.append(" ".join([f"{one.get('type')} {one.get('id')}: {why}", *missing]))
    if not lines and not answer.get("success"):
        lines.append("it did not say which objects it refused")
    return lines


class _Server:
    """Calls of one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        parts = urlsplit(place.url)
        try:
            well = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            well = False
        if parts.username is not None or parts.password is not None:
            raise DashboardsError(
                "no secret belongs in an address: --user, --password or --api-key"
            )
        if not well or parts.query or parts.fragment:
            raise DashboardsError(f"{place.url!r:.200} is no address: https://HOST:5601")
        guarded = place.api_key or place.user
        if guarded and parts.scheme == "http" and parts.hostname not in _HERE:
            raise DashboardsError(f"{place.url}: a secret would travel in clear: use https://")
        self._url = place.url.rstrip("/")
        handlers = _tls(place, parts.scheme)
        if parts.hostname in _HERE:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(_NoRedirects, *handlers)

    def ask_kind(self) -> tuple[str, str]:
        """What it is, and its version if it tells; how it answers shows even without a log-in."""
        status, headers, body = self._call("/api/status", {}, None)
        found = _parsed(body)
        version = found.get("version")
        number = str(version.get("number") or "") if isinstance(version, dict) else ""
        kind = _kind(headers, _major(number))
        if status == 503 and not found:
            raise DashboardsError(f"{self._url} is not ready: try again later")
        if kind is None and status == 401:
            raise DashboardsError(self._why(status, found, None))
        if kind is None:
            raise DashboardsError(
                f"{self._url}: neither Kibana nor OpenSearch Dashboards answers (HTTP {status})"
            )
        if kind == KIBANA and 0 < _major(number) < _OLDEST_KIBANA:
            raise DashboardsError(
                f"Kibana {number} is too old: {_OLDEST_KIBANA} or newer is needed"
            )
        return kind, number

    def import_(self, kind: str, lines: str, space: str | None) -> dict[str, Any]:
        boundary = secrets.token_hex(16)
        headers = {
            _XSRF[kind]: "true",
            "Content-Type": f"multipart/form-data; boundary={boundary}",
        }
        if kind == OPENSEARCH and self._place.among:
            headers["securitytenant"] = self._place.among
        path = f"/s/{space}" if space else ""
        status, _, body = self._call(
            f"{path}/api/saved_objects/_import?overwrite=true", headers, _form(boundary, lines)
        )
        answer = _parsed(body)
        if status != 200 or "success" not in answer:
            raise DashboardsError(self._why(status, answer, space))
        return answer

    def _why(self, status: int, answer: dict[str, Any], space: str | None) -> str:
        message = " ".join(str(answer.get("message") or "").split())[:300]
        if status == 401:
            known = self._place.api_key or self._place.user
            return f"{self._url} " + ("refuses this log-in" if known else _WANTS_LOG_IN)
        if status == 403:
            return f"{self._url}: this log-in may not import saved objects: {message or status}"
        if status == 404 and space:
            return f"{self._url}: is there a space {space}? ({message or status})"
        return f"{self._url}: nothing was imported: {message or f'HTTP {status}'}"

    def _call(
        self, path: str, headers: dict[str, str], body: bytes | None
    ) -> tuple[int, Message, bytes]:
        """The answer, whatever its status; DashboardsError when there is none, or a redirect."""
        method = "GET" if body is None else "POST"
        request = urllib.request.Request(
            self._url + path, body, headers | self._log_in(), method=method
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                return answer.status, answer.headers, answer.read(_MOST_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                if 300 <= error.code < 400:
                    raise DashboardsError(self._moved(error.headers)) from None
                return error.code, error.headers, error.read(_MOST_BYTES)
        except (OSError, HTTPException) as error:
            raise DashboardsError(f"{self._url}: {_reason(error)}") from None
        except ValueError:  # its words may quote the secret
            raise DashboardsError(f"{self._url}: this address or log-in cannot be sent") from None

    def _moved(self, headers: Message) -> str:
        where = (headers.get("Location") or "").partition("?")[0][:200]
        if "login" in where:
            return f"{self._url} {_WANTS_LOG_IN}"
        return f"{self._url} points to {where or 'nowhere'}: give the address that it has now"

    def _log_in(self) -> dict[str, str]:
        if self._place.api_key:
            return {"Authorization": f"ApiKey {self._place.api_key}"}
        if self._place.user:
            pair = f"{self._place.user}:{self._place.password or ''}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        return {}


_WANTS_LOG_IN = "wants a log-in: --api-key FILE, or --user NAME --password FILE"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _tls(place: Place, scheme: str) -> list[urllib.request.BaseHandler]:
    if scheme == "http":
        if place.ca:
            raise DashboardsError("--ca wants https://")
        return []
    try:
        context = ssl.create_default_context(cafile=place.ca)
    except (OSError, ssl.SSLError) as error:
        raise DashboardsError(f"--ca {place.ca}: {error.strerror or error}") from error
    return [urllib.request.HTTPSHandler(context=context)]


def _kind(headers: Message, major: int) -> str | None:
    """By its own header; a proxy may drop that, but Kibana began at 4 and the other stays below."""
    if headers.get("osd-name"):
        return OPENSEARCH
    if headers.get("kbn-name"):
        return KIBANA
    if major == 0:
        return None
    return KIBANA if major >= 4 else OPENSEARCH


def _major(number: str) -> int:
    major = number.partition(".")[0]
    return int(major) if major.isascii() and major.isdigit() else 0


def _form(boundary: str, lines: str) -> bytes:
    head = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="file"; filename="swarming.ndjson"\r\n'
        "Content-Type: application/ndjson\r\n\r\n"
    )
    return f"{head}{lines}\r\n--{boundary}--\r\n".encode()


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({cause.verify_message}): --ca FILE"
    if isinstance(cause, OSError) and cause.strerror:
        return f"no answer: {cause.strerror}"
    return f"no answer: {cause or type(cause).__name__}"
