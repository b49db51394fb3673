"""A network of our own for tests and benches: namespaces, wires, and links as bad as asked for.

    with netlab.Lab() as lab:
        here, there = lab.namespace(), lab.namespace()
        link = lab.link(here, there, "10.77.0.1", "10.77.0.2", Impairment(delay_ms=20, loss=0.05))
        here.allow_pings()
        body = here.call(pinger.ping, "10.77.0.2", 4)     # any function, run inside the namespace
        truth = link.counts()                             # what the link did; ends it

Addresses a.b.c.d come with fd00:a:b:c::d. Nothing here can reach the world: a namespace has only
what is wired into it. Everything ends with the Lab, or with this process.
"""

import contextlib
import ctypes
import ipaddress
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from bench.emulated_link import Impairment

_P = ParamSpec("_P")
_R = TypeVar("_R")
_CLONE_NEWNET = 0x40000000
_PATIENCE_S = 30.0
BOX, GATEWAY, PROVIDER, SERVICE = "10.1.0.2", "10.1.0.1", "10.2.0.1", "10.3.0.1"
_ROOT = Path(__file__).resolve().parent.parent


def inet6(ip: str) -> str:
    """The IPv6 address that stands beside an IPv4 address in the lab."""
    a, b, c, d = ip.split(".")
    return str(ipaddress.ip_address(f"fd00:{a}:{b}:{c}::{d}"))


class Namespace:
    """A network namespace, held by a process that ends with ours."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "-n", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        self.pid = self._holder.pid
        self._await_own()
        self.run("ip", "link", "set", "lo", "up")
        for where in ("all", "default"):
            # Nobody speaks unasked: no router solicitations, no duplicate address detection.
            self.set(f"ipv6/conf/{where}/accept_ra", "0")
            self.set(f"ipv6/conf/{where}/router_solicitations", "0")
            self.set(f"ipv6/conf/{where}/accept_dad", "0")

    def call(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Run a function inside; its exception comes out here."""
        results: list[_R] = []
        failures: list[BaseException] = []

        def inside() -> None:
            try:
                _enter(self.pid)
                results.append(function(*args, **kwargs))
            except BaseException as failure:  # noqa: BLE001  carried over to the caller, whatever it is
                failures.append(failure)

        thread = threading.Thread(target=inside, name="in-namespace")
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
        return results[0]

    def run(self, *argv: str) -> str:
        """Run a command inside, which must succeed; what it printed."""
        done = self.call(_run, argv)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}"
        return done.stdout

    def start(self, *argv: str, **options: Any) -> "subprocess.Popen[str]":
        """Start a command inside; the caller ends it."""
        return self.call(lambda: subprocess.Popen(argv, text=True, cwd=_ROOT, **options))

    def set(self, name: str, value: str) -> None:
        """Set /proc/sys/net/<name> inside."""
        self.call(Path(f"/proc/sys/net/{name}").write_text, value)

    def allow_pings(self, groups: str = "0 0") -> None:
        """Let processes of these groups open unprivileged ICMP sockets. "1 0" lets nobody."""
        self.set("ipv4/ping_group_range", groups)

    def close(self) -> None:
        self._holder.kill()
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait()

    def _await_own(self) -> None:
        ours, give_up = os.readlink("/proc/self/ns/net"), time.monotonic() + _PATIENCE_S
        while os.readlink(f"/proc/{self.pid}/ns/net") == ours:
            assert self._holder.poll() is None, "unshare -n failed"
            assert time.monotonic() < give_up
            time.sleep(0.005)


class Link:
    """An emulated link that is up."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def counts(self) -> dict[str, Any]:
        """End the link; {"there": …, "back": …, "flows": [{ident, asked, lost}]}."""
        told, _ = self._process.communicate("", timeout=_PATIENCE_S)
        counts: dict[str, Any] = json.loads(told)
        return counts

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        with contextlib.suppress(ValueError):  # counts() has closed its pipes
            self._process.communicate()


class Street(NamedTuple):
    """What Lab.street() builds."""

    box: Namespace
    gateway: Namespace
    provider: Namespace
    service: Namespace


class Lab:
    """Makes parts of a network, and takes them down at the end."""

    def __init__(self) -> None:
        self._parts = contextlib.ExitStack()
        self._made = 0

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def namespace(self, forwards: bool = False) -> Namespace:
        """A box, or a router."""
        made = Namespace()
        self._parts.callback(made.close)
        if forwards:
            made.set("ipv4/ip_forward", "1")
            made.set("ipv6/conf/all/forwarding", "1")
            made.set("ipv4/icmp_ratelimit", "0")  # tests are in a hurry
            made.set("ipv6/icmp/ratelimit", "0")
        return made

    def wire(self, a: Namespace, b: Namespace, ip_a: str, ip_b: str) -> str:
        """A perfect Ethernet between two namespaces (a veth pair); the name of both its ends."""
        name = self._name()
        a.run("ip", "link", "add", name, "type", "veth", "peer", "name", name, "netns", str(b.pid))
        self._address(a, name, ip_a, ip_b)
        self._address(b, name, ip_b, ip_a)
        return name

    def link(
        self, a: Namespace, b: Namespace, ip_a: str, ip_b: str, impairment: Impairment
    ) -> Link:
        """A point-to-point link as bad as asked for; its counts are those of echoes from a."""
        name = self._name()
        bad = json.dumps(impairment._asdict())
        emulator = [sys.executable, "-m", "bench.emulated_link", name, name, str(b.pid), bad]
        process = a.start(*emulator, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        made = Link(process)
        self._parts.callback(made.close)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", "the emulated link did not come up"
        self._address(a, name, ip_a, ip_b)
        self._address(b, name, ip_b, ip_a)
        return made

    def street(self) -> Street:
        """A home and its way out: box - gateway - provider - service, wired and routed.

        The provider knows 10.9.1.0/24 as unreachable and 10.9.2.0/24 as prohibited.
        """
        box, service = self.namespace(), self.namespace()
        gateway, provider = self.namespace(forwards=True), self.namespace(forwards=True)
        self.wire(box, gateway, BOX, GATEWAY)
        self.wire(gateway, provider, "10.2.0.2", PROVIDER)
        self.wire(provider, service, "10.3.0.2", SERVICE)
        for where, via in ((box, GATEWAY), (gateway, PROVIDER), (service, "10.3.0.2")):
            where.run("ip", "route", "add", "default", "via", via)
            where.run("ip", "-6", "route", "add", "default", "via", inet6(via))
        provider.run("ip", "route", "add", "10.1.0.0/24", "via", "10.2.0.2")
        provider.run("ip", "route", "add", "fd00:10:1:0::/64", "via", inet6("10.2.0.2"))
        for kind, third in (("unreachable", 1), ("prohibit", 2)):
            provider.run("ip", "route", "add", kind, f"10.9.{third}.0/24")
            provider.run("ip", "route", "add", kind, f"fd00:10:9:{third}::/64")
        return Street(box, gateway, provider, service)

    def _name(self) -> str:
        self._made += 1
        return f"lab{self._made}"

    @staticmethod
    def _address(where: Namespace, name: str, ip: str, peer: str) -> None:
        where.run("ip", "address", "add", ip, "peer", f"{peer}/32", "dev", name)
        where.run("ip", "address", "add", f"{inet6(ip)}/64", "dev", name, "nodad")
        where.run("ip", "link", "set", name, "up")


def _run(argv: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=_ROOT
    )


def _enter(pid: int) -> None:
    """Move the calling thread, and only it, into the network namespace of a process."""
    with open(f"/proc/{pid}/ns/net", "rb") as namespace:
        if sys.version_info >= (3, 12):
            os.setns(namespace.fileno(), _CLONE_NEWNET)
        elif ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
