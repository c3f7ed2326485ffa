"""Secrets that the gateway may use: read one by one, only where an object names them, and kept for a short while.

Reading is all that the gateway may do with Secrets (the chart grants `get`, in the namespaces that it is told), and
only those count that their owner has labelled for it: who may write an EventSource must not thereby use any Secret.
No value is ever logged, or part of a status.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from heed import names
from heed.api.secret_refs import SecretKeyRef
from heed.errors import HeedError
from heed.gateway.objects import read_documents
from heed.gateway.part import GatewayContext
from heed.kube.client.client import CORE_API, ApiError, KubeApi
from heed.util.clock import loop_time

log = logging.getLogger("heed.gateway")
SECRET_TTL_S: Final = 60.0  # until a Secret that was found is read again
MISSING_SECRET_TTL_S: Final = 10.0  # the same of one that was not
REFRESH_INTERVAL_S: Final = 5.0  # between two reads of a Secret because of what it did not verify
READ_PATIENCE_S: Final = 3.0  # for the API server; senders of webhooks give up after some seconds
MAX_CACHED_SECRETS: Final = 10_000
STATUS_NOT_FOUND: Final = 404
STATUS_FORBIDDEN: Final = 403
Key = tuple[str, str]  # namespace and name


class SecretUnavailable(HeedError):
    """A Secret that cannot be used now. `reason` is CamelCase; no message holds a value."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Secrets(Protocol):
    """The Secrets of a gateway."""

    async def read(self, namespace: str, ref: SecretKeyRef) -> bytes:
        """The value of a key. Raises SecretUnavailable."""

    async def refresh(self, namespace: str, refs: Sequence[SecretKeyRef]) -> bool:
        """Read Secrets again that did not verify a delivery. Returns whether one of them may have changed."""


def open_secrets(context: GatewayContext) -> Secrets:
    """The Secrets of the API server where there is one, else those in files."""
    return FileSecrets(context.manifests) if context.api is None else ClusterSecrets(context.api)


@dataclass(slots=True)
class _CachedSecret:
    """A Secret as last read: its data, or why there are none."""

    data: Mapping[str, bytes]
    problem: SecretUnavailable | None
    read_at: float  # by the loop's clock


class ClusterSecrets:
    """Secrets of the cluster. While the API server does not answer, or not soon, what was last read counts on."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._cached: dict[Key, _CachedSecret] = {}
        self._reading: dict[Key, asyncio.Task[_CachedSecret]] = {}

    async def read(self, namespace: str, ref: SecretKeyRef) -> bytes:
        """The value of a key. Raises SecretUnavailable."""
        cached = self._cached.get((namespace, ref.name))
        if cached is None or loop_time() - cached.read_at > _ttl(cached):
            cached = await self._load(namespace, ref.name, cached)
        if cached.problem is not None:
            raise cached.problem
        return pick_value(cached.data, namespace, ref)

    async def refresh(self, namespace: str, refs: Sequence[SecretKeyRef]) -> bool:
        """Read Secrets again that did not verify a delivery, each every few seconds at most."""
        changed = False
        for name in dict.fromkeys(ref.name for ref in refs):
            before = self._cached.get((namespace, name))
            if before is None or loop_time() - before.read_at > REFRESH_INTERVAL_S:
                with suppress(SecretUnavailable):
                    after = await self._load(namespace, name, before)
                    changed |= before is None or before.data != after.data
        return changed

    async def _load(self, namespace: str, name: str, before: _CachedSecret | None) -> _CachedSecret:
        """A Secret, read again; what it was `before` where that takes long. Raises SecretUnavailable."""
        key = namespace, name
        if (reading := self._reading.get(key)) is None:
            reading = self._reading[key] = asyncio.create_task(self._keep(key, before))
            reading.add_done_callback(lambda _: self._reading.pop(key))
        try:
            async with asyncio.timeout(READ_PATIENCE_S):
                return await asyncio.shield(reading)  # several may wait for it
        except TimeoutError:
            if before is None or before.problem is not None:
                message = f"Secret {namespace}/{name} cannot be read now: the API server does not answer"
                raise SecretUnavailable("SecretUnreadable", message) from None
            before.read_at = max(before.read_at, loop_time() - SECRET_TTL_S + MISSING_SECRET_TTL_S)
            return before

    async def _keep(self, key: Key, before: _CachedSecret | None) -> _CachedSecret:
        found = await self._fetch(*key, before)
        while len(self._cached) >= MAX_CACHED_SECRETS:
            del self._cached[next(iter(self._cached))]
        self._cached[key] = found
        return found

    async def _fetch(self, namespace: str, name: str, before: _CachedSecret | None) -> _CachedSecret:
        try:
            body = (await self._api.get(f"{CORE_API}/namespaces/{namespace}/secrets/{name}")).body
            return _CachedSecret(read_secret(body), None, loop_time())
        except SecretUnavailable as problem:
            return _CachedSecret({}, problem, loop_time())
        except ApiError as error:
            if error.is_unanswered and before is not None and before.problem is None:
                log.warning("cannot read a Secret again, the last one counts", extra={"error": str(error)})
                return _CachedSecret(before.data, None, loop_time())
            return _CachedSecret({}, _problem(namespace, name, error), loop_time())


class FileSecrets:
    """Secrets in files and folders, read at each use: these are the few of a laptop."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    async def read(self, namespace: str, ref: SecretKeyRef) -> bytes:
        """The value of a key. Raises SecretUnavailable."""
        for body in read_documents(self._paths, "Secret"):
            if (body["metadata"]["namespace"], body["metadata"]["name"]) == (namespace, ref.name):
                return pick_value(read_secret(body), namespace, ref)
        message = f"there is no Secret {ref.name} in the manifests; add one of kind Secret"
        raise SecretUnavailable("SecretMissing", message)

    async def refresh(self, namespace: str, refs: Sequence[SecretKeyRef]) -> bool:
        """They are read at each use."""
        return False


def read_secret(body: Mapping[str, Any]) -> Mapping[str, bytes]:
    """The data of a Secret that is labelled for the gateway. Raises SecretUnavailable."""
    metadata = body["metadata"]
    if (metadata.get("labels") or {}).get(names.LABEL_GATEWAY_SECRET) != "true":
        message = (
            f'Secret {metadata["name"]} is not for the gateway; label it {names.LABEL_GATEWAY_SECRET}: "true"'
        )
        raise SecretUnavailable("SecretNotLabelled", message)
    try:
        data = {
            name: base64.b64decode(value, validate=True) for name, value in (body.get("data") or {}).items()
        }
    except (binascii.Error, TypeError, ValueError):
        raise SecretUnavailable("SecretInvalid", f"data of Secret {metadata['name']} are no base64") from None
    plain = {name: str(value).encode() for name, value in (body.get("stringData") or {}).items()}
    return {**data, **plain}


def pick_value(data: Mapping[str, bytes], namespace: str, ref: SecretKeyRef) -> bytes:
    """The value of a key, without the line break that an editor has left at its end. Raises SecretUnavailable."""
    value = data.get(ref.key, b"")
    value = value.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        message = f"Secret {namespace}/{ref.name} has no key {ref.key}, or it is empty; fill it in"
        raise SecretUnavailable("SecretMissing", message)
    return value


def _ttl(cached: _CachedSecret) -> float:
    return SECRET_TTL_S if cached.problem is None else MISSING_SECRET_TTL_S


def _problem(namespace: str, name: str, error: ApiError) -> SecretUnavailable:
    if error.status == STATUS_NOT_FOUND:
        return SecretUnavailable("SecretMissing", f"there is no Secret {namespace}/{name}; create it")
    if error.status == STATUS_FORBIDDEN:
        message = f"the gateway may not read Secret {namespace}/{name}; name the namespace in the chart's"
        return SecretUnavailable("SecretForbidden", f"{message} gateway.secrets")
    return SecretUnavailable("SecretUnreadable", f"Secret {namespace}/{name} cannot be read now: {error}")
