"""A worker as a process of its own: its limits, what it prints, and how it ends."""

import pickle
import subprocess
import sys

import pytest

from heed.sandbox.worker import ANSWER, PLACE, READY, encode_frame
from tests.builders.agents import program
from tests.builders.events import received
from tests.patience import PATIENCE
from tests.unit.test_decision_worker import COUNT, frames, request

WORKER = """
import os, signal, sys
from heed.sandbox import decision_worker

decision_worker.main(int(sys.argv[1]), float(sys.argv[2]))
print("over", flush=True)
os._exit(0 if signal.getsignal(signal.SIGINT) == signal.SIG_IGN else 9)
"""


def started(*argv: str) -> "subprocess.Popen[bytes]":
    """A process that answers requests."""
    command = [sys.executable, *argv, str(2**30), "60"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize(
    "argv", [("-m", "heed.sandbox.decision_worker"), ("-c", WORKER)], ids=["module", "main"]
)
def test_a_worker_serves_until_its_input_ends(argv: tuple[str, ...]) -> None:
    event = received(3)
    process = started(*argv)

    said, printed = process.communicate(
        encode_frame(pickle.dumps(request(0, program(COUNT), event))), PATIENCE
    )

    kinds = [kind for kind, _ in frames(said)]
    assert (process.returncode, kinds) == (0, [READY, PLACE, ANSWER]), printed
    # What anybody prints goes elsewhere.
    assert printed == (b"over\n" if "-c" in argv else b"")


def test_a_worker_whose_answers_nobody_reads_goes_quietly() -> None:
    process = started("-c", WORKER)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    assert process.stdout.read(5) == encode_frame(READY)
    process.stdout.close()
    process.stdin.write(encode_frame(pickle.dumps(request(0, program(COUNT), received(3)))))
    process.stdin.flush()

    assert process.wait(PATIENCE) == 0
    with process.stdin, process.stderr as printed:
        assert printed.read() == b""


def test_a_worker_has_no_more_memory_than_it_was_given_and_its_own() -> None:
    script = WORKER.replace(
        'print("over", flush=True)', "print(len(bytearray(2**30 + 2**24)), file=sys.stderr)"
    )
    process = started("-c", script)

    _, printed = process.communicate(b"", PATIENCE)

    assert b"MemoryError" in printed
