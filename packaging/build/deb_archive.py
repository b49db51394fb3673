"""The format of Debian's binary packages, written without Debian's tools: deb(5).

The same tree and control give the same bytes.
"""

import hashlib
import lzma
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tree import Entry, Tree, tar

_SCRIPT, _PLAIN = 0o755, 0o644


class Deb(NamedTuple):
    """What a package is, but for its version."""

    control: str  # the fields, without Version and Installed-Size
    scripts: Mapping[str, str]  # postinst, prerm, postrm
    conffiles: Sequence[str]  # paths in the tree
    tree: Tree


def pack(deb: Deb, version: str, epoch_s: int) -> bytes:
    """The whole .deb."""
    entries = deb.tree.entries()
    control = Tree()
    control.file("control", _control(deb.control, version, entries))
    control.file("md5sums", _sums(entries))
    control.file("conffiles", "".join(f"/{path}\n" for path in deb.conffiles))
    for name, text in deb.scripts.items():
        control.file(name, text, _SCRIPT)
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": _xz(tar(control.entries(), epoch_s)),
        "data.tar.xz": _xz(tar(entries, epoch_s)),
    }
    return b"!<arch>\n" + b"".join(_member(*one, epoch_s) for one in members.items())


def _control(fields: str, version: str, entries: Sequence[Entry]) -> str:
    """Version follows the package's name, as dpkg-gencontrol writes it."""
    name, rest = fields.split("\n", 1)
    return f"{name}\nVersion: {version}\nInstalled-Size: {_size_kib(entries)}\n{rest}"


def _size_kib(entries: Sequence[Entry]) -> int:
    """Each file in whole KiB, and one for anything else: deb-substvars(5)."""
    return sum(-(-len(entry.content) // 1024) if entry.content else 1 for entry in entries)


def _sums(entries: Sequence[Entry]) -> str:
    files = ((entry.path, entry.content) for entry in entries if entry.content is not None)
    return "".join(f"{hashlib.md5(content).hexdigest()}  {path}\n" for path, content in files)


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, check=lzma.CHECK_CRC64, preset=6)


def _member(name: str, content: bytes, epoch_s: int) -> bytes:
    """Of an ar archive: a line about it, the content, and a byte to make it even."""
    head = f"{name:<16}{epoch_s:<12}{0:<6}{0:<6}{0o100000 | _PLAIN:<8o}{len(content):<10}`\n"
    return head.encode() + content + b"\n" * (len(content) % 2)
