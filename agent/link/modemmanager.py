"""ModemManager, by mmcli: its JSON, its key-value output, and the text of old versions.

The three print the same things under nearly the same names, so all of them become one flat table.
"""

import re
from collections.abc import Mapping
from typing import Any

from agent.link.helpers import Runner
from agent.link.modem import Modem, cdma_generation, load, measured, modem, table, technology, tidy

_SOURCE = "ModemManager"
_MOST_MODEMS = 3
_MOST_BEARERS = 2
_OFF = ("disabled", "disabling", "locked", "failed", "unknown", "initializing")
_RADIOS = ("5g", "lte", "umts", "gsm", "cdma1x", "evdo")
_RADIO_OF = {"5g": "5g", "lte": "lte", "hspa": "umts", "umts": "umts"} | dict.fromkeys(
    ("edge", "gprs", "gsm"), "gsm"
)


def read(run: Runner) -> list[Modem]:
    """Every modem that ModemManager knows. Nothing is switched on for this, not even its polling
    of the signal: where somebody else did, the values are taken."""
    listed = (run(("mmcli", "-L")) or "").replace("\\/", "/")
    numbers = re.findall(r"/Modem/(\d{1,6})\b", listed)
    if not numbers and listed and "o modems" not in listed:
        numbers = ["any"]
    found = []
    for each in list(dict.fromkeys(numbers))[:_MOST_MODEMS]:
        said = _one(run, each)
        if said is not None:
            found.append(said)
    return found


def _one(run: Runner, each: str) -> Modem | None:
    text = None
    for form in (("-J",), ("-K",), ()):  # old versions know no JSON, still older ones no keys
        text = run(("mmcli", "-m", each, *form))
        if text is not None and _flat(text):
            break
    flat = _flat(text or "")
    if not flat:
        return None
    fields = _flat(run(("mmcli", "-m", each, "--signal-get", "-J")) or "")
    fields = fields or _flat(run(("mmcli", "-m", each, "--signal-get")) or "")
    flat = {key: value for key, value in fields.items() if key.startswith("signal.")} | flat
    return _said(flat | _bearer(run, flat))


def _bearer(run: Runner, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Its interface, of the bearer that is connected: a modem with a network port may be used
    over PPP all the same."""
    numbers = re.findall(r"/Bearer/(\d{1,6})\b", str(flat.get("generic.bearers", "")))
    for each in numbers[:_MOST_BEARERS]:
        fields = _flat(run(("mmcli", "-b", each)) or "")
        if fields.get("bearer.connected") == "yes":
            return {key: value for key, value in fields.items() if key.startswith("bearer.")}
    return {}


def parse(text: str) -> list[Modem]:
    """What mmcli printed of a modem, its signal or its bearer, in any of its three forms."""
    document = load(text) if text.lstrip()[:1] in ("{", "[") else None
    if document is not None:
        flats = [_from_json(each) for each in _modems(document)]
    else:
        flats = [_flat(text)]
    return [said for flat in flats if flat and (said := _said(flat)) is not None]


def _modems(document: object, depth: int = 4) -> list[dict[str, Any]]:
    """mmcli gives one modem; OpenWrt's ``ubus call modemmanager info`` a list of them."""
    if isinstance(document, list):
        return [each for part in document[:8] for each in _modems(part, depth)]
    fields = table(document)
    if "generic" in fields or "3gpp" in fields or "signal" in fields:
        return [fields]
    if not depth:
        return []
    return [each for part in list(fields.values())[:8] for each in _modems(part, depth - 1)]


def _said(flat: Mapping[str, Any]) -> Modem | None:
    state = str(flat.get("generic.state", ""))
    words = flat.get("generic.access-technologies")
    type_ = technology(*_words(words))
    on = state not in _OFF
    known = {"generic.state", "bearer.interface", "signal.any", "generic.access-technologies"}
    if not known & set(flat):
        return None
    generation = None if type_ else next(filter(None, map(cdma_generation, _words(words))), None)
    evidence = f"{_SOURCE} says {', '.join(_words(words)) if type_ else state or 'a modem'}"
    if flat.get("generic.signal-quality.recent") == "no" and on:
        evidence += " (its signal reading is not recent)"
    name = flat.get("3gpp.operator-name")
    if isinstance(name, str) and re.fullmatch(r"[\w .&+-]{1,30}", name) and type_:
        evidence += f", operator {name}" if not name.isdigit() else ""
    both = type_ == "5g" and technology(*(w for w in _words(words) if technology(w) != "5g"))
    return modem(
        _SOURCE,
        (type_ if on else None) or "mobile",
        evidence,
        0.85 if both else 0.95 if type_ else 0.8,
        iface=_interface(flat),
        generation=generation if on else None,
        signal=_signal(flat, type_) if on else {},
        operator=_operator(flat),
        roaming={"roaming": True, "home": False}.get(str(flat.get("3gpp.registration-state"))),
    )


def _operator(flat: Mapping[str, Any]) -> object:
    code = flat.get("3gpp.operator-code")
    return code if re.fullmatch(r"\d{5,6}", str(code)) else flat.get("3gpp.operator-name")


def _words(value: object) -> list[str]:
    if isinstance(value, list):
        return [word for word in value if isinstance(word, str)][:8]
    return [word.strip() for word in str(value or "").split(",")][:8]


def _interface(flat: Mapping[str, Any]) -> str | None:
    """The network interface: of the ports, or of the bearer; a bearer over PPP names a tty."""
    bearer = str(flat.get("bearer.interface", ""))
    if bearer.startswith("tty"):
        return None
    if re.fullmatch(r"[\w.@-]{1,15}", bearer) and not bearer.startswith("cdc-"):
        return bearer
    ports = flat.get("generic.ports")
    text = ", ".join(map(str, ports)) if isinstance(ports, list) else str(ports or "")
    found = re.findall(r"([\w.@-]{1,15})'?\s+\(net\)", text)
    return found[0] if len(found) == 1 else None


def _signal(flat: Mapping[str, Any], type_: str | None) -> dict[str, float]:
    """The quality, and the values of the radio in use; beside an LTE cell those of 5G as nr_*."""
    quality, recent = (
        flat.get("generic.signal-quality.value"),
        flat.get("generic.signal-quality.recent"),
    )
    if recent == "no" and str(quality) == "0":
        quality = None  # it was never read
    found = measured(quality_pct=quality) | measured(rssi_dbm=flat.get("rssi"))
    radio = _RADIO_OF.get(type_ or "")
    if type_ == "5g" and measured(rsrp_dbm=flat.get("signal.lte.rsrp")):
        five = {key: flat.get(f"signal.5g.{key}") for key in ("rsrp", "rsrq", "snr")}
        found |= measured(nr_rsrp_dbm=five["rsrp"], nr_rsrq_db=five["rsrq"], nr_snr_db=five["snr"])
        radio = "lte"
    if radio is None:
        return found
    names = {
        "rssi": "rssi_dbm",
        "rsrp": "rsrp_dbm",
        "rsrq": "rsrq_db",
        "snr": "snr_db",
        "s/n": "snr_db",
        "rscp": "rscp_dbm",
        "ecio": "ecio_db",
    }
    for word, name in names.items():
        found |= measured(**{name: flat.get(f"signal.{radio}.{word}")})
    return found


def _flat(text: str) -> dict[str, Any]:
    if text.lstrip()[:1] in ("{", "["):
        modems = _modems(load(text))
        return _from_json(modems[0]) if modems else {}
    text = tidy(text)
    if re.search(r"^(modem|bearer)\.\S+\s*: ", text, re.MULTILINE):
        return _from_keys(text)
    return _from_text(text)


def _from_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for section in ("generic", "3gpp", "signal"):
        for key, value in table(fields.get(section)).items():
            for inner, deep in table(value).items() if isinstance(value, dict) else (("", value),):
                found[f"{section}.{key}" + (f".{inner}" if inner else "")] = deep
    if any(key.startswith("signal.") for key in found):
        found["signal.any"] = True
    return found


def _from_keys(text: str) -> dict[str, Any]:
    """``modem.generic.ports.value[5] : wwan0 (net)``: lists are numbered lines."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        key, value = key.strip().removeprefix("modem."), value.strip()
        if not colon or key.endswith(".length"):
            continue
        listed = re.fullmatch(r"(.+)\.value\[\d+\]", key)
        if listed:
            found.setdefault(listed[1], [])
            if isinstance(found[listed[1]], list):
                found[listed[1]].append(value)
        elif key.startswith("bearer.status."):
            found["bearer." + key.removeprefix("bearer.status.")] = value
        else:
            found[key] = value
    if any(key.startswith("signal.") for key in found):
        found["signal.any"] = True
    return found


_TEXT_KEYS = {
    "state": "generic.state",
    "access tech": "generic.access-technologies",
    "operator id": "3gpp.operator-code",
    "operator name": "3gpp.operator-name",
    "registration": "3gpp.registration-state",
    "interface": "bearer.interface",
    "connected": "bearer.connected",
    "ports": "generic.ports",
    "paths": "generic.bearers",
    "path": "generic.bearers",
    "dbus path": "generic.bearers",
}


def _from_text(text: str) -> dict[str, Any]:
    """``  Status   |  state: 'connected'``: the sections are for the eye, a value may go on
    on the next line; what follows two spaces after a value is another pair (a digest's)."""
    found: dict[str, Any] = {}
    last, section = "", ""
    for line in text.splitlines():
        head, bar, rest = line.partition("|")
        rest = rest if bar else line
        section = head.strip() or section if bar else section
        pairs = re.findall(r"([A-Za-z0-9/ -]+?):\s+('[^']*'|\S(?:.*?\S)?)(?=\s{3,}\S|\s*$)", rest)
        if not pairs and last and bar:
            found[last] = f"{found[last]}, {rest.strip()}"
            continue
        for key, value in pairs:
            last = _text_pair(found, section, key.strip().lower(), value.strip().strip("'"))
    return found


def _text_pair(found: dict[str, Any], section: str, key: str, value: str) -> str:
    """Keeps one pair of them; its flat name if the next line may go on with it."""
    quality = re.match(r"'?(\d{1,3})'?%? ?'?(?:\((recent|cached)\))?", value)
    if key == "signal quality" and quality:
        found["generic.signal-quality.value"] = quality[1]
        found["generic.signal-quality.recent"] = "no" if quality[2] == "cached" else "yes"
    elif key == "rssi" and section.lower() not in _RADIOS:
        found["rssi"] = value
    elif section.lower() in _RADIOS:
        found[f"signal.{section.lower()}.{key}"] = value
        found["signal.any"] = True
    elif key in _TEXT_KEYS and (key[-4:] != "path" or section.lower() == "bearer"):
        name = _TEXT_KEYS[key]
        found.setdefault(name, value)
        return name if name == "generic.ports" else ""
    return ""
