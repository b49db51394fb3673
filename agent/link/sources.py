"""Who may be asked about the line, in which order: one reader a source, each of them missable.

A tool that is missing, hangs or prints rubbish is missing evidence. So is a reader that stumbles
over what it printed: it is logged, and the others are still asked.
"""

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from agent.link import (
    at,
    docsis,
    dsl,
    hilink,
    iw,
    modemmanager,
    networkmanager,
    ports,
    qmicli,
    root_file,
    routes,
    sysfs,
    ubus,
    umbim,
    uqmi,
    zte,
)
from agent.link.helpers import Helpers, Runner
from agent.link.http import Getter, getter
from agent.link.kinds import by_name, kind_of
from agent.link.modem import GENERATIONS, Modem
from agent.link.ports import Port
from agent.link.routes import Route
from agent.link.serial import transcript
from agent.link.sysfs import Interface

log = logging.getLogger("swarming")

ROOT_FILE = "root's file"  # a source like the others: its modems keep their own source's name
_MOST_WIFI = 2
_QMI = ("qmi_wwan", "qmi_wwan_q", "GobiNet", None)
_MBIM = ("cdc_mbim", "mhi_wwan_mbim", None)
_OFTEN = Port("/dev/cdc-wdm0", None, None)


class Ways(NamedTuple):
    """The ways to ask a box, besides its files."""

    run: Runner
    page: Callable[[str], Getter] | None = None  # of the device at this gateway
    serial: Callable[[str], str | None] | None = None  # what the modem at this port answers
    ports: tuple[str, ...] = ()  # the serial ports that the owner has named
    any_page: bool = False  # also the home router's


class Said(NamedTuple):
    """What the sources said, by source."""

    modems: dict[str, tuple[Modem, ...]]
    age_s: float = 0.0  # of what is in root's file


def own_ways(serial_ports: Sequence[str], pages: str, stop: threading.Event | None = None) -> Ways:
    """Of the box that this runs on, for one look: all together bounded by the Helpers' time.

    ``pages``: whose may be asked, "modem", "router" (too) or "none".
    """
    helpers = Helpers(stop=stop)
    return Ways(
        helpers,
        None if pages == "none" else lambda gateway: getter(gateway, helpers.left_s),
        lambda port: transcript(port, helpers.left_s),
        tuple(serial_ports),
        pages == "router",
    )


class _Box(NamedTuple):
    """What is known of the box when its sources are asked."""

    ways: Ways
    root: str
    interfaces: dict[str, Interface]
    routes: tuple[Route, ...]
    said: dict[str, tuple[Modem, ...]]  # so far

    def names(self, *types: str) -> tuple[str, ...]:
        """The interfaces of this kind, and the routes' that sysfs does not know."""
        known = {name: kind_of(interface).type for name, interface in self.interfaces.items()}
        for route in self.routes:
            known.setdefault(route.iface, by_name(route.iface).type)
        return tuple(sorted(name for name, kind in known.items() if kind in types))

    def names_one(self) -> bool:
        """A modem has told its technology: the finer tools would only repeat it."""
        return any(said.type in GENERATIONS for modems in self.said.values() for said in modems)


def ask(ways: Ways, root: str = "/", only: Collection[str] | None = None) -> Said:
    """What every source (or ``only`` these) says of the modems; never raises."""
    box = _Box(ways, root, sysfs.interfaces(root), routes.defaults(root), {})
    for source, read in _READERS.items():
        if only is None or source in only:
            try:
                found = tuple(read(box))
            except Exception:  # one modem's new firmware must not end the agent
                log.exception("the reader of %s failed", source)
                continue
            if found:
                box.said[source] = found
    if only is None or ROOT_FILE in only:
        return _with_root_file(box)
    return Said(box.said)


def _with_root_file(box: _Box) -> Said:
    """What could be asked here is fresher than what root has asked."""
    path = os.path.join(box.root, root_file.PATH.lstrip("/"))
    told = root_file.read(path, strict=box.root == "/")
    asked = {modem.source for modems in box.said.values() for modem in modems}
    left = tuple(modem for modem in told.modems if modem.source not in asked) if told else ()
    if told is None or not left:
        return Said(box.said)
    return Said(box.said | {ROOT_FILE: left}, told.age_s)


def _modemmanager(box: _Box) -> Iterable[Modem]:
    return () if box.names_one() else modemmanager.read(box.ways.run)


def _control(
    read: Callable[[Runner, Port], list[Modem]], drivers: Collection[str | None]
) -> "_Reader":
    """A tool that talks to the control device, where nobody has told the technology yet."""

    def ask_it(box: _Box) -> Iterator[Modem]:
        if box.names("mobile", "ppp") and not box.names_one():
            for port in ports.control_ports(box.root) or (_OFTEN,):
                if port.driver in drivers:
                    yield from read(box.ways.run, port)

    return ask_it


def _dsl(box: _Box) -> Iterable[Modem]:
    """A modem's box has no DSL chip that anybody uses; one of PPP may have either."""
    only_mobile = box.names("mobile") and not box.names("ppp")
    return () if only_mobile else dsl.read(box.ways.run)


def _wifi(box: _Box) -> tuple[str, ...]:
    return box.names("wifi")[:_MOST_WIFI]


def _iw(box: _Box) -> Iterator[Modem]:
    told = {modem.iface for modem in box.said.get("ubus", ()) if modem.type == "wifi"}
    for name in _wifi(box):
        if name not in told:
            yield from iw.read(box.ways.run, name)


def _pages(box: _Box) -> Iterator[tuple[Getter, str, str]]:
    """Of each device that may have a page: how to get it, its gateway, its interface."""
    sticks = box.names("mobile")
    gateways: dict[str, str | None] = {}
    for route in box.routes:  # the one in use first
        if route.family == 4:
            gateways.setdefault(route.iface, route.gateway)
    for name, gateway in gateways.items():
        if box.ways.page is not None and gateway and (name in sticks or box.ways.any_page):
            yield box.ways.page(gateway), gateway, name


def _hilink(box: _Box) -> Iterator[Modem]:
    for get, _, iface in _pages(box):
        yield from hilink.read(get, iface)


def _zte(box: _Box) -> Iterator[Modem]:
    for get, gateway, iface in _pages(box):
        if "HiLink" not in box.said:
            yield from zte.read(get, gateway, iface)


def _router(box: _Box) -> Iterator[Modem]:
    """A cable modem, an optical terminal or a dish that says what it is, if the owner lets us."""
    for get, _, iface in _pages(box) if box.ways.any_page else ():
        if not {"HiLink", "ZTE"} & box.said.keys() and (reply := get("/", {})) is not None:
            yield from (said._replace(iface=iface) for said in docsis.parse(reply.body))


def _at(box: _Box) -> Iterator[Modem]:
    for device in box.ways.ports:
        text = box.ways.serial(device) if box.ways.serial is not None else None
        yield from at.parse(text or "")


_Reader = Callable[[_Box], Iterable[Modem]]
_READERS: dict[str, _Reader] = {  # in the order in which they are asked
    "ubus": lambda box: ubus.read(box.ways.run, _wifi(box)),
    "ModemManager": _modemmanager,
    "uqmi": _control(uqmi.read, _QMI),
    "umbim": _control(umbim.read, _MBIM),
    "qmicli": _control(qmicli.read, (*_QMI, *_MBIM)),  # QMI can be inside of MBIM
    "AT": _at,
    "DSL": _dsl,
    "HiLink": _hilink,
    "ZTE": _zte,
    "router": _router,
    "NetworkManager": lambda box: networkmanager.read(box.ways.run),
    "iw": _iw,
}
