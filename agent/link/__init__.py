"""Where the facts about the link come from: one reader a source, each of them missable.

A reader takes the root of a file system, so that a recorded box can be read like the own one.
"""

from typing import NamedTuple

from agent.link import routes, sysfs, wireless
from agent.link.routes import Route
from agent.link.sysfs import Interface
from agent.link.wireless import Station


class Facts(NamedTuple):
    """What was found of a box. An absent source is an empty field."""

    routes: tuple[Route, ...]  # defaults, the one in use first
    interfaces: dict[str, Interface]
    stations: dict[str, Station]  # Wi-Fi, by interface


def gather(root: str = "/") -> Facts:
    """All facts of the box whose file system begins at ``root``. Never raises: no file, no fact."""
    return Facts(routes.defaults(root), sysfs.interfaces(root), wireless.stations(root))
