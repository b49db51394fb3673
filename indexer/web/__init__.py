"""The page: what the store knows, for people and for programs, on loopback unless told otherwise.

`app(store, desk)` reads the store and asks the desk; it writes nothing itself.
"""

from starlette.applications import Starlette

from indexer.desk import Desk
from indexer.store import Store

__all__ = ["app"]


def app(store: Store, desk: Desk) -> Starlette:
    """The whole page. ValueError with one line when the password file is no good."""
    from indexer.web.site import site  # now, so that `python -m indexer.web.auth` runs alone

    return site(store, desk)
