"""`resource` tasks: what is kept of one while it runs, and what CEL over the live object makes of it. Pure.

A pending task keeps the expressions that it was started with (PendingTask.target), so that an edit of the Agent changes
nothing of what runs. The object comes from the cluster and may be large: expressions that could be costly on objects of
HARMLESS_EXTENT are refused when the Agent is compiled, and a task ends where its object is too large for them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from heed import names
from heed.api.task import ResourceSpec
from heed.core.cel.cost import SCOPE_WORK
from heed.core.cel.expression import Expression, ExpressionError, MissingMember, Scope, compile_expression
from heed.core.cel.polynomial import EXTENT, DataLimit, plus, scale
from heed.core.cel.variables import OBJECT_VARIABLES
from heed.core.codec.canonical_json import canonicalize, dump_compact
from heed.core.codec.strict_json import MAX_JSON_DEPTH, measure_depth
from heed.core.effects import AgentRef, TaskEnd
from heed.core.events import Event
from heed.core.tasks.job_contract import clean_text
from heed.errors import DecisionFailed, Problem

CONDITIONS: Final = ("failed", "succeeded")  # in the order in which they are asked
VALUES: Final = ("result", "progress", "reason", "message")
EXPRESSIONS: Final = (*CONDITIONS, *VALUES)
HARMLESS_EXTENT: Final = 1 << 16  # of an object of about 50 KiB
MAX_RESULT_BYTES: Final = 64 * 1024  # bytes of JSON
MAX_PROGRESS_BYTES: Final = 4096  # bytes of JSON
MAX_MESSAGE_CHARS: Final = 1024
MAX_REASON_CHARS: Final = 100

REASON_INVALID: Final = "InvalidResource"  # the API server will never take it as it is
REASON_KIND_UNKNOWN: Final = "KindUnknown"  # the API server serves no such kind, or not any more
REASON_FORBIDDEN: Final = "Forbidden"  # the operator has no right to create it
REASON_FAILED: Final = "Failed"  # `failed` holds, and no `reason` says why
REASON_EXPRESSION: Final = "ExpressionFailed"

_API_VERSION: Final = re.compile(r"([a-z0-9][-a-z0-9.]{0,252}/)?v[a-z0-9]{1,62}")
_TEMPLATE_METADATA: Final = ("labels", "annotations")
_OUTSIDE: Final = ("status",)


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """A kind of objects by group, version and name, as `apiVersion` and `kind` give it."""

    group: str
    version: str
    kind: str

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "ObjectKind":
        """That of an object or a template."""
        group, _, version = str(body.get("apiVersion") or "").rpartition("/")
        return cls(group, version, str(body.get("kind") or ""))

    @property
    def api_version(self) -> str:
        """Group and version as manifests write them."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.kind} of {self.api_version}"


@dataclass(frozen=True, slots=True)
class Progress:
    """What a task's object says of its progress, as compact JSON; `id` is that of the event that says it."""

    id: str
    value: str


def failed_end(attempt_id: str, end_id: str, at: str, reason: str, message: str | None) -> TaskEnd:
    """The end of an attempt that failed."""
    task_id, attempt = names.split_attempt(attempt_id)
    return TaskEnd(task_id, end_id, at, False, reason=reason, message=message, attempt=attempt)


def progress_message(agent: AgentRef, attempt_id: str, progress: Progress, at: str) -> tuple[str, Event]:
    """The subject and the event that say how far a task is."""
    event = Event(
        id=progress.id,
        source=names.agent_source(agent.namespace, agent.name),
        type=names.TASK_PROGRESS,
        subject=names.split_attempt(attempt_id)[0],
        time=at,
        datacontenttype="application/json",
        data=json.loads(progress.value),
    )
    return names.task_subject(agent.namespace, agent.name, attempt_id, event.type), event


def dump_target(spec: ResourceSpec) -> str:
    """What a pending task keeps of its manifest, as JSON."""
    expressions = {name: text for name in EXPRESSIONS if (text := getattr(spec, name)) is not None}
    kind = ObjectKind.of(spec.template)
    return dump_compact(
        {"apiVersion": kind.api_version, "kind": kind.kind, "deletion": spec.deletion, **expressions}
    )


# ── before any event comes ──────────────────────────────────────────────────────────────────────────────────────────


def check_resource(shape: Any, spec: ResourceSpec, path: str) -> Iterator[Problem]:
    """What is wrong with a resource task. `shape` is that of its compiled work: {template: …}."""
    template = shape["template"] if isinstance(shape, Mapping) else {}
    yield from _check_template(template, f"{path}.template")
    for name in EXPRESSIONS:
        if (source := getattr(spec, name)) is not None:
            yield from _check_expression(source, f"{path}.{name}", condition=name in CONDITIONS)
    if spec.failed is None:
        for name in ("reason", "message"):
            if getattr(spec, name) is not None:
                yield Problem(f"{path}.{name}", "is never read", "say with `failed` when the task has failed")


def _check_template(template: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for name, example in (("apiVersion", "batch/v1"), ("kind", "Job")):
        value = template.get(name)
        if not isinstance(value, str) or not value:
            remedy = f"write it out, such as {example}; no ${{CEL}} may choose it"
            yield Problem(f"{path}.{name}", "is missing or no plain text", remedy)
        elif name == "apiVersion" and not _API_VERSION.fullmatch(value):
            yield Problem(f"{path}.{name}", f'"{value}" is no API version', "write it as batch/v1 or v1")
    metadata = template.get("metadata", {})
    if not isinstance(metadata, Mapping):
        yield Problem(f"{path}.metadata", "is no map", "give it `labels` and `annotations`, or leave it out")
        return
    for name in metadata:
        if name not in _TEMPLATE_METADATA:
            message = "is not for a template to say"
            remedy = "Heed gives the object its name, namespace and owner; leave it out"
            yield Problem(f"{path}.metadata.{name}", message, remedy)
    for name in _OUTSIDE:
        if name in template:
            yield Problem(f"{path}.{name}", "is written by the object's controller", "leave it out")


def _check_expression(source: str, path: str, *, condition: bool) -> Iterator[Problem]:
    try:
        expression = _compile(source, condition=condition)
    except ExpressionError as error:
        yield Problem(path, str(error))
        return
    if _limit_of((expression,)).always < HARMLESS_EXTENT:
        message = "may take too long on objects that are no larger than usual"
        remedy = "nest fewer macros, and compare with literals; see docs/resources.md"
        yield Problem(path, message, remedy)


@lru_cache(maxsize=1024)
def _compile(source: str, *, condition: bool) -> Expression:
    return compile_expression(source, condition=condition, known=OBJECT_VARIABLES)


def _limit_of(expressions: tuple[Expression, ...]) -> DataLimit:
    return DataLimit.of(
        plus(scale(EXTENT, SCOPE_WORK), *(expression.value_cost.work for expression in expressions))
    )


# ── while it runs ───────────────────────────────────────────────────────────────────────────────────────────────────


class ResourceTarget:
    """What a pending task waits for: objects of a kind, and when they count as done.

    `path` is where the task stands in the manifest. Raises ExpressionError for a record that cannot be read: a status
    may be written by others.
    """

    def __init__(self, record: str, path: str) -> None:
        try:
            given = json.loads(record)
            self.kind = ObjectKind.of(given)
            self.deletion = str(given["deletion"])
            sources = {name: str(given[name]) for name in EXPRESSIONS if given.get(name) is not None}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ExpressionError("what the task waits for cannot be read from its record") from None
        self._path = path
        self._expressions = {
            name: _compile(source, condition=name in CONDITIONS) for name, source in sources.items()
        }
        self._limit = _limit_of(tuple(self._expressions.values()))

    def judge(self, attempt_id: str, body: Mapping[str, Any], at: str) -> TaskEnd | Progress | None:
        """What an object says of an attempt: that it has ended, how far it is, or nothing yet. `at` is RFC 3339, now.

        A member or an item that is not there (or is null, which Kubernetes holds to be the same) means "not yet" in
        `failed`, `succeeded` and `progress`. Any other failure of an expression ends the task with ExpressionFailed.
        """
        uid = str((body.get("metadata") or {}).get("uid") or "")
        try:
            return self._judge(attempt_id, uid, body, at)
        except _JudgementFailed as failure:
            message = clean_text(f"{self._path}{failure}")[:MAX_MESSAGE_CHARS]
            return failed_end(attempt_id, uid, at, REASON_EXPRESSION, message)

    def _judge(
        self, attempt_id: str, uid: str, body: Mapping[str, Any], at: str
    ) -> TaskEnd | Progress | None:
        scope = self._scope(body)
        if self._holds("failed", scope):
            reason, message = self._text("reason", scope), self._text("message", scope)
            reason = (reason or REASON_FAILED)[:MAX_REASON_CHARS]
            return failed_end(attempt_id, uid, at, reason, message)
        if self._holds("succeeded", scope):
            task_id, attempt = names.split_attempt(attempt_id)
            return TaskEnd(task_id, uid, at, True, result=self._result(scope), attempt=attempt)
        return self._progress(attempt_id, body, scope)

    def _scope(self, body: Mapping[str, Any]) -> Scope:
        metadata = {
            name: value for name, value in (body.get("metadata") or {}).items() if name != "managedFields"
        }
        whole = {**body, "metadata": metadata}
        if measure_depth(whole) > MAX_JSON_DEPTH:
            raise _JudgementFailed("", f"the object nests deeper than {MAX_JSON_DEPTH} levels")
        shown = _readable(whole)
        if not self._limit.allows(shown):
            raise _JudgementFailed(
                "", "the object is too large for what its expressions do; nest fewer macros"
            )
        return Scope({"object": shown}, OBJECT_VARIABLES.variables)

    def _holds(self, name: str, scope: Scope) -> bool:
        expression = self._expressions.get(name)
        if expression is None:
            return False
        try:
            return expression.holds(scope)
        except MissingMember:
            return False
        except (ExpressionError, DecisionFailed) as error:
            raise _JudgementFailed(f".{name}", str(error)) from None

    def _result(self, scope: Scope) -> Any:
        expression = self._expressions.get("result")
        if expression is None:
            return None
        try:
            value = canonicalize(expression.value(scope))
        except (ExpressionError, DecisionFailed, OverflowError) as error:
            raise _JudgementFailed(".result", str(error)) from None
        size = len(dump_compact(value).encode(errors="replace"))
        if size > MAX_RESULT_BYTES:
            message = f"is {size} bytes of JSON, more than {MAX_RESULT_BYTES}; yield less of the object"
            raise _JudgementFailed(".result", message)
        return value

    def _text(self, name: str, scope: Scope) -> str | None:
        """A reason or a message. What it cannot say changes nothing of the failure."""
        expression = self._expressions.get(name)
        if expression is None:
            return None
        try:
            value = expression.value(scope)
        except (ExpressionError, DecisionFailed):
            return None
        text = value if isinstance(value, str) else dump_compact(value)
        return clean_text(text)[:MAX_MESSAGE_CHARS] or None

    def _progress(self, attempt_id: str, body: Mapping[str, Any], scope: Scope) -> Progress | None:
        expression = self._expressions.get("progress")
        if expression is None:
            return None
        try:
            value = dump_compact(canonicalize(expression.value(scope)))
        except MissingMember:
            return None
        except (ExpressionError, DecisionFailed, OverflowError, ValueError) as error:
            raise _JudgementFailed(".progress", str(error)) from None
        size = len(value.encode(errors="replace"))
        if size > MAX_PROGRESS_BYTES:
            message = f"is {size} bytes of JSON, more than {MAX_PROGRESS_BYTES}; yield less of the object"
            raise _JudgementFailed(".progress", message)
        version = str((body.get("metadata") or {}).get("resourceVersion") or "")
        return Progress(names.digest("progress", attempt_id, version, value), value)


class _JudgementFailed(Exception):
    """An expression that cannot say whether a task has ended; `place` is relative to the task."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}")


def _readable(value: Any) -> Any:
    """A value of the API server as CEL can read it: nulls are absent, and no text holds U+0000."""
    if isinstance(value, Mapping):
        return {_readable(key): _readable(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if isinstance(value, str):
        return value if value.isascii() and "\0" not in value else clean_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return canonicalize(value, stored=True)
    return value
