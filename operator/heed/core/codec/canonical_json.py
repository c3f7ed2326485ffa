"""JSON values that come back from any store exactly as they were put in.

The API server drops nulls from merge patches and writes 1.0 as 1; a ledger that remembered them otherwise would decide
differently after a restart.
"""

import json
from typing import Any

_ENCODER = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":"), allow_nan=False
)
INT_MIN, INT_MAX = -(2**63), 2**63 - 1


def canonicalize(value: Any, *, stored: bool = False) -> Any:
    """`value` without null members of maps, and with whole floats of 64 bits as integers. Lists keep their nulls.

    Integers beyond 64 bits raise OverflowError; `stored` ones are what the API server made of large floats.
    """
    if isinstance(value, dict):
        return {key: canonicalize(item, stored=stored) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [canonicalize(item, stored=stored) for item in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() and INT_MIN <= value <= INT_MAX else value
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        if stored:
            return float(value)
        raise OverflowError(f"integer {value} does not fit 64 bits; keep it as a string")
    return value


def dump_compact(value: Any) -> str:
    """JSON without spaces and with sorted keys: the same text for the same value, in every process."""
    return _ENCODER.encode(value)


def merge_patch(old: Any, new: Any) -> Any:
    """The JSON merge patch (RFC 7396) that turns map `old` into map `new`; neither may hold null members."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif isinstance(value, dict) and isinstance(old[key], dict):
            if inner := merge_patch(old[key], value):
                patch[key] = inner
        elif not _same(value, old[key]):
            patch[key] = value
    return patch


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; True and 1, which Python holds equal, are not."""
    if one != other or type(one) is not type(other):
        return False
    if isinstance(one, list):
        return all(map(_same, one, other))
    return not isinstance(one, dict) or all(_same(item, other[key]) for key, item in one.items())
