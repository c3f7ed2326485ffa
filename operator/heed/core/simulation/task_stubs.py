"""Task stubs: a script whose first matching rule gives a started task its end.

A rule: {task, when?: CEL over `input`, `session`, `event`, `task`, `agent`; then either `result` (strings may hold
${CEL}), or `reason` with `message?`, `exitCode?`, `cause?` and `container?`, or for a resource task `objects`: what its
object becomes in turn (strings may hold ${CEL}), merged into what was created; times?: how often it applies; run?: the
one start that it answers, counted among those that task and `when` fit; attempt?: the one attempt at a task that it
answers; after?: the id of a given event that the task ends after}. Each attempt at a task is a start.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from heed.api.task import MAX_ATTEMPTS
from heed.api.validation import explain_error
from heed.core.cel.expression import Expression, ExpressionError, Scope, compile_expression
from heed.core.cel.template import Template, TemplateError, compile_template
from heed.core.effects import TaskWork
from heed.core.simulation.steps import StubbedEnd
from heed.errors import InvalidManifest, Problem


class _StubModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    task: str
    when: Annotated[str, Field(min_length=1)] | None = None
    result: Any = None
    reason: Annotated[str, Field(min_length=1)] | None = None
    message: str | None = None
    exit_code: Annotated[int | None, Field(alias="exitCode")] = None
    cause: str | None = None
    container: str | None = None
    times: Annotated[int, Field(ge=1)] | None = None
    run: Annotated[int, Field(ge=1)] | None = None
    after: Annotated[str, Field(min_length=1)] | None = None
    objects: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = None
    attempt: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] | None = None


_SCRIPT = TypeAdapter(list[_StubModel])


@dataclass(slots=True)
class TaskStub:
    """One line of a script. `left` counts how often it may still answer; `path` is where it stands.

    `run` is the number of the only start that it answers, `fitted` how many have fitted it, `after` the id of the given
    event that the task's end comes after, `attempt` the only attempt at a task that it answers.
    """

    task: str
    path: str = ""
    when: Expression | None = None
    result: Template | None = None
    objects: Template | None = None
    failure: StubbedEnd | None = None
    left: int | None = None
    run: int | None = None
    after: str | None = None
    attempt: int | None = None
    fitted: int = 0

    def matches(self, work: TaskWork) -> bool:
        """Whether it matches this start, which it counts. Raises InvalidManifest where its condition fails."""
        if self.task != work.task or self.left == 0 or self.attempt not in (None, work.attempt):
            return False
        try:
            if self.when is not None and not self.when.holds(Scope(_variables(work))):
                return False
        except ExpressionError as error:
            raise InvalidManifest([Problem(f"{self.path}.when", str(error))]) from None
        self.fitted += 1
        return self.run is None or self.run == self.fitted

    def end_task(self, work: TaskWork) -> StubbedEnd:
        """The end of a task that it matches. Raises InvalidManifest where an expression fails."""
        result, objects = self._render("result", work), self._render("objects", work)
        if self.left is not None:
            self.left -= 1
        end = self.failure or StubbedEnd(result=result, objects=tuple(objects or ()))
        return replace(end, after=self.after)

    def _render(self, member: str, work: TaskWork) -> Any:
        template: Template | None = getattr(self, member)
        try:
            return None if template is None else template.render(Scope(_variables(work)))
        except TemplateError as error:
            raise InvalidManifest([Problem(f"{self.path}.{member}{error.path}", error.message)]) from None


def answer_from(rules: Iterable[TaskStub]) -> Callable[[TaskWork], StubbedEnd | None]:
    """A function that answers task starts with the first stub that matches."""
    script = list(rules)

    def answer(work: TaskWork) -> StubbedEnd | None:
        found: TaskStub | None = None
        for rule in script:
            # Rules that answer one start count all of them, whichever rule comes first.
            if (found is None or rule.run is not None) and rule.matches(work) and found is None:
                found = rule
        return None if found is None else found.end_task(work)

    return answer


def parse_script(
    document: Any, tasks: Sequence[str], events: Collection[str] | None = None
) -> list[TaskStub]:
    """The rules of a script over these known tasks and ids of given events (None: any).

    Raises InvalidManifest with paths.
    """
    try:
        models = _SCRIPT.validate_python(document)
    except ValidationError as error:
        raise InvalidManifest(
            [explain_error(item, _StubModel) for item in error.errors(include_url=False)]
        ) from None
    problems: list[Problem] = []
    rules = [_rule(model, f"[{index}]", tasks, problems) for index, model in enumerate(models)]
    problems += _unknown_events(models, events)
    if problems:
        raise InvalidManifest(problems)
    return rules


def _unknown_events(models: Sequence[_StubModel], events: Collection[str] | None) -> Iterator[Problem]:
    for index, model in enumerate(models):
        if events is not None and model.after is not None and model.after not in events:
            near = difflib.get_close_matches(model.after, list(events), n=1)
            remedy = f'did you mean "{near[0]}"?' if near else "name the id of one, such as line-1"
            yield Problem(f"[{index}].after", f'no given event has the id "{model.after}"', remedy)


def _rule(model: _StubModel, path: str, tasks: Sequence[str], problems: list[Problem]) -> TaskStub:
    if model.task not in tasks:
        known = ", ".join(tasks) or "none"
        problems.append(Problem(f"{path}.task", f'no Agent has a task "{model.task}"', f"tasks are: {known}"))
    if model.reason is not None and "result" in model.model_fields_set:
        problems.append(Problem(path, "has a result and a reason", "a task completes or fails, not both"))
    details = (model.message, model.exit_code, model.cause, model.container)
    if model.reason is None and any(detail is not None for detail in details):
        problems.append(Problem(path, "has no reason", "give a failed task a `reason`, such as JobFailed"))
    if model.run is not None and model.times is not None:
        problems.append(Problem(path, "has run and times", "run is one start, times the first so many"))
    if model.objects is not None and (model.reason is not None or "result" in model.model_fields_set):
        problems.append(Problem(path, "has objects and an end", "let the task's CEL say what they mean"))
    rule = TaskStub(
        model.task, path, left=model.times, run=model.run, after=model.after, attempt=model.attempt
    )
    if model.reason is not None:
        rule.failure = StubbedEnd(None, model.reason, *details)
    try:
        rule.when = None if model.when is None else compile_expression(model.when, condition=True)
    except ExpressionError as error:
        problems.append(Problem(f"{path}.when", str(error)))
    rule.result = _template(model.result, f"{path}.result", problems)
    if model.objects is not None:
        rule.objects = _template(model.objects, f"{path}.objects", problems)
    return rule


def _template(value: Any, path: str, problems: list[Problem]) -> Template | None:
    try:
        return compile_template(value)
    except TemplateError as error:
        problems.append(Problem(f"{path}{error.path}", error.message))
        return None


def _variables(work: TaskWork) -> dict[str, Any]:
    event = work.document.get("event") or {}
    return {
        "input": work.document.get("input"),
        "session": work.document.get("session"),
        "event": {"correlationid": event.get("id"), **event},
        "task": work.document.get("task"),
        "agent": work.document.get("agent"),
        "state": {},
    }
