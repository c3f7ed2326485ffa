"""How tasks end in a simulation, and what they say before."""

from heed import names
from heed.core.effects import TaskWork
from heed.core.simulation.steps import StubbedEnd
from tests.builders.agents import AGENT, NAMESPACE, job, program
from tests.unit.simulations import HALT, STOP, WORKER, in_turn, message, run, state, stored_types, told

# ── how tasks end ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_is_not_answered_stays_pending() -> None:
    finished = run(message("a"))

    (task,) = finished.ledgers[WORKER.agent].pending_tasks.values()
    (work,) = finished.steps[0].deliveries[0].started
    assert (task.phase, task.owed, task.input, work.task, work.document["input"]) == (
        "Started",
        None,
        "a",
        "work",
        "a",
    )
    assert stored_types(finished) == ["asked"]


def test_an_answer_is_all_that_an_agent_hears_of_an_end() -> None:
    failed = run(message("a"), answer=StubbedEnd(None, "JobFailed", "sorry", 3, "OOMKilled", "main"))

    assert state(run(message("a"), answer=StubbedEnd(result=[1])), "a")["got"] == {
        "task": "work",
        "result": [1],
        "attempt": 1,
    }
    assert state(run(message("a"), answer=StubbedEnd()), "a")["got"] == {"task": "work", "attempt": 1}
    assert state(failed, "a")["lost"] == {
        "task": "work",
        "reason": "JobFailed",
        "message": "sorry",
        "exitCode": 3,
        "cause": "OOMKilled",
        "container": "main",
        "attempt": 1,
    }


def test_an_end_has_an_id_that_derives_from_its_task() -> None:
    first, end, _ = run(message("a"), answer=StubbedEnd()).steps
    (task,) = [work.id for work in first.deliveries[0].started]

    assert end.message.event.id == names.digest("simulated", task)
    assert (end.message.event.subject, end.message.subject) == (
        task,
        names.inbox_subject(NAMESPACE, AGENT, names.TASK_COMPLETED),
    )


def test_a_task_that_can_be_no_job_fails_whatever_the_answer() -> None:
    agent = program(
        {"start": [{"task": "work"}]},
        {"type": names.TASK_FAILED, "state": {"lost": "${event.data}"}},
        tasks={"work": {"job": {"parallelism": "${event.type}", **job()["job"]}}},
    )

    finished = run(message("a"), answer=StubbedEnd(result=1), agents=(agent,))

    (session,) = finished.ledgers[agent.agent].sessions.values()
    assert session.state["lost"] == {
        "task": "work",
        "reason": "InvalidJob",
        "attempt": 1,
        "message": 'spec.tasks.work.job.parallelism: is a string ("com.example.question.asked"), not a whole number; '
        "write a whole number",
    }


def test_a_cancelled_task_ends_as_cancelled_once() -> None:
    finished = run(message("a"), message("b", HALT, correlationid="a"), message("c", HALT, correlationid="a"))

    assert stored_types(finished) == ["asked", "halt", "failed", "halt"]
    assert state(finished, "a")["lost"] == {"task": "work", "reason": "Cancelled"}
    (task,) = [work.id for work in finished.steps[0].deliveries[0].started]
    assert finished.steps[2].message.event.id == names.digest("cancelled", task)
    assert [step.deliveries[0].cancelled for step in finished.steps] == [(), (task,), (), ()]


def test_the_task_of_a_session_that_ended_is_stopped_and_not_heard_of_again() -> None:
    finished = run(message("a"), message("b", STOP, correlationid="a"))

    assert stored_types(finished) == ["asked", "stop"]
    assert len(finished.steps[1].deliveries[0].cancelled) == 1
    assert not finished.ledgers[WORKER.agent].pending_tasks


def test_an_end_may_wait_for_a_given_event_and_all_that_comes_of_it() -> None:
    def late(work: TaskWork) -> StubbedEnd:
        return StubbedEnd(after="b") if work.document["input"] == "a" else StubbedEnd()

    assert stored_types(run(message("a"), message("b"), message("c", STOP), answer=late)) == [
        *("asked", "asked", "completed", "done", "completed", "done", "stop")
    ]


def test_an_end_that_waits_for_an_event_that_was_stored_before_does_not_wait() -> None:
    def late(work: TaskWork) -> StubbedEnd:
        return StubbedEnd(after="a")

    assert stored_types(run(message("a"), message("b"), answer=late)) == ["asked", "completed", "done"] * 2


def test_an_end_that_waits_for_what_never_comes_is_pending() -> None:
    assert stored_types(run(message("a"), message("b", STOP), answer=StubbedEnd(after="z"))) == [
        "asked",
        "stop",
    ]


def test_an_end_that_waits_is_not_told_once_its_task_was_cancelled() -> None:
    halted = message("b", HALT, correlationid="a")

    assert stored_types(run(message("a"), halted, message("c", STOP), answer=StubbedEnd(after="c"))) == [
        *("asked", "halt", "failed", "stop")
    ]


def test_only_given_events_release_an_end() -> None:
    """An emitted event has an id too, and so has a task's end."""
    ends = {names.event_id(f"{WORKER.agent.uid}", 1, 0), names.event_id(WORKER.agent.uid, 2, 0)}

    for id_ in ends:
        finished = run(
            message("a"),
            message("b"),
            message("c", STOP),
            answer=in_turn(StubbedEnd(), StubbedEnd(after=id_)),
        )
        assert stored_types(finished) == ["asked", "completed", "done", "asked", "stop"]


# ── what tasks say ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_runs_says_how_far_it_is() -> None:
    finished = run(message("a"), told("p1", names.TASK_PROGRESS, 40), told("p2", names.TASK_PROGRESS, 80))

    (task,) = finished.ledgers[WORKER.agent].pending_tasks
    assert state(finished, "a")["heard"] == 80
    assert [step.message.subject for step in finished.steps[1:]] == [
        names.task_subject(NAMESPACE, AGENT, task, names.TASK_PROGRESS)
    ] * 2
    assert [step.message.event.subject for step in finished.steps[1:]] == [task] * 2


def test_the_end_that_a_task_tells_is_its_only_one() -> None:
    done = told("d", names.TASK_COMPLETED, {"result": 1})

    finished = run(message("a"), done, message("b", STOP), answer=StubbedEnd(after="b"))

    assert stored_types(finished) == ["asked", "completed", "done", "stop"]
    assert state(finished, "a")["got"] == {"result": 1}
    assert finished.steps[1].message.subject == names.inbox_subject(NAMESPACE, AGENT, names.TASK_COMPLETED)


def test_the_oldest_task_of_that_name_that_runs_is_who_says_it() -> None:
    done = [told(id_, names.TASK_COMPLETED) for id_ in ("d1", "d2", "d3")]

    finished = run(message("a"), message("b"), *done)

    first, second = (step.deliveries[0].started[0].id for step in finished.steps[:2])
    ends = [step for step in finished.steps if step.message.event.type == names.TASK_COMPLETED]
    assert [step.message.event.subject for step in ends] == [first, second, "work-none"]
    assert [step.deliveries[0].decision.outcome for step in ends] == ["handled", "handled", "stale"]


def test_what_a_task_of_another_name_says_is_not_that_tasks() -> None:
    finished = run(message("a"), told("d", names.TASK_COMPLETED, task="other"))

    assert finished.steps[1].message.event.subject == "other-none"
    assert finished.steps[1].deliveries[0].decision.outcome == "stale"
