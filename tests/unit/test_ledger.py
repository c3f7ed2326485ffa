"""The ledger is a value that any restart reads back: folding with and without restarts in between is the same."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heed import names
from heed.api.status import Phase
from heed.core.codec.canonical_json import dump_compact
from heed.core.decision.decide import decide
from heed.core.decision.model import Outcome
from heed.core.events import Received
from heed.core.ledger.ledger import (
    Ledger,
    abandon_task,
    dump_ledger,
    list_owed_effects,
    load_ledger,
    make_patch,
    settle,
)
from tests.builders.agents import UID, job, program
from tests.builders.decisions import after, decide_each, session_states
from tests.builders.events import malformed, received, task_end
from tests.builders.values import as_stored, merged

SET, START, STOP, HALT, BREAK = (f"com.example.{name}" for name in ("set", "start", "stop", "halt", "break"))

AGENT = program(
    {"type": SET, "state": "${event.data}", "emit": [{"type": "x.set", "data": "${state}"}]},
    {"type": SET, "when": "has(state.n) && type(state.n) == double", "state": {"double": True}},
    {"type": START, "start": [{"task": "work", "input": "${event.data}"}]},
    {"type": STOP, "end": True},
    {"type": HALT, "cancel": [{"task": "work"}]},
    {"type": BREAK, "when": "event.data.missing"},
    {"type": names.TASK_COMPLETED, "when": "state.size() > 0", "state": {"got": "${[event.data, input]}"}},
    tasks={"work": job("${input}", timeout="1m")},
    session={"idleTimeout": "10s"},
)

numbers = st.sampled_from([0, 1, 1.0, -0.0, 0.5, 2**63 - 1, -(2.0**63), 2.0**63, 1e20, 1e21, 1e300])
leaves = st.none() | st.booleans() | numbers | st.sampled_from(["", "é😀", "${x}", "1.0", "null"])
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("nab"), inner, max_size=2),
    max_leaves=6,
)
data = st.dictionaries(st.sampled_from("nab"), values, max_size=3)


@dataclass(frozen=True)
class Step:
    """An event without its place, how the stream's clock moves, and how many effects are then made."""

    kind: str
    data: Any
    session: str
    moves: float
    made: int


steps = st.builds(
    Step,
    st.sampled_from(
        [SET, SET, SET, START, START, STOP, HALT, BREAK, "com.example.none", "end", "fail", "told", "bad"]
    ),
    data,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([0, 0.000001, 1, 4, 9, 11, -3, -20]),
    st.sampled_from([0, 0, 1, 99]),
)


def events(sequence: list[Step]) -> list[Received]:
    """The steps as a stream holds them. Ends are of tasks that may have been started one to three events before."""
    time, found = 100.0, []
    for number, step in enumerate(sequence, 1):
        time += step.moves
        if step.kind == "bad":
            found.append(malformed(number))
        elif step.kind in ("end", "fail", "told"):
            task = names.task_id(UID, number - 1 - len(step.session + str(step.data)) % 3, 0, "work")
            reason = "Broken" if step.kind == "fail" else None
            another = {"source": "/someone"} if step.kind == "told" else {}
            found.append(task_end(number, task, step.data, reason=reason, time=time, **another))
        else:
            found.append(received(number, step.kind, step.data, time=time, correlationid=step.session))
    return found


def run(sequence: list[Step], between: Callable[[Ledger], Ledger]) -> tuple[list[Outcome], Ledger]:
    """Outcomes and last ledger of a run in which `between` happens to the ledger before every event."""
    ledger, outcomes = Ledger(), list[Outcome]()
    for step, event in zip(sequence, events(sequence), strict=True):
        decision = decide(AGENT, between(ledger), event)
        outcomes.append(decision.outcome)
        ledger = settle(decision.ledger, list_owed_effects(decision.ledger)[: step.made])
    return outcomes, ledger


def through_json(ledger: Ledger) -> Ledger:
    """A restart whose store keeps JSON as it is."""
    return load_ledger(json.loads(json.dumps(dump_ledger(ledger))))


def through_the_api_server(ledger: Ledger) -> Ledger:
    """A restart whose store is the API server."""
    return load_ledger(as_stored(dump_ledger(ledger)))


def step(kind: str, session: str = "a", moves: float = 1, **data_: Any) -> Step:
    return Step(kind, data_, session, moves, 0)


@pytest.mark.parametrize("restart", [through_json, through_the_api_server])
@settings(max_examples=150)
@given(sequence=st.lists(steps, max_size=14))
@example(sequence=[step(SET, "a", n=1), step(SET, "b", -20, n=1), step("com.example.none", "c", 11)])
@example(
    sequence=[step(START, "a"), step(SET, "a", n=1), step(SET, "b", n=1), step("fail"), step(SET, "c", 9.5)]
)
def test_restarts_between_events_change_nothing(
    restart: Callable[[Ledger], Ledger], sequence: list[Step]
) -> None:
    outcomes, ledger = run(sequence, lambda ledger: ledger)

    again, restarted = run(sequence, restart)

    assert again == outcomes
    assert dump_compact(as_stored(dump_ledger(restarted))) == dump_compact(as_stored(dump_ledger(ledger)))


@settings(max_examples=150)
@given(st.lists(steps, max_size=10), st.integers(0, 10))
@example([step(SET, n=1), step(SET, moves=0, n=True)], 1)
@example([step(SET, n=[{"a": 0}]), step(SET, n=[{"a": False}])], 1)
def test_the_patch_of_a_batch_turns_the_stored_status_into_the_new_one(
    sequence: list[Step], cut: int
) -> None:
    _, base = run(sequence[:cut], lambda ledger: ledger)
    new = base
    for event in events(sequence)[cut:]:
        new = decide(AGENT, new, event).ledger
    new = settle(new, list_owed_effects(new)[::2])

    changes = make_patch(base, new)

    assert dump_compact(merged(dump_ledger(base), changes)) == dump_compact(dump_ledger(new))
    assert dump_compact(as_stored(merged(as_stored(dump_ledger(base)), normal(changes)))) == dump_compact(
        as_stored(dump_ledger(new))
    )


def normal(changes: dict[str, Any]) -> dict[str, Any]:
    """A patch as it is sent."""
    sent: dict[str, Any] = json.loads(json.dumps(changes))
    return sent


@settings(max_examples=100)
@given(st.lists(steps, max_size=10))
def test_a_ledger_says_every_effect_that_its_decisions_wanted_and_that_is_not_outdated(
    sequence: list[Step],
) -> None:
    ledger = Ledger()
    for event in events(sequence):
        decision = decide(AGENT, ledger, event)
        owed = list_owed_effects(decision.ledger)
        assert all(effect in owed for effect in decision.effects)
        ledger = decision.ledger

    assert list_owed_effects(settle(ledger, list_owed_effects(ledger))) == [
        effect for effect in list_owed_effects(ledger) if ledger_waits(ledger, effect)
    ]


def ledger_waits(ledger: Ledger, effect: Any) -> bool:
    """A task that is being cancelled is asked for again until its end has come."""
    task = ledger.pending_tasks.get(effect.id)
    return task is not None and task.phase == "Cancelling"


# ── idle sessions ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_session_is_forgotten_after_its_idle_timeout_in_stream_time() -> None:
    ledger = after(AGENT, received(1, SET, {"n": 1}, time=0))

    at_ten = decide(AGENT, ledger, received(2, "com.example.none", time=10)).ledger
    later = decide(AGENT, ledger, received(2, "com.example.none", time=11)).ledger

    assert list(at_ten.sessions) == ["e1"]
    assert list(later.sessions) == []
    assert later.totals.sessions_expired == 1


def test_only_what_is_beyond_its_time_goes() -> None:
    ledger = after(AGENT, received(1, SET, {"n": 1}, time=0), received(2, SET, {"n": 1}, time=5))

    assert list(decide(AGENT, ledger, received(3, "com.example.none", time=15)).ledger.sessions) == ["e2"]


def test_an_event_of_an_expired_session_finds_a_new_one() -> None:
    agent = program({"state": {"n": "${state.?n.orValue(0) + 1}"}}, session={"idleTimeout": "10s"})

    ledger = after(agent, received(1, time=0, correlationid="k"), received(2, time=11, correlationid="k"))

    assert session_states(ledger) == {"k": {"n": 1}}


def test_every_event_of_a_session_keeps_it_even_one_that_no_handler_wants() -> None:
    agent = program(
        {"state": {"n": 1}}, {"type": "com.example.ping", "when": "false"}, session={"idleTimeout": "10s"}
    )
    pings = [
        received(n, "com.example.ping", time=(n - 1) * 8, correlationid="k", id_=f"p{n}") for n in (2, 3, 4)
    ]

    ledger = after(agent, received(1, time=0, correlationid="k"), *pings)

    assert list(ledger.sessions) == ["k"]


def test_a_session_with_a_pending_task_waits_for_it_and_then_anew() -> None:
    ledger = after(
        AGENT, received(1, START, {}, time=0, correlationid="k"), received(2, "com.example.none", time=500)
    )
    (task,) = ledger.pending_tasks
    session = ledger.sessions["k"]
    ledger = replace(ledger, sessions={"k": replace(session, state={"n": 1})})

    ended = decide(AGENT, ledger, task_end(3, task, reason="Broken", time=600)).ledger

    assert list(decide(AGENT, ended, received(4, "com.example.none", time=609)).ledger.sessions) == ["k"]
    assert list(decide(AGENT, ended, received(4, "com.example.none", time=611)).ledger.sessions) == []


def test_a_stream_clock_that_goes_back_neither_revives_nor_confuses() -> None:
    ledger = after(
        AGENT,
        received(1, SET, {"n": 1}, time=100, correlationid="late"),
        received(2, SET, {"n": 1}, time=50, correlationid="early"),
    )

    decision = decide(AGENT, ledger, received(3, "com.example.none", time=70))

    assert list(decision.ledger.sessions) == ["late", "early"]
    assert list(through_json(decision.ledger).sessions) in (["late", "early"], ["early", "late"])


# ── what comes from stores ──────────────────────────────────────────────────────────────────────────────────────────


def test_an_agent_without_status_has_an_empty_ledger() -> None:
    assert load_ledger({}) == Ledger()
    assert load_ledger({"conditions": [], "observedGeneration": 3, "sessions": None}) == Ledger()


def test_fields_of_a_newer_version_are_passed_over() -> None:
    status = dump_ledger(after(AGENT, received(1, SET, {"n": 1})))
    status["totals"]["invented"] = 1
    status["sessions"]["e1"]["invented"] = {"x": 1}

    assert load_ledger(status) == after(AGENT, received(1, SET, {"n": 1}))


def test_a_quiet_commit_is_small() -> None:
    base = after(AGENT, *(received(n, SET, {"a": "x" * 1000}) for n in range(1, 40)))
    new = decide(AGENT, base, received(40, "com.example.none", time=40)).ledger

    assert len(dump_compact(make_patch(base, new))) < 200


def test_nothing_decided_is_nothing_to_write() -> None:
    ledger = after(AGENT, received(1, SET, {"n": 1}))

    assert make_patch(ledger, ledger) == {}


def test_counts_are_those_of_the_maps() -> None:
    decisions = decide_each(AGENT, [received(1, START, {}), received(2, SET, {"n": 1})])

    assert dump_ledger(decisions[-1].ledger)["counts"] == {
        "sessions": 2,
        "pendingTasks": 1,
        "outbox": 1,
        "waiting": 0,
        "held": 0,
        "queuedTasks": 0,
    }


@pytest.mark.parametrize("phase", ["Started", "Cancelling", "Abandoned"])
def test_a_start_that_was_made_changes_only_a_task_that_owes_it(phase: Phase) -> None:
    ledger = after(AGENT, received(1, START, {"n": 1}))
    [start] = list_owed_effects(ledger)
    [(key, task)] = ledger.pending_tasks.items()
    later = replace(ledger, pending_tasks={key: replace(task, phase=phase)})

    assert settle(later, [start]) is later
    assert settle(ledger, [start]).pending_tasks[key].phase == "Started"


def test_a_cancellation_that_was_made_waits_for_the_end_of_a_task_that_still_counts() -> None:
    ledger = after(AGENT, received(1, START, {"n": 1}))
    [(key, task)] = ledger.pending_tasks.items()
    counting = replace(ledger, pending_tasks={key: replace(task, phase="Cancelling")})
    given_up = replace(ledger, pending_tasks={key: abandon_task(task)})

    assert settle(counting, list_owed_effects(counting)) is counting
    assert settle(given_up, list_owed_effects(given_up)).pending_tasks == {}
