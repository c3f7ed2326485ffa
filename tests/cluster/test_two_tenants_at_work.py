"""What Jobs of a hostile tenant do to another: with the credentials that the operator made for them, and by numbers.

tests/integration/test_hostile_tenants.py tells at length what the broker refuses; here the credentials are real ones,
read out of their Secret as the tenant can.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence

import nats
import nats.errors
import pytest
from nats.aio.client import Client

from heed import names
from tests.builders.agents import ASKED
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.ruling import policy
from tests.cluster.tenancy import (
    ORDERED,
    Tenants,
    ask,
    bookkeeper,
    hearing,
    hearing_agent,
    publishing_researcher,
)
from tests.integration.waiting import until
from tests.patience import PATIENCE
from tests.statuses import totals

pytestmark = pytest.mark.cluster
FLOOD = 1_500  # events
ORDERS = 60
QUESTIONS = 3


@pytest.fixture(autouse=True)
def nothing_left(tenants: Tenants) -> Iterator[None]:
    """Each story begins with empty namespaces."""
    yield
    tenants.clear()


def attempts(a: str, b: str, task: str) -> tuple[Sequence[str], Sequence[str]]:
    """The subjects that Mallory's Job, which is the task of `spy` in `a`, tries to publish on, and to hear."""
    publish = [
        f"heed.events.{b}.{ORDERED}",
        f"heed.events.{b}.com.mallory.seen",
        f"heed.events.{a}.{ORDERED}",  # its Agent may not emit that
        f"heed.events.{a}.{names.TASK_COMPLETED}",
        f"heed.inbox.{b}.victim.{names.TASK_COMPLETED}",
        f"heed.inbox.{a}.spy.{names.TASK_COMPLETED}",
        f"heed.inbox.{a}.other.com.mallory.seen",
        f"heed.redrive.{b}.victim.{ORDERED}",
        f"heed-dead.{b}.victim",
        names.task_subject(b, "victim", task, names.TASK_RESULT),
        names.task_subject(a, "spy", f"{task}0", names.TASK_PROGRESS),
        "$JS.API.STREAM.PURGE.HEED",
        "$JS.API.STREAM.DELETE.HEED",
        "$JS.API.STREAM.MSG.GET.HEED",
        "$JS.API.CONSUMER.CREATE.HEED",
        "$SYS.REQ.SERVER.PING",
        "_INBOX.heed.x",
    ]
    listen = [
        ">",
        "heed.>",
        f"heed.events.{b}.>",
        f"heed.events.{a}.>",
        f"heed.inbox.{b}.>",
        f"heed.tasks.{a}.spy.{task}.>",
        "heed-dead.>",
        "_INBOX.>",
        "$JS.>",
        "$SYS.>",
    ]
    return publish, listen


def test_credentials_of_a_job_are_good_for_its_own_task_and_nothing_else(
    tenants: Tenants, pods: PodPhases
) -> None:
    # Given a Job of an Agent that may emit com.mallory.>, and Agents in `b`
    a, b = tenants.a, tenants.b
    tenants.victims(publishing_researcher("victim"), hearing_agent("witness", hearing(ORDERED)))
    tenants.apply(
        policy("spies", emissions=["com.mallory.>", "com.example.question.*"]), publishing_researcher("spy")
    )
    tenants.ready(a, "spy")
    ask(tenants, a, "q-1")
    job = tenants.job(a, "spy")
    task = job["metadata"]["labels"][names.LABEL_TASK_ID]
    creds, prefix = tenants.credentials(job), names.task_inbox(a, "spy", task)
    publish, listen = attempts(a, b, task)
    before, dead = tenants.stored(), tenants.stored(names.DEAD_STREAM)

    # When the Job tries everything, while something is said in `b`
    async def attack(client: Client) -> tuple[list[str], list[str]]:
        refused: list[str] = []
        heard: list[str] = []

        async def failed(error: Exception) -> None:
            refused.append(str(error).lower())

        async def hear(message: object) -> None:
            heard.append(str(message))

        client._error_cb = failed
        for subject in listen:
            await client.subscribe(subject, cb=hear)
        for subject in publish:
            await client.publish(subject, b'{"forged": true}')
        await client.flush()
        await asyncio.to_thread(tenants.say, b, ORDERED, "secret-1", {})
        while len(refused) < len(publish) + len(listen):  # else the test is over its time
            await client.flush()
        return refused, heard

    refused, heard = tenants.broker.using(creds, attack, prefix)

    # Then the server has refused it all, one by one, and nothing came of it
    wanted = [f'permissions violation for publish to "{subject.lower()}"' for subject in publish]
    wanted += [f'permissions violation for subscription to "{subject.lower()}"' for subject in listen]
    assert [item for item in wanted if not any(item in said for said in refused)] == []
    assert heard == []
    assert tenants.stored() == [*before, names.event_subject(b, ORDERED)]
    assert tenants.stored(names.DEAD_STREAM) == dead

    # And what it may say, it can
    own = names.event_subject(a, "com.mallory.seen")
    progress = names.task_subject(a, "spy", task, names.TASK_PROGRESS)
    tenants.broker.send(creds, own, "com.mallory.seen", "m-1", {}, prefix)
    tenants.broker.send(creds, progress, names.TASK_PROGRESS, "p-1", {}, prefix)
    assert tenants.stored()[len(before) + 1 :] == [own, progress]
    status = tenants.until(b, "witness", lambda s: totals(s).get("handled") == 1)
    assert totals(status) == {"handled": 1}


def test_credentials_that_have_expired_let_nobody_in_and_out_who_is(tenants: Tenants) -> None:
    # Given a Job without a timeout, so its credentials live as long as the settings say
    manifest = publishing_researcher("brief")
    del manifest["spec"]["tasks"]["research"]["timeout"]
    tenants.apply(manifest)
    tenants.ready(tenants.a, "brief")
    ask(tenants, tenants.a, "q-2")
    job = tenants.job(tenants.a, "brief")
    task = job["metadata"]["labels"][names.LABEL_TASK_ID]
    creds, prefix = tenants.credentials(job), names.task_inbox(tenants.a, "brief", task)
    own = names.event_subject(tenants.a, "com.mallory.seen")

    # When it is connected, and its time comes
    async def outlive(client: Client) -> str:
        await client.request(own, b"{}", timeout=PATIENCE)
        await until(lambda: "expired" in str(client.last_error) or client.is_closed, PATIENCE)
        return str(client.last_error)

    assert "authentication expired" in tenants.broker.using(creds, outlive, prefix)

    # Then it does not get in again
    def refused() -> bool:
        try:
            tenants.broker.send(creds, own, "com.mallory.seen", "late", {}, prefix)
        except (nats.errors.Error, OSError):
            return True
        return False

    eventually(refused, PATIENCE, what="a refusal")


def test_a_flood_in_one_namespace_takes_nothing_from_another(tenants: Tenants, pods: PodPhases) -> None:
    # Given Agents of `a` that make the most of every event: costly expressions, much state, a task for each
    a, b = tenants.a, tenants.b
    costly = "${event.data.l.map(x, event.data.l.map(y, event.data.l.filter(z, z > x + y).size()))}"
    starting = {
        "name": "start",
        "type": "com.mallory.>",
        "start": [{"task": "research", "input": {"topic": "${event.id}"}}],
    }
    tasks = publishing_researcher("x")["spec"]["tasks"]
    hungry = {"name": "eat", "type": "com.mallory.>", "state": {"all": costly}}
    loud = {"name": "eat", "type": "com.mallory.>", "state": {"all": "${event.data.s}"}}
    keyed = {"key": "event.id"}
    tenants.apply(
        publishing_researcher("spy"),
        *(hearing_agent(f"hungry-{n}", hungry, session=keyed) for n in range(3)),
        *(hearing_agent(f"loud-{n}", loud, session=keyed) for n in range(5)),
        hearing_agent("starter", starting, session=keyed, tasks=tasks),
        *(hearing_agent(f"idle-{n}") for n in range(40)),
    )
    tenants.victims(bookkeeper(), publishing_researcher("asked"))
    tenants.ready(a, "spy")
    ask(tenants, a, "q-3")
    job = tenants.job(a, "spy")
    task = job["metadata"]["labels"][names.LABEL_TASK_ID]
    creds, prefix = tenants.credentials(job), names.task_inbox(a, "spy", task)

    # When its Job says as much as it can, and meanwhile somebody works in `b`
    async def flood(client: Client) -> None:
        progress = names.task_subject(a, "spy", task, names.TASK_PROGRESS)
        data = json.dumps({"l": list(range(60)), "s": "x" * 2_000}).encode()
        for n in range(FLOOD):
            type_ = names.TASK_PROGRESS if n % 3 == 0 else "com.mallory.seen"
            subject = progress if n % 3 == 0 else names.event_subject(a, type_)
            headers = {"ce-specversion": "1.0", "ce-id": f"m-{n}", "ce-source": "/m", "ce-type": type_}
            await client.publish(subject, data, headers=headers)
        await client.flush()

    before = len(tenants.stored())
    tenants.broker.using(creds, flood, prefix)
    for n in range(ORDERS):
        tenants.say(b, ORDERED, f"o-{n}", {"n": n})
    for n in range(QUESTIONS):
        tenants.broker.send(
            tenants.broker.keys["publisher.creds"],
            names.event_subject(b, ASKED),
            ASKED,
            f"q-b-{n}",
            {"topic": "tides"},
        )

    # Then all of that is done
    status = tenants.until(b, "books", lambda s: totals(s).get("handled") == ORDERS, 120)
    assert totals(status) == {"handled": ORDERS, "emitted": ORDERS}
    assert set(status["sessions"]) == {f"o-{n}" for n in range(ORDERS)}
    job = tenants.job(b, "asked")
    pods.succeed(b, job["metadata"]["name"], '{"answer": "the moon"}')
    status = tenants.until(b, "asked", lambda s: totals(s).get("tasksCompleted") == 1, 120)
    assert "deadLettered" not in totals(status)
    assert len(tenants.stored()) >= before + FLOOD + 2 * ORDERS
    assert tenants.operator.probe("readyz") == (200, "active")
