"""The last valid spec, kept in the status only while the current one is invalid, so that a restart finds it."""

import json
from collections.abc import Mapping
from typing import Any

from heed.core.values import compact


def last_valid(body: Mapping[str, Any]) -> str:
    """A spec and its generation as text; as JSON it would lose its nulls in a merge patch."""
    return compact({"generation": body["metadata"]["generation"], "spec": body["spec"]})


def restored(body: Mapping[str, Any], kept: str) -> dict[str, Any]:
    """The object as it was when its spec was last valid."""
    valid = json.loads(kept)
    return {
        **body,
        "metadata": {**body["metadata"], "generation": valid["generation"]},
        "spec": valid["spec"],
    }
