"""The operator's pod: every switch arrives where it is read, and the settings are those that Heed knows."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from heed import __version__
from heed.kube.leader.election import Candidacy, read_candidacy
from heed.settings import Settings, StreamSettings
from tests.chart.rendering import Manifests, Refused, render

KEYS_SECRET = "nats.existingSecret=keys"


def settings(rendered: Manifests) -> Settings:
    """As the operator would read its environment; what comes from elsewhere is `from elsewhere`."""
    environment = {
        name: value if isinstance(value, str) else "from elsewhere"
        for name, value in rendered.environment().items()
    }
    known = {f"HEED_{item.name.upper()}" for item in fields(Settings)}
    known |= {f"HEED_STREAM_{item.name.upper()}" for item in fields(StreamSettings)}
    assert environment.keys() <= known
    return Settings.from_environment(environment)


def test_image() -> None:
    digest = "sha256:" + "0" * 64
    rendered = render(
        "image.repository=registry.example.com/heed",
        "image.tag=two",
        f"image.digest={digest}",
        "image.pullPolicy=Never",
    )
    (container,) = rendered.pod()["containers"]

    assert container["image"] == f"registry.example.com/heed:two@{digest}"
    assert container["imagePullPolicy"] == "Never"
    (plain,) = render().pod()["containers"]
    assert plain["image"] == f"heed:{__version__}"


def test_probes_ask_where_the_operator_answers() -> None:
    rendered = render()
    (container,) = rendered.pod()["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}

    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert {probe["port"] for probe in probes.values()} == {"health"}
    assert settings(rendered).health_port == ports["health"]


def test_pod_takes_what_pods_take() -> None:
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    values: dict[str, Any] = {
        "imagePullSecrets": [{"name": "registry"}],
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "terminationGracePeriodSeconds": 7,
        "topologySpreadConstraints": [spread],
        "resources": {"limits": {"memory": "2Gi"}},
    }
    rendered = render(values=values)
    pod, metadata = rendered.pod(), rendered["Deployment"]["spec"]["template"]["metadata"]

    for name in (
        "imagePullSecrets",
        "nodeSelector",
        "tolerations",
        "affinity",
        "priorityClassName",
        "terminationGracePeriodSeconds",
        "topologySpreadConstraints",
    ):
        assert pod[name] == values[name]
    assert pod["containers"][0]["resources"]["limits"] == {"memory": "2Gi"}
    assert metadata["annotations"] == {"a": "b"}
    assert metadata["labels"]["c"] == "d"


def test_replicas_go_to_different_nodes_where_there_are_some() -> None:
    rendered = render()
    (spread,) = rendered.pod()["topologySpreadConstraints"]

    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    assert spread["labelSelector"] == rendered["Deployment"]["spec"]["selector"]


def test_a_null_takes_a_field_out_of_the_security_context() -> None:
    values = {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}
    rendered = render(values={**values, "nats": {"embedded": {"enabled": True}}}, hooks=True)

    for key in ("Deployment", "StatefulSet", "Pod"):
        assert rendered.pod(key)["securityContext"].keys() == {"runAsNonRoot", "seccompProfile"}


def test_replicas_compete_for_a_lease_of_the_releases_name() -> None:
    rendered = render("replicas=3")

    assert rendered["Deployment"]["spec"]["replicas"] == 3
    assert rendered["Deployment"]["spec"]["strategy"] == {"type": "RollingUpdate"}
    assert rendered.environment()["HEED_IDENTITY"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert read_candidacy(settings(rendered)) == Candidacy("system", "heed", "from elsewhere")


def test_without_an_election_there_is_one_and_no_lease() -> None:
    rendered = render("election.enabled=false", "replicas=1")

    assert read_candidacy(settings(rendered)) is None
    assert rendered["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    with pytest.raises(Refused, match=r"replicas: more than 1 needs election\.enabled"):
        render("election.enabled=false")


def test_plain_values_arrive_as_settings() -> None:
    found = settings(
        render(
            "nats.url=tls://one:4222\\,tls://two:4222",
            "watchNamespace=team",
            "log.level=debug",
            "log.format=text",
            "metrics.enabled=false",
            "tasks.natsUrl=nats://outside:4222",
            "tasks.credentialsLifetime=3600",
            "stream.replicas=3",
            "stream.maxBytes=10737418240",
            "stream.maxAge=3600",
            "stream.deadMaxBytes=1048576",
            "stream.deadMaxAge=7200",
        )
    )

    assert (found.nats_url, found.namespace) == ("tls://one:4222,tls://two:4222", "team")
    assert (found.log_level, found.log_format, found.metrics_port) == ("debug", "text", 0)
    assert (found.task_nats_url, found.credentials_lifetime) == ("nats://outside:4222", 3600)
    assert (found.stream.replicas, found.stream.max_bytes, found.stream.max_age) == (3, 10 * 1024**3, 3600)
    assert (found.stream.dead_max_bytes, found.stream.dead_max_age) == (1024**2, 7200)


def test_nothing_is_set_that_was_not_asked_for() -> None:
    assert settings(render()).stream == StreamSettings()


def test_credentials_and_certificates_are_files_from_secrets() -> None:
    rendered = render(
        "nats.credentials.secretName=login",
        "nats.credentials.key=me.creds",
        "nats.ca.secretName=authority",
        "nats.tls.secretName=mine",
        "nats.signing.secretName=signer",
    )
    found = settings(rendered)

    assert rendered.files() == {
        found.nats_credentials: ("login", "me.creds"),
        found.nats_ca: ("authority", "ca.crt"),
        found.nats_cert: ("mine", "tls.crt"),
        found.nats_key: ("mine", "tls.key"),
        found.nats_signing_key: ("signer", "account.seed"),
    }
    account = {"name": "signer", "key": "account.pub", "optional": True}
    assert rendered.environment()["HEED_NATS_ACCOUNT"] == {"secretKeyRef": account}


def test_other_ways_to_log_in_are_files_from_secrets() -> None:
    user = render("nats.user=heed", "nats.password.secretName=login", hooks=True)
    assert settings(user).nats_user == "heed"
    assert user.files() == {settings(user).nats_password_file: ("login", "password")}
    assert user.environment("Pod")["HEED_NATS_USER"] == "heed"
    token = render("nats.token.secretName=login", "nats.token.key=mine")
    assert token.files() == {settings(token).nats_token_file: ("login", "mine")}
    nkey = render("nats.nkey.secretName=login", "nats.domain=hub")
    assert nkey.files() == {settings(nkey).nats_nkey: ("login", "user.nk")}
    assert settings(nkey).nats_domain == "hub"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("nats.user=heed",), r"nats\.user: it needs nats\.password\.secretName"),
        (("nats.password.secretName=a",), r"nats\.user: it needs nats\.password\.secretName"),
        (
            ("nats.token.secretName=a", "nats.nkey.secretName=b"),
            r"nats\.nkey\.secretName and nats\.token\.secretName: the broker is told one of them",
        ),
        ((KEYS_SECRET, "nats.token.secretName=a"), r"nats\.existingSecret and nats\.token\.secretName"),
        (
            ("nats.embedded.enabled=true", "nats.token.secretName=a"),
            r"nats\.token\.secretName: leave it empty with nats\.embedded\.enabled",
        ),
        (("nats.domain=a.b",), "domain"),
    ],
)
def test_ways_to_log_in_that_contradict_each_other_are_refused(values: tuple[str, ...], said: str) -> None:
    with pytest.raises(Refused, match=said):
        render(*values)


def test_one_secret_holds_what_broker_keys_prints() -> None:
    rendered = render(KEYS_SECRET)
    found = settings(rendered)

    assert rendered.files() == {
        found.nats_credentials: ("keys", "operator.creds"),
        found.nats_signing_key: ("keys", "account.seed"),
        found.nats_worker_signing_key: ("keys", "workers.seed"),
    }
    [volume] = [item for item in rendered.pod()["volumes"] if item["name"] == "nats-workers"]
    assert volume["secret"]["optional"] is True  # keys of an earlier release do not hold it
    assert rendered.environment()["HEED_NATS_ACCOUNT"]["secretKeyRef"]["name"] == "keys"


def test_single_secrets_win_over_the_one_for_all() -> None:
    rendered = render(
        KEYS_SECRET,
        "nats.credentials.secretName=login",
        "nats.signing.secretName=signer",
        "nats.signing.seedKey=seed",
        "nats.signing.accountKey=",
    )

    others = {("login", "heed.creds"), ("signer", "seed")}
    assert set(rendered.files().values()) == {*others, ("keys", "workers.seed")}
    assert "HEED_NATS_ACCOUNT" not in rendered.environment()


def test_credentials_of_workers_are_signed_by_a_key_of_their_own_account() -> None:
    alone = render("nats.workerSigning.secretName=workers")
    beside = render(
        KEYS_SECRET,
        "nats.workerSigning.secretName=workers",
        "nats.workerSigning.seedKey=seed",
        "nats.workerSigning.accountKey=",
    )

    assert alone.files() == {settings(alone).nats_worker_signing_key: ("workers", "workers.seed")}
    assert settings(alone).nats_signing_key is None
    account = {"name": "workers", "key": "workers.pub", "optional": True}
    assert alone.environment()["HEED_NATS_WORKER_ACCOUNT"] == {"secretKeyRef": account}
    assert beside.files() == {
        settings(beside).nats_credentials: ("keys", "operator.creds"),
        settings(beside).nats_signing_key: ("keys", "account.seed"),
        settings(beside).nats_worker_signing_key: ("workers", "seed"),
    }
    assert "HEED_NATS_WORKER_ACCOUNT" not in beside.environment()
    for rendered in (alone, beside):
        (volume,) = (item for item in rendered.pod()["volumes"] if item["name"] == "nats-workers")
        assert "optional" not in volume["secret"]


def test_ca_may_be_in_a_config_map() -> None:
    rendered = render("nats.ca.configMapName=trust", "nats.ca.key=root.pem")

    assert rendered.files() == {settings(rendered).nats_ca: ("trust", "root.pem")}
    with pytest.raises(Refused, match=r"nats\.ca: give configMapName or secretName, not both"):
        render("nats.ca.configMapName=a", "nats.ca.secretName=b")


def test_extra_environment_wins_over_what_the_chart_sets() -> None:
    extra = [
        {"name": "HEED_LOG_LEVEL", "value": "debug"},
        {"name": "HEED_BATCH", "value": "7"},
        {"name": "HEED_NATS_URL", "value": "nats://10.0.0.1:4222"},
    ]
    rendered = render(values={"extraEnv": extra}, hooks=True)
    found = settings(rendered)

    assert (found.log_level, found.batch, found.nats_url) == ("debug", 7, "nats://10.0.0.1:4222")
    assert rendered.environment("Pod")["HEED_NATS_URL"] == "nats://10.0.0.1:4222"
    assert "HEED_BATCH" not in rendered.environment("Pod")


def test_metrics_have_a_service_that_finds_the_pods() -> None:
    rendered = render()
    service = rendered["Service", "heed-metrics"]
    (container,) = rendered.pod()["containers"]
    labels = rendered["Deployment"]["spec"]["template"]["metadata"]["labels"]

    assert service["spec"]["selector"].items() <= labels.items()
    (port,) = service["spec"]["ports"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports[port["targetPort"]] == settings(rendered).metrics_port == port["port"]
    assert "ServiceMonitor" not in rendered


def test_without_metrics_there_is_neither_port_nor_service() -> None:
    rendered = render("metrics.enabled=false", "metrics.serviceMonitor.enabled=true")
    (container,) = rendered.pod()["containers"]

    assert not {("Service", "heed-metrics"), ("ServiceMonitor", "heed")} & rendered.names()
    assert "metrics" not in [port["name"] for port in container["ports"]]


def test_service_monitor_finds_the_service_of_the_metrics_only() -> None:
    rendered = render(
        "metrics.serviceMonitor.enabled=true",
        "metrics.serviceMonitor.interval=5s",
        "metrics.serviceMonitor.labels.release=prometheus",
    )
    monitor = rendered["ServiceMonitor"]
    (endpoint,) = monitor["spec"]["endpoints"]
    named = [
        (item["metadata"]["name"], port["name"])
        for item in rendered
        if item["kind"] == "Service"
        and monitor["spec"]["selector"]["matchLabels"].items() <= item["metadata"]["labels"].items()
        for port in item["spec"]["ports"]
        if port["name"] == endpoint["port"]
    ]

    assert named == [("heed-metrics", "metrics")]
    assert (endpoint["interval"], endpoint["path"]) == ("5s", "/metrics")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_drained_nodes_take_one_replica_at_a_time() -> None:
    rendered = render()
    budget = rendered["PodDisruptionBudget"]["spec"]

    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == rendered["Deployment"]["spec"]["selector"]
    assert (
        render("podDisruptionBudget.maxUnavailable=50%")["PodDisruptionBudget"]["spec"]["maxUnavailable"]
        == "50%"
    )
    assert "PodDisruptionBudget" not in render("podDisruptionBudget.enabled=false")


@pytest.mark.parametrize("values", [(), ("nameOverride=other",), ("fullnameOverride=" + "n" * 63,)])
def test_names_fit_where_they_go(values: tuple[str, ...]) -> None:
    for document in render("nats.embedded.enabled=true", *values, hooks=True):
        limit = 52 if document["kind"] == "StatefulSet" else 63
        assert len(document["metadata"]["name"]) <= limit, document["metadata"]


def test_service_account() -> None:
    rendered = render("serviceAccount.annotations.role=cloud")
    assert rendered["ServiceAccount"]["metadata"]["annotations"] == {"role": "cloud"}
    assert rendered["ServiceAccount"]["automountServiceAccountToken"] is False
    assert rendered.pod()["serviceAccountName"] == "heed"

    others = render("serviceAccount.create=false", "serviceAccount.name=theirs")
    assert "ServiceAccount" not in others
    assert others.pod()["serviceAccountName"] == "theirs"
    assert others["ClusterRoleBinding"]["subjects"][0]["name"] == "theirs"
