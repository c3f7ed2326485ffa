"""JSON read strictly: what could not be kept exactly, here or in CEL, is refused instead of changed somewhere later."""

import json
import re
from collections.abc import Iterable
from math import isfinite
from typing import Final, NoReturn

from heed.core.events import Json
from heed.errors import MalformedEvent

MAX_JSON_DEPTH: Final = 64
INT64_RANGE: Final = (-(2**63), 2**63 - 1)  # CEL's integers

_SHOWN: Final = 24  # digits of a number
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Unreadable(MalformedEvent):
    """A MalformedEvent with a CamelCase `code` for machines, and the name of the attribute that it is about, if any."""

    def __init__(self, code: str, message: str, attribute: str | None = None) -> None:
        super().__init__(message)
        self.code, self.attribute = code, attribute


def parse_json(text: bytes, code: str, message: str, levels: int = MAX_JSON_DEPTH) -> Json:
    """JSON from UTF-8: no NaN, integers of 64 bits, no lone surrogates, not too deep. Raises MalformedEvent.

    `code` and `message` are for what is no JSON at all.
    """
    try:
        value: Json = _DECODER.decode(text.decode())
    except RecursionError:
        raise Unreadable("TooDeep", f"data nest deeper than {MAX_JSON_DEPTH} levels; flatten them") from None
    except ValueError:
        raise Unreadable(code, message) from None
    # Fewer brackets than levels allowed, and no escapes: nothing more to look for.
    if text.count(b"[") + text.count(b"{") > levels and measure_depth(value) > levels:
        raise Unreadable("TooDeep", f"data nest deeper than {MAX_JSON_DEPTH} levels; flatten them")
    if b"\\u" in text:
        check_value(value)
    return value


def check_value(value: object) -> None:
    """Raise MalformedEvent for what JSON or CEL could not hold. `value` nests no deeper than MAX_JSON_DEPTH."""
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_key(key)
            check_value(item)
    elif isinstance(value, list):
        for item in value:
            check_value(item)
    elif isinstance(value, int):
        _in_range(value)
    elif isinstance(value, float):
        if not isfinite(value):
            _out_of_range(str(value))
    elif value is not None:
        raise Unreadable("BadData", f"data hold a {type(value).__name__}; send JSON")


def _check_text(value: str) -> None:
    if _SURROGATE.search(value):
        raise Unreadable("BadData", "data hold a lone surrogate, which is no Unicode text; drop it")


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise Unreadable("BadData", f"data hold the key {shorten_json(key)}; make it a string")
    check_value(key)


def check_no_nul(value: object) -> None:
    """Raise MalformedEvent for U+0000: CEL's binding ends a text there, so that `admin\\0x` would equal `admin`."""
    if isinstance(value, str):
        if "\0" in value:
            raise Unreadable("BadData", "data hold the character U+0000, which ends text in CEL; drop it")
    elif isinstance(value, dict):
        for key in value:
            if "\0" in key:
                check_no_nul(key)
        _check_zeros_of(value.values())
    elif isinstance(value, list):
        _check_zeros_of(value)


def _check_zeros_of(items: Iterable[object]) -> None:
    for item in items:
        if isinstance(item, str | dict | list):
            check_no_nul(item)


def measure_depth(value: object) -> int:
    """How deep containers nest, counted no further than a little beyond MAX_JSON_DEPTH."""
    level = [value] if isinstance(value, dict | list) else []
    depth = 0
    while level and depth <= MAX_JSON_DEPTH + 1:
        depth += 1
        items = (item for box in level for item in (box.values() if isinstance(box, dict) else box))
        level = [item for item in items if isinstance(item, dict | list)]
    return depth


def _in_range(value: int) -> int:
    if not INT64_RANGE[0] <= value <= INT64_RANGE[1]:
        bits = value.bit_length()
        _out_of_range(str(value) if bits < 256 else f"of {bits} bits")  # so many digits take their time
    return value


def _out_of_range(text: str) -> NoReturn:
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    raise Unreadable("NumberOutOfRange", f"number {shown} does not fit 64 bits; send it as a string")


def _parse_int(text: str) -> int:
    if len(text) > _SHOWN:
        _out_of_range(text)
    return _in_range(int(text))


def _parse_float(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        _out_of_range(text)
    return value


def _parse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_parse_int, parse_float=_parse_float, parse_constant=_parse_constant)


def shorten_json(value: object) -> str:
    """A value for an error message."""
    text = ascii(value) if isinstance(value, str | int | float | bool) else type(value).__name__
    return text if len(text) <= 80 else text[:79] + "…"
