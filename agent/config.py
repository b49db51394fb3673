"""Flags, environment and file become one frozen Config, checked whole; else one ConfigError.

A flag beats the environment (``SWARMING_NAME`` for ``--name``), which beats the TOML file (``name``
in it), which beats the .swarm file that the box joined with. The pace of the probes is not here:
nobody can configure it.
"""

import argparse
import math
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from agent import swarm_file, wire
from agent.dial import Broker, BrokerError, authorities, parse_broker
from agent.linkguess import TYPES
from agent.swarm_file import SwarmFileError
from agent.targets import Network

STATE_FOLDER = "/var/lib/swarming"
JOURNAL = "journal.db"
MAX_FLUSH_S = 3600.0
MAX_TEXT = 64
MIN_BUDGET_BYTES = 1_000_000
LOG_LEVELS = ("debug", "info", "warning", "error")
MQTT_VERSIONS = ("auto", "5", "3.1.1", "3.1")
PAGES = ("modem", "router", "none")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_FOLDER_OF_FILES = ("journal", "swarm", "ca", "cert", "key")


class ConfigError(Exception):
    """One line that says which setting is wrong, and how."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))  # a file's name may be anything


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
    return _path(settings, "swarm") or swarm_file.default_path(environ)


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
    path = _path(settings, "swarm") or swarm_file.default_path(environ)
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
    ca, cert, key = (_file(settings, name) for name in ("ca", "cert", "key"))
    if key is not None and cert is None:
        raise ConfigError("key: there is a key, but no cert")
    _check_tls(ca, cert, key)
    words = _words(settings, "targets")
    return Config(
        brokers=_brokers(_words(settings, "brokers"), tls=ca is not None or cert is not None),
        name=_name(settings),
        journal=_path(settings, "journal") or default_journal(environ),
        swarm=settings["swarm"],
        targets=" ".join(words) if words else None,
        ca=ca,
        cert=cert,
        key=key,
        place=_text(settings, "place"),
        isp=_text(settings, "isp"),
        link=_choice(settings, "link", TYPES),
        at=_devices(settings, "at"),
        pages=_choice(settings, "pages", PAGES) or "modem",
        allow_private=_networks(settings, "allow-private"),
        deny=_networks(settings, "deny"),
        flush_s=_number(settings, "flush", 0.0, MAX_FLUSH_S),
        mqtt=_choice(settings, "mqtt", MQTT_VERSIONS) or "auto",
        budget_bytes=_size(settings, "budget", MIN_BUDGET_BYTES),
        log_level=_choice(settings, "log-level", LOG_LEVELS) or "info",
        max_rows=int(_number(settings, "max-rows", 1000, 10**9)),
        max_bytes=_size(settings, "max-bytes", 10**6) or 0,
        file=file,
    )


def default_journal(environ: Mapping[str, str]) -> str:
    """The system's place for root and for who may write there, else the user's own."""
    if os.geteuid() == 0 or os.access(STATE_FOLDER, os.W_OK):
        return os.path.join(STATE_FOLDER, JOURNAL)
    home = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(home, "swarming", JOURNAL)


def _words(settings: Mapping[str, Any], name: str) -> list[str]:
    value = settings.get(name, [])
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str) for part in parts):
        raise ConfigError(f"{name}: must be text or a list of texts, not {value!r}")
    return [word for part in parts for word in part.split()]


def _devices(settings: Mapping[str, Any], name: str) -> tuple[str, ...]:
    words = _words(settings, name)
    for word in words:
        if not word.startswith("/dev/") or not word.isprintable():
            raise ConfigError(f"{name}: {word!r} must be a device such as /dev/ttyUSB2")
    return tuple(dict.fromkeys(words))


def _text(settings: Mapping[str, Any], name: str, limit: int = MAX_TEXT) -> str | None:
    value = settings.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ConfigError(f"{name}: must be text, not {value!r}")
    value = value.strip()
    if len(value) > limit or not value.isprintable():
        raise ConfigError(f"{name}: must be at most {limit} printable characters")
    return value or None


def _choice(settings: Mapping[str, Any], name: str, choices: Sequence[str]) -> str | None:
    value = _text(settings, name)
    if value is not None and value not in choices:
        raise ConfigError(f"{name}: {value!r} is none of {' '.join(choices)}")
    return value


def _name(settings: Mapping[str, Any]) -> str | None:
    name = _text(settings, "name", limit=1000)
    if name is None:
        return None
    return agent_name(name, "name")


def agent_name(name: str, what: str) -> str:
    """The name, if an agent may have it."""
    if not wire.is_name(name):
        raise ConfigError(f"{what}: {name!r} must be 1 to 64 letters, digits, '.', '_' or '-'")
    if name.startswith("indexer-"):
        raise ConfigError(f"{what}: {name!r}: names that begin with 'indexer-' belong to indexers")
    return name


def _path(settings: Mapping[str, Any], name: str) -> str | None:
    path = _text(settings, name, limit=4096)
    return None if path is None else os.path.expanduser(path)


def _file(settings: Mapping[str, Any], name: str) -> str | None:
    path = _path(settings, name)
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise ConfigError(f"{name}: {path} is empty")
    except OSError as error:
        raise ConfigError(f"{name}: {path}: {error.strerror}") from error
    return path


def _check_tls(ca: str | None, cert: str | None, key: str | None) -> None:
    """Said at the start, not at the first broker; and nobody is asked for a passphrase."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca is not None and ca == cert:
            context.load_verify_locations(cadata=authorities(ca))
        elif ca is not None:
            context.load_verify_locations(ca)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"ca: {ca}: no certificates in PEM") from error
    try:
        if cert is not None:
            context.load_cert_chain(cert, key, password="")
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"cert: {cert}: no certificate in PEM with its private key") from error


def _number(settings: Mapping[str, Any], name: str, low: float, high: float) -> float:
    value = settings[name]
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        number = float(value)
    except ValueError:
        raise ConfigError(f"{name}: must be a number, not {value!r}") from None
    if not (math.isfinite(number) and low <= number <= high):
        raise ConfigError(f"{name}: must be between {low:g} and {high:g}")
    return number


def _size(settings: Mapping[str, Any], name: str, low: int) -> int | None:
    """500MB, 1.5 GiB or plain bytes."""
    value = settings.get(name)
    if value is None:
        return None
    text = str(value).strip().lower().removesuffix("b")
    digits = text.rstrip("kmgi ")
    unit = _UNITS.get(text[len(digits) :].strip())
    try:
        number = float(digits)
    except ValueError:
        number = math.nan
    if isinstance(value, bool) or unit is None or not math.isfinite(number):
        raise ConfigError(f"{name}: must be a size such as 500MB, not {value!r}")
    if not low <= number * unit <= 2**50:
        raise ConfigError(f"{name}: must be at least {low} bytes")
    return int(number * unit)


def _networks(settings: Mapping[str, Any], name: str) -> tuple[Network, ...]:
    networks = []
    for word in (word for part in _words(settings, name) for word in part.split(",") if word):
        try:
            networks.append(ip_network(word))
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from error
    return tuple(networks)


def _brokers(words: Sequence[str], tls: bool) -> tuple[Broker, ...]:
    brokers = []
    for word in words:
        try:
            broker = parse_broker(word, tls)
        except BrokerError as error:
            raise ConfigError(f"broker {word!r}: {error}") from error
        if broker not in brokers:
            brokers.append(broker)
    return tuple(brokers)
