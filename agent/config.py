"""Flags, environment and file become one frozen Config, checked whole; else one ConfigError.

A flag beats the environment (``SWARMING_NAME`` for ``--name``), which beats the TOML file (``name``
in it), which beats the .swarm file that the box joined with. The pace of the probes is not here:
nobody can configure it.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent import swarm_file
from agent.dial import Broker
from agent.linkguess import TYPES
from agent.settings import ConfigError as ConfigError  # whoever reads a Config catches it
from agent.settings import (
    brokers_of,
    check_tls,
    choice_of,
    devices_of,
    file_of,
    name_of,
    networks_of,
    number_of,
    path_of,
    size_of,
    text_of,
    words_of,
)
from agent.swarm_file import SwarmFileError
from agent.targets import Network

STATE_FOLDER = "/var/lib/swarming"
JOURNAL = "journal.db"
MAX_FLUSH_S = 3600.0
MIN_BUDGET_BYTES = 1_000_000
LOG_LEVELS = ("debug", "info", "warning", "error")
MQTT_VERSIONS = ("auto", "5", "3.1.1", "3.1")
PAGES = ("modem", "router", "none")
_FOLDER_OF_FILES = ("journal", "swarm", "ca", "cert", "key")


@dataclass(frozen=True, slots=True)
class Config:
    """All that the owner of the box decides."""

    brokers: tuple[Broker, ...]
    name: str | None  # None: names.settle finds one
    journal: str
    swarm: str | None  # the .swarm file in force; None: not joined
    targets: str | None  # as given; targets.parse_list reads it like a list from ``watch``
    ca: str | None
    cert: str | None
    key: str | None
    place: str | None
    isp: str | None
    link: str | None
    at: tuple[str, ...]  # serial ports of modems that may be asked
    pages: str
    allow_private: tuple[Network, ...]
    deny: tuple[Network, ...]
    flush_s: float
    mqtt: str
    budget_bytes: int | None
    log_level: str
    max_rows: int
    max_bytes: int
    file: str | None


# Name, placeholder, help. Each is a flag, a variable of the environment and a key of the file.
_OPTIONS: tuple[tuple[str, str, str], ...] = (
    ("name", "NAME", "this agent's name; without it, the certificate's, else a made-up one"),
    (
        "journal",
        "FILE",
        "the SQLite file that keeps every result until it is confirmed (journal.db in "
        f"{STATE_FOLDER} for root and who may write there, else in ~/.local/state/swarming)",
    ),
    (
        "swarm",
        "FILE",
        "what join wrote: name, brokers, certificate, key and authority in one "
        f"({swarm_file.SYSTEM_PATH} for root and who may read it, else in ~/.config/swarming); "
        "an empty one: not joined",
    ),
    ("targets", "LIST", 'what to probe until a list arrives: "example.org https://example.com/"'),
    ("ca", "FILE", "certificates that may vouch for the broker (else the system's)"),
    ("cert", "FILE", "this agent's certificate; its CN is the agent's name"),
    ("key", "FILE", "the private key of --cert"),
    ("place", "TEXT", 'where this box stands, as you want others to see it: "Paris"'),
    ("isp", "TEXT", "whose line it is on"),
    ("link", "TYPE", f"the line's type, when the guess is wrong: {' '.join(TYPES)}"),
    ("at", "DEVICE", "a modem's serial port, to ask it by AT commands what it is on (repeatable)"),
    (
        "pages",
        "WHOSE",
        "modem | router | none: whose web page may be asked what line it is (modem)",
    ),
    ("allow-private", "NETWORK", "a private range that may be probed: 10.1.0.0/16 (repeatable)"),
    ("deny", "NETWORK", "a range that may never be probed (repeatable)"),
    ("flush", "SECONDS", "results may stay in memory so long before they are written (0)"),
    ("mqtt", "VERSION", f"{' | '.join(MQTT_VERSIONS)} (auto: 5, and 3.1.1 where 5 is not taken)"),
    ("budget", "SIZE", "bytes a month, 500MB; on mobile links there is one of 500MB anyway"),
    ("max-rows", "N", "the journal keeps at most so many results (500000)"),
    ("max-bytes", "SIZE", "the journal's file grows to at most so much (200MB)"),
    ("log-level", "LEVEL", " | ".join(LOG_LEVELS)),
)
_NAMES = tuple(name for name, _, _ in _OPTIONS)
_REPEATABLE = ("targets", "at", "allow-private", "deny")
_DEFAULTS: dict[str, str] = {
    "flush": "0",
    "pages": "modem",
    "mqtt": "auto",
    "max-rows": "500000",
    "max-bytes": "200MB",
    "log-level": "info",
}


def add_options(parser: argparse.ArgumentParser, only: Sequence[str] | None = None) -> None:
    """--config and these options, or all; unchecked yet. The rest may still be in the file."""
    parser.add_argument("--config", metavar="FILE", help="a TOML file with options like these")
    for name, metavar, text in _OPTIONS:
        if only is not None and name not in only:
            continue
        action = "append" if name in _REPEATABLE else "store"
        parser.add_argument(f"--{name}", metavar=metavar, help=text, action=action)


def build_parser(prog: str = "swarming-agent") -> argparse.ArgumentParser:
    """The parser of ``swarming-agent run``."""
    parser = argparse.ArgumentParser(
        prog=prog,
        allow_abbrev=False,
        description="Ping what the swarm watches, keep every result, and tell a broker.",
        epilog="Each option may also stand in the environment (SWARMING_ALLOW_PRIVATE for "
        "--allow-private, SWARMING_BROKERS for the brokers) and in the TOML file of --config "
        "(allow-private, brokers). A flag beats the environment, which beats the file.",
    )
    add_brokers(parser)
    add_options(parser)
    return parser


def add_brokers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "brokers",
        nargs="*",
        metavar="BROKER",
        help="host, host:port, mqtt://host or mqtts://host; several: whichever can be reached. "
        "With --ca or --cert a plain host means mqtts://",
    )


def parse(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Config:
    """The Config of one command line. argparse itself ends the process at an unknown flag."""
    return load(build_parser().parse_intermixed_args(argv), environ)


def load(flags: argparse.Namespace, environ: Mapping[str, str] | None = None) -> Config:
    """The Config of what argparse read, the environment and the file, or ConfigError."""
    environ = os.environ if environ is None else environ
    settings, file = _gathered(flags, environ)
    return _checked(_with_swarm(settings, _flag(flags, "swarm"), environ), file, environ)


def swarm_path(flags: argparse.Namespace, environ: Mapping[str, str] | None = None) -> str:
    """Where this box's .swarm file is, or would be."""
    environ = os.environ if environ is None else environ
    settings, _ = _gathered(flags, environ)
    return path_of(settings, "swarm") or swarm_file.default_path(environ)


def _gathered(
    flags: argparse.Namespace, environ: Mapping[str, str]
) -> tuple[dict[str, Any], str | None]:
    """All settings but those of the .swarm file, and which file gave some of them."""
    settings: dict[str, Any] = dict(_DEFAULTS)
    file = _flag(flags, "config") or environ.get("SWARMING_CONFIG") or None
    if file is not None:
        settings |= _from_file(file)
    settings |= _from_environment(environ)
    for name in ("brokers", *_NAMES):
        value = _flag(flags, name)
        if value:
            settings[name] = value
    return settings, file


def _with_swarm(
    settings: dict[str, Any], named: str | None, environ: Mapping[str, str]
) -> dict[str, Any]:
    """The settings over those of the .swarm file, where there is one.

    Where the owner names another certificate, it is for another authority and another name: of the
    file, only brokers, place and ISP count.
    """
    path = path_of(settings, "swarm") or swarm_file.default_path(environ)
    settings["swarm"] = None
    if named is None and not os.path.exists(path):
        return settings
    try:
        joined = swarm_file.read(path)
    except SwarmFileError as error:
        raise ConfigError(f"swarm: {error}") from error
    if joined is None:
        return settings
    found: dict[str, Any] = {"swarm": path, "brokers": list(joined.brokers)}
    found |= {"place": joined.place} if joined.place else {}
    found |= {"isp": joined.isp} if joined.isp else {}
    if "cert" not in settings:
        found |= {"name": joined.name, "ca": path, "cert": path, "key": path}
    return found | {name: value for name, value in settings.items() if name != "swarm"}


def _flag(flags: argparse.Namespace, name: str) -> Any:
    return getattr(flags, name.replace("-", "_"), None)


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """An empty variable counts as absent: unit files and init scripts often export one."""
    found = {}
    for name in ("brokers", *_NAMES):
        value = environ.get("SWARMING_" + name.replace("-", "_").upper(), "").strip()
        if value:
            found[name] = value
    return found


def _from_file(path: str) -> dict[str, Any]:
    """The file's settings; its relative paths start at the file's own folder."""
    import tomllib  # 1 MB that a box without a file need not hold

    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"config {path}: {error.strerror}") from error
    except ValueError as error:  # not TOML, not UTF-8, or no path at all
        raise ConfigError(f"config {path}: not TOML: {error}") from error
    settings = {}
    for key, value in table.items():
        name = key.replace("_", "-")
        if name not in _NAMES and name != "brokers":
            raise ConfigError(f"config {path}: there is no setting {key!r}")
        if name in _FOLDER_OF_FILES and isinstance(value, str):
            value = os.path.join(os.path.dirname(os.path.abspath(path)), os.path.expanduser(value))
        settings[name] = value
    return settings


def _checked(settings: Mapping[str, Any], file: str | None, environ: Mapping[str, str]) -> Config:
    ca, cert, key = (file_of(settings, name) for name in ("ca", "cert", "key"))
    if key is not None and cert is None:
        raise ConfigError("key: there is a key, but no cert")
    check_tls(ca, cert, key)
    words = words_of(settings, "targets")
    return Config(
        brokers=brokers_of(words_of(settings, "brokers"), tls=ca is not None or cert is not None),
        name=name_of(settings),
        journal=path_of(settings, "journal") or default_journal(environ),
        swarm=settings["swarm"],
        targets=" ".join(words) if words else None,
        ca=ca,
        cert=cert,
        key=key,
        place=text_of(settings, "place"),
        isp=text_of(settings, "isp"),
        link=choice_of(settings, "link", TYPES),
        at=devices_of(settings, "at"),
        pages=choice_of(settings, "pages", PAGES) or "modem",
        allow_private=networks_of(settings, "allow-private"),
        deny=networks_of(settings, "deny"),
        flush_s=number_of(settings, "flush", 0.0, MAX_FLUSH_S),
        mqtt=choice_of(settings, "mqtt", MQTT_VERSIONS) or "auto",
        budget_bytes=size_of(settings, "budget", MIN_BUDGET_BYTES),
        log_level=choice_of(settings, "log-level", LOG_LEVELS) or "info",
        max_rows=int(number_of(settings, "max-rows", 1000, 10**9)),
        max_bytes=size_of(settings, "max-bytes", 10**6) or 0,
        file=file,
    )


def default_journal(environ: Mapping[str, str]) -> str:
    """The system's place for root and for who may write there, else the user's own."""
    if os.geteuid() == 0 or os.access(STATE_FOLDER, os.W_OK):
        return os.path.join(STATE_FOLDER, JOURNAL)
    home = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(home, "swarming", JOURNAL)
