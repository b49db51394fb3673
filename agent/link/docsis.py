"""Pages of cable modems, optical terminals and Starlink: evidence only, for an answer at a
well-known address proves that the device is there, not that this box's traffic goes through it."""

import re

from agent.link.modem import Modem, load, measured, modem, table, tidy

_CONFIDENCE = 0.55


def parse(text: str) -> list[Modem]:
    """What a page says it is a page of."""
    document = table(load(text)) if text.lstrip()[:1] == "{" else {}
    if "GetMultipleHNAPsResponse" in document:
        return _motorola(table(document["GetMultipleHNAPsResponse"]))
    text = tidy(text)
    if re.search(r"starlink", text, re.IGNORECASE):
        return [modem("a page", "satellite", "a Starlink dish answers", _CONFIDENCE)]
    if re.search(r"docsis|cable ?modem|downstream bonded channels", text, re.IGNORECASE):
        return [modem("a page", "cable", "a cable modem's page answers", _CONFIDENCE)]
    if re.search(r"\b(x?g-?pon|xgs-?pon|epon|gpon)\b|optical rx power", text, re.IGNORECASE):
        return [modem("a page", "fiber", "an optical terminal's page answers", _CONFIDENCE)]
    return []


def _motorola(said: dict[str, object]) -> list[Modem]:
    """Channels are rows of ``1^Locked^QAM256^20^543.0^ 1.4^45.1^41^0^``, joined by ``|+|``."""
    down = _rows(said, "GetMotoStatusDownstreamChannelInfo", "MotoConnDownstreamChannel")
    up = _rows(said, "GetMotoStatusUpstreamChannelInfo", "MotoConnUpstreamChannel")
    if not down and not up:
        return []
    signal = measured(ds_channels=len(down), us_channels=len(up))
    if down and len(down[0]) >= 7:
        signal |= measured(ds_power_dbmv=down[0][5], ds_snr_db=down[0][6])
    if up and len(up[0]) >= 7:
        signal |= measured(us_power_dbmv=up[0][6])
    words = "a cable modem's page answers (DOCSIS)"
    return [modem("a page", "cable", words, _CONFIDENCE, signal=signal)]


def _rows(said: dict[str, object], part: str, name: str) -> list[list[str]]:
    text = table(said.get(part + "Response")).get(name)
    rows = str(text or "").split("|+|")[:100]
    return [row.split("^") for row in rows if "^Locked^" in row]
