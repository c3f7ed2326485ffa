"""What a job's container is given and how it answers: each variable, the task file, and what becomes of a result."""

from dataclasses import replace
from typing import Any

import pytest

from heed.core.codec.strict_json import MAX_JSON_DEPTH
from heed.core.effects import AgentRef, TaskWork
from heed.core.tasks import job_contract
from heed.core.tasks.job_contract import MAX_RESULT_BYTES

WORK = TaskWork(
    agent=AgentRef("demo", "clerk", "uid"),
    id="work-1",
    task="work",
    kind="job",
    session="s 1",
    spec={},
    document={"task": {"id": "work-1"}, "input": "é", "event": {"id": "e1", "correlationid": "c1"}},
    timeout=None,
    retention=60,
)
GIVEN = {
    "HEED_AGENT": "clerk",
    "HEED_NAMESPACE": "demo",
    "HEED_TASK": "work",
    "HEED_TASK_ID": "work-1",
    "HEED_ATTEMPT": "1",
    "HEED_SESSION": "s 1",
    "HEED_TASK_FILE": "/heed/task.json",
    "HEED_RESULT_FILE": "/dev/termination-log",
    "HEED_CORRELATION_ID": "c1",
}


def test_a_container_knows_what_it_works_on() -> None:
    assert job_contract.task_environment(WORK) == GIVEN
    assert job_contract.task_environment(WORK, task_file="/a", result_file="/b") == {
        **GIVEN,
        "HEED_TASK_FILE": "/a",
        "HEED_RESULT_FILE": "/b",
    }


@pytest.mark.parametrize(
    ("event", "correlation"),
    [({"correlationid": 7}, "7"), ({"correlationid": ""}, ""), ({}, None), (None, None), ("x", None)],
)
def test_the_flow_is_given_where_it_is_known(event: Any, correlation: str | None) -> None:
    found = job_contract.task_environment(replace(WORK, document={"event": event}))

    assert found.get("HEED_CORRELATION_ID") == correlation
    assert len(found) == (8 if correlation is None else 9)


def test_a_container_that_may_publish_knows_where() -> None:
    expected = {
        "HEED_NATS_URL": "nats://x",
        "NATS_URL": "nats://x",
        "HEED_PROGRESS_SUBJECT": "heed.tasks.demo.clerk.work-1.dev.heed.task.progress",
        "HEED_RESULT_SUBJECT": "heed.tasks.demo.clerk.work-1.dev.heed.task.result",
        "HEED_EVENTS_SUBJECT": "heed.events.demo",
        "HEED_INBOX_PREFIX": "_INBOX.heed-task.demo.clerk.work-1",
    }

    assert job_contract.broker_environment(WORK, "nats://x", None) == expected
    assert job_contract.broker_environment(WORK, "nats://x", "/creds") == {
        **expected,
        "HEED_NATS_CREDENTIALS": "/creds",
        "NATS_CREDS": "/creds",
    }


def test_a_task_file_is_the_same_line_for_the_same_work() -> None:
    line = '{"event":{"correlationid":"c1","id":"e1"},"input":"é","task":{"id":"work-1"}}'

    assert job_contract.task_document_json(WORK) == line
    turned = dict(reversed(WORK.document.items()))
    assert job_contract.task_document_json(replace(WORK, document=turned)) == line


@pytest.mark.parametrize(
    ("path", "expands"),
    [
        ("template.spec.containers[0].args[1]", True),
        ("template.spec.containers[0].command[0]", True),
        ("template.spec.initContainers[2].args", True),
        ("template.spec.containers[0].env[0].value", True),
        ("template.spec.containers[0].env[0]", True),
        ("template.spec.containers[0].env", True),
        ("template.spec.containers[0].env[0].name", False),
        ("template.spec.containers[0].volumeMounts[0].subPathExpr", True),
        ("template.spec.containers[0].volumeMounts[0].subPath", False),
        ("template.spec.containers[0].image", False),
        ("template.spec.containers[0]", True),
        ("template.spec.containers", True),
        ("template.spec", False),
    ],
)
def test_kubernetes_puts_variables_in_some_places(path: str, expands: bool) -> None:
    assert job_contract.expands_variables(path) is expands


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", ""),
        (b"x" * MAX_RESULT_BYTES, "x" * MAX_RESULT_BYTES),
        (b"y" + b"x" * MAX_RESULT_BYTES, "x" * MAX_RESULT_BYTES),
        (b"\xff\0a", "\ufffd\ufffda"),
        ("é".encode() + b"x" * (MAX_RESULT_BYTES - 1), "\ufffd" + "x" * (MAX_RESULT_BYTES - 1)),
    ],
)
def test_of_a_result_the_last_bytes_are_left(content: bytes, text: str) -> None:
    assert job_contract.cut_result(content) == text


@pytest.mark.parametrize(("text", "clean"), [("é", "é"), ("a\0b", "a\ufffdb"), ("a\ud800b", "a?b"), ("", "")])
def test_any_text_is_made_one_that_an_event_can_carry(text: str, clean: str) -> None:
    assert job_contract.clean_text(text) == clean


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", None),
        (" \n", None),
        ("null", None),
        ('{"a": [1, 1.5, true]}', {"a": [1, 1.5, True]}),
        (" 7 ", 7),
        ("7 apples", "7 apples"),
        ("NaN", "NaN"),
        ("9223372036854775808", "9223372036854775808"),
        ("9223372036854775807", 9223372036854775807),
        ("a\0", "a\ufffd"),
        ("\ud800", "?"),
        ('"\\ud800"', '"\\ud800"'),
    ],
)
def test_a_result_is_json_where_an_event_can_carry_it(text: str, result: Any) -> None:
    assert job_contract.parse_result(text) == result


def test_a_result_nests_as_deep_as_fits_into_its_event() -> None:
    most = MAX_JSON_DEPTH - 4
    fits, deeper = "[" * most + "]" * most, "[" * (most + 1) + "]" * (most + 1)

    assert isinstance(job_contract.parse_result(fits), list)
    assert job_contract.parse_result(deeper) == deeper
