"""Which answers count, by what was asked."""

from dataclasses import replace
from typing import Any

import pytest

from heed.core.approval.answer import MAX_ANSWER_BYTES, MAX_COMMENT_CHARS, Refusal, check_answer
from heed.core.codec.canonical_json import dump_compact
from heed.core.codec.strict_json import MAX_JSON_DEPTH
from tests.builders.approvals import an_answer, approval_of, awaiting, buyer
from tests.builders.events import at

SCHEMA = {
    "type": "object",
    "required": ["amount"],
    "properties": {"amount": {"type": "integer", "maximum": 100}},
    "additionalProperties": False,
}


def judged(
    approval: dict[str, Any], *, data: Any = None, timeout: str | None = None, **given: Any
) -> Refusal | None:
    """What is said of an answer to an approval."""
    return check_answer(approval_of(awaiting(buyer(timeout, **approval), data)), an_answer(**given))


def reason(approval: dict[str, Any], **given: Any) -> str | None:
    """The reason of a refusal."""
    refusal = judged(approval, **given)
    return None if refusal is None else refusal.reason


def test_either_of_the_two_usual_choices_may_be_chosen_and_nothing_else() -> None:
    assert reason({}, choice="approve") is None
    assert reason({}, choice="reject") is None
    assert judged({}, choice="perhaps") == Refusal(
        "UnknownChoice", '"perhaps" cannot be chosen; choices are: approve, reject'
    )


def test_choices_of_ones_own_replace_them() -> None:
    own = {"choices": [{"name": "cheap", "label": "The cheap one"}, {"name": "dear"}]}

    assert reason(own, choice="dear") is None
    assert reason(own, choice="approve") == "UnknownChoice"


@pytest.mark.parametrize(
    ("approvers", "user", "groups", "counts"),
    [
        ({}, "anybody", (), True),
        ({"users": ["kim"]}, "kim", (), True),
        ({"users": ["k"], "groups": ["g"]}, "k", (), True),
        ({"users": ["kim"]}, "lee", ("kim",), False),
        ({"groups": ["buyers"]}, "lee", ("staff", "buyers"), True),
        ({"groups": ["buyers"]}, "buyers", (), False),
        ({"users": ["kim"], "groups": ["buyers"]}, "lee", ("buyers",), True),
        ({"users": ["kim"], "groups": ["buyers"]}, "kim", (), True),
        ({"users": ["kim"], "groups": ["buyers"]}, "lee", ("staff",), False),
        ({"users": ["${input.boss}"]}, "ada", (), True),
        ({"users": ["${input.boss}"]}, "${input.boss}", (), False),
    ],
)
def test_users_and_groups_are_alternatives(
    approvers: dict[str, Any], user: str, groups: tuple[str, ...], counts: bool
) -> None:
    found = reason({"approvers": approvers}, data={"boss": "ada"}, user=user, groups=groups)

    assert found == (None if counts else "NotAnApprover")


def test_who_is_refused_is_told_who_may() -> None:
    refusal = judged({"approvers": {"users": ["kim", "ada"], "groups": ["buyers"]}}, user="lee")

    assert refusal is not None
    assert refusal.message == "lee is not among the users kim, ada or in the groups buyers"


@pytest.mark.parametrize(
    ("where", "counts"),
    [
        ("answer.user == 'kim' && answer.choice == 'approve'", True),
        ("answer.fields.amount <= input.most", True),
        ("answer.fields.amount > input.most", False),
        ("'staff' in answer.groups && answer.comment != ''", True),
        ("task.name == 'buy' && session.key == 'e1'", True),
        ("session.startedAt == task.startedAt", True),
        ("answer.fields.missing == 1", False),
        ("answer.fields", False),
    ],
)
def test_a_condition_over_the_answer_has_to_hold_too(where: str, counts: bool) -> None:
    approval = {"fields": {"type": "object"}, "approvers": {"where": where}}
    given: dict[str, Any] = {"fields": {"amount": 7.0}, "groups": ("staff",), "comment": "fine"}

    assert reason(approval, data={"most": 7}, **given) == (None if counts else "NotAnApprover")


@pytest.mark.parametrize("amount", [3, 3.0])
def test_a_whole_number_is_one_for_the_condition_however_it_was_sent(amount: float) -> None:
    approval = {
        "fields": {"type": "object"},
        "approvers": {"where": "type(answer.fields.amount) == int && answer.fields.amount % 2 == 1"},
    }

    assert reason(approval, fields={"amount": amount}) is None


def test_a_number_that_no_integer_holds_is_a_float_for_the_condition() -> None:
    approval = {"fields": {"type": "object"}, "approvers": {"where": "answer.fields.amount > 1.0"}}

    assert reason(approval, fields={"amount": 10**20}) is None


def test_the_condition_sees_since_when_the_session_is_there() -> None:
    ledger = awaiting(buyer(approvers={"where": f"session.startedAt == '{at(-60)}'"}))
    ((key, session),) = ledger.sessions.items()
    older = replace(ledger, sessions={key: replace(session, started_at=at(-60))})

    assert check_answer(approval_of(older), an_answer()) is None
    assert check_answer(approval_of(ledger), an_answer()) is not None


def test_without_its_session_that_is_when_the_task_began() -> None:
    ledger = awaiting(buyer())

    found = approval_of(replace(ledger, sessions={}))

    assert found.session_started_at == found.record.started_at


def test_being_an_approver_is_not_enough_where_the_condition_is_false() -> None:
    approval = {"approvers": {"users": ["kim"], "where": "answer.choice == 'reject'"}}

    assert reason(approval) == "NotAnApprover"
    assert reason(approval, choice="reject") is None


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"amount": 100}, None),
        ({"amount": 100.0}, None),
        ({}, 'fields: lacks "amount"'),
        ({"amount": 101}, "fields.amount: is more than 100"),
        ({"amount": "7"}, "fields.amount: is a string, not integer"),
        ({"amount": 7, "more": 1}, 'fields: has "more", which the schema does not know'),
    ],
)
def test_fields_fit_their_schema_and_a_mistake_names_the_field(fields: Any, problem: str | None) -> None:
    refusal = judged({"fields": SCHEMA}, fields=fields)

    assert refusal == (None if problem is None else Refusal("InvalidFields", problem))


def test_where_nothing_is_asked_for_nothing_is_filled_in() -> None:
    assert reason({}, fields={}) is None
    assert judged({}, fields={"amount": 7}) == Refusal(
        "InvalidFields", "fields: has amount, and this approval asks for none"
    )


def test_the_largest_and_the_deepest_answer_are_taken() -> None:
    nested: dict[str, Any] = {}
    for _ in range(MAX_JSON_DEPTH - 1):
        nested = {"n": nested}
    assert reason({"fields": {}}, fields=nested) is None
    assert reason({"fields": {}}, fields={"n": nested}) == "InvalidFields"

    around = len(dump_compact([{"text": ""}, "", []]).encode())
    assert reason({"fields": {}}, fields={"text": "x" * (MAX_ANSWER_BYTES - around)}) is None
    assert reason({"fields": {}}, fields={"text": "x" * (MAX_ANSWER_BYTES - around + 1)}) == "TooLarge"


def test_fields_are_bounded_before_they_are_looked_at() -> None:
    nested: dict[str, Any] = {}
    for _ in range(70):
        nested = {"n": nested}

    assert reason({"fields": {}}, fields=nested) == "InvalidFields"
    assert reason({"fields": {}}, fields={"text": "x" * MAX_ANSWER_BYTES}) == "TooLarge"
    assert reason({}, comment="x" * MAX_COMMENT_CHARS) is None
    assert reason({}, comment="x" * (MAX_COMMENT_CHARS + 1)) == "TooLarge"


def test_what_would_be_costly_to_check_is_refused() -> None:
    costly = {"properties": {"text": {"pattern": "^(a{1,40}){1,40}$"}}}
    long = {"list": list(range(2000))}
    everywhere = (
        "answer.fields.list.all(a, answer.fields.list.all(b, answer.fields.list.all(c, a + b + c >= 0)))"
    )

    assert reason({"fields": costly}, fields={"text": "a" * 60_000}) == "TooLarge"
    assert reason({"fields": {}, "approvers": {"where": everywhere}}, fields=long) == "TooLarge"


@pytest.mark.parametrize("on_timeout", ["Fail", "reject"])
def test_an_answer_counts_until_the_timeout_by_when_it_was_given(on_timeout: str) -> None:
    approval = {"onTimeout": on_timeout}

    assert reason(approval, timeout="10s", seconds=11) is None
    assert judged(approval, timeout="10s", seconds=11.5) == Refusal(
        "Expired", f"it could be answered until {at(11)}, and this came at {at(11.5)}"
    )
    assert reason({}, seconds=10**6) is None
