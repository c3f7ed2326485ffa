"""The inside of a sandboxed worker: a process that answers requests under limits of the kernel, and alone is harmed.

    python -m MODULE MEMORY CPU

Requests come as frames on standard input, and with its end the process ends. Answers are frames, too, whose first byte
says what they are: READY once at the beginning; PLACE, as often as it likes, where the work on a request is, so that
who finds the process dead knows what it died of; then ANSWER, or LAST where it has grown too large for another request,
or UNKNOWN where the request lacks something. MEMORY is bytes of address space beyond what the process needs for itself,
CPU seconds for one request.
"""

import os
import resource
import signal
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

READY, PLACE, ANSWER, LAST, UNKNOWN = b"!", b"@", b"=", b".", b"?"
FRAME_LENGTH: Final = struct.Struct(">I")
SPARE_BYTES: Final = 64 * 1024**2  # that a request may leave behind; more would be missing for the next


def encode_frame(data: bytes) -> bytes:
    """Data as a frame: their length in bytes (FRAME_LENGTH), then the data."""
    return FRAME_LENGTH.pack(len(data)) + data


def read_frame(source: BinaryIO) -> bytes | None:
    """The data of the next frame; None at the end."""
    head = source.read(FRAME_LENGTH.size)
    if len(head) < FRAME_LENGTH.size:
        return None
    (length,) = FRAME_LENGTH.unpack(head)
    data = source.read(length)
    return data if len(data) == length else None


class Worker(ABC):
    """Answers requests, one after the other. A subclass says how."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO, cpu: float) -> None:
        self.cpu = cpu
        self._requests, self._answers = requests, answers
        self._enough = (address_space() or 0) + SPARE_BYTES

    @abstractmethod
    def answer(self, request: bytes) -> bytes | None:
        """The answer to a request; None where the request lacks something. What is costly goes under `cpu_limit`."""

    def say(self, kind: bytes, data: bytes = b"") -> None:
        """Write a frame."""
        self._answers.write(encode_frame(kind + data))
        self._answers.flush()

    def serve(self) -> None:
        """Answer requests until there are no more, or this process has grown too large for another one."""
        self.say(READY)
        while (request := read_frame(self._requests)) is not None:
            if (answer := self.answer(request)) is None:
                self.say(UNKNOWN)
                continue
            last = (address_space() or 0) > self._enough
            self.say(LAST if last else ANSWER, answer)
            if last:
                return


def run(worker: type[Worker], memory: int, cpu: float, *, warm_up: Callable[[], object]) -> None:
    """Serve standard input. What `warm_up` loads does not count as memory of a request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interrupt is for those who stop us
    requests, answers = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    warm_up()
    limit_memory(memory)
    try:
        worker(requests, answers, cpu).serve()
    except BrokenPipeError:
        os._exit(0)  # no one waits for the answer


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """End the process where what runs within takes more CPU time: SIGPROF is left to do what it does by default."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def address_space() -> int | None:
    """Bytes of this process' address space; None where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[0]
    except OSError:
        return None
    return int(pages) * resource.getpagesize()


def limit_memory(more: int) -> None:
    """Allow this process so many bytes of address space beyond its own of now, and no core dumps."""
    own = address_space()
    if own is not None:
        resource.setrlimit(resource.RLIMIT_AS, (own + more, own + more))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
