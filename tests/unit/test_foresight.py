"""Which call an event makes is foreseen as a decision would miss it, and what is costly is left to the pool."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.core.decision.code import AnswerMissing, CodeCall
from heed.core.decision.decide import decide
from heed.core.decision.foresight import foresee_call
from heed.core.ledger.ledger import Ledger
from heed.errors import DecisionFailed
from heed.sandbox.decision_pool import DecisionPool
from heed.sdk import Agent, Event, State
from heed.sdk.in_process import answers_of, compile_code
from tests.builders.agents import NAMESPACE
from tests.builders.events import received

SMALL: dict[str, Any] = {"words": ["xz"], "text": "x"}
LARGE: dict[str, Any] = {"words": ["xz"] * 1500, "text": "x" * 20_000}


class Said(Event, type="com.example.said"):
    """Words."""

    words: tuple[str, ...] = ()
    text: str = ""


class Heard(State):
    """How often something was said."""

    times: int = 0


agent = Agent("listener", state=Heard, namespace=NAMESPACE)


@agent.on(Said, when="event.data.words.all(w, !event.data.text.contains(w))")
def strange(event: Said, state: Heard) -> Heard:
    return state.set(times=state.times + 1)


@agent.on(Said)
def every(event: Said, state: Heard) -> Heard:
    return state.set(times=state.times + 10)


PROGRAM, ANSWERS = compile_code(agent), answers_of(agent)


def missing_of(ledger: Ledger, event: Any) -> CodeCall | None:
    try:
        decide(PROGRAM, ledger, event)
    except AnswerMissing as missing:
        return missing.call
    return None


@given(
    st.lists(
        st.tuples(st.sampled_from(["xz", "x", ""]), st.sampled_from("ab"), st.integers(1, 9)), max_size=9
    )
)
def test_the_first_call_is_that_which_a_decision_would_miss(sent: list[tuple[str, str, int]]) -> None:
    ledger = Ledger()
    for number, (word, session, id_) in enumerate(sent, 1):
        data = {"words": [word], "text": "x"}
        event = received(number, Said.event_type, data, id_=str(id_), correlationid=session)

        assert foresee_call(PROGRAM, ledger, event) == missing_of(ledger, event)

        ledger = decide(PROGRAM, ledger, event, answers=ANSWERS).ledger


@pytest.mark.parametrize(("word", "function"), [("xz", "strange"), ("x", "every")])
def test_it_is_that_of_the_first_handler_whose_condition_holds(word: str, function: str) -> None:
    call = foresee_call(PROGRAM, Ledger(), received(1, Said.event_type, {"words": [word], "text": "x"}))

    assert call is not None and call.function == function


def test_an_event_that_no_handler_is_for_makes_none() -> None:
    assert foresee_call(PROGRAM, Ledger(), received(1, "com.example.other", {})) is None


def test_an_event_whose_condition_fails_is_said_to_fail() -> None:
    with pytest.raises(DecisionFailed):
        foresee_call(PROGRAM, Ledger(), received(1, Said.event_type, {"words": 7}))


async def test_where_a_condition_may_be_costly_the_pool_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    decider, asked = DecisionPool().of(PROGRAM), list[int]()

    async def decide_elsewhere(ledger: Ledger, event: Any) -> Any:
        asked.append(event.sequence)
        raise AnswerMissing(CodeCall("strange", {}, {}))

    monkeypatch.setattr(decider, "decide", decide_elsewhere)

    assert await decider.foresee(Ledger(), received(1, Said.event_type, SMALL)) is not None
    assert asked == []
    assert await decider.foresee(Ledger(), received(2, Said.event_type, {"words": 7})) is None
    assert asked == []
    assert await decider.foresee(Ledger(), received(3, Said.event_type, LARGE)) == CodeCall("strange", {}, {})
    assert asked == [3]
