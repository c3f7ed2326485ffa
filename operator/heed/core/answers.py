"""How tasks end in a simulation: a script of rules, of which the first that fits a task's start answers it.

A rule: {task, when?: CEL over `input`, `session`, `event`, `task`, `agent`; then either `result` (strings may hold
${CEL}) or `reason` with `message?` and `exitCode?`; times?: how often it applies}.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from heed.api.parsing import problem_of
from heed.core.effects import TaskWork
from heed.core.expressions import Expression, ExpressionError, Scope, compile_expression
from heed.core.simulation import Answer
from heed.core.templates import Template, TemplateError, compile_template
from heed.errors import InvalidManifest, Problem


class _RuleModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    task: str
    when: Annotated[str, Field(min_length=1)] | None = None
    result: Any = None
    reason: Annotated[str, Field(min_length=1)] | None = None
    message: str | None = None
    exit_code: Annotated[int | None, Field(alias="exitCode")] = None
    times: Annotated[int, Field(ge=1)] | None = None


_SCRIPT = TypeAdapter(list[_RuleModel])


@dataclass(slots=True)
class Rule:
    """One line of a script. `left` counts how often it may still answer; `path` is where it stands."""

    task: str
    path: str = ""
    when: Expression | None = None
    result: Template | None = None
    failure: Answer | None = None
    left: int | None = None

    def answer(self, work: TaskWork) -> Answer | None:
        """The task's end, if this rule fits. Raises InvalidManifest where an expression breaks."""
        if self.task != work.task or self.left == 0:
            return None
        scope = Scope(_variables(work))
        try:
            if self.when is not None and not self.when.holds(scope):
                return None
            result = None if self.result is None else self.result.render(scope)
        except ExpressionError as error:
            raise InvalidManifest([Problem(f"{self.path}.when", str(error))]) from None
        except TemplateError as error:
            raise InvalidManifest([Problem(f"{self.path}.result{error.path}", error.message)]) from None
        if self.left is not None:
            self.left -= 1
        return self.failure or Answer(result=result)


def answering(rules: Iterable[Rule]) -> Callable[[TaskWork], Answer | None]:
    """What answers tasks by rules, the first that fits."""
    script = list(rules)

    def answer(work: TaskWork) -> Answer | None:
        return next((found for rule in script if (found := rule.answer(work)) is not None), None)

    return answer


def parse_script(document: Any, tasks: Sequence[str]) -> list[Rule]:
    """The rules of a script over these known tasks. Raises InvalidManifest with paths."""
    try:
        models = _SCRIPT.validate_python(document)
    except ValidationError as error:
        raise InvalidManifest(
            [problem_of(item, _RuleModel) for item in error.errors(include_url=False)]
        ) from None
    problems: list[Problem] = []
    rules = [_rule(model, f"[{index}]", tasks, problems) for index, model in enumerate(models)]
    if problems:
        raise InvalidManifest(problems)
    return rules


def _rule(model: _RuleModel, path: str, tasks: Sequence[str], problems: list[Problem]) -> Rule:
    if model.task not in tasks:
        known = ", ".join(tasks) or "none"
        problems.append(Problem(f"{path}.task", f'no Agent has a task "{model.task}"', f"tasks are: {known}"))
    if model.reason is not None and "result" in model.model_fields_set:
        problems.append(Problem(path, "has a result and a reason", "a task completes or fails, not both"))
    if model.reason is None and (model.message is not None or model.exit_code is not None):
        problems.append(Problem(path, "has no reason", "give a failed task a `reason`, such as JobFailed"))
    rule = Rule(model.task, path, left=model.times)
    if model.reason is not None:
        rule.failure = Answer(reason=model.reason, message=model.message, exit_code=model.exit_code)
    try:
        rule.when = None if model.when is None else compile_expression(model.when, condition=True)
    except ExpressionError as error:
        problems.append(Problem(f"{path}.when", str(error)))
    try:
        rule.result = compile_template(model.result)
    except TemplateError as error:
        problems.append(Problem(f"{path}.result{error.path}", error.message))
    return rule


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
