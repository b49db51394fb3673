"""One connection, from open to its last event, against real brokers."""

import contextlib
import datetime
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent import connection as mqtt
from agent import mqtt_client
from agent.connection import (
    Acknowledged,
    Broker,
    BrokerError,
    Closed,
    Connection,
    Crashed,
    Credentials,
    Event,
    NotConnected,
    Opened,
    Received,
    Refused,
    Subscribed,
    parse_broker,
)
from tests.certificates import Authority
from tests.events import Events, connect, dial
from tests.scripted_broker import ScriptedBroker
from tests.servers import Server, free_port, wait_for

Start = Callable[..., Server]
VERSIONS = ["5", "3.1.1", "3.1"]
paho_2 = pytest.mark.skipif(not mqtt.WITH_PAHO_2, reason="needs paho-mqtt 2")


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.mark.parametrize(
    ("text", "broker"),
    [
        ("localhost", Broker("localhost", 1883, False)),
        ("example.com:1884", Broker("example.com", 1884, False)),
        ("example.com:8883", Broker("example.com", 8883, True)),
        ("mqtt://example.com:8883", Broker("example.com", 8883, False)),
        ("mqtts://example.com", Broker("example.com", 8883, True)),
        ("mqtts://example.com:443/", Broker("example.com", 443, True)),
        ("MQTT://Example.com", Broker("example.com", 1883, False)),
        ("::1", Broker("::1", 1883, False)),
        ("[::1]:1884", Broker("::1", 1884, False)),
        ("192.0.2.1", Broker("192.0.2.1", 1883, False)),
    ],
)
def test_a_broker_is_named_by_host_port_or_url(text: str, broker: Broker) -> None:
    assert parse_broker(text) == broker
    assert parse_broker(str(broker)) == broker


def test_who_has_a_certificate_means_tls() -> None:
    assert parse_broker("example.com", tls=True) == Broker("example.com", 8883, True)
    assert parse_broker("mqtt://example.com", tls=True) == Broker("example.com", 1883, False)


@pytest.mark.parametrize(
    "text",
    ["", "mqtt://", "http://a", "mqtt://u:p@a", "a:0", "a:65536", "a:b", "mqtt://a/b", "-a", "a b"],
)
def test_what_is_no_broker_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(BrokerError) as raised:
        parse_broker(text)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_message_goes_to_mosquitto_and_comes_back(
    mosquitto: Start, events: Events, version: str
) -> None:
    connection = connect(mosquitto().port, events, version=version)
    connection.subscribe(["ping/+", "watch"])
    assert events.next(Subscribed).topics == ("ping/+", "watch")
    token = connection.publish("ping/box", b"one")
    received = events.next(Received)
    assert (received.topic, received.payload, received.retain) == ("ping/box", b"one", False)
    if not any(isinstance(event, Acknowledged) for event in events.seen):
        events.next(Acknowledged)
    acknowledged = [event for event in events.seen if isinstance(event, Acknowledged)]
    assert [(event.token, event.code) for event in acknowledged] == [(token, 0)]
    assert connection.waiting == 0 and connection.is_open and connection.sock is not None
    connection.close()
    assert connection.sock is None and events.all() == []


@pytest.mark.parametrize("kind", ["amqtt", "nats", "mochi"])
def test_the_other_brokers_speak_3_1_1_with_it(
    request: pytest.FixtureRequest, events: Events, kind: str
) -> None:
    server = request.getfixturevalue(kind)()
    connection = connect(server.port, events, version="3.1.1")
    connection.subscribe(["a"])
    assert events.next(Subscribed).ok
    connection.publish("a", b"1")
    assert events.next(Received).payload == b"1"
    connection.close()


@paho_2
@pytest.mark.parametrize("kind", ["amqtt", "nats"])
def test_a_broker_without_version_5_says_so_or_is_given_up(
    request: pytest.FixtureRequest, events: Events, kind: str
) -> None:
    server = request.getfixturevalue(kind)()
    dial(server.port, events, version="5", will=("rip", b"x"), step_s=2.0)
    refused = events.next(Refused)
    assert refused.code == mqtt.UNSUPPORTED_VERSION or refused.stage in ("closed", "connack")


def test_two_hundred_messages_are_all_acknowledged_once(mosquitto: Start, events: Events) -> None:
    connection = connect(mosquitto().port, events)
    tokens = [connection.publish("a", b"x" * 1000) for _ in range(200)]
    acknowledged = [events.next(Acknowledged).token for _ in tokens]
    assert sorted(acknowledged) == sorted(tokens) and connection.waiting == 0
    connection.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_broker_that_is_killed_closes_the_connection(
    mosquitto: Start, events: Events, version: str
) -> None:
    server = mosquitto()
    connection = connect(server.port, events, version=version)
    server.kill()
    closed = events.next(Closed)
    assert closed.after_s is not None and closed.reason
    assert not connection.is_open
    with pytest.raises(NotConnected):
        connection.publish("a", b"")


def test_nothing_is_published_before_it_is_open_or_after_it_is_closed(
    mosquitto: Start, events: Events
) -> None:
    connection = Connection(Broker("127.0.0.1", 1, False), "box", post=events.post)
    with pytest.raises(NotConnected):
        connection.publish("a", b"")
    with pytest.raises(NotConnected):
        connection.subscribe(["a"])
    opened = connect(mosquitto().port, events)
    opened.close()
    with pytest.raises(NotConnected):
        opened.publish("a", b"")
    opened.close()  # twice does no harm


def test_where_nobody_listens_it_is_refused(events: Events) -> None:
    dial(free_port(), events)
    refused = events.next(Refused)
    assert (refused.stage, refused.reason) == ("connect", "nobody listens there")


def test_a_name_that_does_not_exist_is_refused(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("agent.dial.socket.getaddrinfo", unknown)
    Connection(Broker("no.invalid", 1883, False), "box", post=events.post).open()
    refused = events.next(Refused)
    assert refused.stage == "resolve" and "no.invalid" in refused.reason


def test_an_address_on_an_interface_that_is_gone_is_refused(events: Events) -> None:
    Connection(Broker("fe80::1%gone", 1883, False), "box", post=events.post).open()
    refused = events.next(Refused)
    assert refused.stage == "resolve" and "fe80::1%gone" in refused.reason


def test_the_first_of_a_names_addresses_that_answers_is_taken(
    mosquitto: Start, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = [free_port(), mosquitto().port]

    def two(*_: object, **__: object) -> list[object]:
        kind = socket.SOCK_STREAM
        return [(socket.AF_INET, kind, 0, "", ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr("agent.dial.socket.getaddrinfo", two)
    connection = Connection(Broker("two.example", 1883, False), "box", post=events.post)
    connection.open()
    events.next(Opened)
    connection.close()


def test_the_will_is_told_when_the_client_dies_and_only_then(
    mosquitto: Start, events: Events
) -> None:
    port, others = mosquitto().port, Events()
    watcher = connect(port, others, "watcher")
    watcher.subscribe(["rip/#"])
    others.next(Subscribed)
    will = ("rip/agent/box", b"gone")
    connect(port, events, will=will).close()
    dying = connect(port, events, will=will)
    dying.close(disconnect=False)
    told = others.next(Received)
    assert (told.topic, told.payload) == will
    watcher.publish("rip/end", b"")
    assert others.next(Received).topic == "rip/end"
    watcher.close()
    assert events.all() == []


def test_a_retained_message_says_that_it_is_one(mosquitto: Start, events: Events) -> None:
    port = mosquitto().port
    writer = connect(port, events, "writer")
    writer.publish("watch", b"voila.fr", retain=True)
    events.next(Acknowledged)
    reader = connect(port, events, "reader")
    reader.subscribe(["watch"])
    assert events.next(Received).retain
    writer.publish("watch", b"yahoo.cn", retain=True)
    assert not events.next(Received).retain
    reader.close()
    writer.close()


@paho_2
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_what_is_not_acknowledged_by_hand_comes_again(
    mosquitto: Start, events: Events, version: str
) -> None:
    port = mosquitto().port
    durable = {"version": version, "clean": False, "expiry_s": 3600, "manual_ack": True}
    reader = connect(port, events, "indexer", receive_maximum=100, **durable)
    reader.subscribe(["ping/#"])
    events.next(Subscribed)
    writer = connect(port, Events(), "writer")
    writer.publish("ping/a", b"kept")
    writer.publish("ping/b", b"done")
    messages = {events.next(Received).topic: events.seen[-1] for _ in range(2)}
    done = messages["ping/b"]
    assert isinstance(done, Received)
    reader.acknowledge(done.message)
    # The broker reads in order: once this comes back, it has read the acknowledgement too.
    reader.publish("ping/c", b"mark")
    events.next(Received)
    reader.close()
    reader.acknowledge(done.message)  # too late, and no harm
    again = connect(port, events, "indexer", **durable)
    opened = [event for event in events.seen if isinstance(event, Opened)]
    assert opened[-1].session_present
    assert {events.next(Received).topic for _ in range(2)} == {"ping/a", "ping/c"}
    again.close()
    writer.close()


@pytest.mark.skipif(mqtt.WITH_PAHO_2, reason="about paho-mqtt 1.6")
def test_paho_1_cannot_acknowledge_by_hand(events: Events) -> None:
    with pytest.raises(ValueError, match="paho-mqtt 2"):
        Connection(Broker("a", 1, False), "box", post=events.post, manual_ack=True)


def test_on_3_1_a_long_name_becomes_a_short_client_id(events: Events) -> None:
    def client_id(name: str, version: str) -> str:
        broker = Broker("a", 1, False)
        return Connection(broker, name, post=events.post, version=version).client_id

    long = "x" * 40
    assert client_id(long, "3.1.1") == long
    assert len(client_id(long, "3.1")) == 22 and client_id(long, "3.1").startswith("x" * 14)
    assert client_id(long, "3.1") != client_id(long + "y", "3.1")
    assert client_id("x" * 23, "3.1") == "x" * 23


def test_an_exception_in_a_callback_is_posted_not_swallowed(
    mosquitto: Start, events: Events
) -> None:
    broken = ZeroDivisionError("a bug of ours")

    def post(event: Event) -> None:
        if isinstance(event, Received):
            raise broken
        events.post(event)

    connection = Connection(parse_broker(f"127.0.0.1:{mosquitto().port}"), "box", post=post)
    connection.open()
    events.next(Opened)
    connection.subscribe(["a"])
    connection.publish("a", b"")
    crashed = events.next(Crashed)
    assert crashed.error is broken and crashed.connection is connection


def test_an_exception_while_connecting_is_posted_too(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("agent.connection.dial", broken)
    dial(1, events)
    assert isinstance(events.next(Crashed).error, ZeroDivisionError)


def test_a_thrown_away_connection_leaves_no_thread_behind(mosquitto: Start, events: Events) -> None:
    port = mosquitto().port
    for nth in range(10):
        connect(port, events, f"box{nth}").close()

    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if f":{port}" in thread.name]

    wait_for(lambda: not threads(), what="the connections' threads to end")


@contextlib.contextmanager
def _tls_server(mosquitto: Start, authority: Authority, *lines: str):  # type: ignore[no-untyped-def]
    pair = authority.issue("server", ("127.0.0.1",))
    yield mosquitto(
        f"cafile {authority.ca}", f"certfile {pair.cert}", f"keyfile {pair.key}", *lines
    )


def _secure(server: Server, events: Events, credentials: Credentials) -> Connection:
    broker = Broker("127.0.0.1", server.port, True)
    connection = Connection(broker, "box", post=events.post, credentials=credentials)
    connection.open()
    return connection


MUTUAL = ("require_certificate true", "use_identity_as_username true", "allow_anonymous false")


def test_tls_with_a_client_certificate(
    mosquitto: Start, authority: Authority, events: Events
) -> None:
    with _tls_server(mosquitto, authority, *MUTUAL) as server:
        box = authority.issue("box")
        connection = _secure(server, events, Credentials(authority.ca, box.cert, box.key))
        events.next(Opened)
        connection.subscribe(["a"])
        connection.publish("a", b"x" * 100_000)
        assert events.next(Received).payload == b"x" * 100_000
        connection.close()


def test_without_a_client_certificate_it_says_what_may_be_wrong(
    mosquitto: Start, authority: Authority, events: Events
) -> None:
    with _tls_server(mosquitto, authority, *MUTUAL) as server:
        _secure(server, events, Credentials(authority.ca))
        refused = events.next(Refused)
        # The server's alert is lost where the kernel's RST overtakes it; then we can only guess.
        assert refused.stage in ("tls", "closed") and "certificate" in refused.reason.lower()


def test_a_broker_whose_authority_we_do_not_trust_is_refused(
    mosquitto: Start, authority: Authority, events: Events, tmp_path: Path
) -> None:
    with _tls_server(mosquitto, authority) as server:
        _secure(server, events, Credentials(Authority(tmp_path / "other", "other").ca))
        refused = events.next(Refused)
        assert refused.stage == "tls" and "certificate is not good" in refused.reason


@pytest.mark.parametrize("dates", [True, False])
def test_who_knows_that_the_clock_is_wrong_does_not_judge_certificates_by_it(
    mosquitto: Start,
    tmp_path: Path,
    events: Events,
    monkeypatch: pytest.MonkeyPatch,
    dates: bool,
) -> None:
    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            return super().now(tz) + datetime.timedelta(days=3000)

    monkeypatch.setattr("tests.certificates.datetime.datetime", Later)
    authority = Authority(tmp_path / "later")
    monkeypatch.undo()
    with _tls_server(mosquitto, authority) as server:
        _secure(server, events, Credentials(authority.ca, dates=dates))
        if not dates:
            events.next(Opened).connection.close()
        else:
            assert "not yet valid" in events.next(Refused).reason


def test_a_certificate_for_another_host_is_refused(
    mosquitto: Start, authority: Authority, events: Events
) -> None:
    pair = authority.issue("server", ("broker.example",))
    server = mosquitto(f"cafile {authority.ca}", f"certfile {pair.cert}", f"keyfile {pair.key}")
    _secure(server, events, Credentials(authority.ca))
    assert events.next(Refused).stage == "tls"


def test_tls_towards_a_plain_port_and_plain_towards_a_tls_port_are_refused(
    mosquitto: Start, authority: Authority, events: Events
) -> None:
    _secure(mosquitto(), events, Credentials(authority.ca))
    assert events.next(Refused).stage == "tls"
    with _tls_server(mosquitto, authority) as server:
        dial(server.port, events)
        assert events.next(Refused).stage in ("closed", "connack")


@pytest.mark.parametrize("broken", ["missing", "nonsense"])
def test_certificate_files_that_cannot_be_read_are_refused(
    events: Events, tmp_path: Path, broken: str
) -> None:
    path = tmp_path / "x.pem"
    if broken == "nonsense":
        path.write_text("nonsense")
    broker = Broker("127.0.0.1", free_port(), True)
    Connection(broker, "box", post=events.post, credentials=Credentials(ca=str(path))).open()
    refused = events.next(Refused)
    assert refused.stage == "tls" and "certificate files" in refused.reason


def test_closing_while_it_still_connects_returns_at_once_and_is_the_last_word(
    events: Events,
) -> None:
    with ScriptedBroker() as broker:
        connection = dial(broker.port, events)
        peer = broker.accept()
        peer.read_connect()
        connection.close()
        with pytest.raises(ConnectionError):
            peer.read()
        assert events.all() == []


@given(
    topic=st.text(min_size=1, max_size=300).filter(lambda text: "\0" not in text),
    payload=st.binary(max_size=300),
    retain=st.booleans(),
    mid=st.integers(1, 65535),
    expiry_s=st.none() | st.integers(0, 2**32 - 1),
    note=st.text(max_size=60).filter(lambda text: "\0" not in text),
)
def test_a_plain_publish_is_read_as_paho_reads_it(
    topic: str, payload: bytes, retain: bool, mid: int, expiry_s: int | None, note: str
) -> None:
    properties = Properties(PacketTypes.PUBLISH)
    if expiry_s is not None:
        properties.MessageExpiryInterval = expiry_s
        properties.UserProperty = ("note", note)
    name = topic.encode()
    head = len(name).to_bytes(2, "big") + name + mid.to_bytes(2, "big")
    for version_5, more in ((True, properties.pack()), (False, b"")):
        found = mqtt_client.plain_publish(0x32 | retain, head + more + payload, version_5)
        if len(more) <= 128:
            assert found == (topic, payload, retain, mid, 1)
        else:
            assert found is None
    for command in (0x30, 0x34):
        assert mqtt_client.plain_publish(command, head + payload, False) is None


@given(st.integers(0x30, 0x3F), st.binary(max_size=40), st.booleans())
def test_any_packet_is_plain_or_left_to_paho(command: int, packet: bytes, version_5: bool) -> None:
    found = mqtt_client.plain_publish(command, packet, version_5)
    assert found is None or found.qos == 1
