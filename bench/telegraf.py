"""Telegraf 1.37 as people run it: JSON messages of MQTT into OpenSearch, nothing lost.

It is built with ``go install -tags custom,inputs.mqtt_consumer,outputs.opensearch,parsers.json
github.com/influxdata/telegraf/cmd/telegraf@v1.37.2``. It reads at QoS 1 with a persistent session,
so that it acknowledges what OpenSearch has taken, as its documentation asks for.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from indexer.elastic import fields

NAME = "telegraf"
INDEX = "telegraf-*"
# A result flattened, and whose type in our mapping each value has. Its time is @timestamp too;
# an array becomes a field for each element.
_LIKE = {
    "agent": "observer.name", "epoch": "swarming.epoch", "seq": "swarming.seq",
    "clock": "swarming.clock", "clock_age_s": "swarming.clock_age_s", "kind": "monitor.type",
    "target": "monitor.name", "ip": "destination.ip", "family": "network.type",
    "ok": "swarming.redirect", "error": "error.type", "sent": "swarming.sent",
    "received": "swarming.received", "loss_pct": "swarming.loss_pct", "late": "swarming.late",
    "duplicates": "swarming.duplicates", "corrupted": "swarming.corrupted",
    "method": "swarming.method", "link_type": "swarming.link.type",
    "link_generation": "swarming.link.generation", "link_iface": "swarming.link.iface",
    "link_confidence": "swarming.link.confidence", "link_age_s": "swarming.clock_age_s",
    **{f"rtts_ms_{number}": "swarming.rtt_ms" for number in range(10)},
    **{f"rtt_ms_{name}": f"swarming.rtt_{name}_ms" for name in ("min", "avg", "max", "stddev")},
    **{
        f"link_signal_{name}": f"swarming.link.signal.{name}"
        for name in ("rsrp_dbm", "rsrq_db", "sinr_db", "signal_dbm", "quality_pct")
    },
}  # fmt: skip


class Settings(NamedTuple):
    """What one may turn without losing anything: from 1,000 to 5,000, this was the fastest."""

    batch: int = 4000
    undelivered: int = 8000


def mapping() -> dict[str, Any]:
    """Its documents' mapping: each value is of the type that it has in ours."""
    ours = dict(_flat(fields.properties(fields.RESULT)))
    return {
        "dynamic": False,
        "properties": {
            "@timestamp": ours["@timestamp"],
            "measurement_name": {"type": "keyword"},
            NAME: {"properties": {name: ours[like] for name, like in _LIKE.items()}},
        },
    }


def _flat(properties: dict[str, Any], above: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, found in properties.items():
        if "properties" in found:
            yield from _flat(found["properties"], f"{above}{name}.")
        else:
            yield above + name, found


def _texts() -> list[str]:
    """What its parser would leave out unless told to keep it."""
    kinds = {field.name: field.type for field in fields.RESULT}
    kept = ("keyword", "ip", "boolean")
    return [name for name, like in _LIKE.items() if kinds[like] in kept]


def _config(broker_port: int, url: str, settings: Settings) -> str:
    return f"""
[agent]
  interval = "1s"
  flush_interval = "1s"
  metric_batch_size = {settings.batch}
  metric_buffer_limit = 200000
  omit_hostname = true
  quiet = true

[[inputs.mqtt_consumer]]
  servers = ["tcp://127.0.0.1:{broker_port}"]
  topics = ["ping/+"]
  topic_tag = ""
  qos = 1
  persistent_session = true
  client_id = "{NAME}"
  max_undelivered_messages = {settings.undelivered}
  name_override = "{NAME}"
  data_format = "json"
  json_string_fields = {json.dumps(_texts())}
  json_time_key = "time"
  json_time_format = "2006-01-02T15:04:05Z07:00"

[[outputs.opensearch]]
  urls = ["{url}"]
  index_name = "telegraf-{{{{.Time.Format \\"2006.01.02\\"}}}}"
  manage_template = false
  template_name = "{NAME}"
  timeout = "60s"
"""


def start(
    folder: Path, broker_port: int, url: str, settings: Settings
) -> "subprocess.Popen[bytes]":
    path = os.environ.get("PATH", "") + ":" + os.path.expanduser("~/go/bin")
    binary = shutil.which("telegraf", path=path)
    if binary is None:
        raise SystemExit("this machine has no telegraf")
    conf = folder / "telegraf.conf"
    conf.write_text(_config(broker_port, url, settings))
    with open(folder / "telegraf.log", "wb") as log:
        return subprocess.Popen([binary, "--config", str(conf)], stdout=log, stderr=log)
