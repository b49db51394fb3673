"""The one shape that every reader gives: what a tool says of the modem at the end of an interface.

Only what was measured: a number outside of what its quantity can be ("--", 255, -32768, 0 dBm)
is no number. Cell ids, IMEI, IMSI and the like have no field here, and so cannot get out.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

GENERATIONS = {
    "gprs": "2g",
    "edge": "2g",
    "gsm": "2g",
    "umts": "3g",
    "hspa": "3g",
    "lte": "4g",
    "5g": "5g",
}
DSL = ("adsl", "vdsl", "dsl")


# A subscriber's, a device's or a cell's number, or a hardware address: never in a sentence.
_SECRET = re.compile(r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{12,}|\d{7,}")


class Modem(NamedTuple):
    """What one source says. Empty and None mean: it does not say."""

    source: str
    iface: str | None  # None: it does not say which interface this modem is behind
    type: str  # a type of linkguess; "mobile" where the technology is not told
    generation: str | None
    signal: Mapping[str, float]
    operator: str | None
    roaming: bool | None
    evidence: str
    confidence: float


def modem(
    source: str,
    type_: str,
    evidence: str,
    confidence: float = 0.95,
    *,
    iface: str | None = None,
    generation: str | None = None,
    signal: Mapping[str, float] | None = None,
    operator: object = None,
    roaming: bool | None = None,
) -> Modem:
    """A Modem with its generation, and an operator that is one."""
    return Modem(
        source,
        iface,
        type_,
        generation or GENERATIONS.get(type_),
        signal or {},
        operator_of(operator),
        roaming,
        _SECRET.sub("*", "".join(filter(str.isprintable, evidence[:400])))[:160],
        confidence,
    )


# From the newest on: a modem that names several runs over the newest of them. The words are those
# of mmcli, uqmi, qmicli, mbim, AT commands of six makers, HiLink, ZTE and NetworkManager.
_TECHNOLOGIES = tuple(
    (re.compile(pattern), type_)
    for pattern, type_ in (
        (r"5g ?nr|nr ?5g|\bnr(-5gc|dc)?\b|\bng-?ran\b|en-?dc|^5g|\b5gs\b|^n?sa$|5g-?(n?sa)", "5g"),
        (r"\blte|\bem?tc\b|cat-?(m|nb)|nb-?iot|e-?utra|\b4g\b|4gplus|^fdd$|^tdd$", "lte"),
        (r"hspa|hsdpa|hsupa|\b3\.5g|\b3\.75g|\b3g\+", "hspa"),
        (r"umts|wcdma|td-?scdma|\butra|\b3g\b|w-cdma", "umts"),
        (r"edge|egprs|\be-gprs", "edge"),
        (r"gprs", "gprs"),
        (r"\bgsm|\b2g\b|geran", "gsm"),
    )
)
_NO_SERVICE = re.compile(r"no[ _-]?service|limited|noservice|searching|unknown|none|^-*$")


def technology(*words: object) -> str | None:
    """The type that a tool's words mean: "FDD LTE" is lte, "gsm, gprs" gprs, "--" nothing."""
    texts = [word[:60].strip().lower().replace("_", "-") for word in words if isinstance(word, str)]
    texts = [text for text in texts if not _NO_SERVICE.search(text)]
    for pattern, type_ in _TECHNOLOGIES:
        for text in texts:
            # ZTE's "LTE-NSA": an LTE cell that could carry 5G beside it, and does not now.
            if pattern.search(text) and not (type_ == "5g" and text.startswith("lte-nsa")):
                return type_
    return None


def cdma_generation(word: object) -> str | None:
    """CDMA networks have no type of their own: they are "mobile" of a generation."""
    text = word.lower() if isinstance(word, str) else ""
    if re.search(r"evdo|ev-do|\bhdr\b|ehrpd", text):
        return "3g"
    return "2g" if re.search(r"cdma2000|cdma1x|1xrtt|^cdma$|is-?95", text) else None


LIMITS = {
    "rssi_dbm": (-130, -1),
    "rxlev_dbm": (-115, -1),
    "rsrp_dbm": (-156, -20),
    "rsrq_db": (-45, 20),
    "rscp_dbm": (-125, -20),
    "ecio_db": (-50, 5),
    "sinr_db": (-40, 60),
    "snr_db": (-40, 60),
    "sinr_raw": (0, 250),
    "quality_pct": (0, 100),
    "signal_dbm": (-120, -1),
    "noise_dbm": (-130, -1),
    "bitrate_mbit": (0.1, 100_000),
    "bars": (0, 10),
    "bars_max": (1, 10),
    "snr_down_db": (-10, 64),
    "snr_up_db": (-10, 64),
    "attn_down_db": (0, 120),
    "attn_up_db": (0, 120),
    "rate_down_kbit": (1, 10_000_000),
    "rate_up_kbit": (1, 10_000_000),
    "max_down_kbit": (1, 10_000_000),
    "max_up_kbit": (1, 10_000_000),
    "ds_power_dbmv": (-40, 60),
    "ds_snr_db": (0.1, 70),
    "us_power_dbmv": (-40, 80),
    "ds_channels": (1, 200),
    "us_channels": (1, 100),
}
_NUMBER = re.compile(
    r"\s*(?:[<>]=?\s*)?([-+]?\d{1,12}(?:\.\d{1,6})?)\s*(?:[A-Za-z%][A-Za-z%/]*)?\s*"
)


def number(value: object) -> float | None:
    """7, "7", "-89dBm", "-7.0 dB", ">=-51dBm"; anything else is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e15 and math.isfinite(value) else None
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value[:64])
        return float(match[1]) if match else None
    return None


def measured(**values: object) -> dict[str, float]:
    """Those of them that are numbers, and can be what they are said to be; ``nr_`` as without."""
    found = {}
    for name, value in values.items():
        low, high = LIMITS[name.removeprefix("nr_")]
        given = number(value)
        if given is not None and low <= given <= high:
            found[name] = round(given, 2)
    return found


def operator_of(value: object) -> str | None:
    """A network's code or name; no subscriber's number, and nothing that is masked or missing."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    text = " ".join(value[:200].split()).strip("'\"")[:40]
    digits = sum(letter.isdigit() for letter in text)
    if not text.isprintable() or not any(map(str.isalnum, text)) or digits > 7:
        return None
    if _SECRET.search(text):
        return None
    return None if text.lower() in ("unknown", "none", "null", "n/a", "0", "00000") else text


def plmn(country: object, network: object) -> str | None:
    """The network's code from its two numbers; the second one has two digits at least."""
    mcc, mnc = str(country).strip(), str(network).strip()
    if re.fullmatch(r"[2-7]\d\d", mcc) and re.fullmatch(r"\d{1,3}", mnc):
        return mcc + mnc.zfill(2)
    return None


def tidy(text: str) -> str:
    """Its lines that say something, cut to what a tool's line can be: patterns stay cheap on it."""
    lines = (line[:400].rstrip() for line in re.split(r"[\r\n]+", text[:65536]))
    return "\n".join(line for line in lines if line)


def load(text: str) -> Any:
    """JSON, or None. Also rubbish before it is let pass: some tools warn on the same stream."""
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
    if start < 0:
        return None
    try:
        return json.JSONDecoder(strict=False).raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None


def table(value: object) -> dict[str, Any]:
    """Itself if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}
