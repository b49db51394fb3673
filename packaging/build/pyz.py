"""dist/swarming-agent.pyz: the agent and all it needs, one file for any Python from 3.11 on.

`python packaging/build/pyz.py [FILE]`. It holds sources, for bytecode is of one Python only, and
the licences of what it carries. The same sources give the same bytes. An older Python gets one
line that says so, and exit 2.
"""

import io
import sys
import time
import zipfile
from pathlib import Path

import vendor
from tree import ROOT, BuildError, Entry, Tree, epoch_s

LOCKS = (vendor.LOCK, ROOT / "packaging" / "zipapp.lock")
WRITTEN = ROOT / "dist" / "swarming-agent.pyz"
SHEBANG = b"#!/usr/bin/env python3\n"
FIRST_ZIP_S = 315_532_800  # 1980-01-01: a zip has no earlier time

# Read by every Python, however old, before it can say that it is too old.
MAIN = """\
import sys

if sys.version_info < (3, 11):
    sys.stderr.write(
        "swarming-agent: Python 3.11 or newer is needed, and this is %d.%d\\n"
        % sys.version_info[:2]
    )
    sys.exit(2)

from agent.cli import main

sys.exit(main())
"""


def tree() -> Tree:
    """What the file holds: the agent and the libraries side by side, as they are imported."""
    found = Tree()
    found.file("__main__.py", MAIN)
    found.copy(ROOT / "agent", "agent")
    for lock in LOCKS:
        for wheel in vendor.wheels(lock):
            for path, content in wheel.files.items():
                found.file(path, content)
            for path, content in wheel.licences.items():
                found.file(f"licences/{wheel.name}-{wheel.version}/{path}", content)
    return found


def packed(entries: list[Entry], epoch_s: int) -> bytes:
    """A zip that a shell takes for a Python script, and a Python for a program."""
    out = io.BytesIO(SHEBANG)
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for entry in entries:
            if entry.content is not None:
                archive.writestr(_member(entry, epoch_s), entry.content)
    return out.getvalue()


def _member(entry: Entry, epoch_s: int) -> zipfile.ZipInfo:
    year, month, day, hour, minute, second, *_ = time.gmtime(max(epoch_s, FIRST_ZIP_S))
    member = zipfile.ZipInfo(entry.path, (year, month, day, hour, minute, second))
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = 3  # Unix, wherever it is built
    member.external_attr = (0o100000 | entry.mode) << 16
    return member


def main(words: list[str]) -> int:
    if words and words[0].startswith("-"):
        print("pyz: python packaging/build/pyz.py [FILE]", file=sys.stderr)
        return 2
    path = Path(words[0]) if words else WRITTEN
    try:
        content = packed(tree().entries(), epoch_s())
    except BuildError as error:
        print(f"pyz: {error}", file=sys.stderr)
        return 2
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
