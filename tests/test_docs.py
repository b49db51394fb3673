"""What the documentation says is what the code does."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from agent import cli, wire
from indexer import flags as indexer_flags
from indexer.elastic import address, fields, templates

ROOT = Path(__file__).resolve().parent.parent
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_error_table_is_that_of_the_code() -> None:
    after = PROTOCOL.split("<!-- errors")[1]
    table = after[after.index("\n|") : after.index("\n\n", after.index("\n|"))]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|$", table, re.MULTILINE)
    assert dict(rows) == wire.ERRORS


@pytest.mark.parametrize(
    "topic",
    [
        wire.WATCH,
        wire.SWARM,
        wire.LOOK,
        *(
            make(f"<{word}>")
            for make, word in (
                (wire.watch_topic, "agent"),
                (wire.ping_topic, "agent"),
                (wire.batch_topic, "agent"),
                (wire.check_topic, "agent"),
                (wire.ack_topic, "agent"),
                (wire.agent_topic, "agent"),
                (wire.rip_topic, "agent"),
                (wire.indexer_topic, "name"),
            )
        ),
    ],
)
def test_every_topic_is_in_the_table(topic: str) -> None:
    assert f"| `{topic}` |" in PROTOCOL


def test_the_verdicts_topic_is_in_the_table() -> None:
    assert wire.verdict_topic("voila.fr") == "verdict/voila.fr"
    assert "| `verdict/<target>` |" in PROTOCOL


def test_the_example_of_a_result_is_one() -> None:
    example = re.search(r"```json\n(.*?)```", PROTOCOL, re.DOTALL)
    assert example is not None
    result = wire.decode_result(example[1].encode())
    message = wire.read(wire.ping_topic(result.agent), wire.encode_result(result))
    assert isinstance(message, wire.Results) and message.results == [result]


def commands(program: str) -> list[list[str]]:
    """Every mention of the program in the README, as words."""
    found = re.findall(rf"(?:^|`){program}\b([^`\n]*)", README, re.MULTILINE)
    return [shlex.split(rest.replace("'", "")) for rest in found]


def test_the_readmes_commands_of_the_agent_exist() -> None:
    mentioned = commands("swarming-agent")
    assert mentioned
    for words in mentioned:
        word = words[0] if words else "run"
        if re.fullmatch("[a-z]+", word) and word != "localhost":
            assert word in cli._COMMANDS, f"swarming-agent {word}"
    for name in cli._COMMANDS:
        assert re.search(rf"swarming-agent \[?{name}\b|`{name}`", README), f"{name} is not told"


def test_the_readmes_commands_of_the_indexer_exist() -> None:
    mentioned = commands("swarming-indexer")
    assert mentioned
    for words in mentioned:
        if words and re.fullmatch("[a-z]+", words[0]):
            assert words[0] in indexer_flags.COMMANDS, f"swarming-indexer {words[0]}"
    for name in indexer_flags.COMMANDS:
        assert re.search(rf"swarming-indexer \[?{name}\b", README), f"{name} is not told"


OF_OTHERS = {"--strict", "--now", "--allow-untrusted"}  # mypy's, systemctl's, apk's


def test_every_option_that_the_readme_names_exists() -> None:
    known = {
        option
        for name in cli._COMMANDS
        for action in cli._parser(name)._actions
        for option in action.option_strings
    }
    rooms = [ROOT / "indexer" / "config.py", *(ROOT / "indexer").glob("*flags.py")]
    rooms += (ROOT / "indexer").glob("*_command.py")
    source = "".join(room.read_text() for room in rooms)
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - OF_OTHERS:
        assert option in known or f'"{option}"' in source or f'"{option[2:]}"' in source, option


def test_make_targets_that_the_readme_names_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:^|`|\" )make ([a-z]+)", README, re.MULTILINE))
    assert {"run", "test"} <= named
    assert named <= targets


def test_files_that_the_readme_names_exist() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)|`((?:bench|docs)/[\w./]+)`", README):
        assert (ROOT / (path[0] or path[1])).exists(), path


ELASTIC = (ROOT / "docs" / "elasticsearch.md").read_text()


@pytest.mark.parametrize(
    ("family", "listed"),
    [
        ("results", fields.RESULT),
        ("rollups", fields.ROLLUP),
        ("verdicts", fields.VERDICT),
        ("agents", fields.AGENT),
    ],
)
def test_the_table_of_fields_is_that_of_the_templates(
    family: str, listed: tuple[fields.Field, ...]
) -> None:
    table = ELASTIC.split(f"<!-- fields of {family} -->")[1].split("<!-- end -->")[0]
    rows = [line.strip("| ").split(" | ") for line in table.strip().splitlines()[2:]]
    told = [[f"`{one.name}`", one.type, one.unit, one.source, one.says] for one in listed]
    assert [[cell.strip() for cell in row] for row in rows] == told


def test_the_least_privileges_are_those_that_the_indexer_asks_for() -> None:
    example = ELASTIC.split("<!-- privileges -->")[1].split("```")[1]
    whole = json.loads(example[example.index("{") : example.rindex("}") + 1])
    asked = whole["role_descriptors"]["indexer"]
    assert asked["cluster"] == list(templates.CLUSTER_PRIVILEGES)
    assert asked["indices"][0]["privileges"] == list(templates.INDEX_PRIVILEGES)


def test_every_option_of_an_engines_address_is_told() -> None:
    for option in address.OPTIONS:
        assert f"`{option}=" in ELASTIC
