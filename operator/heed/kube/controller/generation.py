"""Chooses the generation of an Agent to run: the current one, else the last valid one, else none; with its conditions.

A generation that is invalid, or that policies do not allow, lets the last valid one run on, if that is allowed. One
that ran and is not allowed any more stops: there is none to go back to.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed.api.agent import Agent
from heed.core.compiler.program import Program
from heed.errors import INVALID, NOT_GRANTED, InvalidManifest, PolicyViolation
from heed.kube.controller.last_valid_spec import is_suspended, restore_last_valid
from heed.kube.status.ready import WantedConditions

log = logging.getLogger("heed.fleet")
Body = Mapping[str, Any]
STOPPED_MESSAGE: Final = "the Agent is stopped, and its events wait in the stream"

WORKERS_AWAITED: Final = "WorkersAwaited"  # the reason of Ready during a roll-out to other code
Missing = Callable[[Agent], str | None]


def nothing_missing(agent: Agent) -> str | None:
    """No workers are awaited."""
    return None


@dataclass(frozen=True, slots=True)
class GenerationChoice:
    """The program to run (compiled from `body`), the conditions for it, and why it is not the current generation."""

    word: WantedConditions
    body: Body
    program: Program | None
    error: InvalidManifest | None = None
    unfit: InvalidManifest | None = None  # why it is not the last valid one either
    awaited: Program | None = None  # the current generation, where its workers are awaited

    @property
    def newest(self) -> Program | None:
        """The latest valid generation: the one whose workers are to be there."""
        return self.awaited or self.program

    def log(self) -> None:
        """Log what runs, or what is wrong."""
        metadata = self.body["metadata"]
        extra: dict[str, Any] = {
            "agent": f"{metadata['namespace']}/{metadata['name']}",
            "generation": self.word.generation,
        }
        if self.awaited is not None:
            log.info("agent waits for workers", extra=extra)
            return
        if self.error is None:
            log.info("agent subscribed", extra=extra)
            return
        extra["problems"] = [str(problem) for problem in self.error.problems]
        log.warning("agent invalid" if self.error.reason == INVALID else "agent not allowed", extra=extra)
        if self.unfit is not None:
            extra["problems"] = [str(problem) for problem in self.unfit.problems]
            log.warning("last valid spec may not run", extra=extra)


def choose_generation(
    body: Body,
    kept: str | None,
    compiled: Callable[[Body], Program],
    watched: str | None = None,
    missing: Missing = nothing_missing,
) -> GenerationChoice:
    """Choose for an Agent's object. `kept` is the last valid spec in its status.

    `watched` is the only namespace that is known, if there is one. `missing` says why the workers of a generation's
    code are awaited.
    """
    generation, suspended = body["metadata"]["generation"], is_suspended(body)
    try:
        program = compiled(body)
    except InvalidManifest as failure:
        error = failure
    else:
        if kept is not None and (why := missing(program.manifest)) is not None:
            if (choice := _await_workers(body, program, kept, compiled, why)) is not None:
                return choice
        reason = "Suspended" if suspended else "Subscribed"
        word = WantedConditions(generation, "True", reason, _subscribed(program), suspended=suspended)
        return GenerationChoice(word, body, program)
    message, unfit = str(error), None
    if kept is not None:
        try:
            body = restore_last_valid(body, kept)
            program = compiled(body)
        except InvalidManifest as failure:
            unfit = failure
        else:
            message = _hinted(message, error, watched)
            word = WantedConditions(generation, "False", error.reason, message, kept, suspended=suspended)
            return GenerationChoice(word, body, program, error)
    if isinstance(unfit, PolicyViolation):
        message += (
            f"\nthe last valid generation, {body['metadata']['generation']}, may not run either: {unfit}"
        )
    if error.reason != INVALID or isinstance(unfit, PolicyViolation):
        message += f"\n{STOPPED_MESSAGE}"
    message = _hinted(message, unfit or error, watched)
    word = WantedConditions(generation, "False", error.reason, message, kept, suspended=suspended)
    return GenerationChoice(word, body, None, error, unfit)


def _await_workers(
    body: Body, program: Program, kept: str, compiled: Callable[[Body], Program], why: str
) -> GenerationChoice | None:
    """The last valid generation, while the workers of the current one's code come up; None where the code is the same.

    One that may not run is no reason to wait either.
    """
    try:
        before = restore_last_valid(body, kept)
        old = compiled(before)
    except InvalidManifest:
        return None
    if old.code == program.code:
        return None
    message = f"generation {before['metadata']['generation']} decides meanwhile: {why}"
    generation, suspended = body["metadata"]["generation"], is_suspended(body)
    word = WantedConditions(generation, "False", WORKERS_AWAITED, message, kept, suspended=suspended)
    return GenerationChoice(word, before, old, awaited=program)


def _hinted(message: str, error: InvalidManifest, watched: str | None) -> str:
    """Add a hint for an operator that watches one namespace, as it sees no grants of others."""
    if watched is None or all(problem.reason != NOT_GRANTED for problem in error.problems):
        return message
    return f"{message}\nthis operator watches namespace {watched} only, and knows no EventGrant of others"


def _subscribed(program: Program) -> str:
    patterns = len({(item.namespace, item.pattern) for item in program.subscriptions})
    message = f"{patterns} pattern{'s' if patterns != 1 else ''}, {len(program.reactions)} handlers"
    return f"{message}; spec.suspend is true, so no events are read" if program.suspended else message
