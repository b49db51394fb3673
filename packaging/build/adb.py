"""The database in which version 3 of apk keeps a package: values in one block of bytes, by offset.

A value is 32 bits: its type in the upper four; below them a small number, or the offset of what it
stands for. Objects and arrays are rows of such values, led by how many slots they have; what is
pointed at lies before the row that points, so a block is written from its leaves to its root.
"""

import struct
from collections.abc import Mapping, Sequence

INT, INT_32, INT_64, BLOB_8, BLOB_16, BLOB_32, ARRAY, OBJECT = 1, 2, 3, 8, 9, 10, 13, 14
NULL = 0
HEADER_BYTES = 8  # two versions, two bytes of nothing, the root value
BLOCK_ADB, BLOCK_DATA = 0, 2


class Value(int):
    """A value that is already in the block."""


Field = Value | int | bytes | str | None


class Block:
    """One database while it is written. Each method puts something in, and gives its value."""

    def __init__(self) -> None:
        self._bytes = bytearray(HEADER_BYTES)
        self._places: dict[tuple[bytes, int], int] = {}  # what is there twice is written once

    def number(self, number: int) -> Value:
        if 0 <= number < 1 << 28:
            return Value(INT << 28 | number)
        if 0 <= number < 1 << 32:
            return self._value(INT_32, self._put(struct.pack("<I", number), 4))
        return self._value(INT_64, self._put(struct.pack("<Q", number), 8))

    def blob(self, content: bytes | str) -> Value:
        data = content.encode() if isinstance(content, str) else content
        for kind, form, size in ((BLOB_8, "<B", 1), (BLOB_16, "<H", 2), (BLOB_32, "<I", 4)):
            if len(data) < 1 << 8 * size:
                return self._value(kind, self._put(struct.pack(form, len(data)) + data, size))
        raise ValueError("a blob of more than 4 GB")

    def object(self, fields: Mapping[int, Field]) -> Value:
        """Fields by number, from 1 on; empty ones are left out."""
        made = {number: self._field(field) for number, field in fields.items()}
        last = max((number for number, value in made.items() if value != NULL), default=0)
        return self._row(OBJECT, [made.get(number, Value(NULL)) for number in range(1, last + 1)])

    def array(self, items: Sequence[Value]) -> Value:
        return self._row(ARRAY, items) if items else Value(NULL)

    def finished(self, root: Value) -> bytes:
        struct.pack_into("<BBHI", self._bytes, 0, 0, 0, 0, root)
        return bytes(self._bytes)

    def _field(self, field: Field) -> Value:
        if isinstance(field, Value):
            return field
        if field is None or field in (b"", ""):
            return Value(NULL)
        return self.number(field) if isinstance(field, int) else self.blob(field)

    def _row(self, kind: int, values: Sequence[Value]) -> Value:
        row = struct.pack(f"<{len(values) + 1}I", len(values) + 1, *values)
        return self._value(kind, self._put(row, 4))

    def _put(self, data: bytes, align: int) -> int:
        if (data, align) not in self._places:
            self._bytes += bytes(-len(self._bytes) % align)
            self._places[data, align] = len(self._bytes)
            self._bytes += data
        return self._places[data, align]

    def _value(self, kind: int, at: int) -> Value:
        if at >= 1 << 28:
            raise ValueError("a database of more than 256 MB")
        return Value(kind << 28 | at)


def block(kind: int, content: bytes) -> bytes:
    """A block of a file: its kind and length, its content, and zeros up to the next."""
    head = struct.pack("<I", kind << 30 | 4 + len(content))
    return head + content + bytes(-(4 + len(content)) % 8)
