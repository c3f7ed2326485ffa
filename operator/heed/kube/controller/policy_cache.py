"""The cache (informer) of policies, grants and event types: the compile inputs of each Agent, and which ones change.

They are listed before any Agent runs, since an Agent that ran before its policy is known would run without one. After
that the watch shows them one by one. A policy that cannot be read restricts all the same, see `closed_policy`.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from heed import names
from heed.api.agent import AgentMetadata
from heed.api.event_grant import EventGrant, parse_grant
from heed.api.event_type import EventType, parse_event_type
from heed.api.policy import AgentPolicy, closed_policy, parse_policy
from heed.api.validation import parse_agent
from heed.core.compiler.program import Program, compile_agent
from heed.core.policy.permissions import Permissions, resolve_permissions
from heed.core.schema.registry import SchemaRegistry
from heed.errors import INVALID, InvalidManifest
from heed.kube.client.client import KubeApi, objects_path, resource_version
from heed.kube.controller.event_type_cache import IN_FORCE, EventTypeCache
from heed.kube.controller.last_valid_spec import heard_namespaces
from heed.kube.status.accepted import Judgement
from heed.kube.status.accepted_writer import AcceptedWriter

log = logging.getLogger("heed.rules")
Body = Mapping[str, Any]
Key = tuple[str, str, str]  # kind, namespace, name
PolicySelection = tuple[frozenset[tuple[str, str]], frozenset[str]]  # labels, and namespaces that are heard
Rule = AgentPolicy | EventGrant | EventType
K = TypeVar("K")
V = TypeVar("V")
MAX_CACHED_PERMISSIONS: Final = 10_000  # sorts of Agents in a namespace of which permissions are remembered
KEPT_METADATA: Final = ("name", "namespace", "uid", "generation", "resourceVersion")
RULE_PLURALS: Final = {kind: names.PLURALS[kind] for kind in names.RULE_KINDS}


@dataclass(frozen=True, slots=True)
class CompileInputs:
    """What an Agent is compiled with beside its manifest. Equal inputs make equal programs."""

    permissions: Permissions
    schemas: SchemaRegistry  # of the namespaces that it hears

    def compiled(self, agent: Body) -> Program:
        """The program of an Agent's object. Raises InvalidManifest, PolicyViolation."""
        return compile_agent(parse_agent(agent), self.permissions, self.schemas)


@dataclass(frozen=True, slots=True)
class PolicyChanges:
    """Namespaces whose Agents may have other compile inputs, and objects whose condition Accepted is due."""

    concerned: Collection[str]
    unsaid: Collection[Key]

    def __bool__(self) -> bool:
        return bool(self.concerned or self.unsaid)


@dataclass(frozen=True, slots=True)
class _CachedObject:
    """An object as last seen. `rule` is its parsed form; for an unreadable one a fail-closed substitute, or None.

    Without a judgement it has to be compared with others first.
    """

    uid: str
    seen: Body  # without its spec
    rule: Rule | None
    judgement: Judgement | None


class PolicyCache:
    """Caches all namespaces, or the one that is watched: grants of others are unknown then, and so not granted."""

    def __init__(self, api: KubeApi, watched: str | None = None) -> None:
        self.watched = watched
        self._api, self._accepted = api, AcceptedWriter(api, self._wrote)
        self._known: dict[Key, _CachedObject] = {}
        self._policies: defaultdict[str, dict[str, AgentPolicy]] = defaultdict(dict)
        self._grants: defaultdict[str, dict[Key, EventGrant]] = defaultdict(dict)  # by whom they are for
        self._permissions: defaultdict[str, dict[PolicySelection, Permissions]] = defaultdict(dict)
        self._types = EventTypeCache()
        self._concerned: set[str] = set()
        self._unsaid: set[Key] = set()  # changed, and not handed out yet
        self._awaited: set[Key] = set()  # handed out, and not to be said yet
        self._listing = asyncio.Lock()
        self._deleted: set[str] | None = None  # uids, while a list is under way

    def observe(self, body: Body, *, deleted: bool = False) -> bool:
        """Note an object, or its deletion. Returns whether it may concern Agents; see `take_changes`."""
        metadata = body["metadata"]
        key = (body["kind"], metadata["namespace"], metadata["name"])
        before = self._known.get(key)
        if deleted:
            return self._forget(key, metadata["uid"])
        if before is not None and resource_version(body) < resource_version(before.seen):
            return False  # a late sight, of this one or of an earlier one of its name
        seen = _without_spec(body)
        if before is not None and _generation(before.seen) == _generation(body):
            self._known[key] = replace(before, seen=seen)
            if key not in self._awaited:
                self.write_accepted((key,))
            return False
        if before is not None:
            self._remove(key, before)
        rule, judgement = _read(body)
        self._known[key] = _CachedObject(metadata["uid"], seen, rule, judgement)
        self._place(key, rule)
        self._unsaid.add(key)
        return True

    def take_changes(self) -> PolicyChanges:
        """The changes since the last call."""
        concerned = self._concerned | self._hearers(self._types.changed)
        for namespace in self._types.changed:
            for name, judgement in self._types.judgements(namespace).items():
                key = (names.EVENT_TYPE, namespace, name)
                if self._known[key].judgement != judgement:
                    self._known[key] = replace(self._known[key], judgement=judgement)
                    self._unsaid.add(key)
        found = PolicyChanges(concerned, self._unsaid)
        self._awaited |= self._unsaid
        self._concerned, self._unsaid, self._types.changed = set(), set(), set()
        return found

    def write_accepted(self, keys: Iterable[Key]) -> None:
        """Write the condition Accepted of these objects, except those that changed again since."""
        for key in keys:
            self._awaited.discard(key)
            known = self._known.get(key)
            if known is not None and known.judgement is not None and key not in self._unsaid:
                self._accepted.set_judgement(RULE_PLURALS[key[0]], known.seen, known.judgement)

    def compile_inputs(self, agent: Body, kept: str | None = None) -> CompileInputs:
        """The current compile inputs of an Agent's object. `kept` is the last valid spec in its status.

        Of grants and types only what its subscriptions need, so that a grant cannot make unrelated Agents recompile.
        """
        metadata = agent["metadata"]
        namespace, labels = metadata["namespace"], metadata.get("labels") or {}
        others = heard_namespaces(agent, kept)
        alike = self._permissions[namespace]
        if (may := alike.get(key := (frozenset(labels.items()), others))) is None:
            who = AgentMetadata.model_construct(
                name=metadata["name"], namespace=namespace, labels=dict(labels)
            )
            if len(alike) >= MAX_CACHED_PERMISSIONS:
                alike.clear()
            grants = self._grants.get(namespace, {}).values()
            needed = [grant for grant in grants if grant.metadata.namespace in others]
            may = alike[key] = resolve_permissions(who, self._policies.get(namespace, {}).values(), needed)
        return CompileInputs(
            may, self._types.registry_of({namespace, *(grant.namespace for grant in may.grants)})
        )

    async def relist(self) -> None:
        """Relist all kinds, and find deletions that no watch reported. Raises ApiError."""
        async with self._listing:
            for kind in RULE_PLURALS:
                await self._relist(kind)
        await self.prepare()

    async def prepare(self) -> None:
        """Compile ahead of use, in turns with other tasks."""
        await self._types.prepare()

    async def close(self) -> None:
        """Stop writing conditions."""
        await self._accepted.close()

    def _wrote(self, body: Body) -> None:
        """Take note of a condition that was written; another generation is left to the watch."""
        key = (body["kind"], body["metadata"]["namespace"], body["metadata"]["name"])
        known = self._known.get(key)
        if known is not None and _generation(known.seen) == _generation(body):
            if resource_version(body) > resource_version(known.seen):
                self._known[key] = replace(known, seen=_without_spec(body))

    async def _relist(self, kind: str) -> None:
        known = {key: item.uid for key, item in self._known.items() if key[0] == kind}
        self._deleted = set()
        found: set[str] = set()
        try:
            async for page in self._api.pages(objects_path(RULE_PLURALS[kind], self.watched)):
                for body in page:
                    found.add(body["metadata"]["uid"])
                    if body["metadata"]["uid"] not in self._deleted:
                        self.observe({"kind": kind, "apiVersion": names.API_VERSION, **body})
        finally:
            self._deleted = None
        for key, uid in known.items():
            if uid not in found:
                self._forget(key, uid)

    def _forget(self, key: Key, uid: str) -> bool:
        if self._deleted is not None:
            self._deleted.add(uid)
        known = self._known.get(key)
        if known is None or known.uid != uid:
            return False
        self._remove(key, known)
        return True

    def _remove(self, key: Key, known: _CachedObject) -> None:
        del self._known[key]
        self._accepted.forget(known.uid)
        _, namespace, name = key
        match known.rule:
            case AgentPolicy():
                _drop(self._policies, namespace, name)
                self._concern(namespace)
            case EventGrant(spec=spec):
                for item in spec.from_:
                    _drop(self._grants, item.namespace, key)
                    self._concern(item.namespace)
            case EventType():
                self._types.remove(namespace, name)

    def _place(self, key: Key, rule: Rule | None) -> None:
        _, namespace, name = key
        match rule:
            case AgentPolicy():
                self._policies[namespace][name] = rule
                self._concern(namespace)
            case EventGrant(spec=spec):
                for item in spec.from_:
                    self._grants[item.namespace][key] = rule
                    self._concern(item.namespace)
            case EventType():
                self._types.put(rule)

    def _concern(self, namespace: str) -> None:
        self._concerned.add(namespace)
        self._permissions.pop(namespace, None)

    def _hearers(self, namespaces: Collection[str]) -> set[str]:
        """The namespaces whose Agents may see events of these: themselves, and those granted to."""
        granted = {
            to
            for to, grants in self._grants.items()
            if any(grant.metadata.namespace in namespaces for grant in grants.values())
        }
        return granted | set(namespaces)


def _drop(by_namespace: dict[str, dict[K, V]], namespace: str, key: K) -> None:
    """Drop an entry and its map once empty, as grants may name any number of namespaces over time."""
    inner = by_namespace.get(namespace, {})
    inner.pop(key, None)
    if not inner:
        by_namespace.pop(namespace, None)


def _without_spec(body: Body) -> Body:
    """The part of an object to keep; the rest may be large."""
    metadata = {name: body["metadata"][name] for name in KEPT_METADATA if name in body["metadata"]}
    return {"metadata": metadata, "status": body.get("status") or {}}


def _generation(body: Body) -> tuple[str, int]:
    metadata = body["metadata"]
    return metadata["uid"], metadata.get("generation", 0)


_PARSERS: Final[Mapping[str, Callable[[Body], Rule]]] = {
    names.AGENT_POLICY: parse_policy,
    names.EVENT_GRANT: parse_grant,
    names.EVENT_TYPE: parse_event_type,
}


def _read(body: Body) -> tuple[Rule | None, Judgement | None]:
    """The parsed object, and the judgement on it where that needs no other object."""
    try:
        rule = _PARSERS[body["kind"]](body)
        return rule, None if isinstance(rule, EventType) else IN_FORCE
    except Exception as error:  # a bug, too: one object must not affect the others
        if not isinstance(error, InvalidManifest):
            log.exception("cannot read a rule", extra={"rule": f"{body['kind']} {body['metadata']['name']}"})
        closed = closed_policy(body) if body["kind"] == names.AGENT_POLICY else None
        effect = "it selects Agents all the same, and allows them nothing" if closed else "it has no effect"
        return closed, Judgement(False, INVALID, f"{error}\n{effect}")
