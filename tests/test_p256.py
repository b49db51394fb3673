"""A box's own signatures are those that everybody else makes and reads."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.membership import p256
from agent.membership.p256 import PrivateKey

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
KEYS = st.one_of(
    st.integers(1, ORDER - 1),
    st.integers(1, 2**16),
    st.integers(1, 2**16).map(lambda less: ORDER - less),
    st.integers(0, 255).map(lambda bit: 1 << bit),
)


def theirs(key: PrivateKey) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(key.number, ec.SECP256R1())


@given(KEYS)
@example(1)
@example(2)
@example(3)
@example(ORDER - 1)
@example(2**248 - 1)  # a leading zero byte
@settings(max_examples=150)
def test_the_public_point_is_that_of_any_other_library(number: int) -> None:
    key = PrivateKey(number)
    point = theirs(key).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert key.public == point
    assert p256.from_octets(key.octets) == key and len(key.octets) == 32


@given(KEYS, st.binary(max_size=200))
@settings(max_examples=150)
def test_any_other_library_finds_the_signature_good(number: int, message: bytes) -> None:
    key = PrivateKey(number)
    signature = encode_dss_signature(*key.sign(message))
    theirs(key).public_key().verify(signature, message, ec.ECDSA(hashes.SHA256()))


def test_also_where_r_or_s_begins_with_zeros() -> None:
    key = PrivateKey(0xC0FFEE)
    short = {"r": 0, "s": 0}
    for nth in range(700):
        message = b"%d" % nth
        r, s = key.sign(message)
        short["r"] += r < 2**248
        short["s"] += s < 2**248
        if r < 2**248 or s < 2**248:
            signature = encode_dss_signature(r, s)
            theirs(key).public_key().verify(signature, message, ec.ECDSA(hashes.SHA256()))
    assert short["r"] and short["s"], "one in 256 is: else this has tested nothing"


@pytest.mark.parametrize(
    ("message", "r", "s"),
    [
        (
            b"sample",
            0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
            0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
        ),
        (
            b"test",
            0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
            0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
        ),
    ],
)
def test_the_examples_of_rfc_6979_come_out(message: bytes, r: int, s: int) -> None:
    key = PrivateKey(0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721)
    assert key.public.hex()[2:18] == "60fed4ba255a9d31"
    assert key.sign(message) == (r, s)


def test_a_nonce_beyond_the_order_is_drawn_again() -> None:
    class Odd(p256._Nonces):
        drawn = 0

        def _mac(self, message: bytes) -> bytes:
            self.drawn += 1
            return b"\xff" * 32 if self.drawn < 10 else super()._mac(message)

    nonces = Odd(b"\x01" * 32, b"\x02" * 32)
    assert 0 < nonces.draw() < ORDER and nonces.drawn >= 10


def test_every_key_is_another_one_and_within_the_order() -> None:
    made = {p256.generate() for _ in range(100)}
    assert len(made) == 100 and all(0 < key.number < ORDER for key in made)


@pytest.mark.parametrize("octets", [b"", b"\0" * 32, b"\xff" * 32, b"\1" * 31, b"\1" * 33])
def test_what_is_no_key_is_refused(octets: bytes) -> None:
    with pytest.raises(ValueError, match="not a private key"):
        p256.from_octets(octets)
