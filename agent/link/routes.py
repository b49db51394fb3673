"""The kernel's default routes, from /proc/net/route and /proc/net/ipv6_route."""

import os
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

_UP = 0x1
_REJECT = 0x200
_MAX_BYTES = 4 * 1024 * 1024


class Route(NamedTuple):
    family: int  # 4 | 6
    iface: str
    gateway: str | None  # None: on a point-to-point link there is nobody to name
    metric: int
    prefix_len: int  # 0; or a part of everything, as tunnels like to take it (0.0.0.0/1)

    @property
    def address(self) -> str | None:
        """The gateway as it can be pinged: a link-local one needs its interface."""
        if self.gateway is not None and self.gateway.startswith("fe80:"):
            return f"{self.gateway}%{self.iface}"
        return self.gateway


def defaults(root: str = "/") -> tuple[Route, ...]:
    """Default routes of both families, IPv4 first, the one that the kernel takes before others."""
    return _sorted(_ipv4(root)) + _sorted(_ipv6(root))


def gateway(root: str = "/") -> dict[int, Route]:
    """For each family (4, 6) that has one, the default route in use."""
    found: dict[int, Route] = {}
    for route in defaults(root):
        found.setdefault(route.family, route)
    return found


def _sorted(found: list[Route]) -> tuple[Route, ...]:
    return tuple(sorted(found, key=lambda route: (-route.prefix_len, route.metric)))


def _ipv4(root: str) -> list[Route]:
    """Iface Destination Gateway Flags RefCnt Use Metric Mask …; addresses in the CPU's order."""
    found = []
    for fields in _lines(root, "proc/net/route"):
        try:
            iface, destination, gateway, flags, metric, mask = (
                fields[0], *(int(fields[at], 16) for at in (1, 2, 3)), int(fields[6]),
                int(fields[7], 16),
            )  # fmt: skip
        except (IndexError, ValueError):
            continue  # the heading, or no line of a route
        length = mask.bit_count()
        whole = destination == 0 and length <= 1
        if not whole or not flags & _UP or flags & _REJECT:
            continue
        address = str(IPv4Address(struct.pack("=I", gateway))) if gateway else None
        found.append(Route(4, iface, address, metric, length))
    return found


def _ipv6(root: str) -> list[Route]:
    """destination len source len next-hop metric refcnt use flags iface; all in hexadecimal."""
    found = []
    for fields in _lines(root, "proc/net/ipv6_route"):
        try:
            length, source_length = int(fields[1], 16), int(fields[3], 16)
            metric, flags, iface = int(fields[5], 16), int(fields[8], 16), fields[9]
            address = IPv6Address(bytes.fromhex(fields[4]))
            start = bytes.fromhex(fields[0])[0]
        except (IndexError, ValueError):
            continue
        # 2000::/3 is all of the Internet, and ::/1 with 8000::/1 is everything.
        whole = (length == 0 or (length <= 3 and start in (0x00, 0x20))) and source_length == 0
        if not whole or not flags & _UP or flags & _REJECT or iface == "lo":
            continue
        found.append(Route(6, iface, str(address) if int(address) else None, metric, length))
    return found


def _lines(root: str, path: str) -> list[list[str]]:
    try:
        with open(os.path.join(root, path), encoding="ascii", errors="replace") as file:
            return [line.split() for line in file.read(_MAX_BYTES).splitlines()]
    except OSError:
        return []
