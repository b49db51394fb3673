"""Names to addresses: afresh each time, never for longer than asked, a failure told in one word.

getaddrinfo cannot be cancelled, and it hangs exactly in the outage that we exist to record. So each
look-up runs on a daemon thread of its own, and a thread that hangs is left behind: at most two.
While both hang, the answer is ``resolver_stuck`` at once.
"""

import ipaddress
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from agent.targets import Policy, refusal

MAX_STUCK = 2

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6, None: socket.AF_UNSPEC}
_NUMBERS = {socket.AF_INET: 4, socket.AF_INET6: 6}
# EAI_NODATA and EAI_ADDRFAMILY are GNU's and not in every Python: -5 and -9.
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, -5, -9})


class ResolveError(Exception):
    """Why there is no address: ``word`` is one of wire.ERRORS."""

    def __init__(self, word: str, detail: str = "") -> None:
        super().__init__(f"{word}: {detail}" if detail else word)
        self.word = word


class Address(NamedTuple):
    ip: str
    family: int  # 4 or 6


class Choice(NamedTuple):
    """The address to probe, or the one that was refused and why."""

    address: Address
    refused: str | None


class Resolver:
    """The system's resolver with a deadline. Used by one thread."""

    def __init__(
        self, lookup: Callable[..., Sequence[Any]] = socket.getaddrinfo, max_stuck: int = MAX_STUCK
    ) -> None:
        self._lookup = lookup
        self._max_stuck = max_stuck
        self._threads: list[threading.Thread] = []

    def resolve(self, host: str, timeout_s: float, family: int | None = None) -> list[Address]:
        """The addresses in the system's order, at least one; ResolveError otherwise."""
        literal = as_literal(host)
        if literal is not None:
            if family not in (None, literal.family):
                raise ResolveError("unknown_host", f"{host} is not an IPv{family} address")
            return [literal]
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= self._max_stuck:
            raise ResolveError("resolver_stuck")
        answer: queue.SimpleQueue[list[Address] | Exception] = queue.SimpleQueue()
        thread = threading.Thread(
            target=self._look_up, args=(host, family, answer), name="resolve", daemon=True
        )
        thread.start()
        self._threads.append(thread)
        try:
            found = answer.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            raise ResolveError("resolver_timeout") from None
        if isinstance(found, Exception):
            raise found
        return found

    def _look_up(
        self, host: str, family: int | None, answer: "queue.SimpleQueue[list[Address] | Exception]"
    ) -> None:
        try:
            answer.put(_addresses(self._lookup, host, family))
        except Exception as error:  # carried to the thread that asked, raised there
            answer.put(error)


def as_literal(host: str) -> Address | None:
    """The host as an address, when it is one; no name is looked up."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    return Address(str(ip), ip.version)


def choose(addresses: Sequence[Address], policy: Policy, other_family: bool = False) -> Choice:
    """One address that the policy allows, of the system's preferred family or of the other one.

    The other family is taken only where this box has a route to it: a box without IPv6 must not
    report every fourth visit as a failure.
    """
    allowed = [address for address in addresses if refusal(address.ip, policy) is None]
    if not allowed:
        return Choice(addresses[0], refusal(addresses[0].ip, policy))
    others = [address for address in allowed if address.family != allowed[0].family]
    if other_family and others and has_route(others[0]):
        return Choice(others[0], None)
    return Choice(allowed[0], None)


def has_route(address: Address) -> bool:
    """This box knows a way to the address. Nothing is sent: connecting UDP only asks the kernel."""
    try:
        with socket.socket(_FAMILIES[address.family], socket.SOCK_DGRAM) as probe:
            probe.connect((address.ip, 9))
    except OSError:
        return False
    return True


def _addresses(
    lookup: Callable[..., Sequence[Any]], host: str, family: int | None
) -> list[Address]:
    try:
        found = lookup(_encoded(host), None, _FAMILIES[family], socket.SOCK_STREAM)
    except socket.gaierror as error:
        word = "unknown_host" if error.errno in _NO_SUCH_NAME else "resolver_failed"
        raise ResolveError(word, str(error.strerror)) from error
    except OSError as error:  # musl and a full file table
        raise ResolveError("resolver_failed", str(error)) from error
    addresses = [
        Address(sockaddr[0], _NUMBERS[kind])
        for kind, _, _, _, sockaddr in found
        if kind in _NUMBERS
    ]
    if not addresses:
        raise ResolveError("unknown_host", "no address")
    return list(dict.fromkeys(addresses))


def _encoded(host: str) -> bytes:
    """The name in ASCII. Python's idna codec is asked only where it is needed: OpenWrt lacks it."""
    if host.isascii():
        return host.encode("ascii")
    try:
        return host.encode("idna")
    except LookupError as error:
        raise ResolveError("resolver_failed", "this Python has no idna codec") from error
    except UnicodeError as error:
        raise ResolveError("unknown_host", "not a name that DNS can hold") from error
