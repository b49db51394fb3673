"""How much room the agent's packages take, alone and with all they need, beside two others'.

Ours are read from dist/ (`make deb ipk apk zipapp`). What Debian's package needs besides is what
apt would install without recommendations, on a root of nothing but apt, and on one that has Python
(wants root and mmdebstrap).

OpenWrt counts packed kilobytes: in its table the installed size is within 1 % of the file's, and
so is what squashfs or the overlay takes. What the feed's parts take is **modelled**: the table's
figures of other releases, and deflated bytecode where it has none; none was measured on a router.

Others' sizes are as published, and are of what those do, which is not what we do:
- atlas-probe 2.6.3-1, OpenWrt 21.02, 210 kB (needs libopenssl, openssh-client, sudo):
  openwrt.org/packages/pkgdata_owrt21_2/atlas-probe, libopenssl1.1 and openssh-client beside it.
- telegraf 1.23.4-1, OpenWrt 22.03, 13,193 kB ("small build, most plugins excluded"), and
  telegraf-full 35,940 kB: openwrt.org/packages/pkgdata/telegraf and …/telegraf-full.
- telegraf 1.37.0-r5, Alpine 3.24, x86_64, 80.4 MiB packed, 316.0 MiB installed:
  pkgs.alpinelinux.org/package/v3.24/community/x86_64/telegraf.
- telegraf's binary in its Debian package of 2022: 144 MB: vyos/vyos-build, pull request 251.
No published size of a Debian package of the RIPE Atlas probe was found.
"""

import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests import pythons

DIST = Path(__file__).resolve().parents[1] / "dist"


class Part(NamedTuple):
    name: str
    kb: int
    source: str


# What 24.10's agent needs from the feeds, packed.
FEED = (
    Part("libpython3", 895, "table, 22.03"),
    Part("python3-base", 134, "table, 21.02"),
    Part("python3-light", 1861, "table, 22.03"),
    Part("python3-logging -urllib -uuid -sqlite3, with -email", 368, "deflated bytecode of 3.11"),
    Part("python3-openssl -decimal -codecs", 1123, "deflated modules of 3.11, armhf and x86-64"),
    Part("libopenssl", 1259, "table, 22.03"),
    Part("libsqlite3", 527, "table, 22.03"),
    Part("python3-paho-mqtt", 108, "deflated bytecode of 2.1.0"),
    Part("python3-click, -pluggy", 220, "deflated bytecode of 8.1.7, 1.3.0"),
)
ATLAS = (
    Part("atlas-probe", 210, "table, 21.02"),
    Part("libopenssl", 1266, "table, 21.02"),
    Part("openssh-client", 359, "table, 21.02; sudo besides, of unknown size"),
)


def total_kb(parts: Iterable[Part]) -> int:
    return sum(part.kb for part in parts)


# --- Debian -------------------------------------------------------------------------------------


def debian_root(suite: str, *packages: str) -> Path:
    """A root of that release with nothing but apt, and these packages."""

    def make(root: Path) -> None:
        command = ["mmdebstrap", "--quiet", "--variant=apt", "--skip=cleanup/apt/lists"]
        command += [f"--include={package}" for package in packages]
        subprocess.run([*command, suite, str(root)], check=True)

    name = "-".join(["sizes", suite, *packages])
    return pythons.once(pythons.BUILD / "roots" / name, make)


def added_kb(root: Path, deb: Path) -> tuple[int, int]:
    """How many packages apt would add for this one, itself not counted, and their installed kB."""
    needed = field(deb, "Depends").replace("\n", " ")
    names = [re.split(r"[ (|:]", word.strip())[0] for word in needed.split(",")]
    apt = ["chroot", str(root), "apt-get", "-qq", "--no-install-recommends", "--simulate"]
    said = run(*apt, "install", *names)
    new = [line.split()[1] for line in said.splitlines() if line.startswith("Inst ")]
    if not new:
        return 0, 0
    shown = run("chroot", str(root), "apt-cache", "show", "--no-all-versions", *new)
    return len(new), sum(map(int, re.findall(r"^Installed-Size: (\d+)", shown, re.M)))


def field(deb: Path, name: str) -> str:
    return run("dpkg-deb", "--field", str(deb), name).strip()


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def debian(deb: Path) -> None:
    own_kb = int(field(deb, "Installed-Size"))
    packed_kb = deb.stat().st_size // 1000
    print(f"{deb.name}: {own_kb:,} kB installed, {packed_kb:,} kB packed")
    for suite in ("bookworm", "trixie"):
        for have in ((), ("python3",)):
            count, kb = added_kb(debian_root(suite, *have), deb)
            on = f"{suite} with {have[0] if have else 'nothing but apt'}"
            print(f"    {on}: {count} packages besides, {kb:,} kB; together {own_kb + kb:,} kB")


# --- OpenWrt ------------------------------------------------------------------------------------


def ipk_installed_kb(ipk: Path) -> int:
    with tarfile.open(ipk) as outer:
        member = outer.extractfile("./control.tar.gz")
        assert member is not None
        with tarfile.open(fileobj=io.BytesIO(member.read())) as inner:
            control = inner.extractfile("./control")
            assert control is not None
            found = re.search(rb"^Installed-Size: (\d+)", control.read(), re.M)
    return int(found[1]) // 1000 if found else 0


def openwrt(packages: list[Path]) -> None:
    for package in packages:
        kb = package.stat().st_size // 1000
        print(f"{package.name}: {kb:,} kB packed", end="")
        if package.suffix == ".ipk":
            print(f", {ipk_installed_kb(package):,} kB unpacked", end="")
        if package.name.startswith("swarming-agent"):
            print(f"; with all it needs {kb + total_kb(FEED):,} kB packed (modelled)", end="")
        print()
    print(f"    the feeds' parts, modelled: {total_kb(FEED):,} kB packed")
    for part in FEED:
        print(f"        {part.kb:5,} kB  {part.name} ({part.source})")


def published() -> None:
    print("Published sizes of others (see this file's head for where):")
    atlas = f"210 kB packed; with what it needs {total_kb(ATLAS):,} kB, and sudo"
    print(f"    OpenWrt atlas-probe: {atlas}")
    print("    OpenWrt telegraf, most plugins left out: 13,193 kB packed; telegraf-full: 35,940 kB")
    print("    Alpine telegraf 1.37: 84,306 kB packed, 331,350 kB installed")


def main() -> int:
    found = sorted(DIST.glob("*")) if DIST.is_dir() else []
    if not found:
        print("dist/ is empty: `make deb ipk apk zipapp` first", file=sys.stderr)
        return 2
    for deb in (one for one in found if one.suffix == ".deb"):
        debian(deb)
    openwrt([one for one in found if one.suffix in (".ipk", ".apk")])
    for pyz in (one for one in found if one.suffix == ".pyz"):
        print(f"{pyz.name}: {pyz.stat().st_size // 1000:,} kB, and any Python from 3.11 on")
    published()
    return 0


if __name__ == "__main__":
    sys.exit(main())
