"""Secrets of calls under `heed dev`: those among the manifests, read at each call."""

import asyncio
import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from heed.api.manifest.document import Manifest, parse_manifests
from heed.api.secret_refs import SecretKeyRef
from heed.errors import InvalidManifest
from heed.local.manifest_loader import find_files
from heed.sdk.loading import SUFFIX as MODULE_SUFFIX
from heed.worker.http.failures import SECRET_MISSING, CallFailed
from heed.worker.secrets import read_value


class ManifestSecrets:
    """The Secrets of a namespace in files and folders."""

    def __init__(self, paths: Sequence[Path], namespace: str) -> None:
        self._paths, self._namespace = paths, namespace

    async def read(self, refs: Sequence[SecretKeyRef]) -> Mapping[SecretKeyRef, str]:
        """The values of these keys. Raises CallFailed: SecretMissing."""
        return await asyncio.to_thread(self._read, refs) if refs else {}

    def _read(self, refs: Sequence[SecretKeyRef]) -> Mapping[SecretKeyRef, str]:
        known = {manifest.name: manifest.document for manifest in self._find()}
        found = {}
        for ref in refs:
            if ref.name not in known:
                message = f"there is no Secret {ref.name} among the manifests; add one of kind Secret"
                raise CallFailed(SECRET_MISSING, message, retryable=True)
            found[ref] = read_value(_value(known[ref.name], ref.key), ref)
        return found

    def _find(self) -> Iterator[Manifest]:
        for file in find_files(self._paths):
            if file.suffix == MODULE_SUFFIX:
                continue
            try:
                manifests = parse_manifests(file.read_text(encoding="utf-8"), str(file))
            except (OSError, UnicodeDecodeError, InvalidManifest):
                continue
            for item in manifests:
                namespace = (item.document.get("metadata") or {}).get("namespace", "default")
                if (item.document.get("kind"), namespace) == ("Secret", self._namespace):
                    yield item


def _value(secret: Mapping[str, Any], key: str) -> bytes:
    plain = (secret.get("stringData") or {}).get(key)
    if plain is not None:
        return str(plain).encode()
    try:
        return base64.b64decode(str((secret.get("data") or {}).get(key, "")), validate=True)
    except (binascii.Error, ValueError):
        return b""
