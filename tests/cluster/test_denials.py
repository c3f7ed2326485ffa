"""Admission policies of others deny a task's Job: the task fails at once, and says which policy it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from heed import names
from heed.core.events import Event
from heed.kube.api import jobs_path
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.denying import denying
from tests.cluster.operating import Broker, totals
from tests.cluster.watchless import AGENT, Watchless, watchless_fleet

pytestmark = pytest.mark.cluster

PROBE = {
    "metadata": {"name": "probe"},
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}},
}
TEAM = {"expression": "'team' in object.metadata.?labels.orValue({})", "message": "a Job needs a team"}


@pytest.fixture
async def watchless(control_plane: ControlPlane, broker: Broker, namespace: str) -> AsyncIterator[Watchless]:
    async with watchless_fleet(control_plane.kubeconfig, broker.url, namespace) as watchless:
        yield watchless


@pytest.mark.parametrize("reason", ["Invalid", "Forbidden"])
async def test_a_job_that_a_policy_denies_fails_its_task_and_names_the_policy(
    watchless: Watchless, reason: str
) -> None:
    # Given a policy that demands a label of Jobs, whatever status it denies with
    probe = (jobs_path(watchless.namespace), PROBE)
    async with denying(watchless, ("batch", "jobs"), {**TEAM, "reason": reason}, probe) as policy:
        # When a task is to be started
        await watchless.create()
        await watchless.ask("q-1")
        await watchless.status(lambda s: totals(s).get("tasksFailed") == 1)

    # Then it has failed, once, and says who refused it
    inbox = names.inbox_subject(watchless.namespace, AGENT, names.TASK_FAILED)
    failed = await data_of_the_last(watchless, inbox)
    assert failed["reason"] == "InvalidJob"
    expected = f'refused by ValidatingAdmissionPolicy "{policy}" (binding "{policy}"): a Job needs a team'
    assert failed["message"] == f"spec.tasks.research.job: {expected}"
    assert await watchless.jobs() == []


async def data_of_the_last(watchless: Watchless, subject: str) -> Any:
    """The data of the latest event on a subject."""
    event = await watchless.bus.last(subject)
    assert isinstance(event, Event)
    return event.data
