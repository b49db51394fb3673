"""The uplink, over a connection that only writes down what it is asked to do."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import config, uplink, wire
from agent.connection import Broker, Closed, Opened, Received, Refused
from agent.store import Journal
from agent.uplink import Uplink
from agent.watch import Listed, WatchList
from tests.store_bed import body, reading


class Line:
    """In place of a Connection: open at once, and never over by itself."""

    made: list[Line]

    def __init__(self, broker: Broker, *_: Any, **options: Any) -> None:
        self.broker, self.version = broker, options["version"]
        self.is_open = self.closed = False
        self.sock = None
        self.waiting = 0
        self.asked: list[str] = []
        self.sent: list[tuple[str, bytes]] = []
        Line.made.append(self)

    def open(self) -> None:
        self.is_open = True

    def subscribe(self, topics: list[str]) -> None:
        self.asked += topics

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> int:
        self.sent.append((topic, payload))
        return len(self.sent)

    def close(self) -> None:
        self.is_open, self.closed = False, True


class Bed:
    """An uplink of an agent ``box`` with brokers ``a`` and ``b``, connected to one of them."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(str(folder / "journal.db"), "box")
        self.journal.follow(reading(1.0))
        self.watch = WatchList("box", "")
        settings = config.parse(["a", "b", "--journal", str(folder / "journal.db")], {})
        self.uplink = Uplink(
            settings, "box", self.journal, self.watch, random.Random(1), lambda _: None, 0.0
        )
        self.heard: list[wire.Message] = []
        self.uplink.heard = lambda message, *_: self.heard.append(message)
        self.facts: dict[str, Any] = {"here": True, "since": "now"}
        self.connect(0.0)

    def connect(self, now: float, max_packet: int | None = None) -> None:
        self.act(now)
        opened: Any = Opened(self.line, max_packet, None, False)  # type: ignore[arg-type]
        self.uplink.handle(opened, now)
        self.act(now)

    def end(self, now: float) -> None:
        self.line.is_open = False
        closed: Any = Closed(self.line, "cut", None, now)  # type: ignore[arg-type]
        self.uplink.handle(closed, now)

    @property
    def line(self) -> Line:
        return Line.made[-1]

    def act(self, now: float) -> None:
        self.uplink.act(lambda: dict(self.facts), now)

    def hear(self, topic: str, payload: bytes, now: float = 1.0, retain: bool = False) -> None:
        message: Any = Received(self.line, topic, payload, retain, None)  # type: ignore[arg-type]
        self.uplink.handle(message, now)

    def results(self) -> list[bytes]:
        """All that was published so far, over whichever connection."""
        return [payload for line in Line.made for topic, payload in line.sent if "ping" in topic]

    def abouts(self) -> int:
        return sum(topic == "agent/box" for line in Line.made for topic, _ in line.sent)


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    Line.made = []
    monkeypatch.setattr(uplink, "Connection", Line)
    bed = Bed(tmp_path)
    yield bed
    bed.journal.close()


@pytest.mark.parametrize("payload", [b'{"epoch":[]}', b'{"epoch":{}}', b'{"since":[1]}', b"{}"])
@pytest.mark.parametrize("retain", [False, True])
def test_a_forged_word_about_us_may_lie_but_not_crash(
    bed: Bed, payload: bytes, retain: bool
) -> None:
    bed.hear("agent/box", payload, retain=retain)
    assert bed.uplink.namesake == (not retain)  # a retained one may be of our own earlier run


def test_what_nobody_asked_for_is_not_even_read(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "read", lambda *_: pytest.fail("it was read"))
    for topic in ("ping/other/batch", "watch/other", "ack/other", "agent/other", "verdict/x", ""):
        bed.hear(topic, b"anything")
    assert bed.heard == [] and bed.line.is_open


@pytest.mark.parametrize(
    ("metered", "spent", "most"), [(False, False, 60), (True, False, 6), (True, True, 1)]
)
def test_where_bytes_cost_money_the_box_says_less_of_itself(
    bed: Bed, metered: bool, spent: bool, most: int
) -> None:
    bed.uplink.drain.metered, bed.uplink.drain.spent = metered, spent
    before = bed.abouts()
    for second in range(1, 3601):
        bed.facts["traffic"] = second
        bed.act(float(second))
    assert bed.abouts() - before == most
    bed.facts["link"] = {"type": "lte"}
    bed.act(3601.0)
    assert bed.abouts() - before == most + 1


def test_a_broker_that_never_acknowledges_is_left_and_all_goes_again_elsewhere(bed: Bed) -> None:
    for number in range(3):
        bed.journal.add(body(number), 1)
    bed.journal.flush(1.0)
    for second in range(1, 901):
        bed.act(float(second))
    silent, before = bed.line, bed.results()
    assert len(before) == 3 and silent.is_open
    bed.act(902.0)
    assert silent.closed and bed.uplink.broker is None
    bed.connect(903.0)
    assert bed.line is not silent and bed.results() == before * 2


def test_a_goodbye_to_a_broker_that_never_acknowledges_does_not_fail(bed: Bed) -> None:
    bed.journal.add(body(), 1)
    bed.journal.flush(1.0)
    bed.act(1.0)
    assert not bed.uplink.goodbye(bed.facts, 1000.0)


@pytest.mark.parametrize("max_packet", [None, 4096])
def test_a_long_list_does_not_make_a_word_that_the_broker_cuts_us_off_for(
    bed: Bed, max_packet: int | None
) -> None:
    bed.end(1.0)
    bed.facts["list"] = {"from": "watch", "targets": ["\N{GRINNING FACE}" * 500] * 64}
    bed.facts["refused"] = [{"target": "x" * 80, "reason": "y" * 80}] * 64
    bed.connect(100.0, max_packet)
    (said,) = [payload for topic, payload in bed.line.sent if topic == "agent/box"]
    assert len(said) < (max_packet or 65536)
    facts = wire.decode_json(said)
    assert facts["list"] == {"from": "watch", "count": 64} and facts["here"]
    assert facts["refused"] == [{"target": "…", "reason": "64 are refused"}]


def test_forged_messages_can_neither_fill_the_log_nor_silence_it(
    bed: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3000):
        bed.hear("look", b"[" * number)
        bed.hear(f"indexer/forged-{number}", b"{")
    assert len(caplog.records) == 2
    bed.hear("agent/box", b'{"epoch":"0123456789abcdef"}')
    assert "another agent is named box" in caplog.text


def test_tries_that_fail_are_paid_for(bed: Bed) -> None:
    spent: list[int] = []
    bed.uplink.spent_bytes = spent.append
    bed.end(2.0)
    for minute in range(1, 4):
        bed.act(600.0 * minute)
        refused: Any = Refused(bed.line, "not you", None, "closed")  # type: ignore[arg-type]
        bed.uplink.handle(refused, 600.0 * minute)
    assert len([cost for cost in spent if cost]) == 3


def test_an_own_list_outlives_a_connection_that_died_before_it_could_bring_it(bed: Bed) -> None:
    bed.hear("watch/box", b"mine.example")
    bed.end(2.0)
    bed.connect(100.0)
    bed.hear("watch", b"all.example", 101.0)
    bed.end(102.0)
    assert bed.watch.due(200.0) == Listed("mine.example", "watch/box")


def test_all_that_is_asked_for_is_read(bed: Bed) -> None:
    assert bed.line.asked[:2] == ["watch/box", "watch"]
    payloads = {"indexer/+": b'{"online":true}', "look": b'{"targets":[]}'}
    for topic in bed.line.asked:
        bed.hear(topic.replace("+", "one"), payloads.get(topic, b"{}"))
    kinds = {type(message) for message in bed.heard}
    assert kinds == {wire.Watch, wire.Ack, wire.Swarm, wire.Look, wire.About, wire.Indexer}
