"""A simulated swarm: about thirty agents at six providers, and the incidents planted in it.

Everything follows from the seed: the same stretch of time gives the same results, whichever
stretches were asked for before. Names begin with ``sim-`` and facts say ``simulated``, so that
nobody takes it for real. Addresses are those reserved for documentation and benchmarks.
"""

import hashlib
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from agent.wire import Result

SLOT_MS = 12_500
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MINUTE_MS = 60_000
ECHOES = 10


class Link(NamedTuple):
    """How a technology behaves: to the router, and over the access line."""

    type: str
    generation: str | None
    gateway_ms: float
    access_ms: float
    jitter: float  # sigma of ln(rtt) of one echo
    loss: float
    second_mode: float  # mobile radios: how often the whole probe is in the slow mode


LINKS = {
    "ethernet": Link("ethernet", None, 0.4, 4.0, 0.05, 0.0005, 0.0),
    "wifi": Link("wifi", None, 2.5, 5.0, 0.18, 0.004, 0.0),
    "fiber": Link("fiber", None, 0.6, 2.5, 0.04, 0.0003, 0.0),
    "cable": Link("cable", None, 0.7, 9.0, 0.12, 0.001, 0.0),
    "vdsl": Link("vdsl", None, 0.8, 11.0, 0.05, 0.001, 0.0),
    "adsl": Link("adsl", None, 0.9, 24.0, 0.06, 0.002, 0.0),
    "lte": Link("lte", "4g", 1.2, 38.0, 0.15, 0.004, 0.25),
    "5g": Link("5g", "5g", 1.0, 18.0, 0.15, 0.003, 0.15),
    "umts": Link("umts", "3g", 1.5, 85.0, 0.22, 0.010, 0.25),
    "hspa": Link("hspa", "3g", 1.5, 55.0, 0.20, 0.006, 0.20),
    "edge": Link("edge", "2g", 2.0, 380.0, 0.25, 0.020, 0.20),
    "satellite": Link("satellite", None, 0.7, 590.0, 0.05, 0.006, 0.0),
    "vpn": Link("vpn", None, 0.6, 22.0, 0.08, 0.001, 0.0),
}


class Target(NamedTuple):
    """A service: its sites, each with its addresses' network and its distance."""

    text: str
    sites: tuple[str, ...]
    far_ms: float


_TARGETS = (
    Target("news.example", ("192.0.2.10",), 9.0),
    Target("https://shop.example/", ("198.51.100.20",), 16.0),
    Target("mail.example", ("203.0.113.30",), 23.0),
    Target("video.example", ("198.18.10.40", "198.18.20.40"), 6.0),  # a CDN of two sites
    Target("far.example", ("198.19.1.50",), 170.0),
    Target("search.example", ("2001:db8::60",), 12.0),
)
TARGETS = tuple(target.text for target in _TARGETS)
_OUTAGE_TARGET, _CDN_TARGET = "https://shop.example/", "video.example"

_ISPS = {  # provider -> (its towns, the links of its customers, its way to the exchange in ms)
    "Bluefibre": (("Lille", "Lyon", "Nantes"), "fiber wifi ethernet fiber wifi vdsl wifi", 2.0),
    "Cablecom": (("Lyon", "Paris"), "cable wifi cable ethernet wifi cable", 4.0),
    "Copperline": (("Nantes", "Brest", "Paris"), "vdsl adsl wifi adsl vdsl ethernet", 5.0),
    "Airwave": (("Paris", "Lyon", "Brest"), "lte 5g lte umts edge hspa", 8.0),
    "Skydish": (("Aurillac", "Gap"), "satellite satellite wifi", 12.0),
    "Townnet": (("Lille", "Paris"), "fiber ethernet wifi cable fiber vpn", 3.0),
}
_NEAR_SITE = {"Bluefibre": 0, "Cablecom": 0, "Skydish": 0}  # the others: site 1
_EVENING_ISP, _CDN_SITE = "Bluefibre", 1


class Agent(NamedTuple):
    """One simulated box."""

    name: str
    isp: str
    place: str
    access_group: str
    link: Link
    uplink: Link  # behind Wi-Fi or Ethernet: the line of the home


class Incident(NamedTuple):
    """What was planted, and what the verdict should say of it."""

    name: str
    word: str  # the right word; access is as good as isp
    target: str | None  # None: all targets
    agents: tuple[str, ...]
    since_ms: int
    until_ms: int
    text: str


class Swarm(NamedTuple):
    seed: int
    agents: tuple[Agent, ...]


def swarm(seed: int = 1) -> Swarm:
    """The agents: every provider's customers, in its towns, over its kinds of link."""
    agents = []
    for isp, (places, links, _) in _ISPS.items():
        for number, word in enumerate(links.split()):
            place = places[number % len(places)]
            line = _line_of(isp) if word in ("wifi", "ethernet") else word
            name = f"sim-{isp.lower()}-{word}-{number + 1}"
            group = hashlib.sha256(f"{seed}/{isp}/{place}".encode()).hexdigest()[:12]
            agents.append(Agent(name, isp, place, group, LINKS[word], LINKS[line]))
    return Swarm(seed, tuple(agents))


def abouts(of: Swarm) -> list[tuple[str, dict[str, Any]]]:
    """What each agent says of itself on ``agent/<agent>``."""
    return [(agent.name, _facts(agent)) for agent in of.agents]


def incidents(of: Swarm, until_ms: int) -> list[Incident]:
    """What goes wrong in the week that ends at ``until_ms``."""
    evening = (until_ms - DAY_MS) // DAY_MS * DAY_MS + 19 * HOUR_MS
    if evening + 3 * HOUR_MS > until_ms - 3 * HOUR_MS:
        evening -= DAY_MS
    customers = tuple(agent.name for agent in of.agents if agent.isp == _EVENING_ISP)
    at_site = tuple(agent.name for agent in of.agents if _site(agent) == _CDN_SITE)
    wifi = next(a.name for a in of.agents if a.isp == "Cablecom" and a.link.type == "wifi")
    everyone = tuple(agent.name for agent in of.agents)
    noon = until_ms // DAY_MS * DAY_MS + 12 * HOUR_MS
    return [
        Incident(
            "bad Wi-Fi",
            "me",
            None,
            (wifi,),
            noon - 5 * DAY_MS,
            noon - 5 * DAY_MS + 4 * HOUR_MS,
            f"The Wi-Fi of {wifi} is bad: its router answers late and loses echoes.",
        ),
        Incident(
            "one site of a CDN",
            "service",
            _CDN_TARGET,
            at_site,
            noon - 4 * DAY_MS,
            noon - 4 * DAY_MS + 3 * HOUR_MS,
            f"One of two sites of {_CDN_TARGET} is slow.",
        ),
        Incident(
            "ISP evening",
            "isp",
            None,
            customers,
            evening,
            evening + 3 * HOUR_MS,
            f"{_EVENING_ISP} is congested in the evening.",
        ),
        Incident(
            "service outage",
            "service",
            _OUTAGE_TARGET,
            everyone,
            until_ms - 40 * MINUTE_MS,
            until_ms + DAY_MS,
            f"{_OUTAGE_TARGET} is down, and still is at the end of the week.",
        ),
    ]


def results(
    of: Swarm,
    since_ms: int,
    until_ms: int,
    scale: float = 1.0,
    planted: list[Incident] | None = None,
) -> Iterator[Result]:
    """What all agents measure in this stretch, in order of time. ``scale`` 10: a tenth of the
    probes. The incidents are placed in the week before ``until_ms`` unless they are given."""
    found = incidents(of, until_ms) if planted is None else planted
    slot_ms = int(SLOT_MS * scale)
    for slot in range(since_ms // slot_ms, -(-until_ms // slot_ms)):
        begun = []
        for index, agent in enumerate(of.agents):
            rng = random.Random((of.seed * 1_000_003 + index) * 1_000_000_007 + slot)
            # Agents begin anywhere within the slot; each keeps its place, with a little jitter.
            at_ms = slot * slot_ms + (index * 7919) % (slot_ms - 2000) + rng.randrange(2000)
            if since_ms <= at_ms < until_ms:
                begun.append((at_ms, index, agent, rng))
        for at_ms, index, agent, rng in sorted(begun, key=lambda one: one[:2]):
            yield _result(of, index, agent, slot, at_ms, slot_ms, rng, found)


def _result(
    of: Swarm,
    index: int,
    agent: Agent,
    slot: int,
    at_ms: int,
    slot_ms: int,
    rng: random.Random,
    planted: list[Incident],
) -> Result:
    day = at_ms // DAY_MS
    epoch = hashlib.sha256(f"{of.seed}/{agent.name}/{slot_ms}/{day}".encode()).hexdigest()[:16]
    seq = slot - day * DAY_MS // slot_ms + 2
    trouble = [
        one for one in planted if agent.name in one.agents and one.since_ms <= at_ms < one.until_ms
    ]
    if slot % 4 == index % 4:
        body = _ladder(agent, trouble, rng)
    else:
        turn = slot - (slot - index % 4) // 4  # its ladder slots are not counted
        target = _TARGETS[(turn + index) % len(_TARGETS)]
        visit = (turn + index) // len(_TARGETS)
        if target.text.startswith("https:") and visit % 4:
            body = _http(agent, target, at_ms, trouble, rng)
        else:
            body = _icmp(agent, target, at_ms, trouble, rng)
    link = {"type": agent.link.type, "iface": "sim0", "confidence": 1.0}
    if agent.link.generation:
        link["generation"] = agent.link.generation
    return Result(agent.name, epoch, seq, at_ms, "ntp", 60, body | {"link": link})


def _icmp(
    agent: Agent, target: Target, at_ms: int, trouble: list[Incident], rng: random.Random
) -> dict[str, Any]:
    down = any(one.name == "service outage" and one.target == target.text for one in trouble)
    mean = _to_target(agent, target, at_ms, trouble, rng)
    echoes = _echoes(mean, agent, ECHOES, trouble, rng, down)
    body = {"kind": "icmp", "target": target.text, **_address(agent, target), "method": "dgram"}
    body |= _counted(echoes)
    ok = body["received"] > 0
    return body | {"ok": ok, "error": None if ok else "timeout", "late": 0, "duplicates": 0}


def _http(
    agent: Agent, target: Target, at_ms: int, trouble: list[Incident], rng: random.Random
) -> dict[str, Any]:
    body = {"kind": "http", "target": target.text, **_address(agent, target)}
    if any(one.name == "service outage" and one.target == target.text for one in trouble):
        late = {"failed_after_ms": 15_000.0, "phases_ms": {"resolve": 8.0}}
        return body | {"ok": False, "error": "connect_timeout"} | late
    rtt = _to_target(agent, target, at_ms, trouble, rng) * rng.lognormvariate(0, agent.link.jitter)
    thinks = rng.lognormvariate(3.4, 0.15)
    phases = {
        "resolve": rng.lognormvariate(2.0, 0.3),
        "connect": rtt,
        "tls": 1.2 * rtt + 3.0,
        "ttfb": rtt + thinks,
        "transfer": 0.5 * rtt + 2.0,
    }
    rounded = {phase: round(value, 3) for phase, value in phases.items()}
    rounded["total"] = round(sum(rounded.values()), 3)
    told = {"status": 200, "bytes": 18_400, "tls_version": "TLSv1.3", "retrans": 0}
    return body | {"ok": True, "error": None, "phases_ms": rounded} | told


def _ladder(agent: Agent, trouble: list[Incident], rng: random.Random) -> dict[str, Any]:
    wifi = any(one.name == "bad Wi-Fi" for one in trouble)
    router = agent.link.gateway_ms * (25 if wifi else 1)
    behind = router + agent.uplink.access_ms + _evening_ms(trouble, rng)
    gateway = _echoes(router, agent, 5, trouble if wifi else [], rng, False)
    hop = _echoes(behind, agent, 5, trouble, rng, False)
    parts = {"gateway": _counted(gateway), "first_hop": _counted(hop)}
    return {"kind": "ladder", "target": "ladder", "ok": True, "error": None} | parts


def _to_target(
    agent: Agent, target: Target, at_ms: int, trouble: list[Incident], rng: random.Random
) -> float:
    """The RTT that a probe of this target has now, before each echo's own jitter."""
    wifi = any(one.name == "bad Wi-Fi" for one in trouble)
    router = agent.link.gateway_ms * (25 if wifi else 1)
    line = agent.uplink.access_ms
    if rng.random() < agent.link.second_mode:
        line *= 1.6
    mean = router + line + _ISPS[agent.isp][2] + target.far_ms + _evening_ms(trouble, rng)
    if any(one.name == "one site of a CDN" and one.target == target.text for one in trouble):
        mean += 140.0
    # Everybody's evenings are a little slower; that is no incident.
    hour = at_ms % DAY_MS / HOUR_MS
    return mean * (1.04 if 18 <= hour < 23 else 1.0)


def _evening_ms(trouble: list[Incident], rng: random.Random) -> float:
    if not any(one.name == "ISP evening" for one in trouble):
        return 0.0
    return 60.0 + rng.random() * 60.0


def _echoes(
    mean: float,
    agent: Agent,
    count: int,
    trouble: list[Incident],
    rng: random.Random,
    down: bool,
) -> list[float | None]:
    if down:
        return [None] * count
    names = {one.name for one in trouble}
    loss = agent.link.loss + 0.18 * ("bad Wi-Fi" in names) + 0.05 * ("ISP evening" in names)
    jitter = 0.6 if "bad Wi-Fi" in names else agent.link.jitter
    echoes: list[float | None] = []
    for _ in range(count):
        lost = rng.random() < loss
        echoes.append(None if lost else round(mean * rng.lognormvariate(0, jitter), 3))
    return echoes


def _counted(echoes: list[float | None]) -> dict[str, Any]:
    known = [echo for echo in echoes if echo is not None]
    counted: dict[str, Any] = {"sent": len(echoes), "received": len(known), "rtts_ms": echoes}
    counted["loss_pct"] = round(100 * (1 - len(known) / len(echoes)), 1)
    if known:
        mean = sum(known) / len(known)
        spread = (sum((echo - mean) ** 2 for echo in known) / len(known)) ** 0.5
        numbers = {"min": min(known), "avg": mean, "max": max(known), "stddev": spread}
        counted["rtt_ms"] = {name: round(value, 3) for name, value in numbers.items()}
    return counted


def _address(agent: Agent, target: Target) -> dict[str, Any]:
    ip = target.sites[_site(agent) % len(target.sites)]
    return {"ip": ip, "family": 6 if ":" in ip else 4}


def _site(agent: Agent) -> int:
    return _NEAR_SITE.get(agent.isp, 1)


def _line_of(isp: str) -> str:
    """What a home's Wi-Fi or Ethernet is connected to at this provider."""
    links = _ISPS[isp][1].split()
    return next(link for link in links if link not in ("wifi", "ethernet"))


def _facts(agent: Agent) -> dict[str, Any]:
    link = {"type": agent.link.type, "iface": "sim0", "confidence": 1.0}
    if agent.link.generation:
        link["generation"] = agent.link.generation
    return {
        "here": True,
        "simulated": True,
        "version": "simulated",
        "place": agent.place,
        "isp": agent.isp,
        "access_group": agent.access_group,
        "link": link,
        "flush_s": 0,
        "journal": {"waiting": 0, "published": 0, "evicted": 0},
        "clock": {"trust": "ntp", "age_s": 60},
        "targets": list(TARGETS),
        "refused": [],
    }
