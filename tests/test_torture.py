"""A short torture for every CI run; `make torture` is the long one, `make mutants` the proof."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent import wire
from tests import needs
from tests.torture import plan, traffic, witness
from tests.torture.books import Added, Books, Identity, Kept, Run
from tests.torture.evil import Death
from tests.torture.run import swarm_of
from tests.torture.witness import Line

ROOT = Path(__file__).resolve().parent.parent
FRESH_S = 6.0


def _need_a_world() -> None:
    """Namespaces with disks, bridges and wires of their own."""
    needs.namespaces()
    for tool in ("ip", "nsenter", "mount", "mosquitto"):
        needs.tool(tool)
    script = "mount -t tmpfs none /mnt && ip link add bridge0 type bridge"
    made = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"no disks or bridges can be made in a namespace here: {made.stderr!r}")


def test_nothing_is_lost_and_nothing_is_there_twice_whatever_breaks() -> None:
    _need_a_world()
    words = ["--seed", "1", "--minutes", "0.5", "--agents", "7", "--patience", "240"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"FAST": "15"},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_same_seed_breaks_the_same_things() -> None:
    swarm = swarm_of(20)
    assert plan.make(7, swarm, 600, 2.0) == plan.make(7, swarm, 600, 2.0)
    assert plan.make(7, swarm, 600, 2.0) != plan.make(8, swarm, 600, 2.0)


def test_everything_is_broken_at_some_time() -> None:
    whats = {step.what for step in plan.make(7, swarm_of(20), 1800, 2.0)}
    assert whats == set(plan._EVIL)


def _published(at_s: float, *seqs: int, no: int = 1, batch: bool = False) -> Line:
    ranges = {"e": [[seq, seq] for seq in seqs]}
    return Line("P", [no, "10.0.0.1", hash(seqs), True, batch, ranges], at_s, 0)


def test_a_resend_in_a_hurry_is_noticed() -> None:
    lines = [_published(0, 1), *(_published(number / 10, 1) for number in range(1, 10))]
    (said,) = traffic.complaints("a1", traffic.account(lines, FRESH_S))
    assert "sooner than the policy allows" in said


def test_a_resend_at_the_pace_of_the_policy_is_none() -> None:
    lines = [_published(FRESH_S * number, 1) for number in range(10)]
    assert traffic.complaints("a1", traffic.account(lines, FRESH_S)) == []


def test_a_new_connection_may_publish_again_at_once() -> None:
    lines = []
    for number in range(10):
        lines += [Line("C", [number, "10.0.0.1"], number, 0), _published(number, 1, no=number)]
    assert traffic.account(lines, FRESH_S).too_soon == 0


def test_a_fifth_batch_that_nobody_confirmed_is_noticed() -> None:
    lines = [_published(number / 10, number, batch=True) for number in range(5)]
    (said,) = traffic.complaints("a1", traffic.account(lines, FRESH_S))
    assert "5 batches" in said


def test_a_confirmed_batch_makes_room_for_the_next() -> None:
    lines = []
    for number in range(10):
        lines += [
            _published(number / 10, number, batch=True),
            Line("K", [{"e": [[number, number]]}], number / 10, 0),
        ]
    assert traffic.account(lines, FRESH_S).widest == 1


def test_a_witness_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = witness.Witness(tmp_path / "witness")
    written.write("A", "e", 1, 2, 3)
    (line,) = witness.read(tmp_path / "witness")
    assert (line.kind, line.facts) == ("A", ["e", 1, 2, 3])


MADE_MS = 1_790_000_000_000
BODY = {"kind": "icmp", "target": "voila.fr", "ok": True}


def _identity(seq: int) -> Identity:
    return "a1", "0123456789abcdef", seq


def _run(durable: int, unflushed: int = 0) -> Run:
    """A run that flushed some results, and had some more when it ended."""
    whole = [_identity(seq) for seq in range(1, durable + unflushed + 1)]
    added = dict.fromkeys(whole, Added(MADE_MS, witness.fingerprint(BODY)))
    return Run("a1", MADE_MS, MADE_MS + 1, added, set(whole[:durable]), whole[durable:], [])


def _stored(*seqs: int, clock: str = "ntp", off_ms: int = 0) -> dict[Identity, wire.Result]:
    return {
        _identity(seq): wire.Result(*_identity(seq), MADE_MS + off_ms, clock, 5, BODY)
        for seq in seqs
    }


def _complaints(run: Run, stored: dict[Identity, wire.Result], **found: Any) -> list[str]:
    kept = Kept(stored, set(), {"a1": 0}, 0)._replace(**found)
    deaths = [Death("a1", MADE_MS + 2)]
    books = Books([run], kept, deaths, {"a1": 0.0}, {"a1": "ntp"}, 10.0, 25.0)
    return books.close().complaints


def test_the_books_are_in_order_when_all_is_stored_or_waiting() -> None:
    assert _complaints(_run(3), _stored(1, 2), journals={_identity(3)}) == []


def test_a_flushed_result_that_is_nowhere_is_named() -> None:
    (said,) = _complaints(_run(3), _stored(1, 3))
    assert "neither stored nor in a journal: 1" in said and "2)" in said


def test_what_was_evicted_and_told_is_not_missing() -> None:
    assert _complaints(_run(3), _stored(1, 3), evicted={"a1": 1}) == []


def test_a_kill_may_cost_a_flush_and_no_more() -> None:
    assert _complaints(_run(1, unflushed=2), _stored(1)) == []
    (said,) = _complaints(_run(1, unflushed=3), _stored(1))
    assert "lost more than a flush" in said


def test_a_result_that_nobody_made_is_named() -> None:
    (said,) = _complaints(_run(1), _stored(1, 9))
    assert "stored, and never made" in said


def test_a_time_that_ntp_vouches_for_must_be_right() -> None:
    (said,) = _complaints(_run(1), _stored(1, off_ms=-5_000))
    assert "not what they claim" in said
    assert _complaints(_run(1), _stored(1, clock="unknown", off_ms=-5_000)) == []
