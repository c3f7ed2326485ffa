"""What expressions may read in a place of a manifest, and what is said of a member that there never is."""

import pytest

from heed.core.cel.expression import ExpressionError, compile_expression
from heed.core.cel.variables import (
    ALL_VARIABLES,
    HANDLER_VARIABLES,
    SUBSCRIPTION_VARIABLES,
    TASK_VARIABLES,
    VARIABLES,
    Vocabulary,
    suggest_name,
)


def refusal(source: str, known: Vocabulary) -> str | None:
    """Why an expression cannot stand in a place; None where it can."""
    try:
        compile_expression(source, known=known)
    except ExpressionError as error:
        return str(error)
    return None


def test_all_members_of_a_variable_are_known_where_they_do_not_depend_on_an_event() -> None:
    assert ALL_VARIABLES.members("task") == ("id", "name", "kind", "startedAt", "attempt")
    assert TASK_VARIABLES.members("task") == ("id", "name", "attempt")
    assert ALL_VARIABLES.members("session") == ("key", "startedAt")
    assert ALL_VARIABLES.members("agent") == ("name", "namespace", "labels")
    assert [ALL_VARIABLES.members(name) for name in ("event", "state", "input", "other")] == [None] * 4


@pytest.mark.parametrize("known", [ALL_VARIABLES, TASK_VARIABLES, SUBSCRIPTION_VARIABLES, HANDLER_VARIABLES])
def test_a_variable_is_known_in_its_places_only(known: Vocabulary) -> None:
    for name in VARIABLES:
        said = refusal(f"{name}.x == 1 || has({name}.x)", known)
        assert (said is None) is (name in known.variables), name
        if said is not None:
            assert said.startswith(f'unknown variable or function "{name}"; ')


@pytest.mark.parametrize(
    ("source", "known", "said"),
    [
        ("task.nme", ALL_VARIABLES, 'task has no member "nme"; did you mean "name"?'),
        ("task.kind", ALL_VARIABLES, None),
        (
            "task.startedAt",
            TASK_VARIABLES,
            'task has no member "startedAt"; known here are id, name, attempt',
        ),
        ("session.kee", ALL_VARIABLES, 'session has no member "kee"; did you mean "key"?'),
        ("session['zzz']", ALL_VARIABLES, 'session has no member "zzz"; known here are key, startedAt'),
        ("agent.labels.x + agent.nme", ALL_VARIABLES, 'agent has no member "nme"; did you mean "name"?'),
        ("agent.labels.x.y", SUBSCRIPTION_VARIABLES, None),
        (
            "agent.name + agent.zzz.y",
            ALL_VARIABLES,
            'agent has no member "zzz"; known here are name, namespace, labels',
        ),
        ("has(task.nme) && task.nme == 'x'", ALL_VARIABLES, None),
        ("task.?nme.orValue('x')", ALL_VARIABLES, None),
        ("'nme' in task", ALL_VARIABLES, None),
        ("has(task.nme.x)", ALL_VARIABLES, 'task has no member "nme"; did you mean "name"?'),
        ("task.map(key, task[key])", ALL_VARIABLES, None),
        ("task.all(x, x.y == 1)", ALL_VARIABLES, None),
        ("task == {}", ALL_VARIABLES, None),
        ("event.zzz.y + state.zzz", ALL_VARIABLES, None),
    ],
)
def test_a_member_that_never_is_cannot_be_read(source: str, known: Vocabulary, said: str | None) -> None:
    assert refusal(source, known) == said


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("evnt", ("event", "state"), 'did you mean "event"?'),
        ("sate", iter(("event", "state")), 'did you mean "state"?'),
        ("zzz", ("event", "state"), "known here are event, state"),
        ("zzz", ("a",), "known here are a"),
        ("zzz", (), "known here are none"),
    ],
)
def test_the_nearest_name_is_suggested_or_all_are_listed(
    name: str, known: tuple[str, ...], said: str
) -> None:
    assert suggest_name(name, known) == said
