"""The TaskRunner for resource tasks: creates objects, watches them, reports what CEL says of them, deletes them."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from heed import names
from heed.api.status import PendingTask
from heed.core.effects import AgentRef, TaskEnd, TaskWork
from heed.core.tasks.losses import RESOURCE_LOST
from heed.core.tasks.resource import (
    REASON_FORBIDDEN,
    REASON_KIND_UNKNOWN,
    ObjectKind,
    ResourceTarget,
    failed_end,
)
from heed.engine.ports import TaskOwner
from heed.errors import TaskRefused, TaskUnavailable
from heed.kube.client.client import ApiError, KubeApi
from heed.kube.resources import manifest
from heed.kube.resources.attempts import ResourceAttempts
from heed.kube.resources.deletions import ObjectDeletions
from heed.kube.resources.kinds import KindCache, ServedKind
from heed.kube.resources.progress import ProgressPublisher, PublishEvent
from heed.kube.resources.refusals import explain_unserved, not_opted_in, opt_in, refuse_object
from heed.kube.resources.searches import Searches
from heed.kube.resources.watches import Listed, ResourceUser, ResourceWatches
from heed.util.backoff import Backoff
from heed.util.clock import timestamp

log = logging.getLogger("heed.resources")
CONFIRM_DELAY_S: Final = 2.0  # seconds between two looks before an object or a kind counts as gone
UNCERTAIN: Final = (
    REASON_KIND_UNKNOWN,
    REASON_FORBIDDEN,
)  # what an API server that has just started may say, too
UNKNOWN_GRACE_S: Final = 30.0  # seconds that an object is kept at least whose task was never seen pending
SEARCH_BACKOFF: Final = Backoff(first_s=5.0, last_s=60.0)
Body = Mapping[str, Any]


class ResourceRunner:
    """The objects of one Agent's resource tasks; the Agent's loop is the `owner` of the tasks.

    All Agents share the `watches` and the `served` kinds. `leftover` are kinds of which objects may be left whose
    retention is not over: those of the Agent's manifest.
    """

    def __init__(
        self,
        api: KubeApi,
        agent: AgentRef,
        owner: TaskOwner,
        publish: PublishEvent,
        *,
        watches: ResourceWatches,
        served: KindCache,
        leftover: Iterable[ObjectKind] = (),
    ) -> None:
        self._api, self._agent, self._owner = api, agent, owner
        self._watches, self._kinds, self._leftover = watches, served, tuple(dict.fromkeys(leftover))
        self._user = ResourceUser(agent, self.observe, self._recheck)
        self._progress = ProgressPublisher(agent, publish)
        self._attempts = ResourceAttempts(agent, owner)
        self._deletions = ObjectDeletions(api, agent, owner)
        self._held: dict[str, ServedKind] = {}  # by attempt
        self._starts: dict[str, asyncio.Event] = {}
        self._searches = Searches(agent)
        self._closed = False

    # ── the port ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self, work: TaskWork, *, look_first: bool = False) -> None:
        """Create the object of a task; one that is there already is tolerated if it is the task's.

        Nothing needs to be looked for first: the name is the task's own. Raises TaskRefused, TaskUnavailable.
        """
        target = self._attempts.target(work.attempt_id)
        if target is None:
            return  # the task is over
        with self._starting(work.attempt_id):
            try:
                await self._create(work, target)
            except TaskRefused as refused:
                if refused.reason not in UNCERTAIN:
                    raise
                await asyncio.sleep(CONFIRM_DELAY_S)
                await self._create(work, target)

    async def cancel(self, attempt_id: str) -> None:
        """Delete the task's object by uid; another object of its name stays. Raises TaskUnavailable.

        Where there is no right to, which an administrator may have taken back, the object stays, and the log says so.
        """
        if (starting := self._starts.get(attempt_id)) is not None:
            await starting.wait()  # else it may come after its deletion
        served = await self._served_of(attempt_id)
        if served is None:
            return
        try:
            body = await self._named(served, attempt_id)
            if body is not None and manifest.is_of(body, self._agent, attempt_id):
                path = served.path(self._agent.namespace, body["metadata"]["name"])
                await self._api.delete(path, body["metadata"]["uid"])
        except ApiError as error:
            if error.status == 403:
                extra = {"agent": str(self._agent), "task": attempt_id, "error": str(error)}
                log.warning("cannot delete an object", extra={**extra, "remedy": opt_in(served)})
            elif error.status != 404:
                raise TaskUnavailable(str(error)) from error

    async def resume(self, attempt_ids: Sequence[str]) -> None:
        """Watch the objects of started tasks again; those without one are reported lost."""
        for attempt_id in attempt_ids:
            target = self._attempts.target(attempt_id)
            if target is None:
                continue
            try:
                self._hold(attempt_id, await self._kinds.find(target.kind))
            except (
                TaskRefused,
                TaskUnavailable,
            ):  # an API that is down must not keep the Agent from its other work
                self._search(attempt_id)
                continue
            self._search_unlisted(attempt_id)
        for kind in self._leftover:
            self._searches.begin(f"leftover {kind}", self._tidy(kind))

    def observe(self, served: ServedKind, body: Body, deleted: bool = False) -> None:
        """Note an object of the Agent: report what it says of its task, and delete it after its retention.

        One that is `deleted` may only have lost its label, and so be out of the watch's sight.
        """
        if self._closed or (attempt_id := self._attempts.attempt_of(body)) is None:
            return
        if deleted:
            self._deletions.forget(body["metadata"]["uid"])
            if self._owner.waits(attempt_id):
                self._search(attempt_id)
            return
        if self._owner.pending_tasks is None:
            return
        record = self._attempts.pending().get(attempt_id)
        if record is not None and record.phase != "Abandoned":
            self._judge(attempt_id, record, served, body)
        else:
            self._deletions.schedule(attempt_id, served, body, UNKNOWN_GRACE_S)

    # ── resync ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def conclude_resync(self, listed: Listed) -> None:
        """After a list of all that is watched: look for the objects that were not in it, let go of needless watches."""
        pending = self._attempts.pending()
        for attempt_id, record in pending.items():
            served = self._held.get(attempt_id)
            found = None if served is None else listed.get(served)
            name = (self._agent.namespace, manifest.object_name(self._agent, attempt_id))
            if record.phase == "Started" and (served is None or (found is not None and name not in found)):
                self._search(attempt_id)
        self._held = {
            attempt_id: served for attempt_id, served in self._held.items() if attempt_id in pending
        }
        self._attempts.forget_others(pending)
        self._watches.release(self._user, self._held.values())

    def close(self) -> None:
        """Stop, for good; another runner's `resume` goes on."""
        self._closed = True
        self._progress.close()
        self._watches.release(self._user)
        self._deletions.close()
        self._searches.close()

    # ── starting ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _create(self, work: TaskWork, target: ResourceTarget) -> None:
        """Create the object, or find it there. Raises TaskRefused, TaskUnavailable."""
        served = await self._kinds.find(target.kind)
        if not await self._kinds.may_watch(served, self._agent.namespace):
            raise not_opted_in(work.task, served)
        self._hold(work.attempt_id, served)
        try:
            created = await self._api.create(
                served.path(self._agent.namespace), manifest.object_manifest(work, target.deletion)
            )
        except ApiError as error:
            await self._tolerate(work, served, error)
        else:
            self.observe(served, created.body)
            if not self._watches.is_listed(served):  # it may go before the list, which then never shows it
                self._search_unlisted(work.attempt_id)

    async def _tolerate(self, work: TaskWork, served: ServedKind, error: ApiError) -> None:
        """Accept a failed create where the object is there, and is the task's. Raises TaskRefused, TaskUnavailable.

        A quota, a webhook, or the server's load refuses before the name is looked up.
        """
        try:
            found = await self._named(served, work.attempt_id)
        except ApiError as unread:
            if error.status == unread.status == 403 and (refused := refuse_object(work.task, served, error)):
                raise refused from None
            raise TaskUnavailable(f"{error}; whether there is an object already: {unread}") from error
        if found is not None and manifest.is_of(found, self._agent, work.attempt_id):
            self.observe(served, found)
            return
        if error.status == 409 and found is not None:
            name = found["metadata"]["name"]
            message = (
                f"there is a {served.kind.kind} {name} that is not Heed's; delete it or rename the agent"
            )
            raise TaskRefused("NameTaken", message)
        if error.status == 404 and not await self._kinds.is_served(served.kind):
            raise explain_unserved(served.kind)
        if error.status != 409 and (refused := refuse_object(work.task, served, error)) is not None:
            raise refused from None
        raise TaskUnavailable(str(error)) from error

    @contextmanager
    def _starting(self, attempt_id: str) -> Iterator[None]:
        """Mark a start in flight, which a deletion waits for."""
        over = self._starts[attempt_id] = asyncio.Event()
        try:
            yield
        finally:
            over.set()
            del self._starts[attempt_id]

    def _hold(self, attempt_id: str, served: ServedKind) -> None:
        if not self._closed:
            self._held[attempt_id] = served
            self._watches.hold(served, self._user)

    # ── what is known of a task ─────────────────────────────────────────────────────────────────────────────────────

    async def _served_of(self, attempt_id: str) -> ServedKind | None:
        """The kind of a task's object, where it is known and served. Raises TaskUnavailable."""
        if (served := self._held.get(attempt_id)) is not None:
            return served
        target = self._attempts.target(attempt_id)
        try:
            return None if target is None else await self._kinds.find(target.kind)
        except TaskRefused:
            return None

    async def _named(self, served: ServedKind, attempt_id: str) -> Body | None:
        """The object with the name of a task's; None where there is none. Raises ApiError."""
        path = served.path(self._agent.namespace, manifest.object_name(self._agent, attempt_id))
        try:
            return (await self._api.get(path)).body
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    # ── what objects say ────────────────────────────────────────────────────────────────────────────────────────────

    def _judge(self, attempt_id: str, record: PendingTask, served: ServedKind, body: Body) -> None:
        target = self._attempts.target(attempt_id)
        if target is None or target.kind != served.kind:
            return
        whole = {
            "apiVersion": served.kind.api_version,
            "kind": served.kind.kind,
            **body,
        }  # lists leave it out
        said = target.judge(attempt_id, whole, timestamp())
        if isinstance(said, TaskEnd):
            self._progress.forget(attempt_id)
            if record.phase in ("Owed", "Started"):
                self._owner.report(said)
            self._deletions.schedule(attempt_id, served, body, 0.0)
        elif said is not None:
            self._progress.note(attempt_id, said)

    # ── looking for what no watch shows ─────────────────────────────────────────────────────────────────────────────

    def _recheck(self, served: ServedKind) -> None:
        """A kind cannot be listed any more: see for each of its tasks."""
        for attempt_id, held in list(self._held.items()):
            if held == served and self._owner.waits(attempt_id) and attempt_id not in self._starts:
                self._search(attempt_id)

    def _search_unlisted(self, attempt_id: str) -> None:
        if (
            attempt_id not in self._searches.under_way
            and (key := f"listed {attempt_id}") not in self._searches.under_way
        ):
            self._searches.begin(key, self._search_if_unlisted(attempt_id))

    async def _search_if_unlisted(self, attempt_id: str) -> None:
        served = self._held.get(attempt_id)
        if served is not None:
            await self._watches.wait_until_listed(served)
            name = manifest.object_name(self._agent, attempt_id)
            if self._watches.lists(served, self._agent.namespace, name):
                return
        self._search(attempt_id)

    def _search(self, attempt_id: str) -> None:
        """Look for a task's object by name, unless that is under way."""
        if attempt_id not in self._searches.under_way:
            self._searches.begin(attempt_id, self._look_until_seen(attempt_id))

    async def _look_until_seen(self, attempt_id: str) -> None:
        """Look for a task's object until it is over or a watch shows it."""
        looks = 0
        while self._owner.waits(attempt_id):
            await asyncio.sleep(SEARCH_BACKOFF.delay(looks))
            try:
                if await self._is_settled(attempt_id):
                    return
            except (ApiError, TaskUnavailable) as error:
                extra = {"agent": str(self._agent), "task": attempt_id, "error": str(error)}
                log.warning("cannot read an object", extra=extra)
            looks += 1

    async def _is_settled(self, attempt_id: str) -> bool:
        """Look for a task's object; what is gone is gone at the second look. Raises ApiError, TaskUnavailable."""
        for delay in (0.0, CONFIRM_DELAY_S):
            await asyncio.sleep(delay)
            served = await self._served_of(attempt_id)
            body = None if served is None else await self._named(served, attempt_id)
            if body is not None and manifest.is_of(body, self._agent, attempt_id):
                assert served is not None
                self._hold(attempt_id, served)
                self.observe(served, body)
                return manifest.is_watched(body)
        if (target := self._attempts.target(attempt_id)) is not None:
            self._owner.report(await self._loss(attempt_id, target.kind))
        return True

    async def _loss(self, attempt_id: str, kind: ObjectKind) -> TaskEnd:
        """The end of a task whose object is gone. Raises TaskUnavailable where the kind's fate is not certain."""
        reason, message = RESOURCE_LOST, f"the {kind.kind} is gone; it was deleted by someone else than Heed"
        if not await self._kinds.is_served(kind):
            refused = explain_unserved(kind)
            reason, message = refused.reason, refused.message
        return failed_end(attempt_id, names.digest("lost", attempt_id), timestamp(), reason, message)

    async def _tidy(self, kind: ObjectKind) -> None:
        """Find objects of an earlier process whose retention is not over."""
        query = {"labelSelector": f"{names.LABEL_RESOURCE_OF}={self._agent.name}"}
        try:
            served = await self._kinds.find(kind)
            async for page in self._api.pages(served.path(self._agent.namespace), query):
                for body in page:
                    self.observe(served, body)
        except TaskRefused:
            return
        except (ApiError, TaskUnavailable) as error:
            extra = {"agent": str(self._agent), "kind": str(kind), "error": str(error)}
            log.warning("cannot list objects", extra=extra)
