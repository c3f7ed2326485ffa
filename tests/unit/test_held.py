"""The held events of a ledger as a value: by place, by session, and those that are to be looked at again."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from heed.api.status import HeldEvent
from heed.core.ledger.held import HeldEvents
from heed.core.ledger.ledger import Ledger, drop_held, dump_ledger, load_ledger, make_patch
from tests.builders.events import at
from tests.builders.values import as_stored, merged


def item(session: str = "s", until: float = 100, **more: str) -> HeldEvent:
    return HeldEvent(session, "h", at(1), at(until), 3, **more)  # type: ignore[arg-type]


THREE = HeldEvents.of({9: item("b"), 2: item("a", 50), 5: item("b", 70, phase="Ready")})


def test_places_are_in_the_order_of_the_stream() -> None:
    assert list(THREE.places) == [2, 5, 9]
    assert THREE.sessions == {"a": (2,), "b": (5, 9)}
    assert THREE.ready == (5,)
    assert len(THREE) == 3


@given(
    st.permutations(
        [(2, item("a")), (5, item("b", phase="Ready")), (9, item("b")), (11, item("b", phase="Expired"))]
    )
)
def test_whatever_the_order_the_value_is_the_same(order: list[tuple[int, HeldEvent]]) -> None:
    found = HeldEvents()
    for sequence, each in order:
        found = found.with_event(sequence, each)

    assert found == HeldEvents.of(dict(order))
    assert list(found.places) == [2, 5, 9, 11]
    assert found.ready == (5, 11)


def test_an_event_may_take_another_form() -> None:
    assert THREE.with_event(5, item("b", 70)).ready == ()
    assert THREE.with_event(5, item("b", 70)).sessions == THREE.sessions


def test_what_is_decided_is_gone() -> None:
    assert THREE.without_events([5, 7]) == HeldEvents.of({2: item("a", 50), 9: item("b")})
    assert THREE.without_events([2]).sessions == {"b": (5, 9)}
    assert THREE.without_events([7]) is THREE


def test_a_session_is_recalled_as_a_whole() -> None:
    assert THREE.recall(["b"]).ready == (5, 9)
    assert THREE.recall(["b"]).places[9].phase == "Ready"
    assert THREE.recall(["c"]) is THREE
    assert THREE.recall(["b"]).recall(["b"]) == THREE.recall(["b"])


def test_what_is_over_stays_so_when_its_session_is_recalled() -> None:
    over = THREE.expire(at(50))

    assert (over.ready, over.places[2].phase) == ((2, 5), "Expired")
    assert over.recall(["a"]) is over


def test_all_whose_time_is_over_are() -> None:
    assert THREE.expire(at(49.999)) is THREE
    assert [place for place, each in THREE.expire(at(70)).places.items() if each.phase == "Expired"] == [2, 5]
    assert THREE.expire(at(70)).expire(at(70)) == THREE.expire(at(70))


def test_the_next_time_is_the_earliest_that_is_not_over() -> None:
    assert THREE.next_expiry() == at(50)
    assert THREE.expire(at(50)).next_expiry() == at(70)
    assert THREE.expire(at(100)).next_expiry() is None
    assert HeldEvents().next_expiry() is None


def test_another_generation_recalls_what_it_has_not_looked_at() -> None:
    mixed = THREE.with_event(9, replace(item("b"), generation=4))

    assert mixed.recall_older(4).ready == (2, 5)
    assert mixed.recall_older(3).ready == (5, 9)
    assert THREE.recall_older(3) is THREE


def test_a_patch_names_what_changed_and_nothing_else() -> None:
    base = load_ledger(as_stored(dump_ledger(Ledger(held=THREE))))
    changed = replace(base, held=base.held.without_events([2]).recall(["b"]))

    patch = make_patch(base, changed)

    assert patch["held"] == {"2": None, "9": {"phase": "Ready"}}
    assert load_ledger(merged(as_stored(dump_ledger(base)), patch)).held == changed.held


def test_where_the_cursor_was_removed_they_are_expired() -> None:
    status = as_stored(dump_ledger(Ledger(held=THREE)))
    del status["cursor"]

    found = load_ledger(status)

    assert (found.held, found.totals.expired) == (HeldEvents(), 3)


def test_what_is_dropped_is_counted_once() -> None:
    assert drop_held(Ledger(held=THREE), [2, 5, 6]).totals.expired == 2
