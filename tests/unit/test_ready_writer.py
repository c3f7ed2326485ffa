"""Writing conditions: fenced, few at a time, none without need. The cluster tests do the same on a real API server."""

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest

from heed.core.effects import AgentRef
from heed.kube.client.client import ApiError, ApiResponse, KubeApi
from heed.kube.status import condition_writer
from heed.kube.status.loop_health import UNDECIDED, Verdict
from heed.kube.status.ready import WantedConditions
from heed.kube.status.ready_writer import MAX_CONCURRENT_STATUS_WRITES, ReadyWriter
from heed.kube.status.reasons import Trouble
from heed.util.backoff import Backoff
from tests.patience import PATIENCE
from tests.unit.logs import logged

BETWEEN = 1000.0
AWAY = Trouble("BrokerUnavailable", "no connection")
Object = dict[str, Any]


class Objects(KubeApi):
    """Agents in memory with their versions: what an API server makes of a merge patch with a precondition."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.version = 0
        self.reads, self.writes, self.most_at_once = 0, 0, 0
        self.obstacle: Callable[[], ApiError | None] = lambda: None
        self.before_merge: Callable[[str], None] = lambda path: None
        self.open = asyncio.Event()
        self.open.set()
        self._at_once = 0

    def add(self, agent: AgentRef, **status: Any) -> Object:
        path = f"/apis/heed.dev/v1alpha1/namespaces/{agent.namespace}/agents/{agent.name}"
        self.objects[path] = {
            "metadata": {"namespace": agent.namespace, "name": agent.name, "uid": agent.uid},
            "status": status,
        }
        return self.touch(path)

    def touch(self, path: str, **status: Any) -> Object:
        """Someone else writes."""
        self.version += 1
        found = self.objects[path]
        found["metadata"]["resourceVersion"] = str(self.version)
        found["status"] = {k: v for k, v in {**found["status"], **status}.items() if v is not None}
        return copy.deepcopy(found)

    async def get(self, path: str, query: Any = None, *, accept: str = "") -> ApiResponse:
        self.reads += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self.open.wait()
            await asyncio.sleep(0)
            if (error := self.obstacle()) is not None:
                raise error
            if path not in self.objects:
                raise ApiError(404, "not found")
            return ApiResponse(copy.deepcopy(self.objects[path]), 100)
        finally:
            self._at_once -= 1

    async def merge(self, path: str, patch: Any) -> ApiResponse:
        path = path.removesuffix("/status")
        self.before_merge(path)
        if patch["metadata"]["resourceVersion"] != self.objects[path]["metadata"]["resourceVersion"]:
            raise ApiError(409, "the object has been modified")
        assert patch["metadata"]["uid"] == self.objects[path]["metadata"]["uid"]
        self.writes += 1
        return ApiResponse(self.touch(path, **patch["status"]), 100)


class Talk:
    """A ReadyWriter, what is wanted of it, and what came of it."""

    def __init__(self, between: float = BETWEEN) -> None:
        self.api = Objects()
        self.verdicts: dict[AgentRef, Verdict] = {}
        self.tasks: dict[AgentRef, Verdict] = {}
        self.words: dict[AgentRef, WantedConditions] = {}
        self.told: list[tuple[str, str]] = []  # of refusals: reason and note
        self.writer = ReadyWriter(
            self.api, self.wanted, between, refused=lambda agent, *said: self.told.append(said)
        )

    def wanted(self, agent: AgentRef) -> WantedConditions | None:
        word = self.words.get(agent)
        return word.with_trouble(self.verdicts.get(agent)).with_tasks(self.tasks.get(agent)) if word else None

    def begin(self, number: int = 1, generation: int = 1, **status: Any) -> AgentRef:
        """An Agent is seen for the first time."""
        agent = AgentRef("demo", f"agent-{number}", f"uid-{number}")
        self.words[agent] = WantedConditions(generation, "True", "Subscribed", "1 pattern")
        self.writer.begin(agent, self.api.add(agent, **status))
        return agent

    def judge(self, agent: AgentRef, verdict: Verdict) -> None:
        self.verdicts[agent] = verdict
        self.writer.schedule(agent)

    def ready(self, agent: AgentRef) -> tuple[str, str] | None:
        (found,) = (o for o in self.api.objects.values() if o["metadata"]["name"] == agent.name)
        conditions = found["status"].get("conditions") or [None]
        return conditions[0] and (conditions[0]["status"], conditions[0]["reason"])

    async def quiet(self) -> None:
        """Until nothing more is under way."""
        await until(lambda: not self.writer._writers)


async def until(holds: Callable[[], bool]) -> None:
    """Let the others go on until a condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110, nobody tells of it
            await asyncio.sleep(0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condition_writer, "WRITE_BACKOFF", Backoff(0.001, 0.001))


WELL: Object = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Subscribed",
            "message": "1 pattern",
            "lastTransitionTime": "2026-01-31T12:00:00Z",
            "observedGeneration": 1,
        }
    ],
}


async def test_what_is_there_already_costs_nothing() -> None:
    talk = Talk()

    for number in range(100):
        talk.begin(number, **WELL)
    await talk.quiet()

    assert (talk.api.reads, talk.api.writes) == (0, 0)


async def test_a_thousand_agents_in_trouble_are_written_a_few_at_a_time() -> None:
    # Given
    talk = Talk()
    agents = [talk.begin(number, **WELL) for number in range(1000)]

    # When the broker goes away
    talk.api.open.clear()
    for agent in agents:
        talk.judge(agent, AWAY)
    await until(lambda: talk.api.reads >= MAX_CONCURRENT_STATUS_WRITES)
    talk.api.open.set()
    await talk.quiet()

    # Then
    assert talk.api.most_at_once == MAX_CONCURRENT_STATUS_WRITES
    assert talk.api.writes == 1000
    assert {talk.ready(agent) for agent in agents} == {("False", "BrokerUnavailable")}


async def test_trouble_that_is_over_before_its_turn_is_never_said() -> None:
    # Given writes that wait for their turn, and one that has read already
    talk = Talk()
    agents = [talk.begin(number, **WELL) for number in range(MAX_CONCURRENT_STATUS_WRITES * 3)]
    talk.api.open.clear()
    for agent in agents:
        talk.judge(agent, AWAY)
    await until(lambda: talk.api.reads >= MAX_CONCURRENT_STATUS_WRITES)

    # When all is well again
    for agent in agents:
        talk.judge(agent, UNDECIDED)
    talk.api.open.set()
    await talk.quiet()

    # Then nothing is written, and most did not even read
    assert (talk.api.reads, talk.api.writes) == (MAX_CONCURRENT_STATUS_WRITES, 0)


async def test_an_agent_that_flaps_is_written_once_in_a_while() -> None:
    talk = Talk()
    agent = talk.begin(**WELL)
    talk.judge(agent, AWAY)
    await until(lambda: talk.api.writes > 0)

    # When it is well, and not, and well, and not
    for verdict in (None, AWAY, None, AWAY) * 50:
        talk.judge(agent, verdict)
        for _ in range(20):  # time enough for a write
            await asyncio.sleep(0)

    # Then
    assert talk.api.writes == 1
    assert talk.ready(agent) == ("False", "BrokerUnavailable")
    await talk.writer.close()


async def test_what_waited_its_while_is_written_if_it_still_is_news() -> None:
    talk = Talk(between=0.05)
    agent = talk.begin(**WELL)
    talk.judge(agent, AWAY)
    await until(lambda: talk.api.writes > 0)

    talk.judge(agent, None)
    await talk.quiet()

    assert talk.api.writes == 2
    assert talk.ready(agent) == ("True", "Subscribed")


async def test_a_new_generation_does_not_wait() -> None:
    talk = Talk()
    agent = talk.begin(**WELL)
    talk.judge(agent, AWAY)
    await talk.quiet()

    talk.begin(generation=2, **WELL)
    await talk.quiet()

    assert talk.api.writes == 2


async def test_a_write_that_others_came_before_is_made_anew_on_what_they_wrote() -> None:
    # Given a ledger that is committed between our reading and our writing, three times
    talk = Talk()
    agent = talk.begin(**WELL)
    commits = iter(range(3))

    def commit(path: str) -> None:
        if (number := next(commits, None)) is not None:
            saturated = {"type": "Saturated", "status": "True", "reason": f"r-{number}"}
            talk.api.touch(path, conditions=[WELL["conditions"][0], saturated])

    talk.api.before_merge = commit
    talk.judge(agent, AWAY)
    await talk.quiet()

    # Then both have their say
    (found,) = talk.api.objects.values()
    assert [(item["type"], item["reason"]) for item in found["status"]["conditions"]] == [
        ("Ready", "BrokerUnavailable"),
        ("Saturated", "r-2"),
    ]
    assert talk.api.writes == 1


FORBIDDEN: Object = {
    "observedGeneration": 1,
    "conditions": [
        {**WELL["conditions"][0], "status": "False", "reason": "PolicyViolation", "message": "demo/strict"}
    ],
}


async def test_an_agent_that_may_run_again_is_said_to_be_ready_before_anything_is_known_of_its_loop() -> None:
    talk = Talk()
    agent = AgentRef("demo", "agent-1", "uid-1")
    talk.verdicts[agent] = UNDECIDED

    talk.begin(**FORBIDDEN)
    await talk.quiet()

    assert talk.ready(agent) == ("True", "Subscribed")


@pytest.mark.parametrize(("policy", "writes"), [("demo/strict", 0), ("demo/stricter", 1)])
async def test_another_policy_is_news_of_the_same_generation(policy: str, writes: int) -> None:
    talk = Talk()
    agent = AgentRef("demo", "agent-1", "uid-1")
    talk.words[agent] = WantedConditions(1, "False", "PolicyViolation", policy)

    talk.writer.begin(agent, talk.api.add(agent, **FORBIDDEN))
    await talk.quiet()

    (found,) = talk.api.objects.values()
    assert found["status"]["conditions"][0]["message"] == policy
    assert talk.api.writes == writes


async def test_every_write_is_told_of_with_what_was_there_before() -> None:
    talk = Talk()
    told: list[tuple[str, str]] = []
    talk.writer = ReadyWriter(
        talk.api,
        talk.wanted,
        0,
        condition_written=lambda agent, before, now: told.append(((before or {})["reason"], now["reason"])),
    )
    agent = talk.begin(**WELL)
    talk.judge(agent, AWAY)
    await until(lambda: talk.ready(agent) == ("False", "BrokerUnavailable"))
    talk.judge(agent, None)
    await talk.quiet()

    assert told == [("Subscribed", "BrokerUnavailable"), ("BrokerUnavailable", "Subscribed")]


PULLING = Trouble("ImagePullBackOff", "Job a-1 has no pod that runs: not found")


async def test_stuck_tasks_are_said_beside_ready_and_taken_back() -> None:
    # Given
    talk = Talk(between=0)
    told: list[tuple[str, str, str]] = []
    condition_written = lambda agent, before, now: told.append((now["type"], now["status"], now["reason"]))  # noqa: E731
    talk.writer = ReadyWriter(talk.api, talk.wanted, 0, condition_written=condition_written)
    agent = talk.begin(**WELL)

    def says(tasks: Verdict) -> None:
        talk.tasks[agent] = tasks
        talk.writer.schedule(agent)

    # When tasks are stuck, for another cause, and not any more
    for tasks in (PULLING, Trouble("ImagePullBackOff", "Job a-2"), UNDECIDED, None, None):
        says(tasks)
        await talk.quiet()

    # Then each is said once, and Ready stays as it was
    assert told == [
        ("Ready", "True", "Subscribed"),
        ("TasksStuck", "True", "ImagePullBackOff"),
        ("Ready", "True", "Subscribed"),
        ("TasksStuck", "True", "ImagePullBackOff"),
        ("Ready", "True", "Subscribed"),
        ("TasksStuck", "False", "TasksRun"),
    ]
    assert talk.api.writes == 3
    (found,) = talk.api.objects.values()
    assert found["status"]["conditions"][0] == WELL["conditions"][0]


async def test_tasks_that_the_status_knows_to_be_stuck_cost_nothing() -> None:
    talk = Talk()
    agent = AgentRef("demo", "agent-1", "uid-1")
    stuck = {"type": "TasksStuck", "status": "True", "reason": PULLING.reason, "message": PULLING.message}

    for tasks in (PULLING, UNDECIDED):
        talk.tasks[agent] = tasks
        talk.begin(**{**WELL, "conditions": [*WELL["conditions"], stuck]})
        await talk.quiet()

    assert talk.api.writes == 0


@pytest.mark.usefixtures("quick")
async def test_a_status_that_is_refused_is_told_of_once_and_over_when_it_is_written() -> None:
    # Given an API server that refuses statuses
    talk = Talk()
    agent = talk.begin(**WELL)
    denied = "ValidatingAdmissionPolicy 'no' with binding 'b' denied request: never"
    talk.api.obstacle = lambda: ApiError(422, denied)
    assert talk.writer.describe_refused() is None

    # When there is something to say
    talk.judge(agent, AWAY)
    await until(lambda: talk.api.reads >= 10)

    # Then that is told once, with what could not be said, and who refused it
    ((reason, note),) = talk.told
    assert reason == "StatusRefused"
    assert note.startswith(
        "the condition Ready=False (BrokerUnavailable: no connection) cannot be written: 422: "
    )
    assert 'change ValidatingAdmissionPolicy "no" (binding "b")' in note
    assert talk.writer.is_refused(agent)
    assert (
        talk.writer.describe_refused() == f"cannot write the status of 1 agent: demo/agent-1: 422: {denied}"
    )

    # And when it is written, that is over
    talk.api.obstacle = lambda: None
    await talk.quiet()
    assert talk.ready(agent) == ("False", "BrokerUnavailable")
    assert (talk.writer.describe_refused(), talk.writer.is_refused(agent)) == (None, False)


@pytest.mark.usefixtures("quick")
async def test_a_status_that_cannot_be_written_is_logged_with_its_agent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    talk = Talk()
    agent = talk.begin(**WELL)
    talk.api.obstacle = lambda: ApiError(0, "the API server does not answer")

    talk.judge(agent, AWAY)
    await until(lambda: bool(caplog.records))

    assert logged(caplog, "heed.fleet", "agent", "reason")[0] == (
        "WARNING",
        "cannot write the condition Ready",
        "demo/agent-1",
        "BrokerUnavailable",
    )
    await talk.writer.close()


@pytest.mark.usefixtures("quick")
async def test_a_refusal_is_over_when_there_is_nothing_more_to_say() -> None:
    talk = Talk()
    agent = talk.begin(**WELL)
    talk.api.obstacle = lambda: ApiError(403, "no")
    talk.judge(agent, AWAY)
    await until(lambda: talk.writer.is_refused(agent))

    talk.judge(agent, None)
    await talk.quiet()

    assert talk.writer.describe_refused() is None


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("status", [0, 408, 409, 429, 500])
async def test_an_api_server_that_is_away_or_busy_refuses_nothing(status: int) -> None:
    talk = Talk()
    agent = talk.begin(**WELL)
    talk.api.obstacle = lambda: ApiError(status, "not now")
    talk.judge(agent, AWAY)
    await until(lambda: talk.api.reads >= 10)

    assert (talk.told, talk.writer.describe_refused()) == ([], None)
    await talk.writer.close()


@pytest.mark.usefixtures("quick")
async def test_what_cannot_be_written_is_written_later_if_it_still_holds() -> None:
    # Given an API server that is away, with one Agent whose trouble passes and one whose trouble stays
    talk = Talk()
    passing, staying = talk.begin(1, **WELL), talk.begin(2, **WELL)
    talk.api.obstacle = lambda: ApiError(0, "the API server does not answer")
    for agent in (passing, staying):
        talk.judge(agent, AWAY)
    await until(lambda: talk.api.reads >= 10)

    # When it is back
    talk.judge(passing, UNDECIDED)
    talk.api.obstacle = lambda: None
    await talk.quiet()

    # Then
    assert talk.ready(passing) == ("True", "Subscribed")
    assert talk.ready(staying) == ("False", "BrokerUnavailable")
    assert talk.api.writes == 1


@pytest.mark.parametrize("gone", [True, False])
async def test_nothing_is_said_of_another_agent_of_the_same_name(gone: bool) -> None:
    talk = Talk()
    agent = talk.begin(**WELL)
    ((path, found),) = talk.api.objects.items()
    if gone:
        del talk.api.objects[path]
    else:
        found["metadata"]["uid"] = "uid-of-another"

    talk.judge(agent, AWAY)
    await talk.quiet()

    assert talk.api.writes == 0


async def test_what_someone_else_made_of_it_is_put_right() -> None:
    # Given
    talk = Talk()
    agent = talk.begin(**WELL)
    (path,) = talk.api.objects
    theirs = {**WELL["conditions"][0], "status": "False", "reason": "BrokerUnavailable"}

    # When an operator that was stopped and goes on writes what it knew, and a watch shows it
    late = copy.deepcopy(talk.api.objects[path])
    seen = talk.api.touch(path, conditions=[theirs])
    talk.writer.note_agent(agent, seen)
    await talk.quiet()

    # Then
    assert talk.ready(agent) == ("True", "Subscribed")

    # And a late sight of what was before is no reason to do anything
    talk.writer.note_agent(agent, late)
    talk.writer.note_agent(agent, seen)
    await talk.quiet()
    assert (talk.api.reads, talk.api.writes) == (1, 1)
