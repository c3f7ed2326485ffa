"""Webhooks over a real broker: deliveries of real senders become events, once; all else is refused."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed import names
from heed.bus.client.connection import Connection
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event
from heed.core.webhooks.delivery import delivery_digest
from heed.gateway.webhooks import standing
from heed.util.backoff import Backoff
from tests.builders.gateway import SIGNED, event_source_document
from tests.builders.manifests import policy_manifest
from tests.integration.gateway.deliveries import (
    ALERT,
    GITHUB_ISSUE,
    GITLAB_ISSUE,
    SECRET,
    SLACK_MESSAGE,
    STRIPE_CHARGE,
    SentDelivery,
    encode,
    from_alertmanager,
    from_github,
    from_gitlab,
    from_slack,
    from_stripe,
    sign,
)
from tests.integration.gateway.serving import RunningGateway, serving
from tests.integration.reading import BEGINNING
from tests.integration.waiting import until
from tests.markdown import ROOT

EXAMPLES = ROOT / "examples/webhooks"
DAY_S = 24 * 3600


class Hooks:
    """A gateway with the EventSources of a folder, all of them in the test's namespace."""

    def __init__(self, gateway: RunningGateway, folder: Path, namespace: str) -> None:
        self.gateway, self.folder, self.namespace = gateway, folder, namespace

    async def send(self, delivery: SentDelivery, **changed: Any) -> tuple[int, str]:
        """The answer's status, and its code where it is a problem document."""
        path = f"/v1/hooks/{self.namespace}/{delivery.path}"
        headers = {**delivery.headers, **changed.pop("headers", {})}
        body = changed.pop("body", delivery.body)
        async with self.gateway.http.post(path, data=body, headers=headers, **changed) as answer:
            if answer.content_type != "application/problem+json":
                return answer.status, await answer.text()
            return answer.status, (await answer.json(content_type=None))["code"]

    async def published(self) -> list[Event]:
        """All events of the namespace."""
        bus = JetStreamBus(self.gateway.context.connection)
        reader = await bus.open([names.event_subject(self.namespace, ">")], 0, BEGINNING)
        found: list[Event] = []
        try:
            while received := await reader.read(100, 0.3):
                found += [item.event for item in received if isinstance(item.event, Event)]
        finally:
            await reader.close()
        return found

    def put(self, name: str, *documents: dict[str, Any]) -> None:
        """Write manifests into a file of the folder, in the test's namespace."""
        for document in documents:
            document["metadata"]["namespace"] = self.namespace
        (self.folder / name).write_text(yaml.safe_dump_all(documents))

    async def eventually(self, delivery: SentDelivery, status: int) -> None:
        """Send a delivery until it is answered with a status: an edit is noticed a moment later."""

        async def is_answered() -> bool:
            return (await self.send(delivery))[0] == status

        await until(is_answered)


@pytest.fixture
def folder(tmp_path: Path, namespace: str) -> Path:
    """A copy of the examples in the test's namespace."""
    shutil.copytree(EXAMPLES, tmp_path / "webhooks")
    for file in (tmp_path / "webhooks").glob("*.yaml"):
        documents = list(yaml.safe_load_all(file.read_text()))
        for document in documents:
            document["metadata"]["namespace"] = namespace
        file.write_text(yaml.safe_dump_all(documents))
    return tmp_path / "webhooks"


@pytest.fixture
async def hooks(connection: Connection, folder: Path, namespace: str) -> AsyncIterator[Hooks]:
    """The examples, served."""
    async with serving(connection, manifests=[folder]) as gateway:
        yield Hooks(gateway, folder, namespace)


def secret(name: str, value: bytes = SECRET, key: str = "secret", *, label: str = "true") -> dict[str, Any]:
    """A Secret for the gateway."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {names.LABEL_GATEWAY_SECRET: label}},
        "stringData": {key: value.decode()},
    }


def plain(path: str = "hook", body: bytes = b"{}", **headers: str) -> SentDelivery:
    """A delivery without a signature."""
    return SentDelivery(path, body, {"Content-Type": "application/json", **headers})


# --- real senders ---------------------------------------------------------------------------------------------------


async def test_github(hooks: Hooks) -> None:
    assert await hooks.send(from_github(GITHUB_ISSUE)) == (202, "")
    assert await hooks.send(from_github({"zen": "Keep it simple."}, event="ping", id="d-2")) == (204, "")

    assert await hooks.published() == [
        Event(
            id="d-1",
            source="https://github.com/example/app",
            type="com.github.issues",
            subject="7",
            data=GITHUB_ISSUE,
            datacontenttype="application/json",
        )
    ]


async def test_gitlab(hooks: Hooks) -> None:
    assert await hooks.send(from_gitlab(GITLAB_ISSUE)) == (202, "")
    assert await hooks.send(from_gitlab(GITLAB_ISSUE, token="another")) == (401, "TokenMismatch")

    assert await hooks.published() == [
        Event(
            id="i-1",
            source="https://gitlab.example/a/b",
            type="com.gitlab.issue",
            subject="23",
            data=GITLAB_ISSUE,
            datacontenttype="application/json",
        )
    ]


async def test_slack(hooks: Hooks) -> None:
    asked = from_slack({"token": "x", "challenge": "3eZbrw1aB", "type": "url_verification"}, time.time())

    assert await hooks.send(asked) == (200, "3eZbrw1aB")
    assert await hooks.send(from_slack(SLACK_MESSAGE, time.time())) == (202, "")

    assert await hooks.published() == [
        Event(
            id="Ev1",
            source="https://slack.com/T1",
            type="com.slack.app_mention",
            subject="C1",
            data=SLACK_MESSAGE["event"],
            datacontenttype="application/json",
            extensions={"correlationid": "1.2"},
        )
    ]


async def test_stripe(hooks: Hooks) -> None:
    assert await hooks.send(from_stripe(STRIPE_CHARGE, time.time())) == (202, "")

    assert await hooks.published() == [
        Event(
            id="evt_1",
            source="https://api.stripe.com/v1",
            type="com.stripe.charge.succeeded",
            subject="ch_1",
            time="2023-11-14T22:13:20Z",
            data=STRIPE_CHARGE["data"],
            datacontenttype="application/json",
        )
    ]


async def test_alertmanager(hooks: Hooks) -> None:
    sent = from_alertmanager(ALERT)

    assert await hooks.send(sent) == (202, "")
    assert await hooks.send(from_alertmanager({**ALERT, "status": "resolved"})) == (202, "")

    firing, resolved = await hooks.published()
    assert firing == Event(
        id=delivery_digest(sent.body),
        source="http://alertmanager.example:9093",
        type="io.prometheus.alerts.firing",
        subject=ALERT["groupKey"],
        data=ALERT,
        datacontenttype="application/json",
        extensions={"correlationid": ALERT["groupKey"]},
    )
    assert (resolved.type, resolved.id != firing.id) == ("io.prometheus.alerts.resolved", True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: from_github(GITHUB_ISSUE),
        lambda: from_gitlab(GITLAB_ISSUE),
        lambda: from_slack(SLACK_MESSAGE, time.time()),
        lambda: from_stripe(STRIPE_CHARGE, time.time()),
        lambda: from_alertmanager(ALERT),
    ],
    ids=["github", "gitlab", "slack", "stripe", "alertmanager"],
)
async def test_a_delivery_that_is_sent_again_is_the_same_event(
    hooks: Hooks, make: Callable[[], SentDelivery]
) -> None:
    for _ in range(3):
        assert (await hooks.send(make()))[0] == 202

    assert len(await hooks.published()) == 1


# --- who is not believed --------------------------------------------------------------------------------------------


async def test_a_wrong_signature_is_refused_with_a_way_to_authenticate(hooks: Hooks) -> None:
    wrong = from_github(GITHUB_ISSUE, secret=b"guessed")
    path = f"/v1/hooks/{hooks.namespace}/github"

    async with hooks.gateway.http.post(path, data=wrong.body, headers=wrong.headers) as answer:
        assert (answer.status, answer.content_type) == (401, "application/problem+json")
        assert answer.headers["WWW-Authenticate"] == 'HMAC realm="heed"'
        text = await answer.text()
    right = from_github(GITHUB_ISSUE).headers["X-Hub-Signature-256"].removeprefix("sha256=")
    assert SECRET.decode() not in text
    assert right not in text
    assert await hooks.published() == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"body": encode({**GITHUB_ISSUE, "action": "deleted"})}, "SignatureMismatch"),
        ({"headers": {"X-Hub-Signature-256": ""}}, "SignatureMismatch"),
        ({"headers": {"X-Hub-Signature-256": sign(encode(GITHUB_ISSUE))}}, "SignatureMismatch"),
        ({"skip_auto_headers": (), "headers": {"X-Hub-Signature-256": "sha256=zz"}}, "SignatureMismatch"),
    ],
)
async def test_what_was_not_signed_is_refused(hooks: Hooks, changed: dict[str, Any], code: str) -> None:
    assert await hooks.send(from_github(GITHUB_ISSUE), **changed) == (401, code)
    assert await hooks.published() == []


async def test_without_a_signature_nothing_is_believed(hooks: Hooks) -> None:
    assert await hooks.send(plain("github", encode(GITHUB_ISSUE))) == (401, "SignatureMissing")
    assert await hooks.send(plain("slack/events", encode(SLACK_MESSAGE))) == (401, "SignatureMissing")
    assert await hooks.send(plain("gitlab", encode(GITLAB_ISSUE))) == (401, "TokenMissing")


async def test_what_was_signed_long_ago_or_will_be_is_a_replay(hooks: Hooks) -> None:
    for at in (time.time() - DAY_S, time.time() + DAY_S):
        assert await hooks.send(from_stripe(STRIPE_CHARGE, at)) == (401, "TimestampOutsideTolerance")
        assert await hooks.send(from_slack(SLACK_MESSAGE, at)) == (401, "TimestampOutsideTolerance")
    old = from_slack({"challenge": "x", "type": "url_verification"}, time.time() - DAY_S)
    assert await hooks.send(old) == (401, "TimestampOutsideTolerance")
    assert await hooks.published() == []


async def test_a_signature_of_one_webhook_is_none_of_another(hooks: Hooks) -> None:
    hooks.put(
        "two.yaml",
        secret("webhook", b"another"),
        event_source_document("hook", verify=SIGNED),
    )
    body = b"{}"
    ours = plain("hook", body, **{"X-Hub-Signature-256": f"sha256={sign(body, b'another')}"})
    theirs = plain("hook", body, **{"X-Hub-Signature-256": f"sha256={sign(body)}"})

    await hooks.eventually(ours, 202)

    assert await hooks.send(theirs) == (401, "SignatureMismatch")


# --- what is not taken ----------------------------------------------------------------------------------------------


async def test_an_address_that_there_is_not(hooks: Hooks) -> None:
    for path in ("nothing", "github/", "github/x", "slack", "../default/github", "GITHUB"):
        assert await hooks.send(plain(path)) == (404, "NotFound")


async def test_another_namespace_has_other_webhooks(hooks: Hooks) -> None:
    async with hooks.gateway.http.post("/v1/hooks/default/github", data=b"{}") as answer:
        assert answer.status == 404


async def test_only_post_delivers(hooks: Hooks) -> None:
    path = f"/v1/hooks/{hooks.namespace}/github"

    for method in ("GET", "PUT", "DELETE"):
        async with hooks.gateway.http.request(method, path, data=b"{}") as answer:
            assert answer.status == 405
            assert "POST" in answer.headers["Allow"]


async def test_a_body_beyond_the_limit_is_refused_before_it_is_verified(hooks: Hooks) -> None:
    hooks.put("small.yaml", event_source_document("hook", limits={"bodyBytes": 10}))
    await hooks.eventually(plain("hook", b'"1234567"'), 202)

    assert (await hooks.send(plain("hook", b'"12345678"')))[0] == 202
    assert await hooks.send(plain("hook", b'"123456789"')) == (413, "TooLarge")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"1"

    assert await hooks.send(plain("hook"), body=chunks()) == (413, "TooLarge")


async def test_an_event_larger_than_the_broker_takes_is_refused(hooks: Hooks) -> None:
    hooks.put("large.yaml", event_source_document("hook"))
    await hooks.eventually(plain(), 202)

    size = hooks.gateway.context.connection.max_payload - 100

    assert await hooks.send(plain("hook", b'"' + b"x" * size + b'"')) == (413, "TooLarge")


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "BadData"),
        (b"\x00", {"Content-Type": "application/octet-stream"}, 415, "UnsupportedMediaType"),
        (b"{}", {"Content-Encoding": "gzip"}, 415, "ContentEncoding"),
        (b"a=%ff", {"Content-Type": "application/x-www-form-urlencoded"}, 400, "BadForm"),
        (b"a&" * 1001, {"Content-Type": "application/x-www-form-urlencoded"}, 400, "BadForm"),
    ],
)
async def test_a_body_that_cannot_be_read(
    hooks: Hooks, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    hooks.put("any.yaml", event_source_document("hook"))
    await hooks.eventually(plain(), 202)
    before = len(await hooks.published())

    assert await hooks.send(plain("hook", body, **headers)) == (status, code)
    assert len(await hooks.published()) == before


async def test_a_delivery_that_the_mapping_makes_no_event_of(hooks: Hooks) -> None:
    assert await hooks.send(from_github({"action": "opened"})) == (400, "ExpressionFailed")
    assert await hooks.send(from_stripe({**STRIPE_CHARGE, "type": "a b"}, time.time())) == (400, "BadType")


async def test_headers_that_are_no_text_reach_expressions_as_text(hooks: Hooks) -> None:
    event = {"type": "com.example.hooked", "data": {"all": "${headers['x-odd']}", "q": "${query.q}"}}
    hooks.put("odd.yaml", event_source_document("hook", event=event))
    await hooks.eventually(plain("hook?q=1&q=2", b"{}", **{"X-Odd": "a"}), 202)
    before = await hooks.published()

    _, writer = await asyncio.open_connection(*hooks.gateway.server.address)
    path = f"/v1/hooks/{hooks.namespace}/hook?q=%C3%BC"
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n".encode() + b"X-Odd: \xff\r\n\r\n{ }"
    )

    async def is_published() -> bool:
        return len(await hooks.published()) > len(before)

    await until(is_published)
    found = await hooks.published()
    writer.close()

    assert before[0].data == {"all": "a", "q": "1"}
    assert found[-1].data == {"all": "\ufffd", "q": "ü"}


async def test_more_than_the_limits_of_a_webhook_is_put_off(hooks: Hooks) -> None:
    hooks.put("slow.yaml", event_source_document("hook", limits={"perSecond": 1, "burst": 2}))
    await hooks.eventually(plain(), 202)
    path = f"/v1/hooks/{hooks.namespace}/hook"

    statuses: list[int] = []
    for number in range(5):
        async with hooks.gateway.http.post(path, json=number) as answer:
            statuses.append(answer.status)
            if answer.status == 429:
                assert int(answer.headers["Retry-After"]) >= 1

    assert statuses[0] == 202
    assert 429 in statuses


async def test_a_form_is_decoded(hooks: Hooks) -> None:
    hooks.put("form.yaml", event_source_document("hook", event={"type": "com.example.${body.kind}"}))
    form = plain("hook", b"kind=order&x=1&x=2", **{"Content-Type": "application/x-www-form-urlencoded"})

    await hooks.eventually(form, 202)

    (event,) = await hooks.published()
    assert (event.type, event.data) == ("com.example.order", {"kind": "order", "x": "1"})


async def test_a_question_by_get_needs_its_token(hooks: Hooks) -> None:
    challenge = {
        "method": "GET",
        "when": "query['hub.mode'] == 'subscribe'",
        "reply": "${query['hub.challenge']}",
        "token": {"parameter": "hub.verify_token", "secretRef": {"name": "webhook", "key": "secret"}},
    }
    hooks.put("hub.yaml", secret("webhook"), event_source_document("hook", challenge=challenge))
    await hooks.eventually(plain(), 202)
    path = f"/v1/hooks/{hooks.namespace}/hook"
    asked = {"hub.mode": "subscribe", "hub.challenge": "<b>42", "hub.verify_token": SECRET.decode()}

    async with hooks.gateway.http.get(path, params=asked) as answer:
        assert (answer.status, await answer.text()) == (200, "<b>42")
        assert answer.content_type == "text/plain"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    async with hooks.gateway.http.get(path, params={**asked, "hub.verify_token": "guess"}) as answer:
        assert answer.status == 403
    async with hooks.gateway.http.get(path, params={**asked, "hub.mode": "unsubscribe"}) as answer:
        assert answer.status == 400


# --- edits ----------------------------------------------------------------------------------------------------------


async def test_secrets_are_rotated_without_a_gap(hooks: Hooks) -> None:
    verify = {"hmac": {**SIGNED["hmac"], "otherSecretRefs": [{"name": "webhook", "key": "next"}]}}
    keys = secret("webhook", b"old")
    hooks.put("rotated.yaml", keys, event_source_document("hook", verify=verify))

    def delivery(value: bytes, number: int) -> SentDelivery:
        body = encode(number)
        return plain("hook", body, **{"X-Hub-Signature-256": f"sha256={sign(body, value)}"})

    await hooks.eventually(delivery(b"old", 1), 202)
    assert (await hooks.send(delivery(b"new", 2)))[0] == 401
    keys["stringData"] = {"secret": "old", "next": "new"}
    hooks.put("rotated.yaml", keys, event_source_document("hook", verify=verify))
    assert (await hooks.send(delivery(b"new", 3)))[0] == 202
    assert (await hooks.send(delivery(b"old", 4)))[0] == 202
    keys["stringData"] = {"secret": "new"}
    hooks.put("rotated.yaml", keys, event_source_document("hook", verify=verify))
    assert (await hooks.send(delivery(b"new", 5)))[0] == 202
    assert (await hooks.send(delivery(b"old", 6)))[0] == 401

    assert [event.data for event in await hooks.published()] == [1, 3, 4, 5]


@pytest.mark.parametrize(
    "kept",
    [[], [secret("webhook", label="false")], [secret("webhook", key="other")], [secret("webhook", b"")]],
    ids=["none", "unlabelled", "another key", "empty"],
)
async def test_without_its_secret_a_webhook_takes_nothing_and_says_nothing_of_it(
    hooks: Hooks, kept: list[dict[str, Any]]
) -> None:
    hooks.put("without.yaml", *kept, event_source_document("hook", verify=SIGNED))
    signed = plain("hook", b"{}", **{"X-Hub-Signature-256": f"sha256={sign(b'{}', b'')}"})

    await hooks.eventually(signed, 503)

    assert await hooks.send(signed) == (503, "SecretUnavailable")
    assert await hooks.published() == []


async def test_a_page_in_a_browser_cannot_deliver_on_ones_own_machine(hooks: Hooks) -> None:
    hooks.put("open.yaml", event_source_document("hook"))
    await hooks.eventually(plain("hook", b"1"), 202)

    for origin in ("https://example.com", "null", "http://[::1"):
        assert await hooks.send(plain("hook", b"2", Origin=origin)) == (403, "NotLoopback")
    assert (await hooks.send(plain("hook", b"3", Origin="http://localhost:3000")))[0] == 202
    assert (await hooks.send(plain("hook", b"4", Host="tunnel.example.com")))[
        0
    ] == 202  # which names no origin

    assert [event.data for event in await hooks.published()] == [1, 3, 4]


async def test_a_secret_that_goes_later_is_noticed_by_the_next_delivery(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(standing, "SECRET_BACKOFF", Backoff(first_s=0.05, last_s=0.05))
    hooks.put("own.yaml", event_source_document("hook", verify=SIGNED))
    hooks.put("key.yaml", secret("webhook"))
    signed = plain("hook", b"{}", **{"X-Hub-Signature-256": f"sha256={sign(b'{}', SECRET)}"})
    await hooks.eventually(signed, 202)
    series = f'heed_gateway_event_source_ready{{event_source="hook",namespace="{hooks.namespace}"}}'

    async def is_shown(ready: float) -> bool:
        return f"{series} {ready}" in (await hooks.gateway.context.metrics.page(""))[0].decode()

    await until(lambda: is_shown(1.0))
    with caplog.at_level("WARNING"):
        (hooks.folder / "key.yaml").unlink()
        assert (await hooks.send(signed))[0] == 503
        await until(lambda: is_shown(0.0))
    judged = [vars(record) for record in caplog.records if record.message == "webhook judged"]
    assert [(item["event_source"], item["reason"]) for item in judged] == [
        (f"{hooks.namespace}/hook", "SecretMissing")
    ]

    hooks.put("key.yaml", secret("webhook"))
    await until(lambda: is_shown(1.0))
    assert (await hooks.send(signed))[0] == 202


async def test_a_webhook_that_is_edited_or_removed_is_served_as_it_is_now(hooks: Hooks) -> None:
    hooks.put("edited.yaml", event_source_document("hook", event={"type": "com.example.one"}))
    await hooks.eventually(plain("hook", b"1"), 202)

    hooks.put("edited.yaml", event_source_document("hook", path="moved", event={"type": "com.example.two"}))
    await hooks.eventually(plain("moved", b"2"), 202)
    assert (await hooks.send(plain("hook", b"3")))[0] == 404

    hooks.put("edited.yaml", event_source_document("hook", path="moved", verify={}))  # a mistake
    await hooks.eventually(plain("moved", b"2"), 404)
    (hooks.folder / "edited.yaml").unlink()
    (hooks.folder / "github.yaml").unlink()
    await hooks.eventually(from_github(GITHUB_ISSUE), 404)

    found = [event for event in await hooks.published() if event.type != "com.github.issues"]
    assert [(event.type, event.data) for event in found] == [
        ("com.example.one", 1),
        ("com.example.two", 2),
    ]


async def test_policies_say_which_types_may_be_published(hooks: Hooks) -> None:
    hooks.put("open.yaml", event_source_document("hook", event={"type": "com.example.${body.type}"}))
    hooks.put("fixed.yaml", event_source_document("fixed", event={"type": "com.example.bad"}))
    await hooks.eventually(plain("hook", b'{"type": "bad"}'), 202)
    await hooks.eventually(plain("fixed"), 202)

    hooks.put("policy.yaml", policy_manifest("strict", eventSources=[{"type": "com.example.good"}]))
    await hooks.eventually(plain("hook", b'{"type": "bad", "again": true}'), 403)
    assert (await hooks.send(plain("hook", b'{"type": "good"}')))[0] == 202
    assert (await hooks.send(plain("fixed")))[0] == 404

    (hooks.folder / "policy.yaml").unlink()
    await hooks.eventually(plain("fixed", b"1"), 202)


async def test_of_two_with_one_path_the_older_one_has_it(hooks: Hooks) -> None:
    younger = event_source_document("a", created="2026-02-01T00:00:00Z", path="hook", event={"type": "com.a"})
    older = event_source_document("b", created="2026-01-01T00:00:00Z", path="hook", event={"type": "com.b"})
    hooks.put("two.yaml", younger, older)
    await hooks.eventually(plain("hook", b"1"), 202)

    hooks.put("two.yaml", younger)

    async def is_of_the_younger() -> bool:
        assert (await hooks.send(plain("hook", b"2")))[0] == 202
        return [event.type for event in await hooks.published()][-1] == "com.a"

    await until(is_of_the_younger)

    assert (await hooks.published())[0].type == "com.b"


async def test_while_the_broker_is_away_senders_are_told_to_come_again(
    own: Connection, own_server: Any, folder: Path, namespace: str
) -> None:
    async with serving(own, manifests=[folder]) as gateway:
        hooks = Hooks(gateway, folder, namespace)
        await hooks.eventually(from_github(GITHUB_ISSUE), 202)
        own_server.stop()

        status, code = await hooks.send(from_github(GITHUB_ISSUE, id="d-2"))

        assert (status, code) == (503, "BrokerUnavailable")
        own_server.start()
        await hooks.eventually(from_github(GITHUB_ISSUE, id="d-2"), 202)
        assert [event.id for event in await hooks.published()] == ["d-1", "d-2"]


async def test_deliveries_are_counted_by_what_became_of_them(hooks: Hooks) -> None:
    await hooks.send(from_github(GITHUB_ISSUE))
    await hooks.send(from_github(GITHUB_ISSUE, secret=b"guessed"))
    await hooks.send(from_github({}, event="ping"))

    page, _ = await hooks.gateway.context.metrics.page("")

    for outcome in ("Published", "SignatureMismatch", "Filtered"):
        line = (
            f'heed_gateway_webhook_deliveries_total{{event_source="github",namespace="{hooks.namespace}",'
            f'outcome="{outcome}"}} 1.0'
        )
        assert line in page.decode()
