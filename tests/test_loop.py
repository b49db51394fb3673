"""The loop's own decisions, turn by turn, without a broker and without a probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import config
from agent.clock import NOTHING, Facts, now_ns
from agent.observer import Observed
from agent.store import Journal
from agent.swarming_agent import MONTH, SAVE_MONTH_EVERY_S, Agent
from tests.store_bed import body, numbers, reading

Make = Callable[..., Agent]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """An agent on a fixed line with these options, whose loop does not run."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    made: list[Agent] = []

    def agent(*options: str) -> Agent:
        words = ["--name", "box", "--journal", str(tmp_path / "journal.db"), "--link", "ethernet"]
        settings = config.parse([*words, *options], {})
        made.append(Agent(settings, lambda: settings))
        made[-1]._probing.paused = True
        return made[-1]

    yield agent
    for each in made:
        each._prober.stop()
        each._journal.close()
        each._status.close()


@pytest.mark.parametrize(
    ("options", "metered"), [(["--budget", "10MB"], True), ([], False), (["--link", "lte"], True)]
)
def test_a_budget_makes_any_line_a_metered_one(
    make: Make, options: list[str], metered: bool
) -> None:
    agent = make(*options)
    agent._on_link(agent._probing.link)
    assert agent._uplink.drain.metered is metered


@pytest.mark.parametrize("ran_s", [100, 600, 3000])
def test_a_power_cut_forgets_at_most_half_a_run_of_the_budget_or_a_quarter_of_an_hour(
    make: Make, ran_s: int
) -> None:
    agent = make("--budget", "10MB")
    begun = agent._started_at
    for second in range(ran_s + 1):
        agent._act(begun + second)
    journal: Journal = agent._journal
    saved_s = journal.get(MONTH)["ran_s"]
    assert ran_s - saved_s <= min(SAVE_MONTH_EVERY_S, 1 + ran_s / 2)


def test_a_flood_of_messages_does_not_keep_the_loop_from_its_duty(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make()
    acted: list[float] = []
    monkeypatch.setattr(agent, "_act", acted.append)
    monkeypatch.setattr(agent, "_next", lambda _: Observed(NOTHING))  # there is always one more
    assert not agent._turn() and not agent._turn()
    assert len(acted) == 2
    monkeypatch.undo()


def test_the_end_is_the_last_chance_for_what_is_in_memory(make: Make, tmp_path: Path) -> None:
    agent = make()
    agent._journal.close()
    card = tmp_path / "card"
    agent._journal = Journal(str(card / "journal.db"), "box", now=agent._started_at)
    agent._journal.follow(reading(1.0))
    agent._journal.add(body(7), 1)
    agent._act(agent._started_at + 2)
    card.mkdir()
    agent._act(agent._started_at + 4)
    assert agent._journal.facts()["in"] == "memory"  # the file is tried once a minute
    agent._end()
    again = Journal(str(card / "journal.db"), "box")
    assert numbers(again.window(0, 9)) == [7]
    again.close()


def test_only_a_clock_known_to_be_wrong_keeps_dates_of_certificates_out(make: Make) -> None:
    agent = make()
    assert agent._uplink.clock_is_wrong()  # nobody has been asked yet
    agent._handle(Observed(NOTHING), agent._started_at)
    assert not agent._uplink.clock_is_wrong()
    agent._clock.heard(Facts("ntpd", False, None, False), *now_ns())
    assert agent._uplink.clock_is_wrong()
