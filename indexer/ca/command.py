"""`swarming-indexer ca`: issues, revokes and lists certificates, and says what to do with them."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from agent.swarm_file import MOST_TEXT, SwarmFile
from indexer import config
from indexer.ca import DAYS, Authority, CaError, Issued, check, forms, role_of
from indexer.ca import files as ca_files

_CERTS = "/etc/mosquitto/certs"
_ACL = "/etc/mosquitto/swarming.acl"
_CONF_D = "/etc/mosquitto/conf.d/"
_SHIPPED_INDEXER = "indexer-one"  # in the access list that we ship
_OWN_TOPICS = """\
user {name}
topic read #
topic write ack/#
topic write indexer/{name}
topic write swarm
topic write look
topic write verdict/#
topic write watch
topic write watch/#
topic write ping/_share/#
"""


def run(flags: argparse.Namespace) -> int:
    """0 when it is done. CaError, ConfigError."""
    where = config.ca_folder if flags.action == "init" else config.ca_folder_there
    folder = Path(where(flags))
    action = {"init": _init, "issue": _issue, "revoke": _revoke, "list": _list}[flags.action]
    try:
        return action(folder, flags)
    except BrokenPipeError:  # whoever read the output has read enough
        raise
    except OSError as error:
        raise CaError(f"{error.filename}: {error.strerror or error}") from error


def acl_of(indexer: str) -> str:
    """What Mosquitto's access list says of an indexer."""
    return _OWN_TOPICS.format(name=indexer)


def _init(folder: Path, flags: argparse.Namespace) -> int:
    check(flags.indexer, "indexer")  # before anything is made
    authority = Authority.make(folder, flags.hosts, _now())
    _server(authority, flags.hosts, folder / "out")
    cert = _indexer(authority, flags.indexer, folder / "out")
    print(f"The swarm's certificates are in {folder}: keep a copy of it in a safe place.\n")
    print(_for_mosquitto(folder, folder / "out", "restart", _shipped()))
    if flags.indexer != _SHIPPED_INDEXER:
        print(f"\n{_ACL} knows {_SHIPPED_INDEXER} alone; add there, before the restart:\n")
        print(acl_of(flags.indexer))
    print("\nThe indexer's configuration:\n")
    print(_for_indexer(authority, flags.indexer, cert))
    return 0


def _issue(folder: Path, flags: argparse.Namespace) -> int:
    authority = Authority.open(folder)
    _check_texts(flags)
    out = Path(flags.out or folder / "out")
    ca_files.make_folder(out)
    if flags.server:
        _server(authority, flags.names, out, flags.days)
        print(_for_mosquitto(folder, out, "reload"))
        print("The indexer's page takes a new certificate when the indexer is restarted.")
        return 0
    if flags.csr is not None and len(flags.names) > 1:
        raise CaError("--csr is the request of one NAME")
    for name in flags.names:
        if role_of(name) == "agent":
            authority.check_new(name, _now(), again=flags.again)
    if flags.csr is not None:
        print(_certified(authority, flags.names[0], Path(flags.csr), out, flags.days))
        return 0
    for name in flags.names:
        if role_of(name) == "indexer":
            print(_indexer(authority, name, out, flags.days))
            print(f"If {_ACL} does not know it yet, add there, and reload Mosquitto:\n")
            print(acl_of(name))
        else:
            path = _agent(authority, name, out, flags)
            print(path)
            _say_of_file(path, name, flags.again)
    return 0


def _say_of_file(path: Path, name: str, again: bool) -> None:
    """Beside the output, which is the path alone."""
    print(
        "It holds the box's key: hand it over as you would a password, and delete your copy. On "
        f"the box: swarming-agent join {path.name}",
        file=sys.stderr,
    )
    if again:
        print(f"Once it has joined: swarming-indexer ca revoke {name} --old", file=sys.stderr)


def _check_texts(flags: argparse.Namespace) -> None:
    """CaError where a box would not take the file."""
    for flag, text in (("--place", flags.place), ("--isp", flags.isp)):
        if text is not None and (len(text) > MOST_TEXT or not text.isprintable()):
            raise CaError(f"{flag}: at most {MOST_TEXT} printable characters")


def _revoke(folder: Path, flags: argparse.Namespace) -> int:
    authority = Authority.open(folder)
    gone = authority.revoke(flags.name, _now(), but_newest=flags.old)
    print(f"{flags.name}: {len(gone)} revoked. The brokers learn of it by the new list:\n")
    print(_lines(_install([folder / "crl.pem"]), "systemctl restart mosquitto"))
    print("\nA mere reload would leave the connections that are open.")
    return 0


def _list(folder: Path, flags: argparse.Namespace) -> int:
    now = _now()
    listed = Authority.open(folder).listed(now)
    if flags.json:
        print(json.dumps([_as_json(one, now) for one in listed], indent=2))
    else:
        for one in listed:
            print(f"{one.name:24} {one.role:8} {one.begins:%Y-%m-%d}  {_state(one, now)}")
    return 0


def _state(one: Issued, now: datetime) -> str:
    if one.revoked_at is not None:
        return f"revoked {one.revoked_at:%Y-%m-%d}"
    if not one.is_valid(now):
        return f"ended {one.ends:%Y-%m-%d}"
    days = (one.ends - now).days
    return f"until {one.ends:%Y-%m-%d}" + (f", {days} days left" if days < 30 else "")


def _as_json(one: Issued, now: datetime) -> dict[str, object]:
    revoked = one.revoked_at and _rfc3339(one.revoked_at)
    return {
        "name": one.name,
        "role": one.role,
        "serial": f"{one.serial:x}",
        "begins": _rfc3339(one.begins),
        "ends": _rfc3339(one.ends),
        "revoked": revoked,
        "valid": one.is_valid(now),
    }


# --- what is issued, and where it is put --------------------------------------------------------


def _server(authority: Authority, hosts: Sequence[str], out: Path, days: int = DAYS) -> None:
    key = forms.new_key()
    made = authority.issue(
        hosts[0], key.public_key(), role="server", hosts=hosts, days=days, now=_now()
    )
    ca_files.write(out / "server.key", forms.private_pem(key), ca_files.SECRET)
    ca_files.write(out / "server.crt", forms.pem(made))


def _indexer(authority: Authority, name: str, out: Path, days: int = DAYS) -> Path:
    key = forms.new_key()
    made = authority.issue(name, key.public_key(), role="indexer", days=days, now=_now())
    ca_files.write(out / f"{name}.key", forms.private_pem(key), ca_files.SECRET)
    ca_files.write(out / f"{name}.crt", forms.pem(made))
    return out / f"{name}.crt"


def _agent(authority: Authority, name: str, out: Path, flags: argparse.Namespace) -> Path:
    key = forms.new_key()
    made = authority.issue(name, key.public_key(), role="agent", days=flags.days, now=_now())
    swarm = SwarmFile(
        name=name,
        brokers=authority.brokers,
        certificate=forms.pem(made),
        key=forms.private_pem(key),
        ca=authority.certificate_pem,
        place=flags.place,
        isp=flags.isp,
    )
    ca_files.write(out / f"{name}.swarm", swarm.text, ca_files.SECRET)
    return out / f"{name}.swarm"


def _certified(authority: Authority, name: str, csr: Path, out: Path, days: int) -> Path:
    """The certificate alone, and after it who vouches for it."""
    made = authority.issue_csr(name, csr.read_text(errors="replace"), _now(), days=days)
    ca_files.write(out / f"{name}.pem", made + authority.certificate_pem)
    return out / f"{name}.pem"


# --- what is to be done then --------------------------------------------------------------------


def _for_mosquitto(folder: Path, out: Path, word: str, shipped: Path | None = None) -> str:
    """shipped: where what it is configured by lies, if it is to be put in place, too."""
    mine = [folder / "ca.crt", folder / "crl.pem", out / "server.crt", out / "server.key"]
    conf: list[str] = []
    if shipped is not None:
        conf = [
            shlex.join(["install", "-m", "0644", str(shipped / "swarming.conf"), _CONF_D]),
            shlex.join(["install", "-o", "mosquitto", "-m", "0600", str(shipped / "swarming.acl"),
                        _ACL]),
        ]  # fmt: skip
    return "For Mosquitto:\n\n" + _lines(*conf, _install(mine), f"systemctl {word} mosquitto")


def _shipped() -> Path:
    """Where Mosquitto's files lie: as packaged, else in the sources."""
    packaged = Path("/usr/share/swarming-indexer/mosquitto")
    sources = Path(__file__).resolve().parents[2] / "packaging" / "mosquitto"
    return sources if sources.is_dir() else packaged


def _install(files: Sequence[Path]) -> str:
    words = ["install", "-o", "mosquitto", "-m", "0600", "-t", _CERTS, *map(str, files)]
    return shlex.join(words)


def _for_indexer(authority: Authority, name: str, cert: Path) -> str:
    folder = authority.folder
    told = {
        "brokers": list(authority.brokers),
        "name": name,
        "ca": str(folder / "ca.crt"),
        "cert": str(cert),
        "key": str(cert.with_suffix(".key")),
        "listen": "[::]:8443",
        "page-cert": str(folder / "out" / "server.crt"),
        "page-key": str(folder / "out" / "server.key"),
        "auth": "/etc/swarming/page.auth",
    }
    return _lines(*(f"{word} = {json.dumps(value)}" for word, value in told.items()))


def _lines(*lines: str) -> str:
    return "\n".join(f"  {line}" for line in lines)


def _now() -> datetime:
    return datetime.now(UTC)


def _rfc3339(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
