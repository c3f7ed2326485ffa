"""What an expectation may say, what a transcript lacks of it, and where."""

from collections.abc import Collection
from typing import Any

import pytest

from heed.core.simulation.assertions import NOTHING, Mismatch, check_expectation, find_mismatches, find_unmet
from heed.errors import InvalidManifest

ALL = "agents, outcomes, emitted, tasks, deadLetters, unheard, pending"
STATUS = (
    "cursor, totals, taskRate, counts, sessions, pendingTasks, waiting, timers, nextTick, budgets, held, recentTasks, "
    "recentEvents, outbox"
)
AGENTS = ("demo/clerk", "demo/twin", "shop/twin")


def mistakes(expected: Any, agents: Collection[str] | None = AGENTS) -> list[str]:
    """What cannot be expected at all."""
    try:
        assert check_expectation(expected, agents) is expected
    except InvalidManifest as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ([], f": an expectation is a map; known are {ALL}"),
        ({"emited": []}, 'emited: there is no such expectation; did you mean "emitted"?'),
        ({"x": 1}, f"x: there is no such expectation; known are {ALL}"),
        ({1: 1}, f"1: there is no such expectation; known are {ALL}"),
        ({"agents": []}, "agents: is not a map"),
        ({"outcomes": 1}, "outcomes: is not a map"),
        ({"emitted": {}}, "emitted: is not a list or a number"),
        ({"tasks": "work"}, "tasks: is not a list or a number"),
        ({"deadLetters": None}, "deadLetters: is not a list or a number"),
        ({"unheard": 1.0}, "unheard: is not a list or a number"),
        ({"pending": True}, "pending: is not a list or a number"),
        (
            {"outcomes": {"dead_lettered": 1}},
            'outcomes.dead_lettered: there is no such outcome; did you mean "deadLettered"?',
        ),
        (
            {"outcomes": {"lost": 1}},
            "outcomes.lost: there is no such outcome; known are handled, ignored, duplicate, stale, deadLettered, due, "
            "held, retried, turn",
        ),
        (
            {"tasks": [{"task": "a"}, {"tsk": 1}]},
            'tasks[1].tsk: there is no such field; did you mean "task"?',
        ),
        (
            {"tasks": [{"x": 1}]},
            "tasks[0].x: there is no such field; known are agent, id, task, kind, attempt, input, spec",
        ),
        (
            {"deadLetters": [{"x": 1}]},
            "deadLetters[0].x: there is no such field; "
            "known are agent, sequence, id, type, code, message, handler",
        ),
        ({"unheard": [{"x": 1}]}, "unheard[0].x: there is no such field; known are sequence, id, type, why"),
        (
            {"pending": [{"x": 1}]},
            "pending[0].x: there is no such field; known are agent, id, task, kind, session, input, phase, due",
        ),
        (
            {"agents": {"twin": {}}},
            "agents.twin: is in several namespaces; write one of demo/twin, shop/twin",
        ),
        (
            {"agents": {"clerk": {"observedGeneration": 1}}},
            f"agents.clerk.observedGeneration: there is no such field; known are {STATUS}",
        ),
        (
            {"agents": {"clerk": {"lastValidSpec": {}}}},
            f"agents.clerk.lastValidSpec: there is no such field; known are {STATUS}",
        ),
        ({"agents": {"clark": {}}}, 'agents.clark: there is no such Agent; did you mean "clerk"?'),
        (
            {"agents": {"demo/clark": {}}},
            'agents.demo/clark: there is no such Agent; did you mean "demo/clerk"?',
        ),
        (
            {"agents": {"nobody": {}}},
            "agents.nobody: there is no such Agent; known are demo/clerk, demo/twin, shop/twin",
        ),
        (
            {"agents": {"demo/clerk": {"x": 1}}},
            f"agents.demo/clerk.x: there is no such field; known are {STATUS}",
        ),
        (
            {"agents": {"clerk": {"conditions": []}}},
            'agents.clerk.conditions: there is no such field; did you mean "counts"?',
        ),
        (
            {"agents": {"clerk": {"cursor": {"x": 1}}}},
            "agents.clerk.cursor.x: there is no such field; known are stream, sequence, time, created, inbox",
        ),
        (
            {"agents": {"clerk": {"counts": {"x": 1}}}},
            "agents.clerk.counts.x: there is no such field; known are sessions, pendingTasks, outbox, waiting, held, "
            "queuedTasks",
        ),
        (
            {"agents": {"clerk": {"totals": {"taskStarted": 1}}}},
            'agents.clerk.totals.taskStarted: there is no such field; did you mean "tasksStarted"?',
        ),
        (
            {"agents": {"clerk": {"sessions": {"a": {}, "b": {"x": 1}}}}},
            "agents.clerk.sessions.b.x: there is no such field; "
            "known are startedAt, lastEventAt, correlationid, state",
        ),
        (
            {"agents": {"clerk": {"pendingTasks": {"t": {"tsk": 1}}}}},
            'agents.clerk.pendingTasks.t.tsk: there is no such field; did you mean "task"?',
        ),
        (
            {"agents": {"clerk": {"pendingTasks": {"t": {"cause": {"x": 1}}}}}},
            "agents.clerk.pendingTasks.t.cause.x: there is no such field; "
            "known are id, sequence, correlationid, hops, traceparent, tracestate",
        ),
        (
            {"agents": {"clerk": {"outbox": {"k": {"sequense": 1}}}}},
            'agents.clerk.outbox.k.sequense: there is no such field; did you mean "sequence"?',
        ),
        (
            {"agents": {"clerk": {"recentTasks": [{}, {"outcom": 1}]}}},
            'agents.clerk.recentTasks[1].outcom: there is no such field; did you mean "outcome"?',
        ),
    ],
)
def test_what_no_simulation_could_ever_meet_is_a_mistake(expected: Any, said: str) -> None:
    assert mistakes(expected) == [said]


@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"emitted": 2, "tasks": 0, "deadLetters": 0, "unheard": 1, "pending": 0},
        {"emitted": [{"anything": 1}, "a.b"], "tasks": ["work", {"task": "work", "input": {"x": 1}}]},
        {"deadLetters": ["BadData"], "unheard": ["a.b"], "pending": [{"session": "a"}]},
        {"agents": {"clerk": None, "demo/twin": {"sessions": None, "pendingTasks": {"t": None}}}},
        {"agents": {"clerk": {"pendingTasks": {"t": {"task": "a", "cause": None}}, "recentTasks": ["a"]}}},
        {"agents": {"clerk": {"sessions": {"a": {"state": {"anything": 1}}}, "waiting": {"7": "x"}}}},
        {"agents": {"clerk": {"sessions": {"a": {"state": {"cause": {"x": 1}}}}}}},
        {"agents": {"clerk": {"recentTasks": 5, "recentEvents": [{"x": 1}], "sessions": [{"x": 1}]}}},
        {"agents": {"clerk": {"recentTasks": {}, "sessions": [], "taskRate": {"started": 1}}}},
    ],
)
def test_whatever_could_be_there_may_be_expected(expected: Any) -> None:
    assert mistakes(expected) == []


def test_all_mistakes_are_told_at_once_and_in_order() -> None:
    expected = {"emited": [], "outcomes": {"handeld": 1}, "agents": {"clark": {"x": 1}, "clerk": {"totl": 1}}}

    assert [item.partition(":")[0] for item in mistakes(expected)] == [
        "emited",
        "outcomes.handeld",
        "agents.clark",
        "agents.clerk.totl",
    ]


def test_where_agents_are_not_known_they_may_have_any_name() -> None:
    assert mistakes({"agents": {"clark": {"totals": {}}}}, None) == []
    assert len(mistakes({"agents": {"clark": {"total": {}}}}, None)) == 1


TRANSCRIPT: dict[str, Any] = {
    "agents": {
        "demo/clerk": {"totals": {"handled": 2}, "sessions": {}},
        "demo/twin": {"totals": {"handled": 3}},
        "shop/twin": {"totals": {"handled": 4}},
    },
    "outcomes": {"handled": 2},
    "emitted": [{"type": "a.b", "data": 1}, {"type": "a.c"}],
    "tasks": [{"task": "work", "input": {"n": 1, "m": [1, 2]}}],
    "letters": [{"code": "BadData", "sequence": 3}],
    "unheard": [{"type": "a.d"}],
    "pending": [{"task": "wait"}],
}


@pytest.mark.parametrize(
    ("expected", "lacking"),
    [
        ({}, []),
        ({"agents": {"clerk": {"totals": {"handled": 2}}}}, []),
        ({"agents": {"demo/clerk": {"totals": {"handled": 2}, "sessions": {}}}}, []),
        ({"agents": {"clerk": {"totals": {"handled": 1}}}}, [("agents.clerk.totals.handled", 1, 2)]),
        ({"agents": {"shop/twin": {"totals": {"handled": 4}}}}, []),
        ({"agents": {"twin": {}}}, [("agents.twin", {}, NOTHING)]),
        ({"agents": {"nobody": None}}, []),
        ({"outcomes": {"handled": 2, "stale": 0}}, []),
        ({"outcomes": {"handled": 3, "stale": 1}}, [("outcomes.handled", 3, 2), ("outcomes.stale", 1, 0)]),
        ({"emitted": 2, "tasks": 1, "deadLetters": 1, "unheard": 1, "pending": 1}, []),
        ({"emitted": 1}, [("emitted", 1, 2)]),
        ({"emitted": ["a.b", "a.c"]}, []),
        ({"emitted": ["a.b", {"type": "a.c"}]}, []),
        ({"emitted": [{"data": 1}, "a.c"]}, []),
        ({"emitted": ["a.b", "a.d"]}, [("emitted[1]", "a.d", "a.c")]),
        ({"emitted": ["a.b"]}, [("emitted[1]", NOTHING, "a.c")]),
        ({"emitted": ["a.b", "a.c", "a.d"]}, [("emitted[2]", "a.d", NOTHING)]),
        ({"emitted": [{"data": 1}]}, [("emitted[1]", NOTHING, {"type": "a.c"})]),
        ({"tasks": ["work"], "pending": ["wait"], "unheard": ["a.d"], "deadLetters": ["BadData"]}, []),
        ({"deadLetters": [{"sequence": 3}], "pending": [{"task": "wait"}]}, []),
        ({"deadLetters": [{"sequence": 4}]}, [("deadLetters[0].sequence", 4, 3)]),
        ({"tasks": [{"input": {"m": [1]}}]}, [("tasks[0].input.m[1]", NOTHING, 2)]),
        ({"tasks": [{"input": {"x": 0}}]}, [("tasks[0].input.x", 0, NOTHING)]),
    ],
)
def test_a_transcript_lacks_what_is_expected_and_not_there(
    expected: dict[str, Any], lacking: list[tuple[str, Any, Any]]
) -> None:
    assert find_unmet(expected, TRANSCRIPT) == [Mismatch(*item) for item in lacking]


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (False, 0, False),
        (True, True, True),
        ("1", 1, False),
        (None, None, True),
        (None, NOTHING, True),
        (None, 0, False),
        (0, None, False),
        ({}, [], False),
        ([], {}, False),
        ({}, {"more": 1}, True),
        ([], [], True),
    ],
)
def test_values_are_compared_as_in_json(expected: Any, found: Any, same: bool) -> None:
    assert list(find_mismatches(expected, found, "here")) == (
        [] if same else [Mismatch("here", expected, found)]
    )


def test_a_path_begins_with_the_name_of_what_is_compared() -> None:
    assert list(find_mismatches({"a": {"b": [1]}}, {"a": {"b": [2]}})) == [Mismatch("a.b[0]", 1, 2)]


def test_nothing_is_called_nothing() -> None:
    assert repr(NOTHING) == "nothing"
