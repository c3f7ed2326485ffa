"""Purity: what differs the second time, and what reaches out of the process, is said once with its line."""

from __future__ import annotations

import itertools
import socket
from pathlib import Path

import pytest

from heed.sdk.loading import load_module
from heed.worker.purity import PurityCheck


@pytest.fixture
def check() -> PurityCheck:
    return PurityCheck()


def test_a_handler_that_answers_alike_is_not_mentioned(
    check: PurityCheck, caplog: pytest.LogCaptureFixture
) -> None:
    assert check.run("h", lambda: {"state": {"n": 1}}) == {"state": {"n": 1}}
    assert not caplog.messages


def test_the_first_answer_counts_and_what_differs_is_said(
    check: PurityCheck, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = itertools.count()

    assert check.run("h", lambda: {"state": {"n": next(numbers)}, "end": True}) == {
        "state": {"n": 0},
        "end": True,
    }
    assert caplog.messages == [
        'handler h state: {"n": 0}, then {"n": 1}; let a task do that, or take it from the event'
    ]


def test_what_is_written_is_said_once_and_what_is_read_is_not(
    check: PurityCheck, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()

    def answer() -> dict[str, object]:
        file.read_text()
        file.open("a").close()
        return {}

    check.run("h", answer)
    file.open("a").close()  # outside of a handler

    (message,) = caplog.messages
    assert message.startswith(f"handler h writes {file} (test_purity.py:")


def test_a_users_folder_may_be_called_as_the_library(
    check: PurityCheck, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    module = tmp_path / "heed" / "agent.py"
    module.parent.mkdir()
    module.write_text(f"def answer():\n    open({str(tmp_path / 'file')!r}, 'w').close()\n    return {{}}\n")

    check.run("h", load_module(str(module)).answer)

    (message,) = caplog.messages
    assert "(agent.py:2)" in message


def test_a_connection_is_said(check: PurityCheck, caplog: pytest.LogCaptureFixture) -> None:
    def answer() -> dict[str, object]:
        with socket.socket() as made, pytest.raises(OSError, match="refused"):
            made.connect(("127.0.0.1", 1))
        return {}

    check.run("h", answer)

    (message,) = caplog.messages
    assert message.startswith("handler h opens a connection (test_purity.py:")


def test_what_a_handler_raises_is_raised_and_nothing_is_watched_after_it(
    check: PurityCheck, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def answer() -> dict[str, object]:
        raise LookupError

    with pytest.raises(LookupError):
        check.run("h", answer)
    (tmp_path / "file").touch()
    (tmp_path / "file").open("w").close()

    assert not caplog.messages
