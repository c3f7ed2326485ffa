"""One attempt at a job as a child process: which command a JobSpec means here, and how running it went.

Only what a laptop can honour is run; what would quietly mean something else than in a cluster is refused.
"""

import asyncio
import re
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from heed.core.effects import TaskWork
from heed.core.jobcontract import BACKOFF_LIMIT, MESSAGE_LIMIT, first_container
from heed.errors import TaskRefused
from heed.local.children import Process, end_group, spawn

LINE_LIMIT: Final = 16 * 1024  # characters of one line; longer ones are handed on in pieces
DRAIN: Final = 1.0  # seconds to read what a finished child has written
INHERITED: Final = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "VIRTUAL_ENV")
NOT_FOUND: Final = 127
NOT_RUNNABLE: Final = 126

_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")

Line = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a job is run here. `deadline` is in seconds; `ignored` names what only a cluster can do."""

    argv: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    backoff_limit: int
    deadline: float | None
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: the exit code as a shell gives it, and the end of what it wrote to stderr."""

    exit_code: int
    errors: str


def plan(work: TaskWork, base: Path, contract: Mapping[str, str], inherited: Mapping[str, str]) -> Plan:
    """The command, environment and limits of a job. `contract` are its HEED_* variables. Raises TaskRefused."""
    path = f"spec.tasks.{work.task}.job"
    _refuse_unsupported(work.spec, path)
    container, at = first_container(work.spec), f"{path}.template.spec.containers[0]"
    own = _environment(container, at, contract)
    expandable = {**own, **contract}
    command = [
        _expand(_text(part, f"{at}.{key}[{index}]"), expandable)
        for key in ("command", "args")
        for index, part in enumerate(container.get(key) or [])
    ]
    if not container.get("command"):
        raise TaskRefused(
            "NoCommand",
            f"{at}.command: heed dev runs the container's command as a child process and cannot know an "
            "image's entry point; set command",
        )
    limits = [limit for limit in (work.timeout, work.spec.get("activeDeadlineSeconds")) if limit is not None]
    backoff = work.spec.get("backoffLimit")
    return Plan(
        argv=tuple(command),
        directory=base / _text(container.get("workingDir") or ".", f"{at}.workingDir"),
        environment={**{k: v for k, v in inherited.items() if k in INHERITED}, **expandable},
        backoff_limit=BACKOFF_LIMIT if backoff is None else int(backoff),
        deadline=min(map(float, limits), default=None),
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
    for index, item in enumerate(container.get("env") or []):
        if item.get("valueFrom"):
            raise TaskRefused("UnsupportedLocally", f"{at}.env[{index}].valueFrom: {_NO_SOURCES}")
        value = _text(item.get("value", ""), f"{at}.env[{index}].value")
        own[_text(item.get("name"), f"{at}.env[{index}].name")] = _expand(value, {**contract, **own})
    return own


_NO_SOURCES: Final = "heed dev has no cluster to take it from; give a plain value while developing"


def _text(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise TaskRefused(
            "InvalidSpec", f"{at}: must be a string, is {value!r}; write \"${{string(…)}}\" in its template"
        )
    return value


def _expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` as in core/v1 Container.args: unknown names stay as they are, `$$` is a literal `$`."""

    def replaced(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else variables.get(found[1], found[0])

    return _REFERENCE.sub(replaced, text)


async def attempt(plan: Plan, started: Callable[[Process], None], line: Line) -> Outcome:
    """Run the command once. Nothing of its process group is left afterwards, also not when this is cancelled."""
    try:
        process = await spawn(
            plan.argv, plan.directory, plan.environment, subprocess.PIPE, subprocess.PIPE
        )
    except OSError as error:
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
        return Outcome(code, f"{error.strerror}: {error.filename or plan.argv[0]}")
    tail: deque[str] = deque()
    readers: list[asyncio.Task[None]] = []
    try:
        started(process)
        assert process.stdout and process.stderr
        readers.append(asyncio.create_task(_lines(process.stdout, line)))
        readers.append(asyncio.create_task(_lines(process.stderr, lambda text: _keep(tail, text, line))))
        await process.wait()
    finally:
        await end_group(process)
        await _drain(readers)
    code = await process.wait()
    return Outcome(code if code >= 0 else 128 - code, "\n".join(tail))


async def _lines(stream: asyncio.StreamReader, line: Line) -> None:
    rest = ""
    while chunk := await stream.read(LINE_LIMIT):
        *whole, rest = (rest + chunk.decode("utf-8", errors="replace")).split("\n")
        for text in whole:
            line(text.removesuffix("\r"))
        if len(rest) > LINE_LIMIT:
            line(rest)
            rest = ""
    if rest:
        line(rest)


def _keep(tail: deque[str], text: str, line: Line) -> None:
    tail.append(text)
    while sum(len(kept.encode()) + 1 for kept in tail) > MESSAGE_LIMIT and len(tail) > 1:
        tail.popleft()
    line(text)


async def _drain(readers: list[asyncio.Task[None]]) -> None:
    """Let the readers come to the end; one who left the group may hold the other end of the pipe open."""
    if not readers:
        return
    _, late = await asyncio.wait(readers, timeout=DRAIN)
    for reader in late:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
