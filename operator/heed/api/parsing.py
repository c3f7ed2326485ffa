"""A manifest's JSON as a typed Agent, with every mistake as a Problem that names the field and the remedy."""

import difflib
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from heed import names
from heed.api.agent import Agent
from heed.errors import InvalidManifest, Problem

_FILL: Final = "fill it in, or leave the field out"
_SHAPES: Final = {
    "string_type": "put it in quotes",
    "list_type": "write a list: items that begin with `- `",
    "dict_type": "write a map: `name: value`",
    "model_type": "write a map: `name: value`",
    "model_attributes_type": "write a map: `name: value`",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
}


def parse_agent(document: Mapping[str, Any]) -> Agent:
    """The Agent of a manifest. Raises InvalidManifest."""
    if document.get("apiVersion") != names.API_VERSION or document.get("kind") != names.KIND:
        found = f"{document.get('apiVersion')} {document.get('kind')}"
        raise InvalidManifest([Problem("kind", f"is {found}", f"Heed runs {names.API_VERSION} {names.KIND}")])
    try:
        return Agent.model_validate(document)
    except ValidationError as error:
        raise InvalidManifest([_problem(item) for item in error.errors(include_url=False)]) from None


def _problem(error: ErrorDetails) -> Problem:
    location = [part for part in error["loc"] if part != "[key]"]
    path = field_path(location)
    last = str(location[-1]) if location else ""
    match error["type"]:
        case "missing":
            return Problem(path, "is missing", "add it")
        case "extra_forbidden" if last in ("true", "on", "True"):
            return Problem(
                path, "there is no such field (YAML reads an unquoted `on` as true)", "the field is `type`"
            )
        case "extra_forbidden":
            return Problem(path, "there is no such field", _near(location))
        case "invalid_key":
            remedy = "YAML reads an unquoted on, off, yes or no as a boolean; handlers say `type`"
            return Problem(path, "is not a string", remedy)
        case "string_pattern_mismatch":
            return Problem(path, f"{error['input']!r} does not fit", _pattern_remedy(last, error))
        case "too_short" | "string_too_short":
            return Problem(path, "is empty", "give at least one" if error["type"] == "too_short" else _FILL)
        case "string_too_long" | "too_long":
            limit = (error.get("ctx") or {}).get("max_length")
            return Problem(path, f"is longer than {limit}", "shorten it; long logic belongs into a task")
        case "value_error":
            return Problem(path, f"{error['input']!r} {error['msg'].removeprefix('Value error, ')}")
        case kind:
            message = error["msg"][:1].lower() + error["msg"][1:]
            return Problem(path, message, _SHAPES.get(kind, "see `heed crds` for what belongs there"))


def field_path(location: list[int | str]) -> str:
    """`spec.handlers[2].when` of a location."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _pattern_remedy(last: str, error: ErrorDetails) -> str:
    if "[0-9]+(s|m|h|d)" in str((error.get("ctx") or {}).get("pattern")):
        return "write a duration such as 90s, 10m, 1h30m or 7d"
    return "use lower-case letters, digits and -, beginning and ending with a letter or digit"


def _near(location: list[int | str]) -> str:
    known = _known_fields(location[:-1])
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known)}"


def _known_fields(location: list[int | str]) -> list[str]:
    """The fields of the model at a location."""
    model: type[BaseModel] = Agent
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
