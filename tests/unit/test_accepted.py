"""What a judgement of a policy, a grant or an event type changes in the object's status."""

from __future__ import annotations

from typing import Any

import pytest

from heed.kube.status.accepted import Judgement, accepted_patch

AT = "2026-11-01T12:00:00.123456Z"
WRITTEN = {
    "type": "Accepted",
    "status": "False",
    "reason": "Invalid",
    "message": "spec: is wrong",
    "lastTransitionTime": "2026-11-01T12:00:00Z",
    "observedGeneration": 3,
}
STATUS: dict[str, Any] = {"observedGeneration": 3, "conditions": [WRITTEN]}
NO = Judgement(False, "Invalid", "spec: is wrong")


def body(status: Any) -> dict[str, Any]:
    return {"metadata": {"generation": 3}, "status": status}


@pytest.mark.parametrize("before", [None, {}, {**STATUS, "observedGeneration": 2}])
def test_what_is_new_is_written_whole(before: Any) -> None:
    assert accepted_patch(body(before), NO, AT) == STATUS


def test_what_is_said_already_is_not_written_again() -> None:
    assert accepted_patch(body(STATUS), NO, "2026-11-02T12:00:00Z") is None
