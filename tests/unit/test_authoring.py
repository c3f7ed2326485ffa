"""Every mistake of an author is found before anything runs: where it is, what it is, what to do; all at once."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.api.validation import parse_agent
from heed.core.compiler.program import compile_agent
from heed.errors import InvalidManifest, Problem
from tests.builders.agents import ASKED, job, manifest, nap, problems, program

WORK = {"work": job()}


def one(document: dict[str, Any]) -> Problem:
    """The only problem of a manifest."""
    found = problems(document)
    assert len(found) == 1, found
    return found[0]


def manifest_with(**fields: Any) -> dict[str, Any]:
    """A manifest with one good handler and these fields of spec."""
    return manifest({"state": {"n": 1}}, **fields)


def without(document: dict[str, Any], *path: str) -> dict[str, Any]:
    """A manifest without the member at a path."""
    inner = document
    for part in path[:-1]:
        inner = inner[part]
    del inner[path[-1]]
    return document


# ── one mistake, its place, its remedy ──────────────────────────────────────────────────────────────────────────────

HANDLERS: list[tuple[dict[str, Any], str, str]] = [
    ({"when": "evnt.data.x == 1"}, "when", 'did you mean "event"?'),
    ({"when": "event.data.x =="}, "when", "Syntax error"),
    ({"when": "'yes'"}, "when", "not a boolean; compare it"),
    ({"when": "1 + 1"}, "when", "not a boolean"),
    ({"when": ""}, "when", "fill it in"),
    ({"when": True}, "when", "put it in quotes"),
    ({"when": "true || " * 200 + "true"}, "when", "longer than 1024; shorten it"),
    ({"wen": "true"}, "wen", 'did you mean "when"?'),
    (
        {"frobnicate": 1},
        "frobnicate",
        "known are name, type, when, hold, call, state, start, emit, cancel, end",
    ),
    ({"on": ASKED}, "on", "the field is `type`"),
    ({"true": ASKED}, "true", "YAML reads an unquoted `on` as true"),
    ({"type": "com..x"}, "type", "is not a type pattern; use dot-separated tokens"),
    ({"type": "com.>.x"}, "type", "is not a type pattern"),
    ({"type": None}, "type", "is null; fill it in"),
    (
        {"when": {"a": 1}},
        "when",
        "is a map, not a string; write one string; quote it where a brace begins it",
    ),
    (
        {"when": ["a"]},
        "when",
        "is a list, not a string; write one string; quote it where a bracket begins it",
    ),
    ({"name": "Not A Name"}, "name", "use lower-case letters"),
    ({"name": "x" * 41}, "name", "longer than 40"),
    ({"state": 7}, "state", "write `state: {key: value}`"),
    ({"state": []}, "state", "write `state: {key: value}`"),
    ({"state": "topic"}, "state", "write `state: {key: value}`"),
    ({"state": "${event.data} and ${state}"}, "state", "write `state: {key: value}`"),
    ({"state": {"a": {"b": ["x", "${state.}"]}}}, "state.a.b[1]", "Syntax error"),
    ({"state": {"a": "${event.x"}}, "state.a", "no closing brace; write $${"),
    ({"state": {"a": "${'x}"}}, "state.a", "closing quote"),
    ({"start": [{"task": "werk"}]}, "start[0].task", 'unknown task "werk"; spec.tasks has: work'),
    ({"start": [{"input": 1}]}, "start[0]", "give exactly one of `task` and `from`"),
    ({"start": [{"task": "work", "from": "${[]}"}]}, "start[0]", "give exactly one of `task` and `from`"),
    ({"start": [{"from": "event.data"}]}, "start[0].from", "write `from: ${…}`"),
    ({"start": [{"from": "${event.data}${state}"}]}, "start[0].from", "write `from: ${…}`"),
    (
        {"type": "dev.heed.task.failed", "start": [{"task": "work", "input": {"a": "${inptu.x}"}}]},
        "start[0].input.a",
        'did you mean "input"?',
    ),
    ({"start": {"task": "work"}}, "start", "write a list"),
    ({"start": ["work"]}, "start[0]", "write a map"),
    ({"start": "${event.data}"}, "start", "write a list"),
    ({"start": [{"task": "work", "inputs": 1}]}, "start[0].inputs", 'did you mean "input"?'),
    ({"start": [{"task": "work"}] * 17}, "start", "longer than 16"),
    ({"emit": [{"data": 1}]}, "emit[0]", "give exactly one of `type` and `from`"),
    ({"emit": [{"type": "x.*"}]}, "emit[0].type", "use dot-separated tokens"),
    ({"emit": [{"type": "x y"}]}, "emit[0].type", "is not an event type"),
    ({"emit": [{"type": "dev.heed.task.completed"}]}, "emit[0].type", "choose a type of your own"),
    ({"emit": [{"type": "x.${evnt.id}"}]}, "emit[0].type", 'did you mean "event"?'),
    ({"emit": [{"type": "x", "data": {"a": "${stat.n}"}}]}, "emit[0].data.a", 'did you mean "state"?'),
    ({"emit": [{"type": "x"}, {"type": "x", "to": "${agnt}"}]}, "emit[1].to", 'did you mean "agent"?'),
    ({"emit": [{"type": "x", "subject": 5}]}, "emit[0].subject", "put it in quotes"),
    ({"cancel": [{"task": "werk"}]}, "cancel[0].task", "spec.tasks has: work"),
    ({"cancel": ["work"]}, "cancel[0]", "write a map"),
    ({"end": "perhaps"}, "end", "write true or false"),
    ({"end": True, "start": [{"task": "work"}]}, "end", "start them in another handler"),
]


@pytest.mark.parametrize(
    ("fields", "path", "said"), HANDLERS, ids=lambda item: item if isinstance(item, str) else ""
)
def test_a_mistake_in_a_handler_is_found_at_its_place(fields: dict[str, Any], path: str, said: str) -> None:
    document = manifest({"state": {"n": 1}}, {"state": {"n": 1}}, {"state": {"n": 1}, **fields}, tasks=WORK)

    problem = one(document)

    assert problem.path == f"spec.handlers[2].{path}"
    assert said in str(problem)


SPECS: list[tuple[dict[str, Any], str, str]] = [
    ({"subscribe": []}, "spec.subscribe", "give at least one"),
    ({"subscribe": [{"type": "com.*x"}]}, "spec.subscribe[0].type", "is not a type pattern"),
    ({"subscribe": [{"where": "true"}]}, "spec.subscribe[0].type", "is missing; add it"),
    ({"subscribe": [{"type": "a", "where": "1"}]}, "spec.subscribe[0].where", "not a boolean"),
    ({"subscribe": [{"type": "a", "when": "true"}]}, "spec.subscribe[0].when", 'did you mean "where"?'),
    (
        {"subscribe": [{"type": "dev.heed.task.>"}]},
        "spec.subscribe[0].type",
        "need no subscription; remove it",
    ),
    ({"subscribe": "com.example"}, "spec.subscribe", "write a list"),
    ({"subscribe": [{"type": "a"}] * 33}, "spec.subscribe", "longer than 32"),
    ({"session": {"key": "evnt.id"}}, "spec.session.key", 'did you mean "event"?'),
    ({"session": {"idleTimeout": "1 day"}}, "spec.session.idleTimeout", "write a duration such as 90s"),
    ({"session": {"idleTimeout": "-1h"}}, "spec.session.idleTimeout", "write a duration"),
    ({"session": {"idleTimeout": "9999999d"}}, "spec.session.idleTimeout", "use at most 3650d"),
    (
        {"session": {"idleTimeout": 60}},
        "spec.session.idleTimeout",
        "is a number, not a string; write 60s for",
    ),
    ({"session": {"idleTimeout": 1.5}}, "spec.session.idleTimeout", "write a duration such as 90s"),
    ({"session": None}, "spec.session", "is null; fill it in, or leave the field out"),
    ({"session": {"idle_timeout": "1h", "keys": "x"}}, "spec.session.keys", 'did you mean "key"?'),
    ({"tasks": {"work": {}}}, "spec.tasks.work", "give it one of job, wait"),
    ({"tasks": {"work": {"jobs": {}, **job()}}}, "spec.tasks.work.jobs", 'did you mean "job"?'),
    (
        {"tasks": {"work": {"job": {"template": {"spec": {"containers": []}}}}}},
        "spec.tasks.work.job.template.spec.containers",
        "at least one container",
    ),
    (
        {"tasks": {"work": job(timeout="99999999999999999999999999d")}},
        "spec.tasks.work.timeout",
        "at most 3650d",
    ),
    ({"tasks": {"work": job(timeout="ten")}}, "spec.tasks.work.timeout", "write a duration"),
    ({"tasks": {"work": job(retention="")}}, "spec.tasks.work.retention", "write a duration"),
    (
        {"tasks": {"work": job("ok", "${imput.x}")}},
        "spec.tasks.work.job.template.spec.containers[0].args[1]",
        'did you mean "input"?',
    ),
    ({"tasks": {"Not Good": job()}}, "spec.tasks.Not Good", "use lower-case letters"),
    ({"tasks": {"x" * 41: job()}}, f"spec.tasks.{'x' * 41}", "longer than 40"),
    ({"tasks": {"../up": job()}}, "spec.tasks.../up", "lower-case letters"),
    ({"handlers": []}, "spec.handlers", "give at least one"),
    ({"handlers": {"name": "x"}}, "spec.handlers", "write a list"),
    ({"hanlders": []}, "spec.hanlders", 'did you mean "handlers"?'),
]


@pytest.mark.parametrize(
    ("fields", "path", "said"), SPECS, ids=lambda item: item if isinstance(item, str) else ""
)
def test_a_mistake_in_the_spec_is_found_at_its_place(fields: dict[str, Any], path: str, said: str) -> None:
    problem = one(manifest_with(**fields))

    assert problem.path == path
    assert said in str(problem)


@pytest.mark.parametrize(
    ("document", "path", "said"),
    [
        ({}, "apiVersion", "is missing; write apiVersion: heed.dev/v1alpha1"),
        ({"apiVersion": "heed.dev/v2", "kind": "Agent"}, "apiVersion", "Heed runs heed.dev/v1alpha1 Agent"),
        ({"apiVersion": "heed.dev/v1alpha1"}, "kind", "is missing; write kind: Agent"),
        ({**manifest_with(), "spec": None}, "spec", "is null; fill it in"),
        ({**manifest_with(), "spec": []}, "spec", "is a list, not a map; write a map"),
        ({"apiVersion": "heed.dev/v1", "kind": "Agent"}, "apiVersion", "is heed.dev/v1; Heed runs"),
        (without(manifest_with(), "spec", "handlers"), "spec.handlers", "is missing; add it"),
        (without(manifest_with(), "spec"), "spec", "is missing; add it"),
        (without(manifest_with(), "metadata"), "metadata", "is missing; add it"),
        (without(manifest_with(), "metadata", "name"), "metadata.name", "is missing; add it"),
        ({**manifest_with(), "spec": [1]}, "spec", "write a map"),
        ({**manifest_with(), "metadata": {"name": "Has.Dots"}}, "metadata.name", "use lower-case letters"),
        ({**manifest_with(), "metadata": {"name": "a" * 64}}, "metadata.name", "longer than 63"),
        (
            {**manifest_with(), "metadata": {"name": "a", "labels": {"x": 1}}},
            "metadata.labels.x",
            "put it in quotes",
        ),
    ],
)
def test_a_mistake_around_the_spec_is_found_at_its_place(
    document: dict[str, Any], path: str, said: str
) -> None:
    problem = one(document)

    assert problem.path == path
    assert said in str(problem)


def test_a_key_that_yaml_made_a_boolean_is_explained() -> None:
    handler: dict[Any, Any] = {"state": {"n": 1}, True: ASKED}
    document = manifest(handler)

    assert "YAML reads an unquoted on" in str(one(document))


# ── several mistakes ────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_mistakes_of_form_are_told_at_once() -> None:
    found = problems(
        manifest({"wen": "true"}, {"name": "X Y"}, subscribe=[], session={"idleTimeout": "soon"}, extra=1)
    )

    assert {problem.path for problem in found} == {
        "spec.handlers[0].wen",
        "spec.handlers[1].name",
        "spec.subscribe",
        "spec.session.idleTimeout",
        "spec.extra",
    }


def test_all_mistakes_of_meaning_are_told_at_once() -> None:
    found = problems(
        manifest(
            {"when": "evnt.x", "state": "no", "emit": [{"type": "a b"}, {"type": "x", "data": "${"}]},
            {"name": "h0", "cancel": [{"task": "none"}]},
            subscribe=[{"type": "a", "where": "'x'"}],
            session={"key": "keys"},
            tasks={"empty": {}},
        )
    )

    assert sorted(problem.path for problem in found) == [
        "spec.handlers[0].emit[0].type",
        "spec.handlers[0].emit[1].data",
        "spec.handlers[0].state",
        "spec.handlers[0].when",
        "spec.handlers[1].cancel[0].task",
        "spec.handlers[1].name",
        "spec.session.key",
        "spec.subscribe[0].where",
        "spec.tasks.empty",
    ]


@pytest.mark.parametrize("fields", [item for item, _, _ in HANDLERS])
def test_every_problem_says_where_and_what_to_do(fields: dict[str, Any]) -> None:
    for problem in problems(manifest({"state": {"n": 1}, **fields}, tasks=WORK)):
        assert problem.path.startswith("spec.handlers[0]")
        assert "\n" not in str(problem)
        assert (
            problem.remedy or ";" in problem.message or "error" in problem.message or "has" in problem.message
        )


def test_an_error_of_a_manifest_lists_its_problems() -> None:
    with pytest.raises(
        InvalidManifest, match=r"spec.handlers\[0\].wen: there is no such field; did you mean"
    ):
        parse_agent(manifest({"wen": "x"}))


# ── what is no mistake, and what is monstrous ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "handler",
    [
        {"state": {"n": "${null}"}},
        {"state": "${event.data}"},
        {"when": "event.data.flag"},
        {"type": ">"},
        {"type": "dev.heed.task.*"},
        {"end": True},
        {"emit": [{"type": "${event.data.type}", "data": None}]},
        {"start": [{"from": "${event.data.list}"}]},
    ],
)
def test_what_can_only_be_known_from_events_is_no_mistake(handler: dict[str, Any]) -> None:
    assert problems(manifest(handler)) == []


def test_types_that_only_begin_like_ours_may_be_subscribed_to() -> None:
    assert problems(manifest_with(subscribe=[{"type": "dev.heedless.taskforce.formed"}])) == []


def test_a_handler_without_a_type_gets_no_events_by_accident() -> None:
    document = manifest({"state": {"n": 1}})
    del document["spec"]["handlers"][0]["type"]

    assert str(one(document)) == "spec.handlers[0].type: is missing; add it"


def test_a_task_may_be_named_like_a_field() -> None:
    document = manifest_with(tasks={"job": job(), "timeout": job(), "handlers": {**job(), "timeot": "1s"}})

    assert one(document).remedy == 'did you mean "timeout"?'


def test_subjects_are_those_of_the_subscriptions_and_the_inbox() -> None:
    agent = program(
        {"state": {"n": 1}}, subscribe=[{"type": "a.*"}, {"type": "b.>"}, {"type": "a.*", "where": "true"}]
    )

    assert agent.subjects == (
        "heed.events.demo.a.*",
        "heed.events.demo.b.>",
        "heed.inbox.demo.researcher.>",
        "heed.redrive.demo.researcher.>",
        "heed.tasks.demo.researcher.*.dev.heed.task.progress",
        "heed.tasks.demo.researcher.*.dev.heed.task.turn",
    )


def test_a_manifest_nested_without_end_is_a_problem_and_not_a_crash() -> None:
    deep: Any = "${event.id}"
    for _ in range(5000):
        deep = {"a": deep}

    problem = one(manifest({"state": {"deep": deep}}))

    assert (problem.path, problem.remedy) == ("spec.handlers[0].state", "flatten it")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("${event.id}"),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "task", "from", "job", "data"]), inner, max_size=2)
    ),
    max_leaves=5,
)
fields = st.sampled_from(["name", "type", "when", "state", "start", "emit", "cancel", "end", "on"])


@given(st.dictionaries(fields, anything, max_size=4), anything)
def test_any_manifest_compiles_or_has_problems(handler: dict[str, Any], tasks: Any) -> None:
    document = manifest({"state": {"n": 1}}, tasks=tasks)
    document["spec"]["handlers"][0] |= handler

    for problem in problems(document):
        assert problem.path.startswith("spec.")
        assert problem.message


def test_compiling_twice_gives_equal_answers() -> None:
    agent = parse_agent(manifest_with())

    assert compile_agent(agent).subjects == compile_agent(agent).subjects


@pytest.mark.parametrize(
    ("handler", "path", "text"),
    [
        ({"state": {"n": {"m": None}}}, "state.n.m", "${null}"),
        ({"emit": [{"type": "x.y", "data": {"a": [{"b": None}]}}]}, "emit[0].data.a[0].b", "${null}"),
        ({"start": [{"from": "${event.data.l.map(x, task.id)}"}]}, "start[0].from", 'function "task"'),
        ({"state": {"n": 2**63}}, "state.n", "write it as a string"),
        ({"emit": [{"type": "x.y", "to": "Foo Bar"}]}, "emit[0].to", "use a-z, 0-9 and -"),
        ({"when": "task.name == 'x'"}, "when", 'unknown variable or function "task"'),
        ({"state": {"a": "${input.x}"}}, "state.a", 'unknown variable or function "input"'),
        ({"end": "true"}, "end", "boolean"),
    ],
)
def test_what_would_fail_on_every_event_is_found_before(
    handler: dict[str, Any], path: str, text: str
) -> None:
    (problem,) = problems(manifest(handler))

    assert problem.path == f"spec.handlers[0].{path}"
    assert text in str(problem)


@pytest.mark.parametrize("key", ["state.customer", "task.name", "1", "[1]", "event.?x"])
def test_a_session_key_is_a_string_from_the_event(key: str) -> None:
    (problem,) = problems({**manifest({}), "spec": {**manifest({})["spec"], "session": {"key": key}}})

    assert problem.path == "spec.session.key"


def test_a_literal_null_in_state_is_refused_because_kubernetes_would_drop_it() -> None:
    (problem,) = problems(manifest({"state": {"n": None}}))

    assert problem.path == "spec.handlers[0].state.n"
    assert "${null}" in problem.remedy


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"session": {"onExpire": "emit"}},
            "spec.session.onExpire: is 'emit'; did you mean \"Emit\"?",
        ),
        (
            {"session": {"onExpire": "Often"}},
            "spec.session.onExpire: is 'Often'; write one of Forget, Emit",
        ),
        (
            {"session": {"onExpire": 5}},
            "spec.session.onExpire: is 5; write one of Forget, Emit",
        ),
        (
            {"timers": {"t": {"every": "1h", "missed": "Lates"}}},
            "spec.timers.t.missed: is 'Lates'; did you mean \"Latest\"?",
        ),
        (
            {"tasks": {"a": nap("1h", priority=1001)}},
            "spec.tasks.a.priority: is 1001; write at most 1000",
        ),
    ],
)
def test_a_value_out_of_few_or_out_of_range_says_which_there_are(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        parse_agent(manifest({}, **spec))

    assert [str(problem) for problem in caught.value.problems] == [said]
