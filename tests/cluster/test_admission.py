"""`kubectl apply` hears of mistakes at once: a real API server asks a real webhook."""

from __future__ import annotations

import copy
import json
import ssl
import urllib.error
import urllib.request
from typing import Any

import pytest
import yaml

from tests.builders.gateway import event_source_document, subscription_document
from tests.cluster.admitting import (
    HOST,
    Hook,
    Replica,
    apply,
    broken,
    denied,
    stored,
    until_asked,
    warned,
)
from tests.cluster.controlplane.api import ApiError
from tests.cluster.controlplane.run import KubectlError
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.ruling import event_type, policy
from tests.cluster.stories import researcher

pytestmark = pytest.mark.cluster


# --- Agents -------------------------------------------------------------------------------------------------


def test_a_mistake_is_refused_with_all_that_is_wrong(webhook: Hook) -> None:
    with pytest.raises(KubectlError) as error:
        apply(webhook, broken())

    said = str(error.value)
    assert 'The Agent "researcher" is invalid' in said
    assert '* spec.handlers[0].when: unknown variable or function "evnt"; did you mean "event"?' in said
    assert "* spec.handlers[1].when: Syntax error: it ends too early" in said
    assert stored(webhook) == []


def test_what_is_right_is_stored_without_a_word(webhook: Hook) -> None:
    assert apply(webhook, researcher(), "--warnings-as-errors") == "agent.heed.dev/researcher created\n"
    assert apply(webhook, researcher(), "--warnings-as-errors") == "agent.heed.dev/researcher unchanged\n"


def test_a_dry_run_says_the_same_and_stores_nothing(webhook: Hook) -> None:
    apply(webhook, researcher(), "--dry-run=server")
    with pytest.raises(KubectlError, match="did you mean"):
        apply(webhook, broken(), "--dry-run=server")

    assert stored(webhook) == []


def test_what_is_hardly_meant_is_stored_with_a_warning(webhook: Hook) -> None:
    agent = researcher()
    agent["spec"]["tasks"]["unused"] = agent["spec"]["tasks"]["research"]

    said = warned(webhook, agent)

    assert "Warning: spec.tasks.unused: no handler starts this task" in said
    assert stored(webhook) == ["agent.heed.dev/researcher"]


def test_an_agent_may_come_with_a_name_yet_to_be_made(webhook: Hook) -> None:
    agent = {**researcher(), "metadata": {"generateName": "researcher-"}}

    assert denied(webhook, agent) is None


@pytest.mark.parametrize("depth", [600, 9_000])
def test_what_nests_deeper_than_can_be_read_is_refused(webhook: Hook, depth: int) -> None:
    deep = json.dumps(researcher()).replace('"${state.topic}"', "[" * depth + "]" * depth)

    with pytest.raises(ApiError, match="nests too deep"):
        _post(webhook, deep)


def test_machines_are_told_the_fields(webhook: Hook) -> None:
    with pytest.raises(ApiError) as error:
        _post(webhook, json.dumps(broken()))

    status = error.value.answer
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["details"]["kind"] == "Agent"
    assert [cause["field"] for cause in status["details"]["causes"]] == [
        "spec.handlers[0].when",
        "spec.handlers[1].when",
    ]


def _post(hook: Hook, manifest: str) -> None:
    admin = hook.plane.admin
    path = f"/apis/heed.dev/v1alpha1/namespaces/{hook.namespace}/agents"
    admin.send("POST", path, manifest.encode())


# --- what was there already ---------------------------------------------------------------------------------


def test_only_a_new_spec_of_an_invalid_agent_is_refused(hook: Hook) -> None:
    # Given an invalid Agent from before there was a webhook
    agent = broken()
    agent["metadata"]["finalizers"] = ["example.com/wait"]
    apply(hook, agent)
    with Replica(hook):
        until_asked(hook)
        kubectl = hook.plane.kubectl
        name = ("agent", "researcher", "-n", hook.namespace)

        # Then all but its spec can be changed
        kubectl("annotate", *name, "example.com/note=1")
        kubectl("label", *name, "example.com/team=a")
        kubectl(
            "patch",
            *name,
            "--subresource=status",
            "--type=merge",
            "-p",
            '{"status": {"totals": {"handled": 3}}}',
        )

        # its spec only to a right one
        worse = copy.deepcopy(agent)
        worse["spec"]["session"] = {"idleTimeout": "1h"}
        with pytest.raises(KubectlError, match="did you mean"):
            apply(hook, worse)

        # and it can be deleted, with all that takes
        kubectl("delete", *name, "--wait=false")
        kubectl("patch", *name, "--type=merge", "-p", '{"metadata": {"finalizers": []}}')
        eventually(lambda: stored(hook) == [], what="no Agent")


def test_an_invalid_agent_can_be_mended(hook: Hook) -> None:
    apply(hook, broken())
    with Replica(hook):
        until_asked(hook)
        assert apply(hook, researcher()) == "agent.heed.dev/researcher configured\n"


# --- policies, grants and types -----------------------------------------------------------------------------


def test_what_a_policy_forbids_is_refused_by_its_name(webhook: Hook) -> None:
    apply(webhook, policy(emissions=["com.example.question.answered"]))

    with pytest.raises(KubectlError) as error:
        apply(webhook, researcher())

    said = str(error.value)
    assert "spec.handlers[2].emit[0].type" in said
    assert f"AgentPolicy {webhook.namespace}/strict allows no emission of com.example.question.failed" in said
    assert stored(webhook) == []


def test_a_policy_that_stops_agents_names_them(webhook: Hook) -> None:
    for number in range(7):
        agent = researcher()
        agent["metadata"]["name"] = f"researcher-{number}"
        apply(webhook, agent)

    said = warned(webhook, policy(emissions=[]))

    assert f"Warning: stops Agent {webhook.namespace}/researcher-0: spec.handlers[1].emit[0].type" in said
    assert said.count("stops Agent ") == 5
    assert "Warning: stops 2 more Agents" in said
    assert stored(webhook, "agentpolicies") == ["agentpolicy.heed.dev/strict"]


def test_other_labels_under_a_policy_are_a_warning(webhook: Hook) -> None:
    apply(webhook, policy(agentSelector={"matchLabels": {"team": "a"}}, emissions=[]))
    apply(webhook, researcher(), "--warnings-as-errors")
    labelled = researcher()
    labelled["metadata"]["labels"] = {"team": "a"}

    said = warned(webhook, labelled)

    assert "allows no emission of com.example.question.answered" in said
    assert webhook.plane.kubectl("get", "agents", "-n", webhook.namespace, "-l", "team=a", "-o", "name")


def test_an_agent_may_come_before_its_grant(webhook: Hook) -> None:
    agent = researcher()
    agent["spec"]["subscribe"].append({"type": "com.example.paid", "namespace": "default"})

    said = warned(webhook, agent)

    assert "Warning: it waits until it is granted: spec.subscribe[1].namespace: no EventGrant" in said
    assert stored(webhook) == ["agent.heed.dev/researcher"]


def test_an_invalid_policy_is_refused(webhook: Hook) -> None:
    selector = {"matchExpressions": [{"key": "team", "operator": "In", "values": []}]}

    with pytest.raises(KubectlError, match="matchExpressions"):
        apply(webhook, policy(agentSelector=selector))


def test_a_schema_that_says_nothing_sensible_is_refused(webhook: Hook) -> None:
    with pytest.raises(KubectlError, match=r"spec\.schema"):
        apply(webhook, event_type({"type": "objekt"}))
    with pytest.raises(KubectlError, match=r"spec\.schema"):
        apply(webhook, event_type({"$ref": "file:///etc/passwd"}))

    assert stored(webhook, "eventtypes") == []


def test_an_example_that_breaks_its_schema_is_refused(webhook: Hook) -> None:
    schema = {"type": "object", "properties": {"topic": {"type": "string"}}}

    with pytest.raises(KubectlError, match=r"spec.examples\[1\]"):
        apply(webhook, event_type(schema, {"topic": "tides"}, {"topic": 7}))

    apply(webhook, event_type(schema, {"topic": "tides"}), "--warnings-as-errors")


def test_an_event_source_that_cannot_be_compiled_is_refused(webhook: Hook) -> None:
    wrong = {**event_source_document(when="heders.x == 'a'"), "metadata": {"name": "hook"}}

    with pytest.raises(KubectlError, match=r"spec\.when: unknown variable or function .heders."):
        apply(webhook, wrong)

    assert stored(webhook, "eventsources") == []


def test_what_a_policy_lets_no_webhook_publish_and_no_subscription_deliver_is_refused(webhook: Hook) -> None:
    apply(webhook, policy(eventSources=[], deliveries=[]))

    hook = denied(webhook, {**event_source_document(), "metadata": {"name": "hook"}})
    orders = denied(webhook, {**subscription_document(), "metadata": {"name": "orders"}})

    by = f"AgentPolicy {webhook.namespace}/strict allows no"
    assert hook is not None and f"spec.event.type: {by} event com.example.hooked" in hook
    assert orders is not None and f"spec.types[0]: {by} delivery of com.example.order.*" in orders


def test_a_timer_that_is_too_frequent_for_a_policy_is_refused(webhook: Hook) -> None:
    apply(webhook, policy(limits={"minTimerPeriod": "1m"}))
    agent = researcher()
    agent["spec"]["timers"] = {"second": {"cron": "* * * * * *"}}

    said = denied(webhook, agent)

    assert said is not None and "spec.timers.second: AgentPolicy" in said


def test_a_second_description_of_a_type_is_a_warning(webhook: Hook) -> None:
    apply(webhook, event_type({"type": "object"}), "--warnings-as-errors")

    said = warned(webhook, event_type({"type": "string"}, name="second"))

    assert f"has no effect: EventType {webhook.namespace}/asked, which is older" in said


def test_a_grant_that_is_narrowed_names_who_stops(webhook: Hook) -> None:
    # Given an Agent that hears events of another namespace, whose grants the webhook sees too
    kubectl, shop = webhook.plane.kubectl, f"{webhook.namespace}-shop"
    kubectl("create", "namespace", shop)
    grant: dict[str, Any] = {
        "apiVersion": "heed.dev/v1alpha1",
        "kind": "EventGrant",
        "metadata": {"name": "to-readers", "namespace": shop},
        "spec": {"from": [{"namespace": webhook.namespace}], "types": ["com.example.>"]},
    }
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(grant))
    agent = researcher()
    agent["spec"]["subscribe"].append({"type": "com.example.paid", "namespace": shop})
    apply(webhook, agent, "--warnings-as-errors")
    webhook.change('[{"op": "remove", "path": "/webhooks/0/namespaceSelector/matchLabels"}]')

    # When it is narrowed, then whoever does it hears whom that stops
    narrowed = {**grant, "spec": {**grant["spec"], "types": ["com.example.sold"]}}

    def heard() -> str | None:
        try:
            kubectl(
                "apply", "--dry-run=server", "--warnings-as-errors", "-f", "-", stdin=yaml.safe_dump(narrowed)
            )
        except KubectlError as error:
            return str(error)
        return None

    said = eventually(heard, what="a warning")
    assert f"stops Agent {webhook.namespace}/researcher: spec.subscribe[1].namespace: no EventGrant" in said
    kubectl("delete", "namespace", shop, "--wait=false")


# --- when it cannot be judged -------------------------------------------------------------------------------


def test_without_an_answer_the_failure_policy_decides(hook: Hook) -> None:
    # Given a webhook that was asked, and is gone
    with Replica(hook):
        until_asked(hook)

    # Then manifests are stored unjudged,
    apply(hook, broken())
    assert stored(hook) == ["agent.heed.dev/researcher"]

    # but not where the installation says otherwise
    hook.fail("Fail")
    said = eventually(lambda: denied(hook, {**researcher(), "metadata": {"name": "other"}}), what="a refusal")
    assert "failed calling webhook" in said


def test_what_it_cannot_look_up_is_left_to_the_failure_policy(hook: Hook) -> None:
    # Given a webhook without the right to read policies
    hook.plane.kubectl("delete", "clusterrole", f"{hook.name}-lists")
    with Replica(hook):
        hook.fail("Fail")

        # Then it judges nothing: it would be without those policies
        eventually(lambda: "unable to handle" in (denied(hook, researcher()) or ""), what="a refusal")
    hook.fail("Ignore")
    eventually(lambda: denied(hook, researcher()) is None, what="nobody in the way")


def test_what_is_no_review_is_a_bad_request(webhook: Hook) -> None:
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    kind = {"group": "heed.dev", "version": "v1alpha1", "kind": "Agent"}
    right = {"uid": "1", "kind": kind, "operation": "CREATE", "namespace": "demo", "object": researcher()}
    wrong: list[tuple[Any, int]] = [
        (b"", 400),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        ([], 400),
        ({}, 400),
        ({**review, "apiVersion": "admission.k8s.io/v1beta1", "request": right}, 400),
        (review, 400),
        *(({**review, "request": {**right, name: 7}}, 400) for name in right),
        ({**review, "request": {**right, "namespace": "../secrets"}}, 400),
        (b" " * (9 * 1024**2), 413),
    ]

    assert _ask(webhook, {**review, "request": right})[0] == 200
    for body, status in wrong:
        code, text = _ask(webhook, body)
        assert code == status, (body, text)
        assert "Traceback" not in text
    assert _ask(webhook, {**review, "request": right}, method="GET")[0] == 405
    assert _ask(webhook, {**review, "request": right})[0] == 200


@pytest.mark.parametrize("operation", ["DELETE", "CONNECT"])
def test_what_is_not_for_it_passes(webhook: Hook, operation: str) -> None:
    kind = {"group": "heed.dev", "version": "v1alpha1", "kind": "Agent"}
    for more in ({"operation": operation}, {"operation": "CREATE", "kind": {**kind, "kind": "Other"}}):
        request = {"uid": "1", "kind": kind, "object": None, **more}
        _, text = _ask(webhook, {"apiVersion": "admission.k8s.io/v1", "request": request})
        assert json.loads(text)["response"] == {"uid": "1", "allowed": True}


def _ask(hook: Hook, body: Any, method: str = "POST") -> tuple[int, str]:
    """Ask as the API server does; status and text."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"https://{HOST}:{hook.port}/validate", method=method, data=data)
    context = ssl.create_default_context(cadata=hook.bundle().decode())
    handler = urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
