"""Approval links of `heed dev`: its ledgers say what waits, and answers go through its broker."""

import json
import re
from typing import Any

import pytest
from nats.js.kv import KeyValue

from heed import names
from heed.bus.client.connection import Connection
from heed.bus.codec.cloudevents import decode
from heed.core.decision.decide import decide
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger, dump_ledger
from heed.gateway.approvals import answering
from heed.local.ledger_store import open_ledgers
from tests.builders.agents import AGENT, NAMESPACE, UID
from tests.builders.approvals import awaiting, buyer
from tests.builders.decisions import only_task
from tests.builders.events import at
from tests.integration.gateway.serving import RunningGateway, serving

KEY = f"{NAMESPACE}.{AGENT}"


async def keep(ledgers: KeyValue, ledger: Ledger, uid: str = UID) -> None:
    """`heed dev` has committed this ledger."""
    await ledgers.put(KEY, json.dumps({"uid": uid, "since": at(0), "status": dump_ledger(ledger)}).encode())


async def mint(gateway: RunningGateway, **headers: str) -> tuple[int, dict[str, Any]]:
    """Ask for a link, as any process of this machine."""
    path = f"/v1/approvals/{NAMESPACE}/{AGENT}/buy/links"
    async with gateway.http.post(path, headers=headers) as response:
        return response.status, await response.json(content_type=None)


async def test_an_answer_by_link_is_an_event_for_the_agent(
    own: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "PATIENCE_S", 0.0)
    agent = buyer(approvers={"users": ["kim"], "groups": ["purchasing"]})
    ledger = awaiting(agent)
    js = own.client.jetstream()
    ledgers = await open_ledgers(js)
    await keep(ledgers, ledger)
    async with serving(own) as gateway:
        status, made = await mint(gateway)
        assert (status, made["task"]) == (201, only_task(ledger))
        host, port = gateway.address
        assert made["url"].startswith(f"http://{host}:{port}/v1/approvals/")

        async with gateway.http.get(made["url"]) as response:
            found = re.search(r'name="proof" value="([^"]+)"', await response.text())
        assert found is not None
        form = {"proof": found[1], "choice": "reject", "comment": "no"}
        for _ in range(2):  # the second time the Agent has not decided yet
            async with gateway.http.post(made["url"], data=form, allow_redirects=False) as response:
                assert response.status == 303

        subject = names.inbox_subject(NAMESPACE, AGENT, names.TASK_COMPLETED)
        stored = await js.get_last_msg(names.STREAM, subject)
        assert (await js.stream_info(names.STREAM)).state.messages == 1  # sent twice, stored once
        event = decode(stored.headers, stored.data or b"", subject)
        decision = decide(agent, ledger, Received(2, at(2), subject, event))
        await keep(ledgers, decision.ledger)

        (ended,) = decision.ledger.recent_tasks
        assert ended.answer is not None
        assert (ended.answer.user, ended.answer.choice) == ("local:gateway", "reject")
        async with gateway.http.get(made["url"]) as response:
            assert (response.status, "<h1>Answered</h1>" in await response.text()) == (200, True)
        async with gateway.http.post(made["url"], data=form) as response:
            assert response.status == 409


@pytest.mark.parametrize(("approvers", "user"), [({"users": ["kim", "lee"]}, "kim"), ({}, "local:gateway")])
async def test_it_answers_as_one_of_the_approvers(
    own: Connection, approvers: dict[str, Any], user: str
) -> None:
    await keep(await open_ledgers(own.client.jetstream()), awaiting(buyer(approvers=approvers)))
    async with serving(own) as gateway:
        _, made = await mint(gateway)
        async with gateway.http.get(made["url"]) as response:
            found = re.search(r'name="proof" value="([^"]+)"', await response.text())
        assert found is not None
        with pytest.MonkeyPatch.context() as patching:
            patching.setattr(answering, "PATIENCE_S", 0.0)
            form = {"proof": found[1], "choice": "approve"}
            async with gateway.http.post(made["url"], data=form, allow_redirects=False) as response:
                assert response.status == 303

    subject = names.inbox_subject(NAMESPACE, AGENT, names.TASK_COMPLETED)
    stored = await own.client.jetstream().get_last_msg(names.STREAM, subject)
    assert json.loads(stored.data or b"{}")["result"]["answeredBy"] == user


async def test_an_agent_that_has_no_ledger_is_none(own: Connection) -> None:
    async with serving(own) as gateway:
        assert (await mint(gateway))[1]["code"] == "NoSuchAgent"


async def test_a_page_elsewhere_makes_no_links(own: Connection) -> None:
    async with serving(own) as gateway:
        status, problem = await mint(gateway, Origin="https://evil.example")

    assert (status, problem["code"]) == (403, "NotLoopback")


async def test_links_of_another_process_open_nothing(own: Connection) -> None:
    await keep(await open_ledgers(own.client.jetstream()), awaiting(buyer()))
    async with serving(own) as gateway:
        path = (await mint(gateway))[1]["url"].partition("/v1/")[2]
    async with serving(own) as gateway, gateway.http.get(f"/v1/{path}") as response:
        assert response.status == 404
