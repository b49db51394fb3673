"""A month's bytes set the slot, and only ever make it longer."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agent import control
from agent.budget import METERED_BYTES, MONTH_S, NO_BUDGET, SPENT_SLOT_S, Budget
from agent.control import Control

DAY_S = 24 * 3600.0


def live(budget: Budget, days: float, cost_bytes: int, metered: bool, begin_s: float) -> float:
    """As the agent does: a probe a slot. Returns when it ended."""
    now = begin_s
    while now < begin_s + days * DAY_S:
        now += max(12.5, budget.plan(metered, now).slot_s)
        budget.spend(cost_bytes, metered)
        budget.probed()
    return now


def test_a_fixed_line_without_a_budget_is_not_slowed() -> None:
    budget = Budget(None, 0.0)
    budget.spend(10**12, metered=False)
    budget.probed()
    assert budget.plan(False, 100.0) == NO_BUDGET


def test_a_mobile_link_has_500_mb_a_month_and_they_last() -> None:
    budget = Budget(None, 0.0)
    end_s = live(budget, 29.9, 20_000, True, 0.0)
    plan = budget.plan(True, end_s)
    assert plan.left_bytes is not None and not plan.spent
    assert 0 < plan.left_bytes < 0.02 * METERED_BYTES


def test_cheap_probes_are_not_slowed_at_all() -> None:
    budget = Budget(None, 0.0)
    end_s = live(budget, 3, 500, True, 0.0)
    assert budget.plan(True, end_s).slot_s < 10


def test_a_named_budget_counts_on_every_link() -> None:
    budget = Budget(10_000_000, 0.0)
    budget.spend(9_000_000, metered=False)
    budget.probed()
    assert budget.plan(False, 1.0).left_bytes == 1_000_000


def test_when_all_is_spent_one_probe_and_one_batch_an_hour() -> None:
    budget = Budget(1_000_000, 0.0)
    budget.spend(1_000_001, True)
    plan = budget.plan(True, 1.0)
    assert plan.spent and plan.slot_s == 3600 and plan.left_bytes == 0


def test_a_month_is_thirty_days_of_running_and_survives_a_restart() -> None:
    budget = Budget(1_000_000, 0.0)
    budget.spend(2_000_000, True)
    assert budget.plan(True, 10 * DAY_S).spent
    saved = budget.saved()
    again = Budget(1_000_000, 5.0, saved)  # another boot: its clock begins anew
    assert again.plan(True, 5.0 + 19 * DAY_S).spent
    assert not again.plan(True, 5.0 + 20.1 * DAY_S).spent


def test_what_the_journal_holds_is_not_trusted() -> None:
    rubbish = {"spent_bytes": "many", "ran_s": -5, "cost_bytes": float("nan")}
    plan = Budget(None, 0.0, rubbish).plan(True, 0.0)
    assert plan.left_bytes == METERED_BYTES and plan.slot_s > 0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-100, 10**10), st.booleans(), st.floats(-100, 1e7)), max_size=40
    ),
    st.none() | st.integers(10**6, 10**12),
)
def test_a_plan_never_asks_for_less_than_a_probe_an_hour(
    steps: list[tuple[int, bool, float]], limit_bytes: int | None
) -> None:
    budget, now = Budget(limit_bytes, 0.0), 0.0
    for count_bytes, metered, waited_s in steps:
        budget.spend(count_bytes, metered)
        budget.probed()
        now += waited_s
        plan = budget.plan(metered, now)
        assert 0 <= plan.slot_s <= SPENT_SLOT_S
        assert budget.saved()["ran_s"] < MONTH_S


# control.json


def test_a_pause_survives_in_a_file_beside_the_journal(tmp_path: Path) -> None:
    path = control.path_beside(str(tmp_path / "journal.db"))
    assert path == str(tmp_path / "control.json")
    assert control.read(path) == Control(paused=False)
    control.write(path, Control(paused=True))
    assert control.read(path) == Control(paused=True)
    control.write(path, Control(paused=False))
    assert control.read(path) == Control(paused=False)
    assert [file.name for file in tmp_path.iterdir()] == ["control.json"]


def test_a_spoilt_control_file_is_told_and_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "control.json"
    for content in (b"", b"[]", b'{"paused": 1}', b"\xff", b"[" * 4000, b'{"paused": tr'):
        path.write_bytes(content)
        read = control.read(str(path))
        assert not read.paused and read.problem and "\n" not in read.problem
