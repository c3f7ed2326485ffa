"""Lint of Agents: warnings about what is valid, and hardly meant."""

import difflib
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any, Final

from heed import names
from heed.api.agent import Agent
from heed.api.task import TaskSpec
from heed.core.schema.job_spec import lint_job_spec
from heed.core.tasks.job_contract import DEFAULT_BACKOFF_LIMIT
from heed.core.tasks.losses import CALL_LOST, FUNCTION_LOST, JOB_LOST, RESOURCE_LOST
from heed.core.tasks.retry import is_final
from heed.core.type_patterns import matches, may_overlap
from heed.errors import Problem

ANY_TYPE: Final = ">"
FAILURES: Final = (  # reasons and causes of failures that may be tried again, as docs/tasks.md explains them
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    JOB_LOST,
    "NameTaken",
    "BadResult",
    RESOURCE_LOST,
    FUNCTION_LOST,
    CALL_LOST,
    "HttpStatus",
    "HttpTimeout",
    "HttpUnreachable",
    "HttpAnswerLost",
    "HttpInvalidResponse",
    "SecretMissing",
    "KindUnknown",
    "Forbidden",
    "ExpressionFailed",
    "Failed",
    "Error",
    "OOMKilled",
    "StartError",
    "ContainerCannotRun",
    "Evicted",
    "Preempting",
    "NodeLost",
    "Terminated",
    "PreemptionByScheduler",
    "DeletionByTaintManager",
    "EvictionByEvictionAPI",
    "DeletionByPodGC",
    "TerminationByKubelet",
)


def direct_types(agents: Iterable[Agent]) -> dict[tuple[str, str], set[str]]:
    """The types sent to one Agent only, by namespace and receiver; ANY_TYPE for what only an event can tell."""
    found: dict[tuple[str, str], set[str]] = {}
    for agent in agents:
        for handler in agent.spec.handlers:
            for emit in handler.emit:
                if emit.to is not None:
                    receiver = ANY_TYPE if "${" in emit.to else emit.to
                    type_ = ANY_TYPE if emit.type is None or "${" in emit.type else emit.type
                    found.setdefault((agent.metadata.namespace, receiver), set()).add(type_)
            if handler.call is not None:  # who gets an event, only its function can tell
                receivers = found.setdefault((agent.metadata.namespace, ANY_TYPE), set())
                receivers.update(handler.call.emits)
    return found


def lint_agent(
    agent: Agent,
    direct: Set[str] = frozenset(),
    expressions: Iterable[Problem] = (),
) -> list[Problem]:
    """Warnings about an Agent. `direct` are the types that other Agents are known to send to it alone.

    `expressions` are the warnings of `lint_expressions` about its program, where it compiles.
    """
    return [
        *expressions,
        *_undelivered(agent, direct),
        *_unexpired(agent),
        *_unsaid(agent),
        *_unstarted(agent),
        *_unheard_ticks(agent),
        *(problem for name, task in agent.spec.tasks.items() for problem in _task(name, task)),
    ]


def _undelivered(agent: Agent, direct: Set[str]) -> Iterator[Problem]:
    sources = [item.type for item in agent.spec.subscribe] + [names.TASK_TYPE_PREFIX + ">", *direct]
    sources += [timer.type for timer in agent.spec.timers.values()]
    sources += [names.HOLD_EXPIRED, names.SESSION_EXPIRED]
    for index, handler in enumerate(agent.spec.handlers):
        if any(may_overlap(source, handler.type) for source in sources):
            continue
        if handler.type.startswith(names.TIMER_TYPE_PREFIX):
            message = f"no timer of the Agent sends {handler.type}"
            yield Problem(f"spec.handlers[{index}].type", message, "add one to spec.timers, or correct it")
        else:
            yield Problem(
                f"spec.handlers[{index}].type",
                f"no subscription delivers {handler.type}, so only direct messages (`to`) can reach this handler",
                _nearest(handler.type, [*sources, *names.HANDLED_OWN_TYPES])
                or "add the type to spec.subscribe, or correct it",
            )


def _unexpired(agent: Agent) -> Iterator[Problem]:
    """Handlers of what nothing says, and ends of sessions that no handler hears of."""
    emits = agent.spec.session.on_expire == "Emit"
    hears = any(matches(item.type, names.SESSION_EXPIRED) for item in agent.spec.handlers)
    if emits and not hears:
        message = f"no handler has the type {names.SESSION_EXPIRED}"
        yield Problem("spec.session.onExpire", message, "add one, or write `onExpire: Forget`")
    holds = any(
        item.call is not None or (item.hold is not None and item.hold.on_expire == "Handle")
        for item in agent.spec.handlers
    )
    for index, handler in enumerate(agent.spec.handlers):
        path = f"spec.handlers[{index}].type"
        if handler.type == names.HOLD_EXPIRED and not holds:
            yield Problem(
                path, "no `hold` comes to it", "write `onExpire: Handle` in one, or remove the handler"
            )
        if handler.type == names.SESSION_EXPIRED and not emits:
            yield Problem(
                path,
                "no session says its end",
                "write `onExpire: Emit` in spec.session, or remove the handler",
            )


def _nearest(type_: str, known: Iterable[str]) -> str | None:
    """A question for the type that may have been meant."""
    near = difflib.get_close_matches(type_, dict.fromkeys(known), n=1, cutoff=0.85)
    return f"did you mean {near[0]}? Else add the type to spec.subscribe" if near else None


def _unsaid(agent: Agent) -> Iterator[Problem]:
    tasks = agent.spec.tasks.values()
    if any(task.publish or task.function or (task.resource and task.resource.progress) for task in tasks):
        return
    for index, handler in enumerate(agent.spec.handlers):
        if handler.type == names.TASK_PROGRESS:
            yield Problem(
                f"spec.handlers[{index}].type",
                "no task may publish its progress",
                "set publish: true on a job, give a resource its `progress`, or remove the handler",
            )


def _unstarted(agent: Agent) -> Iterator[Problem]:
    starts = [start for handler in agent.spec.handlers for start in handler.start]
    if any(start.from_ is not None for start in starts):
        return
    started = {start.task for start in starts}
    started.update(name for handler in agent.spec.handlers if handler.call for name in handler.call.starts)
    called = {
        tool.task for task in agent.spec.tasks.values() if task.llm is not None for tool in task.llm.tools
    }
    for name in agent.spec.tasks:
        if name not in started | called:
            yield Problem(f"spec.tasks.{name}", "no handler starts this task", "remove it, or start it")


def _unheard_ticks(agent: Agent) -> Iterator[Problem]:
    for name, timer in agent.spec.timers.items():
        if not any(matches(handler.type, timer.type) for handler in agent.spec.handlers):
            yield Problem(
                f"spec.timers.{name}",
                f"no handler has a type that matches {timer.type}, so its ticks do nothing",
                f"add a handler with the type {timer.type}",
            )


def _retry_reasons(reasons: Sequence[str], path: str) -> Iterator[Problem]:
    """Reasons after which nothing is tried again, and those that look like others; the rest may be an object's own."""
    for index, reason in enumerate(reasons):
        where = f"{path}[{index}]"
        if is_final(reason):
            yield Problem(where, f"{reason} is never tried again", "leave it out")
        elif reason not in FAILURES and (
            near := difflib.get_close_matches(reason, FAILURES, n=1, cutoff=0.8)
        ):
            yield Problem(where, f"no Job fails with {reason}", f'did you mean "{near[0]}"?')


def _task(name: str, task: TaskSpec) -> Iterator[Problem]:
    job = task.job or {}
    yield from _job(job, f"spec.tasks.{name}.job")
    if task.job is not None and task.retry is not None and "backoffLimit" not in job:
        yield Problem(
            f"spec.tasks.{name}.job.backoffLimit",
            f"is missing, so each of {task.retry.attempts} attempts starts up to {DEFAULT_BACKOFF_LIMIT + 1} pods",
            "set it: 0 leaves all of that to `retry`",
        )
    if task.retry is not None:
        yield from _retry_reasons(task.retry.reasons, f"spec.tasks.{name}.retry.reasons")
    template = job.get("template")
    pod = template.get("spec") if isinstance(template, dict) else None
    if not isinstance(pod, dict):
        return
    path = f"spec.tasks.{name}.job.template.spec"
    for field in ("initContainers", "containers"):
        items = pod.get(field)
        for index, container in enumerate(items if isinstance(items, list) else ()):
            if isinstance(container, dict):
                yield from _container(container, f"{path}.{field}[{index}]", runs=field == "containers")


def _job(job: dict[str, Any], path: str) -> Iterator[Problem]:
    yield from lint_job_spec(job, path)
    if job.get("ttlSecondsAfterFinished") is not None:
        message = "has no effect: Heed deletes the Job, once its end was handled"
        yield Problem(f"{path}.ttlSecondsAfterFinished", message, "set the task's `retention`")

    metadata = job.get("metadata")
    for field, given in (metadata if isinstance(metadata, dict) else {}).items():
        for key in filter(names.is_own_key, given if isinstance(given, dict) else ()):
            yield Problem(
                f"{path}.metadata.{field}.{key}",
                f"is not passed on: {names.GROUP}/… are Heed's own",
                "remove it, or choose another prefix",
            )


def _container(container: dict[str, Any], path: str, *, runs: bool) -> Iterator[Problem]:
    image = container.get("image")
    if not isinstance(image, str) or not image:
        yield Problem(
            f"{path}.image", "is missing; a cluster cannot run this task", "name an image with its tag"
        )
    elif "${" not in image and _is_floating(image):
        yield Problem(
            f"{path}.image",
            f"{image} may be another image tomorrow",
            "give it a version as its tag, or a digest",
        )
    if runs and not container.get("command"):
        yield Problem(
            f"{path}.command",
            "is missing, so `heed dev` cannot run this task: it has no image to ask for the entry point",
            "write the image's entry point here",
        )


def _is_floating(image: str) -> bool:
    """Whether an image reference has neither a digest nor a tag but latest. A colon before a slash is a port's."""
    if "@" in image:
        return False
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return not colon or tag == "latest"
