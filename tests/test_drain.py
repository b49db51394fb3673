"""The drain publishes every row, keeps its windows, and sends again only what it should."""

import json
import random

import pytest

from agent import wire
from agent.drain import DENIED, SILENT, Drain, Rules
from agent.store import INDEXER_SEEN
from tests.store_bed import NS_PER_S, body, open_journal, reading


class Bench:
    """A journal, its drain, and what went out."""

    def __init__(self, folder, **options):
        self.journal = open_journal(folder, **options)
        self.now = 1000.0
        self.number = self.token = 0
        self.drain = self.new_drain()
        self.sent = []  # (token, outgoing), no PUBACK yet
        self.journal.follow(reading(10))

    def new_drain(self, seed=1):
        return Drain(self.journal, "box", random.Random(seed))

    def add(self, count, **more):
        for _ in range(count):
            self.number += 1
            self.journal.add(body(self.number, **more), 10 * NS_PER_S)
        self.journal.flush(self.now)

    def pump(self, rounds=100):
        """Publish all that is due now; the messages."""
        out = []
        for _ in range(rounds):
            due = self.drain.due(self.now)
            for outgoing in due:
                self.token += 1
                self.sent.append((self.token, outgoing))
                self.drain.sent(outgoing, self.token, self.now)
            out += due
            if not due:
                break
        return out

    def acknowledge(self, code=0, count=None):
        taken, self.sent = self.sent[:count], self.sent[len(self.sent[:count]) :]
        for token, _ in taken:
            self.drain.acknowledged(token, code, self.now)

    def pump_all(self):
        """Publish until nothing is due, every message acknowledged at once."""
        out = []
        while got := self.pump():
            out += got
            self.acknowledge()
        return out

    def confirm(self, *messages):
        for message in messages:
            ranges = {}
            for result in results(message):
                ranges.setdefault(result.epoch, []).append((result.seq, result.seq))
            self.drain.confirmed(ranges, self.now)

    def open(self, broker="one", **options):
        self.drain.opened(broker, self.now, **options)

    def close(self):
        self.sent = []
        self.drain.closed(self.now)

    def indexer(self, online=True, retained=False, name="indexer-1"):
        self.drain.indexer_seen(name, online, retained, self.now)

    def settle(self):
        """An indexer is online, and the resend that its coming brought is over."""
        self.indexer()
        self.now += 121
        self.indexer()
        self.pump_all()


def results(message):
    return wire.read(message.topic, message.payload).results


def numbers(messages):
    return [result.body["number"] for message in messages for result in results(message)]


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.journal.close()


# --- singles and batches --------------------------------------------------------------------------


def test_nothing_goes_out_before_a_broker_took_us(bench):
    bench.add(3)
    assert bench.pump() == []
    bench.open()
    assert numbers(bench.pump()) == [1, 2, 3]


@pytest.mark.parametrize(
    ("waiting", "metered", "messages", "batches"),
    [(1, False, 1, 0), (20, False, 20, 0), (21, False, 1, 1), (900, False, 3, 3)]
    + [(1, True, 1, 0), (2, True, 1, 1), (20, True, 1, 1)],
)
def test_up_to_20_rows_go_one_by_one_and_more_in_batches(
    bench, waiting, metered, messages, batches
):
    bench.drain.metered = metered
    bench.add(waiting)
    bench.open()
    out = bench.pump()
    assert (len(out), sum(message.batch for message in out)) == (messages, batches)
    assert numbers(out) == list(range(1, waiting + 1))


def test_a_single_is_readable_and_on_the_agents_topic(bench):
    bench.add(1)
    bench.open()
    (message,) = bench.pump()
    assert message.topic == "ping/box"
    assert json.loads(message.payload)["target"] == "voila.fr"


def test_a_batch_keeps_within_the_brokers_largest_packet(bench):
    bench.add(400, noise="x" * 100)
    bench.open(max_packet=2000)
    out = bench.pump()
    assert len(out) > 1
    assert all(len(message.payload) + len(message.topic) + 32 <= 2000 for message in out)


def test_what_was_handed_out_once_is_not_handed_out_again(bench):
    bench.add(3)
    bench.open()
    bench.pump()
    assert bench.pump() == []
    bench.add(2)
    assert numbers(bench.pump()) == [4, 5]


# --- windows --------------------------------------------------------------------------------------


def test_at_most_20_messages_await_a_puback(bench):
    bench.open()
    for _ in range(3):
        bench.add(10)
        bench.pump()
    assert len(bench.sent) == 20
    bench.acknowledge(count=4)
    assert len(bench.pump()) == 4


def test_a_broker_that_takes_fewer_at_a_time_gets_fewer(bench):
    bench.open(receive_maximum=3)
    bench.add(10)
    assert len(bench.pump()) == 3


def test_with_an_indexer_at_most_4_batches_await_its_confirmation(bench):
    bench.open()
    bench.settle()
    bench.add(7000)
    out = bench.pump_all()
    assert len(out) == 4
    bench.confirm(out[0])
    assert len(bench.pump_all()) == 1


def test_with_an_indexer_at_most_500_singles_await_its_confirmation(bench):
    bench.open()
    bench.settle()
    out = []
    for _ in range(40):
        bench.add(15)
        out += bench.pump_all()
    assert len(out) == 500
    bench.confirm(*out[:7])
    assert len(bench.pump_all()) > 0


def test_without_an_indexer_only_pubacks_count(bench):
    bench.open()
    bench.add(7000)
    assert len(numbers(bench.pump_all())) == 7000


def test_what_nobody_confirms_within_a_minute_makes_room_so_that_nothing_is_wedged(bench):
    bench.open()
    bench.settle()
    bench.add(2000)
    seen = set()
    for _ in range(8):
        bench.indexer()
        seen |= set(numbers(bench.pump_all()))
        bench.now += 61
    assert len(seen) == 2000


# --- what was published, over disconnects and restarts --------------------------------------------


def test_published_upto_stops_before_the_first_row_without_a_puback(bench):
    bench.add(5)
    bench.open()
    bench.pump()
    tokens = [token for token, _ in bench.sent]
    for token in (tokens[0], tokens[1], tokens[3]):
        bench.drain.acknowledged(token, 0, bench.now)
    assert bench.journal.published_upto == 2
    bench.drain.acknowledged(tokens[2], 0, bench.now)
    assert bench.journal.published_upto == 4


def test_after_a_disconnect_what_had_no_puback_goes_again(bench):
    bench.add(5)
    bench.open()
    bench.pump()
    bench.acknowledge(count=3)
    bench.close()
    assert bench.pump() == []
    bench.open()
    assert numbers(bench.pump()) == [4, 5]


def test_a_restart_goes_on_at_published_upto(bench):
    bench.add(5)
    bench.open()
    bench.pump()
    bench.acknowledge(count=3)
    bench.journal.flush(bench.now)
    bench.drain = bench.new_drain()
    bench.open()
    assert numbers(bench.pump()) == [4, 5]


def test_a_late_puback_of_a_connection_that_is_gone_counts_for_nothing(bench):
    bench.add(2)
    bench.open()
    bench.pump()
    tokens = [token for token, _ in bench.sent]
    bench.close()
    bench.drain.acknowledged(tokens[0], 0, bench.now)
    assert bench.journal.published_upto == 0


def test_a_living_connection_that_never_acknowledges_is_not_waited_for_for_ever(bench):
    bench.add(5)
    bench.open()
    bench.pump()
    bench.now += 890
    assert bench.pump() == []
    bench.now += 20
    assert numbers(bench.pump()) == [1, 2, 3, 4, 5]


def test_with_nobody_but_a_person_at_mosquitto_sub_nothing_is_resent(bench):
    bench.add(5)
    bench.open()
    bench.pump_all()
    for _ in range(200):
        bench.now += 600
        assert bench.pump_all() == []


# --- resend ---------------------------------------------------------------------------------------


def times_of_resends(bench, until):
    """When something was published again, in seconds from now; the indexer stays online."""
    start, times = bench.now, []
    while bench.now < start + until:
        bench.indexer()
        if bench.pump_all():
            times.append(bench.now - start)
        bench.now += 1
    return times


def test_an_unconfirmed_row_is_resent_after_1_2_4_minutes_doubling(bench):
    bench.open()
    bench.settle()
    bench.add(1)
    bench.pump_all()
    times = times_of_resends(bench, 1000)
    gaps = [b - a for a, b in zip([0, *times], times, strict=False)]
    assert gaps[:3] == pytest.approx([60, 120, 240], abs=4)


def test_the_wait_is_a_minute_again_when_the_oldest_was_confirmed(bench):
    bench.open()
    bench.settle()
    bench.add(1)
    (first,) = bench.pump_all()
    times_of_resends(bench, 200)
    bench.add(1)
    bench.pump_all()
    bench.confirm(first)
    (gap,) = times_of_resends(bench, 100)
    assert gap == pytest.approx(60, abs=4)


def test_a_confirmed_row_is_never_resent(bench):
    bench.open()
    bench.settle()
    bench.add(3)
    out = bench.pump_all()
    bench.confirm(out[0], out[2])
    bench.pump_all()
    bench.now += 70
    assert numbers(bench.pump_all()) == [2]


def test_a_resend_goes_in_a_batch_over_what_is_older_than_a_minute_and_leaves_the_rest(bench):
    bench.open()
    bench.settle()
    bench.add(3)
    bench.pump_all()
    bench.now += 45
    bench.add(2)
    bench.pump_all()
    bench.now += 20
    (resend,) = bench.pump_all()
    assert resend.batch
    assert numbers([resend]) == [1, 2, 3]


def test_nothing_is_resent_that_still_has_no_puback(bench):
    bench.open()
    bench.settle()
    bench.add(4)
    bench.pump()
    bench.acknowledge(count=2)
    bench.now += 70
    bench.indexer()
    assert numbers(bench.pump()) == [1, 2]


def test_after_an_indexer_came_online_a_resend_begins_within_two_minutes_at_random(tmp_path):
    begun = []
    for seed in range(12):
        folder = tmp_path / str(seed)
        folder.mkdir()
        bench = Bench(folder)
        bench.drain = bench.new_drain(seed)
        bench.add(3)
        bench.open()
        bench.pump_all()
        bench.now += 600
        bench.indexer()
        begun += times_of_resends(bench, 125)[:1]
        bench.journal.close()
    assert len(begun) == 12
    assert all(time <= 121 for time in begun)
    assert max(begun) - min(begun) > 20


def test_nothing_is_resent_while_no_indexer_is_online(bench):
    bench.open()
    bench.settle()
    bench.add(3)
    bench.pump_all()
    bench.indexer(online=False)
    for _ in range(50):
        bench.now += 100
        assert bench.pump_all() == []


def test_a_change_of_brokers_brings_a_resend_once_an_indexer_is_there(bench):
    bench.open("one")
    bench.settle()
    bench.add(3)
    bench.pump_all()
    bench.now += 61
    bench.close()
    bench.open("two")
    assert bench.pump_all() == []
    assert not bench.drain.indexer_online(bench.now)
    bench.indexer(retained=True)
    bench.now += 121
    assert numbers(bench.pump_all()) == [1, 2, 3]


def test_new_rows_follow_a_resend(bench):
    bench.open()
    bench.settle()
    bench.add(3)
    bench.pump_all()
    bench.now += 70
    bench.add(2)
    assert numbers(bench.pump_all()) == [1, 2, 3, 4, 5]


# --- is an indexer online? ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "after_s", "online"),
    [
        ([], 0, False),
        ([("live", True)], 899, True),
        ([("live", True)], 901, False),
        ([("retained", True)], 899, True),
        ([("retained", True)], 901, False),
        ([("live", True), ("live", False)], 0, False),
        ([("live", True), ("retained", False)], 0, True),
        ([("retained", False)], 0, False),
        ([("ack", True)], 899, True),
        ([("ack", True)], 901, False),
        ([("ack", True), ("live", True), ("live", False)], 0, False),
        ([("live", True), ("other", True), ("other", False)], 0, True),
    ],
)
def test_an_indexer_is_online_for_15_minutes_after_its_last_word(bench, events, after_s, online):
    bench.open()
    for what, here in events:
        if what == "ack":
            bench.drain.confirmed({}, bench.now)
        else:
            name = "indexer-2" if what == "other" else "indexer-1"
            bench.indexer(here, what == "retained", name)
    bench.now += after_s
    assert bench.drain.indexer_online(bench.now) is online
    if events and online:
        bench.drain.due(bench.now)
        assert bench.journal.get(INDEXER_SEEN) is True


def test_a_broker_without_an_indexer_is_lonely_only_where_one_is_known(bench):
    bench.open()
    bench.now += 1000
    assert bench.drain.lonely_s(bench.now) == 0
    bench.indexer()
    bench.now += 100
    assert bench.drain.lonely_s(bench.now) == 0
    bench.indexer(online=False)
    bench.now += 70
    assert bench.drain.lonely_s(bench.now) == 70
    bench.close()
    assert bench.drain.lonely_s(bench.now) == 0
    bench.open("two")
    bench.now += 30
    assert bench.drain.lonely_s(bench.now) == 30


def test_on_a_metered_link_nothing_goes_out_while_a_known_indexer_is_offline(bench):
    bench.drain.metered = True
    bench.add(2)
    bench.open()
    assert numbers(bench.pump()) == [1, 2], "none is known: somebody else may listen"
    bench.indexer()
    bench.indexer(online=False)
    bench.add(2)
    assert bench.pump() == []
    bench.indexer()
    assert numbers(bench.pump()) == [3, 4]


# --- refusals -------------------------------------------------------------------------------------


def test_nobody_subscribed_counts_as_acknowledged(bench):
    bench.add(3)
    bench.open()
    bench.pump()
    bench.acknowledge(0x10)
    assert bench.journal.published_upto == 3


def test_quota_exceeded_pauses_for_a_minute_and_then_it_goes_again(bench):
    bench.add(3)
    bench.open()
    bench.pump()
    bench.acknowledge(0x97)
    assert bench.journal.published_upto == 0
    bench.add(1)
    bench.now += 59
    assert bench.pump() == []
    assert 0 < bench.drain.wake_s(bench.now) <= 1
    bench.now += 1
    assert numbers(bench.pump()) == [1, 2, 3, 4]


def test_a_denied_agent_says_so_once_and_does_not_hammer(bench, caplog):
    bench.add(1)
    bench.open()
    sent = 0
    for _ in range(1000):
        sent += len(bench.pump())
        bench.acknowledge(0x87)
        bench.now += 10
    assert 3 <= sent <= 12
    assert caplog.text.count(DENIED) == 1
    assert bench.drain.facts(bench.now)["denied"] == DENIED
    bench.now += 3600
    bench.pump()
    bench.acknowledge()
    assert "denied" not in bench.drain.facts(bench.now)


def test_a_refused_message_holds_back_nothing_that_was_taken(bench):
    bench.add(3)
    bench.open()
    bench.pump()
    bench.acknowledge(count=1)
    bench.acknowledge(0x83, count=1)
    bench.acknowledge()
    bench.now += 60
    assert numbers(bench.pump()) == [2, 3]


def test_three_tries_with_an_indexer_online_and_no_confirmation_is_a_state_that_is_told(bench):
    bench.open()
    bench.settle()
    bench.add(30)
    (out,) = bench.pump_all()
    times_of_resends(bench, 200)
    assert "silent" not in bench.drain.facts(bench.now)
    times_of_resends(bench, 400)
    assert bench.drain.facts(bench.now)["silent"] == SILENT
    bench.confirm(out)
    assert "silent" not in bench.drain.facts(bench.now)


# --- the size of a batch --------------------------------------------------------------------------


def batch_limit(bench):
    return bench.drain.facts(bench.now).get("batch_bytes", 65536)


def test_a_batch_in_flight_at_two_disconnects_halves_the_size_for_this_broker(bench):
    bench.add(100)
    for limit in (65536, 32768, 32768, 16384):
        bench.open("one")
        bench.pump()
        bench.close()
        assert batch_limit(bench) == limit
    bench.open("two")
    assert batch_limit(bench) == 65536


def test_a_batch_that_was_taken_in_between_is_no_second_disconnect(bench):
    bench.open()
    for _ in range(3):
        bench.add(100)
        bench.pump()
        bench.close()
        bench.open()
        bench.pump_all()
    assert batch_limit(bench) == 65536


def test_three_tries_without_a_confirmation_halve_the_size_down_to_4_kib(bench):
    bench.open()
    bench.settle()
    bench.add(30)
    bench.pump_all()
    seen = []
    for _ in range(8):
        times_of_resends(bench, 430)
        seen.append(batch_limit(bench))
    assert seen[0] == 32768
    assert seen[-1] == 4096


def test_a_small_batch_size_is_remembered_for_a_day_over_restarts(bench):
    bench.add(100)
    for _ in range(2):
        bench.open()
        bench.pump()
        bench.close()
    bench.drain = bench.new_drain()
    bench.open()
    assert batch_limit(bench) == 32768
    bench.journal.follow(reading(10 + 86_300))
    assert batch_limit(bench) == 32768
    bench.journal.follow(reading(10 + 86_500))
    assert batch_limit(bench) == 65536


# --- losses, budgets, the journal's moves ---------------------------------------------------------


def test_a_loss_is_told_only_while_an_indexer_is_online(tmp_path):
    bench = Bench(tmp_path, max_rows=100)
    bench.journal.put(INDEXER_SEEN, True)
    bench.add(150)
    bench.open()
    bench.pump_all()
    bench.journal.flush(bench.now)
    assert bench.journal.counts().lost == 50
    bench.settle()
    bench.journal.flush(bench.now)
    lost = [r.body for m in bench.pump_all() for r in results(m) if r.body["kind"] == "lost"]
    assert [told["count"] for told in lost] == [50]
    bench.journal.close()


def test_when_the_budget_is_spent_one_batch_an_hour_goes_out(bench):
    bench.drain.spent = True
    bench.open()
    bench.add(900)
    sent = []
    for _ in range(180):
        sent += [(bench.now, message) for message in bench.pump_all()]
        bench.now += 60
    assert len(sent) == 3
    assert all(message.batch for _, message in sent)
    assert numbers(message for _, message in sent) == list(range(1, 901))


def test_when_the_disk_fills_the_drain_goes_on_with_the_rows_in_memory_and_then_with_all(bench):
    bench.open()
    bench.settle()
    bench.add(3)
    out = bench.pump_all()
    tables = bench.journal._tables
    tables._db.execute(f"PRAGMA max_page_count = {tables._number('PRAGMA page_count')}")
    bench.add(3, noise="".join(f"{n * n * 7919:x}" for n in range(2000)))
    assert bench.journal.facts()["in"] == "memory"
    assert numbers(bench.pump_all()) == [4, 5, 6]
    bench.confirm(out[0])
    bench.now += 61
    bench.journal.flush(bench.now)
    assert bench.journal.facts()["in"] == "file"
    assert set(numbers(bench.pump_all())) >= {4, 5, 6}
    bench.now += 121
    assert set(numbers(bench.pump_all())) == {2, 3, 4, 5, 6}


def test_the_loop_can_sleep_until_the_drain_has_something(bench):
    bench.open()
    bench.settle()
    bench.add(1)
    bench.pump_all()
    bench.now += bench.drain.wake_s(bench.now)
    for _ in range(10):
        if bench.pump_all():
            break
        assert bench.drain.wake_s(bench.now) > 0
        bench.now += bench.drain.wake_s(bench.now)
    else:
        pytest.fail("the resend never came")


def test_the_rules_can_be_compressed_for_a_test(tmp_path):
    bench = Bench(tmp_path)
    bench.drain = Drain(bench.journal, "box", random.Random(1), Rules(resend_s=0.6, fresh_s=0.6))
    bench.open()
    bench.indexer()
    bench.add(1)
    bench.pump_all()
    bench.now += 0.7
    assert len(bench.pump_all()) == 1
    bench.journal.close()
