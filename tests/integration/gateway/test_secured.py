"""The gateway on a broker in JWT mode, with the credentials that are made for it."""

from pathlib import Path

import pytest

from heed import names
from heed.bus.auth.accounts import ADMIN_CREDS, GATEWAY_CREDS, SUBSCRIPTIONS_CREDS
from heed.bus.client.connection import NotPermitted, connect
from heed.bus.dead_letters import DeadLetterStore
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event
from heed.settings import Settings
from tests.integration.gateway.serving import serving
from tests.integration.gateway.sinks import sink_at
from tests.integration.gateway.test_inbound import TYPE, binary, send
from tests.integration.gateway.test_subscriptions import PLACED, Subscriptions
from tests.integration.secured import SecuredBroker
from tests.integration.waiting import until


async def test_the_gateways_credentials_are_enough_and_not_more(
    secured: SecuredBroker, namespace: str
) -> None:
    settings = Settings(nats_url=secured.server.url)
    async with secured.heed() as heed:
        gateways = await connect(
            settings, "heed-gateway", attempts=3, credentials=secured.keys[GATEWAY_CREDS]
        )
        async with serving(gateways) as gateway:
            for _ in range(3):
                assert (await send(gateway, f"/v1/events/{namespace}", binary()))[0] == 202
            assert gateway.context.metrics.events.counts == {("stored",): 1, ("duplicate",): 2}
            assert (
                gateways.errors["client"] == 1
            )  # it asked once whether it may see of what it is a duplicate

        stored = await JetStreamBus(heed).last(names.event_subject(namespace, TYPE))
        assert isinstance(stored, Event) and stored.id == "1"
        for subject, type_ in (
            (names.inbox_subject(namespace, "clerk", names.TASK_COMPLETED), names.TASK_COMPLETED),
            (names.event_subject(namespace, names.TASK_COMPLETED), names.TASK_COMPLETED),
            (names.task_subject(namespace, "clerk", "t", TYPE), TYPE),
            (names.redrive_subject(namespace, "clerk", TYPE), TYPE),
        ):
            with pytest.raises(NotPermitted):
                await JetStreamBus(gateways).publish(subject, Event("2", "/till", type_))
        with pytest.raises(NotPermitted):
            await gateways.api("STREAM.INFO.HEED")
        await gateways.close()


async def test_credentials_of_their_own_are_enough_for_subscriptions_and_not_more(
    secured: SecuredBroker, namespace: str, tmp_path: Path
) -> None:
    settings, credentials = Settings(nats_url=secured.server.url), tmp_path / SUBSCRIPTIONS_CREDS
    credentials.write_text(secured.keys[SUBSCRIPTIONS_CREDS])
    folder = tmp_path / "manifests"
    folder.mkdir()
    async with secured.heed() as heed, sink_at() as sink:
        subscriptions = Subscriptions(heed, folder, namespace)
        sink.answer = lambda request: 422 if request.id == "bad" and len(sink.requests) < 3 else 204
        gateways = await connect(
            settings, "heed-gateway", attempts=3, credentials=secured.keys[GATEWAY_CREDS]
        )
        async with serving(gateways, manifests=[folder], subscriptions_credentials=str(credentials)):
            subscriptions.put(sink.url)
            await subscriptions.begun()
            await subscriptions.send("a", "bad")
            found = await subscriptions.buried(1)
            assert sorted(sink.ids) == ["a", "bad"]
            sink.answer = lambda request: 204
            admin = await connect(settings, "admin", attempts=3, credentials=secured.keys[ADMIN_CREDS])
            await DeadLetterStore(admin).redrive(found, {})
            await admin.close()
            await until(lambda: len(sink.requests) == 3)
            (folder / "orders.yaml").unlink()
            await until(subscriptions.has_ended)

        own = await connect(
            settings, "heed-gateway", attempts=3, credentials=secured.keys[SUBSCRIPTIONS_CREDS]
        )
        for subject in (
            names.event_subject(namespace, PLACED),
            names.redrive_subject(namespace, names.subscriber("orders"), PLACED),
        ):
            with pytest.raises(NotPermitted):
                await JetStreamBus(own).publish(subject, Event("2", "/shop", PLACED))
        await own.close()
        await gateways.close()
