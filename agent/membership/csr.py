"""A key as PKCS #8 and a request for a certificate as PKCS #10, both in PEM. Pure.

DER is written by hand: each value is a tag, a length and a content (X.690). The request asks for
nothing but the name; what else a certificate says is its authority's to decide. Standards: RFC 5958
and RFC 5915 (the key), RFC 5480 (the public key), RFC 2986 (the request), RFC 5758 (the signature).
"""

import base64

from agent.membership.p256 import PrivateKey

_INTEGER, _BITS, _OCTETS, _OBJECT, _TEXT = 0x02, 0x03, 0x04, 0x06, 0x0C
_SEQUENCE, _SET = 0x30, 0x31
_NOTHING_MORE = b"\xa0\x00"  # the request's attributes: none
_PUBLIC_KEY_OF_KEY = 0xA1
_BASE64_A_LINE = 48  # bytes; 64 characters


def _value(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _integer(number: int) -> bytes:
    """Not negative: where the first bit is set, a zero goes before it."""
    return _value(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _bits(content: bytes) -> bytes:
    return _value(_BITS, b"\x00", content)  # no bit of the last byte is unused


_EC_PUBLIC_KEY = _value(_OBJECT, bytes.fromhex("2a8648ce3d0201"))  # 1.2.840.10045.2.1
_CURVE = _value(_OBJECT, bytes.fromhex("2a8648ce3d030107"))  # 1.2.840.10045.3.1.7
_ECDSA_SHA256 = _value(_OBJECT, bytes.fromhex("2a8648ce3d040302"))  # 1.2.840.10045.4.3.2
_COMMON_NAME = _value(_OBJECT, bytes.fromhex("550403"))  # 2.5.4.3
_KIND_OF_KEY = _value(_SEQUENCE, _EC_PUBLIC_KEY, _CURVE)


def public_key_der(key: PrivateKey) -> bytes:
    """As a certificate holds it (SubjectPublicKeyInfo)."""
    return _value(_SEQUENCE, _KIND_OF_KEY, _bits(key.public))


def private_key_pem(key: PrivateKey) -> str:
    """Not encrypted: whoever may read the file is the agent."""
    inner = _value(
        _SEQUENCE,
        _integer(1),
        _value(_OCTETS, key.octets),
        _value(_PUBLIC_KEY_OF_KEY, _bits(key.public)),
    )
    return _pem("PRIVATE KEY", _value(_SEQUENCE, _integer(0), _KIND_OF_KEY, _value(_OCTETS, inner)))


def request_pem(key: PrivateKey, name: str) -> str:
    """Signed by the key, for a certificate whose common name is the name."""
    common_name = _value(_SEQUENCE, _COMMON_NAME, _value(_TEXT, name.encode()))
    subject = _value(_SEQUENCE, _value(_SET, common_name))
    asked = _value(_SEQUENCE, _integer(0), subject, public_key_der(key), _NOTHING_MORE)
    r, s = key.sign(asked)
    signature = _bits(_value(_SEQUENCE, _integer(r), _integer(s)))
    whole = _value(_SEQUENCE, asked, _value(_SEQUENCE, _ECDSA_SHA256), signature)
    return _pem("CERTIFICATE REQUEST", whole)


def _pem(label: str, der: bytes) -> str:
    rows = range(0, len(der), _BASE64_A_LINE)
    lines = [base64.b64encode(der[row : row + _BASE64_A_LINE]).decode() for row in rows]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])
