"""The embedded server: a real nats-server takes its configuration, and the pod gives it what it needs."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heed import __version__
from heed.bus.auth.accounts import OPERATOR_CREDS, PUBLISHER_CREDS, make_broker_keys
from heed.bus.client.connection import connect
from heed.bus.client.streams import ensure_streams
from heed.bus.jetstream import JetStreamBus
from heed.core.codec.cloudevents_json import build_event
from heed.core.events import Event
from heed.settings import Settings, StreamSettings
from tests.chart.rendering import Refused, render
from tests.cluster.controlplane.waiting import eventually
from tests.nats_server import find_binary, require_nats_server

ON = "nats.embedded.enabled=true"
OPEN = "nats.embedded.auth.enabled=false"
POD = ("StatefulSet", "heed-nats")
MIB = 1024**2
KEYS = make_broker_keys(int(time.time()))


def test_off_by_default() -> None:
    rendered = render()

    assert not [name for kind, name in rendered.names() if "nats" in name]
    assert rendered.environment()["HEED_NATS_URL"] == "nats://nats.nats.svc:4222"


def test_operator_is_pointed_at_it() -> None:
    rendered = render(ON)
    service = rendered["Service", "heed-nats"]

    assert rendered.environment()["HEED_NATS_URL"] == "nats://heed-nats.system.svc:4222"
    assert service["spec"]["ports"] == [{"name": "client", "port": 4222, "targetPort": "client"}]
    labels = rendered[POD]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert rendered[POD]["spec"]["serviceName"] == "heed-nats"


def test_no_selector_of_the_operator_finds_its_pod() -> None:
    rendered = render(ON)
    labels = rendered[POD]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        rendered["Deployment"]["spec"]["selector"]["matchLabels"],
        rendered["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        rendered["Service", "heed-metrics"]["spec"]["selector"],
    ]

    assert [one for one in selectors if one.items() <= labels.items()] == []


def test_operator_makes_the_keys_and_the_server_sees_its_part_only() -> None:
    rendered = render(ON)
    secret = rendered["Secret", "heed-nats-keys"]

    assert "data" not in secret
    assert "stringData" not in secret
    assert rendered.environment()["HEED_NATS_KEYS_SECRET"] == "heed-nats-keys"
    assert rendered.files(POD) == {"/etc/nats-auth/auth.conf": ("heed-nats-keys", "auth.conf")}
    (mounted,) = (item["secret"] for item in rendered.pod(POD)["volumes"] if "secret" in item)
    assert not mounted.get("optional"), "without keys the server would be open"


def test_open_server_has_no_keys() -> None:
    rendered = render(ON, OPEN)

    assert ("Secret", "heed-nats-keys") not in rendered
    assert "HEED_NATS_KEYS_SECRET" not in rendered.environment()
    assert "include" not in rendered["ConfigMap"]["data"]["nats.conf"]
    assert rendered.files(POD) == {}


@pytest.mark.parametrize(
    ("size", "store"), [("4Gi", "3686MiB"), ("1500Mi", "1350MiB"), ("2Ti", "1887436MiB")]
)
def test_jetstream_takes_nine_tenths_of_the_volume(size: str, store: str) -> None:
    rendered = render(ON, f"nats.embedded.storage.size={size}")

    assert f"max_file_store: {store}" in rendered["ConfigMap"]["data"]["nats.conf"]
    (claim,) = rendered[POD]["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == size


@pytest.mark.parametrize(
    "values",
    [
        ("nats.embedded.storage.size=1422Mi",),
        ("stream.maxBytes=10737418240",),
        ("nats.embedded.storage.size=10Mi", "stream.maxBytes=8388608", "stream.deadMaxBytes=1048577"),
    ],
)
def test_streams_have_to_fit_into_the_store(values: tuple[str, ...]) -> None:
    """The server would refuse to make them."""
    with pytest.raises(Refused, match=r"nats\.embedded\.storage\.size: JetStream takes nine tenths of it"):
        render(ON, *values)


def test_streams_that_fit_may_fill_the_store() -> None:
    defaults = StreamSettings()
    assert (defaults.max_bytes, defaults.dead_max_bytes) == (1024 * MIB, 256 * MIB)  # as the check says
    for values in (
        ("nats.embedded.storage.size=1423Mi",),
        ("nats.embedded.storage.size=10Mi", "stream.maxBytes=8388608", "stream.deadMaxBytes=1048576"),
        ("nats.embedded.storage.size=1500Mi", "stream.maxBytes=0"),  # without a limit nothing is reserved
    ):
        assert render(ON, *values)[POD]


def test_volume_goes_with_the_release() -> None:
    rendered = render(ON)
    (claim,) = rendered[POD]["spec"]["volumeClaimTemplates"]

    assert rendered[POD]["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete"
    assert "annotations" not in rendered["Secret", "heed-nats-keys"]["metadata"]
    assert "storageClassName" not in claim["spec"]


def test_retained_volume_retains_its_keys_too() -> None:
    rendered = render(ON, "nats.embedded.storage.retain=true")
    secret = rendered["Secret", "heed-nats-keys"]

    assert rendered[POD]["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


@pytest.mark.parametrize(("given", "wanted"), [("fast", "fast"), ("-", "")])
def test_storage_class(given: str, wanted: str) -> None:
    (claim,) = render(ON, f"nats.embedded.storage.storageClassName={given}")[POD]["spec"][
        "volumeClaimTemplates"
    ]

    assert claim["spec"]["storageClassName"] == wanted


def test_without_storage_events_live_in_the_pod() -> None:
    rendered = render(ON, "nats.embedded.storage.enabled=false", "nats.embedded.storage.retain=true")

    assert not rendered[POD]["spec"].keys() & {"volumeClaimTemplates", "persistentVolumeClaimRetentionPolicy"}
    (data,) = (item for item in rendered.pod(POD)["volumes"] if item["name"] == "data")
    assert data["emptyDir"] == {"sizeLimit": "4Gi"}
    assert "annotations" not in rendered["Secret", "heed-nats-keys"]["metadata"]


def test_changed_configuration_restarts_the_server_and_a_new_chart_does_not() -> None:
    def template(*values: str) -> object:
        return render(ON, *values)[POD]["spec"]["template"]

    assert template() != template("nats.embedded.storage.size=8Gi")
    assert __version__ not in str(template("nats.embedded.image.tag=x"))


def test_pod_takes_what_pods_take() -> None:
    values = {
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "high",
        "nats": {
            "embedded": {
                "enabled": True,
                "image": {"repository": "registry.example.com/nats", "tag": "1", "pullPolicy": "Never"},
                "podAnnotations": {"a": "b"},
                "podLabels": {"c": "d"},
                "nodeSelector": {"disk": "ssd"},
                "tolerations": [{"operator": "Exists"}],
                "affinity": {"nodeAffinity": {}},
                "resources": {"limits": {"memory": "2Gi"}},
            }
        },
    }
    rendered = render(values=values)
    pod, metadata = rendered.pod(POD), rendered[POD]["spec"]["template"]["metadata"]
    (container,) = pod["containers"]

    assert (container["image"], container["imagePullPolicy"]) == ("registry.example.com/nats:1", "Never")
    assert container["resources"]["limits"]["memory"] == "2Gi"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["priorityClassName"] == "high"
    assert (pod["nodeSelector"], pod["tolerations"]) == ({"disk": "ssd"}, [{"operator": "Exists"}])
    assert pod["affinity"] == {"nodeAffinity": {}}
    assert metadata["annotations"]["a"] == "b"
    assert metadata["labels"]["c"] == "d"
    assert pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("nats.url=nats://other:4222", "nats.url: leave it empty with nats.embedded.enabled"),
        ("nats.existingSecret=x", "nats.existingSecret: leave it empty with nats.embedded.enabled"),
        ("nats.credentials.secretName=x", "nats.credentials.secretName: leave it empty"),
        ("nats.signing.secretName=x", "nats.signing.secretName: leave it empty"),
        ("nats.workerSigning.secretName=x", "nats.workerSigning.secretName: leave it empty"),
        ("nats.tls.secretName=x", "nats.tls.secretName: leave it empty"),
        ("nats.ca.configMapName=x", "nats.ca.configMapName: leave it empty"),
        ("stream.replicas=3", "stream.replicas: the embedded server is a single one"),
    ],
)
def test_what_only_another_server_could_use_is_refused(value: str, complaint: str) -> None:
    with pytest.raises(Refused, match=complaint):
        render(ON, value)


@pytest.fixture
def started(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a nats-server with the rendered configuration, whose files are where the pod would have them."""
    require_nats_server()
    config = render(ON, *request.param)["ConfigMap"]["data"]["nats.conf"]
    config = config.replace("0.0.0.0:4222", "127.0.0.1:-1").replace("127.0.0.1:8222", "127.0.0.1:-1")
    config = config.replace("/data", str(tmp_path / "data"))
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "nats.conf").write_text(f"{config}\nports_file_dir: {tmp_path}\n")
    (tmp_path / "nats-auth").mkdir()
    for name, content in KEYS.items():
        (tmp_path / "nats-auth" / name).write_text(content)
    command = [str(find_binary()), "--config", str(tmp_path / "nats" / "nats.conf")]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield eventually(lambda: listening(tmp_path, process), 15.0, what="nats-server")
        finally:
            process.kill()


def listening(folder: Path, process: subprocess.Popen[bytes]) -> str | None:
    """Where clients are served, once they are."""
    assert process.poll() is None, (folder / "log").read_text()
    texts = [path.read_text() for path in folder.glob("*.ports")]
    return next((json.loads(text)["nats"][0] for text in texts if text.rstrip().endswith("}")), None)


@pytest.mark.parametrize(("started", "closed"), [((), True), ((OPEN,), False)], indirect=["started"])
def test_real_server_has_jetstream_and_asks_who_you_are(started: str, closed: bool) -> None:
    info = greeting(started)

    assert info["jetstream"] is True
    assert info.get("auth_required", False) is closed


@pytest.mark.parametrize("started", [()], indirect=True)
async def test_real_server_knows_the_keys_that_the_operator_makes(started: str, tmp_path: Path) -> None:
    # given the streams, which the operator makes with its credentials
    def settings(file: str) -> Settings:
        return Settings(nats_url=started, nats_credentials=str(tmp_path / "nats-auth" / file))

    operator = await connect(settings(OPERATOR_CREDS), "operator", attempts=3)
    await ensure_streams(operator, StreamSettings())

    # when the publisher publishes, then the event is stored
    publisher = await connect(settings(PUBLISHER_CREDS), "publisher", attempts=3)
    stored = await JetStreamBus(publisher).send("heed.events.demo.greeted", event_of_type("greeted"))

    await publisher.close()
    await operator.close()
    assert stored.sequence == 1


def event_of_type(type_: str) -> Event:
    return build_event({"specversion": "1.0", "id": "1", "source": "/test", "type": type_}, None)


def greeting(url: str) -> dict[str, Any]:
    """What a nats-server says first, to everybody."""
    host, _, port = url.removeprefix("nats://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        words: dict[str, Any] = json.loads(connection.makefile().readline().removeprefix("INFO "))
    return words


def test_monitoring_is_for_its_own_pod_only() -> None:
    """It knows no passwords, and would show any pod what every tenant subscribes to."""
    rendered = render(ON)
    config = rendered["ConfigMap"]["data"]["nats.conf"]
    (container,) = rendered.pod(POD)["containers"]

    assert re.findall(r"(?m)^http: (.*)$", config) == ["127.0.0.1:8222"]
    assert [port["containerPort"] for port in container["ports"]] == [4222]
    probes = [container[f"{name}Probe"]["tcpSocket"] for name in ("startup", "readiness", "liveness")]
    assert probes == [{"port": "client"}] * 3
