"""Types and limits that the fields of resources share: patterns, labels, durations, expressions."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from heed import names

MAX_EXPRESSION_CHARS = 1024

MAX_LIST_ITEMS = 16

MAX_FUNCTION_CHARS = 128

FUNCTION_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"

MAX_LABEL_CHARS = 40

DNS_LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

MAX_DURATION_S = 3650 * 86400  # seconds; a date so far away can still be written

DURATION_PATTERN = r"^([0-9]+(s|m|h|d))+$"

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_PATTERN_SCHEMA = r"^([^\s.*>]+|\*)(\.([^\s.*>]+|\*))*(\.>)?$|^>$"


def parse_duration(duration: str) -> int:
    """The seconds of a duration such as `90s`, `10m`, `1h30m` or `7d`."""
    return sum(
        int(number) * _UNIT_SECONDS[unit] for number, unit in re.findall(r"([0-9]+)(s|m|h|d)", duration)
    )


def _bounded(duration: str) -> str:
    if parse_duration(duration) > MAX_DURATION_S:
        raise ValueError(f"is too long; use at most {MAX_DURATION_S // 86400}d")
    return duration


def _type_pattern(value: str) -> str:
    if not names.is_pattern(value):
        raise ValueError(
            "is not a type pattern; use dot-separated tokens, * for one token, a last > for the rest, "
            "such as com.example.order.*"
        )
    return value


TypePattern = Annotated[
    str,
    Field(max_length=names.MAX_TYPE_CHARS),
    AfterValidator(_type_pattern),
    WithJsonSchema(
        {"type": "string", "maxLength": names.MAX_TYPE_CHARS, "minLength": 1, "pattern": _PATTERN_SCHEMA}
    ),
]

Cel = Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION_CHARS)]

Duration = Annotated[str, Field(pattern=DURATION_PATTERN, max_length=32), AfterValidator(_bounded)]

Label = Annotated[str, Field(pattern=DNS_LABEL_PATTERN, min_length=1, max_length=MAX_LABEL_CHARS)]

Reason = Annotated[str, Field(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=100)]

Namespace = Annotated[str, Field(pattern=DNS_LABEL_PATTERN, min_length=1, max_length=63)]


class Model(BaseModel):
    """Base of the resource's models: camelCase outside, unknown fields refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=False,
    )
