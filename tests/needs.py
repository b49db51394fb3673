"""What a test wants of the machine: skipped with a reason where it is absent, failed in CI."""

import os
import shutil
import subprocess

import pytest

REQUIRED = os.environ.get("SWARMING_REQUIRE_ALL") == "1"


def _absent(what: str) -> None:
    if REQUIRED:
        pytest.fail(f"this machine has no {what}, and everything is required")
    pytest.skip(f"this machine has no {what}")


def tool(name: str) -> str:
    """The path of a command, or the test is skipped."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:" + _go_bin())
    if path is None:
        _absent(name)
    return str(path)


def root() -> None:
    if os.geteuid() != 0:
        _absent("root")


def namespaces() -> None:
    """Network namespaces can be made here."""
    root()
    made = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    if made.returncode != 0:
        _absent("network namespaces")


def _go_bin() -> str:
    return os.path.join(os.path.expanduser("~"), "go", "bin")
