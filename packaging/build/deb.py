"""`make deb`: dist/swarming-agent_VERSION_all.deb and dist/swarming-indexer_VERSION_all.deb.

The agent takes all from Debian. The indexer carries its own copy of the rooms of agent/ that it
stands on, so that each package is upgraded without the other, and what Debian 12 or 13 has not, or
too old, in a folder that its launcher puts on sys.path: unlike a virtual environment, that serves
every release's Python.
"""

import argparse
import ast
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import vendor
from deb_archive import Deb, pack
from tree import ROOT, BuildError, Tree, checked_version, epoch_s, gzip_n, version

DEBIAN, SYSTEMD = ROOT / "packaging" / "debian", ROOT / "packaging" / "systemd"
DOCS = ROOT / "docs"
LOCK = DEBIAN / "indexer.lock"
SCRIPTS = ("postinst", "prerm", "postrm")
MAINTAINER = "Swarming maintainers <maintainers@swarming.example>"
_RTUPDATE = """#!/bin/sh
set -e

# Another Python: its bytecode is made anew.
if [ "$1" = rtupdate ]; then
	py3clean -p {name}
	py3compile -p {name} {home}
fi
"""


class Release(NamedTuple):
    version: str
    epoch_s: int


def build(release: Release, folder: Path) -> list[Path]:
    """Both packages in the folder; their paths."""
    made = []
    for name, deb in (
        ("swarming-agent", agent(release)),
        ("swarming-indexer", indexer(release)),
    ):
        path = folder / f"{name}_{release.version}_all.deb"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pack(deb, *release))
        made.append(path)
    return made


def agent(release: Release) -> Deb:
    tree = Tree()
    tree.copy(ROOT / "agent", "usr/lib/swarming/agent")
    for unit in ("swarming-agent.service", "swarming-agent-link.service"):
        tree.copy(SYSTEMD / unit, f"usr/lib/systemd/system/{unit}")
    timer = "swarming-agent-link.timer"
    tree.copy(SYSTEMD / timer, f"usr/lib/systemd/system/{timer}")
    _put_docs(tree, "swarming-agent", "debian.md", "links.md")
    return _deb(tree, "agent", "usr/lib/swarming", release)


def indexer(release: Release) -> Deb:
    tree, home = Tree(), "usr/lib/swarming-indexer"
    tree.copy(ROOT / "indexer", f"{home}/indexer")
    for path in ground_floor():
        tree.copy(path, f"{home}/{path.relative_to(ROOT)}")
    tree.file(f"{home}/swarming-{release.version}.dist-info/METADATA", _metadata(release))
    vendor.put(tree, f"{home}/vendor", LOCK)
    unit = "swarming-indexer.service"
    tree.copy(SYSTEMD / unit, f"usr/lib/systemd/system/{unit}")
    tree.copy(SYSTEMD / "swarming-indexer.sysusers", "usr/lib/sysusers.d/swarming-indexer.conf")
    tree.copy(ROOT / "packaging" / "mosquitto", "usr/share/swarming-indexer/mosquitto")
    tree.folder("etc/swarming/keys", 0o700)
    _put_docs(tree, "swarming-indexer", *(path.name for path in DOCS.glob("*.md")))
    return _deb(tree, "indexer", home, release)


def _put_docs(tree: Tree, name: str, *files: str) -> None:
    """Where help and the messages say docs/…, it is there."""
    tree.copy(ROOT / "README.md", f"usr/share/doc/{name}/README.md")
    for file in files:
        tree.copy(DOCS / file, f"usr/share/doc/{name}/docs/{file}")


def ground_floor() -> list[Path]:
    """The files of agent/ that the indexer imports, and those that they import."""
    found: dict[str, Path] = {"agent": ROOT / "agent" / "__init__.py"}
    waiting = sorted((ROOT / "indexer").rglob("*.py"))
    while waiting:
        for name in _imported(waiting.pop()):
            path = ROOT / f"{name.replace('.', '/')}.py"
            if name not in found and path.is_file():
                found[name] = path
                waiting.append(path)
    return sorted(found.values())


def _imported(path: Path) -> Iterator[str]:
    """Every name below agent that may be a module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "agent":
            yield node.module or ""
            yield from (f"{node.module}.{one.name}" for one in node.names)


def _deb(tree: Tree, side: str, home: str, release: Release) -> Deb:
    """The tree with what every package has."""
    name, source = f"swarming-{side}", DEBIAN / side
    conffile = f"etc/swarming/{side}.toml"
    tree.copy(source / name, f"usr/bin/{name}")
    tree.copy(source / f"{side}.toml", conffile)
    manual = gzip_n((source / f"{name}.1").read_bytes())
    tree.file(f"usr/share/man/man1/{name}.1.gz", manual)
    rtupdate = _RTUPDATE.format(name=name, home=f"/{home}")
    tree.file(f"usr/share/python3/runtime.d/{name}.rtupdate", rtupdate, 0o755)
    tree.copy(DEBIAN / "copyright", f"usr/share/doc/{name}/copyright")
    tree.file(f"usr/share/doc/{name}/changelog.gz", gzip_n(_changelog(name, release).encode()))
    scripts = {script: (source / script).read_text("utf-8") for script in SCRIPTS}
    return Deb((source / "control").read_text("utf-8"), scripts, [conffile], tree)


def _changelog(name: str, release: Release) -> str:
    """The newest part of CHANGELOG.md as Debian writes one."""
    part = (ROOT / "CHANGELOG.md").read_text("utf-8").split("\n## ")[1]
    points = [" ".join(point.split()) for point in part.split("\n- ")[1:]]
    wrapped = (textwrap.fill(f"* {one}", 78, initial_indent="  ", subsequent_indent="    ")
               for one in points)  # fmt: skip
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(release.epoch_s))
    head = f"{name} ({release.version}) unstable; urgency=medium"
    return "\n\n".join([head, "\n".join(wrapped), f" -- {MAINTAINER}  {date}"]) + "\n"


def _metadata(release: Release) -> str:
    """By it the program knows its own version."""
    return f"Metadata-Version: 2.1\nName: swarming\nVersion: {release.version}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="The Debian packages, reproducibly.")
    parser.add_argument("--version", help="of pyproject.toml unless told")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="FOLDER")
    options = parser.parse_args()
    try:
        release = Release(checked_version(options.version or version()), epoch_s())
        made = build(release, options.out)
    except BuildError as error:
        print(f"deb: {error}", file=sys.stderr)
        return 1
    for path in made:
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
