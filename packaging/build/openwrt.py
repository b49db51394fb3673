"""What the OpenWrt packages hold, whichever the format: their trees, names and dependencies.

The feed's Makefiles (packaging/openwrt) say the same for who builds with the SDK; a test compares.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import bytecode
import vendor
from tree import ROOT, BuildError, Tree, epoch_s, version

FEED = ROOT / "packaging" / "openwrt"
CODE = "usr/lib/swarming"
RELEASE = 1
MAINTAINER = "The Swarming developers"
LICENCE = "MIT"

# python3-codecs owns unicodedata, without which no host name is looked up. python3-dateutil would
# bring all of Python, and python3-email is gone on master: neither is here.
DEPENDS = (
    "python3-light",
    "python3-sqlite3",
    "python3-openssl",
    "python3-logging",
    "python3-urllib",
    "python3-uuid",
    "python3-decimal",
    "python3-codecs",
    "python3-paho-mqtt",
    "python3-click",
    "python3-pluggy",
)


class Package(NamedTuple):
    """One package, as both formats need to know it."""

    name: str
    description: str
    depends: tuple[str, ...]
    tree: Tree
    conffiles: tuple[str, ...] = ()  # with a leading slash
    user: str | None = None  # USERID of a Makefile: name=id:group=id
    prerm: str = ""  # commands before it goes; $PKG_UPGRADE is 1 when another version comes

    @property
    def version(self) -> str:
        return f"{version()}-r{RELEASE}"

    @property
    def size(self) -> int:
        return sum(len(entry.content or b"") for entry in self.tree.entries())


PRERM = """\
if [ -z "$IPKG_INSTROOT" ] && [ "$PKG_UPGRADE" != 1 ]; then
	rm -f /etc/sysctl.d/60-swarming.conf
	rm -rf /var/run/swarming
fi
exit 0
"""


def packages(python: str | None) -> list[Package]:
    """The agent with bytecode of this Python, or without any, and its page for LuCI."""
    return [agent(python), luci()]


def agent(python: str | None) -> Package:
    tree = Tree()
    tree.copy(FEED / "swarming-agent" / "files", "")
    tree.copy(ROOT / "agent", f"{CODE}/agent")
    tree.file(f"{CODE}/RELEASE", f"{version()}-r{RELEASE}\n")
    vendor.put(tree, f"{CODE}/vendor")
    if python is not None:
        bytecode.add(tree, CODE, python)
    return Package(
        "swarming-agent",
        "Pings what its swarm watches, keeps every result, and tells a broker: "
        "is it just me, or is this service slow?",
        DEPENDS,
        tree,
        conffiles=("/etc/config/swarming",),
        user="swarming=471:swarming=471",
        prerm=PRERM,
    )


def luci() -> Package:
    tree = Tree()
    page = FEED / "luci-app-swarming"
    tree.copy(page / "root", "")
    tree.copy(page / "htdocs", "www")
    return Package(
        "luci-app-swarming",
        "A page in LuCI for the swarming agent: how it is, and its settings.",
        ("luci-base", "swarming-agent"),
        tree,
    )


def write(
    kind: str,
    python: str,
    named: str,
    pack: Callable[[Package, int], bytes],
    argv: Sequence[str] | None,
) -> int:
    """Writes both packages, of either kind, into a folder; the exit status."""
    parser = argparse.ArgumentParser(prog=kind, description=f"Writes .{kind} packages for OpenWrt.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="FOLDER")
    parser.add_argument(
        "--without-bytecode", action="store_true", help=f"sources alone: needs no Python {python}"
    )
    options = parser.parse_args(argv)
    try:
        made = packages(None if options.without_bytecode else python)
    except BuildError as error:
        print(f"{kind}: {error}", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    for package in made:
        path = options.out / named.format(package)
        path.write_bytes(pack(package, epoch_s()))
        print(f"{path}: {path.stat().st_size:,} bytes, {package.size:,} installed")
    return 0
