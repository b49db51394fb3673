"""From an operator's word to a box's results in the store, by the real commands and broker."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from agent.membership import join_command
from indexer import cli as indexer_cli
from indexer.ca.invites import Invites
from tests.agent_bed import Box, IndexerProcess, alone
from tests.operator_bed import Operator
from tests.servers import accepts, free_port, wait_for

# What a box says of itself, and the word under which `join` told its owner so.
TOLD = {
    "name": ("agent",),
    "place": ("place",),
    "ISP": ("isp",),
    "link": ("link",),
    "neighbours": ("access_group",),
    "brokers": ("brokers",),
    "box": (
        *("v", "version", "here", "epoch", "since", "flush_s", "journal", "clock", "list"),
        *("refused", "icmp", "traffic", "silence", "certificate"),
    ),
}


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    with alone(), Operator(tmp_path / "operator") as operator:
        yield operator


def indexer(operator: Operator, folder: Path, *more: str) -> IndexerProcess:
    """With a certificate of its own."""
    own = operator.member("indexer-one")
    assert own.ca and own.cert and own.key
    files = ("--ca", own.ca, "--cert", own.cert, "--key", own.key)
    return IndexerProcess(folder, more=(operator.broker, *files, *more))


def of_itself(box: Box) -> dict[str, Any] | None:
    """What the agent says, once it knows the time."""
    told = box.told("status", "--json")
    about = json.loads(told.stdout)["about"] if told.returncode == 0 else {}
    return about if "days_left" in about.get("certificate", {}) else None


class Page:
    """The indexer's page over TLS, as `ca init` has prepared it, and invitations to it."""

    def __init__(self, operator: Operator, folder: Path) -> None:
        self.operator = operator
        self.url = f"https://127.0.0.1:{(port := free_port())}"
        out = operator.ca_folder / "out"
        more = ["--page-cert", str(out / "server.crt"), "--page-key", str(out / "server.key")]
        more += ["--listen", f"127.0.0.1:{port}"]
        self.server = indexer(operator, folder, *more, "--ca-folder", str(operator.ca_folder))
        self._port = port

    def wait(self) -> None:
        wait_for(lambda: accepts(self._port), 30, "the page")

    def invite(self, name: str, *more: str) -> list[str]:
        """The words of the line that the operator passes on."""
        printed = io.StringIO()
        words = ["invite", name, "--url", self.url, "--ca-folder", str(self.operator.ca_folder)]
        with contextlib.redirect_stdout(printed):
            assert indexer_cli.main([*words, *more]) == 0
        program, *line = shlex.split(printed.getvalue().splitlines()[0])
        assert program == "swarming-agent"
        return line


@pytest.fixture
def page(operator: Operator, tmp_path: Path) -> Iterator[Page]:
    page = Page(operator, tmp_path / "indexer")
    with page.server:
        page.wait()
        yield page


def test_one_line_from_the_operator_and_the_boxs_results_are_in_the_store(
    page: Page, tmp_path: Path
) -> None:
    swarm = str(tmp_path / "etc" / "agent.swarm")
    line = page.invite("box-1")
    assert cli.main([*line, "--swarm", swarm, "--yes"]) == 0
    with Box(tmp_path / "box", "--swarm", swarm, name="box-1"):
        wait_for(lambda: page.server.stored("box-1"), 60, "results in the store")
    assert cli.main([*line, "--swarm", str(tmp_path / "thief"), "--yes"]) == 1
    assert not (tmp_path / "thief").exists()


def test_an_operator_may_want_to_look_first(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    swarm = tmp_path / "agent.swarm"
    invites = Invites(page.operator.authority)
    line = page.invite("box-1", "--approve")
    shown: list[str] = []

    def approve(_: float) -> None:
        (waiting,) = invites.waiting(int(time.time()))
        assert waiting.asked is not None and waiting.asked.place == "Paris"
        shown.append(waiting.asked.key)
        invites.answer(waiting.id, int(time.time()), approved=True)

    monkeypatch.setattr(join_command, "pause", approve)
    assert cli.main([*line, "--swarm", str(swarm), "--place", "Paris", "--yes"]) == 0
    printed = capsys.readouterr().out
    assert "An operator must approve" in printed
    assert shown[0] in printed.replace(" ", ""), "the box says which key the page shows"
    assert swarm.exists() and not swarm.with_name("agent.swarm.joining").exists()


def test_a_file_from_the_operator_is_all_that_a_box_needs(
    operator: Operator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swarm = str(tmp_path / "etc" / "agent.swarm")
    file = str(operator.swarm_file("box-1"))
    assert cli.main(["join", file, "--swarm", swarm, "--place", "Paris", "--yes"]) == 0
    printed = capsys.readouterr().out
    with (
        indexer(operator, tmp_path / "indexer") as server,
        Box(tmp_path / "box", "--swarm", swarm, name="box-1") as box,
    ):
        wait_for(lambda: server.stored("box-1"), 60, "results in the store")
        about = wait_for(lambda: of_itself(box), 30, "the agent to trust its clock")
        again = ["join", file, "--swarm", swarm, "--journal", str(box.journal), "--yes"]
        assert cli.main([*again, "--place", "Lyon"]) == 0
        assert "The agent that runs takes it" in capsys.readouterr().out
        wait_for(lambda: (of_itself(box) or {}).get("place") == "Lyon", 30, "its new place")
    assert (about["agent"], about["place"]) == ("box-1", "Paris")
    assert about["brokers"] == [operator.broker]
    assert about["certificate"]["days_left"] > 700
    words = {field: word for word, fields in TOLD.items() for field in fields}
    for field in about:
        assert f"  {words[field]} " in printed, f"{field} is shared, and join does not say so"
