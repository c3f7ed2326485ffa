"""Operators with one rule broken, to see that the storm's judge notices: `python -m tests.faults.storm_mutants`.

Only the operator is broken, from outside; the judge decides as it should. Each rule takes a short storm of its own, so
`make test` does not run them.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from heed import names
from heed.bus.code_workers import NatsCodeWorkers
from heed.bus.function_runner import FunctionRunner
from heed.core.approval import answer
from heed.core.compiler import program, timers
from heed.core.decision import routing, ticks
from heed.core.decision.code import CodeCall, KnownAnswers
from heed.core.due import due_events
from heed.core.due import timers as due_timers
from heed.core.effects import TaskEnd
from heed.core.ledger.held import HeldEvents
from heed.core.schedule.ticks import LatePolicy
from heed.core.tasks.resource import ResourceTarget
from heed.engine.deciders import CodeDecider
from heed.engine.due_publisher import DuePublisher
from heed.engine.event_rate import EventRateLimiter
from heed.kube.approvals import answer_desk, verdict
from heed.kube.resources.runner import ResourceRunner
from tests.faults.spec_parts import STRANGER

SEED = 7


def put(owner: Any, name: str, broken: Any) -> None:
    """Replace what is there, in a process that does nothing else. Raises AttributeError where nothing is."""
    getattr(owner, name)
    setattr(owner, name, broken)


def hold_forgotten() -> None:
    """An event that has to wait is dropped."""
    put(HeldEvents, "with_event", lambda self, sequence, item: self)


def tick_twice() -> None:
    """A tick is published twice, under another id, and what was fired before is fired again."""
    choose, moved, publish = due_timers.choose_event, due_timers._moved, DuePublisher._publish

    def another(*args: Any) -> Any:
        event = choose(*args)
        return event and replace(event, id=uuid4().hex)

    def again(program: Any, ledger: Any, name: str, until: Any) -> Any:
        found = moved(program, ledger, name, until)
        return ledger if found is None and name in ledger.timers else found

    def twice(self: DuePublisher, due: Any) -> None:
        publish(self, due)
        publish(self, due)

    put(due_events, "choose_event", another)
    put(due_timers, "_moved", again)
    put(DuePublisher, "_publish", twice)


def late_ticks_left_out() -> None:
    """Of ticks that are late the latest is fired, also where a timer wants all of them."""
    compile_timer = timers.compile_timer

    def latest(*args: Any) -> Any:
        timer = compile_timer(*args)
        return timer and replace(timer, late=LatePolicy("Latest", timer.late.deadline))

    put(timers, "compile_timer", latest)


def overlap_ignored() -> None:
    """A tick does not care for the session of the one before."""
    put(ticks, "_busy_session", lambda ledger, name: None)


def anyone_approves() -> None:
    """It does not matter who answers."""
    put(answer, "check_approver", lambda approval, given: None)


def second_answer_accepted() -> None:
    """Whoever answers too late is told that the answer counted."""
    accepted = verdict.ACCEPTED_JUDGEMENT
    put(answer_desk, "judge_late", lambda task, name, view: accepted)


def suspended_reads_on() -> None:
    """An Agent that is suspended reads on."""
    put(program.Program, "suspended", False)


def limit_ignored() -> None:
    """Events are let through as they come."""
    put(EventRateLimiter, "delay", lambda self, now: 0.0)


def object_left_over() -> None:
    """The object of a task that is over its time stays."""

    async def nothing(self: ResourceRunner, attempt_id: str) -> None:
        """Nothing."""

    put(ResourceRunner, "cancel", nothing)


def failure_forgotten() -> None:
    """An object that has failed counts as one that succeeded."""
    judge = ResourceTarget.judge

    def mild(self: ResourceTarget, *args: Any) -> Any:
        said = judge(self, *args)
        if not isinstance(said, TaskEnd) or said.completed:
            return said
        return replace(said, completed=True, reason=None, result={"value": 0})

    put(ResourceTarget, "judge", mild)


def any_code_answers() -> None:
    """An answer counts whatever code it is of, also of code that no manifest names."""
    ask = NatsCodeWorkers.ask

    async def ask_anyone(self: NatsCodeWorkers, agent: Any, digest: str, calls: Any) -> Any:
        return await ask(self, agent, STRANGER if len(calls) == 1 else digest, calls)

    put(NatsCodeWorkers, "ask", ask_anyone)


def answer_of_another_state() -> None:
    """An answer counts for its event whatever the state of the session has become, as after a commit that was lost."""

    def digest(self: CodeCall) -> str:
        event = self.variables["event"]
        return names.digest(self.function, event["source"], event["id"])

    put(CodeCall, "digest", property(digest))


def answers_mixed() -> None:
    """What a decision asks for is of another answer than the state that it leaves."""
    decide = CodeDecider.decide

    async def mixed(self: CodeDecider, ledger: Any, received: Any, **more: Any) -> Any:
        first = await decide(self, ledger, received, **more)
        vars(self._known).update(vars(KnownAnswers()))
        more["coming"] = ()
        first.effects = (await decide(self, ledger, received, **more)).effects
        return first

    put(CodeDecider, "decide", mixed)


def end_counts_again() -> None:
    """The end of a function that has ended counts once more."""
    pending, known = routing._pending, dict[str, Any]()

    def remembered(ledger: Any, task_id: str) -> Any:
        record = pending(ledger, task_id)
        if record is not None and record.kind == "function":
            known[task_id] = record
        return record or known.get(task_id)

    put(routing, "_pending", remembered)


def ends_not_looked_for() -> None:
    """A loop that begins does not look which functions have ended meanwhile."""

    async def nothing(self: FunctionRunner, attempt_ids: Any) -> None:
        """Nothing."""

    put(FunctionRunner, "resume", nothing)


MUTANTS: dict[str, Callable[[], None]] = {
    "hold-forgotten": hold_forgotten,
    "tick-twice": tick_twice,
    "late-ticks-left-out": late_ticks_left_out,
    "overlap-ignored": overlap_ignored,
    "anyone-approves": anyone_approves,
    "second-answer-accepted": second_answer_accepted,
    "suspended-reads-on": suspended_reads_on,
    "limit-ignored": limit_ignored,
    "object-left-over": object_left_over,
    "failure-forgotten": failure_forgotten,
    "any-code-answers": any_code_answers,
    "answer-of-another-state": answer_of_another_state,
    "answers-mixed": answers_mixed,
    "end-counts-again": end_counts_again,
    "ends-not-looked-for": ends_not_looked_for,
}


def main() -> int:
    """Run all mutants, or those that are named; 1 where one survives."""
    from tests.faults.plan import Size  # which knows the doors of the operator that is broken here
    from tests.faults.storm import storm

    size = Size(events=1_500, kills=6, restarts=1)
    survivors = []
    for name in sys.argv[1:] or list(MUTANTS):
        with tempfile.TemporaryDirectory(prefix=f"heed-{name}-") as folder:
            report = asyncio.run(storm(SEED, size, Path(folder), _silent, mutant=name))
        rule = (MUTANTS[name].__doc__ or "").strip()
        print(
            f"{name:24} {rule}\n    {len(report.findings)} findings, such as {_example(report.findings)[:300]}",
            flush=True,
        )
        if not report.findings:
            survivors.append(name)
    print(f"survived: {', '.join(survivors) or 'none'}")
    return 1 if survivors else 0


def _example(findings: Sequence[str]) -> str:
    """A finding, and one of the model where there is one: a loaded machine may keep a storm from coming to rest."""
    return next((text for text in findings if not text.startswith("not quiet")), (*findings, "-")[0])


def _silent(line: str) -> None:
    """Say nothing of what goes on."""


if __name__ == "__main__":
    sys.exit(main())
