"""A task's `job` against the schema of batch/v1 JobSpec: before rendering, as far as templates allow, and after it."""

import copy
import json
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heed.api.validation import parse_agent
from heed.bus.task_credentials import TaskCredentials
from heed.core.codec.canonical_json import canonicalize
from heed.core.compiler.lint import lint_agent
from heed.core.events import Event
from heed.core.schema.job_fields import FIELDS
from heed.core.schema.job_spec import check_job_spec, explain_no_job, lint_job_spec
from heed.core.simulation.simulator import simulate
from heed.core.simulation.steps import SimulatedMessage, StubbedEnd
from heed.errors import Problem
from heed.kube.jobs.manifest import job_manifest, release_patch
from tests import jobfields
from tests.builders.agents import AGENT, manifest, problems, program
from tests.builders.events import received
from tests.builders.tasks import job_spec, spec_with_container, spec_with_pod, task_work

PATH = "spec.tasks.work.job"
POD = f"{PATH}.template.spec"


publishing = partial(task_work, publish=(">",))


def agent_with_job(spec: dict[str, Any]) -> dict[str, Any]:
    """An Agent that starts this job with the event's data."""
    start = {"start": [{"task": "work", "input": "${event.data}"}]}
    return manifest(start, tasks={"work": {"job": spec}})


def one(found: list[Problem]) -> Problem:
    """The only one."""
    assert len(found) == 1, found
    return found[0]


# ── before any event ─────────────────────────────────────────────────────────────────────────────────────────────────

MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    (
        job_spec(backofflimit=0),
        f"{PATH}.backofflimit",
        'there is no such field; did you mean "backoffLimit"?',
    ),
    (job_spec(backoff_limit=0), f"{PATH}.backoff_limit", 'did you mean "backoffLimit"?'),
    (spec_with_container(Env=[]), f"{POD}.containers[0].Env", 'did you mean "env"?'),
    (
        spec_with_container(env={"A": "1"}),
        f"{POD}.containers[0].env",
        "is a map, not a list; write a list: `- name: A` with its `value`",
    ),
    (spec_with_container(env="A=1"), f"{POD}.containers[0].env", "not a list; write a list"),
    (
        spec_with_container(env=["A=1"]),
        f"{POD}.containers[0].env[0]",
        "not a map; write a map: `name: value`",
    ),
    (
        spec_with_container(env=[{"name": "A", "value": 1}]),
        f"{POD}.containers[0].env[0].value",
        "is a whole number (1), not a string; put it in quotes",
    ),
    (
        spec_with_container(env=[{"name": "A", "value": True}]),
        f"{POD}.containers[0].env[0].value",
        "put it in quotes",
    ),
    (spec_with_container(env=[{"value": "1"}]), f"{POD}.containers[0].env[0].name", "is missing; add it"),
    (spec_with_container(env=[None]), f"{POD}.containers[0].env[0].name", "is missing"),
    (spec_with_container(command="python"), f"{POD}.containers[0].command", "is a string"),
    (spec_with_container(args=["a", 7]), f"{POD}.containers[0].args[1]", "not a string"),
    (spec_with_container(image={"name": "x"}), f"{POD}.containers[0].image", "is a map, not a string"),
    (
        spec_with_container(ports=[{"containerPort": "80"}]),
        f"{POD}.containers[0].ports[0].containerPort",
        "write 80",
    ),
    (
        spec_with_container(resources={"limits": {"cpu": True}}),
        f"{POD}.containers[0].resources.limits.cpu",
        "not a quantity",
    ),
    (
        spec_with_container(livenessProbe={"httpGet": {"port": 1.5}}),
        f"{POD}.containers[0].livenessProbe.httpGet.port",
        "",
    ),
    (
        job_spec(activeDeadlineSeconds="300"),
        f"{PATH}.activeDeadlineSeconds",
        'is a string ("300"), not a whole number; write 300 without quotes',
    ),
    (job_spec(backoffLimit=2.5), f"{PATH}.backoffLimit", "is a number (2.5), not a whole number"),
    (job_spec(backoffLimit=2**31), f"{PATH}.backoffLimit", "does not fit 32 bits"),
    (job_spec(suspend="true"), f"{PATH}.suspend", "write true or false, without quotes"),
    (job_spec(template=[]), f"{PATH}.template", "is a list, not a map"),
    ({}, f"{PATH}.template", "is missing"),
    ({"template": None}, f"{PATH}.template", "is missing"),
    ({"template": {}}, f"{POD}.containers", "at least one container"),
    (spec_with_pod(containers=[]), f"{POD}.containers", "at least one container"),
    (spec_with_pod(containers=None), f"{POD}.containers", "is missing"),
    (spec_with_pod(containers=[None]), f"{POD}.containers[0].name", "is missing"),
    (job_spec(metadata={"labels": ["team"]}), f"{PATH}.metadata.labels", "is a list, not a map"),
    (job_spec(metadata={"labels": {"team": 1}}), f"{PATH}.metadata.labels.team", "put it in quotes"),
    (job_spec(metadata={"name": "mine"}), f"{PATH}.metadata.name", "cannot be set; Heed names the Job"),
    # what an expression yields, where that is known before
    (job_spec(backoffLimit="${1}0"), f"{PATH}.backoffLimit", "one ${…} and nothing else"),
    (
        job_spec(backoffLimit="${string(input.n)}"),
        f"{PATH}.backoffLimit",
        "yields a string, not a whole number",
    ),
    (spec_with_container(args=["${size(input)}"]), f"{POD}.containers[0].args[0]", "write ${string(…)}"),
    (
        spec_with_container(command="${{'a': input.b}}"),
        f"{POD}.containers[0].command",
        "yields a map, not a list",
    ),
    (job_spec(metadata={"labels": "${[input.x]}"}), f"{PATH}.metadata.labels", "yields a list, not a map"),
    (job_spec(suspend="$${true}"), f"{PATH}.suspend", "is a string"),
]


@pytest.mark.parametrize(("spec", "path", "message"), MISTAKES)
def test_what_can_never_be_a_job_is_a_mistake_of_the_manifest(
    spec: dict[str, Any], path: str, message: str
) -> None:
    found = one(problems(agent_with_job(spec)))

    assert found.path == path
    assert message in str(found)


RIGHT: list[dict[str, Any]] = [
    job_spec(backoffLimit=0, activeDeadlineSeconds="${input.seconds}", suspend="${input.later}"),
    job_spec(backoffLimit="${2}", completions="${int(input.n)}", parallelism="${1.0 * 2.0}"),
    job_spec(backoffLimit=2.0),  # which the API server hands out as 2
    job_spec(metadata={"labels": "${input.labels}", "annotations": {"a/b.c": "${input.x} of ${task.id}"}}),
    job_spec(template="${input.template}"),
    spec_with_pod(containers="${input.containers}"),
    spec_with_pod(tolerations=[{}], terminationGracePeriodSeconds=None),
    spec_with_container(args=None, env="${input.env}", command=["a", None, "${string(1)}", "$${HOME}"]),
    spec_with_container(
        resources={"limits": {"cpu": 1, "memory": "1Gi", "x/y": 0.5}, "requests": "${input.r}"}
    ),
    spec_with_container(
        livenessProbe={"httpGet": {"port": "http"}}, readinessProbe={"httpGet": {"port": 80}}
    ),
]


@pytest.mark.parametrize("spec", RIGHT)
def test_what_may_be_a_job_is_let_through(spec: dict[str, Any]) -> None:
    assert problems(agent_with_job(spec)) == []
    assert lint_job_spec(spec, PATH) == []


DOUBTS: list[tuple[dict[str, Any], str, str]] = [
    (job_spec(backofLimit=0), f"{PATH}.backofLimit", 'did you mean "backoffLimit"?'),
    (job_spec(containers=[]), f"{PATH}.containers", "it belongs into template.spec"),
    (job_spec(restartPolicy="Never"), f"{PATH}.restartPolicy", "it belongs into template.spec"),
    (spec_with_pod(command=["x"]), f"{POD}.command", "it belongs into containers[]"),
    (
        spec_with_container(frobnicate=True),
        f"{POD}.containers[0].frobnicate",
        "see `kubectl explain job.spec.template.spec.containers`",
    ),
]


@pytest.mark.parametrize(("spec", "path", "remedy"), DOUBTS)
def test_what_a_newer_release_may_have_is_a_warning(spec: dict[str, Any], path: str, remedy: str) -> None:
    assert problems(agent_with_job(spec)) == []
    (found,) = [
        item for item in lint_agent(parse_agent(agent_with_job(spec))) if "Kubernetes" in item.message
    ]

    assert found.path == path
    assert "Kubernetes 1.37 has no such field" in found.message
    assert found.remedy == remedy


def test_a_ttl_that_has_no_effect_is_a_warning() -> None:
    advice = lint_agent(parse_agent(agent_with_job(job_spec(ttlSecondsAfterFinished=60))))

    assert f"{PATH}.ttlSecondsAfterFinished: has no effect" in "\n".join(map(str, advice))


# ── when it is rendered ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (job_spec(activeDeadlineSeconds="300"), f"{PATH}.activeDeadlineSeconds: is a string"),
        (job_spec(metadata={"labels": ["a"]}), f"{PATH}.metadata.labels: is a list, not a map"),
        (spec_with_container(command={"a": 1}), f"{POD}.containers[0].command: is a map, not a list"),
        (spec_with_pod(containers=[]), "at least one container"),
        ("no map", f"{PATH}: is a string"),
        (job_spec(backoffLimit="6", suspend=1, completions=[], parallelism={}), "(and 1 more)"),
    ],
)
def test_what_can_never_be_a_job_is_said_in_a_line(spec: Any, said: str) -> None:
    assert said in (explain_no_job(publishing(spec, timeout=600)) or "")


def test_a_simulation_ends_such_a_task_as_the_operator_does() -> None:
    # Given a deadline that is text
    started = program(
        {"start": [{"task": "work", "input": "${event.data}"}]},
        {"type": "dev.heed.task.failed", "state": {"why": "${event.data.message}"}},
        tasks={"work": {"timeout": "10m", "job": job_spec(activeDeadlineSeconds="${input.seconds}")}},
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
    **job_spec(activeDeadlineSeconds=5, suspend=True, ttlSecondsAfterFinished=5),
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

    if explain_no_job(publishing(spec, timeout=10)) is None:
        access = TaskCredentials(url="nats://127.0.0.1:4222", signer=object())  # type: ignore[arg-type]
        made = job_manifest(publishing(spec, timeout=10), access)
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

    made = job_manifest(publishing(spec, timeout=10), TaskCredentials())["metadata"]
    silent = job_manifest(publishing(spec, publish=None), TaskCredentials())["metadata"]

    assert made["labels"] == {
        "team": "a",
        "heed.dev/agent": AGENT,
        "heed.dev/attempt": "1",
        "heed.dev/task": "work",
        "heed.dev/task-id": "work-1",
        "heed.dev/session-hash": made["labels"]["heed.dev/session-hash"],
    }
    assert made["annotations"] == {"cost": "7", "heed.dev/publishes": "true", "heed.dev/retention": "3600"}
    assert silent["annotations"] == {"cost": "7", "heed.dev/retention": "3600"}


def test_a_label_that_is_not_passed_on_is_a_warning() -> None:
    advice = lint_agent(
        parse_agent(agent_with_job(job_spec(metadata={"labels": {"heed.dev/team": "a", "team": "b"}})))
    )

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
    patch = release_patch(publishing(job_spec(suspend=suspend)), {"metadata": {"labels": labels}})

    assert patch["metadata"]["annotations"] == {"heed.dev/suspended": None}
    assert ("spec" in patch) == resumed
    assert patch.get("spec", {}).get("suspend", False) is False
