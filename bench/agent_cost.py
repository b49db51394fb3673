"""What an agent costs its box: start, memory, processor, disk; at its real pace, over TLS.

    python -m bench.agent_cost [MINUTES]

Two agents, with and without --flush 60, a stock Mosquitto with client certificates, an indexer that
confirms; all in a network namespace, their targets addresses of its loopback.
"""

import subprocess
import sys
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple

from agent import status
from bench import bed
from tests.agent_bed import IndexerProcess
from tests.certificates import Authority

RSS_AIM_MB, ANONYMOUS_AIM_MB = 34, 23
STARTS = 5
SETTLE_S = 15.0


def starts(folder: Path) -> list[float]:
    """Seconds from exec until the agent answers its owner."""
    taken = []
    for number in range(STARTS):
        journal = folder / f"start-{number}" / "journal.db"
        begun_s = time.monotonic()
        words = ("agent.cli", "run", "--name", "x", "--journal", str(journal), "--targets", "x.fr")
        with bed.running(folder / f"start-{number}", *words):
            while not answers(str(journal)):
                time.sleep(0.002)
            taken.append(time.monotonic() - begun_s)
    return sorted(taken)


def answers(journal: str) -> bool:
    try:
        status.ask(journal)
    except status.StatusError:
        return False
    return True


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with bed.alone() as folder:
        begin = starts(folder)
        median_ms = begin[STARTS // 2] * 1000
        print(f"agent, start until it answers: {median_ms:.0f} ms (median of {STARTS})")
        authority = Authority(folder / "tls")
        server = authority.issue("127.0.0.1", ("127.0.0.1",))
        tls = [f"cafile {authority.ca}", f"certfile {server.cert}", f"keyfile {server.key}"]
        tls += ["require_certificate true", "use_identity_as_username true"]
        with ExitStack() as parts:
            port = parts.enter_context(bed.mosquitto(folder, *tls)).port
            pair = authority.issue("indexer-bench")
            more = ("--ca", authority.ca, "--cert", pair.cert, "--key", pair.key)
            indexer = IndexerProcess(
                folder / "indexer", port, more=("--name", "indexer-bench", *more)
            )
            parts.enter_context(indexer)
            agents = {
                flush_s: parts.enter_context(agent(folder, authority, port, flush_s))
                for flush_s in (0, 60)
            }
            time.sleep(SETTLE_S)
            marks = {flush_s: Mark.of(process) for flush_s, process in agents.items()}
            time.sleep(minutes * 60 - SETTLE_S)
            for flush_s, process in agents.items():
                report(flush_s, process, marks[flush_s], indexer, minutes)


class Mark(NamedTuple):
    """What a process had used by now."""

    time_ms: int
    cpu_s: float
    written_bytes: int

    @classmethod
    def of(cls, process: "subprocess.Popen[bytes]") -> "Mark":
        pid = process.pid
        return cls(time.time_ns() // 10**6, bed.cpu_s(pid), bed.written_bytes(pid))


def agent(
    folder: Path, authority: Authority, port: int, flush_s: int
) -> "AbstractContextManager[subprocess.Popen[bytes]]":
    name = f"flush-{flush_s}"
    pair = authority.issue(name)
    words = ["agent.cli", "run", f"mqtts://127.0.0.1:{port}", "--ca", authority.ca]
    words += ["--cert", pair.cert, "--key", pair.key, "--flush", str(flush_s)]
    words += ["--journal", str(folder / name / "journal.db"), "--targets", bed.LOOPBACKS]
    return bed.running(folder / name, *words, "--allow-private", "127.0.0.0/8")


def report(
    flush_s: int,
    process: "subprocess.Popen[bytes]",
    mark: Mark,
    indexer: IndexerProcess,
    minutes: float,
) -> None:
    results = [r for r in indexer.stored(f"flush-{flush_s}") if r.time_ms >= mark.time_ms]
    echoes = sum(result.body.get("sent") or 0 for result in results)
    if not echoes:
        raise SystemExit(f"no echo of flush-{flush_s} is in the store after {minutes:g} min")
    now = Mark.of(process)
    if flush_s == 0:
        used = bed.memory(process.pid)
        print(
            f"agent, memory after {minutes:g} min over TLS: {bed.mb(used.rss)} RSS "
            f"(aim {RSS_AIM_MB}), {bed.mb(used.private)} private, "
            f"{bed.mb(used.anonymous)} anonymous (aim {ANONYMOUS_AIM_MB})"
        )
        cpu_ms = (now.cpu_s - mark.cpu_s) * 1000
        print(
            f"agent, processor: {cpu_ms / echoes:.2f} ms an echo, everything that a running agent "
            f"does included ({cpu_ms:.0f} ms for {len(results)} results; the echo alone: "
            "bench.ping_truth)"
        )
    per_result = (now.written_bytes - mark.written_bytes) / len(results)
    print(
        f"agent, written to disk with --flush {flush_s}: {per_result / 1024:.1f} KiB a result "
        f"({len(results)} results, confirmed; by /proc/PID/io)"
    )


if __name__ == "__main__":
    main()
