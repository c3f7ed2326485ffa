"""Policies, grants and event types from the files beside Agents.

They count as in a cluster that has these objects and no others.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from heed import names
from heed.api.agent import Agent, AgentMetadata
from heed.api.event_grant import EventGrant, parse_grant
from heed.api.event_type import EventType, parse_event_type
from heed.api.manifest.document import Manifest
from heed.api.policy import AgentPolicy, parse_policy
from heed.core.compiler.admission import check_event_type
from heed.core.compiler.program import Program, compile_agent
from heed.core.policy.permissions import Permissions, VisibleEvents, resolve_permissions
from heed.core.schema.registry import (
    NO_SCHEMAS,
    CompiledEventType,
    SchemaRegistry,
    combine_types,
    compile_type,
)
from heed.errors import NOT_GRANTED, InvalidManifest, Problem

Mistakes = list[tuple[Manifest, Problem]]


@dataclass(frozen=True, slots=True)
class PolicySet:
    """The policies, grants and event types to compile Agents with."""

    policies: tuple[AgentPolicy, ...] = ()
    grants: tuple[EventGrant, ...] = ()
    schemas: SchemaRegistry = NO_SCHEMAS

    def permissions(self, agent: AgentMetadata) -> Permissions:
        """What an Agent may do."""
        return resolve_permissions(agent, self.policies, self.grants)

    def compile(self, agent: Agent) -> Program:
        """Compile an Agent. Raises InvalidManifest, PolicyViolation."""
        return compile_agent(agent, self.permissions(agent.metadata), self.schemas)

    def compile_as_granted(self, agent: Agent) -> tuple[Program, Sequence[Problem]]:
        """Compile an Agent as if other namespaces granted everything. Also returns a problem for each missing grant.

        Raises InvalidManifest for what is wrong with it otherwise.
        """
        may = self.permissions(agent.metadata)
        try:
            return compile_agent(agent, may, self.schemas), ()
        except InvalidManifest as error:
            if error.reason != NOT_GRANTED:
                raise
            missing = [
                VisibleEvents(item.namespace, item.type) for item in agent.spec.subscribe if item.namespace
            ]
            granted = replace(may, grants=(*may.grants, *missing))
            return compile_agent(agent, granted, self.schemas), error.problems


NO_RULES = PolicySet()


def load_policies(manifests: Iterable[Manifest]) -> tuple[PolicySet, Mistakes]:
    """The policies, grants and event types of some documents, and their mistakes. Those with mistakes do not count."""
    mistakes: Mistakes = []
    seen: dict[tuple[str, str, str], Manifest] = {}
    policies, grants, types = (
        list[AgentPolicy](),
        list[EventGrant](),
        list[tuple[Manifest, CompiledEventType]](),
    )
    for manifest in manifests:
        if manifest.rule is None:
            continue
        try:
            rule = _read(manifest, manifest.rule)
        except InvalidManifest as error:
            mistakes += [(manifest, problem) for problem in error.problems]
            continue
        metadata = manifest.document["metadata"]
        key = manifest.rule, metadata.get("namespace") or "default", metadata["name"]
        if (first := seen.setdefault(key, manifest)) is not manifest:
            what = f"{key[1]}/{key[2]} is in {first.source}:{first.line} too"
            mistakes.append((manifest, Problem("metadata.name", what, f"give each {key[0]} its own name")))
            continue
        match rule:
            case AgentPolicy():
                policies.append(rule)
            case EventGrant():
                grants.append(rule)
            case CompiledEventType():
                types.append((manifest, rule))
    schemas, conflicts = combine_types(item for _, item in types)
    for each in conflicts:
        source = next(manifest for manifest, compiled in types if compiled.item is each.item)
        mistakes.append((source, Problem("spec.type", each.message)))
    return PolicySet(tuple(policies), tuple(grants), schemas), mistakes


def _read(manifest: Manifest, kind: str) -> AgentPolicy | EventGrant | CompiledEventType:
    """A rule, ready to be used: read once, and compiled once where it is a type. Raises InvalidManifest."""
    rule = _parse_rule(manifest.document, kind)
    if not isinstance(rule, EventType):
        return rule
    compiled = compile_type(rule)
    if problems := list(check_event_type(compiled)):
        raise InvalidManifest(problems)
    assert isinstance(compiled, CompiledEventType)
    return compiled


def _parse_rule(document: Mapping[str, Any], kind: str) -> AgentPolicy | EventGrant | EventType:
    """Parse an AgentPolicy, EventGrant or EventType by its kind. Raises InvalidManifest."""
    match kind:
        case names.AGENT_POLICY:
            return parse_policy(document)
        case names.EVENT_GRANT:
            return parse_grant(document)
        case _:
            return parse_event_type(document)
