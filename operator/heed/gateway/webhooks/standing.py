"""The status of EventSources: whether the gateway serves each, and where.

Every replica writes what it finds, as a compare-and-swap: they find the same, and what is so already is not written.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from heed import names
from heed.api.event_source import secret_refs
from heed.gateway.secrets import Secrets, SecretUnavailable
from heed.gateway.webhooks.registry import Key, KnownSource, SourceProblem, WebhookRegistry
from heed.kube.client.client import KubeApi
from heed.kube.status.accepted import Judgement
from heed.kube.status.accepted_writer import AcceptedWriter
from heed.util.aio import stop
from heed.util.backoff import Backoff

log = logging.getLogger("heed.gateway")
ACCEPTED_REASON: Final = "Accepted"
SECRET_BACKOFF: Final = Backoff(first_s=10.0, last_s=60.0)
HOOKS_PATH: Final = "/v1/hooks"


def hook_url(base: str | None, namespace: str, path: str) -> str:
    """The address of a webhook; without the gateway's own URL, the path below it."""
    return f"{(base or '').rstrip('/')}{HOOKS_PATH}/{namespace}/{path}"


class StandingWriter:
    """Judges EventSources one by one, again while a Secret is missing, and writes what it finds."""

    def __init__(self, secrets: Secrets, base: str | None, api: KubeApi | None) -> None:
        self._secrets, self._base = secrets, base
        self._accepted = None if api is None else AcceptedWriter(api, _ignored)
        self._judging: dict[Key, asyncio.Task[None]] = {}
        self._said: dict[Key, Judgement] = {}

    @property
    def accepted(self) -> Mapping[Key, bool]:
        """Whether each EventSource that was judged is served."""
        return {key: judgement.accepted for key, judgement in list(self._said.items())}

    def doubt(self, registry: WebhookRegistry, key: Key) -> None:
        """A Secret of one that was accepted could not be used: judge it again."""
        if key not in self._judging:
            self.schedule(registry, key)

    def schedule(self, registry: WebhookRegistry, key: Key) -> None:
        """Judge an EventSource as it is now, instead of as it was."""
        if (task := self._judging.pop(key, None)) is not None:
            task.cancel()
        if registry.get(key) is None:
            self._said.pop(key, None)
            return
        task = asyncio.create_task(self._judge(registry, key))
        self._judging[key] = task
        task.add_done_callback(lambda done: self._judging.get(key) is done and self._judging.pop(key))

    async def close(self) -> None:
        """Stop."""
        await asyncio.gather(*(stop(task) for task in list(self._judging.values())))
        if self._accepted is not None:
            await self._accepted.close()

    async def _judge(self, registry: WebhookRegistry, key: Key) -> None:
        attempt = 0
        while (known := registry.get(key)) is not None:
            judgement = await self._find_judgement(known)
            self._tell(key, known, judgement)
            if judgement.accepted or known.problem is not None:
                return
            attempt += 1
            await asyncio.sleep(SECRET_BACKOFF.delay(attempt))

    async def _find_judgement(self, known: KnownSource) -> Judgement:
        if known.problem is not None or known.program is None:
            problem = known.problem or SourceProblem("Invalid", "it cannot be read")
            return Judgement(False, problem.reason, problem.message, {"url": ""})
        program = known.program
        url = hook_url(self._base, program.namespace, program.path)
        for ref in secret_refs(program.spec):
            try:
                await self._secrets.read(program.namespace, ref)
            except SecretUnavailable as error:
                return Judgement(False, error.reason, str(error), {"url": url})
        return Judgement(True, ACCEPTED_REASON, f"deliveries are taken at {url}", {"url": url})

    def _tell(self, key: Key, known: KnownSource, judgement: Judgement) -> None:
        before = self._said.get(key)
        self._said[key] = judgement
        if before is None or before.message != judgement.message:
            level = logging.INFO if judgement.accepted else logging.WARNING
            extra = {"event_source": "/".join(key), "reason": judgement.reason, "detail": judgement.message}
            log.log(level, "webhook judged", extra=extra)
        if self._accepted is not None:
            self._accepted.set_judgement(names.EVENT_SOURCES, known.body, judgement)


def _ignored(body: Mapping[str, Any]) -> None:
    """The watch shows what was written."""
