"""The agent's core with the oldest and the newest libraries; `tests.combinations` runs the rest."""

from __future__ import annotations

import pytest

from tests import combinations
from tests.combinations import NEWEST, Combination

CORE = ("wire", "names", "connection", "uplink", "drain", "store", "store_clock", "loop")
WHOLE = "tests/test_broker_faults.py::test_of_two_brokers_one_dies"
CORNERS = (Combination("3.11", "1.6.1", "3.30"), Combination("3.13", NEWEST, NEWEST))


@pytest.mark.parametrize("corner", CORNERS, ids=str)
def test_the_core_passes(corner: Combination) -> None:
    ran = combinations.run(corner, [*(f"tests/test_{name}.py" for name in CORE), WHOLE])
    assert ran.status == 0, f"{ran.summary}\nsee {corner.folder / 'log'}"


def test_what_is_the_agents_is_read_from_what_a_test_imports() -> None:
    names = {path.stem.removeprefix("test_") for path in combinations.agents_tests()}
    assert {*CORE, "agent", "whole_agent", "journal_model", "probe_http", "link_readers"} <= names
    assert not names & {"consume", "sqlite_store", "web", "torture", "armhf", "combinations"}
