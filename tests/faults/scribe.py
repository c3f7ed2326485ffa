"""The scribe, an Agent in Python that is non-deterministic on purpose: every answer that acts draws a nonce.

Orders are written down. The nonce goes into the event that an answer emits, into the state, where all nonces of a
session make a chain, and into the input of the tasks that it starts. So what is mixed of two answers shows.

Workers run a copy of this file, one for each roll-out, with another EDITION. SCRIBE_RUNS names the file that functions
write their runs into.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import time
import uuid
from typing import Any

from pydantic import BaseModel

from heed.sdk import (
    Agent,
    Backoff,
    Completed,
    Event,
    Failed,
    Progress,
    Reaction,
    State,
    TaskContext,
    cancel,
    emit,
    end,
    hold,
)

EDITION = 0
SHOPS = ["/shop/1", "/shop/4"]  # whose orders are written down
LEAVES = 3  # that are steeped for an order of tea
DAWDLES = ((0.002, 1.5), (0.03, 0.05))  # shares of calls that take so many seconds; some exceed the deadline


class Placed(Event, type="com.example.order.placed"):
    """An order."""

    item: str


class Amended(Event, type="com.example.order.amended"):
    """More of it."""

    amount: int


class Settled(Event, type="com.example.order.settled"):
    """It is paid."""


class Work(Event, type="com.example.order.work"):
    """Something is to be done for it."""

    input: dict[str, Any]


class Stopped(Event, type="com.example.order.stopped"):
    """What is being done is not wanted any more."""


class Closed(Event, type="com.example.order.closed"):
    """It is over."""


class Wrote(Event, type="com.example.scribe.wrote"):
    """What an answer was: its nonce, and the chain of all nonces of its session so far."""

    by: str
    nonce: str
    edition: int
    chain: str
    more: dict[str, Any]


class Book(State, version=2):
    """What is known of an order."""

    item: str | None = None
    amount: int = 0
    leaves: int = 0
    percent: int | None = None
    chain: str = ""


class Copied(BaseModel):
    """What a run of a function came to, and which run it was."""

    value: int
    nonce: str
    run: str


class Smudged(Exception):
    """A run that failed, to be tried again."""


class Blotted(Exception):
    """A run that failed for good."""


agent = Agent("scribe", state=Book, idle_timeout="12s")
for kind in (Placed, Amended, Settled, Work, Stopped, Closed):
    agent.subscribe(kind, where=f"event.source in {SHOPS}")


def draw() -> tuple[str, int]:
    """A nonce, and the edition that drew it. The judge puts in its place what was committed."""
    return uuid.uuid4().hex[:12], EDITION


def dawdle() -> None:
    """Take some time, and now and then more than the operator waits for."""
    luck = random.random()
    for share, seconds in DAWDLES:
        if luck < share:
            time.sleep(seconds)
            return
        luck -= share


def write(state: Book, by: str, /, **more: Any) -> tuple[Book, Wrote]:
    """The state after an answer, and the event that tells of it."""
    dawdle()
    nonce, edition = draw()
    chain = hashlib.sha256(f"{state.chain} {nonce} {by}".encode()).hexdigest()[:16]
    return state.set(chain=chain), Wrote(by=by, nonce=nonce, edition=edition, chain=chain, more=more)


def note(line: dict[str, Any]) -> None:
    """A line of the log of runs."""
    if path := os.environ.get("SCRIBE_RUNS"):
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(log, json.dumps(line).encode() + b"\n")  # one write: never half a line
        finally:
            os.close(log)


def begin_run(task: TaskContext, nonce: str) -> str:
    """Note that a function runs. Returns what the run is known by."""
    run = uuid.uuid4().hex[:12]
    note({"what": "began", "attempt": task.id, "nonce": nonce, "run": run})
    return run


@agent.task(timeout="10m", retries=2, retry_on=["Smudged"], backoff=Backoff(initial="1s"))
async def transcribe(play: str, value: int, nonce: str, task: TaskContext, until: int = 0) -> Copied:
    """What `play` says: it fails, fails until an attempt, or copies the value."""
    run = begin_run(task, nonce)
    await asyncio.sleep(random.uniform(0, 0.5))
    task.progress({"percent": 50})
    await asyncio.sleep(random.uniform(0, 1))
    if play == "fail":
        raise Blotted("played to fail")
    if play == "frail" and task.attempt < until:
        raise Smudged(f"attempt {task.attempt} fails")
    note({"what": "done", "attempt": task.id, "nonce": nonce, "run": run})
    return Copied(value=value, nonce=nonce, run=run)


@agent.task(timeout="10m")
def steep(leaf: int, nonce: str, task: TaskContext) -> Copied:
    """A function that is not async."""
    run = begin_run(task, nonce)
    time.sleep(random.uniform(0, 0.3))
    note({"what": "done", "attempt": task.id, "nonce": nonce, "run": run})
    return Copied(value=leaf, nonce=nonce, run=run)


@agent.task(timeout="5s")
async def stare(nonce: str, task: TaskContext) -> Copied:
    """A function that does not end by itself."""
    begin_run(task, nonce)
    await asyncio.sleep(3600)
    raise AssertionError("it has a deadline")


@agent.on(Placed, when="!has(state.item)")
def open_book(event: Placed, state: Book) -> Reaction:
    """Fans out for tea."""
    state, wrote = write(state, "open", item=event.item)
    leaves = [steep.start(leaf=leaf, nonce=wrote.nonce) for leaf in range(LEAVES) if event.item == "tea"]
    return state.set(item=event.item), [emit(wrote), *leaves]


@agent.on
async def amend(event: Amended, state: Book) -> Reaction:
    """An async handler, which does not act for an order that is not there."""
    if state.item is None:
        return None
    state, wrote = write(state, "amend", amount=state.amount + event.amount)
    return state.set(amount=state.amount + event.amount), [emit(wrote)]


@agent.on
def settle(event: Settled, state: Book) -> Reaction:
    """Waits for the order."""
    if state.item is None:
        return hold("8s")
    state, wrote = write(state, "settle", amount=state.amount)
    return state, [emit(wrote)]


@agent.on
def work(event: Work, state: Book) -> Reaction:
    """Starts what is asked for; an input that does not fit is a dead letter."""
    play, value = event.input["play"], event.input["value"]
    if play == "refused":
        return transcribe.start(play=play, value="none", nonce="")
    state, wrote = write(state, "work", play=play)
    if play == "hang":
        return state, [emit(wrote), stare.start(nonce=wrote.nonce)]
    until = event.input.get("until", 0)
    return state, [emit(wrote), transcribe.start(play=play, value=value, nonce=wrote.nonce, until=until)]


@agent.on
def stop(event: Stopped, state: Book) -> Reaction:
    """Cancels."""
    state, wrote = write(state, "stop")
    return state, [emit(wrote), cancel(transcribe), cancel(steep), cancel(stare)]


@agent.on
def close(event: Closed, state: Book) -> Reaction:
    """Ends the session."""
    state, wrote = write(state, "close", amount=state.amount, leaves=state.leaves)
    return [emit(wrote), end()]


@agent.on(transcribe.progress)
def going(said: Progress, state: Book) -> Reaction:
    """The only answer that draws nothing."""
    return state.set(percent=said.data["percent"])


@agent.on(transcribe.completed)
def copied(done: Completed[Copied], state: Book) -> Reaction:
    """The end of a function."""
    state, wrote = write(state, "copied", task=done.task_id, result=done.result.model_dump())
    return state, [emit(wrote)]


@agent.on(steep.completed)
def steeped(done: Completed[Copied], state: Book) -> Reaction:
    """One leaf; the last of those that are being steeped joins them."""
    joined = len(state.pending(steep)) == 0
    state, wrote = write(state, "steeped", task=done.task_id, result=done.result.model_dump(), joined=joined)
    return state.set(leaves=state.leaves + 1), [emit(wrote)]


@agent.on(transcribe.failed)
@agent.on(steep.failed)
@agent.on(stare.failed)
def failed(failure: Failed, state: Book) -> Reaction:
    """A function that failed for good."""
    state, wrote = write(state, "failed", task=failure.task_id, reason=failure.reason)
    return state, [emit(wrote)]
