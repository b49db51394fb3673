"""The page for LuCI in a real browser, over small stand-ins for LuCI's modules."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from agent import config
from tests import needs, openwrt

PAGE = openwrt.FEED / "luci-app-swarming"
VIEW = PAGE / "htdocs/luci-static/resources/view/swarming/overview.js"
STAND_INS = Path(__file__).with_name("luci_stand_ins.js")
MAIN = {"enabled": "1", "journal": "flash", "flush": "60"}
FACTS: dict[str, Any] = {
    "broker": "mqtts://swarm.example.org:8883",
    "indexer": "indexer-1",
    "last": "icmp example.org 12.3 ms",
    "about": {
        "agent": "router-1",
        "version": "0.1.0",
        "icmp": "dgram",
        "journal": {"waiting": 1234, "evicted": 5},
        "clock": {"trust": "ntp"},
        "link": {"type": "lte", "iface": "wwan0", "operator": "Example"},
        "list": {"targets": ["example.org", "https://example.com/"]},
        "refused": [{"target": "<img src=x onerror=alert(1)>", "reason": "it is <b>private</b>"}],
        "certificate": {"ends": "2028-11-26", "days_left": 700},
    },
}

Show = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = needs.tool("chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def show(browser: Browser) -> Iterator[Show]:
    page = browser.new_page()
    page.set_default_timeout(20_000)
    wrongs: list[str] = []
    page.on("pageerror", lambda error: wrongs.append(str(error)))
    page.on("dialog", lambda dialog: (wrongs.append("a dialog"), dialog.dismiss()))

    def shown(*answers: dict[str, Any], uci: dict[str, Any] | None = None) -> Page:
        page.set_content("<!doctype html><title>LuCI</title><body></body>")
        page.evaluate(STAND_INS.read_text())
        said = [one if "code" in one else {"code": 0, "stdout": json.dumps(one)} for one in answers]
        told = [VIEW.read_text(), {"swarming": {"main": dict(uci or MAIN)}}, said]
        page.evaluate("([view, uci, answers]) => show(view, uci, answers)", told)
        return page

    yield shown
    page.close()
    assert wrongs == []


def rows(page: Page, table: str) -> dict[str, str]:
    found = page.locator(f"#{table} tr").all()
    cells = [[cell.inner_text() for cell in row.locator("td").all()] for row in found]
    return dict(cells)


def test_it_says_how_the_agent_is(show: Show) -> None:
    told = rows(show(FACTS), "swarming-status")
    assert told["Agent"] == "router-1, 0.1.0"
    assert told["Broker"] == "mqtts://swarm.example.org:8883"
    assert told["Journal"] == "1234 results not yet confirmed, 5 lost, for want of room"
    assert told["Link"] == "lte, wwan0, Example"
    assert told["Echoes"] == "by dgram sockets"
    assert told["Targets"] == "example.org https://example.com/"
    assert told["Certificate"] == "until 2028-11-26"


def test_what_came_from_afar_is_text_and_never_html(show: Show) -> None:
    page = show(FACTS)
    assert rows(page, "swarming-refused") == {
        "<img src=x onerror=alert(1)>": "it is <b>private</b>"
    }
    assert page.locator("img, b").count() == 0


def test_an_agent_with_nothing_to_tell_yet_is_shown_too(show: Show) -> None:
    page = show({})
    assert rows(page, "swarming-status")["Broker"] == "none reached"
    assert page.locator("#swarming-refused").count() == 0


def test_where_no_agent_runs_it_says_how_to_begin(show: Show) -> None:
    page = show({"code": 2, "stdout": "", "stderr": "swarming-agent: no agent runs on /x\n"})
    said = page.locator("#swarming-problem").inner_text()
    assert "no agent runs on /x" in said and "swarming-agent join" in said
    assert page.locator("[name=broker]").count() == 1, "the settings are there all the same"


def test_it_stays_live(show: Show) -> None:
    later = json.loads(json.dumps(FACTS)) | {"broker": None}
    page = show(FACTS, later)
    assert page.evaluate("world.polls.length") == 1
    page.evaluate("world.polls[0][0]()")
    expect(page.locator("#swarming-status")).to_contain_text("none reached")
    assert page.evaluate("world.polls[0][1]") >= 10, "Python's start is dear on a router"


def test_settings_are_those_of_uci_and_are_saved_there(show: Show) -> None:
    page = show(FACTS, uci=MAIN | {"broker": ["mqtt://a"], "link": "vdsl"})
    assert page.locator("[name=link]").input_value() == "vdsl"
    assert page.locator("[name=broker]").input_value() == "mqtt://a"
    page.locator("[name=place]").fill("Paris")
    page.locator("[name=broker]").fill("mqtt://a\nmqtt://b")
    page.locator("[name=link]").select_option("")
    page.locator("[name=enabled]").uncheck()
    page.evaluate("world.maps[0].save()")
    saved = page.evaluate("world.uci.swarming.main")
    assert saved == {
        "enabled": "0",
        "journal": "flash",
        "flush": "60",
        "place": "Paris",
        "broker": ["mqtt://a", "mqtt://b"],
    }


def test_every_setting_is_an_option_of_the_agent(show: Show) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    config.add_options(parser)
    known = {action.dest for action in parser._actions} | {"enabled", "broker"}
    shown = set(show(FACTS).evaluate("world.maps[0].sections[0].options.map(one => one.name)"))
    assert shown <= known
    assert {"broker", "place", "isp", "journal", "flush", "allow_private"} <= shown


def test_rpcd_lets_the_page_do_what_it_does_and_no_more(show: Show) -> None:
    page = show(FACTS)
    asked = {" ".join(words) for words in page.evaluate("world.asked")}
    acl = json.loads((PAGE / "root/usr/share/rpcd/acl.d/luci-app-swarming.json").read_text())
    allowed = acl["luci-app-swarming"]
    assert set(allowed["read"]["file"]) == asked
    assert "file" not in allowed["write"] and allowed["write"]["uci"] == ["swarming"]
    menu = json.loads((PAGE / "root/usr/share/luci/menu.d/luci-app-swarming.json").read_text())
    path = menu["admin/services/swarming"]["action"]["path"]
    assert VIEW.as_posix().endswith(f"/view/{path}.js")
