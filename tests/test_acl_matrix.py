"""Who may do what on a Mosquitto with the configuration that we ship: all that is not said is no.

Nothing is believed that a broker answers: what counts is what comes out at the other end.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent import drain, wire
from agent.connection import Connection, Credentials, parse_broker
from indexer.ca import Authority
from indexer.ca.forms import Signer, pem
from tests import agent_bed, mosquittos
from tests.agent_bed import Box, IndexerProcess, complete
from tests.indexers import Client
from tests.operator_bed import WATCHER, Operator
from tests.servers import wait_for

VERSIONS = ("5", "3.1.1")
INDEXER = "indexer-one"
MAY_WRITE = (
    "ping/box-a",
    "ping/box-a/batch",
    "ping/box-a/check",
    "agent/box-a",
    "rip/agent/box-a",
)
MAY_NOT_WRITE = (
    *("ping/box-b", "ping/box-b/batch", "ping/box-b/check", "agent/box-b", "rip/agent/box-b"),
    *("ack/box-a", "ack/box-b", f"indexer/{INDEXER}", "indexer/box-a", "swarm", "look"),
    *("verdict/voila.fr", "watch", "watch/box-a", "watch/box-b", "ping/_share/1", "ping"),
    *("ping/box-a-2", "ping/box-", "agent", "rip/agent", "anything", "box-a", "/ping/box-a"),
    *("$SYS/broker/version", "$SYS/broker/box-a", "$share/g/ping/box-a"),
)
MAY_READ = (
    *("watch", "watch/box-a", "ack/box-a", "agent/box-a", "ping/box-a/check", "swarm", "look"),
    *(f"indexer/{INDEXER}", "verdict/voila.fr"),
)
MAY_NOT_READ = (
    *("ping/box-b", "ping/box-b/batch", "ping/box-b/check", "agent/box-b", "rip/agent/box-b"),
    *("ack/box-b", "watch/box-b"),
)
FILTERS = ("#", "+/+", "+/box-b", "+/box-b/+", "ping/#", "ack/+", "watch/#", "$SYS/#",
           "rip/#", "$share/g/ping/#", "$share/g/#", *MAY_NOT_READ)  # fmt: skip


@pytest.fixture(scope="module", params=mosquittos.NAMES)
def operator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    with Operator(tmp_path_factory.mktemp("operator"), request.param) as operator:
        yield operator


@pytest.fixture(scope="module")
def client(operator: Operator) -> Callable[..., Client]:
    """client(member, topics…): connected with that member's certificate, as whom it likes."""
    known: dict[str, Credentials] = {}

    def connect(member: str, *topics: str, **more: object) -> Client:
        known.setdefault(member, operator.member(member))
        more = {"name": member, "version": "5"} | more
        return Client(operator.server.port, *topics, credentials=known[member], **more)  # type: ignore[arg-type]

    return connect


@pytest.fixture
def mark(request: pytest.FixtureRequest) -> bytes:
    """What this test says, and no other: something retained may still be there."""
    return str(request.node.name).encode()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_agent_writes_what_is_its_own_and_nothing_else(
    version: str, client: Callable[..., Client], mark: bytes
) -> None:
    with client(WATCHER, "#", "$SYS/#") as watcher:
        with client("box-a", version=version) as agent:
            for topic in (*MAY_NOT_WRITE, *MAY_WRITE):
                agent.publish(topic, mark)
        with client("box-a", version=version) as agent:
            for topic in (*MAY_NOT_WRITE, *MAY_WRITE):
                agent.publish(topic, mark, retain=True)
        last = MAY_WRITE[-1]
        wait_for(lambda: _marked(watcher, mark).count(last) == 2, what="the last that it may")
        assert sorted(_marked(watcher, mark)) == sorted(2 * MAY_WRITE)
    with client(WATCHER, "#", "$SYS/#") as later, client("box-a") as agent:
        wait_for(lambda: len(_marked(later, mark)) == len(MAY_WRITE), what="what is retained")
        assert sorted(_marked(later, mark)) == sorted(MAY_WRITE)
        for topic in MAY_WRITE:
            agent.publish(topic, b"", retain=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_agent_reads_what_is_for_it_and_nothing_else(
    version: str, client: Callable[..., Client], mark: bytes
) -> None:
    with (
        client("box-a", *FILTERS, *MAY_READ, version=version) as agent,
        client("box-b") as other,
        client(INDEXER) as indexer,
    ):
        for topic in MAY_NOT_READ:
            who = indexer if topic.startswith(("ack/", "watch/")) else other
            who.publish(topic, mark, retain=True)
        for topic in MAY_READ:
            who = agent if topic in MAY_WRITE else indexer
            who.publish(topic, mark)
        wait_for(lambda: set(MAY_READ) <= set(_marked(agent, mark)), what="all that it may read")
        assert {topic for topic, _, _ in agent.messages} == set(MAY_READ)
    with client("box-a", *FILTERS, "look", version=version) as again, client(INDEXER) as indexer:
        indexer.publish("look", mark)
        wait_for(lambda: "look" in _marked(again, mark), what="what is said now")
        assert {topic for topic, _, _ in again.messages} <= set(MAY_READ), "nor what is retained"


def test_an_indexer_writes_what_is_its_own_and_what_an_operator_says(
    client: Callable[..., Client], mark: bytes
) -> None:
    may = ["ack/box-a", f"indexer/{INDEXER}", "swarm", "look", "verdict/voila.fr", "watch",
           "watch/box-a", "ping/_share/1"]  # fmt: skip
    may_not = ["ping/box-a", "agent/box-a", "rip/agent/box-a", "indexer/indexer-two", "ping"]
    with client(WATCHER, "#") as watcher, client(INDEXER) as indexer:
        for topic in (*may_not, *may):
            indexer.publish(topic, mark)
        wait_for(lambda: may[-1] in _marked(watcher, mark), what="the last that it may")
        assert sorted(_marked(watcher, mark)) == sorted(may)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_last_will_of_one_is_not_that_of_another(
    version: str, client: Callable[..., Client], operator: Operator, mark: bytes
) -> None:
    with client(WATCHER, "rip/#") as watcher:
        theirs = ("rip/agent/box-b", mark)
        opened = operator.opened(operator.member("box-a"), version, theirs)
        if opened is not None:  # let in, and not believed
            opened.close(disconnect=False)
        agent = client("box-a", version=version, will=(wire.rip_topic("box-a"), mark))
        agent.cut()
        wait_for(lambda: _marked(watcher, mark), what="its own last will")
        assert _marked(watcher, mark) == ["rip/agent/box-a"]


def test_who_calls_itself_as_the_indexer_gets_nothing_of_what_waits_for_it(
    client: Callable[..., Client], operator: Operator, mark: bytes
) -> None:
    """The client id is not checked by Mosquitto: whoever takes it breaks in on a session."""
    events: list[object] = []
    session = Connection(
        parse_broker(operator.broker), INDEXER, post=events.append, version="5",
        credentials=operator.member(INDEXER), clean=False, expiry_s=600,
    )  # fmt: skip
    session.open()
    wait_for(lambda: session.is_open, what="the indexer")
    session.subscribe(["ping/#"])
    wait_for(lambda: len(events) > 1, what="its subscription")
    session.close()
    with client("box-b") as other:
        other.publish("ping/box-b", mark)
        heard: list[object] = []
        thief = Connection(
            parse_broker(operator.broker), INDEXER, post=heard.append, version="5",
            credentials=operator.member("box-a"), clean=False, expiry_s=600,
        )  # fmt: skip
        thief.open()
        wait_for(lambda: thief.is_open, what="the thief")
        thief.subscribe(["look"])
        other.publish("ping/box-b", mark)
        with client(INDEXER, name="another") as indexer:
            indexer.publish("look", mark)
        wait_for(lambda: any(getattr(one, "topic", "") == "look" for one in heard), what="look")
        assert {one.topic for one in heard if hasattr(one, "payload")} == {"look"}
        thief.close()


REFUSED = re.compile("the broker broke TLS off|does not accept our certificate")
NOTICED = {"5": drain.DENIED, "3.1.1": drain.SILENT}
BAD = ("revoked", "expired", "signed by itself", "of another authority", "of a server", "none")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("which", BAD)
def test_a_certificate_that_is_not_good_opens_nothing(
    which: str, version: str, operator: Operator, tmp_path: Path
) -> None:
    good = operator.member("box-c")
    assert operator.lets_in(good, version)
    assert not operator.lets_in(_bad(operator, which, "box-c", tmp_path), version)


# --- the agent itself ---------------------------------------------------------------------------

LIAR = (
    "import sys; from agent import names; from tests import fast_agent\n"
    "names.settle = lambda config: config.name\n"
    "fast_agent.shorten(); sys.exit(fast_agent.cli.main())"
)


class Liar(Box):
    """An agent that does not look at its own certificate, and says that it is somebody else."""

    def start(self, *more: str) -> None:
        command = [sys.executable, "-c", LIAR, "run", *self._words, *more]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=agent_bed.ROOT, env=self._environ
            )


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Operator]:
    """An operator in a network of its own, where agents may probe."""
    with agent_bed.alone(), Operator(tmp_path / "operator") as operator:
        yield operator


@pytest.fixture
def indexer(ours: Operator, tmp_path: Path) -> Iterator[IndexerProcess]:
    more = ("--name", INDEXER, *_flags(ours.member(INDEXER)))
    with IndexerProcess(tmp_path / "indexer", ours.server.port, more=more) as indexer:
        wait_for(lambda: f"as {INDEXER} " in ours.server.log, what="the indexer at the broker")
        yield indexer


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_published_under_anothers_name_is_never_counted_as_delivered(
    version: str, ours: Operator, indexer: IndexerProcess, tmp_path: Path
) -> None:
    words = (ours.broker, "--mqtt", version)
    with Liar(tmp_path / "box", *words, *_flags(ours.member("box-a")), name="box-b") as box:
        box.wait_rows(12)
        wait_for(lambda: NOTICED[version] in _status(box), what="that it notices")
        counts = _numbers(box)
        assert counts["confirmed"] == 0 < counts["waiting"]
        assert indexer.stored("box-a") == indexer.stored("box-b") == []
    kept = agent_bed.identities(box.rows())
    assert len(kept) >= 12

    swarm = ours.swarm_file("box-b")
    with Box(tmp_path / "box", "--swarm", swarm, name="box-b") as honest:
        wait_for(lambda: kept <= _stored(indexer, "box-b"), 60, "what was kept")
        honest.stop()
        assert complete(indexer.stored("box-b")), "nothing was lost, and nothing is there twice"


def test_an_agent_whose_certificate_is_not_good_keeps_everything_and_says_why(
    ours: Operator, indexer: IndexerProcess, tmp_path: Path
) -> None:
    boxes = []
    with contextlib.ExitStack() as running:
        for number, which in enumerate(BAD):
            name = f"box-{number}"
            flags = _flags(_bad(ours, which, name, tmp_path / name))
            box = Box(tmp_path / name, ours.broker, *flags, name=name, fast=50)
            boxes.append(running.enter_context(box))
        for box in boxes:
            box.wait_rows(5)
            wait_for(lambda box=box: REFUSED.search(box.log), what=f"the reason of {box.name}")
        for box in boxes:
            counts = _numbers(box)
            assert counts["published"] == counts["confirmed"] == 0 < counts["waiting"]
            assert indexer.stored(box.name) == []


def test_an_agent_is_not_called_otherwise_than_its_certificate_says(
    ours: Operator, tmp_path: Path
) -> None:
    with Box(tmp_path / "box", ours.broker, *_flags(ours.member("box-a")), name="box-b") as box:
        assert box.ended() == 2
        assert "'box-b' is not the certificate's CN, 'box-a'" in box.log


# --- what they share ----------------------------------------------------------------------------


def _marked(client: Client, mark: bytes) -> list[str]:
    """The topics on which it heard the mark."""
    client.look()
    return [topic for topic, payload, _ in client.messages if payload == mark]


def _bad(operator: Operator, which: str, name: str, folder: Path) -> Credentials:
    if which == "none":
        return Credentials(str(operator.ca_folder / "ca.crt"))
    if which == "expired":
        return operator.signed(operator.authority, name, ended=True)
    if which == "of a server":
        return operator.signed(operator.authority, name, "server")
    if which == "revoked":
        bad = operator.signed(operator.authority, name)
        operator.ca("revoke", name)
        operator.install()
        operator.reload()
        time.sleep(0.3)  # a reload has no answer
        return bad
    folder.mkdir(exist_ok=True)
    if which == "of another authority":
        other = Authority.make(folder / "other", ["localhost"], datetime.now(UTC))
        return operator.signed(other, name)
    now = datetime.now(UTC)
    alone = Signer.new(name, 1, now, now + timedelta(days=1))
    path = folder / "alone.pem"
    path.write_text(pem(alone.certificate) + alone.key_pem)
    return Credentials(str(operator.ca_folder / "ca.crt"), str(path), str(path))


def _flags(credentials: Credentials) -> list[str]:
    found = []
    for name in ("ca", "cert", "key"):
        if getattr(credentials, name):
            found += [f"--{name}", getattr(credentials, name)]
    return found


def _status(box: Box) -> str:
    return box.told("status").stdout


def _numbers(box: Box) -> dict[str, int]:
    """What `swarming-agent journal` counts."""
    lines = [line.split() for line in box.told("journal").stdout.splitlines()]
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}


def _stored(indexer: IndexerProcess, agent: str) -> set[tuple[str, int]]:
    return {(one.epoch, one.seq) for one in indexer.stored(agent)}
