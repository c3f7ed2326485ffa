"""Which approval somebody means, and what they fill in, without a cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from heed.cli.approval.options import PlaceChoice, parse_fields
from heed.cli.approval.waiting import Found
from heed.cli.cluster import ClusterChoice
from heed.cli.output import BadInput, CliError
from heed.cli.prog_name import program_name
from heed.core.decision.decide import decide
from heed.core.effects import AgentRef
from heed.core.ledger.ledger import Ledger, dump_ledger
from tests.builders.agents import AGENT, NAMESPACE, UID
from tests.builders.approvals import an_answer, awaiting, buyer, stored_answer
from tests.builders.decisions import after, only_task
from tests.builders.events import at, received, task_end
from tests.unit.cli import heed

REF = AgentRef(NAMESPACE, AGENT, UID)
BUYER = buyer("1h", fields={"properties": {"amount": {"type": "integer"}}}, approvers={"users": ["kim"]})


def found(ledger: Ledger) -> Found:
    """What a command finds in the status with that ledger."""
    return Found.in_statuses([(REF, dump_ledger(ledger))])


def test_what_waits_is_described_for_people_and_programs() -> None:
    ledger = awaiting(BUYER)

    (item,) = found(ledger).waiting

    assert item.describe() == {
        "namespace": NAMESPACE,
        "agent": AGENT,
        "task": only_task(ledger),
        "name": "buy",
        "session": "e1",
        "title": "Buy it?",
        "details": "",
        "choices": [{"name": "approve", "label": "approve"}, {"name": "reject", "label": "reject"}],
        "fields": {"properties": {"amount": {"type": "integer"}}},
        "approvers": {"users": ["kim"], "groups": [], "where": None},
        "startedAt": at(1),
        "until": at(3601),
        "onTimeout": "Fail",
    }


def test_an_id_or_its_beginning_names_an_approval() -> None:
    ledger = awaiting(BUYER)
    task = only_task(ledger)

    for text in (task, task[:-1], "buy-", "b"):
        assert found(ledger).choose(text).approval.task_id == task
    with pytest.raises(CliError, match=r"no approval sell waits here; `heed approvals -A` shows which do"):
        found(ledger).choose("sell")


def test_where_several_may_be_meant_all_are_named() -> None:
    ledger = after(BUYER, received(1), received(2))
    one, two = ledger.pending_tasks

    with pytest.raises(BadInput, match="may be any of 2 approvals") as caught:
        found(ledger).choose("buy")

    assert one in str(caught.value)
    assert two in str(caught.value)
    assert found(ledger).choose(two).approval.task_id == two


def test_of_one_that_was_answered_it_is_told_who_was_first() -> None:
    ledger = awaiting(BUYER)
    given = an_answer("reject", fields={"amount": 1})
    ended = decide(BUYER, ledger, stored_answer(2, ledger, given)).ledger

    with pytest.raises(CliError, match=f"kim answered reject at {at(2)}, and was first"):
        found(ended).choose("buy")


def test_of_one_that_failed_it_is_told_why() -> None:
    ledger = awaiting(BUYER)
    ended = decide(BUYER, ledger, task_end(2, only_task(ledger), reason="DeadlineExceeded")).ledger

    with pytest.raises(CliError, match=f"ended at {at(2)}: DeadlineExceeded"):
        found(ended).choose(only_task(ledger))


@pytest.mark.parametrize("status", [{}, {"pendingTasks": {"t": {"kind": "approval"}}}, {"recentTasks": [5]}])
def test_a_status_that_cannot_be_read_has_none(status: dict[str, Any]) -> None:
    assert Found.in_statuses([(REF, status)]) == Found()


SCHEMA = {"properties": {"amount": {"type": "integer"}, "code": {"type": "string"}}}


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("amount=7", 7),
        ("amount=seven", "seven"),
        ("code=007", "007"),
        ("code=7", "7"),
        ("other=true", True),
        ("other=a=b", "a=b"),
        ('other={"a": [1]}', {"a": [1]}),
        ("other=", ""),
    ],
)
def test_a_field_is_text_where_the_schema_says_so_and_else_json_where_it_is_some(
    pair: str, value: Any
) -> None:
    (given,) = parse_fields([pair], SCHEMA).values()

    assert given == value
    assert type(given) is type(value)


@pytest.mark.parametrize("pair", ["amount", "=7"])
def test_a_field_has_a_name(pair: str) -> None:
    with pytest.raises(BadInput, match="write NAME=VALUE"):
        parse_fields([pair], None)


def test_a_heed_dev_and_a_cluster_are_not_both_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    both = heed("approvals", "--dev", "--context", "there")
    none = heed("approvals", "--dev")
    claimed = heed("approve", "buy", "--as", "kim", "--context", "there")
    alone = heed("approve", "buy", "--as-group", "purchasing")
    twice = heed("approvals", "-A", "-n", "demo")

    assert (both.exit_code, "not both" in both.stderr) == (2, True)
    assert (none.exit_code, "no `heed dev` runs in this folder" in none.stderr) == (1, True)
    assert (claimed.exit_code, "for heed dev; in a cluster you answer as who you are" in claimed.stderr) == (
        2,
        True,
    )
    assert (
        alone.exit_code,
        "for heed dev, and none runs in this folder or above it; in a" in alone.stderr,
    ) == (2, True)
    assert (twice.exit_code, "Not both" in twice.stderr) == (2, True)


def test_without_a_heed_dev_the_cluster_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert PlaceChoice(ClusterChoice()).find_dev() is None


def test_kubectl_calls_it_as_a_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/kubectl-heed", "approvals"])

    assert program_name() == "kubectl heed"
