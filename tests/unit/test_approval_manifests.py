"""Mistakes in an approval's manifest are found before any event, with field and remedy."""

from datetime import timedelta
from typing import Any

import pytest

from heed.core.compiler.expression_lint import lint_expressions
from heed.core.simulation.steps import StubbedEnd
from heed.errors import DecisionFailed, Problem
from tests.builders.agents import asking, manifest, problems, program
from tests.builders.approvals import ASK, HALT, buyer
from tests.unit.simulations import message, run


def mistakes(timeout: str | None = None, **approval: Any) -> list[Problem]:
    """What is wrong with an approval."""
    return problems(manifest(ASK, tasks={"buy": asking(timeout=timeout, **approval)}))


def test_a_title_is_all_it_takes() -> None:
    assert mistakes() == []


@pytest.mark.parametrize(
    ("approval", "path", "text"),
    [
        (
            {"onTimeout": "reject"},
            "onTimeout",
            "never comes: the task has no timeout; give the task a `timeout`",
        ),
        (
            {"onTimeout": "later", "timeout": "1h"},
            "onTimeout",
            '"later" is neither Fail nor one of the choices; choices are: approve, reject',
        ),
        (
            {"choices": [{"name": "a"}, {"name": "b"}, {"name": "a"}]},
            "choices[2].name",
            '"a" is the name of choices[0] too; give each choice its own name',
        ),
        ({"fields": {"type": "array"}}, "fields.type", "is not object, and what people fill in is a map"),
        ({"fields": {"type": "nothing"}}, "fields.type", 'is "nothing"; known are'),
        ({"fields": {"description": "x" * 9000}}, "fields", "exceeds 8192 bytes; ask for less"),
        ({"title": "two\nlines"}, "", "title has to be text of one line of at most 256 bytes; shorten it"),
        ({"title": "${evnt.id}"}, "title", 'did you mean "event"?'),
        ({"details": "${event.id"}, "details", ""),
        ({"approvers": {"where": "answer.user"}}, "approvers.where", ""),
        ({"approvers": {"where": "answer.name == 'kim'"}}, "approvers.where", 'answer has no member "name"'),
        (
            {"approvers": {"where": "event.id == ''"}},
            "approvers.where",
            'unknown variable or function "event"',
        ),
    ],
)
def test_mistakes_name_field_and_remedy(approval: dict[str, Any], path: str, text: str) -> None:
    if path == "approvers.where" and not text:
        assert mistakes(**approval) == []  # whether it is a boolean, only an answer can tell
        return
    found = mistakes(**approval)

    assert any(
        item.path == "spec.tasks.buy.approval" + (f".{path}" if path else "") and text in str(item)
        for item in found
    ), found


def test_a_task_has_one_kind_of_work() -> None:
    (found,) = problems(manifest(ASK, tasks={"buy": {**asking(), "wait": {"for": "1s"}}}))

    assert found.message == "has several kinds of work: wait, approval"


def warned(**options: Any) -> list[str]:
    """What lint says of an Agent that hears no failures."""
    agent = program(ASK, tasks={"buy": asking(**options)})
    return [problem.message for problem in lint_expressions(agent)]


def test_a_failure_that_cannot_be_needs_no_handler() -> None:
    assert warned() == []
    assert warned(timeout="1h", onTimeout="reject") == []
    assert warned(timeout="1h") == ["no handler reacts to its failure"]
    halting = program(ASK, HALT, tasks={"buy": asking()})
    assert [item.message for item in lint_expressions(halting)] == ["no handler reacts to its failure"]


def test_conditions_over_answers_are_linted_as_others_are() -> None:
    given = {**ASK, "start": [{"task": "buy", "input": {"most": 5}}]}
    agent = program(given, tasks={"buy": asking(approvers={"where": "input.moost > 1"})})

    (found,) = lint_expressions(agent)

    assert (found.path, found.message) == (
        "spec.tasks.buy.approval.approvers.where",
        "no start gives input.moost",
    )


# ── simulated ───────────────────────────────────────────────────────────────────────────────────────────────────────


def heard(agent: Any, stub: StubbedEnd | None, **options: Any) -> list[Any]:
    """What the Agent says in a simulation, or the codes of its letters."""
    found = run(message("a"), agents=(agent,), answer=stub, **options)
    said = [
        step.message.event.data for step in found.steps if step.message.event.type.startswith("com.example.")
    ]
    letters = [item.decision.letter for step in found.steps for item in step.deliveries]
    return [*said[1:], *(letter.message for letter in letters if letter is not None)]


def test_a_stub_answers_as_an_approver_where_it_names_nobody() -> None:
    agent = buyer(approvers={"users": ["kim"]})

    (said,) = heard(agent, StubbedEnd("approve"))

    assert (said["choice"], said["answeredBy"], said["timedOut"]) == ("approve", "kim", False)


def test_a_stub_may_say_who_answers_and_what() -> None:
    agent = buyer(approvers={"groups": ["buyers"]}, fields={"required": ["amount"]})
    stub = {
        "choice": "reject",
        "fields": {"amount": 7},
        "comment": "dear",
        "answeredBy": "lee",
        "groups": ["buyers"],
    }

    (said,) = heard(agent, StubbedEnd(stub))

    assert said["fields"] == {"amount": 7}
    assert heard(agent, StubbedEnd({**stub, "groups": []})) == [
        "NotAnApprover: lee is not among the groups buyers"
    ]


def test_what_a_stub_cannot_say_is_refused() -> None:
    for result in (None, 5, {"choose": "approve"}, {"choice": "approve", "fildes": {}}):
        with pytest.raises(DecisionFailed) as caught:
            heard(buyer(), StubbedEnd(result))
        assert "give a choice, or a map of choice, fields" in caught.value.message


def test_a_stub_may_fail_it_and_time_ends_what_nobody_answers() -> None:
    assert heard(buyer(), StubbedEnd(reason="Lost")) == ["Lost"]
    assert heard(buyer("1h"), None) == []
    assert heard(buyer("1h"), None, advance=timedelta(hours=1)) == ["DeadlineExceeded"]
    (said,) = heard(buyer("1h", onTimeout="reject"), None, advance=timedelta(hours=1))
    assert (said["choice"], said["timedOut"]) == ("reject", True)
