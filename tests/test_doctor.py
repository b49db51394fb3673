"""``doctor`` says what is well, what is not and what to do; by trying it, and disturbs nobody."""

from __future__ import annotations

import datetime
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import cli, clock, connection, control
from agent.clock import Facts
from agent.doctor import box as doctor_box
from agent.doctor import broker as doctor_broker
from agent.doctor import words as doctor_words
from agent.doctor.words import Looked, Room
from agent.store import Journal
from agent.store_view import ViewCounts
from tests import needs
from tests.agent_bed import ROOT, Box, about, alone, environ
from tests.certificates import Authority
from tests.indexers import Client
from tests.operator_bed import Operator
from tests.scripted_broker import ScriptedBroker
from tests.servers import Server, free_port, wait_for

Start = Callable[..., Server]
Told = dict[str, dict[str, str]]
ONLINE = json.dumps({"online": True, "time": "2026-11-26T09:30:00.000Z"})


@pytest.fixture(autouse=True)
def in_a_network_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("SWARMING_")]:
        monkeypatch.delenv(name)
    with alone():
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing comes in any case."""
    monkeypatch.setattr(doctor_broker, "ROUND_TRIP_S", 2.0)


def told(capsys: pytest.CaptureFixture[str], *words: object, wrong: bool) -> Told:
    """What doctor found, by what it is about; of several brokers the last."""
    assert cli.main(["doctor", "--json", *map(str, words)]) == int(wrong)
    said = json.loads(capsys.readouterr().out)
    assert said["well"] is not wrong
    return {one["what"]: one for one in said["found"]}


def asleep(folder: Path) -> list[str]:
    """The words for a box whose agent does not run."""
    return ["--journal", str(folder / "journal.db"), "--name", "box", "--link", "ethernet"]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_all_is_well_beside_an_agent_that_is_not_disturbed(
    version: str, tmp_path: Path, mosquitto: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    server = mosquitto("log_type all")
    words = ("--link", "ethernet", "--mqtt", version)
    with (
        Client(server.port, "#") as client,
        Box(tmp_path / "box", server.port, *words) as box,
    ):
        client.publish("watch", "127.0.0.1", retain=True)
        client.publish("indexer/indexer-one", ONLINE, retain=True)
        box.wait_rows(1)
        wait_for(lambda: about(client).get("here"))
        before = len(client.payloads("agent/box")), client.payloads("rip/agent/box")
        found = told(
            capsys, f"127.0.0.1:{server.port}", *asleep(box.folder), *words, wrong=False
        )
        assert f"MQTT {version}" in found["broker"]["said"]
        assert "arrives" in found["rights"]["said"] and "watch was read" in found["rights"]["said"]
        assert found["indexer"]["said"] == "indexer-one online"
        assert found["name"]["said"] == "box is this box"
        assert found["agent"]["said"] == f"box runs, process {box.pid}"
        assert found["icmp"]["said"] == "pings by unprivileged sockets"
        for what in ("version", "resolver", "link", "budget", "journal"):
            assert found[what]["state"] == "ok", found[what]
        assert box.log.count("connected to") == 1, "its connection was not taken over"
        assert client.payloads("rip/agent/box") == before[1], "no will"
        checks = client.payloads("ping/box/check")
        assert len(checks) == 1
    with Client(server.port, "ping/#") as later:
        later.publish("ping/end", "")
        wait_for(lambda: later.look() or later.messages)
        assert [topic for topic, _, _ in later.messages] == ["ping/end"], "nothing is retained"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_broker_that_swallows_what_is_published_is_found_out(
    version: str, tmp_path: Path, mosquitto: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """On 3.1.1 Mosquitto acknowledges what its access list forbids."""
    (tmp_path / "acl").write_text("topic read #\n")
    server = mosquitto(f"acl_file {tmp_path / 'acl'}")
    address = f"127.0.0.1:{server.port}"
    found = told(capsys, address, *asleep(tmp_path), "--mqtt", version, wrong=True)
    assert found["broker"]["state"] == "ok"
    assert found["rights"]["state"] == "bad"
    told_why = version == "5" and connection.WITH_PAHO_2
    how = "it refuses" if told_why else "it acknowledges, and drops,"
    assert found["rights"]["said"].startswith(how)
    assert "must let box write ping/box and ping/box/#" in found["rights"]["advice"]


@pytest.mark.usefixtures("impatient")
def test_who_may_not_read_its_own_check_proves_nothing(
    tmp_path: Path, mosquitto: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "acl").write_text("topic write #\n")
    server = mosquitto(f"acl_file {tmp_path / 'acl'}")
    found = told(capsys, f"127.0.0.1:{server.port}", *asleep(tmp_path), wrong=True)
    assert found["rights"]["state"] == "bad"


@pytest.mark.usefixtures("impatient")
def test_a_broker_that_lets_us_in_and_then_answers_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedBroker() as broker:
        thread = threading.Thread(target=broker.welcome)
        thread.start()
        found = told(capsys, f"127.0.0.1:{broker.port}", *asleep(tmp_path), wrong=True)
        thread.join()
    assert "does not even acknowledge" in found["rights"]["said"]


def test_a_broker_that_knows_no_mqtt_5_is_spoken_to_in_3_1_1(
    tmp_path: Path,
    amqtt: Start,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor_broker, "CONNECT_WITHIN_S", 6.0)
    found = told(capsys, f"127.0.0.1:{amqtt().port}", *asleep(tmp_path), wrong=False)
    assert "MQTT 3.1.1" in found["broker"]["said"] and found["rights"]["state"] == "ok"


class Tls:
    """A broker with TLS that wants a certificate of its own authority."""

    def __init__(self, folder: Path, mosquitto: Start) -> None:
        self.authority = Authority(folder / "authority")
        self.other = Authority(folder / "other", "another authority")
        self.box = self.authority.issue("box")
        self._mosquitto = mosquitto

    def start(self, pair: Any = None, *lines: str) -> Server:
        served = pair or self.authority.issue("broker", ("127.0.0.1",))
        return self._mosquitto(
            f"cafile {self.authority.ca}",
            f"certfile {served.cert}",
            f"keyfile {served.key}",
            "require_certificate true",
            "use_identity_as_username true",
            *lines,
        )

    def words(self, server: Server, ca: str | None = None, pair: Any = None) -> list[str]:
        own = pair or self.box
        words = [f"mqtts://127.0.0.1:{server.port}", "--ca", ca or self.authority.ca]
        return words if pair is False else [*words, "--cert", own.cert, "--key", own.key]


@pytest.fixture
def tls(tmp_path: Path, mosquitto: Start) -> Tls:
    return Tls(tmp_path, mosquitto)


def past(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is issued from here on ended an hour ago."""

    class Earlier(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Earlier:  # type: ignore[override]
            return super().now(tz) - datetime.timedelta(hours=3)  # type: ignore[return-value]

    monkeypatch.setattr(datetime, "datetime", Earlier)


def test_with_mutual_tls_all_is_well(
    tls: Tls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, *tls.words(tls.start()), *asleep(tmp_path), wrong=False)
    assert f"lets us in, TLS, MQTT {connection.NEWEST}" in found["broker"]["said"]
    assert found["certificate"]["said"].startswith("the certificate ends on"), "within the hour"
    assert found["name"]["said"] == "box is free there"


def test_with_the_brokers_configuration_that_we_ship_all_is_well_until_the_box_is_revoked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Operator(tmp_path / "operator") as operator:
        words = ["--swarm", operator.swarm_file("box-1"), *asleep(tmp_path)[:2], "--link", "lte"]
        capsys.readouterr()
        found = told(capsys, *words, wrong=False)
        assert operator.broker in found["broker"]["said"] and found["rights"]["state"] == "ok"
        assert found["certificate"]["said"].startswith("for box-1, ends on ")
        operator.ca("revoke", "box-1")
        operator.install()
        operator.reload()
        capsys.readouterr()
        wait_for(lambda: cli.main(["doctor", *map(str, words)]) == 1)
        assert "was revoked: ask your operator why" in capsys.readouterr().out


def test_a_broker_of_another_authority(
    tls: Tls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tls.words(tls.start(), ca=tls.other.ca)
    found = told(capsys, *words, *asleep(tmp_path), wrong=True)["broker"]
    assert "certificate is not good" in found["said"] and "authority is not ours" in found["advice"]


def test_a_brokers_certificate_that_has_expired(
    tls: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as earlier:
        past(earlier)
        old = tls.authority.issue("old-broker", ("127.0.0.1",))
    found = told(capsys, *tls.words(tls.start(old)), *asleep(tmp_path), wrong=True)["broker"]
    assert "has expired" in found["said"] and "its operator must renew it" in found["advice"]


def test_a_brokers_certificate_for_another_host(
    tls: Tls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = tls.start(tls.authority.issue("elsewhere", ("elsewhere.example",)))
    found = told(capsys, *tls.words(server), *asleep(tmp_path), wrong=True)["broker"]
    assert "call the broker by the name that its certificate has" in found["advice"]


def test_an_own_certificate_that_has_expired(
    tls: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as earlier:
        past(earlier)
        old = tls.authority.issue("box")
    found = told(capsys, *tls.words(tls.start(), pair=old), *asleep(tmp_path), wrong=True)
    assert found["certificate"]["state"] == "bad" and "has ended on" in found["certificate"]["said"]
    assert "invite this box again" in found["broker"]["advice"]


def test_an_own_certificate_of_another_authority(
    tls: Tls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tls.words(tls.start(), pair=tls.other.issue("box"))
    found = told(capsys, *words, *asleep(tmp_path), wrong=True)["broker"]
    assert "invite this box again" in found["advice"], found


def test_an_own_certificate_that_was_revoked(
    tls: Tls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = tls.start(None, f"crlfile {revoked(tls.authority, tls.box.cert, tmp_path)}")
    found = told(capsys, *tls.words(server), *asleep(tmp_path), wrong=True)["broker"]
    assert "was revoked: ask your operator why" in found["advice"], found


def revoked(authority: Authority, cert: str, folder: Path) -> Path:
    """The authority's list, with this certificate on it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    now = datetime.datetime.now(datetime.UTC)
    issued = x509.load_pem_x509_certificate(Path(cert).read_bytes())
    gone = x509.RevokedCertificateBuilder().serial_number(issued.serial_number)
    made = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issued.issuer)
        .last_update(now - datetime.timedelta(minutes=1))
        .next_update(now + datetime.timedelta(hours=1))
        .add_revoked_certificate(gone.revocation_date(now).build())
        .sign(authority._key, hashes.SHA256())
    )
    path = folder / "crl.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_wrong_clock_holds_no_date_against_the_broker_as_the_agent_does(
    tls: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as earlier:
        past(earlier)
        old = tls.authority.issue("old-broker", ("127.0.0.1",))
    monkeypatch.setattr(clock, "ask", lambda: Facts("ntpd", False, None, False))
    found = told(capsys, *tls.words(tls.start(old)), *asleep(tmp_path), wrong=True)
    assert found["clock"]["state"] == "bad" and "it is not set" in found["clock"]["said"]
    assert found["broker"]["state"] == "warn" and found["broker"]["advice"] == "see clock"
    assert found["rights"]["state"] == "ok"
    assert found["certificate"]["state"] == "unknown"


def test_no_certificate_where_one_is_wanted(
    tls: Tls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tls.words(tls.start(), pair=False)
    found = told(capsys, *words, *asleep(tmp_path), wrong=True)["broker"]
    assert "wants to see a certificate: join" in found["advice"], found


def test_tls_to_a_broker_that_speaks_none(
    tls: Tls, mosquitto: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, *tls.words(mosquitto()), *asleep(tmp_path), wrong=True)["broker"]
    assert "does not speak TLS" in found["advice"] or "with TLS?" in found["advice"], found


def test_no_broker_there_and_none_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, f"127.0.0.1:{free_port()}", *asleep(tmp_path), wrong=True)
    assert "nobody listens there" in found["broker"]["said"]
    assert "does the broker run?" in found["broker"]["advice"]
    assert "none runs on" in found["agent"]["said"]
    found = told(capsys, *asleep(tmp_path), wrong=True)
    assert "none is named" in found["broker"]["said"] and "join" in found["broker"]["advice"]


def test_without_a_network_it_ends_and_says_what_hangs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_broker, "CONNECT_WITHIN_S", 1.0)
    words = asleep(tmp_path)[:4]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        found = told(capsys, address, "192.0.2.1", "broker.example", *words, wrong=True)
        assert found["resolver"]["state"] == "bad" and "broker.example" in found["resolver"]["said"]
        assert found["link"]["said"] == "there is no way out of here"
        cli.main(["doctor", address, "192.0.2.1", *words])
    lines = [line for line in capsys.readouterr().out.splitlines() if " broker " in line]
    assert "no answer in time" in lines[0] and "-> " in lines[0]
    assert "unreachable" in lines[1] and "is the network up" in lines[1]


def test_ctrl_c_ends_it_at_once_and_without_a_trace(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        words = [f"127.0.0.1:{silent.getsockname()[1]}", *asleep(tmp_path)]
        command = [sys.executable, "-m", "agent.cli", "doctor", *words]
        process = subprocess.Popen(
            command, stdout=-1, stderr=-1, text=True, cwd=ROOT, env=environ(1)
        )
        silent.accept()[0].detach()  # for ever without a word
        assert process.stdout is not None
        while not process.stdout.readline().startswith("ok   journal"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=5)
        assert process.returncode == 130 and "Traceback" not in err


def test_a_name_that_somebody_else_bears(
    tmp_path: Path, mosquitto: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    server = mosquitto()
    with Client(server.port) as client:
        facts = {"v": 1, "agent": "box", "here": True, "epoch": "f" * 16}
        client.publish("agent/box", json.dumps(facts), retain=True)
    address = f"127.0.0.1:{server.port}"
    found = told(capsys, address, *asleep(tmp_path), wrong=False)["name"]
    assert found["state"] == "warn" and "an agent named box is there" in found["said"]
    client = Client(server.port)
    journal = Journal(str(tmp_path / "journal.db"), "box")
    journal.follow(clock.Reading("b", 0, 1_790_000_000_000_000_000, "ntp", 0))
    epoch, _ = journal.add({"kind": "icmp"}, 0)
    journal.flush(0)
    journal.close()
    with client:
        client.publish("agent/box", json.dumps(facts | {"epoch": epoch}), retain=True)
    found = told(capsys, address, *asleep(tmp_path), wrong=False)["name"]
    assert found["said"] == "box is this box", "before a power cut"


def test_a_disk_that_is_full_and_one_that_is_read_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real small disk, mounted where nobody else sees it."""
    needs.namespaces()
    command = [sys.executable, "-m", "agent.cli", "doctor", "--json", "--name", "box"]
    command += ["--journal", f"{tmp_path}/journal.db"]
    mount = f"mount -t tmpfs -o size=64k tmpfs {tmp_path}"
    fill = f"head -c 60000 /dev/zero > {tmp_path}/full"

    def journal(*steps: str) -> dict[str, str]:
        script = "\n".join([mount, *steps, 'exec "$@"'])
        asked = ["unshare", "-m", "sh", "-c", script, "sh", *command]
        said = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT, env=environ(1))
        assert said.returncode == 1, said.stderr
        found = json.loads(said.stdout)["found"]
        return next(one for one in found if one["what"] == "journal")

    full = journal(fill)
    assert full["state"] == "bad" and "No space left on device" in full["said"]
    assert "make room" in full["advice"]
    assert "Read-only file system" in journal(f"mount -o remount,ro {tmp_path}")["said"]


def test_who_may_not_ping_at_all_is_told_what_root_can_do(tmp_path: Path) -> None:
    """No range of groups, no CAP_NET_RAW: then the system's ping may not either."""
    needs.root()
    with alone() as namespace:
        namespace.allow_pings("1 0")
        bare = [needs.tool("setpriv"), "--bounding-set", "-net_raw", "--inh-caps", "-net_raw"]
        asked = [*bare, sys.executable, "-m", "agent.cli", "doctor", *asleep(tmp_path)]
        said = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT, env=environ(1))
    line = next(line for line in said.stdout.splitlines() if " icmp " in line)
    assert line.startswith("BAD ") and "may not ping" in line and "ping_group_range" in line
    assert said.returncode == 1


def test_what_the_owner_wished_explains_the_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = control.path_beside(str(tmp_path / "journal.db"))
    control.write(path, control.Control(paused=True))
    assert "paused" in told(capsys, *asleep(tmp_path), wrong=True)["agent"]["said"]
    control.write(path, control.Control(left=True, gone=True))
    found = told(capsys, *asleep(tmp_path), wrong=True)["agent"]
    assert "left its swarm" in found["said"] and "resume" not in found["advice"]


def test_doctor_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "--journal", tmp_path / "new" / "journal.db", wrong=True)
    assert os.listdir(tmp_path) == [], "no name, no journal"


def test_bad_input_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--flush", "soon"]) == 2
    assert capsys.readouterr().err.startswith("swarming-agent: flush")


NOW_MS = 1_790_000_000_000
WORDS = [
    (Facts("timedate1", True, None, False), None, "ok", "timedate1 vouches for it"),
    (Facts("chrony", True, NOW_MS - 600_000, False), None, "ok", "heard 10 min ago"),
    (Facts("timedate1", False, None, False), None, "bad", "not set: results wait"),
    (Facts("timedate1", False, None, True), None, "warn", "own clock alone"),
    (clock.NOTHING, None, "unknown", "nobody here can say"),
    (clock.NOTHING, "indexer", "ok", "vouched for (indexer)"),
]


@pytest.mark.parametrize(("facts", "trust", "state", "said"), WORDS)
def test_what_a_clock_is_worth(facts: Facts, trust: str | None, state: str, said: str) -> None:
    found = doctor_words.of_clock(facts, NOW_MS, trust)
    assert found.state == state and said in found.said
    assert bool(found.advice) is (state != "ok")


def test_an_impossible_time_is_told_whoever_vouches() -> None:
    found = doctor_words.of_clock(Facts("timedate1", True, None, False), 0)
    assert found.state == "bad" and "1970-01-01 00:00 UTC, which cannot be" in found.said


def test_a_name_that_does_not_exist_is_worse_for_a_broker_than_for_a_target() -> None:
    looked = [Looked("b.example", 3.0, "unknown_host"), Looked("t.example", 5.0, None)]
    assert doctor_words.of_resolver(looked, ["192.0.2.53"], ["b.example"]).state == "bad"
    assert doctor_words.of_resolver(looked, ["192.0.2.53"], []).state == "warn"
    well = doctor_words.of_resolver(looked[1:], ["192.0.2.53"], [])
    assert well.said == "t.example in 5 ms, by 192.0.2.53"


def test_where_the_hosts_file_answers_no_name_server_gets_the_praise() -> None:
    found = doctor_box.resolver(["localhost"], [])
    assert found.state == "ok" and found.said.endswith("ms, by /etc/hosts")


EMPTY = ViewCounts(0, 0, 0, 0, 0, 0, 1, None, None, 4096)
ROOM = Room("/j", None, 10**9, 10**6, 1000)


def test_a_journal_that_is_nearly_full_or_has_lost_results_says_so() -> None:
    assert doctor_words.of_journal(ROOM, EMPTY, None).state == "ok"
    assert "90% full" in doctor_words.of_journal(ROOM, EMPTY._replace(waiting=900), None).said
    assert "90% full" in doctor_words.of_journal(ROOM, EMPTY._replace(bytes=900_000), None).said
    assert "7 were lost" in doctor_words.of_journal(ROOM, EMPTY._replace(lost=7), None).said
    assert doctor_words.of_journal(ROOM, EMPTY, "disk is full").state == "bad"


def test_published_with_an_indexer_online_and_nothing_confirmed_is_the_brokers_fault() -> None:
    stuck = EMPTY._replace(waiting=500, published=500)
    found = doctor_words.of_results(stuck, None, True)
    assert found is not None and found.state == "bad" and "nothing confirmed" in found.said
    assert doctor_words.of_results(stuck, None, False) is None
    assert doctor_words.of_results(stuck._replace(confirmed=1), None, True) is None
    assert doctor_words.of_results(None, "denied", False) is not None


def test_a_certificate_without_a_day_is_not_judged() -> None:
    found = doctor_words.of_certificate("box", "box", "2028-01-01", None)
    assert found.state == "unknown" and found.advice == "see clock"
    assert doctor_words.of_certificate("box", "other", "2028-01-01", 500).state == "bad"


def test_dates_that_a_wrong_clock_cannot_judge_are_told_with_the_broker() -> None:
    from agent.dial import Broker
    from agent.doctor import advice as doctor_advice

    seen = doctor_broker.Seen(Broker("b", 8883, True), False, version="5", back_ms=1.0)
    first = next(doctor_advice.of_broker(seen, "box", frozenset(), False))
    assert first.state == "warn" and "not judged" in first.said and first.advice == "see clock"


def test_every_line_has_its_state_first() -> None:
    shown_as = {"ok": "ok   ", "warn": "warn ", "bad": "BAD  ", "unknown": "?    "}
    for state, shown in shown_as.items():
        line = doctor_words.line(doctor_words.Finding("clock", state, "said", "do this"))
        assert line == f"{shown}clock        said -> do this"


