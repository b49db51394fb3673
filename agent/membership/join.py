"""The box's side of an invitation: what the line says, what is asked, whether the answer is good.

    https://HOST:PORT/join#NAME:TOKEN:FINGERPRINT

The box makes its own key, which never leaves it, and sends a request for a certificate with the
token. The page answers with the certificate, says that an operator must approve first, or refuses.
Until it has answered, the key is kept in a file, so that a power cut costs neither the key nor the
token: the same token with the same key may ask again.
"""

import hashlib
import json
import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from agent import strict_json, swarm_file, wire
from agent.certificate import public_key_der
from agent.membership import csr, p256, pinned
from agent.membership.p256 import PrivateKey
from agent.swarm_file import SwarmFile, SwarmFileError

_TOKEN = re.compile(r"[a-z2-7]{26}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_COMMAND = re.compile(r"(?:[$#]\s+)?(?:sudo\s+)?swarming-agent\s+join\s+")
_QUOTES = "'\"\u2018\u2019\u201c\u201d"  # what mail programs make of ours, too
_MOST_BROKERS = 16
_MOST_WORDS = 200


class JoinError(Exception):
    """It came to nothing; one line says why."""


class Refused(JoinError):
    """The page has said no; asking again with this line is of no use."""


class Unreachable(JoinError):
    """The page has not answered, this time."""


class Stranger(JoinError):
    """Somebody else has answered: it may be the network here, and tomorrow the page again."""


class Invitation(NamedTuple):
    server: pinned.Server
    path: str
    name: str
    token: str

    @property
    def fingerprint(self) -> str:
        """Which invitation it is, without telling it."""
        return hashlib.sha256(f"{self.name}:{self.token}".encode()).hexdigest()


def bare(word: str) -> str:
    """What was copied, without the command and the quotes around it."""
    return _COMMAND.sub("", word.strip().strip(_QUOTES).strip(), 1).strip().strip(_QUOTES).strip()


def is_line(word: str) -> bool:
    """It is meant as an invitation's line, whole or cut, and not as a file."""
    return word.lower().startswith(("https:", "http:")) or "/join#" in word


def read_line(line: str) -> Invitation:
    """The invitation, or JoinError."""
    wrong = JoinError(
        "an invitation looks like 'https://HOST:PORT/join#NAME:TOKEN:FINGERPRINT'; put it between "
        "quotes, whole"
    )
    try:
        url = urlsplit(line.strip())
        host, port = url.hostname, url.port or 443
        name, token, fingerprint = url.fragment.split(":", 2)
    except ValueError:
        raise wrong from None
    fingerprint = fingerprint.replace(":", "").lower()
    good = url.scheme == "https" and host and "@" not in url.netloc and not url.query
    if not good or not host or not host.isprintable() or not _PATH.fullmatch(url.path):
        raise wrong
    if not _TOKEN.fullmatch(token) or not _FINGERPRINT.fullmatch(fingerprint):
        raise wrong
    if not wire.is_name(name) or name.startswith("indexer-"):
        raise JoinError(f"the invitation is for {name!r}, and no agent may have that name")
    return Invitation(pinned.Server(host, port, fingerprint), url.path, name, token)


def key_digest(key: PrivateKey) -> str:
    """What the operator's page shows of the key, to be compared: SHA-256 in hex, by eights."""
    digest = hashlib.sha256(csr.public_key_der(key)).hexdigest()
    return " ".join(digest[start : start + 8] for start in range(0, 64, 8))


def kept_key(path: str, invitation: Invitation) -> PrivateKey:
    """The key with which this invitation was already answered, or a new one, kept from now on."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            kept = json.loads(file.read(4096))
        if kept["invitation"] == invitation.fingerprint:
            return p256.from_octets(bytes.fromhex(kept["key"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or spoilt by a power cut: then it was never sent
    key = p256.generate()
    kept = {"invitation": invitation.fingerprint, "key": key.octets.hex()}
    swarm_file.write(path, json.dumps(kept) + "\n")
    return key


def ask(
    invitation: Invitation, key: PrivateKey, place: str | None, isp: str | None
) -> SwarmFile | None:
    """What the page grants; None: an operator must approve first. Or JoinError."""
    asked = {
        "name": invitation.name,
        "token": invitation.token,
        "csr": csr.request_pem(key, invitation.name),
        "place": place,
        "isp": isp,
    }
    body = wire.encode_json({name: value for name, value in asked.items() if value is not None})
    try:
        reply = pinned.post(invitation.server, invitation.path, body)
    except pinned.Impostor as error:
        raise Stranger(str(error)) from error
    except pinned.PinnedError as error:
        raise Unreachable(f"{invitation.server}: {error}") from error
    told = _object(reply.body)
    if reply.status == 202:
        return None
    if reply.status == 200:
        return granted(told, invitation.name, key, place, isp)
    words = _printable(told.get("error"))  # without them, it is a proxy's answer
    kind = Refused if words and reply.status in (400, 403, 404, 410) else Unreachable
    raise kind(f"{invitation.server} says: {words or f'HTTP status {reply.status}'}")


def granted(
    told: dict[str, Any], name: str, key: PrivateKey, place: str | None, isp: str | None
) -> SwarmFile:
    """The membership in a page's answer, if it is ours; else JoinError."""
    brokers = told.get("brokers")
    if told.get("name") != name or not isinstance(brokers, list) or not brokers:
        raise JoinError("the page's answer names another box, or no broker")
    if len(brokers) > _MOST_BROKERS or not all(isinstance(broker, str) for broker in brokers):
        raise JoinError("the page's answer does not name brokers as it should")
    own, *more = swarm_file.certificates(_text(told, "certificate"))[:2] or [""]
    if more or public_key_der(own) != csr.public_key_der(key):
        raise JoinError("the page's answer is a certificate for another key than ours")
    ca = "\n".join(swarm_file.certificates(_text(told, "ca")))
    made = SwarmFile(name, tuple(brokers), own, csr.private_key_pem(key), ca, place, isp)
    try:
        swarm_file.parse(made.text)
    except SwarmFileError as error:
        raise JoinError(f"the page's answer does not do: {error}") from error
    return made


def _text(told: dict[str, Any], name: str) -> str:
    value = told.get(name)
    return value if isinstance(value, str) else ""


def _object(body: str) -> dict[str, Any]:
    """An empty one, where the answer is none."""
    try:
        told = strict_json.decode(body.encode())
    except strict_json.JsonError:
        return {}
    return told if isinstance(told, dict) else {}


def _printable(words: object) -> str:
    """A stranger's words may not steer the terminal."""
    if not isinstance(words, str):
        return ""
    return "".join(letter for letter in words if letter.isprintable())[:_MOST_WORDS]
