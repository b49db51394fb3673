"""Where an engine is and how to get in: `elasticsearch:URL[,URL…][/INDICES][?OPTION&…]`. Pure.

No secret stands in an address, for addresses are seen in process lists and logs: options name the
files that hold them.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from indexer.store import StoreRefused

SCHEMES = ("elasticsearch", "opensearch")
OPTIONS = ("ca", "cert", "key", "api_key", "user", "password", "prefix", "shards", "replicas")
_HOST = re.compile(r"[\w.:%-]+\Z")
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?\Z")
_INDICES = re.compile(r"[a-z0-9*][a-z0-9*._,-]{0,255}\Z")
_FAMILY = re.compile(r"-(results|rollups|verdicts|agents|watches|dead|dirty|state|unsynced)\b")
_SECRET = re.compile(r"//.*@|[^/:]*(:[^:]*)?@")
_NUMBERS = {"shards": 1024, "replicas": 10}  # and the most that makes sense


@dataclass(frozen=True, slots=True)
class Address:
    """`ca`, `cert`, `key`, `api_key`, `password` are files; `indices` those of another swarm."""

    scheme: str
    urls: tuple[str, ...]
    indices: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    api_key: str | None = None
    user: str | None = None
    password: str | None = None
    prefix: str = "swarming"
    shards: int = 1
    replicas: int | None = None  # None: one where there is a second node to hold it

    @property
    def is_here(self) -> bool:
        """Nobody between us and it can listen."""
        hosts = {urlsplit(url).hostname for url in self.urls}
        return hosts <= {"localhost", "127.0.0.1", "::1"}

    @property
    def tls(self) -> bool:
        return self.urls[0].startswith("https:")


def is_engine(text: str) -> bool:
    """An address of this form, not another store's."""
    return text.partition(":")[0] in SCHEMES


def parse(text: str) -> Address:
    """The Address, whole and checked. Raises StoreRefused with one line that says what is wrong."""
    scheme, _, rest = text.partition(":")
    hosts, _, query = rest.partition("?")
    if scheme not in SCHEMES or not hosts:
        raise StoreRefused("a store is elasticsearch:https://HOST:9200, not " + _shown(text))
    if "@" in hosts:
        raise StoreRefused(
            f"no secret belongs in an address ({_shown(text)}): "
            "?user=NAME&password=FILE or ?api_key=FILE"
        )
    try:
        parts = [urlsplit(one.strip()) for one in hosts.split(",")]
        urls = tuple(dict.fromkeys(map(_url, parts)))
    except ValueError as error:
        raise StoreRefused(f"{_shown(text)}: {error}") from error
    if {one.scheme for one in parts} not in ({"http"}, {"https"}):
        raise StoreRefused(f"{_shown(text)}: each host is http://HOST:PORT, or each https://")
    options = _options(query)
    _check(options, urls[0].startswith("https:"))
    if any(one.path.strip("/") for one in parts[:-1]) or any(one.fragment for one in parts):
        raise StoreRefused(f"{_shown(text)}: indices are named once, after the last host")
    return Address(scheme, urls, _indices(parts[-1].path), **options)


def _url(part: SplitResult) -> str:
    host, port = part.hostname, 9200 if part.port is None else part.port
    if not host or not _HOST.match(host) or not port:
        raise ValueError("each host is http://HOST:PORT, or each https://")
    return f"{part.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _options(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            raise StoreRefused(f"a store has no option {name!r:.40}: {', '.join(OPTIONS)}")
        if name in _NUMBERS:
            if not re.fullmatch("[0-9]{1,4}", value) or int(value) > _NUMBERS[name]:
                raise StoreRefused(f"{name} is a number up to {_NUMBERS[name]}, not {value!r:.40}")
            options[name] = int(value)
        elif not value:
            raise StoreRefused(f"the store's option {name} is empty")
        else:
            options[name] = value
    return options


def _check(options: dict[str, Any], tls: bool) -> None:
    if ("cert" in options) != ("key" in options):
        raise StoreRefused("the store's cert and key belong together")
    if "api_key" in options and "user" in options:
        raise StoreRefused("the store takes an API key or a user, not both")
    if "password" in options and "user" not in options:
        raise StoreRefused("the store's password wants a user")
    if not tls and ("ca" in options or "cert" in options):
        raise StoreRefused("the store's ca and cert want https://")
    if not _PREFIX.match(options.get("prefix", "swarming")):
        raise StoreRefused(
            f"prefix {options['prefix']!r:.80}: small letters, digits, '.', '_' and '-'"
        )
    if _FAMILY.search(options.get("prefix", "")):
        raise StoreRefused(f"prefix {options['prefix']!r}: that is how indices of ours are called")
    if options.get("shards") == 0:
        raise StoreRefused("an index has at least 1 shard")


def _indices(path: str) -> str | None:
    names = path.strip("/")
    if names and not _INDICES.match(names):
        raise StoreRefused(f"no such indices: {names!r:.80}")
    return names or None


def _shown(text: str) -> str:
    """Of an address that may hold a secret in the wrong place: all but that."""
    return repr(_SECRET.sub("//…@", text.partition("?")[0])[:200])
