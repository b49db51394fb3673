"""Many results of one agent in few bytes: columns of JSON, deflated.

A batch begins with the bytes ``SWB``, a version and a codec. What repeats from row to row (target,
address, link…) is said once, as a *form*; what a form lacks are the row's numbers: round-trip times
in whole microseconds, as the smallest and the distance of each from it. What can be computed from
these (``rtt_ms``, ``loss_pct``, ``sent``, ``received``) is left out, and only then. Unpacking gives
every body back exactly; a body that would not come back so is carried whole.
"""

import math
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from agent import strict_json

MAGIC = b"SWB"
VERSION = 1
DEFLATE = 1
MAX_ROWS = 1000
MAX_INFLATED_BYTES = 4 * 1024 * 1024

# What nearly every batch says, so that a small one need not spell it out. Part of the version.
_DICTIONARY = (
    b'"signal":{"rssi":-,"rsrp":-,"rsrq":-,"sinr":"operator":"retrans":0,"certificate_end":"20'
    b'"tls_version":"TLSv1.3","redirect":false,"truncated":false,"bytes":"status":200,'
    b'"error":null,"error":"timeout","kind":"ladder","target":"ladder","kind":"http","target":'
    b'"https://www.","method":"raw","method":"dgram","stated":true},"type":"lte","generation":"4g"'
    b'"type":"wifi","type":"ethernet","iface":"wlan0","iface":"wwan0","iface":"eth0",'
    b'"confidence":0.9},"late":0,"duplicates":0,"corrupted":0,"family":6,"family":4,"ok":true,'
    b'"ip":"","link":{"kind":"icmp","target":"'
    b'{"agent":"","heads":[["","ntp"]],"forms":[{"head":[0,"form":[0,"seq":[1,"time_ms":[1'
    b'"clock_age_s":[null,"numbers":[['
)
_PHASES = ("resolve", "connect", "tls", "ttfb", "transfer", "total")


class BatchError(ValueError):
    """The bytes are not a batch that we can read; one line says why."""


class Row(NamedTuple):
    """One result, as wire.Result has it, without the agent."""

    epoch: str
    seq: int
    time_ms: int
    clock: str
    clock_age_s: int | None
    body: dict[str, Any]


def pack(agent: str, rows: Sequence[Row]) -> bytes:
    """The batch that holds all these rows of one agent."""
    heads: dict[tuple[str, str], int] = {}
    forms: dict[bytes, int] = {}
    columns: dict[str, list[Any]] = {
        name: [] for name in ("head", "form", "seq", "time_ms", "clock_age_s", "numbers")
    }
    seq = time_ms = 0
    for row in rows:
        form, numbers = _split(row.body)
        columns["head"].append(heads.setdefault((row.epoch, row.clock), len(heads)))
        columns["form"].append(forms.setdefault(strict_json.encode(form), len(forms)))
        columns["seq"].append(row.seq - seq)
        columns["time_ms"].append(row.time_ms - time_ms)
        columns["clock_age_s"].append(row.clock_age_s)
        columns["numbers"].append(numbers)
        seq, time_ms = row.seq, row.time_ms
    spelt = [strict_json.decode(form) for form in forms]
    whole = strict_json.encode({"agent": agent, "heads": list(heads), "forms": spelt} | columns)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_DICTIONARY)
    return MAGIC + bytes((VERSION, DEFLATE)) + deflate.compress(whole) + deflate.flush()


def unpack(payload: bytes) -> tuple[str, list[Row]]:
    """The agent and its rows, or BatchError. Inflates at most MAX_INFLATED_BYTES."""
    whole = _inflate(payload)
    try:
        return whole["agent"], _rows(whole)
    except (KeyError, TypeError, IndexError, ValueError, OverflowError) as error:
        raise BatchError(f"a batch of another shape: {error!r}") from error


def version_of(payload: bytes) -> int | None:
    """Which version wrote the batch; None when it is no batch."""
    return payload[3] if payload[:3] == MAGIC and len(payload) > 4 else None


def rtt_summary(rtts_ms: Sequence[float | None]) -> dict[str, float] | None:
    """Smallest, mean, largest and population standard deviation, in ms; None without a reply."""
    answered = [rtt for rtt in rtts_ms if rtt is not None]
    if not answered:
        return None
    mean = math.fsum(answered) / len(answered)
    variance = math.fsum((rtt - mean) ** 2 for rtt in answered) / len(answered)
    return {
        "min": round(min(answered), 3),
        "avg": round(mean, 3),
        "max": round(max(answered), 3),
        "stddev": round(math.sqrt(variance), 3),
    }


def loss_pct(sent: int, received: int) -> float:
    """Per cent of the echoes that had no reply."""
    return round(100 * (sent - received) / sent, 1) if sent else 0.0


def _inflate(payload: bytes) -> dict[str, Any]:
    if version_of(payload) != VERSION or payload[4] != DEFLATE:
        raise BatchError("not a batch of this version")
    inflate = zlib.decompressobj(-15, zdict=_DICTIONARY)
    try:
        whole = inflate.decompress(payload[5:], MAX_INFLATED_BYTES)
        if not inflate.eof:
            raise BatchError("cut off, or inflates to more than 4 MiB")
        value = strict_json.decode(whole)
    except (zlib.error, strict_json.JsonError) as error:
        raise BatchError(str(error)) from error
    if not isinstance(value, dict):
        raise BatchError("not a batch's columns")
    return value


def _rows(whole: dict[str, Any]) -> list[Row]:
    names = ("head", "form", "seq", "time_ms", "clock_age_s", "numbers")
    columns = [whole[name] for name in names]
    if len(columns[0]) > MAX_ROWS:
        raise BatchError(f"more than {MAX_ROWS} rows")
    seq = time_ms = 0
    rows = []
    for head, form, more_seq, more_ms, age, numbers in zip(*columns, strict=True):
        if head < 0 or form < 0:
            raise BatchError("a negative index")
        epoch, clock = whole["heads"][head]
        seq, time_ms = seq + more_seq, time_ms + more_ms
        rows.append(Row(epoch, seq, time_ms, clock, age, _join(whole["forms"][form], numbers)))
    return rows


# --- a body, as its form and its numbers --------------------------------------------------------


def _split(body: dict[str, Any]) -> tuple[dict[str, Any], list[int | None] | int]:
    form, numbers = _lean(body)
    if numbers and _join(form, numbers) == body:
        return form, numbers
    return body, 0


def _lean(body: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """A copy of the body without its numbers; in their places stand counts of them."""
    form = dict(body)
    numbers: list[Any] = []
    if isinstance(body.get("rtts_ms"), list):
        _lean_rtts(form, numbers)
        form.pop("rtt_ms", None)
        form.pop("loss_pct", None)
    for rung in ("gateway", "first_hop"):
        if isinstance(body.get(rung), dict) and isinstance(body[rung].get("rtts_ms"), list):
            form[rung] = dict(body[rung])
            _lean_rtts(form[rung], numbers)
    if isinstance(body.get("phases_ms"), dict) and set(body["phases_ms"]) == set(_PHASES):
        form["phases_ms"] = 0
        numbers += [_us(body["phases_ms"][phase]) for phase in _PHASES]
    if isinstance(body.get("link"), dict) and isinstance(body["link"].get("age_s"), int):
        form["link"] = dict(body["link"], age_s="")
        numbers.append(body["link"]["age_s"])
    return form, numbers


def _lean_rtts(part: dict[str, Any], numbers: list[Any]) -> None:
    rtts = [_us(rtt) for rtt in part["rtts_ms"]]
    part["rtts_ms"] = len(rtts)
    part.pop("sent", None)
    part.pop("received", None)
    least = min((rtt for rtt in rtts if rtt is not None), default=0)
    numbers += [least, *(None if rtt is None else rtt - least for rtt in rtts)]


def _join(form: dict[str, Any], numbers: Sequence[Any] | int) -> dict[str, Any]:
    """The body again. ``0`` numbers: the form is the body."""
    if not isinstance(form, dict):
        raise BatchError("a form that is not an object")
    body = dict(form)
    if isinstance(numbers, int):
        return body
    rest = list(reversed(numbers))
    if "rtts_ms" in form:
        _join_rtts(body, rest)
        body["rtt_ms"] = rtt_summary(body["rtts_ms"])
        body["loss_pct"] = loss_pct(body["sent"], body["received"])
    for rung in ("gateway", "first_hop"):
        if isinstance(form.get(rung), dict) and isinstance(form[rung].get("rtts_ms"), int):
            body[rung] = dict(form[rung])
            _join_rtts(body[rung], rest)
    if form.get("phases_ms") == 0:
        body["phases_ms"] = {phase: _ms(rest.pop()) for phase in _PHASES}
    if isinstance(form.get("link"), dict) and form["link"].get("age_s") == "":
        body["link"] = dict(form["link"], age_s=rest.pop())
    return body


def _join_rtts(part: dict[str, Any], rest: list[Any]) -> None:
    count = part["rtts_ms"]
    if not isinstance(count, int) or count > len(rest):
        raise BatchError("fewer numbers than the form asks for")
    least = rest.pop()
    steps = [rest.pop() for _ in range(count)]
    part["rtts_ms"] = [None if step is None else _ms(step + least) for step in steps]
    part["sent"] = count
    part["received"] = count - steps.count(None)


def _us(ms: float | None) -> int | None:
    return None if ms is None else round(ms * 1000)


def _ms(us: int | None) -> float | None:
    return None if us is None else us / 1000
