"""Subscriptions over a real broker and real sinks: every event is delivered, or becomes a dead letter."""

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed import names
from heed.bus.client.connection import ApiRefused, Connection
from heed.bus.codec.event_requests import write_request
from heed.bus.consumer.durable import ERR_CONSUMER_NOT_FOUND
from heed.bus.dead_letters import DeadLetterEntry, DeadLetterFilter, DeadLetterStore
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event
from heed.gateway.objects import local_object
from heed.gateway.subscriptions import dispatcher, part
from heed.gateway.subscriptions.sink import SinkClient
from tests.builders.gateway import subscription_document
from tests.builders.manifests import policy_manifest
from tests.integration.cemetery import Run
from tests.integration.gateway.serving import RunningGateway, serving
from tests.integration.gateway.sinks import Answer, Sink, SunkRequest, sink_at
from tests.integration.waiting import SOON, until
from tests.markdown import ROOT
from tests.nats_server import NatsServer

PLACED = "com.example.order.placed"
QUICK = {"attempts": 3, "backoff": {"initial": "0s", "max": "0s"}}
PATIENT = {"attempts": 100, "backoff": {"initial": "0s", "max": "0s"}}


class Subscriptions:
    """The Subscriptions of a folder, and the broker that they read from."""

    def __init__(self, connection: Connection, folder: Path, namespace: str) -> None:
        self.connection, self.folder, self.namespace = connection, folder, namespace
        self.bus = JetStreamBus(connection)

    def put(self, url: str, name: str = "orders", *others: dict[str, Any], **spec: Any) -> None:
        """Write a Subscription into the folder, with other manifests beside it."""
        headers = spec.pop("headers", [])
        document = subscription_document(name, self.namespace, **spec)
        document["metadata"] = {"name": name, "namespace": self.namespace}
        document["spec"]["sink"] = {"url": url, "headers": headers}
        for other in others:
            other["metadata"]["namespace"] = self.namespace
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump_all([document, *others]))

    async def begun(self, name: str = "orders") -> str:
        """Wait until the Subscription has its consumer: from then on no event is missed. Returns its name."""

        async def has_begun() -> bool:
            return not await self.has_ended(name)

        await until(has_begun)
        return self.consumer(name)

    def consumer(self, name: str = "orders") -> str:
        """The name of its consumer."""
        document = {"kind": names.SUBSCRIPTION, "metadata": {"name": name, "namespace": self.namespace}}
        return names.subscription_consumer(local_object(document)["metadata"]["uid"])

    async def has_ended(self, name: str = "orders") -> bool:
        """Whether it has no consumer."""
        try:
            await self.connection.api(f"CONSUMER.INFO.{names.STREAM}.{self.consumer(name)}")
        except ApiRefused as error:
            if error.err_code != ERR_CONSUMER_NOT_FOUND:
                raise
            return True
        return False

    async def send(self, *ids: str, type_: str = PLACED, **members: Any) -> None:
        """Publish events with these ids."""
        subject = names.event_subject(self.namespace, type_)
        for id_ in ids:
            await self.bus.publish(subject, Event(id_, "/shop", type_, **{"data": {"id": id_}, **members}))

    async def letters(self, name: str = "orders") -> list[DeadLetterEntry]:
        """The Subscription's dead letters."""
        wanted = DeadLetterFilter(self.namespace, names.subscriber(name))
        store = DeadLetterStore(self.connection)
        return [item async for batch in store.find(wanted, payloads=True) for item in batch]

    async def buried(self, count: int) -> list[DeadLetterEntry]:
        """Wait for so many dead letters."""

        async def are_there() -> bool:
            return len(await self.letters()) >= count

        await until(are_there)
        return await self.letters()


@pytest.fixture
def subscriptions(connection: Connection, tmp_path: Path, namespace: str) -> Subscriptions:
    """None yet."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    return Subscriptions(connection, folder, namespace)


@pytest.fixture
async def gateway(
    connection: Connection, subscriptions: Subscriptions, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningGateway]:
    """A gateway that serves them, and looks often at how much waits."""
    monkeypatch.setattr(part, "NUMBERS_INTERVAL_S", 0.05)
    monkeypatch.setattr(dispatcher, "SECRET_RETRY_S", 0.05)
    async with serving(connection, manifests=[subscriptions.folder]) as gateway:
        yield gateway


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    """A sink that takes everything."""
    async with sink_at() as sink:
        yield sink


pytestmark = pytest.mark.usefixtures("gateway")


async def test_events_are_delivered_in_binary_mode(subscriptions: Subscriptions, sink: Sink) -> None:
    subscriptions.put(sink.url, headers=[{"name": "X-Team", "value": "shop"}])
    await subscriptions.begun()

    await subscriptions.send(
        "a", subject="grün 1", time="2026-01-31T12:00:00Z", extensions={"correlationid": "c", "n": 1}
    )
    await until(lambda: len(sink.requests) == 1)

    (request,) = sink.requests
    assert (request.path, json.loads(request.body)) == ("/events", {"id": "a"})
    assert {name: value for name, value in request.headers.items() if name.startswith("ce-")} == {
        "ce-specversion": "1.0",
        "ce-id": "a",
        "ce-source": "/shop",
        "ce-type": PLACED,
        "ce-subject": "gr%C3%BCn%201",
        "ce-time": "2026-01-31T12:00:00Z",
        "ce-correlationid": "c",
        "ce-n": "1",
    }
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-team"] == "shop"


async def test_or_in_structured_mode(subscriptions: Subscriptions, sink: Sink) -> None:
    subscriptions.put(sink.url, delivery={"mode": "Structured"})
    await subscriptions.begun()

    await subscriptions.send("a", data="grün", datacontenttype="text/plain")
    await until(lambda: len(sink.requests) == 1)

    (request,) = sink.requests
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert json.loads(request.body) == {
        "specversion": "1.0",
        "id": "a",
        "source": "/shop",
        "type": PLACED,
        "datacontenttype": "text/plain",
        "data": "grün",
    }


async def test_only_events_of_its_types_for_which_where_holds(
    subscriptions: Subscriptions, sink: Sink
) -> None:
    types = [
        "com.example.order.*",
        "*.example.order.placed",
    ]  # which overlap: the broker sees one wider pattern
    subscriptions.put(sink.url, types=types, where="event.data.id != 'no'")
    await subscriptions.begun()

    await subscriptions.send("other", type_="org.example.order.lost")
    await subscriptions.send("deeper", type_="com.example.order.placed.twice")
    await subscriptions.send("no", "yes")
    await subscriptions.send("org", type_="org.example.order.placed")
    await until(lambda: "org" in sink.ids)

    assert sorted(sink.ids) == ["org", "yes"]


async def test_events_of_other_namespaces_are_not_its_business(
    subscriptions: Subscriptions, sink: Sink
) -> None:
    subscriptions.put(sink.url)
    await subscriptions.begun()

    await subscriptions.bus.publish("heed.events.other." + PLACED, Event("x", "/shop", PLACED))
    await subscriptions.send("a")
    await until(lambda: len(sink.requests) == 1)

    assert sink.ids == ["a"]


async def test_what_fails_is_tried_again_until_it_is_taken(subscriptions: Subscriptions, sink: Sink) -> None:
    answers = iter([500, 503, 429, 200])
    sink.answer = lambda request: next(answers)
    subscriptions.put(sink.url, delivery={"retry": PATIENT})
    await subscriptions.begun()

    await subscriptions.send("a")
    await until(lambda: len(sink.requests) == 4)

    assert sink.ids == ["a"] * 4
    assert await subscriptions.letters() == []


async def test_what_always_fails_becomes_a_dead_letter_and_the_others_are_delivered(
    subscriptions: Subscriptions, sink: Sink
) -> None:
    sink.answer = lambda request: 500 if request.id == "bad" else 204
    subscriptions.put(sink.url, delivery={"retry": QUICK})
    await subscriptions.begun()

    await subscriptions.send("a", "bad", "b")
    (entry,) = await subscriptions.buried(1)

    assert sink.ids.count("bad") == 3
    assert set(sink.ids) == {"a", "bad", "b"}
    letter = entry.letter
    assert (letter.cause("Code"), letter.cause("Message")) == (
        "SinkFailed",
        "the sink answered 500 (the last of 3 attempts)",
    )
    assert (letter.namespace, letter.agent, letter.type) == (
        subscriptions.namespace,
        "subscription:orders",
        PLACED,
    )
    assert json.loads(letter.payload) == {"id": "bad"}


@pytest.mark.parametrize("status", [400, 410, 301])
async def test_what_is_refused_for_good_is_tried_once(
    subscriptions: Subscriptions, sink: Sink, status: int
) -> None:
    sink.answer = lambda request: (status, {"Location": sink.url.replace("events", "elsewhere")})
    subscriptions.put(sink.url)
    await subscriptions.begun()

    await subscriptions.send("a")
    (entry,) = await subscriptions.buried(1)

    assert [request.path for request in sink.requests] == ["/events"]
    assert entry.letter.cause("Code") == "SinkRefused"
    assert entry.letter.cause("Message") == f"the sink answered {status}, which is final"


async def test_a_dead_letter_is_redriven_to_its_sink(subscriptions: Subscriptions, sink: Sink) -> None:
    sink.answer = lambda request: 422
    subscriptions.put(sink.url)
    await subscriptions.begun()
    await subscriptions.send("a")
    found = await subscriptions.buried(1)

    sink.answer = lambda request: 200
    store = DeadLetterStore(subscriptions.connection)
    (outcome,) = await store.redrive(found, {})
    await until(lambda: len(sink.requests) == 2)

    assert outcome.state == "redriven"
    assert sink.ids == ["a", "a"]
    assert not any(name.startswith("heed-redrive") for name in sink.requests[1].headers)
    assert [entry.mark is not None for entry in await subscriptions.letters()] == [True]


async def test_heed_dead_shows_and_redrives_it(
    subscriptions: Subscriptions, sink: Sink, heed_dead: Run
) -> None:
    sink.answer = lambda request: 422
    subscriptions.put(sink.url)
    await subscriptions.begun()
    await subscriptions.send("a")
    (entry,) = await subscriptions.buried(1)
    selection = ("-n", subscriptions.namespace, "--agent", "subscription:orders")

    listed = await heed_dead("list", *selection)
    shown = await heed_dead("show", str(entry.letter.id))
    sink.answer = lambda request: 200
    redriven = await heed_dead("redrive", "--all", *selection)
    await until(lambda: len(sink.requests) == 2)

    assert "subscription:orders" in listed.stdout
    assert "SinkRefused" in listed.stdout
    assert "the sink answered 422" in shown.stdout
    assert redriven.exit_code == 0


async def test_one_that_is_redriven_in_vain_is_another_letter_of_the_next_attempt(
    subscriptions: Subscriptions, sink: Sink
) -> None:
    sink.answer = lambda request: 422
    subscriptions.put(sink.url)
    await subscriptions.begun()
    await subscriptions.send("a")

    await DeadLetterStore(subscriptions.connection).redrive(await subscriptions.buried(1), {})
    found = await subscriptions.buried(2)

    assert [entry.letter.attempt for entry in found] == [1, 2]
    assert [entry.letter.type for entry in found] == [PLACED, PLACED]


async def test_a_condition_that_cannot_be_told_is_a_dead_letter(
    subscriptions: Subscriptions, sink: Sink
) -> None:
    subscriptions.put(sink.url, where="event.data.total > 10")
    await subscriptions.begun()

    await subscriptions.send("a")
    (entry,) = await subscriptions.buried(1)

    assert entry.letter.cause("Code") == "ExpressionFailed"
    assert sink.requests == []


async def test_a_sink_that_asks_for_time_gets_it(subscriptions: Subscriptions, sink: Sink) -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []

    def answer(request: SunkRequest) -> Answer:
        times.append(loop.time())
        return (503, {"Retry-After": "1"}) if len(times) == 1 else 204

    sink.answer = answer
    subscriptions.put(sink.url, delivery={"retry": PATIENT, "maxInFlight": 1})
    await subscriptions.begun()

    await subscriptions.send("a", "b")
    await until(lambda: len(times) == 3)

    assert times[1] - times[0] >= 1


async def test_no_more_are_under_way_than_may(subscriptions: Subscriptions, sink: Sink) -> None:
    sink.delay_s = 0.02
    subscriptions.put(sink.url, delivery={"maxInFlight": 2})
    await subscriptions.begun()

    await subscriptions.send(*map(str, range(20)))
    await until(lambda: len(sink.requests) == 20)

    assert sink.most_under_way <= 2


async def test_while_the_sink_is_away_events_wait(subscriptions: Subscriptions, unused_tcp_port: int) -> None:
    subscriptions.put(f"http://127.0.0.1:{unused_tcp_port}/events", delivery={"retry": PATIENT})
    await subscriptions.begun()
    await subscriptions.send("a", "b")

    async with sink_at(unused_tcp_port) as sink:
        await until(lambda: set(sink.ids) == {"a", "b"})

    assert await subscriptions.letters() == []


async def test_metrics_say_which_deliver_and_how_much_waits(
    subscriptions: Subscriptions, gateway: RunningGateway, unused_tcp_port: int
) -> None:
    async def shown(metric: str, value: float | None, name: str = "orders") -> bool:
        page = (await gateway.context.metrics.page(""))[0].decode()
        series = f'{metric}{{namespace="{subscriptions.namespace}",subscription="{name}"}}'
        return series not in page if value is None else f"{series} {value}" in page

    ready, lag = "heed_gateway_subscription_ready", "heed_gateway_subscription_lag_events"
    reference = {"name": "missing", "key": "token"}
    subscriptions.put("http://192.0.2.1", "keyed", headers=[{"name": "X-Key", "secretRef": reference}])
    subscriptions.put(f"http://127.0.0.1:{unused_tcp_port}/events", delivery={"retry": PATIENT})
    await subscriptions.begun("keyed")
    await subscriptions.begun()
    await until(lambda: shown(ready, 1.0))

    # Given a sink that is away, and a Secret that is missing: they are not ready, and events wait
    await subscriptions.send("a", "b")
    for name in ("orders", "keyed"):
        await until(lambda: shown(ready, 0.0, name))  # noqa: B023, it is awaited here
        await until(lambda: shown(lag, 2.0, name))  # noqa: B023

    # When the sink is there
    async with sink_at(unused_tcp_port) as sink:
        await until(lambda: set(sink.ids) == {"a", "b"})
        await until(lambda: shown(ready, 1.0))
        await until(lambda: shown(lag, 0.0))

    # And of one that is deleted nothing is left
    (subscriptions.folder / "orders.yaml").unlink()
    await until(lambda: shown(ready, None))
    assert await shown(lag, None)


async def test_headers_come_from_secrets_and_follow_them(subscriptions: Subscriptions, sink: Sink) -> None:
    def secret(value: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "sink", "labels": {names.LABEL_GATEWAY_SECRET: "true"}},
            "stringData": {"token": value},
        }

    reference = {"name": "sink", "key": "token"}
    headers = [{"name": "Authorization", "prefix": "Bearer ", "secretRef": reference}]
    sink.answer = lambda request: 204 if request.headers.get("authorization") == "Bearer two" else 401
    subscriptions.put(sink.url, "orders", secret("one"), headers=headers, delivery={"retry": PATIENT})
    await subscriptions.begun()
    await subscriptions.send("a")
    await until(lambda: len(sink.requests) > 0)

    subscriptions.put(sink.url, "orders", secret("two"), headers=headers, delivery={"retry": PATIENT})
    await until(lambda: sink.requests[-1].headers["authorization"] == "Bearer two")

    assert sink.requests[0].headers["authorization"] == "Bearer one"


async def test_what_policies_do_not_allow_waits_until_they_do(
    subscriptions: Subscriptions, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    policy = policy_manifest("strict", namespace=subscriptions.namespace, deliveries=[])
    file = subscriptions.folder / "policy.yaml"
    subscriptions.put(sink.url)
    await subscriptions.begun()
    await subscriptions.send("a")
    await until(lambda: sink.ids == ["a"])

    file.write_text(yaml.safe_dump(policy))
    await until(lambda: any(getattr(item, "reason", "") == "PolicyViolation" for item in caplog.records))
    await subscriptions.send("b")
    policy["spec"]["deliveries"] = [{"type": "com.example.order.placed"}]  # not all that it asks for
    file.write_text(yaml.safe_dump(policy))
    await until(lambda: "allowed: com.example.order.placed" in repr([vars(i) for i in caplog.records]))
    assert sink.ids == ["a"]

    policy["spec"]["deliveries"] = [{"type": "com.example.order.*"}]
    file.write_text(yaml.safe_dump(policy))
    await until(lambda: sink.ids == ["a", "b"])


async def test_an_edit_takes_effect_and_one_that_is_removed_delivers_no_more(
    subscriptions: Subscriptions, sink: Sink
) -> None:
    subscriptions.put(sink.url)
    consumer = await subscriptions.begun()
    await subscriptions.send("a")
    await until(lambda: sink.ids == ["a"])

    subscriptions.put(sink.url, types=["com.example.invoice.*"])

    async def is_edited() -> bool:
        info = await subscriptions.connection.api(f"CONSUMER.INFO.HEED.{consumer}")
        return any("invoice" in subject for subject in info["config"]["filter_subjects"])

    await until(is_edited)
    await subscriptions.send("b")
    await subscriptions.send("c", type_="com.example.invoice.sent")
    await until(lambda: "c" in sink.ids)
    assert sink.ids == ["a", "c"]

    (subscriptions.folder / "orders.yaml").unlink()
    await until(subscriptions.has_ended)


async def test_two_gateways_share_the_events(
    subscriptions: Subscriptions, sink: Sink, connection: Connection
) -> None:
    async with serving(connection, manifests=[subscriptions.folder]):
        subscriptions.put(sink.url)
        await subscriptions.begun()
        ids = [str(number) for number in range(50)]

        await subscriptions.send(*ids)
        await until(lambda: len(sink.requests) >= 50)

    assert sorted(sink.ids) == sorted(ids)


async def test_no_address_of_the_machine_is_reached_by_another_name(
    sink: Sink,
) -> None:
    port = sink.url.split(":")[2]
    client = SinkClient()
    try:
        for host in ("127.0.0.1", "localhost", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "0.0.0.0"):
            request = write_request(Event("a", "/shop", PLACED), "Binary")
            answer = await client.send(f"http://{host}:{port}", request, {}, 5.0)
            assert answer.status == 0, host
    finally:
        await client.close()

    assert sink.requests == []


# --- death ----------------------------------------------------------------------------------------------------------


async def start(server: NatsServer, folder: Path) -> asyncio.subprocess.Process:
    """A gateway in a process of its own, which serves."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.gateway.process", server.url, str(folder)),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}/operator:{ROOT}", "PATH": "/usr/bin:/bin"},
    )
    assert process.stdout is not None
    async with asyncio.timeout(SOON):
        assert await process.stdout.readline() == b"serving\n"
    return process


@pytest.mark.slow
async def test_what_a_killed_gateway_had_under_way_is_delivered_by_the_next(
    own: Connection, own_server: NatsServer, tmp_path: Path, namespace: str, sink: Sink
) -> None:
    folder = tmp_path / "killed"
    folder.mkdir()
    subscriptions = Subscriptions(own, folder, namespace)
    subscriptions.put(sink.url, delivery={"timeout": "1s", "retry": PATIENT})
    ids = [f"e{number}" for number in range(300)]
    dice = random.Random(7)
    sink.answer = lambda request: 503 if dice.random() < 0.1 else 204
    process = await start(own_server, folder)
    await subscriptions.begun()

    sending = asyncio.create_task(subscriptions.send(*ids))
    for kill_at in (40, 120):
        await until(lambda at=kill_at: len(sink.requests) >= at)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        process = await start(own_server, folder)
    await sending
    try:
        await until(lambda: set(ids) <= set(sink.ids), timeout=2 * SOON)
    finally:
        process.kill()
        await process.wait()

    assert await subscriptions.letters() == []
