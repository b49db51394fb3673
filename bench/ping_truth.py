"""How true the ICMP ping is: against iputils' ping on the same path, in the same run.

    python -m bench.ping_truth [--echoes N] [--disk FOLDER]

In namespaces of its own: over loopback; over an emulated link of 40 ms with jitter, loss, doubles,
reordering and corruption, whose own count is the truth about loss; and while another process makes
the disk stall. On that link every flow meets the same fate, so the two are compared echo by echo.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from agent import ping_command
from agent.probe_icmp import Pinger
from bench.emulated_link import Impairment
from tests import netlab
from tests.netlab import Lab, Namespace

NEAR, FAR = "10.77.0.1", "10.77.0.2"
LINK = Impairment(
    delay_ms=20,
    jitter_ms=5,
    loss=0.025,
    duplicate=0.03,
    reorder=0.05,
    held_ms=15,
    corrupt=0.01,
)
ROUNDS = 4
LOOPBACK_AIM_MS, STALL_AIM_MS, CPU_AIM_MS = 0.1, 1.0, 0.3
INSIDE = "SWARMING_BENCH_USER_NAMESPACE"
STALLER = """
import os, sys, time
piece, longest_s, count = os.urandom(1 << 20), 0.0, 0
with open(sys.argv[1], "wb", buffering=0) as file:
    print("stalling", flush=True)
    while not os.path.exists(sys.argv[1] + ".end"):
        begun_s = time.monotonic()
        file.seek(count % 64 << 20)
        file.write(piece)
        os.fsync(file.fileno())
        longest_s, count = max(longest_s, time.monotonic() - begun_s), count + 1
print(f"{count} fsyncs of 1 MiB, the longest {longest_s * 1000:.0f} ms")
"""


class Both(NamedTuple):
    """The same ping by us and by iputils, run at the same time or in turn."""

    ours: dict[str, Any]
    iputils: dict[str, Any]


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--echoes", type=int, default=200, help="of each ping (default 200)")
    arguments.add_argument("--disk", default=".", help="where to make the disk stall")
    options = arguments.parse_args()
    if os.geteuid() != 0 and INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        again = [sys.executable, "-m", "bench.ping_truth", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "-rn", *again])
    for figure in (loopback, emulated, stalled, processor):
        for line in figure(options.echoes, options.disk):
            print(f"ping truth: {line}", flush=True)


def loopback(echoes: int, _: str) -> Iterator[str]:
    """In turn, in short rounds, so that both meet the machine in the same moods."""
    with Lab() as lab:
        box = lab.namespace()
        box.allow_pings()
        for method, family, ip in (
            ("dgram", 4, "127.0.0.1"),
            ("dgram", 6, "::1"),
            ("raw", 4, "127.0.0.1"),
            ("raw", 6, "::1"),
        ):
            ours: list[float] = []
            iputils: list[float] = []
            for _round in range(ROUNDS):
                each = max(1, echoes // ROUNDS)
                ours += came(box.call(pinger(method).ping, ip, family, each, 0.02))
                iputils += came(box.call(pinger("ping").ping, ip, family, each, 0.02))
            yield (
                f"loopback IPv{family}, {method} socket: {medians(ours, iputils)} "
                f"(aim {LOOPBACK_AIM_MS})"
            )


def emulated(echoes: int, _: str) -> Iterator[str]:
    for family, ip in ((4, FAR), (6, netlab.inet6(FAR))):
        with Lab() as lab:
            near, far = lab.namespace(), lab.namespace()
            near.allow_pings()
            link = lab.link(near, far, NEAR, FAR, LINK)
            both = together(near, ip, family, echoes)
            lost = sorted({flow["lost"] for flow in link.counts()["flows"]})
        ours, iputils = both.ours["rtts_ms"], both.iputils["rtts_ms"]
        pairs = [(a, b) for a, b in zip(ours, iputils, strict=False) if None not in (a, b)]
        apart = [abs(a - b) for a, b in pairs]
        yield (
            f"link of 40 ms IPv{family}: {medians(came(both.ours), came(both.iputils))}; "
            f"echo by echo {statistics.median(apart):.3f} ms apart (median of {len(pairs)}; "
            "iputils prints steps of 0.1)"
        )
        yield (
            f"link of 40 ms IPv{family}: of {both.ours['sent']} echoes the link lost or altered "
            f"{' or '.join(map(str, lost))}, we say {ours.count(None)}, "
            f"iputils {iputils.count(None)}; duplicates {both.ours['duplicates']}, "
            f"altered {both.ours['corrupted']}"
        )


def stalled(echoes: int, disk: str) -> Iterator[str]:
    """Over a wire to another namespace, where only the kernel answers."""
    with Lab() as lab:
        near, far = lab.namespace(), lab.namespace()
        near.allow_pings()
        lab.wire(near, far, NEAR, FAR)
        quiet = came(near.call(pinger("dgram").ping, FAR, 4, echoes, 0.02))
        with stalling(disk) as told:
            both = together(near, FAR, 4, echoes, interval_s=0.05)
        usual = statistics.median(quiet)
        for who, body in zip(("ours", "iputils"), both, strict=True):
            moved = max(abs(rtt - usual) for rtt in came(body))
            lost = body["sent"] - body["received"]
            yield (
                f"disk stalled ({told()}): {who}, largest move of {body['sent']} round trips "
                f"{moved:.3f} ms from {usual:.3f} (aim {STALL_AIM_MS}), {lost} lost"
            )


def processor(*_: object) -> Iterator[str]:
    """Ten echoes over the emulated link, at the real pace and while the caches are warm."""
    with Lab() as lab:
        near, far = lab.namespace(), lab.namespace()
        near.allow_pings()
        lab.link(near, far, NEAR, FAR, Impairment(delay_ms=20))
        for interval_s, pace in ((1.0, "one a second"), (0.05, "twenty a second")):
            bare_ms = processor_ms(sleep_often, 10, interval_s) / 10
            for method in ("dgram", "raw"):
                asking = pinger(method)
                used_ms = processor_ms(near.call, asking.ping, FAR, 4, 10, interval_s) / 10
                yield (
                    f"processor, {method} socket, {pace}: {used_ms:.3f} ms an echo "
                    f"(aim {CPU_AIM_MS}; a sleep alone takes {bare_ms:.3f} here)"
                )


def processor_ms(work: Callable[..., object], *arguments: object) -> float:
    begun_s = time.process_time()
    work(*arguments)
    return (time.process_time() - begun_s) * 1000


def sleep_often(times: int, interval_s: float) -> None:
    for _ in range(times):
        time.sleep(interval_s)


def pinger(method: str) -> Pinger:
    programs = {family: ping_command.find(family) for family in (4, 6)}
    return Pinger({4: method, 6: method}, programs)


def together(box: Namespace, ip: str, family: int, echoes: int, interval_s: float = 0.1) -> Both:
    def ping(method: str) -> dict[str, Any]:
        return box.call(pinger(method).ping, ip, family, echoes, interval_s)

    with ThreadPoolExecutor(2) as threads:
        ours = threads.submit(ping, "dgram")
        time.sleep(interval_s / 2)  # not both at the same moment: the link takes one at a time
        iputils = ping("ping")
        return Both(ours.result(), iputils)


def came(body: dict[str, Any]) -> list[float]:
    return [rtt for rtt in body["rtts_ms"] if rtt is not None]


def medians(ours: list[float], iputils: list[float]) -> str:
    a, b = statistics.median(ours), statistics.median(iputils)
    return f"median ours {a:.3f} ms, iputils {b:.3f}, difference {a - b:+.3f}"


@contextmanager
def stalling(folder: str) -> Iterator[Callable[[], str]]:
    """Another process that writes and syncs without a pause; what it did, when it has ended."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="stall-") as made:
        file = Path(made) / "file"
        staller = subprocess.Popen(
            [sys.executable, "-c", STALLER, str(file)], stdout=subprocess.PIPE, text=True
        )
        assert staller.stdout is not None
        staller.stdout.readline()
        said: list[str] = []
        try:
            yield lambda: said[0]
        finally:
            Path(f"{file}.end").touch()
            said.append(staller.communicate()[0].strip())


if __name__ == "__main__":
    main()
