"""What is probed, and over what: the link and the way out are looked at, and looked at again."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from agent import swarming_agent
from agent.link import routes
from agent.linkguess import Link
from agent.prober import FirstHopFound, Probed
from agent.probing import ASLEEP_S, LOOK_EVERY_S, Probing
from agent.schedule import Probe
from agent.targets import Policy


class Hand:
    """In place of the Prober: writes down what it is told to do."""

    def __init__(self) -> None:
        self.searches: list[str | None] = []
        self.probes: list[tuple[Probe, str | None, str | None]] = []
        self.policy = Policy()

    def find_first_hop(self, gateway: str | None) -> None:
        self.searches.append(gateway)

    def submit(self, probe: Probe, gateway: str | None, first_hop: str | None) -> None:
        self.probes.append((probe, gateway, first_hop))


class Bed:
    """A box on Ethernet whose first hop is known at second 20."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plug("eth0", "192.168.1.1")
        hand: Any = Hand()
        self.hand: Hand = hand
        self.links: list[Link] = []
        policy = Policy()
        self.probing = Probing(hand, random.Random(1), policy, None, 0.0, str(root))
        self.probing.on_link = self.links.append
        self.probing.act(10.0)
        self.probing.found(FirstHopFound("192.168.1.1", "198.51.100.1"), 20.0)

    def plug(self, iface: str, gateway: str) -> None:
        folder = self.root / "proc" / "net"
        folder.mkdir(parents=True, exist_ok=True)
        backwards = "".join(f"{int(part):02X}" for part in reversed(gateway.split(".")))
        (folder / "route").write_text(
            "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
            f"{iface} 00000000 {backwards} 0003 0 0 100 00000000 0 0 0\n"
        )
        assert routes.gateway(str(self.root))[4].address == gateway

    def end_probe(self, now: float) -> dict[str, Any] | None:
        probe = self.hand.probes[-1][0]
        body = {"kind": "icmp", "target": "x", "ok": True, "sent": 1, "error": None}
        return self.probing.probed(Probed(probe, body, 0, 0), now)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def test_a_paused_box_still_notices_that_its_link_is_another(bed: Bed) -> None:
    bed.probing.paused = True
    bed.plug("wwan0", "10.64.0.1")
    for second in range(21, 21 + round(LOOK_EVERY_S)):
        bed.probing.act(float(second))
    assert [link.iface for link in bed.links] == ["wwan0"] and bed.links[0].metered
    assert not bed.hand.probes and len(bed.hand.searches) == 1  # and sends nothing


def test_a_box_whose_budget_is_spent_notices_the_free_line_within_a_minute(bed: Bed) -> None:
    bed.probing.schedule.stretch(3600.0)
    bed.plug("eth1", "192.168.7.1")
    for second in range(21, 21 + round(LOOK_EVERY_S)):
        bed.probing.act(float(second))
    assert [link.iface for link in bed.links] == ["eth1"]


def test_a_result_tells_the_link_that_its_probe_began_on(bed: Bed) -> None:
    bed.probing.act(30.0)
    bed.plug("wwan0", "10.64.0.1")
    bed.probing.act(30.0 + LOOK_EVERY_S)
    body = bed.end_probe(31.0 + LOOK_EVERY_S)
    assert body is not None and body["link"]["iface"] == "eth0"


def test_after_a_sleep_the_first_hop_is_looked_for_anew(bed: Bed) -> None:
    bed.probing.act(30.0)
    assert bed.hand.probes[-1][2] == "198.51.100.1"
    bed.end_probe(40.0)
    bed.probing.act(50.0 + ASLEEP_S)
    assert bed.probing.first_hop is None and len(bed.hand.searches) == 2


def test_an_awake_box_does_not_look_for_it_again(bed: Bed) -> None:
    for second in range(21, 3600):
        bed.probing.act(float(second))
        if bed.probing._busy:
            bed.end_probe(float(second))
    assert bed.probing.first_hop == "198.51.100.1" and len(bed.hand.searches) == 1


def test_the_loop_is_never_taken_for_asleep() -> None:
    assert swarming_agent.LONGEST_SLEEP_S < ASLEEP_S
