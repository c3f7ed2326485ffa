"""The AgentPolicies, by namespace: followed, since they say what the gateway may take in, and what it may deliver."""

import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from heed import names
from heed.api.policy import AgentPolicy, closed_policy, parse_policy
from heed.core.policy.gateway_rules import NO_RULES, GatewayRules, resolve_gateway_rules
from heed.errors import InvalidManifest
from heed.gateway.objects import Body, ObjectSource, Observe
from heed.gateway.part import GatewayPart, LastingWork
from heed.gateway.refusals import busy
from heed.util.aio import stop

log = logging.getLogger("heed.gateway")


class GatewayPolicies(GatewayPart):
    """Follows AgentPolicies. One that cannot be read allows nothing. `follow` gives their source, for an observer."""

    def __init__(self, follow: Callable[[Observe], ObjectSource]) -> None:
        self._policies: defaultdict[str, dict[str, AgentPolicy]] = defaultdict(dict)
        self._rules: dict[str, GatewayRules] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._source = follow(self._observe)
        self._work = LastingWork("policies")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow them."""
        following = self._work.begin(self._source.run())
        try:
            yield
        finally:
            await stop(following)

    def missing(self) -> str | None:
        """Why it is not known yet who may publish, or None."""
        return self._source.missing()

    def broken(self) -> str | None:
        """Why policies are not followed any more, or None."""
        return self._work.error

    async def wait_known(self) -> None:
        """Wait until all of them were read once."""
        await self._source.synced.wait()

    def of(self, namespace: str) -> Iterable[AgentPolicy]:
        """The policies of a namespace. Raises RequestRefused, 503, while they are not known."""
        if self.missing() is not None:
            raise busy(503, "PoliciesUnknown", "it is not known yet who may publish; send it again")
        return self._policies[namespace].values() if namespace in self._policies else ()

    def rules(self, namespace: str) -> GatewayRules:
        """What EventSources and Subscriptions of a namespace may do, by what is known now."""
        return self._rules.get(namespace, NO_RULES)

    def tell_changes(self, listener: Callable[[str], None]) -> None:
        """Tell a listener of each namespace whose rules have changed."""
        self._listeners.append(listener)

    def _observe(self, body: Body, deleted: bool) -> None:
        metadata = body["metadata"]
        namespace: str = metadata["namespace"]
        policies = self._policies[namespace]
        if deleted:
            policies.pop(metadata["name"], None)
        else:
            policies[metadata["name"]] = _read(body)
        self._resolve(namespace, policies.values())
        if not policies:
            del self._policies[namespace]

    def _resolve(self, namespace: str, policies: Iterable[AgentPolicy]) -> None:
        before, rules = self.rules(namespace), resolve_gateway_rules(namespace, policies)
        if rules == before:
            return
        self._rules[namespace] = rules
        if rules == NO_RULES:
            del self._rules[namespace]
        for listener in self._listeners:
            listener(namespace)


def _read(body: Body) -> AgentPolicy:
    try:
        # Items of a list come without their kind.
        return parse_policy({**body, "kind": names.AGENT_POLICY, "apiVersion": names.API_VERSION})
    except Exception as error:  # a bug, too: what is not understood must not let anybody in
        metadata = body["metadata"]
        extra = {"policy": f"{metadata['namespace']}/{metadata['name']}", "error": str(error)}
        raised = None if isinstance(error, InvalidManifest) else error
        log.warning("cannot read an AgentPolicy, it lets nobody publish", extra=extra, exc_info=raised)
        return closed_policy(body)
