"""Two tenants of one release, one of them hostile: what Mallory, who may do everything in `a`, can do to `b`.

By manifests here; by a status in test_two_tenants_by_status.py, by Jobs in test_two_tenants_at_work.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.builders.agents import ASKED
from tests.chart.rendering import NAMESPACE
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import KubectlError
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.keyed import SECRET
from tests.cluster.ruling import event_type, grant, policy
from tests.cluster.tenancy import (
    NOTED,
    ORDERED,
    Tenants,
    ask,
    bookkeeper,
    hearing,
    hearing_agent,
    publishing_researcher,
)
from tests.statuses import totals

pytestmark = pytest.mark.cluster
NOTHING_FITS: dict[str, Any] = {"not": {}}


@pytest.fixture(autouse=True)
def nothing_left(tenants: Tenants) -> Iterator[None]:
    """Each story begins with empty namespaces."""
    yield
    tenants.clear()


# --- by manifests ------------------------------------------------------------------------------------------------


def test_a_tenant_has_no_rights_in_another_namespace(tenants: Tenants) -> None:
    for arguments in (
        ("get", "agents", "-n", tenants.b),
        ("get", "agents", "-A"),
        ("get", "secrets", "-n", NAMESPACE),
        ("create", "job", "x", "--image=x", "-n", tenants.b),
    ):
        assert "forbidden" in tenants.refused(*arguments)
    there = yaml.safe_dump(hearing_agent("intruder"))
    assert "forbidden" in tenants.refused("create", "-n", tenants.b, "-f", "-", stdin=there)


@pytest.mark.parametrize(
    "name", ["victim.x", "a.tenant-b1", "x.events.tenant-b1"], ids=["dot", "namespace", "family"]
)
def test_a_name_is_one_token_of_a_subject(tenants: Tenants, name: str) -> None:
    with pytest.raises(KubectlError, match="DNS label"):
        tenants.apply(hearing_agent(name))


@pytest.mark.parametrize("namespace", ["*", ">", "tenant-b.>", "tenant-*", "tenant-b\n", "TENANT-B"])
def test_a_subscription_names_one_namespace(tenants: Tenants, namespace: str) -> None:
    spying = hearing_agent("wild", subscribe=[{"type": ">", "namespace": namespace}])

    with pytest.raises(KubectlError, match=r"spec\.subscribe\[0\]\.namespace"):
        tenants.apply(spying)


def test_nothing_that_a_tenant_writes_in_its_own_namespace_shows_it_events_of_another(
    tenants: Tenants,
) -> None:
    # Given everything that might look like a permission
    a, b = tenants.a, tenants.b
    tenants.apply(
        grant(">", name="mine", to=a),
        grant(">", name="theirs", to=b),
        policy("all", subscriptions=[{"type": ">", "namespace": b}, {"type": ">"}]),
    )
    patterns = [">", "*.*.*.*", f"heed.events.{b}.>", f"{b}.>", f"events.{b}.>", ORDERED, ASKED]
    spies = [hearing_agent(f"spy-{n}", subscribe=[{"type": item}]) for n, item in enumerate(patterns)]
    foreign = [
        hearing_agent(f"far-{n}", subscribe=[{"type": item, "namespace": b}])
        for n, item in enumerate((">", ORDERED))
    ]
    tenants.apply(*spies, *foreign)
    for manifest in spies:
        tenants.ready(a, manifest["metadata"]["name"])

    # When something happens in both namespaces
    tenants.victims(bookkeeper("books-1"))
    tenants.say(b, ORDERED, "secret-1", {"n": 1})
    tenants.until(b, "books-1", lambda s: totals(s).get("handled") == 1)
    tenants.say(a, ORDERED, "own-1", {"n": 2})

    # Then each sees its own, and nobody runs who asked for the other's
    status = tenants.until(a, "spy-0", lambda s: "own-1" in str(s.get("sessions")))
    assert totals(status) == {"handled": 1}
    for manifest in foreign:
        assert f"no EventGrant of namespace {b}" in tenants.ready(
            a, manifest["metadata"]["name"], "NotGranted"
        )
    seen = tenants.kubectl("get", "agents", "-n", a, "-o", "json")
    assert "secret-1" not in seen


def test_what_a_tenant_emits_stays_in_its_namespace(tenants: Tenants) -> None:
    # Given Agents that hear everything in `b`, and one in `a` that tries to be heard there
    a, b = tenants.a, tenants.b
    tenants.victims(hearing_agent("victim", hearing()))
    types = ["com.example.x", f"x.heed.events.{b}", f"heed.events.{b}.com.example.x"]
    computed = [
        *(f"${{event.data.t{n}}}" for n in range(3)),
    ]
    emits: list[dict[str, Any]] = [{"type": item} for item in types]
    emits += [{"type": item, "to": "victim"} for item in types]
    tries = [
        {"name": "literal", "type": "com.go", "emit": emits},
        {"name": "computed", "type": "com.go2", "emit": [{"type": item} for item in computed]},
        {"name": "to", "type": "com.go3", "emit": [{"type": "com.x", "to": "${event.data.to}"}]},
        {"name": "type", "type": "com.go4", "emit": [{"type": "${event.data.to}"}]},
    ]
    tenants.apply(
        hearing_agent("shouter", *tries, subscribe=[{"type": "com.*"}]),
        hearing_agent("victim", hearing("x.>")),
    )
    tenants.ready(a, "shouter")
    before = tenants.in_b()

    # When
    tenants.say(a, "com.go", "g-1", {})
    tenants.say(a, "com.go2", "g-2", {f"t{n}": item for n, item in enumerate(types)})
    addresses = [
        f"{b}.victim",
        f"../{b}",
        "victim\r\nPUB heed.events.b.x 2\r\n{}",
        f"victim.{b}",
        "*",
        ">",
        "",
    ]
    for n, to in enumerate(addresses):
        tenants.say(a, "com.go3", f"g-3-{n}", {"to": to})
    for n, type_ in enumerate(
        ["*", ">", "x y", f"x\r\nPUB heed.events.{b}.x 2\r\n{{}}", "dev.heed.task.completed"]
    ):
        tenants.say(a, "com.go4", f"g-4-{n}", {"to": type_})
    status = tenants.until(
        a,
        "shouter",
        lambda s: (
            len(totals(s))
            and sum(totals(s).get(each, 0) for each in ("handled", "deadLettered")) == 14
            and not s.get("outbox")
        ),
    )

    # Then what could be said was said at home, and the rest is dead letters
    assert totals(status)["emitted"] == len(emits) + len(types)
    assert totals(status)["deadLettered"] == 12
    assert tenants.in_b() == before
    tenants.say(b, ORDERED, "fence-1", {"n": 0})
    victim = tenants.until(b, "victim", lambda s: totals(s).get("handled"))
    assert totals(victim) == {"handled": 1}


def test_rules_of_a_namespace_say_nothing_of_another(tenants: Tenants) -> None:
    # Given rules that would forbid and refuse everything
    tenants.apply(
        policy("nothing", emissions=[], subscriptions=[], tasks={"kinds": [], "images": []}),
        policy("none", limits={"sessions": 1, "pendingTasks": 0, "tasksPerMinute": 0}),
        event_type(NOTHING_FITS, name="order", type_=ORDERED),
        event_type(NOTHING_FITS, name="noted", type_=NOTED),
    )
    tenants.apply(publishing_researcher("bound"))
    tenants.ready(tenants.a, "bound", "PolicyViolation")

    # When
    tenants.victims(bookkeeper("books-2"), publishing_researcher("asked-2"))
    for n in range(3):
        tenants.say(tenants.b, ORDERED, f"o-2-{n}", {"n": n})
    ask(tenants, tenants.b, "q-2")

    # Then
    orders = {f"o-2-{n}" for n in range(3)}
    status = tenants.until(tenants.b, "books-2", lambda s: orders <= set(s.get("sessions", ())))
    assert "deadLettered" not in totals(status)
    assert totals(status)["emitted"] == totals(status)["handled"]
    tenants.job(tenants.b, "asked-2")


# --- by Jobs and Secrets made by hand ----------------------------------------------------------------------------


def test_a_job_that_claims_to_be_anothers_ends_nothing(tenants: Tenants, pods: PodPhases) -> None:
    # Given a task in `b`, and a finished Job in `a`
    a, b = tenants.a, tenants.b
    tenants.victims(publishing_researcher("asked-3"))
    tenants.apply(publishing_researcher("asked-3"))
    tenants.ready(a, "asked-3")
    ask(tenants, b, "q-3")
    real = tenants.job(b, "asked-3")
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}
    labels = real["metadata"]["labels"]
    claims = {"labels": labels, "annotations": real["metadata"]["annotations"]}
    forged = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        # It stays where the garbage collector would take it away, since it belongs to nobody here.
        "metadata": {"name": real["metadata"]["name"], "finalizers": ["example.com/stay"], **claims},
        "spec": {"template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    tenants.apply(forged)
    pods.succeed(a, real["metadata"]["name"], '{"answer": "forged"}')
    owner = json.dumps({"metadata": {"ownerReferences": real["metadata"]["ownerReferences"]}})
    name = ("job", real["metadata"]["name"], "-n", a)
    eventually(lambda: "Complete" in tenants.kubectl("get", *name, "-o", "jsonpath={.status.conditions}"))

    # When it says whose it is, to the watch and to an operator that compares all Jobs as it begins
    tenants.kubectl("patch", *name, "--type=merge", "-p", owner)
    tenants.operator.kill()
    tenants.operator.start()
    tenants.victims(bookkeeper("books-3"))
    tenants.say(b, ORDERED, "o-3", {"n": 1})
    tenants.until(b, "books-3", lambda s: totals(s).get("handled") == 1)

    # Then the task still waits for its own
    assert len(tenants.of(b).status("asked-3")["pendingTasks"]) == 1
    pods.succeed(b, real["metadata"]["name"], '{"answer": "the moon"}')
    status = tenants.until(b, "asked-3", lambda s: totals(s).get("tasksCompleted") == 1)
    assert status["sessions"]["c-1"]["state"]["answer"] == "the moon"
    assert totals(tenants.of(a).status("asked-3")) == {}
    tenants.kubectl("patch", *name, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')


def test_secrets_of_known_names_in_the_own_namespace_change_nothing_elsewhere(
    tenants: Tenants, pods: PodPhases
) -> None:
    # Given Secrets of the names of the operator's, and of a Job of `b`
    tenants.victims(publishing_researcher("asked-4"))
    ask(tenants, tenants.b, "q-4")
    job = tenants.job(tenants.b, "asked-4")
    before = tenants.broker.keys
    for name in (SECRET, "heed-webhook", f"{job['metadata']['name']}-nats"):
        tenants.kubectl("create", "secret", "generic", name, "-n", tenants.a, "--from-literal=nats.creds=x")

    # Then
    assert tenants.broker.keys == before
    pods.succeed(tenants.b, job["metadata"]["name"], '{"answer": "the moon"}')
    tenants.until(tenants.b, "asked-4", lambda s: totals(s).get("tasksCompleted") == 1)
