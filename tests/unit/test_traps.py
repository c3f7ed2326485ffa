"""What the page on Agents says about traps holds: its guards on data of every shape, its join on an empty list."""

from functools import cache
from typing import Any

import pytest
import yaml

from heed.core.compiler.program import Program
from heed.core.decision.decide import decide
from heed.core.ledger.ledger import Ledger
from tests.builders.agents import job, program
from tests.builders.decisions import emitted
from tests.builders.events import received, task_end
from tests.markdown import ROOT, blocks

PLACED, ORDERED = "com.example.order.placed", "com.example.basket.ordered"
SHAPES: list[Any] = [None, "text", "", 3, 1.5, True, [], [1], {}]


@cache
def traps(*wanted: str) -> Program:
    """An Agent with these handlers of the page."""
    text = (ROOT / "docs/agents.md").read_text().partition("## Traps")[2]
    handlers = [item for block in blocks(text, "yaml") for item in yaml.safe_load(block)]
    found = [item for item in handlers if item["name"] in wanted]
    assert len(found) == len(wanted)
    return program(*found, tasks={"pack": job()})


def state(agent: Program, data: Any) -> dict[str, Any]:
    """What the Agent remembers of an event, which must not be a dead letter."""
    decision = decide(agent, Ledger(), received(1, PLACED, data, correlationid="k"))
    assert decision.letter is None
    session = decision.ledger.sessions.get("k")
    return session.state if session else {}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_guard_of_a_member_holds_whatever_stands_on_the_way(shape: Any) -> None:
    agent = traps("mailed")

    assert state(agent, {"customer": shape}) == {}
    assert state(agent, {}) == {}
    assert state(agent, {"customer": {"mail": "a@b"}}) == {"mail": "a@b"}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_default_of_a_member_holds_whatever_stands_on_the_way(shape: Any) -> None:
    agent = traps("defaulted")
    tags = [str(item) for item in shape] if isinstance(shape, list) else []

    assert state(agent, {"address": shape, "tags": shape}) == {"city": "none", "tags": tags}
    assert state(agent, {}) == {"city": "none", "tags": []}
    assert state(agent, {"address": {"city": "Oslo"}})["city"] == "Oslo"


def test_the_guard_of_a_key_and_its_default_hold() -> None:
    agent = traps("guarded")

    assert state(agent, {}) == state(agent, {"order": ""}) == {}
    assert state(agent, {"order": "7"}) == {"order": "7", "note": "none"}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_join_comes_for_any_number_of_items(count: int) -> None:
    agent = traps("fan-out", "collect", "join")

    decision = decide(agent, Ledger(), received(1, ORDERED, {"items": ["i"] * count}, correlationid="k"))
    for number, task in enumerate(list(decision.ledger.pending_tasks), 2):
        assert emitted(decision) == []
        decision = decide(
            agent, decision.ledger, task_end(number, task, reason="Cancelled" if number == 2 else None)
        )

    (event,) = emitted(decision)
    assert (event.type, event.data) == ("com.example.basket.packed", {"count": count})
    assert decision.ledger.sessions == {}


# ── what is said where a guard is missing ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shape", "what"),
    [(None, "null"), ("text", "a string"), (3, "a number"), ([1], "a list"), (False, "a boolean")],
)
@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        (
            "has(event.data.customer) && has(event.data.customer.mail)",
            "type(event.data.customer) == map && has(event.data.customer.mail)",
        ),
        (
            "event.data.?customer.?mail.orValue('none') == 'none'",
            "type(event.data.?customer.orValue(null)) == map ? event.data.customer.?mail.orValue(…) : …",
        ),
        (
            "event.data.?customer.optMap(c, c.mail == 'x').orValue(false)",
            "type(event.data.customer) == map && has(event.data.customer.mail)",
        ),
    ],
)
def test_an_error_on_the_way_names_the_place_and_the_guard(
    source: str, remedy: str, shape: Any, what: str
) -> None:
    decision = decide(
        program({"when": source}), Ledger(), received(1, data={"customer": shape}, correlationid="k")
    )

    assert decision.letter is not None
    assert decision.letter.message == (
        f"spec.handlers[0].when: event.data.customer is {what}, not a map; ask first: {remedy}"
    )


def test_a_template_over_null_says_null() -> None:
    agent = program({"state": {"all": "${event.data.items.map(item, item)}"}})

    decision = decide(agent, Ledger(), received(1, data={"items": None}))

    assert decision.letter is not None
    assert "event.data.items is null, not a list or a map" in decision.letter.message


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "yields null, not a string of 1 to 256 characters; choose another key"),
        (7, "yields a number (7), not a string of 1 to 256 characters; write string(…)"),
        (True, "yields a boolean (true), not"),
        ({"a": 1}, "yields a map, not"),
        ("", "yields an empty string, not"),
        ("x" * 300, "yields a string of 300 characters, not"),
    ],
)
def test_a_session_key_that_is_none_says_what_came(data: Any, said: str) -> None:
    agent = program({"state": {"a": 1}}, session={"key": "event.data"})

    decision = decide(agent, Ledger(), received(1, data=data))

    assert decision.letter is not None
    assert (decision.letter.code, said in decision.letter.message) == ("BadSessionKey", True)
