"""The agent's tests with every paho-mqtt and sqlite-utils it may meet, on Python 3.11 and 3.13.

    python -m tests.combinations [--python 3.13] [--paho 1.6.1] [--sqlite-utils 3.30] [-- -x]

Each combination has a virtual environment under build/combinations, and beside it the log of its
last run. Indexers, which want paho-mqtt 2, run in the environment that this was started from.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests import needs, pythons

ROOT = Path(__file__).resolve().parents[1]
FOLDER = pythons.BUILD / "combinations"
NEWEST = "newest"
PYTHONS = ("3.11", "3.13")  # Debian 12, 13; OpenWrt 24.10, 25.12
PAHO = ("1.6.1", "2.1.0", NEWEST)  # Debian 12 and OpenWrt; Debian 13; the package index
SQLITE_UTILS = ("3.30", "3.38", NEWEST)  # Debian 12; Debian 13; the package index
TOOLS = ("pytest", "pytest-timeout", "pytest-rerunfailures", "hypothesis", "cryptography")

# They run indexers apart, or are an operator, so an agent's test may use them.
GO_BETWEENS = {"tests.agent_bed", "tests.indexers", "tests.operator_bed"}


class Combination(NamedTuple):
    python: str
    paho: str
    sqlite_utils: str

    def __str__(self) -> str:
        return f"python-{self.python} paho-{self.paho} sqlite-utils-{self.sqlite_utils}"

    @property
    def folder(self) -> Path:
        return FOLDER / str(self).replace(" ", "-")


class Ran(NamedTuple):
    status: int
    output: str
    seconds: float

    @property
    def summary(self) -> str:
        """pytest's closing line, and every test that failed."""
        *_, closing = self.output.strip().splitlines() or [f"nothing, exit {self.status}"]
        failed = [line for line in self.output.splitlines() if line[:6] in ("FAILED", "ERROR ")]
        return "\n".join([closing, *(f"    {line}" for line in failed)])


# --- which tests are the agent's ----------------------------------------------------------------


def agents_tests() -> list[Path]:
    """Those that come to the agent by what they import, and to an indexer only by a go-between.

    What brings a Python of its own is the same in every combination, and what starts an indexer
    without a go-between is the indexer's, so neither is among them.
    """
    return [path for path in sorted((ROOT / "tests").glob("test_*.py")) if _is_agents(path)]


def _is_agents(path: Path) -> bool:
    reached = _reached(path)
    tops = {name.partition(".")[0] for name in reached}
    others = reached & {"tests.pythons", "tests.indexer_process"}
    return "agent" in tops and "indexer" not in tops and not others


def _reached(path: Path) -> set[str]:
    """Every name that the file imports, or that what it imports from tests or bench imports."""
    seen: set[str] = set()
    waiting = [path]
    while waiting:
        for name in _imports(waiting.pop()) - seen:
            seen.add(name)
            file = ROOT / (name.replace(".", "/") + ".py")
            if name.startswith(("tests.", "bench.")) and file.exists() and name not in GO_BETWEENS:
                waiting.append(file)
    return seen | {"agent" for name in seen & GO_BETWEENS}


@cache
def _imports(path: Path) -> set[str]:
    return set(_named(ast.walk(ast.parse(path.read_text()))))


def _named(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# --- one combination ----------------------------------------------------------------------------


def environment(combination: Combination) -> Path:
    """The Python of a virtual environment with it; what is newest is looked up each time."""
    combination.folder.mkdir(parents=True, exist_ok=True)
    python = combination.folder / "bin" / "python"
    if not python.exists():
        _made([_base(combination.python), "-m", "venv", "--without-pip", combination.folder])
    wanted = [_pinned("paho-mqtt", combination.paho)]
    wanted += [_pinned("sqlite-utils", combination.sqlite_utils)]
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--upgrade"]
    _made([*pip, *wanted, *TOOLS])
    return python


def _base(version: str) -> str:
    own = "{}.{}".format(*sys.version_info)
    if version == own:
        return sys.executable
    if version == "3.13":
        return str(pythons.python_3_13())
    return needs.tool(f"python{version}")


def _pinned(name: str, version: str) -> str:
    return name if version == NEWEST else f"{name}=={version}"


def _made(command: Sequence[object]) -> None:
    words = [str(word) for word in command]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        needs.missing(f"{' '.join(words)}: {ran.stderr[-1000:]}")


def run(combination: Combination, tests: Iterable[Path | str], *more: str) -> Ran:
    """pytest with it; the log is kept beside the environment."""
    python, log = environment(combination), combination.folder / "log"
    command = [str(python), "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", *more]
    ours = Path(sys.executable).parent  # brokers in Python are there
    environ = {**os.environ, "PATH": f"{ours}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environ["INDEXER_PYTHON"] = sys.executable
    begun = time.monotonic()
    done = subprocess.run(
        [*command, *map(str, tests)], cwd=ROOT, env=environ, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    log.write_bytes(done.stdout)
    return Ran(done.returncode, done.stdout.decode(errors="replace"), time.monotonic() - begun)


# --- all of them --------------------------------------------------------------------------------


def main() -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    options, more = _parser().parse_known_args()
    more = [word for word in more if word != "--"]
    chosen = itertools.product(options.python, options.paho, options.sqlite_utils)
    tests, failed = agents_tests(), 0
    print(f"{len(tests)} files of tests", flush=True)
    for combination in itertools.starmap(Combination, chosen):
        ran = run(combination, tests, *more)
        failed += ran.status != 0
        print(f"{combination}: {ran.seconds:.0f} s, {ran.summary}", flush=True)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.combinations", description=__doc__)
    for name, known in (("python", PYTHONS), ("paho", PAHO), ("sqlite-utils", SQLITE_UTILS)):
        parser.add_argument(f"--{name}", nargs="+", choices=known, default=known)
    return parser


if __name__ == "__main__":
    sys.exit(main())
