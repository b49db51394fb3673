"""Who is asking, and what they may do: viewers look, operators change lists.

Without `--auth` the page is on loopback, and whoever is on this machine is an operator. With it,
HTTP Basic against a file of lines `name:role:scrypt$n$r$p$salt$hash`; one is made by

    swarming-indexer auth NAME viewer|operator >> FILE

Behind a proxy that does the asking (`--behind-proxy`, without `--auth`) its headers are believed:
X-Forwarded-User is the name, X-Forwarded-Role the role (viewer, unless it says operator). The
proxy must remove both from what comes from outside.
"""

import argparse
import base64
import binascii
import getpass
import hashlib
import hmac
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from indexer.typed import BadInput

VIEWER, OPERATOR = "viewer", "operator"
_N, _R, _P = 2**14, 8, 1
_MAX_MEMORY = 64 * 2**20
_REMEMBERED = 1000  # pairs of name and password that were found right


class User(NamedTuple):
    name: str
    role: str

    @property
    def changes(self) -> bool:
        """May change lists, and see what viewers do not."""
        return self.role == OPERATOR


LOCAL = User("somebody on this machine", OPERATOR)


class _Hash(NamedTuple):
    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def fits(self, password: str) -> bool:
        return hmac.compare_digest(_scrypt(password, self), self.digest)


class Account(NamedTuple):
    user: User
    hash: _Hash


class Gate:
    """Names the user of a request, or None: it must say who it is."""

    def __init__(self, auth_file: str | None, behind_proxy: bool) -> None:
        self._accounts = None if auth_file is None else read(auth_file)
        self._behind_proxy = behind_proxy
        self._lock = threading.Lock()  # one scrypt at a time: guessing cannot eat the machine
        self._key = os.urandom(32)
        self._known: dict[bytes, User] = {}

    @property
    def is_local(self) -> bool:
        """Nobody is asked who they are, because only this machine can reach the page."""
        return self._accounts is None and not self._behind_proxy

    def user(self, headers: Mapping[str, str]) -> User | None:
        """May take a while (scrypt): not for the event loop."""
        if self._accounts is not None:
            return self._by_password(self._accounts, headers.get("authorization", ""))
        return _by_proxy(headers) if self._behind_proxy else LOCAL

    def _by_password(self, accounts: dict[str, Account], header: str) -> User | None:
        token = hmac.digest(self._key, header.encode("latin-1", "replace"), "sha256")
        if token in self._known:
            return self._known[token]
        name, password = _basic(header)
        if name is None:
            return None
        account = accounts.get(name)
        with self._lock:
            fits = (account.hash if account else _NOBODY).fits(password)
        if account is None or not fits:
            return None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[token] = account.user
        return account.user


def line(name: str, role: str, password: str) -> str:
    """One line of a password file."""
    if not _is_word(name):
        raise ValueError(f"{name!r:.60} is no name: printable characters without a colon")
    if role not in (VIEWER, OPERATOR):
        raise ValueError(f"a role is viewer or operator, not {role!r:.60}")
    if not password:
        raise ValueError("an empty password lets everybody in")
    salted = _Hash(_N, _R, _P, os.urandom(16), b"")
    digest = _scrypt(password, salted)
    numbers = f"{_N}${_R}${_P}"
    return f"{name}:{role}:scrypt${numbers}${_text(salted.salt)}${_text(digest)}"


def read(path: str) -> dict[str, Account]:
    """The accounts of a password file; ValueError says what is wrong, and in which line."""
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--auth {path}: {error}") from error
    accounts: dict[str, Account] = {}
    for number, text in enumerate(lines, 1):
        if not text.strip() or text.startswith("#"):
            continue
        account = _account(text.strip(), f"--auth {path}, line {number}")
        if account.user.name in accounts:
            raise ValueError(f"--auth {path}, line {number}: {account.user.name} is there twice")
        accounts[account.user.name] = account
    if not accounts:
        raise ValueError(f"--auth {path} names nobody; see swarming-indexer auth --help")
    return accounts


def _account(text: str, where: str) -> Account:
    name, _, rest = text.partition(":")
    role, _, hashed = rest.partition(":")
    parts = hashed.split("$")
    if not _is_word(name) or role not in (VIEWER, OPERATOR):
        raise ValueError(f"{where}: it is not name:viewer:… or name:operator:…")
    try:
        kind, n, r, p, salt, digest = parts
        found = _Hash(int(n), int(r), int(p), _bytes(salt), _bytes(digest))
        if kind != "scrypt" or len(found.salt) < 8 or len(found.digest) < 16:
            raise ValueError
        _scrypt("", found)  # the numbers are ones that this machine can do
    except (ValueError, TypeError, MemoryError, OverflowError):
        raise ValueError(f"{where}: the hash of {name} is not scrypt$n$r$p$salt$hash") from None
    return Account(User(name, role), found)


def _by_proxy(headers: Mapping[str, str]) -> User | None:
    name = headers.get("x-forwarded-user", "").strip()
    if not name:
        return None
    role = OPERATOR if headers.get("x-forwarded-role", "").strip() == OPERATOR else VIEWER
    return User(name[:100], role)


def _basic(header: str) -> tuple[str | None, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None, ""
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None, ""
    return (name, password) if colon else (None, "")


def _scrypt(password: str, how: _Hash) -> bytes:
    return hashlib.scrypt(
        password.encode(),
        salt=how.salt,
        n=how.n,
        r=how.r,
        p=how.p,
        maxmem=_MAX_MEMORY,
        dklen=len(how.digest) or 32,
    )


def _is_word(name: str) -> bool:
    return bool(name) and name.isprintable() and ":" not in name and len(name) <= 100


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


_NOBODY = _Hash(_N, _R, _P, bytes(16), bytes(32))  # costs as much time as a real one


def run(flags: argparse.Namespace) -> int:
    """`swarming-indexer auth`: asks for a password, prints the line."""
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password of {flags.name}: ")
        if getpass.getpass("The same again: ") != password:
            raise BadInput("these are two passwords; nothing is printed")
    else:
        password = sys.stdin.readline().rstrip("\n")
    try:
        print(line(flags.name, flags.role, password))
    except ValueError as error:
        raise BadInput(str(error)) from error
    return 0
