"""What a verified delivery becomes: an event as the EventSource says, nothing, or the answer to a question."""

import json
from typing import Any

import pytest

from heed.core.events import Event
from heed.core.policy.gateway_rules import GatewayRules
from heed.core.policy.permissions import AllowList
from heed.core.webhooks.delivery import (
    MAX_REPLY_CHARS,
    ChallengeReply,
    Delivery,
    UnmappedDelivery,
    answer_question,
    delivery_digest,
    map_delivery,
)
from heed.core.webhooks.program import WebhookProgram, compile_event_source
from heed.errors import InvalidManifest
from tests.builders.gateway import make_event_source


def webhook(**spec: Any) -> WebhookProgram:
    return compile_event_source(make_event_source(**spec))


def hmac(**members: Any) -> dict[str, Any]:
    """A signature to verify."""
    return {"hmac": {"header": "X-Signature", "secretRef": {"name": "a", "key": "b"}, **members}}


def delivery(body: Any = None, **members: Any) -> Delivery:
    text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery(
        headers=members.get("headers", {}),
        query=members.get("query", {}),
        body=text,
        form=members.get("form"),
        content_type=members.get("content_type", "application/json"),
    )


def event_of(found: WebhookProgram, sent: Delivery) -> Event:
    event = map_delivery(found, sent)
    assert isinstance(event, Event)
    return event


def refusal(found: WebhookProgram, sent: Delivery) -> UnmappedDelivery:
    with pytest.raises(UnmappedDelivery) as caught:
        map_delivery(found, sent)
    return caught.value


def test_a_type_that_an_expression_yields_meets_the_policies() -> None:
    rules = GatewayRules(event_sources=AllowList(("com.example.good",), ("default/strict",)))
    found = compile_event_source(make_event_source(event={"type": "com.example.${body.a}"}), rules)

    assert event_of(found, delivery({"a": "good"})).type == "com.example.good"
    refused = refusal(found, delivery({"a": "bad"}))
    assert (refused.status, refused.code) == (403, "TypeNotAllowed")
    assert "AgentPolicy default/strict allows no event com.example.bad" in refused.message


def test_by_default_the_body_is_the_data_and_its_digest_the_id() -> None:
    sent = delivery({"a": 1})

    event = event_of(webhook(), sent)

    assert event == Event(
        id=delivery_digest(sent.body),
        source="/apis/heed.dev/v1alpha1/namespaces/default/eventsources/hook",
        type="com.example.hooked",
        data={"a": 1},
        datacontenttype="application/json",
    )
    assert event_of(webhook(), delivery({"a": 2})).id != event.id


def test_every_attribute_may_be_said() -> None:
    found = webhook(
        event={
            "type": "com.github.${headers['x-github-event']}",
            "id": "${headers['x-github-delivery']}",
            "source": "https://github.example/${body.repository}",
            "subject": "${body.issue}",
            "time": "${body.at}",
            "correlationid": "issue-${body.issue}",
            "data": {"title": "${body.title}", "from": "${query.via}"},
        }
    )
    sent = delivery(
        {"repository": "a/b", "issue": 7, "at": "2026-01-31T12:00:00Z", "title": "Help"},
        headers={"x-github-event": "issues", "x-github-delivery": "d-1"},
        query={"via": "ci"},
    )

    assert event_of(found, sent) == Event(
        id="d-1",
        source="https://github.example/a/b",
        type="com.github.issues",
        subject="7",
        time="2026-01-31T12:00:00Z",
        data={"title": "Help", "from": "ci"},
        datacontenttype="application/json",
        extensions={"correlationid": "issue-7"},
    )


def test_what_is_null_or_empty_is_left_out() -> None:
    found = webhook(
        event={"type": "com.example.hooked", "subject": "${body.?s.orValue(null)}", "time": "${body.t}"}
    )

    event = event_of(found, delivery({"t": ""}))

    assert (event.subject, event.time) == (None, None)


def test_data_that_the_manifest_says_to_be_null_are_none() -> None:
    event = event_of(webhook(event={"type": "com.example.hooked", "data": None}), delivery({"a": 1}))

    assert (event.data, event.datacontenttype) == (None, None)


def test_a_delivery_for_which_when_does_not_hold_becomes_nothing() -> None:
    found = webhook(when="body.action == 'opened'")

    assert map_delivery(found, delivery({"action": "closed"})) is None
    assert event_of(found, delivery({"action": "opened"})).data == {"action": "opened"}


def test_a_form_is_a_map_of_text_and_becomes_json() -> None:
    event = event_of(webhook(), delivery(b"a=1", form={"a": "1"}))

    assert (event.data, event.datacontenttype) == ({"a": "1"}, "application/json")


def test_text_is_text_with_the_media_type_that_it_came_with() -> None:
    event = event_of(
        webhook(event={"type": "com.example.hooked"}), delivery(b"hello", content_type="text/plain")
    )

    assert (event.data, event.datacontenttype) == ("hello", "text/plain")


def test_a_body_without_a_media_type_is_json() -> None:
    assert event_of(webhook(), delivery({"a": 1}, content_type=None)).data == {"a": 1}


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "BadData"),
        (b'{"a": NaN}', "application/json", 400, "BadData"),
        (b'{"a": "\\u0000"}', "application/json", 400, "BadData"),
        (b"\xff", "text/plain", 400, "BadData"),
        (b"\xff\xfe\0", "application/xml", 415, "UnsupportedMediaType"),
        (b"x", "application/octet-stream", 415, "UnsupportedMediaType"),
        (b"x", "multipart/form-data; boundary=x", 415, "UnsupportedMediaType"),
        (b"[" * 100 + b"]" * 100, "application/json", 400, "TooDeep"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    body: bytes, content_type: str, status: int, code: str
) -> None:
    refused = refusal(webhook(), delivery(body, content_type=content_type))

    assert (refused.status, refused.code) == (status, code)


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        (
            "application/octet-stream",
            "bodies of application/octet-stream are not read; send JSON, a form or text in UTF-8",
        ),
        ("application/xml", "the body of application/xml is not UTF-8; send it as UTF-8"),
    ],
)
def test_a_sender_is_told_what_to_send_instead(content_type: str, message: str) -> None:
    assert refusal(webhook(), delivery(b"\xff\xfe\0", content_type=content_type)).message == message


@pytest.mark.parametrize(
    ("event", "code", "place"),
    [
        ({"type": "com.example.${body.kind}"}, "BadType", "spec.event"),
        ({"type": "${body.reserved}"}, "ReservedType", "spec.event.type"),
        ({"type": "${'dev.heed.' + body.action}"}, "ReservedType", "spec.event.type"),
        ({"type": "a.b", "id": "${body.missing}"}, "ExpressionFailed", "spec.event.id"),
        ({"type": "a.b", "id": "${body.nothing}"}, "MissingAttribute", "spec.event"),
        ({"type": "a.b", "subject": "${body}"}, "ExpressionFailed", "spec.event.subject"),
        ({"type": "a.b", "subject": "${true}"}, "ExpressionFailed", "spec.event.subject"),
        ({"type": "a.b", "time": "yesterday"}, "BadTime", "spec.event"),
        ({"type": "a.b", "data": {"x": ["${body.missing}"]}}, "ExpressionFailed", "spec.event.data.x[0]"),
    ],
)
def test_a_mapping_that_makes_no_event_of_it_says_where(event: Any, code: str, place: str) -> None:
    sent = delivery({"kind": "a b", "reserved": "dev.heed.task.completed", "nothing": None, "action": "x"})

    refused = refusal(webhook(event=event), sent)

    assert (refused.status, refused.code) == (400, code)
    assert place in refused.message


def test_a_condition_that_fails_is_not_taken_for_false() -> None:
    refused = refusal(webhook(when="body.action == 'x'"), delivery({}))

    assert (refused.status, refused.code) == (400, "ExpressionFailed")
    assert refused.message.startswith('spec.when: there is no "action"')


def test_a_body_on_which_expressions_may_cost_too_much_is_refused_and_a_plain_copy_of_it_is_not() -> None:
    many = {"items": list(range(100_000))}

    assert event_of(webhook(), delivery(many)).data == many
    refused = refusal(webhook(when="body.items.exists(x, x == 0)"), delivery(many))
    assert (refused.status, refused.code) == (413, "TooCostly")


def test_data_that_nest_deeper_by_the_mapping_are_refused() -> None:
    deep: Any = 1
    for _ in range(63):
        deep = [deep]
    found = webhook(event={"type": "a.b", "data": {"one": "${body}"}})

    assert event_of(found, delivery(deep)).data == {"one": deep}
    assert refusal(found, delivery([deep])).code == "TooDeep"


# --- questions ------------------------------------------------------------------------------------------------------

SLACK = {"when": "body.type == 'url_verification'", "reply": "${body.challenge}"}
HUB = {"method": "GET", "when": "query['hub.mode'] == 'subscribe'", "reply": "${query['hub.challenge']}"}


def test_a_question_by_post_is_answered_and_is_no_event() -> None:
    found = webhook(challenge=SLACK)

    assert map_delivery(found, delivery({"type": "url_verification", "challenge": "abc"})) == ChallengeReply(
        "abc", "text/plain"
    )
    assert event_of(found, delivery({"type": "event_callback"})).type == "com.example.hooked"


def test_a_question_comes_before_the_filter() -> None:
    found = webhook(challenge={**SLACK, "contentType": "application/json"}, when="false")

    assert map_delivery(found, delivery({"type": "url_verification", "challenge": "1"})) == ChallengeReply(
        "1", "application/json"
    )


def test_a_question_by_get_is_answered_from_its_query() -> None:
    found = webhook(challenge=HUB)
    asked = delivery(query={"hub.mode": "subscribe", "hub.challenge": "42"})

    assert answer_question(found, asked) == ChallengeReply("42", "text/plain")
    assert answer_question(found, delivery(query={"hub.mode": "denied"})) is None


def test_where_there_is_none_nothing_is_a_question() -> None:
    assert answer_question(webhook(), delivery()) is None
    assert answer_question(webhook(challenge=SLACK), delivery()) is None
    assert event_of(webhook(challenge=HUB), delivery({"a": 1})).data == {"a": 1}


@pytest.mark.parametrize("text", ["", "x" * (MAX_REPLY_CHARS + 1)])
def test_an_answer_of_no_or_any_length_is_none(text: str) -> None:
    refused = refusal(webhook(challenge=SLACK), delivery({"type": "url_verification", "challenge": text}))

    assert refused.code == "BadChallenge"


def test_the_longest_answer_is_given() -> None:
    text = "x" * MAX_REPLY_CHARS

    found = map_delivery(webhook(challenge=SLACK), delivery({"type": "url_verification", "challenge": text}))

    assert isinstance(found, ChallengeReply)
    assert found.text == text


@pytest.mark.parametrize("reply", ["${body.missing}", "${[1]}"])
def test_an_answer_that_cannot_be_rendered_says_where_it_stands(reply: str) -> None:
    found = webhook(challenge={"when": "true", "reply": reply})

    refused = refusal(found, delivery({}))

    assert (refused.status, refused.code) == (400, "ExpressionFailed")
    assert refused.message.startswith("spec.challenge.reply: ")


# --- what is refused before any delivery ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        ({"verify": {}}, "spec.verify", "says nothing"),
        (
            {"verify": {"none": {}, "token": {"secretRef": {"name": "a", "key": "b"}}}},
            "spec.verify",
            "has token and none",
        ),
        ({"verify": {}}, "spec.verify", "give exactly one of hmac, token and none"),
        (
            {"verify": hmac(payload="{timestamp}.{body}")},
            "spec.verify.hmac.payload",
            "and `timestamp` belong",
        ),
        (
            {"verify": hmac(payload="{timestamp}.{body}", timestamp={})},
            "spec.verify.hmac.timestamp",
            "needs header or field; give exactly one of them",
        ),
        (
            {"verify": hmac(payload="{timestamp}.{body}", timestamp={"header": "X-Time", "field": "t"})},
            "spec.verify.hmac.timestamp",
            "needs header or field; give exactly one of them",
        ),
        ({"verify": hmac(payload="{timestamp}.{body}", timestamp={"header": "X-Time"})}, None, None),
        ({"verify": hmac(payload="{timestamp}.{body}", timestamp={"field": "t"})}, None, None),
        ({"event": {"type": "dev.heed"}}, "spec.event.type", "reserved"),
        ({"event": {"type": "dev.heed.task.completed"}}, "spec.event.type", "reserved"),
        (
            {"event": {"type": 'dev.heed.${headers["x-kind"]}'}},
            "spec.event.type",
            'begins with "dev.heed.", which is reserved',
        ),
        ({"event": {"type": 'dev.heed${headers["x-kind"]}'}}, None, None),
        ({"event": {"type": "a.*"}}, "spec.event.type", "no event type"),
        ({"when": "headers.x"}, None, None),
        ({"when": "header.x == 'a'"}, "spec.when", 'did you mean "headers"'),
        ({"when": "delivery.id == 'a'"}, "spec.when", 'delivery has no member "id"'),
        ({"event": {"type": "a.b", "data": {"x": ["${"]}}}, "spec.event.data.x[0]", "no closing brace"),
        (
            {"when": "body.a.all(x, body.b.all(y, body.c.all(z, x == y && y == z)))"},
            "spec",
            "may cost too much on small bodies",
        ),
        ({"when": "body.text.matches(body.pattern)"}, "spec", "may cost too much on small bodies"),
        (
            {"challenge": {**SLACK, "token": {"parameter": "t", "secretRef": {"name": "a", "key": "b"}}}},
            "spec.challenge.token",
            "GET only",
        ),
        ({"challenge": {"when": "x", "reply": "${"}}, "spec.challenge.when", "unknown variable"),
    ],
)
def test_mistakes_are_found_when_it_is_compiled(spec: Any, path: str | None, message: str | None) -> None:
    if path is None:
        webhook(**spec)
        return
    with pytest.raises(InvalidManifest) as caught:
        webhook(**spec)
    problem = caught.value.problems[0]
    assert problem.path == path
    assert (message or "") in str(problem)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(InvalidManifest) as caught:
        webhook(verify={}, when="x", event={"type": "dev.heed.x", "id": "${y}"})

    assert [problem.path for problem in caught.value.problems] == [
        "spec.verify",
        "spec.when",
        "spec.event.id",
        "spec.event.type",
    ]
