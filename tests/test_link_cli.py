"""``swarming-agent link``, with tools on PATH that say what they are told to; and root's file."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from agent.link import Ways, ask, root_file
from agent.link.modem import Modem, modem
from agent.link.root_file import OLD_S, read, write
from tests import needs
from tests.test_link_capture import HELPERS, mobile
from tests.test_linkguess import Box

ROOT = Path(__file__).resolve().parent.parent
LTE = modem("uqmi", "lte", "uqmi says lte", signal={"rsrp_dbm": -97.0}, iface="wwan0")


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return mobile(Box(tmp_path / "box"))


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tools; the machine's own are not on PATH beside it, but for the shell's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in [name for name in os.environ if name.startswith("SWARMING_")]:
        monkeypatch.delenv(name)
    for (name, *words), printed in HELPERS.items():
        answer(folder, name, words, printed)
    return folder


def answer(folder: Path, name: str, words: list[str], printed: str) -> None:
    """Teaches a tool one more answer."""
    told = folder / f"{name}-{len(list(folder.iterdir()))}.txt"
    told.write_text(printed)
    tool = folder / name
    if not tool.exists():
        tool.write_text("#!/bin/sh\n")
        tool.chmod(0o755)
    with open(tool, "a") as script:
        script.write(f"[ \"$*\" = '{' '.join(words)}' ] && exec /bin/cat {told}\n")


def tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert cli.main(["link", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_tools_are_asked(box: Box, tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, "--root", str(box.root))
    assert (said["type"], said["generation"], said["operator"]) == ("lte", "4g", "26201")
    assert said["signal"]["rsrp_dbm"] == -97.0 and said["confidence"] > 0.9
    assert any("ModemManager" in reason for reason in said["evidence"])


def test_for_a_person_too(box: Box, tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["link", "--root", str(box.root)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("lte by wwx*, confidence 0.") and "rsrp_dbm -97" in out
    assert "operator 26201" in out


def test_another_interface_on_request(
    box: Box, tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, "--root", str(box.root), "--iface", "wlan0")["type"] == "wifi"


def test_the_owners_word_wins_over_every_tool(
    box: Box, tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = printed(capsys, "--root", str(box.root), "--link", "satellite")
    assert said["type"] == "satellite" and said["stated"] is True and said["confidence"] == 1.0
    assert said["evidence"][0] == "the owner says satellite"


def test_an_unknown_link_is_no_failure(
    tmp_path: Path, tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = printed(capsys, "--root", str(tmp_path / "nothing"))
    assert said["type"] == "unknown" and said["confidence"] == 0.0


@pytest.mark.parametrize(
    "script",
    [
        "exec /usr/bin/yes rubbish",
        "kill -SEGV $$",
        "exit 1",
        "exec /usr/bin/head -c 100000 /dev/urandom",
        "echo '{\"modem\": []}'",
        "echo '[[[[[[[[[[[['",
    ],
)
def test_tools_that_misbehave_are_missing_evidence(
    box: Box, tools: Path, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mmcli", "uqmi", "ubus", "nmcli", "qmicli", "umbim", "iw"):
        tool(tools, name, script)
    begun = time.monotonic()
    said = printed(capsys, "--root", str(box.root))
    assert said["type"] == "mobile" and said["confidence"] >= 0.8
    assert time.monotonic() - begun < 60  # five seconds and what a busy machine adds


def test_a_recorded_box_is_replayed(
    box: Box, tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "box.tar.gz")
    before = printed(capsys, "--root", str(box.root))
    assert cli.main(["link", "--root", str(box.root), "--capture", path]) == 0
    assert "look before you share" in capsys.readouterr().out
    for each in tools.iterdir():
        each.unlink()
    assert printed(capsys, "--replay", path) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--replay", "/nowhere/box.tar.gz"], "No such file"),
        (["--replay", "/dev/null"], "/dev/null"),
        (["--capture", "/nowhere/box.tar.gz"], "No such file"),
        (["--write", "/proc/nowhere/link.json"], "/proc/nowhere"),
        (["--replay", "a", "--capture", "b"], "not allowed with"),
        (["--at", "ttyUSB2"], "must be a device"),
        (["--pages", "everybody"], "none of"),
    ],
)
def test_what_cannot_be_is_one_line(
    tools: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--write" in words:
        needs.root()
    assert cli.main(["link", *words]) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1


def test_only_root_may_leave_roots_file(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.main(["link", "--write", str(tmp_path / "link.json")]) == 2
    assert not (tmp_path / "link.json").exists()


def test_root_leaves_what_the_tools_say(tools: Path, tmp_path: Path) -> None:
    needs.root()
    path = tmp_path / "new" / "link.json"
    assert cli.main(["link", "--write", str(path)]) == 0
    told = read(str(path))
    assert told is not None and [each.type for each in told.modems] == ["mobile", "lte"]
    for secret in ("867962041234567", "+4915112345678", "Dupont"):
        assert secret not in path.read_text()


# Root's file


@pytest.fixture
def path(tmp_path: Path) -> str:
    needs.root()
    return str(tmp_path / "link.json")


def test_what_was_written_is_read(path: str) -> None:
    old_mask = os.umask(0o077)
    write([LTE], path)
    os.umask(old_mask)
    told = read(path)
    assert told is not None and told.modems == (LTE,) and 0 <= told.age_s < 60
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644  # whatever root's umask is
    assert os.listdir(os.path.dirname(path)) == ["link.json"]


def test_a_device_is_never_replaced(path: str) -> None:
    os.mkfifo(path)
    with pytest.raises(OSError, match="not a file"):
        write([LTE], path)
    assert stat.S_ISFIFO(os.stat(path).st_mode)
    assert os.listdir(os.path.dirname(path)) == ["link.json"]


def forge(path: str, **changes: object) -> None:
    write([LTE], path)
    said = json.loads(Path(path).read_text()) | changes
    Path(path).write_text(json.dumps(said))


def of_another_user(path: str) -> None:
    os.chown(path, 1000, 1000)


def that_anybody_may_write(path: str) -> None:
    os.chmod(path, 0o666)


def that_is_a_link(path: str) -> None:
    os.rename(path, f"{path}.real")
    os.symlink(f"{path}.real", path)


def that_is_a_pipe(path: str) -> None:
    os.unlink(path)
    os.mkfifo(path)


def that_is_a_folder(path: str) -> None:
    os.unlink(path)
    os.mkdir(path)


@pytest.mark.parametrize(
    "spoil",
    [of_another_user, that_anybody_may_write, that_is_a_link, that_is_a_pipe, that_is_a_folder],
)
def test_a_file_that_others_could_have_made_is_not_believed(
    path: str, spoil: Callable[[str], None]
) -> None:
    write([LTE], path)
    assert read(path) is not None
    spoil(path)
    assert read(path) is None


def test_an_old_file_is_not_believed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    write([LTE], path)
    for later_s, believed in ((OLD_S - 60, True), (OLD_S + 60, False), (-60, False)):
        monkeypatch.setattr(root_file, "_boot_s", lambda later_s=later_s: now + later_s)
        assert (read(path) is not None) is believed


@pytest.mark.parametrize(
    "changes",
    [
        {"boot": "another"},
        {"v": 2},
        {"at_s": None},
        {"at_s": 10**400},
        {"modems": "lte"},
    ],
)
def test_a_file_of_another_boot_or_shape_is_not_believed(
    path: str, changes: dict[str, object]
) -> None:
    forge(path, **changes)
    assert read(path) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"source": 1},
        {"type": "<b>"},
        {"evidence": "a\nb"},
        {"confidence": 2},
        {"confidence": True},
    ],
)
def test_a_modem_of_rubbish_is_passed_over(path: str, changes: dict[str, object]) -> None:
    good = LTE._asdict()
    forge(path, modems=[good | changes, good, 7])
    told = read(path)
    assert told is not None and told.modems == (LTE,)


def test_values_that_cannot_be_are_left_out(path: str) -> None:
    signal = {"rsrp_dbm": 5000, "new_name": 1, "rsrq_db": "x", "sinr_db": 12.5}
    wrong = {"signal": signal, "generation": "9g", "roaming": "yes", "iface": 7, "operator": []}
    forge(path, modems=[LTE._asdict() | wrong])
    told = read(path)
    assert told is not None
    bare = LTE._replace(signal={"sinr_db": 12.5}, generation="4g", iface=None)
    assert told.modems == (bare,)


def test_what_the_agent_can_ask_itself_is_fresher(tmp_path: Path) -> None:
    file = tmp_path / root_file.PATH.lstrip("/")
    umts = LTE._replace(type="umts", generation="3g")
    write([umts, modem("netifd", "mobile", "netifd says qmi")], str(file))
    ways = Ways(lambda command: HELPERS.get(tuple(command)))
    said = ask(ways, str(tmp_path)).modems
    assert [each.source for each in said["root's file"]] == ["uqmi"]
    alone = ask(Ways(lambda _: None), str(tmp_path)).modems
    assert [each.type for each in alone["root's file"]] == ["umts", "mobile"]


def test_the_command_ends_soon_when_every_tool_hangs(box: Box, tools: Path) -> None:
    """As a process: nothing is left behind that would keep it or the terminal."""
    for name in ("mmcli", "uqmi", "ubus", "nmcli"):
        tool(tools, name, "exec /bin/sleep 600")
    command = [sys.executable, "-m", "agent.cli", "link", "--root", str(box.root), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    assert json.loads(done.stdout)["type"] == "mobile" and done.stderr == ""


def modems_of(said: dict[str, tuple[Modem, ...]]) -> list[str]:
    return [each.type for modems in said.values() for each in modems]


def test_a_reader_that_stumbles_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(_: object) -> list[Modem]:
        raise KeyError("a firmware that nobody has seen")

    monkeypatch.setattr("agent.link.modemmanager.read", stumble)
    monkeypatch.setattr("agent.link.ubus.read", lambda *_: [LTE])
    assert modems_of(ask(Ways(lambda _: None)).modems) == ["lte"]
    monkeypatch.setattr("agent.link.ubus.read", stumble)
    assert ask(Ways(lambda _: None), "/nowhere").modems == {}
    assert "the reader of ModemManager failed" in caplog.text
