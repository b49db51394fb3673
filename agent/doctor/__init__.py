"""``swarming-agent doctor``: what is well, what is not, and what to do about it; a line each.

It works beside a running agent, which it asks and does not disturb, and without one; with no
network it ends all the same, within half a minute.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

import paho.mqtt

from agent import VERSION, errand, names, whose
from agent.config import Config, ConfigError
from agent.connection import Broker, Credentials
from agent.dial import parse_broker
from agent.doctor import advice, box, words
from agent.doctor import broker as visit
from agent.doctor.words import Finding
from agent.errand import Member

_ROOTS = Finding("agent", "unknown", whose.SAID, "sudo swarming-agent doctor")


def run(options: argparse.Namespace, config: Config) -> int:
    """0: nothing is wrong; 1: something is."""
    found = []
    for finding in examine(config, whose.is_only_systems(options)):
        found.append(finding)
        if not options.json:
            print(words.line(finding), flush=True)
    well = all(finding.state != "bad" for finding in found)
    if options.json:
        print(json.dumps({"well": well, "found": [one._asdict() for one in found]}, indent=2))
    return 0 if well else 1


def examine(config: Config, systems: bool = False) -> Iterator[Finding]:
    """Everything, in an order in which what comes first explains what comes later. ``systems``: the
    agent of this box is the system's, and cannot be asked."""
    told, about_agent = box.running(config.journal)
    about: dict[str, Any] = told.get("about", {})
    yield _version(about.get("version"))
    yield _ROOTS if systems else about_agent
    yield from filter(None, [box.owner(config.journal)])
    counts, epochs, broken = box.counted(config.journal)
    clock, clock_is_wrong = box.the_clock(told, counts.known_ms if counts else None)
    name, unnamed = _name(config, about)
    who = Member(name or names.make_up(), _credentials(config, clock_is_wrong), config.mqtt)
    brokers = _brokers(config, about)
    late = visit.late(brokers[0], who) if brokers else None
    visits = errand.everywhere(
        brokers, lambda broker: visit.examine(broker, who), late, visit.WITHIN_S
    )
    yield box.icmp(told)
    yield clock
    yield box.resolver([broker.host for broker in brokers], _targets(config, about))
    yield box.line(config, told)
    yield box.budget(config, told)
    if not systems:
        yield broken or box.journal(config, told, counts)
    yield from filter(
        None, [None if systems else unnamed, box.own_certificate(config, name, clock_is_wrong)]
    )
    if not brokers and not systems:
        yield Finding("broker", "bad", "none is named", "swarming-agent join, or name one")
    own = epochs | {str(about[key]) for key in ("epoch", "since") if key in about}
    online = False
    for broker, seen in visits:
        assert seen is not None
        online = online or any(is_online for _, is_online in seen.indexers)
        yield from advice.of_broker(seen._replace(broker=broker), name, own, bool(told))
    yield from filter(None, [words.of_results(counts, about.get("silence"), online)])


def _version(running: str | None) -> Finding:
    library = getattr(paho.mqtt, "__version__", "?")
    said = f"swarming {VERSION}, Python {sys.version.split()[0]}, paho-mqtt {library}"
    if running not in (None, VERSION):
        return Finding("version", "warn", f"{said}; the agent that runs is {running}", "restart it")
    return Finding("version", "ok", said)


def _name(config: Config, about: dict[str, Any]) -> tuple[str | None, Finding | None]:
    """As the running agent has it, else as the next one will."""
    try:
        name = about.get("agent") or names.known(config)
    except ConfigError as error:
        return None, Finding("name", "bad", str(error))
    if name is None:
        return None, Finding("name", "ok", "none yet: the agent makes one up at its first start")
    return str(name), None


def _credentials(config: Config, clock_is_wrong: bool) -> Credentials:
    """Like the agent's: with a clock that is wrong, no certificate is judged by dates."""
    return Credentials(config.ca, config.cert, config.key, dates=not clock_is_wrong)


def _brokers(config: Config, about: dict[str, Any]) -> list[Broker]:
    """Ours, and those of the running agent, which may have been told others."""
    return list(dict.fromkeys([*config.brokers, *map(parse_broker, about.get("brokers", ()))]))


def _targets(config: Config, about: dict[str, Any]) -> list[str]:
    listed = about.get("list", {}).get("targets")
    return [str(target) for target in listed or (config.targets or "").split()]
