"""The webhook's certificates: made, renewed and exchanged so that at no moment an API server would refuse them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from heed.errors import InvalidSettings
from heed.kube.webhook.ca import BUNDLE_PROPAGATION, MAX_CLOCK_SKEW, WebhookKeys, parse_keys, renew_keys
from heed.kube.webhook.certificates import (
    CertificateFolder,
    NoCertificate,
    SelfIssuedCertificate,
    ServedCertificate,
    ServerTls,
    certificate_source,
)
from heed.settings import Settings
from tests.integration.waiting import until

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOSTS = ["heed-webhook.heed-system.svc", "127.0.0.1"]


def made_keys(at: datetime = BEGIN) -> WebhookKeys:
    keys = renew_keys(None, HOSTS, at)
    assert keys is not None
    return keys


def accepted(
    keys: WebhookKeys, bundle: tuple[x509.Certificate, ...], at: datetime, host: str = HOSTS[0]
) -> bool:
    """Whether a client that trusts the bundle accepts what is served, at a time."""
    verifier = PolicyBuilder().store(Store(list(bundle))).time(at.replace(tzinfo=None))
    try:
        verifier.build_server_verifier(x509.DNSName(host)).verify(keys.certificate, [])
    except VerificationError:
        return False
    return True


# --- what is due --------------------------------------------------------------------------------------------


def test_an_empty_secret_is_filled_with_keys_that_a_client_accepts() -> None:
    keys = made_keys()

    assert accepted(keys, keys.bundle, BEGIN)
    assert not accepted(keys, made_keys().bundle, BEGIN)
    assert not accepted(keys, keys.bundle, BEGIN, host="heed-webhook.other.svc")
    assert renew_keys(keys, HOSTS, BEGIN) is None


def test_an_authority_is_replaced_before_a_client_whose_clock_is_ahead_finds_it_over() -> None:
    keys = made_keys()
    end = keys.authority.not_valid_after_utc - MAX_CLOCK_SKEW

    assert (renewed := renew_keys(keys, HOSTS, end)) is not None
    assert keys.authority not in renewed.bundle
    assert (next_ := renew_keys(keys, HOSTS, end - timedelta(microseconds=1))) is not None
    assert keys.authority in next_.bundle


def test_a_client_whose_clock_is_behind_accepts_them_too() -> None:
    keys = made_keys()

    assert accepted(keys, keys.bundle, BEGIN - MAX_CLOCK_SKEW)
    assert not accepted(keys, keys.bundle, BEGIN - MAX_CLOCK_SKEW - DAY)


def test_the_certificate_is_renewed_after_two_thirds_of_its_life_by_the_same_authority() -> None:
    keys = made_keys()

    assert renew_keys(keys, HOSTS, BEGIN + 243 * DAY) is None
    renewed = renew_keys(keys, HOSTS, BEGIN + 244 * DAY)

    assert renewed is not None
    assert renewed.bundle == keys.bundle
    assert renewed.certificate != keys.certificate
    assert accepted(renewed, keys.bundle, BEGIN + 244 * DAY + 364 * DAY)


def test_other_hosts_need_another_certificate() -> None:
    keys = made_keys()

    changed = renew_keys(keys, ["other.demo.svc"], BEGIN)

    assert changed is not None
    assert changed.bundle == keys.bundle
    assert accepted(changed, keys.bundle, BEGIN, host="other.demo.svc")


def test_a_new_authority_is_trusted_before_it_signs() -> None:
    # Given an authority that is old, and a certificate that is not
    late = BEGIN + 2435 * DAY
    keys = renew_keys(made_keys(), HOSTS, late - DAY) or made_keys()

    # When its successor is due
    announced = renew_keys(keys, HOSTS, late)

    # Then it is in the bundle, and signs nothing: not now, not before the bundle is known everywhere
    assert announced is not None
    assert announced.bundle[0] == keys.bundle[0] and len(announced.bundle) == 2
    assert announced.certificate == keys.certificate
    assert renew_keys(announced, HOSTS, late, announced.bundle_pem) is None
    assert renew_keys(announced, HOSTS, late + BUNDLE_PROPAGATION, keys.bundle_pem) is None

    # and then it does
    signed = renew_keys(announced, HOSTS, late + BUNDLE_PROPAGATION, announced.bundle_pem)
    assert signed is not None
    assert accepted(signed, (signed.authority,), late + BUNDLE_PROPAGATION)
    assert signed.bundle == announced.bundle


def test_through_thirty_years_what_is_served_is_trusted_every_day() -> None:
    now, keys = BEGIN, made_keys()
    trusted = keys.bundle  # what the API server has: as of the last look
    authorities = {keys.authority.serial_number}

    for _ in range(30 * 365):
        now += DAY
        pem = b"".join(item.public_bytes(serialization.Encoding.PEM) for item in trusted)
        new = renew_keys(keys, HOSTS, now, pem)
        if new is not None:
            assert accepted(new, trusted, now), now
            keys = new
            authorities.add(keys.authority.serial_number)
        assert accepted(keys, keys.bundle, now), now
        trusted = keys.bundle

    assert len(authorities) == 5
    assert len(keys.bundle) <= 2


def test_an_expired_certificate_is_replaced_whoever_trusts_it() -> None:
    keys = made_keys()
    late = BEGIN + 2435 * DAY  # nobody looked for years
    announced = renew_keys(keys, HOSTS, late, keys.bundle_pem)
    assert announced is not None

    replaced = renew_keys(announced, HOSTS, late, keys.bundle_pem)

    assert replaced is not None
    assert accepted(replaced, replaced.bundle, late)


def test_what_a_secret_holds_comes_back() -> None:
    keys = made_keys()

    again = parse_keys(keys.data())

    assert again is not None
    assert again.data() == keys.data()


@pytest.mark.parametrize("name", ["ca.crt", "ca.key", "tls.crt", "tls.key"])
@pytest.mark.parametrize("damage", ["missing", "garbage", "of others"])
def test_what_does_not_fit_together_is_no_key(name: str, damage: str) -> None:
    data = dict(made_keys().data())
    data.update(
        {"missing": {}, "garbage": {name: b"???"}, "of others": {name: made_keys().data()[name]}}[damage]
    )
    if damage == "missing":
        del data[name]

    assert parse_keys(data) is None


# --- serving ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(tls: ServerTls) -> AsyncIterator[int]:
    """A server with that TLS; yields its port."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=tls.context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def greeted(port: int, keys: WebhookKeys, host: str = HOSTS[0], **options: Any) -> bool:
    """Whether a client that trusts the keys' bundle gets through."""
    client = ssl.create_default_context(cadata=keys.bundle_pem.decode())
    for name, value in options.items():
        setattr(client, name, value)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=host)
        line = await reader.readline()
    except (ssl.SSLError, ConnectionError):
        return False
    writer.close()
    with suppress(ssl.SSLError, ConnectionError):
        await writer.wait_closed()
    return line == b"hello\n"


async def test_the_certificate_is_exchanged_under_a_running_server() -> None:
    first, second, tls = made_keys(datetime.now(UTC)), made_keys(datetime.now(UTC)), ServerTls()
    async with serving(tls) as port:
        assert not await greeted(port, first)

        assert tls.use(first.certificate_pem)
        assert await greeted(port, first)
        assert await greeted(port, first, "127.0.0.1")
        assert not tls.use(first.certificate_pem)

        assert tls.use(second.certificate_pem)
        assert await greeted(port, second)
        assert not await greeted(port, first)


async def test_tls_before_1_2_is_refused() -> None:
    keys, tls = made_keys(datetime.now(UTC)), ServerTls()
    tls.use(keys.certificate_pem)
    async with serving(tls) as port:
        assert await greeted(port, keys, maximum_version=ssl.TLSVersion.TLSv1_2)
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old = await greeted(
                port, keys, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1
            )
        assert not old


async def test_what_cannot_be_used_leaves_the_last_one_in_use() -> None:
    keys, others, tls = made_keys(datetime.now(UTC)), made_keys(datetime.now(UTC)), ServerTls()
    tls.use(keys.certificate_pem)
    locked = keys.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    async with serving(tls) as port:
        for pem in (
            b"",
            b"garbage",
            keys.data()["tls.crt"] + others.data()["tls.key"],
            keys.data()["tls.crt"] + locked,
        ):
            with pytest.raises(NoCertificate, match="cannot be used"):
                tls.use(pem)

        assert await greeted(port, keys)


async def test_a_folder_is_read_again_and_again(tmp_path: Path) -> None:
    first, second, tls = made_keys(datetime.now(UTC)), made_keys(datetime.now(UTC)), ServerTls()
    keeping = asyncio.create_task(tls.keep(CertificateFolder(tmp_path), look=0.01))
    try:
        async with serving(tls) as port:
            for keys in (first, second):
                for name in ("tls.crt", "tls.key"):
                    (tmp_path / name).write_bytes(keys.data()[name])
                await until(partial(greeted, port, keys))
    finally:
        keeping.cancel()


async def test_trouble_is_said_once_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    keys, tls = made_keys(datetime.now(UTC)), ServerTls()
    answers: list[ServedCertificate | Exception] = [
        NoCertificate("no Secret"),
        NoCertificate("no Secret"),
        RuntimeError("a mistake"),
        ServedCertificate(keys.certificate_pem, "cannot be written"),
    ]

    class Source:
        async def current(self) -> ServedCertificate:
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

    keeping = asyncio.create_task(tls.keep(Source(), look=0.001))
    await tls.ready.wait()
    await until(lambda: "cannot be written" in [getattr(record, "error", None) for record in caplog.records])
    keeping.cancel()

    said = [record.error for record in caplog.records if hasattr(record, "error")]
    assert said == ["no Secret", "a mistake", "cannot be written"]
    assert "PRIVATE KEY" not in caplog.text


# --- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, "needs a certificate"),
        ({"webhook_secret": "keys"}, "needs a certificate"),
        ({"webhook_secret": "keys", "webhook_certificate": "/x"}, "choose one"),
        ({"webhook_secret": "keys", "webhook_service": "a b"}, "'a b' is no name"),
        ({"webhook_secret": "keys", "webhook_service": " , "}, "names nothing"),
    ],
)
def test_settings_that_give_no_certificate_are_refused(given: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidSettings, match=complaint):
        certificate_source(Settings(webhook_port=9443, **given), None)  # type: ignore[arg-type]


def test_a_service_stands_for_its_names_in_the_operators_namespace() -> None:
    settings = Settings(
        webhook_port=9443,
        webhook_secret="keys",
        webhook_service="heed-webhook, 127.0.0.1, heed.example.com",
        lease_namespace="heed-system",
    )

    source = certificate_source(settings, None)  # type: ignore[arg-type]

    assert isinstance(source, SelfIssuedCertificate)
    assert source.namespace == "heed-system"
    assert source.hosts == [
        "heed-webhook.heed-system.svc",
        "heed-webhook.heed-system.svc.cluster.local",
        "127.0.0.1",
        "heed.example.com",
    ]
