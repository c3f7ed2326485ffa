"""Secrets of calls: files of the kubelet's, or manifests beside the Agent's."""

import base64
from pathlib import Path
from typing import Any

import pytest

from heed.api.secret_refs import SecretKeyRef
from heed.local.secrets import ManifestSecrets
from heed.worker.http.failures import CallFailed
from heed.worker.secrets import MountedSecrets

TOKEN = SecretKeyRef(name="api", key="token")


@pytest.mark.parametrize(
    ("content", "value"), [("abc", "abc"), ("abc\n", "abc"), ("abc\r\n", "abc"), ("abc\n\n", "abc\n")]
)
async def test_a_file_is_read_without_the_line_break_at_its_end(
    tmp_path: Path, content: str, value: str
) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api/token").write_bytes(content.encode())

    assert await MountedSecrets(tmp_path).read([TOKEN]) == {TOKEN: value}


async def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    secrets = MountedSecrets(tmp_path)
    found = []
    for value in ("one", "two"):
        (tmp_path / "api/token").write_text(value)
        found.append((await secrets.read([TOKEN]))[TOKEN])

    assert found == ["one", "two"]


@pytest.mark.parametrize("content", [None, "", "\n"])
async def test_a_file_that_is_missing_or_empty_fails_the_call(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "api").mkdir()
    if content is not None:
        (tmp_path / "api/token").write_text(content)

    with pytest.raises(CallFailed) as failed:
        await MountedSecrets(tmp_path).read([TOKEN])

    assert (failed.value.reason, failed.value.retryable) == ("SecretMissing", True)
    assert failed.value.message == "Secret api has no key token, or it is empty; fill it in"


@pytest.mark.parametrize("key", [".", ".."])
async def test_a_key_leads_to_no_folder(tmp_path: Path, key: str) -> None:
    (tmp_path / "api").mkdir()

    with pytest.raises(CallFailed):
        await MountedSecrets(tmp_path).read([SecretKeyRef(name="api", key=key)])


@pytest.mark.parametrize(
    ("content", "namespace", "value"),
    [
        ({"stringData": {"token": "abc\n"}}, "default", "abc"),
        ({"data": {"token": base64.b64encode(b"abc").decode()}}, "default", "abc"),
        ({"data": {"token": "!"}}, "default", None),
        ({"stringData": {"other": "abc"}}, "default", None),
        ({"stringData": {"token": "abc"}}, "elsewhere", None),
    ],
)
async def test_a_manifest_has_the_secret_of_its_namespace(
    tmp_path: Path, content: dict[str, Any], namespace: str, value: str | None
) -> None:
    import yaml

    metadata = {"name": "api", **({} if namespace == "default" else {"namespace": namespace})}
    document = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, **content}
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "secret.yaml").write_text(yaml.safe_dump(document))
    secrets = ManifestSecrets([tmp_path], "default")

    if value is None:
        with pytest.raises(CallFailed, match="SecretMissing"):
            await secrets.read([TOKEN])
    else:
        assert await secrets.read([TOKEN]) == {TOKEN: value}
