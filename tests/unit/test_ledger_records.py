"""The ledger's records one by one: as a status writes them, as a patch changes them, and what they still owe."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.status import (
    Cursor,
    DeadLetterCause,
    HeldEvent,
    ModelBudget,
    ModelSpending,
    OutboxMessage,
    PendingTask,
    RecentTask,
    Session,
    TaskCause,
    TaskRate,
    TimerState,
    Totals,
)
from heed.core.effects import CancelTask, Effect, Publish, StartTask
from heed.core.ledger.dedup_window import DedupWindow
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.held import HeldEvents
from heed.core.ledger.ledger import (
    Ledger,
    abandon_task,
    add_to_totals,
    bind_to_stream,
    count_decided,
    drop_deferred,
    drop_keys,
    dump_ledger,
    list_owed_effects,
    load_ledger,
    make_cancel,
    make_patch,
    settle,
    skip_expired,
)
from tests.builders.events import at

OWED = PendingTask(
    "work", "s", "job", at(1), TaskCause("e1", 4, "c1", 2, "00-1"), at(9), input={"n": 1}, owed="{}"
)
WHOLE = Ledger(
    cursor=Cursor("S", 7, at(7), "made", 9),
    totals=Totals(handled=1, tasks_started=2, sessions_expired=3, dead_lettered=4, due=5, retried=6),
    sessions={"b": Session(at(1), at(3), "c1", {"n": 1}), "a": Session(at(1), at(4), "c2", {})},
    pending_tasks={"t": OWED},
    waiting=DeferredEvents.of({2: "kkkk", 10: "llll"}),
    held=HeldEvents.of(
        {3: HeldEvent("s", "h", at(3), at(9), 2), 6: HeldEvent("a", "h", at(6), at(8), 2, "Ready")}
    ),
    recent_tasks=(RecentTask("t0", "work", "s", "Failed", at(1), at(2), "JobFailed"),),
    recent_events=DedupWindow.of(["d1", "d2"]),
    outbox={
        "m": OutboxMessage(5, 1, "subject", at(5), letter=DeadLetterCause("Code", "message", "h", 3, 2, "{}"))
    },
    task_rate=TaskRate(at(0), 6),
    timers={
        "nightly": TimerState("digest", at(0), at(50), at(20), "nightly@1"),
        "hourly": TimerState("digest", at(0), at(40)),
        "off": TimerState("digest", at(0), suspended=True),
    },
    budgets={"session a": ModelBudget(ModelSpending(5, 7, 1), {"t/2/1": ModelSpending(9, tool_calls=2)})},
)
STATUS: dict[str, Any] = {
    "cursor": {"stream": "S", "sequence": 7, "time": at(7), "created": "made", "inbox": 9},
    "totals": {
        **{
            "handled": 1,
            "ignored": 0,
            "duplicates": 0,
            "stale": 0,
            "deadLettered": 4,
            "due": 5,
            "ticksFired": 0,
            "ticksMissed": 0,
            "ticksSkipped": 0,
            "retried": 6,
            "emitted": 0,
        },
        **{"tasksStarted": 2, "tasksCompleted": 0, "tasksFailed": 0, "sessionsExpired": 3, "expired": 0},
        "schemaWarnings": 0,
    },
    "counts": {"sessions": 2, "pendingTasks": 1, "outbox": 1, "waiting": 2, "held": 2, "queuedTasks": 0},
    "sessions": {
        "b": {"startedAt": at(1), "lastEventAt": at(3), "correlationid": "c1", "state": {"n": 1}},
        "a": {"startedAt": at(1), "lastEventAt": at(4), "correlationid": "c2", "state": {}},
    },
    "pendingTasks": {
        "t": {
            "task": "work",
            "session": "s",
            "kind": "job",
            "startedAt": at(1),
            "cause": {"id": "e1", "sequence": 4, "correlationid": "c1", "hops": 2, "traceparent": "00-1"},
            "deadline": at(9),
            "phase": "Owed",
            "input": {"n": 1},
            "owed": "{}",
        }
    },
    "waiting": {"2": "kkkk", "10": "llll"},
    "held": {
        "3": {
            "session": "s",
            "handler": "h",
            "since": at(3),
            "until": at(9),
            "generation": 2,
            "phase": "Held",
        },
        "6": {
            "session": "a",
            "handler": "h",
            "since": at(6),
            "until": at(8),
            "generation": 2,
            "phase": "Ready",
        },
    },
    "recentTasks": [
        {
            "id": "t0",
            "task": "work",
            "session": "s",
            "outcome": "Failed",
            "startedAt": at(1),
            "endedAt": at(2),
            "reason": "JobFailed",
        }
    ],
    "recentEvents": ["d1", "d2"],
    "outbox": {
        "m": {
            "sequence": 5,
            "index": 1,
            "subject": "subject",
            "at": at(5),
            "letter": {
                "code": "Code",
                "message": "message",
                "handler": "h",
                "generation": 3,
                "attempt": 2,
                "task": "{}",
            },
        }
    },
    "taskRate": {"minute": at(0), "started": 6},
    "timers": {
        "nightly": {
            "schedule": "digest",
            "anchor": at(0),
            "nextAt": at(50),
            "previousAt": at(20),
            "session": "nightly@1",
        },
        "hourly": {"schedule": "digest", "anchor": at(0), "nextAt": at(40)},
        "off": {"schedule": "digest", "anchor": at(0), "suspended": True},
    },
    "budgets": {
        "session a": {
            "spent": {"tokens": 5, "cost": 7, "turns": 1, "toolCalls": 0},
            "reserved": {"t/2/1": {"tokens": 9, "cost": 0, "turns": 0, "toolCalls": 2}},
        }
    },
    "nextTick": at(40),
}


# ── as a status ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_status_holds_every_record_of_a_ledger() -> None:
    assert dump_ledger(WHOLE) == STATUS
    assert load_ledger(STATUS) == WHOLE


def test_a_ledger_without_a_rate_writes_none() -> None:
    assert "taskRate" not in dump_ledger(Ledger())
    assert load_ledger({}) == Ledger()
    assert dump_ledger(Ledger())["cursor"] == {"stream": names.STREAM, "sequence": 0}


def test_sessions_are_in_the_order_of_their_latest_event_and_then_of_their_keys() -> None:
    times = {"z": 3, "y": 9, "x": 3, "w": 1}
    sessions = {
        key: {"startedAt": at(0), "lastEventAt": at(time), "correlationid": "c"}
        for key, time in times.items()
    }

    assert list(load_ledger({"sessions": sessions}).sessions) == ["w", "x", "z", "y"]


def test_places_that_wait_are_in_the_order_of_numbers() -> None:
    cursor = {"stream": "S", "sequence": 20}

    assert list(load_ledger({"cursor": cursor, "waiting": {"10": "a", "9": "b"}}).waiting.places) == [9, 10]


@pytest.mark.parametrize(("totals", "expired"), [({}, 2), ({"expired": 5, "handled": 3}, 7)])
def test_what_waits_in_a_stream_that_was_given_up_has_expired(totals: dict[str, int], expired: int) -> None:
    status = {"waiting": {"1": "a", "2": "b"}, "totals": totals}

    assert load_ledger(status) == Ledger(totals=Totals(handled=totals.get("handled", 0), expired=expired))
    assert load_ledger({"waiting": {"1": "a"}}).totals.expired == 1
    assert load_ledger({"totals": totals}).totals.expired == totals.get("expired", 0)
    assert status["waiting"] == {"1": "a", "2": "b"}


# ── as a patch ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "written"),
    [
        ({}, {}),
        (
            {"cursor": Cursor("S", 8, at(8), "made", None)},
            {"cursor": {"sequence": 8, "time": at(8), "inbox": None}},
        ),
        ({"totals": replace(WHOLE.totals, handled=2)}, {"totals": {"handled": 2}}),
        ({"task_rate": TaskRate(at(0), 7)}, {"taskRate": {"started": 7}}),
        ({"task_rate": None}, {"taskRate": None}),
        ({"recent_events": DedupWindow.of(["d2"])}, {"recentEvents": ["d2"]}),
        ({"recent_tasks": ()}, {"recentTasks": []}),
        (
            {"sessions": {"a": WHOLE.sessions["a"]}},
            {"sessions": {"b": None}, "counts": {"sessions": 1}},
        ),
        (
            {"sessions": {**WHOLE.sessions, "b": replace(WHOLE.sessions["b"], state={"m": 2})}},
            {"sessions": {"b": {"state": {"n": None, "m": 2}}}},
        ),
        ({"sessions": {**WHOLE.sessions, "b": replace(WHOLE.sessions["b"])}}, {}),
        (
            {
                "pending_tasks": {
                    "t": replace(OWED, phase="Started", owed=None),
                    "u": replace(OWED, owed=None),
                }
            },
            {
                "pendingTasks": {
                    "t": {"phase": "Started", "owed": None},
                    "u": {key: item for key, item in STATUS["pendingTasks"]["t"].items() if key != "owed"},
                },
                "counts": {"pendingTasks": 2},
            },
        ),
        ({"outbox": {}}, {"outbox": {"m": None}, "counts": {"outbox": 0}}),
        (
            {"waiting": DeferredEvents.of({10: "llll", 11: "mmmm", 12: "nnnn"})},
            {"waiting": {"2": None, "11": "mmmm", "12": "nnnn"}, "counts": {"waiting": 3}},
        ),
        ({"waiting": DeferredEvents.of({2: "kkkk", 10: "llll"})}, {}),
    ],
)
def test_a_patch_says_what_changed_and_nothing_else(change: dict[str, Any], written: dict[str, Any]) -> None:
    assert make_patch(WHOLE, replace(WHOLE, **change)) == written


def test_where_there_was_no_cursor_everything_but_the_maps_is_written() -> None:
    base = replace(WHOLE, cursor=Cursor("S"))

    written = make_patch(base, WHOLE)

    plain = ("cursor", "totals", "counts", "recentTasks", "recentEvents", "taskRate", "nextTick")
    assert written == {name: STATUS[name] for name in plain}
    assert make_patch(base, replace(WHOLE, task_rate=None))["taskRate"] is None
    assert make_patch(base, replace(WHOLE, timers={}))["nextTick"] is None


def test_the_last_tick_of_all_takes_the_next_one_out_of_the_status() -> None:
    timers = {**WHOLE.timers, "hourly": replace(WHOLE.timers["hourly"], next_at=None)}
    fewer = replace(WHOLE, timers=timers)

    assert make_patch(WHOLE, fewer) == {"nextTick": at(50), "timers": {"hourly": {"nextAt": None}}}
    assert make_patch(fewer, replace(fewer, timers={})) == {
        "nextTick": None,
        "timers": {"nightly": None, "hourly": None, "off": None},
    }


# ── what is owed ────────────────────────────────────────────────────────────────────────────────────────────────────


def owed_at(sequence: int, phase: Any) -> PendingTask:
    return replace(OWED, phase=phase, cause=replace(OWED.cause, sequence=sequence))


def test_effects_are_owed_in_the_order_of_decisions_tasks_before_events() -> None:
    tasks = {
        "t9": owed_at(9, "Owed"),
        "t5": owed_at(5, "Owed"),
        "gone": owed_at(5, "Abandoned"),
        "runs": owed_at(1, "Started"),
        "stop": owed_at(2, "Cancelling"),
    }
    events = {
        key: OutboxMessage(sequence, index, "s", at(0))
        for key, sequence, index in (("b", 5, 1), ("a", 5, 0), ("z", 3, 0))
    }

    assert list_owed_effects(Ledger(pending_tasks=tasks, outbox=events)) == [
        CancelTask("stop", tasks["stop"]),
        Publish("z", events["z"]),
        StartTask("t5", tasks["t5"]),
        CancelTask("gone", None),
        Publish("a", events["a"]),
        Publish("b", events["b"]),
        StartTask("t9", tasks["t9"]),
    ]


def test_what_was_made_is_owed_no_more_and_only_that() -> None:
    tasks = {
        name: owed_at(1, phase)
        for name, phase in (("o", "Owed"), ("s", "Started"), ("c", "Cancelling"), ("a", "Abandoned"))
    }
    ledger = Ledger(pending_tasks=tasks, outbox=WHOLE.outbox)

    for name in "sc":
        assert (
            settle(ledger, [StartTask(name, OWED), CancelTask(name, OWED), Publish(name, WHOLE.outbox["m"])])
            is ledger
        )
    done: list[Effect] = [
        StartTask("o", OWED),
        CancelTask("a", None),
        Publish("m", WHOLE.outbox["m"]),
        StartTask("none", OWED),
    ]
    assert settle(ledger, done) == Ledger(
        pending_tasks={"o": replace(tasks["o"], phase="Started", owed=None), "s": tasks["s"], "c": tasks["c"]}
    )
    assert settle(ledger, [CancelTask("none", None), CancelTask("o", None)]) is ledger
    assert settle(ledger, []) is ledger


# ── small changes ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_totals_grow_by_what_is_counted() -> None:
    assert add_to_totals(Totals(handled=1, stale=2), handled=3, emitted=4) == Totals(
        handled=4, stale=2, emitted=4
    )
    assert count_decided(Totals(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)) == 255


def test_keys_that_are_taken_out_need_not_be_there() -> None:
    records = {"a": 1, "b": 2}

    assert drop_keys(records, ["a", "z"]) == {"b": 2}
    assert records == {"a": 1, "b": 2}


def test_a_task_that_is_given_up_is_kept_in_few_words() -> None:
    assert abandon_task(OWED) == replace(OWED, phase="Abandoned", input=None, owed=None)
    assert make_cancel("t", OWED) == CancelTask("t", OWED)
    assert make_cancel("t", abandon_task(OWED)) == CancelTask("t", None)


def test_a_cursor_belongs_to_the_first_stream_that_it_meets() -> None:
    assert bind_to_stream(Ledger(), "now") == Ledger(Cursor(names.STREAM, created="now"))
    assert bind_to_stream(WHOLE, "now") is WHOLE


@pytest.mark.parametrize(
    ("floor", "gone", "sequence", "expired"),
    [(7, 0, 7, 0), (6, 0, 7, 0), (8, 0, 8, 1), (10, 2, 10, 3), (10, 5, 10, 5), (7, 5, 7, 5)],
)
def test_what_the_stream_dropped_has_expired(floor: int, gone: int, sequence: int, expired: int) -> None:
    found = skip_expired(WHOLE, floor, gone)

    cursor, totals = replace(WHOLE.cursor, sequence=sequence), replace(WHOLE.totals, expired=expired)
    assert found == replace(WHOLE, cursor=cursor, totals=totals)
    assert (found is WHOLE) == (expired == 0)


def test_a_ledger_without_a_cursor_has_missed_what_went_from_the_middle_only() -> None:
    assert skip_expired(Ledger(), 9) == Ledger()
    assert skip_expired(Ledger(), 9, 2) == Ledger(totals=Totals(expired=2))
    assert skip_expired(replace(Ledger(), cursor=Cursor("S", 1)), 2).totals.expired == 1


def test_what_the_stream_dropped_waits_no_more() -> None:
    assert drop_deferred(WHOLE, [2, 3]) == replace(
        WHOLE, waiting=DeferredEvents.of({10: "llll"}), totals=replace(WHOLE.totals, expired=1)
    )
