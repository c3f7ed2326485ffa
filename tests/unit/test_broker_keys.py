"""The keys of a broker that comes with Heed: made once, by whoever is first, and never changed again."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import suppress
from pathlib import Path

import pytest

from heed.bus.auth import accounts
from heed.errors import InvalidSettings
from heed.kube.broker_keys import RETRY_DELAY_S, ensure_broker_keys
from heed.kube.client.client import KubeApi
from heed.kube.leader import election
from heed.kube.probes import ProbeState
from heed.kube.watch import ClusterWatch
from heed.settings import Settings
from tests.integration.waiting import until
from tests.unit.apiserver import ApiServer
from tests.unit.replicas import Led

SECRET = "/api/v1/namespaces/system/secrets/keys"
SETTINGS = Settings(nats_keys_secret="keys", lease_namespace="system")


@pytest.fixture
def health() -> ProbeState:
    return ProbeState(Led(active=False), ClusterWatch(Settings()))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heed.kube.broker_keys.RETRY_DELAY_S", 0.001)


def encoded(**files: str) -> dict[str, str]:
    return {name: base64.b64encode(text.encode()).decode() for name, text in files.items()}


def a_set(word: str = "x") -> dict[str, str]:
    """Something in every file."""
    return {name: f"{word} of {name}" for name in accounts.KEY_FILES}


async def test_without_a_secret_in_the_settings_nobody_is_asked(
    server: ApiServer, health: ProbeState
) -> None:
    assert await ensure_broker_keys(server.connect(KubeApi), Settings(), health) is None
    assert server.asked == []


async def test_an_empty_secret_is_filled_once_and_read_by_all_who_come_later(
    server: ApiServer, health: ProbeState, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server.add(SECRET, data=None)

    made = await ensure_broker_keys(server.connect(KubeApi), SETTINGS, health)
    again = await ensure_broker_keys(server.connect(KubeApi), SETTINGS, health)

    assert made is not None
    assert set(made) == set(accounts.KEY_FILES)
    assert again == made
    assert server.at(SECRET)["data"] == encoded(**made)
    assert [method for method, _ in server.asked] == ["GET", "PATCH", "GET"]
    assert server.bodies[0]["metadata"] == {"resourceVersion": "1"}
    assert [(r.getMessage(), r.secret) for r in caplog.records] == [("keys for the broker made", "keys")]  # type: ignore[attr-defined]


async def test_keys_of_an_earlier_release_get_what_they_lack_and_stay_otherwise(
    server: ApiServer, health: ProbeState
) -> None:
    earlier = dict(accounts.make_broker_keys(1))
    for file in accounts.LATER_FILES:
        del earlier[file]
    server.add(SECRET, data=encoded(**earlier))

    found = await ensure_broker_keys(server.connect(KubeApi), SETTINGS, health)
    again = await ensure_broker_keys(server.connect(KubeApi), SETTINGS, health)

    assert found is not None and found == again
    assert {name: text for name, text in found.items() if name not in accounts.LATER_FILES} == earlier
    assert server.at(SECRET)["data"] == encoded(**found)
    assert [method for method, _ in server.asked] == ["GET", "PATCH", "GET"]
    assert server.bodies[0]["data"].keys() == accounts.ADDED_FILES
    assert accounts.WORKERS_SEED not in found  # an account cannot be added
    assert server.bodies[0]["metadata"] == {"resourceVersion": "1"}


async def test_keys_are_good_from_now_on(server: ApiServer, health: ProbeState) -> None:
    server.add(SECRET, data={"auth.conf": ""})
    begun = int(time.time())

    made = await ensure_broker_keys(server.connect(KubeApi), SETTINGS, health)

    assert made is not None
    jwt = made[accounts.OPERATOR_CREDS].splitlines()[1]
    payload = jwt.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["iat"] >= begun
    assert isinstance(claims["iat"], int)


async def test_who_is_slower_takes_what_the_other_one_made(server: ApiServer, health: ProbeState) -> None:
    # Given a Secret that somebody fills between our look and our write
    server.add(SECRET, data={})
    theirs = a_set("theirs")

    def filled_meanwhile(method: str, path: str) -> None:
        if method == "PATCH":
            server.refuse = lambda method, path: None
            server.edit(SECRET, data=encoded(**theirs))

    server.refuse = filled_meanwhile

    assert await ensure_broker_keys(server.connect(KubeApi), SETTINGS, health) == theirs
    assert server.count("PATCH") == 1
    assert health.keyless is None


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (403, "let Heed's service account get and patch it"),
        (404, "create it, empty; the chart does"),
        (500, "trying again"),
    ],
)
async def test_a_secret_that_cannot_be_read_is_waited_for_and_the_probe_says_why(
    server: ApiServer, health: ProbeState, caplog: pytest.LogCaptureFixture, status: int, remedy: str
) -> None:
    # Given
    server.add(SECRET, data=encoded(**a_set()))
    server.refuse = lambda method, path: status

    # When
    waiting = asyncio.create_task(ensure_broker_keys(server.connect(KubeApi), SETTINGS, health))
    await until(lambda: len(server.asked) > 3)

    # Then
    reason = f"{status}: no {status}; {remedy}"
    assert health.keyless == f"no keys for the broker in Secret system/keys: {reason}"
    assert health.missing() == health.keyless
    said = [(r.getMessage(), r.secret, r.error) for r in caplog.records]  # type: ignore[attr-defined]
    assert said == [("no keys for the broker yet", "system/keys", reason)]

    server.refuse = lambda method, path: None
    assert await waiting == a_set()
    assert health.keyless is None


@pytest.mark.usefixtures("quick")
async def test_another_reason_is_said_too(
    server: ApiServer, health: ProbeState, caplog: pytest.LogCaptureFixture
) -> None:
    server.refuse = lambda method, path: 403 if len(server.asked) < 3 else 500

    waiting = asyncio.create_task(ensure_broker_keys(server.connect(KubeApi), SETTINGS, health))
    await until(lambda: len(caplog.records) == 2)
    waiting.cancel()

    assert [r.error[:3] for r in caplog.records] == ["403", "500"]  # type: ignore[attr-defined]


async def test_between_two_looks_it_waits(
    server: ApiServer, health: ProbeState, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []

    async def slept(seconds: float) -> None:
        naps.append(seconds)
        raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", slept)
    server.refuse = lambda method, path: 500

    with suppress(asyncio.CancelledError):
        await ensure_broker_keys(server.connect(KubeApi), SETTINGS, health)

    assert naps == [RETRY_DELAY_S]


@pytest.mark.parametrize(
    ("settings", "namespace"),
    [
        ({"lease_namespace": "lease", "namespace": "team"}, "lease"),
        ({"namespace": "team"}, "system"),
    ],
)
async def test_the_secret_is_beside_the_lease(
    server: ApiServer,
    health: ProbeState,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    settings: dict[str, str],
    namespace: str,
) -> None:
    (tmp_path / "namespace").write_text("system")
    monkeypatch.setattr(election, "_POD_NAMESPACE", tmp_path / "namespace")
    server.add(f"/api/v1/namespaces/{namespace}/secrets/keys", data=encoded(**a_set()))

    asked = Settings(nats_keys_secret="keys", **settings)  # type: ignore[arg-type]
    found = await ensure_broker_keys(server.connect(KubeApi), asked, health)

    assert found == a_set()


@pytest.mark.parametrize(
    ("namespace", "path"),
    [("team", "/api/v1/namespaces/team/secrets/keys"), (None, "/api/v1/namespaces/default/secrets/keys")],
)
async def test_outside_a_cluster_it_is_beside_the_agents(
    server: ApiServer, health: ProbeState, namespace: str | None, path: str
) -> None:
    server.add(path, data=encoded(**a_set()))

    assert (
        await ensure_broker_keys(
            server.connect(KubeApi), Settings(nats_keys_secret="keys", namespace=namespace), health
        )
        == a_set()
    )


NAMED = "Secret keys {}".format


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (
            {**encoded(**a_set()), accounts.AUTH_CONF: "", accounts.ADMIN_CREDS: ""},
            NAMED(
                "holds something, but not auth.conf, admin.creds; empty it for new keys, or fill it with what "
                "`heed broker-keys` prints"
            ),
        ),
        (
            {**encoded(**a_set()), accounts.AUTH_CONF: "eA=!"},
            NAMED("cannot be read: Only base64 data is allowed; empty it for new keys"),
        ),
        (
            {**encoded(**a_set()), accounts.AUTH_CONF: "/w=="},
            NAMED(
                "cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte; "
                "empty it for new keys"
            ),
        ),
    ],
)
async def test_a_secret_that_is_neither_empty_nor_whole_is_refused(
    server: ApiServer, health: ProbeState, data: dict[str, str], complaint: str
) -> None:
    server.add(SECRET, data=data)

    with pytest.raises(InvalidSettings) as refused:
        await ensure_broker_keys(server.connect(KubeApi), SETTINGS, health)

    assert str(refused.value) == complaint
    assert server.count("PATCH") == 0


async def test_what_else_is_in_the_secret_is_nobodys_key(server: ApiServer, health: ProbeState) -> None:
    server.add(SECRET, data=encoded(**a_set(), more="x"))

    assert await ensure_broker_keys(server.connect(KubeApi), SETTINGS, health) == a_set()
