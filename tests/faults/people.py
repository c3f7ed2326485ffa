"""Who else is at work on the cluster: a player of pods, and a person who deletes, edits and recreates."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from heed import names
from tests.cluster.controlplane.api import Api, ApiError
from tests.cluster.controlplane.pods import PodPhases
from tests.faults.agents import NAMESPACES, PHOENIX_NAME, SPECS, edited_manifest
from tests.patience import PATIENCE

T = TypeVar("T")
LONGEST_RUN = 2.0  # seconds
TURN = 0.2
AGENTS = f"/apis/{names.API_VERSION}/namespaces/{{}}/{names.PLURAL}"
ANSWERS = f"/apis/{names.API_VERSION}/namespaces/{{}}/{names.APPROVAL_ANSWERS}"


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a person deleted."""

    kind: str  # job | pod
    name: str
    uid: str
    task_id: str
    at: float


class Player(PodPhases):
    """Plays every pod as its task's input says, after a while. Pods that hang are left to their deadline."""

    def __init__(self, api: Api, seed: int) -> None:
        super().__init__(api)
        self.played = 0
        self._dice = random.Random(f"player {seed}")
        self._due: dict[str, float] = {}
        self._at_hand: dict[str, Any] = {}

    def wait_for_pod(self, namespace: str, job_name: str) -> dict[str, Any]:
        """The pod that is being played."""
        return self._at_hand

    async def run(self) -> None:
        """Play, until cancelled; while the API server is away, nobody plays."""
        while True:
            with suppress(ApiError, OSError):
                await asyncio.to_thread(self._turn)
            await asyncio.sleep(TURN)

    def _turn(self) -> None:
        for namespace in NAMESPACES:
            path = f"/api/v1/namespaces/{namespace}/pods?fieldSelector=status.phase=Pending"
            for pod in self._api.get(path)["items"]:
                if "deletionTimestamp" not in pod["metadata"] and self._is_due(pod["metadata"]["uid"]):
                    self._play(namespace, pod)

    def _is_due(self, uid: str) -> bool:
        now = time.monotonic()
        return now >= self._due.setdefault(uid, now + self._dice.uniform(0, LONGEST_RUN))

    def _play(self, namespace: str, pod: dict[str, Any]) -> None:
        job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
        document = json.loads(pod["metadata"]["annotations"][names.ANNOTATION_TASK])
        input, attempt = document["input"], document["task"]["attempt"]
        self._at_hand = pod
        if not self._has_its_secrets(namespace, pod):
            return
        try:
            match input["play"]:
                case "hang":
                    return
                case "frail" if attempt < input["until"]:
                    self.fail(namespace, job, exit_code=3, termination_message=f"attempt {attempt} fails")
                case "fail":
                    self.fail(namespace, job, exit_code=3, termination_message="played to fail")
                case "text":
                    self.succeed(namespace, job, f"value {input['value']}")
                case _:
                    self.succeed(namespace, job, json.dumps({"value": input["value"]}))
        except ApiError as error:
            if error.status not in (404, 409):  # it is gone, or being changed: the next turn sees it again
                raise
        else:
            self.played += 1

    def _has_its_secrets(self, namespace: str, pod: dict[str, Any]) -> bool:
        """As a kubelet, which starts no container before its volumes are there."""
        for volume in pod["spec"].get("volumes", ()):
            if "secret" in volume:
                try:
                    self._api.get(f"/api/v1/namespaces/{namespace}/secrets/{volume['secret']['secretName']}")
                except ApiError as error:
                    if error.status != 404:
                        raise
                    return False
        return True


class Person:
    """Meddles."""

    def __init__(self, api: Api, seed: int) -> None:
        self.deletions: list[Deletion] = []
        self.edits = 0
        self.recreations = 0
        self.suspensions = 0
        self.findings: list[str] = []
        self._api = api
        self._dice = random.Random(f"person {seed}")

    def create_agents(self) -> None:
        """All Agents of the storm."""
        for namespace, name in SPECS:
            self._api.post(AGENTS.format(namespace), edited_manifest(namespace, name))

    def delete_job(self) -> None:
        """A Job that is not over, and that its Agent knows to have started. Raises ApiError, OSError.

        Before its Agent's ledger says so nobody but the API server knows of a Job: were it deleted then, and the
        operator killed, it would be made once more, and rightly.
        """
        namespace = self._dice.choice(NAMESPACES)
        jobs = self._api.get(f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
        running = [job for job in jobs if not job["status"].get("conditions")]
        started = self._started(namespace)
        known = [job for job in running if _task_id(job) in started]
        if known:
            self._delete("job", f"/apis/batch/v1/namespaces/{namespace}/jobs", self._dice.choice(known))

    def delete_pod(self) -> None:
        """A pod that is not over. Raises ApiError, OSError."""
        namespace = self._dice.choice(NAMESPACES)
        path = f"/api/v1/namespaces/{namespace}/pods"
        pods = self._api.get(f"{path}?fieldSelector=status.phase=Pending")["items"]
        if pods:
            self._delete("pod", path, self._dice.choice(pods))

    def edit_agent(self) -> None:
        """An Agent gets a handler more, for what never comes. Raises ApiError, OSError."""
        namespace, name = self._dice.choice([key for key in SPECS if key != PHOENIX_NAME])
        spec = edited_manifest(namespace, name, self.edits + 1)["spec"]
        self._api.patch(f"{AGENTS.format(namespace)}/{name}", {"spec": spec})
        self.edits += 1

    async def suspend_agent(self, pause: float) -> None:
        """An Agent reads nothing for a while."""
        key = self._dice.choice([key for key in SPECS if key != PHOENIX_NAME])
        async with self.suspending(key):
            await asyncio.sleep(pause)
        await persistently(lambda: self._suspend(key, suspend=False))
        self.suspensions += 1

    @asynccontextmanager
    async def suspending(self, key: tuple[str, str]) -> AsyncIterator[None]:
        """Suspend an Agent, and see in the end that it has read nothing since it said that it is suspended."""
        await persistently(lambda: self._suspend(key, suspend=True))
        watching = asyncio.create_task(self._cursor_once_suspended(key))
        try:
            yield
            before = watching.result() if watching.done() else None
        finally:
            watching.cancel()
        after = _cursor(await persistently(lambda: self._agent(key)) or {})
        if before is not None and before != after:
            self.findings.append(f"{key[0]}/{key[1]} read from {before} to {after} while it was suspended")

    async def _cursor_once_suspended(self, key: tuple[str, str]) -> int:
        """Where an Agent is that has said that it is suspended, and had a second to end what it was at."""
        while True:
            if is_suspended(await persistently(lambda: self._agent(key)) or {}):
                await asyncio.sleep(1)
                return _cursor(await persistently(lambda: self._agent(key)) or {})
            await asyncio.sleep(TURN)

    def _agent(self, key: tuple[str, str]) -> dict[str, Any]:
        namespace, name = key
        return dict(self._api.get(f"{AGENTS.format(namespace)}/{name}"))

    def _suspend(self, key: tuple[str, str], *, suspend: bool) -> None:
        namespace, name = key
        self._api.patch(f"{AGENTS.format(namespace)}/{name}", {"spec": {"suspend": suspend}})

    async def recreate_agent(self, pause: float) -> None:
        """The phoenix dies and rises."""
        namespace, name = PHOENIX_NAME
        path = f"{AGENTS.format(namespace)}/{name}"
        await persistently(lambda: self._api.delete(path), but=404)
        await asyncio.sleep(pause)
        await persistently(
            lambda: self._api.post(AGENTS.format(namespace), edited_manifest(namespace, name)), but=409
        )
        self.recreations += 1

    def _started(self, namespace: str) -> set[str]:
        agents = self._api.get(AGENTS.format(namespace))["items"]
        pending = [(agent.get("status") or {}).get("pendingTasks", {}) for agent in agents]
        return {key for tasks in pending for key, task in tasks.items() if task["phase"] == "Started"}

    def _delete(self, kind: str, path: str, item: dict[str, Any]) -> None:
        metadata = item["metadata"]
        deletion = Deletion(kind, metadata["name"], metadata["uid"], _task_id(item), time.time())
        self.deletions.append(deletion)  # also where the answer gets lost: it may have happened
        self._api.delete(f"{path}/{metadata['name']}")


async def persistently(act: Callable[[], T], but: int = 0, patience: float = PATIENCE) -> T | None:
    """Do it, in a thread, again and again until the API server does it; `but` is a refusal that will do."""
    async with asyncio.timeout(patience):
        while True:
            try:
                return await asyncio.to_thread(act)
            except ApiError as error:
                if error.status == but:
                    return None
                if error.status < 429:
                    raise
            except OSError:
                pass
            await asyncio.sleep(TURN)


def is_suspended(agent: dict[str, Any]) -> bool:
    """Whether an Agent has said so of its generation."""
    return any(
        item["type"] == "Suspended"
        and item["status"] == "True"
        and item.get("observedGeneration") == agent["metadata"]["generation"]
        for item in (agent.get("status") or {}).get("conditions") or []
    )


def _cursor(agent: dict[str, Any]) -> int:
    return int(((agent.get("status") or {}).get("cursor") or {}).get("sequence", 0))


def _task_id(item: dict[str, Any]) -> str:
    return str((item["metadata"].get("labels") or {}).get(names.LABEL_TASK_ID, ""))
