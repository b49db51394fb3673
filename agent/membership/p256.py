"""A key on the curve P-256, and its signatures (ECDSA with SHA-256): as many as a box ever needs.

A small box has no library for it and no ``openssl`` command, and needs it once: to sign its request
for a certificate. Written from the standards: SEC 1 (points, their encoding), FIPS 186-5 (ECDSA),
SP 800-186 (the curve's numbers), RFC 6979 (the nonce comes from key and message, so a box that has
just booted and has little randomness cannot give its key away by it).

Whole numbers in Python do not take the same time whatever they hold, so this is for signing a few
times on one's own machine, not for a server that strangers may time.
"""

import hashlib
import hmac
import secrets
from typing import NamedTuple

SIZE = 32  # bytes of a coordinate, and of a private key

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # the order of _G
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_Point = tuple[int, int, int]  # Jacobian: x / z², y / z³; at infinity z is 0
_INFINITY = (1, 1, 0)


class Signature(NamedTuple):
    r: int
    s: int


class PrivateKey(NamedTuple):
    """A secret number; 0 < number < the curve's order."""

    number: int

    @property
    def public(self) -> bytes:
        """The public point, uncompressed (SEC 1, 2.3.3): 4, x, y."""
        x, y = _times(self.number)
        return b"\x04" + _octets(x) + _octets(y)

    @property
    def octets(self) -> bytes:
        return _octets(self.number)

    def sign(self, message: bytes) -> Signature:
        """FIPS 186-5, 6.4.1, over the message's SHA-256."""
        digest = hashlib.sha256(message).digest()
        nonces = _Nonces(self.octets, digest)
        while True:
            nonce = nonces.draw()
            r = _times(nonce)[0] % _N
            s = pow(nonce, -1, _N) * (int.from_bytes(digest, "big") + r * self.number) % _N
            if r and s:
                return Signature(r, s)


def generate() -> PrivateKey:
    return PrivateKey(1 + secrets.randbelow(_N - 1))


def from_octets(octets: bytes) -> PrivateKey:
    """The key that was kept so; ValueError when no key can be."""
    number = int.from_bytes(octets, "big")
    if len(octets) != SIZE or not 0 < number < _N:
        raise ValueError("not a private key on P-256")
    return PrivateKey(number)


class _Nonces:
    """RFC 6979, 3.2: an HMAC-DRBG that only key and message feed."""

    def __init__(self, key: bytes, digest: bytes) -> None:
        seed = key + _octets(int.from_bytes(digest, "big") % _N)
        self._k, self._v = b"\x00" * SIZE, b"\x01" * SIZE
        for mark in (b"\x00", b"\x01"):
            self._step(mark + seed)

    def draw(self) -> int:
        while True:
            self._v = self._mac(self._v)
            found = int.from_bytes(self._v, "big")
            self._step(b"\x00")  # for the next one, should this not do
            if 0 < found < _N:
                return found

    def _step(self, more: bytes) -> None:
        self._k = self._mac(self._v + more)
        self._v = self._mac(self._v)

    def _mac(self, message: bytes) -> bytes:
        return hmac.digest(self._k, message, "sha256")


def _octets(number: int) -> bytes:
    return number.to_bytes(SIZE, "big")


def _times(scalar: int) -> tuple[int, int]:
    """The scalar's multiple of the base point; 0 < scalar < its order, so it is not at infinity."""
    base, product = (*_G, 1), _INFINITY
    for bit in bin(scalar)[2:]:
        product = _double(product)
        if bit == "1":
            product = _add(product, base)
    x, y, z = product
    inverse = pow(z, -1, _P)
    return x * inverse**2 % _P, y * inverse**3 % _P


def _double(point: _Point) -> _Point:
    """For a curve whose a is -3."""
    x, y, z = point
    if not z:
        return _INFINITY
    slope = 3 * (x - z * z) * (x + z * z) % _P
    y_squared = y * y % _P
    both = 4 * x * y_squared % _P
    x_sum = (slope * slope - 2 * both) % _P
    y_sum = (slope * (both - x_sum) - 8 * y_squared * y_squared) % _P
    return x_sum, y_sum, 2 * y * z % _P


def _add(one: _Point, other: _Point) -> _Point:
    """The sum of two points that differ."""
    x1, y1, z1 = one
    x2, y2, z2 = other
    if not z1:
        return other
    if not z2:
        return one
    u1, u2 = x1 * z2 * z2 % _P, x2 * z1 * z1 % _P
    s1, s2 = y1 * z2**3 % _P, y2 * z1**3 % _P
    if u1 == u2:
        return _double(one) if s1 == s2 else _INFINITY
    step, slope = (u2 - u1) % _P, (s2 - s1) % _P
    step_2 = step * step % _P
    step_3, along = step * step_2 % _P, u1 * step_2 % _P
    x = (slope * slope - step_3 - 2 * along) % _P
    return x, (slope * (along - x) - s1 * step_3) % _P, step * z1 * z2 % _P
