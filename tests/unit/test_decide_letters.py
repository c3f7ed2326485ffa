"""What a dead letter says: its code, where in the manifest the decision failed, on what, and what to do about it."""

from typing import Any

import pytest

from heed.core.compiler.program import Program
from heed.core.decision.decide import decide
from heed.core.ledger.ledger import Ledger
from tests.builders.agents import job, program
from tests.builders.events import received

MISSING = 'there is no "missing"; guard it with has(…) or use .?missing.orValue(…)'
DATA = {"text": "A b", "number": 7, "big": "x" * 200_000}

FAILURES: list[tuple[dict[str, Any], str, str]] = [
    ({"state": "${event.data.number}"}, "BadState", "spec.handlers[1].state: yields a number, not a map"),
    (
        {"when": "event.data.missing"},
        "ExpressionFailed",
        "spec.handlers[1].when: " + MISSING,
    ),
    (
        {"when": "event.data.text"},
        "ExpressionFailed",
        "spec.handlers[1].when: is string, not a boolean; compare it with something",
    ),
    (
        {"state": {"x": "${event.data.missing}"}},
        "TemplateFailed",
        "spec.handlers[1].state.x: ${event.data.missing}: " + MISSING,
    ),
    (
        {"state": {"x": "${[state.?x]}"}},
        "TemplateFailed",
        "spec.handlers[1].state.x: ${[state.?x]}: is an optional that was not resolved; end it with .orValue(…)",
    ),
    (
        {"state": {"x": "${18446744073709551615u}"}},
        "NumberOutOfRange",
        "spec.handlers[1].state: integer 18446744073709551615 does not fit 64 bits; keep it as a string",
    ),
    (
        {"state": {"x": ["${'a\\x00b'}"]}},
        "BadData",
        "spec.handlers[1].state: data hold the character U+0000, which ends text in CEL; drop it",
    ),
    (
        {"start": [{"task": "work", "input": {"x": "${'a\\x00b'}"}}]},
        "BadData",
        "spec.handlers[1].start[0].input: data hold the character U+0000, which ends text in CEL; drop it",
    ),
    (
        {"start": [{"task": "work", "input": "${event.data.missing}"}]},
        "TemplateFailed",
        "spec.handlers[1].start[0].input: ${event.data.missing}: " + MISSING,
    ),
    (
        {"start": [{"task": "work", "input": "${18446744073709551615u}"}]},
        "NumberOutOfRange",
        "spec.handlers[1].start[0].input: integer 18446744073709551615 does not fit 64 bits; keep it as a string",
    ),
    (
        {"start": [{"from": "${event.data.text}"}]},
        "BadList",
        "spec.handlers[1].start[0].from: yields a string, not a list of maps",
    ),
    (
        {"start": [{"from": "${[1]}"}]},
        "BadList",
        "spec.handlers[1].start[0].from: yields a list, not a list of maps",
    ),
    (
        {"start": [{"from": "${[{'task': 'work', 'inputs': 1}]}"}]},
        "BadList",
        'spec.handlers[1].start[0].from: unknown member "inputs"; known are input, priority, task',
    ),
    (
        {"start": [{"from": "${[{'task': 'nothing'}]}"}]},
        "UnknownTask",
        'there is no task "nothing"; spec.tasks has: strict, work',
    ),
    (
        {"start": [{"from": "${[{'input': 1}]}"}]},
        "UnknownTask",
        'there is no task "None"; spec.tasks has: strict, work',
    ),
    (
        {"start": [{"task": "strict"}]},
        "TemplateFailed",
        "spec.tasks.strict.job.template.spec.containers[0].args[0]: ${input.needed}: "
        "input is null, not a map; ask first: type(input) == map && has(input.needed)",
    ),
    (
        {"start": [{"task": "work", "input": "${event.data.big}"}]},
        "InputTooLarge",
        "spec.tasks.work.job: what task work is given exceeds 196608 bytes; pass large input by reference",
    ),
    (
        {"emit": [{"type": "x.y", "data": "${event.data.missing}"}]},
        "TemplateFailed",
        "spec.handlers[1].emit[0].data: ${event.data.missing}: " + MISSING,
    ),
    (
        {"emit": [{"type": "x.y", "data": "${1.0 / 0.0}"}]},
        "TemplateFailed",
        "spec.handlers[1].emit[0].data: ${1.0 / 0.0}: is inf, which JSON cannot hold",
    ),
    (
        {"emit": [{"type": "x.y", "data": "${18446744073709551615u}"}]},
        "BadEvent",
        "x.y cannot be emitted: number 18446744073709551615 does not fit 64 bits; send it as a string",
    ),
    (
        {"emit": [{"type": "x.${event.data.text}"}]},
        "BadType",
        '"x.A b" cannot be emitted; use dot-separated tokens, not dev.heed.*',
    ),
    (
        {"emit": [{"type": "${event.data.number}"}]},
        "BadType",
        "7 cannot be emitted; use dot-separated tokens, not dev.heed.*",
    ),
    (
        {"emit": [{"type": "dev.heed.task.${'completed'}"}]},
        "BadType",
        '"dev.heed.task.completed" cannot be emitted; use dot-separated tokens, not dev.heed.*',
    ),
    (
        {"emit": [{"type": "x.y", "subject": "${event.data.number}"}]},
        "BadSubject",
        "the subject of an emitted event must be a non-empty string",
    ),
    (
        {"emit": [{"type": "x.y", "subject": "${'a\\nb'}"}]},
        "BadEvent",
        "x.y cannot be emitted: attribute subject holds control characters or lone surrogates; drop them",
    ),
    (
        {"emit": [{"type": "x.y", "to": "${event.data.text}"}]},
        "BadReceiver",
        '`to` is "A b", not the name of an Agent',
    ),
    ({"emit": [{"type": "x.y", "to": "${'a.>'}"}]}, "BadReceiver", '`to` is "a.>", not the name of an Agent'),
    (
        {"emit": [{"type": "x.y", "to": "${'a\\n'}"}]},
        "BadReceiver",
        '`to` is "a\\n", not the name of an Agent',
    ),
    (
        {"emit": [{"from": "${[{'type': 'x.y', 'source': 'me'}]}"}]},
        "BadList",
        'spec.handlers[1].emit[0].from: unknown member "source"; known are data, subject, to, type',
    ),
    (
        {"emit": [{"from": "${event.data}"}]},
        "BadList",
        "spec.handlers[1].emit[0].from: yields a map, not a list of maps",
    ),
    (
        {"emit": [{"from": "${[{}]}"}]},
        "BadType",
        "null cannot be emitted; use dot-separated tokens, not dev.heed.*",
    ),
    (
        {"emit": [{"type": "x.y", "data": "${event.data.big}"}]},
        "EventTooLarge",
        "x.y would exceed 196608 bytes; send a reference (dataref) instead",
    ),
    (
        {"state": {"big": "${event.data.big}"}},
        "StateTooLarge",
        "the session's state would exceed 131072 bytes; remember references, not contents",
    ),
]


def breaking(handler: dict[str, Any]) -> Program:
    """An Agent whose second handler is to break."""
    return program(
        {"name": "first", "when": "false"},
        {"name": "broken", **handler},
        tasks={"work": job("${input}"), "strict": job("${input.needed}")},
    )


@pytest.mark.parametrize(
    ("broken", "code", "message"),
    [(breaking(handler), code, message) for handler, code, message in FAILURES],
    ids=range(len(FAILURES)),
)
def test_a_letter_says_where_it_failed_on_what_and_what_to_do(
    broken: Program, code: str, message: str
) -> None:
    letter = decide(broken, Ledger(), received(1, data=DATA)).letter

    assert letter is not None
    assert (letter.code, letter.message, letter.handler) == (code, message, "broken")
