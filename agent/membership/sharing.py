"""What a box that joins shares, in words for its owner. Pure.

docs/protocol.md says it field by field; ``agent/<agent>`` on the broker is what it says of itself.
"""

from typing import NamedTuple

_INDENT = 13


class Joining(NamedTuple):
    name: str
    brokers: tuple[str, ...]  # not known yet: none
    page: str | None  # which is told name, place and ISP, too
    place: str | None
    isp: str | None


SHARED = (
    ("results", "each ping, web request and look at the way out: target and its address, times, "
                "losses, when; to your router and your provider's first one, times alone"),
    ("link", "type (lte, adsl, fiber, …), interface, signal, operator, roaming, and the reasons: "
             "what `swarming-agent link` prints"),
    ("box", "version, since when it runs, its clock's state, how full its journal is, bytes used, "
            "which targets it refuses, how it pings, its brokers, when its certificate ends"),
    ("neighbours", "a hash of the network of your provider's first router: boxes with the same one "
                   "share an access network. It is a pseudonym, not a secret"),
)  # fmt: skip
KEPT = (
    "Never leave this box: its private key; Wi-Fi names, MAC, IMEI, IMSI and cells; its own and "
    "your router's address; what else your network does. As every server does, the brokers"
)


def text(joining: Joining) -> str:
    """All of it, for a terminal of 80 columns."""
    where = ", ".join(joining.brokers) or "(the answer says which)"
    rows = [
        ("name", joining.name),
        ("place", joining.place or "not told (--place TEXT)"),
        ("ISP", joining.isp or "not told (--isp TEXT)"),
        *SHARED,
        ("brokers", where),
    ]
    also = " and the page" if joining.page else ""
    kept = f"{KEPT}{also} see the address that you come from."
    told = [f"This box is to join a swarm{f' at {joining.page}' if joining.page else ''}."]
    told += ["Its operators, and those whom they let in, will see:", ""]
    told += [line for name, said in rows for line in _row(name, said)]
    return "\n".join([*told, "", *_lines(kept, 78), ""])


def _row(name: str, said: str) -> list[str]:
    first, *rest = _lines(said, 78 - _INDENT)
    return [f"  {name:<{_INDENT - 2}}{first}", *(" " * _INDENT + line for line in rest)]


def _lines(text: str, width: int) -> list[str]:
    """Whoever made a .swarm file may not steer the terminal by it."""
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines
