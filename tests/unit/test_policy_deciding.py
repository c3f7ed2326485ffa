"""What only shows when an event is decided is refused then: a dead letter that names the policy, and nothing else."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.status import TaskRate
from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision, decide
from heed.core.effects import CancelTask
from heed.core.events import Event, Received, Redrive
from heed.core.ledger.ledger import Ledger, dump_ledger, load_ledger, make_patch, settle
from heed.core.policy.permissions import UNRESTRICTED
from tests.builders.agents import ASKED, job
from tests.builders.decisions import decide_each, emitted, only_task
from tests.builders.events import at, received, task_end
from tests.builders.policies import allowed_by, grant, policy, restricted
from tests.builders.values import as_stored, merged

ANY_TASK = {"from": "${event.data.tasks}"}
STARTING = {"name": "go", "start": [{"task": "work", "input": "${event.data}"}]}
MANY = {"name": "many", "start": [{"from": "${event.data.map(n, {'task': 'work', 'input': n})}"}]}
EMITTING = {"name": "say", "emit": [{"from": "${event.data}"}]}


def pod_of(image: str = "example/work:1", **pod: Any) -> dict[str, Any]:
    """A task whose pod has one container, and more."""
    return {"job": {"template": {"spec": {"containers": [{"name": "main", "image": image}], **pod}}}}


def given(restriction: Mapping[str, Any], *handlers: dict[str, Any], **spec: Any) -> Program:
    """An Agent under one policy."""
    return restricted(allowed_by(policy(**restriction)), *handlers, **spec)


def first(agent: Program, data: Any = None, **more: Any) -> Decision:
    """The decision on the first event."""
    return decide(agent, Ledger(), received(1, data=data, **more))


def violation(decision: Decision) -> tuple[str, str | None]:
    """The message and the handler of a dead letter that says PolicyViolation, of which nothing else came."""
    assert decision.letter is not None and decision.letter.code == "PolicyViolation"
    assert len(decision.effects) == 1 and not decision.ledger.sessions and not decision.ledger.pending_tasks
    return decision.letter.message, decision.letter.handler


# ── emissions ───────────────────────────────────────────────────────────────────────────────────────────────────────

EMISSIONS = {"emissions": [{"type": "com.example.*"}]}


@pytest.mark.parametrize(
    "item",
    [
        {"type": "org.example.x"},
        {"type": "com.example.x.y"},
        {"type": "com.Example.x"},
        {"type": "com.example"},
        {"type": "org.example.x", "to": "other"},
        {"type": "com.example.x", "to": "other"},
        {"type": "com.example.x"},
    ],
)
def test_a_computed_emission_is_checked_when_it_is_known(item: dict[str, Any]) -> None:
    decision = first(given(EMISSIONS, EMITTING), [item])

    if item["type"] == "com.example.x":
        assert [event.type for event in emitted(decision)] == ["com.example.x"]
    else:
        message, handler = violation(decision)
        assert message.startswith(f"AgentPolicy demo/strict allows no emission of {item['type']}; allowed: ")
        assert handler == "say"


def test_one_emission_that_is_not_allowed_stops_the_whole_decision() -> None:
    agent = given(EMISSIONS, {"name": "remember", "state": {"n": 1}}, EMITTING)

    violation(first(agent, [{"type": "com.example.x"}, {"type": "x"}]))


def test_a_message_to_an_agent_stays_in_the_namespace() -> None:
    decision = first(given(EMISSIONS, EMITTING), [{"type": "com.example.x", "to": "shop.other"}])

    assert decision.letter is not None and decision.letter.code == "BadReceiver"


def test_a_letter_that_is_redriven_meets_the_policy_again() -> None:
    agent, event = given(EMISSIONS, EMITTING), received(1, data=[{"type": "x"}])
    refused = decide(agent, Ledger(), event)
    subject = names.redrive_subject("demo", "researcher", ASKED)
    again = Received(2, at(2), subject, event.event, Redrive("f" * 32, 2))

    still = decide(agent, refused.ledger, again)
    allowed_now = decide(replace(agent, permissions=UNRESTRICTED), refused.ledger, again)

    violation(still)
    assert [item.type for item in emitted(allowed_now)] == ["x"]


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("task", "data"),
    [
        (pod_of("${input.image}"), {"image": "evil/x"}),
        (pod_of("example/${input.image}"), {"image": "../evil"}),
        (pod_of("$${input}"), {}),
        (pod_of(initContainers="${input.more}"), {"more": [{"name": "i", "image": "evil/x"}]}),
        (pod_of(initContainers=["${input.more}"]), {"more": {"name": "i", "image": "evil/x"}}),
        (pod_of(ephemeralContainers="${input.more}"), {"more": [{"name": "i", "image": "evil/x"}]}),
        (pod_of(volumes="${input.more}"), {"more": [{"name": "v", "image": {"reference": "evil/x"}}]}),
        (pod_of(serviceAccountName="${input.account}"), {"account": "robot"}),
        (pod_of(serviceAccount="${input.account}"), {"account": "robot"}),
        (pod_of(serviceAccountName="${input.account}", serviceAccount="robot"), {"account": ""}),
    ],
)
def test_a_rendered_pod_is_checked(task: dict[str, Any], data: Any) -> None:
    agent = replace(
        restricted(UNRESTRICTED, STARTING, tasks={"work": task}),
        permissions=allowed_by(policy(tasks={"images": ["example/work*"], "serviceAccounts": ["default"]})),
    )

    message, handler = violation(first(agent, data))

    assert message.startswith("spec.tasks.work.job: AgentPolicy demo/strict allows no ")
    assert handler == "go"


def test_what_is_rendered_within_the_policy_starts() -> None:
    may = {"tasks": {"images": ["example/*"], "serviceAccounts": ["robot", "default"]}}
    agent = given(
        may, STARTING, tasks={"work": pod_of("example/${input.image}", serviceAccount="${input.as}")}
    )

    decision = first(agent, {"image": "work:2", "as": "robot"})

    assert only_task(decision.ledger)


def test_a_computed_start_is_checked_as_any_other() -> None:
    tasks = {"work": pod_of("${input}")}
    agent = given({"tasks": {"images": ["example/*"]}}, {"name": "any", "start": [ANY_TASK]}, tasks=tasks)

    message, handler = violation(
        first(agent, {"tasks": [{"task": "work", "input": "example/x"}, {"task": "work", "input": "evil/x"}]})
    )

    assert "image evil/x" in message and handler == "any"


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────────────────────

REMEMBER = {"name": "remember", "when": "event.type == 'com.example.question.asked'", "state": {"n": 1}}
FORGET = {"name": "forget", "type": "com.example.stop", "end": True}


def outcomes(decisions: list[Decision]) -> list[str | None]:
    """The codes of dead letters, None for what was not dead-lettered."""
    return [decision.letter.code if decision.letter else None for decision in decisions]


def test_there_are_no_more_sessions_than_allowed() -> None:
    agent = given({"limits": {"sessions": 2}}, REMEMBER, FORGET)
    again = received(5, id_="e5", correlationid="e1")
    stop = received(6, "com.example.stop", correlationid="e1")

    decisions = decide_each(
        agent, [*(received(n) for n in (1, 2, 3, 4)), again, stop, received(7), received(8)]
    )

    refused = "PolicyViolation"
    assert outcomes(decisions) == [None, None, refused, refused, None, None, None, refused]
    assert decisions[2].letter is not None and decisions[2].letter.message == (
        "AgentPolicy demo/strict allows at most 2 sessions; this event would open another one"
    )
    assert set(decisions[-1].ledger.sessions) == {"e2", "e7"}


def test_what_leaves_no_session_needs_no_room_for_one() -> None:
    agent = given({"limits": {"sessions": 0}}, EMITTING)

    assert emitted(first(agent, [{"type": "x"}]))


def test_sessions_that_are_more_than_a_new_limit_go_on() -> None:
    before = decide_each(restricted(UNRESTRICTED, REMEMBER), [received(n) for n in (1, 2, 3)])[-1].ledger
    fleeting = {"name": "fleeting", "type": "com.example.ping", "emit": [{"type": "x"}]}
    agent = given({"limits": {"sessions": 1}}, REMEMBER, fleeting)

    known = decide(agent, before, received(4, correlationid="e2"))
    new = decide(agent, before, received(4))
    none = decide(agent, before, received(4, "com.example.ping"))

    assert known.outcome == none.outcome == "handled" and len(known.ledger.sessions) == 3
    assert new.letter is not None and new.letter.code == "PolicyViolation"


def test_there_are_no_more_pending_tasks_than_allowed() -> None:
    agent = given({"limits": {"pendingTasks": 3}}, MANY, FORGET, tasks={"work": job()})
    (two, more, one, over) = (received(n, data=[0] * count) for n, count in ((1, 2), (2, 2), (3, 1), (4, 1)))

    decisions = decide_each(agent, [two, more, one, over])
    ledger = decisions[-1].ledger
    ended = decide_each(agent, [task_end(5, min(ledger.pending_tasks)), received(6, data=[0])], ledger)

    assert outcomes(decisions) == [None, "PolicyViolation", None, "PolicyViolation"]
    assert decisions[1].letter is not None and decisions[1].letter.message == (
        "AgentPolicy demo/strict allows at most 3 pending tasks; there are 2, and 2 more would start"
    )
    assert outcomes(ended) == [None, None]


def test_abandoned_tasks_do_not_count_whether_they_are_gone_already_or_not() -> None:
    agent = given({"limits": {"pendingTasks": 1}}, MANY, FORGET, tasks={"work": job()})
    stop = received(2, "com.example.stop", correlationid="e1")
    started, stopped = decide_each(agent, [received(1, data=[0]), stop])
    gone = settle(stopped.ledger, [effect for effect in stopped.effects if isinstance(effect, CancelTask)])

    here, away = (decide(agent, ledger, received(3, data=[0])) for ledger in (stopped.ledger, gone))

    assert len(stopped.ledger.pending_tasks) == 1 and not gone.pending_tasks
    assert outcomes([started, here, away]) == [None, None, None]


def test_tasks_that_end_with_their_session_make_room_for_those_of_the_same_decision() -> None:
    afresh = {"name": "afresh", "type": "com.example.again", "start": [{"task": "work"}]}
    agent = given(
        {"limits": {"pendingTasks": 1}},
        MANY,
        {"name": "end", "type": "com.example.again", "end": True},
        afresh,
        tasks={"work": job()},
    )

    decisions = decide_each(
        agent, [received(1, data=[0]), received(2, "com.example.again", correlationid="e1")]
    )

    assert outcomes(decisions) == [None, None]


def test_tasks_per_minute_are_counted_by_the_minutes_of_the_stream() -> None:
    agent = given({"limits": {"tasksPerMinute": 2}}, MANY, tasks={"work": job()})
    times = [0, 30, 59.9, 60, 61, 59, 119, 120]
    events = [received(n + 1, data=[0], time=time) for n, time in enumerate(times)]

    decisions = decide_each(agent, events)

    refused = "PolicyViolation"
    # The stream's clock at 59 after 61 is behind: what counts is how far it has come.
    assert outcomes(decisions) == [None, None, refused, None, None, refused, refused, None]
    assert decisions[2].letter is not None and decisions[2].letter.message == (
        "AgentPolicy demo/strict allows at most 2 tasks per minute; 2 have started, and 1 more would"
    )
    assert decisions[-1].ledger.task_rate == TaskRate(at(120)[:16] + ":00Z", 1)


def test_the_count_is_kept_in_the_status_and_only_while_something_limits_it() -> None:
    limited = given({"limits": {"tasksPerMinute": 5}}, MANY, tasks={"work": job()})
    open_ = restricted(UNRESTRICTED, MANY, tasks={"work": job()})

    counted = first(limited, [0, 0])
    status = as_stored(dump_ledger(counted.ledger))
    free = decide(open_, load_ledger(status), received(2, data=[0]))

    assert status["taskRate"] == {"minute": at(0)[:16] + ":00Z", "started": 2}
    assert load_ledger(status).task_rate == counted.ledger.task_rate
    assert as_stored(merged(status, make_patch(counted.ledger, free.ledger))) == as_stored(
        dump_ledger(free.ledger)
    )
    assert "taskRate" not in dump_ledger(free.ledger)
    assert "taskRate" not in make_patch(Ledger(), first(open_, [0]).ledger)


def test_a_count_that_nothing_limits_any_more_goes_with_a_cursor_that_was_taken_away() -> None:
    status = {"taskRate": {"minute": at(0)[:16] + ":00Z", "started": 2}}
    before = load_ledger(status)

    after = decide(
        restricted(UNRESTRICTED, MANY, tasks={"work": job()}), before, received(2, data=[0])
    ).ledger

    assert "taskRate" not in merged(status, make_patch(before, after))


def test_a_decision_that_fails_uses_nothing_up() -> None:
    agent = given({"limits": {"tasksPerMinute": 1}}, MANY, EMITTING, tasks={"work": job()})
    broken = received(1, data=[1])  # cannot be emitted

    failed, fine = decide_each(agent, [broken, received(2, data=[{"type": "x"}])])

    assert outcomes([failed, fine]) == ["BadList", None]


def test_events_stay_near_their_origin() -> None:
    agent = given({"limits": {"hops": 2}}, EMITTING)
    data = [{"type": "x"}]

    near, far = first(agent, data, heedhops=1), first(agent, data, heedhops=2)

    assert [event.hops for event in emitted(near)] == [2]
    message, _ = violation(far)
    assert (
        message == "AgentPolicy demo/strict allows at most 2 hops; the event is 2 decisions from its origin"
    )
    assert first(agent, [], heedhops=60).outcome == "handled"


def test_a_policy_cannot_raise_the_limit_of_hops() -> None:
    agent = given({"limits": {"hops": 1000}}, EMITTING)

    decision = first(agent, [{"type": "x"}], heedhops=64)

    assert decision.letter is not None and decision.letter.code == "HopLimit"


# ── events of other namespaces ──────────────────────────────────────────────────────────────────────────────────────


def of_shop(sequence: int, id_: str) -> Received:
    """An event of another namespace."""
    return Received(sequence, at(sequence), names.event_subject("shop", ASKED), Event(id_, "/shop", ASKED))


def neighbour(*subscribe: dict[str, Any]) -> Program:
    return restricted(allowed_by(grants=[grant("shop", ">")]), REMEMBER, subscribe=list(subscribe))


def test_an_event_is_subscribed_to_in_its_own_namespace_only() -> None:
    shop = {"type": ASKED, "namespace": "shop"}

    assert decide(neighbour(shop), Ledger(), of_shop(1, "a")).outcome == "handled"
    assert decide(neighbour({"type": ASKED}), Ledger(), of_shop(1, "a")).outcome == "ignored"
    assert decide(neighbour(shop), Ledger(), received(1)).outcome == "ignored"


def test_a_condition_holds_for_the_events_of_its_subscription() -> None:
    agent = neighbour({"type": ASKED, "namespace": "shop", "where": "false"}, {"type": ASKED})

    assert decide(agent, Ledger(), of_shop(1, "a")).outcome == "ignored"
    assert decide(agent, Ledger(), received(1)).outcome == "handled"


def test_nobody_elsewhere_can_make_an_event_of_this_namespace_a_duplicate() -> None:
    agent = neighbour({"type": ASKED, "namespace": "shop"}, {"type": ASKED})

    theirs, ours, again = decide_each(agent, [of_shop(1, "e2"), received(2), of_shop(3, "e2")])

    assert [item.outcome for item in (theirs, ours, again)] == ["handled", "handled", "duplicates"]


def test_emitted_events_stay_in_the_agents_namespace() -> None:
    agent = restricted(
        allowed_by(grants=[grant("shop", ">")]),
        {"emit": [{"type": "x"}, {"type": "y", "to": "other"}]},
        subscribe=[{"type": ASKED, "namespace": "shop"}],
    )

    decision = decide(agent, Ledger(), of_shop(1, "a"))

    assert sorted(item.subject for item in decision.ledger.outbox.values()) == [
        "heed.events.demo.x",
        "heed.inbox.demo.other.y",
    ]


def test_the_same_events_make_the_same_decisions_under_a_policy() -> None:
    may = {"limits": {"sessions": 2, "pendingTasks": 3, "tasksPerMinute": 2}, "emissions": [{"type": "x"}]}
    agent = given(may, MANY, REMEMBER, FORGET, tasks={"work": job()})
    events = [received(n, data=[0] * (n % 3), time=7 * n) for n in range(1, 20)]

    one, other = decide_each(agent, events), decide_each(agent, events)

    assert dump_ledger(one[-1].ledger) == dump_ledger(other[-1].ledger)
    assert {"PolicyViolation", None} == set(outcomes(one))
