"""An informer: lists a collection, watches it from there on, and keeps its objects, for ever.

For processes without kopf. A watch that ends goes on from where it was; where that is too old, or after an error, the
collection is listed again, which also finds what was deleted meanwhile. In an outage what was last known stays.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from heed.kube.client.client import PAGE_SIZE, ApiError, KubeApi
from heed.util.backoff import Backoff

log = logging.getLogger("heed.informer")
RELIST_BACKOFF: Final = Backoff(first_s=0.5, last_s=15.0, jitter=0.5)
WATCH_PAUSE_S: Final = 0.5  # between two watches, also where each ends at once
STATUS_GONE: Final = 410
Body = Mapping[str, Any]
Key = tuple[str, str]  # namespace and name
Observe = Callable[[Body, bool], None]  # an object as it is, or as it was when it was deleted


def unobserved_error(error: ApiError) -> None:
    """Errors are of no interest beyond the log."""


def unobserved_object(body: Body, deleted: bool) -> None:
    """Only the informer's own map is of interest."""


class Informer:
    """The objects of the collection at an API path, as last seen: `objects`, by namespace and name.

    `observe` is told of each object that is new or other than before, and of each that is gone (True), in the event
    loop. `query` may hold selectors. `failed` is told of each error that ends a list or a watch.
    """

    def __init__(
        self,
        api: KubeApi,
        path: str,
        observe: Observe = unobserved_object,
        query: Mapping[str, str] | None = None,
        failed: Callable[[ApiError], None] = unobserved_error,
    ) -> None:
        self.objects: dict[Key, Body] = {}
        self.synced = asyncio.Event()  # once it was listed whole
        self._api, self._path, self._observe, self._query = api, path, observe, dict(query or {})
        self._failed = failed
        self._error: ApiError | None = None
        self._version = ""

    def missing(self) -> str | None:
        """Why the objects are not known yet, or None."""
        if self.synced.is_set():
            return None
        return (
            f"cannot list {self._path}: {self._error}" if self._error else f"{self._path} is not listed yet"
        )

    async def run(self) -> None:
        """List and watch until cancelled."""
        failures = 0
        while True:
            try:
                await self._list()
                failures = 0
                while True:
                    await self._watch()
                    await asyncio.sleep(WATCH_PAUSE_S)
            except ApiError as error:
                self._error = error
                self._failed(error)
                failures += error.status != STATUS_GONE or failures > 0
            delay = RELIST_BACKOFF.delay(failures)
            extra = {"path": self._path, "error": str(self._error), "retry_in": round(delay, 1)}
            log.log(
                logging.WARNING if failures else logging.INFO,
                "watch ended, listing objects again",
                extra=extra,
            )
            await asyncio.sleep(delay)

    async def _list(self) -> None:
        """List all pages; what is not among them any more is gone."""
        found: dict[Key, Body] = {}
        query = {**self._query, "limit": str(PAGE_SIZE)}
        while True:
            page = (await self._api.get(self._path, query)).body
            found |= {_key(item): item for item in page["items"] or []}
            if not (more := page["metadata"].get("continue")):
                break
            query["continue"] = more
        for key in self.objects.keys() - found.keys():
            self._tell(self.objects.pop(key), deleted=True)
        for key, body in found.items():
            self._put(key, body)
        self._version, self._error = str(page["metadata"]["resourceVersion"]), None
        self.synced.set()

    async def _watch(self) -> None:
        """Follow the events of one watch. Raises ApiError."""
        async for event in self._api.watch(self._path, self._version, self._query):
            body = event["object"]
            if event["type"] == "DELETED":
                self.objects.pop(_key(body), None)
                self._tell(body, deleted=True)
            elif event["type"] != "BOOKMARK":
                self._put(_key(body), body)
            self._version = body["metadata"]["resourceVersion"]

    def _put(self, key: Key, body: Body) -> None:
        before = self.objects.get(key)
        self.objects[key] = body
        if before is None or _version(before) != _version(body):
            self._tell(body, deleted=False)

    def _tell(self, body: Body, *, deleted: bool) -> None:
        try:
            self._observe(body, deleted)
        except Exception as error:  # a bug of the observer's: one object must not end the watch of all
            extra = {"path": self._path, "object": "/".join(_key(body)), "error": str(error)}
            log.error("cannot take note of an object", extra=extra, exc_info=error)


def _key(body: Body) -> Key:
    metadata = body["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _version(body: Body) -> tuple[str, str]:
    return body["metadata"]["uid"], body["metadata"]["resourceVersion"]
