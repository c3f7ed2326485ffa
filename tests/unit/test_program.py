"""An Agent compiled for deciding: each field of its program, what it reads, and what a decision of it may cost."""

from typing import Any

import pytest

from heed import names
from heed.api.validation import parse_agent
from heed.core.compiler.program import compile_agent
from heed.core.effects import AgentRef
from heed.core.policy.permissions import UNRESTRICTED
from heed.core.schema.registry import NO_SCHEMAS
from heed.errors import InvalidManifest, PolicyViolation
from tests.builders.agents import (
    AGENT,
    ASKED,
    NAMESPACE,
    UID,
    agent,
    job,
    manifest,
    problems,
    program,
)
from tests.builders.expressions import scope as scope_of
from tests.builders.policies import allowed_by, grant, policy, restricted

STOP = "com.example.stop"
SCOPE = scope_of(event={"id": "e1", "data": {"n": 1}}, state={"n": 2}, task={"id": "t"}, input="i")


# ── what is compiled ────────────────────────────────────────────────────────────────────────────────────────────────

WHOLE = program(
    {"name": "first", "when": "event.id == 'e1'", "state": {"n": "${state.n + 1}"}},
    {
        "name": "second",
        "type": STOP,
        "start": [{"task": "work", "input": {"i": "${event.id}"}}, {"from": "${[event.data]}"}],
        "emit": [
            {"type": "x.${event.id}", "data": "${event.data}", "subject": "s", "to": "clerk"},
            {"from": "${[state]}"},
        ],
        "cancel": [{"task": "work"}, {"task": "brief"}],
    },
    {"name": "third", "type": STOP, "end": True},
    subscribe=[{"type": ASKED, "where": "event.data.n == 1"}, {"type": "com.example.>"}, {"type": ASKED}],
    session={"key": "event.id + 'k'", "idleTimeout": "90s"},
    tasks={"work": job("${input}"), "brief": job(timeout="2m", retention="0s", publish=True)},
)


def test_a_program_knows_whose_it_is() -> None:
    source = agent()
    found = compile_agent(source)

    assert (found.agent, found.generation, found.labels) == (AgentRef(NAMESPACE, AGENT, UID), 3, {})
    assert (found.manifest, found.permissions, found.schemas) == (source, UNRESTRICTED, NO_SCHEMAS)
    assert (found.reads_others, found.careful, found.verdict) == (False, False, None)
    labelled = {**manifest({}), "metadata": {"name": "a", "namespace": "b", "uid": "c", "labels": {"d": "e"}}}
    other = compile_agent(parse_agent(labelled))
    assert (other.agent, other.labels, other.generation) == (AgentRef("b", "a", "c"), {"d": "e"}, 0)


def test_subscriptions_and_the_session_are_compiled() -> None:
    one, two, three = WHOLE.subscriptions

    assert [(item.pattern, item.namespace) for item in WHOLE.subscriptions] == [
        (ASKED, None),
        ("com.example.>", None),
        (ASKED, None),
    ]
    assert one.where is not None and one.where.holds(SCOPE)
    assert two.where is three.where is None
    assert WHOLE.key is not None and WHOLE.key.value(SCOPE) == "e1k"
    assert WHOLE.idle_timeout == 90
    assert (program({}).key, program({}).idle_timeout) == (None, 24 * 3600)
    assert program({}, session={"key": "event.correlationid"}).key is None


def test_tasks_are_compiled() -> None:
    work, brief = WHOLE.tasks["work"], WHOLE.tasks["brief"]

    assert list(WHOLE.tasks) == ["work", "brief"]
    assert (work.name, work.kind, work.timeout, work.retention, work.publish) == (
        "work",
        "job",
        None,
        3600,
        False,
    )
    assert (brief.name, brief.kind, brief.timeout, brief.retention, brief.publish) == (
        "brief",
        "job",
        120,
        0,
        True,
    )
    assert work.template.render(SCOPE) == job("i")["job"]


def test_handlers_are_compiled() -> None:
    first, second, third = WHOLE.reactions

    assert [(item.name, item.path, item.pattern) for item in WHOLE.reactions] == [
        ("first", "spec.handlers[0]", ASKED),
        ("second", "spec.handlers[1]", STOP),
        ("third", "spec.handlers[2]", STOP),
    ]
    assert first.when is not None and first.when.holds(SCOPE)
    assert first.state is not None and first.state.render(SCOPE) == {"n": 3}
    assert (first.start, first.emit, first.cancel, first.end) == ((), (), (), False)
    assert (second.when, second.state, second.cancel, second.end) == (None, None, ("work", "brief"), False)
    named, listed = second.start
    assert named.task == "work" and named.input is not None and named.input.render(SCOPE) == {"i": "e1"}
    assert listed.many is not None and listed.many.render(SCOPE) == [{"n": 1}]
    assert (named.many, listed.task, listed.input) == (None, None, None)
    alone, several = second.emit
    assert alone.one is not None and alone.one.render(SCOPE) == {
        "type": "x.e1",
        "data": {"n": 1},
        "subject": "s",
        "to": "clerk",
    }
    assert several.many is not None and several.many.render(SCOPE) == [{"n": 2}]
    assert (alone.many, several.one) == (None, None)
    assert third.end


def test_an_emitted_event_is_given_only_what_is_said_of_it() -> None:
    (emit,) = program({"emit": [{"type": "x"}]}).reactions[0].emit

    assert emit.one is not None and emit.one.render(SCOPE) == {"type": "x"}


# ── what it reads ───────────────────────────────────────────────────────────────────────────────────────────────────

NEIGHBOUR = restricted(
    allowed_by(grants=[grant("shop", ">")]),
    {},
    subscribe=[
        {"type": "a.*", "namespace": "shop"},
        {"type": "b", "namespace": NAMESPACE},
        {"type": "a.*"},
        {"type": "b"},
    ],
)


def test_the_subjects_are_those_of_its_subscriptions_and_its_own() -> None:
    inbox = ("heed.inbox.demo.researcher.>", "heed.redrive.demo.researcher.>")
    own = tuple(f"heed.tasks.demo.researcher.*.dev.heed.task.{kind}" for kind in ("progress", "turn"))

    assert NEIGHBOUR.inbox == (*inbox, *own)
    assert NEIGHBOUR.subjects == (
        *("heed.events.shop.a.*", "heed.events.demo.b", "heed.events.demo.a.*"),
        *NEIGHBOUR.inbox,
    )
    assert [item.namespace for item in NEIGHBOUR.subscriptions] == ["shop", None, None, None]
    assert NEIGHBOUR.reads_others


@pytest.mark.parametrize(
    ("index", "type_", "subject", "met"),
    [
        (0, "a.x", "heed.events.shop.a.x", True),
        (0, "a.x", "heed.events.demo.a.x", False),
        (0, "a.x.y", "heed.events.shop.a.x.y", False),
        (2, "a.x", "heed.events.demo.a.x", True),
        (2, "a.x", "heed.events.shop.a.x", False),
        (2, "a.x", "heed.inbox.demo.researcher.a.x", False),
    ],
)
def test_an_event_is_one_of_a_subscription_by_type_and_namespace(
    index: int, type_: str, subject: str, met: bool
) -> None:
    assert NEIGHBOUR.matches(NEIGHBOUR.subscriptions[index], type_, subject) is met


def test_it_hears_of_namespaces_that_it_subscribes_to() -> None:
    assert [NEIGHBOUR.reads_namespace(name) for name in (NAMESPACE, "shop", "else")] == [True, True, False]
    assert [program({}).reads_namespace(name) for name in (NAMESPACE, "shop")] == [True, False]


def test_what_its_tasks_may_emit_is_what_it_may() -> None:
    assert program({}).emissions == (">",)
    assert restricted(allowed_by(policy(emissions=[{"type": "x.*"}, {"type": "y"}])), {}).emissions == (
        "x.*",
        "y",
    )
    assert restricted(allowed_by(policy(emissions=[])), {}).emissions == ()


# ── what is wrong ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_too_much_is_told_before_anything_is_compiled() -> None:
    with pytest.raises(InvalidManifest) as raised:
        compile_agent(agent({"when": "nothing", "state": {"x": ["${1}"] * 1001}}))

    assert [item.path for item in raised.value.problems] == ["spec"]


def test_a_violation_is_one_only_where_nothing_else_is_wrong() -> None:
    may = allowed_by(policy(emissions=[]))
    emitting = {"emit": [{"type": "x.y"}]}

    with pytest.raises(PolicyViolation):
        compile_agent(agent(emitting), may)
    with pytest.raises(InvalidManifest) as raised:
        compile_agent(agent({**emitting, "when": "nothing"}), may)
    assert not isinstance(raised.value, PolicyViolation)
    assert len(raised.value.problems) == 2


@pytest.mark.parametrize(
    ("handler", "path"),
    [
        ({"start": [{"task": "work", "input": "${task.id}"}]}, "start[0].input"),
        ({"emit": [{"type": "x"}, {"from": "${[input]}"}]}, "emit[1].from"),
        ({"type": "com.example.>", "when": "task.id == ''"}, "when"),
    ],
)
def test_only_handlers_of_tasks_know_a_task(handler: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidManifest) as raised:
        compile_agent(agent(handler, tasks={"work": job()}))

    assert [item.path for item in raised.value.problems] == [f"spec.handlers[0].{path}"]
    compile_agent(agent({**handler, "type": names.TASK_FAILED}, tasks={"work": job()}))


def test_what_is_wrong_with_a_task_is_said_with_its_place() -> None:
    wrong = job()
    wrong["job"]["template"]["spec"]["containers"][0]["Env"] = []

    assert [
        (item.path, item.message, item.remedy)
        for item in problems(manifest({}, tasks={"idle": {}, "work": wrong}))
    ] == [
        (
            "spec.tasks.idle",
            "has no work to do",
            "give it one of job, wait, approval, resource, function, http, llm",
        ),
        (
            "spec.tasks.work.job.template.spec.containers[0].Env",
            "there is no such field",
            'did you mean "env"?',
        ),
    ]
