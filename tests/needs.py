"""What a test wants of the machine: skipped with a reason where it is absent, failed in CI."""

import os
import re
import shutil
import subprocess
from typing import NoReturn

import pytest

REQUIRED = os.environ.get("SWARMING_REQUIRE_ALL") == "1"
JAVA_FROM = 17


def missing(reason: str) -> NoReturn:
    """The test cannot run here, for this reason."""
    if REQUIRED:
        pytest.fail(f"{reason}, and everything is required")
    pytest.skip(reason)


def tool(name: str) -> str:
    """The path of a command, or the test is skipped."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:" + _go_bin())
    if path is None:
        missing(f"this machine has no {name}")
    return path


def root() -> None:
    if os.geteuid() != 0:
        missing("this machine has no root")


def namespaces() -> None:
    """Network namespaces can be made here."""
    root()
    made = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    if made.returncode != 0:
        missing("this machine has no network namespaces")


def java() -> str:
    """The path of a java that the engines run on: JAVA_HOME's, or else the first in PATH."""
    home = os.environ.get("JAVA_HOME")
    path = os.path.join(home, "bin", "java") if home else tool("java")
    if not os.access(path, os.X_OK):
        missing(f"JAVA_HOME is {home}, and there is no {path}")
    ran = subprocess.run([path, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', ran.stderr)
    if found is None or int(found[1]) < JAVA_FROM:
        missing(f"this machine has no Java from {JAVA_FROM} on: {path} says {ran.stderr.strip()!r}")
    return os.path.realpath(path)


def maven() -> str:
    """The path of mvn, which fetches the engines."""
    return tool("mvn")


def _go_bin() -> str:
    return os.path.join(os.path.expanduser("~"), "go", "bin")
