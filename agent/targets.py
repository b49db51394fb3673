"""What may be watched: any text becomes a Target or is refused with one plain sentence.

There are two gates. parse() reads the word on the list, and lets pass only what is a host name, an
address or an http(s) URL. refusal() judges the address that the name has turned out to have, each
time it is resolved and again after connect, for a name may point anywhere, and elsewhere tomorrow.
"""

import re
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import NamedTuple
from urllib.parse import quote, urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_TARGETS = 64
MAX_LENGTH = 500  # of one word; a verdict's topic holds it percent-encoded
SHOWN_LENGTH = 80  # of a refused word, where it is told

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DEFAULT_PORTS = {"http": 80, "https": 443}

# Ports where no browser sends HTTP either (the Fetch standard's list): a line of HTTP is somebody
# else's command there, and a swarm must not be made to send it.
_FOREIGN_PORTS = frozenset(
    [1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101]
    + [102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389]
    + [427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636]
    + [989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566]
    + [6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080]
)

_NEVER = (
    ("0.0.0.0/8", "not the address of anything"),
    ("224.0.0.0/4", "a multicast address"),
    ("255.255.255.255/32", "the broadcast address"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "not the address of anything"),
    ("ff00::/8", "a multicast address"),
)
_PRIVATE = (
    ("127.0.0.0/8", "this machine's own"),
    ("10.0.0.0/8", "private"),
    ("172.16.0.0/12", "private"),
    ("192.168.0.0/16", "private"),
    ("192.0.0.0/24", "private"),
    ("100.64.0.0/10", "an ISP's own (CGNAT)"),
    ("169.254.0.0/16", "link-local"),
    ("::1/128", "this machine's own"),
    ("fc00::/7", "private (ULA)"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "private"),
    ("64:ff9b:1::/48", "private (NAT64)"),
)
_NEVER_RANGES = tuple((ip_network(text), what) for text, what in _NEVER)
_PRIVATE_RANGES = tuple((ip_network(text), what) for text, what in _PRIVATE)


class TargetError(ValueError):
    """Says in one sentence why a word cannot be a target."""


class Target(NamedTuple):
    """One word of a list, read. The host is lower case, IDNA-encoded, without brackets."""

    text: str
    kind: str  # "host" | "address" | "url"
    host: str
    port: int | None  # of a URL, when it is not the scheme's own
    scheme: str | None
    path: str | None  # of a URL: ASCII, begins with "/", holds the query


class Refused(NamedTuple):
    text: str
    reason: str


class TargetList(NamedTuple):
    targets: tuple[Target, ...]
    refused: tuple[Refused, ...]


class Policy(NamedTuple):
    """What the owner of the box allows beyond, and denies besides, the rule."""

    allow_private: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()


def parse(text: str) -> Target:
    """The target that the word names, or a TargetError."""
    if not text:
        raise TargetError("there is nothing there")
    if len(text) > MAX_LENGTH:
        raise TargetError(f"it is longer than {MAX_LENGTH} characters")
    if text.startswith("-"):
        raise TargetError("a target may not begin with a dash")
    if not text.isprintable() or " " in text:
        raise TargetError("it holds a control character or a space")
    if _SCHEME.match(text):
        return _parse_url(text)
    if "@" in text:
        raise TargetError("a target may not hold a user name or a password")
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    address = _as_address(bare)
    if address is not None:
        return Target(text, "address", str(address), None, None, None)
    if ":" in text or "/" in text:
        raise TargetError("a port or a path needs http:// or https:// before it")
    host = _host_name(text)
    kind = "host" if _as_address(host) is None else "address"
    return Target(text, kind, host, None, None, None)


def parse_list(text: str, limit: int = MAX_TARGETS, policy: Policy | None = None) -> TargetList:
    """The targets of a list in their order, each once, and what was refused of it, and why.

    With a policy, a word that is an address is judged at once; a name only when it is resolved.
    """
    targets: dict[tuple[object, ...], Target] = {}
    refused: dict[str, str] = {}
    for word in text.split():
        try:
            target = _allowed(parse(word), policy)
        except TargetError as error:
            refused.setdefault(_shown(word), str(error))
            continue
        if len(targets) < limit or target[1:] in targets:
            targets.setdefault(target[1:], target)
        else:
            refused.setdefault(_shown(word), f"there are more than {limit} targets")
    told = [Refused(word, reason) for word, reason in refused.items()]
    if len(told) > limit:
        told[limit:] = [Refused("…", f"{len(told) - limit} more are refused")]
    return TargetList(tuple(targets.values()), tuple(told))


def _allowed(target: Target, policy: Policy | None) -> Target:
    reason = None
    if policy is not None and _as_address(target.host) is not None:
        reason = refusal(target.host, policy)
    if reason is not None:
        raise TargetError(reason)
    return target


def refusal(address: str, policy: Policy) -> str | None:
    """Why this resolved address may not be probed; None when it may."""
    try:
        outer = ip_address(address.partition("%")[0])
    except ValueError:
        return "it is not an address"
    candidates = (outer, *_embedded(outer))
    for ip in candidates:
        reason = _refusal_of(ip, policy)
        if reason is not None:
            return reason if ip == outer else f"{outer} stands for {ip}: {reason}"
    return None


def _refusal_of(ip: Address, policy: Policy) -> str | None:
    if _within(ip, policy.deny):
        return f"{ip} is denied by this box's owner"
    for network, what in _NEVER_RANGES:
        if ip in network:
            return f"{ip} is {what}"
    for network, what in _PRIVATE_RANGES:
        if ip in network and not _within(ip, policy.allow_private):
            return f"{ip} is {what}, and this box's owner has not allowed it"
    return None


def _within(ip: Address, networks: tuple[Network, ...]) -> bool:
    return any(ip in network for network in networks)


def _embedded(ip: Address) -> list[Address]:
    """The IPv4 addresses that an IPv6 address carries: a packet to it ends up there."""
    if isinstance(ip, IPv4Address) or ip.packed[:12] == bytes(12) and int(ip) < 2:
        return []  # :: and ::1 are judged as themselves
    low = IPv4Address(ip.packed[12:])
    if ip.ipv4_mapped is not None:
        return [ip.ipv4_mapped]
    if ip.sixtofour is not None:
        return [ip.sixtofour]
    if ip.teredo is not None:
        return list(ip.teredo)
    nat64 = ip.packed[:12] == bytes.fromhex("0064ff9b0000000000000000")
    local_nat64 = ip.packed[:6] == bytes.fromhex("0064ff9b0001")
    compatible = ip.packed[:12] == bytes(12)
    isatap = ip.packed[8:12] in (bytes.fromhex("00005efe"), bytes.fromhex("02005efe"))
    return [low] if nat64 or local_nat64 or compatible or isatap else []


def _parse_url(text: str) -> Target:
    try:
        url = urlsplit(text)
        port = url.port
        host = url.hostname or ""
    except ValueError:
        raise TargetError("it is not a URL that can be read") from None
    if url.scheme not in _DEFAULT_PORTS:
        raise TargetError("only http and https URLs can be watched")
    if "@" in url.netloc:
        raise TargetError("a target may not hold a user name or a password")
    if "\\" in text or not host:
        raise TargetError("it is not a URL that can be read")
    if port == 0 or port in _FOREIGN_PORTS:
        raise TargetError(f"port {port} is not one where HTTP is spoken")
    address = _as_address(host)
    host = _host_name(host) if address is None else str(address)
    path = quote(url.path or "/", safe="/%:@!$&'()*+,;=~")
    if url.query:
        path += "?" + quote(url.query, safe="/%:@!$&'()*+,;=~?")
    shown_port = None if port == _DEFAULT_PORTS[url.scheme] else port
    return Target(text, "url", host, shown_port, url.scheme, path)


def _as_address(text: str) -> Address | None:
    if "%" in text and ":" in text:
        raise TargetError("an address with a zone means something on one box alone")
    try:
        return ip_address(text)
    except ValueError:
        return None


def _host_name(text: str) -> str:
    """The name in lower case ASCII. What a resolver would take for an old-style address is none."""
    name = text.lower()
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii").lower()
        except UnicodeError:
            raise TargetError("it is not a host name, an address or an http(s) URL") from None
    name = name.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise TargetError("it is not a host name, an address or an http(s) URL")
    if (labels[-1].isdigit() or labels[-1].startswith("0x")) and _as_address(name) is None:
        raise TargetError("it ends in a number, but is not an address")
    return name


def _shown(word: str) -> str:
    """The word as it can be told: printable, and not too long."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in word)
    return plain if len(plain) <= SHOWN_LENGTH else plain[: SHOWN_LENGTH - 1] + "…"
