"""What one commit takes in, and which effects of it are still to be made."""

from dataclasses import replace

import pytest

from heed.core.decision.model import DEFERRED_BYTES, SESSION_BYTES, Decision
from heed.core.effects import CancelTask, Effect, StartTask
from heed.core.ledger.ledger import Ledger
from heed.engine.batch import DecisionBatch, effects_still_owed
from heed.engine.rate_limit import CommitRate
from tests.builders.events import received
from tests.unit.inmemory import owed_message, pending, with_tasks


def handled(sequence: int, ledger: Ledger | None = None, state_size: int = 0) -> Decision:
    return Decision(received(sequence), ledger or Ledger(), "handled", state_size=state_size)


def test_a_batch_stands_on_its_last_decision_and_grows_by_each() -> None:
    first, second = Ledger(), Ledger()
    batch = DecisionBatch(Ledger())

    batch.add(one := handled(1, first, state_size=7))
    batch.add(two := Decision(received(2), second, "waiting"))

    assert batch.ledger is second
    assert batch.decisions == [one, two]
    assert batch.growth == SESSION_BYTES + 7 + DEFERRED_BYTES


def test_the_ledgers_in_between_are_let_go() -> None:
    batch = DecisionBatch(Ledger())
    ledgers = [Ledger() for _ in range(3)]

    for number, ledger in enumerate(ledgers):
        batch.add(handled(number, ledger))

    assert not any(decision.ledger is ledger for decision in batch.decisions for ledger in ledgers)
    assert batch.ledger is ledgers[-1]


def test_a_new_batch_is_empty_and_open() -> None:
    batch = DecisionBatch(ledger := Ledger())

    assert (batch.ledger, batch.decisions, batch.growth, batch.closed, batch.took) == (
        ledger,
        [],
        0,
        False,
        [],
    )
    assert not batch.is_full(CommitRate())


@pytest.mark.parametrize(("decisions", "full"), [(1, False), (2, True), (3, True)])
def test_a_batch_is_full_of_so_many_decisions(decisions: int, full: bool) -> None:
    batch = DecisionBatch(Ledger())
    for number in range(decisions):
        batch.add(handled(number))

    assert batch.is_full(CommitRate(batch=2)) is full


@pytest.mark.parametrize(
    ("growth", "full"), [(SESSION_BYTES + 1, False), (SESSION_BYTES, True), (SESSION_BYTES - 1, True)]
)
def test_a_batch_is_full_once_it_adds_so_many_bytes(growth: int, full: bool) -> None:
    batch = DecisionBatch(Ledger())
    batch.add(handled(1))

    assert batch.is_full(CommitRate(growth=growth)) is full


def test_a_closed_batch_is_full_whatever_is_in_it() -> None:
    assert DecisionBatch(Ledger(), closed=True).is_full(CommitRate())


def test_a_start_is_still_owed_only_where_the_ledger_owes_it() -> None:
    ledger = with_tasks(owed=pending(), cancelling=pending("Cancelling"), started=pending("Started"))
    starts = [StartTask(key, pending()) for key in ("owed", "cancelling", "started", "ended")]
    others: list[Effect] = [owed_message(0), CancelTask("ended", None)]
    decisions = [
        replace(handled(1), effects=(starts[3], others[0], starts[0])),
        replace(handled(2), effects=(starts[1], others[1], starts[2])),
    ]

    assert list(effects_still_owed(ledger, decisions)) == [others[0], starts[0], others[1]]
