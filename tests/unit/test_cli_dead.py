"""`heed dead` without a broker: help, options that are checked, letters as people and programs see them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result

from heed import names
from heed.bus.codec.dead_letter import DeadLetter
from heed.bus.dead_letters import DeadLetterEntry, RedriveMark
from heed.cli.dead.render import (
    MAX_SHOWN_CHARS,
    describe_letter,
    format_age,
    letter_row,
    show_letter,
    summarize_letter,
)
from tests.unit.cli import heed

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
AT = "2026-01-31T11:55:00.000000Z"
SUBJECT = names.event_subject("demo", "a.b")
CAUSE = {
    "Heed-Dead-Code": "TemplateFailed",
    "Heed-Dead-Message": "spec.handlers[0].state:%20no%20such%20key",
    "Heed-Dead-Handler": "begin",
    "Heed-Dead-Generation": "3",
    "Heed-Dead-Sequence": "7",
    "Heed-Dead-Subject": SUBJECT,
    "Heed-Dead-Time": AT,
}
EVENT = {"ce-id": "1", "ce-source": "/shop", "ce-type": "a.b", "ce-specversion": "1.0"}


def heed_dead(*arguments: str, env: dict[str, str] | None = None) -> Result:
    variables = {"HEED_NATS_URL": "nats://user:secret@127.0.0.1:1", **(env or {})}
    return heed("dead", *arguments, env=variables)


def found(payload: bytes = b'{"n": 1}', mark: RedriveMark | None = None, **headers: Any) -> DeadLetterEntry:
    """A letter that Agent demo/researcher wrote five minutes ago."""
    ours = {name.replace("_", "-"): value for name, value in headers.items()}
    return DeadLetterEntry(
        DeadLetter(12, AT, "demo", "researcher", {**EVENT, **CAUSE, **ours}, payload), mark
    )


def shown(item: DeadLetterEntry, capsys: pytest.CaptureFixture[str]) -> str:
    show_letter(item, NOW)
    return capsys.readouterr().out


# --- the command --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", "list", "show", "redrive", "drop"])
def test_help_teaches_with_examples(command: str) -> None:
    result = heed_dead(*filter(None, [command]), "--help")

    assert result.exit_code == 0
    assert f"  heed dead {command}".rstrip() in result.output.partition("Examples:")[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["redrive"], "Say which letters: --id ID"),
        (["redrive", "--code", "BadData"], "or --all, with -n, --agent and --code to narrow it"),
        (["redrive", "--all", "--id", "3"], "Not both"),
        (["redrive", "--id", "three"], "not a valid integer"),
        (["redrive", "--id", "0"], "not in the range"),
        (["drop"], "Say which letters"),
        (["drop", "-n", "demo", "--yes"], "Say which letters"),
        (["list", "-n", "Not A Name"], "not a Kubernetes name"),
        (["list", "--agent", "demo/researcher"], "not a Kubernetes name"),
        (["list", "--limit", "-1"], "not in the range"),
        (["show"], "Missing argument 'ID'"),
        (["lst"], "No such command 'lst'"),
    ],
)
def test_bad_arguments_are_told_before_the_broker_is_asked(arguments: list[str], words: str) -> None:
    result = heed_dead(*arguments)

    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


@pytest.mark.parametrize(
    "arguments", [["list"], ["show", "1"], ["redrive", "--all"], ["drop", "--all", "--yes"]]
)
def test_a_broker_that_is_away_is_told_without_its_password(arguments: list[str]) -> None:
    result = heed_dead(*arguments)

    assert result.exit_code == 1
    assert "cannot connect to nats://127.0.0.1:1" in result.stderr
    assert "secret" not in result.output


def test_settings_that_cannot_be_used_are_a_mistake_of_the_call() -> None:
    result = heed_dead("list", env={"HEED_NATS_CA": "/does/not/exist"})

    assert result.exit_code == 2
    assert "HEED_NATS_CA=/does/not/exist: no such file" in result.output


# --- a letter in a line -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (59, "59s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (86400 * 3, "3d")],
)
def test_ages_are_short(seconds: int, text: str) -> None:
    assert format_age((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == text


def test_a_time_that_is_none_has_no_age() -> None:
    assert format_age("", NOW) == "?"


def test_a_line_says_what_somebody_looks_for() -> None:
    mark = RedriveMark(20, 99, "2026-01-31T11:59:00.000000Z")

    assert letter_row(found(), NOW) == [
        "12",
        "5m",
        "demo/researcher",
        "a.b",
        "TemplateFailed",
        "begin",
        "1",
        "-",
    ]
    assert letter_row(found(mark=mark, Heed_Dead_Attempt="2"), NOW)[-2:] == ["2", "60s ago"]


def test_a_letter_that_says_nothing_has_a_line_all_the_same() -> None:
    bare = DeadLetterEntry(DeadLetter(1, AT, "demo", "x", {}), None)

    assert letter_row(bare, NOW) == ["1", "5m", "demo/x", "?", "?", "-", "1", "-"]
    assert summarize_letter(bare)["refusal"] == "the letter does not say of which type the event was"


def test_nothing_in_a_letter_breaks_the_line_or_steers_the_terminal() -> None:
    hostile = found(Heed_Dead_Code="%1B[2J", Heed_Dead_Handler="a%0Ab%09c")

    assert letter_row(hostile, NOW)[4:6] == ["\\u001b[2J", "a\\nb\\tc"]


# --- a letter in full ---------------------------------------------------------------------------------------


def test_a_letter_shows_its_cause_its_event_and_what_can_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(found(), capsys)

    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "Dead letter 12 of demo/researcher"
    assert "message spec.handlers[0].state: no such key" in lines
    assert f"event HEED 7 on {SUBJECT}" in lines
    assert "source /shop" in lines
    assert '"n": 1' in lines
    assert lines[-1] == "When its cause is mended: heed dead redrive --id 12"


def test_a_redriven_letter_says_when_and_as_what(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(found(mark=RedriveMark(20, 99, AT)), capsys)

    assert f"as HEED 99 at {AT}" in text
    assert "It was redriven already." in text


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Heed_Dead_Lost": "true"}, "not kept: it did not fit into the letter"),
        ({"Heed_Dead_Lost": "true"}, "It cannot be redriven: not all of the event"),
        ({"Heed_Dead_Task": '{"input":{"a":1}}'}, '"a": 1'),
        ({"ce_datacontenttype": "text/plain"}, "datacontenttype   text/plain"),
        ({"ce_myext": "a%1Bb"}, "a%1Bb"),
    ],
)
def test_a_letter_shows_what_else_there_is(
    capsys: pytest.CaptureFixture[str], headers: dict[str, Any], words: str
) -> None:
    assert words in shown(found(**headers), capsys)


def test_what_is_no_event_is_shown_as_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    malformed = found(b"{no json \x1b[2J", Heed_Dead_Code="BadData")

    text = shown(malformed, capsys)

    assert "Payload\n  {no json \\u001b[2J" in text
    assert "ce-source         /shop" in text


def test_bytes_are_shown_in_hex_and_much_of_anything_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    octets: dict[str, Any] = {"ce_datacontenttype": "application/octet-stream"}

    assert "3 bytes: ff 00 fe" in shown(found(b"\xff\0\xfe", **octets), capsys)
    text = shown(found(json.dumps("x" * 20_000).encode()), capsys)
    assert f"… {20_000 - MAX_SHOWN_CHARS} more characters" in text
    assert len(text) < MAX_SHOWN_CHARS + 2000


def test_programs_get_the_event_and_its_cause() -> None:
    document = json.loads(
        json.dumps(describe_letter(found(mark=RedriveMark(20, 99, AT), Heed_Dead_Task='{"id":"t"}')))
    )

    assert document == {
        "id": 12,
        "time": AT,
        "namespace": "demo",
        "agent": "researcher",
        "type": "a.b",
        "code": "TemplateFailed",
        "message": "spec.handlers[0].state: no such key",
        "handler": "begin",
        "generation": 3,
        "attempt": 1,
        "sequence": 7,
        "subject": SUBJECT,
        "eventTime": AT,
        "redriven": {"sequence": 99, "time": AT},
        "refusal": None,
        "task": {"id": "t"},
        "event": {"specversion": "1.0", "id": "1", "source": "/shop", "type": "a.b", "data": {"n": 1}},
        "malformed": None,
    }


def test_programs_get_the_bytes_of_what_is_no_event() -> None:
    document = json.loads(json.dumps(describe_letter(found(b"\xff", Heed_Dead_Code="BadData"))))

    assert document["event"] is None
    assert document["malformed"]["code"] == "BadData"
    assert document["payload_base64"] == "/w=="
    assert document["headers"] == EVENT
