"""What the line behind a home router may be, seen from a box that has only an Ethernet port. Pure,
except for ``name_of``.

Two signs: words in the name of the first public router (or of the box's own public address), and
how long and how steadily the echoes take to it. Names are often old, and times alike on lines of
different kinds: so the confidence is low, and words and times that disagree are no sign at all.
The name itself tells who somebody is, and goes nowhere: only the word that was found in it does.
"""

import contextlib
import re
import socket
import statistics
import threading
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import NamedTuple

NAME_TIMEOUT_S = 3.0
LEAST_ECHOES = 20  # fewer tell nothing of how steady a line is
_CARRIERS = ip_network("100.64.0.0/10")  # a provider's own, before it translates

_WORDS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("adsl", "adsl2", "radsl", "adslplus"), ("adsl", 0.5)),
    **dict.fromkeys(("vdsl", "vdsl2", "fttc"), ("vdsl", 0.5)),
    **dict.fromkeys(("dsl", "xdsl", "sdsl", "dslam", "dslgw", "tdsl", "dsldyn"), ("dsl", 0.5)),
    **dict.fromkeys(("cable", "cablemodem", "cmts", "docsis", "hfc", "catv"), ("cable", 0.5)),
    **dict.fromkeys(("kabel", "cablenet", "hsd", "cm"), ("cable", 0.4)),
    **dict.fromkeys(("ftth", "fttb", "fttp", "ftto", "fttx", "gpon", "xgspon"), ("fiber", 0.5)),
    **dict.fromkeys(("fiber", "fibre", "fibra", "fibr", "olt", "pon"), ("fiber", 0.5)),
    **dict.fromkeys(("lte", "4g"), ("lte", 0.5)),
    **dict.fromkeys(("5g", "nr5g"), ("5g", 0.5)),
    **dict.fromkeys(("umts", "3g"), ("umts", 0.4)),
    **dict.fromkeys(("gprs", "mobile", "mobil", "movil", "cellular", "wwan"), ("mobile", 0.5)),
    **dict.fromkeys(("ggsn", "pgw", "epc", "apn"), ("mobile", 0.5)),
    **dict.fromkeys(("sat", "satellite", "vsat", "starlink", "starlinkisp"), ("satellite", 0.5)),
    **dict.fromkeys(("hughesnet", "hughes", "viasat", "exede", "skylogic"), ("satellite", 0.5)),
}
# Providers that have one kind of line only, or nearly so.
_DOMAINS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("comcast.net", "rr.com", "cox.net", "numericable.fr"), ("cable", 0.4)),
    **dict.fromkeys(("ziggo.nl", "upc.at", "unitymediagroup.de", "virginm.net"), ("cable", 0.4)),
    **dict.fromkeys(("myvzw.com", "mycingular.net", "tmodns.net"), ("mobile", 0.5)),
    **dict.fromkeys(("t-ipconnect.de",), ("dsl", 0.4)),
    **dict.fromkeys(("starlinkisp.net",), ("satellite", 0.5)),
}
_FAMILIES = {
    **dict.fromkeys(("adsl", "vdsl", "dsl"), "dsl"),
    **dict.fromkeys(("umts", "lte", "5g", "mobile"), "mobile"),
}


class Hint(NamedTuple):
    """What it may be. Under 0.4 it is worth a sentence, and no more."""

    type: str
    confidence: float
    because: str


def judge(
    name: str | None, gateway_ms: Sequence[float], first_hop_ms: Sequence[float]
) -> Hint | None:
    """From the name, and the times of echoes to the own gateway and to the first hop behind it."""
    said, timed = by_name(name), by_times(gateway_ms, first_hop_ms)
    if said is None or timed is None:
        return said or timed
    if _family(said.type) == _family(timed.type):
        sure = min(0.6, said.confidence + 0.1)
        return Hint(said.type, sure, f"{said.because}, and its times agree")
    if timed.type == "satellite":
        return timed  # a name may be old; light is not faster than it was
    return said._replace(confidence=said.confidence - 0.1)


def by_name(name: str | None) -> Hint | None:
    """By the words of a router's or an address's name in the DNS."""
    if not name:
        return None
    name = name.lower().rstrip(".")
    words = {word.strip("0123456789") or word for word in re.split(r"[^a-z0-9]+", name)}
    words |= set(re.split(r"[^a-z0-9]+", name))
    found = {word: _WORDS[word] for word in sorted(words) if word in _WORDS}
    if not found:
        found = {end: told for end, told in _DOMAINS.items() if name.endswith("." + end)}
    if len({_family(type_) for type_, _ in found.values()}) != 1:
        return None
    word = max(found, key=lambda one: (found[one][1], found[one][0] != "dsl", one))
    return Hint(*found[word], f'the name of the line outside says "{word}" (not certain)')


def by_times(gateway_ms: Sequence[float], first_hop_ms: Sequence[float]) -> Hint | None:
    """By what the way from the gateway to the first hop adds, at best and usually."""
    if len(first_hop_ms) < LEAST_ECHOES:
        return None
    inside_ms = statistics.median(gateway_ms) if gateway_ms else 0.0
    ordered = sorted(first_hop_ms)
    least_ms = max(0.0, ordered[len(ordered) // 20] - inside_ms)
    wavers_ms = ordered[len(ordered) * 4 // 5] - ordered[len(ordered) // 5]
    if least_ms >= 450.0:
        because = "the first hop is as far away as a geostationary satellite"
        return Hint("satellite", 0.5, because)
    if least_ms < 3.0 and wavers_ms < 1.0:
        because = "the times to the first hop are short and steady, as by fiber (not certain)"
        return Hint("fiber", 0.3, because)
    if 4.0 <= least_ms < 60.0 and wavers_ms < 1.5:
        because = "the times to the first hop are steady, as by DSL (not certain)"
        return Hint("dsl", 0.3, because)
    if 4.0 <= least_ms < 20.0 and wavers_ms < 8.0:
        because = "the times to the first hop waver a little, as by cable (not certain)"
        return Hint("cable", 0.2, because)
    if least_ms >= 12.0 and wavers_ms >= 8.0:
        because = "the times to the first hop waver, as on a mobile network (not certain)"
        return Hint("mobile", 0.2, because)
    return None


def is_providers(ip: str | None) -> bool:
    """Whether a first hop is out of the house: public, or of the carriers' own range."""
    if ip is None:
        return False
    address = ip_address(ip.partition("%")[0])
    return address.is_global or address in _CARRIERS


def name_of(ip: str, timeout_s: float = NAME_TIMEOUT_S) -> str | None:
    """What the box's own resolver calls a public address; bounded, though the resolver is not."""
    if not ip_address(ip).is_global:
        return None
    found: list[str] = []

    def ask() -> None:
        with contextlib.suppress(OSError, UnicodeError):  # no name, or nobody answers
            found.append(socket.getnameinfo((ip, 0), socket.NI_NAMEREQD)[0])

    asking = threading.Thread(target=ask, name="name-of", daemon=True)
    asking.start()
    asking.join(timeout_s)
    return found[0] if found else None


def _family(type_: str) -> str:
    return _FAMILIES.get(type_, type_)
