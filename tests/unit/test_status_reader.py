"""Approvals as a status shows them: what a gateway and a command line read of it, whoever wrote it."""

from dataclasses import replace
from typing import Any

import pytest

from heed.api.status import Cursor, Session
from heed.core.approval.status_reader import read_approvals
from heed.core.ledger.ledger import Ledger, dump_ledger
from tests.builders.approvals import approval_of, awaiting, buyer
from tests.builders.decisions import only_task
from tests.builders.events import at
from tests.builders.tasks import pending_task

NONE = Ledger(cursor=Cursor(""))


def test_it_has_the_approvals_their_sessions_and_what_ended_lately() -> None:
    ledger = awaiting(buyer("1h", details="please"))
    task_id = only_task(ledger)
    other = {"job-1": pending_task(session="elsewhere")}
    whole = replace(
        ledger,
        pending_tasks={**ledger.pending_tasks, **other},
        sessions={**ledger.sessions, "elsewhere": Session(at(0), at(0), "c")},
    )

    found = read_approvals(dump_ledger(whole))

    assert found == replace(NONE, pending_tasks=ledger.pending_tasks, sessions=ledger.sessions)
    assert approval_of(found) == approval_of(ledger)
    assert approval_of(found).task_id == task_id


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"pendingTasks": None, "sessions": None, "recentTasks": None},
        {"pendingTasks": {"a": "text", "b": None, "c": {"kind": "job"}}},
        {"pendingTasks": {"a": {"kind": "approval"}}},
        {"recentTasks": [{"id": 7}]},
    ],
)
def test_where_it_has_none_or_cannot_be_read_there_are_none(status: dict[str, Any]) -> None:
    found = read_approvals(status)

    assert (found.pending_tasks, found.sessions, found.recent_tasks) == ({}, {}, ())


def test_what_ended_lately_is_there_without_a_task_that_waits() -> None:
    recent = {
        "id": "buy-1",
        "task": "buy",
        "session": "s",
        "outcome": "Completed",
        "startedAt": at(1),
        "endedAt": at(2),
    }

    (found,) = read_approvals({"recentTasks": [recent]}).recent_tasks

    assert (found.id, found.ended_at) == ("buy-1", at(2))


def test_events_that_wait_in_a_status_are_no_part_of_it() -> None:
    assert read_approvals({"waiting": {"3": "x"}, "held": {"4": {}}}) == NONE
