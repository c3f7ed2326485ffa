"""Declarations of an Agent's tasks: functions of its code, and work that others do."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, overload

from pydantic import BaseModel

from heed import names
from heed.api.fields import MAX_LABEL_CHARS
from heed.sdk.decorators import TaskDecorator
from heed.sdk.errors import DeclarationError
from heed.sdk.members import without_none
from heed.sdk.tasks import Backoff, Choice, FunctionTask, PlainTask, Task, TaskOptions

Value = TypeVar("Value")
Kept = TypeVar("Kept", bound=Task[Any])

_NO_OPTIONS: Final = TaskOptions()


def to_label(name: str) -> str:
    """The name of a function as Kubernetes writes names: `give_up` is `give-up`."""
    return name.strip("_").replace("_", "-").lower()


class TaskDeclarations:
    """The tasks of an Agent by their names."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task[Any]] = {}

    def task(
        self,
        *,
        name: str | None = None,
        timeout: str | None = None,
        attempt_timeout: str | None = None,
        retries: int = 0,
        backoff: Backoff | None = None,
        retry_on: Sequence[str] = (),
        max_concurrent: int | None = None,
        priority: int = 0,
    ) -> TaskDecorator:
        """Make a task of a function that a worker runs; it may be slow, and may call models, tools and databases.

        Its parameters are the input of `start`, but for a TaskContext and resources. `retries` are further attempts.
        """
        options = TaskOptions(timeout, attempt_timeout, retries, backoff, retry_on, max_concurrent, priority)

        def add(function: Callable[..., Any]) -> FunctionTask[Any]:
            return self._keep(FunctionTask(name or to_label(function.__name__), function, options))

        return add

    @overload
    def job(
        self,
        name: str,
        *,
        image: str | None = None,
        command: Sequence[str] = (),
        spec: Mapping[str, Any] | None = None,
        input: Any = Any,
        result: type[Value],
        options: TaskOptions = _NO_OPTIONS,
    ) -> PlainTask[Value]: ...
    @overload
    def job(
        self,
        name: str,
        *,
        image: str | None = None,
        command: Sequence[str] = (),
        spec: Mapping[str, Any] | None = None,
        input: Any = Any,
        result: Any = Any,
        options: TaskOptions = _NO_OPTIONS,
    ) -> PlainTask[Any]: ...
    def job(
        self,
        name: str,
        *,
        image: str | None = None,
        command: Sequence[str] = (),
        spec: Mapping[str, Any] | None = None,
        input: Any = Any,
        result: Any = Any,
        options: TaskOptions = _NO_OPTIONS,
    ) -> PlainTask[Any]:
        """A Kubernetes Job as a task: of an image with a command, or with a JobSpec of its own that may hold ${CEL}."""
        if (image is None) == (spec is None):
            raise DeclarationError(f"job {name}: give either an image or a spec")
        work = dict(spec) if spec is not None else _job_of(str(image), command)
        return self._keep(PlainTask(name, "job", work, input=input, result=result, options=options))

    @overload
    def resource(
        self,
        name: str,
        *,
        template: Mapping[str, Any],
        succeeded: str,
        failed: str | None = None,
        outcome: str | None = None,
        input: Any = Any,
        result: type[Value],
        options: TaskOptions = _NO_OPTIONS,
    ) -> PlainTask[Value]: ...
    @overload
    def resource(
        self,
        name: str,
        *,
        template: Mapping[str, Any],
        succeeded: str,
        failed: str | None = None,
        outcome: str | None = None,
        input: Any = Any,
        result: Any = Any,
        options: TaskOptions = _NO_OPTIONS,
    ) -> PlainTask[Any]: ...
    def resource(
        self,
        name: str,
        *,
        template: Mapping[str, Any],
        succeeded: str,
        failed: str | None = None,
        outcome: str | None = None,
        input: Any = Any,
        result: Any = Any,
        options: TaskOptions = _NO_OPTIONS,
    ) -> PlainTask[Any]:
        """Any object of Kubernetes as a task; the conditions, and `outcome` for its result, are CEL over `object`."""
        members = {"template": dict(template), "succeeded": succeeded, "failed": failed, "result": outcome}
        work = without_none(members)
        return self._keep(PlainTask(name, "resource", work, input=input, result=result, options=options))

    @overload
    def http(
        self,
        name: str,
        *,
        url: str,
        request: Mapping[str, Any] | None = None,
        input: Any = Any,
        result: type[Value],
        options: TaskOptions = _NO_OPTIONS,
    ) -> PlainTask[Value]: ...
    @overload
    def http(
        self,
        name: str,
        *,
        url: str,
        request: Mapping[str, Any] | None = None,
        input: Any = Any,
        result: Any = Any,
        options: TaskOptions = _NO_OPTIONS,
    ) -> PlainTask[Any]: ...
    def http(
        self,
        name: str,
        *,
        url: str,
        request: Mapping[str, Any] | None = None,
        input: Any = Any,
        result: Any = Any,
        options: TaskOptions = _NO_OPTIONS,
    ) -> PlainTask[Any]:
        """A request to a service as a task, which a worker of Heed's sends; strings may hold ${CEL}.

        `request` has the other members of `http` in a manifest. The result is {status, headers, body}, or what
        `result.reduce` makes of that.
        """
        if request is not None and "url" in request:
            raise DeclarationError(f"http {name}: url is given twice; leave it out of the request")
        work = {"url": url, **(request or {})}
        return self._keep(PlainTask(name, "http", work, input=input, result=result, options=options))

    def wait(self, name: str, *, duration: str | None = None, until: str | None = None) -> PlainTask[None]:
        """A time to wait for: a duration, or an RFC 3339 time; both may hold ${CEL} over the task's `input`."""
        if (duration is None) == (until is None):
            raise DeclarationError(f"wait {name}: give either a duration or until")
        work = {"for": duration} if duration is not None else {"until": until}
        return self._keep(PlainTask(name, "wait", work, input=Any, result=Any, options=TaskOptions()))

    def approval(
        self,
        name: str,
        *,
        title: str,
        details: str | None = None,
        choices: Sequence[str] = (),
        fields: type[BaseModel] | None = None,
        users: Sequence[str] = (),
        groups: Sequence[str] = (),
        timeout: str | None = None,
        on_timeout: str | None = None,
        input: Any = Any,
    ) -> PlainTask[Choice]:
        """A question to people, whose texts may hold ${CEL}; its result is a Choice. `fields` is what they fill in."""
        approvers = {"users": list(users), "groups": list(groups)}
        members = {
            "title": title,
            "details": details,
            "choices": [{"name": choice} for choice in choices] or None,
            "fields": None if fields is None else fields.model_json_schema(),
            "approvers": {key: value for key, value in approvers.items() if value} or None,
            "onTimeout": on_timeout,
        }
        work = without_none(members)
        options = TaskOptions(timeout)
        return self._keep(PlainTask(name, "approval", work, input=input, result=Choice, options=options))

    def _keep(self, task: Kept) -> Kept:
        if not names.is_name(task.name) or len(task.name) > MAX_LABEL_CHARS:
            remedy = f"use at most {MAX_LABEL_CHARS} of a-z, 0-9 and -"
            raise DeclarationError(f'"{task.name}" is no name of a task; {remedy}')
        if task.name in self.tasks:
            raise DeclarationError(f'there is a task "{task.name}" already; rename one')
        self.tasks[task.name] = task
        return task


def _job_of(image: str, command: Sequence[str]) -> dict[str, Any]:
    """A JobSpec of one container that Pod Security's restricted profile admits."""
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if command:
        container["command"] = list(command)
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    return {"backoffLimit": 0, "template": {"spec": {"securityContext": security, "containers": [container]}}}
