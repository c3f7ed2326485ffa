"""What is told of Agents as Kubernetes Events: no more than is news. The cluster tests do it on a real API server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from heed.api.status import DeadLetterCause
from heed.core.decision.model import Decision
from heed.core.effects import AgentRef
from heed.core.ledger.ledger import Ledger
from heed.kube.client.client import ApiError, ApiResponse, KubeApi
from heed.kube.status import event_recorder
from heed.kube.status.event_recorder import MAX_EVENT_MESSAGE_BYTES, EventRecorder, build_kubernetes_event
from tests.builders.events import received
from tests.integration.waiting import until

AGENT = AgentRef("demo", "researcher", "uid-1")
OTHER = AgentRef("demo", "writer", "uid-2")
AT = "2026-01-31T12:00:00.123456Z"


class Events(KubeApi):
    """Takes Events, or refuses them."""

    def __init__(self, *refusals: ApiError) -> None:
        self.taken: list[Mapping[str, Any]] = []
        self.tries: list[str] = []
        self._refusals = list(refusals)

    async def create(self, path: str, body: Mapping[str, Any]) -> ApiResponse:
        assert path == f"/api/v1/namespaces/{body['metadata']['namespace']}/events"
        self.tries.append(body["metadata"]["name"])
        if self._refusals:
            raise self._refusals.pop(0)
        self.taken.append(body)
        return ApiResponse({}, 0)

    @property
    def messages(self) -> list[str]:
        return [item["message"] for item in self.taken]


def ready(status: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": "Ready", "status": status, "reason": reason, "message": message}


def dead(code: str, message: str = "the cause") -> Decision:
    decision = Decision(received(7), Ledger(), "dead_lettered")
    decision.letter = DeadLetterCause(code, message, "begin", 1, 1, None)
    return decision


WELL, AWAY = ready("True", "Subscribed"), ready("False", "BrokerUnavailable", "gone")
STRICT, STRICTER = ready("False", "PolicyViolation", "strict"), ready("False", "PolicyViolation", "stricter")
CALM = {"type": "TasksStuck", "status": "False", "reason": "NoneStuck", "message": ""}
STUCK = {"type": "TasksStuck", "status": "True", "reason": "ImagePullBackOff", "message": "not found"}
PAUSED = {"type": "Suspended", "status": "True", "reason": "AgentSuspended", "message": "events wait"}
RESUMED = {"type": "Suspended", "status": "False", "reason": "AgentResumed", "message": ""}
HELD_BACK = {"type": "RateLimited", "status": "True", "reason": "EventsHeldBack", "message": "events wait"}


@pytest.mark.parametrize(
    ("before", "after", "news"),
    [
        (None, PAUSED, "Normal"),
        (PAUSED, PAUSED, None),
        (PAUSED, RESUMED, "Normal"),
        (None, HELD_BACK, "Normal"),
        (None, WELL, None),
        (WELL, WELL, None),
        (WELL, AWAY, "Warning"),
        (None, AWAY, "Warning"),
        (AWAY, {**AWAY, "message": "still gone"}, None),
        (AWAY, STRICT, "Warning"),
        (STRICT, STRICT, None),
        (STRICT, STRICTER, "Warning"),
        (STRICTER, WELL, "Normal"),
        (None, CALM, None),
        (CALM, STUCK, "Warning"),
        (STUCK, CALM, "Normal"),
        (AWAY, {**AWAY, "status": "Unknown"}, "Warning"),
    ],
)
async def test_a_condition_is_told_of_when_it_is_news(
    before: dict[str, str] | None, after: dict[str, str], news: str | None
) -> None:
    api = Events()
    telling = EventRecorder(api)

    telling.record_condition(AGENT, before, after)
    await until(lambda: not telling._writes)

    assert [(item["type"], item["reason"]) for item in api.taken] == (
        [(news, after["reason"])] if news else []
    )
    await telling.close()


async def test_a_condition_without_a_message_is_told_of_by_its_reason() -> None:
    api = Events()
    telling = EventRecorder(api)

    telling.record_condition(AGENT, WELL, {"type": "Ready", "status": "False", "reason": "BrokerUnavailable"})
    await until(lambda: not telling._writes)

    assert api.messages == ["BrokerUnavailable"]
    await telling.close()


async def test_dead_letters_of_a_code_are_told_of_at_once_and_then_together() -> None:
    # Given
    api = Events()
    telling = EventRecorder(api, every=0.05)

    # When
    telling.committed(AGENT, [dead("PolicyViolation") for _ in range(5)], Ledger())
    telling.committed(OTHER, [dead("PolicyViolation"), dead("TemplateFailed")], Ledger())
    await until(lambda: len(api.taken) == 3)

    # Then
    assert [item["involvedObject"]["name"] for item in api.taken] == ["researcher", "writer", "researcher"]
    assert api.messages[0].startswith("an event was dead-lettered at sequence")
    assert api.messages[2].startswith("4 events were dead-lettered, the last at sequence")
    assert "by handler begin: the cause" in api.messages[2]
    await until(lambda: not telling._letters)
    await telling.close()


async def test_data_of_events_is_not_told() -> None:
    api = Events()
    telling = EventRecorder(api)

    telling.committed(AGENT, [dead("SchemaViolation", "data.card: 4111 is no string")], Ledger())
    await until(lambda: bool(api.taken))

    assert "4111" not in api.messages[0]
    assert "heed dead list -n demo --agent researcher --code SchemaViolation" in api.messages[0]
    await telling.close()


async def test_an_event_that_is_not_taken_is_tried_again_under_its_name_and_then_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_recorder, "RETRY_DELAYS_S", (0.001, 0.001))
    away = ApiError(0, "the API server does not answer")
    api = Events(away, away, ApiError(409, "exists", "AlreadyExists"), ApiError(403, "no"), away, away, away)
    telling = EventRecorder(api)

    telling.record_condition(AGENT, WELL, AWAY)  # the first try was stored, though nobody said so
    await until(lambda: not telling._writes)
    assert len(api.tries) == 3
    assert len(set(api.tries)) == 1
    assert caplog.records == []

    telling.record_condition(AGENT, WELL, AWAY)  # refused for good
    await until(lambda: not telling._writes)
    telling.record_condition(AGENT, WELL, AWAY)  # nobody there for long
    await until(lambda: not telling._writes)

    assert len(api.tries) == 3 + 1 + 3
    assert api.taken == []
    assert caplog.text.count("cannot create a Kubernetes Event") == 2


async def test_what_is_not_told_in_time_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    api = Events()
    telling = EventRecorder(api)

    for number in range(event_recorder.MAX_QUEUED_EVENTS + 10):
        telling.record_condition(AgentRef("demo", f"agent-{number}", f"uid-{number}"), WELL, AWAY)

    assert "too many Kubernetes Events wait, one is dropped" in caplog.text
    await until(lambda: not telling._writes)
    assert len(api.taken) == event_recorder.MAX_QUEUED_EVENTS
    await telling.close()


async def test_an_agent_that_is_gone_is_not_told_of_later() -> None:
    api = Events()
    telling = EventRecorder(api, every=0.01)
    telling.committed(AGENT, [dead("PolicyViolation")] * 2, Ledger())
    telling.committed(OTHER, [dead("PolicyViolation")] * 2, Ledger())

    telling.forget(AGENT)

    await until(lambda: len(api.taken) == 3)
    assert [item["involvedObject"]["name"] for item in api.taken] == ["researcher", "writer", "writer"]
    await telling.close()


@pytest.mark.parametrize(
    "note", ["ä" * 1000, "a" + "ä" * 1000, "x" * MAX_EVENT_MESSAGE_BYTES, "😀" * 300, ""]
)
def test_a_message_fits(note: str) -> None:
    event = build_kubernetes_event(AGENT, "Warning", "Invalid", "Reconcile", note, AT, "pod-1")

    assert 0 < len(event["message"].encode()) <= MAX_EVENT_MESSAGE_BYTES
    assert event["message"] in (note, "Invalid") or event["message"].endswith("…")
    assert event["metadata"]["name"].startswith("researcher.")
