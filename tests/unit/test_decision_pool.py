"""Who decides what: at once, in a worker that all share, or apart; and what becomes of an event that workers die of."""

import asyncio
import json
import pickle
import signal
from collections import deque
from dataclasses import dataclass
from typing import Any

import pytest

from heed.core.decision.decide import Decision, decide
from heed.core.ledger.ledger import Ledger
from heed.errors import GuardUnavailable
from heed.sandbox import decision_pool, decision_worker, supervisor
from heed.sandbox.decision_pool import SLOW_DECISION_S, DecisionPool
from heed.sandbox.decision_worker import DecisionRequest
from heed.sandbox.supervisor import WorkerDied, WorkerSpec
from heed.sandbox.worker import ANSWER, PLACE
from tests.builders.agents import program
from tests.builders.decisions import letter_of
from tests.builders.events import malformed, received

SEARCH = {
    "name": "search",
    "when": "event.data.words.all(w, !event.data.text.contains(w))",
    "state": {"n": "${1}"},
}
AGENT = program(SEARCH)
HEEDED = "event.data.words.all(w, event.note.contains(w))"
NOTED = program({"state": {"n": 1}}, subscribe=[{"type": "com.example.>", "where": HEEDED}])
LONG = {"words": ["xz"] * 1500, "text": "x" * 20_000}
SHORT = {"words": ["xz"], "text": "x"}
PROBATION = 3  # decisions
REMEDY = "work on less data, pass references, or shorten the expressions"


@dataclass(frozen=True)
class Death:
    """How a worker ends, and what it is at."""

    code: int | None
    place: str | None = None
    handler: str | None = None


class Player:
    """Stands in for a worker: does what is next in `script` (to die, or to take seconds)."""

    made: list["Player"]
    script: deque[Death | float]
    clock: float

    def __init__(self) -> None:
        self.usable, self.pid, self.requests = True, len(Player.made) + 1, list[DecisionRequest]()
        self.says: deque[Death | tuple[bytes, bytes]] = deque()
        Player.made.append(self)

    @classmethod
    async def started(cls, spec: WorkerSpec) -> "Player":
        assert (spec.module, spec.memory, spec.cpu) == ("heed.sandbox.decision_worker", 64, 1.5)
        return cls()

    async def send(self, data: bytes) -> None:
        request: DecisionRequest = pickle.loads(data)
        self.requests.append(request)
        done = Player.script.popleft() if Player.script else 0.0
        if isinstance(done, Death):
            if done.place is not None:
                self.says.append((PLACE, json.dumps([done.place, done.handler]).encode()))
            self.says.append(done)
        else:
            Player.clock += done
            made = Decision(request.received, request.ledger, "handled", handlers=(request.agent.uid,))
            known = decision_worker.shared_records(request.ledger, request.received)
            self.says.append((ANSWER, decision_worker.pack_decision(made, known)))

    async def receive(self) -> tuple[bytes, bytes]:
        said = self.says.popleft()
        if isinstance(said, Death):
            raise WorkerDied(said.code)
        return said

    async def end(self) -> None:
        self.usable = False


@pytest.fixture
async def guard(monkeypatch: pytest.MonkeyPatch) -> DecisionPool:
    Player.made, Player.script, Player.clock = [], deque(), asyncio.get_running_loop().time()
    monkeypatch.setattr(supervisor, "WorkerProcess", Player)
    monkeypatch.setattr(decision_pool, "PROBATION_EVENTS", PROBATION)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: Player.clock)
    return DecisionPool(memory=64, cpu=1.5)


def used() -> list[int]:
    """How many decisions each worker was asked for."""
    return [len(player.requests) for player in Player.made]


async def test_what_is_harmless_is_decided_at_once(guard: DecisionPool) -> None:
    for event in (received(1, data=SHORT), malformed(2)):
        for ahead in (False, True):
            decision = await guard.of(AGENT).decide(Ledger(), event, ahead=ahead)
            assert decision == decide(AGENT, Ledger(), event, ahead=ahead)

    assert (Player.made, guard.pids) == ([], [])


async def test_a_worker_is_asked_for_what_may_be_costly(guard: DecisionPool) -> None:
    agent, event, ledger = AGENT, received(1, data=LONG), Ledger()
    one, two = guard.of(agent), guard.of(agent)

    decision = await one.decide(ledger, event, ahead=True)
    await two.decide(ledger, event)

    assert decision == Decision(event, ledger, "handled", handlers=(agent.agent.uid,))
    assert guard.pids == [1]
    asked, other = Player.made[0].requests
    assert asked == DecisionRequest(0, agent.agent, agent.generation, None, ledger, event, {"ahead": True})
    assert (other.number, other.more) == (1, {})


async def test_whether_an_event_is_costly_is_asked_once(
    guard: DecisionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    guarded = guard.of(AGENT)
    at_once = guarded.at_once

    def looking(*args: Any, **more: Any) -> Decision | None:
        looks.append(args[1].sequence)
        return at_once(*args, **more)

    monkeypatch.setattr(guarded, "at_once", looking)
    for sequence in (1, 1, 2, 1):
        await guarded.decide(Ledger(), received(sequence, data=LONG))

    assert looks == [1, 2, 1]
    assert used() == [4]


async def test_an_event_that_takes_too_much_time_is_a_dead_letter_at_once(
    guard: DecisionPool, caplog: pytest.LogCaptureFixture
) -> None:
    Player.script.append(Death(-signal.SIGPROF, "spec.handlers[0]", "search"))

    decision = await guard.of(AGENT).decide(Ledger(), received(7, data=LONG))

    said = f"spec.handlers[0]: took more than 1.5 s of CPU time; {REMEDY}"
    assert letter_of(decision) == ("TooCostly", said, "search")
    assert decision.ledger.cursor.sequence == 7
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "a worker ended in mid-decision")
    fields = {"agent": "demo/researcher", "sequence": 7, "place": "spec.handlers[0]", "end": "SIGPROF"}
    assert {key: getattr(record, key) for key in fields} == fields


@pytest.mark.parametrize(
    ("code", "named"),
    [(-signal.SIGKILL, "SIGKILL"), (3, "exit code 3"), (0, "exit code 0"), (None, "it hung")],
)
async def test_one_that_two_workers_die_of_is_a_dead_letter(
    guard: DecisionPool, code: int | None, named: str
) -> None:
    Player.script.extend([Death(3, "spec.key", None), Death(code, None, None)])

    decision = await guard.of(AGENT).decide(Ledger(), received(7, data=LONG))

    assert letter_of(decision) == ("TooCostly", f"deciding it: ended two processes ({named}); {REMEDY}", None)
    assert used() == [1, 1]


async def test_the_death_of_one_worker_costs_nothing(guard: DecisionPool) -> None:
    Player.script.append(Death(-signal.SIGKILL, None, None))
    guarded = guard.of(AGENT)

    assert (await guarded.decide(Ledger(), received(7, data=LONG))).outcome == "handled"
    await guarded.decide(Ledger(), received(8, data=LONG))

    assert used() == [1, 2]
    assert guard.pids == [2]


async def test_a_verdict_is_not_asked_by_the_expressions_that_took_too_much(guard: DecisionPool) -> None:
    where = f"!({SEARCH['when']})"  # were it asked, the event would be ignored
    agent = program(
        SEARCH, subscribe=[{"type": "com.example.>", "where": where}], session={"key": f"string({where})"}
    )
    Player.script.append(Death(-signal.SIGPROF, "spec.subscribe[0].where", None))

    decision = await guard.of(agent).decide(Ledger(), received(7, data=LONG))

    assert letter_of(decision)[1].startswith("spec.subscribe[0].where: took more than")


@pytest.mark.parametrize(
    ("words", "note", "costly"), [(400, 20_000, True), (1, 20_000, False), (400, 1, False)]
)
async def test_what_is_costly_only_to_find_out_whether_it_is_heeded_is_not_decided_at_once(
    guard: DecisionPool, words: int, note: int, costly: bool
) -> None:
    event = received(1, data={"words": ["xz"] * words}, note="x" * note)

    decision = guard.of(NOTED).at_once(Ledger(), event)

    assert decision == (None if costly else decide(NOTED, Ledger(), event))


@pytest.mark.parametrize("cause", ["time", "two deaths", "slow"])
async def test_one_that_took_too_much_is_decided_apart_for_a_while(guard: DecisionPool, cause: str) -> None:
    deaths: list[Death | float] = [Death(-9)] * 2
    script: dict[str, list[Death | float]] = {
        "time": [Death(-signal.SIGPROF)],
        "two deaths": deaths,
        "slow": [SLOW_DECISION_S + 0.01],
    }
    Player.script.extend(script[cause])
    guarded = guard.of(AGENT)
    await guarded.decide(Ledger(), received(1, data=LONG))
    before = len(Player.made)
    await guarded.decide(Ledger(), received(2, data=LONG))
    assert len(Player.made) == before + 1
    apart = Player.made[-1]

    for sequence in range(3, PROBATION + 3):
        await guarded.decide(Ledger(), received(sequence, data=LONG))

    assert len(apart.requests) == PROBATION


async def test_slow_again_its_while_begins_anew(guard: DecisionPool) -> None:
    guarded = guard.of(AGENT)
    Player.script.extend([SLOW_DECISION_S + 0.01, 0.0, 0.0, SLOW_DECISION_S + 0.01])

    for sequence in range(1, PROBATION + 9):
        await guarded.decide(Ledger(), received(sequence, data=LONG))

    assert used() == [1 + 4, 3 + PROBATION]


async def test_not_slower_than_it_may_be_it_stays(guard: DecisionPool) -> None:
    guarded = guard.of(AGENT)
    Player.script.append(SLOW_DECISION_S)

    for sequence in (1, 2):
        await guarded.decide(Ledger(), received(sequence, data=LONG))

    assert used() == [2]


async def test_once_closed_nothing_costly_is_decided(guard: DecisionPool) -> None:
    guarded = guard.of(AGENT)
    await guarded.decide(Ledger(), received(1, data=LONG))

    await guard.close()

    assert (guard.pids, Player.made[0].usable) == ([], False)
    with pytest.raises(GuardUnavailable, match=r"^no more decisions are made here$"):
        await guarded.decide(Ledger(), received(2, data=LONG))
    assert (await guarded.decide(Ledger(), received(3, data=SHORT))).outcome == "handled"
