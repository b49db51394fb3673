"""The kernel's routes, from /proc/net/route and /proc/net/ipv6_route."""

import os
import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import islice
from typing import NamedTuple

_UP = 0x1
_REJECT = 0x200
_MAX_BYTES = 4 * 1024 * 1024
_MAX_ROUTES = 2000  # a router that knows the whole Internet's sends it all the same way
_BITS = {4: 32, 6: 128}


class Route(NamedTuple):
    family: int  # 4 | 6
    iface: str
    gateway: str | None  # None: on a point-to-point link there is nobody to name
    metric: int
    prefix_len: int
    network: int = 0  # its address, as a number

    @property
    def is_default(self) -> bool:
        """All of it, or a part of everything, as tunnels like to take it (0.0.0.0/1, 2000::/3)."""
        if self.family == 4:
            return self.network == 0 and self.prefix_len <= 1
        start = self.network >> 120
        return self.prefix_len == 0 or (self.prefix_len <= 3 and start in (0x00, 0x20))

    @property
    def address(self) -> str | None:
        """The gateway as it can be pinged: a link-local one needs its interface."""
        if self.gateway is not None and self.gateway.startswith("fe80:"):
            return f"{self.gateway}%{self.iface}"
        return self.gateway


def table(root: str = "/") -> tuple[Route, ...]:
    """The routes of both families in the order in which the kernel takes them, IPv4 first."""
    first = _sorted(islice(_ipv4(root), _MAX_ROUTES))
    return first + _sorted(islice(_ipv6(root), _MAX_ROUTES))


def defaults(root: str = "/") -> tuple[Route, ...]:
    """Those of everything, the one that the kernel takes before others first."""
    return _sorted(filter(_is_default, _ipv4(root))) + _sorted(filter(_is_default, _ipv6(root)))


def toward(known: Iterable[Route], ip: str) -> str | None:
    """The interface by which packets to this address leave, or None; of a ``table``."""
    address = ip_address(ip)
    bits = _BITS[address.version]
    for route in known:
        shift = bits - route.prefix_len
        if route.family == address.version and int(address) >> shift == route.network >> shift:
            return route.iface
    return None


def gateway(root: str = "/") -> dict[int, Route]:
    """For each family (4, 6) that has one, the default route in use."""
    found: dict[int, Route] = {}
    for route in defaults(root):
        found.setdefault(route.family, route)
    return found


def _is_default(route: Route) -> bool:
    return route.is_default


def _sorted(found: Iterable[Route]) -> tuple[Route, ...]:
    return tuple(sorted(found, key=lambda route: (-route.prefix_len, route.metric)))


def _ipv4(root: str) -> Iterator[Route]:
    """Iface Destination Gateway Flags RefCnt Use Metric Mask …; addresses in the CPU's order."""
    for fields in _lines(root, "proc/net/route"):
        try:
            iface, destination, gateway, flags, metric, mask = (
                fields[0], *(int(fields[at], 16) for at in (1, 2, 3)), int(fields[6]),
                int(fields[7], 16) & 0xFFFFFFFF,
            )  # fmt: skip
            via = str(IPv4Address(struct.pack("=I", gateway))) if gateway else None
            network = int.from_bytes(struct.pack("=I", destination))
        except (IndexError, ValueError, struct.error):
            continue  # the heading, or no line of a route
        if flags & _UP and not flags & _REJECT:
            yield Route(4, iface, via, metric, mask.bit_count(), network)


def _ipv6(root: str) -> Iterator[Route]:
    """destination len source len next-hop metric refcnt use flags iface; all in hexadecimal."""
    for fields in _lines(root, "proc/net/ipv6_route"):
        try:
            length, source_length = int(fields[1], 16), int(fields[3], 16)
            metric, flags, iface = int(fields[5], 16), int(fields[8], 16), fields[9]
            address = IPv6Address(bytes.fromhex(fields[4]))
            network = int(IPv6Address(bytes.fromhex(fields[0])))
        except (IndexError, ValueError):
            continue
        # Multicast has routes too, and what is the box's own leads to its loopback.
        if source_length or length > 128 or network >> 120 == 0xFF or iface == "lo":
            continue
        if flags & _UP and not flags & _REJECT:
            via = str(address) if int(address) else None
            yield Route(6, iface, via, metric, length, network)


def _lines(root: str, path: str) -> Iterator[list[str]]:
    try:
        with open(os.path.join(root, path), encoding="ascii", errors="replace") as file:
            text = file.read(_MAX_BYTES)
    except OSError:
        return
    yield from (line.split() for line in text.splitlines())
