"""Short ways to say "when this is applied where those are": manifests of admission's tests and its verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from heed import names
from heed.core.compiler.admission import AdmissionRequest, AdmissionVerdict, ClusterContext, judge
from tests.builders.manifests import (
    Manifest,
    document,
    event_type_manifest,
    grant_manifest,
    policy_manifest,
)

asked_type = partial(event_type_manifest, type_="x.asked")
granting = partial(grant_manifest, namespace="shop")


def emitter(
    name: str = "it",
    *,
    when: str = "true",
    emits: str = "x.done",
    hears: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Manifest:
    """An Agent that emits one event for each x.asked, of its own namespace if nothing else is said."""
    subscription = {"type": "x.asked"} | ({"namespace": hears} if hears else {})
    handler = {"name": "h", "type": "x.asked", "when": when, "emit": [{"type": emits}]}
    return document(
        names.KIND, {"subscribe": [subscription], "handlers": [handler], **spec}, name, **(metadata or {})
    )


def allowing(*emissions: str, **more: Any) -> Manifest:
    """A policy that allows these emissions, and no others."""
    return policy_manifest(emissions=emissions, **more)


def judged(new: Manifest, old: Manifest | None = None, **around: Any) -> AdmissionVerdict:
    """The verdict on a manifest, where these are around it."""
    return judge(AdmissionRequest(new["kind"], new, old), ClusterContext(**around))
