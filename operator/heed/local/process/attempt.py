"""One attempt of a job as a child process: its command by the JobSpec, and its outcome.

Only what a laptop can honour is run; what would quietly mean something else than in a cluster is refused.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from heed.api.task import job_containers
from heed.core.effects import TaskWork
from heed.core.tasks.job_contract import DEFAULT_BACKOFF_LIMIT, MAX_MESSAGE_BYTES, REASON_INVALID
from heed.errors import TaskRefused
from heed.local.process.child import Process, end_group, spawn
from heed.local.process.output import Line, open_pipe

INHERITED_VARIABLES: Final = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
)
DEFAULT_ENVIRONMENT: Final = {
    "PYTHONUNBUFFERED": "1"
}  # what is written shows at once, though it goes to no terminal
EXIT_NOT_FOUND: Final = 127
EXIT_NOT_RUNNABLE: Final = 126

_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")


@dataclass(frozen=True, slots=True)
class AttemptPlan:
    """How to run a job here. `deadline` is in seconds; `ignored` names the fields that need a cluster."""

    argv: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    backoff_limit: int
    deadline: float | None
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """The outcome of an attempt: the exit code as in a shell, and the end of its stderr."""

    exit_code: int
    errors: str


def plan_attempt(
    work: TaskWork, base: Path, contract: Mapping[str, str], inherited: Mapping[str, str]
) -> AttemptPlan:
    """The command, environment and limits of a job. `contract` are its HEED_* variables. Raises TaskRefused."""
    path = f"spec.tasks.{work.task}.job"
    _refuse_unsupported(work.spec, path)
    container, at = next(iter(job_containers(work.spec)), {}), f"{path}.template.spec.containers[0]"
    if not container.get("command"):
        raise TaskRefused(
            "NoCommand",
            f"{at}.command: heed dev runs the container's command as a child process and cannot know an "
            "image's entry point; set command",
        )
    own = {**_environment(container, at, contract), **contract}
    command = [*_texts(container, "command", at), *_texts(container, "args", at)]
    backoff = _count(work.spec, "backoffLimit", path)
    limits = [
        limit
        for limit in (work.timeout, _count(work.spec, "activeDeadlineSeconds", path))
        if limit is not None
    ]
    return AttemptPlan(
        argv=tuple(_expand(part, own) for part in command),
        directory=base / _text(container.get("workingDir") or ".", f"{at}.workingDir"),
        environment={
            **DEFAULT_ENVIRONMENT,
            **{key: value for key, value in inherited.items() if key in INHERITED_VARIABLES},
            **own,
        },
        backoff_limit=DEFAULT_BACKOFF_LIMIT if backoff is None else backoff,
        deadline=min(limits, default=None),
        ignored=tuple(_ignored(work.spec, container)),
    )


def _refuse_unsupported(spec: dict[str, Any], path: str) -> None:
    for key in ("completions", "parallelism"):
        if (spec.get(key) or 1) != 1:
            raise TaskRefused(
                "UnsupportedLocally",
                f"{path}.{key}: heed dev runs one process for a job; leave it out, or start several tasks",
            )


def _ignored(spec: dict[str, Any], container: dict[str, Any]) -> list[str]:
    pod = (spec.get("template") or {}).get("spec") or {}
    found = [key for key in ("initContainers", "volumes") if pod.get(key)]
    found += ["containers[1:]"] if len(pod.get("containers") or []) > 1 else []
    found += ["podFailurePolicy"] if spec.get("podFailurePolicy") else []
    return found + [key for key in ("lifecycle", "resources") if container.get(key)]


def _environment(container: dict[str, Any], at: str, contract: Mapping[str, str]) -> dict[str, str]:
    if container.get("envFrom"):
        raise TaskRefused("UnsupportedLocally", f"{at}.envFrom: {_NO_SOURCES}")
    own: dict[str, str] = {}
    for index, item in enumerate(_list(container, "env", at)):
        here = f"{at}.env[{index}]"
        if not isinstance(item, dict):
            raise TaskRefused(REASON_INVALID, f"{here}: must be a map with `name` and `value`")
        if item.get("valueFrom"):
            raise TaskRefused("UnsupportedLocally", f"{here}.valueFrom: {_NO_SOURCES}")
        value = _text(item.get("value") or "", f"{here}.value")
        own[_text(item.get("name"), f"{here}.name")] = _expand(value, {**contract, **own})
    return own


NO_IMAGE_HINT: Final = (
    "; heed dev uses no image, it runs the command of this machine: install it here, or name its path"
)
_NO_SOURCES: Final = "heed dev has no cluster to take it from; give a plain value while developing"


def _list(container: dict[str, Any], key: str, at: str) -> list[Any]:
    value = container.get(key) or []
    if not isinstance(value, list):
        raise TaskRefused(REASON_INVALID, f"{at}.{key}: must be a list, is {value!r}")
    return value


def _texts(container: dict[str, Any], key: str, at: str) -> list[str]:
    return [_text(part, f"{at}.{key}[{index}]") for index, part in enumerate(_list(container, key, at))]


def _count(spec: dict[str, Any], key: str, path: str) -> int | None:
    value = spec.get(key)
    if value is not None and (type(value) is not int or value < 0):
        raise TaskRefused(REASON_INVALID, f"{path}.{key}: must be a whole number, is {value!r}")
    return value


def _text(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise TaskRefused(
            REASON_INVALID, f'{at}: must be a string, is {value!r}; write "${{string(…)}}" in its template'
        )
    return value


def _expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` as in core/v1 Container.args: unknown names stay as they are, `$$` (a shell's too) becomes `$`."""

    def replaced(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else variables.get(found[1], found[0])

    return _REFERENCE.sub(replaced, text)


async def run_attempt(plan: AttemptPlan, started: Callable[[Process], None], line: Line) -> AttemptOutcome:
    """Run the command once. Its process group is gone afterwards, also on cancellation."""
    tail: deque[str] = deque()
    async with AsyncExitStack() as stack:
        out = await stack.enter_async_context(open_pipe(line))
        err = await stack.enter_async_context(open_pipe(lambda text: _keep(tail, text, line)))
        try:
            process = await spawn(plan.argv, plan.directory, plan.environment, out.writing, err.writing)
        except OSError as error:
            code = EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_NOT_RUNNABLE
            message = f"{error.strerror}: {error.filename or plan.argv[0]}"
            return AttemptOutcome(code, f"{message}{NO_IMAGE_HINT}" if _is_missing(error, plan) else message)
        try:
            started(process)
            code = await process.wait()
        finally:
            await end_group(process)
    return AttemptOutcome(code if code >= 0 else 128 - code, "\n".join(tail))


def _is_missing(error: OSError, plan: AttemptPlan) -> bool:
    """Whether it is the command that is not there, and not its folder."""
    return isinstance(error, FileNotFoundError) and error.filename in (None, plan.argv[0])


def _keep(tail: deque[str], text: str, line: Line) -> None:
    """Pass a line on, and keep the last ones for the failure message."""
    tail.append(text[-MAX_MESSAGE_BYTES:])
    while len(tail) > 1 and sum(len(kept.encode()) + 1 for kept in tail) > MAX_MESSAGE_BYTES:
        tail.popleft()
    line(text)
