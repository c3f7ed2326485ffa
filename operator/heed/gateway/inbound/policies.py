"""The AgentPolicies of the cluster, by namespace: watched, since they say who may publish."""

import logging
from collections import defaultdict
from collections.abc import Iterable

from heed import names
from heed.api.policy import AgentPolicy, closed_policy, parse_policy
from heed.errors import InvalidManifest
from heed.gateway.refusals import busy
from heed.kube.client.client import KubeApi, objects_path
from heed.kube.client.informer import Body, Informer

log = logging.getLogger("heed.gateway")


class PolicyInformer:
    """An informer of AgentPolicies. While one cannot be read, no sender may publish."""

    def __init__(self, api: KubeApi, namespace: str | None) -> None:
        self._policies: defaultdict[str, dict[str, AgentPolicy]] = defaultdict(dict)
        self.informer = Informer(api, objects_path(names.AGENT_POLICIES, namespace), self._observe)

    def of(self, namespace: str) -> Iterable[AgentPolicy]:
        """The policies of a namespace. Raises RequestRefused, 503, while they are not known."""
        if self.informer.missing() is not None:
            raise busy(503, "PoliciesUnknown", "it is not known yet who may publish; send it again")
        return self._policies[namespace].values() if namespace in self._policies else ()

    def _observe(self, body: Body, deleted: bool) -> None:
        metadata = body["metadata"]
        policies = self._policies[metadata["namespace"]]
        if deleted:
            policies.pop(metadata["name"], None)
            if not policies:
                del self._policies[metadata["namespace"]]
            return
        try:
            # Items of a list come without their kind.
            policies[metadata["name"]] = parse_policy(
                {**body, "kind": names.AGENT_POLICY, "apiVersion": names.API_VERSION}
            )
        except InvalidManifest as error:
            extra = {"policy": f"{metadata['namespace']}/{metadata['name']}", "error": str(error)}
            log.warning("cannot read an AgentPolicy, it lets nobody publish", extra=extra)
            policies[metadata["name"]] = closed_policy(body)
