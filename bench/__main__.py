"""Runs every bench, one after the other: ``python -m bench [WORD…]``, only those that hold a word.

Each prints its figures by itself; one that fails says so, and the others go on.
"""

import subprocess
import sys
import time

BENCHES = (
    "ping_truth",
    "http_phases",
    "agent_cost",
    "wire_bytes",
    "flash_wear",
    "journal_hours",
    "slow_link",
    "million_rows",
    "indexer_rate",
    "elastic",
    "store_sqlite",
    "page_data",
    "elastic_page",
    "verdict_accuracy",
    "package_sizes",
)


def main(words: list[str]) -> int:
    """How many failed, at most 1."""
    failed = []
    for name in BENCHES:
        if words and not any(word in name for word in words):
            continue
        begun_s = time.monotonic()
        print(f"# bench.{name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode != 0:
            failed.append(name)
        print(f"# took {time.monotonic() - begun_s:.0f} s\n", flush=True)
    if failed:
        print(f"failed: {' '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
