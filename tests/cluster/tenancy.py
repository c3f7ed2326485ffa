"""Two namespaces that do not trust each other: a broker in JWT mode, one operator, and what each of them may do.

Mallory has in `a` whatever the author of everything there may have: Agents and their status, rules, Jobs, Secrets.
"""

from __future__ import annotations

import base64
import copy
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig

from heed import names
from heed.api.conditions import find_condition
from heed.core.codec.canonical_json import dump_compact
from heed.core.codec.cloudevents_json import event_to_json
from heed.core.events import Event
from tests.builders.agents import ASKED
from tests.chart.rendering import NAMESPACE
from tests.cluster.controlplane.api import ApiError
from tests.cluster.controlplane.run import ControlPlane, KubectlError
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.keyed import SECRET, KeyedBroker, KeyedOperator, installed
from tests.cluster.operating import Stage
from tests.cluster.ruling import apply
from tests.cluster.stories import RESEARCHER
from tests.patience import PATIENCE
from tests.ports import free_port

ORDERED = "com.example.order.placed"
NOTED = "com.example.order.noted"
LIFETIME = 8  # seconds, of credentials of Jobs without a timeout
_numbers = itertools.count(1)
EVERYTHING = {"apiGroups": ["heed.dev", "batch", ""], "resources": ["*"], "verbs": ["*"]}


@dataclass
class Tenants:
    """Both namespaces, and what they share."""

    plane: ControlPlane
    operator: KeyedOperator
    broker: KeyedBroker
    a: str
    b: str
    mallory: Path  # a kubeconfig

    def clear(self) -> None:
        """Delete what stories have made. The next one's Agents hear nothing of this one.

        An Agent begins with the second in which it is made (its creationTimestamp), so that one has to be over.
        """
        kinds = "agents,agentpolicies,eventgrants,eventtypes,jobs"
        for namespace in (self.a, self.b):
            self.plane.kubectl("delete", kinds, "--all", "-n", namespace)
        last = int(time.time())
        eventually(lambda: int(time.time()) > last, what="the next second")

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """As Mallory. Raises KubectlError."""
        return self.plane.kubectl(*arguments, stdin=stdin, kubeconfig=self.mallory)

    def apply(self, *manifests: dict[str, Any]) -> None:
        """As Mallory, in `a`. Raises KubectlError."""
        self.kubectl("apply", "-n", self.a, "-f", "-", stdin=yaml.safe_dump_all(manifests))

    def refused(self, *arguments: str, stdin: str | None = None) -> str:
        """What the API server says to something that it does not let Mallory do."""
        try:
            done = self.kubectl(*arguments, stdin=stdin)
        except KubectlError as error:
            return str(error)
        raise AssertionError(f"it was done: {done}")

    def of(self, namespace: str) -> Stage:
        """A namespace, as an administrator looks at it."""
        return Stage(self.plane, namespace, self.operator, None)  # type: ignore[arg-type]

    def victims(self, *manifests: dict[str, Any]) -> None:
        """Make Agents of `b`, and wait until they run."""
        apply(self.plane, self.b, *manifests)
        for manifest in manifests:
            self.ready(self.b, manifest["metadata"]["name"])

    def ready(self, namespace: str, name: str, reason: str = "Subscribed") -> str:
        """The message of the condition Ready, once it has this reason."""

        def look() -> dict[str, Any] | None:
            found = find_condition(self.of(namespace).status(name).get("conditions") or [], "Ready")
            seen[:] = [found]
            return dict(found) if found and found["reason"] == reason else None

        seen: list[Any] = []
        try:
            return str(eventually(look, PATIENCE)["message"])
        except AssertionError:
            what = f"{namespace}/{name} is not {reason}: {seen}; log: {self.operator.log}"
            raise AssertionError(what) from None

    def until(self, namespace: str, name: str, holds: Any, patience: float = PATIENCE) -> dict[str, Any]:
        """The status of an Agent, once a condition holds of it."""

        def look() -> dict[str, Any] | None:
            status = self.of(namespace).status(name)
            with suppress(KeyError):  # what is not there yet
                return status if status and holds(status) else None
            return None

        what = f"a condition on the status of {namespace}/{name}; log: {self.operator.log}"
        return eventually(look, patience, what=what)

    def write_status(self, name: str, status: dict[str, Any]) -> None:
        """As Mallory, who may: a merge patch of the status of an Agent of `a`."""
        patch = json.dumps({"status": status})
        self.kubectl(
            "patch", "agent", name, "-n", self.a, "--subresource=status", "--type=merge", "-p", patch
        )

    def say(self, namespace: str, type_: str, id: str, data: Any) -> int:
        """Publish an event as an honest publisher; returns its place in the stream."""
        creds = self.broker.keys["publisher.creds"]
        return int(self.broker.send(creds, names.event_subject(namespace, type_), type_, id, data)["seq"])

    def stored(self, stream: str = names.STREAM) -> list[str]:
        """The subjects of all messages, in order."""

        async def act(client: Client) -> list[str]:
            jetstream = client.jetstream()
            state = (await jetstream.stream_info(stream)).state
            if not state.messages:
                return []
            unacknowledged = ConsumerConfig(ack_policy=AckPolicy.NONE, headers_only=True)
            pull = await jetstream.pull_subscribe(">", stream=stream, config=unacknowledged)
            found: list[str] = []
            while len(found) < state.messages:
                found += [item.subject for item in await pull.fetch(500, timeout=PATIENCE)]
            return found

        return self.broker.as_admin(act)

    def in_b(self) -> list[str]:
        """The subjects of all messages of `b`, dead letters too."""
        events = [subject for subject in self.stored() if subject.split(".")[2] == self.b]
        letters = [item for item in self.stored(names.DEAD_STREAM) if item.split(".")[1] == self.b]
        return events + letters

    def job(self, namespace: str, agent: str) -> dict[str, Any]:
        """The one Job of an Agent, once it may run."""

        def look() -> dict[str, Any] | None:
            jobs = self.of(namespace).jobs()
            mine = [job for job in jobs if job["metadata"].get("labels", {}).get(names.LABEL_AGENT) == agent]
            return mine[0] if mine and not mine[0]["spec"].get("suspend") else None

        return eventually(look, PATIENCE, what=f"a Job of {agent} that runs; log: {self.operator.log}")

    def credentials(self, job: dict[str, Any]) -> str:
        """Those of a Job of `a`, as Mallory reads them."""
        name = f"{job['metadata']['name']}-nats"
        secret = json.loads(self.kubectl("get", "secret", name, "-n", self.a, "-o", "json"))
        return base64.b64decode(secret["data"]["nats.creds"]).decode()


@contextmanager
def tenancy(plane: ControlPlane, folder: Path) -> Iterator[Tenants]:
    """Two namespaces with a broker and an operator that are at work."""
    make_namespace(plane, NAMESPACE)
    kubeconfig = installed(plane)
    plane.kubectl("delete", "secret", SECRET, "-n", NAMESPACE)
    plane.kubectl("create", "secret", "generic", SECRET, "-n", NAMESPACE)
    number = next(_numbers)
    a, b = f"tenant-a{number}", f"tenant-b{number}"
    mallory = tenant(plane, a)
    make_namespace(plane, b)
    broker = KeyedBroker(plane, folder / "broker", free_port())
    operator = KeyedOperator(kubeconfig, broker.url, folder, free_port(), metrics_port=free_port())
    operator.environment["HEED_CREDENTIALS_LIFETIME"] = str(LIFETIME)
    operator.launch()
    try:
        eventually(lambda: broker.keys, PATIENCE, what=f"keys; log: {operator.log}")
        broker.start()
        operator.until("active")
        yield Tenants(plane, operator, broker, a, b, mallory)
    finally:
        operator.kill()
        broker.stop()
        plane.kubectl("delete", "namespace", a, b, "--wait=false")


def tenant(plane: ControlPlane, namespace: str) -> Path:
    """A kubeconfig of somebody who may do everything in a namespace, and nothing elsewhere."""
    metadata = {"name": "mallory", "namespace": namespace}
    rights = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", **metadata}
    role = {"apiGroup": rights, "kind": "Role", "name": "mallory"}
    make_namespace(plane, namespace)
    documents = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{rights}/v1", "kind": "Role", "metadata": metadata, "rules": [EVERYTHING]},
        {
            "apiVersion": f"{rights}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": role,
            "subjects": [subject],
        },
    ]
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))
    return plane.kubeconfig_for_service_account(namespace, "mallory")


def make_namespace(plane: ControlPlane, name: str) -> None:
    """Make a namespace where there is none of that name."""
    try:
        plane.admin.post("/api/v1/namespaces", {"metadata": {"name": name}})
    except ApiError as error:
        if error.status != 409:
            raise


def hearing_agent(name: str, *handlers: dict[str, Any], subscribe: Any = (), **spec: Any) -> dict[str, Any]:
    """An Agent; it hears everything of its own namespace if nothing else is said."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": {
            "subscribe": list(subscribe) or [{"type": ">"}],
            "handlers": list(handlers) or [hearing()],
            **spec,
        },
    }


def hearing(type_: str = ">") -> dict[str, Any]:
    """A handler that notes what it hears."""
    return {"name": "hear", "type": type_, "state": {"heard": "${event.id}"}}


def bookkeeper(name: str = "books") -> dict[str, Any]:
    """An Agent that notes every order in a session of its own, and says so."""
    note = {"name": "note", "type": ORDERED, "state": {"n": "${event.data.n}"}, "emit": [{"type": NOTED}]}
    return hearing_agent(name, note, subscribe=[{"type": ORDERED}], session={"key": "event.id"})


def publishing_researcher(name: str, **task: Any) -> dict[str, Any]:
    """An Agent whose Job may publish."""
    manifest = copy.deepcopy(RESEARCHER)
    manifest["metadata"]["name"] = name
    manifest["spec"]["tasks"]["research"] |= {"publish": True, **task}
    return manifest


def ask(tenants: Tenants, namespace: str, id: str) -> int:
    """A question to all researchers of a namespace."""
    return tenants.say(namespace, ASKED, id, {"topic": "tides"})


def owed_in_status(agent_: str, namespace: str, subject: str, type_: str = ORDERED) -> dict[str, Any]:
    """A message as the status holds it until it is published."""
    event = Event(f"f-{len(subject)}", names.agent_source(namespace, agent_), type_, {"n": 666})
    at = "2026-01-01T00:00:00.000000Z"
    return {
        "sequence": 1,
        "index": 0,
        "subject": subject,
        "at": at,
        "event": dump_compact(event_to_json(event)),
    }


def pending(deadline: str = "2026-01-01T00:00:01.000000Z", phase: str = "Started") -> dict[str, Any]:
    """A task as the status holds it, that is over its time."""
    at = "2026-01-01T00:00:00.000000Z"
    cause = {"id": "e", "sequence": 1, "correlationid": "c", "hops": 0}
    return {
        "task": "x",
        "session": "s",
        "kind": "job",
        "startedAt": at,
        "cause": cause,
        "deadline": deadline,
        "phase": phase,
    }
