"""The webhook's certificate authority: CA, serving certificates, and their renewal.

The API server trusts what stands in the `caBundle` of the webhook's configuration. A new authority therefore goes into
the bundle beside the old one first, and signs only once that bundle has had the time to reach every API server.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from heed import names

AUTHORITY_LIFETIME: Final = timedelta(days=3652)
CERTIFICATE_LIFETIME: Final = timedelta(days=365)
MAX_CLOCK_SKEW: Final = timedelta(minutes=5)  # that an API server's clock may be behind
BUNDLE_PROPAGATION: Final = timedelta(minutes=10)  # until a bundle is known to every API server
BUNDLE, AUTHORITY_KEY, CERTIFICATE, KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"  # as in a Secret


@dataclass(frozen=True, slots=True)
class WebhookKeys:
    """A CA with the certificate it issued. The bundle's last CA is the one with this key."""

    bundle: tuple[x509.Certificate, ...]
    authority_key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def authority(self) -> x509.Certificate:
        """The signing CA."""
        return self.bundle[-1]

    @property
    def bundle_pem(self) -> bytes:
        """The CA bundle as PEM."""
        return b"".join(map(_pem, self.bundle))

    @property
    def certificate_pem(self) -> bytes:
        """The serving certificate and its key as PEM."""
        return _pem(self.certificate) + _key_pem(self.key)

    def data(self) -> dict[str, bytes]:
        """The data of the Secret."""
        return {
            BUNDLE: self.bundle_pem,
            AUTHORITY_KEY: _key_pem(self.authority_key),
            CERTIFICATE: _pem(self.certificate),
            KEY: _key_pem(self.key),
        }


def parse_keys(data: Mapping[str, bytes]) -> WebhookKeys | None:
    """Parse a Secret's data; None where it is unusable."""
    try:
        authority_key, key = (
            serialization.load_pem_private_key(data[name], None) for name in (AUTHORITY_KEY, KEY)
        )
        bundle = tuple(x509.load_pem_x509_certificates(data[BUNDLE]))
        certificate = x509.load_pem_x509_certificate(data[CERTIFICATE])
    except (KeyError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if not (
        isinstance(authority_key, ec.EllipticCurvePrivateKey) and isinstance(key, ec.EllipticCurvePrivateKey)
    ):
        return None
    fits = (
        authority_key.public_key() == bundle[-1].public_key() and key.public_key() == certificate.public_key()
    )
    return WebhookKeys(bundle, authority_key, certificate, key) if fits else None


def renew_keys(
    keys: WebhookKeys | None, hosts: Sequence[str], now: datetime, trusted: bytes | None = None
) -> WebhookKeys | None:
    """The keys that must replace `keys` now, or None.

    `hosts` are DNS names and IP addresses. `trusted` is the bundle that the API server has, where that is known: no
    authority signs that is not in it, unless what is served is of no use anyway.
    """
    if keys is None or keys.authority.not_valid_after_utc <= now + MAX_CLOCK_SKEW:
        return _made(hosts, now)
    if now >= _renewal(keys.authority):
        authority, authority_key = _authority(now)
        return replace(keys, bundle=(*keys.bundle, authority), authority_key=authority_key)
    useless = not any(_issued(keys.certificate, by=item) for item in keys.bundle) or _over(
        keys.certificate, now
    )
    settled = now - keys.authority.not_valid_before_utc - MAX_CLOCK_SKEW >= BUNDLE_PROPAGATION
    may_sign = len(keys.bundle) == 1 or (settled and (trusted is None or _pem(keys.authority) in trusted))
    wanted = (
        now >= _renewal(keys.certificate)
        or not _issued(keys.certificate, by=keys.authority)
        or _hosts(keys.certificate) != _general(hosts)
    )
    if useless or (wanted and may_sign):
        certificate, key = _issue(keys.authority, keys.authority_key, hosts, now)
        return replace(keys, certificate=certificate, key=key)
    alive = tuple(item for item in keys.bundle if not _over(item, now))
    return replace(keys, bundle=alive) if alive != keys.bundle else None


def _made(hosts: Sequence[str], now: datetime) -> WebhookKeys:
    authority, authority_key = _authority(now)
    certificate, key = _issue(authority, authority_key, hosts, now)
    return WebhookKeys((authority,), authority_key, certificate, key)


def _authority(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key, serial = ec.generate_private_key(ec.SECP256R1()), x509.random_serial_number()
    # A name of its own: while there are two, each certificate says which one it is of.
    name = _name(f"Heed webhook authority {serial:x}"[:64])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        _builder(name, name, key, serial, now - MAX_CLOCK_SKEW, now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return builder.sign(key, hashes.SHA256()), key


def _issue(
    authority: x509.Certificate, signing: ec.EllipticCurvePrivateKey, hosts: Sequence[str], now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key, serial = ec.generate_private_key(ec.SECP256R1()), x509.random_serial_number()
    until = min(now + CERTIFICATE_LIFETIME, authority.not_valid_after_utc)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
    builder = (
        _builder(_name("Heed webhook"), authority.subject, key, serial, now - MAX_CLOCK_SKEW, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(sorted(_general(hosts), key=str)), critical=False)
        .add_extension(identifier, critical=False)
    )
    return builder.sign(signing, hashes.SHA256()), key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    begin: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, names.GROUP),
            x509.NameAttribute(NameOID.COMMON_NAME, text),
        ]
    )


def _renewal(certificate: x509.Certificate) -> datetime:
    """When to renew: after two thirds of the lifetime, which leaves time for retries."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin + (end - begin) * 2 / 3


def _over(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_after_utc <= now


def _issued(certificate: x509.Certificate, *, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _hosts(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _general(hosts: Sequence[str]) -> set[x509.GeneralName]:
    return {_host(host) for host in hosts}


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
