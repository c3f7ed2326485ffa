"""Timers on a real API server: ticks go on exactly where they were, and what cannot be meant is refused."""

from __future__ import annotations

import copy
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.cluster.controlplane.run import KubectlError
from tests.cluster.operating import Stage
from tests.cluster.ticking import TICKED, TICKING, ticks, until_ticks

pytestmark = pytest.mark.cluster


def timed(**timer: Any) -> dict[str, Any]:
    """The Agent with another timer."""
    made = copy.deepcopy(TICKING)
    made["spec"]["timers"] = {"t": timer}
    return made


def test_every_second_ticks_once_whoever_runs_the_agent(stage: Stage) -> None:
    stage.apply(TICKING)
    until_ticks(stage, 3)

    for _ in range(3):
        stage.operator.kill()
        before = len(ticks(stage))
        stage.operator.start()
        until_ticks(stage, before + 5)

    found = ticks(stage)
    assert found == [found[0] + timedelta(seconds=number) for number in range(len(found))]
    status = stage.status("ticking")
    assert status["totals"].get("ticksMissed", 0) == 0
    assert datetime.fromisoformat(status["timers"]["second"]["nextAt"]) > found[0]


def test_kubectl_shows_the_next_tick(stage: Stage) -> None:
    stage.apply(timed(at="2099-12-24T18:00:00+01:00"))

    stage.until(lambda s: s["nextTick"] == "2099-12-24T17:00:00Z", "ticking")

    head, row = stage.plane.kubectl("get", "agent", "-n", stage.namespace, "-o", "wide").splitlines()
    assert "NEXT TICK" in head and "ADDRESS" in head
    assert "2099-12-24T17:00:00Z" in row
    listed = stage.plane.kubectl("get", "agent", "ticking", "-n", stage.namespace, "-o", "json")
    assert set(json.loads(listed)["status"]["timers"]) == {"t"}


def test_a_timer_that_is_edited_goes_on_as_it_is_then_and_one_that_is_removed_vanishes(stage: Stage) -> None:
    stage.apply(timed(at="2099-12-24T18:00:00Z"))
    stage.until(lambda s: s["nextTick"] == "2099-12-24T18:00:00Z", "ticking")

    stage.apply(timed(at="2098-12-24T18:00:00Z"))
    stage.until(lambda s: s["nextTick"] == "2098-12-24T18:00:00Z", "ticking")

    stage.apply(timed(at="2098-12-24T18:00:00Z", suspend=True))
    stage.until(lambda s: "nextTick" not in s and s["timers"]["t"]["suspended"], "ticking")

    gone = copy.deepcopy(TICKING)
    gone["spec"] = {**gone["spec"], "timers": None, "subscribe": [{"type": TICKED}]}
    stage.apply(gone)
    stage.until(lambda s: not s.get("timers"), "ticking")


@pytest.mark.parametrize(
    ("timer", "said"),
    [
        ({}, "give it either `cron`, `every` or `at`"),
        ({"cron": "@daily", "every": "1h"}, "give it either `cron`, `every` or `at`"),
        ({"every": "1h", "timeZone": "UTC"}, "timeZone has no meaning without `cron`"),
        ({"every": "an hour"}, "every"),
        ({"every": "1h", "type": "dev.heed.task.completed"}, "dev.heed.* is reserved"),
        ({"every": "1h", "missed": "Some"}, "Unsupported value"),
        ({"every": "1h", "overlap": "Forbid"}, "Unsupported value"),
        ({"every": "1h", "crn": "x"}, "unknown field"),
    ],
)
def test_what_cannot_be_meant_is_refused(stage: Stage, timer: dict[str, Any], said: str) -> None:
    with pytest.raises(KubectlError) as refused:
        stage.apply(timed(**timer))

    assert said in str(refused.value)


def test_an_agent_without_events_and_timers_is_refused(stage: Stage) -> None:
    made = copy.deepcopy(TICKING)
    del made["spec"]["timers"]

    with pytest.raises(KubectlError) as refused:
        stage.apply(made)

    assert "spec.subscribe: is missing; add it, or give the Agent `timers`" in str(refused.value)


@pytest.mark.parametrize(("type_", "fits"), [("dev.heed.timer.*", True), ("dev.heed.timer.fird", False)])
def test_handlers_of_ticks_are_checked(stage: Stage, type_: str, fits: bool) -> None:
    made = copy.deepcopy(TICKING)
    made["spec"]["handlers"][0]["type"] = type_

    if fits:
        stage.apply(made)
    else:
        with pytest.raises(KubectlError, match="no timer sends events of this type"):
            stage.apply(made)
