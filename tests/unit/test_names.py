"""Derived names are valid for every input, and different where what they stand for is different."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed import names
from heed.api.fields import DNS_LABEL_PATTERN

LABEL = re.compile(DNS_LABEL_PATTERN)


def labels(size: int) -> st.SearchStrategy[str]:
    """DNS labels of up to so many characters, with many hyphens."""
    inner = st.text("ab0-", max_size=size - 2)
    ends = st.sampled_from("a0z")
    return st.builds(lambda first, middle, last: first + middle + last, ends, inner, ends) | ends


@given(labels(63), labels(40), st.integers(0, 2**63), st.integers(0, 10_000))
def test_a_jobs_name_leaves_room_for_the_highest_index_and_for_the_names_of_pods(
    agent: str, task: str, sequence: int, index: int
) -> None:
    task_id = names.task_id("uid", sequence, index, task)

    name = names.job_name(agent, task_id)

    for label in (name, f"{name}-{2**31 - 2}", f"{name}-{2**31 - 2}-abcde"):
        assert len(label) <= 63
        assert LABEL.fullmatch(label)
    assert name.endswith(f"-{task_id[-16:]}")
    assert name.startswith(agent[0])


@pytest.mark.parametrize(
    ("agent", "task", "name"),
    [
        ("researcher", "work-0123456789abcdef", "researcher-work-0123456789abcdef"),
        ("a" * 24, "work-0123456789abcdef", f"{'a' * 24}-work-0123456789abcdef"),
        ("a" * 25, "work-0123456789abcdef", f"{'a' * 24}-work-0123456789abcdef"),
        (
            "customer-support-escalation-coordinator",
            "summarise-conversation-0123456789abcdef",
            "customer-suppo-summarise-conv-0123456789abcdef",
        ),
        ("ab", f"{'t' * 40}-0123456789abcdef", f"ab-{'t' * 26}-0123456789abcdef"),
    ],
)
def test_both_parts_of_a_long_name_are_cut(agent: str, task: str, name: str) -> None:
    assert names.job_name(agent, task) == name


def test_the_job_of_an_earlier_release_is_known_by_its_name() -> None:
    agent, task = "customer-support-escalation-coordinator", "summarise-conversation-0123456789abcdef"

    assert names.job_names(agent, task) == (
        names.job_name(agent, task),
        "customer-support-escala-summarise-conversation-0123456789abcdef",
    )
    assert names.job_names("researcher", "work-0123456789abcdef") == ("researcher-work-0123456789abcdef",)


@given(st.text())
def test_any_session_key_has_a_hash_that_may_be_a_label(key: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", names.session_hash(key))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (names.digest("a", "bc"), names.digest("ab", "c")),
        (names.digest("a", 1), names.digest("a", "1")),
        (names.digest("a,b"), names.digest("a", "b")),
        (names.event_id("u", 1, 11), names.event_id("u", 11, 1)),
        (names.event_id("u", 1, 0), names.letter_id("u", 1)),
        (names.event_id("u", 1, 0), names.event_id("v", 1, 0)),
        (names.task_id("u", 1, 0, "t"), names.task_id("u", 1, 1, "t")),
        (names.task_id("u", 1, 0, "t"), names.task_id("v", 1, 0, "t")),
    ],
)
def test_different_things_have_different_names(one: str, other: str) -> None:
    assert one != other


def test_another_process_derives_the_same_names() -> None:
    code = (
        "from heed import names;"
        "print(names.event_id('u', 7, 1), names.task_id('u', 7, 1, 't'), names.digest('é', 'x', size=8))"
    )
    path = f"import sys; sys.path[:0] = {sys.path!r};"

    said = subprocess.run(
        [sys.executable, "-c", path + code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7"},
    )

    here = (names.event_id("u", 7, 1), names.task_id("u", 7, 1, "t"), names.digest("é", "x", size=8))
    assert tuple(said.stdout.split()) == here


@pytest.mark.parametrize("type_", ["a", "com.example.x", "é.ü", "a-b_c", "$x", "a" * 255, "A:b/c"])
def test_a_type_comes_back_from_its_subjects(type_: str) -> None:
    assert names.is_type(type_)
    assert names.type_of_subject(names.event_subject("demo", type_)) == type_
    assert names.type_of_subject(names.inbox_subject("demo", "agent", type_)) == type_


@pytest.mark.parametrize(
    "type_",
    ["", ".", "a.", ".a", "a..b", "*", "a.*", ">", "a.>", "a b", "a\n", "a\tb", "a\x00", "a\x7f", "a" * 256],
)
def test_what_could_not_be_a_subject_is_no_type(type_: str) -> None:
    assert not names.is_type(type_)


@pytest.mark.parametrize("pattern", ["a", "*", ">", "a.*.b", "a.>", "*.*.>", "*.a"])
def test_patterns_may_hold_wildcards_as_whole_tokens(pattern: str) -> None:
    assert names.is_pattern(pattern)


@pytest.mark.parametrize("pattern", ["", "a*", "*a", ">.a", "a.>.b", "a.>>", "**", "a..*", "a ", "a.* "])
def test_wildcards_elsewhere_make_no_pattern(pattern: str) -> None:
    assert not names.is_pattern(pattern)


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "heed",
        "heed.events",
        "heed.events.demo",
        "heed.inbox.demo.agent",
        "other.events.demo.a",
        "heed.x.y.z",
    ],
)
def test_subjects_of_others_carry_no_type(subject: str) -> None:
    assert names.type_of_subject(subject) is None


def test_the_first_attempt_has_the_name_of_its_task_and_others_their_number() -> None:
    task = names.task_id("uid", 7, 0, "work")

    assert names.attempt_id(task, 1) == task
    assert names.attempt_id(task, 2) == f"{task}-2"
    for attempt in (1, 2, 10, 100):
        assert names.split_attempt(names.attempt_id(task, attempt)) == (task, attempt)


@pytest.mark.parametrize(
    "text", ["", "work", "work-2", "2", "work-0123456789abcdef", "a-0123456789abcdef-1000"]
)
def test_what_is_no_later_attempt_is_the_first_one(text: str) -> None:
    assert names.split_attempt(text) == (text, 1)


@pytest.mark.parametrize("agent", ["a", "an-agent-with-a-name-of-its-own", "x" * 63])
@pytest.mark.parametrize("task", ["t", "a-task-with-a-long-name-" + "y" * 16])
def test_every_attempt_has_a_job_of_its_own_with_a_name_that_fits(agent: str, task: str) -> None:
    attempts = [names.attempt_id(names.task_id("uid", 7, 0, task), number) for number in range(1, 101)]
    jobs = [names.job_name(agent, attempt) for attempt in attempts]

    assert len(set(jobs)) == 100
    assert all(len(job) <= names.MAX_JOB_NAME_CHARS and names.is_name(job) for job in jobs)
    assert all(names.job_names(agent, attempt)[0] == job for attempt, job in zip(attempts, jobs, strict=True))


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("clerk", True),
        ("subscription:orders", True),
        ("subscription:", False),
        ("subscription:Orders", False),
        ("subscription:a.b", False),
        ("other:orders", False),
        ("", False),
    ],
)
def test_dead_letters_are_those_of_agents_and_of_subscriptions(value: str, fits: bool) -> None:
    assert names.is_recipient(value) == fits


def test_the_token_of_a_subscription_is_the_name_of_no_agent() -> None:
    assert names.subscriber("orders") == "subscription:orders"
    assert not names.is_name(names.subscriber("orders"))
    assert names.dead_subject("shop", names.subscriber("orders")) == "heed-dead.shop.subscription:orders"


def test_a_subscription_that_is_made_anew_reads_with_another_consumer() -> None:
    assert names.subscription_consumer("uid-1") == names.subscription_consumer("uid-1")
    assert names.subscription_consumer("uid-1") != names.subscription_consumer("uid-2")
    assert names.subscription_consumer("uid-1").startswith("heed-sub-")


@pytest.mark.parametrize(
    ("type_", "reserved"),
    [
        ("dev.heed", True),
        ("dev.heed.x", True),
        ("dev.heedful", False),
        ("dev", False),
        ("a.dev.heed.x", False),
    ],
)
def test_types_that_only_heed_publishes(type_: str, reserved: bool) -> None:
    assert names.is_reserved(type_) == reserved
