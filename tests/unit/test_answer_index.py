"""ApprovalAnswers by what they are looked up by, and whose turn it is."""

from __future__ import annotations

from typing import Any

import pytest

from heed.kube.approvals.answer_index import AnswerIndex


def answer(
    name: str,
    *,
    namespace: str = "demo",
    agent: str = "buyer",
    task: str = "buy-1",
    user: str = "kim",
    accepted: str | None = None,
) -> dict[str, Any]:
    """An answer, judged or not."""
    conditions = [] if accepted is None else [{"type": "Accepted", "status": accepted}]
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"agent": agent, "task": task, "user": user},
        "status": {"conditions": conditions},
    }


def test_an_answer_is_open_until_it_is_judged_or_deleted() -> None:
    index = AnswerIndex()

    assert index.observe(answer("a"), False) and index.observe(answer("b"), False)
    assert index.observe(answer("c", agent="other"), False)
    assert index.list_open("demo", "buyer") == [("demo", "a"), ("demo", "b")]
    assert not index.observe(answer("a", accepted="False"), False)
    assert not index.observe(answer("b"), True)

    assert index.list_open("demo", "buyer") == []
    assert list(index.open) == [("demo", "c")] and list(index.known) == [("demo", "a"), ("demo", "c")]
    assert index.list_open("else", "buyer") == []


def test_what_is_closed_twice_or_never_was_changes_nothing() -> None:
    index = AnswerIndex()
    index.observe(answer("a"), False)

    index.close(("demo", "a"))
    index.close(("demo", "a"))
    assert not index.observe(answer("never"), True)

    assert (index.open, index.list_open("demo", "buyer")) == ({}, [])
    assert list(index.known) == [("demo", "a")]


def test_arrivals_grow_also_where_an_answer_is_seen_again() -> None:
    index = AnswerIndex()
    index.observe(answer("a"), False)
    index.observe(answer("b"), False)
    first = index.arrival(("demo", "a"))

    index.observe(answer("a"), False)

    assert first < index.arrival(("demo", "b")) < index.arrival(("demo", "a")) == index.arrivals


def test_the_answer_that_ended_a_task_is_found_as_long_as_it_is_there() -> None:
    index = AnswerIndex()
    first = answer("a", accepted="True")
    index.observe(first, False)
    index.observe(answer("b", accepted="False"), False)
    index.observe(answer("c", task="buy-2"), False)

    assert index.find_accepted("demo", "buyer", "buy-1") == first
    assert index.find_accepted("demo", "buyer", "buy-2") is None
    assert index.find_accepted("else", "buyer", "buy-1") is None
    index.observe(answer("b", accepted="False"), True)
    assert index.find_accepted("demo", "buyer", "buy-1") == first
    index.observe(first, True)
    assert index.find_accepted("demo", "buyer", "buy-1") is None


@pytest.mark.parametrize(
    ("most", "turns"),
    [(0, ""), (1, "a"), (3, "ade"), (4, "adeb"), (5, "adebc"), (9, "adebc")],
)
def test_users_take_turns(most: int, turns: str) -> None:
    index = AnswerIndex()
    for name, user, namespace in (
        ("a", "eve", "demo"),
        ("b", "eve", "demo"),
        ("c", "eve", "demo"),
        ("d", "kim", "demo"),
        ("e", "eve", "else"),
    ):
        index.observe(answer(name, user=user, namespace=namespace), False)

    assert "".join(name for _, name in index.take_turns(list(index.open), most)) == turns


def test_what_is_not_open_any_more_has_a_turn_like_others() -> None:
    assert list(AnswerIndex().take_turns([("demo", "gone")], 5)) == [("demo", "gone")]
