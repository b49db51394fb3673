"""Membership is one file: who this box is, which brokers, its certificate, key and authority.

    name = "box-1"
    brokers = ["mqtts://swarm.example.org:8883"]
    place = "Paris"
    isp = "Free"
    -----BEGIN CERTIFICATE-----      this box's own, first
    -----BEGIN PRIVATE KEY-----      not encrypted: the file's mode keeps it
    -----BEGIN CERTIFICATE-----      of the authority, one or more

The head is TOML of one line a setting, ``place`` and ``isp`` may be left out, and what it does not
know is passed over. OpenSSL skips what stands between the blocks, so the same path serves as
certificate, key and authority. An empty file means: not joined.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from agent.certificate import common_name

SYSTEM_PATH = "/etc/swarming/agent.swarm"
MOST_BYTES = 64 * 1024
MOST_TEXT = 64  # letters of place or ISP that an agent takes
_TEXTS = ("name", "place", "isp")
_LINE = re.compile(r"([a-z][a-z0-9_-]*)[ \t]*=[ \t]*(\S.*)")
_BEGIN = re.compile(r"^-----BEGIN ", re.MULTILINE)
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\r?\n.*?-----END \1-----", re.DOTALL)
_CERTIFICATE = "CERTIFICATE"
_KEY = " PRIVATE KEY"


class SwarmFileError(Exception):
    """One line that says what is wrong with a file, or why it cannot be read or written."""


class SwarmFile(NamedTuple):
    """What is in it; certificate, key and ca in PEM."""

    name: str
    brokers: tuple[str, ...]
    certificate: str
    key: str
    ca: str
    place: str | None = None
    isp: str | None = None

    @property
    def text(self) -> str:
        head = [f"name = {_toml(self.name)}"]
        head += [f"brokers = [{', '.join(map(_toml, self.brokers))}]"]
        for name in ("place", "isp"):
            value = getattr(self, name)
            head += [f"{name} = {_toml(value)}"] if value else []
        blocks = [block.strip() for block in (self.certificate, self.key, self.ca)]
        return "\n".join([*head, "", *blocks, ""])


def parse(text: str) -> SwarmFile | None:
    """What the text says, or SwarmFileError; None when there is nothing in it."""
    if not text.strip():
        return None
    found = _BEGIN.search(text)
    if found is None:
        raise SwarmFileError("there is no certificate in it; is it a .swarm file?")
    told = _head(text[: found.start()])
    blocks = [(block[1], block[0]) for block in _BLOCK.finditer(text, found.start())]
    certificates = [block for label, block in blocks if label == _CERTIFICATE]
    keys = [block for label, block in blocks if f" {label}".endswith(_KEY)]
    if len(certificates) < 2 or len(keys) != 1 or blocks[0][0] != _CERTIFICATE:
        raise SwarmFileError(
            "it must hold the box's certificate, its one key and its authority's certificate"
        )
    name, brokers = told.get("name"), told.get("brokers")
    if not name or not brokers:
        raise SwarmFileError(f"it does not say {'brokers' if name else 'name'}")
    own, *authorities = certificates
    if common_name(own) != name:
        raise SwarmFileError(f"its name is {name!r}, its certificate is for {common_name(own)!r}")
    ca = "\n".join(authorities)
    return SwarmFile(name, brokers, own, keys[0], ca, told.get("place"), told.get("isp"))


def certificates(text: str) -> list[str]:
    """Each certificate in a text of PEM."""
    return [block[0] for block in _BLOCK.finditer(text) if block[1] == _CERTIFICATE]


def default_path(environ: Mapping[str, str]) -> str:
    """The system's for root and for who may read it, else the user's own."""
    if os.geteuid() == 0 or os.access(SYSTEM_PATH, os.R_OK):
        return SYSTEM_PATH
    home = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(home, "swarming", "agent.swarm")


def read(path: str) -> SwarmFile | None:
    """What the file says, or SwarmFileError; None when it is empty."""
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SwarmFileError(f"{path}: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise SwarmFileError(f"{path}: larger than any .swarm file")
    try:
        return parse(content.decode())
    except UnicodeDecodeError as error:
        raise SwarmFileError(f"{path}: not text in UTF-8") from error
    except SwarmFileError as error:
        raise SwarmFileError(f"{path}: {error}") from error


def write(path: str, text: str, prove: Callable[[str], object] = lambda new: None) -> None:
    """Replace the file whole and durably, once ``prove`` has not objected to the new one.

    It is for its owner alone, unless one that was there was another user's or let its group read.
    """
    path = os.path.realpath(path)
    new = f"{path}.new"
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        _forget(new)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _fill(handle, path, text)
            prove(new)
            os.replace(new, path)
        finally:
            _forget(new)
        _sync_folder(os.path.dirname(path))
    except OSError as error:
        raise SwarmFileError(f"{path}: {error.strerror}") from error


def _forget(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _fill(handle: int, path: str, text: str) -> None:
    with open(handle, "w", encoding="utf-8") as file:
        _as_before(handle, path)
        file.write(text)
        file.flush()
        os.fsync(handle)


def _as_before(handle: int, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        before = os.stat(path)
        if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(handle, before.st_uid, before.st_gid)
        os.fchmod(handle, 0o600 | (before.st_mode & 0o040))


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _head(text: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None or found[1] in told:
            raise SwarmFileError(f'line {number} is not one more line like place = "Paris"')
        name, value = found[1], found[2]
        if name in (*_TEXTS, "brokers"):
            told[name] = _text_or_list(value, name == "brokers", number)
    return told


def _text_or_list(value: str, is_list: bool, number: int) -> Any:
    """TOML's texts between double quotes are JSON's."""
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        read = None
    if is_list and isinstance(read, list) and all(isinstance(word, str) for word in read):
        return tuple(read)
    if not is_list and isinstance(read, str):
        return read
    wanted = '["mqtts://broker.example", …]' if is_list else '"text"'
    raise SwarmFileError(f"line {number}: must be {wanted}")


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
