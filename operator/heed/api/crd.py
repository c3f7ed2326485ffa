"""The CustomResourceDefinition, generated from the models: a structural schema and the rules a server can check."""

import copy
from typing import Any, Final

from pydantic import TypeAdapter

from heed import names
from heed.api.agent import Agent, AgentSpec
from heed.api.status import AgentStatus

Schema = dict[str, Any]

_KEPT: Final = frozenset(
    {
        "type",
        "description",
        "properties",
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

_LABEL: Final = "'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'"

# Rules of the Kubernetes CEL dialect, by the place of the schema that they belong to.
RULES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "": (
        (
            f"self.metadata.name.size() <= 63 && self.metadata.name.matches({_LABEL})",
            "metadata.name must be a DNS label (it is a token of NATS subjects): "
            "at most 63 lower-case letters, digits and -",
        ),
    ),
    "spec": (
        (
            "self.handlers.all(h, !has(h.start) || h.start.all(s, !has(s.task) || "
            "(has(self.tasks) && s.task in self.tasks)))",
            "spec.handlers[*].start[*].task: names a task that is not in spec.tasks; "
            "add the task, or correct the name",
        ),
        (
            "self.handlers.all(h, !has(h.cancel) || h.cancel.all(s, has(self.tasks) && s.task in self.tasks))",
            "spec.handlers[*].cancel[*].task: names a task that is not in spec.tasks; "
            "add the task, or correct the name",
        ),
        (
            f"!has(self.tasks) || self.tasks.all(name, name.size() <= 40 && name.matches({_LABEL}))",
            "a task's name must be at most 40 lower-case letters, digits and -",
        ),
    ),
    "spec.subscribe[]": (
        (
            "!self.type.startsWith('dev.heed.task')",
            "task events come through the inbox and need no subscription; a handler with that `type` gets them",
        ),
    ),
    "spec.tasks{}": (("has(self.job)", "a task needs work to do: give it a `job`"),),
    "spec.handlers[]": (
        (
            "!(has(self.end) && self.end && has(self.start) && self.start.size() > 0)",
            "a handler that ends its session cannot start tasks; start them in another handler",
        ),
    ),
    "spec.handlers[].start[]": (
        ("has(self.task) != has(self.from)", "give exactly one of `task` and `from` to each item of start"),
    ),
    "spec.handlers[].emit[]": (
        ("has(self.type) != has(self.from)", "give exactly one of `type` and `from` to each item of emit"),
        (
            "!has(self.type) || !self.type.startsWith('dev.heed.task.')",
            "dev.heed.task.* is reserved for the ends of tasks; choose a type of your own",
        ),
    ),
}

_LIST_MAPS: Final = {"spec.handlers": ["name"]}

COLUMNS: Final = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 1),
    ("Sessions", "integer", ".status.counts.sessions", 0),
    ("Pending", "integer", ".status.counts.pendingTasks", 0),
    ("Handled", "integer", ".status.totals.handled", 0),
    ("Dead", "integer", ".status.totals.deadLettered", 0),
    ("Ignored", "integer", ".status.totals.ignored", 1),
    ("Waiting", "integer", ".status.counts.waiting", 1),
    ("Sequence", "integer", ".status.cursor.sequence", 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)


def agent_crd() -> dict[str, Any]:
    """The CRD of Agents."""
    schema: Schema = {
        "description": (Agent.__doc__ or "").strip(),
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _structural(AgentSpec.model_json_schema(by_alias=True)),
            "status": _structural(TypeAdapter(AgentStatus).json_schema(by_alias=True)),
        },
    }
    for name in ("totals", "counts"):  # columns show 0 from the start
        numbers = schema["properties"]["status"]["properties"][name]
        numbers["default"] = {}
        for number in numbers["properties"].values():
            number["default"] = 0
    _add_rules(schema, "")
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": type_, "jsonPath": path} | ({"priority": priority} if priority else {})
            for name, type_, path, priority in COLUMNS
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "plural": names.PLURAL,
                "singular": "agent",
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "shortNames": ["ag"],
                "categories": ["heed"],
            },
            "versions": [version],
        },
    }


def _structural(schema: Schema) -> Schema:
    """A JSON Schema of pydantic's as Kubernetes takes it: no references, no unions with null, no titles."""
    return _converted(schema, schema.get("$defs", {}))


def _converted(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    schema = _resolved(schema, definitions)
    converted: Schema = {}
    for key, value in schema.items():
        if key == "patternProperties":
            converted["additionalProperties"] = _converted(next(iter(value.values())), definitions)
        elif key == "properties":
            converted[key] = {name: _converted(item, definitions) for name, item in value.items()}
        elif key == "items" or (key == "additionalProperties" and isinstance(value, dict)):
            converted[key] = _converted(value, definitions)
        elif (key in _KEPT and key != "additionalProperties") or key.startswith("x-kubernetes-"):
            converted[key] = copy.deepcopy(value)
    if converted.get("default", 0) in (None, False, [], {}):
        converted.pop("default", None)
    if converted.get("type") == "integer":
        converted["format"] = "int64"
    return converted


def _resolved(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """The schema with its reference or its one alternative to null put in place; what stands beside it wins."""
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


def _add_rules(schema: Schema, path: str) -> None:
    if rules := RULES.get(path):
        schema["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in rules]
    if keys := _LIST_MAPS.get(path):
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = keys
    for name, item in schema.get("properties", {}).items():
        _add_rules(item, f"{path}.{name}" if path else name)
    if isinstance(schema.get("items"), dict):
        _add_rules(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        _add_rules(schema["additionalProperties"], f"{path}{{}}")
