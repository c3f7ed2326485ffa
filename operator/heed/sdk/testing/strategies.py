"""Strategies of hypothesis: plans of the same events in other orders, with duplicates, late ones and crashes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from heed.sdk.durations import check_duration
from heed.sdk.events import Event
from heed.sdk.testing.plan import Action, Advance, Crash, Plan, Publish

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as error:
    message = "heed.sdk.testing.strategies needs hypothesis; install it: pip install hypothesis"
    raise ModuleNotFoundError(message, name="hypothesis") from error

MAX_COMMITS_TO_CRASH: Final = 6  # how many commits after a Crash in a plan the operator may be lost at

Given = Event | Action


def orders(
    events: Sequence[Given] | st.SearchStrategy[Sequence[Given]],
    *,
    duplicates: int = 0,
    late: Sequence[str] = (),
    crashes: int = 0,
) -> st.SearchStrategy[Plan]:
    """Plans of these events and actions in any order, for `Simulation.play`. It shrinks to the order that is given.

    Up to so many `duplicates` of what is published come somewhere behind their originals. Each duration of `late` may
    pass somewhere, so that what follows comes late. The operator is lost up to `crashes` times, at any commit. The
    end of a task takes place as soon as the task is open.
    """
    for duration in late:
        check_duration(duration)
    return _plans(
        events if isinstance(events, st.SearchStrategy) else st.just(events), duplicates, tuple(late), crashes
    )


@st.composite
def _plans(
    draw: st.DrawFn,
    events: st.SearchStrategy[Sequence[Given]],
    duplicates: int,
    late: Sequence[str],
    crashes: int,
) -> Plan:
    given = [_to_action(item, number) for number, item in enumerate(draw(events), 1)]
    actions: list[Action] = draw(st.permutations(given))
    for _ in range(draw(st.integers(0, duplicates))):
        published = [place for place, action in enumerate(actions) if isinstance(action, Publish)]
        if published:
            place = draw(st.sampled_from(published))
            actions.insert(draw(st.integers(place + 1, len(actions))), actions[place])
    for duration in late:
        if draw(st.booleans()):
            _insert(draw, actions, Advance(duration))
    for _ in range(draw(st.integers(0, crashes))):
        _insert(draw, actions, Crash(draw(st.integers(1, MAX_COMMITS_TO_CRASH))))
    return Plan(*actions)


def _to_action(item: Given, number: int) -> Action:
    """What is given as an action; each event has an id, by which a second one is known as its duplicate."""
    match item:
        case Publish(id=None):
            return replace(item, id=f"event-{number}")
        case Action():
            return item
        case _:
            return Publish(item, id=f"event-{number}")


def _insert(draw: st.DrawFn, actions: list[Any], action: Action) -> None:
    actions.insert(draw(st.integers(0, len(actions))), action)
