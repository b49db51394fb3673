"""The whole product on one street: probes, link, ladder, TLS, broker, store, confirmation.

    box - gateway - provider - service

The broker, the indexer and what is watched stand at the service's end. The agent knows only its
certificate, its broker and what its owner allows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import wire
from tests import needs, servers
from tests.agent_bed import ROOT, IndexerProcess, environ
from tests.certificates import Authority
from tests.indexers import Client
from tests.netlab import SERVICE, Lab, Street
from tests.servers import free_port, wait_for

# Nobody without a certificate but the operator and the indexer, on the plain listener, reads all.
ACL = """
topic readwrite #
pattern write ping/%u
pattern write ping/%u/#
pattern write agent/%u
pattern write rip/agent/%u
pattern read ack/%u
pattern read agent/%u
pattern read watch/%u
pattern read watch
pattern read indexer/+
pattern read swarm
pattern read look
"""


@pytest.fixture
def street() -> Iterator[Street]:
    needs.namespaces()
    with Lab() as lab:
        street = lab.street()
        street.box.allow_pings()
        street.provider.run("ip", "route", "add", "default", "via", SERVICE)
        yield street


def test_a_box_behind_a_router_over_tls(
    street: Street, authority: Authority, tmp_path: Path
) -> None:
    port, page = free_port(), free_port()
    broker = street.service.call(
        servers.mosquitto, tmp_path / "broker", secured(authority, tmp_path, port)
    )
    served = [sys.executable, "-m", "http.server", str(page), "--bind", SERVICE]
    site = street.service.start(*served, stdout=-3, stderr=-3)
    indexer = IndexerProcess(tmp_path / "indexer", broker.port)
    street.service.call(indexer.start)
    agent = start_agent(street, authority, tmp_path, port)
    try:
        url = f"http://{SERVICE}:{page}/"
        with street.service.call(Client, broker.port) as operator:
            operator.publish("watch", f"{SERVICE} {url} 10.1.0.1", retain=True)

            def kinds() -> dict[str, wire.Result]:
                return {r.body["kind"]: r for r in indexer.stored("calm-otter") if r.body["ok"]}

            said = tmp_path / "agent.log"
            wait_for(lambda: kinds().keys() >= {"icmp", "http", "ladder"}, 90, f"see {said}")
            wait_for(lambda: (kinds()["ladder"].body.get("first_hop") or {}).get("received") == 5)
            check(kinds(), url)
            told = street.box.call(status, tmp_path)
            assert told["broker"] == f"mqtts://{SERVICE}:{port}"
            assert told["about"]["list"]["from"] == "watch"
            assert [refused["target"] for refused in told["about"]["refused"]] == ["10.1.0.1"]
    finally:
        agent.terminate()
        assert agent.wait(30) == 0, (tmp_path / "agent.log").read_text()
        indexer.kill()
        site.kill()
        site.wait()
        broker.kill()


def secured(authority: Authority, folder: Path, port: int) -> tuple[str, ...]:
    """A listener with client certificates towards the world; the plain one is the operator's."""
    server = authority.issue(SERVICE, (SERVICE,))
    (folder / "acl").write_text(ACL)
    return (
        f"listener {port} {SERVICE}",
        f"cafile {authority.ca}",
        f"certfile {server.cert}",
        f"keyfile {server.key}",
        "require_certificate true",
        "use_identity_as_username true",
        f"acl_file {folder / 'acl'}",
    )


def start_agent(
    street: Street, authority: Authority, folder: Path, port: int
) -> subprocess.Popen[str]:
    pair = authority.issue("calm-otter")
    command = [sys.executable, "-m", "tests.fast_agent", f"{SERVICE}:{port}", "--ca", authority.ca]
    command += ["--cert", pair.cert, "--key", pair.key, "--allow-private", "10.3.0.0/16"]
    command += ["--journal", str(folder / "journal.db"), "--place", "Paris", "--link", "wifi"]
    with open(folder / "agent.log", "wb") as log:
        return street.box.start(*command, stdout=log, stderr=log, env=environ(20))


def status(folder: Path) -> dict[str, dict[str, object]]:
    command = [sys.executable, "-m", "agent.cli", "status", "--json"]
    done = subprocess.run(
        [*command, "--journal", str(folder / "journal.db")],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def check(kinds: dict[str, wire.Result], url: str) -> None:
    icmp, http, ladder = (kinds[kind].body for kind in ("icmp", "http", "ladder"))
    assert icmp["ip"] == SERVICE and icmp["sent"] == 10
    assert icmp["link"]["type"] == "wifi" and icmp["link"]["stated"] is True
    assert (http["target"], http["status"]) == (url, 200)
    phases = http["phases_ms"]
    assert phases["tls"] is None and phases["total"] >= phases["ttfb"] > 0
    assert ladder["gateway"]["received"] == 5 and "ip" not in ladder
