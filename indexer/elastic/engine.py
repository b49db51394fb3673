"""One call to a cluster over its official client, whichever it is: `ask`.

The clients bring what is hard: TLS, connections kept open, several nodes of which some are dead.
Repeating is ours (bulk.py), since it depends on what was asked. A client that was refused is made
anew from its files, so that a key that was renewed needs no restart.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from indexer.elastic.address import Address
from indexer.elastic.quick_json import dumps
from indexer.store import StoreDown, StoreRefused

TIMEOUT_S = 10.0
_POOL = 10  # connections kept open to each node
_JSON = {"accept": "application/json", "content-type": "application/json"}
_NDJSON = {"accept": "application/json", "content-type": "application/x-ndjson"}


class Refusal(StoreDown):
    """The engine answered that it will not; `kind` is its own word for why."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(f"{reason or kind or 'no reason given'} (HTTP {status})"[:400])
        self.status = status
        self.kind = kind

    @property
    def blocked(self) -> bool:
        """Nothing may be written: somebody has set it read-only, or the disk is full."""
        return self.kind == "cluster_block_exception"

    @property
    def unknown(self) -> bool:
        """It does not know us, or we may not do this."""
        return self.status in (401, 403) and not self.blocked


class Untrusted(StoreDown):
    """TLS could not be agreed on: a certificate is not what the other side wants."""


class Strange(StoreDown):
    """Somebody answered, but no engine: a proxy, perhaps, or another server."""


class Answer(NamedTuple):
    status: int
    body: Any


_IN_JSON = (301, 302, 307, 308, 400, 404, 405)  # so an engine says these; a proxy in HTML
_API_KEY = re.compile(r"[A-Za-z0-9+/=_:-]+\Z")
_PASSWORD = re.compile(r"[^\x00-\x1f\x7f]+\Z")

_TLS = "TLS with {} failed, does ca=FILE vouch for it? {}"

log = logging.getLogger("swarming.elastic")
for _name in ("elastic_transport", "opensearch"):  # each failure is told by who asked, once
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_Call = Callable[[str, str, dict[str, str], bytes | None, float], Answer]


class Engine:
    """A cluster at an address. For all threads.

    What is not in files comes from the environment: `secrets` is how its variables begin.
    """

    def __init__(self, address: Address, secrets: str = "SWARMING_STORE") -> None:
        self.address = address
        self._secrets = secrets
        self._client: tuple[_Call, Callable[[], None]] | None = None
        self._lock = threading.Lock()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        timeout_s: float = TIMEOUT_S,
        may_miss: bool = False,
    ) -> Any:
        """The JSON of the answer; bytes are sent as they are, NDJSON.

        Raises StoreDown without an answer, Refusal for one that is an error; with may_miss a 404
        gives None.
        """
        lines = isinstance(body, bytes)
        data = body if lines or body is None else dumps(body)
        call, _ = self._opened()
        status, found = call(method, path, _NDJSON if lines else _JSON, data, timeout_s)
        if status == 404 and may_miss:
            return None
        if not 200 <= status < 300:
            if not isinstance(found, dict) and status in _IN_JSON:
                raise Strange(f"{self.address.urls[0]} is no engine: it answers HTTP {status}")
            refusal = Refusal(status, *_why(found))
            if refusal.unknown:
                self.close()
            raise refusal
        if not isinstance(found, dict):
            raise Strange(f"what answers at {self.address.urls[0]} is no engine")
        return found

    def close(self) -> None:
        """Lets go of the connections; the next call opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client[1]()

    def _opened(self) -> tuple[_Call, Callable[[], None]]:
        with self._lock:
            if self._client is None:
                make = _elasticsearch if self.address.scheme == "elasticsearch" else _opensearch
                self._client = make(self.address, _secrets_of(self.address, self._secrets))
            return self._client


def _why(body: Any) -> tuple[str, str]:
    """Kind and reason of an error, as far as it says them."""
    error = body.get("error") if isinstance(body, dict) else body
    if isinstance(error, dict):
        cause = error.get("caused_by") or {}
        reason = str(error.get("reason") or "")
        more = str(cause.get("reason") or "") if isinstance(cause, dict) else ""
        return str(error.get("type") or ""), f"{reason}: {more}" if more else reason
    return "", str(error or "")[:200]


# --- what lets us in ----------------------------------------------------------------------------


class Secrets(NamedTuple):
    """Headers that hold an API key; or a user and a password."""

    headers: dict[str, str]
    basic: tuple[str, str] | None


def _secrets_of(address: Address, begin: str) -> Secrets:
    """Read each time: it may be a new one. Raises StoreDown, which tells no secret."""
    if address.user is not None:
        password = _secret(address.password, f"{begin}_PASSWORD", _PASSWORD)
        if password is None:
            raise StoreDown(f"the store's user wants password=FILE or {begin}_PASSWORD")
        return Secrets({}, (address.user, password))
    key = _secret(address.api_key, f"{begin}_API_KEY", _API_KEY)
    return Secrets({} if key is None else {"authorization": f"ApiKey {key}"}, None)


def _secret(path: str | None, variable: str, shape: re.Pattern[str]) -> str | None:
    """Of the file, else of the environment."""
    where, text = variable, os.environ.get(variable)
    if path is not None:
        where = path
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "is no text"
            raise StoreDown(f"the store's secret: {path}: {why}") from error
    elif not text:
        return None
    if not text or not shape.match(text):
        raise StoreDown(f"{where} is not one line with nothing but the secret")
    return text


def check_access(address: Address, secrets: str = "SWARMING_STORE") -> None:
    """Raises StoreRefused for what cannot be read: the clients' own words are no help."""
    for name in ("ca", "cert", "key"):
        path = getattr(address, name)
        if path is not None and not os.access(path, os.R_OK):
            raise StoreRefused(f"the store's {name}: {path} cannot be read")
    try:
        found = _secrets_of(address, secrets)
    except StoreDown as error:
        raise StoreRefused(str(error)) from error
    if (found.headers or found.basic) and not address.tls and not address.is_here:
        log.warning("the store's secret travels in clear to %s: use https", address.urls[0])


@contextmanager
def at_start(address: Address) -> Iterator[None]:
    """What will never do is StoreRefused, while somebody looks on; later it is StoreDown."""
    try:
        yield
    except (Strange, Untrusted) as error:
        raise StoreRefused(str(error)) from error
    except ValueError as error:  # of a client, about a host that it cannot make out
        raise StoreRefused(f"{', '.join(address.urls)}: {_line(error)}") from error


# --- the two clients ----------------------------------------------------------------------------


def _elasticsearch(address: Address, secrets: Secrets) -> tuple[_Call, Callable[[], None]]:
    from elastic_transport import ConnectionTimeout, TlsError, TransportError
    from elasticsearch import ApiError, Elasticsearch, UnsupportedProductError

    tls: dict[str, Any] = {"ca_certs": address.ca} if address.ca else {}
    if address.cert:
        tls |= {"client_cert": address.cert, "client_key": address.key}
    client = Elasticsearch(
        list(address.urls),
        headers=secrets.headers,
        basic_auth=secrets.basic,
        max_retries=len(address.urls) - 1,
        retry_on_status=(),
        connections_per_node=_POOL,
        **tls,
    )

    def call(
        method: str, path: str, headers: dict[str, str], body: bytes | None, timeout_s: float
    ) -> Answer:
        try:
            asked = client.options(request_timeout=timeout_s)
            found = asked.perform_request(method, path, headers=headers, body=body)
        except UnsupportedProductError as error:
            raise Strange(f"what answers at {address.urls[0]} is no Elasticsearch") from error
        except ApiError as error:
            return Answer(error.meta.status, error.body)
        except ConnectionTimeout as error:
            raise StoreDown(f"no answer within {timeout_s:.0f} s") from error
        except TlsError as error:
            raise Untrusted(_TLS.format(address.urls[0], _line(error))) from error
        except TransportError as error:
            raise StoreDown(f"{', '.join(address.urls)}: {_broken(address, error)}") from error
        return Answer(found.meta.status, found.body)

    return call, client.close


def _opensearch(address: Address, secrets: Secrets) -> tuple[_Call, Callable[[], None]]:
    from opensearchpy import OpenSearch, exceptions

    tls: dict[str, Any] = {"ca_certs": address.ca} if address.ca else {}
    if address.cert:
        tls |= {"client_cert": address.cert, "client_key": address.key}
    if address.tls:
        tls |= {"use_ssl": True, "verify_certs": True}
    client = OpenSearch(
        list(address.urls),
        http_auth=secrets.basic,
        max_retries=len(address.urls) - 1,
        retry_on_status=(),
        retry_on_timeout=False,
        pool_maxsize=_POOL,
        **tls,
    )

    def call(
        method: str, path: str, headers: dict[str, str], body: bytes | None, timeout_s: float
    ) -> Answer:
        try:
            found = client.transport.perform_request(
                method, path, headers=headers | secrets.headers, body=body,
                params={"request_timeout": timeout_s},
            )  # fmt: skip
        except exceptions.ConnectionTimeout as error:
            raise StoreDown(f"no answer within {timeout_s:.0f} s") from error
        except exceptions.SSLError as error:
            raise Untrusted(_TLS.format(address.urls[0], _line(error))) from error
        except exceptions.ConnectionError as error:
            raise StoreDown(f"{', '.join(address.urls)}: {_broken(address, error)}") from error
        except exceptions.TransportError as error:
            return Answer(int(error.status_code), error.info)
        except exceptions.OpenSearchException as error:
            raise Strange(f"what answers at {address.urls[0]} is no OpenSearch") from error
        return Answer(200, found)

    return call, client.close


def _broken(address: Address, error: BaseException) -> str:
    line = _line(error)
    if "RemoteDisconnected" not in line:
        return line
    hint = "" if address.tls else "; does it want https?"
    return f"the connection was closed without an answer{hint}"


def _line(error: BaseException) -> str:
    """The innermost cause; what the clients wrap around it says no more."""
    while isinstance(inner := error.__cause__ or getattr(error, "info", None), BaseException):
        error = inner
    return " ".join(str(error).split())[:200]
