"""What becomes of ApprovalAnswers: which are passed on, and what is written on them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from heed import names
from heed.api.conditions import find_condition
from heed.core.decision.decide import decide
from heed.core.effects import AgentRef
from heed.core.events import Event, Received
from heed.core.ledger.ledger import Ledger
from heed.errors import BusUnavailable
from heed.kube.approvals import answer_desk, identity_policy
from heed.kube.approvals.answer_desk import AnswerDesk
from heed.kube.approvals.identity_policy import ADMISSION_API, EXPRESSIONS, find_flaws
from heed.kube.client.client import ApiError, KubeApi
from heed.util.backoff import Backoff
from heed.util.clock import loop_time, now
from tests.builders.agents import AGENT, NAMESPACE, UID
from tests.builders.approvals import awaiting, buyer
from tests.builders.decisions import only_task
from tests.builders.events import at, task_end
from tests.integration.waiting import until
from tests.unit.apiserver import ApiServer
from tests.unit.memorybus import MemoryBus, MemoryReader

POLICY = "answers"
REF = AgentRef(NAMESPACE, AGENT, UID)
BUYER = buyer("1h", approvers={"users": ["kim", "lee"]})
LONG_AGO = "2026-01-01T00:00:00Z"
Object = dict[str, Any]
NOTHING = ("", "", "")


def policy_object(**spec: Any) -> Object:
    """The admission policy as it should be, or with other members."""
    rule = {
        "apiGroups": ["heed.dev"],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["approvalanswers"],
        "scope": "*",
    }
    right: Object = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": {}, "objectSelector": {}},
        "validations": [{"expression": text} for text in EXPRESSIONS],
    }
    return {"metadata": {"name": POLICY, "creationTimestamp": LONG_AGO}, "spec": {**right, **spec}}


def binding_object(**spec: Any) -> Object:
    """Its binding."""
    right = {"policyName": POLICY, "validationActions": ["Deny"]}
    return {"metadata": {"name": POLICY, "creationTimestamp": LONG_AGO}, "spec": {**right, **spec}}


class Desk:
    """A desk, an Agent that waits for an answer, and the API server."""

    def __init__(self, server: ApiServer, policy: str | None = POLICY) -> None:
        self.server, self.bus = server, MemoryBus()
        self.bus.come()  # what the Agent asked upon
        self.ledger: Ledger | None = awaiting(BUYER)
        self.task = only_task(self.ledger)
        kinds = {"policies": policy_object(), "policybindings": binding_object()}
        for kind, body in kinds.items():
            server.add(f"{ADMISSION_API}/validatingadmission{kind}/{POLICY}", **body)
        self.restart(policy)

    def restart(self, policy: str | None = POLICY) -> None:
        """Another operator, which knows only what is written."""
        self.desk = AnswerDesk(self.server.connect(KubeApi), self.bus, self.find)
        self.desk.trust(policy)

    def forget(self) -> None:
        """Another operator, and a ledger in which the task ended too long ago."""
        assert self.ledger is not None
        self.ledger = Ledger(cursor=self.ledger.cursor)
        self.restart()

    def find(self, namespace: str, name: str) -> tuple[AgentRef, Ledger] | None:
        known = (namespace, name) == (NAMESPACE, AGENT) and self.ledger is not None
        return (REF, self.ledger) if known and self.ledger is not None else None

    def path(self, name: str) -> str:
        return f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}/{names.APPROVAL_ANSWERS}/{name}"

    def add(self, name: str = "one", *, made: float = 2, generation: int = 1, **spec: Any) -> Object:
        """An answer that somebody makes, so many seconds after noon."""
        given = {"agent": AGENT, "task": self.task, "choice": "approve", "user": "kim", "groups": [], **spec}
        metadata = {"creationTimestamp": at(made)[:19] + "Z", "generation": generation}
        return self.server.add(self.path(name), spec=given, metadata=metadata)

    async def take(self, name: str = "one") -> tuple[str, str, str] | None:
        """Status, reason and message on an answer, once it was looked at."""
        self.desk.observe(self.server.at(self.path(name)), False)
        await self.desk.take((NAMESPACE, name))
        return self.verdict(name)

    def verdict(self, name: str = "one") -> tuple[str, str, str] | None:
        status = self.server.at(self.path(name)).get("status") or {}
        found = find_condition(status.get("conditions") or [], "Accepted")
        return None if found is None else (found["status"], found["reason"], found["message"])

    def decide(self, item: Received | None = None) -> None:
        """The Agent decides what was published, and commits that."""
        assert self.ledger is not None
        decision = decide(BUYER, self.ledger, item or self.bus.messages[-1])
        self.ledger = decision.ledger
        self.desk.committed(REF, [decision], decision.ledger)


@pytest.fixture
async def desk(server: ApiServer) -> Desk:
    return Desk(server)


async def test_an_answer_in_time_is_being_taken_until_it_is_passed_on(desk: Desk) -> None:
    other = replace(REF, name="other")
    assert not desk.desk.is_taking(REF, desk.task)

    desk.desk.observe(desk.add(made=3), False)

    assert desk.desk.is_taking(REF, desk.task)
    assert not desk.desk.is_taking(REF, "another-0123456789abcdef")
    assert not desk.desk.is_taking(other, desk.task)
    await desk.desk.take((NAMESPACE, "one"))
    assert not desk.desk.is_taking(REF, desk.task)


async def test_an_answer_that_came_too_late_or_was_refused_is_not_waited_for(desk: Desk) -> None:
    desk.desk.observe(desk.add("late", made=3700), False)
    assert not desk.desk.is_taking(REF, desk.task)

    desk.desk.observe(desk.add("wrong", user="eve"), False)
    assert desk.desk.is_taking(REF, desk.task)
    await desk.desk.take((NAMESPACE, "wrong"))
    assert not desk.desk.is_taking(REF, desk.task)


async def test_an_answer_that_counts_becomes_the_end_of_its_task(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.add(comment="fine", groups=["staff"])

    with caplog.at_level(logging.INFO):
        assert await desk.take() is None

    logged = vars(caplog.records[-1])
    assert logged["message"] == "answer passed on"
    assert (logged["agent"], logged["task"], logged["answer"], logged["user"]) == (
        str(REF),
        desk.task,
        "one",
        "kim",
    )

    ((subject, event),) = desk.bus.sent
    assert subject == names.inbox_subject(NAMESPACE, AGENT, names.TASK_COMPLETED)
    assert (event.id, event.subject) == (names.digest("answer", "uid-of-one"), desk.task)
    assert isinstance(event.data, dict)
    assert event.data["result"]["answeredBy"] == "kim"
    assert event.data["answer"] == {"name": "one", "groups": ["staff"]}


async def test_it_is_passed_on_once_and_again_after_a_restart_under_the_same_id(desk: Desk) -> None:
    desk.add()
    await desk.take()
    await desk.take()
    assert len(desk.bus.sent) == 1

    desk.restart()
    await desk.take()
    assert desk.ledger is not None
    desk.desk.resumed(REF, desk.ledger, [])
    await desk.take()

    assert len({event.id for _, event in desk.bus.sent}) == 1
    assert len(desk.bus.sent) == 3


async def test_what_the_decision_made_of_it_is_written(desk: Desk) -> None:
    desk.add("one")
    desk.add("two", user="lee", choice="reject")
    await desk.take("one")
    await desk.take("two")

    desk.decide(desk.bus.messages[1])
    desk.decide(desk.bus.messages[2])

    assert (await desk.take("one") or NOTHING)[:2] == ("True", "Accepted")
    assert await desk.take("two") == (
        "False",
        "AlreadyAnswered",
        f"kim answered approve at {at(2)[:19]}Z, and was first",
    )


async def test_one_that_was_dead_lettered_says_why(desk: Desk) -> None:
    desk.add()
    await desk.take()
    assert desk.ledger is not None
    (record,) = desk.ledger.pending_tasks.values()
    stricter = replace(record, request=(record.request or "").replace('"kim"', '"ada"'))
    desk.ledger = replace(desk.ledger, pending_tasks={desk.task: stricter})

    desk.decide()

    assert await desk.take() == ("False", "Invalid", "NotAnApprover: kim is not among the users ada, lee")


@pytest.mark.parametrize("forgotten", [False, True])
async def test_after_a_restart_the_ledger_or_the_first_answer_says_who_was_first(
    desk: Desk, forgotten: bool
) -> None:
    desk.add("one")
    await desk.take("one")
    desk.decide()
    await desk.take("one")
    assert desk.ledger is not None
    if forgotten:
        desk.ledger = Ledger(cursor=desk.ledger.cursor)
    desk.restart()
    await desk.take("one")

    desk.add("two", user="lee")

    assert (await desk.take("two") or NOTHING)[1] == "AlreadyAnswered"
    assert desk.bus.opened == [], "the stream is not searched for what is known"


async def test_who_was_first_is_remembered_where_the_ledger_has_forgotten_and_nothing_is_written_yet(
    desk: Desk,
) -> None:
    desk.add("one")
    await desk.take("one")
    desk.decide()
    assert desk.ledger is not None
    desk.ledger = replace(desk.ledger, recent_tasks=())

    desk.add("two", user="lee")

    assert (await desk.take("two") or NOTHING)[1] == "AlreadyAnswered"
    assert (await desk.take("one") or NOTHING)[:2] == ("True", "Accepted")
    assert desk.bus.opened == [], "the stream is not searched for what is known"


async def test_after_a_restart_the_stream_says_who_was_first_where_ledger_and_answers_do_not(
    desk: Desk,
) -> None:
    desk.add("one")
    await desk.take("one")
    desk.decide()
    desk.bus.come()  # an end of another task comes before, and one of this task that does not count comes after
    desk.bus.messages[0] = task_end(1, "buy-0")
    desk.bus.add(task_end(len(desk.bus.messages) + 1, desk.task, reason="DeadlineExceeded"))
    desk.forget()

    desk.add("two", user="lee")

    assert (await desk.take("two") or NOTHING)[:2] == ("False", "AlreadyAnswered")
    assert (await desk.take("one") or NOTHING)[:2] == ("True", "Accepted")
    assert desk.bus.opened[-1] == (
        tuple(
            names.inbox_subject(NAMESPACE, AGENT, type_)
            for type_ in (names.TASK_COMPLETED, names.TASK_FAILED)
        ),
        0,
        "2026-01-31T11:59:02Z",
    )


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ({"reason": "DeadlineExceeded"}, "Expired"),
        ({"reason": "Cancelled"}, "TaskEnded"),
        ({"result": {"choice": "reject", "timedOut": True}}, "Expired"),
    ],
)
async def test_after_a_restart_the_stream_says_how_a_task_ended_that_nobody_answered(
    desk: Desk, end: dict[str, Any], reason: str
) -> None:
    desk.bus.add(task_end(2, desk.task, **end))
    desk.forget()
    desk.add()

    assert (await desk.take() or NOTHING)[:2] == ("False", reason)


async def test_what_others_say_of_a_task_is_no_end_of_it(desk: Desk) -> None:
    said = task_end(2, desk.task, reason="Cancelled")
    assert isinstance(said.event, Event)
    desk.bus.add(replace(said, event=replace(said.event, source="/somebody")))
    desk.forget()
    desk.add()

    assert (await desk.take() or NOTHING)[:2] == ("False", "UnknownTask")


async def test_a_broker_that_delivers_nothing_in_time_proves_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(self: MemoryReader, limit: int, timeout: float) -> list[Received]:
        return []

    monkeypatch.setattr(MemoryReader, "read", nothing)
    desk.forget()
    desk.add()

    with pytest.raises(BusUnavailable, match="did not deliver in time"):
        await desk.take()
    assert desk.verdict() is None


async def test_what_was_not_read_to_its_end_proves_nothing(desk: Desk) -> None:
    desk.forget()
    desk.add()
    desk.bus.limits = (1, len(desk.bus.messages) + 1)

    with pytest.raises(BusUnavailable, match="has not delivered yet"):
        await desk.take()
    assert desk.verdict() is None


async def test_a_broker_that_is_away_leaves_an_answer_to_be_judged_later(desk: Desk) -> None:
    desk.forget()
    desk.add()
    desk.bus.away = True

    with pytest.raises(BusUnavailable):
        await desk.take()
    assert desk.verdict() is None


async def test_answers_that_a_task_waits_for_are_taken_before_others(desk: Desk) -> None:
    late = [f"late-{number}" for number in range(answer_desk.MAX_OTHERS + 3)]
    for name in late:
        desk.add(name, task="buy-0", user="kim")
        desk.desk.observe(desk.server.at(desk.path(name)), False)
    desk.add("one", user="kim")
    desk.desk.observe(desk.server.at(desk.path("one")), False)

    assert desk.desk._list_next() == [(NAMESPACE, name) for name in ("one", *late[: answer_desk.MAX_OTHERS])]


@pytest.mark.parametrize("other", [AgentRef(NAMESPACE, "other", "u-2"), AgentRef("elsewhere", AGENT, "u-3")])
async def test_another_agent_that_goes_on_has_no_answer_passed_on_again(desk: Desk, other: AgentRef) -> None:
    desk.add()
    await desk.take()

    desk.desk.resumed(other, Ledger(), [])
    await desk.take()

    assert len(desk.bus.sent) == 1


@pytest.mark.parametrize(("policy", "warned"), [(POLICY, False), (None, True), ("another", True)])
async def test_that_no_answer_will_be_believed_is_said_at_once(
    desk: Desk, caplog: pytest.LogCaptureFixture, policy: str | None, warned: bool
) -> None:
    desk.restart(policy)

    await desk.desk._warn()

    assert ("approvals cannot be answered" in caplog.text) is warned


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"user": "eve"}, "NotAnApprover", "eve is not among the users kim, lee"),
        ({"choice": "perhaps"}, "UnknownChoice", "choices are: approve, reject"),
        ({"fields": {"amount": 7}}, "InvalidFields", "has amount"),
        ({"made": 3602}, "Expired", "it could be answered until"),
        ({"generation": 2}, "Edited", "it was changed after it was given"),
        (
            {"task": "buy-0"},
            "UnknownTask",
            "no approval buy-0 waits: there never was one, or more than 10 tasks",
        ),
        ({"choice": "No Choice"}, "Invalid", "spec.choice"),
        ({"comment": "a\x00b"}, "InvalidFields", "no event can carry it"),
    ],
)
async def test_one_that_does_not_count_is_refused_and_the_approval_waits_on(
    desk: Desk, spec: dict[str, Any], reason: str, words: str
) -> None:
    desk.add(**spec)

    found = await desk.take()

    assert found is not None
    assert (found[0], found[1], words in found[2]) == ("False", reason, True), found
    assert desk.bus.sent == []


async def test_one_to_an_agent_that_does_not_run_yet_waits_for_it(desk: Desk) -> None:
    ledger, desk.ledger = desk.ledger, None
    desk.add()
    assert await desk.take() is None
    assert desk.bus.sent == []

    desk.ledger = ledger
    assert ledger is not None
    desk.desk.resumed(REF, ledger, [])
    await desk.desk.take((NAMESPACE, "one"))

    assert len(desk.bus.sent) == 1


async def test_a_task_that_ended_otherwise_says_how(desk: Desk) -> None:
    desk.decide(task_end(2, desk.task, reason="DeadlineExceeded"))
    desk.add()
    assert (await desk.take() or NOTHING)[:2] == ("False", "Expired")

    cancelled = Desk(desk.server)
    cancelled.decide(task_end(2, desk.task, reason="Cancelled"))
    cancelled.add("two")
    assert (await cancelled.take("two") or NOTHING)[1] == "TaskEnded"


@pytest.mark.parametrize(("user", "status"), [("eve", "False"), ("kim", "True")])
async def test_a_judged_answer_is_left_alone_and_deleted_an_hour_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, user: str, status: str
) -> None:
    desk.add(user=user)
    if await desk.take() is None:
        desk.decide()
        await desk.take()
    assert (desk.verdict() or NOTHING)[0] == status
    written = desk.server.count("PATCH")
    await desk.take()
    assert desk.server.count("PATCH") == written
    since = now()

    for minutes, left in ((59, 1), (61, 0)):
        later = since + timedelta(minutes=minutes)
        monkeypatch.setattr(answer_desk, "now", lambda later=later: later)
        await desk.desk.delete_old(timedelta(hours=1))
        assert len(desk.server.of(names.APPROVAL_ANSWERS)) == left


@pytest.mark.parametrize(("seconds", "delay"), [(3600, 60), (60, 60), (10, 10), (0.5, 1)])
async def test_old_answers_are_looked_for_every_minute_or_as_often_as_they_go(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, seconds: float, delay: float
) -> None:
    delays: list[float] = []

    async def sleep(delay: float) -> None:
        delays.append(delay)
        if len(delays) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)

    with pytest.raises(asyncio.CancelledError):
        await desk.desk._delete_as_due(timedelta(seconds=seconds))

    assert delays == [delay] * 3


async def test_an_agent_that_does_not_exist_is_said_after_a_while(desk: Desk) -> None:
    desk.add(agent="nobody")
    assert await desk.take() is None

    await desk.desk.sweep(lambda namespace, name: True)
    assert desk.verdict() is None
    await desk.desk.sweep(lambda namespace, name: False)

    assert (desk.verdict() or NOTHING)[1] == "UnknownAgent"


async def test_what_cannot_be_done_now_is_tried_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[int] = []

    class Noted(Backoff):
        def delay(self, attempt: int) -> float:
            failures.append(attempt)
            return 0.001

    monkeypatch.setattr(answer_desk, "RETRY_BACKOFF", Noted(0.001, 0.001))
    desk.bus.away = True
    desk.desk.observe(desk.add(), False)
    judging = asyncio.create_task(desk.desk.judge_as_due())
    await until(lambda: caplog.text.count("cannot take an answer") >= 2)
    assert failures[:2] == [1, 2]

    desk.bus.away = False

    await until(lambda: len(desk.bus.sent) == 1)
    judging.cancel()


async def test_a_conflict_leaves_the_answer_for_the_next_look(desk: Desk) -> None:
    body = desk.add(user="eve")
    desk.server.edit(desk.path("one"), metadata={"labels": {"seen": "later"}})
    desk.desk.observe(body, False)
    await desk.desk.take((NAMESPACE, "one"))
    assert desk.verdict() is None

    assert (await desk.take() or NOTHING)[1] == "NotAnApprover"


# ── who is believed ─────────────────────────────────────────────────────────────────────────────────────────────────


def looks(desk: Desk) -> int:
    """How often the policy was read."""
    return desk.server.count("GET", "validatingadmissionpolicies/")


async def test_one_look_at_the_policy_serves_all_answers_that_came_before_it(desk: Desk) -> None:
    for number in range(20):
        desk.desk.observe(desk.add(f"eve-{number}", user="eve"), False)

    for number in range(20):
        await desk.desk.take((NAMESPACE, f"eve-{number}"))

    assert {(desk.verdict(f"eve-{number}") or NOTHING)[1] for number in range(20)} == {"NotAnApprover"}
    assert (looks(desk), desk.server.count("GET", "validatingadmissionpolicybindings/")) == (1, 1)


async def test_an_answer_that_comes_after_a_look_at_the_policy_needs_another_one(desk: Desk) -> None:
    desk.add("early", user="eve")
    await desk.take("early")

    desk.server.remove(f"{ADMISSION_API}/validatingadmissionpolicies/{POLICY}")
    desk.add("forged", user="kim")

    assert (await desk.take("forged") or NOTHING)[1] == "IdentityUnproven"
    assert (looks(desk), desk.bus.sent) == (2, [])


async def test_one_that_comes_while_the_policy_is_read_is_not_vouched_for_by_that(desk: Desk) -> None:
    desk.add("early", user="eve")
    forged = desk.add("forged", user="kim")

    def come(method: str, path: str) -> None:
        if "validatingadmissionpolicybindings" in path:  # the policy itself was read already
            desk.server.remove(f"{ADMISSION_API}/validatingadmissionpolicies/{POLICY}")
            desk.server.refuse = lambda method, path: None
            desk.desk.observe(forged, False)

    desk.server.refuse = come
    assert (await desk.take("early") or NOTHING)[1] == "NotAnApprover"

    await desk.desk.take((NAMESPACE, "forged"))
    assert (desk.verdict("forged") or NOTHING)[1] == "IdentityUnproven"


async def test_thousands_of_answers_of_one_user_do_not_keep_others_waiting(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_desk, "MAX_TURNS", 4)
    for number in range(50):
        desk.desk.observe(desk.add(f"eve-{number}", user="eve"), False)
    desk.desk.observe(desk.add("kim"), False)
    publish, before = desk.bus.publish, list[int]()

    async def note(*arguments: Any) -> int:
        before.append(sum(desk.verdict(f"eve-{number}") is not None for number in range(50)))
        return await publish(*arguments)

    monkeypatch.setattr(desk.bus, "publish", note)
    judging = asyncio.create_task(desk.desk.judge_as_due())
    await until(lambda: all(desk.verdict(f"eve-{number}") for number in range(50)))
    judging.cancel()

    assert before == [1]


@pytest.mark.parametrize("policy", [None, "another"])
async def test_without_a_policy_nobody_is_believed(desk: Desk, policy: str | None) -> None:
    desk.restart(policy)
    desk.add()

    found = await desk.take()

    assert found is not None
    assert found[:2] == ("False", "IdentityUnproven")
    assert desk.bus.sent == []


async def test_where_the_policy_may_not_be_read_nobody_is_believed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.server.refuse = lambda method, path: 403 if "validatingadmission" in path else None
    monkeypatch.setattr(identity_policy, "REFUSED_GRACE_S", 0.0)

    for name in ("one", "two"):
        desk.add(name)
        assert (await desk.take(name) or NOTHING)[1] == "IdentityUnproven"


async def test_an_api_server_that_knows_no_roles_yet_is_asked_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.server.refuse = lambda method, path: 403 if "validatingadmissionpolicies" in path else None
    desk.desk.observe(desk.add(), False)

    with pytest.raises(ApiError):
        await desk.desk.take((NAMESPACE, "one"))

    # When it knows them, however soon it is started again
    desk.server.refuse = lambda method, path: None
    await desk.desk.take((NAMESPACE, "one"))
    assert len(desk.bus.sent) == 1

    monkeypatch.setattr(identity_policy, "loop_time", lambda: loop_time() + 3600)
    desk.server.refuse = lambda method, path: 403 if "validatingadmissionpolicybindings" in path else None
    desk.desk.observe(desk.add("late", user="eve"), False)
    with pytest.raises(ApiError):
        await desk.desk.take((NAMESPACE, "late"))


@pytest.mark.parametrize("known", ["pendingTasks", "recentTasks"])
async def test_an_answer_to_a_task_that_the_ledger_here_does_not_have_yet_waits(
    desk: Desk, known: str
) -> None:
    # Given a commit that the API server has stored, and that its Agent's loop has not heard of
    ahead, desk.ledger = desk.ledger, Ledger()
    tasks: Any = {desk.task: {}} if known == "pendingTasks" else [{"id": desk.task}]
    path = f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}/{names.PLURAL}/{AGENT}"
    desk.server.add(path, metadata={"uid": UID}, status={known: tasks})
    desk.add()
    assert await desk.take() is None

    # When it hears of it
    assert ahead is not None
    desk.ledger = ahead
    desk.desk.resumed(REF, ahead, [])
    await desk.take()

    # Then
    assert len(desk.bus.sent) == 1


@pytest.mark.parametrize("uid", [UID, "another"])
async def test_a_task_that_is_stored_nowhere_is_unknown(desk: Desk, uid: str) -> None:
    desk.ledger = Ledger()
    tasks: Any = {} if uid == UID else {desk.task: {}}
    path = f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}/{names.PLURAL}/{AGENT}"
    desk.server.add(path, metadata={"uid": uid}, status={"pendingTasks": tasks})
    desk.add()

    assert (await desk.take() or NOTHING)[1] == "UnknownTask"


async def test_that_no_answer_will_be_believed_is_said_when_it_is_known(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_desk, "RETRY_BACKOFF", Backoff(first_s=0.0, last_s=0.0))
    left = [403, 503, 403]
    desk.server.refuse = lambda method, path: left.pop() if left and "validatingadmission" in path else None
    desk.restart("another")

    await desk.desk._warn()

    assert (left, caplog.text.count("approvals cannot be answered")) == ([], 1)


async def test_where_the_api_server_does_not_say_it_is_asked_again(desk: Desk) -> None:
    desk.server.refuse = lambda method, path: 503 if "validatingadmission" in path else None
    desk.desk.observe(desk.add(), False)

    with pytest.raises(ApiError):
        await desk.desk.take((NAMESPACE, "one"))

    assert desk.verdict() is None
    desk.server.refuse = lambda method, path: None
    await desk.take()
    assert len(desk.bus.sent) == 1


RULE = policy_object()["spec"]["matchConstraints"]["resourceRules"][0]


@pytest.mark.parametrize(
    ("policy", "binding", "words"),
    [
        ({"failurePolicy": "Ignore"}, {}, "failurePolicy has to be Fail"),
        ({"matchConditions": [{"expression": "false"}]}, {}, "no matchConditions"),
        ({"paramKind": {"kind": "ConfigMap"}}, {}, "no paramKind"),
        ({"matchConstraints": {}}, {}, "does not match every ApprovalAnswer"),
        *[
            ({"matchConstraints": {"resourceRules": [{**RULE, **other}]}}, {}, "does not match every")
            for other in (
                {"operations": ["CREATE"]},
                {"operations": ["UPDATE"]},
                {"resources": ["agents"]},
                {"apiGroups": ["batch"]},
                {"apiVersions": ["v1"]},
                {"resourceNames": ["one"]},
                {"scope": "Cluster"},
            )
        ],
        *[
            (
                {"matchConstraints": {"resourceRules": [RULE], member: {"matchLabels": {"a": "b"}}}},
                {},
                "match every",
            )
            for member in ("namespaceSelector", "objectSelector", "excludeResourceRules")
        ],
        *[
            (
                {"validations": [{"expression": text} for text in EXPRESSIONS if text != missing]},
                {},
                "not that of this version",
            )
            for missing in EXPRESSIONS
        ],
        ({}, {"policyName": "another"}, "does not deny"),
        ({}, {"validationActions": ["Warn", "Audit"]}, "validationActions: [Deny]"),
        ({}, {"paramRef": {"name": "x"}}, "all namespaces"),
        ({}, {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}, "all namespaces"),
        ({}, {"matchResources": {"resourceRules": [RULE]}}, "all namespaces"),
    ],
)
def test_a_policy_that_leaves_something_out_vouches_for_nothing(
    policy: Object, binding: Object, words: str
) -> None:
    (flaw, *_) = find_flaws(policy_object(**policy), binding_object(**binding), "2026-02-01T00:00:00Z")

    assert words in flaw


def test_the_right_policy_vouches_for_what_came_a_while_after_it() -> None:
    def flaws(made_at: str, **metadata: Any) -> list[str]:
        young = policy_object()
        young["metadata"] = {**young["metadata"], **metadata}
        return list(find_flaws(young, binding_object(), made_at))

    assert flaws("2026-01-01T00:00:10Z") == []
    assert "older than the policy" in flaws("2026-01-01T00:00:09Z")[0]
    assert (
        "older than the policy" in flaws("2026-01-01T00:00:10Z", creationTimestamp="2026-01-01T00:00:01Z")[0]
    )
    assert "is being deleted" in flaws("2026-02-01T00:00:00Z", deletionTimestamp=LONG_AGO)[0]


def test_a_policy_that_does_not_say_so_fails_closed_as_the_api_server_has_it() -> None:
    silent = policy_object()
    del silent["spec"]["failurePolicy"]

    assert list(find_flaws(silent, binding_object(), "2026-02-01T00:00:00Z")) == []
