"""Heed with one of its rules broken, to see that the tests notice: a pytest plugin that HEED_MUTANT tells which one.

Each mutant replaces one small part from outside; the product knows nothing of this. `python -m tests.faults.mutants`
runs all of them against everything that should notice, and prints which test did.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from heed import names
from heed.bus.consumer.pull import PullConsumer
from heed.bus.jetstream import JetStreamBus
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.ledger import Ledger
from heed.engine import loop
from heed.engine.batch import DecisionBatch, effects_still_owed
from heed.engine.due_publisher import DuePublisher
from heed.engine.ports import Reader, StoredLedger, TaskRunner
from heed.local.ledger_store import KeyValueLedgerStore

ROOT = Path(__file__).resolve().parents[2]
ENGINE = "tests/integration/engine"
_commit = KeyValueLedgerStore.commit


@dataclass(frozen=True, slots=True)
class Mutant:
    """A broken rule: what it says, how it is broken, and the tests of the quick form that have to notice."""

    rule: str
    break_it: Callable[[], None]
    tests: tuple[str, ...]


def effects_before_commit() -> None:
    """What a decision asks for is done while nobody would know of it after a crash."""
    commit = loop.AgentLoop._commit

    async def early(self: loop.AgentLoop, ledger: Ledger, batch: DecisionBatch) -> None:
        if self._executor is not None:
            self._executor.perform(effects_still_owed(ledger, batch.decisions))
        await commit(self, ledger, batch)

    loop.AgentLoop._commit = early  # type: ignore[method-assign]
    loop.effects_still_owed = lambda ledger, decisions: iter(())  # type: ignore[attr-defined]


def cursor_apart() -> None:
    """First the cursor is written, then what the events up to it came to."""

    async def twice(self: KeyValueLedgerStore, base: StoredLedger, ledger: Ledger) -> StoredLedger:
        moved = await _commit(self, base, replace(base.ledger, cursor=ledger.cursor))
        return await _commit(self, moved, ledger)

    KeyValueLedgerStore.commit = twice  # type: ignore[method-assign]


def no_gap_check() -> None:
    """Whatever number the consumer gives a message, it counts as the next one."""
    accept = PullConsumer._accept

    def blind(self: PullConsumer, message: Any) -> None:
        tokens = message.reply.split(".")
        self._delivered = int(tokens[6 if len(tokens) == 9 else 8]) - 1
        accept(self, message)

    PullConsumer._accept = blind  # type: ignore[method-assign]


def no_resync() -> None:
    """A loop that begins does not look what became of the tasks that had been started."""

    class Deaf:
        def __init__(self, runner: TaskRunner) -> None:
            self.start, self.cancel = runner.start, runner.cancel

        async def resume(self, task_ids: Sequence[str]) -> None:
            """Nothing."""

    run = loop.AgentLoop.run

    async def deaf(self: loop.AgentLoop, runner: TaskRunner) -> None:
        await run(self, Deaf(runner))

    loop.AgentLoop.run = deaf  # type: ignore[method-assign]


def no_fence() -> None:
    """A ledger is written whatever its home holds by now."""

    async def over(self: KeyValueLedgerStore, base: StoredLedger, ledger: Ledger) -> StoredLedger:
        held = await self.load()
        return await _commit(self, replace(base, version=held.version), ledger)

    KeyValueLedgerStore.commit = over  # type: ignore[method-assign]


def outbox_cleared_early() -> None:
    """What is to be published is struck off by the commit that decides it."""

    async def forgetful(self: KeyValueLedgerStore, base: StoredLedger, ledger: Ledger) -> StoredLedger:
        return await _commit(self, base, replace(ledger, outbox={}))

    KeyValueLedgerStore.commit = forgetful  # type: ignore[method-assign]


def dedupe_without_source() -> None:
    """Two events of the same id are the same, whoever sent them."""
    digest = names.event_digest
    names.event_digest = lambda source, id: digest("", id)


def ids_by_chance() -> None:
    """What is emitted gets another id at every decision."""
    names.event_id = lambda origin, sequence, index: uuid4().hex


def published_blindly() -> None:
    """After a crash nobody looks whether a message is in the stream already."""
    publish = JetStreamBus.publish_owed

    async def blindly(self: JetStreamBus, id: str, owed: Any, *, look_first: bool) -> None:
        await publish(self, id, owed, look_first=False)

    JetStreamBus.publish_owed = blindly  # type: ignore[method-assign]


def any_stream_will_do() -> None:
    """A cursor is believed to belong to whatever stream bears the name."""
    open_ = JetStreamBus.open

    async def careless(
        self: JetStreamBus, subjects: Sequence[str], after: int, since: str, created: str | None = None
    ) -> Reader:
        return await open_(self, subjects, after, since)

    JetStreamBus.open = careless  # type: ignore[method-assign,assignment]


def waiting_overtaken() -> None:
    """An event goes on although earlier ones of its session still wait."""
    DeferredEvents.blocks = lambda self, key, sequence: False  # type: ignore[method-assign]


def deadlines_forgotten() -> None:
    """Nobody looks at the deadlines of tasks."""
    DuePublisher.update_ledger = lambda self, ledger: None  # type: ignore[method-assign]


MUTANTS: dict[str, Mutant] = {
    "effects-before-commit": Mutant(
        "commit, then act", effects_before_commit, (f"{ENGINE}/test_order_and_death.py",)
    ),
    "cursor-apart": Mutant(
        "cursor and state are one write",
        cursor_apart,
        ("tests/integration/local/test_ledger_store.py",),
    ),
    "no-gap-check": Mutant(
        "a gap in what is delivered loses the reader",
        no_gap_check,
        ("tests/integration/test_reader_losses.py",),
    ),
    "no-resync": Mutant(
        "a resuming Agent looks at its Jobs",
        no_resync,
        (f"{ENGINE}/test_order_and_death.py", f"{ENGINE}/test_tasks.py"),
    ),
    "no-fence": Mutant(
        "a write is fenced by the version it is based on", no_fence, (f"{ENGINE}/test_conflicts.py",)
    ),
    "outbox-cleared-early": Mutant(
        "a message is owed until it is published",
        outbox_cleared_early,
        (f"{ENGINE}/test_order_and_death.py",),
    ),
    "dedupe-without-source": Mutant(
        "duplicates have the same source and id",
        dedupe_without_source,
        ("tests/unit/test_decide_counting.py",),
    ),
    "ids-by-chance": Mutant(
        "ids derive from the decision's place", ids_by_chance, (f"{ENGINE}/test_order_and_death.py",)
    ),
    "published-blindly": Mutant(
        "after a crash, look before publishing again", published_blindly, (f"{ENGINE}/test_outbox.py",)
    ),
    "any-stream-will-do": Mutant(
        "a cursor belongs to one stream", any_stream_will_do, ("tests/integration/test_stream_identity.py",)
    ),
    "waiting-overtaken": Mutant(
        "a session's events stay in order while they wait",
        waiting_overtaken,
        ("tests/unit/test_deferred.py",),
    ),
    "deadlines-forgotten": Mutant(
        "Heed itself keeps the deadlines of tasks", deadlines_forgotten, (f"{ENGINE}/test_task_deadlines.py",)
    ),
}


def pytest_configure() -> None:
    """Break the rule that HEED_MUTANT names."""
    if name := os.environ.get("HEED_MUTANT"):
        MUTANTS[name].break_it()


def caught_by(name: str, tests: Sequence[str], *, first_only: bool = True) -> list[str]:
    """The tests that fail with a mutant; none where it survives. Raises RuntimeError where they could not be run."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rfE",
        "--no-header",
        "--tb=line",
        "-p",
        "no:cacheprovider",
    ]
    command += ["-p", "tests.faults.mutants", *(["-x"] if first_only else []), *tests]
    # Tests are expected to fail, some by waiting for what never comes.
    environment = {"HEED_TEST_PATIENCE": "30", **os.environ, "HEED_MUTANT": name, "HEED_SCHEDULES": "20"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    lines = [line.split(" - ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    if done.returncode != (1 if lines else 0):  # an error before a test began, say, notices nothing
        raise RuntimeError(
            f"{name}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return [line.removeprefix("FAILED ") for line in lines]


def main() -> int:
    """Run all mutants, or those that are named, against the unit tests and the engine's."""
    chosen = sys.argv[1:] or list(MUTANTS)
    survivors = []
    for name in chosen:
        mutant = MUTANTS[name]
        everything = ("tests/unit", "tests/integration/engine", *mutant.tests)
        found = caught_by(name, tuple(dict.fromkeys(everything)), first_only=False)
        print(
            f"{name:22} {mutant.rule:50} {len(found):3} tests, such as {found[0] if found else '—'}",
            flush=True,
        )
        if not found:
            survivors.append(name)
    print(f"survived: {', '.join(survivors) or 'none'}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
