"""The journal keeps what was flushed until it is confirmed, within its cap."""

import json
from types import SimpleNamespace

import pytest

from agent import store
from agent.losses import Loss
from agent.store import INDEXER_SEEN, Journal, JournalLocked
from agent.store_tables import pack
from tests.store_bed import NS_PER_S, TODAY_S, body, fill, numbers, open_journal, reading


@pytest.fixture
def journal(tmp_path):
    journal = open_journal(tmp_path)
    yield journal
    journal.close()


def test_a_result_is_seen_only_after_its_flush(journal):
    journal.follow(reading(10))
    identity = journal.add(body(1), 10 * NS_PER_S)
    assert journal.window(0, 10) == []
    journal.flush(1)
    (row,) = journal.window(0, 10)
    assert (row.epoch, row.seq) == identity == (journal.epoch, 1)
    assert json.loads(row.body) == body(1)


def test_what_was_flushed_survives_and_what_was_not_does_not(tmp_path):
    journal = open_journal(tmp_path)
    fill(journal, 3)
    journal.add(body(99), 10 * NS_PER_S)
    journal.close()
    again = open_journal(tmp_path)
    again.follow(reading(100))
    assert numbers(again.window(0, 10)) == [0, 1, 2]
    assert again.counts().waiting == 3
    again.close()


def test_every_start_begins_a_new_epoch_and_ids_go_on(tmp_path):
    journal = open_journal(tmp_path)
    first = fill(journal, 2)
    journal.close()
    again = open_journal(tmp_path)
    second = fill(again, 2)[2:]
    again.close()
    assert {row.epoch for row in first}.isdisjoint(row.epoch for row in second)
    assert [row.seq for row in second] == [1, 2]
    assert second[0].id > first[-1].id


def test_seq_counts_every_result_of_an_epoch(journal):
    rows = fill(journal, 5)
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5]
    assert len({row.epoch for row in rows}) == 1


# --- when a flush is due ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flush_s", "results", "asked_at", "due"),
    [
        (0, 1, 0, True),
        (60, 0, 1000, False),
        (60, 1, 59, False),
        (60, 1, 60, True),
        (60, 199, 1, False),
        (60, 200, 1, True),
    ],
)
def test_a_flush_is_due_after_flush_s_or_at_200_rows(tmp_path, flush_s, results, asked_at, due):
    journal = open_journal(tmp_path, flush_s=flush_s)
    journal.follow(reading(10))
    for number in range(results):
        journal.add(body(number), 10 * NS_PER_S)
    journal.flush_due(0)
    assert journal.flush_due(asked_at) is due
    journal.close()


def test_confirmations_alone_share_one_commit_a_second(journal):
    fill(journal, 2, now=1)
    journal.as_results(journal.window(0, 10))
    journal.flush(1)
    journal.confirm({journal.epoch: [(1, 1)]})
    assert not journal.flush_due(2)
    assert not journal.flush_due(2.9)
    assert journal.flush_due(3)
    journal.flush(3)
    assert journal.flush_at(3) is None


# --- confirmations ------------------------------------------------------------------------------


def test_a_confirmed_row_is_gone_at_once_and_for_ever(tmp_path):
    journal = open_journal(tmp_path)
    journal.as_results(fill(journal, 5))
    epoch = journal.epoch
    journal.confirm({epoch: [(2, 3), (5, 5)]})
    assert numbers(journal.window(0, 10)) == [0, 3]
    assert journal.counts().waiting == 2
    journal.flush(2)
    journal.close()
    again = open_journal(tmp_path)
    again.follow(reading(100))
    assert numbers(again.window(0, 10)) == [0, 3]
    assert again.counts().confirmed == 3
    again.close()


def test_a_row_that_was_never_published_cannot_be_confirmed(journal):
    rows = fill(journal, 4)
    journal.as_results(rows[:2])
    journal.confirm({journal.epoch: [(1, 2**62)]})
    assert numbers(journal.window(0, 10)) == [2, 3]


def test_rows_of_earlier_runs_count_as_published(tmp_path):
    journal = open_journal(tmp_path)
    rows = fill(journal, 3)
    journal.close()
    again = open_journal(tmp_path)
    again.follow(reading(100))
    again.confirm({rows[0].epoch: [(1, 3)]})
    assert again.window(0, 10) == []
    again.close()


def test_a_confirmation_reaches_only_its_own_epoch(tmp_path):
    journal = open_journal(tmp_path)
    old = fill(journal, 3)
    journal.close()
    again = open_journal(tmp_path)
    new = fill(again, 3)[3:]
    again.as_results(new)
    again.confirm({old[0].epoch: [(1, 2**62)], "0123456789abcdef": [(1, 9)]})
    assert again.window(0, 10) == new
    again.close()


def test_the_same_confirmation_twice_counts_once(journal):
    journal.as_results(fill(journal, 3))
    for now in (1, 2, 3):
        journal.confirm({journal.epoch: [(1, 2)]})
        journal.flush(now)
    assert journal.counts().confirmed == 2
    assert journal.counts().waiting == 1


def test_an_epochs_record_goes_with_its_last_row(tmp_path):
    journal = open_journal(tmp_path)
    rows = fill(journal, 3)
    journal.close()
    again = open_journal(tmp_path)
    fill(again, 1)
    assert len(again._tables.epochs()) == 2
    again.confirm({rows[0].epoch: [(1, 3)]})
    again.flush(2)
    assert [epoch.name for epoch in again._tables.epochs()] == [again.epoch]
    again.close()


def test_an_epoch_goes_on_after_all_its_rows_were_confirmed(journal):
    journal.as_results(fill(journal, 3))
    journal.confirm({journal.epoch: [(1, 3)]})
    journal.flush(2)
    assert journal.counts().waiting == 0
    (row,) = fill(journal, 1)
    assert (row.epoch, row.seq) == (journal.epoch, 4)


def test_a_confirmation_that_comes_again_after_the_commit_changes_no_count(journal):
    journal.as_results(fill(journal, 3))
    journal.confirm({journal.epoch: [(1, 2)]})
    journal.flush(2)
    journal.confirm({journal.epoch: [(1, 2)]})
    assert journal.counts().waiting == 1


def test_ids_never_go_back_when_all_rows_are_gone(tmp_path):
    journal = open_journal(tmp_path)
    rows = fill(journal, 3)
    journal.as_results(rows)
    journal.published(3)
    journal.confirm({journal.epoch: [(1, 3)]})
    journal.flush(2)
    journal.close()
    again = open_journal(tmp_path)
    (row,) = fill(again, 1)
    assert row.id > again.published_upto
    again.close()


# --- the cap ------------------------------------------------------------------------------------


def test_the_oldest_rows_go_first_one_per_cent_at_a_time(tmp_path):
    journal = open_journal(tmp_path, max_rows=1000)
    rows = fill(journal, 1000)
    assert len(rows) == 1000
    rows = fill(journal, 1)
    assert len(rows) == 991
    assert rows[0].seq == 11
    assert journal.counts().evicted == 10
    journal.close()


def test_the_cap_on_bytes_holds(tmp_path):
    journal = open_journal(tmp_path, max_bytes=100_000)
    journal.follow(reading(10))
    for number in range(2000):
        journal.add(body(number, noise=f"{number * 7919 % 1_000_003:x}" * 9), 10 * NS_PER_S)
        if number % 100 == 99:
            journal.flush(number)
            assert journal.counts().bytes <= 100_000
    counts = journal.counts()
    assert counts.evicted > 100
    assert counts.waiting + counts.evicted == 2000
    journal.close()


@pytest.mark.parametrize(
    ("disk_kib", "free_kib", "most_kib"),
    [(1000, 200, 100), (1000, 1000, 500), (100_000, 0, 10_000), (100, 0, 10)],
)
def test_the_journal_leaves_room_but_deletes_nothing_because_others_filled_the_disk(
    tmp_path, monkeypatch, disk_kib, free_kib, most_kib
):
    disk = SimpleNamespace(f_blocks=disk_kib, f_bavail=free_kib, f_frsize=1024)
    monkeypatch.setattr("os.statvfs", lambda path: disk)
    journal = open_journal(tmp_path)
    used_kib = journal.counts().bytes / 1024
    assert used_kib < 10
    assert most_kib - 1 <= journal._most_bytes / 1024 <= most_kib + used_kib
    journal.close()


def test_a_loss_is_told_with_its_times_and_count_and_starts_from_nothing(tmp_path):
    journal = open_journal(tmp_path, max_rows=100)
    journal.put(INDEXER_SEEN, True)
    fill(journal, 150, at_s=10)
    assert journal.counts().lost == 50
    assert journal.add_loss()
    journal.flush(2)
    told = json.loads(journal.window(0, 1000)[-1].body)
    assert told["kind"] == "lost"
    assert told["count"] == 50
    assert told["from"] == "2026-09-21T14:13:30.000Z"
    assert told["to"] == "2026-09-21T14:21:40.000Z"
    journal.close()


def test_a_loss_record_survives_a_restart_and_goes_on_growing(tmp_path):
    journal = open_journal(tmp_path, max_rows=100)
    journal.put(INDEXER_SEEN, True)
    fill(journal, 150)
    journal.close()
    again = open_journal(tmp_path, max_rows=100)
    fill(again, 50)
    assert again.counts().lost == 100
    again.close()


def test_a_told_loss_that_is_evicted_itself_is_not_forgotten(tmp_path):
    journal = open_journal(tmp_path, max_rows=100)
    journal.put(INDEXER_SEEN, True)
    fill(journal, 150)
    journal.add_loss()
    fill(journal, 150)
    lost, kept = journal.counts().lost, journal.window(0, 1000)
    assert all(json.loads(row.body)["kind"] == "icmp" for row in kept)
    assert lost + len(kept) == 300
    journal.close()


def test_nothing_is_lost_before_an_indexer_was_ever_seen(tmp_path):
    journal = open_journal(tmp_path, max_rows=100)
    fill(journal, 150)
    assert journal.counts().evicted == 50
    assert journal.counts().lost == 0
    assert not journal.add_loss()
    journal.close()


def test_the_loss_of_rows_with_a_wrong_clock_claims_no_time_of_1970(tmp_path):
    journal = open_journal(tmp_path, max_rows=10)
    journal.put(INDEXER_SEEN, True)
    journal.follow(reading(10, wall_s=5, trust="waiting"))
    for number in range(20):
        journal.add(body(number), (10 + number) * NS_PER_S)
    journal.flush(1)
    assert journal._state.loss == Loss(10, store.FLOOR_MS, store.FLOOR_MS + 9000)
    journal.close()


# --- settings, one agent, damage ----------------------------------------------------------------


def test_a_setting_is_kept(tmp_path):
    journal = open_journal(tmp_path)
    journal.put("watch", {"all": "voila.fr", "own": None})
    assert journal.flush_at(0) is not None
    journal.flush(1)
    journal.close()
    again = open_journal(tmp_path)
    assert again.get("watch") == {"all": "voila.fr", "own": None}
    assert again.get("absent", 7) == 7
    again.close()


def test_a_setting_that_did_not_change_costs_no_commit(journal):
    journal.put("watch", "voila.fr")
    journal.flush(1)
    journal.put("watch", "voila.fr")
    assert journal.flush_at(1) is None


def test_only_one_agent_uses_a_journal(tmp_path):
    journal = open_journal(tmp_path)
    with pytest.raises(JournalLocked, match="another agent"):
        open_journal(tmp_path)
    journal.close()
    open_journal(tmp_path).close()


def test_a_row_whose_epoch_is_unknown_is_set_aside_and_told(journal):
    fill(journal, 3)
    journal._tables._db.execute("UPDATE rows SET epoch = 77 WHERE id = 2")
    assert numbers(journal.window(0, 10)) == [0, 2]
    journal.flush(2)
    assert journal.facts()["strays"] == 1
    assert journal.counts().waiting == 2
    assert journal._tables._number("SELECT count(*) FROM strays") == 1


@pytest.mark.parametrize("junk", [b"", b"junk", None, 7, "text"])
def test_a_row_whose_body_is_damaged_is_set_aside(journal, junk):
    fill(journal, 3)
    journal._tables._db.execute("UPDATE rows SET body = ? WHERE id = 1", (junk,))
    assert numbers(journal.window(0, 10)) == [1, 2]
    assert journal.oldest_id() == 2
    journal.flush(2)
    assert journal.counts().strays == 1


@pytest.mark.parametrize("junk", [None, "text", b"", 1.5, -1, 2**62])
def test_a_row_whose_time_is_damaged_is_set_aside(journal, junk):
    rows = fill(journal, 3)
    journal._tables._db.execute("UPDATE rows SET boot_ns = ? WHERE id = 1", (junk,))
    assert numbers(journal.window(0, 10)) == [1, 2]
    assert len(journal.as_results(rows[1:])) == 2
    journal.flush(2)
    assert journal.counts().strays == 1


@pytest.mark.parametrize(
    ("column", "junk"), [("boot_ns", "text"), ("boot_ns", None), ("body", pack("[]")), ("body", 7)]
)
def test_a_damaged_row_can_be_evicted(tmp_path, column, junk):
    journal = open_journal(tmp_path, max_rows=3)
    journal.put(INDEXER_SEEN, True)
    fill(journal, 3)
    journal._tables._db.execute(f"UPDATE rows SET {column} = ? WHERE id = 1", (junk,))
    fill(journal, 1, at_s=40.0)
    assert (journal.counts().evicted, journal.counts().lost) == (1, 1)
    journal.close()


def test_the_window_is_full_although_confirmed_rows_lie_in_between(journal):
    rows = fill(journal, 50)
    journal.as_results(rows)
    journal.confirm({journal.epoch: [(2, 20), (22, 40)]})
    assert numbers(journal.window(0, 4)) == [0, 20, 40, 41]
    assert numbers(journal.window(21, 2)) == [40, 41]


def test_a_result_has_the_wires_form(journal):
    (row,) = fill(journal, 1)
    (result,) = journal.as_results([row])
    assert (result.agent, result.epoch, result.seq) == ("box", row.epoch, 1)
    assert result.time_ms == (TODAY_S + 10) * 1000
    assert result.body == body(0)


def test_add_needs_a_clock_first(tmp_path):
    journal = Journal(str(tmp_path / "j"), "box")
    with pytest.raises(RuntimeError, match="follow"):
        journal.add(body(), 1)
    journal.close()
