"""The ladder: gateway and first hop, pinged in turn; and how the first hop is found."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agent import icmp_socket, ladder
from agent.probe_icmp import Pinger
from tests import needs, netlab
from tests.netlab import Lab, Street

GATEWAY, PROVIDER, BEYOND = "10.1.0.1", "10.2.0.1", "192.0.2.1"


class FakePinger(Pinger):
    """Answers from a map of the hops, and remembers what was asked of it and when."""

    def __init__(self, hops: dict[int, str | None], silent: frozenset[str] = frozenset()) -> None:
        super().__init__({4: "dgram", 6: "raw"}, {})
        self.hops, self.silent = hops, silent
        self.asked: list[tuple[str, int]] = []
        self.at_s: list[float] = []

    def who_answers(
        self,
        ip: str,
        family: int,
        ttl: int,
        timeout_s: float = 2.0,
        stop: threading.Event | None = None,
    ) -> tuple[str, str | None] | None:
        self.asked.append((ip, ttl))
        self.at_s.append(time.monotonic())
        router = self.hops.get(ttl)
        return router and (router, None if router == ip else "ttl_exceeded") or None

    def ping(self, ip: str, family: int, count: int = 10, *_: Any, **__: Any) -> dict[str, Any]:
        came = ip not in self.silent
        rtts: list[float | None] = [1.0 if came else None] * count
        error = None if came else "timeout"
        received = count if came else 0
        return {"ok": came, "error": error, "sent": count, "received": received, "rtts_ms": rtts}


def found(hops: dict[int, str | None], gateway: str | None = GATEWAY) -> str | None:
    return ladder.first_hop(FakePinger(hops), gateway, BEYOND, interval_s=0.0)


def test_the_first_hop_is_the_router_behind_the_gateway() -> None:
    assert found({1: GATEWAY, 2: PROVIDER, 3: "10.3.0.1"}) == PROVIDER


def test_a_gateway_that_does_not_tell_itself_is_still_skipped() -> None:
    assert found({2: PROVIDER}) == PROVIDER


def test_a_gateway_under_another_name_is_not_the_first_hop() -> None:
    assert found({1: "203.0.113.9", 2: PROVIDER}) == PROVIDER
    assert found({1: "203.0.113.9", 2: "203.0.113.9", 3: PROVIDER}) == PROVIDER
    assert found({1: GATEWAY, 2: GATEWAY, 3: PROVIDER}) == PROVIDER


def test_a_silent_provider_is_stepped_over_up_to_four_hops() -> None:
    assert found({1: GATEWAY, 4: "10.4.0.1"}) == "10.4.0.1"
    assert found({1: GATEWAY, 5: "10.5.0.1"}) is None


def test_without_a_gateway_the_first_router_is_the_first_hop() -> None:
    assert found({1: PROVIDER}, gateway=None) == PROVIDER


def test_a_target_with_nothing_between_tells_no_first_hop() -> None:
    assert found({1: GATEWAY, 2: BEYOND, 3: BEYOND}) is None
    assert found({1: BEYOND}) is None


def test_the_search_for_the_first_hop_sends_at_most_one_echo_in_an_interval() -> None:
    pinger = FakePinger({})
    assert ladder.first_hop(pinger, GATEWAY, interval_s=0.02) is None
    assert [ttl for _, ttl in pinger.asked] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert {ip for ip, _ in pinger.asked} == {ladder.TOWARD[4]}
    gaps = [later - earlier for earlier, later in zip(pinger.at_s, pinger.at_s[1:], strict=False)]
    assert min(gaps) >= 0.02


def test_the_search_goes_toward_the_gateways_own_family() -> None:
    pinger = FakePinger({1: "fe80::1", 2: "2001:db8:1::1"})
    assert ladder.first_hop(pinger, "fe80::1%eth0", interval_s=0.0) == "2001:db8:1::1"
    assert pinger.asked[0][0] == ladder.TOWARD[6]


def test_a_stopped_search_knows_nothing() -> None:
    stop = threading.Event()
    stop.set()
    pinger = FakePinger({1: GATEWAY, 2: PROVIDER})
    assert ladder.first_hop(pinger, GATEWAY, interval_s=60.0, stop=stop) is None


def test_a_ladder_has_both_rungs() -> None:
    body = ladder.probe(FakePinger({}), GATEWAY, PROVIDER, interval_s=0.0)
    rung = {"sent": 5, "received": 5, "rtts_ms": [1.0] * 5}
    assert body == {
        "family": 4,
        "method": "dgram",
        "ok": True,
        "error": None,
        "gateway": rung,
        "first_hop": rung,
    }


@pytest.mark.parametrize(
    ("gateway", "first_hop", "silent", "ok", "error"),
    [
        (GATEWAY, None, "", True, None),
        (None, PROVIDER, "", True, None),
        (GATEWAY, PROVIDER, GATEWAY, True, None),
        (GATEWAY, PROVIDER, PROVIDER, True, None),
        (GATEWAY, None, GATEWAY, False, "timeout"),
        (None, None, "", False, "no_gateway"),
    ],
)
def test_a_rung_may_be_missing_or_silent(
    gateway: str | None, first_hop: str | None, silent: str, ok: bool, error: str | None
) -> None:
    pinger = FakePinger({}, frozenset([silent]))
    body = ladder.probe(pinger, gateway, first_hop, interval_s=0.0)
    assert (body["ok"], body["error"]) == (ok, error)
    assert (body["gateway"] is None, body["first_hop"] is None) == (
        gateway is None,
        first_hop is None,
    )


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    needs.namespaces()
    needs.tool("ip")
    with Lab() as lab:
        made = lab.street()
        made.box.allow_pings()
        yield made


@pytest.mark.parametrize("method", ["dgram", "raw"])
@pytest.mark.parametrize("family", [4, 6])
def test_the_first_hop_of_a_real_street_is_found(street: Street, method: str, family: int) -> None:
    gateway, provider, service = (
        ip if family == 4 else netlab.inet6(ip)
        for ip in (netlab.GATEWAY, netlab.PROVIDER, netlab.SERVICE)
    )
    pinger = Pinger({4: method, 6: method}, {})
    answer = street.box.call(
        ladder.first_hop, pinger, gateway, service, interval_s=0.02, timeout_s=10.0
    )
    assert answer == provider


def test_a_real_ladder_gives_each_rung_every_second_echo(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[float, str]] = []
    real_send = icmp_socket.send

    def send(sock: Any, packet: bytes, address: Any) -> Any:
        sent.append((time.monotonic(), address[0]))
        return real_send(sock, packet, address)

    monkeypatch.setattr(icmp_socket, "send", send)
    pinger = Pinger({4: "dgram", 6: "dgram"}, {})
    body = street.box.call(
        ladder.probe, pinger, netlab.GATEWAY, netlab.PROVIDER, 5, 0.05, timeout_s=20.0
    )
    assert body["gateway"]["received"] == body["first_hop"]["received"] == 5
    assert all(rtt is not None for rtt in body["gateway"]["rtts_ms"])
    for rung in (netlab.GATEWAY, netlab.PROVIDER):
        times = [at for at, ip in sent if ip == rung]
        assert len(times) == 5
        assert min(b - a for a, b in zip(times, times[1:], strict=False)) >= 0.099


def test_a_bug_on_the_gateways_side_is_not_buried_with_its_thread() -> None:
    class Broken:
        def ping(self, *_: object, **__: object) -> dict[str, object]:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        ladder.probe(Broken(), "10.0.0.1", None)  # type: ignore[arg-type]
