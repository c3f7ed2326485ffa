"""The state of a session: values, versions, pending tasks."""

from typing import Any

import pytest
from pydantic import Field

from heed.sdk import Agent, State
from heed.sdk.errors import CodeError, CodeTooOld


class First(State):
    """A state without a version."""

    topic: str | None = None
    count: int = 0


class Third(State, version=3):
    """A state that has changed twice."""

    subject: str | None = None
    tags: list[str] = []


@Third.upcast(1)
def _name_it_subject(stored: dict[str, Any]) -> dict[str, Any]:
    return {"subject": stored["topic"]} if "topic" in stored else {}


@Third.upcast(2)
def _begin_tags(stored: dict[str, Any]) -> dict[str, Any]:
    return {**stored, "tags": ["old"]}


def test_a_new_session_has_the_defaults() -> None:
    assert First.load({}, {}) == First()
    assert Third.load({}, {}) == Third()  # no upcast of a state that was never stored


def test_it_is_stored_without_nulls_and_without_the_first_version() -> None:
    assert First().dump() == {"count": 0}
    assert First(topic="x").dump() == {"topic": "x", "count": 0}


def test_later_versions_are_stored() -> None:
    assert Third(subject="x").dump() == {"subject": "x", "tags": [], "$version": 3}
    assert Third.load(Third(subject="x").dump(), {}) == Third(subject="x")


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({"topic": "x"}, Third(subject="x", tags=["old"])),
        ({"topic": "x", "$version": 1}, Third(subject="x", tags=["old"])),
        ({"subject": "x", "$version": 2}, Third(subject="x", tags=["old"])),
        ({"subject": "x", "tags": ["new"], "$version": 3}, Third(subject="x", tags=["new"])),
    ],
)
def test_older_versions_go_through_each_upcast_once(stored: dict[str, Any], expected: Third) -> None:
    assert Third.load(stored, {}) == expected


@pytest.mark.parametrize("version", [4, "3", None])
def test_a_newer_version_has_to_wait_for_newer_code(version: Any) -> None:
    with pytest.raises(CodeTooOld, match="and Third is at 3: a newer worker wrote it"):
        Third.load({"$version": version}, {})


def test_a_state_without_a_version_is_too_new_for_no_code_but_one_with_it_is() -> None:
    with pytest.raises(CodeTooOld, match="has version 2, and First is at 1"):
        First.load({"$version": 2}, {})


def test_a_stored_state_that_does_not_fit_says_what_to_do() -> None:
    with pytest.raises(
        CodeError, match=r"is no First: count: .*; add @First.upcast\(1\), or raise"
    ) as caught:
        First.load({"count": "many"}, {})

    assert caught.value.code == "BadState"


def test_a_member_that_the_class_does_not_have_is_a_bad_state() -> None:
    with pytest.raises(CodeError, match="gone: extra inputs are not permitted"):
        First.load({"gone": 1}, {})


def test_set_makes_another_state_of_validated_values() -> None:
    before = First(topic="x")

    after = before.set(count=2)

    assert (before.count, after) == (0, First(topic="x", count=2))
    with pytest.raises(ValueError, match="valid integer"):
        before.set(count="many")
    with pytest.raises(ValueError, match="not permitted"):
        before.set(cuont=2)


def test_a_field_may_be_stored_by_another_name_than_it_is_set_by() -> None:
    class Aliased(State):
        model_name: str | None = Field(default=None, alias="modelName")
        count: int = 0

    assert Aliased().set(model_name="x").set(count=1) == Aliased(model_name="x", count=1)
    assert Aliased.load(Aliased(model_name="x").dump(), {}) == Aliased(model_name="x")


def test_pending_tasks_stay_with_the_state() -> None:
    state = First.load({}, {"work": ["work-1", "work-2"]})

    assert state.pending("work") == ("work-1", "work-2")
    assert state.set(count=1).pending("work") == ("work-1", "work-2")
    assert state.pending("other") == ()
    assert First().pending("work") == ()


def test_states_are_equal_where_their_fields_are() -> None:
    assert First.load({"topic": "x"}, {"work": ["work-1"]}) == First(topic="x")
    assert hash(First.load({"topic": "x"}, {"work": ["work-1"]})) == hash(First(topic="x"))
    assert First(topic="x") != First(topic="y")
    assert First() != Third()
    assert First(topic="x") != {"topic": "x", "count": 0}


def test_a_test_says_which_tasks_run() -> None:
    agent = Agent("a")

    @agent.task()
    def work() -> None: ...

    state = First().with_pending(work, work, "other")

    assert (len(state.pending(work)), len(set(state.pending("work"))), len(state.pending("other"))) == (
        2,
        2,
        1,
    )


def test_pending_tasks_that_were_not_asked_for_are_not_none() -> None:
    with pytest.raises(CodeError, match=r"write pending=True in its decorator") as caught:
        First.load({}, None).pending("work")

    assert caught.value.code == "Undeclared"
