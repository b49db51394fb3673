"""Certificates are replaced while results flow: no result is lost, and none is there twice."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
from pathlib import Path

from agent.connection import Credentials
from tests import agent_bed
from tests.agent_bed import Box, IndexerProcess, identities
from tests.operator_bed import Operator
from tests.servers import wait_for

INDEXER = "indexer-one"


def test_agent_indexer_and_server_get_new_certificates_while_results_flow(tmp_path: Path) -> None:
    with agent_bed.alone(), Operator(tmp_path / "operator") as operator:
        swarm = tmp_path / "agent.swarm"
        shutil.copy(operator.swarm_file("box"), swarm)
        of_indexer = operator.member(INDEXER)
        ca, cert, key = str(of_indexer.ca), str(of_indexer.cert), str(of_indexer.key)
        more = ("--ca", ca, "--cert", cert, "--key", key)
        indexer = IndexerProcess(tmp_path / "indexer", operator.server.port, more=more)
        with indexer, Box(tmp_path / "box", "--swarm", swarm) as box:
            _flows(indexer, box)
            old = [
                _kept(tmp_path / "old-box", ca, str(swarm), str(swarm)),
                _kept(tmp_path / "old-indexer", ca, cert, key),
            ]
            assert all(operator.lets_in(one) for one in old)
            served = _served(operator)

            new = operator.swarm_file("box")
            shutil.copy(new, f"{swarm}.new")
            os.replace(f"{swarm}.new", swarm)
            _revoked(operator, "box")
            _flows(indexer, box)

            operator.ca("issue", INDEXER)
            _revoked(operator, INDEXER)
            _flows(indexer, box)

            operator.ca("issue", "--server", "127.0.0.1", "localhost")
            operator.install()
            operator.reload()
            wait_for(lambda: _served(operator) != served, what="the broker's new certificate")
            _flows(indexer, box)
            operator.restart()  # whoever was let in before the reload meets it now
            _flows(indexer, box)

            assert not any(operator.lets_in(one) for one in old)
            assert box.stop() == 0
            left = identities(box.rows())
        stored = [(one.epoch, one.seq) for one in indexer.stored()]
        assert len(set(stored)) == len(stored)
        assert _without_gap(left | set(stored))


def _flows(indexer: IndexerProcess, box: Box) -> None:
    """Results that are made from now on are stored, and confirmed."""
    made = identities(box.rows()) | {(one.epoch, one.seq) for one in indexer.stored()}
    last = max(made, default=("", 0), key=lambda one: one[1])[1]
    wait_for(
        lambda: max((one.seq for one in indexer.stored()), default=0) > last + 10
        and all(row["seq"] > last for row in box.rows()),
        60,
        f"results after {last}:\n{box.log}\n{indexer.log}",
    )


def _without_gap(made: set[tuple[str, int]]) -> bool:
    """Of each epoch every number from 1 on."""
    epochs = {epoch for epoch, _ in made}
    seqs = {epoch: sorted(seq for of, seq in made if of == epoch) for epoch in epochs}
    return all(found == list(range(1, len(found) + 1)) for found in seqs.values())


def _revoked(operator: Operator, name: str) -> None:
    """The old one, as the command says: the new list is put in place, the broker restarted."""
    operator.ca("revoke", name, "--old")
    operator.install()
    operator.restart()


def _kept(folder: Path, ca: str, cert: str, key: str) -> Credentials:
    """A copy of what is going to be replaced."""
    folder.mkdir()
    return Credentials(ca, shutil.copy(cert, folder / "cert"), shutil.copy(key, folder / "key"))


def _served(operator: Operator) -> bytes:
    """The certificate that the broker shows."""
    context = ssl.create_default_context(cafile=operator.ca_folder / "ca.crt")
    plain = socket.create_connection(("127.0.0.1", operator.server.port), 5)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as shown:
        found = shown.getpeercert(binary_form=True)
    assert found
    return found

