"""Conditions: one list, two writers, and no news that is none."""

from dataclasses import replace
from typing import Any

import pytest

from heed.api.conditions import EVENTS_EXPIRED, READY, SATURATED, Condition, find_condition, set_condition
from heed.api.status import Cursor, Totals
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.ledger import Ledger
from heed.kube.status.ledger_store import changed_conditions
from heed.kube.status.loop_health import UNDECIDED
from heed.kube.status.ready import KnownStatus, WantedConditions, read_status, status_patch
from heed.kube.status.reasons import Trouble

NOON, LATER = "2026-01-31T12:00:00.000000Z", "2026-01-31T13:00:00.000000Z"
AWAY = Trouble("BrokerUnavailable", "no connection; events wait")
VALID = WantedConditions(3, "True", "Subscribed", "2 patterns, 3 handlers")


def ready(status: Any = "True", reason: str = "Subscribed", at: str = NOON) -> dict[str, Any]:
    condition = Condition(type=READY, status=status, reason=reason, last_transition_time=at)
    return condition.model_dump(by_alias=True)


def body(*conditions: dict[str, Any], **status: Any) -> dict[str, Any]:
    """An Agent as the API server has it."""
    metadata = {"namespace": "demo", "name": "researcher", "uid": "uid-1", "resourceVersion": "7"}
    return {"metadata": metadata, "status": {"conditions": list(conditions), **status}}


def ledger(waiting: int = 0, expired: int = 0, sequence: int = 40) -> Ledger:
    places = DeferredEvents.of({100 + number: f"key-{number}" for number in range(waiting)})
    cursor = Cursor("HEED", sequence, "2026-01-31T11:59:58.123456Z")
    return Ledger(cursor=cursor, totals=Totals(expired=expired), waiting=places)


# --- the list --------------------------------------------------------------------------------------------------


def test_a_status_that_stays_keeps_its_time_and_one_that_changes_gets_a_new_one() -> None:
    new = Condition(type=READY, status="False", reason="Invalid", last_transition_time=LATER)

    (changed,) = set_condition([ready("True")], new)
    (same,) = set_condition([ready("False", "EffectsStuck")], new)

    assert changed["lastTransitionTime"] == LATER
    assert same["lastTransitionTime"] == NOON
    assert same["reason"] == "Invalid"


def test_a_condition_takes_the_place_of_its_like_and_leaves_the_others_alone() -> None:
    others = [{"type": "A", "status": "True"}, {"type": "Z", "status": "True"}]
    new = Condition(type=READY, status="False", reason="Invalid", last_transition_time=LATER)

    conditions = set_condition([others[0], ready(), others[1]], new)

    assert [item["type"] for item in conditions] == ["A", READY, "Z"]
    assert [conditions[0], conditions[2]] == others
    assert [item["type"] for item in set_condition(others, new)] == ["A", "Z", READY]


# --- what follows from the ledger --------------------------------------------------------------------------------


def test_an_agent_that_never_had_to_wait_or_to_miss_anything_has_no_condition_that_says_so() -> None:
    assert changed_conditions([], ledger(), ledger(sequence=41), LATER, 1) is None
    assert changed_conditions([ready()], ledger(), ledger(sequence=41), LATER, 1) is None


def test_saturated_comes_with_the_first_event_that_waits_and_goes_with_the_last() -> None:
    # When events begin to wait
    conditions = changed_conditions([ready()], ledger(), ledger(waiting=3), NOON, 4)

    # Then it says how many, and what to do
    assert conditions is not None
    assert find_condition(conditions, READY) == ready()
    found = find_condition(conditions, SATURATED)
    assert found is not None
    assert (found["status"], found["reason"]) == ("True", "WaitingForRoom")
    assert found["message"].startswith("3 events wait ")
    assert "idleTimeout" in found["message"]
    assert found["lastTransitionTime"] == "2026-01-31T12:00:00Z"
    assert found["observedGeneration"] == 4

    # And as long as as many wait it is no news, and of other numbers only the number is
    assert changed_conditions(conditions, ledger(waiting=3), ledger(waiting=3, sequence=9), LATER, 4) is None
    fewer = changed_conditions(conditions, ledger(waiting=3), ledger(waiting=1), LATER, 4)
    assert fewer is not None
    assert "1 event waits" in fewer[1]["message"]
    assert fewer[1]["lastTransitionTime"] == "2026-01-31T12:00:00Z"

    # And in the end there is room
    over = changed_conditions(fewer, ledger(waiting=1), ledger(), LATER, 4)
    assert over is not None
    assert (over[1]["status"], over[1]["reason"]) == ("False", "Room")
    assert over[1]["lastTransitionTime"] == "2026-01-31T13:00:00Z"
    assert changed_conditions(over, ledger(), ledger(sequence=9), LATER, 4) is None


def test_what_the_stream_dropped_is_said_for_ever_with_the_place_where_it_was_found_lately() -> None:
    # Given
    first = changed_conditions([], ledger(), ledger(expired=7, sequence=50), NOON, 1)
    assert first is not None
    (condition,) = first
    assert (condition["type"], condition["status"]) == (EVENTS_EXPIRED, "True")
    assert condition["reason"] == "DroppedByStream"
    assert "at most 7 of the Agent's events" in condition["message"]
    assert "lately after sequence 40 of 2026-01-31T11:59:58Z;" in condition["message"]

    # When time goes by, nothing changes
    assert changed_conditions(first, ledger(expired=7), ledger(expired=7, sequence=60), LATER, 1) is None

    # And when more is found, the number and the place do
    more = changed_conditions(first, ledger(expired=7, sequence=60), ledger(expired=9, sequence=70), LATER, 1)
    assert more is not None
    assert "at most 9 " in more[0]["message"]
    assert "after sequence 60" in more[0]["message"]
    assert more[0]["lastTransitionTime"] == condition["lastTransitionTime"]


def test_expired_events_are_said_again_where_someone_took_the_condition_away() -> None:
    said = changed_conditions([ready()], ledger(expired=7), ledger(expired=7, sequence=60), LATER, 1)

    assert said is not None
    assert "at most 7 " in said[1]["message"]
    assert "lately" not in said[1]["message"]


# --- what the reconciler says ------------------------------------------------------------------------------------


def test_a_word_that_is_there_already_is_no_change() -> None:
    first = status_patch({**body(), "status": {}}, VALID, NOON)
    assert first is not None

    assert status_patch(body(*first["conditions"], observedGeneration=3), VALID, LATER) is None


def test_a_new_generation_says_so_and_drops_what_was_kept() -> None:
    old = body(ready("False", "Invalid"), observedGeneration=2, lastValidSpec="{}")

    change = status_patch(old, VALID, LATER)

    assert change is not None
    assert change["observedGeneration"] == 3
    assert change["lastValidSpec"] is None
    (condition,) = change["conditions"]
    assert (condition["status"], condition["observedGeneration"]) == ("True", 3)


@pytest.mark.parametrize("word", [VALID, WantedConditions(3, "False", "Invalid", "a typo")])
def test_trouble_of_the_loop_is_said_of_a_valid_generation_only(word: WantedConditions) -> None:
    said = word.with_trouble(AWAY)

    assert (said.status, said.reason) == (
        ("False", "BrokerUnavailable") if word is VALID else ("False", "Invalid")
    )
    assert said.generation == 3
    assert word.with_trouble(None) == word


def test_as_long_as_nothing_is_known_of_a_loop_its_old_trouble_stands() -> None:
    # Given an operator that takes over, or an edit in the midst of trouble
    word = VALID.with_trouble(UNDECIDED)
    troubled = {**ready("False", "StreamMissing"), "message": "no stream"}

    # When nothing is known yet, a new generation is acknowledged, and no more
    change = status_patch(body(troubled, observedGeneration=2), word, LATER)
    assert change is not None
    (condition,) = change["conditions"]
    assert (condition["status"], condition["reason"], condition["message"]) == (
        "False",
        "StreamMissing",
        "no stream",
    )
    assert condition["lastTransitionTime"] == NOON
    assert read_status(body(condition, observedGeneration=3)).has(word)

    # But an edit that was corrected is well until something else is known, and so is a new Agent
    for old in (body(ready("False", "Invalid"), observedGeneration=2), body()):
        change = status_patch(old, word, LATER)
        assert change is not None
        assert change["conditions"][0]["status"] == "True"


def test_an_agent_that_was_never_observed_does_not_have_the_status_of_its_first_generation() -> None:
    first = replace(VALID, generation=1)

    assert not read_status(body(ready())).has(first)
    assert read_status(body(ready(), observedGeneration=1)).has(first)


def test_other_words_for_the_same_reason_are_no_news() -> None:
    there = KnownStatus(7, 3, "False", "EffectsStuck")

    assert there.has(VALID.with_trouble(Trouble("EffectsStuck", "job-1 is forbidden")))
    assert there.has(VALID.with_trouble(Trouble("EffectsStuck", "job-2 is forbidden")))
    assert not there.has(VALID.with_trouble(AWAY))
    assert not there.has(VALID)
    assert not there.has(replace(VALID, generation=4).with_trouble(UNDECIDED))
    assert not KnownStatus(7, 3, None, None).has(VALID.with_trouble(UNDECIDED))


# --- pauses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pausing", "type_", "there", "over"),
    [
        (replace(VALID, suspended=True), "Suspended", "AgentSuspended", "AgentResumed"),
        (replace(VALID, limited=True), "RateLimited", "EventsHeldBack", "WithinLimit"),
    ],
)
def test_a_pause_is_said_while_it_lasts_and_not_before_it_ever_did(
    pausing: WantedConditions, type_: str, there: str, over: str
) -> None:
    # Given an Agent that never paused
    found = body(ready(), observedGeneration=3)
    assert status_patch(found, VALID, NOON) is not None
    assert find_condition((status_patch(found, VALID, NOON) or {})["conditions"], type_) is None

    # When it does, and does not any more
    assert not read_status(found).has(pausing)
    paused = {**found, "status": {**found["status"], **(status_patch(found, pausing, NOON) or {})}}
    assert read_status(paused).has(pausing)
    assert not read_status(paused).has(VALID)
    assert status_patch(paused, pausing, LATER) is None
    resumed = {**paused, "status": {**paused["status"], **(status_patch(paused, VALID, LATER) or {})}}

    # Then
    said = [
        (find_condition(item["status"]["conditions"], type_) or {}).get("reason")
        for item in (paused, resumed)
    ]
    assert said == [there, over]
    assert read_status(resumed).has(VALID)
    assert status_patch(resumed, VALID, LATER) is None
    (kept,) = [item for item in resumed["status"]["conditions"] if item["type"] == type_]
    assert (kept["status"], kept["lastTransitionTime"]) == ("False", LATER[:19] + "Z")
