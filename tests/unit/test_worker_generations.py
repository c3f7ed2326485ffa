"""Which generation decides while the workers of new code come up."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from heed.api.agent import Agent
from heed.api.validation import parse_agent
from heed.core.compiler.program import Program, compile_agent
from heed.errors import InvalidManifest, Problem
from heed.kube.controller.generation import WORKERS_AWAITED, choose_generation
from heed.kube.controller.last_valid_spec import dump_last_valid
from tests.builders.agents import manifest

OLD, NEW = "0" * 16, "1" * 16


def body(digest: str, generation: int, **spec: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "worker", "image": "researcher:1"}]}}
    handler = {"name": "begin", "call": {"function": "begin"}}
    made = manifest(handler, worker={"digest": digest, "template": template}, **spec)
    made["metadata"]["generation"] = generation
    return made


def compiled(document: Any) -> Program:
    return compile_agent(parse_agent(document))


def only_old_answers(agent: Agent) -> str | None:
    assert agent.spec.worker is not None
    return None if agent.spec.worker.digest == OLD else "no worker answers"


def test_the_last_valid_generation_decides_until_workers_of_the_new_code_answer() -> None:
    kept = dump_last_valid(body(OLD, 1))

    choice = choose_generation(body(NEW, 2), kept, compiled, missing=only_old_answers)

    assert choice.program is not None
    assert (choice.program.code, choice.program.generation) == (OLD, 1)
    assert choice.newest is not None
    assert (choice.newest.code, choice.newest.generation) == (NEW, 2)
    assert (choice.word.status, choice.word.reason, choice.word.generation) == ("False", WORKERS_AWAITED, 2)
    assert choice.word.message == "generation 1 decides meanwhile: no worker answers"
    assert choice.word.last_valid_spec == kept


def test_the_new_generation_decides_once_they_answer() -> None:
    choice = choose_generation(body(NEW, 2), dump_last_valid(body(OLD, 1)), compiled, missing=lambda _: None)

    assert choice.program is choice.newest
    assert choice.program is not None
    assert choice.program.code == NEW
    assert (choice.word.status, choice.word.last_valid_spec) == ("True", None)


def test_the_first_generation_waits_for_nobody() -> None:
    choice = choose_generation(body(NEW, 1), None, compiled, missing=only_old_answers)

    assert choice.program is not None
    assert choice.program.code == NEW


def test_of_the_same_code_the_newest_generation_decides() -> None:
    kept = dump_last_valid(body(NEW, 1))
    changed = body(NEW, 2, session={"key": "event.id"})

    choice = choose_generation(changed, kept, compiled, missing=only_old_answers)

    assert choice.program is not None
    assert choice.program.generation == 2


@pytest.mark.parametrize("suspended", [False, True])
def test_it_is_suspended_as_the_newest_generation_says(suspended: bool) -> None:
    new = body(NEW, 2, suspend=suspended)

    choice = choose_generation(new, dump_last_valid(body(OLD, 1)), compiled, missing=only_old_answers)

    assert choice.program is not None
    assert choice.program.suspended is suspended
    assert choice.word.suspended is suspended


def test_a_generation_that_may_not_run_any_more_is_no_reason_to_wait() -> None:
    def refuses_old(document: Any) -> Program:
        if document["spec"]["worker"]["digest"] == OLD:
            raise InvalidManifest([Problem("spec", "is not allowed")])
        return compiled(copy.deepcopy(document))

    kept = dump_last_valid(body(OLD, 1))
    choice = choose_generation(body(NEW, 2), kept, refuses_old, missing=only_old_answers)

    assert choice.program is not None
    assert choice.program.code == NEW
    assert choice.word.status == "True"
