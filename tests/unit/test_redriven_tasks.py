"""What an event is remembered by, and the task that a letter keeps for its redrive."""

import json
from dataclasses import replace

import pytest

from heed import names
from heed.api.status import PendingTask, TaskCause
from heed.core.decision.redrive import digest_of, task_kept, task_of, task_variable
from heed.core.events import Event, Received, Redrive
from tests.unit.builders import AGENT, ASKED, NAMESPACE, at, failure_of, program, received
from tests.unit.policies import allowed, grant, restricted

PLAIN = program({})
READS = restricted(
    allowed(grants=[grant("shop", ">")]),
    {},
    subscribe=[{"type": ASKED}, {"type": ASKED, "namespace": "shop"}],
)
RECORD = PendingTask(
    "work", "s", "job", at(1), TaskCause("e1", 1, "c1", 4), phase="Started", input=7, owed=None
)
KEPT = {"session": "s", "input": 7, "id": "t", "name": "work", "kind": "job", "startedAt": at(1)}


def again(task: str | None) -> Received:
    """The end of a task, by a letter that is redriven and keeps this."""
    subject = names.redrive_subject(NAMESPACE, AGENT, names.TASK_COMPLETED)
    return Received(5, at(5), subject, Event("e", "/x", names.TASK_COMPLETED), Redrive("letter", 2, task))


@pytest.mark.parametrize(
    "task", ["", "{", "[]", "{}", "7", json.dumps({**KEPT, "session": None} | {"id": 1})]
)
def test_a_task_of_a_letter_is_read_as_far_as_it_can_be(task: str) -> None:
    readable = task.startswith('{"')
    message = "the task that came with the letter cannot be read; redrive it with `heed dead redrive`"

    if readable:
        variable = {"id": "1", "name": "work", "kind": "job", "startedAt": at(1)}
        assert task_of(again(task)) == ("None", variable, 7)
    else:
        assert failure_of(task_of, again(task)) == ("BadRedrive", message, None)


@pytest.mark.parametrize("missing", ["session", "input", "id", "name", "kind", "startedAt"])
def test_a_task_of_a_letter_is_whole(missing: str) -> None:
    task = json.dumps({name: value for name, value in KEPT.items() if name != missing})

    assert failure_of(task_of, again(task))[0] == "BadRedrive"


def test_what_is_no_redrive_has_no_task() -> None:
    assert failure_of(task_of, received(5))[0] == "BadRedrive"


def test_what_a_letter_keeps_is_what_it_gives_back() -> None:
    assert json.loads(task_kept("t", RECORD)) == KEPT
    assert task_of(again(task_kept("t", RECORD))) == ("s", task_variable("t", RECORD), 7)
    assert task_variable("t", RECORD) == {"id": "t", "name": "work", "kind": "job", "startedAt": at(1)}


def test_events_of_other_namespaces_are_remembered_apart() -> None:
    event = Event("i", "/shop", ASKED)
    theirs = Received(5, at(5), names.event_subject("shop", ASKED), event)
    ours = Received(5, at(5), names.event_subject(NAMESPACE, ASKED), event)

    assert digest_of(READS, ours, event) == names.event_digest("/shop", "i")
    assert digest_of(READS, theirs, event) == names.event_digest("shop /shop", "i")
    assert digest_of(PLAIN, theirs, event) == names.event_digest("/shop", "i")
    assert digest_of(READS, replace(theirs, redrive=Redrive("l", 3)), event) == names.redrive_digest("l", 3)
