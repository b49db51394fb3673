"""``swarming-agent once`` is as polite as the agent."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agent import config, once, schedule
from agent.prober import Probed
from agent.schedule import Probe


class Hand:
    """In place of the Prober: answers at once, and writes down who was probed when."""

    probed: list[tuple[str, float]]

    def __init__(self, post: Any, *_: Any) -> None:
        self._post = post

    def submit(self, probe: Probe) -> None:
        assert probe.target is not None
        Hand.probed.append((probe.target.text, time.monotonic()))
        body = {"kind": probe.kind, "target": probe.target.text, "ok": True, "status": 204}
        self._post(Probed(probe, body, 0, 0))

    def stop(self) -> None:
        pass


def test_one_host_is_probed_once_a_minute_and_others_meanwhile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(once, "Prober", Hand)
    monkeypatch.setattr(schedule, "HOST_GAP_S", 0.3)
    Hand.probed = []
    words = [
        "http://one.example/a",
        "http://ONE.example/b",
        "http://two.example/",
        "http://one.example./c",
    ]
    assert once.run(words, config.parse(["localhost"], {}), as_json=True) == 0
    at = [at_s for text, at_s in Hand.probed if "two" not in text]
    assert len(Hand.probed) == 4
    assert all(later - earlier >= 0.3 for earlier, later in zip(at, at[1:], strict=False))
    assert "one.example was just probed" in capsys.readouterr().err
