"""The box's own DSL line: Broadcom's xdslctl and adslctl, OpenWrt's ``dsl metrics``, Lantiq's
pipe, JUCI, Trendchip. What the line trained to decides; the first line of Broadcom's says ADSL
on every line, and a line that is not in showtime tells nothing.
"""

import re
from collections.abc import Mapping
from typing import Any

from agent.link.helpers import Runner
from agent.link.modem import Modem, load, measured, modem, number, table, tidy

_SOURCE = "the DSL chip"


def read(run: Runner) -> list[Modem]:
    """The line of this box, by the first tool that knows of one."""
    for command in (
        ("ubus", "call", "dsl", "metrics"),
        ("xdslctl", "info", "--stats"),
        ("adslctl", "info", "--stats"),
        ("adsl", "info", "--stats"),
        ("ubus", "call", "juci.broadcom.dsl", "status"),
        ("/etc/init.d/dsl_control", "status"),
    ):
        found = parse(run(command) or "")
        if found:
            return found
    return []


def parse(text: str) -> list[Modem]:
    """What any of them printed."""
    document = table(load(text)) if text.lstrip()[:1] == "{" else {}
    if "dslstats" in document:
        return _juci(table(document["dslstats"]))
    if document:
        return _metrics(document)
    text = tidy(text)
    for reader in (_broadcom, _control, _pipe, _trendchip):
        found = reader(text)
        if found:
            return found
    return []


def _line(mode: object, signal: Mapping[str, float], rates: Mapping[str, float]) -> list[Modem]:
    said = str(mode or "").strip()[:60]
    return [
        modem(
            _SOURCE,
            type_of(said),
            f"{_SOURCE} is in sync{': ' + said if said else ''}",
            signal={**rates, **signal},
        )
    ]


def type_of(mode: str) -> str:
    """VDSL2 and G.993 are vdsl, ADSL and G.992 adsl, anything else dsl."""
    if re.search(r"vdsl|g\.?993", mode, re.IGNORECASE):
        return "vdsl"
    return (
        "adsl"
        if re.search(r"adsl|g\.?992|g\.?lite|g\.?dmt|t1\.413", mode, re.IGNORECASE)
        else "dsl"
    )


def _broadcom(text: str) -> list[Modem]:
    mode = re.search(r"^\s*Mode:\s*(\S.*)$", text, re.MULTILINE)
    if not mode or not re.search(r"Status:\s*Showtime", text, re.IGNORECASE):
        return []
    rates: dict[str, str] = {}
    for name, form in (("rate", r"(?:Bearer|Path):\s*0,"), ("max", r"Max:")):
        found = re.search(form + r"\s*Upstream rate = (\d+) Kbps, Downstream rate = (\d+)", text)
        if found:
            rates |= {f"{name}_up_kbit": found[1], f"{name}_down_kbit": found[2]}
    signal: dict[str, str] = {}
    for name, form in (("snr", r"SNR ?\(dB\)"), ("attn", r"Attn ?\(dB\)")):
        found = re.search(rf"{form}:\s*(-?[\d.]+)\s+(-?[\d.]+)", text)
        if found:
            signal |= {f"{name}_down_db": found[1], f"{name}_up_db": found[2]}
    return _line(mode[1], measured(**signal), measured(**rates))


def _metrics(fields: Mapping[str, Any]) -> list[Modem]:
    """OpenWrt's ltq-dsl: rates in bit/s, everything else in dB."""
    state = str(fields.get("state", ""))
    down, up = table(fields.get("downstream")), table(fields.get("upstream"))
    if not (fields.get("up") is True or "showtime" in state.lower()) or not (down or up):
        return []
    values: dict[str, object] = {}
    for side, part in (("down", down), ("up", up)):
        values |= {f"snr_{side}_db": part.get("snr"), f"attn_{side}_db": part.get("latn")}
        values |= {
            f"rate_{side}_kbit": _kilo(part.get("data_rate")),
            f"max_{side}_kbit": _kilo(part.get("attndr")),
        }
    mode = fields.get("mode") or fields.get("standard") or fields.get("line_mode")
    return _line(mode, measured(**values), {})


def _kilo(value: object) -> float | None:
    found = number(value)
    return None if found is None else round(found / 1000)


def _juci(fields: Mapping[str, Any]) -> list[Modem]:
    if str(fields.get("status", "")).lower() != "showtime":
        return []
    bearers = fields.get("bearers")
    bearer = table(bearers[0]) if isinstance(bearers, list) and bearers else {}
    values: dict[str, object] = {}
    for side in ("down", "up"):
        values |= {f"rate_{side}_kbit": bearer.get(f"rate_{side}")}
        values |= {f"max_{side}_kbit": bearer.get(f"max_rate_{side}")}
        for name in ("snr", "attn"):
            hundredths = number(fields.get(f"{name}_{side}_x100"))
            values[f"{name}_{side}_db"] = None if hundredths is None else hundredths / 100
    return _line(fields.get("mode"), measured(**values), {})


def _control(text: str) -> list[Modem]:
    """``dsl_control status``: ``Noise Margin (SNR):  Down: 10.3 dB / Up: 6.9 dB``."""
    if not re.search(r"Line State:\s*UP|showtime", text, re.IGNORECASE):
        return []
    values: dict[str, object] = {}
    for name, form in (("snr", "Noise Margin"), ("attn", "Line Attenuation")):
        found = re.search(form + r"[^:\n]*:\s*Down:\s*(-?[\d.]+) ?dB / Up:\s*(-?[\d.]+)", text)
        if found:
            values |= {f"{name}_down_db": found[1], f"{name}_up_db": found[2]}
    rate = re.search(r"Data Rate:\s*Down:\s*([\d.]+) ?([KM])b/s / Up:\s*([\d.]+) ?([KM])b/s", text)
    if rate:
        factor = {"K": 1, "M": 1000}
        values |= {"rate_down_kbit": (number(rate[1]) or 0) * factor[rate[2]]}
        values |= {"rate_up_kbit": (number(rate[3]) or 0) * factor[rate[4]]}
    mode = re.search(r"(?:Line Mode|Annex|XTSE Capabilities):\s*(\S.*)", text)
    return _line(mode[1] if mode else "", measured(**values), {}) if values else []


def _pipe(text: str) -> list[Modem]:
    """Lantiq's control pipe: ``nReturn=0 nDirection=1 … LATN=128 SNR=106 ATTNDR=95624000``, in
    tenths; direction 1 is down, 0 up."""
    values: dict[str, object] = {}
    for line in text.splitlines()[:200]:
        fields = dict(re.findall(r"(\w+)=(-?\w+)", line))
        side = {"0": "up", "1": "down"}.get(fields.get("nDirection", ""))
        if side is None:
            continue
        for key, name in (("SNR", "snr"), ("LATN", "attn")):
            tenths = number(fields.get(key))
            if tenths is not None:
                values[f"{name}_{side}_db"] = tenths / 10
        if "ActualDataRate" in fields:
            values[f"rate_{side}_kbit"] = _kilo(fields["ActualDataRate"])
        if "ATTNDR" in fields:
            values[f"max_{side}_kbit"] = _kilo(fields["ATTNDR"])
    signal = measured(**values)
    mode = re.search(r"G\.99[23][^\n]*|[AV]DSL2?[^\n]*", text)
    return _line(mode[0] if mode else "", signal, {}) if signal else []


def _trendchip(text: str) -> list[Modem]:
    mode = re.search(r"^\s*DSL standard:\s*(\S.*)$", text, re.MULTILINE)
    if not mode or not re.search(r"modem status:\s*up", text):
        return []
    forms = {
        "snr_down_db": r"noise margin downstream",
        "snr_up_db": r"noise margin upstream",
        "attn_down_db": r"attenuation downstream",
        "attn_up_db": r"attenuation upstream",
        "rate_down_kbit": r"near-end bit rate",
        "rate_up_kbit": r"far-end bit rate",
    }
    values = {}
    for name, form in forms.items():
        found = re.search(rf"^\s*{form}:\s*(-?[\d.]+)", text, re.MULTILINE)
        values[name] = found[1] if found else None
    return _line(mode[1], measured(**values), {})
