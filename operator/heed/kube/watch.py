"""The watch: kopf in a thread with an event loop of its own, one run per term of leadership.

On its end kopf cancels every task that was made in its loop since its start: in the operator's own loop that would be
the connection to the broker and the election. In the main thread it would take over the signals. Its handlers only
pass on what they see, in the order in which they see it; everything that is done about it is done in the main loop.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

import kopf

from heed import names
from heed.errors import HeedError
from heed.kube.client.client import PAGE_SIZE, TLS_CLOSE_S
from heed.kube.client.deep_json import patch_kopf
from heed.settings import Settings

log = logging.getLogger("heed.watch")
HEARTBEAT_INTERVAL_S: Final = 5.0  # seconds between two signs of life of the thread
HEARTBEAT_CHECK_INTERVAL_S: Final = 15.0  # seconds between two looks for one
MAX_MISSED_HEARTBEATS: Final = 4  # looks without one after which the thread hangs
KOPF_EXIT_GRACE_S: Final = 1.0  # seconds for kopf to tidy up when its watches have ended
THREAD_END_TIMEOUT_S: Final = 60.0  # seconds until a thread that does not end is beyond hope
NOISY_LOGGERS: Final = (
    "kopf._core.reactor.running",
    "kopf._core.reactor.observation",
    "kopf._cogs.clients.watching",
)
Show = Callable[..., None]
OnRawEvent = Callable[[kopf.RawEvent], None]


class WatchEnded(HeedError):
    """kopf ended or hangs without being told to stop."""


class Watcher(Protocol):
    """Receives the objects that the watch sees."""

    def observe(self, body: Any, *, deleted: bool = False) -> None:
        """An Agent was listed, added, changed or deleted. `body` is the object as JSON."""

    def observe_job(self, job: Any, *, deleted: bool = False) -> None:
        """The same of a Job with Heed's labels."""

    def observe_rule(self, rule: Any, *, deleted: bool = False) -> None:
        """The same of an AgentPolicy, an EventGrant or an EventType."""


class ClusterWatch:
    """Watches Agents, their Jobs and the rules for them, term after term; `proxy` is a URL."""

    def __init__(self, settings: Settings, proxy: str | None = None) -> None:
        self._settings, self._proxy = settings, proxy
        self._thread: _KopfThread | None = None
        for chatty in NOISY_LOGGERS:
            logging.getLogger(chatty).addFilter(_is_news)
        patch_kopf()

    async def run(self, watcher: Watcher) -> None:
        """Pass objects to the watcher until cancelled, then stop at once. Raises WatchEnded."""
        thread = self._thread = _KopfThread(self._settings, watcher, self._proxy)
        thread.start()
        try:
            await thread.until_over()
        finally:
            thread.tell_to_end()

    async def wait_until_ended(self, patience: float | None = None) -> None:
        """Wait until the last run's thread has ended, at most `patience` seconds."""
        if self._thread is not None:
            await asyncio.wait({self._thread.over}, timeout=patience)

    def missing(self) -> str | None:
        """Why the watch sees nothing now, or None."""
        running = self._thread is not None and self._thread.watches
        return None if running else "not watching the cluster yet"

    def stuck(self) -> str | None:
        """Why this process cannot start another run, or None."""
        return self._thread.stuck() if self._thread is not None else None


class _KopfThread:
    """One run of kopf. Methods are called from the main loop unless they say otherwise."""

    def __init__(self, settings: Settings, watcher: Watcher, proxy: str | None) -> None:
        self._settings, self._watcher, self._proxy = settings, watcher, proxy
        self._main = asyncio.get_running_loop()
        self.over: asyncio.Future[BaseException | None] = self._main.create_future()
        self._open = True
        self._ready = threading.Event()
        self._beats = 0
        self._told_at: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def watches(self) -> bool:
        return self._open and self._ready.is_set()

    def start(self) -> None:
        threading.Thread(target=self._run, name="kopf", daemon=True).start()

    def tell_to_end(self) -> None:
        """Stop passing objects on, and tell kopf to stop."""
        self._open = False
        if self._told_at is None:
            self._told_at = time.monotonic()
        if self._loop is not None and self._stop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stop.set)

    async def until_over(self) -> None:
        """Raises WatchEnded, sooner or later."""
        misses, beats = 0, -1
        while not self.over.done():
            # By counting: a process that was stopped finds all its clocks late, and nothing wrong.
            misses, beats = (0 if self._beats != beats else misses + 1), self._beats
            if misses >= MAX_MISSED_HEARTBEATS:
                hung_s = MAX_MISSED_HEARTBEATS * HEARTBEAT_CHECK_INTERVAL_S
                raise WatchEnded(f"the thread that watches the cluster has hung for {hung_s:.0f} s")
            await asyncio.wait({self.over}, timeout=HEARTBEAT_CHECK_INTERVAL_S)
        error = self.over.result()
        raise WatchEnded(f"kopf ended by itself: {error!r}") from error

    def stuck(self) -> str | None:
        if (
            self._told_at is None
            or self.over.done()
            or time.monotonic() - self._told_at < THREAD_END_TIMEOUT_S
        ):
            return None
        return "the thread that watches the cluster does not end; only a restart helps"

    def _run(self) -> None:
        """The thread."""
        error: BaseException | None = None
        try:
            asyncio.run(self._watch())
        except BaseException as failure:  # also SystemExit: a thread would end with it in silence
            error = failure
        with suppress(RuntimeError):  # the process is ending
            self._main.call_soon_threadsafe(self.over.set_result, error)

    async def _watch(self) -> None:
        """The thread's loop."""
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        if self._told_at is not None:  # before there was anything to tell it to
            return
        beating = asyncio.create_task(self._beat())
        settings = _kopf_settings(self._settings)
        try:
            await self._operate(settings, self._stop)
        finally:
            beating.cancel()
            settings.execution.executor.shutdown(wait=False)
            await self._loop.shutdown_asyncgens()  # a watch that is left over
            await asyncio.sleep(TLS_CLOSE_S)

    async def _operate(self, settings: kopf.OperatorSettings, stop: asyncio.Event) -> None:
        """Run kopf. Told to end, it waits 5 s for tasks of its own that nothing depends on; here it is less."""
        namespace = self._settings.namespace
        over = asyncio.Event()
        waiting = asyncio.create_task(over.wait())
        running = asyncio.create_task(
            kopf.operator(
                registry=self._registry(over),
                settings=settings,
                standalone=True,
                # For peering, which is off. Without it kopf asks who the user is, and a container's has no name.
                identity="heed",  # type: ignore[arg-type]
                clusterwide=namespace is None,
                namespaces=[] if namespace is None else [namespace],
                stop_flag=stop,
                ready_flag=self._ready,
            )
        )
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        stop.set()  # where it ends by itself, its own waiter for this flag is one of them
        await asyncio.wait({running}, timeout=None if self._told_at is None else KOPF_EXIT_GRACE_S)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    def _registry(self, over: asyncio.Event) -> kopf.OperatorRegistry:
        watcher, seen = self._watcher, self._pass_on
        registry = _registry(
            partial(seen, watcher.observe),
            partial(seen, watcher.observe_job),
            partial(seen, watcher.observe_rule),
            over,
        )
        if self._proxy is not None:
            _login_through(self._proxy, registry)
        return registry

    async def _beat(self) -> None:
        """In the thread's loop: it turns."""
        while True:
            self._beats += 1
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)

    def _pass_on(self, show: Show, event: kopf.RawEvent) -> None:
        """In the thread's loop: have the main loop see it. Keeps the order."""
        with suppress(RuntimeError):  # the process is ending
            self._main.call_soon_threadsafe(self._show, show, event)

    def _show(self, show: Show, event: kopf.RawEvent) -> None:
        if self._open:
            show(event["object"], deleted=event["type"] == "DELETED")


def _is_news(record: logging.LogRecord) -> bool:
    """A filter of kopf's log: without its note on signals and its retries in an outage, which the election logs."""
    message = str(record.msg)
    return not (message.startswith("OS signals are ignored") or "failed; will retry" in message)


def _login_through(proxy: str, registry: kopf.OperatorRegistry) -> None:
    """Log in as kopf does, with the HTTP proxy."""

    @kopf.on.login(registry=registry)
    def login(**facts: Any) -> kopf.ConnectionInfo | None:
        found = kopf.login_via_client(**facts)
        return found and replace(found, proxy_url=proxy)


def _registry(
    agent_seen: OnRawEvent, job_seen: OnRawEvent, rule_seen: OnRawEvent, over: asyncio.Event
) -> kopf.OperatorRegistry:
    registry = kopf.get_default_registry().__class__()

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def agent(event: kopf.RawEvent, **_: Any) -> None:
        agent_seen(event)

    @kopf.on.event("batch", "v1", "jobs", labels={names.LABEL_AGENT: kopf.PRESENT}, registry=registry)
    async def job(event: kopf.RawEvent, **_: Any) -> None:
        job_seen(event)

    async def rule(event: kopf.RawEvent, **_: Any) -> None:
        rule_seen(event)

    for kind in names.RULE_KINDS:
        kopf.on.event(names.GROUP, names.VERSION, names.PLURALS[kind], registry=registry)(rule)

    @kopf.on.cleanup(registry=registry)
    async def ending(**_: Any) -> None:
        over.set()

    return registry


class _NoDiffs(kopf.DiffBaseStorage):
    """Keeps no earlier version of an object: Heed handles events only, and compares none.

    The storage of kopf copies every object that is shown with copy.deepcopy. That costs more than reading it, and fails
    at some four hundred levels: the object would never be seen.
    """

    def build(
        self, *, body: kopf.Body, extra_fields: Iterable[kopf.FieldSpec] | None = None
    ) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        pass


def _kopf_settings(heed: Settings) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = heed.namespace is not None  # one namespace needs no rights to look at all
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.process.ultimate_exiting_timeout = (
        None  # it would kill the process; /healthz speaks of it instead
    )
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = (
        1,
        2,
        3,
        5,
        5,
        5,
    )  # the last one is how late it notices an outage's end
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 0.5  # our handlers return at once
    settings.watching.chunk_size = PAGE_SIZE
    settings.watching.server_timeout = 270
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10
    settings.watching.label_selectors["jobs.batch"] = names.LABEL_AGENT
    return settings
