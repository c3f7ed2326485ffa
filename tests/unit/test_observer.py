"""The log lines of a loop: their level, words and fields, which people search and alert by."""

import logging
from typing import Any

import pytest

from heed.api.status import Cursor, DeadLetterCause
from heed.core.decision.model import Decision
from heed.core.effects import AgentRef, CancelTask, TaskEnd
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger
from heed.core.tasks.losses import LOSSES
from heed.engine.observer import LogObserver, Observer, Observers
from tests.builders.events import received

AGENT = AgentRef("demo", "researcher", "uid-1")
AT = "2026-01-31T12:00:00.123456Z"
USUAL = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


@pytest.fixture
def observer(caplog: pytest.LogCaptureFixture) -> LogObserver:
    caplog.set_level(logging.DEBUG, "heed.agent")
    return LogObserver()


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, dict[str, Any]]]:
    """Level, words and fields of each."""
    return [
        (item.levelname, item.getMessage(), {k: v for k, v in vars(item).items() if k not in USUAL})
        for item in caplog.records
    ]


def ledger(sequence: int) -> Ledger:
    return Ledger(cursor=Cursor("HEED", sequence))


def test_a_loop_that_resumes_says_from_where(observer: LogObserver, caplog: pytest.LogCaptureFixture) -> None:
    observer.resumed(AGENT, ledger(7), [CancelTask("t-1", None)])

    fields = {"agent": str(AGENT), "sequence": 7, "owed": 1}
    assert lines(caplog) == [("INFO", "agent resumed", fields)]


def test_a_commit_names_its_dead_letters(observer: LogObserver, caplog: pytest.LogCaptureFixture) -> None:
    event: Received = received(3)
    letter = DeadLetterCause("TemplateFailed", "no such key", "begin")
    observer.committed(
        AGENT,
        [Decision(event, ledger(8), "dead_lettered", letter=letter), Decision(event, ledger(8), "handled")],
        ledger(9),
    )

    dead = {
        "agent": str(AGENT),
        "sequence": event.sequence,
        "code": "TemplateFailed",
        "handler": "begin",
        "cause": "no such key",
    }
    assert lines(caplog) == [
        ("WARNING", "event dead-lettered", dead),
        ("DEBUG", "ledger committed", {"agent": str(AGENT), "events": 2, "sequence": 9}),
    ]


def test_an_effect_is_named_by_its_kind(observer: LogObserver, caplog: pytest.LogCaptureFixture) -> None:
    observer.performed(AGENT, effect := CancelTask("t-1", None))

    fields = {"agent": str(AGENT), "effect": "CancelTask", "id": effect.id}
    assert lines(caplog) == [("DEBUG", "effect made", fields)]


@pytest.mark.parametrize(
    ("level", "end"),
    [
        ("INFO", TaskEnd("t-1", "e-1", AT, completed=True)),
        ("INFO", TaskEnd("t-1", "e-1", AT, completed=False, reason="Failed")),
        *(
            ("WARNING", TaskEnd("t-1", "e-1", AT, completed=False, reason=reason))
            for reason in sorted(LOSSES)
        ),
    ],
)
def test_a_task_that_is_lost_is_a_warning(
    observer: LogObserver, caplog: pytest.LogCaptureFixture, level: str, end: TaskEnd
) -> None:
    observer.reported(AGENT, end)

    fields = {"agent": str(AGENT), "task": "t-1", "completed": end.completed, "reason": end.reason}
    assert lines(caplog) == [(level, "task ended", fields)]


def test_trouble_says_what_failed_and_when_it_is_tried_again(
    observer: LogObserver, caplog: pytest.LogCaptureFixture
) -> None:
    observer.troubled(AGENT, "StartTask", ValueError("no room"), 0.5)

    fields = {"agent": str(AGENT), "what": "StartTask", "error": "ValueError: no room", "retry_in": 0.5}
    assert lines(caplog) == [("WARNING", "trying again", fields)]


# ── several of them ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_several_observers_are_told_of_everything_in_their_order() -> None:
    told: list[tuple[Any, ...]] = []

    class Noting(Observer):
        def __init__(self, name: str) -> None:
            self.name = name

        def __getattribute__(self, name: str) -> Any:
            if not hasattr(Observer, name) or name.startswith("__"):
                return super().__getattribute__(name)
            return lambda *given: told.append((self.name, name, *given))

    effect, end, trouble = CancelTask("t-1", None), TaskEnd("t-1", "e-1", AT, completed=True), ValueError("x")
    observers = Observers(Noting("first"), Observers(Noting("second")))
    calls: list[tuple[Any, ...]] = [
        ("resumed", AGENT, ledger(7), [effect]),
        ("committed", AGENT, [], ledger(8)),
        ("measured", AGENT, [0.1], 0.2, 30),
        ("performed", AGENT, effect),
        ("reported", AGENT, end),
        ("limited", AGENT, True),
        ("troubled", AGENT, "Publish", trouble, 1.5),
    ]

    for hook, *given in calls:
        getattr(observers, hook)(*given)

    assert told == [(name, *call) for call in calls for name in ("first", "second")]
    assert {hook for hook, *_ in calls} == {name for name in vars(Observer) if not name.startswith("_")}


def test_an_observer_that_overrides_nothing_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    observer = Observer()

    observer.resumed(AGENT, ledger(7), [])
    observer.committed(AGENT, [], ledger(7))
    observer.measured(AGENT, [0.1], 0.2, 30)
    observer.performed(AGENT, CancelTask("t-1", None))
    observer.reported(AGENT, TaskEnd("t-1", "e-1", AT, completed=True))
    observer.troubled(AGENT, "Publish", ValueError("x"), 1.5)

    assert caplog.records == []
