"""A certificate authority for one test: what it issues is good for an hour, on loopback."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Pair(NamedTuple):
    cert: str
    key: str


class Authority:
    """Issues certificates that `ca` vouches for."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        pytest.importorskip("cryptography")
        from cryptography.hazmat.primitives.asymmetric import ec

        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca = str(folder / "ca.crt")
        Path(self.ca).write_bytes(self._sign(name, self._key, (), True))

    def issue(self, name: str, hosts: tuple[str, ...] = ()) -> Pair:
        """A certificate whose CN is the name; a server's also names its hosts or addresses."""
        from cryptography.hazmat.primitives import serialization as form
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        pair = Pair(str(self._folder / f"{name}.crt"), str(self._folder / f"{name}.key"))
        Path(pair.cert).write_bytes(self._sign(name, key, hosts, False))
        Path(pair.key).write_bytes(
            key.private_bytes(
                form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
            )
        )
        Path(pair.key).chmod(0o600)
        return pair

    def _sign(self, name: str, key: Any, hosts: tuple[str, ...], is_ca: bool) -> bytes:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives import serialization as form

        now = datetime.datetime.now(datetime.UTC)
        hour = datetime.timedelta(hours=1)
        authority = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(self._name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - hour)
            .not_valid_after(now + hour)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), False
            )
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(_names(hosts)), False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(form.Encoding.PEM)


def _named(name: str) -> Any:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _names(hosts: tuple[str, ...]) -> Any:
    from cryptography import x509

    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names
