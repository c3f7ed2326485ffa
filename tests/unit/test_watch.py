"""How kopf is run: what it is told to watch, with which patience, and through which proxy."""

from __future__ import annotations

import asyncio
from typing import Any

import kopf
import pytest

from heed import names
from heed.kube.watch import ClusterWatch, _kopf_settings, _login_through, _registry
from heed.settings import Settings
from tests.integration.waiting import SOON, until

NAMED = {
    "scanning": ("disabled",),
    "posting": ("enabled",),
    "process": ("ultimate_exiting_timeout",),
    "networking": ("request_timeout", "connect_timeout", "error_backoffs"),
    "queueing": ("idle_timeout", "exit_timeout"),
    "watching": ("server_timeout", "client_timeout", "connect_timeout", "chunk_size"),
}


@pytest.mark.parametrize(("namespace", "alone"), [(None, False), ("team", True)])
def test_kopf_is_patient_with_the_api_server_and_leaves_the_process_alone(
    namespace: str | None, alone: bool
) -> None:
    found = _kopf_settings(Settings(namespace=namespace))

    assert {
        part: [getattr(getattr(found, part), name) for name in fields] for part, fields in NAMED.items()
    } == {
        "scanning": [alone],
        "posting": [False],
        "process": [None],
        "networking": [60, 10, (1, 2, 3, 5, 5, 5)],
        "queueing": [1.0, 0.5],
        "watching": [270, 300, 10, 500],
    }
    assert found.watching.label_selectors["jobs.batch"] == names.LABEL_AGENT


def test_kopf_keeps_and_copies_nothing_of_an_object_however_deep_it_nests() -> None:
    storage = _kopf_settings(Settings()).persistence.diffbase_storage
    spec: Any = []
    for _ in range(5_000):
        spec = [spec]
    body, patch = kopf.Body({"spec": spec}), kopf.Patch()

    essence = storage.build(body=body)
    storage.store(body=body, patch=patch, essence=essence)

    assert (essence, storage.fetch(body=body), patch) == ({}, None, {})


def activities(registry: kopf.OperatorRegistry, kind: str) -> list[Any]:
    return [
        item
        for item in registry._activities.get_all_handlers()
        if item.activity and item.activity.value == kind
    ]


def test_kopf_is_shown_agents_their_jobs_and_the_rules() -> None:
    registry = _registry(lambda event: None, lambda event: None, lambda event: None, asyncio.Event())

    watched = [
        (item.selector.group, item.selector.version, item.selector.any_name, item.labels)
        for item in registry._watching.get_all_handlers()
        if item.selector
    ]
    ours = (names.GROUP, names.VERSION)
    assert watched == [
        (*ours, "agents", None),
        ("batch", "v1", "jobs", {names.LABEL_AGENT: kopf.PRESENT}),
        (*ours, "agentpolicies", None),
        (*ours, "eventgrants", None),
        (*ours, "eventtypes", None),
    ]


async def test_kopf_says_when_its_watches_have_ended() -> None:
    over = asyncio.Event()
    registry = _registry(lambda event: None, lambda event: None, lambda event: None, over)
    (cleanup,) = activities(registry, "cleanup")

    await cleanup.fn()

    assert over.is_set()


@pytest.mark.parametrize("found", [None, kopf.ConnectionInfo(server="https://api.example")])
def test_kopf_goes_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, found: kopf.ConnectionInfo | None
) -> None:
    facts: list[dict[str, Any]] = []

    def login(**given: Any) -> kopf.ConnectionInfo | None:
        facts.append(given)
        return found

    monkeypatch.setattr(kopf, "login_via_client", login)
    registry = kopf.OperatorRegistry()
    _login_through("http://proxy.example:3128", registry)
    (handler,) = activities(registry, "authentication")

    made: Any = handler.fn(logger="x")

    assert facts == [{"logger": "x"}]
    assert (made and (made.server, made.proxy_url)) == (
        found and ("https://api.example", "http://proxy.example:3128")
    )


class Nobody:
    """Is shown nothing."""

    def observe(self, body: Any, *, deleted: bool = False) -> None:
        raise AssertionError(body)

    observe_job = observe_rule = observe


class Kopf:
    """Runs until it is told to end, and notes what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: dict[str, Any] = {}
        monkeypatch.setattr(kopf, "operator", self._run)
        for name in ("KOPF_EXIT_GRACE_S", "TLS_CLOSE_S", "HEARTBEAT_INTERVAL_S"):
            monkeypatch.setattr(f"heed.kube.watch.{name}", 0.001)

    async def _run(self, **given: Any) -> None:
        self.given = given
        given["ready_flag"].set()
        await given["stop_flag"].wait()


@pytest.mark.parametrize(
    ("namespace", "proxy", "expected"),
    [
        (None, None, {"clusterwide": True, "namespaces": [], "scanning": False, "logins": 0}),
        (
            "team",
            "http://proxy.example",
            {"clusterwide": False, "namespaces": ["team"], "scanning": True, "logins": 1},
        ),
    ],
)
async def test_kopf_watches_what_the_settings_say(
    monkeypatch: pytest.MonkeyPatch, namespace: str | None, proxy: str | None, expected: dict[str, Any]
) -> None:
    kopf_, watch = Kopf(monkeypatch), ClusterWatch(Settings(namespace=namespace), proxy)
    assert watch.missing() == "not watching the cluster yet"

    running = asyncio.create_task(watch.run(Nobody()))
    await until(lambda: watch.missing() is None)

    given = kopf_.given
    logins = [item for item in activities(given["registry"], "authentication") if not item._fallback]
    assert {
        "clusterwide": given["clusterwide"],
        "namespaces": given["namespaces"],
        "scanning": given["settings"].scanning.disabled,
        "logins": len(logins),
    } == expected
    assert (given["standalone"], given["identity"]) == (True, "heed")
    assert not given["stop_flag"].is_set()
    running.cancel()
    await asyncio.wait({running}, timeout=SOON)
    await watch.wait_until_ended(SOON)
    assert given["stop_flag"].is_set()
    assert watch.missing() == "not watching the cluster yet"
    assert watch.stuck() is None


async def test_the_thread_shows_that_it_turns_for_as_long_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    Kopf(monkeypatch)
    watch = ClusterWatch(Settings())
    running = asyncio.create_task(watch.run(Nobody()))

    await until(lambda: watch._thread is not None and watch._thread._beats > 5)

    running.cancel()
    await asyncio.wait({running}, timeout=SOON)
    await watch.wait_until_ended(SOON)
