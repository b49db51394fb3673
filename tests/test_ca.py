"""The swarm's authority: what it issues, what it refuses, and that it forgets nothing."""

from __future__ import annotations

import contextlib
import os
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from agent.membership import csr as agent_csr
from agent.membership import p256
from indexer import ca
from indexer.ca import Authority, CaError
from indexer.ca import files as ca_files
from indexer.ca.forms import is_servers, new_key, pem, private_pem
from tests import needs

DAY = timedelta(days=1)
HOSTS = ("swarm.example.org", "192.0.2.1", "2001:db8::1")


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "ca", HOSTS, now())


def issue(authority: Authority, name: str, role: ca.Role = "agent") -> x509.Certificate:
    hosts = HOSTS if role == "server" else ()
    return authority.issue(name, new_key().public_key(), role=role, hosts=hosts, now=now())


def verified(authority: Authority, made: x509.Certificate, *more: str) -> str:
    """What openssl, which knows nothing of us, says of the certificate; empty: it is good."""
    path = authority.folder / "looked-at.crt"
    path.write_text(pem(made))
    folder = authority.folder
    words = ["openssl", "verify", "-x509_strict", "-crl_check", *more]
    words += ["-CAfile", str(folder / "ca.crt"), "-CRLfile", str(folder / "crl.pem"), str(path)]
    ran = subprocess.run([needs.tool("openssl"), *words[1:]], capture_output=True, text=True)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


# --- what is issued -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "role", "purpose", "other"),
    [
        ("box-1", "agent", "sslclient", "sslserver"),
        ("indexer-one", "indexer", "sslclient", "sslserver"),
        ("swarm.example.org", "server", "sslserver", "sslclient"),
    ],
)
def test_a_certificate_is_good_for_what_it_was_issued_for_alone(
    name: str, role: ca.Role, purpose: str, other: str, authority: Authority
) -> None:
    made = issue(authority, name, role)
    assert verified(authority, made, "-purpose", purpose) == ""
    assert "purpose" in verified(authority, made, "-purpose", other)
    assert "revoked" not in verified(authority, made, "-purpose", other)


@pytest.mark.parametrize("host", HOSTS)
def test_a_servers_certificate_is_for_each_of_its_hosts(host: str, authority: Authority) -> None:
    made = issue(authority, HOSTS[0], "server")
    which = "-verify_ip" if host != HOSTS[0] else "-verify_hostname"
    assert verified(authority, made, which, host) == ""
    assert "mismatch" in verified(authority, made, "-verify_hostname", "other.example.org")


def test_python_takes_it_as_strictly_as_it_can(authority: Authority, tmp_path: Path) -> None:
    key = new_key()
    made = authority.issue("h", key.public_key(), role="server", hosts=["localhost"], now=now())
    path = tmp_path / "server.pem"
    path.write_text(pem(made) + private_pem(key))
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(path)
    theirs = ssl.create_default_context(cadata=authority.certificate_pem)
    theirs.verify_flags |= ssl.VERIFY_X509_STRICT
    to_us, to_them = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ours.wrap_bio(to_us, to_them, server_side=True)
    client = theirs.wrap_bio(to_them, to_us, server_hostname="localhost")
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.version() == "TLSv1.3"


def test_agents_are_good_for_two_years_and_nobody_outlives_the_authority(
    authority: Authority,
) -> None:
    issue(authority, "box-1")
    at = now() + timedelta(days=7000)
    authority.issue("box-2", new_key().public_key(), role="agent", days=7000, now=at)
    first, last = authority.listed(now())
    assert first.ends - first.begins == 730 * DAY
    assert timedelta(days=7304) < last.ends - now() < timedelta(days=7306)


def test_it_is_recorded_in_the_order_of_issue(authority: Authority) -> None:
    for name, role in (("h", "server"), ("box-1", "agent"), ("indexer-x", "indexer")):
        issue(authority, name, role)  # type: ignore[arg-type]
    found = Authority.open(authority.folder).listed(now())
    assert [(one.name, one.role) for one in found] == [
        ("h", "server"), ("box-1", "agent"), ("indexer-x", "indexer")
    ]  # fmt: skip
    assert all(one.is_valid(now()) and not one.is_valid(one.ends) for one in found)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *(("a/b", "agent"), ("+", "agent"), ("", "agent"), ("a" * 65, "agent"), ("é", "agent")),
        *(("indexer-one", "agent"), ("box-1", "indexer"), ("indexer-", "indexer")),
        ("x" * 63 + ".example.org", "server"),
    ],
)
def test_no_name_is_issued_that_a_broker_would_read_otherwise(
    name: str, role: ca.Role, authority: Authority
) -> None:
    with pytest.raises(CaError):
        issue(authority, name, role)
    assert authority.listed(now()) == []


@pytest.mark.parametrize(
    "host",
    ["", "a b", "-a", "a-", "a..b", "é.org", "1.2.3", "1.2.3.4.5", "*.org", "a" * 64, "fe80::1%e"],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(CaError, match="neither"):
        ca.check_host(host)


@pytest.mark.parametrize("host", ["a", "a-b.c1.example", "1a.org", "127.0.0.1", "::1", "a" * 63])
def test_a_hosts_name_or_address_is_taken(host: str) -> None:
    ca.check_host(host)


@pytest.mark.parametrize("days", [0, -1, 10_000])
def test_no_certificate_is_good_for_longer_than_the_authority(
    days: int, authority: Authority
) -> None:
    with pytest.raises(CaError, match="days"):
        authority.issue("b", new_key().public_key(), role="agent", days=days, now=now())


# --- requests of boxes that keep their key ------------------------------------------------------


def request(name: str) -> x509.CertificateSigningRequestBuilder:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    return x509.CertificateSigningRequestBuilder().subject_name(subject)


def test_the_agents_own_request_is_certified(authority: Authority) -> None:
    key = p256.generate()
    made = x509.load_pem_x509_certificate(
        authority.issue_csr("box-1", agent_csr.request_pem(key, "box-1"), now()).encode()
    )
    assert verified(authority, made, "-purpose", "sslclient") == ""
    assert not is_servers(made)


def test_a_request_gets_nothing_but_what_we_say(authority: Authority) -> None:
    """Names, uses and powers that it asks for beside its own name are passed over."""
    asked = request("box-1").add_extension(x509.BasicConstraints(True, None), True)
    asked = asked.add_extension(x509.SubjectAlternativeName([x509.DNSName("swarm")]), False)
    csr = asked.sign(new_key(), hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    made = x509.load_pem_x509_certificate(authority.issue_csr("box-1", csr, now()).encode())
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(x509.ExtensionNotFound):
        made.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def spoilt() -> str:
    """A request with one bit of its name changed after it was signed."""
    der = request("box-0").sign(new_key(), hashes.SHA256()).public_bytes(Encoding.DER)
    changed = ssl.DER_cert_to_PEM_cert(der.replace(b"box-0", b"box-1"))
    return changed.replace("CERTIFICATE", "CERTIFICATE REQUEST")


@pytest.mark.parametrize(
    ("csr", "why"),
    [
        (lambda: "", "no certificate request"),
        (lambda: "\udcff", "no certificate request"),
        (lambda: "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
         "no certificate request"),
        (lambda: _pem(request("box-2").sign(new_key(), hashes.SHA256())), "of 'box-2'"),
        (lambda: _pem(request("box-1").sign(_rsa(), hashes.SHA256())), "P-256"),
        (lambda: _pem(request("box-1").sign(_p384(), hashes.SHA256())), "P-256"),
        (spoilt, "not signed"),
    ],
)  # fmt: skip
def test_a_request_that_is_not_good_is_refused(
    csr: Callable[[], str], why: str, authority: Authority
) -> None:
    with pytest.raises(CaError, match=why):
        authority.issue_csr("box-1", csr(), now())
    assert authority.listed(now()) == []


def _pem(csr: x509.CertificateSigningRequest) -> str:
    return csr.public_bytes(Encoding.PEM).decode()


def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _p384() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


# --- what is revoked ----------------------------------------------------------------------------


def test_what_is_revoked_is_so_for_everybody_who_reads_the_list(authority: Authority) -> None:
    made, other = issue(authority, "box-1"), issue(authority, "box-2")
    assert authority.revoke("box-1", now()) == [made.serial_number]
    assert "revoked" in verified(authority, made)
    assert verified(authority, other) == ""
    assert [one.revoked_at is not None for one in authority.listed(now())] == [True, False]


def test_all_of_a_name_go_or_all_but_the_newest(authority: Authority) -> None:
    serials = [issue(authority, name).serial_number for name in ("b", "b", "b", "c")]
    assert authority.revoke("b", now(), but_newest=True) == serials[:2]
    with pytest.raises(CaError, match="no older one"):
        authority.revoke("b", now(), but_newest=True)
    assert authority.revoke("b", now()) == serials[2:3]
    with pytest.raises(CaError, match="no good certificate of b"):
        authority.revoke("b", now())


def test_the_newest_is_what_was_issued_last_also_by_a_clock_that_was_set_back(
    authority: Authority,
) -> None:
    key = new_key().public_key()
    by_clocks = (now(), now() + 300 * DAY, now() - DAY)
    serials = [authority.issue("b", key, role="agent", now=at).serial_number for at in by_clocks]
    assert authority.revoke("b", now(), but_newest=True) == serials[:2]


def test_a_name_that_was_never_issued_is_a_slip_of_the_pen(authority: Authority) -> None:
    issue(authority, "box-1")
    with pytest.raises(CaError, match="did you mean box-1"):
        authority.revoke("bxo-1", now())


def test_a_later_list_is_later_even_within_a_second_and_never_runs_out(
    authority: Authority,
) -> None:
    at, seen = now(), []
    for name in ("b", "c", "d"):
        issue(authority, name)
        authority.revoke(name, at)
        crl = x509.load_pem_x509_crl((authority.folder / "crl.pem").read_bytes())
        seen.append(crl.last_update_utc)
        assert crl.next_update_utc is not None
        assert crl.next_update_utc > at + timedelta(days=7300)
    assert seen == sorted(set(seen)) and seen[-1] < at


def test_a_list_by_a_clock_that_was_ahead_locks_nobody_out_once_there_is_another(
    authority: Authority,
) -> None:
    gone, other, kept = (issue(authority, name) for name in ("b", "c", "d"))
    authority.revoke("b", now() + 100 * DAY)
    assert "CRL is not yet valid" in verified(authority, kept)
    authority.revoke("c", now())
    assert verified(authority, kept) == ""
    assert all("revoked" in verified(authority, one) for one in (gone, other))


def test_two_at_a_time_forget_nobody(authority: Authority) -> None:
    names = [f"box-{number}" for number in range(12)]
    barrier = threading.Barrier(len(names))

    def come_and_go(name: str) -> None:
        barrier.wait()
        mine = Authority.open(authority.folder)
        issue(mine, name)
        mine.revoke(name, now())

    threads = [threading.Thread(target=come_and_go, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listed = authority.listed(now())
    assert sorted(one.name for one in listed) == sorted(names)
    assert all(one.revoked_at for one in listed)


# --- its files ----------------------------------------------------------------------------------


def test_an_authority_is_never_written_over(authority: Authority) -> None:
    before = authority.certificate_pem
    with pytest.raises(CaError, match="not empty"):
        Authority.make(authority.folder, HOSTS, now())
    assert Authority.open(authority.folder).certificate_pem == before


def test_one_that_could_not_be_made_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "ca.crt")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(CaError, match="No space left"):
        Authority.make(tmp_path / "ca", HOSTS, now())
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CaError, match="ca init"):
        Authority.open(tmp_path / "ca")
    Authority.make(tmp_path / "ca", HOSTS, now())


def test_keys_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = Authority.make(tmp_path / "ca", HOSTS, now())
        issue(made, "box-1")
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((made.folder / "ca.key").stat().st_mode) == 0o600
    os.umask(0o077)
    try:
        ca_files.write(tmp_path / "open", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o644


def test_what_root_makes_belongs_to_the_user_whose_folder_it_is(tmp_path: Path) -> None:
    needs.root()
    home = tmp_path / "swarming-indexer"
    home.mkdir()
    os.chown(home, 12345, 12346)
    made = Authority.make(home / "ca", HOSTS, now())
    issue(made, "box-1")
    made.revoke("box-1", now())
    for path in [made.folder, *made.folder.rglob("*")]:
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346), path


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_root_gives_away_nothing_that_a_link_in_the_folder_leads_to(
    link: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    needs.root()
    home, secret = tmp_path / "swarming-indexer", tmp_path / "shadow"
    home.mkdir()
    os.chown(home, 12345, 12346)
    made = Authority.make(home / "ca", HOSTS, now())
    secret.write_text("root's")
    (made.folder / "lock").unlink(missing_ok=True)
    link(secret, made.folder / "lock")
    with contextlib.suppress(CaError):
        issue(made, "box-1")
    assert secret.stat().st_uid == 0 and secret.read_text() == "root's"


def test_a_folder_that_a_link_has_replaced_is_not_given_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs.root()
    home, secret = tmp_path / "swarming-indexer", tmp_path / "etc"
    home.mkdir()
    secret.mkdir()
    os.chown(home, 12345, 12346)
    mkdir = os.mkdir

    def quick(path: str, *words: int, **more: Any) -> None:
        """Whoever owns the folder is quicker than root's next call."""
        mkdir(path, *words, **more)
        if os.path.basename(path) == "out":
            (home / "out").rmdir()
            (home / "out").symlink_to(secret)

    monkeypatch.setattr(os, "mkdir", quick)
    with pytest.raises(OSError, match="out"):
        ca_files.make_folder(home / "out")
    assert secret.stat().st_uid == 0


def test_a_file_belongs_to_the_folder_that_it_is_in_whatever_is_put_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs.root()
    out, secret, chmod = tmp_path / "out", tmp_path / "etc", os.fchmod
    secret.mkdir()
    out.symlink_to(secret)

    def quick(descriptor: int, mode: int) -> None:
        chmod(descriptor, mode)
        out.unlink()
        out.mkdir()
        os.chown(out, 12345, 12346)

    monkeypatch.setattr(os, "fchmod", quick)
    ca_files.write(out / "box-1.swarm", "x")
    (written,) = secret.iterdir()
    assert written.stat().st_uid == 0


def test_a_kill_at_any_moment_leaves_every_file_whole(authority: Authority) -> None:
    code = (
        "import sys\nfrom datetime import UTC, datetime\nfrom pathlib import Path\n"
        "from indexer.ca import Authority\nfrom indexer.ca.forms import new_key\n"
        "mine, key = Authority.open(Path(sys.argv[1])), new_key().public_key()\n"
        "while True:\n"
        "    mine.issue('box', key, role='agent', now=datetime.now(UTC))\n"
        "    mine.revoke('box', datetime.now(UTC))\n"
        "    print('.', flush=True)\n"
    )
    for lines in (1, 3, 5, 2):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(authority.folder)],
            stdout=subprocess.PIPE, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        assert child.stdout is not None
        for _ in range(lines):
            child.stdout.readline()
        child.kill()
        child.communicate()
        listed = authority.listed(now())
        assert len([one for one in listed if one.is_valid(now())]) <= lines
    issue(authority, "box")
    authority.revoke("box", now())
    assert not any(one.is_valid(now()) for one in authority.listed(now()))


@pytest.mark.parametrize("name", ["ca.crt", "swarm.toml", "crl.pem"])
def test_a_spoilt_file_is_told_in_one_line(name: str, authority: Authority) -> None:
    (authority.folder / name).write_text("spoilt")
    with pytest.raises(CaError, match=f"{name}.*(spoilt|Expected)"):
        Authority.open(authority.folder).listed(now())
