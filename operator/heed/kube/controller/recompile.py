"""Recompiles the Agents whose compile inputs changed with policies, grants or event types.

A burst of changes is one, and Agents are looked at one by one, so that the others go on meanwhile.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, Final

from heed.kube.controller.policy_cache import CompileInputs, Key, PolicyCache
from heed.util.aio import stop

log = logging.getLogger("heed.rules")
Body = Mapping[str, Any]
Name = tuple[str, str]
DEBOUNCE_S: Final = 0.2  # seconds that changes are gathered
RETRY_DELAY_S: Final = 5.0  # after a bug
RECOMPILE_TIMEOUT_S: Final = 10.0  # seconds for Agents to be recompiled
KEPT_STATUS_FIELDS: Final = ("conditions", "observedGeneration", "lastValidSpec", "address")  # of the status


class Recompiler:
    """Tracks all Agents as last seen, with their compile inputs. `again` recompiles one.

    When that is done, what changed is said to be accepted: it is in force then.
    """

    def __init__(self, rules: PolicyCache, again: Callable[[Name, Body], "asyncio.Task[None]"]) -> None:
        self._rules, self._again = rules, again
        self._bodies: dict[Name, Body] = {}
        self._bases: dict[
            Name, tuple[str | None, CompileInputs]
        ] = {}  # with the last valid spec, where that may run
        self._reviewing: asyncio.Task[None] | None = None
        self._saying: set[asyncio.Task[None]] = set()

    def note_agent(self, name: Name, body: Body | None) -> None:
        """Note an Agent's object; None: it was deleted."""
        if body is None:
            self._bodies.pop(name, None)
            self._bases.pop(name, None)
        else:
            self._bodies[name] = body

    def find_agent(self, name: Name) -> Body | None:
        """An Agent's object as last seen."""
        return self._bodies.get(name)

    def compile_inputs(self, name: Name, body: Body, kept: str | None = None) -> CompileInputs:
        """The compile inputs of an Agent now. `kept` is the last valid spec in its status."""
        basis = self._rules.compile_inputs(body, kept)
        if name in self._bodies:
            self._bases[name] = kept, basis
        return basis

    def schedule(self) -> None:
        """Schedule a review of all Agents after a change."""
        if self._reviewing is None or self._reviewing.done():
            self._reviewing = asyncio.create_task(self._review())

    async def close(self) -> None:
        """Stop."""
        if self._reviewing is not None:
            await stop(self._reviewing)
        await asyncio.gather(*(stop(task) for task in list(self._saying)))

    async def _review(self) -> None:
        while True:
            await asyncio.sleep(DEBOUNCE_S)
            try:
                await self._rules.prepare()
                if not (changes := self._rules.take_changes()):
                    return
            except Exception:  # a bug must not stop later changes
                log.exception("cannot review rules")
                await asyncio.sleep(RETRY_DELAY_S)
                continue
            working = [task async for task in self._compile_anew(changes.concerned)]
            saying = asyncio.create_task(self._say_when(working, changes.unsaid))
            self._saying.add(saying)
            saying.add_done_callback(self._saying.discard)

    async def _compile_anew(self, namespaces: Collection[str]) -> "AsyncIterator[asyncio.Task[None]]":
        for name in [name for name in self._bodies if name[0] in namespaces]:
            body = self._bodies.get(name)
            if body is not None and self._has_another_basis(name, body):
                yield self._again(name, body)
            await asyncio.sleep(0)

    def _has_another_basis(self, name: Name, body: Body) -> bool:
        kept, before = self._bases.get(name, (None, None))
        try:
            return self._rules.compile_inputs(body, kept) != before
        except Exception:  # a bug, which each recompilation will log
            return True

    async def _say_when(self, working: "Collection[asyncio.Task[None]]", unsaid: Collection[Key]) -> None:
        """One Agent that cannot be compiled is no reason to say nothing of a rule."""
        if working:
            await asyncio.wait(working, timeout=RECOMPILE_TIMEOUT_S)
        self._rules.write_accepted(unsaid)


def without_ledger(body: Body) -> Body:
    """An Agent's object without ledger and managedFields."""
    metadata, status = body["metadata"], body.get("status") or {}
    kept = {key: value for key, value in metadata.items() if key != "managedFields"}
    return {
        **body,
        "metadata": kept,
        "status": {key: status[key] for key in KEPT_STATUS_FIELDS if key in status},
    }
