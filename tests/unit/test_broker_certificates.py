"""Certificates of brokers and for brokers: whom Heed trusts, and what it shows to those that ask."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from heed.bus.client.connect_options import build_options
from heed.errors import InvalidSettings
from heed.settings import Settings

HOST = "broker.example"


def issue(folder: Path, name: str) -> tuple[str, str]:
    """A certificate that vouches for itself, and its key: their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(pem))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(folder / f"{name}.crt"), str(folder / f"{name}.key")


def shown(settings: Settings, folder: Path, host: str = HOST) -> str | None:
    """Who a broker that asks for a certificate learns that we are, once we trust it. Raises SSLError."""
    certificate, key = str(folder / "broker.crt"), str(folder / "broker.key")
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate, key)
    theirs.verify_mode = ssl.CERT_OPTIONAL
    theirs.load_verify_locations(str(folder / "me.crt"))
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = build_options(settings, "test")["tls"].wrap_bio(back, there, server_hostname=host)
    server = theirs.wrap_bio(there, back, server_side=True)
    for side in (client, server) * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    found = server.getpeercert()
    return found["subject"][0][0][1] if found else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("broker", "me", "other"):
        issue(tmp_path, name)
    return tmp_path


def test_a_broker_is_trusted_that_the_given_authority_vouches_for(folder: Path) -> None:
    assert shown(Settings(nats_ca=str(folder / "broker.crt")), folder) is None

    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        shown(Settings(nats_ca=str(folder / "other.crt")), folder)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shown(Settings(nats_ca=str(folder / "broker.crt")), folder, "elsewhere")


def test_our_certificate_is_shown_to_those_that_ask(folder: Path) -> None:
    settings = Settings(
        nats_ca=str(folder / "broker.crt"),
        nats_cert=str(folder / "me.crt"),
        nats_key=str(folder / "me.key"),
    )
    assert shown(settings, folder) == "me"


def test_a_certificate_may_have_its_key_beside_it(folder: Path) -> None:
    both = folder / "both.pem"
    both.write_text((folder / "me.crt").read_text() + (folder / "me.key").read_text())

    assert shown(Settings(nats_ca=str(folder / "broker.crt"), nats_cert=str(both)), folder) == "me"


def test_with_a_certificate_of_our_own_those_are_trusted_that_the_system_trusts(folder: Path) -> None:
    settings = Settings(nats_cert=str(folder / "me.crt"), nats_key=str(folder / "me.key"))

    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        shown(settings, folder)


def test_a_key_has_to_be_that_of_the_certificate(folder: Path) -> None:
    certificate = str(folder / "me.crt")
    with pytest.raises(InvalidSettings) as raised:
        build_options(Settings(nats_cert=certificate, nats_key=str(folder / "other.key")), "test")

    assert str(raised.value).startswith(f"HEED_NATS_CERT={certificate}: ")
    assert str(raised.value).endswith("; give a certificate and, in HEED_NATS_KEY, its key in PEM")
