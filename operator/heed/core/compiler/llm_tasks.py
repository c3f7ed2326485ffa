"""Validation of `llm` tasks: what no schema can say of models, tools and budgets."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from heed.api.agent import AgentSpec
from heed.api.llm_task import LlmSpec
from heed.api.task import TaskSpec
from heed.core.compiler.http_tasks import check_headers, check_url
from heed.core.llm.model_settings import OBJECT, CheckedSchema
from heed.core.llm.task_terms import read_terms
from heed.core.schema.cost import SchemaRefused
from heed.errors import Problem

MAX_SCHEMA_BYTES: Final = 64 * 1024


def check_llm(name: str, task: TaskSpec, spec: AgentSpec, path: str) -> Iterator[Problem]:
    """What is wrong with an llm task at `path`."""
    llm = task.llm
    assert llm is not None
    if task.publish:
        yield Problem(f"{path}.publish", "is for jobs only", "leave it out")
    if task.retry is not None:
        message = "a call of a model that may pass is made again by itself"
        yield Problem(f"{path}.retry", message, "leave it out")
    path = f"{path}.llm"
    yield from check_url(llm.base_url, f"{path}.baseURL")
    yield from check_headers(llm.headers, f"{path}.headers")
    yield from _check_amounts(llm, path)
    if llm.output is not None:
        yield from _check_schema(llm.output, f"{path}.output")
    yield from _check_tools(name, llm, spec, path)


def _check_amounts(llm: LlmSpec, path: str) -> Iterator[Problem]:
    try:
        read_terms(llm.template)
    except ValueError as error:
        yield Problem(f"{path}.price", str(error), "write amounts such as 2.50")
    if llm.budget.cost is not None and llm.price is None:
        message = "has a cost, and nothing says what tokens cost"
        yield Problem(f"{path}.budget.cost", message, "give the task a `price`")


def _check_schema(schema: Mapping[str, Any], path: str) -> Iterator[Problem]:
    try:
        CheckedSchema.of(schema)
    except SchemaRefused as error:
        yield Problem(path, str(error), "write a JSON Schema that can be checked quickly")


def _check_tools(name: str, llm: LlmSpec, spec: AgentSpec, path: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, tool in enumerate(llm.tools):
        place = f"{path}.tools[{index}]"
        if tool.task not in spec.tasks:
            known = ", ".join(sorted(spec.tasks))
            yield Problem(f"{place}.task", f'unknown task "{tool.task}"', f"spec.tasks has: {known}")
        elif name in _reach(tool.task, spec):
            message = f"{tool.task} is {name} itself, or calls it: they could call each other for ever"
            yield Problem(f"{place}.task", message, "take one of the tools away")
        if tool.called in seen:
            yield Problem(
                f"{place}.name", f"{tool.called} is there twice", "give each tool a `name` of its own"
            )
        seen.add(tool.called)
        if tool.input is not None:
            if tool.input.get("type") != OBJECT:
                yield Problem(f"{place}.input", "is no schema of an object", "write `type: object`")
            yield from _check_schema(tool.input, f"{place}.input")
    if llm.tool_choice not in ("auto", "required", "none", *seen):
        remedy = f"write auto, required, none{', or one of ' if seen else ''}{', '.join(sorted(seen))}"
        yield Problem(f"{path}.toolChoice", f"there is no tool {llm.tool_choice}", remedy)


def _reach(task: str, spec: AgentSpec) -> set[str]:
    """The tasks that a tool can come to call, and itself."""
    reached, left = set[str](), [task]
    while left:
        found = left.pop()
        if found not in reached:
            reached.add(found)
            known = spec.tasks.get(found)
            left += [tool.task for tool in known.llm.tools] if known is not None and known.llm else []
    return reached
