"""The whole agent as its owner meets it: a process, its signals, its commands, its brokers."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import wire
from tests import needs
from tests.agent_bed import Box, about, alone, heard, heard_identities, identities
from tests.indexers import Client
from tests.servers import Server, free_port, wait_for

Start = Callable[..., Server]
ALL = ("ping/+", "ping/+/batch", "agent/+", "rip/#")


@pytest.fixture(autouse=True)
def own_network() -> Iterator[None]:
    with alone():
        yield


def comes_to_rest(box: Box) -> bool:
    """No row was added in a second that holds several slots."""
    before = len(box.rows())
    time.sleep(1)
    return len(box.rows()) == before


def result_count(box: Box) -> int:
    return len(box.rows())


def test_sigterm_flushes_publishes_and_says_goodbye(mosquitto: Start, tmp_path: Path) -> None:
    broker = mosquitto()
    box = Box(tmp_path / "box", broker.port, "--flush", "3600")
    with Client(broker.port, *ALL) as client, box:
        wait_for(lambda: json.loads(box.told("status", "--json").stdout or "{}").get("last"))
        assert box.rows() == [], "nothing is written before its time"
        assert box.stop() == 0
        said, rows = about(client), box.rows()
        assert said["here"] is False
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1)) and rows
        wait_for(lambda: heard_identities(client) == identities(rows), what="what was flushed")
        assert not any(client.payloads("rip/agent/box")), "no will after a goodbye"
    with Client(broker.port, *ALL, name="later") as later:
        wait_for(lambda: about(later), what="the retained goodbye")
        assert about(later)["here"] is False


def test_a_kill_loses_nothing_committed_and_the_broker_tells_of_it(
    mosquitto: Start, tmp_path: Path
) -> None:
    broker = mosquitto()
    with Box(tmp_path / "box", broker.port) as box:
        box.wait_rows(3)
        with Client(broker.port, "rip/#") as witness:
            box.kill()
            wait_for(lambda: any(witness.payloads("rip/agent/box")), what="the last will")
        kept = identities(box.rows())
        with Client(broker.port, *ALL, name="second") as client:
            box.start()
            wait_for(lambda: b"" in client.payloads("rip/agent/box"), what="rip cleared")
            box.wait_rows(len(kept) + 2)
            assert kept <= identities(box.rows()), "unconfirmed rows stay"
            wait_for(lambda: heard_identities(client) - kept, what="results of the second run")
        with Client(broker.port, "rip/#", "agent/+", name="third") as third:
            wait_for(lambda: about(third), what="what the agent says")
            assert not any(third.payloads("rip/agent/box"))


def test_a_box_without_any_broker_keeps_its_duty_and_publishes_later(
    mosquitto: Start, tmp_path: Path
) -> None:
    with Box(tmp_path / "box") as box:
        box.wait_rows(2)
        assert "none reached" in box.told("status").stdout
        assert box.stop() == 0
        kept = identities(box.rows())
        broker = mosquitto()
        with Client(broker.port, *ALL) as client:
            box.start(f"127.0.0.1:{broker.port}")
            wait_for(lambda: kept <= heard_identities(client), what="the rows of the first run")


def test_pause_probes_nothing_survives_a_restart_and_is_told(
    mosquitto: Start, tmp_path: Path
) -> None:
    broker = mosquitto()
    with Client(broker.port, *ALL) as client, Box(tmp_path / "box", broker.port) as box:
        box.wait_rows(1)
        assert box.told("pause").returncode == 0
        wait_for(lambda: about(client).get("paused"), what="the pause, told")
        wait_for(lambda: comes_to_rest(box), what="an end of probing")
        assert box.stop() == 0
        rested = result_count(box)
        box.start()
        wait_for(lambda: about(client).get("paused") and about(client)["here"])
        assert comes_to_rest(box) and result_count(box) == rested
        assert box.told("resume").returncode == 0
        box.wait_rows(rested + 2)
        wait_for(lambda: "paused" not in about(client), what="the end of the pause, told")
        assert box.told("pause").stdout == "paused\n"
        wait_for(lambda: "paused" in box.told("status").stdout, what="the pause, in status")


def test_pause_without_a_running_agent_waits_for_its_start(tmp_path: Path) -> None:
    box = Box(tmp_path / "box")
    said = box.told("pause")
    assert said.returncode == 0
    assert said.stdout.startswith("paused: no agent runs on ")
    assert said.stdout.endswith("it will know at its next start\n")


def test_sighup_reads_the_configuration_file_again(mosquitto: Start, tmp_path: Path) -> None:
    broker = mosquitto()
    config = tmp_path / "agent.toml"
    config.write_text('place = "Paris"\n')
    box = Box(tmp_path / "box", broker.port, "--config", str(config))
    with Client(broker.port, "agent/+") as client, box:
        wait_for(lambda: about(client).get("place") == "Paris", what="the first place")
        config.write_text('place = "Lyon"\nisp = "voila"\n')
        box.signal("HUP")
        wait_for(lambda: about(client).get("place") == "Lyon", what="the second place")
        assert about(client)["isp"] == "voila"
        config.write_text("place = 7\n")
        box.signal("HUP")
        wait_for(lambda: "place: must be text" in box.log, what="the mistake, told")
        assert box.runs and about(client)["place"] == "Lyon"


def test_only_one_agent_has_a_journal(tmp_path: Path) -> None:
    with Box(tmp_path / "box") as first:
        wait_for(lambda: first.journal.exists(), what="the journal")
        wait_for(lambda: first.told("status").returncode == 0, what="the first agent")
        second = Box(tmp_path / "box")
        (tmp_path / "box" / "log").write_text("")
        second.start()
        assert second.ended() == 2
        assert second.log.count("another agent") == 1
        assert "Traceback" not in second.log


def test_lists_of_the_swarm_and_of_one_box(mosquitto: Start, tmp_path: Path) -> None:
    broker = mosquitto()

    def listed(client: Client) -> tuple[str, list[str]]:
        said = about(client).get("list") or {}
        return said.get("from", ""), said.get("targets", [])

    box = Box(tmp_path / "box", broker.port, targets="127.0.0.9")
    with Client(broker.port, *ALL) as client, box:
        wait_for(lambda: listed(client) == ("--targets", ["127.0.0.9"]))
        client.publish("watch", "127.0.0.2 127.0.0.3", retain=True)
        wait_for(lambda: listed(client) == ("watch", ["127.0.0.2", "127.0.0.3"]))
        wait_for(lambda: {r.body["target"] for r in heard(client)} >= {"127.0.0.2", "127.0.0.3"})
        client.publish("watch/box", "127.0.0.4", retain=True)
        wait_for(lambda: listed(client) == ("watch/box", ["127.0.0.4"]))
        client.publish("watch/box", b"", retain=True)
        wait_for(lambda: listed(client)[0] == "watch")
        client.publish("watch", " \n", retain=True)
        wait_for(lambda: listed(client) == ("watch", []))
        client.publish("watch", b"", retain=True)
        client.publish("watch", "127.0.0.5", retain=True)
        wait_for(lambda: listed(client) == ("watch", ["127.0.0.5"]))
        box.stop()
    broker.kill()
    with box:
        wait_for(lambda: "1 targets from watch" in box.told("status").stdout, what="the last list")


def test_refused_targets_are_told_with_the_reason(mosquitto: Start, tmp_path: Path) -> None:
    broker = mosquitto()
    box = Box(tmp_path / "box", broker.port, "--deny", "127.0.0.66/32", targets=None)
    with Client(broker.port, *ALL) as client, box:
        text = "-x ftp://a 10.0.0.1 127.0.0.66 224.0.0.1 inside.example 127.0.0.1"
        client.publish("watch", text, retain=True)
        wait_for(lambda: len(about(client).get("refused", [])) >= 5, what="the refusals")
        reasons = {refused["target"]: refused["reason"] for refused in about(client)["refused"]}
        assert set(reasons) == {"-x", "ftp://a", "10.0.0.1", "127.0.0.66", "224.0.0.1"}
        assert "private" in reasons["10.0.0.1"] and "denied" in reasons["127.0.0.66"]
        assert "http" in reasons["ftp://a"]
        assert set(about(client)["list"]["targets"]) == {"inside.example", "127.0.0.1"}
        wait_for(lambda: any(r.body["target"] == "127.0.0.1" for r in heard(client)))
        lost = wait_for(lambda: [r for r in heard(client) if r.body["target"] == "inside.example"])
        assert lost[0].body["error"] in wire.ERRORS and lost[0].body["ok"] is False


def test_status_and_journal_tell_while_the_agent_runs(mosquitto: Start, tmp_path: Path) -> None:
    broker = mosquitto()
    with Box(tmp_path / "box", broker.port) as box:
        box.wait_rows(2)
        wait_for(lambda: f"mqtt://127.0.0.1:{broker.port}" in box.told("status").stdout)
        status = box.told("status").stdout.splitlines()
        assert len(status) == 10
        words = "agent broker indexer journal clock link list icmp traffic last"
        assert [line.split()[0] for line in status] == words.split()
        counts = dict(line.split(None, 1) for line in box.told("journal").stdout.splitlines())
        assert int(counts["waiting"]) >= 2 and counts["confirmed"] == "0"
        rows = [json.loads(line) for line in box.told("journal", "--export").stdout.splitlines()]
        assert [row["seq"] for row in rows[:2]] == [1, 2]
        assert rows[0]["time"].startswith("20") and rows[0]["published"] in (True, False)
        assert box.runs


def test_of_two_agents_of_one_name_one_gives_way_and_says_so(
    mosquitto: Start, tmp_path: Path
) -> None:
    """Which of them, and whether the other has seen enough by then, is chance."""
    broker = mosquitto()
    with (
        Box(tmp_path / "one", broker.port, fast=20) as one,
        Box(tmp_path / "two", broker.port, fast=20) as two,
    ):
        wait_for(lambda: any("another name" in box.log for box in (one, two)), 60, "the complaint")
        for box in (one, two):
            box.wait_rows(1)


def test_a_full_disk_costs_nothing(mosquitto: Start, tmp_path: Path) -> None:
    """The journal goes on in memory, says so, and moves back when there is room again."""
    broker, folder = mosquitto(), tmp_path / "small"
    with small_disk(folder), Client(broker.port, *ALL) as client, Box(folder, broker.port) as box:
        box.wait_rows(2)
        fill(folder)
        wait_for(lambda: journal(client).get("in") == "memory", what="memory, told")
        before = len(heard(client))
        wait_for(lambda: len(heard(client)) >= before + 5, what="results from memory")
        (folder / "filler").unlink()
        wait_for(lambda: journal(client).get("in") == "file", what="the way back")
        box.wait_rows(before + 5)
        assert box.stop() == 0
        assert [row["seq"] for row in box.rows()] == list(range(1, len(box.rows()) + 1))


def test_a_disk_that_is_full_at_the_start_costs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "full"
    with small_disk(folder):
        fill(folder)
        with Box(folder) as box:

            def waiting(where: str) -> int:
                told = json.loads(box.told("status", "--json").stdout or "{}")
                said = told.get("about", {}).get("journal", {})
                return int(said["waiting"]) if said.get("in") == where else 0

            kept = wait_for(lambda: waiting("memory") >= 5 and waiting("memory"), what="results")
            (folder / "filler").unlink()
            wait_for(lambda: waiting("file") >= kept, what="the way back, with all of them")


def journal(client: Client) -> dict[str, object]:
    return dict(about(client).get("journal") or {})


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    needs.root()
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "swarming-test", str(folder)], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    with open(folder / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_name_alone_is_enough_where_the_folder_does_not_exist(tmp_path: Path) -> None:
    box = Box(tmp_path / "box")
    box.journal = tmp_path / "new" / "folder" / "journal.db"
    box._words[box._words.index("--journal") + 1] = str(box.journal)
    with box:
        box.wait_rows(1)


def test_a_broker_that_listens_late_is_found(mosquitto: Start, tmp_path: Path) -> None:
    with Box(tmp_path / "box", free_port()) as box:
        box.wait_rows(1)
        wait_for(lambda: "nobody listens there" in box.log, what="why there is no broker")
