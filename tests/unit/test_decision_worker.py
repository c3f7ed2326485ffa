"""What goes over the pipe to a worker, and how it answers, in this process."""

import io
import json
import pickle
import signal
from dataclasses import replace
from typing import Any

import pytest

from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision, decide
from heed.core.effects import AgentRef
from heed.core.events import Received
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import Ledger
from heed.core.schema.registry import compile_schemas
from heed.sandbox import decision_worker
from heed.sandbox.decision_worker import DecisionRequest, DecisionWorker, ProgramSource
from heed.sandbox.worker import ANSWER, PLACE, READY, UNKNOWN, encode_frame, read_frame
from tests.builders.agents import job, program
from tests.builders.decisions import after
from tests.builders.events import received
from tests.builders.policies import event_type

COUNT = {"name": "count", "state": {"n": "${state.?n.orValue(0) + 1}"}}
REF = AgentRef("demo", "other", "uid-9")


def frames(data: bytes) -> list[tuple[bytes, bytes]]:
    """What a worker wrote: kind and content."""
    source, found = io.BytesIO(data), list[tuple[bytes, bytes]]()
    while (frame := read_frame(source)) is not None:
        found.append((frame[:1], frame[1:]))
    return found


def request(
    number: int, made: Program | None, event: Received, ledger: Ledger | None = None
) -> DecisionRequest:
    source = None if made is None else ProgramSource.of(made)
    return DecisionRequest(number, REF, 7, source, ledger or Ledger(), event, {})


def served(*requests: DecisionRequest, cpu: float = 60.0) -> list[tuple[bytes, bytes]]:
    """The answers of a worker to requests."""
    asked, answers = io.BytesIO(b"".join(encode_frame(pickle.dumps(item)) for item in requests)), io.BytesIO()
    DecisionWorker(asked, answers, cpu).serve()
    return frames(answers.getvalue())


# ── what goes over the pipe ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_decision_comes_back_the_same_and_what_it_did_not_touch_is_not_sent() -> None:
    made = program(COUNT)
    ledger = after(made, received(1, correlationid="a", data="x" * 5000))
    event = received(2, correlationid="b", data="y" * 5000)
    decision = decide(made, ledger, event)
    known = decision_worker.shared_records(ledger, event)

    data = decision_worker.pack_decision(decision, known)
    again = decision_worker.unpack_decision(data, decision_worker.shared_records(ledger, event))

    assert again == decision
    assert again.received is event
    assert again.ledger.sessions["a"] is ledger.sessions["a"]
    assert b"yyyy" not in data


def test_landmarks_are_what_both_sides_have() -> None:
    ledger = after(program(COUNT), received(1))
    event = received(2)

    known = decision_worker.shared_records(ledger, event)

    assert known[:2] == [event, event.event]
    ids = {id(item) for item in known}
    assert {id(ledger.cursor), id(ledger.totals), id(ledger.sessions), id(ledger.waiting)} <= ids
    assert {id(ledger.sessions["e1"]), id(ledger.waiting.places), id(ledger.recent_events)} <= ids
    assert not any(isinstance(item, str | int) or item is None for item in known)


def test_what_a_worker_may_say_is_made_of_classes_of_heed_only() -> None:
    assert decision_worker.unpack_decision(
        decision_worker.pack_decision(decide(program(COUNT), Ledger(), received(1)), []), []
    )
    with pytest.raises(pickle.UnpicklingError, match=r"^collections\.OrderedDict is no part of a decision$"):
        decision_worker.unpack_decision(b"ccollections\nOrderedDict\n)R.", [])
    with pytest.raises(
        pickle.UnpicklingError, match=r"^heed\.sandbox\.decision_worker\.main is no part of a decision$"
    ):
        decision_worker.unpack_decision(b"cheed.sandbox.decision_worker\nmain\n.", [])
    with pytest.raises(
        pickle.UnpicklingError, match=r"^heed\.sandbox\.decision_worker\.Agent is no part of a decision$"
    ):
        decision_worker.unpack_decision(b"cheed.sandbox.decision_worker\nAgent\n.", [])
    with pytest.raises(pickle.UnpicklingError, match=r"^this is no decision$"):
        decision_worker.unpack_decision(pickle.dumps(7), [])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"cheed.core.effects\nNothing\n.",
        b"cheed.core.nothing\nNothing\n.",
        b"P7\n.",
        b"cheed.core.effects\nAgentRef\n)R.",
    ],
    ids=["nothing", "cut off", "no such name", "no such module", "no such landmark", "too few arguments"],
)
def test_whatever_is_wrong_with_an_answer_it_is_no_answer(data: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError):
        decision_worker.unpack_decision(data, [])


# ── how far a decision has come ─────────────────────────────────────────────────────────────────────────────────────


def places(made: Program, *events: Received) -> list[tuple[str, str | None]]:
    """What a program that is watched tells while it decides, with the same outcome."""
    told: list[tuple[str, str | None]] = []
    watched = decision_worker.trace_program(made, lambda path, handler: told.append((path, handler)))
    ledger = Ledger()
    for event in events:
        decision = decide(watched, ledger, event)
        assert decision == decide(made, ledger, event)
        ledger = decision.ledger
    return told


def test_each_expression_tells_its_path_before_it_is_evaluated() -> None:
    made = program(
        {"name": "one", "when": "event.data.n > 1", "state": {"n": "${event.data.n}"}},
        {"name": "two", "start": [{"task": "work"}]},
        subscribe=[
            {"type": "com.other.>", "where": "false"},
            {"type": "com.example.>", "where": "event.data.n < 9"},
        ],
        session={"key": "string(event.data.n)"},
        tasks={"work": job("${event.id}"), "idle": job("${event.id}")},
    )

    assert places(made, received(1, data={"n": 2})) == [
        ("spec.subscribe[1].where", None),
        ("spec.session.key", None),
        ("spec.handlers[0]", "one"),
        ("spec.handlers[1]", "two"),
        ("spec.tasks.work", None),
    ]
    assert places(made, received(1, data={"n": 9})) == [("spec.subscribe[1].where", None)]


def test_a_handler_without_a_condition_tells_its_path_too_and_runs() -> None:
    assert places(program(COUNT), received(1), received(2)) == [("spec.handlers[0]", "count")] * 2


def test_a_schema_tells_its_event_type_before_data_are_checked() -> None:
    schemas, _ = compile_schemas([event_type({"required": ["n"]}, name="asked")])
    made = replace(program(COUNT), schemas=schemas)

    asked, handled = ("EventType demo/asked", None), ("spec.handlers[0]", "count")
    assert places(made, received(1, data={"n": 1}), received(2, data={})) == [asked, handled, asked]


def test_what_a_program_has_not_is_not_put_in() -> None:
    made = decision_worker.trace_program(program(COUNT), lambda path, handler: None)

    assert made.key is None
    assert [item.where for item in made.subscriptions] == [None]


# ── the process ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_is_ready_and_says_where_it_is_before_its_answer() -> None:
    event = received(3)
    made = replace(program(COUNT), agent=REF, generation=7)
    wanted = decide(made, Ledger(), event)

    ready, place, (kind, answer) = served(request(0, made, event))

    assert ready == (READY, b"")
    assert place == (PLACE, json.dumps(["spec.handlers[0]", "count"]).encode())
    assert kind == ANSWER
    assert decision_worker.unpack_decision(answer, decision_worker.shared_records(Ledger(), event)) == wanted


def test_a_program_that_it_does_not_know_is_asked_for_and_then_kept() -> None:
    made = program(COUNT)

    kinds = [
        kind
        for kind, _ in served(
            request(4, None, received(1)),
            request(4, made, received(1)),
            request(4, None, received(2)),
            request(5, None, received(2)),
        )
    ]

    assert kinds == [READY, UNKNOWN, PLACE, ANSWER, PLACE, ANSWER, UNKNOWN]


def test_decisions_carry_the_agent_and_generation_that_asked() -> None:
    made = program({"name": "odd", "when": "state.nothing > 1"})

    *_, (kind, answer) = served(request(0, made, received(3)))

    decision = decision_worker.unpack_decision(answer, decision_worker.shared_records(Ledger(), received(3)))
    assert kind == ANSWER
    assert isinstance(decision, Decision) and decision.letter is not None
    assert decision.letter.generation == 7
    (letter,) = decision.ledger.outbox.values()
    assert letter.subject == "heed-dead.demo.other"


def test_keyword_arguments_reach_the_decision() -> None:
    busy = after(program(COUNT), received(1))
    asked = replace(request(0, program(COUNT), received(3), busy), more={"room": Headroom(0, 0)})

    *_, (_, answer) = served(asked)

    decision = decision_worker.unpack_decision(answer, decision_worker.shared_records(busy, received(3)))
    assert isinstance(decision, Decision) and decision.outcome == "waiting"


def test_the_programs_used_latest_are_kept() -> None:
    made, event = program(COUNT), received(1)
    first = [request(number, made, event) for number in range(decision_worker._PROGRAMS)]
    again = [request(0, None, event), request(99, made, event)]

    *_, (newest, _), (used, _), (oldest, _) = (
        item
        for item in served(
            *first, *again, request(99, None, event), request(0, None, event), request(1, None, event)
        )
        if item[0] != PLACE
    )

    assert (newest, used, oldest) == (ANSWER, ANSWER, UNKNOWN)


def test_the_time_of_a_decision_is_limited_while_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def looking(*args: Any, **more: Any) -> Decision:
        seen.append(signal.getitimer(signal.ITIMER_PROF)[0])
        return decide(*args, **more)

    monkeypatch.setattr(decision_worker, "decide", looking)
    served(request(0, program(COUNT), received(1)), cpu=50.0)

    assert seen == [pytest.approx(50.0, abs=5.0)]
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
