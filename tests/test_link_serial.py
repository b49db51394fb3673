"""AT commands over a serial port: a pseudo terminal with a modem at its other end."""

from __future__ import annotations

import os
import re
import termios
import threading
import tty
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from agent.link import at, serial
from agent.link.serial import is_held, transcript

_PATIENCE_S = 20.0
QUECTEL = {
    "AT": "OK",
    "AT+CGMI": "Quectel\r\n\r\nOK",
    "AT+QNWINFO": '+QNWINFO: "FDD LTE","26201","LTE BAND 3",1300\r\n\r\nOK',
    "AT+CSQ": "+CSQ: 21,99\r\n\r\nOK",
    "AT+COPS?": '+COPS: 0,2,"26201",7\r\n\r\nOK',
}


class FakeModem:
    """Answers what it knows, and ERROR to the rest; with an echo, as they do."""

    def __init__(self, answers: Mapping[str, str | None]) -> None:
        self.asked: list[str] = []
        self._answers = answers
        self._end, ours = _terminal_of_our_own()
        self.device = os.ttyname(ours)
        tty.setraw(ours)
        self.before = termios.tcgetattr(ours)
        self._ours = ours
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        came = b""
        while True:
            part = os.read(self._end, 1024)
            if b"\x04" in part:
                return
            came += part
            while b"\r" in came:
                line, _, came = came.partition(b"\r")
                self._answer(line.decode())

    def _answer(self, command: str) -> None:
        self.asked.append(command)
        said = self._answers.get(command, "ERROR")
        if said is not None:
            os.write(self._end, f"{command}\r\r\n{said}\r\n".encode())

    def is_as_it_was(self) -> bool:
        return termios.tcgetattr(self._ours) == self.before

    def close(self) -> None:
        os.write(self._ours, b"\x04")
        self._thread.join(_PATIENCE_S)
        os.close(self._end)
        os.close(self._ours)


def _terminal_of_our_own() -> tuple[int, int]:
    """A container's terminals bear the same names as ours; this one's nobody else has."""
    passed_over = []
    try:
        while True:
            end, ours = os.openpty()
            if not is_held(os.ttyname(ours)):
                return end, ours
            passed_over += [end, ours]
    finally:
        for handle in passed_over:
            os.close(handle)


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    # The test itself holds both ends open, in this very process, which does not count.
    made: list[FakeModem] = []

    def modem(answers: Mapping[str, str | None]) -> FakeModem:
        made.append(FakeModem(answers))
        return made[-1]

    yield modem
    for each in made:
        each.close()


def plenty() -> float:
    return 60.0


def test_a_modem_is_asked_what_its_maker_taught_it(plug: object) -> None:
    assert callable(plug)
    modem = plug(QUECTEL)
    said = transcript(modem.device, plenty)
    assert said is not None
    (found,) = at.parse(said)
    assert found.type == "lte" and found.operator == "26201"
    assert modem.asked[:3] == ["AT", "AT+CGMI", "AT+QNWINFO"] and len(modem.asked) <= 10
    assert modem.is_as_it_was()


def test_nothing_is_set_and_nobody_is_named(plug: object) -> None:
    assert callable(plug)
    for maker in ("Quectel", "huawei", "SIMCOM", "Sierra Wireless", "Fibocom", "nobody"):
        modem = plug({"AT": "OK", "AT+CGMI": f"{maker}\r\n\r\nOK"})
        transcript(modem.device, plenty)
        for command in modem.asked:
            asks = command in ("AT", "AT+CGMI", "AT+CSQ", "AT+CESQ", "AT^SYSINFOEX") or (
                command.endswith("?") or command in ("AT+QNWINFO", "AT+QCSQ")
            )
            assert asks or command == 'AT+QENG="servingcell"', command
            assert not re.search("CIMI|CGSN|CCID|CNUM|CPIN|CFUN|ATD|ATI", command)


def test_a_port_that_does_not_say_ok_is_left_alone(
    plug: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(plug)
    monkeypatch.setattr(serial, "EACH_S", 0.2)
    for answers in ({"AT": None}, {"AT": "$GPGGA,123519,4807.038,N"}, {"AT": "ERROR"}):
        modem = plug(answers)
        assert transcript(modem.device, plenty) is None
        assert modem.asked in (["AT"], [])  # a busy machine may be slow to hear


def test_a_modem_that_falls_silent_has_said_what_it_said(
    plug: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(plug)
    left = [60.0] * 6
    modem = plug(QUECTEL | {"AT+QCSQ": None})
    monkeypatch.setattr(serial, "EACH_S", 1.0)
    said = transcript(modem.device, lambda: left.pop() if left else 0.0)
    assert said is not None and at.parse(said)[0].type == "lte"


def test_a_port_that_another_program_holds_is_not_opened(tmp_path: Path) -> None:
    device = tmp_path / "ttyUSB2"
    device.touch()
    (tmp_path / "proc/77/fd").mkdir(parents=True)
    assert not is_held(str(device), str(tmp_path / "proc"))
    (tmp_path / "proc/77/fd/5").symlink_to(device)
    assert is_held(str(device), str(tmp_path / "proc"))
    (tmp_path / "by-id").symlink_to(device)
    assert is_held(str(tmp_path / "by-id"), str(tmp_path / "proc"))


def test_a_lock_file_counts_while_its_owner_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serial, "_LOCKS", (str(tmp_path),))
    (tmp_path / "proc/4711").mkdir(parents=True)
    (tmp_path / "LCK..ttyUSB2").write_text("      4711\n")
    assert is_held("/dev/ttyUSB2", str(tmp_path / "proc"))
    (tmp_path / "proc/4711").rmdir()
    assert not is_held("/dev/ttyUSB2", str(tmp_path / "proc"))


@pytest.mark.parametrize("device", ["/dev/null", "/dev/no-such-port", "/dev"])
def test_what_is_no_port_says_nothing(device: str) -> None:
    assert transcript(device, plenty) is None
