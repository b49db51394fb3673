"""Where the facts about the link come from: one reader a source, each of them missable.

``gather`` reads files, and is cheap. ``ask`` runs the box's tools: it may take seconds, and belongs
on a thread of its own. A reader takes the root of a file system and a Runner, so that a recorded
box can be read like the own one.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from agent.link import modemmanager, ports, root_file, routes, sysfs, uqmi, wireless
from agent.link.helpers import Runner
from agent.link.http import Getter
from agent.link.modem import Modem
from agent.link.outside import Hint
from agent.link.routes import Route
from agent.link.sysfs import Interface
from agent.link.wireless import Station

log = logging.getLogger("swarming")

ROOT_FILE = "root's file"  # a source like the others: its modems keep their own source's name
_DONGLES = ("cdc_ether", "rndis_host", "cdc_ncm", "cdc_eem")  # they have a page at their gateway


class Facts(NamedTuple):
    """What was found of a box. An absent source is an empty field."""

    routes: tuple[Route, ...]  # defaults, the one in use first
    interfaces: dict[str, Interface]
    stations: dict[str, Station]  # Wi-Fi, by interface
    modems: tuple[Modem, ...] = ()  # what the tools said
    outside: Hint | None = None  # of the line behind a home router


class Ways(NamedTuple):
    """The ways to ask a box, besides its files. The pages are of a modem at a gateway."""

    run: Runner
    pages: Callable[[str], Getter] | None = None  # of this gateway


class Said(NamedTuple):
    """What the sources said, by source."""

    modems: dict[str, tuple[Modem, ...]]
    age_s: float = 0.0  # of the oldest: root's file is written now and then


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


def ask(ways: Ways, root: str = "/", only: Collection[str] | None = None) -> Said:
    """What every source (or ``only`` these) says of the modems; never raises.

    A tool that is missing, hangs or prints rubbish is missing evidence, and so is a reader that
    stumbles over what it printed: it is logged, and the others are still asked.
    """
    said: dict[str, tuple[Modem, ...]] = {}
    for source, read in _readers(ways, root).items():
        if only is None or source in only:
            try:
                found = tuple(read())
            except Exception:  # one modem's new firmware must not end the agent
                log.exception("the reader of %s failed", source)
                continue
            if found:
                said[source] = found
    age_s = 0.0
    if only is None or ROOT_FILE in only:
        own = root == "/"
        told = root_file.read(os.path.join(root, root_file.PATH.lstrip("/")), strict=own)
        if told is not None and told.modems:
            asked = {modem.source for modems in said.values() for modem in modems}
            left = tuple(modem for modem in told.modems if modem.source not in asked)
            said |= {ROOT_FILE: left} if left else {}
            age_s = told.age_s if left else 0.0
    return Said(said, age_s)


def _readers(ways: Ways, root: str) -> dict[str, Callable[[], Iterable[Modem]]]:
    """One question each, the surest first."""
    return {
        "ModemManager": lambda: modemmanager.read(ways.run),
        "uqmi": lambda: (said for port in _qmi(root) for said in uqmi.read(ways.run, port)),
    }


def _qmi(root: str) -> list[ports.Port]:
    return [port for port in ports.control_ports(root) if port.driver != "cdc_mbim"]


def _gateways(root: str) -> list[Route]:
    """The modems that look like Ethernet, each with the gateway where its page is."""
    known = sysfs.interfaces(root)
    found: dict[str, Route] = {}
    for route in routes.defaults(root):
        interface = known.get(route.iface)
        if interface is not None and interface.driver in _DONGLES and route.gateway is not None:
            found.setdefault(route.iface, route)
    return list(found.values())
