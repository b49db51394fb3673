"""Real outputs of real boxes, where they are at hand: every one is read as its index says.

The samples are not part of the project. They are looked for beside it; without them this skips.
``pytest -s`` prints how many of them agree.
"""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.link import (
    Facts,
    at,
    docsis,
    dsl,
    hilink,
    modemmanager,
    networkmanager,
    qmicli,
    ubus,
    uqmi,
    zte,
)
from agent.link.modem import Modem
from agent.link.routes import Route
from agent.link.sysfs import Interface
from agent.linkguess import Link, guess

_PLACES = (
    Path("/work/shared/samples/link"),
    Path(__file__).parent.parent.parent / "shared/samples/link",
)
FOLDER = next((place for place in _PLACES if (place / "INDEX.tsv").is_file()), None)


def _rows() -> list[dict[str, str]]:
    if FOLDER is None:
        return []
    with open(FOLDER / "INDEX.tsv", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


ROWS = _rows()
_NOTHING = Interface("x", None, None, None, None, None, None, False, False, False, False, False, ())


def _facts(modems: list[Modem], interfaces: list[Interface], iface: str | None) -> Facts:
    routes = (Route(4, iface, None, 0, 0),) if iface else ()
    return Facts(routes, {one.name: one for one in interfaces}, {}, tuple(modems))


def _behind_modem(parse: Callable[[str], list[Modem]], text: str) -> Link:
    """The box of this output: its modem is on the interface that it names, or on wwan0."""
    modems = parse(text)
    iface = next((said.iface for said in modems if said.iface), "wwan0")
    return guess(_facts(modems, [_NOTHING._replace(name=iface, driver="qmi_wwan")], iface))


def _behind_stick(parse: Callable[[str], list[Modem]], text: str) -> Link:
    stick = _NOTHING._replace(name="usb0", type=1, driver="cdc_ether", usb_id="12d1:14db")
    modems = [said._replace(iface="usb0") for said in parse(text)]
    return guess(_facts(modems, [stick], "usb0"))


def _behind_line(parse: Callable[[str], list[Modem]], text: str) -> Link:
    ppp = _NOTHING._replace(name="ppp0", type=512, devtype="ppp", virtual=True)
    return guess(_facts(parse(text), [ppp], "ppp0"))


def _behind_router(parse: Callable[[str], list[Modem]], text: str) -> Link:
    eth = _NOTHING._replace(name="eth0", type=1, driver="r8169")
    return guess(_facts(parse(text), [eth], "eth0"))


def _of_netifd(text: str) -> Link:
    """ifstatus and the dump: the interface is the one that has a default route."""
    document = json.loads(text)
    listed = document.get("interface", [document])
    up = [one for one in listed if one.get("up") and (one.get("route") or "interface" not in one)]
    iface = next((one["l3_device"] for one in up if one.get("l3_device") != "lo"), None)
    return guess(_facts(ubus.parse(text), [], iface))


def _of_sysfs(text: str) -> Link:
    fields = dict(re.findall(r"^([\w/]+) (?:=|->) (.*)$", text, re.MULTILINE))
    there = {key for key, value in fields.items() if value != "<absent>"}
    uevent = dict(re.findall(r"(\w+)=(\S+)", fields["uevent"]))
    one = _NOTHING._replace(
        name=uevent["INTERFACE"],
        type=int(fields["type"]),
        devtype=uevent.get("DEVTYPE"),
        driver=Path(fields["device/driver"]).name if "device/driver" in there else None,
        bus=Path(fields["device/subsystem"]).name if "device/subsystem" in there else None,
        wireless="wireless" in there,
        bridge="bridge" in there,
        bridge_port="brport" in there,
        tun="tun_flags" in there,
        virtual="device" not in there,
    )
    return guess(_facts([], [one], one.name))


def _of_words(text: str) -> Link:
    """What sysfs would say of the interfaces in a log or a page of another tool."""
    name = re.search(
        r"INTERFACE=(\S+)|(\w+): register '|^\d+: (\w+):|^(\w+) +Link encap", text, re.MULTILINE
    )
    driver = re.search(r"(?:ID_NET_DRIVER=|Driver: |register ')([\w]+)", text)
    usb = re.search(r"ID ([0-9a-f]{4}:[0-9a-f]{4})", text)
    one = _NOTHING._replace(
        name=next(filter(None, name.groups()), "usb0") if name else "usb0",
        driver=driver[1] if driver else None,
        usb_id=usb[1] if usb else None,
        devtype="wwan" if "DEVTYPE=wwan" in text else None,
        type=512 if "encap:Point-to-Point" in text else None,
    )
    return guess(_facts([], [one], one.name))


def _of_uqmi(text: str) -> list[Modem]:
    return uqmi.parse(text)


_READ: tuple[tuple[str, Callable[[str], Link]], ...] = (
    ("at_", lambda text: _behind_modem(at.parse, text)),
    ("mmcli_", lambda text: _behind_modem(modemmanager.parse, text)),
    ("qmicli_", lambda text: _behind_modem(qmicli.parse, text)),
    ("uqmi_", lambda text: _behind_modem(_of_uqmi, text)),
    ("nmcli_", lambda text: _behind_modem(networkmanager.parse, text)),
    ("hilink_", lambda text: _behind_stick(hilink.parse, text)),
    ("zte_", lambda text: _behind_stick(zte.parse, text)),
    ("ufi_", lambda text: _behind_stick(zte.parse, text)),
    ("bcm_", lambda text: _behind_line(dsl.parse, text)),
    ("juci_", lambda text: _behind_line(dsl.parse, text)),
    ("zyxel_", lambda text: _behind_line(dsl.parse, text)),
    ("docsis_", lambda text: _behind_router(docsis.parse, text)),
    ("ifstatus_", _of_netifd),
    ("ubus_", _of_netifd),
    ("sysfs_", _of_sysfs),
    ("", _of_words),
)


def _read(row: dict[str, str]) -> Link:
    assert FOLDER is not None
    text = (FOLDER / row["file"]).read_text(encoding="utf-8", errors="replace")
    return next(read for start, read in _READ if row["file"].startswith(start))(text)


def _wanted(row: dict[str, str]) -> dict[str, str]:
    """The signal's fields, the operator and the roaming that the index names."""
    text = re.sub(r"\(2nd.*", "", row["expected_signal_fields"])
    if row["expected_link_type"] == "-" or "no service" in text:  # a mixed one; a trap
        return {}
    wanted = dict(re.findall(r"(?:5g\.)?([a-z_0-9]+)=([\w.+/-]+)", text.partition("; 2nd")[0]))
    if text.startswith("none"):
        wanted = {name: value for name, value in wanted.items() if name == "operator"}
    if bars := re.match(r"(\d)/(\d)", wanted.pop("bars", "")):
        wanted |= {"bars": bars[1], "bars_max": bars[2]} if bars[1] != "0" else {}
    return wanted


_NOT_OF_A_LINK = re.compile(
    r"csq|recent|registration|battery_pct|wifi_users|total_(up|down)|bytes_|duration|uptime|band"
    r"|ping_ms|mode|workmode|Rat|refresh"
)


def _differences(row: dict[str, str], link: Link) -> list[str]:
    found = []
    if row["expected_link_type"] != "-" and link.type not in row["expected_link_type"].split("|"):
        found.append(f"type {link.type}, not {row['expected_link_type']}")
    for name, value in _wanted(row).items():
        if name == "operator":
            same = link.operator == value
        elif name == "roaming":
            same = link.roaming is (value in ("1", "true"))
        elif _NOT_OF_A_LINK.match(name):
            continue
        else:
            same = abs(link.signal.get(name, 1e9) - float(value)) < 0.06
        if not same:
            found.append(f"{name} is not {value}: {link.signal} {link.operator} {link.roaming}")
    roams = re.search(r"registration=(home|roaming)", row["expected_signal_fields"])
    if roams and link.roaming is not (roams[1] == "roaming"):
        found.append(f"roaming {link.roaming}, not {roams[1]}")
    if row["expected_signal_fields"].startswith("none") and link.signal:
        found.append(f"a signal where there is none: {link.signal}")
    return found


@pytest.mark.skipif(FOLDER is None, reason="the samples are not at hand")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_a_sample_is_read_as_its_index_says(row: dict[str, str]) -> None:
    link = _read(row)
    assert not _differences(row, link), link


@pytest.mark.skipif(FOLDER is None, reason="the samples are not at hand")
def test_how_many_agree_and_no_number_of_a_modem_gets_out() -> None:
    agree = 0
    for row in ROWS:
        link = _read(row)
        agree += not _differences(row, link)
        told = json.dumps([link.as_json(), link.as_body()])
        assert not re.search(r"\d{14,}|([0-9a-f]{2}:){5}", told), row["file"]
    print(f"\n{agree} of {len(ROWS)} samples agree")
    assert agree >= 0.95 * len(ROWS)
