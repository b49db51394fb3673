"""Flags, environment and file become one frozen Config, checked whole; else one line says why not.

A flag wins over the environment (`SWARMING_INDEXER_KEEP=30`), the environment over the file.
"""

import argparse
import os
import socket
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from agent import wire
from agent.certificate import common_name
from agent.connection import Broker, BrokerError, Credentials, parse_broker
from indexer.store import StoreRefused
from indexer.stores import with_prefix

DAY_MS = 86_400_000
STATE_FOLDER = "/var/lib/swarming"  # the agent's own rule for its journal holds for the store too
STORE = "swarming.db"
CA_HOME = "/var/lib/swarming-indexer"  # of the indexer alone: no agent has any business there
LOG_LEVELS = ("debug", "info", "warning", "error")
_DEFAULTS: dict[str, Any] = {
    "brokers": (),
    "store": None,  # default_store says where
    "index_prefix": None,
    "listen": "127.0.0.1:8080",
    "name": None,
    "share": None,
    "classic": False,
    "keep": 90,
    "ca": None,
    "cert": None,
    "key": None,
    "ca_folder": None,  # default_ca_folder says where
    "auth": None,
    "page_cert": None,
    "page_key": None,
    "behind_proxy": False,
    "mqtt": "auto",
    "log_level": "info",
}


class ConfigError(ValueError):
    """One line says what is wrong with what was asked for."""


class Address(tuple[str, int]):
    """Where the page listens: host and port."""

    def __str__(self) -> str:
        host, port = self
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that the owner of an indexer decides."""

    brokers: tuple[Broker, ...]
    store: str
    listen: Address | None
    name: str
    share: str | None
    classic: bool
    keep_raw_ms: int
    credentials: Credentials
    ca_folder: str
    auth: str | None
    page_cert: str | None
    page_key: str | None
    behind_proxy: bool
    mqtt: str
    log_level: str


def from_flags(flags: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Config:
    """The Config of `swarming-indexer run`, or ConfigError."""
    return _checked(_values(flags, environ))


def ca_folder(flags: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> str:
    """Where the swarm's certificates are kept, for a command that wants nothing else."""
    return _text(_values(flags, environ), "ca_folder")


def ca_folder_there(flags: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> str:
    """The same, for a command that makes none. ConfigError where only root may read it."""
    folder = ca_folder(flags, environ)
    hidden = os.path.isdir(CA_HOME) and not os.access(CA_HOME, os.R_OK | os.X_OK)
    if hidden and not os.path.exists(folder):
        raise ConfigError(f"{CA_HOME} may not be read: use sudo ({folder} is not there)")
    return folder


def told_store(environ: Mapping[str, str] = os.environ) -> tuple[str, str | None]:
    """The store and its prefix as the environment has them, or the file that it names."""
    values = _values(argparse.Namespace(config=None), environ)
    return _text(values, "store"), values["index_prefix"]


def page_certificate(
    flags: argparse.Namespace, environ: Mapping[str, str] = os.environ
) -> str | None:
    """The file that the page shows; None: a proxy shows its own, or nothing is said here."""
    values = _values(flags, environ)
    return None if _switch(values, "behind_proxy") else values["page_cert"]


def _values(flags: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, Any]:
    """What was said for each setting, and where nothing was said, what is usual."""
    values = _DEFAULTS | {
        "store": default_store(environ),
        "ca_folder": default_ca_folder(environ),
    }
    path = flags.config or environ.get("SWARMING_INDEXER_CONFIG")
    if path:
        values |= _from_file(path)
    values |= _from_environment(environ)
    return values | {name: value for name, value in vars(flags).items() if _given(name, value)}


def default_store(environ: Mapping[str, str] = os.environ) -> str:
    """In the system's place for root and for who may write there, else in the user's own."""
    if os.geteuid() == 0 or os.access(STATE_FOLDER, os.W_OK):
        return f"sqlite:{STATE_FOLDER}/{STORE}"
    return f"sqlite:{_own_state(environ)}/{STORE}"


def default_ca_folder(environ: Mapping[str, str] = os.environ) -> str:
    """In the system's place for root and for who may write there, else in the user's own."""
    if os.geteuid() == 0 or os.access(CA_HOME, os.W_OK):
        return f"{CA_HOME}/ca"
    return f"{_own_state(environ)}/ca"


def _own_state(environ: Mapping[str, str]) -> str:
    home = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return f"{home}/swarming"


def default_name(host: str) -> str:
    """`indexer-` and the host's own name, as far as a name may hold it."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in host)
    return f"indexer-{plain}"[:64]


def _given(name: str, value: Any) -> bool:
    return name in _DEFAULTS and value is not None and value is not False and value != []


def _from_file(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    values = {name.replace("-", "_"): value for name, value in found.items()}
    strange = sorted(set(values) - set(_DEFAULTS))
    if strange:
        raise ConfigError(f"{path}: no such setting: {', '.join(strange)}")
    return values


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in _DEFAULTS:
        text = environ.get(f"SWARMING_INDEXER_{name.upper()}")
        if text:
            values[name] = text.split() if name == "brokers" else text
    return values


def _checked(values: Mapping[str, Any]) -> Config:
    listen = _address(_text(values, "listen"))
    credentials = _credentials(values)
    config = Config(
        brokers=_brokers(values["brokers"], tls=bool(values["cert"] or values["ca"])),
        store=_store(values),
        listen=listen,
        name=_name(values["name"], credentials.cert),
        share=_group(values["share"]),
        classic=_switch(values, "classic"),
        keep_raw_ms=_days(values["keep"]) * DAY_MS,
        credentials=credentials,
        ca_folder=_text(values, "ca_folder"),
        auth=_file(values, "auth"),
        page_cert=_file(values, "page_cert"),
        page_key=_file(values, "page_key"),
        behind_proxy=_switch(values, "behind_proxy"),
        mqtt=_one_of(values, "mqtt", ("auto", "5", "3.1.1", "3.1")),
        log_level=_one_of(values, "log_level", LOG_LEVELS),
    )
    if (config.page_cert is None) != (config.page_key is None):
        raise ConfigError("--page-cert and --page-key belong together")
    if listen is not None and not is_loopback(listen[0]):
        _check_open_page(config, listen)
    return config


def _check_open_page(config: Config, listen: Address) -> None:
    """DESIGN: what others can reach wants a password, and TLS or a proxy that does it."""
    if config.behind_proxy or (config.auth and config.page_cert):
        return
    raise ConfigError(
        f"--listen {listen} can be reached from elsewhere: it needs --auth FILE with "
        "--page-cert and --page-key, or --behind-proxy"
    )


def is_loopback(host: str) -> bool:
    """Nobody but this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values[name]
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{_flag(name)} wants a text, not {value!r:.60}")
    return value


def _store(values: Mapping[str, Any]) -> str:
    prefix = None if values["index_prefix"] is None else _text(values, "index_prefix")
    try:
        return with_prefix(_text(values, "store"), prefix)
    except StoreRefused as error:
        raise ConfigError(str(error)) from error


def _switch(values: Mapping[str, Any], name: str) -> bool:
    value = values[name]
    if isinstance(value, bool):
        return value
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if not isinstance(value, str) or value.lower() not in words:
        raise ConfigError(f"{_flag(name)} is yes or no, not {value!r:.60}")
    return words[value.lower()]


def _one_of(values: Mapping[str, Any], name: str, words: Sequence[str]) -> str:
    value = values[name]
    if value not in words:
        raise ConfigError(f"{_flag(name)} is one of {', '.join(words)}, not {value!r:.60}")
    return str(value)


def _file(values: Mapping[str, Any], name: str) -> str | None:
    if values[name] is None:
        return None
    path = _text(values, name)
    if not os.access(path, os.R_OK):
        raise ConfigError(f"{_flag(name)}: {path}{_why_not(name, path)}")
    return path


def _why_not(name: str, path: str) -> str:
    try:
        os.stat(path)
    except FileNotFoundError:
        hint = "; its lines are made by swarming-indexer auth NAME ROLE" if name == "auth" else ""
        return f": there is no such file{hint}"
    except OSError:
        pass
    return " cannot be read"


def _credentials(values: Mapping[str, Any]) -> Credentials:
    if (values["cert"] is None) != (values["key"] is None):
        raise ConfigError("--cert and --key belong together")
    return Credentials(_file(values, "ca"), _file(values, "cert"), _file(values, "key"))


def _days(value: Any) -> int:
    """400 and 400d are the same."""
    try:
        days = int(value.removesuffix("d") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        days = 0
    if isinstance(value, bool) or not 1 <= days <= 36_500:
        raise ConfigError(f"--keep is a number of days from 1 to 36500, not {value!r:.60}")
    return days


def _name(value: Any, cert: str | None) -> str:
    """As it is said, else as its certificate says: brokers believe no other."""
    if value is None:
        if cert is None:
            return default_name(socket.gethostname())
        value = _certified_name(cert)
    if not wire.is_name(value) or not value.startswith("indexer-") or value == "indexer-":
        raise ConfigError(
            f"--name {value!r:.80}: an indexer's name begins with 'indexer-', and holds at most "
            "64 letters, digits, '.', '_' and '-'"
        )
    return str(value)


def _certified_name(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return common_name(file.read())
    except OSError as error:
        raise ConfigError(f"--cert: {path}: {error.strerror}") from error


def _group(value: Any) -> str | None:
    if value is not None and not wire.is_name(value):
        raise ConfigError(
            f"--share {value!r:.80}: a group's name is letters, digits, '.', '_', '-'"
        )
    return value if value is None else str(value)


def _brokers(value: Any, tls: bool) -> tuple[Broker, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise ConfigError("which broker? For example: swarming-indexer localhost")
    brokers: list[Broker] = []
    for text in value:
        try:
            broker = parse_broker(str(text), tls)
        except BrokerError as error:
            raise ConfigError(str(error)) from error
        if broker not in brokers:
            brokers.append(broker)
    return tuple(brokers)


def _address(text: str) -> Address | None:
    """HOST:PORT, :PORT, PORT, or `off`."""
    if text == "off":
        return None
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ConfigError(f"--listen is HOST:PORT or off, not {text!r:.60}")
    return Address((host, int(port)))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
