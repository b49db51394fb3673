"""``python -m tests.torture --seed N --minutes M``: exit 0 when every promise was kept, else 1."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

INSIDE = "SWARMING_TORTURE_INSIDE"
_NAMESPACES = ["unshare", "--net", "--mount"]
_AND_PIDS = ["--pid", "--fork", "--kill-child", "--mount-proc"]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the plan")
    parser.add_argument("--minutes", type=float, default=3.0, help="of evil")
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two evil deeds")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds for draining")
    parser.add_argument("--mutant", default=None, help="plant this bug")
    parser.add_argument("--keep", action="store_true", help="leave journals, store and logs")
    return parser.parse_args()


def _reexec() -> None:
    """Into namespaces of our own, in which everything ends with us."""
    command = [sys.executable, "-m", "tests.torture", *sys.argv[1:]]
    whole = [*_NAMESPACES, *_AND_PIDS]
    if subprocess.run([*whole, "true"], capture_output=True, check=False).returncode != 0:
        whole = _NAMESPACES
    os.execvpe(whole[0], [*whole, *command], os.environ | {INSIDE: "1"})


def main() -> int:
    asked = _parse()
    if os.environ.get(INSIDE) != "1":
        _reexec()
    from tests.torture.run import Order, Torture

    factor = float(os.environ.setdefault("FAST", "10"))
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    order = Order(
        asked.seed, asked.minutes * 60, asked.agents, asked.every, asked.patience, factor,
        asked.mutant,
    )  # fmt: skip
    torture = Torture(order, folder)
    try:
        torture.run()
    finally:
        torture.world.close()
        if asked.keep:
            shutil.copytree(folder, f"/tmp/torture-kept-{os.getppid()}-{asked.seed}",
                            dirs_exist_ok=True, ignore_dangling_symlinks=True)  # fmt: skip
        torture.world.remove()
    print(f"seed {order.seed}, {asked.minutes:g} min, {order.agents} agents, FAST {factor:g}")
    for name, number in sorted({**torture.counts, **torture.evil.done}.items()):
        print(f"{name:28} {number}")
    for complaint in torture.complaints:
        print(f"BROKEN  {complaint}")
    print("every promise was kept" if not torture.complaints else "promises were broken")
    return 1 if torture.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
