"""A box in a file: it guesses the same, tells nothing of anybody, and a hostile one is refused."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import link
from agent.link import Ways, replay
from agent.link.capture import record
from agent.link.http import Getter, Reply
from agent.link.mask import Mask
from agent.link.replay import CaptureError, unpack
from agent.linkguess import Link, guess
from tests import link_boxes
from tests.test_linkguess import Box

SECRETS = {
    "IMEI": "867962041234567",
    "IMSI": "262011234567890",
    "ICCID": "8949020000012345678F",
    "number": "+4915112345678",
    "MAC": "0c:5b:8f:27:9a:64",
    "bare MAC": "0c5b8f279a64",
    "BSSID": "A4:2B:B0:C9:11:22",
    "SSID": "Chez Dupont 5G",
    "cell": "29665538",
    "cell in hex": "1C4A902",
    "area": "49106",
    "public address": "93.184.216.34",
    "private address": "10.115.89.118",
    "IPv6 address": "2a01:860:0:300::153",
    "route in hex": "0159A8C0",  # 192.168.89.1, as /proc/net/route has it
    "device": "97ffc2eeb6d3ad975d9089850aa3b9b494529919",
}
MMCLI = {
    "modem": {
        "3gpp": {
            "imei": SECRETS["IMEI"],
            "operator-code": "26201",
            "operator-name": "Telekom.de",
            "registration-state": "roaming",
        },
        "generic": {
            "access-technologies": ["lte"],
            "device-identifier": SECRETS["device"],
            "equipment-identifier": SECRETS["IMEI"],
            "own-numbers": [SECRETS["number"]],
            "ports": ["cdc-wdm0 (qmi)", f"wwx{SECRETS['bare MAC']} (net)"],
            "signal-quality": {"recent": "yes", "value": "67"},
            "state": "connected",
        },
    }
}
HELPERS = {
    ("mmcli", "-L"): "/org/freedesktop/ModemManager1/Modem/0 [Quectel] EC25\n",
    ("mmcli", "-m", "0", "-J"): json.dumps(MMCLI),
    ("mmcli", "-m", "0", "--signal-get", "-J"): json.dumps(
        {"modem": {"signal": {"lte": {"rsrp": "-97.00", "rsrq": "-9.00", "snr": "12.40"}}}}
    ),
    ("iw", "dev", "wlan0", "link"): (
        f"Connected to {SECRETS['BSSID']} (on wlan0)\n"
        f"\tSSID: {SECRETS['SSID']}\n\tsignal: -56 dBm\n"
    ),
    ("ubus", "call", "network.interface", "dump"): json.dumps(
        {
            "interface": [
                {
                    "interface": "wan",
                    "up": True,
                    "l3_device": f"wwx{SECRETS['bare MAC']}",
                    "proto": "qmi",
                    "ipv4-address": [{"address": SECRETS["private address"], "mask": 32}],
                    "dns-server": [SECRETS["public address"], SECRETS["IPv6 address"]],
                }
            ]
        }
    ),
}
AT = (
    'AT+QENG="servingcell"\r\r\n+QENG: "servingcell","NOCONN","LTE","FDD",262,01,'
    f"{SECRETS['cell in hex']},235,6100,19,3,3,{SECRETS['area']},-81,-10,-54,19,50\r\n\r\nOK\r\n"
)
SIGNAL = (
    "<?xml version='1.0'?><response><rsrp>-97dBm</rsrp><rsrq>-9dB</rsrq><sinr>12dB</sinr>"
    f"<cell_id>{SECRETS['cell']}</cell_id><Imsi>{SECRETS['IMSI']}</Imsi>"
    f"<Iccid>{SECRETS['ICCID']}</Iccid></response>"
)


def answers(command: Sequence[str]) -> str | None:
    return HELPERS.get(tuple(command))


def page(gateway: str) -> Getter:
    def get(path: str, headers: Mapping[str, str]) -> Reply | None:
        bodies = {
            "/api/webserver/SesTokInfo": "<response><SesInfo>a</SesInfo></response>",
            "/api/monitoring/status": "<response><CurrentNetworkType>19</CurrentNetworkType>"
            f"<WanIPAddress>{SECRETS['private address']}</WanIPAddress></response>",
            "/api/device/signal": SIGNAL,
        }
        return Reply(200, {}, bodies[path]) if path in bodies else Reply(404, {}, "")

    return get


WAYS = Ways(answers, page, lambda _: AT, ("/dev/ttyUSB2",))


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "box")


@contextlib.contextmanager
def replayed(path: Path) -> Iterator[tuple[str, Ways]]:
    with tempfile.TemporaryDirectory() as folder:
        yield folder, unpack(str(path), folder)


def guessed_again(path: Path) -> Link:
    with replayed(path) as (root, ways):
        return guess(link.gather(root, ways))


def told(path: Path) -> str:
    """All that is in the file, names too."""
    with tarfile.open(path) as archive:
        said = []
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            content = file.read().decode() if file else ""
            said.append(f"{member.name} {member.linkname} {content}")
        return "\n".join(said)


def mobile(box: Box) -> Box:
    name = f"wwx{SECRETS['bare MAC']}"
    box.interface(name, type=519, devtype="wwan", driver="qmi_wwan", bus="usb", usb="2c7c:0125")
    box.interface("wlan0", devtype="wlan", driver="brcmfmac", bus="sdio", folders=("wireless",))
    return box.default(name, SECRETS["route in hex"]).default("wlan0", "0100A8C0", 600)


def stick(box: Box) -> Box:
    box.interface("eth1", driver="cdc_ether", bus="usb", usb="12d1:14db")
    return box.default("eth1", "0108A8C0")


def tunnel(box: Box) -> Box:
    box.interface("eth0", driver="r8169").interface("br0", devtype="bridge", lower=("eth0",))
    box.interface("wg0", type=65534, devtype="wireguard").default("br0")
    box.write("proc/net/route", "wg0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n")
    return box


def wifi(box: Box) -> Box:
    box.interface("wlan0", devtype="wlan", driver="brcmfmac", bus="sdio", folders=("wireless",))
    box.write("proc/net/wireless", "a\nb\n wlan0: 0000   54.  -56.  -256        0      0\n")
    return box.default("wlan0")


@pytest.mark.parametrize("build", [mobile, stick, tunnel, wifi])
def test_a_recorded_box_guesses_the_same(box: Box, tmp_path: Path, build: object) -> None:
    assert callable(build)
    build(box)
    before = guess(link.gather(str(box.root), WAYS))
    record(str(tmp_path / "box.tar.gz"), WAYS, str(box.root))
    after = guessed_again(tmp_path / "box.tar.gz")
    assert before.type not in ("unknown", "virtual") and len(before.evidence) >= 2
    assert after == before
    # … and a recording of the recording is no other box
    with replayed(tmp_path / "box.tar.gz") as (root, ways):
        record(str(tmp_path / "again.tar.gz"), ways, root)
    assert guessed_again(tmp_path / "again.tar.gz") == before


@pytest.mark.parametrize("one", link_boxes.BOXES, ids=lambda one: one.name)
def test_every_box_that_we_know_guesses_the_same_from_its_recording(
    one: link_boxes.Box, tmp_path: Path
) -> None:
    root, path = tmp_path / "box", tmp_path / "box.tar.gz"
    link_boxes.write(one, root)
    serial = ("/dev/ttyUSB2",) if one.at else ()
    page = link_boxes._pages(one.pages) if one.pages else None
    run = link_boxes.runner(one.tools)
    ways = Ways(run, page, lambda _: one.at, serial, one.asked_outside)
    record(str(path), ways, str(root))
    assert guessed_again(path) == guess(link.gather(str(root), ways))


def test_a_recording_tells_nothing_of_anybody(box: Box, tmp_path: Path) -> None:
    record(str(tmp_path / "box.tar.gz"), WAYS, str(stick(mobile(box)).root))
    said = told(tmp_path / "box.tar.gz")
    assert "lte" in said and "qmi_wwan" in said and "Telekom.de" in said and "-97" in said
    for what, secret in SECRETS.items():
        assert secret.lower() not in said.lower(), what
    assert "eth0/address" not in said


def test_the_same_stays_the_same_in_every_file(box: Box, tmp_path: Path) -> None:
    record(str(tmp_path / "box.tar.gz"), WAYS, str(mobile(box).root))
    said = told(tmp_path / "box.tar.gz")
    found = re.search(r"root/sys/class/net/(wwx02[0-9a-f]{10})/type", said)
    assert found is not None and f"INTERFACE={(masked := found[1])}" in said
    assert f"{masked}\t00000000" in said  # in the routes


@pytest.mark.parametrize(
    ("said", "secrets"),
    [
        ("lower_enx0c5b8f279a64", "0c5b8f279a64"),  # a bridge's port, by its link's name
        ('+CREG: 2,1,"a12b","0c3d4e5f",7', "a12b 0c3d4e5f"),
        ('+CREG: 1,"A12B","0C3D4E5F"', "A12B 0C3D4E5F"),
        (
            '+QENG: "servingcell","NOCONN","CAT-M","FDD",262,01,2B37905,1,2,3,4,5,ABCD',
            "2B37905 ABCD",
        ),
        ("+GTCCINFO: 1,4,262,02,1A2B,1A2D001,1300,11", "1A2B 1A2D001"),
        ("2,4,262,02,1A2B,1A2D001,1300,11,3", "1A2B 1A2D001"),  # a neighbour
        ("Properties | apn: internet, user: alice@isp.example", "alice"),
        ("SessionID=wkb38f7e; path=/", "wkb38f7e"),
        ("eNB ID: 53412", "53412"),
        ('"clientid": "010c5b8f279a64"', "0c5b8f279a64"),  # a DHCP client's is its MAC
    ],
)
def test_nothing_of_anybody_is_left(said: str, secrets: str) -> None:
    masked = Mask().text(said)
    assert not [secret for secret in secrets.split() if secret in masked]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ('{"cellid":134318388,"SIGNAL":-96}', '"SIGNAL":-96'),  # a number stays one of JSON
        ("rssi: -71, snr: 12.199999999999999289", "12.199999999999999289"),
        ("revision: 21.333.01.00.00", "21.333.01.00.00"),
        ("inet addr:27.1.2.3  P-t-P:10.64.64.64", "10.64.64.64"),  # what pppd makes up
        ("127.0.0.1 255.255.255.0 0.0.0.0 ::1", "127.0.0.1 255.255.255.0 0.0.0.0 ::1"),
        ("imei: --\nimsi: n/a\nmac: 00:00:00:00:00:00", "imei: --\nimsi: n/a"),
        (
            "state: connected\noperator-code: 26201\nband: 7",
            "connected\noperator-code: 26201\nband",
        ),
        ("at 12:34:56 eNB 3", "12:34:56"),
    ],
)
def test_what_tells_nothing_of_anybody_stays(said: str, kept: str) -> None:
    masked = Mask().text(said)
    assert kept in masked
    if said.startswith("{"):
        assert json.loads(masked).keys() == json.loads(said).keys() and masked != said


def test_addresses_stay_of_their_kind() -> None:
    said = Mask().text(
        "192.168.7.9 10.1.2.3 172.20.1.1 100.99.1.1 8.8.4.4 fe80::a2 fd12::7 2a01::1"
    )
    assert (
        said == "192.168.0.1 10.0.0.1 172.16.0.1 100.64.0.1 198.18.0.1 fe80::1 fd00::1 2001:db8::1"
    )


@pytest.mark.parametrize(
    "said",
    [
        'ESSID: "{}"\nprofile {} is up',
        "\tSSID: {}\n\tsignal: -56 dBm",
        '{{"ssid": "{}", "quality": 56}}',
        "ssid='{}'",
        "<Ssid>{}</Ssid>",
    ],
)
@pytest.mark.parametrize(
    "name", ["Chez Dupont", "Dupont, home [5G]", "Dupont|{Dupont}", "[Dupont;x"]
)
def test_a_networks_name_is_taken_out_whole(said: str, name: str) -> None:
    assert "Dupont" not in Mask().text(said.format(name, name))
    assert "O'D" not in Mask().text("\tSSID: O'Dupont\n")


def test_what_stands_after_a_name_stays() -> None:
    said = Mask().text('{"ssid": "Chez Dupont", "quality": 56}\nSSID: Chez Dupont\nsignal: -56')
    assert said == '{"ssid": "masked-1", "quality": 56}\nSSID: masked-1\nsignal: -56'


@given(st.text(max_size=200))
def test_any_text_can_be_masked(text: str) -> None:
    assert isinstance(Mask().text(text), str)


@given(
    st.integers(2 * 10**14, 10**15 - 1),
    st.sampled_from(["imei: {}", '"imsi" : "{}"', "<Imei>{}</Imei>", "{}"]),
)
def test_no_number_of_a_modem_is_left(number: int, form: str) -> None:
    assert str(number) not in Mask().text(form.format(number))


# Hostile files


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as made:
        for member, content in members:
            made.addfile(member, io.BytesIO(content))
    return path


def file(name: str, content: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def odd(name: str, type_: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = type_, target
    return member, b""


GOOD = file("box.json", b'{"v": 1}')


@pytest.mark.parametrize(
    "member",
    [
        file("../evil"),
        file("root/../../evil"),
        file("root/a/../../../evil"),
        file("/etc/evil"),
        file("root//etc/evil"),
        file("root"),
        file("evil"),
        file("root/a\\..\\evil"),
        file("root/a b"),
        file("root/a\nb"),
        file("root/" + "/".join("a" * 20)),
        file("root/" + "a" * 65),
        file("box.json"),  # twice
        odd("root/a", tarfile.SYMTYPE, "/etc/passwd"),
        odd("root/a", tarfile.SYMTYPE, "../../etc"),
        odd("root/a", tarfile.SYMTYPE, ".."),
        odd("root/a", tarfile.SYMTYPE, ""),
        odd("root/a", tarfile.LNKTYPE, "box.json"),
        odd("root/a", tarfile.CHRTYPE),
        odd("root/a", tarfile.BLKTYPE),
        odd("root/a", tarfile.FIFOTYPE),
    ],
    ids=lambda member: f"{member[0].name[:24]!r} {member[0].linkname}",
)
def test_what_does_not_belong_into_a_capture_is_refused(
    tmp_path: Path, member: tuple[tarfile.TarInfo, bytes]
) -> None:
    path = archive(tmp_path / "evil.tar.gz", GOOD, member)
    folder = tmp_path / "laid"
    folder.mkdir()
    with pytest.raises(CaptureError) as refused:
        unpack(str(path), str(folder))
    assert len(str(refused.value).splitlines()) == 1
    assert list(folder.iterdir()) == [] and not (tmp_path / "evil").exists()


def test_a_file_below_a_link_or_a_file_is_not_written(tmp_path: Path) -> None:
    folder = tmp_path / "laid"
    folder.mkdir()
    path = archive(
        tmp_path / "a.tar.gz",
        GOOD,
        odd("root/a", tarfile.SYMTYPE, "b"),
        file("root/a/c"),
        file("root/b/d"),
    )
    unpack(str(path), str(folder))
    assert (folder / "a").is_dir() and not (folder / "a").is_symlink()
    path = archive(tmp_path / "b.tar.gz", GOOD, file("root/x"), file("root/x/y"))
    with pytest.raises(CaptureError):
        unpack(str(path), str(folder))


def test_a_bomb_is_refused_before_it_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tar.gz"
    member = tarfile.TarInfo("root/a")
    member.size = 1 << 30
    with gzip.open(path, "wb") as out:
        out.write(member.tobuf())
        for _ in range(replay._MOST_BYTES // (1 << 20) + 1):
            out.write(bytes(1 << 20))
    with pytest.raises(CaptureError, match="larger than"):
        unpack(str(path), str(tmp_path))


def test_a_sparse_file_is_no_way_around(tmp_path: Path) -> None:
    pax = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.name": "root/a"} | {
        "GNU.sparse.size": str(1 << 40),
        "GNU.sparse.map": "0,1",
    }
    path = tmp_path / "sparse.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as made:
        member = tarfile.TarInfo("root/a")
        member.size, member.pax_headers = 1, pax
        made.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(CaptureError):
        unpack(str(path), str(tmp_path))


def test_a_file_of_holes_is_refused(tmp_path: Path) -> None:
    """Old GNU tar's: no byte in the archive, 8 MiB in memory, and 5000 of them."""
    header = bytearray(tarfile.TarInfo("root/a").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    size = b"%011o\0" % replay._MOST_BYTES
    header[386:410], header[483:495] = size + b"%011o\0" % 0, size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    path = tmp_path / "holes.tar.gz"
    path.write_bytes(gzip.compress(bytes(header[:512]) + bytes(1024)))
    with pytest.raises(CaptureError, match="neither a file"):
        unpack(str(path), str(tmp_path))


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    many = [file(f"root/{nth}") for nth in range(replay._MOST_MEMBERS + 1)]
    with pytest.raises(CaptureError, match="more than"):
        unpack(str(archive(tmp_path / "many.tar.gz", GOOD, *many)), str(tmp_path / "laid"))


@pytest.mark.parametrize(
    "box_json", [b"", b"[]", b'{"v": 2}', b"\xff", b"[" * 10_000, b'{"v": NaN}']
)
def test_a_file_without_its_box_is_refused(tmp_path: Path, box_json: bytes) -> None:
    with pytest.raises(CaptureError):
        unpack(str(archive(tmp_path / "a.tar.gz", file("box.json", box_json))), str(tmp_path))


@pytest.mark.parametrize(
    "said",
    [
        {"helpers": 1, "pages": 2, "serial": 3},
        {"helpers": [1, [2], ["a", "b"], [["mmcli", "-L"], 3]], "pages": [1, {"status": "x"}]},
        {
            "pages": [
                {"gateway": "192.168.8.1", "path": "/", "status": 200, "headers": [], "body": 7}
            ]
        },
        {"serial": [["/dev/ttyUSB2", None], [1, 2]]},
    ],
)
def test_a_box_of_rubbish_answers_nothing(
    box: Box, tmp_path: Path, said: dict[str, object]
) -> None:
    path = archive(tmp_path / "a.tar.gz", file("box.json", json.dumps({"v": 1} | said).encode()))
    ways = unpack(str(path), str(tmp_path / "laid"))
    assert guess(link.gather(str(mobile(box).root), ways._replace(any_page=True))).type == "mobile"


@pytest.mark.parametrize("missing", ["nowhere.tar.gz", "."])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, missing: str) -> None:
    with pytest.raises(CaptureError):
        unpack(str(tmp_path / missing), str(tmp_path))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2000), st.booleans(), st.integers(0, 600))
def test_whatever_bytes_come(noise: bytes, zipped: bool, at: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar.gz"
        good = gzip.decompress(archive(path, GOOD, file("root/proc/net/route")).read_bytes())
        mixed = good[:at] + noise + good[at + len(noise) :]
        path.write_bytes(gzip.compress(mixed) if zipped else mixed)
        with contextlib.suppress(CaptureError):
            unpack(str(path), f"{folder}/laid")
