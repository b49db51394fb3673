"""Time on a box without a real-time clock: only a clock that is known to be wrong makes us wait."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent import clock
from agent.clock import (
    BUILT_MS,
    LAST_MS,
    NOTHING,
    NS_PER_MS,
    NS_PER_S,
    Clock,
    Evidence,
    Facts,
    ask,
    judge,
)
from tests import needs

ROOT = Path(__file__).resolve().parent.parent
TODAY_MS = BUILT_MS + 400 * 24 * 3600 * 1000
TODAY_NS = TODAY_MS * NS_PER_MS
SYNCED = Facts("timedate1", True, None, False)
DENIED = Facts("timedate1", False, None, False)
RIGHT = Evidence(
    wall_ms=TODAY_MS,
    built_ms=BUILT_MS,
    newest_known_ms=TODAY_MS - 1000,
    asked=True,
    vouched=False,
    denied=False,
    indexer=False,
    connected_s=0.0,
)


def s(seconds: float) -> int:
    return int(seconds * NS_PER_S)


@pytest.mark.parametrize(
    ("what", "trust"),
    [
        ({}, "unknown"),
        ({"vouched": True}, "ntp"),
        ({"asked": False}, "waiting"),
        ({"wall_ms": 0}, "waiting"),
        ({"wall_ms": BUILT_MS - 1}, "waiting"),
        ({"wall_ms": BUILT_MS - 1, "vouched": True}, "waiting"),
        ({"wall_ms": LAST_MS}, "waiting"),
        ({"wall_ms": LAST_MS, "vouched": True, "connected_s": 600.0}, "unsynced"),
        ({"newest_known_ms": TODAY_MS + 1}, "waiting"),
        ({"newest_known_ms": TODAY_MS + 1, "vouched": True}, "ntp"),
        ({"newest_known_ms": None}, "unknown"),
        ({"denied": True}, "waiting"),
        ({"denied": True, "connected_s": 599.0}, "waiting"),
        ({"denied": True, "connected_s": 600.0}, "unsynced"),
        ({"denied": True, "indexer": True, "connected_s": 299.0}, "waiting"),
        ({"denied": True, "indexer": True, "connected_s": 300.0}, "indexer"),
        ({"indexer": True, "connected_s": 300.0}, "indexer"),
        ({"indexer": True, "vouched": True, "connected_s": 900.0}, "ntp"),
        ({"denied": True, "indexer": True, "connected_s": 900.0}, "indexer"),
    ],
)
def test_the_rule(what: dict[str, object], trust: str) -> None:
    assert judge(RIGHT._replace(**what)) == trust


def test_a_source_that_vouches_gives_ntp_and_its_age_grows_when_it_falls_silent() -> None:
    box = Clock("boot", s(100))
    assert box.reading(s(100), TODAY_NS).trust == "waiting"  # nobody has been asked yet
    box.heard(SYNCED, s(100), TODAY_NS)
    box.heard(DENIED, s(160), TODAY_NS + s(60))  # out of reach of its server, not wrong
    reading = box.reading(s(400), TODAY_NS + s(300))
    assert (reading.trust, reading.age_s) == ("ntp", 300)
    assert reading.wall_ms == TODAY_MS + 300_000 and reading.boot_ns == s(400)


def test_the_age_is_the_sources_own_where_it_tells() -> None:
    box = Clock("boot", s(100))
    box.heard(SYNCED._replace(vouched_ms=TODAY_MS - 40_000), s(100), TODAY_NS)
    assert box.reading(s(110), TODAY_NS + s(10)).age_s == 50


def test_a_clock_that_nobody_can_ask_about_is_unknown_and_publishes_at_once() -> None:
    box = Clock("boot", s(5), newest_known_ms=TODAY_MS - 1)
    box.heard(NOTHING, s(5), TODAY_NS)
    reading = box.reading(s(6), TODAY_NS + s(1))
    assert (reading.trust, reading.age_s) == ("unknown", None)


def test_a_real_time_clock_makes_not_synchronised_good_enough() -> None:
    box = Clock("boot", s(5))
    box.heard(DENIED._replace(rtc=True), s(5), TODAY_NS)
    assert box.reading(s(6), TODAY_NS).trust == "unknown"
    box.heard(DENIED, s(7), TODAY_NS)
    assert box.reading(s(8), TODAY_NS).trust == "waiting"


def test_after_five_minutes_connected_the_indexer_gives_the_time() -> None:
    box = Clock("boot", 0)
    box.heard(DENIED, 0, 0)  # 1970
    box.connected(s(10))
    box.indexer_said(TODAY_MS - 10_000, s(10), s(10))
    box.indexer_said(TODAY_MS, s(20), s(20))
    assert box.reading(s(309), s(309)).trust == "waiting"
    reading = box.reading(s(310), s(310))
    assert (reading.trust, reading.age_s) == ("indexer", 290)
    assert reading.wall_ms == TODAY_MS + 290_000


def test_an_indexers_time_that_came_late_is_not_believed() -> None:
    box = Clock("boot", 0)
    box.heard(DENIED, 0, 0)
    box.connected(0)
    box.indexer_said(TODAY_MS - 29_000, s(300), s(300))  # the broker had hung: both indexers' words
    box.indexer_said(TODAY_MS - 28_900, s(300), s(300))
    assert box.reading(s(300), s(300)).trust == "waiting"
    box.indexer_said(TODAY_MS + 20_000, s(320), s(320))
    assert box.reading(s(320), s(320)).trust == "waiting"
    box.indexer_said(TODAY_MS + 40_000, s(340), s(340))
    assert box.reading(s(340), s(340)).wall_ms == TODAY_MS + 40_000
    box.indexer_said(TODAY_MS + 40_000, s(369), s(369))  # late again: nothing moves
    reading = box.reading(s(369), s(369))
    assert (reading.trust, reading.wall_ms) == ("indexer", TODAY_MS + 69_000)


def test_the_indexers_time_does_not_wobble_and_yields_to_a_clock_that_agrees() -> None:
    box = Clock("boot", 0)
    box.heard(DENIED, 0, 0)
    box.connected(0)
    box.indexer_said(TODAY_MS - 60_000, s(240), s(240))
    box.indexer_said(TODAY_MS, s(300), s(300))
    first = box.reading(s(400), s(400))
    box.indexer_said(TODAY_MS + 101_000, s(400), s(400))  # a second late on the way
    assert box.reading(s(400), s(400)).offset_ns == first.offset_ns
    agreeing = TODAY_NS + s(100) + 5
    box.indexer_said(TODAY_MS + 101_000, s(401), agreeing)
    assert box.reading(s(401), agreeing).offset_ns == agreeing - s(401)


@pytest.mark.parametrize("forged_ms", [0, BUILT_MS - 1, LAST_MS, 253_402_300_799_999])
def test_an_indexers_impossible_time_is_not_taken(forged_ms: int) -> None:
    box = Clock("boot", 0)
    box.heard(NOTHING, 0, TODAY_NS)
    box.connected(0)
    box.indexer_said(forged_ms, s(1), TODAY_NS)
    reading = box.reading(s(400), TODAY_NS + s(400))
    assert (reading.trust, reading.wall_ms) == ("unknown", TODAY_MS + 400_000)


def test_an_unsynced_clock_that_shows_another_century_tells_no_future() -> None:
    box = Clock("boot", 0, newest_known_ms=TODAY_MS)
    box.connected(0)
    reading = box.reading(s(700), LAST_MS * NS_PER_MS)
    assert (reading.trust, reading.wall_ms) == ("unsynced", TODAY_MS + 700_000)


def test_after_ten_minutes_connected_without_anybody_it_is_unsynced() -> None:
    newest_ms = TODAY_MS
    box = Clock("boot", s(50), newest_known_ms=newest_ms)
    box.heard(DENIED, s(50), s(1000))
    box.connected(s(100))
    box.disconnected(s(400))  # what a flapping line gives adds up
    box.connected(s(1000))
    assert box.reading(s(1299), s(2249)).trust == "waiting"
    reading = box.reading(s(1300), s(2250))
    assert (reading.trust, reading.age_s) == ("unsynced", None)
    # Not 1970: the newest time known at the start, and what has run since.
    assert reading.wall_ms == newest_ms + 1_250_000


def test_a_late_synchronisation_is_believed_at_once() -> None:
    box = Clock("boot", 0)
    box.heard(DENIED, 0, 0)
    box.connected(0)
    assert box.reading(s(700), s(700)).trust == "unsynced"
    assert box.ask_every_s == clock.ASK_EVERY_S
    box.heard(SYNCED, s(710), TODAY_NS)
    assert box.reading(s(710), TODAY_NS).trust == "ntp"
    assert box.ask_every_s == clock.ASK_AGAIN_S


def test_the_boot_clock_runs_and_the_boot_has_a_name(tmp_path: Path) -> None:
    before = clock.boot_ns()
    boot_ns, wall_ns = clock.now_ns()
    assert before <= boot_ns <= clock.boot_ns() and wall_ns > 0
    _write(tmp_path, clock.BOOT_ID, "290acde4\n")
    assert clock.boot_id(str(tmp_path)) == "290acde4"
    assert clock.boot_id() == clock.boot_id()


def test_without_a_boot_id_each_run_counts_as_a_boot_of_its_own(tmp_path: Path) -> None:
    assert clock.boot_id(str(tmp_path)) != clock.boot_id(str(tmp_path))


# The sources


def nobody(command: Sequence[str]) -> str | None:
    return None


def says(**answers: str) -> clock.Run:
    return lambda command: answers.get(command[0])


def test_no_source_means_cannot_ask(tmp_path: Path) -> None:
    assert ask(str(tmp_path), nobody) == NOTHING


def test_timesyncd_vouches_with_the_time_of_its_last_answer(tmp_path: Path) -> None:
    _write(tmp_path, "run/systemd/timesync/synchronized", "")
    os.utime(tmp_path / "run/systemd/timesync/synchronized", ns=(TODAY_NS, TODAY_NS))
    facts = ask(str(tmp_path), nobody)
    assert facts == Facts("systemd-timesyncd", True, TODAY_MS, False)


def test_timesyncd_without_an_answer_yet_says_no(tmp_path: Path) -> None:
    (tmp_path / "run/systemd/timesync").mkdir(parents=True)
    assert ask(str(tmp_path), nobody).synchronised is False


@pytest.mark.parametrize(("word", "synchronised"), [("yes", True), ("no", False), ("?", None)])
def test_timedate1(tmp_path: Path, word: str, synchronised: bool | None) -> None:
    facts = ask(str(tmp_path), says(timedatectl=f"NTPSynchronized={word}\n"))
    assert facts.synchronised is synchronised


def test_chrony(tmp_path: Path) -> None:
    line = "C0000201,192.0.2.1,3,1735689700.5,0.000,0.1,0.1,-1.0,0.0,0.1,0.01,0.01,64.2,Normal\n"
    assert ask(str(tmp_path), says(chronyc=line)) == Facts("chrony", True, 1735689700500, False)
    line = "00000000,,0,0.000000000,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n"
    assert ask(str(tmp_path), says(chronyc=line)).synchronised is False
    assert ask(str(tmp_path), says(chronyc="506 Cannot talk to daemon\n")) == NOTHING


def test_openwrt_hotplug_and_ntpd(tmp_path: Path) -> None:
    _write(tmp_path, "var/run/swarming/clock", "unsynced\n")
    assert ask(str(tmp_path), nobody).synchronised is False
    _write(tmp_path, "var/state/ntpd-synced", "")
    assert ask(str(tmp_path), nobody).synchronised is True  # one that vouches is enough
    _write(tmp_path, "var/run/swarming/clock", "synced\n")
    assert ask(str(tmp_path), nobody).source == "ntpd, told by hotplug"
    _write(tmp_path, "var/run/swarming/clock", "\xff rubbish")
    assert ask(str(tmp_path), nobody).source == "ntpd"


def test_one_that_vouches_is_enough_whatever_the_others_say(tmp_path: Path) -> None:
    (tmp_path / "run/systemd/timesync").mkdir(parents=True)
    answers = says(timedatectl="NTPSynchronized=yes\n", chronyc="rubbish")
    assert ask(str(tmp_path), answers).source == "timedate1"


def test_hctosys_tells_that_a_real_time_clock_set_the_time(tmp_path: Path) -> None:
    _write(tmp_path, "sys/class/rtc/rtc0/hctosys", "0\n")
    assert ask(str(tmp_path), nobody).rtc is False
    _write(tmp_path, "sys/class/rtc/rtc1/hctosys", "1\n")
    assert ask(str(tmp_path), nobody).rtc is True


def test_a_helper_that_is_missing_fails_or_hangs_is_one_that_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "HELPER_TIMEOUT_S", 0.2)
    bin_folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    for name, script in (("timedatectl", "exec sleep 60"), ("chronyc", "exit 3")):
        _write(bin_folder, name, f"#!/bin/sh\n{script}\n")
        (bin_folder / name).chmod(0o755)
    assert ask(str(tmp_path / "nothing")) == NOTHING


def test_who_may_not_ask_knows_nothing_and_never_says_synced() -> None:
    """As under the service's hardening: the bus refuses, the folder of timesyncd is closed."""
    needs.root()
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        os.chmod(folder, 0o755)
        assert _asked_by_nobody(Path(folder)) == str(NOTHING)


def _asked_by_nobody(folder: Path) -> str:
    (folder / "run/systemd/timesync").mkdir(parents=True)
    _write(folder, "run/systemd/timesync/synchronized", "")
    _write(folder, "bin/timedatectl", "#!/bin/sh\necho Access denied >&2\nexit 1\n")
    (folder / "bin/timedatectl").chmod(0o755)
    (folder / "run/systemd/timesync").chmod(0o700)
    script = f"from agent import clock; print(clock.ask({str(folder)!r}))"
    nobody = [needs.tool("setpriv"), "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    variables = {"PATH": str(folder / "bin"), "PYTHONPATH": str(ROOT)}
    command = [*nobody, sys.executable, "-c", script]
    told = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    return told.stdout.strip()


def test_the_kernels_clock_is_never_asked_itself() -> None:
    """adjtimex is not allowed there, and its word would be that of the last who set the clock."""
    strace = [needs.tool("strace"), "-f", "-qq", "-e", "trace=adjtimex,clock_adjtime"]
    asked = [sys.executable, "-c", "from agent import clock; clock.ask()"]
    told = subprocess.run([*strace, *asked], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "adj" not in told.stderr, told.stderr


def _write(folder: Path, path: str, text: str) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)
