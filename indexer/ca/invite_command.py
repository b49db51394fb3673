"""`swarming-indexer invite`: prints the one line that a colleague pastes into a box."""

import argparse
import hashlib
import re
import ssl
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from indexer import config
from indexer.ca import Authority, CaError
from indexer.ca.invites import LIFE_S, Invite, Invites

_PAGE_S = 5.0
_PAGE = re.compile(r"https://[A-Za-z0-9.\[\]:_~/-]+")


def run(flags: argparse.Namespace) -> int:
    """0 when it is done. CaError, ConfigError."""
    invites = Invites(Authority.open(Path(config.ca_folder_there(flags))))
    if flags.list:
        return _list(invites)
    if flags.name is None:
        raise CaError("for which box? swarming-indexer invite NAME")
    if flags.withdraw:
        if not invites.withdraw(flags.name):
            raise CaError(f"there is no invitation of {flags.name} that is still open")
        print(f"{flags.name}: the invitation is withdrawn")
        return 0
    return _invite(invites, flags)


def _invite(invites: Invites, flags: argparse.Namespace) -> int:
    url = page_url(flags.url or invites.authority.page)
    fingerprint = _fingerprint(url, config.page_certificate(flags))
    now_s = int(time.time())
    replaced = invites.is_open(flags.name, now_s)
    token = invites.make(
        flags.name,
        now_s,
        place=flags.place,
        isp=flags.isp,
        approve=flags.approve,
        again=flags.again,
    )
    print(line(url, flags.name, token, fingerprint))
    approved = "; an operator must approve it on the page" if flags.approve else ""
    hours = LIFE_S // 3600
    print(f"Good for {hours} hours and for one box{approved}.", file=sys.stderr)
    if replaced:
        print(f"The invitation of {flags.name} before this one is good no more.", file=sys.stderr)
    if flags.again:
        print(f"Once it has joined: swarming-indexer ca revoke {flags.name} --old", file=sys.stderr)
    return 0


def _list(invites: Invites) -> int:
    now_s = int(time.time())
    for one in invites.all():
        print(f"{one.name:24} {one.state(now_s):8} {_when(one, now_s)}".rstrip())
    return 0


def _when(one: Invite, now_s: int) -> str:
    if one.state(now_s) in ("open", "waiting"):
        until = f"until {datetime.fromtimestamp(one.ends_s, UTC):%Y-%m-%d %H:%M} UTC"
        return f"{until}, from {one.asked.address}" if one.asked else until
    return ""


def line(url: str, name: str, token: str, fingerprint: str) -> str:
    """What is pasted into the box."""
    return f"swarming-agent join '{url}/join#{name}:{token}:{fingerprint}'"


def page_url(text: str | None) -> str:
    """Of the page, without a slash at its end. CaError."""
    if text is None:
        raise CaError("where is the page? --url https://HOST:8443, or page = … in swarm.toml")
    try:
        known = _PAGE.fullmatch(text) and urlsplit(text).hostname and urlsplit(text).port != 0
    except ValueError:
        known = False
    if not known:
        raise CaError(f"{text!r:.200} is not the address of a page: https://HOST:8443")
    return text.rstrip("/")


# --- which certificate the box is to expect -----------------------------------------------------


def _fingerprint(url: str, page_cert: str | None) -> str:
    """Of the indexer's own file, else of what the page shows now: behind a proxy, the proxy's."""
    if page_cert is None:
        return fingerprint_of(_shown(url))
    own = _of_file(page_cert)
    try:
        if _shown(url) != own:
            _warn(f"{url} shows another certificate than {page_cert}: restart the indexer?")
    except CaError as error:
        _warn(str(error))
    return fingerprint_of(own)


def fingerprint_of(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def _of_file(path: str) -> bytes:
    try:
        return x509.load_pem_x509_certificate(Path(path).read_bytes()).public_bytes(Encoding.DER)
    except OSError as error:
        raise CaError(f"--page-cert: {path}: {error.strerror}") from error
    except ValueError as error:
        raise CaError(f"--page-cert: {path} holds no certificate") from error


def _shown(url: str) -> bytes:
    """Whatever it is: that it is the right one, the operator vouches for by pasting it."""
    where = urlsplit(url)
    address = (where.hostname or "", where.port or 443)
    try:
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(address, timeout=_PAGE_S))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no answer"
        raise CaError(
            f"the page does not answer at {url} ({reason}): does the indexer run, is the port open?"
        ) from error


def _warn(text: str) -> None:
    print(f"swarming-indexer: {' '.join(text.split())}", file=sys.stderr)
