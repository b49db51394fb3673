"""The swarm's own certificate authority, in a folder: it issues, revokes, and forgets nothing.

Each change is made under a lock, and each file is written whole: whenever the power goes, what was
issued is recorded, and what was revoked stays revoked. The record of what is revoked is the CRL
itself, which the broker reads.
"""

import contextlib
import difflib
import os
import secrets
import shutil
import tomllib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent import wire
from indexer.ca import files as ca_files
from indexer.ca import forms
from indexer.typed import BadInput

Role = Literal["agent", "indexer", "server"]
T = TypeVar("T")

DAYS = 730
_CA_DAYS = 7305  # 20 years
_INDEXER = "indexer-"
CERTIFICATE, _KEY, _CRL, _SWARM, _ISSUED = "ca.crt", "ca.key", "crl.pem", "swarm.toml", "issued"
_SECOND = timedelta(seconds=1)


class CaError(BadInput):
    """One line says why that was not issued, revoked, or even tried."""


class Issued(NamedTuple):
    """One certificate, as it stands now."""

    name: str
    role: Role
    serial: int
    begins: datetime
    ends: datetime
    revoked_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        return self.revoked_at is None and now < self.ends


class Authority:
    """An authority that is there: `make` makes one, `open` finds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with _told():
            self._certificate = _of_pem(folder / CERTIFICATE, x509.load_pem_x509_certificate)
            self.certificate_pem = (folder / CERTIFICATE).read_text()
            facts = _of_toml(folder / _SWARM)
        self.brokers: tuple[str, ...] = _texts(facts, "brokers")
        self.page: str | None = next(iter(_texts(facts, "page")), None)

    @classmethod
    def open(cls, folder: Path) -> "Authority":
        if not os.path.isfile(folder / CERTIFICATE):  # or it may not be looked at
            with _told(), contextlib.suppress(FileNotFoundError):
                os.stat(folder / CERTIFICATE)
            raise CaError(f"{folder} holds no certificates: swarming-indexer ca init HOST")
        return cls(folder)

    @classmethod
    def make(cls, folder: Path, hosts: Sequence[str], now: datetime) -> "Authority":
        """A new one, all of it or nothing, in a folder that is not there yet."""
        for host in hosts:
            check_host(host)
        with _told():
            if folder.exists() and any(folder.iterdir()):
                raise CaError(f"{folder} is not empty, and nothing in it is written over")
            new = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
            try:
                _lay_out(new, hosts[0], now)
                os.rename(new, folder)
            except BaseException as error:
                shutil.rmtree(new, ignore_errors=True)
                if isinstance(error, OSError):  # whose file's name nobody has typed
                    why = error.strerror or error
                    raise CaError(f"{folder} cannot be made: {why}") from error
                raise
            ca_files.sync(folder.parent)
        return cls(folder)

    def issue(
        self,
        name: str,
        public_key: object,
        *,
        role: Role,
        hosts: Sequence[str] = (),
        days: int = DAYS,
        now: datetime,
    ) -> x509.Certificate:
        """A certificate of that name, recorded before anybody has it. The older ones stay good."""
        check(name, role, hosts)
        if not 0 < days <= _CA_DAYS:
            raise CaError(f"a certificate is good for 1 to {_CA_DAYS} days, not {days}")
        if not forms.is_p256(public_key):
            raise CaError(f"{name}: only keys on the curve P-256 are certified")
        with _told(), ca_files.locked(self.folder):
            serial = _serial(now, self._newest())
            ends = now + timedelta(days=days)
            made = self._signer().certify(name, public_key, hosts, serial, now, ends)
            ca_files.write(self.folder / _ISSUED / f"{serial:x}.crt", forms.pem(made))
        return made

    def issue_csr(self, name: str, csr_pem: str, now: datetime, *, days: int = DAYS) -> str:
        """The certificate, in PEM, for who holds the key of this request."""
        key = requested_key(name, csr_pem)
        return forms.pem(self.issue(name, key, role=role_of(name), days=days, now=now))

    def revoke(self, name: str, now: datetime, *, but_newest: bool = False) -> list[int]:
        """The serial numbers of what was good until now. CaError when nothing was.

        but_newest: what was issued last stays, the ones that it replaces go.
        """
        with _told(), ca_files.locked(self.folder):
            there = [one for one in self.listed(now) if one.name == name and one.is_valid(now)]
            going = [one.serial for one in (there[:-1] if but_newest else there)]
            if not going:
                raise CaError(self._none_of(name, bool(there), now))
            crl = self._crl()
            revoked = forms.revoked(crl) | dict.fromkeys(going, now)
            # Of two lists within one second OpenSSL would believe the first. One of the future, by
            # a clock that was wrong then, locks everybody out: no later one may follow it there.
            last = max(now - forms.EARLY, forms.last_update(crl) + _SECOND)
            last = now - forms.EARLY if last > now else last
            ca_files.write(self.folder / _CRL, forms.pem(self._signer().crl(revoked, last)))
        return going

    def check_new(self, name: str, now: datetime, *, again: bool) -> None:
        """CaError when a box of that name is in already, or one whose name is hard to tell from it.

        again: a second certificate of the same name is meant.
        """
        valid = {one.name for one in self.listed(now) if one.is_valid(now)}
        if name in valid:
            if not again:
                raise CaError(f"{name} has a certificate that is good: --again gives it a new one")
            return
        alike = next((one for one in sorted(valid) if one.casefold() == name.casefold()), None)
        if alike is not None:
            raise CaError(f"{name}: there is {alike} already, and nobody could tell them apart")

    def listed(self, now: datetime) -> list[Issued]:
        """Everything that was ever issued, in the order of issue."""
        revoked = forms.revoked(self._crl())
        found = []
        with _told():
            for path in (self.folder / _ISSUED).glob("*.crt"):
                one = _of_pem(path, x509.load_pem_x509_certificate)
                found.append(_issued(one, revoked.get(one.serial_number)))
        return sorted(found, key=lambda one: one.serial)

    def _newest(self) -> int:
        """The largest serial number there is."""
        names = (path.stem for path in (self.folder / _ISSUED).glob("[0-9a-f]*.crt"))
        return max((int(name, 16) for name in names), default=0)

    def _crl(self) -> x509.CertificateRevocationList:
        with _told():
            return _of_pem(self.folder / _CRL, x509.load_pem_x509_crl)

    def _signer(self) -> forms.Signer:
        key = _of_pem(self.folder / _KEY, _private_key)
        return forms.Signer(self._certificate, key)

    def _none_of(self, name: str, is_one: bool, now: datetime) -> str:
        if is_one:
            return f"{name} has one good certificate, and no older one"
        valid = sorted({one.name for one in self.listed(now) if one.is_valid(now)})
        close = difflib.get_close_matches(name, valid, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        return f"there is no good certificate of {name}{hint}"


def requested_key(name: str, csr_pem: str) -> ec.EllipticCurvePublicKey:
    """The key of a certificate request, if it is good and of this name. CaError."""
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        signed = request.is_signature_valid
        asked = forms.common_name(request.subject)
        key = request.public_key()
    except Exception as error:  # whatever a library makes of the bytes of a stranger
        raise CaError(f"{name}: that is no certificate request") from error
    if not signed:
        raise CaError(f"{name}: the certificate request is not signed by its own key")
    if asked != name:
        raise CaError(f"{name}: the certificate request is of {asked!r:.80}")
    if not forms.is_p256(key):
        raise CaError(f"{name}: only keys on the curve P-256 are certified")
    return key


def _lay_out(folder: Path, host: str, now: datetime) -> None:
    """All that an authority begins with."""
    ca_files.make_folder(folder)
    ends = now + timedelta(days=_CA_DAYS)
    signer = forms.Signer.new(f"swarm {host}", _serial(now), now, ends)
    ca_files.write(folder / _KEY, signer.key_pem, ca_files.SECRET)
    ca_files.write(folder / _CRL, forms.pem(signer.crl({}, now - forms.EARLY)))
    ca_files.write(folder / _SWARM, _swarm_toml(host))
    ca_files.write(folder / CERTIFICATE, forms.pem(signer.certificate))
    for name in (_ISSUED, "invites", "out"):
        ca_files.make_folder(folder / name)


def role_of(name: str) -> Role:
    """Of a client: names that begin with `indexer-` are kept for indexers."""
    return "indexer" if name.startswith(_INDEXER) else "agent"


def check_host(host: str) -> None:
    """CaError unless it is a host's name or an address, as a certificate may hold it."""
    with contextlib.suppress(ValueError):
        if "%" not in host:  # an interface of this machine's
            ip_address(host)
            return
    parts = host.split(".")
    plain = host.isascii() and len(host) <= 253
    if not plain or not all(_is_label(part) for part in parts) or parts[-1].isdigit():
        raise CaError(f"{host!r:.80} is neither a host's name nor an address")


def _is_label(part: str) -> bool:
    bare = part.replace("-", "")
    return 0 < len(part) <= 63 and bare.isalnum() and part[0] != "-" and part[-1] != "-"


def check(name: str, role: Role, hosts: Sequence[str] = ()) -> None:
    """CaError unless such a certificate may be issued."""
    if bool(hosts) != (role == "server"):
        raise CaError("a server's certificate names its hosts, and no other does")
    for host in hosts:
        check_host(host)
    if len(name) > forms.MOST_NAME:
        raise CaError(f"{name:.80}: a name has at most {forms.MOST_NAME} characters")
    if role != "server":
        try:
            wire.check_name(name)
        except wire.WireError as error:
            raise CaError(str(error)) from error
        if name == _INDEXER or role != role_of(name):
            raise CaError(f"{name}: an indexer's name begins with '{_INDEXER}', and no agent's")


def _issued(made: x509.Certificate, revoked_at: datetime | None) -> Issued:
    name = forms.common_name(made.subject) or ""
    role: Role = "server" if forms.is_servers(made) else role_of(name)
    begins, ends = forms.begins(made), forms.ends(made)
    return Issued(name, role, made.serial_number, begins, ends, revoked_at)


def _serial(now: datetime, newest: int = 0) -> int:
    """A later one is larger, also where the clock was set back; nobody can guess it."""
    return max(int(now.timestamp() * 1000), (newest >> 64) + 1) << 64 | secrets.randbits(64)


def _swarm_toml(host: str) -> str:
    bare = f"[{host}]" if ":" in host else host
    return (
        "# What every box is told when it joins: change it here when it changes.\n"
        f'brokers = ["mqtts://{bare}:8883"]\n'
        f'page = "https://{bare}:8443"\n'
    )


def _texts(facts: dict[str, Any], name: str) -> tuple[str, ...]:
    found = facts.get(name, [])
    found = [found] if isinstance(found, str) else found
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise CaError(f"{_SWARM}: {name} is a text, or a list of them")
    return tuple(found)


def _of_pem(path: Path, load: Callable[[bytes], T]) -> T:
    """What is in the file. OSError, CaError."""
    content = path.read_bytes()
    try:
        return load(content)
    except Exception as error:  # whatever a library makes of a file that somebody has spoilt
        raise CaError(f"{path} is spoilt: put it back from the backup") from error


def _private_key(content: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(content, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("that is another kind of key")
    return key


def _of_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except ValueError as error:
        raise CaError(f"{path}: {error}") from error


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What the disk says, in one line."""
    try:
        yield
    except PermissionError as error:
        hint = "" if os.geteuid() == 0 else ": use sudo"
        raise CaError(f"{error.filename}: {error.strerror or error}{hint}") from error
    except OSError as error:
        raise CaError(f"{error.filename}: {error.strerror or error}") from error
    except ValueError as error:  # a date, say, behind the authority's own end
        raise CaError(f"that cannot be certified: {error}") from error
