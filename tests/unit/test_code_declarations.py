"""What the manifest says that functions do: checked by policies, known to lint."""

from typing import Any

import pytest

from heed.api.validation import parse_agent
from heed.core.compiler.expression_lint import lint_expressions
from heed.core.compiler.lint import direct_types, lint_agent
from heed.core.compiler.program import compile_agent
from heed.core.policy.permissions import AllowList, Permissions
from heed.errors import POLICY_VIOLATION, InvalidManifest, Problem

ASKED = "com.example.asked"


def coded(*handlers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A manifest with handlers, and a worker for their functions."""
    named = [{"name": f"h-{index}", "type": ASKED} | item for index, item in enumerate(handlers)]
    return {
        "apiVersion": "heed.dev/v1alpha1",
        "kind": "Agent",
        "metadata": {"name": "a"},
        "spec": {"subscribe": [{"type": ASKED}], "worker": {"digest": "0123456789abcdef"}, "handlers": named}
        | spec,
    }


def code(**call: Any) -> dict[str, Any]:
    """A handler in code."""
    return {"call": {"function": "f"} | call}


def lint(document: dict[str, Any], *others: dict[str, Any]) -> list[str]:
    """The warnings about an Agent beside others, by their paths."""
    agents = [parse_agent(item) for item in (document, *others)]
    direct = direct_types(agents)
    known = direct.get(("default", "a"), set()) | direct.get(("default", ">"), set())
    program = compile_agent(agents[0])
    return [problem.path for problem in lint_agent(agents[0], known, lint_expressions(program))]


def refused(pattern: str, *allowed: str) -> list[Problem]:
    """What policies that allow these types have against a function that declares a pattern."""
    permissions = Permissions("default", emissions=AllowList(allowed, ("default/strict",)))
    try:
        compile_agent(parse_agent(coded(code(emits=["com.example.fine", pattern]))), permissions)
    except InvalidManifest as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        ("com.example.done", ("com.example.fine", "com.example.done")),
        ("com.example.done", ("com.example.*",)),
        ("com.example.*", ("com.example.>",)),
        ("com.example.*", ("com.example.*",)),
    ],
)
def test_a_policy_that_covers_what_is_declared_allows_it(pattern: str, allowed: tuple[str, ...]) -> None:
    assert refused(pattern, *allowed) == []


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        ("com.example.done", ("com.example.fine",)),
        ("com.example.*", ("com.example.fine", "com.example.done")),
        ("com.example.>", ("com.example.*",)),
        ("com.other.done", ("com.example.*",)),
    ],
)
def test_a_policy_refuses_what_may_be_more_than_it_allows(pattern: str, allowed: tuple[str, ...]) -> None:
    (problem,) = refused(pattern, *allowed)

    assert (problem.path, problem.reason) == ("spec.handlers[0].call.emits[1]", POLICY_VIOLATION)
    assert problem.message == (
        f"AgentPolicy default/strict allows no emission of {pattern}; allowed: {', '.join(allowed)}"
    )


def test_a_namespace_without_policies_allows_every_declaration() -> None:
    compile_agent(parse_agent(coded(code(emits=["com.example.>"]))))


READS = {"when": "state.written == 1", "state": {"x": 1}}


def test_states_that_code_writes_have_members_that_no_manifest_names() -> None:
    assert lint(coded(READS)) == ["spec.handlers[0].when"]
    assert lint(coded(code(), READS)) == []


TASKS = {
    "tasks": {
        "work": {"wait": {"for": "1m"}},
        "other": {"wait": {"for": "${input.wait}"}},
    }
}
FAILING = {"type": "dev.heed.task.failed", "state": {"x": 1}}


def test_tasks_that_code_starts_are_started() -> None:
    declared = coded(code(starts=["work"]), FAILING, **TASKS)

    assert lint(declared) == ["spec.tasks.other"]
    assert lint(coded(code(starts=["work", "other"]), FAILING, **TASKS)) == []


def test_inputs_that_code_gives_have_members_that_no_manifest_names() -> None:
    start = {"start": [{"task": "other", "input": {"delay": "1m"}}]}

    assert lint(coded(start, FAILING, tasks={"other": TASKS["tasks"]["other"]})) == [
        "spec.tasks.other.wait.for"
    ]
    assert lint(coded(start, code(starts=["other"]), FAILING, tasks={"other": TASKS["tasks"]["other"]})) == []


def test_what_code_emits_may_be_for_one_agent() -> None:
    hears = coded({"type": "com.example.direct", "state": {"x": 1}})
    other = coded(code(emits=["com.example.*"]))
    other["metadata"]["name"] = "b"

    assert lint(hears) == ["spec.handlers[0].type"]
    assert lint(hears, other) == []


def test_code_may_hold_events() -> None:
    expired = {"type": "dev.heed.hold.expired", "state": {"x": 1}}

    assert lint(coded({"state": {"x": 1}}, expired)) == ["spec.handlers[1].type"]
    assert lint(coded(code(), expired)) == []


def test_functions_that_are_tasks_may_tell_their_progress() -> None:
    progress = {"type": "dev.heed.task.progress", "when": "event.data.step == 1", "state": {"x": 1}}
    starts = code(starts=["work"])

    assert lint(coded(starts, FAILING, progress, tasks={"work": {"wait": {"for": "1m"}}})) == [
        "spec.handlers[2].type"
    ]
    assert lint(coded(starts, FAILING, progress, tasks={"work": {"function": {"name": "f"}}})) == []
