"""Journal and drain against a plain model: a broker and an indexer that drop, repeat and forget,
a box that crashes, reboots, steps its clock and fills its disk. Whatever happens,

- a row that was flushed is in the journal until the indexer has stored it;
- no two results share an identity, and every copy of one says the same;
- nothing is published before it is committed;
- and once everybody behaves again, everything arrives: nothing is wedged.

``SWARMING_MODEL_EXAMPLES=2000`` looks longer, and elsewhere each time.
"""

import json
import os
import random
import shutil
import tempfile
from collections import deque
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent import store_tables, wire
from agent.drain import Drain, Rules
from agent.store import FLOOR_MS
from tests.store_bed import NS_PER_S, TODAY_S, fast_parent, open_journal, reading

EXAMPLES = int(os.environ.get("SWARMING_MODEL_EXAMPLES", "0"))
RULES = Rules(singles=3, unacknowledged=4, unconfirmed_singles=6, unconfirmed_batches=2)

# What a broker does with a message: (delivered, PUBACK's code; None: no PUBACK).
FATES = st.sampled_from(
    [(True, 0)] * 4
    + [(False, 0), (False, 0), (True, None), (False, 0x10), (False, 0x87), (False, 0x97)]
)


class Box(RuleBasedStateMachine):
    """One agent, the broker that it is connected to, and the indexer behind that."""

    max_rows = 100_000

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="journal-model-", dir=fast_parent()))
        self.now = 100.0
        self.boot, self.booted_at, self.step_s, self.trust = 1, 0.0, 0.0, "ntp"
        self.number = 0
        self.buffered, self.promised, self.in_memory = {}, {}, {}
        self.identities = set()
        self.connected = False
        self.at_broker = deque()  # (token, topic, payload, sent at): no PUBACK yet
        self.tokens, self.owed = 0, set()  # owed: no PUBACK came
        self.stored = {}  # the indexer's store: identity -> result
        self.copies = {}  # the same, of everything that was ever published
        self.acks = deque()
        self.tracked = []  # (identities, batch, sent at, token): while an indexer was online
        self.start()

    def start(self):
        self.journal = open_journal(self.folder, now=self.now, max_rows=self.max_rows)
        self.drain = Drain(self.journal, "box", random.Random(self.number), RULES)
        self.connected, self.generation = False, 0
        self.look_at_clock()

    def look_at_clock(self):
        at_s = self.now - self.booted_at
        right_s = TODAY_S + self.now + self.step_s
        wall_s = at_s if self.trust == "waiting" else right_s
        clock = reading(at_s, wall_s=wall_s, trust=self.trust, boot=f"boot-{self.boot}")
        self.journal.follow(clock)

    def teardown(self):
        try:
            self.behave()
        finally:
            self.journal.close()
            shutil.rmtree(self.folder)

    @initialize(broker=st.sampled_from(["one", "two"]), indexer=st.booleans())
    def begin_well(self, broker, indexer):
        """Most of what can go wrong needs something that went well before."""
        self.connect(broker)
        if indexer:
            self.drain.indexer_seen("indexer-1", True, False, self.now)

    # --- the box --------------------------------------------------------------------------------

    @rule(count=st.integers(1, 12))
    def measure(self, count, more=""):
        for _ in range(count):
            self.number += 1
            self.look_at_clock()
            told = {"kind": "icmp", "target": "voila.fr", "number": self.number, "more": more}
            identity = self.journal.add(told, round((self.now - self.booted_at) * NS_PER_S))
            assert identity not in self.identities, "two results share an identity"
            self.identities.add(identity)
            self.buffered[identity] = self.number

    @rule(
        count=st.integers(1, 12),
        fates=st.lists(FATES, max_size=8),
        confirmed=st.integers(0, 4),
        seconds=st.sampled_from([0.0, 1.0, 61.0]),
    )
    def a_turn_of_the_loop(self, count, fates, confirmed, seconds):
        """What happens nearly always: measured, flushed, published, taken, confirmed."""
        self.measure(count)
        self.flush()
        if not self.connected:
            self.connect("one")
        self.publish(3)
        for fate in fates:
            self.the_broker_takes(fate, 1)
        if confirmed and self.acks:
            self.a_confirmation_comes(confirmed, False)
        self.wait(seconds)

    @rule()
    def flush(self):
        self.journal.flush(self.now)
        self.note_flush()

    def note_flush(self):
        """What was buffered is promised now, unless the disk refused."""
        if self.journal.facts()["in"] == "file":
            self.promised |= self.in_memory | self.buffered
            self.in_memory = {}
        else:
            self.in_memory |= self.buffered
        self.buffered = {}

    @rule()
    def kill_and_restart(self):
        """What was not flushed is gone. Nothing else is."""
        self.journal.close()
        self.buffered, self.in_memory = {}, {}
        self.at_broker.clear()
        self.tracked.clear()
        self.start()

    @rule(trust=st.sampled_from(["ntp", "waiting", "unknown"]))
    def reboot(self, trust):
        self.boot += 1
        self.booted_at, self.trust = self.now - 5, trust
        self.kill_and_restart()

    @rule(step_s=st.sampled_from([-5000.0, -2.0, 0.3, 2.0, 5000.0]))
    def step_the_clock(self, step_s):
        self.step_s += step_s
        self.look_at_clock()

    @rule(trust=st.sampled_from(["ntp", "unknown", "indexer", "waiting", "unsynced"]))
    def judge_the_clock_anew(self, trust):
        self.trust = trust
        self.look_at_clock()

    @rule(seconds=st.sampled_from([0.5, 5.0, 61.0, 125.0, 1000.0, 8000.0]))
    def wait(self, seconds):
        self.now += seconds
        self.look_at_clock()

    @rule()
    def fill_the_disk(self):
        """The commit that needs a page more finds none."""
        if self.journal.facts()["in"] == "file":
            tables = self.journal._tables
            tables._db.execute(f"PRAGMA max_page_count = {tables._number('PRAGMA page_count')}")
            self.measure(12, random.Random(self.number).randbytes(300).hex())
            self.flush()

    # --- the way to the broker ------------------------------------------------------------------

    @precondition(lambda self: not self.connected)
    @rule(broker=st.sampled_from(["one", "two"]))
    def connect(self, broker):
        self.connected = True
        self.drain.opened(broker, self.now)

    @precondition(lambda self: self.connected)
    @rule()
    def disconnect(self):
        """What the broker holds has arrived or not; nobody here will know."""
        self.connected = False
        self.will_go_again(self.owed)
        self.owed.clear()
        self.at_broker.clear()
        self.drain.closed(self.now)

    def will_go_again(self, tokens):
        self.tracked = [entry for entry in self.tracked if entry[3] not in tokens]

    @rule(times=st.integers(1, 3))
    def publish(self, times):
        for _ in range(times):
            for outgoing in self.drain.due(self.now):
                self.note_flush_by_drain()
                self.tokens += 1
                self.owed.add(self.tokens)
                self.at_broker.append((self.tokens, outgoing.topic, outgoing.payload, self.now))
                self.drain.sent(outgoing, self.tokens, self.now)
                self.check_published(outgoing)

    def note_flush_by_drain(self):
        """Freezing an epoch commits, and everything that was buffered with it."""
        if not self.journal.counts().buffered:
            self.note_flush()

    def check_published(self, outgoing):
        if self.generation != self.journal.generation:
            self.generation = self.journal.generation
            self.tracked.clear()  # other rows: the window begins anew
        results = wire.read(outgoing.topic, outgoing.payload).results
        for result in results:
            identity = (result.epoch, result.seq)
            known = self.copies.setdefault(identity, result)
            assert known == result, "a resend says something else"
            assert result.time_ms >= FLOOR_MS, "a result from 1970"
            if result.body["kind"] != "lost":
                assert identity in self.promised | self.in_memory, "published before its commit"
        late = self.now - RULES.acknowledged_within_s  # older ones are given up
        assert sum(at > late for *_, at in self.at_broker) <= RULES.unacknowledged
        if self.drain.indexer_online(self.now):
            identities = {(result.epoch, result.seq) for result in results}
            self.tracked.append([identities, outgoing.batch, self.now, self.tokens])
            self.check_window()

    def check_window(self):
        fresh = [
            batch
            for identities, batch, at, _ in self.tracked
            if at > self.now - RULES.fresh_s and identities
        ]
        assert sum(fresh) <= RULES.unconfirmed_batches
        assert len(fresh) - sum(fresh) <= RULES.unconfirmed_singles

    @precondition(lambda self: self.at_broker)
    @rule(fate=FATES, count=st.integers(1, 6))
    def the_broker_takes(self, fate, count):
        delivered, code = fate
        for _ in range(min(count, len(self.at_broker))):
            token, topic, payload, _ = self.at_broker.popleft()
            if delivered:
                self.arrive(topic, payload)
            if code is not None and code >= 0x80:
                self.will_go_again({token})
            if code is not None:
                self.owed.discard(token)
                self.drain.acknowledged(token, code, self.now)

    def arrive(self, topic, payload):
        results = wire.read(topic, payload).results
        ranges = {}
        for result in results:
            self.stored[result.epoch, result.seq] = result
            ranges.setdefault(result.epoch, []).append(result.seq)
        self.acks.append({epoch: wire.ranges_of(seqs) for epoch, seqs in ranges.items()})

    # --- what comes from the indexer --------------------------------------------------------------

    @precondition(lambda self: self.connected and self.acks)
    @rule(count=st.integers(1, 5), twice=st.booleans())
    def a_confirmation_comes(self, count, twice):
        for _ in range(min(count, len(self.acks))):
            ranges = self.acks.popleft()
            for _ in range(1 + twice):
                self.drain.confirmed(ranges, self.now)
            self.note_confirmed(ranges)

    def note_confirmed(self, ranges):
        for entry in self.tracked:
            entry[0] = {
                (epoch, seq)
                for epoch, seq in entry[0]
                if not any(first <= seq <= last for first, last in ranges.get(epoch, []))
            }

    @precondition(lambda self: self.acks)
    @rule()
    def a_confirmation_is_lost(self):
        self.acks.popleft()

    @precondition(lambda self: self.connected)
    @rule(online=st.booleans(), retained=st.booleans())
    def the_indexer_says(self, online, retained):
        self.drain.indexer_seen("indexer-1", online, retained, self.now)
        if not self.drain.indexer_online(self.now):
            self.tracked.clear()

    @rule()
    def the_network_switches_metered(self):
        self.drain.metered = not self.drain.metered

    # --- what always holds ------------------------------------------------------------------------

    def in_journal(self):
        """Identities in the tables that are in use, whether they may be published or not."""
        tables = self.journal._tables
        names = {epoch.base: epoch.name for epoch in tables.epochs()}
        gone = self.journal._gone
        rows = tables.rows(0, 2**62, 1_000_000)
        return {(names[row.epoch], row.id - row.epoch) for row in rows if row.id not in gone}

    @invariant()
    def what_was_promised_is_there_or_stored(self):
        if self.journal.facts()["in"] == "file":
            missing = set(self.promised) - set(self.stored) - self.in_journal()
            assert len(missing) <= self.forgivable(), f"lost: {missing}"

    def forgivable(self):
        return 0

    @invariant()
    def the_counts_are_true(self):
        counts = self.journal.counts()
        assert counts.waiting - counts.buffered == len(self.in_journal())
        assert counts.waiting == 0 or counts.published <= counts.waiting

    @invariant()
    def the_loop_never_sleeps_for_ever(self):
        assert 0 <= self.drain.wake_s(self.now) <= RULES.resend_s

    # --- and in the end ---------------------------------------------------------------------------

    def behave(self):
        """Everybody does what they should; after a while all is stored and confirmed."""
        self.trust, self.drain.metered = "ntp", False
        for _ in range(400):
            self.now += 30.0
            self.look_at_clock()
            self.flush()
            if not self.connected:
                self.connect("one")
            self.drain.indexer_seen("indexer-1", True, False, self.now)
            self.publish(3)
            while self.at_broker or self.acks:
                self.the_broker_takes_all()
                self.publish(3)
            if self.journal.counts().waiting == 0 and self.journal.facts()["in"] == "file":
                break
        self.flush()
        missing = set(self.promised) - set(self.stored)
        assert len(missing) <= self.forgivable(), f"never arrived: {missing}"
        assert self.journal.counts().waiting == 0, self.journal.counts()
        assert self.journal._tables._number("SELECT count(*) FROM epochs") <= 1

    def the_broker_takes_all(self):
        while self.at_broker:
            token, topic, payload, _ = self.at_broker.popleft()
            self.arrive(topic, payload)
            self.owed.discard(token)
            self.drain.acknowledged(token, 0, self.now)
        while self.acks:
            ranges = self.acks.popleft()
            self.drain.confirmed(ranges, self.now)
            self.note_confirmed(ranges)


class SmallBox(Box):
    """The same with a journal that is always too small: what is missing was told, all of it."""

    max_rows = 20

    @initialize()
    def an_indexer_was_seen(self):
        self.journal.put("indexer_seen", True)
        self.journal.flush(self.now)

    def forgivable(self):
        told = [
            result.body["count"]
            for result in [*self.stored.values(), *self.told_in_journal()]
            if result.body["kind"] == "lost"
        ]
        return sum(told) + self.journal.counts().lost

    def told_in_journal(self):
        names = self.journal._epochs
        committed = self.journal._tables.rows(0, 2**62, 1_000_000)
        for row in [*committed, *self.journal._buffer]:
            body = json.loads(store_tables.unpack(row.body))
            epoch = names.at(row.epoch)
            identity = (epoch.name, row.id - row.epoch)
            if body["kind"] == "lost" and identity not in self.stored:
                yield wire.Result("box", *identity, 0, "ntp", None, body)

    def fill_the_disk(self):
        pass


HOW = settings(
    max_examples=EXAMPLES or 60,
    stateful_step_count=40,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestBox = Box.TestCase
TestBox.settings = HOW
TestSmallBox = SmallBox.TestCase
TestSmallBox.settings = HOW


def live(box, rng, steps):
    """A long life of the same box: mostly turns of the loop, now and then a mishap."""
    fates = [(True, 0)] * 6 + [
        (False, 0),
        (True, None),
        (False, 0x10),
        (False, 0x87),
        (False, 0x97),
    ]
    mishaps = [
        lambda: box.kill_and_restart(),
        lambda: box.reboot(rng.choice(["ntp", "waiting", "unknown"])),
        lambda: box.step_the_clock(rng.choice([-5000.0, -2.0, 0.3, 2.0, 5000.0])),
        lambda: box.judge_the_clock_anew(rng.choice(["ntp", "unknown", "waiting", "unsynced"])),
        lambda: box.fill_the_disk(),
        lambda: box.disconnect() if box.connected else box.connect(rng.choice(["one", "two"])),
        lambda: box.acks and box.a_confirmation_is_lost(),
        lambda: box.connected and box.the_indexer_says(rng.random() < 0.7, rng.random() < 0.3),
        lambda: box.the_network_switches_metered(),
        lambda: box.wait(rng.choice([5.0, 125.0, 1000.0])),
    ]
    for _ in range(steps):
        if rng.random() < 0.7:
            box.a_turn_of_the_loop(
                rng.randint(1, 5),
                [rng.choice(fates) for _ in range(rng.randint(0, 8))],
                rng.randint(0, 9),
                rng.choice([0.0, 1.0, 61.0]),
            )
        else:
            rng.choice(mishaps)()
        box.what_was_promised_is_there_or_stored()
        box.the_counts_are_true()
        box.the_loop_never_sleeps_for_ever()


@pytest.mark.parametrize("kind", [Box, SmallBox])
@pytest.mark.parametrize("seed", range(max(12, EXAMPLES // 10)))
def test_a_long_life_full_of_mishaps_loses_nothing(kind, seed):
    box = kind()
    box.begin_well("one", True)
    if kind is SmallBox:
        box.an_indexer_was_seen()
    try:
        live(box, random.Random(seed), 120)
    except BaseException:
        box.journal.close()
        raise
    box.teardown()
