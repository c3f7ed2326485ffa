"""The watches of resource tasks: one informer for each kind that a task of any Agent waits for."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from heed import names
from heed.core.effects import AgentRef
from heed.kube.client.client import ApiError, KubeApi
from heed.kube.client.informer import Informer
from heed.kube.resources import manifest
from heed.kube.resources.kinds import ServedKind

log = logging.getLogger("heed.resources")
Body = Mapping[str, Any]
Listed = Mapping[ServedKind, Set[tuple[str, str]]]  # namespaces and names of a kind's objects


@dataclass(frozen=True, slots=True)
class ResourceUser:
    """Who holds watches: an Agent's runner. `observe` is told of its objects, and of their deletion.

    `missing` is told of a kind that cannot be found any more.
    """

    agent: AgentRef
    observe: Callable[[ServedKind, Body, bool], None]
    missing: Callable[[ServedKind], None]


@dataclass(slots=True)
class _Watch:
    informer: Informer
    running: "asyncio.Task[None]"
    users: dict[str, ResourceUser] = field(default_factory=dict)  # by the Agent's uid


class ResourceWatches:
    """All of them; `namespace` is the only one that is watched, or None for all."""

    def __init__(self, api: KubeApi, namespace: str | None = None) -> None:
        self._api, self._namespace = api, namespace
        self._watches: dict[ServedKind, _Watch] = {}

    @property
    def kinds(self) -> list[ServedKind]:
        """The kinds that are watched."""
        return list(self._watches)

    def hold(self, served: ServedKind, user: ResourceUser) -> None:
        """Watch a kind for a user, until it lets go. What is known of its objects is told at once."""
        watch = self._watches.get(served) or self._begin(served)
        if watch.users.get(user.agent.uid) is user:
            return
        watch.users[user.agent.uid] = user
        for body in list(watch.informer.objects.values()):
            if _is_of(body, user.agent):
                user.observe(served, body, False)

    def release(self, user: ResourceUser, kept: Iterable[ServedKind] = ()) -> None:
        """Let go of all kinds but those that are kept. A watch without users ends."""
        kept = set(kept)
        for served, watch in list(self._watches.items()):
            if served not in kept and watch.users.get(user.agent.uid) is user:
                del watch.users[user.agent.uid]
                if not watch.users:
                    watch.running.cancel()
                    del self._watches[served]

    def is_listed(self, served: ServedKind) -> bool:
        """Whether a kind that is held was listed whole."""
        watch = self._watches.get(served)
        return watch is not None and watch.informer.synced.is_set()

    async def wait_until_listed(self, served: ServedKind) -> None:
        """Until a kind that is held was listed whole."""
        if (watch := self._watches.get(served)) is not None:
            await watch.informer.synced.wait()

    def lists(self, served: ServedKind, namespace: str, name: str) -> bool:
        """Whether an object is known, and so would be missed."""
        watch = self._watches.get(served)
        return watch is not None and (namespace, name) in watch.informer.objects

    async def relist(self) -> Listed:
        """Resync: list every watched kind, and tell of each object again. Returns what was listed whole."""
        listed: dict[ServedKind, set[tuple[str, str]]] = {}
        for served, watch in list(self._watches.items()):
            found = set[tuple[str, str]]()
            try:
                async for page in self._api.pages(served.path(self._namespace), _SELECTED):
                    for body in page:
                        found.add((body["metadata"]["namespace"], body["metadata"]["name"]))
                        self._tell(served, watch, body, False)
            except ApiError as error:
                log.warning("cannot list objects", extra={"kind": str(served.kind), "error": str(error)})
            else:
                listed[served] = found
            if watch.running.done() and self._watches.get(served) is watch:
                self._begin(served).users.update(watch.users)
        return listed

    def close(self) -> None:
        """End all watches."""
        for watch in self._watches.values():
            watch.running.cancel()
        self._watches.clear()

    def _begin(self, served: ServedKind) -> _Watch:
        informer = Informer(
            self._api,
            served.path(self._namespace),
            observe=lambda body, deleted: self._tell(served, watch, body, deleted),
            query=_SELECTED,
            failed=partial(self._failed, served),
        )
        running = asyncio.create_task(informer.run(), name=f"watch {served.resource}")
        running.add_done_callback(_ended)
        watch = self._watches[served] = _Watch(informer, running)
        return watch

    def _tell(self, served: ServedKind, watch: _Watch, body: Body, deleted: bool) -> None:
        user = watch.users.get(manifest.owner_uid(body))
        if user is not None and _is_of(body, user.agent):
            user.observe(served, body, deleted)

    def _failed(self, served: ServedKind, error: ApiError) -> None:
        """The kind may be gone; who uses it asks."""
        if error.status == 404 and (watch := self._watches.get(served)) is not None:
            for user in list(watch.users.values()):
                user.missing(served)


def _ended(running: "asyncio.Task[None]") -> None:
    """Log a watch that ended by itself: a bug. The next resync lists all the same, and begins another one."""
    if not running.cancelled() and (error := running.exception()) is not None:
        log.error("a watch has ended", extra={"watch": running.get_name()}, exc_info=error)


_SELECTED = {"labelSelector": names.LABEL_RESOURCE_OF}


def _is_of(body: Body, agent: AgentRef) -> bool:
    """Whether an object belongs to an Agent; one of another namespace may name any owner."""
    return body["metadata"].get("namespace") == agent.namespace and manifest.owner_uid(body) == agent.uid
