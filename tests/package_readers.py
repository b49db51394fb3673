"""Readers of .ipk and .apk for the tests; no code is shared with the writers.

Both are strict: what has no meaning here, or lies where it should not, is an AssertionError.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple


class Packed(NamedTuple):
    """One path in a package; a folder has neither content nor target."""

    path: str
    mode: int
    user: str
    group: str
    mtime: int | None
    content: bytes | None = None
    target: str | None = None


class Read(NamedTuple):
    """What a package says and holds."""

    info: dict[str, Any]
    files: dict[str, Packed]
    scripts: dict[str, str]

    def unpack(self, root: Path) -> None:
        """As a package manager would, without its scripts."""
        for one in sorted(self.files.values(), key=lambda packed: packed.path.split("/")):
            place = root / one.path
            if one.target is not None:
                place.symlink_to(one.target)
            elif one.content is None:
                place.mkdir(exist_ok=True)
                place.chmod(one.mode)
            else:
                place.write_bytes(one.content)
                place.chmod(one.mode)
                if one.mtime is not None:
                    os.utime(place, (one.mtime, one.mtime))


def gunzip(data: bytes) -> bytes:
    """One gzip member, to its very end, without a name and without a time."""
    assert data[:4] == b"\x1f\x8b\x08\x00", "gzip, with no optional field"
    assert data[4:8] == bytes(4), "no time"
    inflate = zlib.decompressobj(-15)
    content = inflate.decompress(data[10:])
    assert inflate.eof
    crc, size = struct.unpack("<II", inflate.unused_data)
    assert (crc, size) == (zlib.crc32(content), len(content))
    return content


def untar(data: bytes) -> list[Packed]:
    """GNU tar; the owners are numbers alone."""
    found, at, long_name = [], 0, None
    while any(data[at : at + 512]):
        head = data[at : at + 512]
        spaced = head[:148] + b" " * 8 + head[156:]
        assert _octal(head[148:156]) == sum(spaced), "the head's own sum"
        assert head[257:265] == b"ustar  \0", "GNU's format"
        assert not head[265:329].strip(b"\0"), "names of owners"
        size, kind = _octal(head[124:136]), head[156:157]
        content = data[at + 512 : at + 512 + size]
        at += 512 + -(-size // 512) * 512
        if kind == b"L":
            long_name = content.rstrip(b"\0").decode()
            continue
        name = long_name or head[:100].rstrip(b"\0").decode()
        long_name = None
        owners = str(_octal(head[108:116])), str(_octal(head[116:124]))
        one = Packed(name, _octal(head[100:108]), *owners, _octal(head[136:148]))
        if kind == b"0":
            one = one._replace(content=content)
        elif kind == b"2":
            one = one._replace(target=head[157:257].rstrip(b"\0").decode())
        else:
            assert kind == b"5", f"a member of kind {kind!r}"
        found.append(one)
    assert not any(data[at:]) and len(data) - at >= 1024, "two blocks of zeros end it"
    return found


def _octal(field: bytes) -> int:
    return int(field.rstrip(b"\0 ") or b"0", 8)


def read_ipk(data: bytes) -> Read:
    """A whole .ipk; its control fields are the info."""
    outer = untar(gunzip(data))
    assert [one.path for one in outer] == ["./debian-binary", "./data.tar.gz", "./control.tar.gz"]
    assert outer[0].content == b"2.0\n"
    assert outer[1].content is not None and outer[2].content is not None
    inside = gunzip(outer[1].content)
    control = {one.path: one for one in untar(gunzip(outer[2].content))}
    assert control.pop("./").mode == 0o755
    texts = {path.removeprefix("./"): one.content or b"" for path, one in control.items()}
    for path, one in control.items():
        assert one.mode == (0o644 if path in ("./control", "./conffiles") else 0o755)
    info = dict(line.split(": ", 1) for line in texts.pop("control").decode().splitlines())
    assert int(info["Installed-Size"]) == len(inside)
    files = {one.path.removeprefix("./").rstrip("/"): one for one in untar(inside)}
    files = {path: one._replace(path=path) for path, one in files.items()}
    assert files.pop("") is not None
    return Read(info, files, {name: text.decode() for name, text in texts.items()})


_INFO = {1: "name", 2: "version", 3: "hashes", 4: "description", 5: "arch", 6: "license",
         7: "origin", 8: "maintainer", 9: "url", 12: "installed-size", 15: "depends"}  # fmt: skip
_SCRIPTS = {2: "pre-install", 3: "post-install", 4: "pre-deinstall", 5: "post-deinstall",
            6: "pre-upgrade", 7: "post-upgrade"}  # fmt: skip


class _Adb:
    """A database; every value is looked up by its offset, and may not point outside."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        compat, ver, reserved, self.root = struct.unpack_from("<BBHI", data)
        assert (compat, ver, reserved) == (0, 0, 0)

    def get(self, value: int) -> Any:
        kind, at = value >> 28, value & 0xFFFFFFF
        if value == 0:
            return None
        if kind == 1:
            return at
        if kind in (2, 3):
            form, size = {2: ("<I", 4), 3: ("<Q", 8)}[kind]
            assert at % size == 0
            return struct.unpack_from(form, self.data, at)[0]
        if kind in (8, 9, 10):
            form, size = {8: ("<B", 1), 9: ("<H", 2), 10: ("<I", 4)}[kind]
            assert at % size == 0, "aligned to its length"
            (length,) = struct.unpack_from(form, self.data, at)
            assert at + size + length <= len(self.data)
            return self.data[at + size : at + size + length]
        raise AssertionError(f"a value of kind {kind}")

    def row(self, value: int, kind: int) -> list[int]:
        """The slots of an array (13) or an object (14), without their number."""
        if value == 0:
            return []
        at = value & 0xFFFFFFF
        assert value >> 28 == kind and at % 4 == 0
        (slots,) = struct.unpack_from("<I", self.data, at)
        assert slots > 1
        found = list(struct.unpack_from(f"<{slots - 1}I", self.data, at + 4))
        assert found[-1] != 0, "trailing nulls are cut"
        return found

    def fields(self, value: int) -> dict[int, int]:
        return {number: one for number, one in enumerate(self.row(value, 14), 1) if one}


def _blocks(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        (head,) = struct.unpack_from("<I", data, at)
        kind, length = head >> 30, head & 0x3FFFFFFF
        end = at + length
        assert length >= 4 and end <= len(data)
        found.append((kind, data[at + 4 : end]))
        at = end + -length % 8
        assert not any(data[end:at]), "zeros up to the next block"
    assert at == len(data)
    return found


def read_apk(data: bytes) -> Read:
    """A whole .apk of version 3, unsigned; every hash in it is checked."""
    assert data[:4] == b"ADBd", "deflated"
    inflate = zlib.decompressobj(-15)
    content = inflate.decompress(data[4:])
    assert inflate.eof and not inflate.unused_data
    assert content[:8] == b"ADB." + b"pckg", "a package"
    (kind, database), *rest = _blocks(content[8:])
    assert kind == 0 and all(kind == 2 for kind, _ in rest)
    adb = _Adb(database)
    root = adb.fields(adb.root)
    assert set(root) <= {1, 2, 3}
    bodies = {struct.unpack_from("<II", body): body[8:] for _, body in rest}
    assert list(bodies) == sorted(bodies) and len(bodies) == len(rest)
    files = _paths(adb, root[2], bodies)
    assert not bodies, "content that is no file's"
    scripts = {_SCRIPTS[at]: adb.get(one).decode() for at, one in adb.fields(root[3]).items()}
    return Read(_info(adb, root[1]), files, scripts)


def _info(adb: _Adb, value: int) -> dict[str, Any]:
    fields = adb.fields(value)
    depends = fields.pop(15, 0)
    info = {_INFO[at]: adb.get(one) for at, one in fields.items()}
    unique = info.pop("hashes")
    where = adb.data.index(unique)
    assert adb.data.count(unique) == 1 and len(unique) == 20
    zeroed = adb.data[:where] + bytes(20) + adb.data[where + 20 :]
    assert hashlib.sha256(zeroed).digest()[:20] == unique, "the unique id"
    info = {name: one.decode() if isinstance(one, bytes) else one for name, one in info.items()}
    names = [adb.get(adb.fields(one)[1]) for one in adb.row(depends, 13)]
    assert names == sorted(names)
    return info | {"depends": [name.decode() for name in names]}


def _paths(adb: _Adb, value: int, bodies: dict[Any, bytes]) -> dict[str, Packed]:
    files: dict[str, Packed] = {}
    folders = []
    for at_path, path in enumerate(adb.row(value, 13), 1):
        fields = adb.fields(path)
        folder = adb.get(fields.get(1, 0)) or b""
        folders.append(folder)
        if folder:
            files[folder.decode()] = _packed(adb, folder.decode(), fields[2], None)
        names = []
        for at_file, file in enumerate(adb.row(fields.get(3, 0), 13), 1):
            its = adb.fields(file)
            names.append(adb.get(its[1]))
            full = b"/".join(filter(None, (folder, names[-1]))).decode()
            packed = _packed(adb, full, its[2], adb.get(its.get(4, 0)))
            if 6 in its:
                target = adb.get(its[6])
                assert struct.unpack("<H", target[:2])[0] == stat.S_IFLNK
                files[full] = packed._replace(target=target[2:].decode())
                continue
            content = bodies.pop((at_path, at_file), b"")
            assert len(content) == (adb.get(its.get(3, 0)) or 0)
            assert hashlib.sha256(content).digest() == adb.get(its[5]), full
            files[full] = packed._replace(content=content)
        assert names == sorted(names)
    assert folders == sorted(folders) and folders[0] == b""
    return files


def _packed(adb: _Adb, path: str, acl: int, mtime: int | None) -> Packed:
    mode, user, group = (adb.get(adb.fields(acl)[at]) for at in (1, 2, 3))
    return Packed(path, mode, user.decode(), group.decode(), mtime)
