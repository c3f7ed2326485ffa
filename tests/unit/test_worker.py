"""What sandboxed workers have in common: frames, limits, and when one has answered enough."""

from __future__ import annotations

import io
import json
import resource
import signal
import subprocess
import sys
from typing import Any

import pytest

from heed.sandbox import worker
from heed.sandbox.worker import (
    ANSWER,
    FRAME_LENGTH,
    LAST,
    PLACE,
    READY,
    SPARE_BYTES,
    UNKNOWN,
    Worker,
    address_space,
    cpu_limit,
    encode_frame,
    read_frame,
)


class Echo(Worker):
    """Answers with what it was asked; nothing is what it does not know."""

    def answer(self, request: bytes) -> bytes | None:
        self.say(PLACE, b"there")
        return request or None


def served(*requests: bytes) -> list[tuple[bytes, bytes]]:
    """What it says to requests: kinds and data."""
    answers = io.BytesIO()
    Echo(io.BytesIO(b"".join(map(encode_frame, requests))), answers, 60.0).serve()
    source = io.BytesIO(answers.getvalue())
    return [(frame[:1], frame[1:]) for frame in iter(lambda: read_frame(source), None)]


# ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_frame_is_its_length_and_its_data() -> None:
    assert encode_frame(b"abc") == FRAME_LENGTH.pack(3) + b"abc" == b"\0\0\0\x03abc"


@pytest.mark.parametrize("missing", [1, 3, 4, 6])
def test_a_frame_that_is_cut_off_is_the_end(missing: int) -> None:
    whole = encode_frame(b"abc")

    assert read_frame(io.BytesIO(whole)) == b"abc"
    assert read_frame(io.BytesIO(whole[:-missing])) is None


def test_an_empty_frame_is_no_end() -> None:
    assert read_frame(io.BytesIO(encode_frame(b"") + encode_frame(b"abc"))) == b""


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_is_ready_and_then_answers_one_after_the_other() -> None:
    place = (PLACE, b"there")
    assert served(b"one", b"", b"two") == [
        (READY, b""),
        *(place, (ANSWER, b"one")),
        *(place, (UNKNOWN, b"")),
        *(place, (ANSWER, b"two")),
    ]


def test_one_that_has_grown_too_large_says_that_it_was_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([1000, 1000 + SPARE_BYTES, 1001 + SPARE_BYTES, 0])
    monkeypatch.setattr(worker, "address_space", lambda: next(sizes))

    kinds = [kind for kind, _ in served(b"1", b"2", b"3")]

    assert kinds == [READY, PLACE, ANSWER, PLACE, LAST]


def test_where_the_system_does_not_say_how_large_it_is_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "address_space", lambda: None)

    assert [kind for kind, _ in served(b"1")][-1] == ANSWER


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_limit_is_lifted_also_after_an_error() -> None:
    with pytest.raises(KeyError), cpu_limit(30):
        raise KeyError

    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_the_address_space_is_counted_in_bytes() -> None:
    with open("/proc/self/status") as status:
        (kilobytes,) = (int(line.split()[1]) for line in status if line.startswith("VmSize"))

    found = address_space()

    assert found is not None
    assert abs(found - kilobytes * 1024) < 64 * 1024**2


LIMITS = """
import json, resource, sys
from heed.sandbox import worker
if sys.argv[1] == "unknown":
    worker.address_space = lambda: None
own = worker.address_space() or 0
worker.limit_memory(2**30)
memory, core = resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_CORE)
print(json.dumps([memory[0] - own, memory[1] - own, core]))
"""


def limits(size: str) -> Any:
    """The limits of memory of a process, beyond its own size where that is known, and those of core dumps."""
    done = subprocess.run([sys.executable, "-c", LIMITS, size], capture_output=True, check=True)
    return json.loads(done.stdout)


def test_a_limit_of_memory_is_counted_from_what_is_there_and_nothing_is_dumped() -> None:
    soft, hard, core = limits("known")

    assert abs(soft - 2**30) < 2**24
    assert hard == soft
    assert core == [0, 0]


def test_where_the_size_is_unknown_only_dumps_are_forbidden() -> None:
    assert limits("unknown") == [*resource.getrlimit(resource.RLIMIT_AS), [0, 0]]
