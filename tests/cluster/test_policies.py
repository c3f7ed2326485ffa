"""What policies and grants do to Agents that run, on a real API server with the chart's rights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from heed import names
from heed.core.compiler.program import compile_agent
from heed.kube.client.client import objects_path
from heed.kube.controller import policy_cache
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import CRDS, Broker, Operator, Stage
from tests.cluster.ruling import ANSWERS, accepted, apply, grant, listener, order, policy, ready
from tests.cluster.stories import RESEARCHER, with_handler
from tests.cluster.watchless import AGENT, Watchless, true, watchless_fleet
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.statuses import totals

pytestmark = pytest.mark.cluster
STOPPED = "events wait in the stream"


@pytest.fixture
def shop(control_plane: ControlPlane, namespace: str) -> Iterator[str]:
    """Another namespace."""
    name = f"{namespace}-shop"
    control_plane.admin.post("/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    control_plane.admin.delete(f"/api/v1/namespaces/{name}")


# --- policies ----------------------------------------------------------------------------------------------------


def test_a_policy_stops_an_agent_that_runs_and_its_end_lets_it_go_on(stage: Stage) -> None:
    # Given an Agent at work, and another one
    stage.apply(RESEARCHER)
    stage.apply({**RESEARCHER, "metadata": {"name": "witness", "labels": {"trust": "full"}}})
    stage.ask("q-1")
    stage.until(lambda s: totals(s).get("handled") == 1)

    # When a policy comes that does not allow what it emits
    untrusted = {"matchExpressions": [{"key": "trust", "operator": "DoesNotExist"}]}
    stage.apply(policy("strict", agentSelector=untrusted, emissions=["com.example.else"]))

    # Then it stops, and says which policy
    stopped = ready(stage, "False", "PolicyViolation")
    assert "AgentPolicy" in stopped["message"]
    assert f"{stage.namespace}/strict" in stopped["message"]
    assert STOPPED in stopped["message"]
    accepted(stage.plane, stage.namespace, "agentpolicies", "strict", "True", "Accepted")
    stage.ask("q-2", correlation="c-2")
    stage.until(lambda s: "c-2" in s["sessions"], "witness")
    assert set(stage.status()["sessions"]) == {"c-1"}

    # When the policy is changed so that it allows it
    stage.apply(policy("strict", agentSelector=untrusted, emissions=[ANSWERS]))

    # Then it goes on where it was
    ready(stage, "True", "Subscribed")
    status = stage.until(lambda s: totals(s).get("handled") == 2)
    assert set(status["sessions"]) == {"c-1", "c-2"}
    accepted(stage.plane, stage.namespace, "agentpolicies", "strict", "True", "Accepted", generation=2)


def test_a_timer_that_is_too_frequent_stops_its_agent(stage: Stage) -> None:
    timers = {"second": {"cron": "* * * * * *"}}
    stage.apply({**RESEARCHER, "spec": {**RESEARCHER["spec"], "timers": timers}})
    ready(stage, "True", "Subscribed")

    stage.apply({**policy("strict"), "spec": {"agentSelector": {}, "limits": {"minTimerPeriod": "1m"}}})

    says = (
        f"spec.timers.second: AgentPolicy {stage.namespace}/strict allows no ticks within 60 s of each other"
    )
    ready(stage, "False", "PolicyViolation", says=says)
    edited = {"second": {"cron": "* * * * *"}}
    stage.apply({**RESEARCHER, "spec": {**RESEARCHER["spec"], "timers": edited}})
    ready(stage, "True", "Subscribed")


def test_an_edit_that_is_not_allowed_lets_the_last_valid_generation_run_on(stage: Stage) -> None:
    # Given an Agent within its policy
    stage.apply(policy("strict", emissions=[ANSWERS]))
    stage.apply(RESEARCHER)
    ready(stage, "True", "Subscribed")

    # When somebody adds what is not allowed
    tell = {"name": "tell", "type": "com.example.question.asked", "emit": [{"type": "com.example.secret"}]}
    stage.apply(with_handler(**tell))

    # Then that is refused, and what was before runs on
    refused = ready(stage, "False", "PolicyViolation")
    assert "spec.handlers[3].emit[0].type" in refused["message"]
    assert STOPPED not in refused["message"]
    stage.ask("q-1")
    stage.until(lambda s: totals(s).get("tasksStarted") == 1)
    assert stage.answers("com.example.secret") == []

    # And when that is not allowed any more either, nothing runs
    stage.apply(policy("strict", emissions=[]))
    ready(stage, "False", "PolicyViolation", says="the last valid generation, 1, may not run either")
    stage.apply(policy("strict", emissions=["com.example.>"]))
    assert ready(stage, "True", "Subscribed")["observedGeneration"] == 2
    assert "lastValidSpec" not in stage.status()


def test_an_operator_that_begins_runs_nothing_before_it_knows_the_policies(stage: Stage) -> None:
    # Given an Agent that a policy has stopped, and events that wait
    stage.apply(policy("strict", tasks={"kinds": []}))
    accepted(stage.plane, stage.namespace, "agentpolicies", "strict", "True", "Accepted")
    stage.apply(RESEARCHER)
    ready(stage, "False", "PolicyViolation")
    stage.ask("q-1")

    # When the operator is started again, several times
    def refused_more_often_than(so_far: int) -> bool:
        return stage.operator.log.read_text().count("agent not allowed") > so_far

    for _ in range(3):
        stage.operator.kill()
        said = stage.operator.log.read_text().count("agent not allowed")
        stage.operator.start()
        eventually(partial(refused_more_often_than, said), PATIENCE, what="a look at the Agent")

    # Then it never ran
    assert f"agent resumed  agent={stage.namespace}/" not in stage.operator.log.read_text()
    assert totals(stage.status()) == {}


def test_labels_of_an_agent_say_which_policies_are_its_own(stage: Stage) -> None:
    stage.apply(policy("strict", agentSelector={"matchLabels": {"trust": "none"}}, tasks={"images": []}))
    stage.apply(RESEARCHER)
    ready(stage, "True", "Subscribed")

    stage.plane.kubectl("label", "agent", AGENT, "-n", stage.namespace, "trust=none")
    ready(stage, "False", "PolicyViolation", says=f"{stage.namespace}/strict")

    stage.plane.kubectl("label", "agent", AGENT, "-n", stage.namespace, "trust-")
    ready(stage, "True", "Subscribed")


def test_a_task_that_only_its_event_makes_a_violation_is_a_dead_letter(stage: Stage) -> None:
    # Given an image that comes with the event
    manifest = copy.deepcopy(RESEARCHER)
    manifest["spec"]["tasks"]["research"]["job"]["template"]["spec"]["containers"][0]["image"] = (
        "${input.topic}"
    )
    stage.apply(policy("images", tasks={"images": ["example/*"]}))
    stage.apply(manifest)
    ready(stage, "True", "Subscribed")

    stage.ask("q-1", topic="evil/image:1")
    stage.ask("q-2", correlation="c-2", topic="example/image:1")

    status = stage.until(lambda s: totals(s).get("deadLettered") == 1 and totals(s).get("tasksStarted") == 1)
    assert set(status["sessions"]) == {"c-2"}
    (letter,) = eventually(lambda: stage.broker.letters(stage.namespace, AGENT), PATIENCE, what="a letter")
    assert "PolicyViolation" in letter.values()


# --- grants ------------------------------------------------------------------------------------------------------


def test_events_of_another_namespace_come_as_long_as_they_are_granted(stage: Stage, shop: str) -> None:
    # Given an Agent that wants what nobody has granted
    stage.apply(listener(shop))
    refused = ready(stage, "False", "NotGranted")
    assert shop in refused["message"]
    order(stage, shop, "o-1")

    # When it is granted
    apply(
        stage.plane,
        shop,
        grant("com.example.order.*", "com.example.order.>", name="orders", to=stage.namespace),
    )

    # Then it hears them, also what came since it was created
    ready(stage, "True", "Subscribed")
    accepted(stage.plane, shop, "eventgrants", "orders", "True", "Accepted")
    stage.until(lambda s: "o-1" in s["sessions"])

    # When the grant goes
    stage.plane.kubectl("delete", "eventgrant", "orders", "-n", shop)
    ready(stage, "False", "NotGranted")
    order(stage, shop, "o-2")

    # Then it hears nothing more, until it is granted again
    apply(stage.plane, shop, grant(">", name="again", to=stage.namespace))
    stage.until(lambda s: set(s["sessions"]) == {"o-1", "o-2"})


def test_an_operator_of_one_namespace_says_that_it_knows_no_grants_of_others(
    control_plane: ControlPlane,
    namespace: str,
    shop: str,
    operator_kubeconfig: Path,
    broker: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a grant that is not to be seen
    monkeypatch.setenv("HEED_NAMESPACE", namespace)
    apply(control_plane, shop, grant(">", name="orders", to=namespace))
    operator = Operator(operator_kubeconfig, broker.url, tmp_path, free_port())
    stage = Stage(control_plane, namespace, operator.start(), broker)
    try:
        stage.apply(listener(shop))
        refused = ready(stage, "False", "NotGranted")
        assert f"this operator watches namespace {namespace} only" in refused["message"]

        stage.apply(listener(None))
        ready(stage, "True", "Subscribed")
        stage.apply(policy("none", subscriptions=[]))
        ready(stage, "False", "PolicyViolation")
    finally:
        operator.kill()


# --- what is missing, or was missed ------------------------------------------------------------------------------


@pytest.mark.parametrize("plural", policy_cache.RULE_PLURALS.values())
def test_an_operator_without_one_of_the_definitions_waits_and_says_so(
    control_plane: ControlPlane,
    operator_kubeconfig: Path,
    broker: Broker,
    tmp_path: Path,
    plural: str,
) -> None:
    control_plane.kubectl("delete", "crd", f"{plural}.{names.GROUP}")
    operator = Operator(operator_kubeconfig, broker.url, tmp_path, free_port())
    try:
        operator.start_unready()
        probe = eventually(lambda: told(operator, plural), PATIENCE, what="a word")
        assert "apply the custom resource definitions" in probe
    finally:
        control_plane.kubectl("apply", "--server-side", "-f", str(CRDS))
        control_plane.kubectl("wait", "--for=condition=Established", "crd", f"{plural}.{names.GROUP}")
    try:
        operator.until("active")
    finally:
        operator.kill()


def told(operator: Operator, plural: str) -> str | None:
    """What /readyz says of a kind that is missing."""
    probe = operator.probe("readyz")
    return probe[1] if probe and probe[0] == 503 and f"cannot list {plural}: 404" in probe[1] else None


async def test_rules_that_were_deleted_or_made_in_a_gap_of_the_watch_are_found(watchless: Watchless) -> None:
    # Given a policy that nobody showed
    path = objects_path(names.AGENT_POLICIES, watchless.namespace)
    await watchless.create()
    await watchless.condition("True", "Subscribed")
    await watchless.api.create(path, policy("strict", emissions=[]))

    # When all are read again
    await watchless.fleet.relist_rules()

    # Then it counts, and once it is gone it does not
    await watchless.condition("False", "PolicyViolation")
    await watchless.stopped()
    await watchless.api.delete(f"{path}/strict")
    await watchless.fleet.relist_rules()
    await watchless.condition("True", "Subscribed")


async def test_a_burst_of_changes_compiles_an_agent_once_and_the_same_again_not_at_all(
    watchless: Watchless, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    compiled: list[int] = []

    def counting(agent: Any, *rest: Any) -> Any:
        compiled.append(agent.metadata.generation)
        return compile_agent(agent, *rest)

    monkeypatch.setattr(policy_cache, "compile_agent", counting)
    await watchless.create()
    await watchless.running()
    path = objects_path(names.AGENT_POLICIES, watchless.namespace)
    made = [
        (await watchless.api.create(path, policy(f"p-{n}", emissions=["com.example.>"]))).body
        for n in range(20)
    ]
    loop = next(iter(watchless.fleet._running.values())).loop
    compiled.clear()

    # When
    for body in made:
        watchless.fleet.observe_rule(body)
    await watchless.until(lambda: true(compiled != []), "a look at the Agent")
    await watchless.running()
    assert next(iter(watchless.fleet._running.values())).loop is not loop

    # And they are shown again, with others that select nobody
    nobody = policy("nobody", agentSelector={"matchLabels": {"no": "body"}}, emissions=[])
    made.append((await watchless.api.create(path, nobody)).body)
    for body in made:
        watchless.fleet.observe_rule(body)
    await watchless.until(
        lambda: true(watchless.fleet._review._reviewing is None or watchless.fleet._review._reviewing.done()),
        "the end of the review",
    )

    # Then
    assert len(compiled) == 1


async def test_an_agent_that_was_stopped_stays_so_over_a_change_of_the_active_replica(
    control_plane: ControlPlane, broker: Broker, namespace: str
) -> None:
    # Given an Agent whose edit is not allowed, and that goes on with what it had
    options = (control_plane.kubeconfig, broker.url, namespace)
    async with watchless_fleet(*options) as watchless:
        await watchless.create()
        await watchless.condition("True", "Subscribed")
        path = objects_path(names.AGENT_POLICIES, namespace)
        await watchless.api.create(path, policy("strict", emissions=[ANSWERS]))
        await watchless.fleet.relist_rules()
        secret = [
            *RESEARCHER["spec"]["handlers"],
            {"name": "x", "type": ">", "emit": [{"type": "com.secret"}]},
        ]
        await watchless.edit({"spec": {"handlers": secret}})
        await watchless.condition("False", "PolicyViolation")
        await watchless.until(lambda: kept(watchless), "the last valid spec")

    # When another replica takes over, it goes on with that too
    async with watchless_fleet(*options) as watchless:
        await watchless.fleet.relist_rules()
        watchless.fleet.observe(await watchless.agent())
        await watchless.running(1)

        # And stops it where that is not allowed any more, without forgetting it
        await watchless.api.merge(f"{path}/strict", {"spec": {"emissions": []}})
        await watchless.fleet.relist_rules()
        await watchless.stopped()
        await watchless.until(lambda: kept(watchless), "the last valid spec")

    async with watchless_fleet(*options) as watchless:
        await watchless.fleet.relist_rules()
        watchless.fleet.observe(await watchless.agent())
        await watchless.api.merge(f"{path}/strict", {"spec": {"emissions": [{"type": ANSWERS}]}})
        await watchless.fleet.relist_rules()
        await watchless.running(1)


async def kept(watchless: Watchless) -> bool:
    return bool(((await watchless.agent())["status"] or {}).get("lastValidSpec"))
