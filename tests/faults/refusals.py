"""Refusals that come before the API server looks a name up: full quotas and webhooks.

Jobs, Secrets and Widgets are refused when they are created. What is there keeps being refused, as by a quota that it
fills itself, for as long as it is there. What is not there is refused by the proxy's dice, and taken by a later try.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from tests.cluster.resources.kinds import GROUP

GROUPS = {"jobs": ".batch", "secrets": "", "widgets": f".{GROUP}"}
EXISTING = {"quota": 4, "denied": 1, "invalid": 1, "AlreadyExists": 2}
REASONS = {403: "Forbidden", 422: "Invalid"}


@dataclass(frozen=True, slots=True)
class Create:
    """A create of a Job, a Secret or a Widget."""

    resource: str
    name: str


def create_of(method: str, path: str, body: bytes) -> Create | None:
    """What a request is to create, where it may be refused here."""
    resource = path.split("?")[0].rstrip("/").rpartition("/")[2]
    if method != "POST" or resource not in GROUPS:
        return None
    return Create(resource, str(json.loads(body)["metadata"]["name"]))


def refusal_of(seed: int, create: Create) -> tuple[int, str] | None:
    """How a create of what is there is refused: always the same for the same name. None: AlreadyExists."""
    dice = random.Random(f"refusal {seed} {create.name}")
    (kind,) = dice.choices(list(EXISTING), list(EXISTING.values()))
    match kind:
        case "quota":
            return 403, full(create)
        case "denied":
            return 403, 'admission webhook "rig.example.com" denied the request: the fault rig says no'
        case "invalid":
            return 422, f'{create.resource} "{create.name}" is invalid: the fault rig says no'
    return None


def full(create: Create) -> str:
    """The words of the API server's quota."""
    group = create.resource + GROUPS[create.resource]
    count = f"count/{group}=1"
    return (
        f'{group} "{create.name}" is forbidden: exceeded quota: rig, '
        f"requested: {count}, used: {count}, limited: {count}"
    )


def status(code: int, message: str) -> dict[str, Any]:
    """The body of a refusal."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": REASONS[code],
        "message": message,
    }
