"""Which store an address names: `sqlite:PATH`, `elasticsearch:URL…`, `opensearch:URL…`."""

from urllib.parse import parse_qsl, quote

from indexer.elastic import address
from indexer.elastic.address import is_engine
from indexer.store import Store, StoreRefused

OWN, SOURCE = "SWARMING_STORE", "SWARMING_SOURCE"  # how variables that hold its secrets begin
SHAPES = "sqlite:PATH, elasticsearch:URL or opensearch:URL"


def open_store(text: str, *, look: bool = False, secrets: str = OWN) -> Store:
    """The store that `--store` names. StoreRefused or StoreDown if it cannot.

    look: it is only read, and no more than that need be allowed. secrets: OWN or SOURCE.
    Only the store that is asked for is loaded: its package need not be there for the others.
    """
    scheme, _, rest = text.partition(":")
    if scheme == "sqlite" and rest:
        from indexer.store_sqlite import SqliteStore

        return SqliteStore(rest)
    if is_engine(text):
        from indexer.store_elastic import ElasticStore

        return ElasticStore(text, look=look, secrets=secrets)
    raise StoreRefused(f"no store is called {scheme!r:.40}: there are {SHAPES}")


def with_prefix(text: str, prefix: str | None) -> str:
    """The address with `prefix=` as its option. StoreRefused for a store that has none."""
    if prefix is None:
        return text
    if not is_engine(text):
        raise StoreRefused(
            "--index-prefix is for elasticsearch: and opensearch:, other stores have no indices"
        )
    named = _prefixes(text)
    if named not in ([], [prefix]):
        raise StoreRefused(f"--index-prefix {prefix:.80}, but the store's address says another one")
    if named:
        return text
    return f"{text}{'&' if '?' in text else '?'}prefix={quote(prefix)}"


def takes_prefix(text: str) -> bool:
    """Whether the address is of an engine, and does not say yet which indices."""
    return is_engine(text) and not _prefixes(text) and address.parse(text).indices is None


def _prefixes(text: str) -> list[str]:
    return [value for name, value in parse_qsl(text.partition("?")[2]) if name == "prefix"]
