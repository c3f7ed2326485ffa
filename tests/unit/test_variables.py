"""What expressions may read in a place of a manifest, and what is said of a member that there never is."""

import pytest

from heed.core.cel.expression import ExpressionError, compile_expression
from heed.core.cel.variables import ALL, OF_EVENTS, OF_OTHERS, OF_TASKS, VARIABLES, Vocabulary, suggestion


def refusal(source: str, known: Vocabulary) -> str | None:
    """Why an expression cannot stand in a place; None where it can."""
    try:
        compile_expression(source, known=known)
    except ExpressionError as error:
        return str(error)
    return None


def test_all_members_of_a_variable_are_known_where_they_do_not_depend_on_an_event() -> None:
    assert ALL.members("task") == ("id", "name", "kind", "startedAt")
    assert OF_TASKS.members("task") == ("id", "name")
    assert ALL.members("session") == ("key", "startedAt")
    assert ALL.members("agent") == ("name", "namespace", "labels")
    assert [ALL.members(name) for name in ("event", "state", "input", "other")] == [None] * 4


@pytest.mark.parametrize("known", [ALL, OF_TASKS, OF_EVENTS, OF_OTHERS])
def test_a_variable_is_known_in_its_places_only(known: Vocabulary) -> None:
    for name in VARIABLES:
        said = refusal(f"{name}.x == 1 || has({name}.x)", known)
        assert (said is None) is (name in known.variables), name
        if said is not None:
            assert said.startswith(f'unknown variable or function "{name}"; ')


@pytest.mark.parametrize(
    ("source", "known", "said"),
    [
        ("task.nme", ALL, 'task has no member "nme"; did you mean "name"?'),
        ("task.kind", ALL, None),
        ("task.startedAt", OF_TASKS, 'task has no member "startedAt"; known here are id, name'),
        ("session.kee", ALL, 'session has no member "kee"; did you mean "key"?'),
        ("session['zzz']", ALL, 'session has no member "zzz"; known here are key, startedAt'),
        ("agent.labels.x + agent.nme", ALL, 'agent has no member "nme"; did you mean "name"?'),
        ("agent.labels.x.y", OF_EVENTS, None),
        (
            "agent.name + agent.zzz.y",
            ALL,
            'agent has no member "zzz"; known here are name, namespace, labels',
        ),
        ("has(task.nme) && task.nme == 'x'", ALL, None),
        ("task.?nme.orValue('x')", ALL, None),
        ("'nme' in task", ALL, None),
        ("has(task.nme.x)", ALL, 'task has no member "nme"; did you mean "name"?'),
        ("task.map(key, task[key])", ALL, None),
        ("task.all(x, x.y == 1)", ALL, None),
        ("task == {}", ALL, None),
        ("event.zzz.y + state.zzz", ALL, None),
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
    assert suggestion(name, known) == said
