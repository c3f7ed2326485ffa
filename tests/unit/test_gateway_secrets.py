"""Secrets of the gateway: read where they are named, kept for a while, refused without their label."""

import asyncio
import base64
import logging
from typing import Any, cast

import pytest

from heed import names
from heed.api.secret_refs import SecretKeyRef
from heed.gateway import secrets as gateway_secrets
from heed.gateway.secrets import (
    MISSING_SECRET_TTL_S,
    REFRESH_INTERVAL_S,
    SECRET_TTL_S,
    ClusterSecrets,
    SecretUnavailable,
    pick_value,
    read_secret,
)
from heed.kube.client.client import ApiError, ApiResponse, KubeApi

REF = SecretKeyRef(name="webhook", key="secret")


def stored(value: str, **labels: str) -> dict[str, Any]:
    marked = labels or {"heed.dev/gateway-secret": "true"}
    data = {"secret": base64.b64encode(value.encode()).decode()}
    return {"metadata": {"name": "webhook", "labels": marked}, "data": data}


class Vault:
    """An API server with one Secret, and a clock."""

    def __init__(self) -> None:
        self.secret: dict[str, Any] | ApiError = stored("t0p")
        self.asked: list[str] = []
        self.time = 1000.0
        self.answers = asyncio.Event()
        self.answers.set()

    async def get(self, path: str) -> ApiResponse:
        self.asked.append(path)
        await self.answers.wait()
        if isinstance(self.secret, ApiError):
            raise self.secret
        return ApiResponse(self.secret, 0)


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Vault:
    """With the Secret `webhook`, whose key `secret` is `t0p`."""
    vault = Vault()
    monkeypatch.setattr(gateway_secrets, "loop_time", lambda: vault.time)
    return vault


@pytest.fixture
def kept(vault: Vault) -> ClusterSecrets:
    """The Secrets of that API server."""
    return ClusterSecrets(cast(KubeApi, vault))


async def refusal(kept: ClusterSecrets, ref: SecretKeyRef = REF) -> str:
    with pytest.raises(SecretUnavailable) as caught:
        await kept.read("demo", ref)
    return caught.value.reason


async def test_a_secret_is_read_by_its_name_and_then_kept_for_a_while(
    vault: Vault, kept: ClusterSecrets
) -> None:
    assert await kept.read("demo", REF) == b"t0p"
    vault.secret = stored("two")
    vault.time += SECRET_TTL_S
    assert await kept.read("demo", REF) == b"t0p"
    vault.time += 0.1
    assert await kept.read("demo", REF) == b"two"

    assert vault.asked == ["/api/v1/namespaces/demo/secrets/webhook"] * 2


async def test_another_namespace_has_another_secret(vault: Vault, kept: ClusterSecrets) -> None:
    await kept.read("demo", REF)
    await kept.read("shop", REF)

    assert vault.asked[1] == "/api/v1/namespaces/shop/secrets/webhook"


async def test_one_that_did_not_verify_is_read_again_but_not_at_every_attempt(
    vault: Vault, kept: ClusterSecrets
) -> None:
    await kept.read("demo", REF)
    vault.secret = stored("two")

    vault.time += REFRESH_INTERVAL_S
    assert not await kept.refresh("demo", [REF])
    assert await kept.read("demo", REF) == b"t0p"
    vault.time += 0.1
    assert await kept.refresh("demo", [REF, REF])
    assert await kept.read("demo", REF) == b"two"
    assert len(vault.asked) == 2
    vault.time += REFRESH_INTERVAL_S + 0.1
    assert not await kept.refresh("demo", [REF])  # it was read, and is the same


async def test_of_more_than_are_kept_the_one_that_was_read_first_is_read_again(
    vault: Vault, kept: ClusterSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_secrets, "MAX_CACHED_SECRETS", 2)
    for namespace in ("a", "b", "c", "c", "b", "a"):
        await kept.read(namespace, REF)

    asked = [path.split("/")[4] for path in vault.asked]
    assert asked == ["a", "b", "c", "a"]


async def test_a_missing_one_is_looked_for_again_sooner(vault: Vault, kept: ClusterSecrets) -> None:
    vault.secret = ApiError(404, "not found")
    assert await refusal(kept) == "SecretMissing"
    vault.secret = stored("t0p")

    vault.time += MISSING_SECRET_TTL_S
    assert await refusal(kept) == "SecretMissing"
    vault.time += 0.1
    assert await kept.read("demo", REF) == b"t0p"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (ApiError(403, "forbidden"), "SecretForbidden"),
        (ApiError(0, "no answer"), "SecretUnreadable"),
        (stored("t0p", **{names.LABEL_GATEWAY_SECRET: "false"}), "SecretNotLabelled"),
        (stored("t0p", app="x"), "SecretNotLabelled"),
        (stored(""), "SecretMissing"),
        (stored("\n"), "SecretMissing"),
        ({**stored("t0p"), "data": {"secret": "?"}}, "SecretInvalid"),
        ({**stored("t0p"), "data": None}, "SecretMissing"),
    ],
)
async def test_why_one_cannot_be_used(
    vault: Vault, kept: ClusterSecrets, found: dict[str, Any] | ApiError, reason: str
) -> None:
    vault.secret = found

    assert await refusal(kept) == reason


async def test_who_has_no_right_is_told_which_setting_gives_it(vault: Vault, kept: ClusterSecrets) -> None:
    vault.secret = ApiError(403, "forbidden")

    with pytest.raises(SecretUnavailable, match=r"gateway\.secrets$"):
        await kept.read("demo", REF)


async def test_in_an_outage_what_was_last_read_counts(
    vault: Vault, kept: ClusterSecrets, caplog: pytest.LogCaptureFixture
) -> None:
    await kept.read("demo", REF)
    vault.secret = ApiError(503, "away")
    vault.time += 10 * SECRET_TTL_S

    with caplog.at_level(logging.WARNING):
        assert await kept.read("demo", REF) == b"t0p"

    assert "t0p" not in " ".join(str(record.__dict__) for record in caplog.records)


async def test_an_api_server_that_does_not_answer_soon_keeps_no_delivery_waiting(
    vault: Vault, kept: ClusterSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_secrets, "READ_PATIENCE_S", 0.01)
    # Given one that hangs: what was never read cannot be used
    vault.answers.clear()
    assert await refusal(kept) == "SecretUnreadable"
    assert not await kept.refresh("demo", [REF])

    # When it answers, that counts
    vault.answers.set()
    await asyncio.sleep(0.01)
    assert await kept.read("demo", REF) == b"t0p"
    assert len(vault.asked) == 1

    # And when it hangs again, what was last read does, at once for a while
    vault.answers.clear()
    vault.time += SECRET_TTL_S + 0.1
    assert await kept.read("demo", REF) == b"t0p"
    waiting = asyncio.create_task(kept.read("demo", REF))
    await asyncio.sleep(0)
    assert waiting.done()
    assert len(vault.asked) == 2
    vault.answers.set()


async def test_deliveries_at_once_share_a_read(vault: Vault, kept: ClusterSecrets) -> None:
    vault.answers.clear()
    reading = [asyncio.create_task(kept.read("demo", REF)) for _ in range(10)]
    await asyncio.sleep(0)
    vault.answers.set()

    assert await asyncio.gather(*reading) == [b"t0p"] * 10
    assert len(vault.asked) == 1


@pytest.mark.parametrize("status", [403, 404])
async def test_one_that_was_taken_away_does_not_count_on(
    vault: Vault, kept: ClusterSecrets, status: int
) -> None:
    await kept.read("demo", REF)
    vault.secret = ApiError(status, "gone")
    vault.time += SECRET_TTL_S + 0.1

    assert (await refusal(kept)).startswith("Secret")


def test_the_line_break_of_an_editor_is_no_part_of_a_secret() -> None:
    assert pick_value({"secret": b"a b \r\n"}, "demo", REF) == b"a b "
    assert pick_value({"secret": b"a\n\n"}, "demo", REF) == b"a\n"


def test_a_manifest_may_say_it_in_plain_text() -> None:
    body = {**stored("t0p"), "stringData": {"secret": "two", "other": "three"}}

    assert read_secret(body) == {"secret": b"two", "other": b"three"}
