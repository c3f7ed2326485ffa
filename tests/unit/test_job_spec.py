"""A task's `job` against the schema of batch/v1 JobSpec: before rendering, as far as templates allow, and after it."""

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heed.api.validation import parse_agent
from heed.bus.task_credentials import TaskCredentials
from heed.core.codec.canonical_json import canonicalize
from heed.core.compiler.lint import lint_agent
from heed.core.effects import AgentRef, TaskWork
from heed.core.events import Event
from heed.core.schema.job_fields import FIELDS
from heed.core.schema.job_spec import check_job_spec, explain_no_job, lint_job_spec
from heed.core.simulation.simulator import SimulatedMessage, StubbedEnd, simulate
from heed.errors import Problem
from heed.kube.jobs.manifest import job_manifest, release_patch
from tests import jobfields
from tests.builders.agents import AGENT, NAMESPACE, manifest, problems, program
from tests.builders.events import received

PATH = "spec.tasks.work.job"
POD = f"{PATH}.template.spec"


def job(**fields: Any) -> dict[str, Any]:
    """A JobSpec with one container, and these fields beside `template`."""
    return {"template": {"spec": {"containers": [{"name": "main", "image": "example/work:1"}]}}, **fields}


def pod(**fields: Any) -> dict[str, Any]:
    """A JobSpec whose pod has these fields."""
    spec = job()
    spec["template"]["spec"] |= fields
    return spec


def container(**fields: Any) -> dict[str, Any]:
    """A JobSpec whose container has these fields."""
    return pod(containers=[{"name": "main", "image": "example/work:1", **fields}])


def agent(spec: dict[str, Any]) -> dict[str, Any]:
    """An Agent that starts this job with the event's data."""
    start = {"start": [{"task": "work", "input": "${event.data}"}]}
    return manifest(start, tasks={"work": {"job": spec}})


def one(found: list[Problem]) -> Problem:
    """The only one."""
    assert len(found) == 1, found
    return found[0]


# ── before any event ─────────────────────────────────────────────────────────────────────────────────────────────────

MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    (job(backofflimit=0), f"{PATH}.backofflimit", 'there is no such field; did you mean "backoffLimit"?'),
    (job(backoff_limit=0), f"{PATH}.backoff_limit", 'did you mean "backoffLimit"?'),
    (container(Env=[]), f"{POD}.containers[0].Env", 'did you mean "env"?'),
    (
        container(env={"A": "1"}),
        f"{POD}.containers[0].env",
        "is a map, not a list; write a list: `- name: A` with its `value`",
    ),
    (container(env="A=1"), f"{POD}.containers[0].env", "not a list; write a list"),
    (container(env=["A=1"]), f"{POD}.containers[0].env[0]", "not a map; write a map: `name: value`"),
    (
        container(env=[{"name": "A", "value": 1}]),
        f"{POD}.containers[0].env[0].value",
        "is a whole number (1), not a string; put it in quotes",
    ),
    (container(env=[{"name": "A", "value": True}]), f"{POD}.containers[0].env[0].value", "put it in quotes"),
    (container(env=[{"value": "1"}]), f"{POD}.containers[0].env[0].name", "is missing; add it"),
    (container(env=[None]), f"{POD}.containers[0].env[0].name", "is missing"),
    (container(command="python"), f"{POD}.containers[0].command", "is a string"),
    (container(args=["a", 7]), f"{POD}.containers[0].args[1]", "not a string"),
    (container(image={"name": "x"}), f"{POD}.containers[0].image", "is a map, not a string"),
    (container(ports=[{"containerPort": "80"}]), f"{POD}.containers[0].ports[0].containerPort", "write 80"),
    (
        container(resources={"limits": {"cpu": True}}),
        f"{POD}.containers[0].resources.limits.cpu",
        "not a quantity",
    ),
    (
        container(livenessProbe={"httpGet": {"port": 1.5}}),
        f"{POD}.containers[0].livenessProbe.httpGet.port",
        "",
    ),
    (
        job(activeDeadlineSeconds="300"),
        f"{PATH}.activeDeadlineSeconds",
        'is a string ("300"), not a whole number; write 300 without quotes',
    ),
    (job(backoffLimit=2.5), f"{PATH}.backoffLimit", "is a number (2.5), not a whole number"),
    (job(backoffLimit=2**31), f"{PATH}.backoffLimit", "does not fit 32 bits"),
    (job(suspend="true"), f"{PATH}.suspend", "write true or false, without quotes"),
    (job(template=[]), f"{PATH}.template", "is a list, not a map"),
    ({}, f"{PATH}.template", "is missing"),
    ({"template": None}, f"{PATH}.template", "is missing"),
    ({"template": {}}, f"{POD}.containers", "at least one container"),
    (pod(containers=[]), f"{POD}.containers", "at least one container"),
    (pod(containers=None), f"{POD}.containers", "is missing"),
    (pod(containers=[None]), f"{POD}.containers[0].name", "is missing"),
    (job(metadata={"labels": ["team"]}), f"{PATH}.metadata.labels", "is a list, not a map"),
    (job(metadata={"labels": {"team": 1}}), f"{PATH}.metadata.labels.team", "put it in quotes"),
    (job(metadata={"name": "mine"}), f"{PATH}.metadata.name", "cannot be set; Heed names the Job"),
    # what an expression yields, where that is known before
    (job(backoffLimit="${1}0"), f"{PATH}.backoffLimit", "one ${…} and nothing else"),
    (job(backoffLimit="${string(input.n)}"), f"{PATH}.backoffLimit", "yields a string, not a whole number"),
    (container(args=["${size(input)}"]), f"{POD}.containers[0].args[0]", "write ${string(…)}"),
    (container(command="${{'a': input.b}}"), f"{POD}.containers[0].command", "yields a map, not a list"),
    (job(metadata={"labels": "${[input.x]}"}), f"{PATH}.metadata.labels", "yields a list, not a map"),
    (job(suspend="$${true}"), f"{PATH}.suspend", "is a string"),
]


@pytest.mark.parametrize(("spec", "path", "message"), MISTAKES)
def test_what_can_never_be_a_job_is_a_mistake_of_the_manifest(
    spec: dict[str, Any], path: str, message: str
) -> None:
    found = one(problems(agent(spec)))

    assert found.path == path
    assert message in str(found)


RIGHT: list[dict[str, Any]] = [
    job(backoffLimit=0, activeDeadlineSeconds="${input.seconds}", suspend="${input.later}"),
    job(backoffLimit="${2}", completions="${int(input.n)}", parallelism="${1.0 * 2.0}"),
    job(backoffLimit=2.0),  # which the API server hands out as 2
    job(metadata={"labels": "${input.labels}", "annotations": {"a/b.c": "${input.x} of ${task.id}"}}),
    job(template="${input.template}"),
    pod(containers="${input.containers}"),
    pod(tolerations=[{}], terminationGracePeriodSeconds=None),
    container(args=None, env="${input.env}", command=["a", None, "${string(1)}", "$${HOME}"]),
    container(resources={"limits": {"cpu": 1, "memory": "1Gi", "x/y": 0.5}, "requests": "${input.r}"}),
    container(livenessProbe={"httpGet": {"port": "http"}}, readinessProbe={"httpGet": {"port": 80}}),
]


@pytest.mark.parametrize("spec", RIGHT)
def test_what_may_be_a_job_is_let_through(spec: dict[str, Any]) -> None:
    assert problems(agent(spec)) == []
    assert lint_job_spec(spec, PATH) == []


DOUBTS: list[tuple[dict[str, Any], str, str]] = [
    (job(backofLimit=0), f"{PATH}.backofLimit", 'did you mean "backoffLimit"?'),
    (job(containers=[]), f"{PATH}.containers", "it belongs into template.spec"),
    (job(restartPolicy="Never"), f"{PATH}.restartPolicy", "it belongs into template.spec"),
    (pod(command=["x"]), f"{POD}.command", "it belongs into containers[]"),
    (
        container(frobnicate=True),
        f"{POD}.containers[0].frobnicate",
        "see `kubectl explain job.spec.template.spec.containers`",
    ),
]


@pytest.mark.parametrize(("spec", "path", "remedy"), DOUBTS)
def test_what_a_newer_release_may_have_is_a_warning(spec: dict[str, Any], path: str, remedy: str) -> None:
    assert problems(agent(spec)) == []
    (found,) = [item for item in lint_agent(parse_agent(agent(spec))) if "Kubernetes" in item.message]

    assert found.path == path
    assert "Kubernetes 1.37 has no such field" in found.message
    assert found.remedy == remedy


def test_a_ttl_that_has_no_effect_is_a_warning() -> None:
    advice = lint_agent(parse_agent(agent(job(ttlSecondsAfterFinished=60))))

    assert f"{PATH}.ttlSecondsAfterFinished: has no effect" in "\n".join(map(str, advice))


# ── when it is rendered ──────────────────────────────────────────────────────────────────────────────────────────────


def work(spec: Any, timeout: int | None = None) -> TaskWork:
    ref = AgentRef(NAMESPACE, AGENT, "uid")
    return TaskWork(ref, "work-1", "work", "job", "s", spec, {"input": None}, timeout, 3600, (">",))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (job(activeDeadlineSeconds="300"), f"{PATH}.activeDeadlineSeconds: is a string"),
        (job(metadata={"labels": ["a"]}), f"{PATH}.metadata.labels: is a list, not a map"),
        (container(command={"a": 1}), f"{POD}.containers[0].command: is a map, not a list"),
        (pod(containers=[]), "at least one container"),
        ("no map", f"{PATH}: is a string"),
        (job(backoffLimit="6", suspend=1, completions=[], parallelism={}), "(and 1 more)"),
    ],
)
def test_what_can_never_be_a_job_is_said_in_a_line(spec: Any, said: str) -> None:
    assert said in (explain_no_job(work(spec, timeout=600)) or "")


def test_a_simulation_ends_such_a_task_as_the_operator_does() -> None:
    # Given a deadline that is text
    started = program(
        {"start": [{"task": "work", "input": "${event.data}"}]},
        {"type": "dev.heed.task.failed", "state": {"why": "${event.data.message}"}},
        tasks={"work": {"timeout": "10m", "job": job(activeDeadlineSeconds="${input.seconds}")}},
    )
    asked = received(1, data={"seconds": "300"})
    assert isinstance(asked.event, Event)

    # When
    run = simulate(
        [started], [SimulatedMessage(asked.subject, asked.event)], lambda _: StubbedEnd(result="done")
    )

    # Then
    (ledger,) = run.ledgers.values()
    assert [task.reason for task in ledger.recent_tasks] == ["InvalidJob"]


NAMES = st.sampled_from(sorted({name for fields in FIELDS.values() for name in fields}))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
FULL = {
    **job(activeDeadlineSeconds=5, suspend=True, ttlSecondsAfterFinished=5),
    "metadata": {"labels": {"team": "a"}, "annotations": {"b": "c"}},
    "template": {
        "metadata": {"labels": {"team": "a"}, "annotations": {"b": "c"}},
        "spec": {
            "restartPolicy": "Never",
            "volumes": [{"name": "v", "emptyDir": {}}],
            "initContainers": [{"name": "first", "image": "i", "terminationMessagePath": "/x"}],
            "containers": [
                {
                    "name": "main",
                    "image": "i",
                    "terminationMessagePath": "/x",
                    "env": [{"name": "A", "value": "1"}],
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                }
            ],
        },
    },
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(places(FULL)[1:]), VALUES)
@example(("activeDeadlineSeconds",), None)
@example(("template", "spec", "containers"), [{}])
@example(("template", "spec", "initContainers"), [None])
def test_whatever_stands_anywhere_it_is_refused_with_a_reason_or_makes_a_job(
    place: tuple[Any, ...], value: Any
) -> None:
    spec = copy.deepcopy(FULL)
    inner: Any = spec
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    spec = canonicalize(spec, stored=True)

    if explain_no_job(work(spec, timeout=10)) is None:
        access = TaskCredentials(url="nats://127.0.0.1:4222", signer=object())  # type: ignore[arg-type]
        made = job_manifest(work(spec, timeout=10), access)
        json.dumps(made)
        assert made["spec"]["activeDeadlineSeconds"] <= 10


def test_the_fields_are_those_of_the_definitions_that_they_are_made_from() -> None:
    assert jobfields.TARGET.read_text() == jobfields.text()


def test_every_type_of_the_table_is_known() -> None:
    for fields in FIELDS.values():
        for type_ in fields.values():
            inner = type_.removesuffix("!").replace("[]", "").replace("{}", "")
            assert inner[0].islower() or inner in FIELDS, type_
    assert check_job_spec(FULL, PATH) == lint_job_spec(FULL, PATH) == []


# ── the Job's own metadata ───────────────────────────────────────────────────────────────────────────────────────────


def test_labels_and_annotations_of_the_author_are_on_the_job_and_ours_win() -> None:
    spec = FULL | {
        "metadata": {
            "labels": {"team": "a", "heed.dev/task-id": "another", "heed.dev/mine": "b"},
            "annotations": {"cost": "7", "heed.dev/publishes": "true", "heed.dev/retention": "9"},
        }
    }

    made = job_manifest(work(spec, timeout=10), TaskCredentials())["metadata"]
    silent = job_manifest(replace(work(spec), publish=None), TaskCredentials())["metadata"]

    assert made["labels"] == {
        "team": "a",
        "heed.dev/agent": AGENT,
        "heed.dev/task": "work",
        "heed.dev/task-id": "work-1",
        "heed.dev/session-hash": made["labels"]["heed.dev/session-hash"],
    }
    assert made["annotations"] == {"cost": "7", "heed.dev/publishes": "true", "heed.dev/retention": "3600"}
    assert silent["annotations"] == {"cost": "7", "heed.dev/retention": "3600"}


def test_a_label_that_is_not_passed_on_is_a_warning() -> None:
    advice = lint_agent(parse_agent(agent(job(metadata={"labels": {"heed.dev/team": "a", "team": "b"}}))))

    assert [item.path for item in advice if "not passed on" in item.message] == [
        f"{PATH}.metadata.labels.heed.dev/team"
    ]


@pytest.mark.parametrize(
    ("labels", "suspend", "resumed"),
    [
        ({}, None, True),
        ({}, False, True),
        ({"kueue.x-k8s.io/queue-name": ""}, None, True),
        ({"kueue.x-k8s.io/queue-name": "team-a"}, None, False),
        ({}, True, False),
    ],
)
def test_a_job_that_has_its_credentials_is_resumed_unless_others_want_it_suspended(
    labels: dict[str, str], suspend: bool | None, resumed: bool
) -> None:
    """The labels are those of the Job as it was created: a namespace's default queue is among them."""
    patch = release_patch(work(job(suspend=suspend)), {"metadata": {"labels": labels}})

    assert patch["metadata"]["annotations"] == {"heed.dev/suspended": None}
    assert ("spec" in patch) == resumed
    assert patch.get("spec", {}).get("suspend", False) is False
