"""Bytecode beside the source, for a Python that is not the one that builds.

A box whose agent may write nothing would compile every module at every start. The bytecode is
marked `unchecked-hash`: no time in it, and nobody reads the source to see whether it is of age.
It lies in __pycache__ under that Python's own name, so that any other takes the source.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tree import ROOT, BuildError, Tree

IN_PLACE = ROOT / "build" / "roots" / "trixie" / "usr" / "bin" / "python-in-place"

# One process and one order: what marshal writes goes with what was made before.
_COMPILE = """
import base64, importlib.util, json, marshal, sys
def pyc(path, source):
    code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    unchecked = (1).to_bytes(4, "little")
    head = importlib.util.MAGIC_NUMBER + unchecked + importlib.util.source_hash(source)
    return head + marshal.dumps(code)
given = json.load(sys.stdin)
made = {path: base64.b64encode(pyc(path, base64.b64decode(source))).decode()
        for path, source in sorted(given.items())}
json.dump({"tag": sys.implementation.cache_tag, "made": made}, sys.stdout)
"""
_VERSION = "import sys; print(*sys.version_info[:2], sep='.')"


class NoPython(BuildError):
    """One line: this machine lacks that Python, and how to get one."""


def add(tree: Tree, folder: str, version: str) -> None:
    """Every .py below the folder gets the bytecode of this Python ("3.13")."""
    sources = {
        f"/{entry.path}": base64.b64encode(entry.content).decode()
        for entry in tree.entries()
        if entry.content is not None
        and entry.path.startswith(folder + "/")
        and entry.path.endswith(".py")
    }
    ran = subprocess.run(
        [find(version), "-S", "-c", _COMPILE],
        input=json.dumps(sources),
        env={"PYTHONHASHSEED": "0", "PATH": os.environ.get("PATH", "")},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(ran.stdout)
    for path, code in said["made"].items():
        parent, name = path.rsplit("/", 1)
        cached = f"{parent}/__pycache__/{name.removesuffix('.py')}.{said['tag']}.pyc"
        tree.file(cached, base64.b64decode(code))


def find(version: str) -> str:
    """A Python of this version, or NoPython."""
    for path in _candidates(version):
        if _version_of(path) == version:
            return path
    variable = _variable(version)
    raise NoPython(
        f"no Python {version} here to compile with: name one by {variable}=/path, "
        "or give --without-bytecode"
    )


def _version_of(path: str) -> str | None:
    try:
        ran = subprocess.run([path, "-c", _VERSION], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None


def _candidates(version: str) -> Iterator[str]:
    """The one that was asked for, and no other; else what may be about."""
    asked = os.environ.get(_variable(version))
    if asked:
        yield asked
        return
    yield sys.executable
    if IN_PLACE.exists():  # Debian 13's, if the tests have unpacked it
        yield str(IN_PLACE)
    found = shutil.which(f"python{version}")
    if found:
        yield found
    kept = (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python{version}")
    yield from map(str, sorted(kept))


def _variable(version: str) -> str:
    return "SWARMING_PYTHON_" + version.replace(".", "_")
