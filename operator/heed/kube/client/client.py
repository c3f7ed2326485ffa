"""A small client of the API server: plain JSON, and one error type for every failure."""

import asyncio
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.incluster_config import SERVICE_HOST_ENV_NAME as SERVICE_HOST

from heed import names
from heed.errors import HeedError, InvalidSettings
from heed.kube.client.deep_json import loads
from heed.util.http_proxy import proxy_for

REQUEST_TIMEOUT_S = 15.0
WATCH_SERVER_TIMEOUT_S = 270  # seconds after which the server ends a watch in good order
WATCH_CLIENT_TIMEOUT_S = 300.0  # after which it is given up: a connection may be dead without a sign
TLS_CLOSE_S = 0.25  # seconds
PAGE_SIZE = 500
JSON_CONTENT_TYPE = "application/json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
OBJECT_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
FIELD_MANAGER = "heed"
HEED_API = f"/apis/{names.API_VERSION}"
BATCH_API = "/apis/batch/v1"
APPS_API = "/apis/apps/v1"
CORE_API = "/api/v1"
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DEFAULT_NAMESPACE = "default"
KUBECONFIG_LOG = "kubernetes.aio.config.kube_config"
_NAME = re.compile(r"[-a-z0-9.]{1,253}")


class ApiError(HeedError):
    """The API server refused a request (`status` is HTTP's), or did not answer (0: it may have been carried out).

    `reason` is that of the answer's Status (meta/v1 StatusReason), where it has one.
    """

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(f"{status}: {message}" if status else message)
        self.status, self.message, self.reason = status, message, reason

    @property
    def already_exists(self) -> bool:
        """Whether a create met AlreadyExists; a 409 may also be a conflict on a ResourceQuota."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def is_unanswered(self) -> bool:
        """Whether there was no answer or a server error (5xx): the request may have been carried out nevertheless."""
        return self.status == 0 or self.status >= 500


Answered = Callable[[str, int, float], None]  # method, HTTP status (0: no answer), seconds


def unobserved(method: str, status: int, seconds: float) -> None:
    """No metrics."""


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A decoded response and its size in bytes."""

    body: dict[str, Any]
    size: int


def resource_version(body: Mapping[str, Any]) -> int:
    """An object's resourceVersion: those of one kind grow with every write (Kubernetes 1.35, KEP-5504)."""
    text = str(body["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0


async def api_client(kubeconfig: str | None = None, context: str | None = None) -> client.ApiClient:
    """A client by a kubeconfig, or a context of one, else as the pod's service account, else by the user's kubeconfig.

    This is the order of client-go. Raises InvalidSettings.
    """
    configuration = client.Configuration()
    logging.getLogger(KUBECONFIG_LOG).setLevel(logging.ERROR)  # what it warns of is raised, too
    try:
        if _is_in_pod(kubeconfig, context):
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig, context=context, client_configuration=configuration
            )
    except (ConfigException, OSError) as error:
        message = f"no cluster to talk to: {error}; set KUBECONFIG, or run without a cluster with `heed dev`"
        raise InvalidSettings(message) from None
    configuration.connection_pool_maxsize = 100
    # A kubeconfig's own proxy-url comes first. aiohttp's own reading of the environment knows no networks.
    configuration.proxy = configuration.proxy or proxy_for(configuration.host, os.environ)
    configuration.client_session_kwargs = {"trust_env": False}
    return client.ApiClient(configuration)


def find_namespace(kubeconfig: str | None = None, context: str | None = None) -> str:
    """The namespace that `api_client` is in: that of the context, or of the pod; "default" where neither names one."""
    if _is_in_pod(kubeconfig, context):
        with suppress(OSError):
            return POD_NAMESPACE.read_text().strip() or DEFAULT_NAMESPACE
        return DEFAULT_NAMESPACE
    with suppress(ConfigException, OSError):
        file = kubeconfig or os.environ.get("KUBECONFIG")  # the library reads that at its import
        contexts, current = config.list_kube_config_contexts(config_file=file)  # type: ignore[no-untyped-call]
        chosen = next((item for item in contexts if item["name"] == context), current)
        return str(chosen["context"].get("namespace") or DEFAULT_NAMESPACE)
    return DEFAULT_NAMESPACE


def _is_in_pod(kubeconfig: str | None, context: str | None) -> bool:
    """Whether a pod's service account counts, as nothing names a kubeconfig."""
    return not (kubeconfig or context or os.environ.get("KUBECONFIG")) and SERVICE_HOST in os.environ


class KubeApi:
    """A connection to the API server. `observe` is told of every answer."""

    def __init__(self, client_: client.ApiClient, observe: Answered = unobserved) -> None:
        self._client, self._observe = client_, observe

    @classmethod
    async def connect(
        cls, kubeconfig: str | None = None, context: str | None = None, *, observe: Answered = unobserved
    ) -> Self:
        """Connect as `api_client` does. Raises InvalidSettings."""
        return cls(await api_client(kubeconfig, context), observe)

    @property
    def proxy(self) -> str | None:
        """The URL of the HTTP proxy to the API server, or None."""
        found: str | None = self._client.configuration.proxy
        return found

    async def close(self) -> None:
        """Close the connections, and wait TLS_CLOSE_S for TLS to shut down."""
        await self._client.close()  # type: ignore[no-untyped-call]
        await asyncio.sleep(TLS_CLOSE_S)

    async def get(
        self, path: str, query: Mapping[str, str] | None = None, *, accept: str = JSON_CONTENT_TYPE
    ) -> ApiResponse:
        """GET; OBJECT_METADATA_ONLY leaves out spec and status. Raises ApiError."""
        return await self._request("GET", path, query=query, accept=accept)

    async def list(
        self, path: str, query: Mapping[str, str] | None = None, *, accept: str = JSON_CONTENT_TYPE
    ) -> list[dict[str, Any]]:
        """GET all items of a collection; METADATA_ONLY leaves out spec and status. Raises ApiError."""
        return [item async for page in self.pages(path, query, accept=accept) for item in page]

    async def pages(
        self, path: str, query: Mapping[str, str] | None = None, *, accept: str = JSON_CONTENT_TYPE
    ) -> AsyncIterator[Sequence[dict[str, Any]]]:
        """The items of a collection page by page, to bound memory. Raises ApiError."""
        page = {**(query or {}), "limit": str(PAGE_SIZE)}
        while True:
            body = (await self._request("GET", path, query=page, accept=accept)).body
            yield body["items"] or []  # no metadata at all is null
            if not (more := body["metadata"].get("continue")):
                return
            page["continue"] = more

    async def watch(
        self, path: str, version: str, query: Mapping[str, str] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """The events of a collection after a resourceVersion, with bookmarks, until the server ends the watch.

        Raises ApiError: 410 where the version is too old, which may also be what an event says.
        """
        asked = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": version, **(query or {})}
        asked["timeoutSeconds"] = str(WATCH_SERVER_TIMEOUT_S)
        timeout = aiohttp.ClientTimeout(total=WATCH_CLIENT_TIMEOUT_S, sock_connect=REQUEST_TIMEOUT_S)
        try:
            parameters = await self._client.param_serialize(
                "GET",
                path,
                query_params=list(asked.items()),
                header_params={"Accept": JSON_CONTENT_TYPE},
                auth_settings=["BearerToken"],
            )
            called = await self._client.call_api(
                *parameters, _request_timeout=timeout, _preload_content=False
            )
            response: aiohttp.ClientResponse = called.response
            async with response:
                if response.status >= 400:
                    _answer(response.status, await response.read())
                async for line in _lines(response):
                    yield _event(line)
        except ApiException as error:
            raise ApiError(error.status or 0, str(error.reason)) from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ApiError(0, f"the watch broke off: {type(error).__name__}: {error}") from None

    async def create(self, path: str, body: Mapping[str, Any]) -> ApiResponse:
        """POST with strict field validation: unknown fields are refused, not dropped. Raises ApiError."""
        query = {"fieldValidation": "Strict"}
        return await self._request("POST", path, query=query, body=body, content_type=JSON_CONTENT_TYPE)

    async def merge(self, path: str, patch: Mapping[str, Any]) -> ApiResponse:
        """PATCH with a JSON merge patch; `metadata.resourceVersion` in it is a precondition. Raises ApiError."""
        return await self._request("PATCH", path, body=patch, content_type=MERGE_PATCH)

    async def apply(self, path: str, body: Mapping[str, Any]) -> ApiResponse:
        """Server-side apply, strict, as the manager FIELD_MANAGER; what others have set in its fields is overwritten.

        `metadata.uid` is a precondition. Raises ApiError.
        """
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        return await self._request("PATCH", path, query=query, body=body, content_type=APPLY_PATCH)

    async def delete(self, path: str, uid: str | None = None) -> ApiResponse:
        """DELETE with background propagation; `uid` is a precondition. Raises ApiError."""
        options = {"propagationPolicy": "Background"} | ({"preconditions": {"uid": uid}} if uid else {})
        return await self._request("DELETE", path, body=options, content_type=JSON_CONTENT_TYPE)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str | None = None,
        accept: str = JSON_CONTENT_TYPE,
    ) -> ApiResponse:
        headers = {"Accept": accept} | ({"Content-Type": content_type} if content_type else {})
        began = time.monotonic()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                parameters = await self._client.param_serialize(
                    method,
                    path,
                    query_params=list((query or {}).items()),
                    header_params=headers,
                    body=body,
                    auth_settings=["BearerToken"],
                )
                response = (await self._client.call_api(*parameters, _preload_content=False)).response
                content = await response.read()
        except ApiException as error:
            self._observe(method, error.status or 0, time.monotonic() - began)
            raise ApiError(error.status or 0, str(error.reason)) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._observe(method, 0, time.monotonic() - began)
            raise ApiError(0, f"the API server does not answer: {type(error).__name__}: {error}") from None
        self._observe(method, response.status, time.monotonic() - began)
        return _answer(response.status, content)


def _answer(status: int, content: bytes) -> ApiResponse:
    try:
        body = loads(content)
    except ValueError:
        body = {"message": content[:200].decode(errors="replace")}
    if status >= 400:
        raise ApiError(status, str(body.get("message") or body), str(body.get("reason") or ""))
    return ApiResponse(body, len(content))


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of a body that goes on, of any length."""
    begun = bytearray()
    async for chunk in response.content.iter_any():
        first, *others = chunk.split(b"\n")
        begun += first
        for other in others:
            yield bytes(begun)
            begun = bytearray(other)


def _event(line: bytes) -> dict[str, Any]:
    event: dict[str, Any] = loads(line)
    if event["type"] == "ERROR":
        status = event["object"]
        raise ApiError(
            int(status.get("code") or 0), str(status.get("message")), str(status.get("reason") or "")
        )
    return event


def agent_path(namespace: str, name: str, subresource: str = "") -> str:
    """The API path of an Agent, or of its status."""
    return f"{HEED_API}/namespaces/{namespace}/{names.PLURAL}/{name}" + (
        f"/{subresource}" if subresource else ""
    )


def agents_path(namespace: str | None) -> str:
    """The API path of a namespace's Agents, or of all."""
    return objects_path(names.PLURAL, namespace)


def objects_path(plural: str, namespace: str | None) -> str:
    """The API path of a namespace's objects of another kind of Heed's, or of all."""
    return f"{HEED_API}/namespaces/{namespace}/{plural}" if namespace else f"{HEED_API}/{plural}"


def jobs_path(namespace: str | None, name: str = "") -> str:
    """The API path of one Job, a namespace's Jobs, or all.

    Raises ApiError 404 for what can name no Job: names come from statuses too, and `..` would lead to other namespaces.
    """
    if namespace is None:
        return f"{BATCH_API}/jobs"
    if name and _NAME.fullmatch(name) is None:
        raise ApiError(404, f"no Job can be named {name!r}")
    return f"{BATCH_API}/namespaces/{namespace}/jobs" + (f"/{name}" if name else "")
