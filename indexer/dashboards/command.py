"""`swarming-indexer dashboards`: sends the dashboards to the tool that shows them, or to files."""

import argparse
import os
import sys
from pathlib import Path

from indexer.dashboards.install import DashboardsError, Place, install
from indexer.dashboards.objects import KIBANA, OPENSEARCH, ndjson
from indexer.elastic import address
from indexer.stores import with_prefix

API_KEY, PASSWORD = "SWARMING_DASHBOARDS_API_KEY", "SWARMING_DASHBOARDS_PASSWORD"
_NAMES = {KIBANA: "Kibana", OPENSEARCH: "OpenSearch Dashboards"}


def run(flags: argparse.Namespace) -> int:
    """0 when all of it is there. Raises DashboardsError, StoreRefused for such a prefix."""
    address.parse(with_prefix("elasticsearch:http://localhost", flags.index_prefix))
    if flags.out is not None:
        for path in write(Path(flags.out), flags.index_prefix):
            print(path)
        return 0
    done = install(_place(flags), flags.index_prefix)
    for line in done.refused:
        print(line, file=sys.stderr)
    name = f"{_NAMES[done.kind]} {done.version}".rstrip()
    if done.refused:
        raise DashboardsError(f"{name} took {done.objects} objects and refused {len(done.refused)}")
    print(f"{done.objects} objects are in {name}: begin with {flags.index_prefix}: Overview")
    return 0


def write(folder: Path, prefix: str) -> list[Path]:
    """A file for each tool, in this folder."""
    written = []
    for kind in (KIBANA, OPENSEARCH):
        path = folder / f"{kind}.ndjson"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(ndjson(kind, prefix), encoding="utf-8", newline="\n")
        except OSError as error:
            raise DashboardsError(f"{path}: {error.strerror or error}") from error
        written.append(path)
    return written


def _place(flags: argparse.Namespace) -> Place:
    if flags.user is not None and flags.api_key is not None:
        raise DashboardsError("an API key or a user, not both")
    if flags.user is None and flags.password is not None:
        raise DashboardsError("--password wants --user")
    api_key = password = None
    if flags.user is None:
        api_key = _secret("--api-key", flags.api_key, API_KEY)
    else:
        password = _secret("--password", flags.password, PASSWORD)
        if password is None:
            raise DashboardsError(f"--user wants --password FILE, or {PASSWORD}")
    return Place(flags.install, flags.ca, flags.space, api_key, flags.user, password)


def _secret(option: str, path: str | None, variable: str) -> str | None:
    """What the file holds, without the end of its line; else what the environment does."""
    try:
        found = os.environ.get(variable) if path is None else Path(path).read_text("utf-8")
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise DashboardsError(f"{option} {path}: {why}") from error
    if path is None and not found:
        return None
    secret = (found or "").strip()
    if not secret or not secret.isprintable():
        raise DashboardsError(f"{path or variable}: one line with the secret is expected")
    return secret
