"""An Agent in CEL and its twin in Python make the same ledgers of the same events, in whatever order these come."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.core.events import Event
from heed.core.ledger.ledger import dump_ledger
from heed.sdk.loading import load_agent
from heed.sdk.testing import Simulation
from tests.markdown import ROOT

Action = tuple[str, Mapping[str, Any]]

IDS = st.sampled_from([f"id-{number}" for number in range(6)])  # few, so that there are duplicates
KEYS = st.sampled_from(["s-1", "s-2"])
DURATIONS = st.sampled_from(["1s", "70s", "6m", "59m", "3h", "8d"])
REASONS = st.sampled_from(["BackoffLimitExceeded", "Evicted"])
MESSAGES = st.sampled_from([None, "", "out of luck"])


def publish(type_: str, data: st.SearchStrategy[Mapping[str, Any]]) -> st.SearchStrategy[Action]:
    """Events of a type with some data, in one of the sessions."""
    return st.tuples(
        st.just("publish"),
        st.fixed_dictionaries({"type": st.just(type_), "data": data, "id": IDS, "key": KEYS}),
    )


def ends(task: str, result: st.SearchStrategy[Any]) -> st.SearchStrategy[Action]:
    """Ends of a task's oldest run, if there is one."""
    done = {"task": st.just(task), "result": result}
    lost = {"task": st.just(task), "reason": REASONS, "message": MESSAGES}
    return st.tuples(st.just("complete"), st.fixed_dictionaries(done)) | st.tuples(
        st.just("fail"), st.fixed_dictionaries(lost)
    )


WORLD: st.SearchStrategy[Action] = st.tuples(
    st.just("advance"), st.fixed_dictionaries({"duration": DURATIONS})
) | st.tuples(st.just("crash"), st.just({}))

TOPICS = st.fixed_dictionaries({}, optional={"topic": st.sampled_from(["", "tides", "comets"])})
RESEARCH = st.one_of(
    publish("com.example.question.asked", TOPICS),
    publish("com.example.question.closed", TOPICS),
    ends("research", st.fixed_dictionaries({"answer": st.text(max_size=5)})),
    WORLD,
)

ITEMS = st.lists(
    st.fixed_dictionaries({"sku": st.sampled_from(["lamp", "mug", "rug"]), "quantity": st.integers(1, 9)}),
    max_size=3,
)
ORDERS = st.one_of(
    publish("com.example.order.placed", st.fixed_dictionaries({"order": KEYS}, optional={"items": ITEMS})),
    ends("pack", st.fixed_dictionaries({"parcel": st.text(max_size=5)})),
    WORLD,
)

PARCELS = st.sampled_from(["lamp", "rug"])
SHIPMENT = {"shipment": KEYS}
JOIN = st.one_of(
    publish(
        "com.example.shipment.announced",
        st.fixed_dictionaries(SHIPMENT | {"parcels": st.lists(PARCELS, max_size=2, unique=True)}),
    ),
    publish(
        "com.example.shipment.scanned",
        st.fixed_dictionaries(SHIPMENT | {"parcel": PARCELS, "kg": st.integers(1, 9)}),
    ),
    publish(
        "com.example.shipment.departed",
        st.fixed_dictionaries(SHIPMENT | {"truck": st.sampled_from(["A", "B"])}),
    ),
    WORLD,
)


def act(simulation: Simulation, action: Action) -> None:
    """Do one action. A task that is not open is not ended."""
    name, given = action
    match name:
        case "publish":
            simulation.publish(
                Event(
                    given["id"],
                    "/twins",
                    given["type"],
                    given["data"],
                    datacontenttype="application/json",
                    extensions={"correlationid": given["key"]},
                )
            )
        case "complete" | "fail":
            if simulation.pending(given["task"]):
                getattr(simulation, name)(**given)
        case _:
            getattr(simulation, name)(**given)


def seen(simulation: Simulation) -> tuple[Any, ...]:
    """All that there is to compare: the ledger, the events, and which of them could not be decided."""
    ledger = dump_ledger(simulation.ledger())
    for task in ledger["pendingTasks"].values():
        task["kind"] = "job or function"
    for session in ledger["sessions"].values():
        state = session.get("state", {})
        session["state"] = {
            **{key: value for key, value in state.items() if key != "kg"},
            **{f"kg of {parcel}": kg for parcel, kg in state.get("kg", {}).items()},
        }
    emitted = [(event.id, event.type, event.data, event.extensions) for event in simulation.emitted]
    return ledger, emitted, [(letter.event.id, letter.cause.code) for letter in simulation.dead_letters]


@pytest.mark.parametrize(("example", "actions"), [("research", RESEARCH), ("orders", ORDERS), ("join", JOIN)])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_twins_make_the_same_ledgers(
    example: str, actions: st.SearchStrategy[Action], data: st.DataObject
) -> None:
    folder = ROOT / "examples" / example
    declared = Simulation(yaml.safe_load((folder / "agent.yaml").read_text()))
    coded = Simulation(load_agent(str(folder / "agent.py")))

    for action in data.draw(st.lists(actions, max_size=14)):
        act(declared, action)
        act(coded, action)
        assert seen(declared) == seen(coded)
