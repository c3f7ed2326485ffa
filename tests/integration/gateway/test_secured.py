"""The gateway on a broker in JWT mode, with the credentials that are made for it."""

import pytest

from heed import names
from heed.bus.auth.accounts import GATEWAY_CREDS
from heed.bus.client.connection import NotPermitted, connect
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event
from heed.settings import Settings
from tests.integration.gateway.serving import serving
from tests.integration.gateway.test_inbound import TYPE, binary, send
from tests.integration.secured import SecuredBroker


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
