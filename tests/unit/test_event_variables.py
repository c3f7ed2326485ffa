"""What the expressions of an Agent see of an event."""

from heed.core.decision.event_variables import build_variables
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
