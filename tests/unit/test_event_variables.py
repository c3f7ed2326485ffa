"""What the expressions of an Agent see of an event and of the Agent."""

from dataclasses import replace

from heed.core.decision.event_variables import (
    build_agent_variable,
    build_event_variable,
    build_variables,
)
from heed.core.events import Event
from tests.builders.agents import AGENT, ASKED, NAMESPACE, program

AGENT_ = program({})


def test_expressions_have_a_task_and_an_input_only_where_there_is_one() -> None:
    event = Event("e1", "/shop", ASKED)

    assert build_variables(AGENT_, event) == {
        "event": {
            **{"id": "e1", "source": "/shop", "type": ASKED, "specversion": "1.0"},
            **{"correlationid": "e1", "data": None},
        },
        "agent": {"name": AGENT, "namespace": NAMESPACE, "labels": {}},
        "task": {},
        "input": {},
    }


def test_expressions_see_all_attributes_of_an_event() -> None:
    extensions: dict[str, str | int] = {"correlationid": "c1", "heedhops": 2, "mine": True}
    event = Event(
        "e1",
        "/shop",
        ASKED,
        {"n": 1},
        "s",
        "2026-01-31T12:00:00Z",
        "application/json",
        "https://x/y",
        extensions,
    )

    assert build_event_variable(event) == {
        "id": "e1",
        "source": "/shop",
        "type": ASKED,
        "specversion": "1.0",
        "subject": "s",
        "time": "2026-01-31T12:00:00Z",
        "datacontenttype": "application/json",
        "dataschema": "https://x/y",
        "correlationid": "c1",
        "heedhops": 2,
        "mine": True,
        "data": {"n": 1},
    }


def test_what_an_event_lacks_is_not_there_but_its_flow_and_its_data() -> None:
    assert build_event_variable(Event("e1", "/shop", ASKED)) == {
        "id": "e1",
        "source": "/shop",
        "type": ASKED,
        "specversion": "1.0",
        "correlationid": "e1",
        "data": None,
    }


def test_bytes_are_base64() -> None:
    assert build_event_variable(Event("e1", "/shop", ASKED, b"\x00\xff"))["data"] == "AP8="


def test_expressions_see_who_the_agent_is() -> None:
    labelled = replace(AGENT_, labels={"team": "a"})

    assert build_agent_variable(labelled) == {"name": AGENT, "namespace": NAMESPACE, "labels": {"team": "a"}}
