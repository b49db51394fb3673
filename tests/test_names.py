"""An agent has a name from its start: its owner's, its certificate's, or a made-up one it keeps."""

import re
from pathlib import Path

import pytest

from agent import config, wire
from agent.config import ConfigError
from agent.names import ADJECTIVES, NOUNS, make_up, settle
from tests.certificates import Authority


def options(*flags: str, journal: Path) -> config.Config:
    return config.parse([*flags, "--journal", str(journal)], {})


def test_a_made_up_name_is_two_words_and_a_number_and_says_nothing_about_the_box() -> None:
    assert len(ADJECTIVES) >= 100 and len(NOUNS) >= 100
    assert len(set(ADJECTIVES)) == len(ADJECTIVES) and len(set(NOUNS)) == len(NOUNS)
    made = {make_up() for _ in range(200)}
    assert len(made) > 190  # of ten million
    assert all(re.fullmatch(r"[a-z]+-[a-z]+-[1-9][0-9][0-9]", name) for name in made)
    assert all(wire.is_name(f"{a}-{n}-999") for a in ADJECTIVES for n in NOUNS)


def test_it_is_kept_beside_the_journal_and_found_again(tmp_path: Path) -> None:
    journal = tmp_path / "state" / "journal.db"
    first = settle(options(journal=journal))
    assert (tmp_path / "state" / "name").read_text() == first + "\n"
    assert settle(options(journal=journal)) == first
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["name"]


def test_the_owners_name_comes_before_the_kept_one(tmp_path: Path) -> None:
    settle(options(journal=tmp_path / "j"))
    assert settle(options("--name", "attic", journal=tmp_path / "j")) == "attic"


def test_with_no_place_to_keep_it_and_no_name_it_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="--name"):
        settle(options(journal=Path("/proc/nowhere/journal.db")))
    assert settle(options("--name", "attic", journal=Path("/proc/nowhere/journal.db"))) == "attic"


def test_a_spoilt_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "name").write_text("../../etc/passwd\n")
    with pytest.raises(ConfigError, match="name in "):
        settle(options(journal=tmp_path / "j"))
    (tmp_path / "name").write_text("\n")  # a power cut of an old file system
    assert wire.is_name(settle(options(journal=tmp_path / "j")))


def test_the_certificates_cn_is_the_name(tmp_path: Path, authority: Authority) -> None:
    pair = authority.issue("roof-7")
    flags = ("--cert", str(pair.cert), "--key", str(pair.key))
    assert settle(options(*flags, journal=tmp_path / "j")) == "roof-7"
    assert settle(options(*flags, "--name", "roof-7", journal=tmp_path / "j")) == "roof-7"
    with pytest.raises(ConfigError, match="CN"):
        settle(options(*flags, "--name", "cellar", journal=tmp_path / "j"))


def test_a_cn_that_no_agent_may_have_is_refused(tmp_path: Path, authority: Authority) -> None:
    for cn in ("indexer-1", "not a name"):
        pair = authority.issue(cn)
        flags = ("--cert", str(pair.cert), "--key", str(pair.key))
        with pytest.raises(ConfigError, match="cert"):
            settle(options(*flags, journal=tmp_path / "j"))
