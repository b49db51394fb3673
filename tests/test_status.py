"""``swarming-agent status``: ten lines from a snapshot, over a socket that leaves no file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent import cli, status, wire
from agent.drain import SILENT
from agent.store import Journal
from tests import needs

FACTS = {
    "about": {
        "agent": "calm-otter-41",
        "version": "0.1.0",
        "journal": {"in": "file", "waiting": 3, "evicted": 0},
        "clock": {"trust": "ntp", "age_s": 60},
        "link": {"type": "lte", "iface": "wwan0", "stated": True},
        "list": {"from": "watch", "targets": ["voila.fr", "yahoo.cn"]},
        "refused": [{"target": "10.0.0.1", "reason": "private"}],
        "icmp": "ping",
        "traffic": {"bytes": 1_500_000, "left_bytes": 400_000_000},
    },
    "broker": "mqtt://localhost:1883",
    "indexer": "online",
    "icmp_advice": "sysctl -w …",
    "last": "icmp voila.fr 21.4 ms",
    "pid": 7,
}


def test_ten_lines_for_a_person() -> None:
    assert status.text(FACTS).splitlines() == [
        "agent    calm-otter-41, version 0.1.0",
        "broker   mqtt://localhost:1883",
        "indexer  online",
        "journal  3 not yet confirmed, 0 evicted",
        "clock    ntp, vouched for 60 s ago",
        "link     lte, wwan0, stated by the owner",
        "list     2 targets from watch, 1 refused",
        "icmp     by the system's ping; to do better: sysctl -w …",
        "traffic  1.5 MB since the start, 400 MB left of the budget",
        "last     icmp voila.fr 21.4 ms",
    ]


def test_an_agent_that_has_just_begun_is_ten_lines_too() -> None:
    said = status.text({})
    assert len(said.splitlines()) == 10
    assert "none reached" in said and "no result yet" in said


def test_a_pause_is_told_in_the_first_line() -> None:
    first = status.text(FACTS | {"about": FACTS["about"] | {"paused": True}}).splitlines()[0]
    assert first.startswith("agent    calm-otter-41") and "paused by its owner" in first


def test_why_no_broker_is_reached_is_told_with_it() -> None:
    facts = FACTS | {"broker": None, "broker_trouble": "mqtt://a:1883: nobody listens there"}
    line = status.text(facts).splitlines()[1]
    assert line == "broker   none reached, mqtt://a:1883: nobody listens there"
    assert status.text(facts | {"broker_trouble": None}).splitlines()[1] == "broker   none reached"


@pytest.mark.parametrize(
    ("method", "said"), [("dgram", "by dgram sockets"), ("raw", "by raw sockets")]
)
def test_where_pinging_works_well_there_is_no_advice(method: str, said: str) -> None:
    about = FACTS["about"] | {"icmp": method}
    lines = status.text(FACTS | {"about": about}).splitlines()
    assert f"icmp     {said}" in lines


def test_a_list_that_nobody_gave_is_none_yet() -> None:
    for listed in ({}, {"from": "--targets", "targets": []}):
        said = status.text(FACTS | {"about": FACTS["about"] | {"list": listed, "refused": []}})
        assert "list     none yet" in said.splitlines()
    emptied = FACTS["about"] | {"list": {"from": "watch", "targets": []}, "refused": []}
    assert "list     0 targets from watch" in status.text(FACTS | {"about": emptied})


def test_a_journal_in_memory_says_why() -> None:
    about = FACTS["about"] | {"journal": {"waiting": 1, "memory": "disk is full"}}
    assert "in memory: disk is full" in status.text(FACTS | {"about": about})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"kind": "icmp", "target": "voila.fr", "rtt_ms": {"avg": 21.44}}, "icmp voila.fr 21.4 ms"),
        ({"kind": "icmp", "target": "x", "error": "timeout"}, "icmp x no reply"),
        ({"kind": "http", "target": "u", "phases_ms": {"total": 90.0}}, "http u 90.0 ms"),
        ({"kind": "http", "target": "u", "error": "unknown_host"}, "http u no such name"),
        ({"kind": "ladder", "target": "ladder", "gateway": None}, "ladder ladder"),
    ],
)
def test_the_last_result_in_a_few_words(body: dict[str, object], said: str) -> None:
    assert status.last_word(body) == said


def test_that_nothing_is_confirmed_is_told_by_status_and_by_journal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "journal.db")
    Journal(path, "box").close()
    server = status.StatusServer(path)
    server.snapshot = wire.encode_json({"about": {"silence": SILENT}})
    try:
        assert cli.main(["journal", path]) == 0
        assert f"silence    {SILENT}" in capsys.readouterr().out
        assert cli.main(["status", "--journal", path]) == 0
        assert SILENT in capsys.readouterr().out
    finally:
        server.close()


def test_whoever_asks_gets_the_newest_snapshot(tmp_path: Path) -> None:
    server = status.StatusServer(str(tmp_path / "journal.db"))
    try:
        server.snapshot = wire.encode_json({"last": "one"})
        assert status.ask(str(tmp_path / "journal.db")) == {"last": "one"}
        server.snapshot = wire.encode_json({"last": "two" * 50_000})
        assert status.ask(str(tmp_path / "journal.db"))["last"] == "two" * 50_000
        assert os.listdir(tmp_path) == [], "no file, no flash"
    finally:
        server.close()


def test_nobody_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(status.StatusError, match="no agent runs on .*--journal FILE"):
        status.ask(str(tmp_path / "journal.db"))


def test_a_second_agent_cannot_answer_in_the_first_ones_place(tmp_path: Path) -> None:
    server = status.StatusServer(str(tmp_path / "journal.db"))
    try:
        with pytest.raises(status.StatusError, match="another agent"):
            status.StatusServer(str(tmp_path / "journal.db"))
    finally:
        server.close()


IMPOSTOR = """
import contextlib, os, socket, sys
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(chr(0) + sys.argv[1])
    listening.listen()
    print(".", flush=True)
    while True:
        with contextlib.suppress(OSError), listening.accept()[0] as client:
            client.sendall(b'{"about": {"agent": "box", "brokers": ["mqtt://203.0.113.6"]}}')
"""


NOBODY, DYNAMIC = 65534, 64624  # as systemd 257 shows a DynamicUser's state, and as it runs


@pytest.mark.parametrize(
    ("owner", "user", "believed"),
    [
        (0, 12345, False),
        (12345, 12345, True),
        (NOBODY, DYNAMIC, True),
        (NOBODY, 12345, False),
        (12345, DYNAMIC, False),
    ],
)
def test_no_other_user_of_the_machine_answers_in_the_agents_place(
    owner: int, user: int, believed: bool, tmp_path: Path
) -> None:
    needs.root()
    os.chown(tmp_path, owner, owner)
    journal = str(tmp_path / "journal.db")
    code = [sys.executable, "-c", IMPOSTOR, status._address(journal)[1:], str(user)]
    impostor = subprocess.Popen(code, stdout=subprocess.PIPE)
    try:
        assert impostor.stdout is not None and impostor.stdout.readline() == b".\n"
        for asked in (status.ask, status.pid):
            if believed:
                assert asked(journal)
            else:
                with pytest.raises(status.StatusError, match="belongs to another user"):
                    asked(journal)
    finally:
        impostor.kill()
        impostor.communicate()
