"""What the conditions say of an Agent whose loop is in trouble, on a real API server and a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import nats
import pytest

from heed import names
from heed.bus.client.streams import ensure_streams
from heed.kube.client.client import agent_path
from heed.kube.status.loop_health import HealthThresholds
from heed.kube.status.reasons import Trouble
from heed.settings import Settings
from tests.builders.agents import ref
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.stories import RESEARCHER
from tests.cluster.watchless import AGENT, Watchless, true, watchless_fleet
from tests.nats_server import NatsServer, require_nats_server
from tests.patience import PATIENCE
from tests.statuses import totals

pytestmark = pytest.mark.cluster
QUICK = HealthThresholds(loop=0.5, effects=0.5, between=0.2)
LONG = HealthThresholds(loop=600, effects=600, between=600)
TYPO = {"name": "typo", "type": "com.example.question.asked", "when": "evnt.id == ''"}
Fleets = Callable[..., AbstractAsyncContextManager[Watchless]]


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[NatsServer]:
    """A broker that the test may do anything to."""
    require_nats_server()
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def fleets(control_plane: ControlPlane, own_broker: NatsServer, namespace: str) -> Fleets:
    """Fleets on that broker."""

    def fleet(**options: Any) -> AbstractAsyncContextManager[Watchless]:
        return watchless_fleet(
            control_plane.kubeconfig, own_broker.url, namespace, **{"patience": QUICK, **options}
        )

    return fleet


@pytest.fixture
async def watchless(fleets: Fleets) -> AsyncIterator[Watchless]:
    async with fleets() as watchless:
        yield watchless


# --- the broker ----------------------------------------------------------------------------------------------------


async def test_a_broker_that_is_away_is_said_and_is_said_to_be_back(
    watchless: Watchless, own_broker: NatsServer
) -> None:
    # Given a quiet Agent
    await watchless.create()
    well = await watchless.condition("True", "Subscribed")

    # When the broker goes
    own_broker.kill()
    away = await watchless.condition("False", "BrokerUnavailable")
    assert "goes on by itself" in away["message"]
    assert away["lastTransitionTime"] >= well["lastTransitionTime"]

    # And comes back
    own_broker.start()
    back = await watchless.condition("True", "Subscribed")
    await watchless.bus._connection.ready(PATIENCE)

    # Then
    assert back["message"] == well["message"]
    await watchless.ask("q-1")
    await watchless.status(lambda s: "c-1" in s["sessions"])


async def test_a_broker_that_is_away_for_a_moment_only_is_not_worth_a_write(
    fleets: Fleets, own_broker: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with fleets(patience=LONG) as watchless:
        # Given an Agent at work
        await watchless.create()
        well = await watchless.condition("True", "Subscribed")
        written = Writes(watchless)

        # When
        own_broker.kill()
        await watchless.until(lambda: true("trying again" in caplog.text), "trouble")
        own_broker.start()
        await watchless.bus._connection.ready(PATIENCE)

        # Then
        await watchless.ask("q-1")
        await watchless.status(lambda s: "c-1" in s["sessions"])
        assert written.conditions == []
        assert await watchless.condition("True", "Subscribed") == well


async def test_an_operator_that_takes_over_in_the_midst_of_trouble_does_not_say_that_all_is_well(
    fleets: Fleets, own_broker: NatsServer
) -> None:
    # Given
    async with fleets() as watchless:
        body = await watchless.create()
        await watchless.condition("True", "Subscribed")
        await delete_stream(own_broker.url)
        before = await watchless.condition("False", "StreamMissing")
    async with fleets() as watchless:
        await delete_stream(own_broker.url)
        written = Writes(watchless)

        # When
        watchless.fleet.observe(await watchless.agent())
        await watchless.until(lambda: true(in_trouble(watchless, body)), "trouble that lasts")

        # Then nothing else was said in between
        assert await watchless.condition("False", "StreamMissing") == before
        assert written.conditions == []


async def test_what_an_api_server_that_was_away_could_not_take_is_written_when_it_is_back(
    watchless: Watchless,
    own_broker: NatsServer,
    control_plane: ControlPlane,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Given trouble while nobody can write
    await watchless.create()
    await watchless.condition("True", "Subscribed")
    await asyncio.to_thread(control_plane.kill_apiserver)
    try:
        own_broker.kill()
        await watchless.until(
            lambda: true("cannot write the condition Ready" in caplog.text), "a word in the log"
        )
    finally:
        await asyncio.to_thread(control_plane.start_apiserver)

    # Then it is said as soon as it can be, and so is its end
    await watchless.condition("False", "BrokerUnavailable")
    own_broker.start()
    await watchless.condition("True", "Subscribed")


# --- the stream ----------------------------------------------------------------------------------------------------


async def test_a_stream_that_was_deleted_and_made_anew(watchless: Watchless, own_broker: NatsServer) -> None:
    # Given an Agent with a cursor
    await watchless.create()
    await watchless.ask("q-1")
    await watchless.started()

    # When its stream is deleted
    await delete_stream(own_broker.url)
    missing = await watchless.condition("False", "StreamMissing")
    assert names.STREAM in missing["message"]

    # And created again, it is another one
    await ensure_streams(watchless.bus._connection, Settings().stream)
    replaced = await watchless.condition("False", "StreamReplaced")
    assert replaced["lastTransitionTime"] == missing["lastTransitionTime"]
    assert "status" in replaced["message"]

    # Then the remedy that the condition names helps
    path = agent_path(watchless.namespace, AGENT, "status")
    await watchless.api.merge(path, {"status": {"cursor": None}})
    await watchless.condition("True", "Subscribed")
    await watchless.ask("q-2", "c-2")
    await watchless.status(lambda s: "c-2" in s["sessions"])


# --- the manifest --------------------------------------------------------------------------------------------------


async def test_an_invalid_spec_is_worse_than_trouble(watchless: Watchless, own_broker: NatsServer) -> None:
    # Given an Agent in trouble
    await watchless.create()
    await watchless.ask("q-1")
    await watchless.started()
    own_broker.kill()
    await watchless.condition("False", "BrokerUnavailable")

    # When someone makes a mistake, and corrects it
    await watchless.edit({"spec": {"handlers": [*RESEARCHER["spec"]["handlers"], TYPO]}})
    invalid = await watchless.condition("False", "Invalid")
    await watchless.edit({"spec": {"handlers": RESEARCHER["spec"]["handlers"]}})

    # Then the trouble is still there
    assert "evnt" in invalid["message"]
    still = await watchless.condition("False", "BrokerUnavailable")
    assert (await watchless.agent())["status"]["observedGeneration"] == still["observedGeneration"] == 3
    own_broker.start()
    await watchless.condition("True", "Subscribed")


# --- two writers ---------------------------------------------------------------------------------------------------


async def test_conditions_that_are_written_all_the_time_do_not_stop_an_agent(fleets: Fleets) -> None:
    async with fleets(patience=HealthThresholds(loop=600, effects=600, between=0)) as watchless:
        # Given an Agent at work, and someone who keeps on writing its condition
        await watchless.create()
        await watchless.condition("True", "Subscribed")
        meddling = asyncio.create_task(meddle(watchless))

        # When
        for number in range(100):
            await watchless.ask(f"q-{number}", f"c-{number}")
        status = await watchless.status(lambda s: totals(s).get("handled") == 100)
        meddling.cancel()
        await asyncio.wait({meddling})

        # Then it decided everything once, and has the last word
        assert totals(status) == {"handled": 100, "tasksStarted": 100}
        watchless.fleet.observe(await watchless.agent())
        await watchless.condition("True", "Subscribed")


async def meddle(watchless: Watchless) -> None:
    """Say that all is wrong, and show it, as a second operator would."""
    path = agent_path(watchless.namespace, AGENT, "status")
    while True:
        conditions = (await watchless.agent())["status"]["conditions"]
        theirs = [{**conditions[0], "status": "False", "reason": "BrokerUnavailable"}, *conditions[1:]]
        body = (await watchless.api.merge(path, {"status": {"conditions": theirs}})).body
        watchless.fleet.observe(body)
        await asyncio.sleep(0.1)


class Writes:
    """The writes of conditions that a fleet makes from now on."""

    def __init__(self, watchless: Watchless) -> None:
        self.conditions: list[Any] = []
        self._merge = watchless.fleet._api.merge
        watchless.fleet._api.merge = self._noting  # type: ignore[method-assign]

    async def _noting(self, path: str, patch: Any) -> Any:
        if "conditions" in patch.get("status", {}):
            self.conditions.append(patch["status"]["conditions"])
        return await self._merge(path, patch)


def in_trouble(watchless: Watchless, body: dict[str, Any]) -> bool:
    return isinstance(watchless.fleet._health.verdict(ref(body)), Trouble)


async def delete_stream(url: str) -> None:
    client = await nats.connect(url)
    try:
        await client.jetstream().delete_stream(names.STREAM)
    finally:
        await client.close()
