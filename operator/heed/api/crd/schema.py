"""The CustomResourceDefinitions, generated from the models: structural schemas and the rules a server can check."""

import copy
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from heed import names
from heed.api.agent import Agent, AgentSpec
from heed.api.approval_answer import ApprovalAnswer, ApprovalAnswerSpec, ApprovalAnswerStatus
from heed.api.crd import rules as field_rules
from heed.api.event_grant import EventGrant, EventGrantSpec
from heed.api.event_source import EventSource, EventSourceSpec, EventSourceStatus
from heed.api.event_type import EventType, EventTypeSpec
from heed.api.kube_object import AcceptedStatus
from heed.api.policy import AgentPolicy, AgentPolicySpec
from heed.api.status import AgentStatus
from heed.api.subscription import EventSubscription, EventSubscriptionSpec, SubscriptionStatus

Schema = dict[str, Any]

_KEPT: Final = frozenset(
    {
        "type",
        "description",
        "required",
        "items",
        "additionalProperties",
        "enum",
        "pattern",
        "format",
        "default",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "maxProperties",
        "minimum",
        "maximum",
    }
)

_LIST_MAPS: Final = {"spec.handlers": ["name"], "spec.tasks{}.approval.choices": ["name"]}


@dataclass(frozen=True, slots=True)
class CrdKind:
    """What differs between the CRDs of Heed's kinds. `spec` and `status` are JSON Schemas as pydantic writes them."""

    kind: str
    plural: str
    short_names: tuple[str, ...]
    description: str
    spec: Schema
    status: Schema
    rules: field_rules.FieldRules
    columns: tuple[field_rules.Column, ...]
    counted: tuple[str, ...] = ()  # maps of numbers in the status, which columns show as 0 from the start


def agent_crd() -> dict[str, Any]:
    """The CRD of Agents."""
    return _crd(
        CrdKind(
            kind=names.KIND,
            plural=names.PLURAL,
            short_names=("ag",),
            description=Agent.__doc__ or "",
            spec=AgentSpec.model_json_schema(by_alias=True),
            status=TypeAdapter(AgentStatus).json_schema(by_alias=True),
            rules=field_rules.AGENT_RULES,
            columns=field_rules.AGENT_COLUMNS,
            counted=("totals", "counts"),
        )
    )


def crds() -> list[dict[str, Any]]:
    """All CRDs: Agents, AgentPolicies, EventGrants, EventTypes, EventSources, Subscriptions, ApprovalAnswers."""
    return [
        agent_crd(),
        _accepted_crd(names.AGENT_POLICIES, ("agp",), AgentPolicy, AgentPolicySpec, field_rules.POLICY_RULES),
        _accepted_crd(names.EVENT_GRANTS, ("eg",), EventGrant, EventGrantSpec, field_rules.GRANT_RULES),
        _accepted_crd(
            names.EVENT_TYPES,
            ("et",),
            EventType,
            EventTypeSpec,
            field_rules.EVENT_TYPE_RULES,
            field_rules.EVENT_TYPE_COLUMNS,
        ),
        event_source_crd(),
        subscription_crd(),
        approval_answer_crd(),
    ]


def event_source_crd() -> dict[str, Any]:
    """The CRD of EventSources."""
    return _crd(
        CrdKind(
            kind=names.EVENT_SOURCE,
            plural=names.EVENT_SOURCES,
            short_names=("es",),
            description=EventSource.__doc__ or "",
            spec=EventSourceSpec.model_json_schema(by_alias=True),
            status=EventSourceStatus.model_json_schema(by_alias=True),
            rules=field_rules.EVENT_SOURCE_RULES,
            columns=field_rules.EVENT_SOURCE_COLUMNS,
        )
    )


def approval_answer_crd() -> dict[str, Any]:
    """The CRD of ApprovalAnswers."""
    return _crd(
        CrdKind(
            kind=names.APPROVAL_ANSWER,
            plural=names.APPROVAL_ANSWERS,
            short_names=("aa",),
            description=ApprovalAnswer.__doc__ or "",
            spec=ApprovalAnswerSpec.model_json_schema(by_alias=True),
            status=ApprovalAnswerStatus.model_json_schema(by_alias=True),
            rules=field_rules.APPROVAL_ANSWER_RULES,
            columns=field_rules.APPROVAL_ANSWER_COLUMNS,
        )
    )


def subscription_crd() -> dict[str, Any]:
    """The CRD of Subscriptions."""
    return _crd(
        CrdKind(
            kind=names.SUBSCRIPTION,
            plural=names.SUBSCRIPTIONS,
            short_names=("esub",),
            description=EventSubscription.__doc__ or "",
            spec=EventSubscriptionSpec.model_json_schema(by_alias=True),
            status=SubscriptionStatus.model_json_schema(by_alias=True),
            rules=field_rules.SUBSCRIPTION_RULES,
            columns=field_rules.SUBSCRIPTION_COLUMNS,
        )
    )


def _accepted_crd(
    plural: str,
    short_names: tuple[str, ...],
    model: type[BaseModel],
    spec: type[BaseModel],
    rules: field_rules.FieldRules,
    columns: tuple[field_rules.Column, ...] = (),
) -> dict[str, Any]:
    """The CRD of a kind whose status is AcceptedStatus."""
    return _crd(
        CrdKind(
            kind=model.__name__,
            plural=plural,
            short_names=short_names,
            description=model.__doc__ or "",
            spec=spec.model_json_schema(by_alias=True),
            status=AcceptedStatus.model_json_schema(by_alias=True),
            rules=rules,
            columns=(*columns, *field_rules.ACCEPTED_COLUMNS),
        )
    )


def _crd(kind: CrdKind) -> dict[str, Any]:
    schema: Schema = {
        "description": kind.description.strip(),
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _structural(kind.spec),
            "status": _structural(kind.status),
        },
    }
    for name in kind.counted:
        numbers = schema["properties"]["status"]["properties"][name]
        numbers["default"] = {}
        for number in numbers["properties"].values():
            number["default"] = 0
    _add_rules(schema, "", kind.rules)
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": type_, "jsonPath": path} | ({"priority": priority} if priority else {})
            for name, type_, path, priority in kind.columns
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "shortNames": list(kind.short_names),
                "categories": ["heed"],
            },
            "versions": [version],
        },
    }


def _structural(schema: Schema) -> Schema:
    """A structural schema from one of pydantic's: no references, no unions with null, no titles."""
    return _converted(schema, schema.get("$defs", {}))


def _converted(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    schema = _resolved(schema, definitions)
    converted: Schema = {}
    for key, value in schema.items():
        if key == "patternProperties":
            converted["additionalProperties"] = _converted(next(iter(value.values())), definitions)
        elif (
            key == "properties" and value
        ):  # an API server drops an empty one: applied again, it is a conflict
            converted[key] = {name: _converted(item, definitions) for name, item in value.items()}
        elif key == "items" or (key == "additionalProperties" and isinstance(value, dict)):
            converted[key] = _converted(value, definitions)
        elif key == "const":
            converted["enum"] = [value]
        elif (key in _KEPT and key != "additionalProperties") or key.startswith("x-kubernetes-"):
            converted[key] = copy.deepcopy(value)
    if "default" in converted:
        converted["default"] = _without_nulls(converted["default"])
    if converted.get("default", 0) in (None, False, [], {}):
        converted.pop("default", None)
    if converted.get("type") == "integer":
        converted["format"] = "int64"
    return converted


def _without_nulls(value: Any) -> Any:
    """A default without members that are null, which no schema of a CRD allows."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _resolved(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """The schema with its reference, or its one alternative to null, inlined; members beside it win."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        return _resolved(
            {**target, **{key: value for key, value in schema.items() if key != "$ref"}}, definitions
        )
    for union in ("anyOf", "allOf"):
        if union in schema:
            (one,) = (item for item in schema[union] if item.get("type") != "null")
            rest = {key: value for key, value in schema.items() if key != union}
            return _resolved({**_resolved(one, definitions), **rest}, definitions)
    return schema


def _add_rules(schema: Schema, path: str, rules: field_rules.FieldRules) -> None:
    if own := rules.get(path):
        schema["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in own]
    if keys := _LIST_MAPS.get(path):
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = keys
    for name, item in schema.get("properties", {}).items():
        _add_rules(item, f"{path}.{name}" if path else name, rules)
    if isinstance(schema.get("items"), dict):
        _add_rules(schema["items"], f"{path}[]", rules)
    if isinstance(schema.get("additionalProperties"), dict):
        _add_rules(schema["additionalProperties"], f"{path}{{}}", rules)
