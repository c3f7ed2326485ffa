"""Deciding with the answers of code: whatever is asked for ahead of time, the decisions are those of one call each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.api.code import CodeAnswer
from heed.core.decision.code import CodeCall, FailedAnswer
from heed.core.effects import AgentRef
from heed.core.ledger.ledger import Ledger
from heed.engine.deciders import MAX_AHEAD, Deciders
from heed.engine.look_ahead import MAX_REQUESTS
from heed.engine.session_run import MAX_RUN
from heed.errors import CodeUnavailable
from tests.unit.counting import PROGRAM, AtOnce, Workers, counted, decided, folded


async def test_no_more_than_so_many_sessions_are_asked_for_at_once() -> None:
    events = [counted(number, f"s{number}") for number in range(1, 2 * MAX_REQUESTS + 2)]
    workers = AtOnce()

    made = await decided(events, workers)

    assert workers.most_at_once == MAX_REQUESTS
    assert sorted(workers.asked) == sorted([str(number)] for number in range(1, len(events) + 1))
    assert made == folded(events)


async def test_a_backlog_takes_one_request_for_each_session() -> None:
    events = [counted(number, f"s{number % 5}") for number in range(1, 101)]
    workers = Workers()

    made = await decided(events, workers)

    assert sorted(map(len, workers.asked)) == [20] * 5
    assert made == folded(events)
    assert {key: item.state for key, item in made[-1].ledger.sessions.items()} == {
        f"s{number}": {"total": 20, "seen": 20} for number in range(5)
    }


async def test_no_request_has_more_calls_than_one_may_and_no_more_events_are_looked_at() -> None:
    events = [counted(number, "s") for number in range(1, MAX_AHEAD + 2)]
    workers = Workers()

    made = await decided(events, workers)

    assert made == folded(events)
    assert max(map(len, workers.asked)) == MAX_RUN
    assert workers.asked[0] == [str(number) for number in range(1, MAX_RUN + 1)]


async def test_a_worker_that_answers_fewer_calls_is_asked_again() -> None:
    events = [counted(number, "s") for number in range(1, 8)]
    workers = Workers(most=2)

    assert await decided(events, workers) == folded(events)


class PartlyAway(Workers):
    """The code, but that requests which begin with these events have no answer, the first time."""

    def __init__(self, *events: str) -> None:
        super().__init__()
        self.away = set(events)

    async def ask(
        self, agent: AgentRef, digest: str, calls: Sequence[CodeCall]
    ) -> Sequence[CodeAnswer | FailedAnswer]:
        answers = await super().ask(agent, digest, calls)
        if (first := str(calls[0].variables["event"]["id"])) in self.away:
            self.away.remove(first)
            raise CodeUnavailable("no worker answered")
        return answers


async def test_a_session_without_answers_holds_up_no_event_before_its_own() -> None:
    events = [counted(number, f"s{number % 3}") for number in range(1, 10)]
    workers = PartlyAway("2", "3")

    assert await decided(events, workers) == folded(events)
    assert workers.asked[:3] == [["1", "4", "7"], ["2", "5", "8"], ["3", "6", "9"]]
    assert workers.asked[3:] == [["2", "5", "8"], ["3", "6", "9"]]  # each when its turn has come


async def test_an_event_without_an_answer_is_undecided_and_asked_for_again() -> None:
    events = [counted(number, f"s{number % 2}") for number in range(1, 5)]
    decider = Deciders(workers=(workers := PartlyAway("1"))).of(PROGRAM)

    with pytest.raises(CodeUnavailable, match="no worker answered"):
        await decider.decide(Ledger(), events[0], coming=events)

    assert (await decider.decide(Ledger(), events[0], coming=events)) == folded(events)[0]
    assert workers.asked == [["1", "3"], ["2", "4"], ["1", "3"]]


SENT = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from([1, 0.5, 2.0, 1e3]),
        st.sampled_from(["", "", "", "hold", "break", "end"]),
        st.booleans(),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(SENT)
def test_whatever_comes_it_is_decided_as_call_by_call(sent: list[tuple[str, float, str, bool]]) -> None:
    events = [
        counted(number, of, add=add, then=then, id=number - 1 if again else number)
        for number, (of, add, then, again) in enumerate(sent, 1)
    ]

    assert asyncio.run(decided(events, Workers())) == folded(events)


async def test_without_workers_an_event_is_undecided() -> None:
    with pytest.raises(CodeUnavailable, match="nothing here runs the code"):
        await Deciders().of(PROGRAM).decide(Ledger(), counted(1, "s"))
