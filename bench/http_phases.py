"""How true the HTTP ping's phases are: every phase is delayed by a known time, on IPv4 and IPv6.

    python -m bench.http_phases [--rounds N] [--json] [--only PHASE]

It runs in network and mount namespaces of its own, so the delays are real ones: a name server
answers late, a TUN device holds back the SYN-ACK, the server waits before the handshake, before its
first byte and in the middle of the body. `curl -w` is asked about the same server in the same run.
"""

import argparse
import fcntl
import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

from agent import probe_http
from agent.probe_http import PHASES
from agent.resolve import Resolver
from agent.targets import Policy, parse
from bench.planted_server import Pair, PlantedNames, PlantedServer, certificate, page, trust_in

PLANTED_MS = {"resolve": 60.0, "connect": 40.0, "tls": 80.0, "ttfb": 120.0, "transfer": 100.0}
AIM_MS = 5.0
SITES = {
    4: ("v4.planted.test", "10.99.0.1", "10.99.0.2"),
    6: ("v6.planted.test", "fd99::1", "fd99::2"),
}
LOSSY, LOSSY_ADDRESS = "lossy.planted.test", "10.99.0.3"
POLICY = Policy(allow_private=(ip_network("10.99.0.0/24"), ip_network("fd99::/64")))

_INSIDE = "SWARMING_BENCH_NAMESPACE"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_SYN, _SYN_ACK = 0x02, 0x12


class Round(NamedTuple):
    """One probe or one curl: the phases in ms, and what the probe's body says beside."""

    phases: dict[str, float]
    body: dict[str, Any]


class Reflector:
    """A TUN device that sends each packet back with its addresses swapped: a remote host that is
    this one. It holds back every SYN-ACK, and loses the first SYN of each connection to one host.
    """

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._seen: set[bytes] = set()
        self._device = os.open("/dev/net/tun", os.O_RDWR)
        request = struct.pack("16sH22x", b"planted0", _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(self._device, _TUNSETIFF, request)
        _run("ip", "addr", "add", "10.99.0.1/24", "dev", "planted0")
        _run("ip", "addr", "add", "fd99::1/64", "dev", "planted0", "nodad")
        _run("ip", "link", "set", "planted0", "up")
        threading.Thread(target=self._reflect, daemon=True).start()

    def _reflect(self) -> None:
        while True:
            packet = os.read(self._device, 65536)
            flags = _tcp_flags(packet)
            if flags == _SYN and self._is_lost(packet):
                continue
            if flags == _SYN_ACK and self._delay_s:
                late = threading.Timer(self._delay_s, os.write, (self._device, _swapped(packet)))
                late.daemon = True
                late.start()
            else:
                os.write(self._device, _swapped(packet))

    def _is_lost(self, packet: bytes) -> bool:
        """It is the first of its connection (its port) to the lossy host."""
        if packet[16:20] != socket.inet_aton(LOSSY_ADDRESS) or packet[20:22] in self._seen:
            return False
        self._seen.add(packet[20:22])
        return True


def _tcp_flags(packet: bytes) -> int:
    start = 40 if packet[0] >> 4 == 6 else (packet[0] & 15) * 4
    protocol = packet[6] if packet[0] >> 4 == 6 else packet[9]
    return packet[start + 13] & 0x3F if protocol == 6 else 0


def _swapped(packet: bytes) -> bytes:
    """Checksums add up to the same, whichever address comes first."""
    at, size = (8, 16) if packet[0] >> 4 == 6 else (12, 4)
    middle, end = at + size, at + 2 * size
    return packet[:at] + packet[middle:end] + packet[at:middle] + packet[end:]


def start_world(folder: Path, planted_ms: dict[str, float]) -> Pair:
    """The planted world, in a process of its own, so that it never holds up who measures it."""
    _run("ip", "link", "set", "lo", "up")
    _bind(folder / "resolv.conf", "nameserver 127.0.0.1\n", "/etc/resolv.conf")
    _bind(folder / "nsswitch.conf", "hosts: dns\n", "/etc/nsswitch.conf")
    pair = certificate(folder, [name for name, _, _ in SITES.values()])
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        try:
            ours.close()
            _up = _world(pair, {phase: ms / 1000 for phase, ms in planted_ms.items()})
            theirs.send(b"up")
            theirs.recv(1)  # until the bench has ended, however
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(0)  # the bench's own clean-up is not this process's
    theirs.close()
    if ours.recv(2) != b"up":
        raise RuntimeError("the planted world did not come up")
    ours.detach()  # open until this process ends
    return pair


def _world(pair: Pair, planted_s: dict[str, float]) -> list[object]:
    names = {name: [remote] for name, _, remote in SITES.values()} | {LOSSY: [LOSSY_ADDRESS]}
    script = page(planted_s["ttfb"], planted_s["transfer"])
    return [
        Reflector(planted_s["connect"]),
        PlantedNames(names, planted_s["resolve"], "127.0.0.1", 53),
        *(
            PlantedServer(script, local, pair if port == 443 else None, planted_s["tls"], port)
            for _, local, _ in SITES.values()
            for port in (80, 443)
        ),
    ]


def probe(url: str, family: int, pair: Pair) -> Round:
    body = probe_http.get(parse(url), Resolver(), POLICY, family=family, trust=_trusting(pair))
    phases = {name: ms for name, ms in body["phases_ms"].items() if ms is not None}
    return Round(phases, body)


def _trusting(pair: Pair) -> Any:
    context = trust_in(pair)
    return lambda: context


def curl(url: str, family: int, ca: str) -> Round:
    """The same phases as curl tells them; its times all count from the start."""
    stamps = ("namelookup", "connect", "appconnect", "starttransfer", "total")
    form = " ".join(f"%{{time_{stamp}}}" for stamp in stamps)
    command = ["curl", "-s", f"-{family}", "--cacert", ca, "-o", os.devnull, "-w", form, url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ends_ms = [float(text) * 1000 for text in done.stdout.split()]
    spent = [end - start for start, end in zip([0.0, *ends_ms], ends_ms, strict=False)]
    return Round(dict(zip(PHASES, spent, strict=True)) | {"total": ends_ms[-1]}, {})


def measure(rounds: int, planted_ms: dict[str, float], with_curl: bool) -> dict[str, Any]:
    """The medians of both tools for both families, and the largest error of the probe's."""
    with tempfile.TemporaryDirectory(prefix="swarming-bench-") as folder:
        pair = start_world(Path(folder), planted_ms)
        report: dict[str, Any] = {"planted_ms": planted_ms, "rounds": rounds}
        for family, (name, _, _) in SITES.items():
            url = f"https://{name}/"
            probes = [probe(url, family, pair) for _ in range(rounds)]
            told: dict[str, Any] = {"probe": _medians(probes), "body": probes[-1].body}
            told["sums"] = all(_adds_up(each) for each in probes)
            if with_curl:
                told["curl"] = _medians([curl(url, family, pair.cert) for _ in range(rounds)])
            report[f"IPv{family}"] = told
        report["lost_syn"] = probe(f"http://{LOSSY}/", 4, pair).body
    return report


def _medians(rounds: list[Round]) -> dict[str, float]:
    names = rounds[0].phases
    return {name: statistics.median(round_.phases[name] for round_ in rounds) for name in names}


def _adds_up(probe: Round) -> bool:
    spent = sum(ms for name, ms in probe.phases.items() if name != "total")
    return abs(spent - probe.phases["total"]) < 0.001


def tell(report: dict[str, Any]) -> str:
    """The report as a person reads it; the last line is the README's."""
    planted = report["planted_ms"] | {"total": sum(report["planted_ms"].values())}
    lines = [f"{'ms':>10}  " + "".join(f"{name:>10}" for name in planted)]
    lines.append(f"{'planted':>10}  " + "".join(f"{ms:10.2f}" for ms in planted.values()))
    worst = 0.0
    for family in SITES:
        told = report[f"IPv{family}"]
        for tool in ("probe", "curl"):
            if tool in told:
                row = "".join(f"{told[tool][name]:10.2f}" for name in planted)
                lines.append(f"{tool + ' v' + str(family):>10}  {row}")
        worst = max(worst, *(abs(told["probe"][name] - planted[name]) for name in PHASES))
    sums = all(report[f"IPv{family}"]["sums"] for family in SITES)
    lost = report["lost_syn"]
    lines.append(
        f"a lost SYN: connect {lost['phases_ms']['connect']:.0f} ms, retrans {lost['retrans']}"
    )
    lines.append(
        f"HTTP phases: largest median error {worst:.2f} ms of planted delays "
        f"(aim {AIM_MS:.0f} ms), IPv4 and IPv6, {report['rounds']} rounds; "
        f"sum = total: {'yes' if sums else 'NO'}"
    )
    return "\n".join(lines)


def _bind(file: Path, text: str, place: str) -> None:
    """The text in the place of a system file, for this mount namespace alone."""
    if not os.path.exists(place):
        return
    file.write_text(text)
    _run("mount", "--bind", str(file), place)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _enter_namespaces(arguments: list[str]) -> int:
    """This bench again, in namespaces of its own; no packet of it can leave."""
    unshare = ["unshare", "-n", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-n", "-m"]
    command = [*unshare, sys.executable, "-m", "bench.http_phases", *arguments]
    return subprocess.run(command, env=os.environ | {_INSIDE: "1"}, check=False).returncode


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="bench.http_phases", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", action="store_true", help="the whole report for a program")
    parser.add_argument("--only", choices=PHASES, help="plant a delay in this phase alone")
    options = parser.parse_args(given)
    if os.environ.get(_INSIDE) != "1":
        return _enter_namespaces(given)
    planted = {
        phase: ms if options.only in (None, phase) else 0.0 for phase, ms in PLANTED_MS.items()
    }
    report = measure(options.rounds, planted, with_curl=shutil.which("curl") is not None)
    print(json.dumps(report) if options.json else tell(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
