"""Certificates of one swarm, made and read: EC P-256, signed with SHA-256. No files, no clock.

Each says what it may be used for, so that the box of a colleague can never pass for the broker.
Everything begins an hour early: the clocks of those who check it differ a little from ours.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TypeGuard

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

EARLY = timedelta(hours=1)
_USES = {True: ExtendedKeyUsageOID.SERVER_AUTH, False: ExtendedKeyUsageOID.CLIENT_AUTH}
MOST_NAME = 64  # characters, of a common name


class Signer:
    """The authority's certificate and key; it signs whatever it is asked to."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self._key = key

    @classmethod
    def new(cls, name: str, serial: int, begins: datetime, ends: datetime) -> "Signer":
        """A new authority, vouched for by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _named(name)
        builder = _builder(subject, subject, key.public_key(), serial, begins - EARLY, ends)
        usage = _usage(signs_others=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        certificate = builder.add_extension(usage, True).sign(key, hashes.SHA256())
        return cls(certificate, key)

    @property
    def key_pem(self) -> str:
        return private_pem(self._key)

    def certify(
        self,
        name: str,
        public_key: ec.EllipticCurvePublicKey,
        hosts: Sequence[str],
        serial: int,
        begins: datetime,
        ends: datetime,
    ) -> x509.Certificate:
        """A server's certificate for these hosts, a client's when there are none."""
        issuer = self.certificate.subject
        ends = min(ends, self.ends)
        begins -= EARLY
        builder = _builder(_named(name), issuer, public_key, serial, begins, ends)
        ours = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        use = x509.ExtendedKeyUsage([_USES[bool(hosts)]])
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ours)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        builder = builder.add_extension(_usage(signs_others=False), True)
        builder = builder.add_extension(use, False).add_extension(authority, False)
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(_places(hosts)), False)
        return builder.sign(self._key, hashes.SHA256())

    def crl(
        self, revoked: Mapping[int, datetime], last: datetime
    ) -> x509.CertificateRevocationList:
        """What is revoked, and since when. It does not run out before the authority does: a list
        that is too old would lock everybody out."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(last).next_update(self.ends)
        for serial, at in revoked.items():
            one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
            builder = builder.add_revoked_certificate(one.build())
        return builder.sign(self._key, hashes.SHA256())

    @property
    def ends(self) -> datetime:
        return ends(self.certificate)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def pem(made: x509.Certificate | x509.CertificateRevocationList) -> str:
    return made.public_bytes(Encoding.PEM).decode()


def is_p256(key: object) -> TypeGuard[ec.EllipticCurvePublicKey]:
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def common_name(name: x509.Name) -> str | None:
    """The one CN; None when there is none, or more than one."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else None


def is_servers(certificate: x509.Certificate) -> bool:
    uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return ExtendedKeyUsageOID.SERVER_AUTH in uses


def begins(certificate: x509.Certificate) -> datetime:
    """When it was issued."""
    return _moment(certificate, "not_valid_before") + EARLY


def ends(certificate: x509.Certificate) -> datetime:
    return _moment(certificate, "not_valid_after")


def last_update(crl: x509.CertificateRevocationList) -> datetime:
    return _moment(crl, "last_update")


def revoked(crl: x509.CertificateRevocationList) -> dict[int, datetime]:
    """Serial numbers, each with its moment."""
    return {one.serial_number: _moment(one, "revocation_date") for one in crl}


def _moment(of: object, name: str) -> datetime:
    """In UTC. Before cryptography 42 (Debian 12 has 38) the same attribute is without a zone."""
    found: datetime | None = getattr(of, f"{name}_utc", None)
    if found is None:
        naive: datetime = getattr(of, name)
        found = naive.replace(tzinfo=UTC)
    return found


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    serial: int,
    begins: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    builder = builder.public_key(public_key).serial_number(serial)
    builder = builder.not_valid_before(begins).not_valid_after(ends)
    return builder.add_extension(identifier, False)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:MOST_NAME])])


def _usage(signs_others: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_others,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_others,
        crl_sign=signs_others,
        encipher_only=False,
        decipher_only=False,
    )


def _places(hosts: Sequence[str]) -> list[x509.GeneralName]:
    places: list[x509.GeneralName] = []
    for host in hosts:
        try:
            places.append(x509.IPAddress(ip_address(host)))
        except ValueError:
            places.append(x509.DNSName(host))
    return places
