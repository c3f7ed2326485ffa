"""What a laptop cannot honour is refused with a remedy, before anything is run."""

from typing import Any

import pytest

from heed.errors import TaskRefused
from tests.integration.local.runs import Bench, research, script_job

SECRET = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (
        script_job("", command=None),
        "NoCommand",
        "containers[0].command: heed dev runs the container's command as a child",
    ),
    (script_job("true", env=[SECRET]), "UnsupportedLocally", "env[0].valueFrom: heed dev has no cluster"),
    (script_job("true", envFrom=[{"secretRef": {"name": "s"}}]), "UnsupportedLocally", "envFrom"),
    (
        script_job("true", limits={"completions": 3}),
        "UnsupportedLocally",
        "job.completions: heed dev runs one process",
    ),
    (script_job("true", args=[7]), "InvalidJob", "args[0]: must be a string, is 7"),
    (script_job("true", args="x"), "InvalidJob", "args: must be a list"),
    (script_job("true", env=["A=1"]), "InvalidJob", "env[0]: must be a map"),
    (
        script_job("true", limits={"backoffLimit": "2"}),
        "InvalidJob",
        "job.backoffLimit: must be a whole number",
    ),
    ({}, "NoCommand", "set command"),
]


@pytest.mark.parametrize(("spec", "reason", "message"), REFUSED)
async def test_a_spec_that_would_mean_something_else_here_is_refused(
    bench: Bench, spec: dict[str, Any], reason: str, message: str
) -> None:
    with pytest.raises(TaskRefused) as refused:
        await bench.runner.start(research(spec))

    assert refused.value.reason == reason
    assert message in refused.value.message
    assert "spec.tasks.research.job" in refused.value.message
    assert not bench.tasks.exists()


async def test_what_is_not_honoured_is_said(bench: Bench) -> None:
    spec = script_job("echo ran", resources={"limits": {"cpu": "1"}})
    spec["template"]["spec"]["volumes"] = [{"name": "data", "emptyDir": {}}]

    await bench.run(spec)

    said = [line for _, line in bench.lines]
    assert said == ["heed: not honoured outside a cluster: volumes, resources", "ran"]
