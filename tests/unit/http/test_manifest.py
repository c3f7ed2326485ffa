"""Http tasks in manifests: what is wrong with one, what policies allow, and what a worker is given."""

import json
from typing import Any

import pytest

from heed.core.decision.decide import decide
from heed.core.ledger.ledger import Ledger
from heed.core.tasks.work import work_of
from heed.errors import InvalidManifest
from tests.builders.agents import AGENT, manifest, problems, program
from tests.builders.decisions import letter_of, only_task
from tests.builders.events import received
from tests.builders.policies import allowed_by, policy, refusal_of_agent, restricted

URL = "https://api.example.com/v1"
START = {"start": [{"task": "call", "input": "${event.data}"}]}


def calling(more: dict[str, Any] | None = None, **http: Any) -> dict[str, Any]:
    """Tasks with a call."""
    return {"call": {"http": {"url": URL, **http}, **(more or {})}}


def found(tasks: dict[str, Any]) -> list[str]:
    return [str(item) for item in problems(manifest(START, tasks=tasks))]


@pytest.mark.parametrize(
    "http",
    [
        {},
        {"url": "http://[2001:db8::1]:8080/x?y=z"},
        {"url": "${input.url}", "query": {"a": "${input.a}", "b": [1, 2]}},
        {"body": {"json": ["${input}"]}, "cloudEvent": {"type": "com.example.done", "subject": "${task.id}"}},
        {"method": "POST", "idempotencyKey": "None", "reconcile": {"url": f"{URL}/${{task.id}}"}},
        {"result": {"headers": ["ETag"], "reduce": "response.body.items.map(i, i.id)"}},
        {"expect": ["200", "4xx"], "redirects": 10, "maxBytes": 1, "timeouts": {"total": "1h"}},
    ],
)
def test_a_request_may_be_as_rich_as_this(http: dict[str, Any]) -> None:
    assert found(calling(**http)) == []


@pytest.mark.parametrize(
    ("http", "problem"),
    [
        ({"url": "ftp://h"}, "url: is no http:// or https:// URL; write it like https://api.example.com/v1"),
        (
            {"url": "https://h:99999/"},
            "url: is no http:// or https:// URL; write it like https://api.example.com/v1",
        ),
        ({"url": "https://a:b@h/"}, "url: holds a user or a password; use a header with secretRef"),
        ({"headers": [{"name": "Host", "value": "x"}]}, "headers[0].name: Host is HTTP's own; leave it out"),
        (
            {"headers": [{"name": "A", "value": "x"}, {"name": "a", "value": "y"}]},
            "headers[1].name: a is given twice; give it once",
        ),
        ({"method": "GET", "body": {"text": "x"}}, "body: a GET has none; use another method, or `query`"),
        (
            {"body": {"text": "x", "json": {}}},
            "body: needs exactly one of json, form, text and bytes; give one of them",
        ),
        (
            {"body": {"contentType": "a/b"}},
            "body: needs exactly one of json, form, text and bytes; give one of them",
        ),
        ({"timeouts": {"firstByte": "0s"}}, "timeouts.firstByte: 0s is no time; give 1s or more"),
        (
            {"method": "POST", "reconcile": {"url": URL}},
            "reconcile: is never asked: the call may be repeated as it is; leave it out, or write "
            "`idempotencyKey: None` where the service heeds no such key",
        ),
        (
            {"result": {"reduce": "event.id"}},
            'result.reduce: unknown variable or function "event"; known here are response',
        ),
        (
            {"body": {"text": "x"}, "cloudEvent": {"type": "a b"}},
            'cloudEvent.type: "a b" is not an event type; use dot-separated tokens, such as com.example.done',
        ),
    ],
)
def test_a_mistake_is_named_with_its_field_and_its_remedy(http: dict[str, Any], problem: str) -> None:
    assert found(calling(**http)) == [f"spec.tasks.call.http.{problem}"]


@pytest.mark.parametrize(("key", "refused"), [("None", True), ("PerTask", False)])
def test_an_attempt_that_cannot_be_repeated_is_not_given_up(key: str, refused: bool) -> None:
    tasks = calling({"attemptTimeout": "1m"}, method="POST", idempotencyKey=key)

    assert [item.partition(":")[0] for item in found(tasks)] == (
        ["spec.tasks.call.attemptTimeout"] if refused else []
    )


@pytest.mark.parametrize(
    ("egress", "allowed"),
    [
        (None, True),
        ([], False),
        ([{"host": "*.example.com"}], True),
        ([{"host": "*.example.com", "ports": [80]}], False),
        ([{"host": "api.example.org"}, {"host": "api.example.com", "ports": [443]}], True),
    ],
)
def test_a_literal_url_is_checked_with_the_manifest(egress: Any, allowed: bool) -> None:
    given = {} if egress is None else {"egress": egress}
    refused = refusal_of_agent(allowed_by(policy(**given)), START, tasks=calling())

    assert (refused is None) is allowed
    if refused is not None:
        assert str(refused).startswith(
            "spec.tasks.call.http.url: AgentPolicy demo/strict allows no calls to api.example.com:443; allowed: "
        )


@pytest.mark.parametrize(("url", "allowed"), [("https://a.example.com/x", True), ("https://b.test/", False)])
def test_what_a_template_makes_of_a_url_is_checked_at_the_decision(url: str, allowed: bool) -> None:
    may = allowed_by(policy(egress=[{"host": "*.example.com"}]))
    agent = restricted(may, START, tasks=calling(url="${input.url}"))

    decision = decide(agent, Ledger(), received(1, data={"url": url}))

    if allowed:
        assert only_task(decision.ledger)
    else:
        code, message, _ = letter_of(decision)
        assert code == "PolicyViolation" and "allows no calls to b.test:443" in message


@pytest.mark.parametrize("network", ["10.0.0.0/33", "10.0.0.1/8", "x"])
def test_a_network_of_a_policy_is_one(network: str) -> None:
    with pytest.raises(InvalidManifest, match="is no network; write it as"):
        policy(egress=[{"host": "a", "networks": [network]}])


def test_a_worker_is_given_a_rendered_request_that_names_its_secrets() -> None:
    secret = {"name": "X-Key", "secretRef": {"name": "api", "key": "token"}}
    tasks = calling(
        headers=[secret, {"name": "X-N", "value": "${string(input.n)}"}],
        query={"n": "${input.n}", "again": "${task.id}"},
        result={"reduce": "response.body + '${x}'"},
    )
    decision = decide(program(START, tasks=tasks), Ledger(), received(1, data={"n": 3}))
    task = only_task(decision.ledger)

    work = work_of(program(START, tasks=tasks).agent, task, decision.ledger.pending_tasks[task])

    assert (work.kind, work.spec) == (
        "http",
        {
            "url": URL,
            "headers": [secret, {"name": "X-N", "value": "3"}],
            "query": {"n": 3, "again": task},
            "result": {"reduce": "response.body + '${x}'"},
        },
    )
    assert AGENT in json.dumps(work.document)
