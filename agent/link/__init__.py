"""Where the facts about the link come from.

``gather`` reads files, and is cheap. ``ask`` runs the box's tools: it may take seconds, and belongs
on a thread of its own. All of it takes the root of a file system and the ways to ask, so that a
recorded box can be read like the own one.
"""

from typing import NamedTuple

from agent.link import routes, sysfs, wireless
from agent.link.modem import Modem
from agent.link.outside import Hint
from agent.link.routes import Route
from agent.link.sources import ROOT_FILE, Said, Ways, ask, own_ways
from agent.link.sysfs import Interface
from agent.link.wireless import Station

__all__ = ["ROOT_FILE", "Facts", "Said", "Ways", "ask", "gather", "own_ways"]


class Facts(NamedTuple):
    """What was found of a box. An absent source is an empty field."""

    routes: tuple[Route, ...]  # defaults, the one in use first
    interfaces: dict[str, Interface]
    stations: dict[str, Station]  # Wi-Fi, by interface
    modems: tuple[Modem, ...] = ()  # what the tools said
    outside: Hint | None = None  # of the line behind a home router


def gather(root: str = "/", ways: Ways | None = None) -> Facts:
    """All facts of the box whose file system begins at ``root``; with ``ways``, also its tools'.

    Never raises: no file, no fact.
    """
    said = ask(ways, root).modems if ways is not None else {}
    return Facts(
        routes.defaults(root),
        sysfs.interfaces(root),
        wireless.stations(root),
        tuple(modem for modems in said.values() for modem in modems),
    )
