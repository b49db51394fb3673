"""Writes .apk packages (version 3) for OpenWrt from 25.12 on, byte for byte the same each time.

An .apk is "ADBd" and one raw deflate of "ADB.", the name of the schema, and blocks: the database
that says all about the package, then each file that is not empty, in the database's order. The
scripts, and the lists in lib/apk/packages, are the ones that OpenWrt's build system makes: without
NAME.list its postinst finds no init script to enable.
"""

import hashlib
import stat
import struct
import sys
import zlib
from collections.abc import Sequence

import openwrt
from adb import BLOCK_ADB, BLOCK_DATA, Block, Value, block
from openwrt import Package
from tree import Entry, Tree

PYTHON = "3.13"  # of OpenWrt 25.12
SCHEMA = b"ADB." + struct.pack("<I", 0x676B6370)
UNIQUE_BYTES = 20

_HEAD = """\
#!/bin/sh
[ -s "${{IPKG_INSTROOT}}/lib/functions.sh" ] || exit 0
. "${{IPKG_INSTROOT}}/lib/functions.sh"
export root="${{IPKG_INSTROOT}}"
export pkgname="{name}"
"""


def apk(package: Package, at_s: int) -> bytes:
    """The whole file."""
    entries = with_lists(package).entries()
    folders = [Entry("", 0o755), *(entry for entry in entries if entry.is_folder)]
    folders.sort(key=lambda folder: folder.path.encode())
    files = {folder.path: _inside(folder.path, entries) for folder in folders}
    blocks = [block(BLOCK_ADB, database(package, folders, files, at_s))]
    for at_folder, folder in enumerate(folders, 1):
        for at_file, file in enumerate(files[folder.path], 1):
            if file.content:
                where = struct.pack("<II", at_folder, at_file)
                blocks.append(block(BLOCK_DATA, where + file.content))
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"ADBd" + deflate.compress(SCHEMA + b"".join(blocks)) + deflate.flush()


def with_lists(package: Package) -> Tree:
    """The package's tree with what OpenWrt's scripts want to know of it."""
    tree = Tree()
    for entry in package.tree.entries():
        tree.put(entry)
    files = [f"/{entry.path}" for entry in package.tree.entries() if not entry.is_folder]
    lists = {"list": sorted(files, key=str.encode), "conffiles": list(package.conffiles)}
    lists["conffiles_static"] = [
        f"{path} {hashlib.sha256(package.tree[path].content or b'').hexdigest()}"
        for path in package.conffiles
        if path in package.tree
    ]
    lists["rusers"] = [package.user] if package.user else []
    for name, lines in lists.items():
        if lines:
            content = "".join(f"{line}\n" for line in lines)
            tree.file(f"lib/apk/packages/{package.name}.{name}", content)
    return tree


def database(
    package: Package, folders: Sequence[Entry], files: dict[str, list[Entry]], at_s: int
) -> bytes:
    """The ADB block's content; its unique id is the hash of itself without that id."""

    def written(unique: bytes) -> bytes:
        adb = Block()
        info = _info(adb, package, unique, sum(len(e.content or b"") for e in flat))
        paths = adb.array([_folder(adb, folder, files[folder.path], at_s) for folder in folders])
        return adb.finished(adb.object({1: info, 2: paths, 3: _scripts(adb, package)}))

    flat = [file for some in files.values() for file in some]
    return written(hashlib.sha256(written(bytes(UNIQUE_BYTES))).digest()[:UNIQUE_BYTES])


def _info(adb: Block, package: Package, unique: bytes, size: int) -> Value:
    depends = [adb.object({1: name}) for name in sorted(package.depends)]
    return adb.object(
        {
            1: package.name,
            2: package.version,
            3: unique,
            4: package.description,
            5: "noarch",
            6: openwrt.LICENCE,
            7: f"packaging/openwrt/{package.name}",
            8: openwrt.MAINTAINER,
            12: size,
            15: adb.array(depends),
        }
    )


def _folder(adb: Block, folder: Entry, files: Sequence[Entry], at_s: int) -> Value:
    made = adb.array([_file(adb, file, at_s) for file in files])
    return adb.object({1: folder.path, 2: _acl(adb, folder), 3: made})


def _file(adb: Block, file: Entry, at_s: int) -> Value:
    name, acl = file.path.rsplit("/", 1)[-1], _acl(adb, file)
    if file.target is not None:
        target = struct.pack("<H", stat.S_IFLNK) + file.target.encode()
        return adb.object({1: name, 2: acl, 4: at_s, 6: target})
    content = file.content or b""
    sha256 = hashlib.sha256(content).digest()
    return adb.object({1: name, 2: acl, 3: len(content), 4: at_s, 5: sha256})


def _acl(adb: Block, entry: Entry) -> Value:
    return adb.object({1: entry.mode, 2: entry.user, 3: entry.group})


def _scripts(adb: Block, package: Package) -> Value:
    head = _HEAD.format(name=package.name)
    install = "add_group_and_user\ndefault_postinst\n"
    unless = '[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0\n'
    first, rest = head.split("\n", 1)
    return adb.object(
        {
            3: f"{first}\n{unless}{rest}{install}",
            4: f"{head}default_prerm\n{package.prerm}",
            7: f"{first}\nexport PKG_UPGRADE=1\n{unless}{rest}{install}",
        }
    )


def _inside(folder: str, entries: Sequence[Entry]) -> list[Entry]:
    """The folder's own files, sorted by name."""
    inside = [e for e in entries if not e.is_folder and e.path.rpartition("/")[0] == folder]
    return sorted(inside, key=lambda entry: entry.path.encode())


def main(argv: Sequence[str] | None = None) -> int:
    return openwrt.write("apk", PYTHON, "{0.name}-{0.version}.apk", apk, argv)


if __name__ == "__main__":
    sys.exit(main())
