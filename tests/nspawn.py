"""A whole Debian in a container: installed by mmdebstrap, booted by systemd-nspawn, ended in order.

What mmdebstrap made is kept in build/, named after what is in it, so that only a first run fetches.
A machine has a network of its own, with nothing but loopback: whatever runs in it reaches nobody.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests import needs, pythons
from tests.servers import wait_for

_LEAN = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*", "/usr/share/javascript/*")
_ENVIRON = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8")
_READY = ("running", "degraded")


class Failed(Exception):
    """A command in a machine ended with an error: what it said."""


class Machine:
    """What is in its root folder may be read and written from outside, too."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.init: int | None = None  # its first process, as this machine counts

    def boot(self, *options: str) -> None:
        """Up when this returns; the options are systemd-nspawn's."""
        command = [needs.tool("systemd-nspawn"), "--quiet", "--boot", f"--directory={self.root}"]
        # Registering and a scope want the systemd of this machine, which may have none.
        command += ["--register=no", "--keep-unit", "--private-network", "--resolv-conf=off"]
        command += ["--kill-signal=SIGRTMIN+4", f"--machine=swarming-{os.getpid()}", *options]
        # systemd from 256 on boots on this machine's first hierarchy of cgroups only if told to.
        told = os.environ | {"SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE": "1"}
        with open(f"{self.root}.console", "wb") as console:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=told
            )
        try:
            wait_for(self._is_up, 60, f"systemd in {self.root}")
        except BaseException:
            self.end()
            raise

    def _is_up(self) -> bool:
        """Asked of nspawn's child, which while it sets out is not yet the one that stays."""
        pid = self._process.pid
        assert self._process.poll() is None, Path(f"{self.root}.console").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.init = int(children[0]) if children else None
        return bool(children) and self.asked("systemctl", "is-system-running").strip() in _READY

    def run(self, *command: str, what: str = "all") -> str:
        """What it prints, with its errors. Raises Failed. ``what``: the namespaces it enters."""
        entered = ["--all"] if what == "all" else [f"--{what}"]
        ran = subprocess.run(
            [needs.tool("nsenter"), f"--target={self.init}", *entered, "env", "-i", *_ENVIRON]
            + ["DEBIAN_FRONTEND=noninteractive", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=150,
            check=False,
        )
        if ran.returncode != 0:
            raise Failed(f"{shlex.join(command)}: exit {ran.returncode}\n{ran.stdout}")
        return ran.stdout

    def asked(self, *command: str) -> str:
        """What it prints, whatever it thinks of it."""
        try:
            return self.run(*command)
        except Failed as failed:
            return str(failed).partition("\n")[2]

    def shell(self, script: str) -> str:
        return self.run("sh", "-euc", script)

    def unit(self, name: str, what: str) -> str:
        """A property that systemd knows of a unit."""
        return self.run("systemctl", "show", f"--property={what}", "--value", name).strip()

    def log_of(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")

    def sysctl(self, name: str, value: str) -> None:
        """Of its own network, which only from outside may be written."""
        path = f"/proc/sys/{name.replace('.', '/')}"
        self.run("sh", "-c", f"echo '{value}' >{path}", what="net")

    def end(self) -> None:
        """Powered off; what does not go by itself in time is ended."""
        if self._process.poll() is None and self.init is not None:
            self.asked("systemctl", "poweroff")
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def machine(suite: str, packages: Sequence[str], folder: Path) -> Iterator[Machine]:
    """Debian's suite with these packages, booted from a root of its own below the folder."""
    needs.root()
    archive = pythons.once(
        pythons.BUILD / "roots" / f"boots-{suite}-{_digest(packages)}",
        lambda made: _install(suite, packages, made),
    )
    root = folder / suite
    root.mkdir()
    command = ["tar", "-C", str(root), "--numeric-owner", "--same-permissions"]
    command += ["--xattrs", "--xattrs-include=*", "-xf"]  # ping's right is one
    subprocess.run([*command, str(archive / "root.tar")], check=True)
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    made = Machine(root)
    made.boot()
    try:
        yield made
    finally:
        made.end()


def _digest(packages: Sequence[str]) -> str:
    told = "\n".join([*_LEAN, *sorted(packages)])
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _install(suite: str, packages: Sequence[str], folder: Path) -> None:
    folder.mkdir(parents=True)
    command = [needs.tool("mmdebstrap"), "--quiet", "--variant=apt", "--mode=root"]
    command += [f"--include={','.join(packages)}", '--aptopt=Acquire::Languages "none"']
    command += [f"--dpkgopt=path-exclude={path}" for path in _LEAN]
    subprocess.run([*command, suite, str(folder / "root.tar")], check=True)
