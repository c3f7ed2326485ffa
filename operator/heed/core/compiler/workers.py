"""Validation of `spec.worker`: there is one where functions are named, and its template can be a Deployment's."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from heed.api.agent import AgentSpec, WorkerSpec
from heed.core.schema.job_spec import check_job_spec
from heed.errors import Problem

WORKER_CONTAINER: Final = "worker"
_TEMPLATE: Final = "spec.worker.template"


def check_worker(spec: AgentSpec) -> Iterator[Problem]:
    """Mistakes in who runs the functions that handlers and tasks name."""
    calls = [f"spec.handlers[{index}].call" for index, item in enumerate(spec.handlers) if item.call]
    calls += [f"spec.tasks.{name}.function" for name, task in spec.tasks.items() if task.function]
    if spec.worker is not None:
        yield from _check(spec.worker)
    elif calls:
        remedy = "add it, as `heed build` writes it"
        yield Problem("spec.worker", f"is missing, and {calls[0]} names a function", remedy)


def has_template(spec: AgentSpec) -> bool:
    """Whether an Agent's own template says what its workers are."""
    return spec.worker is not None and spec.worker.template is not None


def worker_container(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The container of a pod that runs the worker: the one of that name, or the only one."""
    containers = pod.get("containers")
    found = [item for item in containers if isinstance(item, dict)] if isinstance(containers, list) else []
    named = [item for item in found if item.get("name") == WORKER_CONTAINER]
    return next(iter(named or (found if len(found) == 1 else ())), None)


def _check(worker: WorkerSpec) -> Iterator[Problem]:
    if worker.template is None:
        if worker.replicas is not None:
            remedy = "leave it out, or give a `template`"
            yield Problem("spec.worker.replicas", "has no meaning without `template`", remedy)
        return
    if worker.address is not None:
        remedy = "leave one of them out: either Heed keeps the workers, or you do"
        yield Problem("spec.worker.address", "is given beside `template`", remedy)
    pod = worker.template.get("spec")
    if not isinstance(pod, Mapping) or not pod.get("containers"):
        remedy = f"add a container called {WORKER_CONTAINER} that runs `heed worker`"
        yield Problem(f"{_TEMPLATE}.spec.containers", "there is no container", remedy)
        return
    if mistakes := check_job_spec({"template": worker.template}, "spec.worker"):
        yield from mistakes
        return
    if worker_container(pod) is None:
        remedy = f"call the one that runs `heed worker` {WORKER_CONTAINER}"
        yield Problem(f"{_TEMPLATE}.spec.containers", f"none of several is called {WORKER_CONTAINER}", remedy)
    if pod.get("restartPolicy") not in (None, "Always"):
        message, remedy = f"{pod['restartPolicy']} is for Jobs: workers go on for ever", "leave it out"
        yield Problem(f"{_TEMPLATE}.spec.restartPolicy", message, remedy)
