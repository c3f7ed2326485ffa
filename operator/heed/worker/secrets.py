"""Secrets of calls, as the kubelet has put them into the worker's pod: a file for each key, read at each call."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from heed.api.secret_refs import SecretKeyRef
from heed.worker.http.failures import SECRET_MISSING, CallFailed

SECRETS_FOLDER: Final = "/etc/heed/secrets"


class MountedSecrets:
    """Secrets in a folder: `<secret>/<key>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def read(self, refs: Sequence[SecretKeyRef]) -> Mapping[SecretKeyRef, str]:
        """The values of these keys. Raises CallFailed: SecretMissing."""
        return await asyncio.to_thread(self._read, refs) if refs else {}

    def _read(self, refs: Sequence[SecretKeyRef]) -> Mapping[SecretKeyRef, str]:
        found = {}
        for ref in refs:
            try:
                value = (self._folder / ref.name / ref.key).read_bytes()
            except OSError:
                value = b""
            found[ref] = read_value(value, ref)
        return found


def read_value(value: bytes, ref: SecretKeyRef) -> str:
    """A value as text, without the line break that an editor has left at its end. Raises CallFailed: SecretMissing."""
    text = value.decode(errors="replace").removesuffix("\n").removesuffix("\r")
    if not text:
        message = f"Secret {ref.name} has no key {ref.key}, or it is empty; fill it in"
        raise CallFailed(SECRET_MISSING, message, retryable=True)
    return text
