"""Builds the Deployment of an Agent's workers, and the Secret with their credentials. Pure."""

import copy
from collections.abc import Mapping
from typing import Any, Final

from heed import names
from heed.api.agent import Agent
from heed.api.fields import parse_duration
from heed.bus.worker_credentials import WorkerCredentials
from heed.core.codec.canonical_json import dump_compact
from heed.core.compiler.workers import WORKER_CONTAINER, worker_container
from heed.core.effects import AgentRef
from heed.kube.client.task_metadata import author_keys, owner_reference
from heed.kube.workers.callers import KeptWorkers, add_calls

Body = Mapping[str, Any]
HEALTH_PORT: Final = 8081
HEALTH_VARIABLE: Final = "HEED_WORKER_HEALTH_PORT"
DIGEST_VARIABLE: Final = "HEED_WORKER_DIGEST"
AGENT_VARIABLE: Final = "HEED_WORKER_AGENT"
CREDENTIALS_KEY: Final = "nats.creds"
CREDENTIALS_VOLUME: Final = "heed-nats"
CREDENTIALS_FOLDER: Final = "/heed-nats"
TMP_VOLUME: Final = "heed-tmp"
MIN_DRAIN_S: Final = 60  # seconds for the handlers that a worker runs when it is told to stop
MODEL_CALL: Final = "10m"  # the longest that a worker waits for a model
MAX_DRAIN_S: Final = 3600  # seconds for its functions
MIN_READY_S: Final = (
    5  # seconds that a new pod is ready before an old one ends: the new code is asked by then
)
OLD_REPLICA_SETS: Final = 2
RESTARTED_ANNOTATION: Final = (
    "kubectl.kubernetes.io/restartedAt"  # of `kubectl rollout restart`, in the template
)


def deployment_name(agent: str) -> str:
    """The name of the Deployment of an Agent's workers."""
    return f"{agent}-worker"


def deployment_manifest(
    agent: Agent, access: WorkerCredentials, found: Body | None, now: float
) -> dict[str, Any]:
    """The Deployment of an Agent whose workers Heed keeps, on top of the one that was found.

    Its credentials stay until a third of their lifetime is left, or what the pods are made of is other.
    """
    worker = KeptWorkers.of(agent, access.image)
    assert worker is not None
    metadata, spec = (
        copy.deepcopy(worker.template.get("metadata") or {}),
        _complete_pod(agent, worker, access),
    )
    labels = _labels(agent)
    metadata["labels"] = {**author_keys(metadata.get("labels")), **labels}
    metadata["annotations"] = author_keys(metadata.get("annotations"))
    template = {"metadata": metadata, "spec": spec}
    digest = _digest(agent, worker, template, access)
    metadata["annotations"][names.ANNOTATION_TEMPLATE] = digest
    if access.signer is not None:
        expiry = _expiry(found, digest, access.lifetime, now)
        metadata["annotations"][names.ANNOTATION_EXPIRES] = str(expiry)
        restarted = "" if found is None else _annotation(found, RESTARTED_ANNOTATION)
        _add_credentials(spec, _secret_name(agent, digest, expiry, restarted))
    replicas = {} if worker.replicas is None else {"replicas": worker.replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": deployment_name(agent.metadata.name),
            "namespace": agent.metadata.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference(_ref(agent))],
        },
        "spec": {
            **replicas,
            "selector": {"matchLabels": {names.LABEL_WORKER_OF: agent.metadata.name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "100%"}},
            "minReadySeconds": MIN_READY_S,
            "revisionHistoryLimit": OLD_REPLICA_SETS,
            "template": template,
        },
    }


def renewal_time(deployment: Body, lifetime: int) -> float | None:
    """When (Unix seconds) the credentials of a Deployment are to be renewed; None where it has none."""
    text = _annotation(deployment, names.ANNOTATION_EXPIRES)
    return int(text) - lifetime / 3 if text.isdecimal() else None


def secret_of(workload: Body) -> str | None:
    """The Secret with credentials that the pods of a Deployment or ReplicaSet mount; None where they have none."""
    pod = workload["spec"]["template"].get("spec") or {}
    volume: Body = next((item for item in pod.get("volumes") or () if item["name"] == CREDENTIALS_VOLUME), {})
    name = (volume.get("secret") or {}).get("secretName")
    return None if name is None else str(name)


def secret_manifest(replica_set: Body, name: str, credentials: str) -> dict[str, Any]:
    """The Secret with the credentials of a ReplicaSet's pods, owned by the ReplicaSet and so removed with it."""
    metadata = replica_set["metadata"]
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": {names.LABEL_WORKER_OF: metadata["labels"][names.LABEL_WORKER_OF]},
            "ownerReferences": [owner],
        },
        "immutable": True,
        "stringData": {CREDENTIALS_KEY: credentials},
    }


def is_current(deployment: Body, wanted: Body, applied: int | None) -> bool:
    """Whether a Deployment is as it was `applied` (the generation that was), in what is wanted of it."""
    found, want = deployment["metadata"], wanted["metadata"]
    labels = found.get("labels") or {}
    owners = {(item["uid"], bool(item.get("controller"))) for item in found.get("ownerReferences") or ()}
    return (
        found.get("generation") == applied
        and all(labels.get(key) == value for key, value in want["labels"].items())
        and all((item["uid"], item["controller"]) in owners for item in want["ownerReferences"])
    )


def drain_seconds(agent: Agent) -> int:
    """Seconds that a worker may need to finish what it has begun: as long as its longest function or call may take."""
    functions = [task for task in agent.spec.tasks.values() if task.function is not None]
    limits = [task.attempt_timeout or task.timeout for task in functions]
    limits += [task.http.timeouts.total for task in agent.spec.tasks.values() if task.http is not None]
    limits += [
        task.attempt_timeout or MODEL_CALL for task in agent.spec.tasks.values() if task.llm is not None
    ]
    longest = max((MAX_DRAIN_S if item is None else parse_duration(item) for item in limits), default=0)
    return min(MIN_DRAIN_S + longest, MAX_DRAIN_S)


def _complete_pod(agent: Agent, worker: KeptWorkers, access: WorkerCredentials) -> dict[str, Any]:
    """The template's pod with the worker's variables and probe, and defaults of restricted Pod Security."""
    pod: dict[str, Any] = copy.deepcopy(worker.template["spec"])
    pod.setdefault("automountServiceAccountToken", False)
    pod.setdefault("terminationGracePeriodSeconds", drain_seconds(agent))
    pod["securityContext"] = {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        **(pod.get("securityContext") or {}),
    }
    containers = [*(pod.get("initContainers") or []), *pod["containers"]]
    for container in containers:
        container.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
        container["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            **(container.get("securityContext") or {}),
        }
    _add_tmp(pod, containers)
    container = worker_container(pod)
    assert isinstance(container, dict)
    container.setdefault("name", WORKER_CONTAINER)
    variables = {
        "HEED_NATS_URL": access.url,
        "HEED_NAMESPACE": agent.metadata.namespace,
        AGENT_VARIABLE: agent.metadata.name,
    }
    if worker.digest is not None:
        variables[DIGEST_VARIABLE] = worker.digest
    if container.get("readinessProbe") is None:
        variables[HEALTH_VARIABLE] = str(HEALTH_PORT)
        probe = {"httpGet": {"path": "/readyz", "port": HEALTH_PORT}, "periodSeconds": 5}
        container["readinessProbe"] = probe
    _add_variables(container, variables)
    add_calls(pod, container, agent)
    return pod


def _add_tmp(pod: dict[str, Any], containers: list[dict[str, Any]]) -> None:
    """An empty /tmp for the containers that cannot write elsewhere, and have none."""
    without = [
        item
        for item in containers
        if item["securityContext"]["readOnlyRootFilesystem"]
        and all(mount.get("mountPath") != "/tmp" for mount in item.get("volumeMounts") or ())
    ]
    if without:
        pod["volumes"] = [*(pod.get("volumes") or []), {"name": TMP_VOLUME, "emptyDir": {}}]
    for item in without:
        mount = {"name": TMP_VOLUME, "mountPath": "/tmp"}
        item["volumeMounts"] = [*(item.get("volumeMounts") or []), mount]


def _add_credentials(pod: dict[str, Any], secret: str) -> None:
    container = worker_container(pod)
    assert isinstance(container, dict)
    _add_variables(container, {"HEED_NATS_CREDENTIALS": f"{CREDENTIALS_FOLDER}/{CREDENTIALS_KEY}"})
    volume = {"name": CREDENTIALS_VOLUME, "secret": {"secretName": secret}}
    pod["volumes"] = [*(pod.get("volumes") or []), volume]
    mount = {"name": CREDENTIALS_VOLUME, "mountPath": CREDENTIALS_FOLDER, "readOnly": True}
    container["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]


def _add_variables(container: dict[str, Any], variables: Mapping[str, str]) -> None:
    """Add those that the author has not set: server-side apply takes no name twice."""
    given = list(container.get("env") or [])
    taken = {item.get("name") for item in given}
    own = [
        {"name": name, "value": value.replace("$", "$$")}
        for name, value in variables.items()
        if name not in taken
    ]
    container["env"] = [*own, *given]


def _labels(agent: Agent) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "heed-worker",
        "app.kubernetes.io/component": "worker",
        "app.kubernetes.io/instance": agent.metadata.name,
        "app.kubernetes.io/managed-by": "heed",
        names.LABEL_WORKER_OF: agent.metadata.name,
    }


def _digest(agent: Agent, worker: KeptWorkers, template: Body, access: WorkerCredentials) -> str:
    """What tells the pods of one template from those of the next, credentials' expiry aside."""
    signer = access.signer
    account = "" if signer is None else signer.account or signer.key.public
    return names.digest(agent.metadata.uid, worker.digest or "", dump_compact(template), account, size=8)


def _secret_name(agent: Agent, digest: str, expiry: int, restarted: str) -> str:
    """A name of its own for each ReplicaSet, as the Secret goes with that; a restart makes another ReplicaSet."""
    suffix = names.digest(agent.metadata.uid, digest, expiry, restarted, size=8)
    return f"{deployment_name(agent.metadata.name)}-{suffix}"


def _expiry(found: Body | None, digest: str, lifetime: int, now: float) -> int:
    """The expiry of credentials: that of the Deployment's, where they are for these pods and not to be renewed yet."""
    if found is not None and _annotation(found, names.ANNOTATION_TEMPLATE) == digest:
        text = _annotation(found, names.ANNOTATION_EXPIRES)
        if text.isdecimal() and now + lifetime / 3 < int(text) <= now + lifetime:
            return int(text)
    return int(now) + lifetime


def _annotation(deployment: Body, name: str) -> str:
    metadata = deployment["spec"]["template"].get("metadata") or {}
    return str((metadata.get("annotations") or {}).get(name, ""))


def _ref(agent: Agent) -> AgentRef:
    return AgentRef(agent.metadata.namespace, agent.metadata.name, agent.metadata.uid)
