"""The Deployment of an Agent's workers, as Heed makes it of the template in the manifest."""

from __future__ import annotations

import copy
from typing import Any

import kubernetes_validate
import pytest

from heed.api.agent import Agent
from heed.api.validation import parse_agent
from heed.bus.auth.jwt import NatsKey, UserSigner
from heed.bus.worker_credentials import WorkerCredentials
from heed.kube.workers import manifest as made
from heed.kube.workers.callers import KeptWorkers
from tests.builders.agents import manifest

HOUR = 3600
NOW = 1_000_000.0
OPEN = WorkerCredentials("nats://broker:4222")
CONTAINER = {"name": "worker", "image": "researcher:1"}


def secured() -> WorkerCredentials:
    """A broker that asks for credentials."""
    return WorkerCredentials(OPEN.url, UserSigner(NatsKey.new("account")), 3 * HOUR)


SECURED = secured()


def coded_agent(
    *containers: dict[str, Any], worker: dict[str, Any] | None = None, tasks: Any = None, **pod: Any
) -> Agent:
    template = {"spec": {"containers": list(containers) or [CONTAINER], **pod}}
    given = {"digest": "0123456789abcdef", "template": template, **(worker or {})}
    handler = {"name": "begin", "call": {"function": "begin"}}
    more = {} if tasks is None else {"tasks": tasks}
    return parse_agent(manifest(handler, worker=given, **more))


def deployment(
    one: Agent, access: WorkerCredentials = OPEN, found: Any = None, now: float = NOW
) -> dict[str, Any]:
    return made.deployment_manifest(one, access, found, now)


def pod_of(workload: dict[str, Any]) -> dict[str, Any]:
    return dict(workload["spec"]["template"]["spec"])


def variables(workload: dict[str, Any], index: int = 0) -> dict[str, str]:
    env = pod_of(workload)["containers"][index].get("env") or []
    assert len({item["name"] for item in env}) == len(env)
    return {item["name"]: item.get("value", "") for item in env}


@pytest.mark.parametrize("access", [OPEN, SECURED])
def test_kubernetes_knows_every_field(access: WorkerCredentials) -> None:
    kubernetes_validate.validate(deployment(coded_agent(), access), "1.33", strict=True)


def test_a_pod_is_restricted_and_told_who_it_works_for() -> None:
    one = coded_agent()
    found = deployment(one)

    pod = pod_of(found)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["volumes"] == [{"name": "heed-tmp", "emptyDir": {}}]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["volumeMounts"] == [{"name": "heed-tmp", "mountPath": "/tmp"}]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": 8081}
    assert variables(found) == {
        "HEED_NATS_URL": "nats://broker:4222",
        "HEED_NAMESPACE": "demo",
        "HEED_WORKER_AGENT": one.metadata.name,
        "HEED_WORKER_DIGEST": "0123456789abcdef",
        "HEED_WORKER_HEALTH_PORT": "8081",
    }


def test_what_the_author_says_stays() -> None:
    mount = {"name": "work", "mountPath": "/tmp"}
    own = {
        **CONTAINER,
        "env": [{"name": "HEED_NATS_URL", "value": "tls://mine"}, {"name": "KEY", "value": "$x"}],
        "volumeMounts": [mount],
        "readinessProbe": {"exec": {"command": ["true"]}},
        "securityContext": {"readOnlyRootFilesystem": False, "runAsUser": 7},
    }
    found = deployment(
        coded_agent(
            own,
            automountServiceAccountToken=True,
            terminationGracePeriodSeconds=5,
            securityContext={"runAsNonRoot": False},
            volumes=[{"name": "work", "emptyDir": {}}],
        )
    )

    pod = pod_of(found)
    assert (pod["automountServiceAccountToken"], pod["terminationGracePeriodSeconds"]) == (True, 5)
    assert pod["securityContext"]["runAsNonRoot"] is False
    assert pod["volumes"] == [{"name": "work", "emptyDir": {}}]
    (container,) = pod["containers"]
    assert container["volumeMounts"] == [mount]
    assert container["securityContext"]["runAsUser"] == 7
    assert container["readinessProbe"] == {"exec": {"command": ["true"]}}
    assert variables(found)["HEED_NATS_URL"] == "tls://mine"
    assert variables(found)["KEY"] == "$x"
    assert "HEED_WORKER_HEALTH_PORT" not in variables(found)


def test_only_the_worker_among_several_containers_talks_to_the_broker() -> None:
    found = deployment(coded_agent({"name": "proxy", "image": "proxy:1"}, CONTAINER), SECURED)

    assert variables(found, 0) == {}
    assert variables(found, 1)["HEED_NATS_CREDENTIALS"] == "/heed-nats/nats.creds"
    proxy, worker = pod_of(found)["containers"]
    assert [item["name"] for item in proxy["volumeMounts"]] == ["heed-tmp"]
    assert [item["name"] for item in worker["volumeMounts"]] == ["heed-tmp", "heed-nats"]


def test_it_belongs_to_its_agent_and_no_keys_of_heed_are_the_authors_to_set() -> None:
    labels = {"team": "blue", "heed.dev/worker-of": "other"}
    one = coded_agent()
    assert one.spec.worker is not None
    worker = one.spec.worker.model_copy(
        update={"template": {**(one.spec.worker.template or {}), "metadata": {"labels": labels}}}
    )
    found = deployment(one.model_copy(update={"spec": one.spec.model_copy(update={"worker": worker})}))

    name = one.metadata.name
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Agent", name, True)
    assert found["metadata"]["name"] == f"{name}-worker"
    assert found["spec"]["selector"] == {"matchLabels": {"heed.dev/worker-of": name}}
    pods = found["spec"]["template"]["metadata"]["labels"]
    assert (pods["team"], pods["heed.dev/worker-of"]) == ("blue", name)


def test_a_bad_template_ends_no_pod_that_works() -> None:
    rolling = deployment(coded_agent())["spec"]["strategy"]["rollingUpdate"]

    assert rolling["maxUnavailable"] == 0


@pytest.mark.parametrize(("replicas", "owned"), [(None, {}), (0, {"replicas": 0}), (3, {"replicas": 3})])
def test_replicas_are_owned_where_they_are_given(replicas: int | None, owned: dict[str, int]) -> None:
    spec = deployment(coded_agent(worker={} if replicas is None else {"replicas": replicas}))["spec"]

    assert {key: value for key, value in spec.items() if key == "replicas"} == owned


@pytest.mark.parametrize(
    ("tasks", "seconds"),
    [
        ({}, 60),
        ({"slow": {"function": {"name": "slow"}, "timeout": "10m"}}, 660),
        ({"slow": {"function": {"name": "slow"}, "timeout": "1h", "attemptTimeout": "2m"}}, 180),
        ({"slow": {"function": {"name": "slow"}}}, 3600),
        ({"slow": {"function": {"name": "slow"}, "timeout": "3h"}}, 3600),
        ({"nap": {"wait": {"for": "3h"}}}, 60),
    ],
)
def test_a_pod_has_the_time_that_its_functions_need(tasks: dict[str, Any], seconds: int) -> None:
    assert pod_of(deployment(coded_agent(tasks=tasks)))["terminationGracePeriodSeconds"] == seconds


# ── credentials ─────────────────────────────────────────────────────────────────────────────────────────────────────


def expiry(workload: dict[str, Any]) -> int:
    return int(workload["spec"]["template"]["metadata"]["annotations"]["heed.dev/credentials-expire"])


@pytest.mark.parametrize(
    ("later", "renewed"), [(0, False), (2 * HOUR - 1, False), (2 * HOUR, True), (9 * HOUR, True)]
)
def test_credentials_are_renewed_when_a_third_of_their_lifetime_is_left(later: int, renewed: bool) -> None:
    one = coded_agent()
    first = deployment(one, SECURED)
    second = deployment(one, SECURED, first, NOW + later)

    assert expiry(first) == NOW + 3 * HOUR
    assert made.renewal_time(first, SECURED.lifetime) == NOW + 2 * HOUR
    assert expiry(second) == (NOW + later + 3 * HOUR if renewed else expiry(first))
    assert (second == first) is not renewed
    assert (made.secret_of(second) != made.secret_of(first)) is renewed


def test_other_pods_have_another_secret_with_credentials_of_their_own() -> None:
    first = deployment(coded_agent(), SECURED)
    others = [
        deployment(coded_agent({**CONTAINER, "image": "researcher:2"}), SECURED, first, NOW + 60),
        deployment(coded_agent(worker={"digest": "fedcba9876543210"}), SECURED, first, NOW + 60),
        deployment(coded_agent(), secured(), first, NOW + 60),
    ]

    assert [expiry(item) for item in others] == [NOW + 60 + 3 * HOUR] * 3
    assert len({made.secret_of(item) for item in [first, *others]}) == 4


def test_pods_that_were_restarted_get_a_secret_of_their_own_that_stays() -> None:
    first = deployment(coded_agent(), SECURED)
    restarted = copy.deepcopy(first)
    written = restarted["spec"]["template"]["metadata"]["annotations"]
    written["kubectl.kubernetes.io/restartedAt"] = "2026-11-30T07:00:00Z"

    second = deployment(coded_agent(), SECURED, restarted, NOW + 60)
    seen = copy.deepcopy(second)  # server-side apply leaves what kubectl wrote
    seen["spec"]["template"]["metadata"]["annotations"] |= written

    assert expiry(second) == expiry(first)
    assert made.secret_of(second) != made.secret_of(first)
    assert deployment(coded_agent(), SECURED, seen, NOW + 120) == second


@pytest.mark.parametrize("text", ["", "never", str(int(NOW) + 99 * HOUR), "-5"])
def test_an_expiry_that_heed_did_not_write_is_not_believed(text: str) -> None:
    one = coded_agent()
    forged = copy.deepcopy(deployment(one, SECURED))
    forged["spec"]["template"]["metadata"]["annotations"]["heed.dev/credentials-expire"] = text

    assert expiry(deployment(one, SECURED, forged)) == NOW + 3 * HOUR


def test_a_secret_goes_with_the_pods_that_mount_it() -> None:
    workload = deployment(coded_agent(), SECURED)
    labels = workload["spec"]["template"]["metadata"]["labels"]
    metadata = {"name": "x-1", "namespace": "demo", "uid": "u-1", "labels": labels}

    name = made.secret_of(workload)
    assert name is not None
    secret = made.secret_manifest({**workload, "metadata": metadata}, name, "secret")

    kubernetes_validate.validate(secret, "1.33", strict=True)
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("ReplicaSet", "x-1", "u-1")
    assert secret["stringData"] == {"nats.creds": "secret"}
    assert secret["metadata"]["name"] == name


def test_without_credentials_no_secret_is_mounted() -> None:
    workload = deployment(coded_agent())

    assert made.secret_of(workload) is None
    assert made.renewal_time(workload, HOUR) is None


# ── drift ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_applied_and_not_changed_since_is_current() -> None:
    wanted = deployment(coded_agent())
    found = copy.deepcopy(wanted)
    found["metadata"]["generation"] = 2

    assert made.is_current(found, wanted, 2)
    assert not made.is_current(found, wanted, 1)
    assert not made.is_current(found, wanted, None)


@pytest.mark.parametrize("member", ["labels", "ownerReferences"])
def test_labels_and_owners_that_are_gone_are_drift(member: str) -> None:
    wanted = deployment(coded_agent())
    found = copy.deepcopy(wanted)
    found["metadata"]["generation"] = 2
    del found["metadata"][member]

    assert not made.is_current(found, wanted, 2)


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────

OURS = WorkerCredentials(OPEN.url, image="heed:1")
TOKEN = {"name": "Authorization", "secretRef": {"name": "api", "key": "token"}}
OTHER = {"name": "X-Other", "secretRef": {"name": "api", "key": "other"}}
CALLS = {
    "call": {"http": {"url": "https://a.test", "headers": [TOKEN], "timeouts": {"total": "10m"}}},
    "again": {
        "http": {
            "url": "https://a.test",
            "method": "POST",
            "idempotencyKey": "None",
            "reconcile": {"url": "https://a.test", "headers": [OTHER]},
        }
    },
}


def calling_agent(worker: dict[str, Any] | None = None) -> Agent:
    more = {} if worker is None else {"worker": {"digest": "0123456789abcdef", **worker}}
    return parse_agent(manifest({"start": [{"task": "call"}]}, tasks=CALLS, **more))


def test_calls_of_an_agent_without_a_template_are_made_by_pods_of_heeds_own_image() -> None:
    workload = deployment(
        calling_agent(), WorkerCredentials(OPEN.url, SECURED.signer, 3 * HOUR, image="heed:1")
    )

    kubernetes_validate.validate(workload, "1.33", strict=True)
    pod = pod_of(workload)
    (container,) = pod["containers"]
    assert (container["image"], container["args"]) == ("heed:1", ["worker"])
    assert variables(workload) == {
        "HEED_WORKER_CALLS": "2000",
        "HEED_NATS_URL": OPEN.url,
        "HEED_NAMESPACE": "demo",
        "HEED_WORKER_AGENT": "researcher",
        "HEED_WORKER_HEALTH_PORT": "8081",
        "HEED_NATS_CREDENTIALS": "/heed-nats/nats.creds",
    }
    assert pod["terminationGracePeriodSeconds"] == 660
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("one", [calling_agent(), coded_agent(tasks=CALLS)], ids=["own", "template"])
def test_secrets_of_calls_are_files_of_the_worker_and_no_other_keys_are(one: Agent) -> None:
    pod = pod_of(deployment(one, OURS))

    (volume,) = [item for item in pod["volumes"] if item["name"] == "heed-secrets"]
    assert volume["projected"]["sources"] == [
        {"secret": {"name": "api", "items": [{"key": key, "path": f"api/{key}"}], "optional": True}}
        for key in ("other", "token")
    ]
    (container,) = pod["containers"]
    mount = {"name": "heed-secrets", "mountPath": "/etc/heed/secrets", "readOnly": True}
    assert mount in container["volumeMounts"]
    assert {"name": "HEED_WORKER_CALLS", "value": "2000"} in container["env"]


@pytest.mark.parametrize(
    ("one", "image", "kept"),
    [
        (calling_agent(), "heed:1", "heed:1"),
        (calling_agent(), None, None),
        (calling_agent({}), "heed:1", "heed:1"),
        (calling_agent({"address": "External"}), "heed:1", None),
        (coded_agent(tasks=CALLS), "heed:1", "researcher:1"),
        (coded_agent(), None, "researcher:1"),
        (parse_agent(manifest({"state": {"n": 1}})), "heed:1", None),
    ],
)
def test_who_keeps_the_workers_of_an_agent(one: Agent, image: str | None, kept: str | None) -> None:
    found = KeptWorkers.of(one, image)

    assert (None if found is None else found.template["spec"]["containers"][0]["image"]) == kept
