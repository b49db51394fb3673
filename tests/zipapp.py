"""The agent's zipapp, built as `make zipapp` builds it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def build(path: Path, **environment: str) -> Path:
    """Written there; the wheels that it carries come from build/ after the first time."""
    command = [sys.executable, str(ROOT / "packaging" / "build" / "pyz.py"), str(path)]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert ran.returncode == 0, ran.stderr
    return path
