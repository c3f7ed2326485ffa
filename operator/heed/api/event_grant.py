"""The `EventGrant` custom resource, v1alpha1: which other namespaces may subscribe to events of this one."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from heed import names
from heed.api.fields import Model, Namespace, TypePattern
from heed.api.kube_object import KubeObject, parse_object
from heed.api.policy import MAX_POLICY_ITEMS


class GrantedNamespace(Model):
    """A namespace whose Agents may subscribe."""

    namespace: Annotated[Namespace, Field(description="The namespace of the Agents.")]


class EventGrantSpec(Model):
    """Which namespaces may subscribe to which events of this one."""

    from_: Annotated[
        list[GrantedNamespace],
        Field(
            alias="from", min_length=1, max_length=MAX_POLICY_ITEMS, description="Whose Agents may subscribe."
        ),
    ]
    types: Annotated[
        list[TypePattern],
        Field(
            min_length=1,
            max_length=MAX_POLICY_ITEMS,
            description="NATS patterns; a subscription must lie within one.",
        ),
    ]


class EventGrant(KubeObject):
    """An EventGrant: lets Agents of other namespaces subscribe to events of this one."""

    spec: EventGrantSpec


def parse_grant(document: Mapping[str, Any]) -> EventGrant:
    """The EventGrant of a manifest. Raises InvalidManifest."""
    return parse_object(document, EventGrant, names.EVENT_GRANT)
