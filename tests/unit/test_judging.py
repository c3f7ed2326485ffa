"""What admission says of each kind of object, word by word."""

import pytest

from heed.api.event_type import parse_event_type
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
from tests.builders.manifests import Manifest, document
from tests.unit.reviews import allowing, asked_type, emitter, granting, judged

DONE = "AgentPolicy demo/strict allows no emission of x.done; allowed: x.none"
REMEDY = "change it, or ask who may change the policy"
EMITS = Problem("spec.handlers[0].emit[0].type", DONE, REMEDY, "PolicyViolation")


# ── what is judged at all ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("new", "old", "is_passed"),
    [
        (emitter(), None, False),
        (emitter(), emitter(), True),
        (emitter(emits="y"), emitter(), False),
        ({**emitter(), "metadata": {"labels": {"a": "b"}}}, emitter(), False),
        ({**emitter(), "metadata": {"labels": {}}}, emitter(), True),
        ({**emitter(), "metadata": None}, {**emitter(), "metadata": None}, True),
        ({**emitter(), "metadata": {"deletionTimestamp": "now"}}, None, True),
        ({**allowing(), "metadata": {"labels": {"a": "b"}}}, allowing(), True),
        ({}, {}, True),
    ],
)
def test_only_what_is_new_is_judged(new: Manifest, old: Manifest | None, is_passed: bool) -> None:
    assert is_unchanged(AdmissionRequest(str(new.get("kind", "Agent")), new, old)) is is_passed


@pytest.mark.parametrize("kind", ["Agent", "AgentPolicy", "EventGrant", "EventType"])
def test_what_cannot_be_read_is_refused(kind: str) -> None:
    (problem,) = judged(document(kind, None)).problems

    assert problem.path == "spec"


# ── Agents ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_agent_is_refused_for_what_it_may_not_do() -> None:
    assert judged(emitter(), policies=[allowing("x.none")]) == AdmissionVerdict((EMITS,), ())


def test_an_agent_that_only_got_other_labels_is_warned() -> None:
    old = emitter()
    new = {**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}

    assert judged(new, old, policies=[allowing("x.none")]) == AdmissionVerdict((), (str(EMITS),))
    assert judged(new, old) == ADMITTED


def test_an_agent_that_waits_for_a_grant_is_told() -> None:
    assert judged(emitter(hears="shop")) == AdmissionVerdict(
        (),
        (
            "it waits until it is granted: spec.subscribe[0].namespace: no EventGrant of namespace shop grants x.asked "
            "to demo; nothing is granted; ask those of shop for an EventGrant from namespace demo",
        ),
    )
    assert judged(emitter(hears="shop"), grants=[{"kind": "EventGrant"}, granting("x.asked")]) == ADMITTED


def test_advice_and_doubts_are_warnings_but_nothing_of_laptops() -> None:
    tasks = {"work": {"job": {"template": {"spec": {"containers": [{"name": "a", "image": "a:1"}]}}}}}
    found = judged(emitter(tasks=tasks, when="event.id + 1 == 2"))

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
    agents = [emitter("a"), emitter("b", emits="x.none"), document("Agent", None, "c")]

    assert judged(allowing("x.none"), agents=agents) == AdmissionVerdict(
        (), (f"stops Agent demo/a: {EMITS}",)
    )
    assert judged(allowing("x.none"), agents=agents, policies=[allowing("x.done", name="other")]) == ADMITTED


@pytest.mark.parametrize(
    ("count", "more"), [(5, []), (6, ["stops 1 more Agents"]), (9, ["stops 4 more Agents"])]
)
def test_five_agents_that_are_stopped_are_named(count: int, more: list[str]) -> None:
    agents = [emitter(f"a{index}") for index in range(count)]

    warnings = judged(allowing("x.none"), agents=agents).warnings

    assert [item.partition(":")[0] for item in warnings] == [
        *(f"stops Agent demo/a{index}" for index in range(5)),
        *more,
    ]


def test_a_look_that_was_not_complete_says_so() -> None:
    said = "there are more Agents than were looked at; see their condition Ready"

    assert judged(allowing("x.none"), complete=False).warnings == (said,)
    hurried = judge(
        AdmissionRequest("AgentPolicy", allowing("x.none")), ClusterContext(agents=[emitter()]), lambda: False
    )
    assert hurried.warnings == (said,)


def test_a_grant_that_gives_less_says_whom_it_stops() -> None:
    heard = emitter(hears="shop")

    found = judged(granting("y"), granting("x.>"), grants=[granting("x.>")], agents=[heard])

    assert found == AdmissionVerdict(
        (),
        (
            "stops Agent demo/it: spec.subscribe[0].namespace: no EventGrant of namespace shop grants x.asked to demo; "
            "granted: y; ask those of shop for an EventGrant from namespace demo",
        ),
    )
    others = [granting("x.>"), granting("x.asked", name="more")]
    assert judged(granting("y"), granting("x.>"), grants=others, agents=[heard]) == ADMITTED


# ── event types ─────────────────────────────────────────────────────────────────────────────────────────────────────

YOUNGER = "takes effect instead of EventType demo/asked, which is younger"
OLDER = "has no effect: EventType demo/asked, which is older, describes x.asked already"
DAY, NEXT = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


@pytest.mark.parametrize(
    ("mine", "other", "said"),
    [
        (asked_type({}, name="mine", created=NEXT), asked_type({}, created=DAY), (OLDER,)),
        (asked_type({}, name="mine", created=DAY), asked_type({}, created=NEXT), (YOUNGER,)),
        (asked_type({}, name="mine", created=DAY), asked_type({}, created=DAY), (OLDER,)),
        (asked_type({}, name="a", created=DAY), asked_type({}, created=DAY), (YOUNGER,)),
        (asked_type({}, name="mine"), asked_type({}, created=DAY), (OLDER,)),
        (asked_type({}, name="mine", created=DAY), asked_type({}), (YOUNGER,)),
        (asked_type({}, name="mine", created=NEXT), asked_type({}, created=DAY, type_="x.other"), ()),
        (asked_type({}, name="mine", created=NEXT), asked_type({}, name="mine", created=DAY), ()),
        (asked_type({}, name="mine", created=NEXT), {"kind": "EventType"}, ()),
    ],
)
def test_of_types_that_describe_one_type_the_oldest_counts(
    mine: Manifest, other: Manifest, said: tuple[str, ...]
) -> None:
    assert judged(mine, types=[other]) == AdmissionVerdict((), said)


def test_after_an_older_one_no_other_is_named() -> None:
    types = [
        asked_type({}, name="young", created="2027-01-01T00:00:00Z"),
        asked_type({}, created=DAY),
        asked_type({}, name="old", created=DAY),
    ]

    assert judged(asked_type({}, name="mine", created=NEXT), types=types).warnings == (
        "takes effect instead of EventType demo/young, which is younger",
        OLDER,
    )


def test_examples_fit_their_schema() -> None:
    item = parse_event_type(asked_type({"type": "object"}, {}, 7, "x"))

    found = list(check_event_type(compile_type(item)))

    assert [(problem.path, problem.remedy) for problem in found] == [
        ("spec.examples[1]", "correct the example, or the schema"),
        ("spec.examples[2]", "correct the example, or the schema"),
    ]
    assert found[0].message == "EventType demo/asked of x.asked: data: is a number, not object"
