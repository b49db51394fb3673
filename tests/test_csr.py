"""A box's key and its request for a certificate can be read by whoever must read them."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.membership import csr, p256
from agent.membership.p256 import PrivateKey
from tests import needs
from tests.test_p256 import KEYS, theirs

NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@given(KEYS)
@example(2**248 - 1)
@settings(max_examples=60)
def test_the_key_is_written_as_every_other_library_writes_it(number: int) -> None:
    pem = csr.private_key_pem(PrivateKey(number))
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert pem.encode() == theirs(PrivateKey(number)).private_bytes(*form)


@given(KEYS, NAMES)
@example(2**248 - 1, "x" * 64)
@settings(max_examples=100)
def test_the_request_is_well_signed_and_asks_for_the_name_alone(number: int, name: str) -> None:
    key = PrivateKey(number)
    request = x509.load_pem_x509_csr(csr.request_pem(key, name).encode())
    assert request.is_signature_valid
    assert request.subject == x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    assert not list(request.extensions) and not list(request.attributes)
    public = request.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public == theirs(key).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert csr.public_key_der(key) == der


def test_openssl_takes_both(tmp_path: Path) -> None:
    openssl = needs.tool("openssl")
    key = p256.generate()
    (tmp_path / "key").write_text(csr.private_key_pem(key))
    (tmp_path / "csr").write_text(csr.request_pem(key, "box-1"))
    said = subprocess.run(
        [openssl, "req", "-in", str(tmp_path / "csr"), "-verify", "-noout", "-subject"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "CN = box-1" in said.stdout or "CN=box-1" in said.stdout
    certificate = tmp_path / "cert"
    subprocess.run(
        [openssl, "req", "-x509", "-key", str(tmp_path / "key"), "-in", str(tmp_path / "csr"),
         "-out", str(certificate), "-days", "1"],
        capture_output=True,
        check=True,
    )  # fmt: skip
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, tmp_path / "key")
    assert load_pem_private_key((tmp_path / "key").read_bytes(), None)
