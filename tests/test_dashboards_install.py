"""`swarming-indexer dashboards`, over real sockets, to what answers as the two tools do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.dashboards import command
from indexer.flags import parser
from indexer.store import StoreRefused
from indexer.typed import BadInput
from tests.certificates import Authority
from tests.dashboards_server import KIBANA, OPENSEARCH, Tool, basic
from tests.servers import free_port

EVERYTHING = 85


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Tool]]:
    """tool(kind, …) answers on loopback until the test ends."""
    monkeypatch.setenv("no_proxy", "*")
    for name in (command.API_KEY, command.PASSWORD):
        monkeypatch.delenv(name, raising=False)
    running: list[Tool] = []

    def start(kind: str, **more: Any) -> Tool:
        running.append(Tool(kind, **more))
        return running[-1]

    yield start
    for one in running:
        one.close()


def dashboards(*words: str) -> int:
    """What `swarming-indexer dashboards WORDS` does."""
    return command.run(parser().parse_args(["dashboards", *words]))


def refusal(*words: str) -> str:
    """The one line that it ends with instead."""
    with pytest.raises((BadInput, StoreRefused)) as caught:
        dashboards(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", [KIBANA, OPENSEARCH])
def test_everything_is_there_and_again_after_a_second_time(
    kind: str, tool: Callable[..., Tool], capsys: pytest.CaptureFixture[str]
) -> None:
    here = tool(kind)
    for _ in range(2):
        assert dashboards("--install", here.url + "/") == 0
        assert f"{EVERYTHING} objects are in" in capsys.readouterr().out
    assert len(here.objects) == EVERYTHING
    overview = here.objects["default", "swarming-overview"]
    assert overview["attributes"]["title"] == "swarming: Overview"


@pytest.mark.parametrize("kind", [KIBANA, OPENSEARCH])
def test_which_of_the_two_it_is_shows_without_its_header(
    kind: str, tool: Callable[..., Tool]
) -> None:
    here = tool(kind, tells=False)
    assert dashboards("--install", here.url) == 0
    assert len(here.objects) == EVERYTHING


def test_another_prefix_stands_beside_the_first(tool: Callable[..., Tool]) -> None:
    here = tool(KIBANA)
    dashboards("--install", here.url)
    dashboards("--install", here.url, "--index-prefix", "home")
    assert len(here.objects) == 2 * EVERYTHING


def test_a_space_and_a_tenant_have_their_own(tool: Callable[..., Tool]) -> None:
    kibana, opensearch = tool(KIBANA), tool(OPENSEARCH)
    kibana.spaces.add("lab")
    dashboards("--install", kibana.url, "--space", "lab")
    assert ("lab", "lab-swarming-overview") in kibana.objects
    dashboards("--install", opensearch.url, "--space", "Our Lab")
    assert ("Our Lab", "swarming-overview") in opensearch.objects
    assert "is there a space gone?" in refusal("--install", kibana.url, "--space", "gone")
    assert "small letters" in refusal("--install", kibana.url, "--space", "../x")


def test_it_logs_in_by_key_or_by_name_from_a_file_or_the_environment(
    tool: Callable[..., Tool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("bXk6a2V5\n")
    keyed = tool(KIBANA, authorization="ApiKey bXk6a2V5")
    assert dashboards("--install", keyed.url, "--api-key", str(secret)) == 0
    named = tool(OPENSEARCH, authorization=basic("anna", "bXk6a2V5"))
    assert dashboards("--install", named.url, "--user", "anna", "--password", str(secret)) == 0
    monkeypatch.setenv(command.API_KEY, "bXk6a2V5")
    monkeypatch.setenv(command.PASSWORD, "bXk6a2V5")
    assert dashboards("--install", keyed.url) == 0
    assert dashboards("--install", named.url, "--user", "anna") == 0


@pytest.mark.parametrize("kind", [KIBANA, OPENSEARCH])
def test_without_the_right_log_in_one_line_says_so(
    kind: str, tool: Callable[..., Tool], tmp_path: Path
) -> None:
    here = tool(kind, authorization=basic("anna", "right"))
    wrong = tmp_path / "wrong"
    wrong.write_text("hush-hush")
    assert "wants a log-in: --api-key" in refusal("--install", here.url)
    line = refusal("--install", here.url, "--user", "anna", "--password", str(wrong))
    assert "refuses this log-in" in line and "hush" not in line
    assert not here.objects


def test_a_key_is_nothing_that_opensearch_dashboards_takes(
    tool: Callable[..., Tool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(command.API_KEY, "bXk6a2V5")
    assert "takes no API key" in refusal("--install", tool(OPENSEARCH).url)


def test_over_tls_it_wants_a_certificate_that_it_can_trust(
    tool: Callable[..., Tool], authority: Authority, tmp_path: Path
) -> None:
    here = tool(KIBANA, pair=authority.issue("kibana", ("127.0.0.1",)))
    assert dashboards("--install", here.url, "--ca", authority.ca) == 0
    assert len(here.objects) == EVERYTHING
    assert "certificate is not trusted" in refusal("--install", here.url)
    elsewhere = tool(KIBANA, pair=authority.issue("other", ("192.0.2.1",)))
    assert "not trusted" in refusal("--install", elsewhere.url, "--ca", authority.ca)
    assert "no/such" in refusal("--install", here.url, "--ca", "no/such")
    assert "https://" in refusal("--install", "http://127.0.0.1:1", "--ca", authority.ca)


def test_an_object_that_is_refused_is_named_and_the_others_are_there(
    tool: Callable[..., Tool], capsys: pytest.CaptureFixture[str]
) -> None:
    here = tool(KIBANA)
    here.broken = {"swarming-http-phases", "swarming-verdicts"}
    line = refusal("--install", here.url)
    assert line == f"Kibana 8.19.0 took {EVERYTHING - 2} objects and refused 2"
    assert capsys.readouterr().err.splitlines() == [
        "visualization swarming-http-phases: mapper_parsing_exception",
        "dashboard swarming-verdicts: mapper_parsing_exception",
    ]
    assert len(here.objects) == EVERYTHING - 2


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ((503, {}, b"Kibana server is not ready yet"), "is not ready"),
        ((302, {"Location": "/login?next=%2Fapi"}, b""), "wants a log-in"),
        ((301, {"Location": "https://new.example/?token=x"}, b""), "points to https://new.example/:"),
        ((200, {}, b"<html>"), "nothing was imported"),
        ((403, {}, b'{"message": "no\\nprivilege"}'), "may not import saved objects: no privilege"),
        ((413, {}, b'{"message": "Payload too large"}'), "nothing was imported: Payload too large"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_one_line(
    answer: tuple[int, dict[str, str], bytes], line: str, tool: Callable[..., Tool]
) -> None:
    here = tool(KIBANA)
    here.says = answer
    assert line in refusal("--install", here.url)


def test_what_is_no_such_tool_or_an_old_one_gets_nothing(tool: Callable[..., Tool]) -> None:
    stranger = tool(KIBANA, tells=False)
    stranger.says = (200, {}, b'{"version": {"number": "x"}}')
    assert "neither Kibana nor OpenSearch Dashboards" in refusal("--install", stranger.url)
    old = tool(KIBANA, version="7.17.20")
    assert "Kibana 7.17.20 is too old" in refusal("--install", old.url)
    assert "no answer: " in refusal("--install", f"http://127.0.0.1:{free_port()}")
    assert not old.objects


def test_a_secret_goes_neither_in_clear_nor_into_an_address_nor_after_a_redirect(
    tool: Callable[..., Tool], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("bXk6a2V5")
    key = ("--api-key", str(secret))
    assert "travel in clear" in refusal("--install", "http://kibana.example:5601", *key)
    line = refusal("--install", "https://anna:hush@kibana.example")
    assert "no secret belongs in an address" in line and "hush" not in line
    thief, lure = tool(KIBANA), tool(KIBANA)
    lure.says = (307, {"Location": thief.url + "/api/status"}, b"")
    assert "points to" in refusal("--install", lure.url, *key)
    assert lure.asked and not thief.asked


def test_what_is_for_this_machine_goes_through_no_proxy(
    tool: Callable[..., Tool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("bXk6a2V5")
    here, proxy = tool(KIBANA), tool(KIBANA)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy.url)
    assert dashboards("--install", here.url, "--api-key", str(secret)) == 0
    assert here.objects and not proxy.asked


def test_what_is_typed_wrong_is_one_line(tmp_path: Path, tool: Callable[..., Tool]) -> None:
    url = tool(KIBANA).url
    empty, two = tmp_path / "empty", tmp_path / "two"
    empty.write_text("\n")
    two.write_text("one\ntwo")
    assert "is no address" in refusal("--install", "kibana.example:5601")
    assert "is no address" in refusal("--install", "https://kibana.example:port")
    assert "--user wants --password" in refusal("--install", url, "--user", "anna")
    assert "--password wants --user" in refusal("--install", url, "--password", str(two))
    assert "not both" in refusal("--install", url, "--user", "a", "--api-key", str(two))
    assert "No such file" in refusal("--install", url, "--api-key", str(tmp_path / "none"))
    assert "one line" in refusal("--install", url, "--api-key", str(empty))
    assert "one line" in refusal("--install", url, "--api-key", str(two))
    assert "small letters" in refusal("--install", url, "--index-prefix", "Swarm")
    assert str(two) in refusal("--out", str(two))


def test_files_to_import_by_hand_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dashboards("--out", str(tmp_path / "new"), "--index-prefix", "home") == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in paths] == ["kibana.ndjson", "opensearch-dashboards.ndjson"]
    first = json.loads(paths[0].read_text(encoding="utf-8").splitlines()[0])
    assert first["attributes"]["title"] == "home-results-*"
