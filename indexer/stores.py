"""Which store an address names: `sqlite:PATH`, `elasticsearch:URL…`, `opensearch:URL…`."""

from indexer.elastic.address import is_engine
from indexer.store import Store, StoreRefused

SHAPES = "sqlite:PATH, elasticsearch:URL or opensearch:URL"


def open_store(text: str) -> Store:
    """The store that `--store` names. StoreRefused or StoreDown if it cannot.

    Only the store that is asked for is loaded: its package need not be there for the others.
    """
    scheme, _, rest = text.partition(":")
    if scheme == "sqlite" and rest:
        from indexer.store_sqlite import SqliteStore

        return SqliteStore(rest)
    if is_engine(text):
        from indexer.store_elastic import ElasticStore

        return ElasticStore(text)
    raise StoreRefused(f"no store is called {scheme!r:.40}: there are {SHAPES}")
