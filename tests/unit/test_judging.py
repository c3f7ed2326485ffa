"""What admission says of each kind of object, word by word."""

from typing import Any

import pytest

from heed.api.policy import parse_event_type
from heed.core.compiler.admission import (
    ADMITTED,
    AdmissionRequest,
    AdmissionVerdict,
    ClusterContext,
    check_event_type,
    is_unchanged,
    judge,
)
from heed.core.schema.registry import compile_type
from heed.errors import Problem

Document = dict[str, Any]


def document(kind: str, spec: Any, name: str = "it", namespace: str = "demo", **metadata: Any) -> Document:
    metadata = {"name": name, "namespace": namespace, **metadata}
    return {"apiVersion": "heed.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def agent(
    name: str = "it", emits: str = "x.done", hears: str | None = None, when: str = "true", **more: Any
) -> Document:
    subscription = {"type": "x.asked"} | ({"namespace": hears} if hears else {})
    handler = {"name": "h", "type": "x.asked", "when": when, "emit": [{"type": emits}]}
    return document("Agent", {"subscribe": [subscription], "handlers": [handler], **more}, name)


def policy(*emissions: str, name: str = "strict", namespace: str = "demo") -> Document:
    spec = {"agentSelector": {}, "emissions": [{"type": item} for item in emissions]}
    return document("AgentPolicy", spec, name, namespace)


def grant(*types: str, name: str = "g") -> Document:
    return document("EventGrant", {"from": [{"namespace": "demo"}], "types": list(types)}, name, "shop")


def event_type(
    name: str = "asked", created: str | None = None, type_: str = "x.asked", **spec: Any
) -> Document:
    metadata = {} if created is None else {"creationTimestamp": created}
    return document("EventType", {"type": type_, "schema": {}, **spec}, name, **metadata)


def judged(new: Document, old: Document | None = None, **around: Any) -> AdmissionVerdict:
    return judge(AdmissionRequest(new["kind"], new, old), ClusterContext(**around))


DONE = "AgentPolicy demo/strict allows no emission of x.done; allowed: x.none"
REMEDY = "change it, or ask who may change the policy"
EMITS = Problem("spec.handlers[0].emit[0].type", DONE, REMEDY, "PolicyViolation")


# ── what is judged at all ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("new", "old", "is_passed"),
    [
        (agent(), None, False),
        (agent(), agent(), True),
        (agent(emits="y"), agent(), False),
        ({**agent(), "metadata": {"labels": {"a": "b"}}}, agent(), False),
        ({**agent(), "metadata": {"labels": {}}}, agent(), True),
        ({**agent(), "metadata": None}, {**agent(), "metadata": None}, True),
        ({**agent(), "metadata": {"deletionTimestamp": "now"}}, None, True),
        ({**policy(), "metadata": {"labels": {"a": "b"}}}, policy(), True),
        ({}, {}, True),
    ],
)
def test_only_what_is_new_is_judged(new: Document, old: Document | None, is_passed: bool) -> None:
    assert is_unchanged(AdmissionRequest(str(new.get("kind", "Agent")), new, old)) is is_passed


@pytest.mark.parametrize("kind", ["Agent", "AgentPolicy", "EventGrant", "EventType"])
def test_what_cannot_be_read_is_refused(kind: str) -> None:
    (problem,) = judged(document(kind, None)).problems

    assert problem.path == "spec"


# ── Agents ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_agent_is_refused_for_what_it_may_not_do() -> None:
    assert judged(agent(), policies=[policy("x.none")]) == AdmissionVerdict((EMITS,), ())


def test_an_agent_that_only_got_other_labels_is_warned() -> None:
    old = agent()
    new = {**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}

    assert judged(new, old, policies=[policy("x.none")]) == AdmissionVerdict((), (str(EMITS),))
    assert judged(new, old) == ADMITTED


def test_an_agent_that_waits_for_a_grant_is_told() -> None:
    assert judged(agent(hears="shop")) == AdmissionVerdict(
        (),
        (
            "it waits until it is granted: spec.subscribe[0].namespace: no EventGrant of namespace shop grants x.asked "
            "to demo; nothing is granted; ask those of shop for an EventGrant from namespace demo",
        ),
    )
    assert judged(agent(hears="shop"), grants=[{"kind": "EventGrant"}, grant("x.asked")]) == ADMITTED


def test_advice_and_doubts_are_warnings_but_nothing_of_laptops() -> None:
    tasks = {"work": {"job": {"template": {"spec": {"containers": [{"name": "a", "image": "a:1"}]}}}}}
    found = judged(agent(tasks=tasks, when="event.id + 1 == 2"))

    assert found.problems == ()
    doubt, *others = found.warnings
    assert doubt.startswith("spec.handlers[0].when: fails for every event")
    assert others == [
        "spec.tasks.work: no handler reacts to its failure; "
        "add one with the type dev.heed.task.failed, or dev.heed.task.*",
        "spec.tasks.work: no handler starts this task; remove it, or start it",
    ]


# ── policies and grants ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_policy_says_whom_it_stops_and_why() -> None:
    agents = [agent("a"), agent("b", emits="x.none"), document("Agent", None, "c")]

    assert judged(policy("x.none"), agents=agents) == AdmissionVerdict((), (f"stops Agent demo/a: {EMITS}",))
    assert judged(policy("x.none"), agents=agents, policies=[policy("x.done", name="other")]) == ADMITTED


@pytest.mark.parametrize(
    ("count", "more"), [(5, []), (6, ["stops 1 more Agents"]), (9, ["stops 4 more Agents"])]
)
def test_five_agents_that_are_stopped_are_named(count: int, more: list[str]) -> None:
    agents = [agent(f"a{index}") for index in range(count)]

    warnings = judged(policy("x.none"), agents=agents).warnings

    assert [item.partition(":")[0] for item in warnings] == [
        *(f"stops Agent demo/a{index}" for index in range(5)),
        *more,
    ]


def test_a_look_that_was_not_complete_says_so() -> None:
    said = "there are more Agents than were looked at; see their condition Ready"

    assert judged(policy("x.none"), complete=False).warnings == (said,)
    hurried = judge(
        AdmissionRequest("AgentPolicy", policy("x.none")), ClusterContext(agents=[agent()]), lambda: False
    )
    assert hurried.warnings == (said,)


def test_a_grant_that_gives_less_says_whom_it_stops() -> None:
    heard = agent(hears="shop")

    found = judged(grant("y"), grant("x.>"), grants=[grant("x.>")], agents=[heard])

    assert found == AdmissionVerdict(
        (),
        (
            "stops Agent demo/it: spec.subscribe[0].namespace: no EventGrant of namespace shop grants x.asked to demo; "
            "granted: y; ask those of shop for an EventGrant from namespace demo",
        ),
    )
    others = [grant("x.>"), grant("x.asked", name="more")]
    assert judged(grant("y"), grant("x.>"), grants=others, agents=[heard]) == ADMITTED


# ── event types ─────────────────────────────────────────────────────────────────────────────────────────────────────

YOUNGER = "takes effect instead of EventType demo/asked, which is younger"
OLDER = "has no effect: EventType demo/asked, which is older, describes x.asked already"
DAY, NEXT = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


@pytest.mark.parametrize(
    ("mine", "other", "said"),
    [
        (event_type("mine", NEXT), event_type(created=DAY), (OLDER,)),
        (event_type("mine", DAY), event_type(created=NEXT), (YOUNGER,)),
        (event_type("mine", DAY), event_type(created=DAY), (OLDER,)),
        (event_type("a", DAY), event_type(created=DAY), (YOUNGER,)),
        (event_type("mine"), event_type(created=DAY), (OLDER,)),
        (event_type("mine", DAY), event_type(), (YOUNGER,)),
        (event_type("mine", NEXT), event_type(created=DAY, type_="x.other"), ()),
        (event_type("mine", NEXT), event_type("mine", DAY), ()),
        (event_type("mine", NEXT), {"kind": "EventType"}, ()),
    ],
)
def test_of_types_that_describe_one_type_the_oldest_counts(
    mine: Document, other: Document, said: tuple[str, ...]
) -> None:
    assert judged(mine, types=[other]) == AdmissionVerdict((), said)


def test_after_an_older_one_no_other_is_named() -> None:
    types = [event_type("young", "2027-01-01T00:00:00Z"), event_type(created=DAY), event_type("old", DAY)]

    assert judged(event_type("mine", NEXT), types=types).warnings == (
        "takes effect instead of EventType demo/young, which is younger",
        OLDER,
    )


def test_examples_fit_their_schema() -> None:
    item = parse_event_type(event_type(schema={"type": "object"}, examples=[{}, 7, "x"]))

    found = list(check_event_type(compile_type(item)))

    assert [(problem.path, problem.remedy) for problem in found] == [
        ("spec.examples[1]", "correct the example, or the schema"),
        ("spec.examples[2]", "correct the example, or the schema"),
    ]
    assert found[0].message == "EventType demo/asked of x.asked: data: is a number, not object"
