"""Mistakes in a manifest's approval that no event is needed to find."""

from collections.abc import Iterator
from typing import Any, Final

from heed.api.task import ApprovalSpec, TaskSpec
from heed.core.approval.request import FAIL, ApprovalRequest
from heed.core.codec.canonical_json import dump_compact
from heed.core.schema.cost import SchemaRefused
from heed.core.schema.validator import SchemaValidator
from heed.errors import DecisionFailed, Problem

MAX_FIELDS_BYTES: Final = 8 * 1024


def check_approval(task: TaskSpec, shape: Any, path: str) -> Iterator[Problem]:
    """What is wrong with an approval; `shape` is its template with the literal parts as they are."""
    spec = task.approval
    if spec is None:
        return
    yield from _choices(spec, path)
    yield from _timeout(spec, task.timeout, path)
    yield from _fields(spec, path)
    try:
        if all(isinstance(value, str) for value in _leaves(shape)):
            ApprovalRequest.render(spec, shape).to_json()
    except DecisionFailed as failure:
        yield Problem(path, *failure.message.split("; ", 1))


def _choices(spec: ApprovalSpec, path: str) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, choice in enumerate(spec.choices):
        if choice.name in seen:
            message = f'"{choice.name}" is the name of choices[{seen[choice.name]}] too'
            yield Problem(f"{path}.choices[{index}].name", message, "give each choice its own name")
        seen.setdefault(choice.name, index)


def _timeout(spec: ApprovalSpec, timeout: str | None, path: str) -> Iterator[Problem]:
    choices = [choice.name for choice in spec.choices]
    if spec.on_timeout == FAIL:
        return
    if spec.on_timeout not in choices:
        message = f'"{spec.on_timeout}" is neither Fail nor one of the choices'
        yield Problem(f"{path}.onTimeout", message, f"choices are: {', '.join(choices)}")
    if timeout is None:
        yield Problem(
            f"{path}.onTimeout", "never comes: the task has no timeout", "give the task a `timeout`"
        )


def _fields(spec: ApprovalSpec, path: str) -> Iterator[Problem]:
    if spec.fields is None:
        return
    if len(dump_compact(spec.fields).encode()) > MAX_FIELDS_BYTES:
        yield Problem(f"{path}.fields", f"exceeds {MAX_FIELDS_BYTES} bytes", "ask for less")
        return
    if spec.fields.get("type", "object") != "object":
        yield Problem(
            f"{path}.fields.type", "is not object, and what people fill in is a map", "write `type: object`"
        )
    try:
        SchemaValidator(spec.fields)
    except SchemaRefused as refused:
        yield Problem(f"{path}.fields{refused.path}", refused.message)


def _leaves(shape: Any) -> Iterator[Any]:
    """The values of a template; what only an event decides is no text yet."""
    match shape:
        case dict():
            for value in shape.values():
                yield from _leaves(value)
        case list():
            for value in shape:
                yield from _leaves(value)
        case _:
            yield shape
