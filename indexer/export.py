"""Results as a file for somebody else's tools: NDJSON, CSV or Parquet, whole or not at all.

NDJSON says everything, one result a line as it was on the wire. CSV and Parquet are flat: one row a
result, the columns of COLUMNS, times in UTC; what was not measured is empty.
"""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import IO, Any

from tqdm import tqdm

from agent.wire import Result, encode_result, rfc3339
from indexer.store import Store

_ROWS = 10_000  # of a Parquet row group

# Column: its Parquet type, and where it is in a result's body (a dot goes one deeper).
COLUMNS: dict[str, tuple[str, str]] = {
    "kind": ("string", "kind"),
    "target": ("string", "target"),
    "ip": ("string", "ip"),
    "family": ("int64", "family"),
    "ok": ("bool", "ok"),
    "error": ("string", "error"),
    "link_type": ("string", "link.type"),
    "link_generation": ("string", "link.generation"),
    "sent": ("int64", "sent"),
    "received": ("int64", "received"),
    "loss_pct": ("float64", "loss_pct"),
    "rtt_min_ms": ("float64", "rtt_ms.min"),
    "rtt_avg_ms": ("float64", "rtt_ms.avg"),
    "rtt_max_ms": ("float64", "rtt_ms.max"),
    "rtt_stddev_ms": ("float64", "rtt_ms.stddev"),
    "rtts_ms": ("list", "rtts_ms"),
    "gateway_rtts_ms": ("list", "gateway.rtts_ms"),
    "first_hop_rtts_ms": ("list", "first_hop.rtts_ms"),
    "http_status": ("int64", "status"),
    "resolve_ms": ("float64", "phases_ms.resolve"),
    "connect_ms": ("float64", "phases_ms.connect"),
    "tls_ms": ("float64", "phases_ms.tls"),
    "ttfb_ms": ("float64", "phases_ms.ttfb"),
    "transfer_ms": ("float64", "phases_ms.transfer"),
    "total_ms": ("float64", "phases_ms.total"),
    "failed_after_ms": ("float64", "failed_after_ms"),
}
_HEAD = {"time": "time", "agent": "string", "epoch": "string", "seq": "int64"}
_TAIL = {"clock": "string", "clock_age_s": "int64"}
_KINDS = _HEAD | {name: kind for name, (kind, _) in COLUMNS.items()} | _TAIL


def export(
    store: Store,
    path: str,
    form: str,
    since_ms: int,
    until_ms: int,
    *,
    agent: str | None = None,
    target: str | None = None,
    kind: str | None = None,
    progress: bool = False,
) -> int:
    """Writes the results of since <= time < until; how many. `-` is standard output, not Parquet.

    A file is there whole, or not at all: it is written beside and renamed.
    """
    if form not in WRITERS:
        raise ValueError(f"no format is called {form!r}: {', '.join(WRITERS)}")
    if form == "parquet" and path == "-":
        raise ValueError("parquet wants a file, not standard output")
    found = store.results(since_ms, until_ms, agent=agent, target=target, kind=kind)
    if progress:
        found = _shown(found)
    if path == "-":
        count = WRITERS[form](found, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return count
    with _beside(path) as file:
        return WRITERS[form](found, file)


def flat(result: Result) -> dict[str, Any]:
    """One row: every column, None where nothing was measured or it is not of the column's type."""
    row: dict[str, Any] = {
        "time": result.time_ms,
        "agent": result.agent,
        "epoch": result.epoch,
        "seq": result.seq,
    }
    for name, (kind, path) in COLUMNS.items():
        value: Any = result.body
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        known = isinstance(value, _PYTHON[kind])
        row[name] = (float(value) if kind == "float64" else value) if known else None
    return row | {"clock": result.clock, "clock_age_s": result.clock_age_s}


_PYTHON: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "int64": (int,),
    "float64": (float, int),
    "bool": (bool,),
    "list": (list,),
}


def _ndjson(results: Iterable[Result], file: IO[bytes]) -> int:
    count = 0
    for result in results:
        file.write(encode_result(result) + b"\n")
        count += 1
    return count


def _csv(results: Iterable[Result], file: IO[bytes]) -> int:
    """RFC 4180; a list of echoes is written as JSON."""
    count = 0
    file.write((",".join(_KINDS) + "\r\n").encode())
    for result in results:
        row = flat(result) | {"time": rfc3339(result.time_ms)}
        file.write(_csv_line(row).encode())
        count += 1
    return count


def _csv_line(row: dict[str, Any]) -> str:
    line = io.StringIO()
    values = (
        json.dumps(value) if isinstance(value, list | bool) else value for value in row.values()
    )
    csv.writer(line).writerow(values)
    return line.getvalue()


def _parquet(results: Iterable[Result], file: IO[bytes]) -> int:
    import pyarrow.parquet  # large, and no other format wants it

    types = {
        "string": pyarrow.string(),
        "int64": pyarrow.int64(),
        "float64": pyarrow.float64(),
        "bool": pyarrow.bool_(),
        "list": pyarrow.list_(pyarrow.float64()),
        "time": pyarrow.timestamp("ms", tz="UTC"),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in _KINDS.items()])
    count = 0
    rows = iter(map(flat, results))
    with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while part := list(islice(rows, _ROWS)):
            writer.write_table(pyarrow.Table.from_pylist(part, schema=schema))
            count += len(part)
    return count


WRITERS: dict[str, Callable[[Iterable[Result], IO[bytes]], int]] = {
    "ndjson": _ndjson,
    "csv": _csv,
    "parquet": _parquet,
}


def _shown(results: Iterable[Result]) -> Iterator[Result]:
    """The same results, counted on a terminal's standard error, with the day they are of."""
    with tqdm(unit=" results", disable=None) as bar:
        for number, result in enumerate(results):
            if number % _ROWS == 0:
                bar.set_description(rfc3339(result.time_ms)[:10])
            yield result
            bar.update()


@contextmanager
def _beside(path: str) -> Iterator[IO[bytes]]:
    """A file that takes its name when it is whole; a device or a pipe is written to as it is."""
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            yield file
        return
    beside = f"{path}.{os.getpid()}.part"
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(beside)
