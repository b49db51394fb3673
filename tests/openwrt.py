"""Our OpenWrt packages, and roots in which their scripts run: BusyBox, stand-ins for the rest."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests import needs, pythons

ROOT = Path(__file__).resolve().parents[1]
FEED = ROOT / "packaging" / "openwrt"
STAND_INS = Path(__file__).resolve().parent / "openwrt_stand_ins"
EPOCH_S = 1_767_225_600
APPLETS = (
    "ash awk basename cat chmod chown cp cut date df dirname du env grep head id kill ln ls "
    "mkdir mv printf readlink rm sed sh sleep sort stat sysctl tail test touch tr true wc"
)


def build(kind: str, out: Path, root: Path = ROOT, umask: int = 0o022) -> Path:
    """Both packages of a kind ("ipk", "apk") in a folder, with their Python's bytecode."""
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH_S)}
    if kind == "apk":
        environ["SWARMING_PYTHON_3_13"] = str(pythons.python_3_13())
    subprocess.run(
        [sys.executable, str(root / "packaging" / "build" / f"{kind}.py"), "--out", str(out)],
        env=environ,
        umask=umask,
        check=True,
    )
    return out


_STUBS = """
import apk, openwrt, pathlib, sys, tree
for name in sys.argv[2:]:
    package = openwrt.Package(name, "nothing", (), tree.Tree())
    pathlib.Path(sys.argv[1], f"{name}.apk").write_bytes(apk.apk(package, 0))
"""


def stubs(out: Path, names: Sequence[str]) -> list[Path]:
    """Empty packages, so that apk finds what ours depend on."""
    out.mkdir()
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "packaging" / "build")}
    subprocess.run([sys.executable, "-c", _STUBS, str(out), *names], env=environ, check=True)
    return sorted(out.iterdir())


def newer(folder: Path) -> Path:
    """The sources copied to a folder, of the next release."""
    recipe = elsewhere(folder) / "packaging" / "build" / "openwrt.py"
    text = recipe.read_text()
    assert "RELEASE = 1\n" in text
    recipe.write_text(text.replace("RELEASE = 1\n", "RELEASE = 2\n"))
    return folder


def elsewhere(folder: Path) -> Path:
    """The sources copied to a folder, so that nobody changes them meanwhile."""
    for name in ("agent", "packaging"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (ROOT / "build").mkdir(exist_ok=True)
    (folder / "build").symlink_to(ROOT / "build")  # what was fetched
    return folder


def busybox_root(folder: Path) -> Path:
    """A root with BusyBox, its libraries, and the stand-ins; as bare as a router's."""
    busybox = needs.tool("busybox")
    for name in ("bin", "sbin", "usr/bin", "usr/sbin", "etc/config", "tmp", "proc", "dev", "mnt"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with_libraries(folder, busybox, "bin/busybox")
    for applet in APPLETS.split():
        (folder / "bin" / applet).symlink_to("busybox")
    shutil.copytree(STAND_INS, folder, dirs_exist_ok=True)
    (folder / "var").symlink_to("tmp")  # as on OpenWrt
    (folder / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/ash\n")
    (folder / "etc" / "group").write_text("root:x:0:\n")
    (folder / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    return folder


def with_libraries(root: Path, file: str | Path, place: str) -> None:
    """A program or a library, and all that it is linked to, copied into a root."""
    _copied(Path(file), root / place)
    ran = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=False)
    for library in re.findall(r"(/\S+) \(0x", ran.stdout):
        _copied(Path(library), root / library.lstrip("/"))


def _copied(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        shutil.copy(source, place)


# The root is copied into a file system of its own, of this size, so that what the scripts leave
# behind goes with them; there is no network but a loopback.
_ENTER = """
mount --make-rprivate /
mount -t tmpfs -o size={size} tmpfs {into}
cp -a {root}/. {into}
mount -t proc proc {into}/proc
mount --rbind /dev {into}/dev
ip link set lo up
{before}
exec chroot {into} /bin/sh -c {script}
"""


def entering(root: Path, script: str, size: str = "64m", before: str = "") -> Sequence[str]:
    """The command that runs a script in the root; `before` runs outside, and has it as $ROOT."""
    needs.namespaces()
    into = root.parent / f"{root.name}.mounted"
    into.mkdir(exist_ok=True)
    words = {"root": str(root), "into": str(into), "script": script}
    quoted = {name: shlex.quote(word) for name, word in words.items()}
    whole = _ENTER.format(size=size, before=f"ROOT={quoted['into']}\n{before}", **quoted)
    own = ["--mount", "--net", "--pid", "--fork", "--kill-child"]
    return ["unshare", *own, "--", "sh", "-ec", whole]


def run_in(root: Path, script: str, size: str = "64m", before: str = "") -> str:
    """What the script prints; it has to succeed."""
    ran = subprocess.run(
        entering(root, f"set -e\n{script}", size, before),
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def built_twice(kind: str, folder: Path) -> list[tuple[bytes, bytes]]:
    """Both packages, and again from a copy with other times, elsewhere, by another umask."""
    here, there = elsewhere(folder / "here"), folder / "another place"
    shutil.copytree(here, there, symlinks=True)
    for path in there.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    first = build(kind, folder / "first", here)
    second = build(kind, folder / "second", there, umask=0o077)
    names = sorted(path.name for path in first.iterdir())
    assert len(names) == 2 and names == sorted(path.name for path in second.iterdir())
    return [((first / name).read_bytes(), (second / name).read_bytes()) for name in names]
