"""The webhook's keys in a Secret, and what the API server is told to trust: whoever of the replicas is first."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from heed.kube.client.client import ApiError, KubeApi
from heed.kube.webhook import certificates
from heed.kube.webhook.ca import BUNDLE_PROPAGATION, WebhookKeys, parse_keys, renew_keys
from heed.kube.webhook.certificates import CertificateFolder, NoCertificate, SelfIssuedCertificate
from tests.unit.apiserver import ApiServer, Object

HOSTS = ["heed-webhook.system.svc"]
SECRET = "/api/v1/namespaces/system/secrets/webhook"
CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/heed"
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


def issued(
    server: ApiServer, configuration: str | None = "heed", at: datetime = BEGIN
) -> SelfIssuedCertificate:
    return SelfIssuedCertificate(
        server.connect(KubeApi), "system", "webhook", configuration, HOSTS, lambda: at
    )


def made_keys(at: datetime = BEGIN) -> WebhookKeys:
    keys = renew_keys(None, HOSTS, at)
    assert keys is not None
    return keys


def encoded(keys: WebhookKeys) -> dict[str, str]:
    return {name: base64.b64encode(value).decode() for name, value in keys.data().items()}


def stored(server: ApiServer) -> WebhookKeys:
    """The keys that are in the Secret now."""
    keys = parse_keys({name: base64.b64decode(value) for name, value in server.at(SECRET)["data"].items()})
    assert keys is not None
    return keys


def webhooks(*bundles: bytes | None) -> list[Object]:
    """Webhooks that trust these."""
    return [
        {
            "name": f"hook-{number}",
            "clientConfig": {"service": {"name": "heed-webhook"}}
            | ({} if bundle is None else {"caBundle": base64.b64encode(bundle).decode()}),
        }
        for number, bundle in enumerate(bundles)
    ]


def trusted(server: ApiServer) -> list[bytes]:
    """What the webhooks of the configuration trust."""
    items = server.at(CONFIGURATION)["webhooks"]
    return [base64.b64decode(item["clientConfig"].get("caBundle", "")) for item in items]


def test_an_authority_signs_certificates_and_lists_of_revoked_ones_and_enciphers_nothing() -> None:
    usage = made_keys().authority.extensions.get_extension_for_class(x509.KeyUsage)

    assert usage.critical
    assert usage.value == x509.KeyUsage(
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


async def test_an_empty_secret_is_filled_and_the_api_server_trusts_what_is_in_it(
    server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    secret = server.add(SECRET)
    server.add(CONFIGURATION, webhooks=webhooks(None, b"old"))

    found = await issued(server).current()

    keys = stored(server)
    assert (found.pem, found.trouble) == (keys.certificate_pem, None)
    assert trusted(server) == [keys.bundle_pem] * 2
    assert [item["clientConfig"]["service"] for item in server.at(CONFIGURATION)["webhooks"]] == [
        {"name": "heed-webhook"}
    ] * 2
    fence = {"uid": secret["metadata"]["uid"], "resourceVersion": secret["metadata"]["resourceVersion"]}
    assert server.bodies[0]["metadata"] == fence
    assert set(server.bodies[1]["metadata"]) == {"uid", "resourceVersion"}
    written, trusts = caplog.records
    assert (written.getMessage(), written.secret, written.certificate_until) == (  # type: ignore[attr-defined]
        "webhook keys written",
        "system/webhook",
        keys.certificate.not_valid_after_utc.isoformat(),
    )
    assert (trusts.getMessage(), trusts.configuration) == ("webhook authority is trusted", "heed")  # type: ignore[attr-defined]


async def test_when_all_is_well_nothing_is_written(server: ApiServer) -> None:
    keys = made_keys()
    server.add(SECRET, data=encoded(keys))
    server.add(CONFIGURATION, webhooks=webhooks(keys.bundle_pem, keys.bundle_pem))

    found = await issued(server).current()

    assert (found.pem, found.trouble) == (keys.certificate_pem, None)
    assert server.asked == [("GET", CONFIGURATION), ("GET", SECRET)]


async def test_replicas_that_come_later_serve_the_same(server: ApiServer) -> None:
    server.add(SECRET, data=None)
    server.add(CONFIGURATION, webhooks=webhooks(None))

    first, second = await issued(server).current(), await issued(server).current()

    assert first == second
    assert server.count("PATCH") == 2


@pytest.mark.parametrize("data", [{"tls.crt": "b"}, {"tls.crt": "eA=="}, {"a": "eA=="}])
async def test_what_is_no_keys_is_replaced(server: ApiServer, data: dict[str, str]) -> None:
    server.add(SECRET, data=data)

    found = await issued(server, None).current()

    assert found.pem == stored(server).certificate_pem


async def test_what_somebody_took_out_of_the_configuration_is_put_back(server: ApiServer) -> None:
    keys = made_keys()
    server.add(SECRET, data=encoded(keys))
    server.add(CONFIGURATION, webhooks=webhooks(keys.bundle_pem, b""))

    await issued(server).current()

    assert trusted(server) == [keys.bundle_pem] * 2


async def test_a_configuration_without_webhooks_stays_as_it_is(server: ApiServer) -> None:
    server.add(SECRET, data=encoded(made_keys()))
    server.add(CONFIGURATION)

    assert (await issued(server).current()).trouble is None
    assert server.count("PATCH") == 0


async def test_without_a_configuration_only_the_secret_is_looked_at(server: ApiServer) -> None:
    server.add(SECRET, data=encoded(made_keys()))

    await issued(server, None).current()

    assert server.asked == [("GET", SECRET)]


async def test_a_new_authority_is_announced_and_signs_only_what_the_api_server_trusts(
    server: ApiServer,
) -> None:
    # Given keys whose authority is old and whose certificate is not
    late = BEGIN + timedelta(days=2435)
    keys = renew_keys(made_keys(), HOSTS, late - timedelta(days=1))
    assert keys is not None
    server.add(SECRET, data=encoded(keys))
    server.add(CONFIGURATION, webhooks=webhooks(keys.bundle_pem))

    # When it is looked at, it is announced
    found = await issued(server, at=late).current()
    announced = stored(server)
    assert len(announced.bundle) == 2
    assert announced.certificate == keys.certificate
    assert found.pem == announced.certificate_pem
    assert trusted(server) == [announced.bundle_pem]

    # and signs, when it is known everywhere
    await issued(server, at=late + BUNDLE_PROPAGATION).current()
    signed = stored(server)
    assert signed.certificate != keys.certificate
    signed.certificate.verify_directly_issued_by(signed.authority)


async def test_an_authority_that_the_api_server_does_not_trust_does_not_sign(server: ApiServer) -> None:
    # Given an announced authority, and a configuration that can be read and not written
    late = BEGIN + timedelta(days=2435)
    keys = renew_keys(made_keys(), HOSTS, late - timedelta(days=1))
    assert keys is not None
    announced = renew_keys(keys, HOSTS, late, keys.bundle_pem)
    assert announced is not None
    server.add(SECRET, data=encoded(announced))
    server.add(CONFIGURATION, webhooks=webhooks(keys.bundle_pem))
    server.refuse = lambda method, path: 403 if method == "PATCH" else None

    found = await issued(server, at=late + BUNDLE_PROPAGATION).current()

    assert stored(server).certificate == keys.certificate
    assert found.trouble == "ValidatingWebhookConfiguration heed cannot be written: 403: no 403"
    assert found.pem == announced.certificate_pem


@pytest.mark.parametrize("status", [403, 404])
async def test_a_configuration_that_cannot_be_read_is_trouble_and_keeps_nothing_from_being_served(
    server: ApiServer, status: int
) -> None:
    keys = made_keys()
    server.add(SECRET, data=encoded(keys))
    server.refuse = lambda method, path: status if path == CONFIGURATION else None

    found = await issued(server).current()

    assert found.pem == keys.certificate_pem
    assert found.trouble == (
        f"ValidatingWebhookConfiguration heed cannot be read: {status}: no {status}; "
        "the chart makes it, and the right to read it"
    )


@pytest.mark.parametrize("status", [403, 404])
async def test_without_a_secret_there_is_no_certificate(server: ApiServer, status: int) -> None:
    server.refuse = lambda method, path: status

    with pytest.raises(NoCertificate) as missing:
        await issued(server, None).current()

    assert str(missing.value) == (
        f"Secret system/webhook cannot be read: {status}: no {status}; "
        "the chart makes it, and the right to read it"
    )


@pytest.mark.parametrize("path", [SECRET, CONFIGURATION])
async def test_an_api_server_that_is_away_is_its_own_trouble(server: ApiServer, path: str) -> None:
    server.add(SECRET, data=encoded(made_keys()))
    server.add(CONFIGURATION, webhooks=[])
    server.refuse = lambda method, asked: 500 if asked == path else None

    with pytest.raises(ApiError) as error:
        await issued(server).current()

    assert error.value.status == 500


async def test_a_secret_that_cannot_be_written_is_its_own_trouble(server: ApiServer) -> None:
    server.add(SECRET)
    server.refuse = lambda method, path: 403 if method == "PATCH" else None

    with pytest.raises(ApiError, match="no 403"):
        await issued(server, None).current()


async def test_keys_of_another_replica_that_was_quicker_are_taken(server: ApiServer) -> None:
    server.add(SECRET)
    theirs = made_keys()

    def filled_meanwhile(method: str, path: str) -> None:
        if method == "PATCH":
            server.refuse = lambda method, path: None
            server.edit(SECRET, data=encoded(theirs))

    server.refuse = filled_meanwhile

    assert (await issued(server, None).current()).pem == theirs.certificate_pem
    assert stored(server).data() == theirs.data()


@pytest.mark.parametrize("path", [SECRET, CONFIGURATION])
async def test_others_that_are_quicker_all_the_time_are_trouble(server: ApiServer, path: str) -> None:
    keys = made_keys()
    server.add(SECRET, data=None if path == SECRET else encoded(keys))
    server.add(CONFIGURATION, webhooks=webhooks(None))
    server.refuse = lambda method, asked: 409 if method == "PATCH" else None

    with pytest.raises(NoCertificate) as clash:
        await issued(server).current()

    assert str(clash.value) == (
        "the Secret system/webhook or the webhook's configuration changes all the time"
    )
    assert server.count("PATCH") == certificates.MAX_CONFLICTS == 5
    assert {asked for method, asked in server.asked if method == "PATCH"} == {path}


async def test_the_clock_is_that_of_now(server: ApiServer) -> None:
    server.add(SECRET)
    source = SelfIssuedCertificate(server.connect(KubeApi), "system", "webhook", None, HOSTS)

    await source.current()

    left = stored(server).certificate.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=364) < left <= timedelta(days=365)


async def test_a_folder_without_a_certificate_says_which_file_is_missing(tmp_path: Path) -> None:
    keys = made_keys()
    (tmp_path / "tls.crt").write_bytes(keys.data()["tls.crt"])

    with pytest.raises(NoCertificate) as missing:
        await CertificateFolder(tmp_path).current()

    assert str(missing.value) == (
        f"{tmp_path / 'tls.key'}: No such file or directory; "
        "HEED_WEBHOOK_CERTIFICATE is the folder of tls.crt and tls.key"
    )
    (tmp_path / "tls.key").write_bytes(keys.data()["tls.key"])
    found: Any = await CertificateFolder(tmp_path).current()
    assert (found.pem, found.trouble) == (keys.data()["tls.crt"] + b"\n" + keys.data()["tls.key"], None)
