"""Asking ahead of time: what is asked for when, how wrong guesses end, and what happens where workers do not answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from heed.api.code import CodeAnswer
from heed.core.decision.code import CodeCall, FailedAnswer
from heed.core.effects import AgentRef
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger
from heed.engine import look_ahead
from heed.engine.deciders import MAX_AHEAD, MIN_AHEAD, Deciders
from heed.engine.look_ahead import MAX_ANSWER_BYTES, MAX_REQUESTS
from heed.engine.session_run import MAX_RUN
from heed.errors import AnswerLate, CodeUnavailable
from tests.unit.counting import PROGRAM, Workers, counted, decided, folded
from tests.unit.inmemory import turns


class Gated(Workers):
    """Workers that answer the requests of a session only once its gate is open; all others at once."""

    def __init__(self, *closed: str) -> None:
        super().__init__()
        self.gates = {key: asyncio.Event() for key in closed}

    async def ask(
        self, agent: AgentRef, digest: str, calls: Sequence[CodeCall]
    ) -> Sequence[CodeAnswer | FailedAnswer]:
        answers = await super().ask(agent, digest, calls)
        if (gate := self.gates.get(str(calls[0].variables["session"]["key"]))) is not None:
            await gate.wait()
        return answers


class Reading:
    """An Agent that decides its events one after the other."""

    def __init__(self, events: Sequence[Received], workers: Workers) -> None:
        self.events, self.ledger, self.workers = list(events), Ledger(), workers
        self.decider = Deciders(workers=workers).of(PROGRAM)

    async def decide(self, count: int = 1) -> None:
        for _ in range(count):
            decision = await self.decider.decide(self.ledger, self.events[0], coming=self.events)
            self.ledger = decision.ledger
            del self.events[0]
            await asyncio.sleep(0)

    @property
    def asked(self) -> set[int]:
        """The events that were asked for."""
        return {int(id_) for request in self.workers.asked for id_ in request}


async def test_an_event_waits_for_the_answers_of_no_other_session() -> None:
    workers = Gated("b")
    reading = Reading([counted(1, "a"), counted(2, "b"), counted(3, "a")], workers)

    await reading.decide()
    assert reading.asked == {1, 2, 3}
    deciding = asyncio.create_task(reading.decide())
    await turns()
    assert not deciding.done()

    workers.gates["b"].set()
    await deciding
    await reading.decide()
    assert sorted(workers.asked) == [["1", "3"], ["2"]]


@pytest.mark.parametrize("foreseen", [True, False])
async def test_a_late_answer_is_waited_for_again_and_asked_for_once(
    monkeypatch: pytest.MonkeyPatch, foreseen: bool
) -> None:
    monkeypatch.setattr(look_ahead, "LATE_S", 0.01)
    workers = Gated("a")
    decider, event = Deciders(workers=workers).of(PROGRAM), counted(1, "a")
    coming = [event] if foreseen else []

    for _ in range(3):
        with pytest.raises(AnswerLate):
            await decider.decide(Ledger(), event, coming=coming)
    workers.gates["a"].set()
    decision = await decider.decide(Ledger(), event, coming=coming)

    assert decision.outcome == "handled" and workers.asked == [["1"]]


async def test_more_is_asked_for_before_all_answers_are_used() -> None:
    events = [counted(number, f"s{number % 50}") for number in range(1, 2 * MAX_AHEAD + 1)]
    reading = Reading(events, Workers())

    await reading.decide(MAX_AHEAD - MIN_AHEAD)
    assert reading.asked == set(range(1, MAX_AHEAD + 1))

    await reading.decide(MIN_AHEAD)
    assert max(reading.asked) > 2 * MAX_AHEAD - MIN_AHEAD
    assert min(map(len, reading.workers.asked)) > 5  # still in runs


async def test_what_comes_later_is_asked_for_with_the_state_that_is_foreseen() -> None:
    events = [counted(number, f"s{number % 2}") for number in range(1, 3 * MAX_RUN)]
    workers = Workers()

    assert await decided(events, workers) == folded(events)
    assert sorted(map(len, workers.asked)) == sorted([MAX_RUN, MAX_RUN, 32, 31])


async def test_a_session_that_ends_and_begins_again_is_one_run() -> None:
    events = [counted(number, "s", then="end") for number in range(1, 6)]
    workers = Workers()

    assert await decided(events, workers) == folded(events)
    assert workers.asked == [["1", "2", "3", "4", "5"]]


async def test_after_a_session_that_failed_to_begin_the_next_event_begins_it() -> None:
    events = [counted(1, "s", then="break"), counted(2, "s"), counted(3, "s")]
    workers = Workers()

    assert await decided(events, workers) == folded(events)
    assert workers.asked == [["1", "2", "3"], ["2", "3"]]  # a reply ends with what failed


async def test_after_a_wrong_guess_requests_grow_again_from_one_call() -> None:
    events = [counted(number, "s") for number in range(1, 12)]
    reading = Reading(events, Workers())
    await reading.decide()
    session = reading.ledger.sessions["s"]
    changed = {"s": replace(session, state={**session.state, "total": 100})}
    reading.ledger = replace(reading.ledger, sessions=changed)

    await reading.decide(10)

    assert reading.ledger.sessions["s"].state == {"total": 110, "seen": 11}
    every = [str(number) for number in range(1, 12)]
    assert reading.workers.asked == [every, every[1:2], every[2:4], every[4:8], every[8:]]


class Wordy(Workers):
    """Workers that answer with states of a MiB."""

    async def ask(
        self, agent: AgentRef, digest: str, calls: Sequence[CodeCall]
    ) -> Sequence[CodeAnswer | FailedAnswer]:
        await super().ask(agent, digest, calls)
        return [CodeAnswer(state={"text": "x" * 2**20})]


async def test_large_answers_are_asked_for_no_further_ahead_than_they_are_kept() -> None:
    reading = Reading([counted(number, f"s{number}") for number in range(1, 131)], Wordy())
    await reading.decide(MAX_REQUESTS)
    ahead = MAX_ANSWER_BYTES // 2**20
    assert max(reading.asked) < MAX_REQUESTS + ahead

    for number in range(MAX_REQUESTS + 1, 131):
        await reading.decide()
        assert max(reading.asked) <= number + ahead
    counts = Counter(id_ for request in reading.workers.asked for id_ in request)
    assert {counts[str(number)] for number in range(MAX_REQUESTS + 1, 131)} == {1}


class Away(Workers):
    """Workers that answer only while they are `there`."""

    there = False

    async def ask(
        self, agent: AgentRef, digest: str, calls: Sequence[CodeCall]
    ) -> Sequence[CodeAnswer | FailedAnswer]:
        answers = await super().ask(agent, digest, calls)
        if not self.there:
            raise CodeUnavailable("no worker answered")
        return answers


async def test_where_workers_do_not_answer_one_event_asks_until_they_do() -> None:
    reading = Reading([counted(number, f"s{number % 5}") for number in range(1, 11)], workers := Away())
    with pytest.raises(CodeUnavailable):
        await reading.decide()
    assert len(workers.asked) == 5

    for _ in range(3):
        reading.decider.stop()  # the loop starts over
        with pytest.raises(CodeUnavailable):
            await reading.decide()
    assert workers.asked[5:] == [["1"]] * 3

    workers.there = True
    await reading.decide(2)
    assert workers.asked[8] == ["1"]
    assert sorted(workers.asked[9:]) == [["2", "7"], ["3", "8"], ["4", "9"], ["5", "10"], ["6"]]


class Slow(Workers):
    """Workers that answer no request of more than four calls in time."""

    late = 0

    async def ask(
        self, agent: AgentRef, digest: str, calls: Sequence[CodeCall]
    ) -> Sequence[CodeAnswer | FailedAnswer]:
        answers = await super().ask(agent, digest, calls)
        if len(calls) > 4:
            self.late += 1
            raise CodeUnavailable("no worker answered in time")
        return answers


async def test_a_request_has_no_more_calls_than_workers_answer_in_time() -> None:
    reading = Reading([counted(number, "s") for number in range(1, 201)], workers := Slow())

    while reading.events:
        try:
            await reading.decide()
        except CodeUnavailable:
            reading.decider.stop()

    assert reading.ledger.totals.handled == 200
    assert workers.late < 4 + 200 / 8
    assert max(map(len, workers.asked[20:])) == 5


async def test_what_was_asked_for_ahead_of_time_ends_with_the_reading() -> None:
    reading = Reading([counted(1, "a"), counted(2, "b")], workers := Gated("b"))
    await reading.decide()
    before = asyncio.all_tasks()

    reading.decider.stop()
    await turns()
    assert len(before) - len(asyncio.all_tasks()) == 1

    workers.gates["b"].set()
    await reading.decide()
    assert workers.asked == [["1"], ["2"], ["2"]]


async def test_events_are_looked_at_again_where_they_are_read_again() -> None:
    events = [counted(number, f"s{number % 2}") for number in range(1, 9)]
    workers = Workers()
    decider = Deciders(workers=workers).of(PROGRAM)
    for _ in range(2):
        reading = Reading(events, workers)
        reading.decider = decider
        await reading.decide(4)
        decider.stop()

    assert workers.asked == [["1", "3", "5", "7"], ["2", "4", "6", "8"]] * 2
