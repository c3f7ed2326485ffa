"""What is no mistake in an Agent and hardly meant: each piece of advice in full, and where none is given."""

from typing import Any

import pytest

from heed import names
from heed.core.compiler.lint import ANY_TYPE, FAILURES, direct_types, lint_agent
from heed.core.tasks.retry import is_final
from heed.errors import Problem
from tests.builders.agents import ASKED, NAMESPACE, agent, job
from tests.markdown import ROOT


def advice(*handlers: dict[str, Any], direct: frozenset[str] = frozenset(), **spec: Any) -> list[str]:
    return [str(item) for item in lint_agent(agent(*handlers, **spec), direct)]


def tasks_with_container(**fields: Any) -> dict[str, Any]:
    """An Agent's tasks: one that starts, whose one container has these fields."""
    given = {"name": "a", "image": "example/a:1", "command": ["a"], **fields}
    return {
        "work": task_with_pod(containers=[{key: value for key, value in given.items() if value is not None}])
    }


def task_with_pod(**fields: Any) -> dict[str, Any]:
    return {"job": {"template": {"spec": fields}}}


START = {"start": [{"task": "work"}]}
PATH = "spec.tasks.work.job.template.spec"


# ── what is delivered ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("type_", "direct", "problems"),
    [
        (ASKED, [], []),
        ("com.example.>", [], []),
        (">", [], []),
        (names.TASK_COMPLETED, [], []),
        ("org.other", ["org.*"], []),
        ("org.other", [ANY_TYPE], []),
        (
            "org.other",
            [],
            [
                "spec.handlers[1].type: no subscription delivers org.other, so only direct messages (`to`) can reach "
                "this handler; add the type to spec.subscribe, or correct it"
            ],
        ),
        (
            "com.exmple.question.asked",
            ["com.example.question.asked"],
            [
                "spec.handlers[1].type: no subscription delivers com.exmple.question.asked, so only direct messages "
                "(`to`) can reach this handler; did you mean com.example.question.asked? "
                "Else add the type to spec.subscribe"
            ],
        ),
        (
            "dev.heed.tasks.completed",
            [],
            [
                "spec.handlers[1].type: no subscription delivers dev.heed.tasks.completed, so only direct messages "
                "(`to`) can reach this handler; did you mean dev.heed.task.completed? "
                "Else add the type to spec.subscribe"
            ],
        ),
    ],
)
def test_a_handler_that_only_a_direct_message_reaches_is_told(
    type_: str, direct: list[str], problems: list[str]
) -> None:
    assert advice({}, {"type": type_}, direct=frozenset(direct)) == problems


def test_what_agents_send_to_one_of_them_only_is_known() -> None:
    sending = agent(
        {
            "emit": [
                {"type": "x.all"},
                {"type": "x.one", "to": "clerk"},
                {"type": "x.two", "to": "clerk"},
                {"type": "x.${event.id}", "to": "clerk"},
                {"type": "x.three", "to": "${event.id}"},
                {"from": "${[]}", "to": "scribe"},
            ]
        },
        {"emit": [{"type": "x.four", "to": "scribe"}]},
    )

    assert direct_types([sending, agent(), sending]) == {
        (NAMESPACE, "clerk"): {"x.one", "x.two", ANY_TYPE},
        (NAMESPACE, ANY_TYPE): {"x.three"},
        (NAMESPACE, "scribe"): {ANY_TYPE, "x.four"},
    }


# ── tasks that are not used as they are ─────────────────────────────────────────────────────────────────────────────


def test_reasons_that_nothing_is_tried_again_for_are_told() -> None:
    reasons = ["JobLst", "JobLost", "OutOfLuck", "Cancelled", "InvalidJob", "OOMKill", "Evicted"]
    tasks = {"work": {**tasks_with_container()["work"], "retry": {"attempts": 3, "reasons": reasons}}}
    tasks["work"]["job"]["backoffLimit"] = 0

    assert advice(START, tasks=tasks) == [
        'spec.tasks.work.retry.reasons[0]: no Job fails with JobLst; did you mean "JobLost"?',
        "spec.tasks.work.retry.reasons[3]: Cancelled is never tried again; leave it out",
        "spec.tasks.work.retry.reasons[4]: InvalidJob is never tried again; leave it out",
        'spec.tasks.work.retry.reasons[5]: no Job fails with OOMKill; did you mean "OOMKilled"?',
    ]


def test_failures_that_may_be_tried_again_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "tasks.md").read_text()

    assert [reason for reason in FAILURES if f"`{reason}`" not in page or is_final(reason)] == []


def test_a_task_that_no_handler_starts_is_told() -> None:
    tasks = {**tasks_with_container(), "idle": tasks_with_container()["work"]}

    assert advice(START, tasks=tasks) == [
        "spec.tasks.idle: no handler starts this task; remove it, or start it"
    ]
    assert advice(START, {"start": [{"task": "idle"}]}, tasks=tasks) == []
    assert advice(START, {"start": [{"from": "${event.data}"}]}, tasks=tasks) == []


@pytest.mark.parametrize(
    ("type_", "publish", "said"),
    [
        (names.TASK_PROGRESS, False, True),
        (names.TASK_PROGRESS, True, False),
        (names.TASK_COMPLETED, False, False),
        ("dev.heed.task.*", False, False),
    ],
)
def test_progress_that_no_task_may_publish_is_told(type_: str, publish: bool, said: bool) -> None:
    tasks = {"work": {**tasks_with_container()["work"], "publish": publish}}

    assert (
        advice(START, {"type": type_}, tasks=tasks)
        == [
            "spec.handlers[1].type: no task may publish its progress; "
            "set publish: true on a job, give a resource its `progress`, or remove the handler"
        ]
        * said
    )


# ── containers ──────────────────────────────────────────────────────────────────────────────────────────────────────

MISSING = (
    f"{PATH}.containers[0].image: is missing; a cluster cannot run this task; name an image with its tag"
)
TOMORROW = "may be another image tomorrow; give it a version as its tag, or a digest"
NO_COMMAND = (
    "is missing, so `heed dev` cannot run this task: it has no image to ask for the entry point; "
    "write the image's entry point here"
)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("example/a:1", []),
        ("registry:5000/a:1", []),
        ("registry:5000/a@sha256:0123", []),
        ("example/${input}", []),
        ("a:latest-1", []),
        (None, [MISSING]),
        ("", [MISSING]),
        (7, [MISSING]),
        ("a", [f"{PATH}.containers[0].image: a {TOMORROW}"]),
        ("a:latest", [f"{PATH}.containers[0].image: a:latest {TOMORROW}"]),
        ("registry:5000/a", [f"{PATH}.containers[0].image: registry:5000/a {TOMORROW}"]),
    ],
)
def test_an_image_is_named_with_what_tells_it_apart(image: Any, said: list[str]) -> None:
    tasks = tasks_with_container(image=image)
    if image == 7:  # found before, as a mistake; advice does not break on it
        tasks = tasks_with_container(image="a:1")
        good = agent(START, tasks=tasks)
        (task,) = good.spec.tasks.values()
        assert task.job is not None
        task.job["template"]["spec"]["containers"][0]["image"] = image
        assert [str(item) for item in lint_agent(good)] == said
    else:
        assert advice(START, tasks=tasks) == said


@pytest.mark.parametrize("command", [None, []])
def test_a_command_is_needed_where_there_is_no_image_to_ask(command: Any) -> None:
    assert advice(START, tasks=tasks_with_container(command=command)) == [
        f"{PATH}.containers[0].command: {NO_COMMAND}"
    ]


def test_containers_are_told_apart_and_those_that_come_first_need_no_command() -> None:
    one = {"name": "a", "image": "a:1", "command": ["a"]}
    bare = {"name": "b", "image": "b"}

    assert advice(
        START, tasks={"work": task_with_pod(initContainers=[one, bare], containers=[one, one, bare])}
    ) == [
        f"{PATH}.initContainers[1].image: b {TOMORROW}",
        f"{PATH}.containers[2].image: b {TOMORROW}",
        f"{PATH}.containers[2].command: {NO_COMMAND}",
    ]


@pytest.mark.parametrize(
    "shape",
    [
        None,
        {},
        {"template": None},
        {"template": "${input}"},
        {"template": {"spec": "${input}"}},
        {"template": {"spec": {"containers": "${input}"}}},
        {"template": {"spec": {"containers": ["${input}"]}}},
    ],
)
def test_what_only_an_event_can_tell_needs_no_advice(shape: Any) -> None:
    given = agent(START, tasks=tasks_with_container())
    given.spec.tasks["work"] = given.spec.tasks["work"].model_copy(update={"job": shape})

    assert lint_agent(given) == []


# ── Jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_has_no_effect_in_a_job_is_told() -> None:
    tasks = tasks_with_container()
    metadata = {"labels": {"heed.dev/a": "x", "b": "y"}, "annotations": {"heed.dev/c": "z"}}
    tasks["work"]["job"] |= {"ttlSecondsAfterFinished": 0, "metadata": metadata}

    own = "is not passed on: heed.dev/… are Heed's own; remove it, or choose another prefix"
    assert advice(START, tasks=tasks) == [
        "spec.tasks.work.job.ttlSecondsAfterFinished: has no effect: Heed deletes the Job, once its end was handled; "
        "set the task's `retention`",
        f"spec.tasks.work.job.metadata.labels.heed.dev/a: {own}",
        f"spec.tasks.work.job.metadata.annotations.heed.dev/c: {own}",
    ]


def test_a_field_that_may_be_of_a_newer_kubernetes_is_told() -> None:
    tasks = tasks_with_container()
    tasks["work"]["job"]["frobnication"] = 1

    (found,) = advice(START, tasks=tasks)

    assert found.startswith("spec.tasks.work.job.frobnication: ")


def test_doubts_about_expressions_come_first() -> None:
    doubt = Problem("spec.session.key", "is odd")

    assert (
        lint_agent(agent(START, tasks={**tasks_with_container(), "idle": job()}), expressions=[doubt])[0]
        == doubt
    )
