"""The address of an Agent at the gateway: in its status where the gateway's URL is known, and gone where it is not."""

import pytest

from heed.core.effects import AgentRef
from heed.errors import InvalidSettings
from heed.gateway.inbound.part import AGENT_PATH
from heed.kube.status.address import agent_address, check_gateway_url
from heed.settings import GatewaySettings
from tests.integration.waiting import until
from tests.unit.apiserver import ApiServer
from tests.unit.fleets import NOTE, fleet_on, path

GATEWAY = GatewaySettings(url="https://heed.example.com/in/")
ADDRESS = {"url": "https://heed.example.com/in/v1/agents/demo/researcher", "audience": "heed"}


async def test_an_agent_has_its_address_as_long_as_there_is_a_gateway(server: ApiServer) -> None:
    async with fleet_on(server, gateway=GATEWAY) as world:
        world.create()
        await world.says("True", "Subscribed")
        assert world.status()["address"] == ADDRESS

    # Another operator finds it there, and has nothing to write
    written = server.count("PATCH", "researcher/status")
    async with fleet_on(server, gateway=GATEWAY) as world:
        world.fleet.observe(server.at(path()))
        await world.running()
        assert server.count("PATCH", "researcher/status") == written
        world.edit(status={"address": None})  # somebody else takes it out
        await until(lambda: world.status().get("address") == ADDRESS)

    # One that knows of another gateway, or of none
    async with fleet_on(server, gateway=GatewaySettings(url="http://other:8090", audience=None)) as world:
        world.fleet.observe(server.at(path()))
        await until(lambda: world.status()["address"]["url"] == "http://other:8090/v1/agents/demo/researcher")
    async with fleet_on(server) as world:
        world.fleet.observe(server.at(path()))
        await until(lambda: "address" not in world.status())


async def test_an_agent_that_is_not_valid_has_one_too(server: ApiServer) -> None:
    async with fleet_on(server, gateway=GATEWAY) as world:
        world.create({**NOTE, "when": "nothing"})
        await world.says("False", "Invalid")
        assert world.status()["address"] == ADDRESS


def test_the_address_is_where_the_gateway_takes_events() -> None:
    agent = AgentRef("shop", "clerk", "uid")
    there = AGENT_PATH.format(namespace="shop", agent="clerk")

    assert agent_address(GatewaySettings(), agent) is None
    assert agent_address(GatewaySettings(url="http://x:1", audience=None), agent) == {
        "url": f"http://x:1{there}"
    }


@pytest.mark.parametrize(
    "url", ["heed", "ftp://heed", "http://", "http://u@h", "http://h?a", "http://h#a", "http://[", "//h"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="HEED_GATEWAY_URL="):
        check_gateway_url(GatewaySettings(url=url))


@pytest.mark.parametrize("url", [None, "http://heed-gateway.heed.svc:8090", "https://h/below/"])
def test_a_url_is_that_of_a_web_server(url: str | None) -> None:
    check_gateway_url(GatewaySettings(url=url))
