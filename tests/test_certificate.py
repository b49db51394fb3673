"""A box reads in its certificate whose it is and until when, and warns long before the end."""

from __future__ import annotations

import ast
import base64
import inspect
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent import certificate, expiry, status
from agent.certificate import common_name, day, ends_ms, public_key_der
from agent.expiry import Expiry
from tests.certificates import Authority

KEY = ec.generate_private_key(ec.SECP256R1())
DAY_MS = 86_400_000


def made(*names: str, ends: datetime = datetime(2030, 1, 1)) -> str:
    """A certificate in PEM with these CNs."""
    country = x509.NameAttribute(NameOID.COUNTRY_NAME, "FR")
    subject = [country, *(x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names)]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")]))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(datetime(1970, 1, 1))
        .not_valid_after(ends)
    )
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def pem(der: bytes) -> str:
    body = base64.b64encode(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"


BOX = base64.b64decode(made("box").split("-----")[2])


def all_of(text: str) -> tuple[str | None, int | None, bytes | None]:
    return common_name(text), ends_ms(text), public_key_der(text)


def test_the_first_cn_of_several_counts_as_it_does_for_mosquitto() -> None:
    assert common_name(made("grüße", "swarm")) == "grüße"
    assert common_name(made()) is None


def test_text_before_it_does_not_disturb_and_the_first_certificate_counts() -> None:
    assert common_name('name = "other"\n' + made("one") + made("two")) == "one"


@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 31)))
@example(datetime(2049, 12, 31, 23, 59, 59))  # the last UTCTime
@example(datetime(2050, 1, 1))  # the first GeneralizedTime
@example(datetime(9999, 12, 31, 23, 59, 59))  # "has no end"
@settings(max_examples=60)
def test_its_end_is_read_to_the_second(ends: datetime) -> None:
    ends = ends.replace(microsecond=0)
    found = ends_ms(made("box", ends=ends))
    assert found == round(ends.replace(tzinfo=UTC).timestamp() * 1000)
    assert day(found) == ends.date().isoformat()


def test_its_key_is_read() -> None:
    der = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public_key_der(made("box")) == der


@given(st.one_of(st.text(), st.binary().map(pem), st.text().map(lambda t: pem(b"")[:28] + t)))
@example("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
@settings(max_examples=300)
def test_what_is_no_certificate_says_nothing(text: str) -> None:
    assert all_of(text) == (None, None, None)


@given(st.data())
@settings(max_examples=300)
def test_a_spoilt_certificate_gives_a_value_or_none_and_never_an_error(data: st.DataObject) -> None:
    der = bytearray(BOX)
    at = data.draw(st.integers(0, len(der) - 1))
    der[at] = data.draw(st.integers(0, 255))
    del der[data.draw(st.integers(at, len(der))) :]
    all_of(pem(bytes(der)))


def test_cut_anywhere_it_says_nothing() -> None:
    for cut in range(len(BOX)):
        assert all_of(pem(BOX[:cut])) == (None, None, None)


def test_the_module_needs_no_library_for_that() -> None:
    tree = ast.parse(inspect.getsource(certificate))
    taken = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    taken |= {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    assert taken == {"base64", "binascii", "re", "datetime", "typing"}


class TestExpiry:
    """What the agent says of it, and when it warns."""

    ENDS = datetime(2030, 1, 1)
    ENDS_MS = round(ENDS.replace(tzinfo=UTC).timestamp() * 1000)

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "agent.swarm"
        path.write_text('name = "box"\n' + made("box", ends=self.ENDS))
        return path

    def test_it_tells_the_day_and_how_many_are_left(self, file: Path) -> None:
        told = Expiry(str(file)).facts(self.ENDS_MS - 100 * DAY_MS)
        assert told == {"ends": "2030-01-01", "days_left": 100}

    def test_it_warns_once_below_thirty_days_and_once_when_it_has_ended(
        self, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        watched = Expiry(str(file))
        for days in (31, 30, 29.9, 29, 10, 0.5):
            watched.facts(self.ENDS_MS - round(days * DAY_MS))
        for days in (1, 2):
            told = watched.facts(self.ENDS_MS + days * DAY_MS)
        assert told == {"ends": "2030-01-01", "days_left": -2}
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 2 and all(r.levelno == logging.WARNING for r in caplog.records)
        assert said[0].startswith("the certificate ends on 2030-01-01, in 29 days")
        assert said[1].startswith("the certificate has ended on 2030-01-01")

    def test_a_new_certificate_in_its_place_is_seen(self, file: Path) -> None:
        watched = Expiry(str(file))
        watched.facts(self.ENDS_MS)
        new = file.with_suffix(".new")
        new.write_text(made("box", ends=self.ENDS + timedelta(days=730)))
        os.replace(new, file)
        assert watched.facts(self.ENDS_MS) == {"ends": "2032-01-01", "days_left": 730}

    def test_with_a_clock_that_is_wrong_no_days_are_counted(
        self, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert Expiry(str(file)).facts(None) == {"ends": "2030-01-01"}
        assert not caplog.records

    def test_without_a_certificate_there_is_nothing_to_tell(self, tmp_path: Path) -> None:
        (tmp_path / "empty").write_text("")
        assert Expiry(None).facts(0) is None
        assert Expiry(str(tmp_path / "nowhere")).facts(0) is None
        assert Expiry(str(tmp_path / "empty")).facts(0) is None

    def test_status_says_so_when_it_is_time(self) -> None:
        def line(days_left: int) -> str:
            told = {"agent": "box", "certificate": {"ends": "2030-01-01", "days_left": days_left}}
            return status.text({"about": told}).splitlines()[0]

        assert line(expiry.WARN_DAYS) == "agent    box, version None"
        assert line(12).endswith("the certificate ends on 2030-01-01, in 12 days")
        assert line(-1).endswith("the certificate has ended on 2030-01-01")


def test_it_reads_what_the_tests_authority_issues(authority: Authority) -> None:
    assert common_name(Path(authority.issue("roof-7").cert).read_text()) == "roof-7"
