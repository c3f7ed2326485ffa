"""Attempts at a task: which failures are tried again and when, what the next one is given, and which end counts."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from heed import names
from heed.api.status import PendingTask
from heed.api.validation import parse_agent
from heed.core.compiler.lint import lint_agent
from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision, decide
from heed.core.due.due_events import due_event
from heed.core.due.due_times import DueTime, list_due_times
from heed.core.effects import CancelTask, StartTask, TaskEnd, TaskWork
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger, count_decided, dump_ledger, load_ledger, settle
from heed.core.simulation.steps import StubbedEnd
from heed.core.tasks.retry import RetryPolicy
from heed.core.tasks.work import end_event, work_of
from tests.builders.agents import AGENT, NAMESPACE, job, manifest, nap, problems, program
from tests.builders.decisions import only_task, session_states
from tests.builders.events import at, received, task_end
from tests.unit.simulations import message, run

HALT, STOP = "com.example.halt", "com.example.stop"
HEARD = {
    "reason": "${event.data.?reason.orValue('')}",
    "attempt": "${task.attempt}",
    "message": "${event.data.?message.orValue('')}",
}
STEADY = {"initial": "10s", "factor": 2, "max": "30s", "jitter": 0}


def trying(**more: Any) -> Program:
    """An Agent whose task is attempted three times, and that remembers what it heard of its end."""
    task = {"retry": {"attempts": 3, "backoff": STEADY}, **more}
    return program(
        {"name": "begin", "start": [{"task": "work", "input": "${event.data}"}], "state": {"topic": "tides"}},
        {"name": "halt", "type": HALT, "cancel": [{"task": "work"}]},
        {"name": "stop", "type": STOP, "end": True},
        {"name": "change", "type": "com.example.change", "state": {"topic": "sand"}},
        {"name": "done", "type": names.TASK_COMPLETED, "state": {"done": HEARD}},
        {"name": "failed", "type": names.TASK_FAILED, "state": {"failed": HEARD}},
        tasks={"work": job("${task.id}", "${string(task.attempt)}", "${state.topic}", **task)},
    )


TRYING = trying()


def begun(agent: Program = TRYING) -> tuple[Ledger, str]:
    """A ledger with a task that has started, and the task."""
    decision = decide(agent, Ledger(), received(1, data={"n": 1}, correlationid="s"))
    ledger = settle(decision.ledger, decision.effects)
    return ledger, only_task(ledger)


def failure(sequence: int, task: str, attempt: Any = 1, reason: str = "JobLost", **data: Any) -> Received:
    """The end of an attempt, as Heed tells it."""
    more = {} if attempt is None else {"attempt": attempt}
    return received(
        sequence,
        names.TASK_FAILED,
        {"reason": reason, **more, **data},
        inbox=True,
        subject=task,
        source=names.agent_source(NAMESPACE, AGENT),
    )


def due(agent: Program, ledger: Ledger, sequence: int, kind: str = "retry") -> Received:
    """The event of the one due time of a kind, as it is published."""
    (found,) = [item for item in list_due_times(agent, ledger) if item.kind == kind]
    event = due_event(agent.agent, names.origin(agent.agent.uid, ledger.cursor.created), found)
    subject = names.inbox_subject(NAMESPACE, AGENT, event.type)
    return Received(sequence, at(sequence), subject, event)


def retried(agent: Program = TRYING, **data: Any) -> tuple[Decision, str]:
    """The decision on the failure of a first attempt, at 20 seconds after noon."""
    ledger, task = begun(agent)
    return decide(agent, ledger, failure(20, task, **data)), task


def record_of(decision: Decision | Ledger) -> PendingTask:
    """The one pending task."""
    ledger = decision if isinstance(decision, Ledger) else decision.ledger
    (record,) = ledger.pending_tasks.values()
    return record


# ── which failures ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_attempt_is_followed_by_another_and_no_handler_hears_of_it() -> None:
    decision, task = retried()

    record = record_of(decision)
    assert (decision.outcome, decision.handlers, decision.effects) == ("retried", (), ())
    assert (record.phase, record.attempt, record.due) == ("Retrying", 2, at(30))
    assert decision.ledger.totals.retried == 1
    assert (decision.ledger.totals.tasks_failed, decision.ledger.recent_tasks) == (0, ())
    assert count_decided(decision.ledger.totals) == 2
    assert list(list_due_times(TRYING, decision.ledger)) == [DueTime(at(30), "retry", f"{task}-2", attempt=2)]


def test_when_it_is_due_the_next_attempt_is_owed_under_its_own_id() -> None:
    before, task = retried()

    decision = decide(TRYING, before.ledger, due(TRYING, before.ledger, 31))

    record = record_of(decision)
    assert decision.outcome == "due"
    assert decision.effects == (StartTask(task, record),)
    assert (record.phase, record.attempt, record.due) == ("Owed", 2, None)
    work = work_of(TRYING.agent, task, record)
    assert (work.id, work.attempt, work.attempt_id) == (task, 2, f"{task}-2")
    assert work.document["task"] == {"id": task, "name": "work", "attempt": 2}
    assert [step["args"] for step in work.spec["template"]["spec"]["containers"]] == [[task, "2", "tides"]]


def test_its_template_sees_the_session_and_the_input_as_the_first_one_did() -> None:
    agent = program(
        {"name": "begin", "start": [{"task": "work", "input": "${event.data}"}]},
        tasks={
            "work": job(
                "${session.key}",
                "${session.startedAt}",
                "${string(input.n)}",
                retry={"attempts": 2, "backoff": STEADY},
            )
        },
    )
    ledger, task = begun(agent)
    failed = decide(agent, ledger, failure(20, task))

    decision = decide(agent, failed.ledger, due(agent, failed.ledger, 31))

    work = work_of(agent.agent, task, record_of(decision))
    (container,) = work.spec["template"]["spec"]["containers"]
    assert container["args"] == ["s", at(1), "1"]


def test_the_last_failure_is_heard_with_the_attempt_that_it_was() -> None:
    ledger, task = begun()
    for attempt, sequence in ((1, 10), (2, 40)):
        ledger = decide(TRYING, ledger, failure(sequence, task, attempt)).ledger
        decision = decide(TRYING, ledger, due(TRYING, ledger, sequence + 25))
        ledger = settle(decision.ledger, decision.effects)

    last = decide(TRYING, ledger, failure(80, task, 3, "Evicted", message="gone"))

    assert last.outcome == "handled"
    assert session_states(last.ledger)["s"]["failed"] == {
        "reason": "Evicted",
        "attempt": 3,
        "message": "gone",
    }
    assert (last.ledger.pending_tasks, last.ledger.totals.tasks_failed, last.ledger.totals.retried) == (
        {},
        1,
        2,
    )


def test_a_later_attempt_that_completes_completes_the_task() -> None:
    before, task = retried()
    decision = decide(TRYING, before.ledger, due(TRYING, before.ledger, 31))
    ledger = settle(decision.ledger, decision.effects)

    done = received(
        40,
        names.TASK_COMPLETED,
        {"result": 1, "attempt": 2},
        inbox=True,
        subject=task,
        source=names.agent_source(NAMESPACE, AGENT),
    )
    last = decide(TRYING, ledger, done)

    assert session_states(last.ledger)["s"]["done"]["attempt"] == 2
    assert last.ledger.pending_tasks == {}


@pytest.mark.parametrize(
    "reason", ["Cancelled", "PolicyViolation", "InvalidJob", "InvalidAny", "UnsupportedKind", "NoCommand"]
)
def test_what_would_fail_again_is_not_tried_again(reason: str) -> None:
    assert retried(reason=reason)[0].outcome == "handled"


@pytest.mark.parametrize(
    ("on", "reason", "cause", "outcome"),
    [
        (["JobLost"], "JobLost", None, "retried"),
        (["JobLost"], "BackoffLimitExceeded", "Error", "handled"),
        (["OOMKilled", "Evicted"], "BackoffLimitExceeded", "Evicted", "retried"),
        (["Evicted"], "BackoffLimitExceeded", None, "handled"),
    ],
)
def test_only_named_reasons_or_causes_are_tried_again(
    on: list[str], reason: str, cause: str | None, outcome: str
) -> None:
    agent = trying(retry={"attempts": 3, "reasons": on})
    data = {} if cause is None else {"cause": cause}

    assert retried(agent, reason=reason, **data)[0].outcome == outcome


def test_an_end_that_another_than_heed_tells_is_final() -> None:
    ledger, task = begun()
    foreign = task_end(20, task, reason="JobLost", source="/somebody")

    decision = decide(TRYING, ledger, foreign)

    assert decision.outcome == "handled"
    assert decision.effects[-1] == CancelTask(task, None, 1)


def test_an_end_of_the_task_and_not_of_an_attempt_is_final() -> None:
    assert retried(attempt=None)[0].outcome == "handled"


def test_a_task_that_is_being_cancelled_is_not_tried_again() -> None:
    ledger, task = begun()
    ledger = decide(TRYING, ledger, received(5, HALT, correlationid="s")).ledger

    assert decide(TRYING, ledger, failure(20, task)).outcome == "handled"


def test_a_manifest_without_retries_ends_them() -> None:
    ledger, task = begun()
    fewer = trying(retry={"attempts": 2})

    assert decide(program({}, tasks={"work": job()}), ledger, failure(20, task)).outcome != "retried"
    assert decide(program({}), ledger, failure(20, task)).outcome != "retried"
    second = decide(fewer, ledger, failure(20, task))
    assert second.outcome == "retried"
    third = replace(record_of(second), phase="Started")
    ledger = replace(second.ledger, pending_tasks={task: third})
    assert decide(fewer, ledger, failure(40, task, 2)).outcome == "handled"


def test_a_task_that_began_without_retries_gets_none_later() -> None:
    plain = trying(retry={"attempts": 1})
    ledger, task = begun(plain)

    assert record_of(ledger).attempts is None
    assert record_of(ledger).owed is None
    assert decide(TRYING, ledger, failure(20, task)).outcome == "handled"


# ── whose end ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_late_copy_of_an_end_is_stale_before_and_after_the_next_attempt_starts() -> None:
    before, task = retried()

    waiting = decide(TRYING, before.ledger, failure(21, task, 1))
    started = decide(TRYING, waiting.ledger, due(TRYING, waiting.ledger, 31))
    running = decide(TRYING, started.ledger, failure(32, task, 1))

    assert [item.outcome for item in (waiting, running)] == ["stale", "stale"]
    assert record_of(running) == record_of(started)


def test_an_attempt_that_has_not_begun_cannot_end() -> None:
    before, task = retried()

    assert decide(TRYING, before.ledger, failure(21, task, 2)).outcome == "stale"


@pytest.mark.parametrize("attempt", ["1", True, 1.5, None])
def test_what_is_no_number_of_an_attempt_speaks_of_the_task(attempt: Any) -> None:
    ledger, task = begun()
    end = failure(20, task, attempt)

    assert decide(TRYING, ledger, end).outcome == "handled"


def test_progress_counts_of_the_attempt_that_runs_only() -> None:
    agent = program(
        {"start": [{"task": "work"}]},
        {"type": names.TASK_PROGRESS, "state": {"heard": "${task.attempt}"}},
        tasks={"work": job(publish=True, retry={"attempts": 2})},
    )
    before, task = retried(agent)
    started = decide(agent, before.ledger, due(agent, before.ledger, 31))

    def said(sequence: int, attempt_id: str, subject: str) -> Received:
        event = received(sequence, names.TASK_PROGRESS, {}, subject=subject).event
        where = names.task_subject(NAMESPACE, AGENT, attempt_id, names.TASK_PROGRESS)
        return Received(sequence, at(sequence), where, event)

    assert decide(agent, started.ledger, said(40, task, task)).outcome == "stale"
    assert decide(agent, started.ledger, said(40, f"{task}-2", task)).outcome == "handled"
    assert decide(agent, started.ledger, said(40, f"{task}-2", f"{task}-2")).outcome == "handled"
    assert decide(agent, started.ledger, said(40, f"{task}-2", "other")).outcome == "stale"


# ── when ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def backing_off(**backoff: Any) -> RetryPolicy:
    given = {"initial": 10, "factor": 2.0, "longest": 60, "jitter": 0.0, **backoff}
    return RetryPolicy(attempts=9, reasons=frozenset(), **given)


def test_delays_grow_up_to_the_longest() -> None:
    assert [backing_off().delay("t", failed) for failed in range(1, 6)] == [10, 20, 40, 60, 60]
    assert backing_off(factor=1.0).delay("t", 9) == 10
    assert backing_off(factor=100.0).delay("t", 99) == 60
    assert backing_off(initial=0).delay("t", 3) == 0


def test_jitter_takes_some_of_the_delay_and_is_the_same_each_time() -> None:
    delays = {backing_off(jitter=0.5).delay(f"t{index}", 1) for index in range(200)}

    assert all(5 < delay <= 10 for delay in delays)
    assert min(delays) < 5.5
    assert max(delays) > 9.5
    assert backing_off(jitter=0.5).delay("t1", 1) == backing_off(jitter=0.5).delay("t1", 1)
    assert backing_off(jitter=0.5).delay("t1", 3) != backing_off(jitter=0.5).delay("t1", 4)


@pytest.mark.parametrize(("timeout", "outcome"), [("29s", "handled"), ("30s", "retried")])
def test_no_attempt_follows_that_could_not_start_before_the_timeout(timeout: str, outcome: str) -> None:
    agent = trying(timeout=timeout)

    assert retried(agent)[0].outcome == outcome


def test_an_attempt_that_is_due_after_the_timeout_does_not_start() -> None:
    agent = trying(timeout="60s")
    before, _ = retried(agent)
    late = due(agent, before.ledger, 61)

    decision = decide(agent, before.ledger, late)

    assert (decision.outcome, decision.effects) == ("due", ())
    assert record_of(decision) == record_of(before)
    assert decide(agent, before.ledger, replace(late, at=at(60.5))).effects != ()


def test_the_timeout_ends_a_task_whatever_it_waits_for() -> None:
    agent = trying(timeout="60s")
    before, task = retried(agent)

    assert sorted((item.kind, item.at, item.grace) for item in list_due_times(agent, before.ledger)) == [
        ("deadline", at(61), False),
        ("retry", at(30), False),
    ]
    end = decide(agent, before.ledger, failure(61, task, None, "DeadlineExceeded"))
    assert end.outcome == "handled"
    assert end.ledger.pending_tasks == {}


def test_each_attempt_gets_what_is_left_of_both_timeouts() -> None:
    agent = trying(timeout="60s", attemptTimeout="40s")
    ledger, task = begun(agent)
    first = record_of(ledger)
    assert (first.deadline, first.attempt_deadline) == (at(61), at(41))
    owed = json.loads(first.owed or "")
    assert owed["timeout"] == 40

    before = decide(agent, ledger, failure(20, task))
    assert record_of(before).attempt_deadline is None
    started = decide(agent, before.ledger, due(agent, before.ledger, 31))

    second = record_of(started)
    assert (second.deadline, second.attempt_deadline) == (at(61), None)
    assert work_of(agent.agent, task, second).timeout == 30
    early = decide(agent, before.ledger, replace(due(agent, before.ledger, 31), at=at(20.5)))
    assert record_of(early).attempt_deadline == at(60.5)
    assert work_of(agent.agent, task, record_of(early)).timeout == 40


def test_the_timeout_of_an_attempt_is_due_and_names_it() -> None:
    agent = trying(attemptTimeout="40s")
    ledger, task = begun(agent)

    assert list(list_due_times(agent, ledger)) == [DueTime(at(41), "attempt", task, grace=True)]


@pytest.mark.parametrize(
    "change", [{"due": at(29)}, {"attempt": 3}, {"phase": "Owed"}, {"phase": "Cancelling"}]
)
def test_a_due_time_that_the_ledger_does_not_know_is_stale(change: dict[str, Any]) -> None:
    before, task = retried()
    event = due(TRYING, before.ledger, 31)
    ledger = replace(before.ledger, pending_tasks={task: replace(record_of(before), **change)})

    assert decide(TRYING, ledger, event).outcome == "stale"
    assert decide(TRYING, replace(ledger, pending_tasks={}), event).outcome == "stale"


# ── what the next attempt is given ──────────────────────────────────────────────────────────────────────────────────


def test_the_next_attempt_sees_the_state_that_the_first_one_saw() -> None:
    ledger, task = begun()
    ledger = decide(TRYING, ledger, received(5, "com.example.change", correlationid="s")).ledger

    decision = decide(TRYING, ledger, failure(20, task))

    assert session_states(ledger)["s"]["topic"] == "sand"
    spec = json.loads(record_of(decision).owed or "")["spec"]
    assert spec["template"]["spec"]["containers"][0]["args"] == [task, "2", "tides"]


def test_state_is_kept_for_templates_that_read_it_only() -> None:
    plain = program(
        {"state": {"a": 1}, "start": [{"task": "work"}]}, tasks={"work": job(retry={"attempts": 2})}
    )

    assert "state" not in json.loads(record_of(begun(plain)[0]).owed or "")
    assert json.loads(record_of(begun()[0]).owed or "")["state"] == {"topic": "tides"}


def test_what_is_corrected_in_the_manifest_counts_for_the_next_attempt() -> None:
    ledger, task = begun()
    corrected = program({}, tasks={"work": job("${input.n}", retry={"attempts": 3})})

    decision = decide(corrected, ledger, failure(20, task))

    spec = json.loads(record_of(decision).owed or "")["spec"]
    assert spec["template"]["spec"]["containers"][0]["args"] == [1]


def test_what_cannot_be_rendered_again_is_final_and_says_so() -> None:
    ledger, task = begun()
    broken = program(
        {"type": names.TASK_FAILED, "state": {"failed": HEARD}},
        tasks={"work": job("${input.missing}", retry={"attempts": 3})},
    )

    decision = decide(broken, ledger, failure(20, task, message="gone"))

    said = session_states(decision.ledger)["s"]["failed"]["message"]
    assert said.startswith(
        "gone; no further attempt: spec.tasks.work.job.template.spec.containers[0].args[0]: "
    )
    assert decision.ledger.pending_tasks == {}


def test_an_event_too_large_to_be_kept_leaves_the_work_as_it_was_rendered() -> None:
    agent = program(
        {"start": [{"task": "work"}]},
        tasks={"work": job("${string(size(event.data))}", "${string(task.attempt)}", retry={"attempts": 2})},
    )
    first = decide(agent, Ledger(), received(1, data="x" * 200_000, correlationid="s"))
    task = only_task(first.ledger)

    decision = decide(agent, first.ledger, failure(20, task))

    owed = json.loads(record_of(decision).owed or "")
    assert owed["spec"]["template"]["spec"]["containers"][0]["args"] == ["200000", "1"]
    assert owed["document"]["task"]["attempt"] == 2


def test_a_task_is_kept_as_it_is_through_its_status() -> None:
    before, _ = retried(trying(timeout="60s", attemptTimeout="5s"))

    assert load_ledger(dump_ledger(before.ledger)).pending_tasks == before.ledger.pending_tasks
    first = dump_ledger(begun()[0])["pendingTasks"]
    assert all("attempt" not in record and record["attempts"] == 3 for record in first.values())
    assert [record["attempt"] for record in dump_ledger(before.ledger)["pendingTasks"].values()] == [2]


def test_what_it_takes_to_start_is_kept_until_the_last_attempt_has_started() -> None:
    ledger, task = begun()
    assert record_of(ledger).owed is not None
    record = replace(record_of(ledger), phase="Owed", attempt=3)

    last = settle(replace(ledger, pending_tasks={task: record}), [StartTask(task, record)])

    assert (record_of(last).phase, record_of(last).owed) == ("Started", None)


def test_a_start_of_an_earlier_attempt_settles_nothing() -> None:
    ledger, task = begun()
    first = replace(record_of(ledger), phase="Owed")
    second = replace(first, attempt=2)
    owing = replace(ledger, pending_tasks={task: second})

    assert settle(owing, [StartTask(task, first)]) is owing


# ── cancelled, ended ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_waits_for_its_next_attempt_can_be_cancelled() -> None:
    before, task = retried()

    decision = decide(TRYING, before.ledger, received(25, HALT, correlationid="s"))
    record = record_of(decision)
    assert decision.effects == (CancelTask(task, record, 2),)
    assert decide(TRYING, decision.ledger, due(TRYING, before.ledger, 31)).outcome == "stale"
    end = end_event(TRYING.agent, record, TaskEnd(task, "c", at(26), False, reason="Cancelled"))
    subject = names.inbox_subject(NAMESPACE, AGENT, end.type)
    last = decide(TRYING, decision.ledger, Received(32, at(32), subject, end))
    assert session_states(last.ledger)["s"]["failed"]["reason"] == "Cancelled"


# ── manifests ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("task", "path"),
    [
        (job(retry={}), "spec.tasks.work.retry.attempts"),
        (job(retry={"attempts": 0}), "spec.tasks.work.retry.attempts"),
        (job(retry={"attempts": 101}), "spec.tasks.work.retry.attempts"),
        (job(retry={"attempts": 2, "backoff": {"factor": 0.5}}), "spec.tasks.work.retry.backoff.factor"),
        (job(retry={"attempts": 2, "backoff": {"jitter": 1.5}}), "spec.tasks.work.retry.backoff.jitter"),
        (job(retry={"attempts": 2, "backoff": {"initial": "soon"}}), "spec.tasks.work.retry.backoff.initial"),
        (job(retry={"attempts": 2, "reasons": ["InvalidJob"]}), "spec.tasks.work.retry.reasons[0]"),
        (job(retry={"attempts": 2, "reasons": ["JobLost", "Cancelled"]}), "spec.tasks.work.retry.reasons[1]"),
        (nap("1s", retry={"attempts": 2}), "spec.tasks.work.retry"),
        (nap("1s", attemptTimeout="2s"), "spec.tasks.work.attemptTimeout"),
    ],
)
def test_what_makes_no_sense_is_named(task: dict[str, Any], path: str) -> None:
    found = problems(manifest({"start": [{"task": "work"}]}, tasks={"work": task}))

    assert [problem.path for problem in found] == [path]


def test_a_policy_has_kubernetes_like_defaults() -> None:
    task = program({}, tasks={"work": job(retry={"attempts": 5})}).tasks["work"]

    assert task.retry == RetryPolicy(5, 10, 2, 600, 0.1, frozenset())
    assert task.attempts == 5
    assert program({}, tasks={"work": job(retry={"attempts": 1})}).tasks["work"].retry is None


# ── simulated ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_attempts_come_due_by_the_simulated_clock() -> None:
    def answer(work: TaskWork) -> StubbedEnd:
        return StubbedEnd(reason="JobFailed") if work.attempt < 3 else StubbedEnd(result="ok")

    made = run(message("q", correlationid="s"), answer=answer, agents=(TRYING,), advance=timedelta(minutes=1))
    short = run(
        message("q", correlationid="s"), answer=answer, agents=(TRYING,), advance=timedelta(seconds=15)
    )

    assert made.ledgers[TRYING.agent].sessions["s"].state["done"]["attempt"] == 3
    assert [item.decision.outcome for step in made.steps for item in step.deliveries] == [
        "handled",
        "retried",
        "due",
        "retried",
        "due",
        "handled",
    ]
    assert record_of(short.ledgers[TRYING.agent]).phase == "Retrying"


def test_a_simulated_attempt_that_does_not_answer_is_timed_out() -> None:
    agent = trying(attemptTimeout="5s")
    made = run(message("q", correlationid="s"), agents=(agent,), advance=timedelta(minutes=2))

    failed = made.ledgers[agent.agent].sessions["s"].state["failed"]
    assert (failed["reason"], failed["attempt"]) == ("DeadlineExceeded", 3)
    assert failed["message"].startswith("attempt 3 was not done by ")


def test_attempts_that_are_multiplied_by_pods_are_pointed_out() -> None:
    def warned(task: dict[str, Any]) -> list[str]:
        agent = parse_agent(manifest({"start": [{"task": "work"}]}, tasks={"work": task}))
        return [str(problem) for problem in lint_agent(agent) if "backoffLimit" in problem.path]

    bounded = job(retry={"attempts": 2})
    bounded["job"]["backoffLimit"] = 0

    assert [text.split(";")[0] for text in warned(job(retry={"attempts": 2}))] == [
        "spec.tasks.work.job.backoffLimit: is missing, so each of 2 attempts starts up to 7 pods"
    ]
    assert warned(bounded) == []
    assert warned(job()) == []


# ── what the end of an attempt says of the next one ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(None, 10), (5, 10), (25.5, 25.5), (0, 10), (-1, 10), ("60", 10), (True, 10), (1e9, 86400)],
)
def test_the_next_attempt_waits_as_long_as_the_last_one_asked_for(said: Any, seconds: float) -> None:
    ledger, task = begun()
    told = failure(2, task, reason="HttpStatus", **({} if said is None else {"retryAfter": said}))

    decision = decide(TRYING, ledger, told)

    assert decision.ledger.pending_tasks[task].due == at(2 + seconds)


@pytest.mark.parametrize(("said", "final"), [(False, True), (True, False), (None, False), (0, False)])
def test_an_attempt_that_is_not_to_be_repeated_is_the_last_one(said: Any, final: bool) -> None:
    ledger, task = begun()

    decision = decide(TRYING, ledger, failure(2, task, reason="HttpStatus", retryable=said))

    assert (task not in decision.ledger.pending_tasks) is final


@pytest.mark.parametrize("reason", ["CallLost", "DeadlineExceeded", "BadResult", "Error", "HttpUnreachable"])
@pytest.mark.parametrize("key", ["PerTask", "None"])
def test_a_call_is_not_repeated_where_it_may_have_been_served(reason: str, key: str) -> None:
    http = {"url": "https://a.test", "method": "POST", "idempotencyKey": key}
    agent = program(
        {"name": "begin", "start": [{"task": "work"}]},
        tasks={"work": {"http": http, "retry": {"attempts": 2}}},
    )
    ledger, task = begun(agent)

    decision = decide(agent, ledger, failure(2, task, reason=reason))

    repeated = key == "PerTask" or reason == "HttpUnreachable"
    assert (task in decision.ledger.pending_tasks) is repeated
