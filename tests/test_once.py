"""``swarming-agent once`` is as polite as the agent."""

from __future__ import annotations

from typing import Any

import pytest

from agent import config, once, schedule, targets
from agent.prober import Probed
from agent.schedule import Probe


class Clock:
    """In place of the time module: sleeping is what makes time pass."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, length_s: float) -> None:
        self.now_s += length_s


class Hand:
    """In place of the Prober: answers at once, and writes down who was probed when."""

    probed: list[tuple[str, float]]

    def __init__(self, post: Any, *_: Any) -> None:
        self._post = post

    def submit(self, probe: Probe) -> None:
        assert probe.target is not None
        Hand.probed.append((probe.target.text, once.time.monotonic()))
        body = {"kind": probe.kind, "target": probe.target.text, "ok": True, "status": 204}
        self._post(Probed(probe, body, 0, 0))

    def stop(self) -> None:
        pass


def test_one_host_is_probed_once_a_minute_and_others_meanwhile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(once, "Prober", Hand)
    monkeypatch.setattr(once, "time", Clock())
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
    assert at == [0, schedule.HOST_GAP_S, 2 * schedule.HOST_GAP_S]
    assert "one.example was just probed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"kind": "http", "target": "http://a.exmaple/", "error": "unknown_host"},
            "http://a.exmaple/: no such name (a typo, or is there no network?)",
        ),
        (
            {"kind": "icmp", "target": "127.0.0.1", "ip": "127.0.0.1", "error": "policy",
             "detail": targets.refusal("127.0.0.1", targets.Policy())},
            "127.0.0.1: not probed: 127.0.0.1 is this machine's own; "
            "--allow-private 127.0.0.1/32 allows it",
        ),
        (
            {"kind": "icmp", "target": "own.example", "ip": "64:ff9b::10.0.0.1", "error": "policy",
             "detail": targets.refusal("64:ff9b::10.0.0.1", targets.Policy())},
            "own.example (64:ff9b::10.0.0.1): not probed: 64:ff9b::a00:1 stands for 10.0.0.1: "
            "10.0.0.1 is private; --allow-private 10.0.0.1/32 allows it",
        ),
        (
            {"kind": "http", "target": "http://[::1]/", "ip": "::1", "error": "policy",
             "detail": targets.refusal("::1", targets.Policy())},
            "http://[::1]/ (::1): not probed: ::1 is this machine's own; "
            "--allow-private ::1/128 allows it",
        ),
        (
            {"kind": "icmp", "target": "224.0.0.1", "ip": "224.0.0.1", "error": "policy",
             "detail": targets.refusal("224.0.0.1", targets.Policy())},
            "224.0.0.1: not probed: 224.0.0.1 is a multicast address",
        ),
        (
            {"kind": "http", "target": "http://x.example/", "ip": "192.0.2.1",
             "error": "connection_refused", "phases_ms": {"connect": None}},
            "http://x.example/ (192.0.2.1): the server refused the connection",
        ),
        (
            {"kind": "http", "target": "http://x.example/", "status": 503, "error": "http_error",
             "phases_ms": {"total": 3.25}},
            "http://x.example/: 503, total 3.2 — the server answered with an error",
        ),
        (
            {"kind": "icmp", "target": "192.0.2.1", "error": "timeout", "sent": 10, "received": 0,
             "rtts_ms": [None] * 10},
            "192.0.2.1: no reply",
        ),
        (
            {"kind": "icmp", "target": "192.0.2.1", "ok": True, "sent": 3, "received": 2,
             "rtts_ms": [1.0, 2.0, None]},
            "192.0.2.1: 2.0 ms, 1 of 3 lost",
        ),
    ],
)  # fmt: skip
def test_a_result_is_a_line_without_gaps(body: dict[str, Any], said: str) -> None:
    assert once.sentence(body) == said
