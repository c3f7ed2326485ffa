"""A task's `job` against the fields of batch/v1 JobSpec: their names and their types, before and after rendering.

What no release of Kubernetes takes is a mistake: a wrong type, a name that differs from that of a field in nothing but
case or separators, a required field that is missing. A name that the release in `job_fields` does not have is a doubt:
it may be a field of a newer one, and the API server knows. What values mean is for the API server to judge.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from heed.core.cel.template import ExpressionSlot
from heed.core.codec.canonical_json import INT_MAX, INT_MIN
from heed.core.effects import TaskWork
from heed.core.schema.job_fields import FIELDS, VERSION
from heed.errors import Problem

BOOLEAN: Final = "a boolean"
WHOLE: Final = "a whole number"
NUMBER: Final = "a number"
STRING: Final = "a string"
LIST: Final = "a list"
MAP: Final = "a map"
METADATA: Final = "JobMetadata"
_ROOT: Final = "Job"
_SHOWN: Final = 3  # mistakes that the end of a task tells of
_REACH: Final = 3  # levels down to which a field is looked for that stands too high

_OWN: Final[Mapping[str, Mapping[str, str]]] = {
    _ROOT: {**FIELDS["JobSpec"], "metadata": METADATA},
    METADATA: {"labels": "{}string", "annotations": "{}string"},
}
_TYPES: Final = {**FIELDS, **_OWN}
_RANGES: Final = {"int32": (-(2**31), 2**31 - 1), "int64": (INT_MIN, INT_MAX)}
_TAKES: Final[Mapping[str, tuple[str, ...]]] = {
    "bool": (BOOLEAN,),
    "string": (STRING,),
    "int32": (WHOLE,),
    "int64": (WHOLE,),
    "number": (NUMBER, WHOLE),
    "quantity": (STRING, NUMBER, WHOLE),
    "int-or-string": (WHOLE, STRING),
}
_NAMES: Final = {"quantity": "a quantity", "int-or-string": "a whole number or a string"}
_YIELDED: Final = {
    "BOOL": BOOLEAN,
    "INT": WHOLE,
    "UINT": WHOLE,
    "STRING": STRING,
    "BYTES": STRING,
    "TIMESTAMP": STRING,
    "DURATION": STRING,
    "LIST": LIST,
    "MAP": MAP,
}


@dataclass(frozen=True, slots=True)
class _FieldMistake:
    """Something about a field. A `certain` one is a mistake whatever the release of Kubernetes."""

    problem: Problem
    certain: bool = True


def check_job_spec(job: Any, path: str) -> list[Problem]:
    """Mistakes in the JobSpec of a task. `job` is rendered, or a template's shape with slots for expressions."""
    found = [item.problem for item in _check(job, _ROOT, path, path) if item.certain]
    return found or list(_idle(job, path))


def lint_job_spec(job: Any, path: str) -> list[Problem]:
    """Warnings for fields of a JobSpec that the release of Kubernetes in `job_fields` does not have."""
    return [item.problem for item in _check(job, _ROOT, path, path) if not item.certain]


def explain_no_job(work: TaskWork) -> str | None:
    """Why a task's rendered JobSpec can never be a Job; None where the API server may take it."""
    found = check_job_spec(work.spec, f"spec.tasks.{work.task}.job")
    more = f" (and {len(found) - _SHOWN} more)" if len(found) > _SHOWN else ""
    return "; ".join(map(str, found[:_SHOWN])) + more if found else None


def _idle(job: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """What is said of a Job, right in every field, that has no container. Kubernetes takes a pod without `spec`."""
    value: Any = job
    for name in ("template", "spec", "containers"):
        value = value.get(name) if isinstance(value, Mapping) else value
    if not value:
        remedy = "a job needs at least one container"
        yield Problem(f"{path}.template.spec.containers", "there is no container", remedy)


def _check(value: Any, type_: str, path: str, root: str) -> Iterator[_FieldMistake]:
    """What there is to say of a value in the place of a type. `root` is the path of the whole."""
    if value is None:
        return
    if (kind := _kind(value)) is not None and kind not in _taken(type_):
        yield _FieldMistake(_misplaced(value, kind, type_, path))
    elif isinstance(value, ExpressionSlot):
        return
    elif type_.startswith("[]"):
        for index, item in enumerate(value):
            item = {} if item is None and type_[2:] in _TYPES else item  # as Kubernetes reads it
            yield from _check(item, type_[2:], f"{path}[{index}]", root)
    elif type_.startswith("{}"):
        for key, item in value.items() if type_ != "{}any" else ():
            yield from _check(item, type_[2:], f"{path}.{key}", root)
    elif type_ in _TYPES:
        yield from _members(value, type_, path, root)
    elif type_ in _RANGES and not _RANGES[type_][0] <= value <= _RANGES[type_][1]:
        yield _FieldMistake(Problem(path, f"{value} does not fit {type_[3:]} bits", "write a smaller number"))


def _members(value: Mapping[str, Any], type_: str, path: str, root: str) -> Iterator[_FieldMistake]:
    known = _fields(type_)
    for name, item in value.items():
        if name in known:
            yield from _check(item, known[name], f"{path}.{name}", root)
        else:
            yield _unknown(name, type_, path, root)
    for name in _required(type_):
        if value.get(name) is None:
            yield _FieldMistake(Problem(f"{path}.{name}", "is missing", "add it"))


@cache
def _fields(type_: str) -> Mapping[str, str]:
    return {name: field.removesuffix("!") for name, field in _TYPES[type_].items()}


@cache
def _required(type_: str) -> tuple[str, ...]:
    return tuple(name for name, field in _TYPES[type_].items() if field.endswith("!"))


def _taken(type_: str) -> tuple[str, ...]:
    """The kinds of values that a type takes."""
    if type_.startswith("[]"):
        return (LIST,)
    return _TAKES.get(type_, (MAP,))


def _kind(value: Any) -> str | None:
    """What a value is; None for what an expression yields of which nothing is known."""
    match value:
        case ExpressionSlot():
            return _YIELDED.get(value.type)
        case bool():
            return BOOLEAN
        case int():
            return WHOLE
        case float():
            return WHOLE if value.is_integer() else NUMBER  # canonical JSON has no 2.0
        case str():
            return STRING
        case list():
            return LIST
        case _:
            return MAP


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _misplaced(value: Any, kind: str, type_: str, path: str) -> Problem:
    wanted = _NAMES.get(type_) or _taken(type_)[0]
    if isinstance(value, ExpressionSlot):
        return Problem(path, f"yields {kind}, not {wanted}", _conversion(value, wanted))
    return Problem(path, f"is {_shown(value, kind)}, not {wanted}", _remedy(value, kind, type_))


def _shown(value: Any, kind: str) -> str:
    text = str(value).lower() if isinstance(value, bool) else f'"{value}"' if kind == STRING else str(value)
    return kind if kind in (LIST, MAP) else f"{kind} ({text[:40]}{'…' * (len(text) > 40)})"


def _conversion(value: ExpressionSlot, wanted: str) -> str:
    if not value.alone:
        return "a string that is one ${…} and nothing else keeps the type of its value"
    if value.type == "DURATION" and wanted == WHOLE:
        return "write ${x.getSeconds()}, which is all of its seconds"
    convert = {WHOLE: "int(…)", STRING: "string(…)", BOOLEAN: "bool(…)"}.get(wanted)
    return f"write ${{{convert}}}" if convert else f"let the expression yield {wanted}"


def _remedy(value: Any, kind: str, type_: str) -> str:
    taken = _taken(type_)
    if kind == STRING and WHOLE in taken and value.strip().removeprefix("-").isdecimal():
        return f"write {value.strip()} without quotes, or ${{int(…)}} in a template"
    if BOOLEAN in taken:
        return "write true or false, without quotes"
    if taken == (STRING,) and kind not in (LIST, MAP):
        return "put it in quotes, or write ${string(…)} in a template"
    if taken == (LIST,):
        named = kind == MAP and {"name", "value"} <= set(_TYPES.get(type_[2:], ()))
        return (
            "write a list: `- name: A` with its `value`"
            if named
            else "write a list: items that begin with `- `"
        )
    return "write a map: `name: value`" if taken == (MAP,) else f"write {_NAMES.get(type_) or taken[0]}"


def _unknown(name: str, type_: str, path: str, root: str) -> _FieldMistake:
    here, known = f"{path}.{name}", _fields(type_)
    if type_ == METADATA:
        remedy = "Heed names the Job; set `labels` and `annotations`"
        return _FieldMistake(Problem(here, "cannot be set", remedy))
    if (right := {_folded(field): field for field in known}.get(_folded(name))) is not None:
        return _FieldMistake(Problem(here, "there is no such field", f'did you mean "{right}"?'))
    message = f"Kubernetes {VERSION} has no such field, and an API server that has none refuses the Job"
    return _FieldMistake(Problem(here, message, _meant(name, type_, path, root)), certain=False)


def _meant(name: str, type_: str, path: str, root: str) -> str:
    if (place := _place(name, type_)) is not None:
        return f"it belongs into {place}"
    if near := difflib.get_close_matches(name, _fields(type_), n=1):
        return f'did you mean "{near[0]}"?'
    return f"see `kubectl explain {_explained(path, root)}`"


def _place(name: str, type_: str) -> str | None:
    """Where below a type there is a field of a name, the nearest of such places."""
    level = [(field, inner) for field, inner in _fields(type_).items()]
    for _ in range(_REACH):
        for place, inner in level:
            if name in _TYPES.get(inner.removeprefix("[]"), ()):
                return place + "[]" * inner.startswith("[]")
        level = [
            (f"{place}.{field}", deeper)
            for place, inner in level
            if inner in _TYPES
            for field, deeper in _fields(inner).items()
        ]
    return None


def _explained(path: str, root: str) -> str:
    """A path as `kubectl explain` takes it."""
    steps = path.removeprefix(root).split(".")
    return "job.spec" + ".".join(step.partition("[")[0] for step in steps)


def _folded(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
