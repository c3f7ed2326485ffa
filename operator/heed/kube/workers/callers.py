"""Who makes the calls of an Agent in a cluster: its own workers, or pods of Heed's image without a template. Pure."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed.api.agent import Agent
from heed.api.http_task import HttpSpec
from heed.api.llm_task import LlmSpec
from heed.api.secret_refs import SecretKeyRef
from heed.core.compiler.workers import WORKER_CONTAINER
from heed.worker.call_items import CALLS
from heed.worker.secrets import SECRETS_FOLDER

CALLS_VARIABLE: Final = "HEED_WORKER_CALLS"
SECRETS_VOLUME: Final = "heed-secrets"
_READABLE_BY_ALL: Final = 0o444  # whatever user the container runs as


@dataclass(frozen=True, slots=True)
class KeptWorkers:
    """The workers that Heed keeps for an Agent: a template of pods, how many, and the digest of its code, if any."""

    template: Mapping[str, Any]
    replicas: int | None = None
    digest: str | None = None

    @classmethod
    def of(cls, agent: Agent, image: str | None) -> "KeptWorkers | None":
        """Those that an Agent wants; None where it has none, or they are run elsewhere. `image` is Heed's own."""
        worker = agent.spec.worker
        if worker is not None and worker.template is not None:
            return cls(worker.template, worker.replicas, worker.digest)
        if image is None or not call_specs(agent) or (worker is not None and worker.address is not None):
            return None
        container = {"name": WORKER_CONTAINER, "image": image, "args": ["worker"]}
        return cls({"spec": {"containers": [container]}})


def call_specs(agent: Agent) -> Mapping[str, HttpSpec | LlmSpec]:
    """The calls of an Agent, by the names of its tasks."""
    specs = {name: task.http or task.llm for name, task in agent.spec.tasks.items()}
    return {name: spec for name, spec in specs.items() if spec is not None}


def add_calls(pod: dict[str, Any], container: dict[str, Any], agent: Agent) -> None:
    """Let the worker of a pod make the Agent's calls: the variable that says so, and the Secrets that they need."""
    specs = call_specs(agent)
    if not specs:
        return
    env = list(container.get("env") or [])
    if all(item.get("name") != CALLS_VARIABLE for item in env):
        container["env"] = [{"name": CALLS_VARIABLE, "value": str(CALLS)}, *env]
    refs = {ref for spec in specs.values() for ref in spec.secrets}
    if not refs:
        return
    pod["volumes"] = [*(pod.get("volumes") or []), _volume(refs)]
    mount = {"name": SECRETS_VOLUME, "mountPath": SECRETS_FOLDER, "readOnly": True}
    container["volumeMounts"] = [*copy.deepcopy(container.get("volumeMounts") or []), mount]


def _volume(refs: Iterable[SecretKeyRef]) -> dict[str, Any]:
    """A volume of files `<secret>/<key>`. A Secret that is not there keeps no pod from starting: its calls say so."""
    sources = [
        {
            "secret": {
                "name": ref.name,
                "items": [{"key": ref.key, "path": f"{ref.name}/{ref.key}"}],
                "optional": True,
            }
        }
        for ref in sorted(refs, key=lambda ref: (ref.name, ref.key))
    ]
    return {"name": SECRETS_VOLUME, "projected": {"sources": sources, "defaultMode": _READABLE_BY_ALL}}
