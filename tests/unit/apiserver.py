"""An API server in this process: objects with versions behind real HTTP, as far as the operator asks for them."""

from __future__ import annotations

import asyncio
import copy
import itertools
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

from aiohttp import web
from kubernetes.aio import client

from heed.kube.client.client import KubeApi
from heed.kube.webhook.ca import renew_keys
from tests.builders.values import merged

Object = dict[str, Any]
Key = tuple[str, str, str, str]  # group and version, plural, namespace, name
Refusal = int | tuple[int, Object]
A = TypeVar("A", bound=KubeApi)
CREATED = "2026-11-01T12:00:00Z"
_PATH = re.compile(
    r"/(?P<group>api/v1|apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>status))?"
)
_SELECTOR = re.compile(r"(?P<key>[^ =]+)(?: in \((?P<values>.*)\)|=(?P<value>.*))?")


class ApiServer:
    """Reads, lists, creates, merges and deletes. `refuse` is asked first: a status, or a status and a body."""

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[Object] = []  # of what was written
        self.media: list[tuple[str, str]] = []  # of each request: what is accepted, and what it is itself
        self.refuse: Callable[[str, str], Refusal | None] = lambda method, path: None
        self.open = asyncio.Event()  # answers wait for it
        self.open.set()
        self.host = ""
        self._versions, self._uids = itertools.count(1), itertools.count(1)
        self._clients: list[KubeApi] = []

    def add(self, path: str, **body: Any) -> Object:
        """An object that is there already; returned as it is."""
        key, _ = _key(path)
        metadata = {"name": key[3], "uid": f"uid-of-{key[3]}", "generation": 1, "creationTimestamp": CREATED}
        if key[2]:
            metadata["namespace"] = key[2]
        self.objects[key] = {**body, "metadata": {**metadata, **body.get("metadata", {})}}
        return self._touched(key)

    def at(self, path: str) -> Object:
        """The object of a path, now."""
        return copy.deepcopy(self.objects[_key(path)[0]])

    def edit(self, path: str, **patch: Any) -> Object:
        """Somebody else writes, all of it."""
        key, _ = _key(path)
        self.objects[key] = merged(self.objects[key], patch)
        return self._touched(key)

    def remove(self, path: str) -> None:
        """Somebody else deletes."""
        del self.objects[_key(path)[0]]

    def of(self, plural: str) -> list[Object]:
        """All objects of a kind, in the order in which they came."""
        return [copy.deepcopy(item) for key, item in self.objects.items() if key[1] == plural]

    def count(self, method: str, part: str = "") -> int:
        """How often was asked for something."""
        return sum(asked == method and part in path for asked, path in self.asked)

    def connect(self, kind: type[A], **options: Any) -> A:
        """A client of its own."""
        configuration = client.Configuration()
        configuration.host, configuration.ca_cert_data = self.host, _some_authority()
        made = kind(client.ApiClient(configuration), **options)
        self._clients.append(made)
        return made

    async def disconnect(self) -> None:
        """Without the moment that TLS would need."""
        for item in self._clients:
            await item._client.close()  # type: ignore[no-untyped-call]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        body = await request.json() if request.can_read_body else None
        self.media.append((request.headers["Accept"], request.headers.get("Content-Type", "")))
        self.asked.append((request.method, request.path_qs))
        if body is not None:
            self.bodies.append(body)
        await self.open.wait()
        refusal = self.refuse(request.method, request.path)
        if refusal is not None:
            status, said = refusal if isinstance(refusal, tuple) else (refusal, {"message": f"no {refusal}"})
            return web.json_response(said, status=status)
        status, answer = self._answer(request.method, request, body)
        return web.json_response(answer, status=status)

    def _answer(self, method: str, request: web.Request, body: Any) -> tuple[int, Object]:
        key, part = _key(request.path)
        if method == "POST":
            return self._create(key, body)
        if not key[3]:
            return 200, self._list(key, request.query)
        if (found := self.objects.get(key)) is None:
            return _status(404, "NotFound", f'{key[1]} "{key[3]}" not found')
        if method == "PATCH":
            return self._merge(key, found, body, part)
        if method == "DELETE":
            wanted = (body or {}).get("preconditions", {}).get("uid")
            if wanted not in (None, found["metadata"]["uid"]):
                return _status(409, "Conflict", "the UID in the precondition is not that of the object")
            del self.objects[key]
        return 200, copy.deepcopy(found)

    def _create(self, key: Key, body: Object) -> tuple[int, Object]:
        key = (*key[:3], body["metadata"]["name"])
        if key in self.objects:
            return _status(409, "AlreadyExists", f'{key[1]} "{key[3]}" already exists')
        made = {"uid": f"uid-{next(self._uids)}", "generation": 1, "creationTimestamp": CREATED}
        self.objects[key] = {**body, "metadata": {"namespace": key[2], **body["metadata"], **made}}
        return 201, self._touched(key)

    def _merge(self, key: Key, found: Object, patch: Object, part: str) -> tuple[int, Object]:
        metadata = patch.get("metadata") or {}
        if any(metadata.get(name, found["metadata"][name]) != found["metadata"][name] for name in _FENCES):
            return _status(409, "Conflict", "the object has been modified")
        before = found.get("spec")
        if part:
            patch = {"status": patch["status"]}
        self.objects[key] = new = merged(found, patch)
        if new.get("spec") != before:
            new["metadata"] = {**new["metadata"], "generation": new["metadata"]["generation"] + 1}
        return 200, self._touched(key)

    def _list(self, key: Key, query: Any) -> Object:
        group, plural, namespace, _ = key
        found = [
            copy.deepcopy(item)
            for (a_group, a_plural, a_namespace, _), item in self.objects.items()
            if (a_group, a_plural) == (group, plural) and namespace in ("", a_namespace)
            if _selected(item, query.get("labelSelector"))
        ]
        begin = int(query.get("continue", 0))
        end = begin + int(query.get("limit", len(found)))
        return {"items": found[begin:end], "metadata": {"continue": str(end)} if end < len(found) else {}}

    def _touched(self, key: Key) -> Object:
        found = self.objects[key]
        found["metadata"] = {**found["metadata"], "resourceVersion": str(next(self._versions))}
        return copy.deepcopy(found)


_FENCES = ("uid", "resourceVersion")


@cache
def _some_authority() -> str:
    """Nothing here has TLS, and to load all that the system trusts takes longer than a test."""
    keys = renew_keys(None, ["nobody"], datetime.now(UTC))
    assert keys is not None
    return keys.bundle_pem.decode()


def _key(path: str) -> tuple[Key, str]:
    found = _PATH.fullmatch(path)
    assert found is not None, path
    group, namespace, plural, name, sub = found.group("group", "namespace", "plural", "name", "sub")
    return (group, plural, namespace or "", name or ""), sub or ""


def _selected(item: Object, selector: str | None) -> bool:
    if not selector:
        return True
    found = _SELECTOR.fullmatch(selector)
    assert found is not None, selector
    value = (item["metadata"].get("labels") or {}).get(found["key"])
    wanted = found["value"] or found["values"]
    return value is not None and (wanted is None or value in wanted.split(","))


def _status(code: int, reason: str, message: str) -> tuple[int, Object]:
    return code, {"kind": "Status", "code": code, "reason": reason, "message": message}


@asynccontextmanager
async def api_server() -> AsyncIterator[ApiServer]:
    """A server on the loopback, and the end of it and its clients."""
    server, application = ApiServer(), web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        server.open.set()
        await server.disconnect()
        for _ in range(4):  # rounds in which who came last is let in: who is on the way would never be closed
            await asyncio.sleep(0)
        await runner.cleanup()
