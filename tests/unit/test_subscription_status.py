"""The status of a Subscription: Ready at once, numbers added to what is there, nothing where nothing changed."""

from typing import Any

from heed.api.conditions import find_condition
from heed.gateway.subscriptions.progress import DELIVERING, Standing
from heed.gateway.subscriptions.status import SubscriptionNumbers, status_patch
from heed.gateway.subscriptions.token_bucket import TokenBucket

AT, LATER = "2026-01-31T12:00:00.123456Z", "2026-01-31T13:00:00.123456Z"
FAILING = Standing(False, "SinkFailing", "the sink answered 503")
NONE = SubscriptionNumbers()


def body(status: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"metadata": {"name": "orders", "generation": 3}, "status": status}


def test_the_first_status_has_the_condition_and_zeros() -> None:
    patch = status_patch(body(), DELIVERING, NONE, AT)

    assert patch == {
        "observedGeneration": 3,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Delivering",
                "message": "events are delivered",
                "lastTransitionTime": "2026-01-31T12:00:00Z",
                "observedGeneration": 3,
            }
        ],
        "delivered": 0,
        "deadLettered": 0,
        "lag": 0,
    }


def test_what_is_so_already_is_not_written_again() -> None:
    patch = status_patch(body(), DELIVERING, NONE, AT)

    assert status_patch(body(patch), DELIVERING, NONE, LATER) is None


def test_numbers_are_added_and_the_lag_is_what_it_is_now() -> None:
    first = status_patch(body(), DELIVERING, SubscriptionNumbers(5, 1, 7), AT)

    second = status_patch(body(first), DELIVERING, SubscriptionNumbers(2, 0, 3), LATER)

    assert second is not None
    assert (second["delivered"], second["deadLettered"], second["lag"]) == (7, 1, 3)
    third = status_patch(body(second), FAILING, NONE, LATER)
    assert third is not None
    assert (third["delivered"], third["deadLettered"], third["lag"]) == (7, 1, 3)


def test_a_failing_sink_is_not_ready_since_then() -> None:
    first = status_patch(body(), DELIVERING, NONE, AT)

    patch = status_patch(body(first), FAILING, NONE, LATER)

    assert patch is not None
    condition = find_condition(patch["conditions"], "Ready")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("False", "SinkFailing")
    assert condition["lastTransitionTime"] == "2026-01-31T13:00:00Z"


# --- how many may go ------------------------------------------------------------------------------------------------


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2, burst=3)

    assert [bucket.take(10.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.take(10.25) == 0.25
    assert bucket.take(10.5) == 0
    assert bucket.take(10.5) == 0.5


def test_a_bucket_is_never_fuller_than_its_burst_and_a_clock_that_goes_back_fills_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=1)
    bucket.take(0.0)

    assert bucket.take(1000.0) == 0
    assert bucket.take(1000.0) == 1
    assert bucket.take(5.0) == 1
