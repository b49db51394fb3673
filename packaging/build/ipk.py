"""Writes .ipk packages for OpenWrt up to 24.10, byte for byte the same each time, without the SDK.

An .ipk is a gzipped tar of ./debian-binary, ./data.tar.gz and ./control.tar.gz, in this order. The
scripts are the ones that OpenWrt's build system gives to every package.
"""

import sys
from collections.abc import Sequence

import openwrt
from openwrt import Package
from tree import Entry, gzip_n, tar

PYTHON = "3.11"  # of OpenWrt 24.10

_HEAD = """\
#!/bin/sh
[ -s "${IPKG_INSTROOT}/lib/functions.sh" ] || exit 0
. "${IPKG_INSTROOT}/lib/functions.sh"
"""
POSTINST = _HEAD.replace("\n", '\n[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0\n', 1) + (
    "default_postinst $0 $@\n"
)
PRERM = _HEAD + "default_prerm $0 $@\n"


def ipk(package: Package, at_s: int) -> bytes:
    """The whole file."""
    data = tar(package.tree.entries(), at_s, names=False)
    parts = {
        "debian-binary": b"2.0\n",
        "data.tar.gz": gzip_n(data),
        "control.tar.gz": gzip_n(tar(control(package, at_s, len(data)), at_s, names=False)),
    }
    members = [Entry(name, 0o644, content) for name, content in parts.items()]
    return gzip_n(tar(members, at_s, folder=False, names=False))


def control(package: Package, at_s: int, size: int) -> list[Entry]:
    """The members of control.tar.gz."""
    members = [Entry("control", 0o644, _fields(package, at_s, size).encode())]
    if package.conffiles:
        members.append(Entry("conffiles", 0o644, _lines(package.conffiles)))
    members.append(Entry("postinst", 0o755, POSTINST.encode()))
    members.append(Entry("prerm", 0o755, PRERM.encode()))
    if package.prerm:
        members.append(Entry("prerm-pkg", 0o755, f"#!/bin/sh\n{package.prerm}".encode()))
    return sorted(members)


def _fields(package: Package, at_s: int, size: int) -> str:
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Depends": ", ".join(package.depends),
        "Source": f"packaging/openwrt/{package.name}",
        "SourceName": package.name,
        "License": openwrt.LICENCE,
        "Section": "net",
        "Require-User": package.user,
        "SourceDateEpoch": str(at_s),
        "Maintainer": openwrt.MAINTAINER,
        "Architecture": "all",
        "Installed-Size": str(size),
        "Description": package.description,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def _lines(words: Sequence[str]) -> bytes:
    return "".join(f"{word}\n" for word in words).encode()


def main(argv: Sequence[str] | None = None) -> int:
    return openwrt.write("ipk", PYTHON, "{0.name}_{0.version}_all.ipk", ipk, argv)


if __name__ == "__main__":
    sys.exit(main())
