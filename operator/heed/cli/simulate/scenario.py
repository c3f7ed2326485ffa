"""What `heed simulate` reads besides Agents: events, answers to tasks, expectations."""

import difflib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, NoReturn, TypeVar

from heed import names
from heed.api.manifest.yaml import YamlError, YamlTree, read_documents
from heed.cli.manifest_files import read_text, source_name
from heed.cli.output import BadInput
from heed.core.cel.template import Template
from heed.core.codec.cloudevents_json import OPTIONAL_ATTRIBUTES, REQUIRED_ATTRIBUTES, event_from_json
from heed.core.codec.strict_json import MAX_JSON_DEPTH, parse_json
from heed.core.compiler.program import Program
from heed.core.simulation.assertions import check_expectation
from heed.core.simulation.steps import SimulatedMessage, StubbedEnd
from heed.core.simulation.task_stubs import TaskStub, parse_script
from heed.core.tasks.job_contract import parse_result
from heed.errors import InvalidManifest, InvalidSettings, MalformedEvent, Problem

T = TypeVar("T")
_MEMBERS: Final = (
    *REQUIRED_ATTRIBUTES,
    *OPTIONAL_ATTRIBUTES,
    "data",
    "data_base64",
    "to",
    "task",
    "correlationid",
    "causationid",
)
_OF_TASKS: Final = (names.TASK_PROGRESS, names.TASK_COMPLETED, names.TASK_FAILED)


def read_events(source: str, programs: Sequence[Program], namespace: str) -> list[SimulatedMessage]:
    """The events of a file of JSON lines; blank lines and # comments are skipped. Raises BadInput with file:line."""
    lines = _text(source).split("\n")
    return [
        _message(line, f"{source_name(source)}:{number}", number, programs, namespace)
        for number, line in enumerate(map(str.strip, lines), 1)
        if line and not line.startswith("#")
    ]


def _text(source: str) -> str:
    try:
        return read_text(source)
    except (InvalidManifest, InvalidSettings) as error:
        raise BadInput(str(error)) from None


def _message(
    line: str, place: str, number: int, programs: Sequence[Program], namespace: str
) -> SimulatedMessage:
    document = _json_line(line, place)
    to, task = document.pop("to", None), document.pop("task", None)
    speaker = "/simulate" if task is None else names.agent_source(namespace, str(to))
    document = {"specversion": "1.0", "id": f"line-{number}", "source": speaker, **document}
    try:
        event = event_from_json(document)
    except MalformedEvent as error:
        raise BadInput("; ".join([f"{place}: {error}", *_meant(document)])) from None
    if task is not None and not (isinstance(task, str) and to is not None and event.type in _OF_TASKS):
        raise BadInput(
            f'{place}: "task" is the name of a task whose event this is; it goes with "to" and a type of '
            f"{', '.join(_OF_TASKS)}"
        )
    if to is None:
        return SimulatedMessage(names.event_subject(namespace, event.type), event)
    known = [program.agent.name for program in programs if program.agent.namespace == namespace]
    if to not in known:
        raise BadInput(f'{place}: "to" is {json.dumps(to)}, none of the given Agents: {", ".join(known)}')
    return SimulatedMessage(names.inbox_subject(namespace, to, event.type), event, task=task)


def _meant(document: dict[str, Any]) -> Iterator[str]:
    """What unknown members of an event that cannot be read may have been meant for."""
    for name in document:
        near = difflib.get_close_matches(name, [item for item in _MEMBERS if item not in document], n=1)
        if name not in _MEMBERS and near:
            yield f'"{name}": did you mean "{near[0]}"?'


def _json_line(line: str, place: str) -> dict[str, Any]:
    try:
        document = parse_json(line.encode(), "NotAnEvent", "", MAX_JSON_DEPTH + 1)
    except MalformedEvent as error:
        raise BadInput(f"{place}: {str(error) or _why_not_json(line)}") from None
    if not isinstance(document, dict):
        raise BadInput(f"{place}: is no event; write one event as one JSON object per line")
    return document


def _why_not_json(line: str) -> str:
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg} (column {error.colno}); write one event per line"
    return "is not JSON"


def option_rules(completed: Sequence[str], failed: Sequence[str], tasks: Sequence[str]) -> Iterator[TaskStub]:
    """The rules of --complete TASK=JSON and --fail TASK=REASON. Raises BadInput."""
    for text in completed:
        task, value = _pair("--complete", text, "TASK=JSON", tasks)
        yield TaskStub(task, result=_constant(_result(text, value)))
    for text in failed:
        task, reason = _pair("--fail", text, "TASK=REASON", tasks)
        yield TaskStub(task, failure=StubbedEnd(reason=reason))


def _constant(value: Any) -> Template:
    """What is given on the command line is meant literally."""
    return Template(lambda scope: value, constant=True)


def _pair(option: str, text: str, form: str, tasks: Sequence[str]) -> tuple[str, str]:
    task, equals, value = text.partition("=")
    if not equals or not value:
        raise BadInput(f"{option} {text}: write {option} {form}")
    if task not in tasks:
        raise BadInput(
            f"{option} {text}: no Agent has a task {task!r}; tasks are: {', '.join(tasks) or 'none'}"
        )
    return task, value


def _result(text: str, value: str) -> Any:
    """A job's answer in its own words: JSON, or else text; but what looks like JSON has to be."""
    result = parse_result(value)
    if isinstance(result, str) and value.lstrip()[:1] in ("{", "[", '"') and result == value:
        raise BadInput(f"--complete {text}: {_why_not_json(value)}".replace("; write one event per line", ""))
    return result


def read_script(source: str, tasks: Sequence[str], events: Collection[str] | None) -> list[TaskStub]:
    """The rules of a script for these tasks and given events (None: any). Raises BadInput with file:line."""
    tree = _document(source)
    rules = _located(source, tree, lambda: parse_script(tree.value, tasks, events))
    for rule in rules:
        rule.path = f"{source_name(source)}:{tree.line_of(rule.path)}: {rule.path}"
    return rules


def read_expectation(source: str, agents: Collection[str]) -> dict[str, Any]:
    """An expectation of these Agents (namespace/name). Raises BadInput with file:line."""
    tree = _document(source)
    return _located(source, tree, lambda: check_expectation(tree.value, agents))


def _document(source: str) -> YamlTree:
    """The only document of a YAML file."""
    try:
        trees = read_documents(_text(source))
    except YamlError as error:
        _refuse(Problem(f"{source_name(source)}:{error.line}:{error.column}", error.message, error.remedy))
    if len(trees) != 1:
        _refuse(Problem(source_name(source), f"holds {len(trees)} documents", "it has to hold one"))
    return trees[0]


def _located(source: str, tree: YamlTree, parse_: Callable[[], T]) -> T:
    try:
        return parse_()
    except InvalidManifest as error:
        _refuse(
            *(
                Problem(
                    f"{source_name(source)}:{tree.line_of(item.path)}: {item.path or 'document'}",
                    item.message,
                    item.remedy,
                )
                for item in error.problems
            )
        )


def _refuse(*problems: Problem) -> NoReturn:
    raise BadInput("\n".join(map(str, problems)))
