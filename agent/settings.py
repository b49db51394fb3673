"""The value of one setting, checked, or a ConfigError that names it.

Settings come from flags and environment as text, and from TOML as what it has: both are taken.
"""

import math
import os
import ssl
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from agent import wire
from agent.dial import Broker, BrokerError, authorities, parse_broker
from agent.swarm_file import MOST_TEXT
from agent.targets import Network

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


class ConfigError(Exception):
    """One line that says which setting is wrong, and how."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))  # a file's name may be anything


def words_of(settings: Mapping[str, Any], name: str) -> list[str]:
    value = settings.get(name, [])
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str) for part in parts):
        raise ConfigError(f"{name}: must be text or a list of texts, not {value!r}")
    return [word for part in parts for word in part.split()]


def devices_of(settings: Mapping[str, Any], name: str) -> tuple[str, ...]:
    words = words_of(settings, name)
    for word in words:
        if not word.startswith("/dev/") or not word.isprintable():
            raise ConfigError(f"{name}: {word!r} must be a device such as /dev/ttyUSB2")
    return tuple(dict.fromkeys(words))


def text_of(settings: Mapping[str, Any], name: str, limit: int = MOST_TEXT) -> str | None:
    value = settings.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ConfigError(f"{name}: must be text, not {value!r}")
    value = value.strip()
    if len(value) > limit or not value.isprintable():
        raise ConfigError(f"{name}: must be at most {limit} printable characters")
    return value or None


def choice_of(settings: Mapping[str, Any], name: str, choices: Sequence[str]) -> str | None:
    value = text_of(settings, name)
    if value is not None and value not in choices:
        raise ConfigError(f"{name}: {value!r} is none of {' '.join(choices)}")
    return value


def name_of(settings: Mapping[str, Any]) -> str | None:
    name = text_of(settings, "name", limit=1000)
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


def path_of(settings: Mapping[str, Any], name: str) -> str | None:
    path = text_of(settings, name, limit=4096)
    return None if path is None else os.path.expanduser(path)


def file_of(settings: Mapping[str, Any], name: str) -> str | None:
    path = path_of(settings, name)
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise ConfigError(f"{name}: {path} is empty")
    except OSError as error:
        raise ConfigError(f"{name}: {path}: {error.strerror}") from error
    return path


def check_tls(ca: str | None, cert: str | None, key: str | None) -> None:
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


def number_of(settings: Mapping[str, Any], name: str, low: float, high: float) -> float:
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


def size_of(settings: Mapping[str, Any], name: str, low: int) -> int | None:
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


def networks_of(settings: Mapping[str, Any], name: str) -> tuple[Network, ...]:
    networks = []
    for word in (word for part in words_of(settings, name) for word in part.split(",") if word):
        try:
            networks.append(ip_network(word))
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from error
    return tuple(networks)


def brokers_of(words: Sequence[str], tls: bool) -> tuple[Broker, ...]:
    brokers = []
    for word in words:
        try:
            broker = parse_broker(word, tls)
        except BrokerError as error:
            raise ConfigError(f"broker {word!r}: {error}") from error
        if broker not in brokers:
            brokers.append(broker)
    return tuple(brokers)
