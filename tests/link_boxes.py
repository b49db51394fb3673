"""Boxes, as their tools and files show them: what each must be guessed to be.

Written by hand in the tools' formats. ``python -m tests.link_boxes`` prints the table of what was
guessed for what (docs/links.md has it).
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agent import link
from agent.link.http import Getter, Reply
from agent.linkguess import Link, guess

_HEADING = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


class Nic(NamedTuple):
    name: str
    type: int = 1
    devtype: str | None = None
    driver: str | None = None
    bus: str = "usb"
    usb: str | None = None
    wdm: str | None = None  # the control device beside it
    folders: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()
    operstate: str = "up"


class Box(NamedTuple):
    name: str
    type: str
    nics: tuple[Nic, ...]
    tools: Mapping[str, str] = {}  # by the start of the command
    signal: Mapping[str, float] = {}  # all of it
    operator: str | None = None
    roaming: bool | None = None
    routes: tuple[str, ...] = ()  # default routes, the first by the first NIC if none
    pages: Mapping[str, str] = {}  # at the gateway
    files: Mapping[str, str] = {}
    gateway: str = "192.168.8.1"
    generation: str | None = None
    at: str | None = None  # what the modem's serial port answers
    asked_outside: bool = False  # the owner lets us look at the home router's page


def write(box: Box, root: Path) -> None:
    """The box's files."""
    for index, nic in enumerate(box.nics, 2):
        _write_nic(root, nic, index)
    first, second, third, fourth = (int(part) for part in box.gateway.split("."))
    gateway = f"{fourth:02X}{third:02X}{second:02X}{first:02X}"
    lines = [
        f"{name}\t00000000\t{gateway}\t0003\t0\t0\t{metric}\t00000000\t0\t0\t0\n"
        for metric, name in enumerate(box.routes or (box.nics[0].name,))
    ]
    files = {"proc/net/route": _HEADING + "".join(lines), **box.files}
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def _write_nic(root: Path, nic: Nic, index: int) -> None:
    folder = root / "sys/class/net" / nic.name
    folder.mkdir(parents=True)
    uevent = f"DEVTYPE={nic.devtype}\n" if nic.devtype else ""
    texts = {
        "type": f"{nic.type}\n",
        "uevent": f"{uevent}INTERFACE={nic.name}\nIFINDEX={index}\n",
        "ifindex": f"{index}\n",
        "iflink": f"{index}\n",
        "operstate": nic.operstate + "\n",
        "address": "0c:5b:8f:27:9a:64\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    for name in nic.folders:
        (folder / name).mkdir()
    for name in nic.lower:
        (folder / f"lower_{name}").symlink_to(f"../{name}")
    if nic.driver is None:
        return
    device = root / f"sys/devices/{nic.name}/1-1/1-1:1.0"
    (device / "net" / nic.name).mkdir(parents=True)
    (device / "driver").symlink_to(f"../../../../bus/{nic.bus}/drivers/{nic.driver}")
    (device / "subsystem").symlink_to(f"../../../../bus/{nic.bus}")
    if nic.usb:
        (device.parent / "idVendor").write_text(nic.usb[:4] + "\n")
        (device.parent / "idProduct").write_text(nic.usb[5:] + "\n")
    (folder / "device").symlink_to(device)
    if nic.wdm:
        misc = root / "sys/class/usbmisc" / nic.wdm
        misc.mkdir(parents=True)
        (misc / "device").symlink_to(device)


def runner(tools: Mapping[str, str]) -> Callable[[Sequence[str]], str | None]:
    """Tools that answer what is written here; the longest start of the command that fits."""

    def run(command: Sequence[str]) -> str | None:
        words = " ".join(command)
        fitting = [start for start in tools if words.startswith(start)]
        return tools[max(fitting, key=len)] if fitting else None

    return run


def _pages(pages: Mapping[str, str]) -> Callable[[str], Getter]:
    def page(_: str) -> Getter:
        def get(path: str, headers: Mapping[str, str]) -> Reply | None:
            for start, body in pages.items():
                if path.startswith(start):
                    return Reply(200, {}, body)
            return None

        return get

    return page


def look(box: Box) -> Link:
    """The guess for this box."""
    with tempfile.TemporaryDirectory() as folder:
        write(box, Path(folder))
        ways = link.Ways(
            run=runner(box.tools),
            page=_pages(box.pages) if box.pages else None,
            serial=lambda device: box.at,
            ports=("/dev/ttyUSB2",) if box.at else (),
            any_page=box.asked_outside,
        )
        return guess(link.gather(folder, ways))


def _mmcli(
    generic: dict[str, Any], signal: dict[str, Any] | None = None, **gpp: str
) -> dict[str, str]:
    modem = {"modem": {"3gpp": {"imei": "490154203237518", **gpp}, "generic": generic}}
    nothing = {"rssi": "--", "rsrp": "--", "rsrq": "--", "snr": "--"}
    radios = dict.fromkeys(("5g", "lte", "umts", "gsm"), nothing) | (signal or {})
    return {
        "mmcli -L": "    /org/freedesktop/ModemManager1/Modem/3 [Some] Modem\n",
        "mmcli -m 3 -J": json.dumps(modem),
        "mmcli -m 3 --signal-get -J": json.dumps({"modem": {"signal": radios}}),
    }


def _generic(tech: list[str], quality: str, *ports: str, **more: Any) -> dict[str, Any]:
    return {
        "access-technologies": tech,
        "ports": list(ports) or ["cdc-wdm0 (qmi)", "wwan0 (net)"],
        "signal-quality": {"recent": "yes", "value": quality},
        "state": "connected",
        "bearers": ["/org/freedesktop/ModemManager1/Bearer/5"],
        **more,
    }


_QMI = Nic("wwan0", 65534, "wwan", "qmi_wwan", wdm="cdc-wdm0")
_MBIM = Nic("wwan0", 1, "wwan", "cdc_mbim", wdm="cdc-wdm0")
_PPP = Nic("ppp0", 512, "ppp")
_ETH = Nic("eth0", driver="r8169", bus="pci")
_STICK = Nic("usb0", driver="cdc_ether", usb="12d1:14db")
_ZTE = Nic("usb0", driver="rndis_host", usb="19d2:1403")


def _uqmi(signal: str, serving: str = '{"registration":"registered"}') -> dict[str, str]:
    start = "uqmi -s -d /dev/cdc-wdm0 --get-"
    return {start + "signal-info": signal, start + "serving-system": serving}


def _hilink(status: str, signal: str = "<response></response>", plmn: str = "") -> dict[str, str]:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    token = "<response><SesInfo>SessionID=x</SesInfo><TokInfo>y</TokInfo></response>"
    return {
        "/api/webserver/SesTokInfo": head + token,
        "/api/monitoring/status": f"{head}<response>{status}</response>",
        "/api/device/signal": head + signal,
        "/api/net/current-plmn": f"{head}<response>{plmn}</response>",
    }


def _netifd(*interfaces: dict[str, Any]) -> dict[str, str]:
    listed = [{"up": True, "dynamic": False, **one} for one in interfaces]
    return {"ubus call network.interface dump": json.dumps({"interface": listed}, indent="\t")}


_OLD_MMCLI = """
/org/freedesktop/ModemManager1/Modem/0 (device id 'f2a7fc9dd1cd0ae4d2c6d8d1a9d8bba1e60d1cf9')
  -------------------------
  Hardware |   manufacturer: 'QUALCOMM INCORPORATED'
           |          model: 'QUECTEL Mobile Broadband Module'
           |      supported: 'gsm-umts, lte'
           |        current: 'gsm-umts, lte'
           |   equipment id: '490154203237518'
  -------------------------
  System   |         device: '/sys/devices/pci0000:00/0000:00:13.0/usb1/1-1/1-1.3'
           |        drivers: 'qmi_wwan, option1'
           |         plugin: 'Quectel'
           |   primary port: 'cdc-wdm0'
           |          ports: 'ttyUSB0 (qcdm), ttyUSB2 (at), cdc-wdm0 (qmi), wwan0 (net)'
  -------------------------
  Status   |           lock: 'none'
           | unlock retries: 'sim-pin2 (3)'
           |          state: 'connected'
           |    power state: 'on'
           |    access tech: 'hspa-plus'
           | signal quality: '71' (recent)
  -------------------------
  3GPP     |           imei: '490154203237518'
           |  enabled locks: 'none'
           |    operator id: '22801'
           |  operator name: 'Swisscom'
           |   subscription: 'unknown'
           |   registration: 'home'
  -------------------------
  Bearers  |          paths: '/org/freedesktop/ModemManager1/Bearer/0'
"""

_KEYS_5G = """
modem.generic.ports.length                      : 2
modem.generic.ports.value[1]                    : cdc-wdm0 (mbim)
modem.generic.ports.value[2]                    : wwan0 (net)
modem.generic.state                             : connected
modem.generic.access-technologies.length        : 1
modem.generic.access-technologies.value[1]      : 5gnr
modem.generic.signal-quality.value              : 62
modem.generic.signal-quality.recent             : yes
modem.3gpp.operator-code                        : 26201
modem.3gpp.registration-state                   : home
"""

_QMICLI_SERVING = """[/dev/cdc-wdm0] Successfully got serving system:
	Registration state: 'registered'
	CS: 'attached'
	PS: 'attached'
	Selected network: '3gpp'
	Radio interfaces: '1'
		[0]: '{radio}'
	Roaming status: '{roaming}'
	Data service capabilities: '1'
		[0]: '{radio}'
	Current PLMN:
		MCC: '310'
		MNC: '410'
		Description: 'AT&T'
	3GPP location area code: '65534'
	3GPP cell ID: '185733636'
"""

_UMBIM = """  nwerror: 0000 - unknown
  registerstate: {state}
  registermode: 0001 - automatic
  availabledataclasses: {classes}
  currentcellularclass: 0001 - gsm
  provider_id: 26202
  provider_name: Vodafone.de
  roamingtext:
"""

_METRICS = {
    "api_version": "4.17.18.6",
    "chipset": "Lantiq-VRX200",
    "state": "Showtime with TC-Layer sync",
    "state_num": 7,
    "up": True,
    "uptime": 86012,
    "mode": "G.993.2 (VDSL2, Profile 17a, with down- and upstream vectoring)",
    "annex": "B",
    "standard": "G.993.2",
    "profile": "17a",
    "upstream": {
        "vendor": "Broadcom 178.6",
        "trellis": True,
        "latn": 12.1,
        "satn": 11.8,
        "snr": 8.3,
        "actps": -90.1,
        "actatp": 13.0,
        "attndr": 41300000,
        "data_rate": 36998000,
    },
    "downstream": {
        "vendor": "Infineon 0.0",
        "latn": 14.7,
        "satn": 14.9,
        "snr": 11.2,
        "attndr": 124300000,
        "data_rate": 109344000,
    },
    "errors": {"near": {"es": 12}, "far": {"es": 3}},
}

_ADSL = """ADSL driver and PHY status
Status: Showtime
Last Retrain Reason:	8000
Max:	Upstream rate = 1123 Kbps, Downstream rate = 9824 Kbps
Bearer:	0, Upstream rate = 891 Kbps, Downstream rate = 8191 Kbps

Link Power State:	L0
Mode:			G.DMT Annex A
Line Status:		No Defect
Training Status:	Showtime
		Down		Up
SNR (dB):	 9.1		 11.0
Attn(dB):	 42.5		 25.4
Pwr(dBm):	 19.4		 12.3
"""

_GOFORM = {
    "modem_main_state": "modem_init_complete",
    "network_type": "LTE",
    "sub_network_type": "FDD_LTE",
    "network_provider": "Orange",
    "rmcc": "208",
    "rmnc": "1",
    "simcard_roam": "Home",
    "signalbar": "4",
    "rssi": "",
    "lte_rssi": "-63",
    "lte_rsrp": "-91",
    "lte_rsrq": "-9",
    "lte_snr": "14.2",
    "Z5g_rsrp": "",
    "Z5g_SINR": "-20.0",
}

_IW = """Connected to 02:11:22:33:44:55 (on wlan0)
	SSID: Somebody's home
	freq: 5180
	RX: 1234567 bytes (2345 packets)
	signal: -61 dBm
	rx bitrate: 433.3 MBit/s VHT-MCS 9 80MHz short GI VHT-NSS 1
	tx bitrate: 390.0 MBit/s VHT-MCS 8 80MHz VHT-NSS 1
"""
_WIRELESS = (
    "Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n"
    " face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n"
    " wlan0: 0000   54.  -56.  -256        0      0      0      0      0        0\n"
)
_IWINFO = {
    "phy": "phy0",
    "ssid": "Somebody's home",
    "bssid": "02:11:22:33:44:55",
    "mode": "Client",
    "channel": 36,
    "quality": 49,
    "quality_max": 70,
    "signal": -61,
    "noise": -93,
    "bitrate": 300000,
    "country": "DE",
}
_WLAN = Nic("wlan0", 1, "wlan", "brcmfmac", "sdio", folders=("wireless",))
_BR = Nic("br-lan", 1, "bridge", folders=("bridge",), lower=("eth0",))

BOXES: tuple[Box, ...] = (
    Box(
        "ModemManager, LTE with its signal",
        "lte",
        (_QMI,),
        _mmcli(
            _generic(["lte"], "68"),
            {"lte": {"rssi": "-67.00", "rsrp": "-97.00", "rsrq": "-11.00", "snr": "8.40"}},
            **{"operator-code": "26203", "registration-state": "home"},
        ),
        {"quality_pct": 68, "rssi_dbm": -67, "rsrp_dbm": -97, "rsrq_db": -11, "snr_db": 8.4},
        "26203",
        False,
    ),
    Box(
        "ModemManager, 5G beside LTE",
        "5g",
        (_QMI,),
        _mmcli(
            _generic(["lte", "5gnr"], "80"),
            {
                "lte": {"rssi": "-60.00", "rsrp": "-88.00", "rsrq": "-9.00", "snr": "18.00"},
                "5g": {"rsrp": "-95.00", "rsrq": "-11.00", "snr": "12.50"},
            },
            **{"operator-code": "310260", "registration-state": "roaming"},
        ),
        {
            "quality_pct": 80,
            "rssi_dbm": -60,
            "rsrp_dbm": -88,
            "rsrq_db": -9,
            "snr_db": 18,
            "nr_rsrp_dbm": -95,
            "nr_rsrq_db": -11,
            "nr_snr_db": 12.5,
        },
        "310260",
        True,
    ),
    Box(
        "ModemManager, EDGE; the reading is not recent",
        "edge",
        (_QMI,),
        _mmcli(
            _generic(["edge"], "22", **{"signal-quality": {"recent": "no", "value": "22"}}),
            {"gsm": {"rssi": "-95.00"}},
            **{"operator-code": "52001", "registration-state": "home"},
        ),
        {"quality_pct": 22, "rssi_dbm": -95},
        "52001",
        False,
    ),
    Box(
        "ModemManager over PPP: no network port",
        "hspa",
        (_PPP,),
        _mmcli(
            _generic(["hsdpa", "hsupa"], "45", "ttyUSB2 (at)", "ttyUSB3 (at)"),
            {"umts": {"rssi": "-81.00", "rscp": "-89.00", "ecio": "-8.50"}},
            **{"operator-code": "22288", "registration-state": "home"},
        )
        | {
            "mmcli -b 5": "  Status | connected: yes\n         | interface: ttyUSB3\n"
            "  IPv4 configuration | method: ppp\n"
        },
        {"quality_pct": 45, "rssi_dbm": -81, "rscp_dbm": -89, "ecio_db": -8.5},
        "22288",
        False,
    ),
    Box(
        "ModemManager, disabled, 0% cached",
        "mobile",
        (_QMI,),
        _mmcli(
            _generic(
                [], "0", state="disabled", **{"signal-quality": {"recent": "no", "value": "0"}}
            ),
            **{"operator-code": "--", "registration-state": "--"},
        ),
    ),
    Box(
        "an old mmcli, with quotes and no JSON",
        "hspa",
        (_QMI,),
        {
            "mmcli -L": "Found 1 modems:\n\t/org/freedesktop/ModemManager1/Modem/0 [Q] M\n",
            "mmcli -m 0 ": "",
            "mmcli -m 0": _OLD_MMCLI,
        },
        {"quality_pct": 71},
        "22801",
        False,
    ),
    Box(
        "mmcli with keys, 5G alone",
        "5g",
        (_MBIM,),
        {
            "mmcli -L": "/org/freedesktop/ModemManager1/Modem/0",
            "mmcli -m 0 -J": "error: unknown option -J\n",
            "mmcli -m 0 -K": _KEYS_5G,
        },
        {"quality_pct": 62},
        "26201",
        False,
    ),
    Box(
        "two modems: the one on the route counts",
        "umts",
        (_QMI._replace(name="wwan1"), Nic("wwan0", 65534, "wwan", "qmi_wwan")),
        {
            "mmcli -L": "/org/freedesktop/ModemManager1/Modem/0\n/org/x/Modem/1\n",
            "mmcli -m 0 -J": json.dumps(
                {"modem": {"generic": _generic(["lte"], "90", "wwan0 (net)"), "3gpp": {}}}
            ),
            "mmcli -m 1 -J": json.dumps(
                {"modem": {"generic": _generic(["umts"], "31", "wwan1 (net)"), "3gpp": {}}}
            ),
        },
        {"quality_pct": 31},
    ),
    Box(
        "CDMA: a generation without a type",
        "mobile",
        (_QMI,),
        _mmcli(_generic(["evdo0"], "40")),
        {"quality_pct": 40},
        generation="3g",
    ),
    Box(
        "uqmi, LTE, an old build (snr in tenths)",
        "lte",
        (_QMI,),
        _uqmi(
            '{\n\t"type": "lte",\n\t"rssi": -58,\n\t"rsrq": -8,\n\t"rsrp": -86,\n\t"snr": 164\n}',
            '{"registration":"registered","plmn_mcc":262,"plmn_mnc":1,'
            '"plmn_description":"Telekom.de","roaming":false}',
        ),
        {"rssi_dbm": -58, "rsrq_db": -8, "rsrp_dbm": -86, "snr_db": 16.4},
        "26201",
        False,
    ),
    Box(
        "uqmi, LTE, a new build (snr as a decimal)",
        "lte",
        (_QMI,),
        _uqmi('{"type":"lte","rssi":-58,"rsrq":-8,"rsrp":-86,"snr":16.400000}'),
        {"rssi_dbm": -58, "rsrq_db": -8, "rsrp_dbm": -86, "snr_db": 16.4},
    ),
    Box(
        "uqmi, 5G beside LTE is a list",
        "5g",
        (_QMI,),
        _uqmi(
            '[{"type":"lte","rssi":-60,"rsrq":-10,"rsrp":-90,"snr":12.200000},'
            '{"type":"5gnr","rsrp":-93,"snr":21.500000,"rsrq":-11}]'
        ),
        {
            "rssi_dbm": -60,
            "rsrq_db": -10,
            "rsrp_dbm": -90,
            "snr_db": 12.2,
            "nr_rsrp_dbm": -93,
            "nr_snr_db": 21.5,
            "nr_rsrq_db": -11,
        },
    ),
    Box(
        "uqmi, WCDMA",
        "umts",
        (_QMI,),
        _uqmi('{"type":"wcdma","rssi":-75,"ecio":-6}'),
        {"rssi_dbm": -75, "ecio_db": -6},
    ),
    Box(
        "uqmi, GSM; EDGE is not told",
        "gsm",
        (_QMI,),
        _uqmi('{"type":"gsm","signal":-83}'),
        {"rssi_dbm": -83},
    ),
    Box(
        "uqmi, searching",
        "mobile",
        (_QMI,),
        _uqmi('{"type":"lte","rssi":-125}', '{"registration":"searching"}'),
    ),
    Box("uqmi, no answer from the modem", "mobile", (_QMI,), _uqmi('"Failed to connect"', "")),
    Box(
        "qmicli, LTE with 5G beside it",
        "5g",
        (_QMI,),
        {
            "qmicli -p -d /dev/cdc-wdm0 --nas-get-serving-system": _QMICLI_SERVING.format(
                radio="lte", roaming="off"
            ),
            "qmicli -p -d /dev/cdc-wdm0 --nas-get-signal-info": (
                "[/dev/cdc-wdm0] Successfully got signal info\nLTE:\n\tRSSI: '-61 dBm'\n"
                "\tRSRQ: '-10 dB'\n\tRSRP: '-89 dBm'\n\tSNR: '13.4 dB'\n"
                "5G:\n\tRSRP: '-99 dBm'\n\tSNR: '5.0 dB'\n\tRSRQ: '-12 dB'\n"
            ),
        },
        {
            "rssi_dbm": -61,
            "rsrq_db": -10,
            "rsrp_dbm": -89,
            "snr_db": 13.4,
            "nr_rsrp_dbm": -99,
            "nr_snr_db": 5,
            "nr_rsrq_db": -12,
        },
        "310410",
        False,
    ),
    Box(
        "qmicli, WCDMA, and -32768 for a 5G cell that is not there",
        "umts",
        (_QMI,),
        {
            "qmicli -p -d /dev/cdc-wdm0 --nas-get-serving-system": _QMICLI_SERVING.format(
                radio="umts", roaming="on"
            ),
            "qmicli -p -d /dev/cdc-wdm0 --nas-get-signal-info": (
                "[/dev/cdc-wdm0] Successfully got signal info\nWCDMA:\n\tRSSI: '-77 dBm'\n"
                "\tECIO: '-5.5 dB'\n5G:\n\tRSRP: '-32768 dBm'\n\tSNR: '-3276.8 dB'\n"
            ),
        },
        {"rssi_dbm": -77, "ecio_db": -5.5},
        "310410",
        True,
    ),
    Box(
        "umbim, at home",
        "lte",
        (_MBIM,),
        {
            "umbim -n -t 100 -d /dev/cdc-wdm0 registration": _UMBIM.format(
                state="0003 - home", classes="0020 - lte"
            )
        },
        operator="26202",
        roaming=False,
    ),
    Box(
        "umbim, roaming in 3G",
        "hspa",
        (_MBIM,),
        {
            "umbim -n -t 100 -d /dev/cdc-wdm0 registration": _UMBIM.format(
                state="0004 - roaming", classes="001C - umts hsdpa hsupa"
            )
        },
        operator="26202",
        roaming=True,
    ),
    Box(
        "netifd: the modem's addresses are on dynamic children",
        "mobile",
        (Nic("wwan0", 1, driver="some_new_driver"),),
        _netifd(
            {"interface": "wan", "proto": "qmi"},
            {"interface": "wan_4", "proto": "dhcp", "dynamic": True, "l3_device": "wwan0"},
            {"interface": "lan", "proto": "static", "l3_device": "br-lan"},
        ),
    ),
    Box(
        "netifd: a child of the owner's own, on @wan",
        "mobile",
        (Nic("eth2", 1, driver="some_new_driver"),),
        _netifd(
            {"interface": "wan", "proto": "ncm"},
            {"interface": "wan6", "proto": "dhcpv6", "device": "@wan", "l3_device": "eth2"},
        ),
    ),
    Box(
        "netifd: ModemManager over PPP",
        "mobile",
        (_PPP,),
        _netifd({"interface": "broadband", "proto": "modemmanager", "l3_device": "ppp0"}),
        gateway="10.64.64.64",
    ),
    Box(
        "OpenWrt's ubus knows ModemManager's modem",
        "lte",
        (_QMI,),
        {
            "ubus call modemmanager info": json.dumps(
                {
                    "modem": [
                        {
                            "generic": _generic(["lte"], "77"),
                            "3gpp": {"operator-code": "20404", "registration-state": "roaming"},
                            "signal": {"lte": {"rsrp": "-101.00", "rsrq": "--"}},
                        }
                    ]
                }
            )
        },
        {"quality_pct": 77, "rsrp_dbm": -101},
        "20404",
        True,
    ),
    Box(
        "PPPoE over Ethernet says neither DSL nor fibre",
        "ppp",
        (Nic("pppoe-wan", 512, "ppp"), _ETH),
        _netifd({"interface": "wan", "proto": "pppoe", "device": "eth0", "l3_device": "pppoe-wan"}),
    ),
    Box(
        "PPPoE over the box's own DSL chip",
        "vdsl",
        (Nic("pppoe-wan", 512, "ppp"), Nic("dsl0")),
        _netifd(
            {"interface": "wan", "proto": "pppoe", "device": "dsl0.7", "l3_device": "pppoe-wan"}
        )
        | {"ubus call dsl metrics": json.dumps(_METRICS)},
        {
            "rate_down_kbit": 109344,
            "rate_up_kbit": 36998,
            "snr_down_db": 11.2,
            "snr_up_db": 8.3,
            "attn_down_db": 14.7,
            "attn_up_db": 12.1,
            "max_down_kbit": 124300,
            "max_up_kbit": 41300,
        },
    ),
    Box(
        "a Broadcom line in G.DMT",
        "adsl",
        (_PPP._replace(name="ppp0.1"),),
        {"adslctl info --stats": _ADSL},
        {
            "rate_down_kbit": 8191,
            "rate_up_kbit": 891,
            "snr_down_db": 9.1,
            "snr_up_db": 11,
            "attn_down_db": 42.5,
            "attn_up_db": 25.4,
            "max_down_kbit": 9824,
            "max_up_kbit": 1123,
        },
    ),
    Box(
        "a DSL chip that is idle beside a modem in use",
        "mobile",
        (_QMI, Nic("dsl0", operstate="down")),
        {"ubus call dsl metrics": json.dumps(_METRICS | {"up": False, "state": "Idle"})},
    ),
    Box(
        "HiLink, HSPA+ with a SIM",
        "hspa",
        (_STICK,),
        signal={"rscp_dbm": -81, "ecio_db": -6, "rssi_dbm": -75, "bars": 3, "bars_max": 5},
        operator="25099",
        roaming=False,
        pages=_hilink(
            "<ConnectionStatus>901</ConnectionStatus><SignalIcon>3</SignalIcon>"
            "<CurrentNetworkType>9</CurrentNetworkType><RoamingStatus>0</RoamingStatus>"
            "<ServiceStatus>2</ServiceStatus><SimStatus>1</SimStatus>"
            "<CurrentNetworkTypeEx>45</CurrentNetworkTypeEx><maxsignal>5</maxsignal>",
            "<response><rssi>-75dBm</rssi><rscp>-81dBm</rscp><ecio>-6dB</ecio><mode>2</mode>"
            "<rsrp></rsrp></response>",
            "<Numeric>25099</Numeric><Rat>2</Rat>",
        ),
    ),
    Box(
        "HiLink says 19 (LTE) without a SIM",
        "mobile",
        (_STICK,),
        pages=_hilink(
            "<SignalIcon>0</SignalIcon><CurrentNetworkType>19</CurrentNetworkType>"
            "<SimStatus>255</SimStatus><CurrentNetworkTypeEx>101</CurrentNetworkTypeEx>"
        ),
    ),
    Box(
        "HiLink, 5G beside LTE",
        "5g",
        (_STICK,),
        signal={
            "rsrp_dbm": -90,
            "rsrq_db": -9,
            "sinr_db": 12,
            "rssi_dbm": -61,
            "nr_rsrp_dbm": -97,
            "nr_rsrq_db": -11,
            "nr_sinr_db": 8,
            "bars": 4,
            "bars_max": 5,
        },
        pages=_hilink(
            "<SignalIcon>4</SignalIcon><CurrentNetworkType>19</CurrentNetworkType>"
            "<SimStatus>1</SimStatus><CurrentNetworkTypeEx>111</CurrentNetworkTypeEx>"
            "<maxsignal>5</maxsignal>",
            "<response><rsrq>-9.0dB</rsrq><rsrp>-90dBm</rsrp><rssi>-61dBm</rssi><sinr>12dB</sinr>"
            "<nrrsrp>-97dBm</nrrsrp><nrrsrq>-11.0dB</nrrsrq><nrsinr>8dB</nrsinr></response>",
        ),
    ),
    Box(
        "ZTE's page",
        "lte",
        (_ZTE,),
        signal={
            "rssi_dbm": -63,
            "rsrp_dbm": -91,
            "rsrq_db": -9,
            "snr_db": 14.2,
            "bars": 4,
            "bars_max": 5,
        },
        operator="20801",
        roaming=False,
        pages={"/goform/goform_get_cmd_process": json.dumps(_GOFORM)},
        gateway="192.168.0.1",
    ),
    Box(
        "ZTE's LTE-NSA is LTE: 5G is only near",
        "lte",
        (_ZTE,),
        signal={"rsrp_dbm": -91},
        pages={
            "/goform/": '{"modem_main_state":"x","network_type":"LTE-NSA","lte_rsrp":"-91",'
            '"Z5g_rsrp":"-140"}'
        },
    ),
    Box(
        "ZTE's page with every field blank: refused",
        "mobile",
        (_ZTE,),
        pages={"/goform/": '{"modem_main_state":"","network_type":"","lte_rsrp":""}'},
    ),
    Box("a HiLink stick whose page does not answer", "mobile", (_STICK,)),
    Box("a tethered Android phone", "mobile", (Nic("usb0", driver="rndis_host", usb="18d1:4ee3"),)),
    Box("a tethered iPhone", "mobile", (Nic("eth1", driver="ipheth", usb="05ac:12a8"),)),
    Box("a USB Ethernet adapter", "ethernet", (Nic("eth1", driver="cdc_ether", usb="0bda:8153"),)),
    Box(
        "a Wi-Fi station with an old kernel",
        "wifi",
        (_WLAN,),
        signal={"signal_dbm": -56, "quality_pct": 77},
        files={"proc/net/wireless": _WIRELESS},
    ),
    Box(
        "a Wi-Fi station, by iw",
        "wifi",
        (_WLAN,),
        {"iw dev wlan0 link": _IW},
        {"signal_dbm": -61, "bitrate_mbit": 433.3},
    ),
    Box(
        "a Wi-Fi station, by iwinfo",
        "wifi",
        (_WLAN,),
        {"ubus call iwinfo info": json.dumps(_IWINFO)},
        {"signal_dbm": -61, "noise_dbm": -93, "quality_pct": 70, "bitrate_mbit": 300},
    ),
    Box("Ethernet behind a bridge", "ethernet", (_BR, _ETH)),
    Box(
        "WireGuard over LTE is LTE",
        "lte",
        (Nic("wg0", 65534, "wireguard"), _QMI),
        _uqmi('{"type":"lte","rssi":-70,"rsrp":-99}'),
        {"rssi_dbm": -70, "rsrp_dbm": -99},
        routes=("wg0", "wwan0"),
    ),
    Box(
        "WireGuard that took the default route over a modem",
        "lte",
        (Nic("wg0", 65534, "wireguard"), _QMI),
        _uqmi('{"type":"lte","rssi":-70}'),
        {"rssi_dbm": -70},
        routes=("wg0",),
    ),
    Box(
        "464XLAT over LTE: IPv4 goes through a translator",
        "lte",
        (Nic("464-wwan_4", 65534), _QMI),
        _uqmi('{"type":"lte","rssi":-70}'),
        {"rssi_dbm": -70},
        routes=("464-wwan_4",),
        files={
            "proc/net/ipv6_route": f"{'0' * 32} 00 {'0' * 32} 00 fe80{'0' * 27}1 00000400 00000001"
            " 00000000 00000003    wwan0\n"
        },
    ),
    Box(
        "a mux over the modem's interface",
        "lte",
        (Nic("qmimux0", 519), _QMI),
        _mmcli(_generic(["lte"], "55")),
        {"quality_pct": 55},
    ),
    Box(
        "a modem with a network port that is used over PPP",
        "umts",
        (_PPP, _QMI._replace(operstate="down")),
        _mmcli(_generic(["umts"], "55"))
        | {"mmcli -b 5": "  Status | connected: yes\n         | interface: ttyUSB2\n"},
        {"quality_pct": 55},
    ),
    Box(
        "a VLAN on a DSL chip's device, without any tool",
        "dsl",
        (Nic("ptm0.835", 1, "vlan", lower=("ptm0",)), Nic("ptm0")),
    ),
    Box(
        "NetworkManager's gsm is no generation",
        "mobile",
        (_QMI,),
        {"nmcli -t -f DEVICE,TYPE,STATE device": "cdc-wdm0:gsm:connected\nlo:loopback:unmanaged\n"},
    ),
    Box(
        "AT commands over a serial port: EDGE, though the registration says GSM",
        "edge",
        (_PPP,),
        signal={"rssi_dbm": -87},
        operator="310260",
        roaming=True,
        at='+CGREG: 2,5,"66C0","1042",0\r\n+CSQ: 13,99\r\nOK\r\n'
        '+QNWINFO: "EDGE","310260","GSM 1900",613\r\nOK\r\n',
    ),
    Box("ModemManager, GPRS", "gprs", (_QMI,), _mmcli(_generic(["gprs"], "9")), {"quality_pct": 9}),
    Box(
        "a Starlink dish behind Ethernet",
        "satellite",
        (_ETH,),
        pages={"/": "<html><head><title>Starlink</title></head></html>"},
        asked_outside=True,
    ),
    Box(
        "a cable modem behind Ethernet",
        "cable",
        (_ETH,),
        pages={"/": "<html><h1>DOCSIS downstream bonded channels</h1></html>"},
        asked_outside=True,
    ),
    Box("a home router whose page says nothing", "ethernet", (_ETH,), pages={"/": "<html></html>"}),
    Box("a bridge without ports", "bridge", (_BR._replace(lower=()),)),
    Box("a container's veth", "virtual", (Nic("eth0", folders=("brport",)),)),
    Box("a tunnel over nothing that is known", "vpn", (Nic("wg0", 65534, "wireguard"),)),
    Box("an interface that says nothing", "unknown", (Nic("foo0", 999, driver="foo"),)),
    Box(
        "a bond whose active port is the modem",
        "lte",
        (Nic("bond0", 1, "bond", lower=("wwan0",)), _QMI),
        _uqmi('{"type":"lte","rssi":-70}'),
        {"rssi_dbm": -70},
    ),
    Box("an optical terminal that is the box", "fiber", (Nic("gpon0"),)),
)


def table() -> str:
    """What was guessed (across) for what it is (down), in Markdown."""
    counts = Counter((box.type, look(box).type) for box in BOXES)
    types = sorted({type_ for pair in counts for type_ in pair})
    lines = [f"| is \\ guessed | {' | '.join(types)} |", "|---" * (len(types) + 1) + "|"]
    for real in types:
        cells = [str(counts[real, guessed] or "") for guessed in types]
        lines.append(f"| **{real}** | {' | '.join(cells)} |")
    right = sum(count for (real, guessed), count in counts.items() if real == guessed)
    return "\n".join([*lines, "", f"{right} of {len(BOXES)} boxes are guessed right."])


if __name__ == "__main__":
    print(table())
