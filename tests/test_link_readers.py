"""What the tools of a box say of its modem: every tool, every trap, and any rubbish."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.link import (
    Facts,
    Ways,
    ask,
    at,
    docsis,
    dsl,
    hilink,
    iw,
    modemmanager,
    networkmanager,
    qmicli,
    ubus,
    umbim,
    uqmi,
    zte,
)
from agent.link.modem import (
    GENERATIONS,
    LIMITS,
    Modem,
    measured,
    modem,
    number,
    operator_of,
    plmn,
    technology,
)
from agent.link.outside import Hint
from agent.link.routes import Route
from agent.linkguess import TYPES, guess
from tests.link_boxes import BOXES, Box, look, runner, table

PARSERS: tuple[Callable[[str], list[Modem]], ...] = (
    *(modemmanager.parse, uqmi.parse, umbim.parse, qmicli.parse, ubus.parse, ubus.parse_iwinfo),
    *(networkmanager.parse, iw.parse, dsl.parse, at.parse, hilink.parse, zte.parse, docsis.parse),
)
IMEI, MAC = "490154203237518", "0c:5b:8f:27:9a:64"


@pytest.mark.parametrize("box", BOXES, ids=lambda box: box.name)
def test_a_box_is_guessed_to_be_what_it_is(box: Box) -> None:
    found = look(box)
    assert found.type == box.type, found.evidence
    assert found.signal == pytest.approx(dict(box.signal), abs=0.01)
    assert (found.operator, found.roaming) == (box.operator, box.roaming)
    assert found.generation == (box.generation or GENERATIONS.get(box.type))
    assert (found.confidence > 0) is (box.type != "unknown") and found.evidence


@pytest.mark.parametrize("box", BOXES, ids=lambda box: box.name)
def test_no_number_of_a_modem_and_no_name_of_a_network_leaves_a_box(box: Box) -> None:
    found = look(box)
    told = json.dumps([found.as_json(), found.as_body(), str(found)])
    assert not re.search(r"\d{12,}|([0-9a-f]{2}:){5}|Somebody|185733636", told)


DOC = (Path(__file__).parent.parent / "docs" / "links.md").read_text()


def test_the_table_of_confusion_in_the_docs_is_what_the_command_prints() -> None:
    assert DOC.partition("<!-- confusion -->\n")[2].strip() == table()
    assert f"of {len(BOXES)} boxes" in DOC and "| **lte** |" in DOC


def test_every_value_of_a_signal_is_in_the_docs() -> None:
    part = DOC.partition("<!-- signal -->")[2].partition("##")[0]
    named = set(re.findall(r"`(\w+)`", part))
    assert named == set(LIMITS) | {name for name in named if name.startswith("nr_")}
    assert {name for box in BOXES for name in box.signal} <= named


@pytest.mark.parametrize(
    ("answers", "type_", "operator", "roaming", "signal"),
    [
        (
            '+CGREG: 2,1,"66C0","1042",0\n+QNWINFO: "EDGE","20801","GSM 900",3\n',
            *("edge", "20801", False, {}),
        ),
        ('+COPS: 0,2,"26202",13\n+CEREG: 0,1\n', "5g", "26202", False, {}),
        ('+COPS: 0,0,"Telekom.de",7\n+CSQ: 99,99\n', "lte", "Telekom.de", None, {}),
        ('+CREG: 2,5,"0001","00000001",2\n', "umts", None, True, {}),
        ("+CREG: 0,2\n+CSQ: 3,99\n", "mobile", None, None, {"rssi_dbm": -107}),
        (
            '+COPS: 0,0,"x y",7\n+CESQ: 99,99,255,255,20,47\n',
            *("lte", "x y", None, {"rsrq_db": -10, "rsrp_dbm": -94}),
        ),
        (
            '+QENG: "servingcell","NOCONN"\n'
            '+QENG: "LTE","FDD",222,01,328261F,280,275,1,4,4,BE3,-99,-14,-66,7,4,30,-\n'
            '+QENG: "NR5G-NSA",222,01,920,-96,18,-10,648768,78,10,1\n',
            *("5g", "22201", None),
            {
                "rsrp_dbm": -99,
                "rsrq_db": -14,
                "rssi_dbm": -66,
                "sinr_db": 7,
                "nr_rsrp_dbm": -96,
                "nr_sinr_db": 18,
                "nr_rsrq_db": -10,
            },
        ),
        (
            '+QENG: "servingcell","NOCONN"\n'
            '+QENG: "LTE","FDD",520,04,4D8002,167,250,1,3,3,7E7,-128,-17,-94,7,10,23,-\n'
            '+QENG: "NR5G-NSA",520,04,1,-95,20,-11,-,78,8,1\n',
            *("lte", "52004", None),
            {"rsrp_dbm": -128, "rsrq_db": -17, "rssi_dbm": -94, "sinr_db": 7},
        ),
        (
            '+QENG: "servingcell","CONNECT","NR5G-SA","TDD",311,480,1A2B3C4,505,D00,504990,78,12,'
            "-88,-11,15,1,31\n",
            *("5g", "311480", None, {"rsrp_dbm": -88, "rsrq_db": -11, "sinr_db": 15}),
        ),
        (
            '^SYSINFOEX:2,3,1,1,,3,"WCDMA",46,"DC-HSPA+"\n^HCSQ:"WCDMA",39,29,45\n',
            *("hspa", None, True, {"rssi_dbm": -82, "rscp_dbm": -92, "ecio_db": -10}),
        ),
        (
            '^SYSINFOEX:2,3,0,1,,6,"LTE",101,"LTE"\n^HCSQ:"LTE",53,45,181,18\n',
            *("lte", None, False),
            {"rssi_dbm": -68, "rsrp_dbm": -96, "sinr_db": 16, "rsrq_db": -11},
        ),
        ('^SYSINFOEX:0,0,0,1,,0,"NO SERVICE",0,"NO SERVICE"\n', "mobile", None, None, {}),
        (
            "!GSTATUS: \nCurrent Time:  22016\t\tTemperature: 40\n"
            "System mode:   LTE        \tPS state:    Attached     \n"
            "LTE band:      B2     \t\tLTE bw:      20 MHz  \n"
            "PCC RxM RSSI:  -45\t\tRSRP (dBm):  -81\nPCC RxD RSSI:  -44\t\tRSRP (dBm):  -79\n"
            "Tx Power:      15\t\tTAC:         8C65 (35666)\n"
            "RSRQ (dB):     -14.0\t\tCell ID:     0A14666A (169106666)\nSINR (dB):     23.8\n",
            *("lte", None, None),
            {"rssi_dbm": -45, "rsrp_dbm": -81, "rsrq_db": -14, "sinr_db": 23.8},
        ),
        (
            "+CPSI: LTE,Online,505-01,0x5A1E,1872,257,EUTRAN-BAND3,1850,5,5,-94,-850,-545,15\n",
            *("lte", "50501", None),
            {"rsrq_db": -9.4, "rsrp_dbm": -85, "rssi_dbm": -54.5, "snr_db": 15},
        ),
        (
            "+CPSI: LTE CAT-M1,Online,310-260,0x1,1,3,EUTRAN-BAND2,900,5,5,-8,-92,-63,12\n",
            *("lte", "310260", None),
            {"rsrq_db": -8, "rsrp_dbm": -92, "rssi_dbm": -63, "snr_db": 12},
        ),
        (
            "+CPSI: WCDMA,Online,250-20,0x4D07,4487261,WCDMA IMT 2000,38,10563,0,4.0,69,32,46,500",
            *("umts", "25020", None, {"rscp_dbm": -69, "ecio_db": -4}),
        ),
        ("+CPSI: NO SERVICE,Online\n", "mobile", None, None, {}),
        (
            "+GTCCINFO: \r\n1,4,262,2,1A2B,0012345AB,100,42,103,100,7,41,44,14\r\n"
            "2,4,,,FFFF,00FFFFFFF,9460,71,,43,43,10\r\nOK\r\n",
            *("lte", "26202", None, {"rsrp_dbm": -97, "rsrq_db": -13, "snr_db": 7}),
        ),
        (
            "+GTCCINFO:\n1,4,001,01,ABCD,00ABCDEF0,1850,123,103,100,4,44,44,13\n"
            "1,9,,,FFFFFFF,00FFFFFFF,645312,130,5078,400,2,49,49,69\n",
            *("5g", None, None),
            {
                "rsrp_dbm": -97,
                "rsrq_db": -13.5,
                "snr_db": 4,
                "nr_rsrp_dbm": -108,
                "nr_rsrq_db": -9,
            },
        ),
        ('+QCSQ: "NOSERVICE"\n', "mobile", None, None, {}),
    ],
)
def test_what_modems_answer_to_at_commands(
    answers: str, type_: str, operator: str, roaming: bool, signal: dict[str, float]
) -> None:
    [said] = at.parse(answers)
    assert said.type == type_ and (said.operator, said.roaming) == (operator, roaming)
    assert said.signal == pytest.approx(signal, abs=0.01)


@pytest.mark.parametrize("act", range(14))
def test_every_access_technology_of_3gpp_has_a_type(act: int) -> None:
    [said] = at.parse(f'+COPS: 0,2,"26202",{act}\n')
    assert said.type in GENERATIONS
    assert (said.type == "5g") is (act in (11, 12, 13)), "10 is an LTE cell, 13 is EN-DC"


@pytest.mark.parametrize(
    ("words", "type_"),
    [
        *((("FDD LTE",), "lte"), (("TDD LTE",), "lte"), (("LTE_A",), "lte"), (("CAT-M1",), "lte")),
        *((("lte", "5gnr"), "5g"), (("ENDC",), "5g"), (("NR5G-SA",), "5g"), (("SA",), "5g")),
        *((("LTE-NSA",), "lte"), (("4G",), "lte"), (("E-UTRAN",), "lte"), (("EUTRAN",), "lte")),
        *((("gsm", "gprs"), "gprs"), (("umts", "hspa-plus"), "hspa"), (("DC-HSPA+",), "hspa")),
        *(
            (("UTRAN",), "umts"),
            (("TD-SCDMA",), "umts"),
            (("W-CDMA",), "umts"),
            (("EDGE",), "edge"),
        ),
        *((("No Service",), None), (("--",), None), (("",), None), (("unknown",), None)),
        *(((None, 7, ["lte"]), None), (("Limited Service",), None), (("cdma1x",), None)),
    ],
)
def test_the_words_of_all_tools_for_a_technology(words: tuple[object, ...], type_: str) -> None:
    assert technology(*words) == type_


def test_a_number_may_be_a_string_with_its_unit_and_missing_is_none() -> None:
    given = ["-89dBm", "-7.0 dB", ">=-51dBm", "-104.00", "7", 3, "", "--", None, True, "n/a", "1e9"]
    assert [number(one) for one in given] == [-89, -7, -51, -104, 7, 3, *[None] * 6]
    assert number(float("nan")) is None and number(10**400 if False else 1e300) is None


def test_what_cannot_be_is_not_measured() -> None:
    assert measured(rsrp_dbm=-32768, rsrq_db="255", rssi_dbm=0, quality_pct=101) == {}
    assert measured(rsrp_dbm="-95", nr_rsrp_dbm=-101.256) == {
        "rsrp_dbm": -95,
        "nr_rsrp_dbm": -101.26,
    }


def test_an_operator_is_a_network_and_never_a_subscriber() -> None:
    assert operator_of("26202") == "26202" and operator_of(" Orange  F ") == "Orange F"
    assert operator_of(IMEI) is None and operator_of("********") is None
    assert operator_of("--") is None and operator_of(None) is None
    assert plmn("262", "1") == "26201" and plmn(262, "003") == "262003" and plmn("0", "1") is None


def test_no_secret_gets_into_a_sentence() -> None:
    said = modem("x", "lte", f"x says {IMEI} at {MAC} and 262021234567890\x07")
    assert IMEI not in said.evidence and MAC not in said.evidence and "\x07" not in said.evidence


def test_a_hilink_page_without_a_session_is_still_a_stick() -> None:
    [said] = hilink.parse("<?xml version='1.0'?><error><code>125002</code><message/></error>")
    assert said.type == "mobile" and said.signal == {}
    assert hilink.parse("<html><title>My router</title></html>") == []


def test_the_page_of_a_modem_that_says_no_service_gives_no_signal() -> None:
    [said] = zte.parse('{"reply":"ok","params":{"signalStrength":-96,"simCardState":"invalid"}}')
    assert said.type == "mobile" and said.signal == {}


@pytest.mark.parametrize(
    ("page", "type_"),
    [
        ("<title>Starlink</title>", "satellite"),
        ("<h1>DOCSIS Status</h1>", "cable"),
        ("<td>GPON optical Rx power</td>", "fiber"),
        ("<title>FRITZ!Box</title>", None),
    ],
)
def test_a_page_behind_ethernet_is_evidence_of_low_confidence(page: str, type_: str | None) -> None:
    modems = tuple(docsis.parse(page))
    found = guess(Facts((Route(4, "eth0", "192.168.100.1", 0, 0),), {}, {}, modems))
    assert found.type == (type_ or "ethernet") and found.confidence < 0.6
    wifi = guess(Facts((Route(4, "wlan0", "192.168.100.1", 0, 0),), {}, {}, modems))
    assert wifi.type == "wifi", "of two hops, the Wi-Fi is the one that this box has"


def test_the_view_from_outside_decides_only_over_ethernet_and_only_if_it_is_sure_enough() -> None:
    def of(iface: str, hint: Hint) -> tuple[str, bool]:
        found = guess(Facts((Route(4, iface, "192.168.1.1", 0, 0),), {}, {}, (), hint))
        return found.type, hint.because in found.evidence

    assert of("eth0", Hint("vdsl", 0.5, "its name says vdsl")) == ("vdsl", True)
    assert of("eth0", Hint("fiber", 0.3, "short and steady")) == ("ethernet", True)
    assert of("wlan0", Hint("cable", 0.5, "its name says cable")) == ("wifi", True)


def test_a_modem_of_another_interface_says_nothing_of_this_one() -> None:
    other = modem("ModemManager", "lte", "ModemManager says lte", iface="wwan1")
    found = guess(Facts((Route(4, "wwan0", None, 0, 0),), {}, {}, (other,)))
    assert found.type == "mobile" and "ModemManager says lte" not in found.evidence
    pppoe = guess(
        Facts((Route(4, "pppoe-wan", None, 0, 0),), {}, {}, (other._replace(iface=None),))
    )
    assert pppoe.type == "ppp", "a modem that waits as a reserve is not the DSL line"


def test_two_tools_that_disagree_are_both_in_the_evidence_and_cost_confidence() -> None:
    one = modem("ModemManager", "5g", "ModemManager says lte, 5gnr", 0.85, iface="wwan0")
    two = modem("qmicli", "lte", "qmicli says lte", 0.95, iface="wwan0")
    found = guess(Facts((Route(4, "wwan0", None, 0, 0),), {}, {}, (one, two)))
    assert found.type == "lte" and found.confidence < 0.9
    assert {one.evidence, two.evidence} <= set(found.evidence)


def test_a_network_without_a_type_of_its_own_still_has_a_generation() -> None:
    said = uqmi.parse('{"type":"hdr","rssi":-80,"ecio":-5}')
    assert (said[0].type, said[0].generation) == ("mobile", "3g")


def test_umbim_never_opens_or_closes_the_session_that_is_measured() -> None:
    asked: list[str] = []

    def run(command: object) -> str | None:
        asked.append(" ".join(command))  # type: ignore[call-overload]
        return "  registerstate: 0003 - home\n"

    umbim.read(run, umbim.Port("/dev/cdc-wdm0", "wwan0", "cdc_mbim"))
    assert asked and all(" -n " in words and " -t " in words for words in asked)


def test_networkmanager_is_never_asked_for_the_name_of_a_network() -> None:
    asked: list[str] = []
    answers = runner({"nmcli -t -f DEVICE": "wlan0:wifi:connected\n"})

    def run(command: object) -> str | None:
        asked.append(" ".join(command))  # type: ignore[call-overload]
        return answers(command)  # type: ignore[arg-type]

    assert networkmanager.read(run)[0].iface == "wlan0"
    assert not any(word in words for words in asked for word in ("SSID", "CONNECTION", "NAME"))


def test_a_table_of_nmcli_and_its_wifi() -> None:
    text = (
        "DEVICE  TYPE  STATE  CONNECTION\nwlan0  wifi  connected  Home\nwwan0 gsm disconnected --\n"
    )
    assert [(one.iface, one.type) for one in networkmanager.parse(text)] == [("wlan0", "wifi")]
    assert networkmanager.parse_wifi("*:wlan0:78:130 Mbit/s\n :wlan0:40:54 Mbit/s\n") == {
        "wlan0": {"quality_pct": 78, "bitrate_mbit": 130}
    }


def test_an_access_point_is_nobodys_uplink() -> None:
    assert ubus.parse_iwinfo('{"mode":"Master","signal":-40,"quality":70,"quality_max":70}') == []


def test_the_other_tools_of_dsl_chips() -> None:
    control = (
        "Line State:                               UP [0x801: showtime_tc_sync]\n"
        "Line Mode:                                G.993.2 (VDSL2)\n"
        "Data Rate:                                Down: 49.999 Mb/s / Up: 9.999 Mb/s\n"
        "Line Attenuation (LATN):                  Down: 19.7 dB / Up: 22.2 dB\n"
        "Noise Margin (SNR):                       Down: 10.3 dB / Up: 6.9 dB\n"
    )
    [said] = dsl.parse(control)
    assert said.type == "vdsl" and said.signal["rate_down_kbit"] == pytest.approx(49999)
    assert (said.signal["snr_up_db"], said.signal["attn_down_db"]) == (6.9, 19.7)
    pipe = (
        "nReturn=0 nChannel=0 nDirection=1 ActualDataRate=63404000 PreviousDataRate=0\n"
        "nReturn=0 nDirection=1 nDeltDataType=1 LATN=128 SATN=126 SNR=106 ATTNDR=95624000\n"
    )
    assert dsl.parse(pipe)[0].signal == {
        "snr_down_db": 10.6,
        "attn_down_db": 12.8,
        "rate_down_kbit": 63404,
        "max_down_kbit": 95624,
    }
    idle = "ADSL driver and PHY status\nStatus: Idle\nMode:\t\tVDSL2 Annex B\n"
    assert dsl.parse(idle) == [] and dsl.parse("Status: Showtime\n") == []


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: f"{parse.__module__}.{parse.__name__}")
@pytest.mark.parametrize(
    "rubbish",
    [
        *("", "\0" * 100, "\ufffd\ufffd: \ufffd", "[" * 20000, '{"a":' * 5000, "{}", "[]", "null"),
        *('{"modem": 7}', '{"modem":[{"generic":[]}]}', '{"interface":[1,{"up":true}]}', "NaN"),
        *('{"type": {"lte": 1}}', '{"registration": [1], "roaming": "x"}', '{"dslstats": 1}'),
        *("<response><a></a></response>", "<error>", "+QENG:", "+QENG: ,,,,", "^HCSQ:", "!GSTATUS"),
        *("+CPSI: ,Online", "1,4,", "+GTCCINFO: 3," + "," * 20, "x" * 1_000_000),
        *("registerstate: \u0663 - home", "Mode: A\nStatus: Showtime\nSNR (dB): - -", "A:B:C:D"),
        *("Data Rate: Down: 9.9.9 Mb/s / Up: . Mb/s\nshowtime", "| | |\n" * 5000),
    ],
    ids=lambda text: repr(text[:24]),
)
def test_rubbish_says_nothing_that_is_wrong(
    parse: Callable[[str], list[Modem]], rubbish: str
) -> None:
    for said in parse(rubbish):
        assert said.type in TYPES and said.type not in GENERATIONS and said.signal == {}


_PIECES = st.sampled_from(
    [
        *('{"modem":', '{"generic":', '"state":', '"connected"', '"access-technologies":["lte"]'),
        *("[", "]", "{", "}", ",", ":", "\n", "\t", "--", "'", '"', "|", " (net)", "state", "lte"),
        *("+QENG: ", '"servingcell"', '"LTE"', "+CPSI: LTE,Online,", "^HCSQ:", "+CESQ: ", "-95"),
        *(
            "registerstate: 0003 - home",
            "Mode: ADSL2+",
            "Status: Showtime",
            "SNR (dB): 5 6",
            "9" * 400,
        ),
        *("<response>", "<mode>7</mode>", "<rsrp>", "</rsrp>", '"network_type":"LTE"', "1e999"),
        *("Radio interfaces: '1'", "LTE:\n", "RSRP: '-95 dBm'", "Connected to", "signal: -50 dBm"),
        *(
            '"up":true',
            '"l3_device":"wwan0"',
            '"proto":"qmi"',
            '"interface":',
            "wwan0:gsm:connected",
        ),
        *(
            "-1",
            "0",
            "255",
            "\u0669",
            "\u00b2",
            "nDirection=1 SNR=",
            "System mode: LTE",
            "!GSTATUS:",
        ),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(_PIECES, max_size=25).map("".join)))
def test_any_text_gives_facts_or_nothing(text: str) -> None:
    modems = []
    for parse in PARSERS:
        for said in parse(text):
            assert said.type in TYPES and 0 <= said.confidence <= 1
            assert all(isinstance(value, float) for value in said.signal.values())
            modems.append(said._replace(iface=None))
    found = guess(Facts((Route(4, "wwan0", None, 0, 0),), {}, {}, tuple(modems)))
    json.dumps(found.as_json(), allow_nan=False)


@settings(max_examples=25, deadline=None)
@given(st.one_of(st.none(), st.text(max_size=300), st.lists(_PIECES, max_size=20).map("".join)))
def test_a_box_whose_every_tool_prints_rubbish_is_still_guessed(text: str | None) -> None:
    said = ask(Ways(lambda command: text), "/nonexistent")
    assert isinstance(said.modems, dict)
    for read in (modemmanager.read, dsl.read, networkmanager.read, ubus.read):
        assert isinstance(read(lambda command: text), list)
