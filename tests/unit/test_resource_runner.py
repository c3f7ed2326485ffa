"""The runner of resource tasks against an API server in this process: starts, ends, losses and deletions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from heed import names
from heed.api.status import PendingTask, Phase
from heed.api.task import ResourceSpec
from heed.core.effects import TaskEnd, TaskWork
from heed.core.events import Event
from heed.core.tasks.resource import ObjectKind, dump_target
from heed.errors import BusUnavailable, TaskRefused, TaskUnavailable
from heed.kube.client.client import KubeApi
from heed.kube.resources import deletions, manifest, progress, runner
from heed.kube.resources.kinds import KindCache, ServedKind
from heed.kube.resources.runner import ResourceRunner
from heed.kube.resources.watches import ResourceUser, ResourceWatches
from heed.util.backoff import Backoff
from heed.util.clock import timestamp
from tests.builders.tasks import OWNER, pending_task, task_work
from tests.integration.waiting import until
from tests.unit.apiserver import ApiServer

KIND = ObjectKind("example.com", "v1", "Widget")
SERVED = ServedKind(KIND, "widgets")
TEMPLATE = {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"size": 1}}
TASK = "work-0123456789abcdef"
OTHER = "work-fedcba9876543210"
WIDGETS = f"/apis/example.com/v1/namespaces/{OWNER.namespace}/widgets"


def path_of(attempt_id: str = TASK) -> str:
    """The path of the object of an attempt."""
    return f"{WIDGETS}/{manifest.object_name(OWNER, attempt_id)}"


def waiting(phase: Phase = "Started", deletion: str = "AfterRetention", **more: Any) -> PendingTask:
    """A pending resource task."""
    given = ResourceSpec.model_validate(
        {
            "template": TEMPLATE,
            "succeeded": 'object.status.phase == "Ready" && object.kind == "Widget"',
            "progress": "object.status.percent",
            "deletion": deletion,
        }
    )
    record = pending_task(phase=phase, **{"target": dump_target(given), **more})
    return PendingTask(
        **{name: getattr(record, name) for name in PendingTask.__slots__} | {"kind": "resource"}
    )


def working(retention: int = 3600) -> TaskWork:
    """What starts it."""
    return task_work({"template": TEMPLATE}, id=TASK, kind="resource", retention=retention)


class Watches:
    """Holds nothing; what it lists is what a test says."""

    def __init__(self) -> None:
        self.held: list[ServedKind] = []
        self.kept: list[ServedKind] = []
        self.listed: set[str] = set()
        self.synced = asyncio.Event()
        self.synced.set()
        self.user: ResourceUser | None = None

    def hold(self, served: ServedKind, user: ResourceUser) -> None:
        self.held.append(served)
        self.user = user

    def release(self, user: ResourceUser, kept: Iterable[ServedKind] = ()) -> None:
        self.kept = list(kept)

    def is_listed(self, served: ServedKind) -> bool:
        assert served in self.held
        return self.synced.is_set()

    async def wait_until_listed(self, served: ServedKind) -> None:
        assert served in self.held
        await self.synced.wait()

    def lists(self, served: ServedKind, namespace: str, name: str) -> bool:
        assert (served, namespace) == (SERVED, OWNER.namespace)
        return name in self.listed


class Kinds:
    """Answers about kinds, one after the other, the last for good."""

    def __init__(self) -> None:
        self.answers: list[Exception | None] = [None]
        self.watchable = True

    async def find(self, kind: ObjectKind) -> ServedKind:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is not None:
            raise answer
        return SERVED

    async def may_watch(self, served: ServedKind, namespace: str) -> bool:
        assert (served, namespace) == (SERVED, OWNER.namespace)
        return self.watchable

    async def is_served(self, kind: ObjectKind) -> bool:
        try:
            return await self.find(kind) == SERVED
        except TaskRefused:
            return False


class Stand:
    """A runner and what is around it."""

    def __init__(self, server: ApiServer) -> None:
        self.server, self.watches, self.kinds = server, Watches(), Kinds()
        self.pending_tasks: dict[str, PendingTask] | None = {TASK: waiting()}
        self.ends: list[TaskEnd] = []
        self.said: list[Event] = []
        self.deaf = 0  # how often the broker does not answer
        self.runner = ResourceRunner(
            server.connect(KubeApi),
            OWNER,
            self,
            self._publish,
            watches=cast(ResourceWatches, self.watches),
            served=cast(KindCache, self.kinds),
            leftover=[KIND, KIND],
        )

    def waits(self, attempt_id: str) -> bool:
        if self.pending_tasks is None:
            return True
        task_id, attempt = names.split_attempt(attempt_id)
        record = self.pending_tasks.get(task_id)
        return record is not None and record.attempt == attempt and record.phase != "Abandoned"

    def report(self, end: TaskEnd) -> bool:
        self.ends.append(end)
        return True

    async def _publish(self, subject: str, event: Event) -> int:
        if self.deaf > 0:
            self.deaf -= 1
            raise BusUnavailable("away")
        assert subject == names.task_subject(OWNER.namespace, OWNER.name, TASK, names.TASK_PROGRESS)
        self.said.append(event)
        return len(self.said)

    def add(self, attempt_id: str = TASK, **status: Any) -> dict[str, Any]:
        """An object that is there."""
        made = manifest.object_manifest(task_work({"template": TEMPLATE}, id=attempt_id), "AfterRetention")
        return self.server.add(path_of(attempt_id), **{**made, "status": status})

    def sees(self, body: dict[str, Any], *, deleted: bool = False) -> None:
        """The watch shows an object, as a list would: without its kind."""
        shown = {name: value for name, value in body.items() if name not in ("apiVersion", "kind")}
        self.runner.observe(SERVED, shown, deleted)

    def reasons(self) -> list[str | None]:
        return [end.reason for end in self.ends]

    async def settle(self) -> None:
        """Until nothing is looked for."""
        await until(lambda: not self.runner._searches.under_way)


@pytest.fixture
async def stand(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stand]:
    monkeypatch.setattr(runner, "CONFIRM_DELAY_S", 0.0)
    monkeypatch.setattr(runner, "SEARCH_BACKOFF", Backoff(0.001, 0.01))
    monkeypatch.setattr(deletions, "DELETION_BACKOFF", Backoff(0.001, 0.01))
    monkeypatch.setattr(progress, "PROGRESS_BACKOFF", Backoff(0.001, 0.01))
    monkeypatch.setattr(progress, "PROGRESS_INTERVAL_S", 0.001)
    made = Stand(server)
    yield made
    made.runner.close()


UNKNOWN = TaskRefused("KindUnknown", "no such kind")


# --- starts -------------------------------------------------------------------------------------------------------


async def test_a_start_creates_the_object_and_nothing_is_looked_for_first(stand: Stand) -> None:
    await stand.runner.start(working(), look_first=True)

    assert stand.server.asked == [("POST", f"{WIDGETS}?fieldValidation=Strict")]
    assert stand.server.bodies == [manifest.object_manifest(working(), "AfterRetention")]
    assert stand.watches.held == [SERVED]
    assert stand.ends == []


async def test_a_start_that_comes_twice_creates_one_object(stand: Stand) -> None:
    await stand.runner.start(working())
    stand.server.edit(path_of(), status={"phase": "Ready"})

    await stand.runner.start(working())

    assert len(stand.server.of("widgets")) == 1
    assert [end.completed for end in stand.ends] == [True]


@pytest.mark.parametrize("there", [True, False])
async def test_an_object_that_goes_before_its_kind_was_listed_is_lost(stand: Stand, there: bool) -> None:
    stand.watches.synced.clear()
    await stand.runner.start(working())
    if there:
        stand.watches.listed = {manifest.object_name(OWNER, TASK)}
    else:
        stand.server.objects.clear()

    stand.watches.synced.set()
    await stand.settle()

    assert stand.reasons() == ([] if there else ["ResourceLost"])


async def test_an_object_of_someone_else_is_never_taken_over(stand: Stand) -> None:
    stand.server.add(path_of(), **TEMPLATE)

    with pytest.raises(TaskRefused, match=r"there is a Widget .* that is not Heed's; delete it") as refused:
        await stand.runner.start(working())
    assert refused.value.reason == "NameTaken"


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (403, "widgets is forbidden", "Forbidden"),
        (422, "wrong", "InvalidResource"),
        (400, "wrong", "InvalidResource"),
    ],
)
async def test_a_final_refusal_ends_the_start(stand: Stand, status: int, message: str, reason: str) -> None:
    stand.server.refuse = lambda method, path: (status, {"message": message}) if method == "POST" else None

    with pytest.raises(TaskRefused) as refused:
        await stand.runner.start(working())
    assert refused.value.reason == reason


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_a_start_without_any_rights_or_answer_is_told_by_its_create(stand: Stand, status: int) -> None:
    stand.server.refuse = lambda method, path: status

    with pytest.raises(TaskRefused if status == 403 else TaskUnavailable):
        await stand.runner.start(working())


@pytest.mark.parametrize("status", [403, 500, 422])
async def test_a_refusal_is_of_no_interest_where_the_object_is_there(stand: Stand, status: int) -> None:
    stand.add()
    stand.server.refuse = lambda method, path: status if method == "POST" else None

    await stand.runner.start(working())


@pytest.mark.parametrize("unread", [403, 429, 504])
async def test_a_refusal_is_not_final_while_it_is_not_known_whether_the_object_is_there(
    stand: Stand, unread: int
) -> None:
    stand.add()
    stand.server.refuse = lambda method, path: (
        (422, {"message": "no"}) if method == "POST" else unread if "widgets" in path else None
    )

    with pytest.raises(TaskUnavailable, match="whether there is an object already"):
        await stand.runner.start(working())


async def test_that_it_is_forbidden_counts_at_the_second_look(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals, rights = [403], [False, True, True]
    stand.server.refuse = lambda method, path: refusals.pop() if refusals and method == "POST" else None
    monkeypatch.setattr(stand.kinds, "may_watch", AsyncMock(side_effect=rights))

    with pytest.raises(
        TaskRefused, match=r"tasks\.resources"
    ):  # first no right to watch, then none to create
        await stand.runner.start(working())
    await stand.runner.start(working())

    assert len(stand.server.of("widgets")) == 1


async def test_a_quota_is_tried_again(stand: Stand) -> None:
    stand.server.refuse = lambda method, path: (
        (403, {"message": "exceeded quota: q"}) if method == "POST" else None
    )

    with pytest.raises(TaskUnavailable, match="exceeded quota"):
        await stand.runner.start(working())


async def test_a_kind_is_unknown_at_the_second_look(stand: Stand) -> None:
    stand.kinds.answers = [UNKNOWN, None]
    await stand.runner.start(working())
    assert len(stand.server.of("widgets")) == 1

    stand.kinds.answers = [UNKNOWN]
    with pytest.raises(TaskRefused) as refused:
        await stand.runner.start(working())
    assert refused.value.reason == "KindUnknown"


async def test_other_refusals_of_a_kind_count_at_once(stand: Stand) -> None:
    stand.kinds.answers = [TaskRefused("ClusterScoped", "no"), None]

    with pytest.raises(TaskRefused) as refused:
        await stand.runner.start(working())
    assert refused.value.reason == "ClusterScoped"


async def test_a_kind_that_goes_while_the_object_is_created_is_unknown(stand: Stand) -> None:
    stand.server.refuse = lambda method, path: 404
    stand.kinds.answers = [None, UNKNOWN]

    with pytest.raises(TaskRefused) as refused:
        await stand.runner.start(working())
    assert refused.value.reason == "KindUnknown"

    stand.kinds.answers = [None]
    with pytest.raises(TaskUnavailable):
        await stand.runner.start(working())


async def test_a_task_that_is_over_is_not_started(stand: Stand) -> None:
    stand.pending_tasks = {}

    await stand.runner.start(working())

    assert stand.server.asked == []


async def test_a_record_that_somebody_spoilt_ends_its_task(stand: Stand) -> None:
    stand.pending_tasks = {TASK: waiting("Owed", target="{}")}

    await stand.runner.start(working())

    assert stand.server.asked == []
    assert stand.reasons() == ["ExpressionFailed"]


async def test_nothing_is_created_that_the_operator_may_not_watch(stand: Stand) -> None:
    stand.kinds.watchable = False

    with pytest.raises(TaskRefused) as refused:
        await stand.runner.start(working())

    assert (refused.value.reason, refused.value.message) == (
        "Forbidden",
        "spec.tasks.work.resource: the operator may not watch widgets.example.com; to let the operator work with "
        'widgets.example.com, add {group: "example.com", resources: [widgets]} to tasks.resources of the chart',
    )
    assert stand.server.asked == []
    assert stand.watches.held == []


# --- ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "ends"), [("Owed", 1), ("Started", 1), ("Cancelling", 0), ("Abandoned", 0), ("Retrying", 0)]
)
async def test_an_end_is_told_while_someone_waits_for_it(stand: Stand, phase: Phase, ends: int) -> None:
    stand.pending_tasks = {TASK: waiting(phase)}

    stand.sees(stand.add(phase="Ready"))

    assert len(stand.ends) == ends


@pytest.mark.parametrize("pending", [None, {}, {OTHER: waiting()}])
async def test_no_end_is_told_of_what_is_not_pending(
    stand: Stand, pending: dict[str, PendingTask] | None
) -> None:
    stand.pending_tasks = pending

    stand.sees(stand.add(phase="Ready"))

    assert stand.ends == []


async def test_an_object_without_labels_is_known_by_its_name(stand: Stand) -> None:
    body = stand.add(phase="Ready")
    body["metadata"]["labels"] = None

    stand.sees(body)

    assert len(stand.ends) == 1


async def test_a_copy_of_an_object_under_another_name_is_of_no_task(stand: Stand) -> None:
    body = stand.add(phase="Ready")
    body["metadata"]["name"] = "copy"

    stand.sees(body)

    assert stand.ends == []


async def test_progress_is_told_when_it_changes_and_again_where_the_broker_is_away(stand: Stand) -> None:
    stand.deaf = 2
    for percent in (10, 10, 20):
        body = stand.add(phase="Working", percent=percent)
        stand.sees(body)
        await until(lambda percent=percent: [e.data for e in stand.said][-1:] == [percent])

    assert [event.data for event in stand.said] == [10, 20]
    assert {(event.type, event.subject) for event in stand.said} == {(names.TASK_PROGRESS, TASK)}


async def test_after_progress_was_told_the_next_trouble_is_the_first_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[int] = []

    class Noted(Backoff):
        def delay(self, attempt: int) -> float:
            failures.append(attempt)
            return 0.0

    async def publish(subject: str, event: Event) -> int:
        sequence = await stand._publish(subject, event)
        if event.data == 10:  # there is more to tell at once
            stand.deaf = 1
            stand.sees(stand.add(phase="Working", percent=20))
        return sequence

    monkeypatch.setattr(progress, "PROGRESS_BACKOFF", Noted(0.0, 0.0))
    monkeypatch.setattr(stand.runner._progress, "_publish", publish)
    stand.deaf = 2
    stand.sees(stand.add(phase="Working", percent=10))
    await until(lambda: [event.data for event in stand.said] == [10, 20])

    assert failures == [1, 2, 1]


async def test_only_the_latest_progress_is_told(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PROGRESS_INTERVAL_S", 1000.0)
    stand.sees(stand.add(phase="Working", percent=1))
    await until(lambda: len(stand.said) == 1)
    for percent in (2, 3):
        stand.sees(stand.add(phase="Working", percent=percent))

    stand.sees(stand.add(phase="Ready", percent=4))

    assert len(stand.ends) == 1
    assert stand.runner._progress._publishing == {}
    assert [event.data for event in stand.said] == [1]


# --- losses -------------------------------------------------------------------------------------------------------


async def test_what_the_watch_shows_as_deleted_is_lost_if_it_is_gone(stand: Stand) -> None:
    body = stand.add()
    stand.server.remove(path_of())

    began = timestamp()
    stand.sees(body, deleted=True)
    await stand.settle()

    assert began <= stand.ends[0].at <= timestamp()
    assert stand.ends == [
        TaskEnd(
            TASK,
            names.digest("lost", TASK),
            stand.ends[0].at,
            False,
            reason="ResourceLost",
            message="the Widget is gone; it was deleted by someone else than Heed",
            attempt=1,
        )
    ]
    assert stand.server.count("GET", path_of()) == 2


async def test_with_its_kind_an_object_is_lost_as_such(stand: Stand) -> None:
    body = stand.add()
    stand.server.remove(path_of())
    stand.kinds.answers = [None, None, UNKNOWN]

    stand.sees(body, deleted=True)
    await stand.settle()

    assert stand.reasons() == ["KindUnknown"]


async def test_an_object_that_only_lost_its_label_is_looked_at_until_it_is_over(stand: Stand) -> None:
    body = stand.add()
    stand.server.edit(path_of(), metadata={"labels": None})

    stand.sees(body, deleted=True)
    await until(lambda: stand.server.count("GET", path_of()) > 2)
    assert stand.ends == []
    stand.server.edit(path_of(), status={"phase": "Ready"})
    await until(lambda: bool(stand.ends))
    stand.pending_tasks = {}
    await stand.settle()

    assert stand.ends[0].completed


async def test_an_object_that_was_replaced_is_lost_and_stays(stand: Stand) -> None:
    body = stand.add()
    stand.server.add(path_of(), **TEMPLATE)

    stand.sees(body, deleted=True)
    await stand.settle()

    assert stand.reasons() == ["ResourceLost"]
    assert len(stand.server.of("widgets")) == 1


async def test_an_api_server_that_does_not_answer_proves_no_loss(stand: Stand) -> None:
    body = stand.add()
    refusals = [500, 503, 403]
    stand.server.refuse = lambda method, path: refusals.pop() if refusals else None

    stand.sees(body, deleted=True)
    await stand.settle()

    assert stand.ends == []
    assert stand.server.count("GET", path_of()) == 4


async def test_a_deletion_is_of_no_interest_where_nobody_waits(stand: Stand) -> None:
    stand.pending_tasks = {}

    stand.sees(stand.add(), deleted=True)

    assert stand.runner._searches.under_way == {}


@pytest.mark.parametrize("answer", [UNKNOWN, TaskUnavailable("away")])
async def test_a_kind_that_cannot_be_asked_for_is_looked_for_beside_the_agents_other_work(
    stand: Stand, answer: Exception
) -> None:
    stand.kinds.answers = [answer, answer, None]
    stand.add(phase="Ready")

    await stand.runner.resume([TASK])
    await stand.settle()

    assert [end.completed for end in stand.ends] == [True]
    assert stand.watches.held


async def test_a_kind_that_went_while_no_operator_ran_ends_its_tasks(stand: Stand) -> None:
    stand.kinds.answers = [UNKNOWN]

    await stand.runner.resume([TASK])
    await stand.settle()

    assert stand.reasons() == ["KindUnknown"]
    assert stand.server.count("GET", path_of()) == 0


async def test_a_task_that_is_over_keeps_no_other_from_being_looked_for(stand: Stand) -> None:
    await stand.runner.resume([OTHER, TASK])
    await stand.settle()

    assert [(end.task_id, end.reason) for end in stand.ends] == [(TASK, "ResourceLost")]


async def test_a_task_whose_object_is_not_listed_is_looked_for_when_the_agent_goes_on(stand: Stand) -> None:
    stand.pending_tasks = {TASK: waiting(), OTHER: waiting()}
    stand.watches.listed = {manifest.object_name(OWNER, OTHER)}

    await stand.runner.resume([TASK, OTHER])
    await stand.settle()

    assert [(end.task_id, end.reason) for end in stand.ends] == [(TASK, "ResourceLost")]


async def test_a_resync_looks_for_started_tasks_that_were_not_listed(stand: Stand) -> None:
    await stand.runner.start(working())
    name = (OWNER.namespace, manifest.object_name(OWNER, TASK))
    stand.server.remove(path_of())
    stand.runner.conclude_resync({SERVED: {name}})
    stand.runner.conclude_resync({})
    await stand.settle()
    assert stand.ends == []
    assert stand.watches.kept == [SERVED]

    stand.runner.conclude_resync({SERVED: set()})
    await stand.settle()
    assert stand.reasons() == ["ResourceLost"]

    stand.pending_tasks = {}
    stand.runner.conclude_resync({SERVED: set()})
    assert stand.watches.kept == []


async def test_a_kind_that_cannot_be_listed_any_more_is_asked_for(stand: Stand) -> None:
    await stand.runner.start(working())
    stand.server.remove(path_of())
    stand.kinds.answers = [UNKNOWN]
    assert stand.watches.user is not None

    stand.watches.user.missing(ServedKind(KIND, "others"))
    assert stand.runner._searches.under_way == {}
    stand.watches.user.missing(SERVED)
    await stand.settle()

    assert stand.reasons() == ["KindUnknown"]


# --- deletions ----------------------------------------------------------------------------------------------------


async def test_a_task_is_stopped_by_deleting_its_object(stand: Stand) -> None:
    stand.add()
    stand.add(OTHER)

    await stand.runner.cancel(TASK)
    await stand.runner.cancel(TASK)

    assert [item["metadata"]["name"] for item in stand.server.of("widgets")] == [
        manifest.object_name(OWNER, OTHER)
    ]


async def test_what_is_not_the_tasks_is_not_deleted(stand: Stand) -> None:
    stand.server.add(path_of(), **TEMPLATE)
    await stand.runner.cancel(TASK)
    assert len(stand.server.of("widgets")) == 1

    stand.kinds.answers = [UNKNOWN]
    await stand.runner.cancel(TASK)
    stand.pending_tasks = {}
    await stand.runner.cancel(TASK)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_deletion_that_is_forbidden_is_logged_and_others_are_tried_again(
    stand: Stand, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    stand.add()
    stand.server.refuse = lambda asked, path: 403 if asked == method else None
    await stand.runner.cancel(TASK)
    assert "cannot delete an object" in caplog.text
    logged = vars(caplog.records[-1])
    assert (logged["agent"], logged["task"]) == (str(OWNER), TASK)
    assert "403" in logged["error"]
    assert "tasks.resources" in logged["remedy"]

    stand.server.refuse = lambda asked, path: 500 if asked == method else None
    with pytest.raises(TaskUnavailable):
        await stand.runner.cancel(TASK)


async def test_a_deletion_waits_for_a_start_in_flight(stand: Stand) -> None:
    stand.server.open.clear()
    starting = asyncio.create_task(stand.runner.start(working()))
    await until(lambda: stand.server.count("POST") == 1)
    stopping = asyncio.create_task(stand.runner.cancel(TASK))
    await asyncio.sleep(0)
    stand.server.open.set()
    await starting
    await stopping

    assert stand.server.of("widgets") == []


async def test_an_object_that_is_over_goes_once_its_end_is_in_the_ledger(stand: Stand) -> None:
    body = stand.add(phase="Ready")  # of a day whose retention is over
    stand.sees(body)
    assert len(stand.ends) == 1
    await until(lambda: bool(stand.runner._deletions.pending))
    assert len(stand.server.of("widgets")) == 1
    refusals = [500]
    stand.server.refuse = lambda method, path: refusals.pop() if refusals else None

    stand.pending_tasks = {}

    await until(lambda: stand.server.of("widgets") == [])
    assert stand.server.count("DELETE", path_of()) == 2


async def test_a_deletion_waits_for_the_ledger_at_an_even_pace_and_backs_off_where_it_fails(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []

    class Noted(Backoff):
        def delay(self, attempt: int) -> float:
            attempts.append(attempt)
            if len(attempts) == 2:  # its end is in the ledger
                stand.pending_tasks = {}
            return 0.0

    monkeypatch.setattr(deletions, "DELETION_BACKOFF", Noted(0.0, 0.0))
    refusals = [500, 500]
    stand.server.refuse = lambda method, path: refusals.pop() if refusals else None
    stand.sees(stand.add(phase="Ready"))

    await until(lambda: stand.server.of("widgets") == [])

    assert attempts == [1, 1, 2, 3]


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (409, 1), (405, 2)])
async def test_what_is_gone_when_its_retention_is_over_is_not_asked_for_again(
    stand: Stand, status: int, tries: int
) -> None:
    stand.sees(stand.add(phase="Ready"))
    (deletion,) = stand.runner._deletions.pending.values()
    refusals = [status]
    stand.server.refuse = lambda method, path: refusals.pop() if refusals else None

    stand.pending_tasks = {}
    await deletion

    assert stand.server.count("DELETE", path_of()) == tries


async def test_an_object_that_is_to_be_kept_stays(stand: Stand) -> None:
    body = stand.add(phase="Ready")
    body["metadata"]["annotations"] = {names.ANNOTATION_RETENTION: manifest.KEEP}

    stand.sees(body)

    assert len(stand.ends) == 1
    assert stand.runner._deletions.pending == {}


async def test_objects_that_no_task_waits_for_are_found_when_the_agent_goes_on_and_go_after_a_while(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.pending_tasks = {}
    stand.add()
    await stand.runner.resume([])
    await stand.settle()
    ((method, path),) = stand.server.asked
    assert method == "GET"
    assert path.startswith(f"{WIDGETS}?labelSelector={names.LABEL_RESOURCE_OF}%3D{OWNER.name}&")
    assert len(stand.runner._deletions.pending) == 1
    assert len(stand.server.of("widgets")) == 1
    stand.runner.close()

    again = Stand(stand.server)
    again.pending_tasks = {}
    monkeypatch.setattr(runner, "UNKNOWN_GRACE_S", 0.0)
    await again.runner.resume([])
    await until(lambda: stand.server.of("widgets") == [])
    again.runner.close()


async def test_what_cannot_be_listed_when_the_agent_goes_on_is_logged(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    stand.server.refuse = lambda method, path: 500

    await stand.runner.resume([])
    await stand.settle()

    logged = vars(caplog.records[-1])
    assert (logged["message"], logged["agent"], logged["kind"]) == (
        "cannot list objects",
        str(OWNER),
        str(KIND),
    )
    assert "500" in logged["error"]


async def test_a_runner_that_is_closed_notes_nothing(stand: Stand) -> None:
    stand.runner.close()

    stand.sees(stand.add(phase="Ready"))
    stand.sees(stand.add(), deleted=True)

    assert stand.ends == []
    assert stand.runner._searches.under_way == {}
