"""Expressions that would take the operator's memory or time cost one event, and nobody else notices."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from heed.cli.manifest_files import load_agents
from heed.cli.simulate.scenario import read_events, read_script
from heed.core.compiler.program import Program
from heed.core.decision.decide import decide
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger, dump_ledger, make_patch, settle
from heed.core.simulation.simulator import simulate
from heed.core.simulation.task_stubs import answer_from
from heed.sandbox.decision_pool import DecisionPool
from heed.sandbox.decision_worker import DecisionRequest
from tests.builders.agents import job
from tests.builders.decisions import only_task
from tests.builders.events import malformed, received, task_end
from tests.integration.engine.guards import LONG, SEARCH, SHORT, at_work, code_and_handler, of, stand_in
from tests.markdown import ROOT

DOUBLING = {
    "name": "double",
    "state": {"s": "${['" + "x" * 60 + "']" + ".map(s, s + s + s + s)" * 10 + "}"},
}

# ── bombs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("handler", "data", "said"),
    [
        (DOUBLING, None, "memory"),
        (SEARCH, LONG, "more than 0.5 s of CPU"),
    ],
    ids=["memory", "time"],
)
async def test_a_bomb_is_one_dead_letter(
    small: DecisionPool, handler: dict[str, Any], data: Any, said: str
) -> None:
    await one_letter(small, handler, data, said)


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("os.abort()", "ended two processes (SIGABRT)"),
        ("bytearray(2**30)", "memory"),
        ("while True: pass", "more than 0.5 s of CPU"),
    ],
    ids=["abort", "memory", "time"],
)
async def test_whatever_a_library_does_to_its_process_is_one_dead_letter(
    small: DecisionPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, said: str
) -> None:
    stand_in(tmp_path, monkeypatch, does)

    await one_letter(small, SEARCH, SHORT, said)


@pytest.fixture
async def small() -> AsyncIterator[DecisionPool]:
    """A guard with less memory and time than the operator's."""
    made = DecisionPool(memory=48 * 1024**2, cpu=0.5)
    yield made
    await made.close()


async def one_letter(guard: DecisionPool, handler: dict[str, Any], data: Any, said: str) -> None:
    """An event is one dead letter because of a handler, for this reason, and what comes after it is decided."""
    hostile = guard.of(of("hostile", handler, {"name": "rest", "state": {"m": "${1}"}}))

    decision = await hostile.decide(Ledger(), received(1, data=data))

    assert code_and_handler(decision) == ("TooCostly", handler["name"])
    assert said in str(decision.letter)
    assert decision.ledger.cursor.sequence == 1
    assert decision.ledger.totals.dead_lettered == 1
    assert (await hostile.decide(decision.ledger, malformed(2))).ledger.cursor.sequence == 2


async def test_a_bomb_in_a_tasks_template_says_where_it_is(guard: DecisionPool) -> None:
    heavy = "${event.data.words.all(w, !event.data.text.contains(w)) ? 'a' : 'b'}"
    hostile = guard.of(of("hostile", {"start": [{"task": "work"}]}, tasks={"work": job(heavy)}))

    decision = await hostile.decide(Ledger(), received(1, data=LONG))

    assert code_and_handler(decision) == ("TooCostly", None)
    assert "spec.tasks.work" in str(decision.letter)


async def test_a_bomb_before_any_handler_says_where_it_is(guard: DecisionPool) -> None:
    where = "event.data.words.all(w, !event.data.text.contains(w))"
    hostile = guard.of(of("hostile", SEARCH, subscribe=[{"type": "com.example.>", "where": where}]))

    decision = await hostile.decide(Ledger(), received(1, data=LONG))

    assert code_and_handler(decision) == ("TooCostly", None)
    assert "spec.subscribe[0].where" in str(decision.letter)


async def test_the_end_of_a_task_that_cannot_be_decided_leaves_the_ledger(guard: DecisionPool) -> None:
    starts: dict[str, Any] = {"start": [{"task": "work"}]}
    ends: dict[str, Any] = {**SEARCH, "type": "dev.heed.task.completed"}
    hostile = of("hostile", starts, ends, tasks={"work": job()})
    ledger = decide(hostile, Ledger(), received(1)).ledger
    searching = "event.data.result.words.all(w, !event.data.result.text.contains(w))"
    hostile = of("hostile", starts, {**ends, "when": searching}, tasks={"work": job()})

    decision = await guard.of(hostile).decide(ledger, task_end(2, only_task(ledger), LONG))

    assert code_and_handler(decision) == ("TooCostly", "search")
    assert decision.letter is not None
    assert decision.letter.task is not None
    assert decision.ledger.pending_tasks == {}


# ── the others ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_others_decide_while_one_is_stuck(patient: DecisionPool) -> None:
    stuck = asyncio.create_task(patient.of(of("stuck", SEARCH)).decide(Ledger(), received(1, data=LONG)))
    await at_work(patient)
    light, ledger = patient.of(of("light", {"state": {"n": "${state.?n.orValue(0) + 1}"}})), Ledger()

    for number in range(1, 101):
        ledger = (await light.decide(ledger, received(number, correlationid="k"))).ledger

    assert ledger.sessions["k"].state == {"n": 100}
    assert not stuck.done()
    stuck.cancel()


async def test_one_that_took_too_long_makes_the_others_wait_no_more(guard: DecisionPool) -> None:
    slow, heavy = guard.of(of("slow", SEARCH)), guard.of(of("heavy", SEARCH))
    assert code_and_handler(await slow.decide(Ledger(), received(1, data=LONG)))[0] == "TooCostly"

    again = asyncio.create_task(slow.decide(Ledger(), received(2, data=LONG)))
    await at_work(guard)
    decision = await heavy.decide(Ledger(), received(1, data=SHORT))

    assert decision.outcome == "handled"
    assert not again.done()
    assert code_and_handler(await again)[0] == "TooCostly"


async def test_agents_that_share_a_worker_wait_their_turn(guard: DecisionPool) -> None:
    agents = [guard.of(of(f"a{number}", SEARCH)) for number in range(5)]

    decisions = await asyncio.gather(*(agent.decide(Ledger(), received(1, data=SHORT)) for agent in agents))

    assert [decision.outcome for decision in decisions] == ["handled"] * 5
    assert len(guard.pids) <= 2


# ── the same decisions ──────────────────────────────────────────────────────────────────────────────────────────────


def decisions_of(example: Path) -> Iterator[tuple[Program, Ledger, Received]]:
    """Everything that the Agents of an example have to decide in its simulation, with the ledgers before."""
    programs = [item.program for item in load_agents([str(path) for path in example.glob("agent*.yaml")])]
    tasks = sorted({name for item in programs for name in item.tasks})
    answers = example / "simulate/answers.yaml"
    given = read_events(str(example / "simulate/events.jsonl"), programs, "default")
    ids = [message.event.id for message in given]
    rules = read_script(str(answers), tasks, ids) if answers.exists() else []
    run = simulate(programs, given, answer_from(rules))
    for agent, item in run.programs.items():
        ledger = Ledger()
        for step in run.steps:
            if any(delivery.agent == agent for delivery in step.deliveries):
                event = Received(step.sequence, step.at, step.message.subject, step.message.event)
                yield item, ledger, event
                decision = decide(item, ledger, event)
                ledger = settle(decision.ledger, decision.effects)


@pytest.mark.parametrize("example", ["research", "questions", "orders"])
async def test_the_examples_decide_the_same_with_a_worker(guard: DecisionPool, example: str) -> None:
    cases = list(decisions_of(ROOT / "examples" / example))
    assert cases
    numbers = {agent: number for number, agent in enumerate({item.agent for item, _, _ in cases})}

    for item, ledger, event in cases:
        plain = decide(item, ledger, event)
        request = DecisionRequest(numbers[item.agent], item.agent, item.generation, None, ledger, event, {})
        guarded = await guard.decide(item, request)

        assert guarded == plain
        assert dump_ledger(guarded.ledger) == dump_ledger(plain.ledger)
        assert make_patch(ledger, guarded.ledger) == make_patch(ledger, plain.ledger)


@pytest.mark.parametrize("example", ["research", "questions", "orders"])
async def test_the_examples_need_no_worker(guard: DecisionPool, example: str) -> None:
    for item, ledger, event in decisions_of(ROOT / "examples" / example):
        assert guard.of(item).at_once(ledger, event) == decide(item, ledger, event)


async def test_what_a_decision_did_not_touch_stays_the_same_object(guard: DecisionPool) -> None:
    heavy, ledger = of("heavy", SEARCH), Ledger()
    for number in range(1, 6):
        ledger = decide(heavy, ledger, received(number, data={"words": [], "text": ""})).ledger
    event = received(6, data=SHORT, correlationid="e3")

    decision = await guard.of(heavy).decide(ledger, event)

    assert decision.received is event
    same = {key for key, item in decision.ledger.sessions.items() if ledger.sessions.get(key) is item}
    assert same == set(ledger.sessions) - {"e3"}
    assert decision == decide(heavy, ledger, event)
