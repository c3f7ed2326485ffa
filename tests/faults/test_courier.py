"""Whether the judge of calls sees what it is there to see."""

from __future__ import annotations

from typing import Any

import pytest

from heed import names
from heed.api.validation import parse_agent
from heed.core.compiler.program import compile_agent
from heed.core.events import Event, Received
from tests.builders.events import at
from tests.faults.call_service import CallService
from tests.faults.courier import NAME, NAMESPACE, Served, call_findings, courier_spec
from tests.faults.incarnation import Incarnation
from tests.faults.spec_parts import DOMAIN
from tests.integration.engine.oracle import folded

CREATED = "2026-11-01T11:00:00Z"
TASKS = ("asked", "keyed", "once")  # of the values 0, 1, 2


def incarnation_of(value: int, play: str, **end: Any) -> tuple[Incarnation, str]:
    """A courier that made one call, which came to an end, and the task's id."""
    metadata = {"namespace": NAMESPACE, "name": NAME, "uid": "uid-1"}
    body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata}
    program = compile_agent(parse_agent(body | {"spec": courier_spec(8080)}))
    task_id = names.task_id(names.origin("uid-1", CREATED), 1, 0, TASKS[value])
    work = Event(
        "w", "/shop", DOMAIN + "order.work", {"task": "pack", "input": {"play": play, "value": value}}
    )
    source = names.agent_source(NAMESPACE, NAME)
    type_ = names.TASK_FAILED if "reason" in end else names.TASK_COMPLETED
    over = Event("e", source, type_, {"task": TASKS[value], **end}, subject=task_id)
    events = [
        Received(1, at(1), names.event_subject(NAMESPACE, work.type), work),
        Received(2, at(2), names.inbox_subject(NAMESPACE, NAME, type_), over),
    ]
    fold = folded(program, events, CREATED)
    return Incarnation(program, fold.ledger, fold, alive=True), task_id


def findings(value: int, play: str, served: int, **end: Any) -> list[str]:
    """What the judge says of a call that was served so often, with 7 as the answer."""
    item, task_id = incarnation_of(value, play, **end)
    return call_findings(item, [Served(task_id, {"value": 7}) for _ in range(served)])


@pytest.mark.parametrize(
    ("value", "play", "served", "end"),
    [
        (0, "succeed", 1, {"result": {"value": 7}}),
        (1, "text", 1, {"reason": "HttpStatus"}),
        (2, "succeed", 1, {"reason": "HttpAnswerLost"}),
        (2, "succeed", 0, {"reason": "HttpAnswerLost"}),
        (0, "fail", 0, {"reason": "HttpStatus"}),
        (0, "succeed", 1, {"reason": "Cancelled"}),
    ],
)
def test_what_may_be(value: int, play: str, served: int, end: dict[str, Any]) -> None:
    assert findings(value, play, served, **end) == []


@pytest.mark.parametrize(
    ("value", "play", "served", "end", "finding"),
    [
        (0, "succeed", 2, {"result": {"value": 7}}, "was served 2 times"),
        (1, "succeed", 1, {"result": {"value": 8}}, "not what the service answered"),
        (2, "succeed", 0, {"result": {"value": 7}}, "not what the service answered"),
        (0, "succeed", 1, {"reason": "HttpStatus"}, "was not looked for"),
        (0, "fail", 1, {"reason": "HttpStatus"}, "what is refused is not served"),
        (1, "fail", 1, {"result": {"value": 7}}, "it was to fail"),
        (1, "succeed", 0, {"reason": "Error"}, "no reason for that"),
    ],
)
def test_what_may_not(value: int, play: str, served: int, end: dict[str, Any], finding: str) -> None:
    (found,) = findings(value, play, served, **end)
    assert finding in found


def test_what_nobody_decided_is_not_served() -> None:
    item, task_id = incarnation_of(0, "succeed", result={"value": 7})
    served = [Served(task_id, {"value": 7}), Served("asked-0000000000000000", {"value": 7})]

    (found,) = call_findings(item, served)
    assert "asked-0000000000000000, which was not decided, was served" in found


def test_the_service_serves_a_key_once_and_all_else_as_often_as_it_comes() -> None:
    service, asked = CallService(1), {"task": "t", "value": 3}

    assert service._serve(asked, "k") == service._serve(asked, "k") == {"value": 3, "number": 0}
    assert [service._serve(asked, None)["number"] for _ in range(2)] == [1, 2]
    assert len(service.served) == 3
