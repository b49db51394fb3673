"""A .swarm file for a test, as an operator would hand it out."""

from __future__ import annotations

from pathlib import Path

from agent.swarm_file import SwarmFile
from tests.certificates import Authority


def swarm_of(
    authority: Authority,
    name: str,
    brokers: tuple[str, ...] = ("mqtts://127.0.0.1:8883",),
    place: str | None = None,
    isp: str | None = None,
) -> SwarmFile:
    cert, key = (Path(path).read_text() for path in authority.issue(name))
    return SwarmFile(name, brokers, cert, key, Path(authority.ca).read_text(), place, isp)


def joined(authority: Authority, name: str, *brokers: str, **told: str) -> str:
    """The text of one."""
    return swarm_of(authority, name, brokers or ("mqtts://127.0.0.1:8883",), **told).text
