"""The processes of costly decisions: started when needed, replaced when dead, never left behind."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys

import pytest

from heed.core.ledger.ledger import Ledger
from heed.errors import GuardUnavailable
from heed.sandbox.decision_pool import DecisionPool
from heed.sandbox.decision_worker import unpack_decision
from tests.builders.events import received
from tests.integration.engine.guards import LONG, SEARCH, SHORT, at_work, code_and_handler, gone, of
from tests.integration.waiting import until
from tests.markdown import ROOT
from tests.patience import PATIENCE


async def test_no_process_is_started_for_what_is_harmless(guard: DecisionPool) -> None:
    light = guard.of(of("light", SEARCH))

    decision = await light.decide(Ledger(), received(1, data={"words": ["rug"], "text": "a lamp"}))

    assert decision.outcome == "handled"
    assert guard.pids == []


async def test_a_worker_killed_by_somebody_costs_no_event(patient: DecisionPool) -> None:
    deciding = asyncio.create_task(
        patient.of(of("busy", SEARCH)).decide(Ledger(), received(1, data={**LONG, "words": ["xz"] * 500}))
    )
    pid = await at_work(patient)
    os.kill(pid, signal.SIGSTOP)  # now it is still at it for certain
    assert not deciding.done()

    os.kill(pid, signal.SIGKILL)

    assert (await deciding).outcome == "handled"
    assert patient.pids != [pid]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
async def test_an_event_that_two_workers_die_of_is_one_dead_letter(
    patient: DecisionPool, number: int
) -> None:
    deciding = asyncio.create_task(patient.of(of("deadly", SEARCH)).decide(Ledger(), received(1, data=LONG)))
    first = await at_work(patient)
    os.kill(first, number)
    second = await at_work(patient, but=first)
    os.kill(second, number)

    decision = await deciding

    assert code_and_handler(decision) == ("TooCostly", "search")
    assert signal.Signals(number).name in str(decision.letter)
    assert (
        await patient.of(of("other", SEARCH)).decide(Ledger(), received(1, data=SHORT))
    ).outcome == "handled"


async def test_a_worker_that_died_in_its_sleep_is_replaced(guard: DecisionPool) -> None:
    heavy = guard.of(of("heavy", SEARCH))
    ledger = (await heavy.decide(Ledger(), received(1, data=SHORT))).ledger
    (pid,) = guard.pids
    os.kill(pid, signal.SIGKILL)
    await until(lambda: gone(pid))

    decision = await heavy.decide(ledger, received(2, data=SHORT))

    assert decision.ledger.totals.handled == 2


async def test_no_process_leaves_the_event_undecided(
    guard: DecisionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    heavy = guard.of(of("heavy", SEARCH))
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/nonexistent/python")
        with pytest.raises(GuardUnavailable, match="cannot start"):
            await heavy.decide(Ledger(), received(1, data=SHORT))
        patched.setattr(sys, "executable", "/bin/false")
        with pytest.raises(GuardUnavailable, match="not ready"):
            await heavy.decide(Ledger(), received(1, data=SHORT))

    assert (await heavy.decide(Ledger(), received(1, data=SHORT))).outcome == "handled"


async def test_a_decision_given_up_leaves_no_process_at_it(patient: DecisionPool) -> None:
    deciding = asyncio.create_task(patient.of(of("busy", SEARCH)).decide(Ledger(), received(1, data=LONG)))
    pid = await at_work(patient)

    deciding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deciding

    await until(lambda: gone(pid))
    decision = await patient.of(of("other", SEARCH)).decide(Ledger(), received(1, data=SHORT))
    assert decision.outcome == "handled"


async def test_nothing_is_left_when_the_guard_is_closed() -> None:
    guard = DecisionPool(cpu=60)
    heavy = guard.of(of("heavy", SEARCH))
    await heavy.decide(Ledger(), received(1, data=SHORT))
    deciding = asyncio.create_task(heavy.decide(Ledger(), received(2, data=LONG)))
    pid = await at_work(guard)

    await guard.close()

    assert gone(pid)
    with pytest.raises(GuardUnavailable):
        await deciding
    with pytest.raises(GuardUnavailable):
        await heavy.decide(Ledger(), received(3, data=SHORT))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "getpid"),
        ("builtins", "dict"),
        ("heedless", "Decision"),
        ("heed", "__file__"),
        ("heed.sandbox.decision_worker", "sys.getsizeof"),
        ("heed.sandbox.decision_worker", "io.BytesIO"),
        ("heed.sandbox.worker", "address_space"),
        ("heed.sandbox.decision_worker", "Agent"),
    ],
)
def test_nothing_but_classes_of_heed_is_made_of_what_a_worker_says(module: str, name: str) -> None:
    asked = pickle.PROTO + b"\x04"
    for text in (module, name):
        asked += pickle.SHORT_BINUNICODE + bytes([len(text)]) + text.encode()
    called = asked + pickle.STACK_GLOBAL + pickle.EMPTY_TUPLE + pickle.REDUCE + pickle.STOP

    with pytest.raises(pickle.UnpicklingError, match=f"{module}.{name} is no part of a decision"):
        unpack_decision(called, [])


def test_what_is_no_decision_is_not_taken_for_one() -> None:
    with pytest.raises(pickle.UnpicklingError, match="no decision"):
        unpack_decision(pickle.dumps(Ledger().cursor), [])


PARENT = """
import asyncio, sys
sys.path[:0] = {path!r}
from heed.core.ledger.ledger import Ledger
from heed.sandbox.decision_pool import DecisionPool
from tests.integration.engine.guards import LONG, SEARCH, SHORT, of
from tests.builders.events import received

async def main():
    pool = DecisionPool(cpu=5)
    heavy = pool.of(of("heavy", SEARCH))
    await heavy.decide(Ledger(), received(1, data=SHORT))
    print(*pool.pids, flush=True)
    await heavy.decide(Ledger(), received(2, data={data}))
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("data", ["SHORT", "LONG"])
async def test_a_worker_does_not_outlive_its_parent(data: str) -> None:
    script = PARENT.format(path=[str(ROOT), str(ROOT / "operator")], data=data)
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())

    parent.kill()
    await parent.wait()

    await until(lambda: gone(pid), PATIENCE)
