"""Flags, environment and file become one Config, or one line that says what is wrong."""

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.config import Config, ConfigError, build_parser, default_journal, parse
from agent.linkguess import TYPES
from tests.certificates import Authority
from tests.swarms import joined

FLAGS = (
    *("name", "journal", "targets", "ca", "cert", "key", "place", "isp", "link"),
    *("allow-private", "deny", "flush", "mqtt", "config", "log-level", "budget"),
    *("max-rows", "max-bytes", "swarm"),
)


def read(*argv: str, environ: Mapping[str, str] | None = None) -> Config:
    return parse(argv, environ or {})


def refused(*argv: str, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as error:
        read(*argv, environ=environ)
    line = str(error.value)
    assert line and "\n" not in line
    return line


def toml(folder: Path, text: str) -> str:
    path = folder / "agent.toml"
    path.write_text(text)
    return str(path)


def test_the_classic_demo_needs_one_word() -> None:
    config = read("localhost")
    assert [str(broker) for broker in config.brokers] == ["mqtt://localhost:1883"]
    assert config.flush_s == 0 and config.mqtt == "auto" and config.name is None
    assert config.targets is None and config.budget_bytes is None and config.log_level == "info"


def test_it_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        read("localhost").name = "other"  # type: ignore[misc]


def test_every_option_is_a_flag_with_a_line_of_help() -> None:
    text = build_parser().format_help()
    assert all(f"--{flag} " in text for flag in FLAGS) and "BROKER" in text
    assert all(action.help for action in build_parser()._actions)


def test_every_option_is_also_in_the_environment_and_in_the_file(
    tmp_path: Path, authority: Authority
) -> None:
    pair = authority.issue("box")
    swarm = tmp_path / "box.swarm"
    swarm.write_text(joined(authority, "box"))
    values = {
        "brokers": "one two:1884",
        "name": "box",
        "journal": str(tmp_path / "j.db"),
        "targets": "a.example https://b.example/",
        "ca": str(authority.ca),
        "cert": str(pair.cert),
        "key": str(pair.key),
        "swarm": str(swarm),
        "place": "Paris 11e",
        "isp": "Órange",
        "link": "adsl",
        "allow-private": "10.1.0.0/16 127.0.0.1/32",
        "deny": "192.0.2.0/24",
        "flush": "60",
        "mqtt": "3.1.1",
        "budget": "2GB",
        "max-rows": "2000",
        "max-bytes": "10MB",
        "log-level": "debug",
    }
    flags = [part for name, value in values.items() if name != "brokers"
             for part in (f"--{name}", value)]  # fmt: skip
    by_flags = read("one", "two:1884", *flags)
    variables = {f"SWARMING_{k.replace('-', '_').upper()}": v for k, v in values.items()}
    assert read(environ=variables) == by_flags
    file = toml(tmp_path, "".join(f'{key} = "{value}"\n' for key, value in values.items()))
    from_file = read("--config", file)
    skip = {"file"}
    for field in fields(Config):
        if field.name not in skip:
            assert getattr(from_file, field.name) == getattr(by_flags, field.name), field.name
    assert set(values) == {"brokers", *FLAGS} - {"config"}
    assert by_flags.allow_private == (ip_network("10.1.0.0/16"), ip_network("127.0.0.1/32"))
    assert by_flags.budget_bytes == 2_000_000_000 and by_flags.max_bytes == 10_000_000


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, 'name = "file"\nplace = "file"\nisp = "file"\nbrokers = ["file"]\n')
    environ = {"SWARMING_CONFIG": file, "SWARMING_NAME": "env", "SWARMING_PLACE": "env"}
    config = read("--name", "flag", environ=environ)
    assert (config.name, config.place, config.isp) == ("flag", "env", "file")
    assert config.brokers[0].host == "file"


def test_an_empty_variable_counts_as_absent(tmp_path: Path) -> None:
    environ = {"SWARMING_NAME": "", "SWARMING_FLUSH": " ", "SWARMING_CONFIG": ""}
    assert read(environ=environ) == read()


def test_toml_types_and_lists_are_taken_as_they_are(tmp_path: Path) -> None:
    file = toml(
        tmp_path,
        'brokers = ["one", "two"]\ntargets = ["a.example", "b.example"]\n'
        'allow_private = ["10.0.0.0/8"]\nflush = 1.5\nbudget = 5000000\nmax-rows = 5000\n',
    )
    config = read("--config", file)
    assert len(config.brokers) == 2 and config.targets == "a.example b.example"
    assert config.flush_s == 1.5 and config.budget_bytes == 5_000_000 and config.max_rows == 5000


def test_paths_in_the_file_start_at_the_files_own_folder(tmp_path: Path) -> None:
    config = read("--config", toml(tmp_path, 'journal = "state/journal.db"\n'))
    assert config.journal == str(tmp_path / "state" / "journal.db")


def test_repeated_flags_add_up() -> None:
    config = read("--targets", "a.example", "--targets", "b.example c.example",
                  "--deny", "192.0.2.0/24", "--deny", "2001:db8::/32,198.51.100.0/24")  # fmt: skip
    assert config.targets == "a.example b.example c.example" and len(config.deny) == 3


def test_brokers_may_stand_before_and_after_the_options() -> None:
    config = read("one", "--name", "box", "two")
    assert [broker.host for broker in config.brokers] == ["one", "two"]


def test_a_certificate_makes_a_plain_broker_name_mean_tls(authority: Authority) -> None:
    config = read("one", "mqtt://two", "--ca", str(authority.ca))
    assert [broker.tls for broker in config.brokers] == [True, False]


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--name", "two words"], "name"),
        (["--name", "indexer-1"], "indexers"),
        (["--name", "x" * 65], "name"),
        (["--name", "grüße"], "name"),
        (["--journal", "a\nb"], "journal"),
        (["--ca", "/nonexistent"], "ca"),
        (["--cert", "/nonexistent"], "cert"),
        (["--key", "/dev/null"], "key"),
        (["--place", "x" * 65], "place"),
        (["--isp", "a\tb"], "isp"),
        (["--link", "carrier pigeon"], "link"),
        (["--allow-private", "10.1.0.0/99"], "allow-private"),
        (["--allow-private", "10.1.0.1/16"], "host bits"),
        (["--deny", "everything"], "deny"),
        (["--flush", "-1"], "flush"),
        (["--flush", "nan"], "flush"),
        (["--flush", "soon"], "flush"),
        (["--flush", "1e9"], "flush"),
        (["--mqtt", "4"], "mqtt"),
        (["--budget", "much"], "budget"),
        (["--budget", "10"], "budget"),
        (["--budget", "infMB"], "budget"),
        (["--max-rows", "3"], "max-rows"),
        (["--max-bytes", "3"], "max-bytes"),
        (["--log-level", "loud"], "log-level"),
        (["http://broker"], "broker"),
        (["broker:99999"], "broker"),
        (["--config", "/nonexistent"], "config"),
    ],
)
def test_bad_input_is_one_line_that_names_the_setting(flags: list[str], word: str) -> None:
    assert word in refused(*flags)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("pace = 1\n", "pace"),
        ("name = 5\n", "name"),
        ('flush = "soon"\n', "flush"),
        ("flush = true\n", "flush"),
        ("budget = true\n", "budget"),
        ("targets = [1]\n", "targets"),
        ("brokers = 5\n", "brokers"),
        ("[agent]\nname = 'x'\n", "agent"),
        ("name = \n", "TOML"),
        ("place = ['a']\n", "place"),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_setting(
    tmp_path: Path, text: str, word: str
) -> None:
    assert word in refused("--config", toml(tmp_path, text))
    Path(tmp_path / "agent.toml").write_bytes(b"\xff\xfe")
    assert "TOML" in refused("--config", str(tmp_path / "agent.toml"))


def test_certificates_are_checked_at_the_start(tmp_path: Path, authority: Authority) -> None:
    one, other = authority.issue("one"), authority.issue("other")
    assert "key" in refused("--cert", str(one.cert), "--key", str(other.key))
    assert "no cert" in refused("--key", str(one.key))
    (tmp_path / "rubbish").write_text("rubbish")
    assert "ca" in refused("--ca", str(tmp_path / "rubbish"))
    assert read("--cert", str(one.cert), "--key", str(one.key)).cert == str(one.cert)


def test_every_link_type_can_be_stated() -> None:
    assert [read("--link", kind).link for kind in TYPES] == list(TYPES)


def test_the_journals_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_journal({}) == "/var/lib/swarming/journal.db"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert default_journal({"XDG_STATE_HOME": "/x"}) == "/x/swarming/journal.db"
    assert default_journal({}).endswith(".local/state/swarming/journal.db")


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FLAGS), st.text(max_size=80))
@example("config", "\0")
def test_no_value_whatever_ends_in_anything_but_a_config_or_one_line(flag: str, text: str) -> None:
    try:
        read(f"--{flag}={text}")
    except ConfigError as error:
        assert "\n" not in str(error)
