"""The page in a real browser: it draws, fits a phone, stays live, keeps its policy, and is usable
by those who do not see it. Screenshots are kept under artefacts/."""

import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from agent.wire import Result
from indexer import web
from indexer.desk import Live
from indexer.store import Store
from tests import needs
from tests.servers import free_port, wait_for
from tests.web_house import (
    OUTAGE,
    YOU,
    DeskWithLoop,
    asked_to_join,
    empty_store,
    filled_store,
    wall_ms,
)

pytestmark = pytest.mark.flaky(reruns=2)  # a browser on a loaded machine

PATIENCE_MS = 30_000
SHOTS = Path(__file__).parent.parent / "artefacts"
DESKTOP, PHONE = ViewportSize(width=1280, height=900), ViewportSize(width=390, height=844)
FORMS = {"desktop-light": (DESKTOP, "light"), "phone-dark": (PHONE, "dark")}
VIEWS = {
    "front": "/",
    "you": f"/?agent={YOU}",
    "overview": "/overview",
    "target": f"/target?target={quote(OUTAGE, safe='')}&agent={YOU}",
    "agents": "/agents",
    "agent": f"/agents/{YOU}",
    "lists": "/lists",
    "joining": "/joining",
}


class House(NamedTuple):
    url: str
    desk: DeskWithLoop
    store: Store


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("browser")
    store = filled_store(folder)
    desk = DeskWithLoop(store, ca_folder=str(asked_to_join(folder / "ca")))
    server, thread, url = serve(store, desk)
    yield House(url, desk, store)
    server.should_exit = True
    thread.join(20)
    store.close()


def serve(store: Store, desk: DeskWithLoop) -> tuple[uvicorn.Server, threading.Thread, str]:
    port = free_port()
    config = uvicorn.Config(
        web.app(store, desk), port=port, log_level="warning", lifespan="off",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, what="the page")
    return server, thread, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = needs.tool("chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


class Watched(NamedTuple):
    """A page, and all that it did that it should not."""

    page: Page
    wrongs: list[str]


@pytest.fixture
def opened(browser: Browser, house: House) -> Iterator[Any]:
    contexts = []

    def open_page(path: str, form: str = "desktop-light") -> Watched:
        viewport, scheme = FORMS[form]
        context = browser.new_context(
            viewport=viewport,
            color_scheme="dark" if scheme == "dark" else "light",
            timezone_id="Asia/Tokyo",
            locale="en-GB",
        )
        contexts.append(context)
        page, wrongs = context.new_page(), []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda said: wrongs.append(f"console: {said.text}"))
        page.on("pageerror", lambda error: wrongs.append(f"error: {error}"))
        page.on("request", lambda asked: wrongs.extend(_foreign(asked.url, house.url)))
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            " (event) => console.error(`policy: ${event.violatedDirective}`))"
        )
        page.goto(house.url + path)
        expect(page.locator("#pulse")).to_have_attribute("data-state", "on", timeout=PATIENCE_MS)
        return Watched(page, wrongs)

    yield open_page
    for context in contexts:
        context.close()


def _foreign(url: str, ours: str) -> list[str]:
    return [] if url.startswith((f"{ours}/", "data:")) else [f"foreign request: {url}"]


def wait_drawn(page: Page) -> None:
    page.wait_for_function(
        "[...document.querySelectorAll('[data-chart]')]"
        ".every((one) => one.dataset.drawn && one.querySelector('canvas'))"
    )


def unreachable_for_some(page: Page) -> list[str]:
    """What axe-core finds that is serious or critical."""
    if not page.evaluate("typeof axe === 'object'"):
        folder = find_spec("axe_playwright_python")
        assert folder is not None and folder.origin is not None
        page.evaluate((Path(folder.origin).parent / "axe.min.js").read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html']}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_draws_fits_and_keeps_to_the_rules(opened: Any, view: str, form: str) -> None:
    page, wrongs = opened(VIEWS[view], form)
    wait_drawn(page)
    expect(page.locator("h1")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{view}-{form}.png")
    assert unreachable_for_some(page) == []
    assert wrongs == []


def test_a_broken_rule_would_be_seen(opened: Any) -> None:
    page, wrongs = opened("/lists")
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend',"
        ' \'<p style="color: red"><img src="https://elsewhere.example/x.png"><input>\')'
    )
    page.wait_for_function("document.querySelector('img[src*=elsewhere]').complete")
    found = "\n".join(wrongs)
    assert "policy: style-src-attr" in found and "policy: img-src" in found
    assert [one for one in unreachable_for_some(page) if one.startswith(("label", "image-alt"))]


def test_a_chart_has_something_on_it(opened: Any) -> None:
    page, _ = opened(VIEWS["target"])
    wait_drawn(page)
    colours = page.evaluate(
        """[...document.querySelectorAll('canvas')].map((canvas) => {
          const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
          const seen = new Set();
          for (let at = 0; at < data.length; at += 4) {
            if (data[at + 3]) seen.add(data.slice(at, at + 3).join());
          }
          return seen.size;
        })"""
    )
    assert len(colours) == 3  # HTTP, its phases, ping
    assert all(count > 10 for count in colours)


def test_arrow_keys_read_a_chart_out(opened: Any) -> None:
    page, wrongs = opened(VIEWS["target"])
    wait_drawn(page)
    plot = page.locator(".plot").first
    readout = page.locator(".readout").first
    plot.focus()
    page.keyboard.press("Home")
    expect(readout).to_contain_text("median", timeout=PATIENCE_MS)
    first = readout.inner_text()
    page.keyboard.press("ArrowRight")
    expect(readout).not_to_have_text(first, timeout=PATIENCE_MS)
    page.keyboard.press("ArrowLeft")
    expect(readout).to_have_text(first, timeout=PATIENCE_MS)
    page.keyboard.press("End")
    expect(readout).to_contain_text("no answer", timeout=PATIENCE_MS)  # the outage
    assert wrongs == []


def test_a_new_result_is_told_at_once(opened: Any, house: House) -> None:
    page, wrongs = opened("/")
    body = {"kind": "icmp", "target": "dns.example", "ok": True, "error": None, "sent": 1}
    body |= {"received": 1, "rtts_ms": [7.0], "link": {"type": "wifi"}}
    result = Result("pi-live", "0" * 16, 1, wall_ms(), "ntp", 1, body)
    house.store.put([result], wall_ms())
    house.desk.tell(Live("results", (result,)))
    expect(page.locator("#pulse-text")).to_have_text(
        "pi-live: dns.example 7.0 ms", timeout=PATIENCE_MS
    )
    # And the rest follows without a reload: the new target is in the table.
    page.evaluate("window.notReloaded = true")
    _tell_until(house, result, lambda: page.locator("#targets").get_by_text("dns.example").count())
    assert page.evaluate("window.notReloaded") is True
    assert wrongs == []


def _tell_until(house: House, result: Result, seen: Any) -> None:
    """The picture of now is some seconds old at most; results go on coming."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not seen():
        assert time.monotonic() < end, "the page did not follow"
        house.desk.tell(Live("results", (result,)))
        threading.Event().wait(0.2)


def test_a_change_made_elsewhere_appears_and_can_be_undone_with_one_click(
    opened: Any, house: House
) -> None:
    page, wrongs = opened("/lists")
    elsewhere = f"elsewhere-{time.time_ns()}.example"  # another one when this is tried again
    house.desk.change_list("watch", elsewhere, "somebody else")
    history = page.locator("#history")
    expect(history).to_contain_text(f"added {elsewhere}", timeout=PATIENCE_MS)
    expect(history).to_contain_text("somebody else")
    page.get_by_role("button", name="Undo").first.click()
    expect(page.locator("h1")).not_to_have_text("1 target for everybody", timeout=PATIENCE_MS)
    assert house.desk.lists()["watch"] != elsewhere
    assert wrongs == []


def test_a_target_is_added_by_the_form(opened: Any, house: House) -> None:
    page, wrongs = opened("/")
    page.get_by_label("Add a target").fill("form.example")
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".targets")).to_contain_text("form.example", timeout=PATIENCE_MS)
    assert "form.example" in house.desk.lists()["watch"].split()
    page.get_by_role("button", name="Remove form.example").click()
    expect(page.locator(".targets")).not_to_contain_text("form.example", timeout=PATIENCE_MS)
    assert wrongs == []


def test_times_are_in_the_viewers_zone(opened: Any) -> None:
    page, _ = opened("/lists")
    shown = page.locator("time").first
    utc = shown.get_attribute("datetime")
    assert utc is not None and utc.endswith("Z")
    hour = (int(utc[11:13]) + 9) % 24  # Tokyo
    expect(shown).to_contain_text(f"{hour:02}:{utc[14:16]}", timeout=PATIENCE_MS)


def test_another_view_is_chosen_and_has_a_link_of_its_own(opened: Any) -> None:
    page, wrongs = opened("/")
    page.get_by_label("Whose view?").select_option(YOU)
    page.wait_for_url(f"**/?agent={YOU}")
    expect(page.locator("h1")).to_contain_text("not you", timeout=PATIENCE_MS)
    assert wrongs == []


def test_failures_are_drawn_and_an_indexer_that_is_gone_dims_the_answer(
    browser: Browser, tmp_path: Path
) -> None:
    """A box without a router; then the page is left alone."""
    store = empty_store(tmp_path)
    body = {"kind": "ladder", "target": "ladder", "ok": False, "error": "no_gateway"}
    begun_ms = wall_ms() - 60_000
    failed = [Result("pi-1", "0" * 16, n, begun_ms - 60_000 * n, "ntp", 1, body) for n in range(30)]
    store.put(failed, wall_ms())
    server, thread, url = serve(store, DeskWithLoop(store))
    page = browser.new_page(viewport=PHONE)
    page.set_default_timeout(PATIENCE_MS)
    try:
        page.goto(f"{url}/agents/pi-1")
        wait_drawn(page)
        expect(page.locator(".chart figcaption")).to_contain_text("all 30 probes failed")
        reds = page.locator(".plot canvas").evaluate(
            """(canvas) => {
                const {width, height} = canvas;
                const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
                let found = 0;
                for (let i = 0; i < data.length; i += 4)
                    if (data[i + 3] > 150 && data[i] > 150 && data[i + 1] < 120) found += 1;
                return found;
            }"""
        )
        assert reds > 500
        page.goto(url)
        expect(page.locator("#pulse")).to_have_attribute("data-state", "on", timeout=PATIENCE_MS)
        expect(page.locator("#stale")).to_be_hidden()
        server.should_exit = True
        expect(page.locator("#stale")).to_contain_text("As of", timeout=PATIENCE_MS)
        expect(page.locator("body")).to_have_class("stale")
    finally:
        page.close()
        server.should_exit = True
        thread.join(20)
        store.close()


def test_an_operator_lets_a_box_in_by_one_click(opened: Any) -> None:
    page, wrongs = opened("/joining")
    expect(page.locator("h1")).to_have_text("2 boxes to approve")
    page.get_by_role("button", name="Approve box-1").click()
    expect(page.locator("h1")).to_have_text("1 box to approve")
    expect(page.get_by_role("row", name="box-1")).to_contain_text("approved")
    assert wrongs == []
