"""A JSON Schema validator that explains a mismatch in one sentence.

Nothing a schema refers to is ever opened: references may only lead into the schema itself, and the library is given a
retriever that refuses. What it says of a mistake quotes the schema, and never the data: those may be secret.

The library's own words for `anyOf` and `oneOf` hold every mistake of every branch, which can take all memory there is.
So a mistake is looked for with a copy of the schema, in which a branch that does not fit is no mistake of its own.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import jsonschema_rs
from jsonschema_rs import ValidationErrorKind as Kind

from heed.api.validation import json_kind
from heed.core.cel.polynomial import DataLimit
from heed.core.schema.cost import MAX_SCHEMA_BYTES, SchemaRefused, find_limit
from heed.core.schema.pattern_diagnostics import explain_pattern

MAX_MISMATCH_CHARS: Final = 400
_PATTERNS: Final = jsonschema_rs.RegexOptions(size_limit=1024 * 1024)  # linear in the text; no backtracking
_SCHEMAS: Final = ("not", "if", "then", "else", "additionalProperties", "items", "contains", "propertyNames")
_LISTS: Final = ("allOf", "prefixItems")
_MAPS: Final = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_TYPES: Final = "array, boolean, integer, null, number, object, string"
_AMONG: Final = {
    "anyOf": "fits none of its alternatives (anyOf)",
    "oneOf": "does not fit exactly one (oneOf)",
}


class SchemaValidator:
    """Validates data against one schema. `limit` bounds the data that are cheap to validate."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Raises SchemaRefused."""
        self.limit: Final[DataLimit] = find_limit(schema)
        self._schema: Final = dict(schema)
        self._validator: Final = _validator(self._schema)
        self._explaining: jsonschema_rs.Validator | None = None
        self._explained = False

    def problem(self, data: Any) -> str | None:
        """The mismatch, beginning with its path; None if the data match."""
        try:
            if self._validator.is_valid(data):
                return None
            return self._explanation(data)[:MAX_MISMATCH_CHARS]
        except (ValueError, OverflowError, TypeError):
            return "data: cannot be checked, as they nest too deep or hold numbers beyond 64 bits"

    def _explanation(self, data: Any) -> str:
        if not self._explained:
            self._explained = True
            self._explaining = _explaining(self._schema)
        try:
            if self._explaining is not None:
                self._explaining.validate(data)
        except jsonschema_rs.ValidationError as error:
            return f"{_place(error.instance_path)}: {_said(error)}"
        return "data: do not fit the schema"


def _refuse(uri: str) -> Any:
    raise ValueError("nothing is fetched")


def _validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.Draft202012Validator(
            schema, validate_formats=True, retriever=_refuse, pattern_options=_PATTERNS
        )
    except jsonschema_rs.ValidationError as error:
        path = "".join(f".{part}" for part in error.instance_path)
        raise SchemaRefused(shorten_text(path, 256), _mistake(error)) from None
    except (jsonschema_rs.ReferencingError, ValueError, OverflowError) as error:
        raise SchemaRefused("", f"cannot be used: {shorten_text(str(error))}") from None


def _mistake(error: jsonschema_rs.ValidationError) -> str:
    """What is wrong with a schema. It is no secret, so it may be quoted."""
    if error.message.endswith('is not a "regex"'):
        pattern = str(error.instance)
        return (
            f"{shorten_text(json.dumps(pattern))} is no pattern that can be used: {explain_pattern(pattern)}"
        )
    if error.instance_path[-1:] == ["type"]:
        return f"is {shorten_text(json.dumps(error.instance))}; known are {_TYPES}"
    if error.message.startswith("Invalid URI reference"):
        return "has an $id that is no URI reference; write it like https://example.com/order"
    if isinstance(error.kind, Kind.Referencing):
        return "refers to something that is not in the schema; copy it into $defs"
    return f"is no JSON Schema: {shorten_text(error.message, 160)}"


def shorten_text(text: str, length: int = 80) -> str:
    """A text for an error message."""
    return text if len(text) <= length else text[: length - 1] + "…"


# ── where mistakes are looked for ───────────────────────────────────────────────────────────────────────────────────


def _explaining(schema: dict[str, Any]) -> jsonschema_rs.Validator | None:
    """The schema that finds the same mistakes; None where it cannot be made of this one."""
    if "anyOf" not in (text := json.dumps(schema)) and "oneOf" not in text:
        return _validator(schema)
    try:
        copy = _copy(schema)
        return _validator(copy) if len(json.dumps(copy)) <= 4 * MAX_SCHEMA_BYTES else None
    except SchemaRefused:  # a reference leads into a branch that is elsewhere now
        return None


def _copy(schema: Any) -> Any:
    """A schema whose alternatives are looked at by `not`, and for what `unevaluated…` has to know of them."""
    if not isinstance(schema, dict):
        return schema
    copy: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _SCHEMAS:
            copy[keyword] = _copy(value)
        elif keyword in _LISTS and isinstance(value, list):
            copy[keyword] = [_copy(item) for item in value]
        elif keyword in _MAPS and isinstance(value, dict):
            copy[keyword] = {name: _copy(item) for name, item in value.items()}
        elif keyword not in _AMONG:
            copy[keyword] = value
    for keyword in _AMONG:
        if isinstance(branches := schema.get(keyword), list):
            seen = {"anyOf": [*map(_copy, branches), True]}
            copy["allOf"] = [*copy.get("allOf", ()), {"not": {"not": {keyword: branches}}}, seen]
    return copy


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _place(path: list[str | int]) -> str:
    """`data.items[2].price`; what would be long is cut."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{shorten_text(part, 40)}" for part in path)
    return shorten_text("data" + "".join(parts), 200)


def _said(error: jsonschema_rs.ValidationError) -> str:
    match error.kind:
        case Kind.Type(types=types):
            return f"is {json_kind(error.instance)}, not {' or '.join(types)}"
        case Kind.Required(property=name):
            return f"lacks {_quoted(name)}"
        case Kind.AdditionalProperties(unexpected=names) | Kind.UnevaluatedProperties(unexpected=names):
            return f"has {_listed(names)}, which the schema does not know"
        case Kind.Enum(options=options):
            return f"is none of {_listed(options)}"
        case Kind.Constant(expected_value=value):
            return f"is not {_quoted(value)}"
        case Kind.Pattern(pattern=pattern):
            return f"does not match the pattern {_quoted(pattern)}"
        case Kind.Format(format=name):
            return f"is no {shorten_text(name)}"
        case Kind.Not():
            return _denied(error.kind.schema)
        case Kind.FalseSchema():
            return _forbidden(error.schema_path[-1:], error.instance_path[-1:])
        case _:
            return _bounded(error)


def _bounded(error: jsonschema_rs.ValidationError) -> str:
    """Of keywords with a number, and the rest."""
    words = {
        "minimum": "is less than",
        "exclusiveMinimum": "is not more than",
        "maximum": "is more than",
        "exclusiveMaximum": "is not less than",
        "multipleOf": "is not a multiple of",
        "minLength": "is shorter, in characters, than",
        "maxLength": "is longer, in characters, than",
        "minItems": "has fewer items than",
        "maxItems": "has more items than",
        "minProperties": "has fewer fields than",
        "maxProperties": "has more fields than",
    }
    if isinstance(error.kind, Kind.PropertyNames):
        return "has a field whose name is not allowed (propertyNames)"
    if (word := words.get(error.kind.name)) is not None:
        return f"{word} {_quoted(error.kind.value)}"
    return f"does not fit {error.kind.name}"


def _forbidden(keyword: list[str | int], member: list[str | int]) -> str:
    """Of a `false`: of all of a map's fields, or of a value that is not to be there."""
    of_fields = keyword in (["additionalProperties"], ["propertyNames"]) and member != keyword
    return "has a field, and the schema allows none" if of_fields else "is not allowed"


def _denied(schema: Any) -> str:
    """Of a `not`: one of the schema's own, or one of those that `_copy` made of alternatives."""
    inner = schema.get("not") if isinstance(schema, dict) else None
    keywords = inner if isinstance(inner, dict) else {}
    return next(
        (words for keyword, words in _AMONG.items() if keyword in keywords), "fits what is excluded (not)"
    )


def _listed(values: list[Any]) -> str:
    more = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return ", ".join(map(_quoted, values[:3])) + more


def _quoted(value: Any) -> str:
    return shorten_text(json.dumps(value, ensure_ascii=False, default=str), 60)
