"""What a certificate says of itself: whose it is, until when, for which key. Pure.

Any bytes give an answer, or None where there is none to be read. It is a walk over DER that knows
one thing (RFC 5280, 4.1): a certificate holds tbsCertificate, and that holds, after a version that
version 1 leaves out: serial number, algorithm, issuer, validity, subject, key.
"""

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

PEM = re.compile(
    r"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----(.+?)-----END", re.DOTALL | re.ASCII
)
_COMMON_NAME = bytes.fromhex("0603550403")  # the object identifier 2.5.4.3, as DER writes it
_VERSION, _UTC_TIME, _GENERALIZED_TIME, _UTF_16 = 0xA0, 0x17, 0x18, 0x1E
_MOST_TEXT = 64 * 1024


class _Value(NamedTuple):
    tag: int
    content: bytes
    whole: bytes


def common_name(pem: str) -> str | None:
    """The subject's CN of the first certificate in a PEM text."""
    try:
        rows = [row for group in _values(_fields(pem)[4].content) for row in _values(group.content)]
        for row in rows:  # the first: Mosquitto takes that for the user's name, too
            if row.content.startswith(_COMMON_NAME):
                _, name = _values(row.content)[:2]
                return name.content.decode("utf-16-be" if name.tag == _UTF_16 else "utf-8")
    except (IndexError, ValueError):  # UnicodeDecodeError and binascii.Error are ValueErrors
        return None
    return None


def ends_ms(pem: str) -> int | None:
    """When the first certificate in a PEM text ends, in ms since 1970."""
    try:
        _, end = _values(_fields(pem)[3].content)
        return round(_moment(end).timestamp() * 1000)
    except (IndexError, ValueError, OverflowError):
        return None


def public_key_der(pem: str) -> bytes | None:
    """The key of the first certificate in a PEM text (SubjectPublicKeyInfo)."""
    try:
        return _fields(pem)[5].whole
    except (IndexError, ValueError):
        return None


def day(time_ms: int) -> str:
    """The day in UTC as RFC 3339 writes it; also where the machine's own time ends in 2038."""
    return (datetime(1970, 1, 1) + timedelta(milliseconds=time_ms)).date().isoformat()


def _fields(pem: str) -> list[_Value]:
    """Of tbsCertificate, without its version. IndexError and ValueError where there is none."""
    found = PEM.search(pem[:_MOST_TEXT])
    if found is None:
        raise ValueError("no certificate")
    try:
        der = base64.b64decode("".join(found[1].split()), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    fields = _values(_values(_values(der)[0].content)[0].content)
    return fields[1:] if fields[0].tag == _VERSION else fields


def _values(der: bytes) -> list[_Value]:
    """Each value in a row of DER values; IndexError when it is cut short."""
    values, at = [], 0
    while at < len(der):
        tag, length, start = der[at], der[at + 1], at + 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(der[at + 2 : start], "big")
        end = start + length
        if end > len(der):
            raise IndexError("cut short")
        values.append(_Value(tag, der[start:end], der[at:end]))
        at = end
    return values


def _moment(value: _Value) -> datetime:
    """A time as RFC 5280, 4.1.2.5 has it: to the second, in UTC."""
    text = value.content.decode("ascii")
    if value.tag == _UTC_TIME:  # two digits: 1950 to 2049
        text = ("19" if text[:2] >= "50" else "20") + text
    elif value.tag != _GENERALIZED_TIME:
        raise ValueError("not a time")
    if not re.fullmatch(r"[0-9]{14}Z", text):
        raise ValueError("not a time in UTC")
    parts = [int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2))]
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]
