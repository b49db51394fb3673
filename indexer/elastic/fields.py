"""Every field of a document: its name, type, unit, where it comes from. The one list of them.

The index templates, the table of docs/elasticsearch.md and the data views of the dashboards are
made of this list. Names follow ECS and Heartbeat where these have one; ours are under `swarming`.
"""

from typing import Any, NamedTuple


class Field(NamedTuple):
    """`source` is where in a result the value is found; a type of the engine's mapping."""

    name: str
    type: str
    unit: str
    source: str
    says: str


def _milliseconds(name: str, source: str, says: str) -> Field:
    return Field(f"swarming.{name}", "float", "ms", source, says)


def _signal(name: str, unit: str, says: str) -> Field:
    return Field(f"swarming.link.signal.{name}", "float", unit, f"link.signal.{name}", says)


_HEAD = (
    Field("@timestamp", "date", "ms", "time", "when the probe began, by the agent's clock"),
    Field("observer.name", "keyword", "", "agent", "the agent that measured"),
    Field("monitor.name", "keyword", "", "target", "the target, as it stands on the list"),
    Field("monitor.type", "keyword", "", "kind", "icmp, http, ladder or lost"),
)
_WHO = (
    Field("observer.geo.name", "keyword", "", "agent's place", "where its owner says it is"),
    Field("observer.geo.location", "geo_point", "°", "agent's place", "when the place ends in "
          "coordinates: Paris 48.86,2.35"),
    Field("as.organization.name", "keyword", "", "agent's isp", "whose line the owner says it is"),
)  # fmt: skip
_OUTCOME = (
    Field("event.outcome", "keyword", "", "ok", "success or failure"),
    Field("event.ingested", "date", "ms", "", "when the indexer stored it, by its clock"),
    Field("error.type", "keyword", "", "error", "why the probe failed, in a word"),
    Field("monitor.status", "keyword", "", "ok", "up or down"),
    Field("monitor.duration.us", "long", "µs", "rtt_ms.avg, phases_ms.total",
          "mean of the echoes, or the whole request"),
    Field("url.domain", "keyword", "", "target", "the host of the target"),
    Field("url.full", "keyword", "", "target", "the target, where it is a URL"),
    Field("destination.ip", "ip", "", "ip", "the address that was probed"),
    Field("network.type", "keyword", "", "family", "ipv4 or ipv6"),
)  # fmt: skip
_HTTP = (
    Field("resolve.rtt.us", "long", "µs", "phases_ms.resolve", "name look-up"),
    Field("tcp.rtt.connect.us", "long", "µs", "phases_ms.connect", "TCP handshake"),
    Field("tls.rtt.handshake.us", "long", "µs", "phases_ms.tls", "TLS handshake alone"),
    Field("http.rtt.response_header.us", "long", "µs", "phases_ms.ttfb",
          "request written until the first byte of the response"),
    Field("http.rtt.content.us", "long", "µs", "phases_ms.transfer", "first to last byte"),
    Field("http.rtt.total.us", "long", "µs", "phases_ms.total", "the whole request"),
    Field("http.response.status_code", "long", "", "status", "the server's status"),
    Field("http.response.body.bytes", "long", "bytes", "bytes", "read of the body, 64 KiB at most"),
    Field("tls.version", "keyword", "", "tls_version", "agreed version of TLS"),
    Field("tls.server.not_after", "date", "ms", "certificate_end", "end of the certificate"),
    Field("swarming.retrans", "integer", "", "retrans", "TCP segments sent again"),
    Field("swarming.redirect", "boolean", "", "redirect", "the response was a redirect"),
    Field("swarming.truncated", "boolean", "", "truncated", "the body was longer than is read"),
    _milliseconds("failed_after_ms", "failed_after_ms", "until the request failed"),
)  # fmt: skip
_ECHOES = (
    _milliseconds("rtt_ms", "rtts_ms", "round trip of each echo; the lost ones are not there"),
    _milliseconds("rtt_min_ms", "rtt_ms.min", "shortest round trip of the probe"),
    _milliseconds("rtt_avg_ms", "rtt_ms.avg", "mean round trip of the probe"),
    _milliseconds("rtt_max_ms", "rtt_ms.max", "longest round trip of the probe"),
    _milliseconds("rtt_stddev_ms", "rtt_ms.stddev", "standard deviation of the round trips"),
    _milliseconds("jitter_ms", "rtts_ms", "mean difference of one round trip to the next"),
    Field("swarming.loss_pct", "float", "%", "loss_pct", "echoes without a reply"),
    Field("swarming.sent", "integer", "", "sent", "echoes sent"),
    Field("swarming.received", "integer", "", "received", "echoes answered in time"),
    Field("swarming.late", "integer", "", "late", "echoes answered after 5 s"),
    Field("swarming.duplicates", "integer", "", "duplicates", "second replies to one echo"),
    Field("swarming.corrupted", "integer", "", "corrupted", "replies with altered content"),
    Field("swarming.method", "keyword", "", "method", "how the echoes were sent"),
    _milliseconds("gateway_rtt_ms", "gateway.rtts_ms", "ladder: each echo to the own router"),
    _milliseconds("first_hop_rtt_ms", "first_hop.rtts_ms", "ladder: each echo to the first hop"),
    Field(
        "swarming.gateway_loss_pct",
        "float",
        "%",
        "gateway",
        "ladder: echoes to the own router without a reply",
    ),
    Field(
        "swarming.first_hop_loss_pct",
        "float",
        "%",
        "first_hop",
        "ladder: echoes to the first hop without a reply",
    ),
)
_LINK = (
    Field("swarming.link.type", "keyword", "", "link.type", "ethernet, wifi, lte, …"),
    Field("swarming.link.generation", "keyword", "", "link.generation", "2g to 5g"),
    Field("swarming.link.iface", "keyword", "", "link.iface", "interface of the default route"),
    Field("swarming.link.confidence", "float", "", "link.confidence", "of the guess, 0 to 1"),
    _signal("rsrp_dbm", "dBm", "LTE and 5G: power of the reference signal"),
    _signal("rsrq_db", "dB", "LTE and 5G: quality of the reference signal"),
    _signal("sinr_db", "dB", "signal to noise and interference"),
    _signal("snr_db", "dB", "signal to noise"),
    _signal("rssi_dbm", "dBm", "received power in the whole band"),
    _signal("rscp_dbm", "dBm", "3G: received signal code power"),
    _signal("ecio_db", "dB", "3G: energy of the chip to interference"),
    _signal("signal_dbm", "dBm", "Wi-Fi: received power"),
    _signal("noise_dbm", "dBm", "Wi-Fi: noise"),
    _signal("bitrate_mbit", "Mbit/s", "Wi-Fi: rate of the link"),
    _signal("quality_pct", "%", "quality, where the tool says no more"),
)
_OURS = (
    Field("swarming.clock", "keyword", "", "clock", "ntp, indexer, unknown or unsynced"),
    Field("swarming.clock_age_s", "long", "s", "clock_age_s", "since the clock was last set"),
    Field("swarming.epoch", "keyword", "", "epoch", "the stretch of the agent's run; 64 bits"),
    Field("swarming.seq", "long", "", "seq", "the result's number in its epoch"),
    Field("swarming.lost", "long", "", "count", "results that left a full journal unread"),
    Field("swarming.future", "boolean", "", "time", "it claimed to be an hour or more ahead"),
)

RESULT = _HEAD + _WHO + _OUTCOME + _HTTP + _ECHOES + _LINK + _OURS

ROLLUP = (
    Field("@timestamp", "date", "ms", "start", "start of the period"),
    *_HEAD[1:3],
    Field("monitor.type", "keyword", "", "kind", "icmp, http, gateway or first_hop"),
    Field("swarming.step_s", "integer", "s", "", "length of the period: 3600, 21600 or 86400"),
    Field("swarming.count", "integer", "", "", "probes"),
    Field("swarming.ok", "integer", "", "ok", "probes that said ok"),
    Field("swarming.sent", "long", "", "sent", "echoes or requests"),
    Field("swarming.received", "long", "", "received", "echoes or requests answered"),
    Field("swarming.loss_pct", "float", "%", "", "of the echoes or requests"),
    *(
        _milliseconds(f"rtt_{name}_ms", "rtts_ms", f"{says} of every echo or request")
        for name, says in (
            ("min", "minimum"), ("p10", "10th percentile"), ("p25", "25th percentile"),
            ("median", "median"), ("p75", "75th percentile"), ("p90", "90th percentile"),
            ("max", "maximum"),
        )
    ),
    Field("swarming.link.type", "keyword", "", "link.type", "link types seen"),
)  # fmt: skip

VERDICT = (
    Field("@timestamp", "date", "ms", "time", "when the answer became this one"),
    Field("monitor.name", "keyword", "", "target", "the target that is judged"),
    Field("swarming.verdict.state", "keyword", "", "state", "fine, checking or bad"),
    Field("swarming.verdict.word", "keyword", "", "word", "me, isp, path, service, …"),
    Field("swarming.verdict.scope", "keyword", "", "scope", "whom it concerns"),
    Field("swarming.verdict.sentence", "keyword", "", "sentence", "the answer in words"),
)

AGENT = (
    Field("@timestamp", "date", "ms", "", "when it was last heard of"),
    Field("observer.name", "keyword", "", "agent", "the agent"),
    *_WHO,
    Field("swarming.here", "boolean", "", "here", "it is here, or gone"),
    Field("swarming.version", "keyword", "", "version", "of its program"),
    Field("swarming.link.type", "keyword", "", "link.type", "what it sits on"),
    Field("swarming.clock", "keyword", "", "clock.trust", "how far its clock is to be trusted"),
    Field("swarming.journal.waiting", "long", "", "journal.waiting", "results not confirmed yet"),
    Field("swarming.journal.evicted", "long", "", "journal.evicted", "results that a full journal "
          "lost"),
    Field("swarming.journal.lost", "long", "", "journal.lost", "of these, told as lost"),
)  # fmt: skip

RAW = "swarming.raw"  # the text that everything is read back from; neither indexed nor a column


def properties(fields: tuple[Field, ...]) -> dict[str, Any]:
    """The mapping's `properties` of these fields, and of RAW."""
    found: dict[str, Any] = {}
    for field in fields:
        at = found
        *parents, last = field.name.split(".")
        for parent in parents:
            at = at.setdefault(parent, {"properties": {}})["properties"]
        at[last] = _mapping(field.type)
    ours = found.setdefault("swarming", {"properties": {}})["properties"]
    ours["raw"] = {"type": "keyword", "index": False, "doc_values": False}
    return found


def _mapping(kind: str) -> dict[str, Any]:
    if kind == "keyword":
        return {"type": kind, "ignore_above": 2048}  # a longer term would refuse the document
    if kind == "date":
        return {"type": kind, "format": "epoch_millis||strict_date_optional_time"}
    return {"type": kind}
