"""Exports: what was stored is what another tool reads, and a file is whole or absent."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from agent.wire import Result, decode_result
from indexer.export import COLUMNS, WRITERS, export
from indexer.store import Store, StoreDown
from indexer.stores import open_store

NOW_MS = 1_790_000_000_123

ICMP: dict[str, Any] = {
    "kind": "icmp", "target": 'a,"b"\n.example', "ip": "192.0.2.1", "family": 4, "ok": True,
    "link": {"type": "lte", "generation": "4g"}, "sent": 3, "received": 2, "loss_pct": 33.333,
    "rtt_ms": {"min": 1, "avg": 2.5, "max": 4}, "rtts_ms": [1.0, None, 4.25],
}  # fmt: skip
HTTP: dict[str, Any] = {
    "kind": "http", "target": "https://example.com/é", "ok": False, "error": "http_error",
    "status": 503, "phases_ms": {"resolve": None, "connect": 20.5, "total": 99.0}, "link": None,
}  # fmt: skip
LADDER: dict[str, Any] = {
    "kind": "ladder", "target": "ladder", "ok": True, "link": {"type": ["odd"]},
    "gateway": {"sent": 2, "received": 2, "rtts_ms": [0.5, 0.75]}, "first_hop": None,
}  # fmt: skip
RESULTS = [
    Result("box", "a" * 16, seq, NOW_MS + seq, "ntp", None if seq == 2 else 4, body)
    for seq, body in enumerate((ICMP, HTTP, LADDER), 1)
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:{tmp_path / 'store.db'}")
    opened.put(RESULTS, NOW_MS)
    yield opened
    opened.close()


def test_ndjson_is_every_result_as_it_was_on_the_wire(store: Store, tmp_path: Path):
    out = tmp_path / "out.ndjson"
    assert export(store, str(out), "ndjson", 0, NOW_MS + 10) == 3
    assert [decode_result(line) for line in out.read_bytes().splitlines()] == RESULTS


def test_csv_is_read_by_any_csv_reader(store: Store, tmp_path: Path):
    out = tmp_path / "out.csv"
    assert export(store, str(out), "csv", 0, NOW_MS + 10) == 3
    with out.open(newline="", encoding="utf-8") as file:
        icmp, http, ladder = csv.DictReader(file)
    assert icmp["target"] == ICMP["target"]
    assert icmp["time"] == "2026-09-21T14:13:20.124Z"
    assert json.loads(icmp["rtts_ms"]) == [1.0, None, 4.25]
    assert (icmp["loss_pct"], icmp["link_type"], icmp["ok"]) == ("33.333", "lte", "true")
    assert (http["http_status"], http["resolve_ms"], http["connect_ms"]) == ("503", "", "20.5")
    assert (http["clock_age_s"], http["error"]) == ("", "http_error")
    assert (ladder["link_type"], json.loads(ladder["gateway_rtts_ms"])) == ("", [0.5, 0.75])


def test_a_device_or_a_pipe_is_written_to_and_never_replaced(store: Store, tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert export(store, str(pipe), "ndjson", 0, NOW_MS + 10) == 3
    assert os.read(reader, 1 << 20).count(b"\n") == 3
    os.close(reader)
    assert pipe.is_fifo()


def test_parquet_has_the_same_columns_with_types(store: Store, tmp_path: Path):
    out = tmp_path / "out.parquet"
    assert export(store, str(out), "parquet", 0, NOW_MS + 10) == 3
    table = pyarrow.parquet.read_table(out)
    assert {"time", "agent", "epoch", "seq", "clock", *COLUMNS} <= set(table.column_names)
    assert str(table.schema.field("time").type) == "timestamp[ms, tz=UTC]"
    icmp, http, ladder = table.to_pylist()
    assert round(icmp["time"].timestamp() * 1000) == NOW_MS + 1
    assert (icmp["rtts_ms"], icmp["rtt_min_ms"]) == ([1.0, None, 4.25], 1.0)
    assert (http["ok"], http["http_status"], http["total_ms"]) == (False, 503, 99.0)
    assert (ladder["first_hop_rtts_ms"], ladder["link_type"]) == (None, None)


def test_a_number_that_no_column_can_hold_exactly_does_not_stop_an_export(
    store: Store, tmp_path: Path
):
    store.put([Result("box", "b" * 16, 1, NOW_MS, "ntp", None, ICMP | {"loss_pct": 2**62 + 1})], 0)
    assert export(store, str(tmp_path / "out.parquet"), "parquet", 0, NOW_MS + 10) == 4


def test_an_export_takes_a_range_and_a_filter(store: Store, tmp_path: Path):
    out = str(tmp_path / "out")
    assert export(store, out, "ndjson", 0, NOW_MS + 10, kind="http") == 1
    assert export(store, out, "ndjson", NOW_MS + 2, NOW_MS + 10) == 2
    assert export(store, out, "csv", 0, NOW_MS + 10, agent="nobody", progress=True) == 0
    assert Path(out).read_text().count("\n") == 1


@pytest.mark.parametrize("form", WRITERS)
def test_a_store_that_goes_down_leaves_the_old_file_alone(
    store: Store, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    out.write_text("of yesterday")

    def falling(*_: Any, **__: Any) -> Iterator[Result]:
        yield RESULTS[0]
        raise StoreDown("gone")

    monkeypatch.setattr(store, "results", falling)
    with pytest.raises(StoreDown):
        export(store, str(out), form, 0, NOW_MS)
    assert out.read_text() == "of yesterday"
    assert [name for name in os.listdir(tmp_path) if name.startswith("out")] == ["out"]


def test_a_dash_is_standard_output(store: Store, tmp_path: Path):
    code = (
        "import sys; from indexer.export import export; from indexer.stores import open_store;"
        f"export(open_store(sys.argv[1]), '-', 'ndjson', 0, {NOW_MS + 10})"
    )
    url = f"sqlite:{tmp_path / 'store.db'}"
    ran = subprocess.run([sys.executable, "-c", code, url], capture_output=True, check=True)
    assert [decode_result(line) for line in ran.stdout.splitlines()] == RESULTS


def test_what_cannot_be_written_is_refused_before_anything_is(store: Store, tmp_path: Path):
    with pytest.raises(ValueError, match="xlsx"):
        export(store, str(tmp_path / "out"), "xlsx", 0, NOW_MS)
    with pytest.raises(ValueError, match="parquet"):
        export(store, "-", "parquet", 0, NOW_MS)
    assert not (tmp_path / "out").exists()
