"""What an approval asks to be filled in, as the controls of an HTML form: made of a JSON Schema, and read again.

Texts, numbers, yes or no, and choices out of a list have controls of their own; everything else is written as JSON.
The form only helps to write an answer: whether it counts is judged by the schema itself.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from heed.core.codec.strict_json import parse_json
from heed.errors import MalformedEvent

Kind = Literal["text", "long", "number", "boolean", "list", "json"]
LONG_TEXT_CHARS: Final = 200  # beyond so many, or without a bound, a text gets several lines
MAX_NUMBER_CHARS: Final = 40
INPUT_TYPES: Final = {"date": "date", "email": "email", "uri": "url"}  # of formats
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WHOLE: Final = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True, slots=True)
class FormField:
    """A control. `key` is the property that it fills, None where it fills all of them at once."""

    control: str
    key: str | None
    kind: Kind
    title: str
    help: str
    required: bool
    schema: Mapping[str, Any]

    @property
    def options(self) -> Sequence[Any]:
        """The values of a list."""
        found: Sequence[Any] = self.schema["enum"]
        return found


def form_fields(schema: Mapping[str, Any] | None) -> tuple[FormField, ...]:
    """The controls for a schema of fields: what is required comes first, as `required` has it, and the rest by name."""
    if schema is None:
        return ()
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        return (FormField("fields", None, "json", "Fields", "As JSON: a map in braces.", False, {}),)
    required = schema.get("required")
    needed = (
        [key for key in required if isinstance(key, str) and key in properties]
        if isinstance(required, list)
        else []
    )
    order = dict.fromkeys([*needed, *properties])
    return tuple(
        _field(f"field-{index}", key, properties[key], key in needed) for index, key in enumerate(order)
    )


def _field(control: str, key: str, given: Any, required: bool) -> FormField:
    schema: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    title, help = schema.get("title"), schema.get("description")
    kind = _kind(schema)
    help = help if isinstance(help, str) else ""
    if kind == "json":
        help = f"{help} Write JSON.".strip()
    return FormField(
        control, key, kind, title if isinstance(title, str) and title else key, help, required, schema
    )


def _kind(schema: Mapping[str, Any]) -> Kind:
    enum, type_ = schema.get("enum"), schema.get("type")
    if isinstance(enum, list) and enum:
        return "list"
    match type_:
        case "string":
            most = schema.get("maxLength")
            short = str(schema.get("format")) in INPUT_TYPES or (
                isinstance(most, int) and most <= LONG_TEXT_CHARS
            )
            return "text" if short else "long"
        case "number" | "integer":
            return "number"
        case "boolean":
            return "boolean"
    return "json"


def default_entries(fields: Sequence[FormField]) -> dict[str, str]:
    """What the controls hold at first: the defaults of the schema."""
    found: dict[str, str] = {}
    for field in fields:
        default = field.schema.get("default")
        if field.kind == "list" and default in field.options:
            found[field.control] = str(field.options.index(default))
        elif field.kind == "boolean" and default is True:
            found[field.control] = "on"
        elif field.kind in ("text", "long") and isinstance(default, str):
            found[field.control] = default
        elif field.kind == "number" and isinstance(default, int | float) and not isinstance(default, bool):
            found[field.control] = str(default)
    return found


def read_entries(
    fields: Sequence[FormField], entries: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The fields of an answer from what was entered; and, by control, what is wrong with what could not be read."""
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for field in fields:
        text = entries.get(field.control, "")
        if field.kind == "boolean":
            values[field.key or ""] = text != ""
            continue
        if not text.strip():
            continue
        try:
            value = _READERS[field.kind](field, text)
        except ValueError as error:
            problems[field.control] = str(error)
            continue
        if field.key is None:
            values = value
        else:
            values[field.key] = value
    return values, problems


def _read_text(field: FormField, text: str) -> str:
    return text.replace("\r\n", "\n")


def _read_number(field: FormField, text: str) -> int | float:
    text = text.strip()
    if len(text) > MAX_NUMBER_CHARS or _NUMBER.fullmatch(text) is None:
        raise ValueError("This is no number. Write digits, with a point for decimals.")
    if _WHOLE.fullmatch(text):
        return int(text)
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("This number is too large.")
    return int(value) if field.schema["type"] == "integer" and value.is_integer() else value


def _read_choice(field: FormField, text: str) -> Any:
    if text.isascii() and text.isdecimal() and int(text) < len(field.options):
        return field.options[int(text)]
    raise ValueError("Choose one of the list.")


def _read_json(field: FormField, text: str) -> Any:
    try:
        value = parse_json(text.encode(errors="replace"), "NoJson", "This is no JSON.")
    except MalformedEvent as error:
        raise ValueError(str(error)) from None
    if field.key is None and not isinstance(value, dict):
        raise ValueError("This is no map. Write it in braces.")
    return value


_READERS: Final = {
    "text": _read_text,
    "long": _read_text,
    "number": _read_number,
    "list": _read_choice,
    "json": _read_json,
}
