"""The result that a task published itself, in place of what it wrote as it ended."""

from dataclasses import replace

import pytest

from heed.core.effects import TaskEnd
from heed.core.events import Event, MalformedMessage
from heed.engine.published_results import add_published_result
from tests.unit.inmemory import AGENT, Bus

END = TaskEnd("t-1", "run-1", "2026-01-31T12:00:00Z", True, result="small", message="done", published=True)
SUBJECT = "heed.tasks.demo.researcher.t-1.dev.heed.task.result"


async def end(given: TaskEnd, found: Event | MalformedMessage | None) -> TaskEnd:
    bus = Bus()
    if found is not None:
        bus.results[SUBJECT] = found
    return await add_published_result(bus, AGENT, given)


async def test_the_published_result_takes_the_place_of_what_was_written() -> None:
    event = Event("r", "/task", "dev.heed.task.result", {"answer": 42}, datacontenttype="application/json")

    assert await end(END, event) == replace(END, result={"answer": 42}, message=None)


@pytest.mark.parametrize(
    "given", [replace(END, completed=False, reason="Failed"), replace(END, published=False)]
)
async def test_only_of_a_task_that_completed_and_may_publish(given: TaskEnd) -> None:
    event = Event("r", "/task", "dev.heed.task.result", {"answer": 42})

    assert await end(given, event) is given


async def test_one_that_published_nothing_has_the_result_that_it_wrote() -> None:
    assert await end(END, None) is END


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (MalformedMessage("BadData", "no JSON"), "the published result is no event: no JSON"),
        (
            Event("r", "/task", "dev.heed.task.result", b"\x00", datacontenttype="image/png"),
            "the published result is image/png; publish JSON or text",
        ),
    ],
)
async def test_a_result_that_cannot_be_read_makes_the_end_a_failure(
    found: Event | MalformedMessage, message: str
) -> None:
    failed = replace(END, completed=False, result=None, reason="BadResult", message=message)

    assert await end(END, found) == failed
