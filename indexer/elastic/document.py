"""A result as a document, and back. Pure.

The typed fields (fields.py) are for searching and drawing; whatever in a result is not of a field's
type is left out of them. What the indexer itself reads back is RAW alone: the result word for word.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from agent.wire import Result
from indexer.elastic import fields
from indexer.elastic.quick_json import dumps, loads
from indexer.store import AgentRecord

_COORDINATES = re.compile(r"(.*?)[\s,;(]*(-?\d{1,2}\.\d+)\s*[,;\s]\s*(-?\d{1,3}\.\d+)\s*\)?\s*\Z")
_PHASES = {
    "resolve": ("resolve", "rtt", "us"),
    "connect": ("tcp", "rtt", "connect", "us"),
    "tls": ("tls", "rtt", "handshake", "us"),
    "ttfb": ("http", "rtt", "response_header", "us"),
    "transfer": ("http", "rtt", "content", "us"),
    "total": ("http", "rtt", "total", "us"),
}
_PLAIN = (
    *("sent", "received", "late", "duplicates", "corrupted", "method", "retrans", "redirect"),
    *("truncated", "failed_after_ms"),
)
_SIGNALS = {
    field.name.rpartition(".")[2] for field in fields.RESULT if ".signal." in field.name
}  # fmt: skip
_DAYS = -719_162, 2_932_897  # since 1970: the years 1 to 9999
_MOST_NAMED = 40  # indices in one request
_NETWORKS = {4: "ipv4", 6: "ipv6"}

Known = dict[str, dict[str, Any]]  # agent -> what its documents say of it


def identity(result: Result) -> str:
    """The document's `_id`; a name holds no colon, so no two results share one."""
    return f"{result.agent}:{result.epoch}:{result.seq}"


def index_of(prefix: str, result: Result) -> str:
    return f"{prefix}-{family_of(result)}"


def family_of(result: Result) -> str:
    """Where it belongs, by its own time; a time that is known to be wrong names no day."""
    if result.clock == "unsynced":
        return "unsynced"
    return f"results-{_day(result.time_ms // 86_400_000)}"


@lru_cache(1000)
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * 86_400, UTC).strftime("%Y.%m.%d").rjust(10, "0")


def indices_of(prefix: str, since_ms: int, until_ms: int) -> str:
    """Those that hold results of this time; all, when they are too many to be named."""
    days = range(max(since_ms // 86_400_000, _DAYS[0]), min(-(-until_ms // 86_400_000), _DAYS[1]))
    if not 0 < len(days) <= _MOST_NAMED:
        return f"{prefix}-results-*"
    return ",".join(f"{prefix}-results-{_day(day)}" for day in days)


def day_of(prefix: str, index: str) -> int | None:
    """Of an index of results: its day since 1970; None: it is none of ours."""
    try:
        day = datetime.strptime(index, f"{prefix}-results-%Y.%m.%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return round(day.timestamp()) // 86_400


def line(prefix: str, result: Result, known: Known, now_ms: int, future: bool) -> bytes:
    """The two lines of a bulk that create it, once."""
    found = document(result, known.get(result.agent), now_ms, future)
    action = f'{{"create":{{"_index":"{index_of(prefix, result)}","_id":"{identity(result)}"}}}}\n'
    return action.encode() + dumps(found) + b"\n"


def document(
    result: Result, who: dict[str, Any] | None, now_ms: int, future: bool
) -> dict[str, Any]:
    """Every field of fields.RESULT that the result gives, and RAW."""
    body = result.body
    kind, ok = body["kind"], body.get("ok")
    ours: dict[str, Any] = {
        "clock": result.clock,
        "epoch": result.epoch,
        "seq": result.seq,
        "raw": dumps(result).decode(),
    }
    found: dict[str, Any] = {
        "@timestamp": result.time_ms,
        "event": {"ingested": now_ms},
        "observer": {"name": result.agent},
        "monitor": {"type": kind},
        "swarming": ours,
    }
    if result.clock_age_s is not None:
        ours["clock_age_s"] = result.clock_age_s
    if future:
        ours["future"] = True
    if who:
        for name, facts in who.items():
            found[name] = found[name] | facts if name in found else facts
    if ok is not None:
        found["event"]["outcome"] = "success" if ok else "failure"
        found["monitor"]["status"] = "up" if ok else "down"
    if kind == "lost":
        ours["lost"] = body.get("count")
        return found
    _target(found, body)
    _measured(found, ours, body)
    if body.get("link"):
        _link(ours, body["link"])
    return found


def _target(found: dict[str, Any], body: dict[str, Any]) -> None:
    target, ip, error = body["target"], body.get("ip"), body.get("error")
    found["monitor"]["name"] = target
    if body["kind"] != "ladder":
        found["url"] = _url(target)
    if ip:
        found["destination"] = {"ip": ip}
    if error:
        found["error"] = {"type": error}
    network = _NETWORKS.get(body.get("family") or 0)
    if network:
        found["network"] = {"type": network}


@lru_cache(4096)
def _url(target: str) -> dict[str, str]:
    if "://" not in target:
        return {"domain": target}
    try:
        return {"full": target, "domain": urlsplit(target).hostname or target}
    except ValueError:
        return {"full": target}


def _measured(found: dict[str, Any], ours: dict[str, Any], body: dict[str, Any]) -> None:
    for name in _PLAIN:
        value = body.get(name)
        if value is not None:
            ours[name] = value
    loss = body.get("loss_pct")
    if loss is None:
        loss = _loss_pct(body)
    if loss is not None:
        ours["loss_pct"] = loss
    if body.get("rtts_ms"):
        _echoes(ours, body["rtts_ms"])
    summary = body.get("rtt_ms")
    if summary:
        for name in ("min", "avg", "max", "stddev"):
            if summary.get(name) is not None:
                ours[f"rtt_{name}_ms"] = summary[name]
        if summary.get("avg") is not None:
            found["monitor"]["duration"] = {"us": round(summary["avg"] * 1000)}
    for rung in ("gateway", "first_hop"):
        if body.get(rung):
            rtts = body[rung].get("rtts_ms") or ()
            ours[f"{rung}_rtt_ms"] = [ms for ms in rtts if ms is not None]
            loss = _loss_pct(body[rung])
            if loss is not None:
                ours[f"{rung}_loss_pct"] = loss
    if body["kind"] == "http":
        _http(found, body)


def _loss_pct(echoes: dict[str, Any]) -> float | None:
    sent, received = echoes.get("sent"), echoes.get("received")
    return 100.0 * (sent - received) / sent if sent and received is not None else None


def _echoes(ours: dict[str, Any], rtts_ms: list[float | None]) -> None:
    answered = [ms for ms in rtts_ms if ms is not None]
    ours["rtt_ms"] = answered
    if len(answered) > 1:
        steps = sum(abs(one - next_) for one, next_ in zip(answered, answered[1:], strict=False))
        ours["jitter_ms"] = round(steps / (len(answered) - 1), 3)


def _http(found: dict[str, Any], body: dict[str, Any]) -> None:
    for name, ms in (body.get("phases_ms") or {}).items():
        path = _PHASES.get(name)
        if path is not None and ms is not None:
            at = found
            for part in path[:-1]:
                at = at.setdefault(part, {})
            at["us"] = round(ms * 1000)
            if name == "total":
                found["monitor"]["duration"] = {"us": round(ms * 1000)}
    response: dict[str, Any] = {}
    if body.get("status") is not None:
        response["status_code"] = body["status"]
    if body.get("bytes") is not None:
        response["body"] = {"bytes": body["bytes"]}
    if response:
        found.setdefault("http", {})["response"] = response
    if isinstance(body.get("tls_version"), str):
        found.setdefault("tls", {})["version"] = body["tls_version"]
    if isinstance(body.get("certificate_end"), str):
        found.setdefault("tls", {})["server"] = {"not_after": body["certificate_end"]}


def _link(ours: dict[str, Any], link: dict[str, Any]) -> None:
    told: dict[str, Any] = {
        name: link[name] for name in ("type", "generation", "iface") if _is_word(link.get(name))
    }
    if _is_number(link.get("confidence")):
        told["confidence"] = link["confidence"]
    signal = link.get("signal")
    if isinstance(signal, dict):
        kept = {name: signal[name] for name in _SIGNALS & signal.keys() if _is_number(signal[name])}
        if kept:
            told["signal"] = kept
    ours["link"] = told


def _is_word(value: Any) -> bool:
    """What is not of its field's type would be refused with all that is around it."""
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


# --- agents -------------------------------------------------------------------------------------


def who(facts: dict[str, Any]) -> dict[str, Any]:
    """What each document of an agent says of it: its place and its provider."""
    found: dict[str, Any] = {}
    place, isp = facts.get("place"), facts.get("isp")
    if isinstance(place, str) and place:
        found["observer"] = {"geo": _geo(place)}
    if isinstance(isp, str) and isp:
        found["as"] = {"organization": {"name": isp}}
    return found


def _geo(place: str) -> dict[str, Any]:
    """The place's name; and where it is, when it ends in coordinates that exist."""
    match = _COORDINATES.match(place)
    if match is None or abs(float(match[2])) > 90 or abs(float(match[3])) > 180:
        return {"name": place}
    location = {"lat": float(match[2]), "lon": float(match[3])}
    return {"location": location} | ({"name": match[1]} if match[1] else {})


def agent_document(record: AgentRecord) -> dict[str, Any]:
    facts = record.facts
    journal, link, clock = (
        part if isinstance(part, dict) else {}
        for part in (facts.get("journal"), facts.get("link"), facts.get("clock"))
    )
    counts = ("waiting", "evicted", "lost")
    ours = {
        "here": record.here,
        "version": _word(facts.get("version")),
        "link": {"type": _word(link.get("type"))},
        "clock": _word(clock.get("trust")),
        "journal": {name: journal[name] for name in counts if type(journal.get(name)) is int},
        "raw": dumps(record).decode(),
    }
    found = {"@timestamp": record.seen_ms, "observer": {"name": record.agent}, "swarming": ours}
    for name, more in who(facts).items():
        found[name] = found.get(name, {}) | more
    return found


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None


# --- back ---------------------------------------------------------------------------------------


def raw_of(hit: dict[str, Any]) -> Any:
    """What RAW of a found document holds."""
    return loads(hit["_source"]["swarming"]["raw"])


def result_of(hit: dict[str, Any]) -> Result:
    return Result._make(raw_of(hit))
