"""The process that judges manifests: what it answers, when it is the last answer, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import pytest

from heed.core.compiler.admission import AdmissionRequest, ClusterContext, judge
from heed.kube.webhook import review_worker
from heed.kube.webhook.review_worker import answer
from heed.sandbox.worker import ANSWER, READY, encode_frame, read_frame
from tests.patience import PATIENCE
from tests.unit.reviews import allowing, emitter

WRONG = emitter(when="nothing")
MEMORY = 256 * 1024**2


def question(new: Any, **around: Any) -> dict[str, Any]:
    return {
        "request": {"kind": new["kind"], "new": new, "old": None},
        "around": {"policies": [], "grants": [], "types": [], "agents": [], "complete": True, **around},
    }


def asked(new: Any, **around: Any) -> dict[str, Any]:
    return answer(json.dumps(question(new, **around)).encode())


def expected(new: Any, **around: Any) -> dict[str, Any]:
    found: dict[str, Any] = asdict(judge(AdmissionRequest(new["kind"], new), ClusterContext(**around)))
    return found


# --- one answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", [emitter(), WRONG])
def test_the_answer_is_the_verdict(new: Any) -> None:
    assert asked(new) == expected(new)
    assert bool(asked(new)["problems"]) == (new is WRONG)


def test_what_is_around_it_counts() -> None:
    strict = allowing("x.other")

    assert asked(emitter(), policies=[strict]) == expected(emitter(), policies=[strict])
    assert asked(emitter(), policies=[strict])["problems"]


def test_the_look_at_others_is_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    strict = allowing("x.other")
    assert any("stops Agent" in item for item in asked(strict, agents=[emitter()])["warnings"])

    monkeypatch.setattr(review_worker, "CONTEXT_CHECK_TIMEOUT_S", -1.0)

    assert asked(strict, agents=[emitter()])["warnings"] == (
        "there are more Agents than were looked at; see their condition Ready",
    )


def test_what_nests_too_deep_is_a_problem() -> None:
    assert answer(b"[" * 100_000) == {
        "problems": (
            {"path": "spec", "message": "nests too deep", "remedy": "flatten it", "reason": "Invalid"},
        ),
        "warnings": (),
    }


def test_what_takes_too_much_memory_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausts(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(review_worker, "judge", exhausts)

    (problem,) = asked(emitter())["problems"]
    assert (problem["path"], problem["message"], problem["remedy"]) == (
        "spec",
        "takes too much memory to check",
        "make it smaller",
    )


def test_a_mistake_of_ours_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(*_: Any) -> None:
        raise ValueError("x" * 1000)

    monkeypatch.setattr(review_worker, "judge", breaks)

    assert asked(emitter()) == {"mistake": f"ValueError('{'x' * 488}"}
    assert "ValueError" in capsys.readouterr().err


# --- the process ----------------------------------------------------------------------------------------------


class Checker:
    """The process, with pipes to it."""

    def __init__(self, memory: int = MEMORY, cpu: float = 30.0) -> None:
        argv = [sys.executable, "-m", "heed.kube.webhook.review_worker", str(memory), str(cpu)]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
        )
        assert self.process.stdout is not None
        assert read_frame(self.process.stdout) == READY  # type: ignore[arg-type]

    def ask(self, new: Any, **around: Any) -> dict[str, Any] | None:
        """The answer; None where the process ended instead."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(encode_frame(json.dumps(question(new, **around)).encode()))
        self.process.stdin.flush()
        data = read_frame(self.process.stdout)  # type: ignore[arg-type]
        if data is None:
            return None
        assert data[:1] == ANSWER
        found: dict[str, Any] = json.loads(data[1:])
        return found

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        self.process.wait(PATIENCE)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.fixture
def process() -> Iterator[Checker]:
    found = Checker()
    yield found
    found.close()


def test_one_process_answers_one_after_the_other_and_ends_with_its_input(process: Checker) -> None:
    for new in (emitter(), WRONG, emitter()):
        said = process.ask(new)
        assert said is not None
        assert said == json.loads(json.dumps(expected(new)))

    process.process.send_signal(signal.SIGINT)  # of a terminal: it is for others
    assert process.ask(emitter()) is not None
    assert process.end() == 0


def test_what_takes_too_long_ends_it() -> None:
    checker_ = Checker(cpu=0.2)
    try:
        strict = allowing("x.other")
        assert checker_.ask(emitter(), policies=[strict] * 10_000) is None
        assert checker_.process.wait(PATIENCE) == -signal.SIGPROF
    finally:
        checker_.close()


def test_what_is_too_large_for_its_memory_is_a_problem_and_no_end() -> None:
    checker_ = Checker(memory=8 * 1024**2)
    try:
        said = checker_.ask(emitter(), policies=[allowing("x.other")] * 20_000)
        assert said is not None
        assert said["problems"][0]["message"] == "takes too much memory to check"
        assert checker_.end() == 0
    finally:
        checker_.close()


def test_nobody_there_to_hear_the_answer_is_no_error(process: Checker) -> None:
    assert process.process.stdout is not None and process.process.stdin is not None
    process.process.stdout.close()
    process.process.stdin.write(encode_frame(json.dumps(question(emitter())).encode()))
    process.process.stdin.close()

    assert process.process.wait(PATIENCE) == 0
    assert process.process.stderr is not None
    assert process.process.stderr.read() == b""
