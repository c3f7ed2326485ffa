"""What can never happen in an Agent is told before any event comes, and what can is not."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from heed import names
from heed.api.event_type import EventType
from heed.api.status import PendingTask, TaskCause
from heed.api.validation import parse_agent
from heed.cli.main import main
from heed.core.compiler.admission import AdmissionRequest, ClusterContext, judge
from heed.core.compiler.expression_lint import lint_expressions
from heed.core.compiler.program import compile_agent
from heed.core.compiler.unguarded_members import suggest_guard
from heed.core.compiler.unknown_members import END_MEMBERS
from heed.core.effects import AgentRef, TaskEnd
from heed.core.schema.registry import compile_schemas
from heed.core.tasks.work import end_event
from tests.builders.agents import job, manifest, problems
from tests.builders.events import data_of
from tests.builders.policies import event_type

TASKS = {"research": job("${input.topic}")}
START = {"state": {"answer": "x"}, "start": [{"task": "research", "input": {"topic": "x"}}]}
FAILED = {"type": names.TASK_FAILED}


def warnings(*handlers: dict[str, Any], types: Iterable[EventType] = (), **spec: Any) -> list[str]:
    """What is doubted of an Agent that compiles."""
    spec = {"tasks": TASKS, **spec}
    agent = parse_agent(manifest(START, FAILED, *handlers, **spec))
    program = compile_agent(agent, schemas=compile_schemas(types)[0])
    return [str(item) for item in lint_expressions(program)]


def mistakes(*handlers: dict[str, Any], **spec: Any) -> list[str]:
    spec = {"tasks": TASKS, **spec}
    return [str(item) for item in problems(manifest(START, FAILED, *handlers, **spec))]


# ── what is a mistake ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ({"type": "dev.heed.task.complete"}, "spec.handlers[2].type: no task sends dev.heed.task.complete"),
        ({"type": "dev.heed.task.complete"}, 'did you mean "dev.heed.task.completed"?'),
        ({"type": "dev.heed.task.result"}, "is reserved for what tasks send"),
        ({"type": "dev.heed.task.failed.*"}, 'did you mean "dev.heed.task.failed"?'),
        (
            {"type": "dev.heed.task.*", "when": 'task.nme == "x"'},
            'task has no member "nme"; did you mean "name"?',
        ),
        ({"state": {"a": "${session.kee}"}}, 'session has no member "kee"; did you mean "key"?'),
        ({"state": {"a": "at ${agent['labls'].x}"}}, 'agent has no member "labls"; did you mean "labels"?'),
        ({"when": "duration(60) > duration('1s')"}, "duration(…) cannot do this; write duration('60s')"),
        ({"state": {"a": '${int(duration("60s"))}'}}, "int(…) cannot do this; write x.getSeconds()"),
        ({"state": {"a": "${event.data.map(i, duration(size(i)))}"}}, "duration(…) cannot do this"),
    ],
)
def test_what_can_never_work_is_a_mistake(handler: dict[str, Any], said: str) -> None:
    (found,) = mistakes(handler)

    assert said in found


@pytest.mark.parametrize(
    "handler",
    [
        *(
            {"type": type_}
            for type_ in ("dev.heed.task.*", "dev.heed.task.>", "dev.heed.>", "dev.heed.*.failed")
        ),
        *({"type": type_} for type_ in names.HANDLED_TASK_TYPES),
        {"type": "dev.heed.task.*", "when": 'has(task.nme) && task.nme == "x"'},
        {"state": {"a": "${duration(event.data.d)}", "b": "${int(event.data.d)}"}},
        {"state": {"a": "${agent.labels.team}", "b": "${session.key}"}},
    ],
)
def test_what_may_work_is_none(handler: dict[str, Any]) -> None:
    assert mistakes(handler) == []


def test_in_a_tasks_template_the_task_has_an_id_and_a_name_only() -> None:
    (found,) = mistakes(tasks={"research": job("${task.id} ${task.startedAt}")})

    assert (
        'spec.tasks.research.job.template.spec.containers[0].args[0]: task has no member "startedAt"' in found
    )


def test_an_expression_is_tried_on_what_every_event_has() -> None:
    assert warnings({"when": "event.specversion == '1.0' ? true : dyn(1)"}) == []
    (found,) = warnings({"when": "event.specversion == '1.0' ? dyn(1) : true"})
    assert "fails for every event: is int, not a boolean" in found


# ── members that never are ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (
            {"type": "dev.heed.task.*", "when": 'task.name == "reserch"'},
            'when: compares task.name with "reserch", which is no task; did you mean "research"?',
        ),
        ({"type": "dev.heed.task.*", "when": 'task.name in ["research", "reserch"]'}, 'with "reserch"'),
        ({"type": "dev.heed.task.*", "when": '"reserch" != task.name'}, 'with "reserch"'),
        (
            {"type": "dev.heed.task.*", "when": "has(task.nme)"},
            'task never has a member "nme"; did you mean "name"?',
        ),
        (
            {"when": 'event.type == "com.example.question.aksed"'},
            "sees events of com.example.question.asked only",
        ),
        ({"state": {"a": "${event.dat.x}"}}, 'which has no members; did you mean "data"?'),
        ({"state": {"a": "${event.dta}"}}, '"dta" is no attribute of CloudEvents'),
        ({"state": {"a": "${event.Data.x}"}}, 'no event has an attribute "Data"'),
        ({"state": {"a": "${event.id.x}"}}, "event.id is a text, which has no members"),
        ({"state": {"a": "${state.anser}"}}, 'no handler sets state.anser; did you mean "answer"?'),
        ({"when": "has(state.anser)"}, "no handler sets state.anser"),
        ({"state": {"a": "${state.?anser.orValue(1)}"}}, "no handler sets state.anser"),
        ({"type": "dev.heed.task.completed", "state": {"a": "${input.tpoic}"}}, 'did you mean "topic"?'),
        (
            {"type": "dev.heed.task.completed", "state": {"a": "${event.data.reslt.x}"}},
            'did you mean "result"?',
        ),
        (
            {"type": "dev.heed.task.failed", "state": {"a": "${event.data.result}"}},
            "has no event.data.result",
        ),
    ],
)
def test_a_member_that_never_is_gives_a_warning(handler: dict[str, Any], said: str) -> None:
    (found,) = warnings(handler)

    assert said in found
    assert found.startswith("spec.handlers[2].")


def test_a_tasks_template_is_looked_at_too() -> None:
    (found,) = warnings(tasks={"research": job("${input.tpc} ${event.data.x}")})

    assert found == (
        "spec.tasks.research.job.template.spec.containers[0].args[0]: no start gives input.tpc; "
        'did you mean "topic"?'
    )


@pytest.mark.parametrize(
    "handlers",
    [
        [{"state": "${ {'other': 1} }"}, {"when": "has(state.other)"}],
        [{"state": "${event.data}"}, {"when": "has(state.whatever)"}],
        [{"state": "${has(state.answer) ? {'x': 1} : {'y': 2}}"}, {"when": "has(state.x) || has(state.y)"}],
        [{"state": {"a": "${event.tenant}", "b": "${event.causationid}", "c": "${event.data.date}"}}],
        [
            {"start": [{"from": "${event.data}"}]},
            {"type": "dev.heed.task.completed", "when": "has(input.any)"},
        ],
        [{"type": "dev.heed.task.completed", "state": {"a": "${event.data.result.deep.er}"}}],
        [{"type": "dev.heed.task.progress", "state": {"a": "${event.data.percent}"}}],
        [{"type": "com.example.*", "when": 'event.type == "com.example.x"'}],
        [{"state": {"a": "${state.map(key, state[key])}", "b": "${event.data.map(i, i.x)}"}}],
        [{"type": "dev.heed.task.*", "when": 'task.name == "research" || task.name != "research"'}],
    ],
)
def test_what_may_be_gives_none(handlers: list[dict[str, Any]]) -> None:
    assert warnings(*handlers) == []


# ── conditions on what need not be there ────────────────────────────────────────────────────────────────────────────

PUSHED = 'event.data.object_attributes.oldrev != ""'
WHOLE = (
    "has(event.data.object_attributes) && type(event.data.object_attributes) == map && "
    f"has(event.data.object_attributes.oldrev) && {PUSHED}"
)


def test_a_condition_on_what_nothing_asks_for_gives_a_warning_with_the_whole_guard() -> None:
    (found,) = warnings({"when": PUSHED})

    assert found == (
        "spec.handlers[2].when: reads event.data.object_attributes, which nothing asks for and no EventType here "
        "requires: an event without it is dead-lettered, although spec.handlers[0] may react to it; "
        f"write {WHOLE.removesuffix(PUSHED)}…"
    )
    assert warnings({"when": WHOLE}) == []


@pytest.mark.parametrize(
    ("when", "missing"),
    [
        ("event.data.n > 5", "event.data.n"),
        ("has(event.data.a) && event.data.b == 1", "event.data.b"),
        ("has(event.data.a.b)", "event.data.a"),
        ("event.data.items.all(i, i.x)", "event.data.items"),
        ("event.subject == 'x'", "event.subject"),
        ("timestamp(event.time) > timestamp('2026-01-31T12:00:00Z')", "event.time"),
        ("event.tenant == 'x'", "event.tenant"),
    ],
)
def test_what_a_condition_needs_of_an_event(when: str, missing: str) -> None:
    (found,) = warnings({"when": when})

    assert f"when: reads {missing}, which" in found


def test_a_handler_of_everything_asks_whether_there_is_a_task() -> None:
    (found,) = warnings({"type": ">", "when": 'task.name == "research"'})

    assert "reads task.name, which only events of tasks have" in found
    assert warnings({"type": ">", "when": 'has(task.name) && task.name == "research"'}) == []


def test_an_end_of_a_task_need_not_have_an_exit_code() -> None:
    (found,) = warnings({"type": "dev.heed.task.failed", "when": "event.data.exitCode == 137"})
    assert "reads event.data.exitCode" in found

    assert warnings({"type": "dev.heed.task.failed", "when": "event.data.reason == 'Cancelled'"}) == []
    (found,) = warnings({"type": "dev.heed.task.*", "when": "event.data.reason == 'Cancelled'"})
    assert "reads event.data.reason" in found


def test_a_subscriptions_condition_is_one_too() -> None:
    where = "event.data.n > 5"

    (found,) = warnings(subscribe=[{"type": "com.example.>", "where": where}])

    assert found == (
        "spec.subscribe[0].where: reads event.data.n, which nothing asks for and no EventType here requires: "
        "an event without it is dead-lettered; write has(event.data.n) && …"
    )


def test_what_the_subscriptions_have_asked_for_is_there() -> None:
    asked = {"type": "com.example.>", "where": "has(event.data.n)"}
    other = {"type": "com.example.question.*"}

    assert warnings({"when": "event.data.n > 5"}, subscribe=[asked]) == []
    assert len(warnings({"when": "event.data.n > 5"}, subscribe=[asked, other])) == 1


def test_what_all_handlers_read_tells_events_apart() -> None:
    one, other = ({"when": f"event.data.kind == '{kind}'"} for kind in "ab")
    agent = manifest(one, other)

    assert list(lint_expressions(compile_agent(parse_agent(agent)))) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"required": ["object_attributes"], "properties": {"object_attributes": {"required": ["oldrev"]}}},
        {
            "$ref": "#/$defs/push",
            "$defs": {
                "push": {
                    "required": ["object_attributes"],
                    "properties": {"object_attributes": {"$ref": "#/$defs/a"}},
                },
                "a": {"allOf": [{"required": ["x"]}, {"required": ["oldrev"]}]},
            },
        },
        {
            "required": ["object_attributes"],
            "properties": {
                "object_attributes": {"anyOf": [{"required": ["oldrev"]}, {"required": ["oldrev", "x"]}]}
            },
        },
    ],
)
def test_what_an_event_type_requires_is_there(schema: dict[str, Any]) -> None:
    assert warnings({"when": PUSHED}, types=[event_type(schema)]) == []
    assert len(warnings({"when": PUSHED}, types=[event_type(schema, "com.example.other")])) == 1


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"object_attributes": {"required": ["oldrev"]}}},
        {"required": ["object_attributes"]},
        {"anyOf": [{"required": ["object_attributes"]}, {}]},
        {"$ref": "#"},
    ],
)
def test_what_it_does_not_require_need_not_be(schema: dict[str, Any]) -> None:
    assert len(warnings({"when": PUSHED}, types=[event_type(schema)])) == 1


def test_the_guard_of_a_path_is_written_out() -> None:
    assert suggest_guard(("event", "data", "a", "b-c")) == (
        'has(event.data.a) && type(event.data.a) == map && has(event.data.a["b-c"])'
    )


# ── null on the way ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "handler",
    [
        {"when": "has(event.data.customer) && has(event.data.customer.mail)"},
        {"state": {"a": "${event.data.?customer.?mail.orValue('none')}"}},
    ],
)
def test_a_guard_that_breaks_on_null_gives_a_warning(handler: dict[str, Any]) -> None:
    (found,) = warnings(handler)

    assert found.endswith(
        "reads event.data.customer.mail, an error where event.data.customer is null or a text; "
        "ask for type(event.data.?customer.orValue(null)) == map first"
    )


# ── types, numbers, failures ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (
            {"state": {"a": "${event.time + duration('1h')}"}},
            "matching overloads found : _+_(string, duration)",
        ),
        ({"state": {"a": "${session.startedAt - duration('1h')}"}}, "fails for every event: "),
        ({"when": "event.id"}, "fails for every event: is string, not a boolean"),
        ({"state": {"a": "${state.?count.orValue(0) + 'x'}", "count": 1}}, "write string(…)"),
        ({"when": "[1, 'a', event.id].all(i, i + 1 > 0)"}, "fails for every event"),
    ],
)
def test_types_that_never_go_together_give_a_warning(handler: dict[str, Any], said: str) -> None:
    (found,) = warnings(handler)

    assert said in found


def test_what_is_costly_on_little_is_not_tried() -> None:
    large = "'" + "x" * 60 + "'" + ".replace('x', 'xxxxxxxxxxxxxxxx')" * 3

    assert warnings({"state": {"a": "${dyn(size(" + large + ")) + 'x'}"}}) == []
    assert len(warnings({"state": {"a": "${dyn(size('x')) + 'x'}"}})) == 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("'%s'.format([1234567.89])", "%s of format keeps six digits of a double, and argument 1 may be one"),
        ("'%d'.format([2.0])", "%d of format writes a double such as 2.0 as 2.000000"),
        ("'%s: %d'.format([event.id, event.data.n])", "argument 2 may be one; write int(…) around it"),
        ("'%s'.format([event.data.price])", "write string(…) around it, or ${…} in the text"),
        ("'%.1f %% %s'.format([1.5, [1.5]])", "argument 2 may be one"),
        ("event.id.format([1.5])", "argument 1 may be one"),
    ],
)
def test_a_number_that_format_would_round_gives_a_warning(source: str, said: str) -> None:
    (found,) = warnings({"state": {"a": "${" + source + "}"}})

    assert said in found


@pytest.mark.parametrize(
    "source",
    [
        "'%s %s'.format([event.id, string(event.data.price)])",
        "'%d'.format([int(event.data.n)])",
        "'%.2f'.format([event.data.price])",
        "'%s %d'.format([size(event.data), 3])",
        "'%s at %s'.format([session.key, timestamp(event.time)])",
    ],
)
def test_what_format_writes_as_it_is_gives_none(source: str) -> None:
    assert warnings({"state": {"a": "${" + source + "}"}}) == []


@pytest.mark.parametrize(
    ("reaction", "heard"),
    [
        ({}, False),
        ({"type": names.TASK_COMPLETED}, False),
        ({"type": "dev.heed.task.*"}, True),
        ({"type": ">"}, True),
        ({"type": names.TASK_FAILED, "when": "task.name == 'research'"}, True),
        ({"type": names.TASK_FAILED, "when": "task.name in ['other', 'research']"}, True),
        ({"type": names.TASK_FAILED, "when": "task.name == 'other'"}, False),
        ({"type": names.TASK_FAILED, "when": "task.name != 'research'"}, False),
        ({"type": "dev.heed.task.*", "when": "event.type == 'dev.heed.task.completed'"}, False),
    ],
)
def test_a_task_whose_failure_nobody_hears_of_gives_a_warning(reaction: dict[str, Any], heard: bool) -> None:
    tasks = {"research": job(), "other": job()}
    other = {"type": names.TASK_FAILED, "when": "task.name == 'other'"}
    agent = compile_agent(parse_agent(manifest(START, other, reaction, tasks=tasks)))

    found = [str(item) for item in lint_expressions(agent)]

    expected = (
        "spec.tasks.research: no handler reacts to its failure; "
        "add one with the type dev.heed.task.failed, or dev.heed.task.*"
    )
    assert found == ([] if heard else [expected])


# ── who says so ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_validate_says_so_with_the_line_and_strict_fails(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump(manifest(START, {"when": PUSHED}, tasks=TASKS), sort_keys=False))

    plain = CliRunner().invoke(main, ["validate", "-f", str(file)])
    strict = CliRunner().invoke(main, ["validate", "--strict", "-f", str(file)])

    assert (plain.exit_code, strict.exit_code) == (0, 1)
    line = file.read_text().splitlines().index(f"    when: {PUSHED}") + 1
    assert (
        f"{file}:{line}: warning: spec.handlers[1].when: reads event.data.object_attributes" in plain.stdout
    )
    assert "warning: spec.tasks.research: no handler reacts to its failure" in plain.stdout


def test_the_webhook_says_so_but_of_data_whose_types_it_does_not_know() -> None:
    document = manifest(START, {"when": PUSHED, "state": {"a": "${state.anser}"}}, tasks=TASKS)

    verdict = judge(AdmissionRequest(names.KIND, document), ClusterContext())

    assert verdict.problems == ()
    assert any("no handler sets state.anser" in item for item in verdict.warnings)
    assert any("no handler reacts to its failure" in item for item in verdict.warnings)
    assert not any("object_attributes" in item for item in verdict.warnings)


def test_who_is_in_a_hurry_is_told_less() -> None:
    document = manifest(START, FAILED, {"state": {"a": "${state.anser}"}}, tasks=TASKS)

    verdict = judge(AdmissionRequest(names.KIND, document), ClusterContext(), lambda: False)

    assert not any("state.anser" in item for item in verdict.warnings)


def test_all_that_an_end_of_a_task_says_may_be_asked_for() -> None:
    agent, at = AgentRef("demo", "researcher", "uid-1"), "2026-11-01T12:00:00Z"
    record = PendingTask("research", "s-1", "job", at, TaskCause("1", 1, "c-1"))
    done = TaskEnd("t", "e", at, True, result="r", message="m", attempt=1)
    failed = replace(done, completed=False, reason="r", exit_code=1, cause="c", container="c", pod="p")
    failed = replace(failed, retryable=False, retry_after=1.0)

    ends = [end_event(agent, record, end) for end in (done, failed)]
    assert {event.type: set(data_of(event)) for event in ends} == {
        type_: set(members) for type_, members in END_MEMBERS.items()
    }
