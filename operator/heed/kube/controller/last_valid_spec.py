"""The last valid spec, kept in the status while the current one is invalid, so that a restart finds it."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from heed.core.codec.canonical_json import dump_compact
from heed.errors import InvalidManifest, Problem


def dump_last_valid(body: Mapping[str, Any]) -> str:
    """A spec without `suspend`, and its generation, as a JSON text, as a merge patch would drop nulls."""
    spec = {name: value for name, value in body["spec"].items() if name != "suspend"}
    return dump_compact({"generation": body["metadata"]["generation"], "spec": spec})


def restore_last_valid(body: Mapping[str, Any], kept: str) -> dict[str, Any]:
    """The object with its last valid spec, suspended as the current one is, whatever else is wrong with that.

    Raises InvalidManifest where `kept` was not written by `dump_last_valid`.
    """
    try:
        valid = json.loads(kept)
        generation, spec = int(valid["generation"]), dict(valid["spec"])
        spec.pop("suspend", None)  # of an edited status
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InvalidManifest(
            [Problem("status.lastValidSpec", "is not what Heed wrote", "remove it")]
        ) from None
    now = {"suspend": True} if is_suspended(body) else {}
    return {**body, "metadata": {**body["metadata"], "generation": generation}, "spec": {**spec, **now}}


def is_suspended(body: Mapping[str, Any]) -> bool:
    """Whether an Agent's object says so, which counts where the rest of its spec is not valid, too."""
    spec = body.get("spec")
    return isinstance(spec, dict) and spec.get("suspend") is True


def heard_namespaces(body: Mapping[str, Any], kept: str | None) -> frozenset[str]:
    """The namespaces named by the subscriptions of an object and of its last valid spec."""
    specs = [body.get("spec")]
    if kept is not None:
        with suppress(InvalidManifest):
            specs.append(restore_last_valid(body, kept)["spec"])
    items = [item for spec in specs if isinstance(spec, dict) for item in spec.get("subscribe") or ()]
    found = (item.get("namespace") for item in items if isinstance(item, dict))
    return frozenset(item for item in found if isinstance(item, str))
