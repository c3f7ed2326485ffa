"""Parsing of manifests into typed Agents: every mistake is a Problem that names field and remedy."""

import difflib
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from heed import names
from heed.api.agent import Agent
from heed.errors import InvalidManifest, Problem

_FILL: Final = "fill it in, or leave the field out"
_WANTED: Final = {
    "string_type": ("a string", "put it in quotes"),
    "list_type": ("a list", "write a list: items that begin with `- `"),
    "dict_type": ("a map", "write a map: `name: value`"),
    "model_type": ("a map", "write a map: `name: value`"),
    "model_attributes_type": ("a map", "write a map: `name: value`"),
    "bool_type": ("a boolean", "write true or false"),
    "bool_parsing": ("a boolean", "write true or false"),
    "int_type": ("a whole number", "write a whole number"),
}
_DURATIONS: Final = ("timeout", "retention", "idleTimeout")


def parse_agent(document: Mapping[str, Any]) -> Agent:
    """The Agent of a manifest. Raises InvalidManifest."""
    check_kind(document, names.KIND)
    try:
        return Agent.model_validate(document)
    except ValidationError as error:
        raise InvalidManifest([explain_error(item) for item in error.errors(include_url=False)]) from None


def check_kind(document: Mapping[str, Any], kind: str) -> None:
    """Raise InvalidManifest for another apiVersion or kind."""
    for field, right in (("apiVersion", names.API_VERSION), ("kind", kind)):
        found = document.get(field)
        if found is None:
            raise InvalidManifest([Problem(field, "is missing", f"write {field}: {right}")])
        if found != right:
            remedy = f"Heed runs {names.API_VERSION} {kind}"
            raise InvalidManifest([Problem(field, f"is {found}", remedy)])


def explain_error(error: ErrorDetails, model: type[BaseModel] = Agent) -> Problem:
    """A pydantic error as a Problem. `model` is the model that the location starts in."""
    location = [part for part in error["loc"] if part != "[key]"]
    path = field_path(location)
    last = str(location[-1]) if location else ""
    match error["type"]:
        case "missing":
            return Problem(path, "is missing", "add it")
        case "extra_forbidden":
            return _unknown_field(path, location, model)
        case "string_pattern_mismatch":
            return Problem(path, f"{error['input']!r} does not fit", _pattern_remedy(last, error))
        case "too_short" | "string_too_short" | "string_too_long" | "too_long":
            return _wrong_length(path, error)
        case "value_error":
            return Problem(path, f"{error['input']!r} {error['msg'].removeprefix('Value error, ')}")
        case "greater_than_equal" | "less_than_equal" | "literal_error":
            return Problem(path, f"is {error['input']!r}", _choices(error))
        case kind if kind in _WANTED:
            return _misshaped(path, last, error["input"], kind)
        case "invalid_key":
            remedy = "YAML reads an unquoted on, off, yes or no as a boolean; handlers say `type`"
            return Problem(path, "is not a string", remedy)
        case _:
            message = error["msg"][:1].lower() + error["msg"][1:]
            return Problem(path, message, "see `heed crds` for what belongs there")


def _unknown_field(path: str, location: list[int | str], model: type[BaseModel]) -> Problem:
    if location and str(location[-1]) in ("true", "on", "True"):
        return Problem(
            path, "there is no such field (YAML reads an unquoted `on` as true)", "the field is `type`"
        )
    return Problem(path, "there is no such field", _near(location, model))


def _misshaped(path: str, last: str, found: Any, kind: str) -> Problem:
    wanted, remedy = _WANTED[kind]
    if found is None:
        return Problem(path, "is null", "fill it in" if path in ("spec", "metadata") else _FILL)
    if kind == "string_type" and last in _DURATIONS:
        whole = isinstance(found, int) and not isinstance(found, bool)
        remedy = f"write {found}s for seconds" if whole else "write a duration such as 90s, 10m, 1h30m or 7d"
    elif kind == "string_type" and isinstance(found, dict | list):
        remedy = f"write one string; quote it where {'a brace' if isinstance(found, dict) else 'a bracket'} begins it"
    return Problem(path, f"is {json_kind(found)}, not {wanted}", remedy)


def _wrong_length(path: str, error: ErrorDetails) -> Problem:
    if error["type"] in ("string_too_long", "too_long"):
        limit = (error.get("ctx") or {}).get("max_length")
        return Problem(path, f"is longer than {limit}", "shorten it; long logic belongs into a task")
    return Problem(path, "is empty", "give at least one" if error["type"] == "too_short" else _FILL)


def _choices(error: ErrorDetails) -> str:
    """What a field of a range, or of few values, may be."""
    context = error.get("ctx") or {}
    if "expected" not in context:
        return f"write at least {context['ge']}" if "ge" in context else f"write at most {context['le']}"
    known = re.findall(r"'([^']+)'", str(context["expected"]))
    by_lower = {choice.lower(): choice for choice in known}
    found = error["input"]
    near = difflib.get_close_matches(found.lower(), by_lower, n=1) if isinstance(found, str) else []
    return f'did you mean "{by_lower[near[0]]}"?' if near else f"write one of {', '.join(known)}"


def json_kind(value: Any) -> str:
    """The kind of a JSON value for messages: `a string`, `a map`."""
    kinds = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "a map",
        type(None): "null",
    }
    return kinds.get(type(value), "something else")


def field_path(location: list[int | str]) -> str:
    """A pydantic location as a path: `spec.handlers[2].when`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _pattern_remedy(last: str, error: ErrorDetails) -> str:
    if "[0-9]+(s|m|h|d)" in str((error.get("ctx") or {}).get("pattern")):
        return "write a duration such as 90s, 10m, 1h30m or 7d"
    if last == "url":
        return "write a URL of http:// or https://, such as https://orders.example.com/events"
    return "use lower-case letters, digits and -, beginning and ending with a letter or digit"


def _near(location: list[int | str], model: type[BaseModel]) -> str:
    known = _known_fields(location[:-1], model)
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known)}"


def _known_fields(location: list[int | str], model: type[BaseModel]) -> list[str]:
    """The fields of the model at a location."""
    for part in location:
        if isinstance(part, str) and (field := _field(model, part)) is not None:
            model = field
    return [item.alias or name for name, item in model.model_fields.items()]


def _field(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The model of a field, through lists, maps and options."""
    for key, item in model.model_fields.items():
        if name in (key, item.alias):
            return _model_in(item.annotation)
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model is not None), None)
