"""Python as OpenWrt 24.10 parts it, put into a root: what is not asked for cannot be imported."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from tests import needs, openwrt, pythons

VERSION = "3.11"
FEED = ("paho-mqtt==1.6.1", "click==8.1.7", "pluggy==1.3.0")  # as the packages feed has them

# Which modules each part of Python owns; all others are python3-light's. From the feed's files.
PARTS: dict[str, str] = {
    "asyncio": "asyncio",
    "cgi": "cgi",
    "cgitb": "cgitb",
    "codecs": "unicodedata _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw",
    "ctypes": "ctypes _ctypes",
    "dbm": "dbm _dbm _gdbm",
    "decimal": "decimal _decimal",
    "distutils": "distutils",
    "email": "email",
    "lib2to3": "lib2to3",
    "logging": "logging",
    "lzma": "lzma _lzma",
    "multiprocessing": "multiprocessing _multiprocessing",
    "ncurses": "curses _curses _curses_panel",
    "openssl": "_ssl _hashlib",
    "pydoc": "doctest pydoc pydoc_data",
    "readline": "readline",
    "sqlite3": "sqlite3 _sqlite3",
    "unittest": "unittest",
    "urllib": "urllib",
    "uuid": "uuid _uuid",
    "venv": "venv ensurepip",
    "xml": "xml xmlrpc _elementtree pyexpat",
    "nobody's": "idlelib test tkinter _tkinter turtle turtledemo webbrowser",
}
BRINGS = {"urllib": {"email"}}  # by its own dependencies


def modules(parts: Iterable[str]) -> set[str]:
    """All that can be imported of the parts that are named, and of what they bring."""
    named = set(parts)
    named |= {other for part in named for other in BRINGS.get(part, ())}
    return {module for part in named for module in PARTS.get(part, "").split()}


def hidden(parts: Iterable[str]) -> set[str]:
    """What cannot be imported where only these parts are installed."""
    return modules(PARTS) - modules(parts)


def install(root: Path, parts: Iterable[str]) -> None:
    """This Python into a root, with the feed's paho, click and pluggy."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" != VERSION:
        needs.missing(f"the tests run on no Python {VERSION}")
    stdlib, into = Path(sysconfig.get_path("stdlib")), root / "usr" / "lib" / f"python{VERSION}"
    skipped = shutil.ignore_patterns("test", "site-packages", "config-*", "idlelib", "*.opt-*.pyc")
    shutil.copytree(stdlib, into, ignore=skipped)
    openwrt.with_libraries(root, Path(sys.executable).resolve(), f"usr/bin/python{VERSION}")
    (root / "usr" / "bin" / "python3").symlink_to(f"python{VERSION}")
    _libraries(root, into / "lib-dynload", hidden(parts))
    shutil.copytree(feed(), into / "site-packages")
    # A site's own module is imported first of all.
    lines = ["import sys", f"for name in {sorted(hidden(parts))}:", "    sys.modules[name] = None"]
    (into / "site-packages" / "sitecustomize.py").write_text("\n".join(lines) + "\n")


def feed() -> Path:
    """The feed's libraries, fetched once."""
    return pythons.once(pythons.BUILD / "openwrt-24.10", _fetch) / "site-packages"


def _fetch(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    target = ["--target", str(folder / "site-packages")]
    ran = subprocess.run([*pip, *target, *FEED], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        needs.missing(f"{' '.join(FEED)} cannot be had: {ran.stderr[-1000:]}")


def _libraries(root: Path, extensions: Path, without: set[str]) -> None:
    """All that Python's own extensions are linked to."""
    found = extensions.glob("*.so")
    files = [str(path) for path in found if path.name.partition(".")[0] not in without]
    ran = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False)
    for library in set(re.findall(r"=> (/\S+) \(0x", ran.stdout)):
        place = root / library.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            shutil.copy(library, place)
