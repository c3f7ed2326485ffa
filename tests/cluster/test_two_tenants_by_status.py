"""What a hostile tenant does to another by the status of its own Agents, which it may write here: few may, elsewhere.

In it stands what the operator is to do next: what is tried is that it does so with its rights, in another namespace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.controlplane.waiting import eventually
from tests.cluster.tenancy import (
    NOTED,
    ORDERED,
    Tenants,
    ask,
    bookkeeper,
    hearing,
    hearing_agent,
    owed_in_status,
    pending,
    publishing_researcher,
)
from tests.patience import PATIENCE
from tests.statuses import totals

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def nothing_left(tenants: Tenants) -> Iterator[None]:
    """Each story begins with empty namespaces."""
    yield
    tenants.clear()


def test_a_task_whose_id_leads_to_another_namespace_deletes_nothing_there(tenants: Tenants) -> None:
    # Given a Job in `b`
    tenants.victims(publishing_researcher("asked-5"))
    ask(tenants, tenants.b, "q-5")
    job = tenants.job(tenants.b, "asked-5")["metadata"]
    tenants.apply(hearing_agent("breaker", hearing()))
    tenants.until(tenants.a, "breaker", lambda s: "cursor" in s or s.get("conditions"))
    tenants.ready(tenants.a, "breaker")
    path = f"x/../../../{tenants.b}/jobs/{job['name']}"

    # When the operator is to end tasks of which the API's path would be that Job's
    tasks = {path: pending(), f"{path}?": pending(), f"{path}#": pending(phase="Abandoned")}
    tasks |= {f"x%2F..%2F..%2F..%2F{tenants.b}%2Fjobs%2F{job['name']}": pending()}
    tenants.write_status("breaker", {"pendingTasks": tasks})
    tenants.say(
        tenants.a, ORDERED, "o-5", {}
    )  # on committing that, the operator sees that the status is another one

    # Then they end, and the Job is there
    def over() -> bool:
        status = tenants.of(tenants.a).status("breaker")
        ended = totals(status).get("tasksFailed") == 3 and not status.get("pendingTasks")
        return ended or uids(tenants, tenants.b) != [job["uid"]]

    eventually(over, PATIENCE, what=f"the end of the tasks; log: {tenants.operator.log}")
    assert uids(tenants, tenants.b) == [job["uid"]]


def uids(tenants: Tenants, namespace: str) -> list[str]:
    """Of the Jobs of a namespace."""
    return [job["metadata"]["uid"] for job in tenants.of(namespace).jobs()]


def test_a_status_that_speaks_of_another_namespace_is_heeded_by_nobody(tenants: Tenants) -> None:
    # Given Agents in `b`, and events there
    a, b = tenants.a, tenants.b
    tenants.victims(bookkeeper("books-6"), hearing_agent("victim-6", hearing()))
    places = [tenants.say(b, ORDERED, f"o-6-{n}", {"n": n}) for n in range(3)]
    tenants.until(b, "books-6", lambda s: totals(s).get("handled") == 3)
    tenants.apply(*(hearing_agent(name, hearing()) for name in ("forger", "waiter", "jumper", "keeper")))
    tenants.say(a, ORDERED, "begin-6", {})
    for name in ("forger", "waiter", "jumper", "keeper"):
        tenants.until(a, name, lambda s: s.get("cursor"))
    before = tenants.in_b()

    # When Mallory writes into the status of Agents: what they owe, where they are, what waits, what they once were
    subjects = [
        f"heed.events.{b}.{ORDERED}",
        f"heed.inbox.{b}.victim-6.{ORDERED}",
        f"heed.redrive.{b}.victim-6.{ORDERED}",
        f"heed.events.{a}.x 2\r\n{{}}\r\nPUB heed.events.{b}.{ORDERED} 2\r\n{{}}\r\n",
        f"heed-dead.{b}.victim-6",
        "$JS.API.STREAM.PURGE.HEED",
        "heed.>",
    ]
    outbox = {f"m-{n}": owed_in_status("forger", a, subject) for n, subject in enumerate(subjects)}
    tenants.write_status("forger", {"outbox": outbox})
    tenants.write_status("waiter", {"waiting": {str(place): "abcd" for place in (*places, 1, 2)}})
    tenants.write_status("jumper", {"cursor": {"stream": "HEED_DEAD", "sequence": places[0], "created": "x"}})
    spec = {"subscribe": [{"type": ">", "namespace": b}], "handlers": [hearing()]}
    tenants.write_status("keeper", {"lastValidSpec": json.dumps({"generation": 1, "spec": spec})})
    tenants.apply(hearing_agent("keeper", hearing(), subscribe=[{"type": ">", "namespace": b}]))
    tenants.say(
        a, ORDERED, "wake-6", {}
    )  # on committing that, the operator sees that a status is another one

    # Then it is said that this cannot be, and nothing of it happens in `b`
    tenants.until(a, "waiter", lambda s: not s.get("waiting"))
    tenants.ready(a, "forger", "EffectsStuck")
    tenants.ready(a, "keeper", "NotGranted")
    tenants.say(b, ORDERED, "o-6-last", {"n": 9})
    status = tenants.until(b, "books-6", lambda s: totals(s).get("handled") == 4)
    assert totals(status) == {"handled": 4, "emitted": 4}
    ordered = [f"heed.events.{b}.{type_}" for type_ in (ORDERED, NOTED)]
    assert set(tenants.in_b()[len(before) :]) <= {*ordered}
    for name in ("forger", "waiter", "jumper", "keeper"):
        assert "o-6-" not in json.dumps(tenants.of(a).status(name).get("sessions"))


def test_numbers_that_nobody_could_have_counted_leave_the_metrics_of_others(tenants: Tenants) -> None:
    tenants.victims(bookkeeper("books-7"))
    tenants.apply(hearing_agent("counter", hearing()))
    tenants.ready(tenants.a, "counter")

    most = 2**62
    tenants.write_status("counter", {"totals": {"handled": most, "ignored": -most, "emitted": most}})
    tenants.say(tenants.a, ORDERED, "o-7", {})
    tenants.until(tenants.a, "counter", lambda s: "o-7" in json.dumps(s))

    assert 'agent="books-7"' in tenants.operator.metrics()
