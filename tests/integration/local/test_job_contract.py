"""What a job's answer means, however odd it is; the same in a cluster and on a laptop."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heed.core.codec.strict_json import check_value
from heed.core.tasks.job_contract import MAX_RESULT_BYTES, cut_result, parse_result, task_environment
from tests.integration.local.runs import research

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(JSON)
def test_every_json_value_comes_back(value: object) -> None:
    assert parse_result(json.dumps(value, ensure_ascii=False)) == value


@given(st.binary(max_size=2 * MAX_RESULT_BYTES))
@example(b"\0")
@example(b'"\\u0000"')
def test_no_answer_breaks_anything_and_all_can_be_passed_on(content: bytes) -> None:
    result = parse_result(cut_result(content))

    check_value(result)


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[1, Infinity]",
        "1e999",
        '"\\ud800"',
        "[" * 4000,
        "{'a': 1}",
        "1 2",
        "[" * 61 + "]" * 61,
        str(2**63),
        "\ufeff{}",
        "done\n",
    ],
)
def test_what_is_no_json_stays_text(text: str) -> None:
    assert parse_result(text) == text


@pytest.mark.parametrize("text", ["", " \n", "null"])
def test_nothing_said_is_none(text: str) -> None:
    assert parse_result(text) is None


def test_of_a_large_answer_the_end_is_kept() -> None:
    assert cut_result(b"a" + b"b" * MAX_RESULT_BYTES) == "b" * MAX_RESULT_BYTES


def test_without_a_correlation_the_variable_is_missing() -> None:
    given_work = research({}, document={"event": {"id": "1"}})

    assert "HEED_CORRELATION_ID" not in task_environment(given_work)
    assert task_environment(given_work)["HEED_TASK_FILE"] == "/heed/task.json"
    assert task_environment(given_work)["HEED_RESULT_FILE"] == "/dev/termination-log"
