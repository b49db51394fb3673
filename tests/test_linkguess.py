"""What link is this: from the files of a box to a guess with its reasons."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import link
from agent.link import routes
from agent.link.routes import Route
from agent.linkguess import GENERATIONS, TYPES, Link, changed, guess, shown
from tests import needs

HEADING = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


class Box:
    """A file system of a box, in the kernel's own formats."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/net/route", HEADING)
        self.interface("lo", type=772)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a") as out:
            out.write(text)

    def interface(
        self,
        name: str,
        *,
        type: int = 1,
        devtype: str | None = None,
        driver: str | None = None,
        bus: str = "pci",
        usb: str | None = None,
        lower: tuple[str, ...] = (),
        files: dict[str, str] | None = None,
        folders: tuple[str, ...] = (),
    ) -> "Box":
        index = len(list((self.root / "sys/class/net").glob("*"))) + 1
        base = f"sys/class/net/{name}"
        uevent = f"DEVTYPE={devtype}\n" if devtype else ""
        texts = {
            "type": f"{type}\n",
            "uevent": f"{uevent}INTERFACE={name}\nIFINDEX={index}\n",
            "ifindex": f"{index}\n",
            "iflink": f"{index}\n",
            "operstate": "up\n",
            "address": "0c:5b:8f:27:9a:64\n",
        } | (files or {})
        for file, text in texts.items():
            self.write(f"{base}/{file}", text)
        for folder in folders:
            (self.root / base / folder).mkdir()
        for below in lower:
            (self.root / base / f"lower_{below}").symlink_to(f"../{below}")
        if driver is not None:
            self._device(name, driver, bus, usb)
        return self

    def _device(self, name: str, driver: str, bus: str, usb: str | None) -> None:
        device = self.root / f"sys/devices/{name}/1-1/1-1:1.0"
        device.mkdir(parents=True)
        (device / "driver").symlink_to(f"../../../../bus/{bus}/drivers/{driver}")
        (device / "subsystem").symlink_to(f"../../../../bus/{bus}")
        if usb is not None:
            vendor, product = usb.split(":")
            (device.parent / "idVendor").write_text(vendor + "\n")
            (device.parent / "idProduct").write_text(product + "\n")
        (self.root / f"sys/class/net/{name}/device").symlink_to(device)

    def default(self, iface: str, gateway: str = "0100A8C0", metric: int = 0) -> "Box":
        flags = "0003" if int(gateway, 16) else "0001"
        line = f"{iface}\t00000000\t{gateway}\t{flags}\t0\t0\t{metric}\t00000000\t0\t0\t0\n"
        self.write("proc/net/route", line)
        return self

    def guess(self, stated: str | None = None, iface: str | None = None) -> Link:
        return guess(link.gather(str(self.root)), stated, iface)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_ethernet(box: Box) -> None:
    found = box.interface("eth0", driver="r8169").default("eth0").guess()
    assert found.type == "ethernet" and found.iface == "eth0" and found.confidence >= 0.9
    assert found.evidence == (
        "default route by eth0",
        "eth0 is an Ethernet interface (driver r8169)",
    )
    assert found.generation is None and not found.metered and found.signal == {}


def test_wifi_with_its_signal(box: Box) -> None:
    box.interface("wlan0", devtype="wlan", driver="brcmfmac", bus="sdio", folders=("wireless",))
    box.write(
        "proc/net/wireless",
        "Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n"
        " face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n"
        " wlan0: 0000   54.  -56.  -256        0      0      0      0      0        0\n",
    )
    found = box.default("wlan0").guess()
    assert found.type == "wifi" and found.signal == {"signal_dbm": -56.0, "quality_pct": 77.0}


@pytest.mark.parametrize("driver", ["qmi_wwan", "cdc_mbim", "huawei_cdc_ncm", "mhi_net"])
def test_modem_drivers_are_mobile(box: Box, driver: str) -> None:
    found = box.interface("wwan0", driver=driver, bus="usb").default("wwan0", "00000000").guess()
    assert found.type == "mobile" and found.metered and found.generation is None
    assert driver in found.evidence[-1]


def test_devtype_wwan_is_mobile_whatever_the_driver(box: Box) -> None:
    found = box.interface("wwu1u4i4", type=519, devtype="wwan").default("wwu1u4i4").guess()
    assert found.type == "mobile"


@pytest.mark.parametrize(
    ("driver", "usb", "type_", "low", "high"),
    [
        ("cdc_ether", "12d1:14db", "mobile", 0.6, 0.8),  # HiLink: looks like plain Ethernet
        ("cdc_ether", "19d2:1405", "mobile", 0.6, 0.8),
        ("rndis_host", "04e8:6863", "mobile", 0.5, 0.7),  # a tethered phone
        ("ipheth", "05ac:12a8", "mobile", 0.5, 0.7),
        ("cdc_ether", "0bda:8153", "ethernet", 0.6, 0.8),  # an adapter
        ("cdc_ether", "ffff:0001", "mobile", 0.3, 0.5),
        ("cdc_ncm", "ffff:0001", "ethernet", 0.3, 0.5),
        ("r8152", "0bda:8153", "ethernet", 0.8, 1.0),
    ],
)
def test_usb_devices_that_look_like_ethernet(
    box: Box, driver: str, usb: str, type_: str, low: float, high: float
) -> None:
    found = box.interface("usb0", driver=driver, bus="usb", usb=usb).default("usb0").guess()
    assert found.type == type_ and low <= found.confidence <= high


def test_a_usb_id_is_also_read_from_uevent(box: Box) -> None:
    box.interface("usb0", driver="cdc_ether", bus="usb").default("usb0")
    box.write("sys/devices/usb0/1-1/1-1:1.0/uevent", "DRIVER=cdc_ether\nPRODUCT=bda/8153/3100\n")
    assert link.gather(str(box.root)).interfaces["usb0"].usb_id == "0bda:8153"
    assert box.guess().type == "ethernet"


def test_ppp_alone_does_not_tell_what_is_below(box: Box) -> None:
    found = box.interface("ppp0", type=512, devtype="ppp").default("ppp0", "00000000").guess()
    assert found.type == "ppp" and found.confidence <= 0.6
    other = box.interface("3g-wan", type=512, devtype="ppp").guess(iface="3g-wan")
    assert other.type == "mobile"


@pytest.mark.parametrize(
    ("name", "what", "type_"),
    [
        ("xbridge", {"devtype": "bridge", "folders": ("bridge",)}, "bridge"),
        ("ifb0", {}, "virtual"),
        ("lo", None, "loopback"),
        ("xmacv", {"files": {"iflink": "99\n"}}, "virtual"),
        ("xtap", {"files": {"tun_flags": "0x1002\n"}}, "vpn"),
        ("xtun", {"type": 65534, "files": {"tun_flags": "0x1001\n"}}, "vpn"),
        ("xveth", {"folders": ("brport",), "files": {"iflink": "1\n"}}, "virtual"),
        ("xvxlan", {"devtype": "vxlan"}, "vpn"),
        ("wg0", {"type": 65534, "devtype": "wireguard"}, "vpn"),
        ("sit1", {"type": 776}, "vpn"),
    ],
)
def test_virtual_interfaces_of_a_real_kernel(
    box: Box, name: str, what: dict[str, Any] | None, type_: str
) -> None:
    if what is not None:
        box.interface(name, **what)
    assert box.guess(iface=name).type == type_


def test_a_bridge_is_followed_to_the_port_that_leads_out(box: Box) -> None:
    box.interface("veth1a2b", folders=("brport",))
    box.interface("wlan0", devtype="wlan", driver="ath9k", folders=("wireless",))
    box.interface("eth0", driver="igb")
    lower = ("eth0", "veth1a2b", "wlan0")
    box.interface("br0", devtype="bridge", folders=("bridge",), lower=lower)
    found = box.default("br0").guess()
    assert found.type == "ethernet" and found.iface == "br0"
    assert "br0 is a bridge, over eth0" in found.evidence


def test_a_bridge_of_nothing_real_stays_a_bridge(box: Box) -> None:
    box.interface("veth1a2b", folders=("brport",))
    box.interface("br0", devtype="bridge", folders=("bridge",), lower=("veth1a2b",))
    assert box.default("br0").guess().type == "bridge"


def test_a_vlan_and_a_bond_are_followed(box: Box) -> None:
    box.interface("wwan0", driver="qmi_wwan", bus="usb")
    box.interface("wwan0.5", devtype="vlan", lower=("wwan0",))
    assert box.guess(iface="wwan0.5").type == "mobile"
    box.interface("eth1", driver="igb").interface("bond0", devtype="bond")
    box.write("sys/class/net/bond0/bonding/slaves", "eth1 wwan0\n")
    box.write("sys/class/net/bond0/bonding/active_slave", "wwan0\n")
    assert box.guess(iface="bond0").type == "mobile"


def test_a_vpn_over_a_modem_is_mobile_with_the_vpn_in_the_evidence(box: Box) -> None:
    box.interface("wwan0", driver="qmi_wwan", bus="usb")
    box.interface("tun0", type=65534, files={"tun_flags": "0x1001\n"})
    box.default("wwan0", metric=100)
    box.write("proc/net/route", "tun0\t00000000\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n")
    found = box.guess()
    assert found.type == "mobile" and found.iface == "tun0"
    assert "tun0 is a tunnel, over wwan0" in found.evidence


def test_interfaces_that_name_each_other_in_a_circle_end(box: Box) -> None:
    box.interface("a", devtype="vlan", lower=("b",)).interface("b", devtype="vlan", lower=("a",))
    assert box.guess(iface="a").type == "virtual"


def test_the_lowest_metric_wins_and_a_failover_is_a_change(box: Box) -> None:
    box.interface("eth0", driver="igb").interface("wwan0", driver="qmi_wwan", bus="usb")
    before = box.default("wwan0", metric=700).default("eth0", metric=100).guess()
    assert before.type == "ethernet"
    (box.root / "proc/net/route").write_text(HEADING)
    after = box.default("wwan0", metric=700).guess()
    assert after.type == "mobile"
    assert changed(None, before) and changed(before, after) and not changed(after, after)
    assert not changed(before, before._replace(signal={"signal_dbm": -50.0}, confidence=0.1))


def test_no_route_is_unknown_and_no_box_at_all_too(box: Box, tmp_path: Path) -> None:
    assert box.guess().type == "unknown" and box.guess().iface is None
    empty = guess(link.gather(str(tmp_path / "nothing")))
    assert empty.as_body() == {"type": "unknown", "confidence": 0.0}


def test_what_the_owner_says_wins_and_is_marked(box: Box) -> None:
    found = box.interface("eth0", driver="igb").default("eth0").guess(stated="lte")
    assert (found.type, found.generation, found.confidence) == ("lte", "4g", 1.0)
    assert found.stated and found.metered and found.evidence[0] == "the owner says lte"
    assert found.as_body()["stated"] is True


def test_ipv6_alone_is_enough(box: Box) -> None:
    zero = "0" * 32
    router = "fe80000000000000000000000000000a"
    box.interface("eth0", driver="igb")
    box.write(
        "proc/net/ipv6_route",
        f"{zero} 00 {zero} 00 {router} 00000400 00000001 00000000 00000003     eth0\n"
        f"{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n",
    )
    assert box.guess().type == "ethernet"
    route = routes.gateway(str(box.root))[6]
    assert route == Route(6, "eth0", "fe80::a", 1024, 0) and route.address == "fe80::a%eth0"


def test_gateways(box: Box) -> None:
    box.default("ppp0", "00000000", 5).default("eth0", "0100A8C0", 9)
    box.write("proc/net/route", "eth1\t00000000\t0100000A\t0203\t0\t0\t0\t00000000\t0\t0\t0\n")
    box.write("proc/net/route", "eth2\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n")
    found = routes.defaults(str(box.root))
    assert [(route.iface, route.gateway) for route in found] == [
        ("ppp0", None),
        ("eth0", "192.168.0.1"),
    ]
    assert routes.gateway(str(box.root))[4].iface == "ppp0"


def test_no_hardware_address_leaves_the_box(box: Box) -> None:
    name = "enx0c5b8f279a64"
    box.interface(name, driver="cdc_ether", bus="usb", usb="12d1:14db").default(name)
    found = box.guess()
    told = json.dumps([found.as_json(), found.as_body()])
    assert "0c5b8f" not in told and "0c:5b" not in told
    assert found.type == "mobile" and found.iface == "enx*" and shown("wlx0c5b8f279a64") == "wlx*"
    assert shown("enp3s0") == "enp3s0" and shown("eth0") == "eth0"


def test_the_json_has_the_agreed_fields_and_the_body_only_what_was_measured(box: Box) -> None:
    found = box.interface("eth0", driver="igb").default("eth0").guess()
    assert set(found.as_json()) == {
        *("type", "generation", "iface", "confidence", "evidence", "signal", "operator"),
        *("roaming", "stated"),
    }
    assert found.as_body(age_s=3) == {
        "type": "ethernet",
        "confidence": 0.9,
        "iface": "eth0",
        "age_s": 3,
    }


def test_types_and_generations_agree() -> None:
    assert set(GENERATIONS) <= set(TYPES) and set(GENERATIONS.values()) == {"2g", "3g", "4g", "5g"}


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=100))
def test_rubbish_in_any_file_is_a_missing_fact(one: bytes, two: bytes, three: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, content in (
            ("proc/net/route", HEADING.encode() + one),
            ("proc/net/ipv6_route", two),
            ("proc/net/wireless", three + b"\n wlan0: " + one),
            ("sys/class/net/eth0/type", three),
            ("sys/class/net/eth0/uevent", one),
            ("sys/class/net/eth0/ifindex", two),
            ("sys/class/net/eth0/bonding/slaves", two),
        ):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        found = guess(link.gather(folder))
        assert found.type in TYPES
        json.dumps(found.as_json())


_IN_NAMESPACE = """
mount -t sysfs none /sys &&
ip link add x0 type veth peer name x1 && ip link add br0 type bridge &&
ip link set x0 master br0 && ip tuntap add dev t0 mode tun &&
ip link set br0 up && ip link set x0 up && ip link set x1 up && ip link set t0 up &&
ip addr add 192.0.2.1/24 dev br0 && ip route add default via 192.0.2.254 dev br0 metric 100 &&
ip addr add 198.51.100.1/24 dev t0 && ip route add default dev t0 metric 50 &&
exec "$0" -c '
import json
from agent import link
from agent.linkguess import guess
facts = link.gather()
names = [guess(facts, iface=name).type for name in ("lo", "x1", "br0", "t0")]
print(json.dumps([names, guess(facts).iface, link.routes.gateway()[4]]))
'
"""


def test_real_interfaces_in_a_namespace() -> None:
    needs.namespaces()
    needs.tool("ip")
    done = subprocess.run(
        ["unshare", "-n", "-m", "sh", "-c", _IN_NAMESPACE, sys.executable],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
    )
    if done.returncode != 0:
        pytest.skip(f"this machine's kernel has no such interfaces: {done.stderr[-200:]}")
    kinds, uplink, route = json.loads(done.stdout)
    assert kinds == ["loopback", "virtual", "bridge", "vpn"]
    assert uplink == "t0" and route[1] == "t0"
