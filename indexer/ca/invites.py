"""Invitations: one box may join by its token, once, within a day.

What is on the disk never tells the token, only its SHA-256. Who comes first with it is the box that
was meant: its key is written down before anything is issued, so the same key may ask again after a
power cut, and any other is told what somebody with no token at all is told.

`decide` is pure; Invites keeps one file for each, written whole, under a lock of its own.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from indexer.ca import Authority, CaError, check, requested_key
from indexer.ca import files as ca_files

LIFE_S = 86_400
REMEMBERED_S = 7 * 86_400  # after its end: who asks again with the key that was certified is heard
_TOKEN_BYTES = 16  # and two bits more, which 26 letters hold
_MOST_WORDS = 200

Word = Literal["issue", "granted", "wait", "refused", "unknown"]
State = Literal["open", "waiting", "approved", "refused", "joined", "ended"]


class BadRequest(CaError):
    """The token is good, and what came with it is no request for a certificate of that name."""


class Told(NamedTuple):
    """What a box says of itself."""

    name: str
    csr: str
    address: str
    place: str | None = None
    isp: str | None = None


class Asked(NamedTuple):
    """What is kept of it, when the token was good."""

    key: str  # SHA-256 of its public key
    address: str
    at_s: int
    place: str | None
    isp: str | None


class Invite(NamedTuple):
    """One invitation, and what became of it."""

    id: str  # SHA-256 of the token
    name: str
    made_s: int
    ends_s: int
    approve: bool  # an operator wants to look first
    place: str | None = None
    isp: str | None = None
    asked: Asked | None = None
    answer: Literal["approved", "refused"] | None = None
    certificate: str | None = None

    def state(self, now_s: int) -> State:
        if self.certificate is not None:
            return "joined"
        if self.answer is not None:
            return self.answer
        if now_s >= self.ends_s:
            return "ended"
        return "waiting" if self.asked is not None else "open"


def decide(invite: Invite, key: str, now_s: int) -> Word:
    """What a box is told that has this invitation and this key."""
    if now_s >= invite.ends_s + REMEMBERED_S:
        return "unknown"
    if invite.asked is not None and not hmac.compare_digest(invite.asked.key, key):
        return "unknown"
    state = invite.state(now_s)
    if state == "ended":
        return "unknown"
    if state in ("joined", "refused"):
        return "granted" if state == "joined" else "refused"
    return "issue" if state == "approved" or not invite.approve else "wait"


def new_token() -> str:
    """26 letters and digits: 130 bits."""
    return base64.b32encode(secrets.token_bytes(_TOKEN_BYTES + 1)).decode()[:26].lower()


def id_of(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


class Invites:
    """Those of an authority; the page and the command line may both be at it."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self._folder = authority.folder / "invites"

    # --- the operator's side --------------------------------------------------------------------

    def make(
        self,
        name: str,
        now_s: int,
        *,
        place: str | None = None,
        isp: str | None = None,
        approve: bool = False,
        again: bool = False,
    ) -> str:
        """The token. An earlier one of this name that nobody has used is good no more. CaError."""
        check(name, "agent")
        self.authority.check_new(name, datetime.fromtimestamp(now_s, UTC), again=again)
        token = new_token()
        invite = Invite(
            id_of(token), name, now_s, now_s + LIFE_S, approve, _words(place), _words(isp)
        )
        with self._locked():
            self._clear(now_s)
            self._withdraw(name)
            self._write(invite)
        return token

    def withdraw(self, name: str) -> bool:
        """Whether there was one that is not used up."""
        with self._locked():
            return self._withdraw(name)

    def all(self) -> list[Invite]:
        """The newest first."""
        found = [invite for path in self._folder.glob("*.json") if (invite := _read(path))]
        return sorted(found, key=lambda one: (one.made_s, one.name), reverse=True)

    def is_open(self, name: str, now_s: int) -> bool:
        """Whether a box may still come in by one of that name."""
        found = (one.state(now_s) for one in self.all() if one.name == name)
        return any(state in ("open", "waiting", "approved") for state in found)

    def waiting(self, now_s: int) -> list[Invite]:
        """Those that an operator is to look at."""
        return [one for one in self.all() if one.approve and one.state(now_s) == "waiting"]

    def answer(self, identity: str, now_s: int, *, approved: bool) -> Invite:
        """An operator has looked. CaError when there is nothing to look at any more."""
        with self._locked():
            found = next((one for one in self.waiting(now_s) if one.id == identity), None)
            if found is None:
                raise CaError("this request is answered already, or withdrawn")
            found = found._replace(answer="approved" if approved else "refused")
            self._write(found)
        return found

    # --- the box's side -------------------------------------------------------------------------

    def ask(self, token: str, told: Told, now_s: int) -> tuple[Word, Invite | None]:
        """What this box is told: with `granted` there is a certificate. BadRequest, CaError."""
        with self._locked():
            invite = self._find(token)
            if invite is None or invite.name != told.name:
                return "unknown", None
            asked = _asked(told, now_s)
            word = decide(invite, asked.key, now_s)
            if word in ("unknown", "refused", "granted"):
                return word, invite
            invite = invite._replace(asked=invite.asked or asked)
            self._write(invite)
            if word == "issue":
                now = datetime.fromtimestamp(now_s, UTC)
                made = self.authority.issue_csr(told.name, told.csr, now)
                invite = invite._replace(certificate=made)
                self._write(invite)
        return ("granted" if word == "issue" else word), invite

    def _find(self, token: str) -> Invite | None:
        """In the same time wherever it differs."""
        wanted = id_of(token)
        found = None
        for path in self._folder.glob("*.json"):
            if hmac.compare_digest(path.stem, wanted):
                found = path
        return None if found is None else _read(found)

    # --- files ----------------------------------------------------------------------------------

    def _withdraw(self, name: str) -> bool:
        open_ones = [one for one in self.all() if one.name == name and one.certificate is None]
        for one in open_ones:
            os.unlink(self._path(one))
        return bool(open_ones)

    def _clear(self, now_s: int) -> None:
        for one in self.all():
            if now_s >= one.ends_s + REMEMBERED_S:
                os.unlink(self._path(one))

    def _write(self, invite: Invite) -> None:
        facts = invite._asdict() | {"asked": invite.asked and invite.asked._asdict()}
        ca_files.write(self._path(invite), json.dumps(facts), ca_files.SECRET)

    def _path(self, invite: Invite) -> Path:
        return self._folder / f"{invite.id}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            ca_files.make_folder(self._folder)
            with ca_files.locked(self._folder):
                yield
        except OSError as error:
            raise CaError(f"{error.filename}: {error.strerror or error}") from error


def _asked(told: Told, now_s: int) -> Asked:
    try:
        key = requested_key(told.name, told.csr)
    except CaError as error:
        raise BadRequest(str(error)) from error
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(der).hexdigest()
    return Asked(digest, told.address, now_s, _words(told.place), _words(told.isp))


def _words(text: str | None) -> str | None:
    """A stranger's words, as they may be shown."""
    if text is None:
        return None
    return "".join(letter for letter in text if letter.isprintable()).strip()[:_MOST_WORDS] or None


def _read(path: Path) -> Invite | None:
    """None: withdrawn meanwhile, or not written by us."""
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
        asked = facts.pop("asked")
        return Invite(**facts, asked=None if asked is None else Asked(**asked))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
