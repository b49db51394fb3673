"""Takes out of a text what tells who somebody is: pure, and the same everywhere in one capture.

IMEI, IMSI, ICCID, telephone numbers, serial numbers, cell ids, network names, MAC and IP addresses
become others of the same shape: the same one for the same one, so that two files still agree.
Addresses stay of their kind (private, link-local, public), for that is evidence.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

_KEYS = (
    r"imei(?:_?sv)?|meid|esn|imsi|iccid|eid|msisdn|serial(?:[ _-]?n(?:umber|o))?|sn|"
    r"[be]?ssid\d?|mac(?:[ _-]?addr(?:ess)?)?\d?|hw-?addr(?:ess)?|"
    r"equipment[ _-]?id(?:entifier)?|device[ _-]?id(?:entifier)?|subscriber[ _-]?id|"
    r"own(?:[ _-]?numbers?)?|(?:phone|telephone)[ _-]?numbers?|"
    r"(?:global[ _-]?)?cell[ _-]?id|e(?:node|n)b(?:[ _-]?id)?|ci|cid|lac|tac|area[ _-]?code|"
    r"user(?:[ _-]?name)?|pass(?:word|wd|phrase)|psk|puk|token|tokinfo|sesinfo|cookie|"
    r"session[ _-]?id|client[ _-]?id|duid|passthru|(?:wifi|wpa)[ _-]?key|"
    r"hostname|latitude|longitude"
)
_BEFORE = rf"""(?<![A-Za-z])(?:{_KEYS})["']?[ \t]*(?:[:=]|->)[ \t]*"""
# "imei": "3589…", imei='…'; then imei=…, IMEI: …, modem.generic.equipment-identifier : 3589…
_QUOTED = re.compile(rf"""({_BEFORE}(["']))((?:\\.|(?!\2)[^\\\r\n])+)""", re.IGNORECASE)
_SAID = re.compile(rf"""({_BEFORE})([^"'\[\s,;<>{{}}|][^"'\r\n,;<>{{}}|]*)""", re.IGNORECASE)
_NETWORK = re.compile(
    r"((?<![A-Za-z])[be]?ssid\d?[ \t]*[:=][ \t]*)([^\"'\s][^\r\n]*)", re.IGNORECASE
)
_TAGGED = re.compile(rf"(<(?:\w*?)(?:{_KEYS})>)([^<]+)(?=</)", re.IGNORECASE)
_LISTED = re.compile(r"(\"(?:own-numbers|dns-search)\"\s*:\s*\[)[^\]]{0,2000}\]")
_AREA = re.compile(  # asked for, or with one number less as the modem tells it unasked
    r"(\+C(?:5G|E|G)?REG: *(?:\d+, *)?\d+, *\"?)([0-9A-F]+)(\"?, *\"?)([0-9A-F]+)", re.IGNORECASE
)
# Makers' AT answers have the cell's and the area's numbers so many fields after the network's.
_CELL = re.compile(
    r"(?m)^[ \t]*(\+QENG:[^\r\n]{0,60}?\"(LTE|CAT-M|CAT-NB|eMTC|NBIoT|WCDMA|TDSCDMA|GSM|NR5G-SA)\""
    r"[^\r\n]{0,20}?,|(?:\+GTCCINFO: *)?[12],\d+,)\d{3},\d{2,3},([^\r\n]*)"
)
_CELL_FIELDS = {
    **dict.fromkeys(("LTE", "CAT-M", "CAT-NB", "eMTC", "NBIoT"), (0, 6)),
    "NR5G-SA": (0, 2),
    "WCDMA": (0, 1),
    "TDSCDMA": (0, 1),
    "GSM": (0, 1),
}
_CPSI = re.compile(r"(\+CPSI: *[^,\r\n]*,[^,\r\n]*,[^,\r\n]*,)([^,\r\n]*)(,)([^,\r\n]*)")
_NOTHING = {"", "-", "--", "n/a", "none", "null", "unknown", "0", "yes", "no", "true", "false", "["}
_NUMBERS = re.compile(r"(?<![\d.])\d{14,22}[Ff]?(?!\.?\d)")
_TELEPHONE = re.compile(r"(?<![\w.])\+\d{8,15}\b")
_MAC = re.compile(
    r"(?<![0-9A-Fa-f:-])[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}"
)
_MAC_IN_NAME = re.compile(r"(?<![A-Za-z0-9])((?:en|wl|ww|eth)x?)([0-9a-f]{12})\b")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_PRIVATE = tuple(
    IPv4Network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16")
)
_PUBLIC = IPv4Network("198.18.0.0/15")
_KEPT = tuple(
    IPv4Network(text)
    # … and the peer that pppd makes up over a modem, which is everybody's and tells of it
    for text in ("127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "10.64.64.64/32", "10.112.112.112/32")
)


class Mask:
    """Remembers what stands for what."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}
        self._words: dict[str, str] = {}  # network names, to be found where no key is before them

    def text(self, text: str) -> str:
        """The same text, of nobody."""
        text = _MAC.sub(lambda found: self._mac(found[0]), text)
        text = _MAC_IN_NAME.sub(lambda found: found[1] + self._bare_mac(found[2]), text)
        text = _LISTED.sub(r"\1]", text)
        for pattern in (_TAGGED, _QUOTED, _NETWORK, _SAID):
            text = pattern.sub(
                lambda found: found[1] + self._value(found[found.re.groups], found[1]), text
            )
        for pattern in (_AREA, _CPSI):
            text = pattern.sub(self._two, text)
        text = _CELL.sub(self._cell, text)
        text = _NUMBERS.sub(lambda found: self._digits(found[0]), text)
        text = _TELEPHONE.sub(lambda found: "+" + self._digits(found[0][1:]), text)
        text = _IPV4.sub(lambda found: self._address(found[0]), text)
        text = _IPV6.sub(lambda found: self._address(found[0]), text)
        for word, other in self._words.items():
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", other, text)
        return text

    def ipv4(self, address: IPv4Address) -> IPv4Address:
        """Another address of the same kind."""
        if any(address in network for network in _KEPT) or int(address) == 0:
            return address
        network = next((each for each in _PRIVATE if address in each), None)
        if network is not None:
            return _in(network, self._nth(f"ip {network}", str(address)))
        return _in(_PUBLIC, self._nth("ip", str(address)))

    def ipv6(self, address: IPv6Address) -> IPv6Address:
        if address.is_loopback or address.is_unspecified or address.is_multicast:
            return address
        start = "2001:db8::"
        if address.is_link_local:
            start = "fe80::"
        elif address.is_private:
            start = "fd00::"
        return IPv6Address(start) + 1 + self._nth(start, str(address))

    def _address(self, text: str) -> str:
        try:
            address = ip_address(text)
        except ValueError:
            return text
        return str(self.ipv4(address) if isinstance(address, IPv4Address) else self.ipv6(address))

    def _mac(self, text: str) -> str:
        bare = self._bare_mac(re.sub("[:-]", "", text).lower())
        sign = ":" if ":" in text else "-"
        return sign.join(bare[at : at + 2] for at in range(0, 12, 2))

    def _bare_mac(self, bare: str) -> str:
        if set(bare) <= {"0"} or set(bare) <= {"f"}:
            return bare
        return f"02{self._nth('mac', bare) + 1:010x}"

    def _two(self, found: re.Match[str]) -> str:
        return found[1] + self._value(found[2]) + found[3] + self._value(found[4])

    def _cell(self, found: re.Match[str]) -> str:
        fields = found[3].split(",")
        for at in _CELL_FIELDS.get(found[2] or "GSM", ()):
            if at < len(fields):
                fields[at] = self._value(fields[at])
        return found[0][: found.start(3) - found.start()] + ",".join(fields)

    def _value(self, text: str, key: str = "") -> str:
        """What stood after a key that tells somebody; numbers stay numbers of their length."""
        value = text.strip()
        if value.lower() in _NOTHING or _is_masked(value):
            return text
        if re.fullmatch(r"\d+", value):
            return text.replace(value, self._digits(value))
        if re.fullmatch(r"(0x)?[0-9A-Fa-f]+", value):
            other = f"{self._nth('hex', value.lower()) + 1:X}".zfill(len(value))
            return text.replace(value, "0x" + other[2:] if value[:2] == "0x" else other)
        other = f"masked-{self._nth('word', value) + 1}"
        if "ssid" in key.lower() and len(value) >= 4:
            self._words[value] = other
        return text.replace(value, other)

    def _digits(self, digits: str) -> str:
        bare = digits.rstrip("Ff")
        if not bare.strip("0"):
            return digits
        if ("shown", digits) in self._known:
            return digits  # it is one of ours already
        # A number of JSON has no zeros before it.
        other = str(self._nth("digits", bare) + 1).zfill(len(bare) - 1)
        other = other if len(bare) == 1 else "1" + other[1 - len(bare) :]
        other += digits[len(bare) :]
        self._known[("shown", other)] = ""
        return other

    def _nth(self, kind: str, value: str) -> int:
        """How many of this kind came before this one did."""
        key = (kind, value)
        if key not in self._known:
            self._known[key] = str(self._counts.get(kind, 0))
            self._counts[kind] = self._counts.get(kind, 0) + 1
        return int(self._known[key])


def _in(network: IPv4Network, nth: int) -> IPv4Address:
    return network.network_address + 1 + nth % (network.num_addresses - 2)


def _is_masked(value: str) -> bool:
    return re.fullmatch(r"masked-\d+|02(00){3}.*|02:00:00:00.*", value) is not None
