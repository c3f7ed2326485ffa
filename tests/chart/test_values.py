"""Values: nothing misspelt or of a wrong type gets as far as a cluster, and each is documented with its default."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, Refused, render
from tests.cluster.helm import helm

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
# Documented as one: they are pieces of a pod.
WHOLE = ("resources", "nats.embedded.resources", "gateway.resources", "podSecurityContext")


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Dotted name and default of every value."""
    if isinstance(values, dict) and values and ".".join(path) not in WHOLE:
        for key, value in values.items():
            yield from leaves(value, (*path, key))
    else:
        yield ".".join(path), values


def shown(value: Any) -> str:
    """A default as the README writes it."""
    text = json.dumps(value)
    return text.replace('"', "") if isinstance(value, dict | list) and value else text


def test_lint_finds_nothing() -> None:
    linted = subprocess.run([helm(), "lint", "--strict", CHART], capture_output=True, text=True)

    assert linted.returncode == 0, linted.stdout
    assert not re.search(r"\[(WARNING|ERROR)\]", linted.stdout)


def test_readme_has_every_value_with_its_default() -> None:
    rows = [
        line.strip("| ").split(" | ")
        for line in (CHART / "README.md")
        .read_text()
        .partition("\n## Values")[2]
        .partition("\n## ")[0]
        .splitlines()
        if line.startswith("| `")
    ]

    assert {row[0].strip("`"): row[1].strip("`") for row in rows} == {
        name: shown(value) for name, value in leaves(VALUES)
    }
    assert [row[0] for row in rows if len(row) < 3 or len(row[2]) < 3] == []


def test_every_value_has_a_comment_or_neighbours_that_have_one() -> None:
    """The file is what `helm show values` prints."""
    blocks = (CHART / "values.yaml").read_text().split("\n\n")
    plain = [block for block in blocks if "#" not in block]

    # names that say it all
    assert [re.findall(r"(?m)^(\w+):", block) for block in plain] == [["nameOverride", "fullnameOverride"]]


def test_schema_knows_the_defaults_names_and_no_others() -> None:
    assert SCHEMA["properties"].keys() - {"global"} == VALUES.keys()
    for where, schema, values in objects(SCHEMA, VALUES):
        if "properties" in schema:
            assert schema["additionalProperties"] is False, where
            assert schema["properties"].keys() - {"global"} >= values.keys(), where


def objects(schema: Any, values: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Schema and default of every object among the values."""
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    if isinstance(values, dict):
        yield where or "values", schema, values
        for key, value in values.items():
            yield from objects(schema.get("properties", {}).get(key, {}), value, f"{where}.{key}")


WRONG = {
    # misspelt
    "nats.uri=nats://nats:4222": "at '/nats': additional properties 'uri' not allowed",
    "replica=3": "additional properties 'replica' not allowed",
    "nats.embedded.storge.size=1Gi": "at '/nats/embedded': additional properties 'storge' not allowed",
    "webhook.certmanager.enabled=true": "at '/webhook': additional properties 'certmanager' not allowed",
    "metrics.serviceMonitor.interal=1s": "at '/metrics/serviceMonitor': additional properties 'interal'",
    "networkPolicy.enable=true": "at '/networkPolicy': additional properties 'enable' not allowed",
    "crds.keep=true": "at '/crds': additional properties 'keep' not allowed",
    # of a wrong type
    "replicas=many": "at '/replicas': got string, want integer",
    "crds.install=yes": "at '/crds/install': got string, want boolean",
    "webhook.enabled=maybe": "at '/webhook/enabled': got string, want null or boolean",
    "stream.maxBytes=lots": "at '/stream/maxBytes': got string, want null or integer",
    "image.tag=1": "at '/image/tag': got number, want string",
    "tolerations.a=b": "at '/tolerations': got object, want array",
    "extraEnv[0].value=x": "at '/extraEnv/0': missing property 'name'",
    "imagePullSecrets[0]=x": "at '/imagePullSecrets/0': got string, want object",
    "networkPolicy.apiServerPorts[0]=https": "at '/networkPolicy/apiServerPorts/0': got string, want integer",
    # of a wrong form
    "nats.url=http://nats:4222": "at '/nats/url': 'http://nats:4222' does not match pattern",
    "tasks.natsUrl=nats:4222": "at '/tasks/natsUrl': 'nats:4222' does not match pattern",
    "nats.embedded.storage.size=4GB": "at '/nats/embedded/storage/size': '4GB' does not match pattern",
    "image.digest=sha256:12": "at '/image/digest': 'sha256:12' does not match pattern",
    "watchNamespace=Team": "at '/watchNamespace': 'Team' does not match pattern",
    "nats.credentials.secretName=My_Secret": "at '/nats/credentials/secretName': 'My_Secret' does not match",
    "networkPolicy.apiServerCidrs[0]=10.0.0.1": "'10.0.0.1' does not match pattern",
    "podDisruptionBudget.maxUnavailable=half": "at '/podDisruptionBudget/maxUnavailable': 'oneOf' failed",
    # out of range
    "log.level=loud": "at '/log/level': value must be one of 'debug', 'info', 'warning', 'error'",
    "stream.replicas=2": "at '/stream/replicas': value must be one of 1, 3, 5, <nil>",
    "webhook.failurePolicy=Shrug": "at '/webhook/failurePolicy': value must be one of 'Ignore', 'Fail'",
    "webhook.timeoutSeconds=31": "at '/webhook/timeoutSeconds': maximum: got 31, want 30",
    "tasks.credentialsLifetime=0": "at '/tasks/credentialsLifetime': minimum: got 0, want 1",
    "replicas=-1": "at '/replicas': minimum: got -1, want 0",
}


@pytest.mark.parametrize(("value", "complaint"), WRONG.items(), ids=WRONG)
def test_wrong_value_is_refused_by_name(value: str, complaint: str) -> None:
    with pytest.raises(Refused, match=re.escape(complaint)):
        render(value)
