"""What ``agent/<agent>`` says, and when it is said again. Pure.

This is exactly what a box shares about itself: no SSID, no MAC, no address of its own.
"""

import hashlib
from ipaddress import ip_address, ip_network
from typing import Any

from agent import wire

MOST_BYTES = 64 * 1024  # where the broker names no limit
EVERY_MS = 60_000
METERED_EVERY_MS = 600_000  # where bytes cost money
SPENT_EVERY_MS = 3_600_000  # and where none are left
HEALTH_FIELDS = (
    *("link", "refused", "list", "paused", "here", "epoch", "access_group", "silence"),
    *("namesake", "place", "isp", "budget", "paused_until", "left", "forget"),
)

# Of who wants to be forgotten nothing else may stay on a broker: what it says there is retained.
_TO_BE_FORGOTTEN = ("v", "version", "agent", "here", "epoch", "since", "clock", "left", "forget")


class Announcer:
    """Decides whether the facts are worth another retained message."""

    def __init__(self) -> None:
        self._said: dict[str, Any] | None = None
        self._said_at_ms = 0

    def forget(self) -> None:
        """A new connection: everything is said again at once."""
        self._said = None

    def due(self, facts: dict[str, Any], now_ms: int, every_ms: int = EVERY_MS) -> bool:
        """At once when link, refusals or health changed; else at most so often, when new.

        ``now_ms`` is of a clock that never steps.
        """
        if self._said is None or _health(facts) != _health(self._said):
            return True
        return facts != self._said and now_ms - self._said_at_ms >= every_ms

    def said(self, facts: dict[str, Any], now_ms: int) -> None:
        self._said, self._said_at_ms = facts, now_ms


def encode(facts: dict[str, Any], limit_bytes: int) -> bytes:
    """The facts as they are published; too large for the broker, without what a list made long."""
    if facts.get("left") and facts.get("forget"):
        facts = {name: facts[name] for name in _TO_BE_FORGOTTEN if name in facts}
    payload = wire.encode_json(facts)
    if len(payload) <= limit_bytes:
        return payload
    listed, refused = facts.get("list", {}), facts.get("refused", [])
    shorter = {
        "list": {"from": listed.get("from"), "count": len(listed.get("targets", []))},
        "refused": [{"target": "…", "reason": f"{len(refused)} are refused"}] if refused else [],
    }
    return wire.encode_json(facts | shorter)


def access_group(first_hop: str | None, salt: str) -> str | None:
    """A pseudonym for the network of the first hop, the same for all who share it.

    None without a salt, or behind a private first hop, which is no sign of anything shared.
    """
    if not salt or first_hop is None or not ip_address(first_hop).is_global:
        return None
    bits = 24 if ip_address(first_hop).version == 4 else 48
    prefix = ip_network(f"{first_hop}/{bits}", strict=False)
    return hashlib.sha256(f"{salt} {prefix}".encode()).hexdigest()[:16]


def _health(facts: dict[str, Any]) -> dict[str, Any]:
    health = {name: facts.get(name) for name in HEALTH_FIELDS}
    health["link"] = _settled(facts.get("link"))
    health["memory"] = facts.get("journal", {}).get("memory")
    health["clock"] = facts.get("clock", {}).get("trust")
    return health


def _settled(link: dict[str, Any] | None) -> dict[str, Any] | None:
    """The link without what wavers all the time."""
    if link is None:
        return None
    return {name: link.get(name) for name in ("type", "generation", "iface", "stated")}
