"""Times in the journal: corrected until they are told, never changed after, never 1970."""

import pytest

from agent import store, store_epochs
from tests.store_bed import NS_PER_S, TODAY_S, body, open_journal, reading


def add(journal, at_s, **clock):
    journal.follow(reading(at_s, **clock))
    journal.add(body(), round(at_s * NS_PER_S))


def told(journal):
    """(seconds since TODAY_S, clock) of every row that may be published now."""
    results = journal.as_results(journal.window(0, 1000))
    return [(round(result.time_ms / 1000 - TODAY_S, 3), result.clock) for result in results]


@pytest.fixture
def journal(tmp_path):
    journal = open_journal(tmp_path)
    yield journal
    journal.close()


def test_rows_wait_for_a_clock_that_is_known_to_be_wrong_and_the_first_sync_corrects_them(journal):
    add(journal, 10, wall_s=100, trust="waiting")
    add(journal, 20, wall_s=110, trust="waiting")
    journal.flush(1)
    assert journal.window(0, 10) == []
    journal.follow(reading(30, trust="ntp"))
    assert told(journal) == [(10, "ntp"), (20, "ntp")]


def test_a_resend_says_the_same_time_whatever_the_clock_does(journal):
    add(journal, 10)
    journal.flush(1)
    first = told(journal)
    journal.follow(reading(20, wall_s=TODAY_S + 500))
    assert told(journal) == first
    add(journal, 30, wall_s=TODAY_S + 510)
    journal.flush(2)
    assert told(journal) == [(10, "ntp"), (510, "ntp")]


def test_a_resend_after_a_restart_says_the_same_time(tmp_path):
    journal = open_journal(tmp_path)
    add(journal, 10)
    journal.flush(1)
    first = told(journal)
    journal.close()
    again = open_journal(tmp_path)
    again.follow(reading(40, wall_s=TODAY_S + 9999))
    assert told(again) == first
    again.close()


@pytest.mark.parametrize("step_s", [-3600, -1.5, 1.5, 3600])
def test_a_step_begins_a_new_epoch_once_the_old_one_was_told(journal, step_s):
    add(journal, 10)
    journal.flush(1)
    told(journal)
    before = journal.epoch
    add(journal, 20, wall_s=TODAY_S + 20 + step_s)
    assert journal.epoch != before
    journal.flush(2)
    assert told(journal) == [(10, "ntp"), (20 + step_s, "ntp")]


@pytest.mark.parametrize("step_s", [-0.9, 0.0, 0.9])
def test_a_small_correction_begins_none(journal, step_s):
    add(journal, 10)
    journal.flush(1)
    told(journal)
    before = journal.epoch
    add(journal, 20, wall_s=TODAY_S + 20 + step_s)
    assert journal.epoch == before


def test_a_step_before_anything_was_told_begins_none(journal):
    add(journal, 10, wall_s=TODAY_S - 5000, trust="unknown")
    before = journal.epoch
    add(journal, 20, trust="ntp")
    assert journal.epoch == before
    journal.flush(1)
    assert told(journal) == [(10, "ntp"), (20, "ntp")]


def test_a_better_word_for_the_clock_begins_a_new_epoch_and_a_lesser_one_does_not(journal):
    add(journal, 10, trust="unknown")
    journal.flush(1)
    told(journal)
    add(journal, 20, trust="ntp")
    journal.flush(2)
    told(journal)
    add(journal, 30, trust="unknown")
    journal.flush(3)
    assert told(journal) == [(10, "unknown"), (20, "ntp"), (30, "ntp")]


def test_a_suspend_is_no_step(journal):
    add(journal, 10)
    journal.flush(1)
    told(journal)
    before = journal.epoch
    add(journal, 50_000)  # the boot clock runs on through it
    assert journal.epoch == before


def test_after_ten_minutes_the_rows_go_unsynced_from_the_newest_time_known(tmp_path):
    journal = open_journal(tmp_path)
    add(journal, 10)
    journal.flush(1)
    journal.close()
    again = open_journal(tmp_path)
    add(again, 5, wall_s=7, trust="waiting", boot="boot-2")
    add(again, 65, wall_s=67, trust="waiting", boot="boot-2")
    again.flush(1)
    assert told(again) == [(10, "ntp")]
    again.follow(reading(700, wall_s=702, trust="unsynced", boot="boot-2"))
    assert told(again) == [(10, "ntp"), (10, "unsynced"), (70, "unsynced")]
    before = again.epoch
    again.follow(reading(710, wall_s=712, trust="unsynced", boot="boot-2"))
    assert again.epoch == before
    add(again, 720, trust="ntp", boot="boot-2")
    again.flush(2)
    assert told(again)[-1] == (720, "ntp")
    again.close()


def test_two_boots_without_ever_syncing_go_at_once_and_in_order(tmp_path):
    for boot in ("boot-1", "boot-2"):
        journal = open_journal(tmp_path)
        add(journal, 10, wall_s=10, trust="waiting", boot=boot)
        add(journal, 110, wall_s=110, trust="waiting", boot=boot)
        journal.flush(1)
        journal.close()
    journal = open_journal(tmp_path)
    journal.follow(reading(5, wall_s=5, trust="waiting", boot="boot-3"))
    results = journal.as_results(journal.window(0, 10))
    assert [result.clock for result in results] == ["unsynced"] * 4
    since_floor_s = [(result.time_ms - store.FLOOR_MS) / 1000 for result in results]
    assert since_floor_s == [0, 100, 100, 200]
    journal.close()


def test_a_reboot_before_the_sync_keeps_a_time_that_was_vouched_for(tmp_path):
    journal = open_journal(tmp_path)
    add(journal, 10, trust="ntp")
    journal.flush(1)
    journal.close()  # synced, but no broker was there
    again = open_journal(tmp_path)
    again.follow(reading(5, wall_s=5, trust="waiting", boot="boot-2"))
    assert told(again) == [(10, "ntp")]
    again.close()


def test_a_restart_in_the_same_boot_keeps_the_vouched_time_against_a_lesser_word(tmp_path):
    journal = open_journal(tmp_path)
    add(journal, 10, trust="ntp")
    journal.flush(1)
    journal.close()
    again = open_journal(tmp_path)
    again.follow(reading(20, wall_s=TODAY_S - 4000, trust="unknown"))
    assert told(again) == [(10, "ntp")]
    again.close()


def test_a_restart_in_the_same_boot_lets_the_sync_correct_the_earlier_run(tmp_path):
    journal = open_journal(tmp_path)
    add(journal, 10, wall_s=10, trust="waiting")
    journal.flush(1)
    journal.close()
    again = open_journal(tmp_path)
    again.follow(reading(20, wall_s=20, trust="waiting"))
    assert again.window(0, 10) == []
    again.follow(reading(30, trust="indexer"))
    assert told(again) == [(10, "indexer")]
    again.close()


@pytest.mark.parametrize("trust", ["ntp", "indexer", "unknown"])
def test_no_result_claims_1970_whatever_the_clock_says_of_itself(journal, trust):
    add(journal, 10, wall_s=10, trust=trust)
    journal.flush(1)
    (result,) = journal.as_results(journal.window(0, 10))
    assert result.time_ms >= store.FLOOR_MS
    assert result.clock == "unsynced"


def test_a_vouched_time_corrects_the_newest_time_known_downwards(journal):
    journal.follow(reading(10, wall_s=TODAY_S + 10**8, trust="unknown"))
    assert journal.newest_ms == (TODAY_S + 10**8) * 1000
    journal.follow(reading(20, trust="ntp"))
    assert journal.newest_ms == (TODAY_S + 20) * 1000


def test_the_newest_time_known_survives_and_never_comes_from_a_wrong_clock(tmp_path):
    journal = open_journal(tmp_path)
    add(journal, 10)
    journal.follow(reading(20, wall_s=TODAY_S + 10**8, trust="waiting"))
    journal.flush(1)
    journal.close()
    again = open_journal(tmp_path)
    assert again.newest_ms == (TODAY_S + 10) * 1000
    again.close()


def test_a_result_says_how_long_ago_its_clock_was_vouched_for(journal):
    add(journal, 100, age_s=30)
    add(journal, 150, age_s=80)
    journal.flush(1)
    assert [r.clock_age_s for r in journal.as_results(journal.window(0, 9))] == [30, 80]
    add(journal, 200, age_s=2)  # heard from the server again
    journal.flush(2)
    assert journal.as_results(journal.window(2, 9))[0].clock_age_s == 2


def test_nobody_vouched_no_age(journal):
    add(journal, 100, trust="unknown")
    journal.flush(1)
    assert journal.as_results(journal.window(0, 9))[0].clock_age_s is None


def test_times_are_committed_before_they_are_told(tmp_path):
    journal = open_journal(tmp_path)
    add(journal, 10)
    journal.flush(1)
    journal.as_results(journal.window(0, 9))
    frozen = [epoch.frozen for epoch in journal._tables.epochs()]
    journal.close()
    assert frozen == [True]


def test_a_steady_clock_costs_no_commit(journal):
    add(journal, 10)
    journal.flush(1)
    told(journal)
    for at_s in range(20, 3000, 10):
        journal.follow(reading(at_s, age_s=at_s % 60))
        assert journal.flush_at(at_s) is None


def test_a_vouched_epoch_of_another_boot_is_never_touched():
    epoch = store_epochs.begin(0, reading(10), 0)
    assert store_epochs.followed(epoch, reading(20, boot="boot-2", wall_s=99)) == epoch
