"""The webhook's serving certificate: its source, and its rotation under a running server.

Either Heed is its own authority: the keys are in a Secret that all replicas share (the first one fills it, by
compare-and-swap), and what to trust is patched into the webhook's configuration, again when somebody took it out. Or
somebody else, such as cert-manager, keeps a folder up to date. Keys are never written to a disk.
"""

import asyncio
import base64
import binascii
import ipaddress
import logging
import os
import re
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from heed.errors import HeedError, InvalidSettings
from heed.kube.client.client import CORE_API, ApiError, KubeApi
from heed.kube.leader.election import own_namespace
from heed.kube.webhook.ca import CERTIFICATE, KEY, WebhookKeys, parse_keys, renew_keys
from heed.settings import Settings
from heed.util.clock import now

log = logging.getLogger("heed.webhook")
WEBHOOK_CONFIGURATIONS_API: Final = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
CERTIFICATE_CHECK_INTERVAL_S: Final = (
    30.0  # seconds between two looks at the Secret and the configuration, or at the folder
)
RETRY_DELAY_S: Final = 2.0  # while there is no certificate yet
MAX_CONFLICTS: Final = 5  # other replicas that are quicker, one after the other
_HOST: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class NoCertificate(HeedError):
    """There is no usable certificate; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class ServedCertificate:
    """A certificate with chain and key as PEM, and a problem that does not prevent its use, or None."""

    pem: bytes
    trouble: str | None = None


class CertificateSource(Protocol):
    """A source of certificates."""

    async def current(self) -> ServedCertificate:
        """The certificate to serve now. Raises ApiError, NoCertificate."""
        ...


class ServerTls:
    """Server TLS with a certificate that can be replaced at any time; before the first one, handshakes fail."""

    def __init__(self) -> None:
        self.context = _context()
        self.context.sni_callback = self._choose  # also asked where the client names no host
        self._current: ssl.SSLContext | None = None
        self._pem = b""
        self.ready = asyncio.Event()

    def use(self, pem: bytes) -> bool:
        """Serve a certificate from now on. Returns whether it is new. Raises NoCertificate."""
        if pem == self._pem:
            return False
        loaded = _context()
        with _as_file(pem) as path:
            try:
                loaded.load_cert_chain(path, password=_no_password)
            except (ssl.SSLError, ValueError) as error:
                raise NoCertificate(f"certificate and key cannot be used: {error}") from None
        self._current, self._pem = loaded, pem
        self.ready.set()
        return True

    async def keep(self, source: CertificateSource, look: float = CERTIFICATE_CHECK_INTERVAL_S) -> None:
        """Keep serving the source's certificate, for ever. Failures are logged and retried."""
        said: str | None = None
        while True:
            try:
                found = await source.current()
                if self.use(found.pem):
                    log.info("webhook certificate in use")
                trouble, mistake = found.trouble, False
            except Exception as error:  # a bug, too: the served certificate is valid for months
                trouble, mistake = str(error), not isinstance(error, HeedError)
            if trouble is not None and trouble != said:
                extra = {"error": trouble, "serving": self.ready.is_set()}
                log.warning("cannot check the webhook's certificate", extra=extra, exc_info=mistake)
            said = trouble
            await asyncio.sleep(look if self.ready.is_set() else min(look, RETRY_DELAY_S))

    def _choose(self, connection: ssl.SSLObject, _host: str | None, _context: ssl.SSLContext) -> None:
        if self._current is not None:
            connection.context = self._current


def certificate_source(settings: Settings, api: KubeApi) -> CertificateSource:
    """The configured source of the certificate. Raises InvalidSettings."""
    if settings.webhook_certificate is not None:
        if settings.webhook_secret is not None:
            raise InvalidSettings(
                "HEED_WEBHOOK_CERTIFICATE and HEED_WEBHOOK_SECRET are two ways to a certificate; choose one"
            )
        return CertificateFolder(Path(settings.webhook_certificate))
    if settings.webhook_secret is None or settings.webhook_service is None:
        raise InvalidSettings(
            f"HEED_WEBHOOK_PORT={settings.webhook_port} needs a certificate: set HEED_WEBHOOK_SECRET and "
            "HEED_WEBHOOK_SERVICE for one of Heed's own, or HEED_WEBHOOK_CERTIFICATE to a folder with one"
        )
    namespace = settings.lease_namespace or own_namespace() or settings.namespace or "default"
    hosts = _hosts(settings.webhook_service, namespace)
    return SelfIssuedCertificate(
        api, namespace, settings.webhook_secret, settings.webhook_configuration, hosts
    )


def _hosts(text: str, namespace: str) -> list[str]:
    hosts: list[str] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        with suppress(ValueError):
            hosts.append(str(ipaddress.ip_address(item)))
            continue
        if not _HOST.fullmatch(item):
            message = f"HEED_WEBHOOK_SERVICE={text!r}: {item!r} is no name of a Service, no DNS name and no IP address"
            raise InvalidSettings(f"{message}; separate several by commas")
        service = f"{item}.{namespace}.svc"
        hosts += [item] if "." in item else [service, f"{service}.cluster.local"]
    if not hosts:
        raise InvalidSettings("HEED_WEBHOOK_SERVICE names nothing; name the webhook's Service")
    return hosts


@dataclass(frozen=True, slots=True)
class CertificateFolder:
    """A folder with `tls.crt` and `tls.key` that is kept up to date from outside, such as a mounted Secret."""

    path: Path

    async def current(self) -> ServedCertificate:
        """See CertificateSource. A read during a replacement may mix two versions; the next check reads only one."""
        try:
            return ServedCertificate(
                b"\n".join((self.path / name).read_bytes() for name in (CERTIFICATE, KEY))
            )
        except OSError as error:
            remedy = "HEED_WEBHOOK_CERTIFICATE is the folder of tls.crt and tls.key"
            message = f"{error.filename}: {error.strerror}; {remedy}"
            raise NoCertificate(message) from None


@dataclass(frozen=True, slots=True)
class SelfIssuedCertificate:
    """A certificate from Heed's own CA, both in a Secret. `hosts` are its subject alternative names."""

    api: KubeApi
    namespace: str
    secret: str
    configuration: str | None
    hosts: Sequence[str]
    clock: Callable[[], datetime] = now

    async def current(self) -> ServedCertificate:
        """See CertificateSource. It matches the caBundle in the configuration, unless that could not be written."""
        for _ in range(MAX_CONFLICTS):
            try:
                if (found := await self._look()) is not None:
                    return found
            except ApiError as error:
                if error.status != 409:
                    raise
        raise NoCertificate(f"the Secret {self._place} or the webhook's configuration changes all the time")

    async def _look(self) -> ServedCertificate | None:
        """Check Secret and configuration once; None where something was written, and another check is needed."""
        # In this order: what is then read from the Secret is not older than the bundle that it is compared with.
        configuration, trouble = await self._configuration()
        secret = await self._read(self._secret_path, f"Secret {self._place}")
        keys = parse_keys(_decoded(secret.get("data") or {}))
        trusted = None if self.configuration is None else _bundle(configuration)
        if (new := renew_keys(keys, self.hosts, self.clock(), trusted)) is not None or keys is None:
            assert new is not None
            await self._store(secret, new)
            return None
        if configuration is not None and configuration.get("webhooks") and trusted != keys.bundle_pem:
            try:
                await self._trust(configuration, keys)
            except ApiError as error:
                if error.status == 409:
                    raise
                trouble = f"ValidatingWebhookConfiguration {self.configuration} cannot be written: {error}"
        return ServedCertificate(keys.certificate_pem, trouble)

    async def _configuration(self) -> tuple[dict[str, Any] | None, str | None]:
        """The webhook's configuration, or what is wrong with it."""
        if self.configuration is None:
            return None, None
        what = f"ValidatingWebhookConfiguration {self.configuration}"
        try:
            return await self._read(f"{WEBHOOK_CONFIGURATIONS_API}/{self.configuration}", what), None
        except NoCertificate as error:
            return None, str(error)

    async def _read(self, path: str, what: str) -> dict[str, Any]:
        try:
            return (await self.api.get(path)).body
        except ApiError as error:
            if error.status in (403, 404):
                message = f"{what} cannot be read: {error}; the chart makes it, and the right to read it"
                raise NoCertificate(message) from None
            raise

    async def _store(self, secret: Mapping[str, Any], keys: WebhookKeys) -> None:
        data = {name: base64.b64encode(value).decode() for name, value in keys.data().items()}
        await self.api.merge(self._secret_path, {"metadata": _fence(secret), "data": data})
        until = keys.certificate.not_valid_after_utc.isoformat()
        log.info("webhook keys written", extra={"secret": self._place, "certificate_until": until})

    async def _trust(self, configuration: Mapping[str, Any], keys: WebhookKeys) -> None:
        """Write the caBundle into the configuration. A merge patch replaces lists, so all webhooks are written."""
        bundle = base64.b64encode(keys.bundle_pem).decode()
        webhooks = [
            {**item, "clientConfig": {**item["clientConfig"], "caBundle": bundle}}
            for item in configuration.get("webhooks") or []
        ]
        path = f"{WEBHOOK_CONFIGURATIONS_API}/{self.configuration}"
        await self.api.merge(path, {"metadata": _fence(configuration), "webhooks": webhooks})
        log.info("webhook authority is trusted", extra={"configuration": self.configuration})

    @property
    def _secret_path(self) -> str:
        return f"{CORE_API}/namespaces/{self.namespace}/secrets/{self.secret}"

    @property
    def _place(self) -> str:
        return f"{self.namespace}/{self.secret}"


def _fence(body: Mapping[str, Any]) -> dict[str, str]:
    return {name: body["metadata"][name] for name in ("uid", "resourceVersion")}


def _bundle(configuration: Mapping[str, Any] | None) -> bytes:
    """The caBundle of all webhooks of a configuration; empty where they differ."""
    items = (configuration or {}).get("webhooks") or []
    found = {_decoded({"": item["clientConfig"].get("caBundle") or ""}).get("", b"") for item in items}
    return found.pop() if len(found) == 1 else b""


def _decoded(data: Mapping[str, str]) -> dict[str, bytes]:
    decoded: dict[str, bytes] = {}
    for name, value in data.items():
        with suppress(binascii.Error):
            decoded[name] = base64.b64decode(value)
    return decoded


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_password() -> str:
    """Without this a key with a password would ask for it on the terminal."""
    raise ValueError("the key has a password; it has to be without one")


@contextmanager
def _as_file(pem: bytes) -> Iterator[str]:
    """`ssl` wants a path: one that is only in memory where the system has that."""
    if sys.platform == "linux":
        number = os.memfd_create("certificate")
        try:
            os.write(number, pem)
            yield f"/proc/self/fd/{number}"
        finally:
            os.close(number)
    else:
        with tempfile.NamedTemporaryFile() as file:  # readable by its owner only
            file.write(pem)
            file.flush()
            yield file.name
